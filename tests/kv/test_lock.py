"""serialTransaction: one at a time, first come, first served, and every way to lose the lock."""

import signal
import time

import pytest
from heart_server import wait_until
from stores import Failed
from tracing import tracing

HOLD = "return kv.serialTransaction(function(s) app.sleep(?) s.set('order', s.get('order') .. ?) end)"


def test_no_increment_is_lost_by_two_workers(store):
    code = """for _ = 1, 200 do
      kv.serialTransaction(function(s) s.set('n', (tonumber(s.get('n')) or 0) + 1) end)
    end"""
    clients = [store.client() for _ in range(6)]
    for client in clients:
        client.send(code)
    for client in clients:
        assert client.receive() == []
        client.close()
    assert store.one("return kv.fetch('n')") == 1200


def test_lock_is_handed_on_in_the_order_of_arrival(store):
    clients = [store.on_worker(i % 2) for i in range(6)]
    for i, client in enumerate(clients):
        client.send(HOLD, 0.15 if i == 0 else 0.01, str(i))
        time.sleep(0.02)
    assert [client.receive() for client in clients] == [[True]] * 6
    assert store.one("return kv.get('order')") == "012345"
    for client in clients:
        client.close()


def test_worker_that_waits_serves_others(store):
    with store.on_worker(0) as holder, store.on_worker(1) as waiter, store.on_worker(1) as other:
        holder.send(HOLD, 0.4, "a")
        time.sleep(0.05)
        waiter.send(HOLD, 0, "b")
        time.sleep(0.05)
        start = time.monotonic()
        assert other.run("return 1") == [1]
        assert time.monotonic() - start < 0.2
        assert holder.receive() == waiter.receive() == [True]


@pytest.mark.parametrize("end", ["error('x')", "app.sleep(0.05) error('x')"])
def test_error_gives_the_lock_on(store, end):
    with store.client() as holder, store.client() as waiter:
        holder.send(f"kv.serialTransaction(function(s) app.sleep(0.1) {end} end)")
        time.sleep(0.05)
        waiter.send(HOLD, 0, "b")
        with pytest.raises(Failed):
            holder.receive()
        assert waiter.receive() == [True]


def close(client):
    """The end of the stream, as a browser whose page is left sends it."""
    client.connection.close()


def reset(client):
    client.connection.reset()


@pytest.mark.parametrize("leave", [close, reset])
def test_client_that_leaves_while_it_waits_leaves_the_queue(store, leave):
    with store.on_worker(0) as holder, store.on_worker(1) as last:
        gone = store.on_worker(1)
        holder.send(HOLD, 0.3, "a")
        time.sleep(0.05)
        gone.send(HOLD, 0, "gone")
        time.sleep(0.05)
        last.send(HOLD, 0, "b")
        leave(gone)
        assert holder.receive() == last.receive() == [True]
        assert store.one("return kv.get('order')") == "ab"


@pytest.mark.parametrize("leave", [close, reset])
@pytest.mark.parametrize("wait", ["app.sleep(0.6)", "coroutine.wrap(function() app.sleep(0.6) end)()"])
def test_client_that_leaves_loses_its_lock(store, leave, wait):
    """At once: what it has written is rolled back, and it can not go on."""
    holder = store.on_worker(0)
    holder.send(f"""
      ended = nil
      local ok, err = pcall(kv.serialTransaction, function(s)
        s.set('order', 'gone')
        {wait}
        s.set('order', 'gone')
      end)
      kv.set('ended', tostring(err))""")
    time.sleep(0.1)
    start = time.monotonic()
    leave(holder)
    assert store.run(HOLD, 0, "b") == [True]
    assert time.monotonic() - start < 0.4
    wait_until(lambda: store.one("return kv.has('ended')"), "the holder ends")
    assert "the client has left: the transaction lost its lock" in store.one("return kv.get('ended')")
    assert store.one("return kv.get('order')") == "b"


def test_commit_of_a_client_that_has_left_fails(store):
    holder = store.on_worker(0)
    holder.send(
        "local ok, err = kv.serialTransaction(function(s) s.set('k', 1) app.sleep(0.3) end) kv.set('ended', err)"
    )
    time.sleep(0.1)
    close(holder)
    wait_until(lambda: store.one("return kv.has('ended')"), "the holder ends")
    assert "the client has left" in store.one("return kv.get('ended')")
    assert store.one("return kv.has('k')") is False


def test_client_that_stays_keeps_its_lock_and_its_connection(store):
    """It is watched while its function waits, and no longer."""
    with store.on_worker(0) as client:
        for n in range(3):
            assert client.run(HOLD, 0.05, str(n)) == [True]
            assert client.run("app.sleep(0.01) return 1") == [1]
        assert store.one("return kv.get('order')") == "012"


def test_transaction_that_does_not_wait_costs_no_system_call(open_memory, tmp_path):
    store = open_memory(workers=1)
    with store.client() as client:
        assert client.run("return 1") == [1]
        with tracing(store.server, tmp_path / "still", "epoll_ctl") as lines:
            code = "for _ = 1, 20 do kv.serialTransaction(function(s) s.set('n', s.get('n') .. 'x') end) end"
            assert client.run(code) == []
            assert not [line for line in lines() if "epoll_ctl(" in line]
        with tracing(store.server, tmp_path / "waiting", "epoll_ctl") as lines:
            assert client.run("kv.serialTransaction(function() app.sleep(0.01) end)") == []
            assert [line for line in lines() if "epoll_ctl(" in line], "a client is watched by one"


def test_wait_where_lua_can_not_yield_is_an_error_and_leaves_nothing(store):
    with store.on_worker(0) as holder, store.on_worker(0) as other:
        holder.send(HOLD, 0.3, "a")
        time.sleep(0.05)
        code = """
          local ok, err = pcall(table.sort, {2, 1}, function() kv.serialTransaction(function() end) end)
          return ok, err, (kv.serialTransaction(function() end))"""
        ok, error, later = other.run(code)
        assert not ok and "yield" in error and later is True
        assert holder.receive() == [True]


# ---- Time-out --------------------------------------------------------------------------------------------------------


def test_lock_held_too_long_is_taken_away_and_rolled_back(open_store):
    store = open_store("--kv-lock-timeout", "0.3")
    with store.on_worker(0) as holder, store.on_worker(1) as waiter:
        start = time.monotonic()
        holder.send("return kv.serialTransaction(function(s) s.set('k', 1) app.sleep(1) s.set('k', 2) end)")
        time.sleep(0.05)
        assert waiter.run(HOLD, 0, "b") == [True]
        assert 0.28 < time.monotonic() - start < 0.85
        with pytest.raises(Failed, match="held its lock longer than --kv-lock-timeout"):
            holder.receive()
    assert store.one("return kv.has('k')") is False
    assert store.server.wait_log("held its lock longer")


def test_commit_after_the_lock_was_taken_away_fails(open_store):
    store = open_store("--kv-lock-timeout", "0.2")
    with store.on_worker(0) as holder:
        holder.send("return kv.serialTransaction(function(s) s.set('k', 1) app.sleep(0.6) end)")
        time.sleep(0.05)
        assert store.run(HOLD, 0, "b") == [True]
        result = holder.receive()
    assert result[0] is None and "--kv-lock-timeout" in result[1]
    assert store.one("return kv.has('k')") is False


def test_lock_that_nobody_waits_for_is_taken_away_too(open_store):
    store = open_store("--kv-lock-timeout", "0.1")
    with pytest.raises(Failed, match="held its lock longer than --kv-lock-timeout"):
        store.run(HOLD, 0.3, "a")
    late, reason = store.run("return kv.serialTransaction(function(s) s.set('k', 1) app.sleep(0.3) end)")
    assert late is None and "held its lock longer than --kv-lock-timeout" in reason
    assert store.one("return kv.get('order') .. kv.get('k')") == ""
    assert store.server.wait_log("held its lock longer")
    assert store.run(HOLD, 0, "b") == [True]


def test_function_that_computes_for_too_long_loses_its_lock(open_store):
    store = open_store("--kv-lock-timeout", "0.1")
    code = """
      return kv.serialTransaction(function(s)
        s.set('k', 1)
        local t = os.clock()
        while os.clock() < t + 0.25 do end
        s.set('k', 2)
      end)"""
    with pytest.raises(Failed, match="held its lock longer than --kv-lock-timeout"):
        store.run(code)
    assert store.one("return kv.has('k')") is False


def test_every_one_of_a_queue_gets_its_own_time(open_store):
    store = open_store("--kv-lock-timeout", "1.5")
    clients = [store.on_worker(i % 2) for i in range(5)]
    for i, client in enumerate(clients):
        client.send(HOLD, 0.6, str(i))
        time.sleep(0.02)
    assert [client.receive() for client in clients] == [[True]] * 5
    for client in clients:
        client.close()


# ---- Reload, stop ----------------------------------------------------------------------------------------------------


def test_state_that_ends_gives_its_lock_and_its_places_up(open_store):
    store = open_store("--reload-grace", "0.4", "--kv-lock-timeout", "60", workers=1)
    stuck, waiting = store.client(), store.client()
    stuck.send(HOLD, 30, "a")
    time.sleep(0.05)
    waiting.send(HOLD, 0, "b")
    time.sleep(0.05)
    store.server.signal(signal.SIGHUP)
    assert store.server.wait_log("reloaded")
    assert store.run(HOLD, 0, "c") == [True]
    assert store.one("return kv.get('order')") == "c"
    stuck.close()
    waiting.close()


def test_keys_survive_a_reload(open_memory):
    store = open_memory()
    store.run("kv.set('k', {1})")
    store.server.signal(signal.SIGHUP)
    assert store.server.wait_log("reloaded")
    assert store.one("return kv.fetch('k')") == [1]


def test_server_stops_while_somebody_waits(open_store):
    store = open_store("--drain-timeout", "5")
    with store.on_worker(0) as holder, store.on_worker(1) as waiter:
        holder.send(HOLD, 0.3, "a")
        time.sleep(0.05)
        waiter.send(HOLD, 0, "b")
        time.sleep(0.05)
        store.server.signal(signal.SIGTERM)
        assert holder.receive() == waiter.receive() == [True]
    wait_until(lambda: not store.server.alive(), "the server ends")
