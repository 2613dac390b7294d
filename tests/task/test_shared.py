"""heart.v1.shared and heart.v1.worker: what workers have in common and tell each other."""

import re
import signal

import pytest
from heart_server import Server, wait_until

APP = """
local app = require("heart.v1")
local shared = require("heart.v1.shared")
local task = require("heart.v1.task")
local worker = require("heart.v1.worker")
local dict = shared("dict", 100000)
local env = setmetatable({ dict = dict, shared = shared, task = task, worker = worker, got = {} }, { __index = _G })
worker.on_message(function(value, sender)
  dict.incr("plain " .. worker.id)
  if value == "fail" then error("listener fails") end
end)
worker.on_message("order", function(value, sender) env.got[#env.got + 1] = sender .. ":" .. value end)
worker.on_message("slow", function() task.sleep(0.5) end)
app.post("/run", function(ctx)
  local ok, result = xpcall(setfenv(assert(loadstring(ctx.bytes())), env), debug.traceback)
  return ok and 200 or 500, tostring(result)
end)
"""


@pytest.fixture
def run():
    with Server(APP, workers=2) as server:

        def run(code):
            with server.connect() as client:
                response = client.fetch("POST", "/run", body=code.encode())
            assert response.status == 200, response.text
            return response.text

        run.server = server
        yield run


def on_each(run, code):
    """What the code gives on both workers."""
    found = {}
    wait_until(
        lambda: found.update([run(f"return worker.id .. ' ' .. tostring(({code}))").split(" ", 1)]) or len(found) == 2,
        lambda: found,
    )
    return found


def test_workers_share_a_dictionary(run):
    for _ in range(50):
        run("dict.incr('n')")
    assert on_each(run, "dict.get('n')") == {"0": "50", "1": "50"}
    run("shared('other').set('n', {deep = {1, 2}})")
    assert run("return shared('other').fetch('n').deep[2] .. dict.get('n')") == "250"


def test_full_dictionary_drops_what_was_not_used_for_longest(run):
    code = """
      dict.set("kept", ("x"):rep(100))
      for i = 1, 3000 do dict.set("k" .. i, ("x"):rep(100)) if i % 50 == 0 then dict.get("kept") end end
      local used, max = dict.usage()
      return tostring(used <= max) .. tostring(dict.has("k1")) .. tostring(dict.has("k3000"))"""
    assert run(code) == "truefalsetrue"
    assert run("return select(2, dict.set('new', ('x'):rep(1000), {evict = false}))") == "no memory"
    assert run("dict.clear() return (dict.usage())") == "0"


def test_expired_value_is_stale_until_its_room_is_needed(run):
    code = """
      dict.set("k", "v", {ttl = 0.001})
      task.sleep(0.01)
      local v, _, expired = dict.stale("k")
      return tostring(dict.fetch("k")) .. v .. tostring(expired) .. dict.flush_expired() .. tostring(dict.stale("k"))"""
    assert run(code) == "nilvtrue1nil"


def test_messages_reach_all_or_the_others_or_one(run):
    run("return worker.send('all', 1)")
    wait_until(lambda: run("return dict.get('plain 0') .. dict.get('plain 1')") == "11", "both")
    run("return worker.send('others', 1)")
    wait_until(lambda: sorted(run("return dict.get('plain 0') .. dict.get('plain 1')")) == ["1", "2"], "one of them")
    run("return worker.send(0, 1) and worker.send(1, 1)")
    wait_until(lambda: sorted(run("return dict.get('plain 0') .. dict.get('plain 1')")) == ["2", "3"], "each")


def test_messages_of_one_sender_come_in_order(run):
    sender = run("for i = 1, 500 do assert(worker.send('all', i, 'order')) end return worker.id")
    expected = " ".join(f"{sender}:{i}" for i in range(1, 501))
    wait_until(
        lambda: set(on_each(run, "table.concat(got, ' ')").values()) == {expected},
        lambda: on_each(run, "#got"),
    )


def test_sender_is_told_when_too_many_messages_wait(run):
    code = """
      worker.send(0, 1, "slow")
      local n = 0
      for i = 1, 2000 do
        local ok, err = worker.send(0, i, "order")
        if not ok then return n .. " " .. err end
        n = n + 1
      end"""
    assert re.fullmatch(r"10(2[0-4]) worker 0: too many messages wait", run(code))


def test_failing_listener_is_logged_and_goes_on(run):
    run("worker.send('all', 'fail') worker.send('all', 1)")
    run.server.wait_log("listener fails")
    wait_until(lambda: run("return dict.get('plain 0')") == "2", "the next message")


def test_value_that_can_not_be_sent_is_refused(run):
    assert "function" in run("return select(2, worker.send(0, print))")
    assert "no such worker" in run("return select(2, pcall(worker.send, 2, 1))")
    assert "others" in run("return select(2, pcall(worker.send, 'both', 1))")


def test_reload_keeps_dictionaries_and_messages_reach_the_new_code(run):
    run("dict.set('kept', 'yes')")
    run.server.write("main.lua", APP.replace("got = {}", "got = {}, new = true"))
    run.server.signal(signal.SIGHUP)
    wait_until(lambda: set(on_each(run, "new").values()) == {"true"}, "the new code")
    run("worker.send('all', 'x', 'order')")
    wait_until(lambda: set(on_each(run, "#got").values()) == {"1"}, lambda: on_each(run, "#got"))
    assert run("return dict.get('kept')") == "yes"


def test_facts_about_the_worker(run):
    assert run("return worker.count .. ' ' .. worker.pid()") == f"2 {run.server.pid}"
