"""spawn, join, cancel, gather, race and timeout, from the documented results to what is left when they end."""

import time

import pytest
from heart_server import wait_until


@pytest.fixture(autouse=True)
def nothing_is_left(lab):
    yield
    wait_until(lambda: lab.stats() == (0, 0), lab.stats)


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("return task.spawn(function(a, b) return a + b end, 1, 2):join()", "3"),
        ("return select('#', task.spawn(function() end):join())", "0"),
        ("return select('#', task.spawn(function() return nil, nil end):join())", "2"),
        ("local t = task.spawn(function() end) local s = t:status() t:join() return s .. t:status()", "runningdone"),
        ("return select(2, task.spawn(task.sleep, 0.05):join(0.01))", "timeout"),
        ("return select(2, task.spawn(task.sleep, 0.05):join(0))", "timeout"),
        ("local t = task.spawn(function() return 7 end) t:join() return t:join()", "7"),
        ("local e = {} local t = task.spawn(error, e) local _, f = pcall(t.join, t) return e == f", "true"),
        ("local t = task.spawn(error, 'x') pcall(t.join, t) return t:status()", "failed"),
        (
            "local t = task.spawn(task.sleep, 9) t:cancel() return select(2, t:join()) .. t:status()",
            "cancelledcancelled",
        ),
        ("local t = task.spawn(task.sleep, 9) task.sleep(0) t:cancel() t:join() return t:cancel()", "false"),
        ("return table.concat({task.gather(function() return 1 end, function() return 2 end)}, ' ')", "1 2"),
        ("return table.concat(task.gather({function() return 1 end, function() return 2 end}), ' ')", "1 2"),
        ("return #task.gather({})", "0"),
        ("return select(2, pcall(task.gather, function() error('no', 0) end))", "no"),
        ("return task.race(function() task.sleep(9) end, function() return 'first' end)", "first"),
        ("return task.timeout(9, function() end)", "true"),
        ("return task.timeout(9, function() return 'done' end)", "done"),
        ("return select(2, task.timeout(0.01, task.sleep, 9))", "timeout"),
        ("return select(2, pcall(task.timeout, 9, error, 'raised'))", "raised"),
        ("return select(2, pcall(task.spawn, 1)):match('function expected') ~= nil", "true"),
        ("return select(2, pcall(task.gather, 1)):match('expected functions and tasks') ~= nil", "true"),
    ],
)
def test_results_are_as_documented(lab, code, result):
    assert lab.run(code) == result


def test_task_begins_when_its_spawner_waits(lab):
    assert lab.run("local n = 0 task.spawn(function() n = 1 end) local a = n task.sleep(0) return a .. n") == "01"


def test_hundred_thousand_results_travel(lab):
    assert lab.run("return select('#', task.spawn(function() return unpack({}, 1, 5000) end):join())") == "5000"


def test_error_that_nobody_waits_for_is_logged_with_its_traceback(lab):
    lab.run("task.spawn(function() local function culprit() error('nobody hears') end culprit() end)")
    lab.server.wait_log(r"nobody hears\\nstack traceback:.*culprit")
    assert lab.run("local t = task.spawn(error, 'late join') task.sleep(0.01) return select(2, pcall(t.join, t))")


def test_error_that_join_raises_is_logged_with_both_tracebacks(lab):
    with lab.server.connect() as client:
        client.fetch("POST", "/run", body=b"error('unused', 0)")
    lab.run("task.spawn(function() task.spawn(function() error('in the depth') end):join() end)")
    lab.server.wait_log(r"in the depth.*in function 'join'.*raised by a task that was joined:.*in the depth")


def test_task_outlives_its_request_and_can_not_use_its_ctx_then(lab):
    lab.run("""
      shared.seen = {}
      task.spawn(function()
        local context = require("heart.v1.context")
        shared.seen[1] = ctx.path() .. context.path()
        task.sleep(0.05)
        shared.seen[2] = select(2, pcall(ctx.path))
        shared.seen[3] = select(2, pcall(context.path))
      end)
      task.sleep(0.001)
    """)
    wait_until(lambda: lab.run("return #shared.seen") == "3", "the task has ended")
    assert lab.run("return table.concat(shared.seen, '|')") == (
        "/run/run|ctx was used after its request had ended|heart.v1.context: no request is served here"
    )


def test_task_of_one_request_never_sees_another(lab):
    lab.run("""
      local mine = ctx
      shared.done = nil
      task.spawn(function()
        for _ = 1, 50 do
          if pcall(mine.path) and mine.path() ~= "/run" then shared.done = "leak" end
          task.sleep(0.001)
        end
        shared.done = shared.done or "clean"
      end)
    """)
    for _ in range(30):
        lab.server.get("/hello")
    wait_until(lambda: lab.run("return tostring(shared.done)") != "nil", "the task has ended")
    assert lab.run("return shared.done") == "clean"


WAITS = {
    "sleep": "task.sleep(9)",
    "yield": "for _ = 1, 1e9 do coroutine.yield() end",
    "join": "task.spawn(task.sleep, 0.05):join()",
    "gather": "task.gather(function() task.sleep(9) end, function() task.sleep(9) end)",
    "timeout": "task.timeout(9, task.sleep, 9)",
    "semaphore": "task.semaphore(0):acquire()",
    "mutex": "local m = task.mutex() task.spawn(function() m:lock() task.sleep(0.05) end) task.sleep(0) m:lock()",
    "queue": "task.queue(1):pop()",
    "event": "task.event():wait()",
    "lock": """
      local kv = require('heart.v1.kv.memory')
      task.spawn(function() kv.serialTransaction(function() task.sleep(0.05) end) end) task.sleep(0)
      kv.serialTransaction(function() end)""",
    "disk": "local d = require('heart.v1.kv.disk') while true do d.set('k', 'v') end",
    "nested": "coroutine.wrap(function() coroutine.wrap(function() task.sleep(9) end)() end)()",
    "pairs": "for _ in pairs({1}) do task.sleep(9) end",
    "metamethod": "return setmetatable({}, {__index = function() task.sleep(9) end}).x",
    "iterator": "for _ in function() task.sleep(9) end do end",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_cancel_raises_at_the_wait_and_cleanup_runs(lab, wait):
    code = f"""
      local log = {{}}
      local t = task.spawn(function()
        local ok, err = pcall(function() {wait} end)
        log[1] = tostring(ok) .. " " .. tostring(err)
        ok, err = pcall(task.sleep, 0)
        log[2] = tostring(ok) .. " " .. tostring(err)
        task.sleep(0)
        log[3] = "not reached"
      end)
      task.sleep(0.01)
      t:cancel()
      local _, why = t:join(5)
      log[#log + 1] = why
      return table.concat(log, "|")"""
    assert lab.run(code) == "false cancelled|false cancelled|cancelled"


def test_cancel_is_exact_in_compiled_code(lab):
    code = """
      local n, m = 0, 0
      local t = task.spawn(function()
        while true do task.sleep(0) n = n + 1 m = m + 1 end
      end)
      while n < 2000 do task.sleep(0) end
      local before = n
      t:cancel() t:join()
      return n - before .. " " .. n - m"""
    assert lab.run(code) == "0 0"


def test_function_that_pcall_itself_has_called_says_that_it_was_cancelled(lab):
    code = """
      local log = {}
      local u = task.spawn(function()
        local ok, value, err = pcall(core.sleep, 9)
        log[1] = tostring(ok) .. tostring(value) .. tostring(err)
        task.sleep(0)
      end)
      task.sleep(0.001)
      u:cancel()
      u:join()
      return log[1] .. u:status()"""
    assert lab.run(code) == "truenilcancelledcancelled"


def test_error_that_is_swallowed_for_ever_ends_the_task(lab):
    code = """
      local t = task.spawn(function() while true do pcall(task.sleep, 9) end end)
      task.sleep(0) t:cancel() t:join()
      return t:status()"""
    assert lab.run(code) == "cancelled"


def test_cancelled_gather_race_and_timeout_cancel_what_they_started(lab):
    code = """
      local ended = 0
      local function child() local ok = pcall(task.sleep, 9) ended = ended + (ok and 0 or 1) end
      for _, t in ipairs({
        task.spawn(function() task.gather(child, child) end),
        task.spawn(function() task.race(child, child) end),
        task.spawn(function() task.timeout(9, child) end),
      }) do task.sleep(0.001) t:cancel() t:join() end
      task.sleep(0)
      return ended"""
    assert lab.run(code) == "5"


def test_first_error_of_gather_cancels_the_others(lab):
    code = """
      local other = task.spawn(task.sleep, 9)
      pcall(task.gather, other, function() error("x") end)
      other:join()
      return other:status()"""
    assert lab.run(code) == "cancelled"


def test_debug_hook_of_the_application_is_kept(lab):
    code = """
      local hook = function() end
      debug.sethook(hook, "", 1000000)
      local t = task.spawn(task.sleep, 9) task.sleep(0) t:cancel() t:join()
      local same = debug.gethook() == hook
      debug.sethook()
      return same"""
    assert lab.run(code) == "true"


def test_ten_thousand_tasks_leave_nothing(lab):
    code = """
      local tasks = {}
      for i = 1, 10000 do tasks[i] = task.spawn(function() task.sleep(i % 10 / 1000) return i end) end
      for i = 1, 10000, 3 do tasks[i]:cancel() end
      local sum = 0
      for i = 1, 10000 do sum = sum + (tasks[i]:join() or 0) end
      return sum"""
    expected = sum(i for i in range(1, 10001) if i % 3 != 1)
    assert lab.run(code) == str(expected)


def test_busy_spawn_loop_does_not_starve_others(lab):
    lab.run("""
      shared.stop = false
      local function loop() if not shared.stop then task.spawn(loop) end end
      loop()
    """)
    took = []
    for _ in range(20):
        start = time.monotonic()
        assert lab.server.get("/hello").text == "hello"
        took.append(time.monotonic() - start)
    lab.run("shared.stop = true")
    assert sorted(took)[10] < 0.1


def test_tasks_of_a_request_read_its_body_and_one_at_a_time(serve):
    server = serve("""
      local app = require("heart.v1")
      local task = require("heart.v1.task")
      app.post("/", { body = "stream" }, function(ctx)
        local read = ctx.reader()
        local first = task.spawn(read)
        task.sleep(0)
        local ok, err = pcall(read)
        return first:join() .. " " .. tostring(ok) .. " " .. tostring(err):match("another task")
      end)
    """)
    with server.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.1)
        client.send(b"body")
        assert client.response().text == "body false another task"


def test_tasks_run_while_the_script_loads(serve):
    server = serve("""
      local app = require("heart.v1")
      local task = require("heart.v1.task")
      local a, b = task.gather(function() task.sleep(0.01) return "a" end, function() return "b" end)
      app.get("/", function() return a .. b end)
    """)
    assert server.get("/").text == "ab"
