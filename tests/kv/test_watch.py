"""watch: every change once and in commit order, across workers, through slow watchers, stops and reloads."""

import signal
import time

import pytest
from heart_server import wait_until

APP = """
local seen = {}
local function note(event)
  seen[#seen + 1] = event.lost and "LOST"
    or event.key .. "=" .. (event.value == nil and "nil" or require("heart.v1.json").encode({ event.value }))
  versions = versions or {}
  versions[#versions + 1] = event.version
end
watcher = kv.watch("w:", note)
kv.watch({ "one", "two" }, note)
kv.watch("slow:", function(event)
  note(event)
  app.sleep(0.05)
end)
kv.watch("bad:", function(event) error("stumbled over " .. event.key) end)
app.get("/seen", function(ctx) return ctx.json(seen) end)
"""


@pytest.fixture
def store(open_store):
    return open_store(app=APP)


def seen(client, count):
    """What the client's worker has seen, once there are `count` events."""
    events = []

    def look():
        events[:] = client.connection.fetch("GET", "/seen").json
        return len(events) >= count

    wait_until(look, lambda: f"{count} events: {events}")
    return events


def test_changes_arrive_on_every_worker_in_order(store):
    with store.on_worker(0) as first, store.on_worker(1) as second:
        for i in range(20):
            (first if i % 2 else second).run("kv.set('w:' .. ?, {?})", str(i), i)
        first.run("kv.delete('w:0') kv.delete('w:none') kv.set('x', 1) kv.set('one', 1) kv.set('onet', 1)")
        expected = [f"w:{i}=[[{i}]]" for i in range(20)] + ["w:0=nil", "one=[1]"]
        assert seen(first, 22) == seen(second, 22) == expected
        versions = first.run("return versions")[0]
        assert versions == sorted(set(versions))


def test_all_that_writes_is_seen(store):
    with store.client() as client:
        client.run(
            """kv.add('w:a', 1) kv.add('w:a', 2) kv.incr('w:a', 4) kv.cas('w:a', 0, 1) kv.expire('w:a', 100)
            kv.transaction(function(s) s.set('w:b', 1) s.set('w:c', 2) s.delete('w:a') end)
            pcall(kv.transaction, function(s) s.set('w:d', 1) error('no') end)
            kv.batch{{'set', 'w:e', 1}, {'delete', 'w:b'}} kv.deletePrefix('w:')"""
        )
        events = seen(client, 10)
    assert events[:3] == ["w:a=[1]", "w:a=[5]", "w:a=[5]"]
    assert sorted(events[3:6]) == ["w:a=nil", "w:b=[1]", "w:c=[2]"]
    assert sorted(events[6:8]) == ["w:b=nil", "w:e=[1]"]
    assert sorted(events[8:]) == ["w:c=nil", "w:e=nil"]


def test_expiry_is_seen_as_a_deletion(store):
    with store.client() as client:
        client.run("kv.set('w:t', 1, {ttl = 0.05})")
        assert seen(client, 2) == ["w:t=[1]", "w:t=nil"]


def test_events_of_a_watcher_that_sleeps_come_one_after_the_other(store):
    with store.client() as client:
        client.run("for i = 1, 8 do kv.set('slow:' .. i, i) end")
        start = time.monotonic()
        assert seen(client, 8) == [f"slow:{i}=[{i}]" for i in range(1, 9)]
        assert time.monotonic() - start > 0.2


def test_slow_watcher_is_told_that_events_were_lost(open_store):
    app = """
    local count, lost, last = 0, 0, nil
    kv.watch("", function(event)
      if count == 0 then app.sleep(0.5) end
      count, lost, last = count + 1, lost + (event.lost and 1 or 0), event.key or last
    end)
    app.get("/state", function(ctx) return ctx.json({ count, lost, last }) end)
    """
    store = open_store(app=app, workers=1)
    with store.client() as client:
        client.run("local all = {} for i = 1, 3000 do all[i] = {'set', 'k' .. i, i} end kv.batch(all)")

        def state():
            return client.connection.fetch("GET", "/state").json

        wait_until(lambda: state()[1] == 1, lambda: f"one lost event: {state()}")
        assert 1000 < state()[0] < 1100
        client.run("kv.set('after', 1)")
        wait_until(lambda: state()[2] == "after", "events come again")
        assert state()[1] == 1


def test_error_of_a_watcher_is_logged_and_the_next_event_comes(store):
    store.run("kv.set('bad:1', 1) kv.set('bad:2', 1)")
    assert store.server.wait_log("stumbled over bad:1") and store.server.wait_log("stumbled over bad:2")


def test_stopped_watcher_sees_nothing_more(store):
    with store.on_worker(0) as client:
        client.run("kv.set('w:1', 1)")
        seen(client, 1)
        client.run("watcher:stop() watcher:stop() kv.set('w:2', 1) kv.set('two', 2)")
        assert seen(client, 2) == ["w:1=[1]", "two=[2]"]


def test_watcher_may_be_registered_and_stopped_by_a_request(store):
    code = """
      local got = {}
      local w
      w = kv.watch('r:', function(e) got[#got + 1] = e.key if #got == 2 then w:stop() end end)
      kv.set('r:1', 1) kv.set('r:2', 1) kv.set('r:3', 1)
      app.sleep(0.05)
      return got"""
    assert store.one(code) == ["r:1", "r:2"]


@pytest.mark.parametrize("rounds", [3])
def test_watchers_end_with_their_state(open_store, rounds):
    """After reloads only the new code's watchers run: each change is noted once."""
    app = 'kv.watch("w:", function(e) kv.incr("noted") log.info("noted " .. e.key) end)\n'
    store = open_store(app=app, workers=1)
    for i in range(rounds):
        store.server.signal(signal.SIGHUP)
        wait_until(lambda i=i: store.server.logs().count("reloaded") == i + 1, "reloaded")
    store.run("kv.set('w:1', 1)")
    store.server.wait_log("noted w:1")
    time.sleep(0.2)
    assert store.one("return kv.fetch('noted')") == 1
