"""pyx/kv_cache.pxi, kv_queue.pxi and kv_batch.pxi: what the workers and the db thread of a store say to each other."""

import random
import threading
import time

import pytest
from kv_queue_native import Queue

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
    SET,
)

READ, SCAN, COUNT = 0, 1, 2
MISSING = (0, 0, None)
SHARDS, SHARE = 16, 4


@pytest.fixture
def queue():
    return Queue(1 << 20)


# ---- The cache -----------------------------------------------------------------------------------------------


def test_cache_gives_what_was_put(queue):
    assert queue.get(b"k") is None
    queue.put(b"k", b"v", 7, 9)
    assert queue.get(b"k") == queue.get(b"k", copy=False) == (7, 9, b"v")
    queue.put(b"k", b"", 8)
    assert queue.get(b"k") == (8, 0, b"")


def test_missing_key_is_remembered_as_such(queue):
    queue.put(b"k", b"v", 7)
    queue.put(b"k", None, 0)
    assert queue.get(b"k") == MISSING
    queue.forget([b"k", b"never there"])
    assert queue.get(b"k") is None
    assert queue.measure() == (0, 0)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 10_000])
def test_value_of_any_size_comes_back(queue, size):
    value = random.Random(size).randbytes(size)
    queue.put(b"k" * 4096, value, 1)
    assert queue.get(b"k" * 4096) == queue.get(b"k" * 4096, copy=False) == (1, 0, value)


def test_expired_value_is_missing_for_a_worker(queue):
    now = time.time_ns() // 1_000_000
    queue.put(b"k", b"v", 1, now + 60_000)
    queue.put(b"old", b"v", 1, now - 1)
    assert queue.fresh(b"k") == (1, now + 60_000, b"v")
    assert queue.fresh(b"old") == MISSING


def test_value_too_large_for_the_cache_is_forgotten(queue):
    queue.put(b"k", b"small", 1)
    queue.put(b"k", bytes((1 << 20) // SHARDS // SHARE), 2)
    assert queue.get(b"k") is None


def test_cache_of_no_size_keeps_nothing():
    queue = Queue(0)
    queue.put(b"k", b"v", 1)
    assert queue.get(b"k") is None


def test_cache_stays_within_its_bytes_and_agrees_with_a_model(queue):
    chance, model, known = random.Random(5), {}, 0
    for version in range(1, 30_000):
        key = b"%d" % chance.randrange(5000)
        if chance.random() < 0.1:
            queue.forget([key])
            model.pop(key, None)
        elif chance.random() < 0.2:
            queue.put(key, None, 0)
            model[key] = MISSING
        else:
            value = bytes((version & 0xFF,)) * chance.randrange(800)
            queue.put(key, value, version)
            model[key] = (version, 0, value)
        key = b"%d" % chance.randrange(5000)
        found = queue.get(key)
        known += found is not None
        assert found in (None, model.get(key))
        if version % 5000 == 0:
            assert queue.measure()[1] <= 1 << 20
    assert known > 1000
    queue.clear()
    assert queue.measure() == (0, 0)


def test_entry_that_is_read_outlives_those_that_are_not(queue):
    queue.put(b"hot", b"v", 1)
    for i in range(20_000):
        queue.put(b"cold%d" % i, bytes(100), 1)
        queue.get(b"hot")
    assert queue.get(b"hot") is not None
    assert queue.get(b"cold0") is None


def test_readers_never_see_half_a_value(queue):
    stop, rounds = threading.Event(), [0]

    def write():
        while not stop.is_set():
            rounds[0] += 1
            for size in (1, 300, 600, 5000, 40):
                queue.put(b"k", bytes((size & 0x7F,)) * size, size)
                queue.put(b"%d" % rounds[0], bytes(500), 500)

    writer = threading.Thread(target=write)
    writer.start()
    known = sum(queue.readers_see_whole_values(b"k", 20_000) for _ in range(20))
    stop.set()
    writer.join()
    assert known > 0 and rounds[0] > 0


def test_key_that_was_swept_is_missing(queue):
    queue.put(b"k", b"v", 7, 1)
    queue.expired([b"k"], 8)
    assert queue.get(b"k") == MISSING


# ---- Requests and answers ------------------------------------------------------------------------------------


def test_nothing_to_take_ends_with_the_time(queue):
    assert queue.take(0) == ([], [])
    start = time.monotonic()
    assert queue.take(50) == ([], [])
    assert time.monotonic() - start >= 0.045


@pytest.mark.parametrize(("expected", "least"), [(1, 0.0005), (2, 0.002)])
def test_gathering_waits_longer_for_those_that_are_expected(queue, expected, least):
    queue.commit([(SET, b"k", b"v", 0, None)])
    start = time.monotonic()
    queue.gather(expected)
    assert least <= time.monotonic() - start < 1
    assert len(queue.take(0)[1]) == 1


def test_gathering_ends_while_requests_keep_coming(queue):
    ended = threading.Event()

    def push():
        while not ended.is_set():
            queue.scan(b"a", b"", 5)

    thread = threading.Thread(target=push)
    thread.start()
    queue.gather(1)
    ended.set()
    thread.join()
    asks, _ = queue.take(0)
    queue.answer([([], False)] * len(asks))
    assert asks


def test_read_goes_to_the_thread_once_and_to_the_cache_then(queue):
    request = queue.read(b"a", b"b")
    assert queue.take(0) == ([(READ, [b"a", b"b"])], [])
    queue.answer([[(7, 0, b"\0v"), None]])
    answer = queue.answers()[request]
    assert answer["result"] == OK
    assert answer["items"] == [(b"a", 7, 0, b"\0v"), (b"b", 0, 0, None)]
    assert queue.read(b"b", b"a")["items"] == [(b"b", 0, 0, None), (b"a", 7, 0, b"\0v")]
    assert isinstance(queue.read(b"a", b"c"), int)


def test_scan_and_count_are_answered(queue):
    scan, keys, count = queue.scan(b"a", b"", 5, True), queue.scan(b"a", b"c", 6, False, True), queue.scan(b"", b"", 0)
    assert queue.take(0)[0] == [
        (SCAN, (b"a", b"", 5, True, False)),
        (SCAN, (b"a", b"c", 6, False, True)),
        (COUNT, (b"", b"")),
    ]
    queue.answer([([(b"k", 3, 0, b"\0v")], True), ([(b"k", 3, 0, b"")], False), 42])
    answers = queue.answers()
    assert (answers[scan]["items"], answers[scan]["more"]) == ([(b"k", 3, 0, b"\0v")], True)
    assert (answers[keys]["items"], answers[keys]["more"]) == ([(b"k", 3, 0, None)], False)
    assert answers[count]["count"] == 42


def test_failed_ask_has_its_reason(queue):
    first, second = queue.read(b"a"), queue.read(b"b")
    queue.take(0)
    queue.answer(["the disk is on fire", [None]])
    answers = queue.answers()
    assert (answers[first]["result"], answers[first]["error"]) == (FAILED, "the disk is on fire")
    assert answers[second]["result"] == OK
    assert queue.get(b"a") is None


def test_commit_tells_the_thread_all_it_needs(queue):
    writes = [
        (SET, b"s", b"\0v", 5, None),
        (DELETE, b"d", None, 0, None),
        (ADD, b"a", b"", 0, None),
        (CAS, b"c", None, 0, 9),
        (INCR, b"i", None, 0, (1.5, 2.0)),
        (EXPIRE, b"e", None, 77, None),
        (DELETE_PREFIX, b"", None, 0, None),
    ]
    queue.commit(writes, [(b"r", 3), (b"none", 0)], sync=False)
    assert queue.take(0) == ([], [([(b"r", 3), (b"none", 0)], [], writes, False)])


def test_commit_publishes_what_it_changed_before_it_is_answered(queue):
    for key in (b"p1", b"d", b"gone"):
        queue.put(key, b"\0old", 1)
    writes = [
        (SET, b"s", b"\0v", 5, None),
        (DELETE, b"d", None, 0, None),
        (CAS, b"gone", None, 0, 1),
        (INCR, b"i", None, 0, (1.0, 1.0)),
        (EXPIRE, b"e", None, 77, None),
        (EXPIRE, b"none", None, 77, None),
        (DELETE_PREFIX, b"p", None, 0, None),
    ]
    request = queue.commit(writes)
    queue.take(0)
    queue.answer_commits([(OK, 12, [None, True, None, (2, b"\1\2", 9), b"\0e", None, [b"p1", b"p2"]])])
    assert queue.get(b"s") == (12, 5, b"\0v")
    assert queue.get(b"d") == queue.get(b"gone") == MISSING
    assert queue.get(b"i") == (12, 9, b"\1\2")
    assert queue.get(b"e") == (12, 77, b"\0e")
    assert queue.get(b"none") is None and queue.get(b"p1") == MISSING
    answer = queue.answers()[request]
    assert (answer["result"], answer["version"]) == (OK, 12)
    assert [w[0] for w in answer["writes"]] == [False, True, True, False, True, False, False]
    assert (answer["writes"][3][1], answer["writes"][6][2]) == (2, 2)


@pytest.mark.parametrize("status", [CONFLICT, EXISTS, NOT_NUMBER])
def test_refused_commit_names_the_write_and_changes_nothing(queue, status):
    request = queue.commit([(SET, b"s", b"\0v", 0, None), (ADD, b"a", b"\0v", 0, None)])
    queue.take(0)
    queue.answer_commits([(status, 5, 1)])
    answer = queue.answers()[request]
    assert (answer["result"], answer["failed"], answer["writes"][1][2]) == (status, 1, 5)
    assert queue.get(b"s") is None


def test_refused_read_names_no_write(queue):
    request = queue.commit([], [(b"r", 3)])
    queue.take(0)
    queue.answer_commits([(CONFLICT, 0, None)])
    assert queue.answers()[request]["result"] == CONFLICT


def test_answers_that_do_not_fit_fail_every_request(queue):
    """A fault of a backend must not leave a coroutine waiting for ever."""
    asks, commits = [queue.read(b"%d" % i) for i in range(3)], [queue.commit([(SET, b"k", b"v", 0, None)])]
    queue.take(0)
    queue.answer([[None]])
    queue.answer_commits([])
    answers = queue.answers()
    assert all(answers[request]["result"] == FAILED for request in asks + commits)
    asks, commits = [queue.read(b"%d" % i) for i in range(3)], [queue.commit([(SET, b"k", b"v", 0, None)])]
    queue.take(0)
    queue.answer([5, [("one",)], [None]])
    queue.answer_commits([(OK, "x", None)])
    answers = queue.answers()
    assert [answers[request]["result"] for request in asks + commits] == [FAILED, FAILED, OK, FAILED]


def test_group_is_bounded_in_bytes_and_keeps_the_order(queue):
    large = bytes(1 << 20)
    requests = [queue.commit([(SET, b"%d" % i, large, 0, None)]) for i in range(10)]
    taken = []
    while commits := queue.take(0)[1]:
        assert len(commits) <= 5
        taken += [commit[2][0][1] for commit in commits]
        queue.answer_commits([(OK, 1, None)] * len(commits))
    assert taken == [b"%d" % i for i in range(10)]
    assert set(queue.answers()) == set(requests)


def test_requests_of_many_threads_are_all_answered():
    queue, asked, done = Queue(1 << 20), [], threading.Event()

    def ask(name):
        for i in range(2000):
            asked.append(queue.commit([(SET, b"%d-%d" % (name, i), b"v", 0, None)]))

    def serve():
        order = {}
        while not done.is_set() or order.get("last"):
            commits = queue.take(20)[1]
            order["last"] = len(commits)
            for commit in commits:
                name, i = commit[2][0][1].split(b"-")
                assert int(i) == order.get(name, -1) + 1
                order[name] = int(i)
            queue.answer_commits([(OK, 1, None)] * len(commits))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
    server = threading.Thread(target=serve)
    server.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    server.join()
    assert set(queue.answers()) == set(asked)
