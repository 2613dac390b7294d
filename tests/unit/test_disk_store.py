"""heartc/kv_store.py on a real RocksDB, without a server: records, commits and their checks, expiry, opening."""

import os
import random
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from heart_server import ROOT, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from heartc import kv_number, kv_store
from heartc.kv_backend import (
    ADD,
    CAS,
    CONFLICT,
    DELETE,
    DELETE_PREFIX,
    EXISTS,
    EXPIRE,
    FAILED,
    INCR,
    NOT_NUMBER,
    OK,
    PAGE_BYTES,
    PREFIX_STEP,
    SET,
    StoreError,
    digest,
    prefix_stop,
)


def seen(store, start, stop, limit=100, reverse=False):
    """What a transaction remembers of a page."""
    return start, stop, limit, reverse, digest(store.scan(start, stop, limit, reverse)[0]), store.version


class Clock:
    """Unix milliseconds that a test sets."""

    def __init__(self, now=1_700_000_000_000):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = kv_store.Store(tmp_path / "db", clock=clock)
    yield store
    store.close()


def write(*writes, reads=(), ranges=(), sync=False):
    """A commit; a write is (action, key[, value[, expires[, arg]]])."""
    full = [(*w, *(b"", b"", 0, None)[len(w) - 1 :]) for w in writes]
    return list(reads), list(ranges), full, sync


def commit(store, *writes, **more):
    return store.commit([write(*writes, **more)])[0]


def value(store, key):
    record = store.read([key])[0]
    return record and record[2]


def reopened(store):
    store.close()
    return kv_store.Store(store.path, clock=store.clock)


# ---- Commits -------------------------------------------------------------------------------------------------


def test_set_is_read_back_with_its_version(store):
    status, version, outcomes = commit(store, (SET, b"k", b"\0v"))
    assert (status, outcomes) == (OK, None)
    assert store.read([b"k", b"none"]) == [(version, 0, b"\0v"), None]


def test_commits_of_a_group_have_growing_versions_and_see_each_other(store):
    results = store.commit(
        [write((SET, b"a", b"\0" + b"1")), write((ADD, b"a", b"\0" + b"2")), write((ADD, b"b", b"\0" + b"3"))]
    )
    assert [r[0] for r in results] == [OK, EXISTS, OK]
    assert results[2][1] > results[0][1]
    assert value(store, b"a") == b"\0" + b"1"


def test_versions_grow_over_a_restart(store):
    before = commit(store, (SET, b"k", b"\0v"))[1]
    again = reopened(store)
    assert commit(again, (SET, b"k", b"\0v"))[1] > before
    again.close()


def test_read_of_another_version_is_a_conflict_and_changes_nothing(store):
    version = commit(store, (SET, b"k", b"\0v"))[1]
    assert commit(store, (SET, b"k", b"\0w"), (SET, b"x", b"\0y"), reads=[(b"k", version + 1)])[0] == CONFLICT
    assert commit(store, (SET, b"k", b"\0w"), reads=[(b"k", 0)])[0] == CONFLICT
    assert commit(store, (SET, b"k", b"\0w"), reads=[(b"none", version)])[0] == CONFLICT
    assert store.read([b"k", b"x"]) == [(version, 0, b"\0v"), None]
    assert commit(store, (SET, b"k", b"\0w"), reads=[(b"k", version), (b"none", 0)])[0] == OK


def test_refused_commit_takes_its_earlier_writes_back(store):
    commit(store, (SET, b"there", b"\0v"))
    group = [
        write((SET, b"a", b"\0" + b"1")),
        write((SET, b"a", b"\0" + b"2"), (DELETE, b"there"), (ADD, b"a", b"\0" + b"3")),
        write((CAS, b"b", b"\0" + b"4", 0, 0)),
    ]
    assert [r[0] for r in store.commit(group)] == [OK, EXISTS, OK]
    assert [value(store, k) for k in (b"a", b"there", b"b")] == [b"\0" + b"1", b"\0v", b"\0" + b"4"]


def test_cas_wants_the_version(store):
    version = commit(store, (CAS, b"k", b"\0v", 0, 0))[1]
    assert commit(store, (CAS, b"k", b"\0w", 0, 0))[0] == CONFLICT
    assert commit(store, (CAS, b"k", b"\0w", 0, version))[0] == OK
    assert value(store, b"k") == b"\0w"


def test_incr_counts_and_gives_the_sum(store):
    six, less = kv_number.encode(6), kv_number.encode(-2.5)
    assert commit(store, (INCR, b"n", None, 0, (5, 1)))[2] == [(6, six, 0)]
    assert commit(store, (INCR, b"n", None, 0, (-8.5, 1)))[2] == [(-2.5, less, 0)]
    assert value(store, b"n") == less


def test_incr_keeps_the_time_of_a_number_that_is_there(store, clock):
    end = clock.now + 5
    assert commit(store, (INCR, b"n", None, end, (1, 0)))[2] == [(1, kv_number.encode(1), end)]
    assert commit(store, (INCR, b"n", None, 0, (1, 0)))[2] == [(2, kv_number.encode(2), end)]
    clock.now = end
    assert commit(store, (INCR, b"n", None, 0, (1, 0)))[2] == [(1, kv_number.encode(1), 0)]


def test_incr_of_a_text_is_refused(store):
    version = commit(store, (SET, b"k", b"\0twelve"))[1]
    assert commit(store, (SET, b"x", b"\0"), (INCR, b"k", None, 0, (1, 0))) == (NOT_NUMBER, version, 1)
    assert [value(store, b"k"), value(store, b"x")] == [b"\0twelve", None]


def test_incr_counts_on_from_the_text_of_a_number(store):
    commit(store, (SET, b"k", b"\0" + b"41"))
    assert commit(store, (INCR, b"k", None, 0, (1, 0)))[2][0][0] == 42


def test_expire_keeps_the_value_and_a_missing_key_is_no_failure(store, clock):
    commit(store, (SET, b"k", b"\0v"))
    assert commit(store, (EXPIRE, b"k", None, clock.now + 5))[2] == [b"\0v"]
    assert store.read([b"k"])[0][1] == clock.now + 5
    assert commit(store, (EXPIRE, b"none", None, clock.now + 5))[::2] == (OK, [None])
    assert value(store, b"none") is None


def test_delete_tells_whether_there_was_something(store):
    commit(store, (SET, b"k", b"\0v"))
    assert commit(store, (DELETE, b"k"), (DELETE, b"k"), (DELETE, b"none"))[2] == [True, False, False]


def test_cas_without_a_value_deletes(store):
    version = commit(store, (SET, b"k", b"\0v"))[1]
    assert commit(store, (CAS, b"k", None, 0, version + 1)) == (CONFLICT, version, 0)
    assert commit(store, (CAS, b"k", None, 0, version))[0] == OK
    assert value(store, b"k") is None


def test_delete_prefix_gives_the_keys_and_sees_the_group(store):
    commit(store, (SET, b"p1", b"\0"), (SET, b"p2", b"\0"), (SET, b"q", b"\0"))
    results = store.commit(
        [
            write((SET, b"p3", b"\0"), (DELETE, b"p1")),
            write((SET, b"p4", b"\0"), (DELETE_PREFIX, b"p"), (SET, b"p5", b"\0")),
        ]
    )
    assert results[1][2] == [None, [b"p2", b"p3", b"p4"], None]
    assert [item[0] for item in store.scan(b"", b"", 10)[0]] == [b"p5", b"q"]


@pytest.mark.parametrize("change", [(SET, b"p15", b"\0"), (SET, b"p1", b"\0"), (DELETE, b"p2"), (DELETE_PREFIX, b"p")])
def test_range_that_changed_is_a_conflict(store, change):
    commit(store, (SET, b"p1", b"\0"), (SET, b"p2", b"\0"))
    range_ = seen(store, b"p", b"q")
    assert commit(store, (SET, b"x", b"\0"), (SET, b"o", b"\0"), (SET, b"q", b"\0"), ranges=[range_])[0] == OK
    assert commit(store, (SET, b"x", b"\0"), ranges=[range_])[0] == OK
    group = [write(change), write((SET, b"x", b"\0y"), ranges=[range_])]
    assert [r[0] for r in store.commit(group)] == [OK, CONFLICT]
    assert value(store, b"x") == b"\0"


def test_limited_range_sees_only_what_it_gave(store):
    commit(store, *((SET, b"p%d" % i, b"\0") for i in range(5)))
    first, last = seen(store, b"p", b"q", 2), seen(store, b"p", b"q", 2, True)
    commit(store, (SET, b"p2", b"\0new"))
    assert commit(store, (SET, b"x", b"\0"), ranges=[first, last])[0] == OK
    commit(store, (DELETE, b"p4"))
    assert commit(store, ranges=[first])[0] == OK
    assert commit(store, ranges=[last])[0] == CONFLICT


def test_delete_prefix_ends_at_its_step(store):
    commit(store, *((SET, b"p%04d" % i, b"\0") for i in range(PREFIX_STEP + 10)), (SET, b"q", b"\0"))
    assert len(commit(store, (DELETE_PREFIX, b"p"))[2][0]) == PREFIX_STEP
    assert len(commit(store, (DELETE_PREFIX, b"p"))[2][0]) == 10
    assert store.count(b"", b"") == 1


def test_delete_prefix_goes_beyond_one_page(store):
    large = b"\0" + bytes(PAGE_BYTES // 2)
    commit(store, *((SET, b"p%d" % i, large) for i in range(7)), (SET, b"q", b"\0"))
    assert len(commit(store, (DELETE_PREFIX, b"p"))[2][0]) == 7
    assert store.count(b"", b"") == 1


# ---- Scans ---------------------------------------------------------------------------------------------------

KEYS = [b"\0", b"\0\0", b"a", b"a\0", b"a\0\1", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("start", [b"", b"\0", b"a", b"a\0\0", b"a\xff", b"\xff", b"\xff\xff\xff"])
@pytest.mark.parametrize("stop", [b"", b"\0", b"a", b"a\0\1", b"b", b"\xff\xff"])
def test_scan_gives_the_range_in_bytewise_order(store, start, stop, reverse):
    commit(store, *((SET, key, b"\0" + key) for key in KEYS))
    wanted = sorted((k for k in KEYS if k >= start and (not stop or k < stop)), reverse=reverse)
    items, more = store.scan(start, stop, 100, reverse)
    assert [(k, v) for k, _, _, v in items] == [(k, b"\0" + k) for k in wanted]
    assert not more
    assert store.count(start, stop) == len(wanted)
    items, more = store.scan(start, stop, 2, reverse, keys_only=True)
    assert [(k, v) for k, _, _, v in items] == [(k, b"") for k in wanted[:2]]
    assert more == (len(wanted) > 2)


def test_scan_ends_a_page_of_large_values(store):
    large = b"\0" + bytes(PAGE_BYTES // 2)
    for i in range(5):
        commit(store, (SET, b"%d" % i, large))
    items, more = store.scan(b"", b"", 100)
    assert more and 2 <= len(items) < 5


@pytest.mark.parametrize(
    ("prefix", "stop"), [(b"a", b"b"), (b"", b""), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"a\0", b"a\1")]
)
def test_prefix_stop_is_the_first_key_behind(prefix, stop):
    assert prefix_stop(prefix) == stop


# ---- Expiry --------------------------------------------------------------------------------------------------


def test_expired_key_is_missing_everywhere_at_once(store, clock):
    commit(store, (SET, b"k", b"\0v", clock.now + 10))
    clock.now += 9
    assert value(store, b"k") == b"\0v"
    clock.now += 1
    assert value(store, b"k") is None
    assert store.scan(b"", b"", 10) == ([], False)
    assert store.count(b"", b"") == 0
    assert commit(store, (ADD, b"k", b"\0new"), reads=[(b"k", 0)])[0] == OK


def test_sweep_removes_what_expired_and_nothing_else(store, clock):
    commit(store, *((SET, b"%d" % i, b"\0", clock.now + 10) for i in range(5)), (SET, b"stays", b"\0"))
    commit(store, (SET, b"1", b"\0again"), (EXPIRE, b"2", b"", clock.now + 50), (DELETE, b"3"))
    clock.now += 10
    before = store.version
    assert store.sweep(100) == [b"0", b"4"]
    assert store.version > before
    assert [i[0] for i in store.scan(b"", b"", 10)[0]] == [b"1", b"2", b"stays"]
    assert store.sweep(100) == []
    clock.now += 40
    assert store.sweep(100) == [b"2"]
    assert [k for k, _ in store.rows(kv_store.EXPIRY, kv_store.EXPIRY_STOP)] == []


def test_sweep_works_in_steps(store, clock):
    commit(store, *((SET, b"%03d" % i, b"\0", clock.now + 1) for i in range(100)))
    clock.now += 1
    steps = []
    while step := store.sweep(10):
        steps.append(len(step))
    assert sum(steps) == 100 and max(steps) <= 10


def test_expired_key_stays_gone_over_a_restart(store, clock):
    commit(store, (SET, b"k", b"\0v", clock.now + 10), (SET, b"l", b"\0v", clock.now + 1000))
    clock.now += 10
    again = reopened(store)
    assert again.read([b"k", b"l"])[0] is None
    assert again.sweep(10) == [b"k"]
    assert value(again, b"l") == b"\0v"
    again.close()


def test_clock_that_goes_back_lets_keys_live_longer_and_loses_none(store, clock):
    commit(store, (SET, b"old", b"\0v", clock.now + 10), (SET, b"swept", b"\0v", clock.now + 5))
    clock.now += 5
    assert store.sweep(10) == [b"swept"]
    clock.now -= 3_600_000
    again = reopened(store)
    assert again.read([b"old", b"swept"]) == [(1, clock.now + 3_600_005, b"\0v"), None]
    assert commit(again, (SET, b"new", b"\0v", clock.now + 10))[0] == OK
    clock.now += 10
    assert again.sweep(10) == [b"new"]
    again.close()


# ---- Against a model -----------------------------------------------------------------------------------------

SOME_KEY = st.sampled_from([b"a", b"ab", b"b", b"b\0", b"c"])
TEXT = st.binary(max_size=3).map(lambda b: b"\0" + b)
WRITE = st.one_of(
    st.tuples(st.just(SET), SOME_KEY, TEXT, st.sampled_from([0, 5, 50])),
    st.tuples(st.just(ADD), SOME_KEY, TEXT, st.sampled_from([0, 5])),
    st.tuples(st.just(DELETE), SOME_KEY),
    st.tuples(st.just(DELETE_PREFIX), st.sampled_from([b"a", b"b", b""])),
    st.tuples(st.just(EXPIRE), SOME_KEY, st.just(b""), st.sampled_from([0, 5, 50])),
)
STEP = st.one_of(
    st.lists(st.lists(WRITE, max_size=4), min_size=1, max_size=4),
    st.sampled_from([1, 7, 100, "sweep", "reopen"]),
)


class Model:
    """What the store should hold: key → (value, expires)."""

    def __init__(self):
        self.data = {}

    def live(self, now):
        return {k: v for k, v in self.data.items() if not 0 < v[1] <= now}

    def commit(self, writes, now):
        data = self.live(now)
        for action, key, *rest in writes:
            if action == SET or (action == ADD and key not in data):
                data[key] = (rest[0], rest[1])
            elif action == ADD:
                return EXISTS
            elif action == DELETE:
                data.pop(key, None)
            elif action == DELETE_PREFIX:
                data = {k: v for k, v in data.items() if not k.startswith(key)}
            elif key in data:
                data[key] = (data[key][0], rest[1])
        self.data = data
        return OK


def absolute(step, now):
    """The commits of a step with times that count from now."""
    return [
        [(a, k, *(rest[:1]), *([rest[1] and rest[1] + now] if len(rest) > 1 else [])) for a, k, *rest in one]
        for one in step
    ]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=12))
def test_random_commits_agree_with_a_model(tmp_path_factory, steps):
    clock, model = Clock(1000), Model()
    store = kv_store.Store(tmp_path_factory.mktemp("model") / "db", clock=clock)
    for step in steps:
        if step == "sweep":
            store.sweep(2)
        elif step == "reopen":
            store = reopened(store)
        elif isinstance(step, int):
            clock.now += step
        else:
            group = absolute(step, clock.now)
            results = store.commit([write(*one) for one in group])
            assert [r[0] for r in results] == [model.commit(one, clock.now) for one in group]
        found = {k: (v, e) for k, _, e, v in store.scan(b"", b"", 100)[0]}
        assert found == model.live(clock.now)
    store.close()


# ---- Numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [0, -0.0, 127, 128, -32, -33, -129, 40000, 1 << 31, 1, -1, 0.5, 1e300, -(1 << 53), (1 << 53) - 1, 1 << 60]
)
def test_number_round_trips(number):
    assert str(float(kv_number.decode(kv_number.encode(number)))) == str(float(number))


@pytest.mark.parametrize(
    ("packed", "number"),
    [("07", 7), ("ff", -1), ("ccff", 255), ("cd0100", 256), ("d0ff", -1), ("d1ff00", -256), ("ca3fc00000", 1.5)],
)
def test_every_form_of_a_number_is_understood(packed, number):
    assert kv_number.decode(b"\1" + bytes.fromhex(packed)) == number


@pytest.mark.parametrize(
    "text", [b"", b"\0", b"\0x", b"\0nan", b"\0inf", b"\0 1 2", b"\1", b"\1\xc3", b"\1\xd3\0", b"\2\1"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="not a number|not finite"):
        kv_number.decode(text)


def test_sum_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        kv_number.total(1.7e308, 1.7e308)


# ---- Opening -------------------------------------------------------------------------------------------------


def failure(path, **more):
    with pytest.raises(StoreError) as caught:
        kv_store.Store(path, **more).close()
    return str(caught.value)


def test_open_by_another_process_names_it_and_what_helps(tmp_path):
    code = f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from heartc.kv_store import Store
        store = Store({str(tmp_path / "db")!r})
        print("open", flush=True)
        sys.stdin.read()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"open\n"
        message = failure(tmp_path / "db")
    finally:
        holder.communicate(b"")
    assert f"process {holder.pid} has this database open" in message and "heart kv" in message


def test_open_twice_in_one_process_is_refused(store):
    assert "open already" in failure(store.path)


def test_newer_format_is_refused(store):
    batch = store.Batch(raw_mode=True)
    batch.put(kv_store.FORMAT_KEY, struct.pack("<Q", kv_store.FORMAT + 1))
    store.write(lambda: batch)
    store.close()
    message = failure(store.path)
    assert f"newer Heart (format {kv_store.FORMAT + 1}" in message and "heart kv export" in message


def test_older_format_is_upgraded_once(store, monkeypatch):
    """There is one format so far: the next one is made up here."""
    commit(store, (SET, b"k", b"\0v"))
    store.close()
    calls = []
    monkeypatch.setattr(kv_store, "FORMAT", 2)
    monkeypatch.setitem(kv_store.UPGRADES, 1, calls.append)
    for _ in range(2):
        kv_store.Store(store.path).close()
    assert len(calls) == 1
    monkeypatch.setattr(kv_store, "FORMAT", 1)
    assert "format 2" in failure(store.path)


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = failure(tmp_path)
    assert "notes.txt" in message and "--db" in message
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_database_whose_making_was_cut_off_is_made(tmp_path):
    (tmp_path / "db").mkdir()
    for name in ("MANIFEST-000001", "000001.dbtmp", "IDENTITY", "LOCK", "LOG"):
        (tmp_path / "db" / name).write_bytes(b"cut")
    store = kv_store.Store(tmp_path / "db")
    assert commit(store, (SET, b"k", b"\0v"))[0] == OK
    store.close()


def test_foreign_rocksdb_is_refused(tmp_path):
    rocks = kv_store.load_rocksdict()
    db = rocks.Rdict(str(tmp_path / "db"), kv_store.database_options(rocks))
    db.put(b"k", b"v")
    db.close()
    assert "not a database of Heart" in failure(tmp_path / "db")


def test_file_is_no_database(tmp_path):
    (tmp_path / "db").write_text("")
    assert "is not a folder" in failure(tmp_path / "db")


def test_missing_database_is_not_made_when_it_must_exist(tmp_path):
    assert "there is no database" in failure(tmp_path / "db", create=False)
    assert not (tmp_path / "db").exists()


def test_folder_is_for_its_owner_alone(store):
    assert os.stat(store.path).st_mode & 0o777 == 0o700


def test_closed_store_says_so(store):
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.read([b"k"])
    assert commit(store, (SET, b"k", b"\0"))[0] == FAILED


def test_damaged_record_names_its_key(store):
    commit(store, (SET, b"good", b"\0v"))
    batch = store.Batch(raw_mode=True)
    batch.put(b"dbad", b"\x63short")
    store.write(lambda: batch)
    with pytest.raises(StoreError, match="key b'bad' is damaged.*heart kv check"):
        store.read([b"bad"])
    assert value(store, b"good") == b"\0v"


def test_missing_rocksdict_says_what_works_without(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    message = failure(tmp_path / "db")
    assert "RocksDB" in message and "memory" in message


def test_killed_process_lost_nothing_that_was_written(tmp_path):
    code = f"""
        import os, signal, sys; sys.path.insert(0, {str(ROOT)!r})
        from heartc.kv_store import Store
        store = Store({str(tmp_path / "db")!r})
        for i in range(100):
            store.commit([([], [], [(0, b"%03d" % i, b"v", 0, None)], False)])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)])
    assert done.returncode == -signal.SIGKILL
    store = kv_store.Store(tmp_path / "db")
    assert store.count(b"", b"") == 100
    store.close()


# ---- A RocksDB that is behind


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A store whose tables are written at 2 MiB/s."""
    options_of = kv_store.database_options

    def options(rocks):
        options = options_of(rocks)
        options.set_ratelimiter(2 * kv_store.MIB, 100_000, 10)
        return options

    monkeypatch.setattr(kv_store, "database_options", options)
    store = kv_store.Store(tmp_path / "db", always=False)
    yield store
    store.close()


def put_tables(store, n):
    """Write as much as `n` tables hold, and a bit; the result of the last commit, and the seconds that it took."""
    for i in range(n):
        started = time.monotonic()
        result = commit(store, (SET, b"%d" % i, b"\0" + random.randbytes(4_200_000)))
    return result, time.monotonic() - started


def test_write_waits_until_rocksdb_has_caught_up_and_others_run_meanwhile(slow):
    ticks, ended = [], threading.Event()

    def tick():
        while not ended.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    result, seconds = put_tables(slow, 3)
    began = time.monotonic() - seconds
    ended.set()
    thread.join()
    assert result[0] == OK and seconds > 0.3
    assert len([t for t in ticks if t > began]) > 10
    assert all(slow.read([b"0", b"1", b"2"]))


def test_write_does_not_wait_for_ever(slow, monkeypatch):
    """Once it has waited in vain, the next ones fail at once, until one is written again."""
    monkeypatch.setattr(kv_store, "STALL_MAX", 0.2)
    (status, _, reason), seconds = put_tables(slow, 3)
    assert status == FAILED and seconds >= 0.2
    assert re.search(r"db: RocksDB has been behind with its tables for 0.2 s: .* \(\d+\.\d MiB are free\)", reason)
    monkeypatch.setattr(kv_store, "STALL_MAX", 30)
    assert commit(slow, (SET, b"k", b"\0v"))[0] == FAILED
    assert value(slow, b"0") and value(slow, b"1") and not value(slow, b"2")
    wait_until(lambda: commit(slow, (SET, b"k", b"\0v"))[0] == OK, "it has caught up")
    assert put_tables(slow, 3)[0][0] == OK, "waits again"


def test_write_that_is_slowed_down_is_written(slow):
    slow.db.set_options({"level0_file_num_compaction_trigger": "2", "level0_slowdown_writes_trigger": "2"})
    for _ in range(2):
        commit(slow, (SET, b"k", b"\0" + random.randbytes(2_000_000)))
        slow.db.flush()
    assert slow.db.property_int_value("rocksdb.actual-delayed-write-rate") > 0
    for i in range(20):
        assert commit(slow, (SET, b"%d" % i, b"\0" + bytes(10_000)))[0] == OK
