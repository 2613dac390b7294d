"""What every backend of the K/V promises (heartc/kv_backend.py), on RocksDB, Redis, Valkey and a Redis cluster.

Keys of one commit have the hash tag {t}, as a cluster wants it."""

import random
import shutil
import time

import pytest
from redis_server import RedisCluster, RedisServer

from heartc import kv_number, kv_store
from heartc.kv_backend import (
    ADD,
    CAS,
    CONFLICT,
    DELETE,
    DELETE_PREFIX,
    EXISTS,
    EXPIRE,
    INCR,
    NOT_NUMBER,
    OK,
    PAGE_BYTES,
    PREFIX_STEP,
    SET,
    digest,
)
from heartc.kv_redis import RedisStore

SERVERS = ["redis", "redis-cluster"] + (["valkey"] if shutil.which("valkey-server") else [])


@pytest.fixture(scope="module", params=["disk", *SERVERS])
def place(request, tmp_path_factory):
    """Makes a store of one kind."""
    if request.param == "disk":
        yield lambda: kv_store.Store(tmp_path_factory.mktemp("kv") / "db")
    elif request.param == "redis-cluster":
        with RedisCluster(replicas=0) as cluster:
            yield lambda: RedisStore(cluster.url)
    else:
        with RedisServer(f"{request.param}-server") as server:
            yield lambda: RedisStore(server.url)


@pytest.fixture
def store(place):
    store = place()
    empty(store)
    yield store
    store.close()


def listed(store, start, stop, limit=10_000, reverse=False):
    """What a transaction remembers of a page."""
    items, _ = store.scan(start, stop, limit, reverse)
    return start, stop, limit, reverse, digest(items), 0


def empty(store):
    """Delete everything, step by step."""
    while store.count(b"", b""):
        store.commit([([], [], [(DELETE_PREFIX, b"", b"", 0, None)], False)])


def now_ms():
    return time.time_ns() // 1_000_000


def write(*writes, reads=(), ranges=(), sync=False):
    """A commit; a write is (action, key[, value[, expires[, arg]]])."""
    full = [(*w, *(b"", b"", 0, None)[len(w) - 1 :]) for w in writes]
    return list(reads), list(ranges), full, sync


def commit(store, *writes, **more):
    return store.commit([write(*writes, **more)])[0]


def value(store, key):
    record = store.read([key])[0]
    return record and record[2]


# ---- Commits -------------------------------------------------------------------------------------------------


def test_set_is_read_back_with_its_version(store):
    status, version, outcomes = commit(store, (SET, b"k", b"\0v"))
    assert (status, outcomes) == (OK, None)
    assert store.read([b"k", b"none"]) == [(version, 0, b"\0v"), None]


def test_any_bytes_are_keys_and_values(store):
    everything = bytes(range(256))
    for key in (b"\0", b"\xff" * 4096, everything, b"{", b"{}", b"a{b"):
        assert commit(store, (SET, key, b"\0" + everything))[0] == OK
        assert value(store, key) == b"\0" + everything


def test_large_value_is_read_back(store):
    large = b"\0" + random.Random(1).randbytes(16 << 20)
    assert commit(store, (SET, b"k", large))[0] == OK
    assert value(store, b"k") == large


def test_commits_of_a_group_have_growing_versions_and_see_each_other(store):
    results = store.commit(
        [write((SET, b"{t}a", b"\0" + b"1")), write((ADD, b"{t}a", b"\0" + b"2")), write((ADD, b"{t}b", b"\0" + b"3"))]
    )
    assert [r[0] for r in results] == [OK, EXISTS, OK]
    assert results[2][1] > results[0][1]
    assert value(store, b"{t}a") == b"\0" + b"1"


def test_version_never_comes_again_after_a_delete(store):
    versions = []
    for _ in range(20):
        versions.append(commit(store, (SET, b"k", b"\0v"))[1])
        versions.append(commit(store, (DELETE, b"k"))[1])
    assert len(set(versions)) == len(versions) and versions == sorted(versions)
    assert commit(store, (CAS, b"k", b"\0w", 0, versions[0]))[0] == CONFLICT


def test_read_of_another_version_is_a_conflict_and_changes_nothing(store):
    version = commit(store, (SET, b"{t}k", b"\0v"))[1]
    wrong = [(b"{t}k", version + 1)], [(b"{t}k", 0)], [(b"{t}none", version)]
    for reads in wrong:
        assert commit(store, (SET, b"{t}k", b"\0w"), (SET, b"{t}x", b"\0y"), reads=reads)[0] == CONFLICT
    assert store.read([b"{t}k", b"{t}x"]) == [(version, 0, b"\0v"), None]
    assert commit(store, reads=[(b"{t}k", version + 1)]) == (CONFLICT, 0, None)
    reads = [(b"{t}k", version), (b"{t}none", 0)]
    assert commit(store, (SET, b"{t}k", b"\0w"), reads=reads)[0] == OK


def test_refused_commit_takes_its_earlier_writes_back(store):
    commit(store, (SET, b"{t}there", b"\0v"))
    group = [
        write((SET, b"{t}a", b"\0" + b"1")),
        write((SET, b"{t}a", b"\0" + b"2"), (DELETE, b"{t}there"), (ADD, b"{t}a", b"\0" + b"3")),
        write((CAS, b"{t}b", b"\0" + b"4", 0, 0)),
    ]
    results = store.commit(group)
    assert [r[0] for r in results] == [OK, EXISTS, OK]
    assert results[1][2] == 2, "the position of the write"
    assert [value(store, k) for k in (b"{t}a", b"{t}there", b"{t}b")] == [b"\0" + b"1", b"\0v", b"\0" + b"4"]


def test_later_writes_of_a_commit_see_the_earlier(store):
    result = commit(
        store,
        (SET, b"{t}n", kv_number.encode(1)),
        (INCR, b"{t}n", None, 0, (2, 0)),
        (DELETE, b"{t}n"),
        (ADD, b"{t}n", kv_number.encode(7)),
        (INCR, b"{t}n", None, 0, (1, 0)),
    )
    assert result[0] == OK and result[2] == [None, sum_of(3), True, None, sum_of(8)]
    assert value(store, b"{t}n") == kv_number.encode(8)


def test_cas_wants_the_version(store):
    version = commit(store, (CAS, b"k", b"\0v", 0, 0))[1]
    assert commit(store, (CAS, b"k", b"\0w", 0, 0)) == (CONFLICT, version, 0)
    assert commit(store, (CAS, b"none", b"\0w", 0, version)) == (CONFLICT, 0, 0)
    after = commit(store, (CAS, b"k", b"\0w", 0, version))[1]
    assert value(store, b"k") == b"\0w"
    assert commit(store, (CAS, b"k", None, 0, version)) == (CONFLICT, after, 0)
    assert commit(store, (CAS, b"k", None, 0, after))[0] == OK
    assert value(store, b"k") is None


def test_add_tells_the_version_that_is_there(store):
    version = commit(store, (ADD, b"k", b"\0v"))[1]
    assert commit(store, (ADD, b"k", b"\0w")) == (EXISTS, version, 0)


def test_delete_tells_whether_the_key_was_there(store):
    commit(store, (SET, b"{t}k", b"\0v"))
    assert commit(store, (DELETE, b"{t}k"), (DELETE, b"{t}none"))[2] == [True, False]


def test_expire_keeps_the_value_and_makes_no_key(store):
    then = now_ms() + 60_000
    commit(store, (SET, b"k", b"\0v"))
    assert commit(store, (EXPIRE, b"k", b"", then))[2] == [b"\0v"]
    assert abs(store.read([b"k"])[0][1] - then) < 2000
    assert commit(store, (EXPIRE, b"k", b"", 0))[0] == OK
    assert store.read([b"k"])[0][1:] == (0, b"\0v")
    status, _, outcomes = commit(store, (EXPIRE, b"none", b"", then))
    assert status == OK and outcomes in (None, [None])
    assert value(store, b"none") is None


def test_delete_prefix_gives_the_keys_and_sees_the_commit(store):
    commit(store, (SET, b"{t}p1", b"\0"), (SET, b"{t}p2", b"\0"), (SET, b"{t}q", b"\0"))
    results = store.commit(
        [
            write((SET, b"{t}p3", b"\0"), (DELETE, b"{t}p1")),
            write((SET, b"{t}p4", b"\0"), (DELETE_PREFIX, b"{t}p"), (SET, b"{t}p5", b"\0")),
        ]
    )
    assert results[1][2] == [None, [b"{t}p2", b"{t}p3", b"{t}p4"], None]
    assert [item[0] for item in store.scan(b"", b"", 10)[0]] == [b"{t}p5", b"{t}q"]


def test_delete_prefix_without_a_hash_tag_deletes_everywhere(store):
    store.commit([write((SET, b"p%d" % i, b"\0")) for i in range(300)] + [write((SET, b"q", b"\0"))])
    assert commit(store, (DELETE_PREFIX, b"p"))[2] == [sorted(b"p%d" % i for i in range(300))]
    assert store.count(b"", b"") == 1


def test_delete_prefix_of_many_keys_goes_in_steps(store):
    keys = [b"{t}%05d" % i for i in range(PREFIX_STEP + 500)]
    store.commit([write((SET, key, b"\0")) for key in keys])
    assert commit(store, (DELETE_PREFIX, b"{t}"))[2] == [keys[:PREFIX_STEP]]
    assert commit(store, (DELETE_PREFIX, b"{t}"))[2] == [keys[PREFIX_STEP:]]
    assert store.count(b"", b"") == 0


# ---- Numbers -------------------------------------------------------------------------------------------------

PACKED = [
    "07",
    "ff",
    "ccff",
    "cd0100",
    "ceffffffff",
    "cf0000000100000000",
    "d0ff",
    "d1ff00",
    "d280000000",
    "d3" + 16 * "f",
]
FORMS = [b"\1" + bytes.fromhex(p) for p in [*PACKED, "ca3fc00000", "cb3ff8000000000000"]]
TEXTS = [b"\0" + text for text in (b"12", b"-1.5", b"+2", b".5", b"5.", b" 7", b"1e3", b"1E-2", b"0" * 62 + b"7")]
NO_TEXTS = (b"", b"x", b"nan", b"inf", b" 1 2", b"0x10", b"1.2.3", b".", b"1e999", b"0" * 63 + b"7")
NO_FORMS = ("", "c3", "d300", "cb7ff0000000000000", "cb7ff8000000000000")
WRONG = [b"\2\1", *(b"\0" + text for text in NO_TEXTS), *(b"\1" + bytes.fromhex(form) for form in NO_FORMS)]


def sum_of(number, expires=0):
    """The outcome of an increment."""
    return number, kv_number.encode(number), expires


def incr(store, by, init=0, expires=0):
    return commit(store, (INCR, b"n", None, expires, (by, init)))


@pytest.mark.parametrize("form", [*FORMS, *TEXTS], ids=repr)
def test_incr_understands_every_form_of_a_number(store, form):
    commit(store, (SET, b"n", form))
    wanted = kv_number.decode(form) + 0.25
    assert incr(store, 0.25)[2] == [sum_of(wanted)]
    assert value(store, b"n") == kv_number.encode(wanted)


@pytest.mark.parametrize("form", WRONG, ids=repr)
def test_incr_of_what_is_no_number_is_refused(store, form):
    version = commit(store, (SET, b"n", form))[1]
    assert incr(store, 1) == (NOT_NUMBER, version, 0)
    assert value(store, b"n") == form


@pytest.mark.parametrize(
    "by",
    [-1, 5, -33, 126, 127, -129, -130, 32766, 32767, -32769, -32770, 1 << 31, (1 << 31) - 2, -(1 << 31) - 1]
    + [-8.5, 0.1, 1 << 52, (1 << 53) - 1, -(1 << 53), 1 << 53, 1e300, 123456789.123456789],
)
def test_incr_counts_as_doubles_do(store, by):
    assert incr(store, by, 1)[2] == [sum_of(1.0 + by)]
    assert incr(store, by, 1)[2] == [sum_of(1.0 + by + by)]


def test_incr_keeps_the_time_of_a_number_that_is_there(store):
    then = now_ms() + 60_000
    incr(store, 1, expires=then)
    expires = store.read([b"n"])[0][1]
    assert abs(expires - then) < 2000
    assert incr(store, 1)[2] == [sum_of(2, expires)]
    assert store.read([b"n"])[0][1] == expires


def test_sum_that_is_not_finite_is_refused(store):
    version = commit(store, (SET, b"n", kv_number.encode(1.7e308)))[1]
    assert incr(store, 1.7e308) == (NOT_NUMBER, version, 0)


# ---- Ranges --------------------------------------------------------------------------------------------------


def test_range_that_changed_is_a_conflict(store):
    commit(store, (SET, b"{t}p1", b"\0"), (SET, b"{t}p2", b"\0"))
    seen = listed(store, b"{t}p", b"{t}q")
    assert commit(store, (SET, b"{t}x", b"\0"), ranges=[seen])[0] == OK
    assert commit(store, (SET, b"{t}p15", b"\0"))[0] == OK
    assert commit(store, (SET, b"{t}x", b"\0y"), ranges=[seen])[0] == CONFLICT
    commit(store, (DELETE, b"{t}p15"))
    assert commit(store, (SET, b"{t}x", b"\0z"), ranges=[seen])[0] == OK
    commit(store, (SET, b"{t}p1", b"\0"))
    assert commit(store, (SET, b"{t}x", b"\0"), ranges=[seen])[0] == CONFLICT
    assert value(store, b"{t}x") == b"\0z"


def test_range_that_an_earlier_commit_of_the_group_changed_is_a_conflict(store):
    commit(store, (SET, b"{t}p1", b"\0"))
    seen = listed(store, b"{t}p", b"{t}q")
    group = [write((SET, b"{t}p2", b"\0")), write((SET, b"{t}x", b"\0"), ranges=[seen])]
    assert [r[0] for r in store.commit(group)] == [OK, CONFLICT]


def test_range_that_only_grew_beyond_its_end_holds(store):
    commit(store, *((SET, b"{t}p%d" % i, b"\0") for i in range(5)))
    seen = listed(store, b"{t}p", b"{t}p2")
    commit(store, (SET, b"{t}p2", b"\0new"), (DELETE, b"{t}p4"), (SET, b"{t}o", b"\0"))
    assert commit(store, ranges=[seen])[0] == OK
    commit(store, (DELETE, b"{t}p1"), (SET, b"{t}p11", b"\0"))
    assert commit(store, ranges=[seen])[0] == CONFLICT


def test_limited_range_sees_only_what_it_gave(store):
    commit(store, *((SET, b"{t}p%d" % i, b"\0") for i in range(5)))
    first = listed(store, b"{t}p", b"{t}q", 2)
    last = listed(store, b"{t}p", b"{t}q", 2, True)
    commit(store, (SET, b"{t}p2", b"\0new"))
    assert commit(store, ranges=[first, last])[0] == OK
    commit(store, (DELETE, b"{t}p4"))
    assert commit(store, ranges=[first])[0] == OK
    assert commit(store, ranges=[last])[0] == CONFLICT


def test_range_that_ended_early_is_the_same_page_again(store):
    large = b"\0" + bytes(PAGE_BYTES // 2)
    for i in range(4):
        commit(store, (SET, b"{t}p%d" % i, large))
    items, more = store.scan(b"{t}p", b"{t}q", 100)
    assert len(items) == 2 and more
    assert [item[:3] for item in store.scan(b"{t}p", b"{t}q", 100, keys_only=True)[0]] == [item[:3] for item in items]
    seen = listed(store, b"{t}p", b"{t}q", 100)
    commit(store, (SET, b"{t}p3", b"\0"))
    assert commit(store, ranges=[seen])[0] == OK
    commit(store, (DELETE, b"{t}p0"))
    assert commit(store, ranges=[seen])[0] == CONFLICT


def test_range_of_thousands_of_keys_is_checked(store):
    store.commit([write((SET, b"{t}%05d" % i, b"\0")) for i in range(3000)])
    seen = listed(store, b"{t}", b"{t~")
    assert commit(store, (SET, b"{t}x", b"\0"), ranges=[seen])[0] == OK
    assert commit(store, (SET, b"{t}x", b"\0"), ranges=[seen])[0] == CONFLICT


# ---- Scans ---------------------------------------------------------------------------------------------------

KEYS = [b"\0", b"\0\0", b"a", b"a\0", b"a\0\1", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff", b"[a", b"(a", b"-"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("start", [b"", b"\0", b"a", b"a\0\0", b"\xff", b"\xff\xff\xff"])
@pytest.mark.parametrize("stop", [b"", b"\0", b"a", b"a\0\1", b"\xff\xff"])
def test_scan_gives_the_range_in_bytewise_order(store, start, stop, reverse):
    store.commit([write((SET, key, b"\0" + key)) for key in KEYS])
    wanted = sorted((k for k in KEYS if k >= start and (not stop or k < stop)), reverse=reverse)
    items, more = store.scan(start, stop, 100, reverse)
    assert [(k, v) for k, _, _, v in items] == [(k, b"\0" + k) for k in wanted]
    assert not more
    assert store.count(start, stop) == len(wanted)
    items, more = store.scan(start, stop, 2, reverse, keys_only=True)
    assert [(k, v) for k, _, _, v in items] == [(k, b"") for k in wanted[:2]]
    assert more == (len(wanted) > 2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("tag", [b"", b"{t}"])
def test_scan_of_many_keys_goes_on_where_it_stopped(store, reverse, tag):
    keys = [tag + b"%06d" % i for i in range(3000)]
    store.commit([write((SET, key, b"\0" + key)) for key in keys])
    found, low, high, more = [], tag, b"", True
    while more:
        page, more = store.scan(low, high, 700, reverse)
        found += [key for key, _, _, value in page if value == b"\0" + key]
        low, high = (low, page[-1][0]) if reverse else (page[-1][0] + b"\0", high)
    assert found == sorted(keys, reverse=reverse)
    assert store.count(tag, b"") == len(keys)


# ---- Expiry --------------------------------------------------------------------------------------------------


def test_expired_key_is_missing_everywhere_at_once(store):
    version = commit(store, (SET, b"k", b"\0v", now_ms() + 300))[1]
    seen = listed(store, b"k", b"l")
    assert value(store, b"k") == b"\0v"
    assert store.count(b"", b"") == 1
    time.sleep(0.32)
    assert value(store, b"k") is None
    assert store.scan(b"", b"", 10) == ([], False)
    assert store.count(b"", b"") == 0
    assert commit(store, (SET, b"k", b"\0"), reads=[(b"k", version)])[0] == CONFLICT
    if len(getattr(store, "bases", "1")) == 1:
        assert commit(store, (SET, b"k", b"\0"), ranges=[seen])[0] == CONFLICT
    assert commit(store, (ADD, b"k", b"\0new"), reads=[(b"k", 0)])[0] == OK


def test_time_that_has_passed_makes_a_key_missing(store):
    commit(store, (SET, b"k", b"\0v"))
    assert commit(store, (SET, b"k", b"\0w", now_ms() - 5000))[0] == OK
    assert value(store, b"k") is None
    assert store.count(b"", b"") == 0


def test_sweep_removes_what_expired_and_nothing_else(store):
    soon = now_ms() + 300
    store.commit([write((SET, b"%d" % i, b"\0", soon)) for i in range(5)] + [write((SET, b"stays", b"\0"))])
    store.commit([write((SET, b"1", b"\0again")), write((EXPIRE, b"2", b"", soon + 60_000)), write((DELETE, b"3"))])
    time.sleep(0.32)
    assert sorted(sweep_all(store)) == [b"0", b"4"]
    assert [i[0] for i in store.scan(b"", b"", 10)[0]] == [b"1", b"2", b"stays"]
    assert sweep_all(store) == []


def sweep_all(store):
    """What a full round of sweeps removes; a cluster is swept in parts."""
    return [key for _ in range(16) for key in getattr(store, "sweep_step", store.sweep)(1000)]


# ---- Against a model -----------------------------------------------------------------------------------------


class Model:
    """What the store should hold."""

    def __init__(self):
        self.data = {}

    def commit(self, writes):
        data = dict(self.data)
        for action, key, *rest in writes:
            if action == SET or (action == ADD and key not in data):
                data[key] = rest[0]
            elif action == ADD:
                return EXISTS
            elif action == DELETE:
                data.pop(key, None)
            elif action == DELETE_PREFIX:
                data = {k: v for k, v in data.items() if not k.startswith(key)}
            elif action == INCR:
                data[key] = kv_number.encode(kv_number.decode(data[key]) + 1 if key in data else 4)
        self.data = data
        return OK


def random_write(rng):
    key = b"{t}" + rng.choice([b"a", b"ab", b"b", b"b\0", b"c"])
    action = rng.choice([SET, SET, ADD, DELETE, DELETE_PREFIX, INCR])
    if action == DELETE_PREFIX:
        return action, b"{t}" + rng.choice([b"a", b"b", b""])
    if action == DELETE:
        return action, key
    return action, key, kv_number.encode(rng.randrange(100)), 0, (1, 3)


@pytest.mark.parametrize("seed", range(5))
def test_random_commits_agree_with_a_model(store, seed):
    rng, model = random.Random(seed), Model()
    for _ in range(60):
        group = [[random_write(rng) for _ in range(rng.randrange(5))] for _ in range(rng.randrange(1, 6))]
        results = store.commit([write(*one) for one in group])
        assert [r[0] for r in results] == [model.commit(one) for one in group]
        assert {k: v for k, _, _, v in store.scan(b"", b"", 100)[0]} == model.data
