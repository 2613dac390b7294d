---The module ngx.semaphore: light threads, handlers and timers of one worker wait for one another.
local M = {}

local task = require("heart.core").task

M.version = "0.1.28"

---@class ngx.semaphore
---@field native userdata
local semaphore = {}
semaphore.__index = semaphore

---@param n? integer posts to begin with
---@return ngx.semaphore
function M.new(n)
  n = tonumber(n) or 0
  if n < 0 then
    error("no negative number", 2)
  end
  return setmetatable({ native = task.semaphore(n) }, semaphore)
end

---@param self any
local function check(self)
  if getmetatable(self) ~= semaphore then
    error("not a semaphore instance", 3)
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
  elseif task.semaphore_wait(self.native, seconds) then
    return true
  elseif seconds == 0 then
    return nil, "timeout"
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
  task.semaphore_post(self.native, n)
  return true
end

---@return integer posts that are left; less than 0: so many wait
function semaphore.count(self)
  check(self)
  local free, waiting = task.semaphore_count(self.native)
  return free - waiting
end

return M
