"""Watching a store on Redis: what others commit is heard in its order, and what was missed is told."""

import random
import time

import pytest
from heart_server import wait_until
from redis_server import Proxy, RedisCluster, RedisServer

from heartc import kv_redis_watch
from heartc.kv_backend import CAS, CONFLICT, DELETE, DELETE_PREFIX, INCR, OK, SET
from heartc.kv_redis import RedisStore
from heartc.kv_redis_watch import HEAD, LOST


@pytest.fixture(scope="module", params=["redis", "redis-cluster"])
def url(request):
    with RedisServer() if request.param == "redis" else RedisCluster(replicas=0) as place:
        yield place.url


@pytest.fixture
def store(url):
    store = RedisStore(url)
    while store.count(b"", b""):
        commit(store, (DELETE_PREFIX, b""))
    yield store
    store.close()


@pytest.fixture
def heard(store):
    events = []
    watch = store.watch(events.extend)
    yield events
    watch.stop()


def write(*writes, reads=()):
    full = [(*w, *(b"", b"", 0, None)[len(w) - 1 :]) for w in writes]
    return list(reads), [], full, False


def commit(store, *writes, **more):
    return store.commit([write(*writes, **more)])[0]


def wait_for(events, wanted):
    wait_until(lambda: len(events) >= len(wanted), lambda: f"heard {events}, wanted {wanted}")
    time.sleep(0.05)
    assert events == wanted


def test_commits_of_another_client_are_heard(url, store, heard):
    other = RedisStore(url)
    first = commit(other, (SET, b"{t}k", b"\0v"), (SET, b"{t}l", b"\0" + bytes(range(256))))[1]
    second = commit(other, (DELETE, b"{t}k"))[1]
    wait_for(
        heard,
        [(b"{t}k", first, b"\0v"), (b"{t}l", first, b"\0" + bytes(range(256))), (b"{t}k", second, None)],
    )
    other.close()


def test_what_was_refused_is_not_heard(store, heard):
    assert commit(store, (CAS, b"k", b"\0v", 0, 7))[0] == CONFLICT
    assert commit(store, (SET, b"k", b"\0v"), reads=[(b"k", 7)])[0] == CONFLICT
    version = commit(store, (SET, b"k", b"\0v"))[1]
    wait_for(heard, [(b"k", version, b"\0v")])


def test_deletion_of_what_was_not_there_is_not_heard(store, heard):
    commit(store, (DELETE, b"{t}none"), (SET, b"{t}none", b"\0", 1), (SET, b"{t}k", b"\0v"), (DELETE, b"{t}k"))
    version = commit(store, (DELETE_PREFIX, b"{t}none"), (SET, b"{t}l", b"\0"))[1]
    wait_until(lambda: len(heard) >= 3, lambda: heard)
    assert [(event[0], event[2]) for event in heard] == [(b"{t}k", b"\0v"), (b"{t}k", None), (b"{t}l", b"\0")]
    assert heard[2][1] == version


def test_key_that_expires_is_heard_when_it_is_swept(store, heard):
    commit(store, (SET, b"k", b"\0v", time.time_ns() // 1_000_000 + 50))
    wait_until(lambda: store.sweep_step(1000), "the sweep of its bucket")
    wait_until(lambda: len(heard) >= 2, lambda: heard)
    assert heard[1] == (b"k", heard[1][1], None) and heard[1][1] > heard[0][1]


def test_events_come_in_the_order_of_the_commits(store, heard):
    rng = random.Random(3)
    results, wanted = [], []
    for _ in range(20):
        group = [write((INCR, b"{t}%d" % rng.randrange(5), None, 0, (1, 0))) for _ in range(20)]
        results = store.commit(group)
        assert {r[0] for r in results} == {OK}
        wanted += [(one[2][0][1], r[1], r[2][0][1]) for one, r in zip(group, results, strict=True)]
    wait_for(heard, wanted)


def test_deleted_prefix_is_heard_key_by_key(store, heard):
    commit(store, *((SET, b"{t}%d" % i, b"\0") for i in range(3)))
    version = commit(store, (DELETE_PREFIX, b"{t}"))[1]
    wait_until(lambda: len(heard) >= 6, lambda: heard)
    assert sorted(heard[3:]) == [(b"{t}%d" % i, version, None) for i in range(3)]


def test_nothing_is_published_while_nobody_watches(url, store):
    marks = [store.bases[0] + name for name in (b"w", b"n")]
    store.nodes.run(requests := [kv_redis_watch.Request(0, (b"DEL", *marks))])
    commit(store, (SET, b"{0}k", b"\0v"))
    request = kv_redis_watch.Request(0, (b"EXISTS", *marks))
    store.nodes.run([request])
    assert requests[0].error is None and request.reply == 0


def test_watch_that_stopped_hears_nothing(store):
    events = []
    watch = store.watch(events.extend)
    commit(store, (SET, b"k", b"\0v"))
    wait_until(lambda: events, "the event")
    watch.stop()
    commit(store, (SET, b"k", b"\0w"))
    time.sleep(0.1)
    assert len(events) == 1 and not watch.thread.is_alive()


def test_broken_connection_is_told_as_lost_events():
    with RedisServer() as server, Proxy(server.port) as proxy:
        store, direct, events = RedisStore(proxy.url), RedisStore(server.url), []
        watch = store.watch(events.extend)
        proxy.swallow = 1
        commit(direct, (SET, b"k", b"\0" + b"1"))
        wait_until(lambda: events, "the loss")
        assert events == [LOST]
        version = commit(direct, (SET, b"k", b"\0" + b"2"))[1]
        wait_for(events, [LOST, (b"k", version, b"\0" + b"2")])
        watch.stop()
        store.close()
        direct.close()


def test_restarted_server_is_told_as_lost_events():
    with RedisServer() as server:
        store, events = RedisStore(server.url), []
        watch = store.watch(events.extend)
        server.kill()
        server.start()
        wait_until(lambda: LOST in events, "the loss")
        version = commit(store, (SET, b"k", b"\0v"))[1]
        wait_until(lambda: (b"k", version, b"\0v") in events, lambda: events)
        watch.stop()
        store.close()


def test_gap_between_numbers_is_told_as_lost_events(store, heard):
    """As when the bus between the nodes of a cluster drops messages."""
    commit(store, (SET, b"{t}k", b"\0" + b"1"))
    wait_until(lambda: heard, "the first event")
    base = store.bases[store.bucket(b"{t}k")]
    request = kv_redis_watch.Request(store.bucket(b"{t}k"), (b"INCRBY", base + b"n", 3))
    store.nodes.run([request])
    version = commit(store, (SET, b"{t}k", b"\0" + b"2"))[1]
    wait_until(lambda: len(heard) >= 3, lambda: heard)
    assert heard[1:] == [LOST, (b"{t}k", version, b"\0" + b"2")]


def test_last_events_that_never_came_are_told_at_the_next_check(store, monkeypatch):
    monkeypatch.setattr(kv_redis_watch, "CHECK", 0.2)
    monkeypatch.setattr(kv_redis_watch, "LISTEN", 0.1)
    events = []
    watch = store.watch(events.extend)
    request = kv_redis_watch.Request(0, (b"INCRBY", store.bases[0] + b"n", 1))
    store.nodes.run([request])
    wait_until(lambda: events, "the loss")
    time.sleep(0.3)
    assert events == [LOST]
    watch.stop()


@pytest.mark.parametrize("size", range(HEAD.size + 8))
def test_foreign_message_of_the_channel_is_ignored(size):
    whole = HEAD.pack(4, 1, 2, 1) + b"base" + b"k" + b"\1v"
    kv_redis_watch.parse(whole[:size], {b"base": 0})
    assert kv_redis_watch.parse(b"\xff" * size, {b"base": 0})[4] is None
    assert kv_redis_watch.parse(whole, {b"base": 0}) == (b"k", 2, b"v", 1, 0)
