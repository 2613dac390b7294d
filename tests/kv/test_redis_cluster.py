"""heartc/kv_redis.py on a real Redis cluster: hash tags, slots that move, nodes that are lost."""

import threading
import time

import pytest
from heart_server import wait_until
from redis_server import RedisCluster

from heartc import kv_number, kv_redis_nodes
from heartc.errors import HeartError
from heartc.kv_backend import CONFLICT, DELETE_PREFIX, FAILED, INCR, OK, SET, digest
from heartc.kv_redis import BUCKETS, RedisStore


@pytest.fixture(scope="module")
def cluster():
    with RedisCluster(replicas=0) as cluster:
        yield cluster


@pytest.fixture
def store(cluster):
    store = RedisStore(cluster.url)
    while store.count(b"", b""):
        commit(store, (DELETE_PREFIX, b""))
    yield store
    store.close()


def write(*writes, reads=(), ranges=()):
    full = [(*w, *(b"", b"", 0, None)[len(w) - 1 :]) for w in writes]
    return list(reads), list(ranges), full, False


def commit(store, *writes, **more):
    return store.commit([write(*writes, **more)])[0]


def value(store, key):
    record = store.read([key])[0]
    return record and record[2]


def slot(store, key):
    return store.nodes.slots[store.bucket(key)]


def test_keys_are_spread_over_all_nodes(cluster, store):
    store.commit([write((SET, b"k%d" % i, b"\0")) for i in range(1000)])
    held = [server.client().dbsize() for server in cluster.servers]
    assert all(count > 200 for count in held)
    assert len(set(map(store.bucket, (b"k%d" % i for i in range(2000))))) > BUCKETS * 0.9


def test_keys_of_one_hash_tag_are_one_transaction(store):
    assert (
        commit(store, (SET, b"{u}a", b"\0" + b"1"), (SET, b"x{u}b", b"\0" + b"2"), (SET, b"u", b"\0" + b"3"))[0] == OK
    )
    assert [value(store, k) for k in (b"{u}a", b"x{u}b", b"u")] == [b"\0" + b"1", b"\0" + b"2", b"\0" + b"3"]


@pytest.mark.parametrize(
    "more",
    [
        {"reads": [(b"{v}b", 0)]},
        {"ranges": [(b"{v}", b"{v~", 10, False, digest([]), 0)]},
        {"reads": [(b"plain", 0)]},
    ],
    ids=["read", "range", "no tag"],
)
def test_transaction_over_two_hash_tags_names_the_keys(store, more):
    status, _, reason = commit(store, (SET, b"{u}a", b"\0"), **more)
    assert status == FAILED
    assert "'{u}a'" in reason and ("'{v}" in reason or "'plain'" in reason) and "hash tag" in reason
    assert value(store, b"{u}a") is None


def test_writes_over_two_hash_tags_change_nothing_and_others_of_the_group_happen(store):
    group = [write((SET, b"a", b"\0")), write((SET, b"b", b"\0"), (SET, b"c", b"\0")), write((SET, b"d", b"\0"))]
    assert [r[0] for r in store.commit(group)] == [OK, FAILED, OK]
    assert [value(store, k) for k in (b"a", b"b", b"c", b"d")] == [b"\0", None, None, b"\0"]


def test_transaction_that_lists_without_a_hash_tag_is_refused(store):
    for writes, ranges in (
        ([(SET, b"{u}a", b"\0")], [(b"x", b"y", 10, False, digest([]), 0)]),
        ([(SET, b"{u}a", b"\0"), (DELETE_PREFIX, b"{u")], []),
    ):
        status, _, reason = commit(store, *writes, ranges=ranges)
        assert status == FAILED and "only below one hash tag" in reason


def test_list_below_one_hash_tag_asks_one_node(cluster, store):
    commit(store, *((SET, b"{u}%d" % i, b"\0") for i in range(5)))
    assert len(store.buckets(b"{u}", b"{u~")) == 1
    assert len(store.buckets(b"{u}1", b"{u}2")) == 1
    assert len(store.buckets(b"{u", b"{v")) == BUCKETS
    assert [i[0] for i in store.scan(b"{u}", b"{u~", 3)[0]] == [b"{u}0", b"{u}1", b"{u}2"]


def test_slots_that_move_while_clients_write_lose_nothing(cluster, store):
    key, other = b"{moving}n", b"{moving}"
    number = slot(store, key)
    source = cluster.server_of(number)
    target = next(server for server in cluster.servers if server is not source)
    store.commit([write((SET, other + b"%d" % i, b"\0" + b"x" * 500)) for i in range(300)])
    ended, done = threading.Event(), []

    def count():
        while not ended.is_set():
            results = store.commit([write((INCR, key, None, 0, (1, 0))) for _ in range(5)])
            done.extend(results)

    writer = threading.Thread(target=count)
    writer.start()
    try:
        for _ in cluster.move(number, source, target):
            time.sleep(0.05)
        seen = len(done)
        wait_until(lambda: len(done) > seen + 20, "the writer goes on")
    finally:
        ended.set()
        writer.join()
    failed = [r for r in done if r[0] != OK]
    assert not failed
    assert kv_number.decode(value(store, key)) == len(done)
    assert len(store.scan(other, b"{moving~", 1000, keys_only=True)[0]) == 301
    assert store.nodes.owners[store.bucket(key)][1] == target.port


def test_lost_node_fails_only_its_keys_without_replicas(monkeypatch):
    monkeypatch.setattr(kv_redis_nodes, "PATIENCE", 1)
    with RedisCluster(replicas=0, cluster_require_full_coverage="no") as cluster:
        store = RedisStore(cluster.url)
        keys = [b"k%d" % i for i in range(60)]
        assert {r[0] for r in store.commit([write((SET, key, b"\0v")) for key in keys])} == {OK}
        lost = cluster.servers[0]
        theirs = {key for key in keys if cluster.server_of(slot(store, key)) is lost}
        assert 0 < len(theirs) < len(keys)
        lost.kill()
        for _ in range(2):
            before = time.monotonic()
            results = store.commit([write((SET, key, b"\0w")) for key in keys])
            assert time.monotonic() - before < 3
            assert {key for key, r in zip(keys, results, strict=True) if r[0] != OK} == theirs
        assert time.monotonic() - before < 0.7, "a lost node does not hold up the others again"
        reason = next(r[2] for r in results if r[0] != OK)
        assert f"127.0.0.1:{lost.port}" in reason or "CLUSTERDOWN" in reason.upper() or "not served" in reason
        with pytest.raises(HeartError):
            store.scan(b"", b"", 10)
        store.close()


def is_replicated(master):
    """Whether a replica has acknowledged all that was written. WAIT would wait for its own connection's writes only."""
    info = master.client().info("replication")
    replica = info.get("slave0", {})
    return replica.get("state") == "online" and replica["offset"] >= info["master_repl_offset"]


@pytest.mark.timeout(180)
def test_lost_master_is_replaced_by_its_replica():
    """Every commit that was acknowledged and replicated is there, none was made twice."""
    with RedisCluster(replicas=1) as cluster:
        store = RedisStore(cluster.url)
        keys = [b"n%d" % i for i in range(60)]
        counted = dict.fromkeys(keys, 0)

        def count():
            results = store.commit([write((INCR, key, None, 0, (1, 0))) for key in keys])
            for key, result in zip(keys, results, strict=True):
                if result[0] == OK:
                    counted[key] += 1
                    assert result[2][0][0] == counted[key], "a commit was lost or made twice"
            return all(result[0] == OK for result in results)

        assert count() and count()
        lost = cluster.server_of(slot(store, keys[0]))
        wait_until(lambda: is_replicated(lost), "the replica has all commits")
        lost.kill()
        started = time.monotonic()
        wait_until(count, "all keys can be written again", timeout=60)
        print(f"writable again after {time.monotonic() - started:.1f} s")
        assert count()
        assert [kv_number.decode(r[2]) for r in store.read(keys)] == list(counted.values())
        items, more = store.scan(b"n", b"o", 100)
        assert [i[0] for i in items] == sorted(keys) and not more
        lost.start()
        wait_until(count, "all keys can be written again")
        store.close()


def test_cas_by_clients_of_the_whole_cluster_is_serial(cluster, store):
    other = RedisStore(cluster.url)
    version = commit(store, (SET, b"k", b"\0v"))[1]
    assert commit(other, (SET, b"k", b"\0w"), reads=[(b"k", version)])[0] == OK
    assert commit(store, (SET, b"k", b"\0x"), reads=[(b"k", version)])[0] == CONFLICT
    other.close()
