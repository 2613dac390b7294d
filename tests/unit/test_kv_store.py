"""The memory store against a dictionary: random commits, scans, expiry and eviction, with every invariant of its shards
checked; and threads that move money."""

import random
import threading
import time

import pytest
from kv_native import Store, digest, now, number, number_value

PAST = 1
KEYS = [bytes(random.Random(i).choices(b"ab\x00\xff", k=i % 5 + 1)) + bytes([i]) for i in range(120)]


def put(action, key, value=None, **more):
    return {"action": action, "key": key, "value": value, **more}


class Model:
    """What the store should do: key to (version, value, expires)."""

    def __init__(self):
        self.data = {}
        self.version = 0

    def live(self):
        return {k: v for k, v in self.data.items() if not v[2] or v[2] > PAST}

    def version_of(self, key):
        return self.live().get(key, (0,))[0]

    def failure(self, write):
        """Why a write can not be done."""
        key, there = write["key"], self.live().get(write["key"])
        if write["action"] == "add" and there:
            return "exists"
        if write["action"] == "cas" and self.version_of(key) != write["arg"]:
            return "conflict"
        if write["action"] == "incr" and there and number(there[1]) is None:
            return "number"
        return None

    def apply(self, write):
        key, there = write["key"], self.live().get(write["key"])
        value, expires = write.get("value"), write.get("expires", 0)
        if write["action"] == "expire":
            if there:
                self.data[key] = (self.version, there[1], expires)
            return
        if write["action"] == "incr":
            value = number_value((number(there[1]) if there else write["init"]) + write["by"])
            expires = there[2] if there else expires
        if value is None:
            self.data.pop(key, None)
        else:
            self.data[key] = (self.version, value, expires)

    def commit(self, reads, writes):
        if any(self.version_of(key) != version for key, version in reads):
            return "conflict"
        for write in writes:
            if failure := self.failure(write):
                return failure
        if writes:
            self.version += 1
        for write in writes:
            self.apply(write)
        return "ok"

    def scan(self, start, stop, limit, reverse):
        keys = sorted(k for k in self.live() if k >= start and (not stop or k < stop))
        return (keys[::-1] if reverse else keys)[:limit]


def random_write(rng, key):
    expires = rng.choice([0, 0, 0, PAST, now() + 10**9])
    value = b"\0" + rng.randbytes(rng.choice([0, 1, 20, 600]))
    action = rng.choice(["set", "set", "set", "delete", "add", "cas", "incr", "expire"])
    return put(action, key, None if action in ("delete", "incr", "expire") else value, expires=expires,
               arg=rng.randrange(40), by=rng.randrange(-3, 9), init=rng.randrange(5))  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_random_use_agrees_with_a_dictionary(seed):
    rng, store, model = random.Random(seed), Store(), Model()
    for step in range(1500):
        keys = rng.sample(KEYS, rng.choice([1, 1, 1, 2, 5]))
        reads = [(k, model.version_of(k) if rng.random() < 0.9 else rng.randrange(9)) for k in rng.sample(KEYS, 2)]
        reads = reads if rng.random() < 0.3 else []
        writes = [random_write(rng, key) for key in keys]
        for write in writes:
            if write["action"] == "cas" and rng.random() < 0.7:
                write["arg"] = model.version_of(write["key"])
        result, version, _, _ = store.commit(reads, (), writes)
        assert result == model.commit(reads, writes)
        if result == "ok":
            assert version == model.version
        key = rng.choice(KEYS)
        assert store.get(key) == model.live().get(key)
        if step % 100 == 0:
            store.check()
            check_scans(rng, store, model)
    sweep(store)
    store.check()
    assert store.keys() == len(model.live())


def sweep(store):
    """All of it: a step looks at a part of the slots only."""
    for _ in range(100):
        store.sweep()


def check_scans(rng, store, model):
    for _ in range(5):
        start, stop = rng.choice([b"", *KEYS]), rng.choice([b"", b"", *KEYS])
        limit, reverse = rng.choice([1, 3, 50, 256]), rng.random() < 0.5
        items, more, seen = store.scan(start, stop, limit, reverse)
        expected = model.scan(start, stop, limit, reverse)
        assert [key for key, _, _ in items] == expected
        assert [(v, value) for _, v, value in items] == [model.data[k][:2] for k in expected]
        assert more == (len(model.scan(start, stop, limit + 1, reverse)) > limit)
        assert seen == digest([(k, v) for k, v, _ in items])
        assert store.count(start, stop) == len(model.scan(start, stop, 1000, False))


@pytest.mark.parametrize("change", ["appear", "vanish", "change", "outside", "behind"])
@pytest.mark.parametrize("reverse", [False, True])
def test_range_that_changed_is_a_conflict(change, reverse):
    store = Store()
    for key in (b"b1", b"b3", b"b5", b"d1"):
        store.commit(writes=[put("set", key, b"\0x")])
    limit = 2 if change == "behind" else 10
    _, more, seen = store.scan(b"b", b"c", limit, reverse)
    assert more == (change == "behind")
    write = {
        "appear": put("set", b"b4", b"\0x"),
        "vanish": put("delete", b"b3"),
        "change": put("set", b"b3", b"\0y"),
        "outside": put("set", b"c1", b"\0x"),
        "behind": put("set", b"b1" if reverse else b"b5", b"\0y"),  # beyond the page's limit
    }[change]
    store.commit(writes=[write])
    conflict = store.commit((), [(b"b", b"c", limit, reverse, seen)], [put("set", b"z", b"\0")])[0]
    assert conflict == ("ok" if change in ("outside", "behind") else "conflict")


def test_failed_write_changes_nothing_and_is_named():
    store = Store()
    store.commit(writes=[put("set", b"there", b"\0x")])
    before = store.scan()[0]
    writes = [put("set", b"a", b"\0"), put("incr", b"n", by=1), put("add", b"there", b"\0y"), put("delete", b"there")]
    result, _, failed, _ = store.commit(writes=writes)
    assert (result, failed) == ("exists", 2)
    assert store.scan()[0] == before
    store.check()


def test_incr_of_what_overflows_is_refused():
    store = Store()
    assert store.commit(writes=[put("incr", b"n", by=1e308)])[0] == "ok"
    assert store.commit(writes=[put("incr", b"n", by=1e308)])[0] == "number"
    assert number(store.get(b"n")[1]) == 1e308


def test_expired_key_is_missing_before_it_is_swept():
    store = Store()
    store.commit(writes=[put("set", b"k", b"\0x", expires=now() + 30), put("set", b"other", b"\0x")])
    assert store.get(b"k") and store.count() == 2
    time.sleep(0.05)
    assert store.get(b"k") is None and store.count() == 1 and [i[0] for i in store.scan()[0]] == [b"other"]
    assert store.keys() == 2
    assert store.commit(writes=[put("add", b"k", b"\0again")])[0] == "ok"
    store.check()


def test_sweep_removes_all_that_expired_and_nothing_else():
    store = Store()
    for i in range(20000):
        expires = PAST if i % 2 else 0
        store.commit(writes=[put("set", b"%d" % i, b"\0" + b"x" * 50, expires=expires)])
    used, slots = store.used(), store.slots()
    sweep(store)
    assert store.keys() == 10000 and store.used() < used * 0.6
    store.check()
    for i in range(0, 20000, 2):
        store.commit(writes=[put("expire", b"%d" % i, expires=PAST)])
    sweep(store)
    assert store.keys() == 0 and store.used() == 0 and store.slots() < slots / 8
    store.check()


def test_count_of_more_keys_than_one_step():
    store = Store()
    for start in range(0, 40000, 2000):
        store.commit(writes=[put("set", b"k%05d" % i, b"\0", expires=i % 7 == 0) for i in range(start, start + 2000)])
    live = [i for i in range(40000) if i % 7]
    assert store.count() == store.count(b"k", b"l") == len(live)
    assert store.count(b"k10000", b"k30000") == sum(10000 <= i < 30000 for i in live)


def test_delete_prefix_goes_step_by_step():
    store = Store()
    for i in range(600):
        store.commit(writes=[put("set", b"p%03d" % i, b"\0x"), put("set", b"q%03d" % i, b"\0x")])
    steps = []
    while not steps or steps[-1][1]:
        steps.append(store.delete_prefix(b"p"))
    assert sum(n for n, _ in steps) == 600 and max(n for n, _ in steps) <= 256
    assert store.count() == 600 and store.count(b"p", b"q") == 0
    store.check()


def test_full_store_refuses_and_still_takes_less():
    store = Store(20_000)
    value = b"\0" + b"x" * 1000
    n = 0
    while store.commit(writes=[put("set", b"%d" % n, value)])[0] == "ok":
        n += 1
    assert 10 < n < 20 and store.used() <= 20_000
    store.check()
    assert store.commit(writes=[put("set", b"0", b"\0small"), put("add", b"new", b"\0")])[0] == "ok"
    assert store.commit(writes=[put("delete", b"1")])[0] == "ok"
    store.check()


def test_full_store_makes_room_from_what_has_expired():
    store = Store(20_000)
    value = b"\0" + b"x" * 1000
    for i in range(12):
        store.tick(1000 * i + 1000)
        store.commit(writes=[put("set", b"%d" % i, value, expires=PAST)])
    store.tick(100_000)
    assert store.keys() == 12
    for i in range(14):
        assert store.commit(writes=[put("set", b"new%d" % i, value)])[0] == "ok"
    assert store.count() == 14
    store.check()


def test_eviction_drops_what_was_not_used_for_longest():
    store = Store(200_000, True)
    value = b"\0" + b"x" * 1000
    for i in range(2000):
        store.tick(1000 + i * 100)
        assert store.commit(writes=[put("set", b"%d" % i, value)])[0] == "ok"
        assert store.get(b"0"), "a key in constant use was evicted"
    assert store.used() <= 200_000
    kept = sorted(int(key) for key, _, _ in store.scan(limit=256)[0])
    assert len(kept) > 100 and sum(k > 1500 for k in kept) > len(kept) * 0.8
    assert store.commit(writes=[put("set", b"huge", b"\0" * 300_000)])[0] == "full"
    store.check()


def test_threads_never_lose_an_update():
    """Transfers that read two accounts and write them; a sum of all that commits must be 0."""
    store, conflicts = Store(), []
    threads = [threading.Thread(target=lambda i=i: conflicts.append(store.transfer(i, 20000, 8))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conflicts) == 4
    assert sum(number(value) for _, _, value in store.scan()[0]) == 0
    store.check()
