---What runs beside what: ngx.sleep, thread, timer, worker, get_phase, on_abort, on Heart's tasks.
local M = {}

local ffi = require("ffi")
local core = require("heart.core")
local current = require("compat.openresty.request")

local request, task = core.request, core.task

ffi.cdef([[
int getpid(void);
int gethostname(char *, size_t);
]])

---@param seconds number
function M.sleep(seconds)
  if type(seconds) ~= "number" then
    error(("bad argument #1 to 'sleep' (number expected, got %s)"):format(type(seconds)), 2)
  elseif seconds < 0 then
    error(('invalid sleep duration "%d"'):format(seconds * 1000), 2)
  end
  core.sleep(seconds)
end

---@return "init"|"content"|"timer"
function M.get_phase()
  local role = request.role()
  if role == "load" or not role then
    return "init"
  end
  local state = current.state()
  return state and state.serving and "content" or "timer"
end

---Run `fn` when the client has left before the handler's end.
---@param fn function
---@return 1?
---@return string? err
function M.on_abort(fn)
  if type(fn) ~= "function" then
    error("bad argument #1 to 'on_abort' (Lua function expected)", 2)
  end
  current.need().ctx.on_abort(fn)
  return 1
end

---@return false
---@return string err
function M.run_worker_thread()
  return false, "ngx.run_worker_thread is not available in Heart: use heart.v1.process"
end

-- ---- Threads -------------------------------------------------------------------------------------------------------

-- Where the running coroutine's own ctx keeps the task that it is.
local TASK = {}

---@class compat.openresty.thread
---@field state compat.openresty.state of its request or timer
---@field done? boolean it was waited for, or killed

---@type table<any, compat.openresty.thread>
local threads = setmetatable({}, { __mode = "k" })

---@param handle any
---@return any task
local function spawn(body, handle)
  handle.task = task.spawn(function(...)
    local _, _, own = request.current()
    own[TASK] = handle.task
    if handle.state then
      current.adopt(handle.state)
    end
    return body(...)
  end, unpack(handle, 1, handle.n))
  return handle.task
end

---End the running thread or timer. Does not return.
function M.end_task()
  local _, _, own = request.current()
  local self = own and own[TASK]
  if not self then
    error("ngx.exit: there is no request, thread or timer to end", 3)
  end
  self:cancel()
  core.sleep(0)
end

M.thread = {}

---Run `fn(...)` in a light thread of this request: it begins at once, and the handler ends after it.
---@param fn function
---@param ... any
---@return any thread
function M.thread.spawn(fn, ...)
  if type(fn) ~= "function" then
    error("bad argument #1 to 'spawn' (Lua function expected)", 2)
  end
  local state = current.state()
  if not state then
    error("no request found", 2)
  end
  local thread = spawn(fn, { state = state, n = select("#", ...), ... })
  threads[thread] = { state = state }
  -- Weak, too: `threads` would hold each thread for ever through its state.
  state.threads = state.threads or setmetatable({}, { __mode = "k" })
  state.threads[thread] = true
  core.sleep(0) -- the new one runs first
  return thread
end

---The results of a thread that has ended.
---@return boolean ok
---@return any ... results; an error
local function results_of(thread)
  if thread:status() == "cancelled" then
    return false, "killed"
  end
  return pcall(task.results, thread)
end

---@param state compat.openresty.state
local function forget(state, thread)
  threads[thread].done = true
  if state.threads then
    state.threads[thread] = nil
  end
end

---Wait until one of the threads has ended.
---@param ... any threads
---@return boolean? ok
---@return any ... its results; its error
function M.thread.wait(...)
  local list = { ... }
  if #list == 0 then
    error("at least one coroutine should be specified", 2)
  end
  for i, thread in ipairs(list) do
    local known = threads[thread]
    if not known then
      local kind = type(thread)
      if kind ~= "thread" and kind ~= "userdata" then
        error(("bad argument #%d to 'wait' (lua thread expected)"):format(i), 2)
      end
      error("attempt to wait on a coroutine that is not a user thread", 2)
    elseif known.done then
      return nil, "already waited or killed"
    end
  end
  local ended = list[task.wait_many(list, false)]
  forget(threads[ended].state, ended)
  return results_of(ended)
end

---@param thread any
---@return 1?
---@return string? err
function M.thread.kill(thread)
  local known = threads[thread]
  if not known then
    if type(thread) ~= "thread" and type(thread) ~= "userdata" then
      error("bad argument #1 to 'kill' (lua thread expected)", 2)
    end
    return nil, "not user thread"
  elseif known.done then
    return nil, "already waited or killed"
  elseif thread:status() ~= "running" then
    return nil, "already terminated"
  end
  forget(known.state, thread)
  thread:cancel()
  return 1
end

---Wait for all threads of a request: it ends after them.
---@param state compat.openresty.state
function M.wait_threads(state)
  while state.threads and next(state.threads) do
    local thread = next(state.threads)
    task.wait(thread)
    forget(state, thread)
  end
end

---@param state compat.openresty.state
function M.kill_threads(state)
  local _, _, own = request.current()
  for thread in pairs(state.threads or {}) do
    if thread ~= own[TASK] then
      forget(state, thread)
      thread:cancel()
    end
  end
end

-- ---- Timers --------------------------------------------------------------------------------------------------------

local pending, running = 0, 0

---@class compat.openresty.timer
---@field early userdata a semaphore that is posted when its code ends
---@field task any

local waiting ---@type table<compat.openresty.timer, true>? those that are not due; nil: there was never one

---@param fn function
---@param premature boolean
local function call(fn, premature, ...)
  running = running + 1
  local state = current.state()
  ---@cast state compat.openresty.state
  local ok, err = xpcall(fn, debug.traceback, premature, ...)
  if ok then
    M.wait_threads(state)
  end
  running = running - 1
  if not ok and err ~= nil and not tostring(err):find("^cancelled") then
    local logging = require("compat.openresty.log")
    logging.log(logging.levels.ERR, "lua entry thread aborted: runtime error: ", tostring(err))
  end
end

---The worker ends, or has newer code: all timers are due, and waited for.
local function run_early()
  local tasks = {}
  for timer in pairs(waiting) do
    tasks[#tasks + 1] = timer.task
    task.semaphore_post(timer.early)
  end
  for _, each in ipairs(tasks) do
    task.wait(each)
  end
end

---@param timer compat.openresty.timer
local function set(timer)
  if not waiting then
    waiting = {}
    require("heart.v1").on("stop", run_early)
  end
  waiting[timer] = true
  pending = pending + 1
end

---@param timer compat.openresty.timer
---@param delay number
local function wait_until_due(timer, delay)
  task.semaphore_wait(timer.early, delay)
  pending = pending - 1
  waiting[timer] = nil
end

---@param delay number
---@param fn function
---@param again boolean
---@return 1?
---@return string? err
local function schedule(delay, fn, again, ...)
  if delay > 0 and core.exiting() then
    return nil, "process exiting"
  end
  local state = { serving = false, out = {}, size = 0 }
  local timer = { early = task.semaphore(0) }
  set(timer)
  timer.task = spawn(function(...)
    wait_until_due(timer, delay)
    call(fn, core.exiting(), ...)
    while again and not core.exiting() do
      state.context = nil
      set(timer)
      wait_until_due(timer, delay)
      call(fn, core.exiting(), ...)
    end
  end, { state = state, n = select("#", ...), ... })
  return 1
end

---@param n integer
---@param delay any
---@param fn any
local function check(n, delay, fn)
  if n < 2 then
    error(("expecting at least 2 arguments but got %d"):format(n), 3)
  elseif type(delay) ~= "number" then
    error(("bad argument #1 to 'at' (number expected, got %s)"):format(type(delay)), 3)
  elseif type(fn) ~= "function" then
    error("bad argument #2 to 'at' (Lua function expected)", 3)
  end
end

M.timer = {
  ---Run `fn(premature, ...)` once, `delay` seconds from now, apart from the request.
  ---@param delay number
  ---@param fn fun(premature: boolean, ...: any)
  ---@return 1?
  ---@return string? err
  at = function(...)
    check(select("#", ...), ...)
    local delay, fn = ...
    return schedule(math.max(delay, 0), fn, false, select(3, ...))
  end,

  ---The same again and again.
  ---@param delay number
  ---@param fn fun(premature: boolean, ...: any)
  ---@return 1?
  ---@return string? err
  every = function(...)
    check(select("#", ...), ...)
    local delay, fn = ...
    if delay == 0 then
      error("delay cannot be zero", 2)
    end
    return schedule(math.max(delay, 0.001), fn, true, select(3, ...))
  end,

  ---@return integer
  pending_count = function()
    return pending
  end,

  ---@return integer
  running_count = function()
    return running
  end,
}

-- ---- Workers -------------------------------------------------------------------------------------------------------

M.worker = {
  ---@return integer 0 and up
  id = function()
    return core.worker
  end,

  ---@return integer
  count = function()
    return core.workers
  end,

  ---Workers are threads of one process.
  ---@return integer
  pid = function()
    return ffi.C.getpid()
  end,

  ---@return integer[]
  pids = function()
    return { ffi.C.getpid() }
  end,

  ---@return boolean this code serves no new requests
  exiting = function()
    return core.exiting()
  end,

  ---@return string
  hostname = function()
    local name = ffi.new("char[256]")
    return ffi.C.gethostname(name, 255) == 0 and ffi.string(name) or ""
  end,
}

return M
