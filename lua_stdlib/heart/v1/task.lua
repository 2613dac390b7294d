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
local argument = require("heart.argument")
local guard = require("heart.guard")
local native = core.task

local spawn, wait_many, results = native.spawn, native.wait_many, native.results
local cancel, join, status = native.methods.cancel, native.methods.join, native.methods.status

---@class heart.task
---@field join fun(self: heart.task, seconds?: number): ... see M.join
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
  return join(task, seconds)
end

---Have the wait of a task raise "cancelled", and every later one.
---@param task heart.task
---@return boolean running whether it was
function M.cancel(task)
  return cancel(task)
end

---Wait, while others run.
---@param seconds number
function M.sleep(seconds)
  if not tonumber(seconds) then
    argument.wrong(1, "number", seconds)
  end
  core.sleep(seconds) -- not called last: what a cancellation raises needs a function of Lua to be raised in
end

---@param tasks heart.task[]
local function cancel_all(tasks)
  for i = 1, #tasks do
    tasks[i]:cancel()
  end
end

---Tasks from functions and tasks.
---@param name string what was called
---@param list (function|heart.task)[]
---@return heart.task[]
local function start(name, list)
  local tasks = {}
  for i = 1, #list do
    local entry = list[i]
    if type(entry) ~= "function" and not pcall(status, entry) then
      error(("%s: expected functions and tasks, got %s"):format(name, type(entry)), 3)
    end
  end
  for i = 1, #list do
    local entry = list[i]
    tasks[i] = type(entry) == "function" and spawn(entry) or entry
  end
  return tasks
end

-- Functions in Lua, so that an error that is raised at their wait is raised in them.
local function wait_for_many(tasks, all)
  local at = wait_many(tasks, all)
  return at
end
local function wait_for_one(task, seconds)
  local done, err = native.wait(task, seconds)
  return done, err
end

---wait_many, and nothing goes on that was waited for when the waiting one is cancelled.
---@param tasks heart.task[]
---@param all boolean
local function wait_or_cancel(tasks, all)
  local ok, at = pcall(wait_for_many, tasks, all)
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
  local tasks = start("gather", one and list[1] or list)
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
  if select("#", ...) == 0 then
    error("race: expected functions and tasks", 2)
  end
  local tasks = start("race", { ... })
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
  if not tonumber(seconds) then
    argument.wrong(1, "number", seconds)
  elseif type(fn) ~= "function" then
    argument.wrong(2, "function", fn)
  end
  local task = spawn(fn, ...)
  local ok, done, err = pcall(wait_for_one, task, seconds)
  if ok and done then
    return some(results(task))
  end
  task:cancel()
  if not ok then
    error(done, 0)
  end
  return nil, err
end

-- ---- Locks and channels -----------------------------------------------------------------------------------------

local new_semaphore, wait, post, count =
  native.semaphore, native.semaphore_wait, native.semaphore_post, native.semaphore_count

---@class heart.semaphore
---@field private native userdata
local Semaphore = {}
Semaphore.__index = Semaphore

---Take a permit; wait until there is one.
---@param seconds? number to wait at most
---@return true? taken
---@return "timeout"? reason
function Semaphore:acquire(seconds)
  return wait(self.native, seconds)
end

---Give permits back, or add some. The first who waits has one at once.
---@param permits? integer 1 unless given
function Semaphore:release(permits)
  return post(self.native, permits)
end

---@return integer permits that are free
---@return integer waiting tasks that wait for one
function Semaphore:count()
  return count(self.native)
end

---At most `permits` tasks at once.
---@param permits integer
---@return heart.semaphore
function M.semaphore(permits)
  return setmetatable({ native = argument.call("semaphore", new_semaphore, permits) }, Semaphore)
end

---@class heart.mutex
---@field private native userdata
local Mutex = {}
Mutex.__index = Mutex

---@param seconds? number to wait at most
---@return true? locked
---@return "timeout"? reason
function Mutex:lock(seconds)
  return wait(self.native, seconds)
end

---Only the task that has locked it may.
function Mutex:unlock()
  return post(self.native)
end

local function unlock(mutex, ok, ...)
  post(mutex.native)
  if not ok then
    error((...), 0)
  end
  return ...
end

---Run `fn(...)` while the mutex is locked.
---@param fn function
---@param ... any
---@return any ... its results; its error is raised
function Mutex:with(fn, ...)
  wait(self.native)
  return unlock(self, pcall(fn, ...))
end

---One task at a time, in the order in which they came. A task that ends, however it does, unlocks what it has locked.
---@return heart.mutex
function M.mutex()
  return setmetatable({ native = new_semaphore(1, true) }, Mutex)
end

---@class heart.event
---@field private native userdata
---@field private happened boolean
local Event = {}
Event.__index = Event

---@param seconds? number to wait at most
---@return true? happened
---@return "timeout"? reason
function Event:wait(seconds)
  if self.happened then
    return true
  end
  return wait(self.native, seconds)
end

---It has happened: all who wait go on, and nobody waits from now on.
function Event:set()
  self.happened = true
  local _, waiting = count(self.native)
  post(self.native, waiting)
end

---It has not happened: tasks wait again.
function Event:clear()
  self.happened = false
end

---@return boolean
function Event:is_set()
  return self.happened
end

---Something that happens once, and that any number of tasks wait for.
---@return heart.event
function M.event()
  return setmetatable({ native = new_semaphore(0), happened = false }, Event)
end

---@class heart.queue
---@field private items table
---@field private first integer
---@field private last integer
---@field private closed boolean
---@field private full userdata permits: items
---@field private room userdata permits: free places
local Queue = {}
Queue.__index = Queue

---Put a value behind the others; wait while the queue is full.
---@param value any not nil
---@param seconds? number to wait at most
---@return true? put
---@return "timeout"|"closed"|nil reason
function Queue:push(value, seconds)
  if value == nil then
    error("push: nil can not be put into a queue", 2)
  elseif seconds ~= nil and not tonumber(seconds) then
    argument.wrong(3, "number", seconds)
  end
  if self.closed then
    return nil, "closed"
  end
  local ok, err = wait(self.room, seconds)
  if not ok then
    return nil, err
  end
  if self.closed then
    return nil, "closed"
  end
  self.last = self.last + 1
  self.items[self.last] = value
  post(self.full)
  return true
end

---The oldest value; wait while there is none.
---@param seconds? number to wait at most
---@return any value
---@return "timeout"|"closed"|nil reason why it is nil
function Queue:pop(seconds)
  if seconds ~= nil and not tonumber(seconds) then
    argument.wrong(2, "number", seconds)
  end
  if self.closed and self.first > self.last then
    return nil, "closed"
  end
  local ok, err = wait(self.full, seconds)
  if not ok then
    return nil, err
  end
  local first = self.first
  if first > self.last then
    return nil, "closed"
  end
  local value = self.items[first]
  self.items[first] = nil
  self.first = first + 1
  post(self.room)
  return value
end

---No more values: `push` fails from now on, `pop` once the queue is empty.
function Queue:close()
  if self.closed then
    return
  end
  self.closed = true
  local _, takers = count(self.full)
  post(self.full, takers)
  local _, givers = count(self.room)
  post(self.room, givers)
end

---@return integer values that are in it
function Queue:len()
  return self.last - self.first + 1
end

---All values, until the queue is closed and empty: `for value in queue:each() do ... end`.
---@return fun(): any
function Queue:each()
  return function()
    return (self:pop())
  end
end

---A channel between tasks that holds up to `size` values.
---@param size integer
---@return heart.queue
function M.queue(size)
  if type(size) ~= "number" or size < 1 then
    error("queue: expected its size, 1 or more", 2)
  end
  local queue = { items = {}, first = 1, last = 0, closed = false, full = new_semaphore(0), room = new_semaphore(size) }
  return setmetatable(queue, Queue)
end

-- ---- Later, and again and again ---------------------------------------------------------------------------------

local rest, serving, clock, background = native.rest, native.serving, native.clock, native.background
local REST_MAX = 60 -- seconds: how long a change of the system's clock may stay unseen
local CLAIMED = 86400 -- seconds that a run of a cluster is remembered

---Run `fn(...)` once, so many seconds from now; while the script loads: from when the worker begins to serve.
---@param seconds number
---@param fn function
---@param ... any
---@return heart.task task its `cancel` keeps `fn` from running
function M.after(seconds, fn, ...)
  if type(seconds) ~= "number" or type(fn) ~= "function" then
    error("after: expected seconds and a function", 2)
  end
  return spawn(function(...)
    serving()
    core.sleep(seconds)
    return fn(...)
  end, ...)
end

---Run `fn` every so many seconds, the first time after as many; while the script loads: from when the worker begins to
---serve. A run that takes longer than that makes the next ones be left out; there are never two at once. An error is
---logged, and it goes on. It ends with the code that has started it.
---@param seconds number
---@param fn function
---@return heart.task task its `cancel` ends it
function M.every(seconds, fn)
  if type(seconds) ~= "number" or seconds <= 0 or type(fn) ~= "function" then
    error("every: expected seconds, more than 0, and a function", 2)
  end
  return background(function()
    serving()
    local due = (clock())
    while true do
      local now = (clock())
      due = due + math.max(1, math.ceil((now - due) / seconds)) * seconds
      if due <= now then
        due = due + seconds
      end
      rest(due - now)
      guard(fn)
    end
  end)
end

---@class heart.cron.options
---@field tz? "UTC"|"local" whose time the schedule means; "UTC" unless given
---@field once_per_cluster? boolean one worker of all, on all machines that share the store, runs it each time
---@field name? string those of one name run on the same worker; the schedule and the place of `fn` unless given

local CRON_OPTIONS = { tz = "string", once_per_cluster = "boolean", name = "string" }

---Where runs of a cluster are agreed on: the disk store (or Redis), else the memory of this process.
local function cluster_store()
  local ok, store = pcall(require, "heart.v1.kv.disk")
  return ok and store or require("heart.v1.kv.memory")
end

---What tells a schedule from others: when and what it runs. The folder of the script differs between machines.
---@param schedule string
---@param fn function
---@return string
local function schedule_name(schedule, fn)
  local info, folder = debug.getinfo(fn, "S"), core.folder .. "/"
  local source = info.source:gsub("^@", "")
  if source:sub(1, #folder) == folder then
    source = source:sub(#folder + 1)
  end
  return ("%s %s:%d"):format(schedule, source, info.linedefined)
end

local claims = {} ---@type table<string, {due: integer, task: heart.task}> the latest of each name

---Whether this worker runs what has that name at that time: the first in the cluster that asks does.
---@param name string
---@param due integer
---@return boolean
local function is_ours(name, due)
  local claim = claims[name]
  if not claim or claim.due ~= due then
    local key = ("heart:cron:%s:%d"):format(name, due)
    claim = {
      due = due,
      task = spawn(function()
        return cluster_store().add(key, true, { ttl = CLAIMED })
      end),
    }
    claims[name] = claim
  end
  local added, reason = claim.task:join()
  if added == nil then
    error("cron: " .. tostring(reason), 0)
  end
  return added
end

---Run `fn(due)` at the times of a cron schedule: `cron("*/5 * * * *", fn)`. On every worker, unless `once_per_cluster`.
---See docs/task.md for the fields and for what happens when clocks are changed.
---@param schedule string
---@param fn fun(due: integer) gets the Unix time that it runs for
---@param options? heart.cron.options
---@return heart.task task its `cancel` ends it
function M.cron(schedule, fn, options)
  options = argument.options("cron", options, CRON_OPTIONS)
  local plan, err = require("heart.cron").parse(schedule, options.tz)
  if not plan then
    error("cron: " .. err, 2)
  end
  if type(fn) ~= "function" then
    error("cron: expected a function", 2)
  end
  local name = options.name or schedule_name(schedule, fn)
  return background(function()
    serving()
    local _, now = clock()
    while true do
      local due = plan:next(math.floor(now))
      while now < due do
        rest(math.min(due - now, REST_MAX))
        _, now = clock()
      end
      guard(function()
        if not options.once_per_cluster or is_ours(name, due) then
          fn(due)
        end
      end)
      _, now = clock()
      now = math.max(now, due)
    end
  end)
end

---Counters of this worker's state: for tests, and for whoever looks for a leak.
---@return {tasks: integer, suspended: integer, idle: integer} counts coroutines
function M.stats()
  return native.stats()
end

return M
