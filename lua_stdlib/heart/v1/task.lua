---Functions that run beside each other on one worker, and how they wait for one another.
---
---    local task = require("heart.v1.task")
---    local user, posts = task.gather(
---      function() return load_user(id) end,
---      function() return load_posts(id) end
---    )
---
---They change hands only where a function waits: see docs/task.md.
---@class heart.v1.task
local M = {}

local core = require("heart.core")
local native = core.task

local spawn, wait_many, results = native.spawn, native.wait_many, native.results

---@class heart.task
---@field join fun(self: heart.task, seconds?: number): ... what its function returns; its error is raised; nil and "timeout" or "cancelled"
---@field cancel fun(self: heart.task): boolean whether it was running: its wait raises "cancelled", and every later one
---@field status fun(self: heart.task): "running"|"done"|"failed"|"cancelled"

---Run `fn(...)` beside what runs now: it begins at the end of this turn of the loop. It goes on after the end of the
---request that spawned it.
---@param fn function
---@param ... any
---@return heart.task
function M.spawn(fn, ...)
  return spawn(fn, ...)
end

---What the task's function returns, once it has; its error is raised. nil and "timeout" or "cancelled".
---@param task heart.task
---@param seconds? number to wait at most
function M.join(task, seconds)
  return task:join(seconds)
end

---Have the wait of a task raise "cancelled", and every later one.
---@param task heart.task
---@return boolean running whether it was
function M.cancel(task)
  return task:cancel()
end

---Wait, while others run.
---@param seconds number
function M.sleep(seconds)
  core.sleep(seconds)
end

---@param tasks heart.task[]
local function cancel_all(tasks)
  for i = 1, #tasks do
    tasks[i]:cancel()
  end
end

---Tasks from functions and tasks.
---@param list (function|heart.task)[]
---@return heart.task[]
local function start(list)
  local tasks = {}
  for i = 1, #list do
    local entry = list[i]
    tasks[i] = type(entry) == "function" and spawn(entry) or entry
  end
  return tasks
end

---wait_many, and nothing goes on that was waited for when the waiting one is cancelled.
---@param tasks heart.task[]
---@param all boolean
local function wait_or_cancel(tasks, all)
  local ok, at = pcall(wait_many, tasks, all)
  if not ok then
    cancel_all(tasks)
    error(at, 0)
  end
  return at
end

---Run all side by side and wait for all. The first error is raised, and the others are cancelled then.
---With a list the results are a list, too.
---@param ... function|heart.task|(function|heart.task)[]
---@return any ... the first result of each
function M.gather(...)
  local list = { ... }
  local one = select("#", ...) == 1 and type(list[1]) == "table"
  local tasks = start(one and list[1] or list)
  local failed = wait_or_cancel(tasks, true)
  if failed > 0 then
    cancel_all(tasks)
    local _, err = results(tasks[failed])
    error(err, 0)
  end
  local values, n = {}, #tasks
  for i = 1, n do
    values[i] = (results(tasks[i]))
  end
  if one then
    return values
  end
  return unpack(values, 1, n)
end

---Run all side by side until the first has ended; the others are cancelled.
---@param ... function|heart.task
---@return any ... its results; its error is raised
function M.race(...)
  local tasks = start({ ... })
  local first = wait_or_cancel(tasks, false)
  cancel_all(tasks)
  return results(tasks[first])
end

local function some(...)
  if select("#", ...) == 0 then
    return true
  end
  return ...
end

---Run `fn(...)` for at most so many seconds; then it is cancelled.
---@param seconds number
---@param fn function
---@param ... any
---@return any ... its results, true if there are none; its error is raised; nil, "timeout"
function M.timeout(seconds, fn, ...)
  local task = spawn(fn, ...)
  local ok, done, err = pcall(native.wait, task, seconds)
  if ok and done then
    return some(results(task))
  end
  task:cancel()
  if not ok then
    error(done, 0)
  end
  return nil, err
end

return M
