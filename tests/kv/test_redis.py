"""heartc/kv_redis.py where a server is not what one wishes: lost answers, restarts, full memory, other clients."""

import socket
import threading
import time

import pytest
from heart_server import free_port, wait_until
from redis_server import Proxy, RedisCluster, RedisServer

from heartc import kv_number, kv_redis_nodes, kv_redis_url
from heartc.errors import HeartError
from heartc.kv_backend import ADD, CONFLICT, DELETE, DELETE_PREFIX, FAILED, FULL, INCR, OK, SET
from heartc.kv_redis import RedisStore

ONE = kv_number.encode(1)
SLOT_OF_0 = 13907  # of the hash tag that a single server's store has


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(server):
    server.client().flushall()
    store = RedisStore(server.url)
    yield store
    store.close()


def write(*writes, reads=()):
    full = [(*w, *(b"", b"", 0, None)[len(w) - 1 :]) for w in writes]
    return list(reads), [], full, False


def commit(store, *writes, **more):
    return store.commit([write(*writes, **more)])[0]


def value(store, key):
    record = store.read([key])[0]
    return record and record[2]


# ---- URLs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "addresses", "db", "login"),
    [
        ("redis://host", [("host", 6379)], 0, (None, None)),
        ("redis://host:7000/3", [("host", 7000)], 3, (None, None)),
        ("redis://host/", [("host", 6379)], 0, (None, None)),
        ("redis://:secret@host", [("host", 6379)], 0, (None, "secret")),
        ("redis://me:p%40ss%3A@host:1", [("host", 1)], 0, ("me", "p@ss:")),
        ("redis://[::1]:7000", [("::1", 7000)], 0, (None, None)),
        ("redis://[::1]", [("::1", 6379)], 0, (None, None)),
        ("redis-cluster://a,b:7001,[::2]:7", [("a", 6379), ("b", 7001), ("::2", 7)], 0, (None, None)),
        ("rediss://host", [("host", 6379)], 0, (None, None)),
    ],
)
def test_url_is_understood(url, addresses, db, login):
    target = kv_redis_url.read_url(url)
    assert (target.addresses, target.db, (target.user, target.password)) == (addresses, db, login)
    assert target.cluster == ("cluster" in url) and target.tls == url.startswith("rediss")
    assert "secret" not in str(target) and "p@ss" not in str(target)


@pytest.mark.parametrize(
    "url",
    ["", "redis", "redis:", "redis:/host", "http://host", "redis://", "redis://:1", "redis://a,b", "redis://host:x"]
    + [
        "redis://host:0",
        "redis://host:65536",
        "redis://host/x",
        "redis://host/1/2",
        "redis-cluster://a,",
        "redis://[::1",
    ]
    + ["redis-cluster://a/1", "redis://a b", "redis://[::1]7", "redis://host?x=1", "REDIS//x", "redis://host/-1"],
)
def test_wrong_url_says_what_was_expected(url):
    with pytest.raises(HeartError, match="--kv: .*expected redis://"):
        RedisStore(url)


def test_tls_without_ssl_is_refused_with_a_reason(monkeypatch):
    monkeypatch.setattr(kv_redis_url.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HeartError, match="built without TLS.*redis://"):
        RedisStore("rediss://127.0.0.1")


# ---- Opening -------------------------------------------------------------------------------------------------


def failure(url):
    with pytest.raises(HeartError) as caught:
        RedisStore(url)
    return str(caught.value)


def test_no_server_is_told_in_time(monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 0.5)
    port, before = free_port(), time.monotonic()
    assert failure(f"redis://127.0.0.1:{port}") == (f"redis://127.0.0.1:{port}: 127.0.0.1:{port}: Connection refused")
    assert time.monotonic() - before < 2


def test_server_that_never_answers_is_told_in_time(monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 0.2)
    monkeypatch.setattr(kv_redis_nodes, "ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        before = time.monotonic()
        assert "no answer in time" in failure(f"redis://127.0.0.1:{deaf.getsockname()[1]}")
        assert time.monotonic() - before < 2


def test_password_is_needed_and_never_shown():
    with RedisServer(requirepass="secret") as server:
        assert "redis://user:password@host" in failure(server.url)
        wrong = failure(server.url.replace("redis://", "redis://:wr0ng@"))
        assert "password" in wrong and "wr0ng" not in wrong
        store = RedisStore(server.url.replace("redis://", "redis://:secret@"))
        assert commit(store, (SET, b"k", b"\0v"))[0] == OK
        store.close()


def test_single_server_is_no_cluster(server):
    assert "redis://host:port" in failure(f"redis-cluster://127.0.0.1:{server.port}")


def test_member_of_a_cluster_is_no_single_server():
    with RedisCluster(replicas=0) as cluster:
        messages = [failure(server.url) for server in cluster.servers if server is not cluster.server_of(SLOT_OF_0)]
        assert len(messages) == 2
        assert all("belongs to a cluster: use redis-cluster://127.0.0.1:" in message for message in messages)


def test_server_that_drops_keys_is_noted():
    with RedisServer(maxmemory="50mb", maxmemory_policy="allkeys-lru") as server:
        store = RedisStore(server.url)
        ((level, note),) = store.notes
        assert level == "warn" and "allkeys-lru" in note and "noeviction" in note
        store.close()


def test_database_number_separates_stores(server):
    one, two = RedisStore(server.url + "/1"), RedisStore(server.url + "/2")
    commit(one, (SET, b"k", b"\0v"))
    assert value(two, b"k") is None and value(one, b"k") == b"\0v"
    one.close()
    two.close()


# ---- Failing servers -----------------------------------------------------------------------------------------


def test_lost_answer_does_not_count_twice(server, store):
    with Proxy(server.port) as proxy:
        store = RedisStore(proxy.url)
        commit(store, (SET, b"k", b"\0v"))
        for n in range(1, 6):
            proxy.swallow = 2
            result = commit(store, (INCR, b"n", None, 0, (1, 0)), (ADD, b"a%d" % n, b"\0"))
            assert proxy.swallowed == 2 * n, "no answer was lost: the test shows nothing"
            assert result[0] == OK and result[2] == [(n, kv_number.encode(n), 0), None]
        store.close()


def test_lost_answers_of_a_whole_batch_come_again(server, store):
    with Proxy(server.port) as proxy:
        store = RedisStore(proxy.url)
        proxy.swallow = 1
        results = store.commit([write((INCR, b"n", None, 0, (1, 0))) for _ in range(200)])
        assert proxy.swallowed == 1
        assert [r[2][0][0] for r in results] == list(range(1, 201))
        assert [r[1] for r in results] == sorted({r[1] for r in results})
        store.close()


def test_commit_that_was_never_answered_says_that_it_may_have_happened(server, store, monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 0.3)
    with Proxy(server.port) as proxy:
        through = RedisStore(proxy.url)
        commit(through, (SET, b"k", b"\0v"))
        proxy.swallow = 1000
        status, _, reason = commit(through, (SET, b"k", b"\0w"))
        assert status == FAILED and "may have happened or not" in reason
        through.close()
    assert value(store, b"k") == b"\0w"


def test_batch_that_comes_late_is_refused(store):
    """What a connection still holds while a later batch was sent over another one."""
    commit(store, (SET, b"k", b"\0" + b"1"))
    late = store.commit_requests(write((SET, b"k", b"\0late")), 0)
    commit(store, (SET, b"k", b"\0" + b"2"))
    result = store.result(store.run(late)[0], write((SET, b"k", b"\0late")))
    assert result[0] == FAILED and "too late" in result[2]
    assert value(store, b"k") == b"\0" + b"2"


def test_server_that_is_down_fails_fast_and_comes_back(monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 0.5)
    with RedisServer() as server:
        store = RedisStore(server.url)
        commit(store, (SET, b"k", b"\0v"))
        server.kill()
        before = time.monotonic()
        status, _, reason = commit(store, (SET, b"k", b"\0w"))
        assert status == FAILED and "Connection refused" in reason and "may have" not in reason
        assert time.monotonic() - before < 1.5
        before = time.monotonic()
        with pytest.raises(HeartError, match="Connection refused"):
            store.read([b"k"])
        assert time.monotonic() - before < 0.2, "a server known to be down is not waited for again"
        server.start()
        wait_until(lambda: commit(store, (SET, b"k", b"\0x"))[0] == OK, "the store is back")
        assert value(store, b"k") == b"\0x"
        store.close()


def test_short_restart_is_not_noticed():
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        store = RedisStore(server.url)
        commit(store, (SET, b"k", b"\0v"))
        server.kill()
        timer = threading.Timer(0.5, server.start)
        timer.start()
        assert commit(store, (INCR, b"n", None, 0, (1, 0)))[0] == OK
        timer.join()
        assert value(store, b"k") == b"\0v" and value(store, b"n") == ONE
        store.close()


def test_hanging_server_is_given_up_in_time(monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 0.3)
    monkeypatch.setattr(kv_redis_nodes, "ANSWER", 0.3)
    with RedisServer() as server:
        store = RedisStore(server.url)
        server.pause()
        before = time.monotonic()
        status, _, reason = commit(store, (SET, b"k", b"\0v"))
        assert status == FAILED and "may have happened" in reason
        assert time.monotonic() - before < 2
        server.resume()
        wait_until(lambda: commit(store, (SET, b"k", b"\0x"))[0] == OK, "the store is back")
        store.close()


def test_forgotten_scripts_are_sent_again(server, store):
    commit(store, (SET, b"k", b"\0v"))
    server.client().script_flush()
    results = store.commit([write((INCR, b"n", None, 0, (1, 0))) for _ in range(10)])
    assert [r[2][0][0] for r in results] == list(range(1, 11))


def test_lost_versions_never_come_again(server, store):
    """As after a failover that lost the last commits, or FLUSHALL."""
    before = commit(store, (SET, b"k", b"\0v"))[1]
    server.client().flushall()
    assert commit(store, (SET, b"k", b"\0v"))[1] > before


def test_full_server_refuses_writes_and_lets_delete():
    with RedisServer(maxmemory="4mb", maxmemory_policy="noeviction") as server:
        store = RedisStore(server.url)
        n, result = 0, (OK,)
        while result[0] == OK:
            assert n < 100
            result = commit(store, (SET, b"k%d" % n, bytes(200_000)))
            n += 1
        assert result == (FULL, 0, None)
        assert value(store, b"k%d" % (n - 1)) is None
        assert store.count(b"", b"") == n - 1
        assert commit(store, (DELETE_PREFIX, b"k"))[0] == OK
        assert store.count(b"", b"") == 0
        assert commit(store, (SET, b"k", b"\0v"))[0] == OK
        store.close()


def test_read_only_replica_is_told(server, monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 0.2)
    with RedisServer(replicaof=f"127.0.0.1 {server.port}") as replica:
        store = RedisStore(replica.url)
        status, _, reason = commit(store, (SET, b"k", b"\0v"))
        assert status == FAILED and "read only replica" in reason and "may have" not in reason
        store.close()


# ---- Other clients -------------------------------------------------------------------------------------------


def test_commits_of_many_clients_lose_no_increment(server, store):
    stores = [RedisStore(server.url) for _ in range(4)]

    def count(mine):
        """Read, add one, write if nobody was faster."""
        done = 0
        while done < 50:
            record = mine.read([b"n"])[0]
            version, number = (record[0], kv_number.decode(record[2])) if record else (0, 0)
            result = commit(mine, (SET, b"n", kv_number.encode(number + 1)), reads=[(b"n", version)])
            assert result[0] in (OK, CONFLICT)
            done += result[0] == OK

    threads = [threading.Thread(target=count, args=(mine,)) for mine in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kv_number.decode(value(store, b"n")) == 200
    for mine in stores:
        mine.close()


def test_nothing_of_the_store_outlives_its_keys(server, store):
    """Indexes and memories do not grow for ever."""
    soon = time.time_ns() // 1_000_000 + 50
    for n in range(20):
        store.commit([write((SET, b"k%d" % n, b"\0", soon)), write((SET, b"l%d" % n, b"\0"))])
    for n in range(20):
        commit(store, (DELETE, b"l%d" % n))
    time.sleep(0.06)
    while store.sweep_step(7):
        pass
    left = {name.decode() for name in server.client().keys("*")}
    assert left == {"heart:{0}:v", f"heart:{{0}}:o:{store.client.decode()}"}
    assert 0 < server.client().pttl(f"heart:{{0}}:o:{store.client.decode()}") <= 60_000
