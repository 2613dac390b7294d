local spawn, wait, kill = ngx.thread.spawn, ngx.thread.wait, ngx.thread.kill

case("results of a thread", function()
  return wait(spawn(function(x)
    return x, 2
  end, 1))
end)
case("error of a thread", function()
  local ok, err = wait(spawn(function()
    error("boo", 0)
  end))
  return ok, err
end)
case("error of a thread that is a table", function()
  return wait(spawn(function()
    error({ 1 })
  end))
end)
case("wait twice", function()
  local thread = spawn(function() end)
  wait(thread)
  return wait(thread)
end)
case("wait for nothing", wait)
case("wait for a number", wait, 1)
case("wait for a coroutine", wait, coroutine.create(function() end))
case("spawn nothing", spawn)
case("spawn a number", spawn, 1)
case("the first that ends", function()
  local slow = spawn(function()
    ngx.sleep(0.05)
    return "slow"
  end)
  local ok, first = wait(
    slow,
    spawn(function()
      ngx.sleep(0.001)
      return "quick"
    end)
  )
  return ok, first, wait(slow)
end)
case("the new one runs first", function()
  local order = {}
  local thread = spawn(function()
    order[#order + 1] = "thread"
    ngx.sleep(0.001)
    order[#order + 1] = "thread again"
  end)
  order[#order + 1] = "parent"
  wait(thread)
  return order
end)
case("kill", function()
  local thread = spawn(function()
    ngx.sleep(10)
  end)
  local first = kill(thread)
  return first, kill(thread), wait(thread)
end)
case("kill one that has ended", function()
  return kill(spawn(function() end))
end)
case("kill a number", kill, 1)
case("kill a coroutine", kill, coroutine.create(function() end))
case("context of a thread", function()
  ngx.ctx.name = "request"
  local _, seen = wait(spawn(function()
    local before = ngx.ctx.name
    ngx.ctx.name = "thread"
    return before
  end))
  return seen, ngx.ctx.name, ngx.get_phase()
end)
case("threads in a thread", function()
  local _, sum = wait(spawn(function()
    local _, a = wait(spawn(function()
      return 1
    end))
    return a + 1
  end))
  return sum
end)
case("a coroutine that waits", function()
  local co = coroutine.create(function()
    ngx.sleep(0.001)
    coroutine.yield(1)
    return 2
  end)
  local _, one = coroutine.resume(co)
  local status = coroutine.status(co)
  local _, two = coroutine.resume(co)
  return one, status, two, coroutine.status(co)
end)

local at, every = ngx.timer.at, ngx.timer.every
case("timer without a function", at, 0)
case("timer without anything", at)
case("timer after a text", at, "x", function() end)
case("timer of a number", at, 0, 1)
case("timer of no interval", every, 0, function() end)
case("timer", function()
  local seen
  local result = at(0, function(premature, a, b)
    seen = { premature, a, b, ngx.get_phase(), next(ngx.ctx) == nil, (pcall(ngx.say, "x")) }
  end, "a", "b")
  ngx.sleep(0.02)
  return result, seen
end)
case("timers again and again", function()
  local n = 0
  every(0.01, function()
    n = n + 1
  end)
  ngx.sleep(0.1)
  return n > 3
end)
case("counts of timers", function()
  local before = ngx.timer.pending_count()
  local during
  at(0.01, function()
    during = ngx.timer.running_count()
  end)
  local after = ngx.timer.pending_count()
  ngx.sleep(0.05)
  return after - before, during
end)
case("a timer that starts a thread", function()
  local seen
  at(0, function()
    wait(spawn(function()
      seen = "done"
    end))
  end)
  ngx.sleep(0.02)
  return seen
end)

local semaphore = require("ngx.semaphore")
case("semaphore of negative size", semaphore.new, -1)
case("semaphore", function()
  local s = semaphore.new(1)
  local before = s:count()
  return before, s:wait(0), s:count(), s:wait(0)
end)
case("semaphore that is awaited too long", function()
  local s = semaphore.new()
  local ok, err = s:wait(0.01)
  return ok, err, s:count()
end)
case("semaphore posted", function()
  local s = semaphore.new()
  return s:post(2), s:count(), s:post(), s:count()
end)
case("semaphore posted 0 times", function()
  return semaphore.new():post(0)
end)
case("semaphore posted -1 times", function()
  return semaphore.new():post(-1)
end)
case("semaphore awaited for negative seconds", function()
  return semaphore.new():wait(-1)
end)
case("no semaphore", function()
  return semaphore.new().wait({}, 1)
end)
case("semaphore with two that wait", function()
  local s = semaphore.new()
  local done = {}
  for i = 1, 2 do
    spawn(function()
      done[i] = s:wait(1)
    end)
  end
  local waiting = s:count()
  s:post(1)
  ngx.sleep(0.01)
  local first = { done[1], done[2] }
  s:post(1)
  ngx.sleep(0.01)
  return waiting, first, done, s:count()
end)
