"""Semaphores, mutexes, events and queues: order, time limits, and what a cancelled task had."""

import signal
import time

import pytest
from heart_server import wait_until


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("local s = task.semaphore(1) s:acquire() return select(2, s:acquire(0))", "timeout"),
        ("local s = task.semaphore(0) return select(2, s:acquire(0.01))", "timeout"),
        ("local s = task.semaphore(2) s:acquire() s:release(3) return s:count()", "4"),
        ("local m = task.mutex() m:lock() return select(2, pcall(m.lock, m)):match('locked by this task')",
         "locked by this task"),
        ("local m = task.mutex() return select(2, pcall(m.unlock, m)):match('not locked')", "not locked"),
        ("local m = task.mutex() return select(2, pcall(m.with, m, error, 'x')) .. tostring(m:lock(0))", "xtrue"),
        ("local m = task.mutex() return m:with(function(a) return a end, 'given')", "given"),
        ("local q = task.queue(1) q:push(1) return select(2, q:push(2, 0.01))", "timeout"),
        ("local q = task.queue(1) return select(2, q:pop(0.01))", "timeout"),
        ("local q = task.queue(3) q:push(1) q:push(2) q:close() return q:pop() .. q:pop() .. select(2, q:pop())",
         "12closed"),
        ("local q = task.queue(1) q:close() return select(2, q:push(1))", "closed"),
        ("return select(2, pcall(task.queue, 0)):match('1 or more')", "1 or more"),
        ("local q = task.queue(1) q:push(false) return q:len() .. tostring(q:pop())", "1false"),
        ("local e = task.event() e:set() return tostring(e:wait()) .. tostring(e:is_set())", "truetrue"),
        ("local e = task.event() return select(2, e:wait(0.01))", "timeout"),
    ],
)  # fmt: skip
def test_results_are_as_documented(lab, code, result):
    assert lab.run(code) == result


def test_permits_come_in_the_order_of_the_asking(lab):
    code = """
      local s, order = task.semaphore(0), {}
      local tasks = {}
      for i = 1, 9 do tasks[i] = task.spawn(function() s:acquire() order[#order + 1] = i end) end
      task.sleep(0)
      tasks[4]:cancel()
      task.sleep(0)
      s:release(3) task.sleep(0) s:release(5) task.gather(tasks[1], tasks[9])
      return table.concat(order)"""
    assert lab.run(code) == "12356789"


def test_permit_of_a_cancelled_task_goes_to_the_next(lab):
    code = """
      local s = task.semaphore(0)
      local a = task.spawn(function() s:acquire() return "a" end)
      local b = task.spawn(function() s:acquire() return "b" end)
      task.sleep(0)
      s:release()      -- handed to a, which is cancelled before it goes on
      a:cancel()
      return b:join(5) .. s:count()"""
    assert lab.run(code) == "b0"


@pytest.mark.parametrize("end", ["error('ends')", "return", "task.sleep(9)"])
def test_task_that_ends_unlocks_its_mutexes(lab, end):
    code = f"""
      local m, n = task.mutex(), task.mutex()
      local t = task.spawn(function() m:lock() n:lock() task.sleep(0) if true then {end} end end)
      task.sleep(0)
      local waiter = task.spawn(function() m:lock() n:lock() return "has both" end)
      task.sleep(0)
      t:cancel()
      return waiter:join(5)"""
    assert lab.run(code) == "has both"


def test_closing_a_queue_wakes_all_who_wait(lab):
    code = """
      local q, full = task.queue(1), task.queue(1)
      full:push(0)
      local tasks = {}
      for i = 1, 4 do tasks[i] = task.spawn(function() return select(2, q:pop()) end) end
      for i = 5, 8 do tasks[i] = task.spawn(function() return select(2, full:push(1)) end) end
      task.sleep(0)
      q:close() full:close()
      return table.concat(task.gather(tasks), " ")"""
    assert lab.run(code) == " ".join(["closed"] * 8)


def test_queue_passes_all_values_once(lab):
    code = """
      local q, sum, n = task.queue(7), 0, 0
      local takers, givers = {}, {}
      for i = 1, 10 do takers[i] = task.spawn(function() for v in q:each() do sum = sum + v n = n + 1 end end) end
      for i = 1, 10 do givers[i] = task.spawn(function() for v = 1, 100 do q:push(v) end end) end
      task.gather(givers) q:close() task.gather(takers)
      return sum .. " " .. n"""
    assert lab.run(code) == "50500 1000"


def test_semaphore_is_collected_while_somebody_waits(lab):
    code = """
      local t = task.spawn(function() task.semaphore(0):acquire() end)
      task.sleep(0)
      for _ = 1, 5 do collectgarbage() end
      t:cancel()
      return select(2, t:join())"""
    assert lab.run(code) == "cancelled"


def test_every_keeps_its_times_logs_errors_and_leaves_out_what_it_misses(lab):
    code = """
      local times, start = {}, core.task.clock()
      local e = task.every(0.02, function()
        times[#times + 1] = math.floor((core.task.clock() - start) / 0.02 + 0.5)
        if #times == 1 then error("first run fails") end
        if #times == 2 then task.sleep(0.05) end
      end)
      task.sleep(0.15)
      e:cancel()
      local n = #times
      task.sleep(0.05)
      return table.concat(times, " ", 1, 3) .. (n == #times and "" or " goes on")"""
    assert lab.run(code) in ("1 2 5", "1 2 6")
    lab.server.wait_log("first run fails")


def test_after_runs_once_and_can_be_cancelled(lab):
    code = """
      local n = 0
      local a, b = task.after(0.01, function(x) n = n + x end, 2), task.after(0.01, function() n = n + 100 end)
      b:cancel()
      a:join()
      task.sleep(0.02)
      return n"""
    assert lab.run(code) == "2"


def test_timers_begin_with_service_and_end_with_the_code(serve):
    script = """
      local app = require("heart.v1")
      local task = require("heart.v1.task")
      local n = 0
      task.every(0.01, function() n = n + 1 end)
      task.after(0, function() print("after %s") end)
      task.cron("* * * * *", print)
      app.get("/", function() return "%s " .. n end)
    """
    server = serve(script % ("one", "one"))
    server.wait_log("after one")
    wait_until(lambda: int(server.get("/").text.split()[1]) > 2, "every 10 ms")
    server.write("main.lua", script % ("two", "two"))
    start = time.monotonic()
    server.signal(signal.SIGHUP)
    server.wait_log("after two")
    assert server.get("/").text.startswith("two")
    server.stop()
    assert time.monotonic() - start < 10
