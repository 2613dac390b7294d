---The module ngx.semaphore: light threads, handlers and timers of one worker wait for one another.
local M = {}

local core = require("heart.core")

M.version = "0.1.28"

---@class ngx.semaphore
---@field free integer posts that nobody has waited for yet
---@field first integer no entry of `queue` lies before
---@field last integer
---@field queue table<integer, ngx.semaphore.entry>
---@field waiting integer
local semaphore = {}
semaphore.__index = semaphore

---Who waits: joined to a task that sleeps, and goes on when that is cancelled.
---@class ngx.semaphore.entry
---@field task any
---@field at integer where it is in `queue`
---@field granted? boolean

local FOR_EVER = 31536000 -- seconds: a year

---@param n? integer posts to begin with
---@return ngx.semaphore
function M.new(n)
  n = tonumber(n) or 0
  if n < 0 then
    error("no negative number", 2)
  end
  return setmetatable({ free = math.floor(n), first = 1, last = 0, queue = {}, waiting = 0 }, semaphore)
end

---@param self any
local function check(self)
  if getmetatable(self) ~= semaphore then
    error("not a semaphore instance", 3)
  end
end

---@param self ngx.semaphore
---@param entry ngx.semaphore.entry
local function leave(self, entry)
  if not entry.granted then
    self.queue[entry.at] = nil
    self.waiting = self.waiting - 1
    entry.task:cancel()
  end
end

---Take a post, or wait for one.
---@param seconds number 0: do not wait
---@return boolean? ok
---@return "timeout"? err
function semaphore.wait(self, seconds)
  check(self)
  seconds = tonumber(seconds)
  if not seconds then
    error("bad argument #1 to 'wait' (number expected)", 2)
  elseif seconds < 0 then
    error("no negative number", 2)
  elseif self.free > 0 then
    self.free = self.free - 1
    return true
  elseif seconds == 0 then
    return nil, "timeout"
  end
  self.last = self.last + 1
  local entry = { task = core.task.spawn(core.sleep, FOR_EVER), at = self.last }
  self.queue[self.last] = entry
  self.waiting = self.waiting + 1
  local ok, err = pcall(core.task.wait, entry.task, seconds)
  leave(self, entry)
  if entry.granted then
    return true
  elseif not ok then
    error(err, 0)
  end
  return false, "timeout"
end

---@param n? integer posts (1): as many who wait go on, the others are kept
---@return true
function semaphore.post(self, n)
  check(self)
  n = tonumber(n or 1)
  if not n or n < 1 then
    error("positive number required", 2)
  end
  while n >= 1 and self.waiting > 0 do
    local entry = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    if entry then
      entry.granted = true
      self.waiting = self.waiting - 1
      n = n - 1
      entry.task:cancel()
    end
  end
  self.free = self.free + n
  return true
end

---@return integer posts that are left; less than 0: so many wait
function semaphore.count(self)
  check(self)
  return self.free - self.waiting
end

return M
