---The script states of one worker: which one a request gets, when one is made, and when one goes. Each serves a request
---until that has ended; whoever finds none waits in order.
---
---luafcgid2: each script begins with `states` of them and may have `most`; beyond that a request gets one of its own,
---which goes with it, of which there are no more than `most` either.
---luafcgid: all scripts together have `states`; one script has no more than `clones`. For a script that needs one, the
---one goes that was not used for longest.
local core = require("heart.core")
local task = require("heart.v1.task")

local native = core.script

---@class luafcgid.entry a script state
---@field box userdata
---@field script luafcgid.script
---@field version integer of the script that it has loaded
---@field reserved boolean somebody is about to use it
---@field once boolean it goes with the request that it was made for

---@class luafcgid.waiter
---@field semaphore heart.semaphore
---@field order integer the lower, the longer it waits
---@field entry? luafcgid.entry what it gets; nil: it may try again

---@class luafcgid.copies what the pool knows of a script
---@field script luafcgid.script
---@field entries luafcgid.entry[]
---@field making integer states that are on their way
---@field made integer states ever made: their numbers
---@field queue luafcgid.waiter[]
---@field told integer of them: left the queue to try again, and have not yet

---@class luafcgid.pool
---@field private settings luafcgid.settings
---@field private make fun(script: luafcgid.script, number: integer, root: string): userdata?, string?
---@field private copies table<luafcgid.script, luafcgid.copies>
---@field private waiting luafcgid.copies[] those with a queue
---@field private order integer of the last waiter
---@field private keeping boolean
---@field private queued fun() called when a request begins to wait
local Pool = {}
Pool.__index = Pool

---@param settings luafcgid.settings
---@param make fun(script: luafcgid.script, number: integer, root: string): userdata?, string?
---@param queued fun() called when a request begins to wait
---@return luafcgid.pool
local function new(settings, make, queued)
  return setmetatable({
    settings = settings,
    make = make,
    copies = {},
    waiting = {},
    order = 0,
    keeping = false,
    queued = queued,
  }, Pool)
end

---@param script luafcgid.script
---@return luafcgid.copies
function Pool:of(script)
  local copies = self.copies[script]
  if not copies then
    copies = { script = script, entries = {}, making = 0, made = 0, queue = {}, told = 0 }
    self.copies[script] = copies
  end
  return copies
end

---Forget what has ended, and close what is idle and out of date.
---@param copies luafcgid.copies
---@return luafcgid.entry? free an idle state that is up to date
local function tidy(copies)
  local script, entries, free = copies.script, copies.entries, nil
  for i = #entries, 1, -1 do
    local entry = entries[i]
    local idle = native.idle(entry.box)
    if idle == nil then
      native.close(entry.box)
      table.remove(entries, i)
    elseif idle and not entry.reserved then
      if script.gone or entry.version ~= script.version then
        native.close(entry.box)
        table.remove(entries, i)
      elseif not entry.once then
        free = entry
      end
    end
  end
  return free
end

---@param copies luafcgid.copies
---@param once boolean
---@return integer states there are or will be
local function count(copies, once)
  local n = once and 0 or copies.making
  for _, entry in ipairs(copies.entries) do
    if entry.once == once then
      n = n + 1
    end
  end
  return n
end

---Make a state; that waits.
---@param copies luafcgid.copies
---@param root string
---@param once boolean
---@return luafcgid.entry? entry reserved for the caller
---@return string? err
function Pool:grow(copies, root, once)
  local script = copies.script
  local entry = { script = script, version = script.version, reserved = true, once = once }
  copies.making = copies.making + 1
  copies.made = copies.made + 1
  local box, err = self.make(script, copies.made, root)
  copies.making = copies.making - 1
  if not box then
    self:pump()
    return nil, err
  end
  entry.box = box
  copies.entries[#copies.entries + 1] = entry
  return entry
end

-- ---- luafcgid2: per script -----------------------------------------------------------------------------------------

---The first request of a script has come: all states that it begins with.
---@param copies luafcgid.copies
---@param root string
function Pool:fill(copies, root)
  for _ = 2, self.settings.states do
    task.spawn(function()
      local entry = count(copies, false) < self.settings.states and self:grow(copies, root, false)
      if entry then
        entry.reserved = false
        self:pump()
      end
    end)
  end
end

---@param copies luafcgid.copies
---@return boolean? once whether the state that may be made goes with its request; nil: none may be made
function Pool:room_of_script(copies)
  local kept, most = count(copies, false), self.settings.most
  if kept < most and kept + copies.told < most then
    return false
  elseif kept + count(copies, true) + copies.told < 2 * most then
    return true
  end
end

-- ---- luafcgid: one set of slots ------------------------------------------------------------------------------------

---@return integer total
---@return luafcgid.entry? oldest the idle one that was not used for longest
function Pool:survey()
  local total, oldest, least = 0, nil, nil
  for _, copies in pairs(self.copies) do
    tidy(copies)
    total = total + count(copies, false) + copies.told
    for _, entry in ipairs(copies.entries) do
      local used = not entry.reserved and native.idle(entry.box) and native.used(entry.box)
      if used and (not oldest or used < least) then
        oldest, least = entry, used
      end
    end
  end
  return total, oldest
end

---@param copies luafcgid.copies
---@return boolean? once
function Pool:room_of_slots(copies)
  if count(copies, false) + copies.told >= self.settings.clones then
    return nil
  end
  local total, oldest = self:survey()
  if total < self.settings.states then
    return false
  elseif oldest then
    native.close(oldest.box)
    tidy(self:of(oldest.script))
    return false
  end
end

---@param copies luafcgid.copies
---@return boolean? once nil: no state may be made now
function Pool:room(copies)
  if self.settings.flavor == 2 then
    return self:room_of_script(copies)
  end
  return self:room_of_slots(copies)
end

-- ---- Waiting -------------------------------------------------------------------------------------------------------

---The script whose first waiter has waited for longest.
---@param passed_over table<luafcgid.copies, true> not these
---@return luafcgid.copies?
function Pool:next_waiting(passed_over)
  local found
  for _, copies in ipairs(self.waiting) do
    local first = copies.queue[1]
    if first and not passed_over[copies] and (not found or first.order < found.queue[1].order) then
      found = copies
    end
  end
  return found
end

---Give what has become free to those who have waited for longest.
function Pool:pump()
  local passed_over = {}
  local copies = self:next_waiting(passed_over)
  while copies do
    local entry = tidy(copies)
    if entry or copies.script.gone or self:room(copies) ~= nil then
      local waiter = table.remove(copies.queue, 1)
      waiter.entry = entry
      waiter.semaphore:release()
      if entry then
        entry.reserved = true
      else
        copies.told = copies.told + 1
      end
    else
      passed_over[copies] = true
    end
    copies = self:next_waiting(passed_over)
  end
  for i = #self.waiting, 1, -1 do
    if not self.waiting[i].queue[1] then
      table.remove(self.waiting, i)
    end
  end
end

---Look after those who wait, as long as there are any.
function Pool:keep()
  if self.keeping then
    return
  end
  self.keeping = true
  task.spawn(function()
    self:pump()
    while self.waiting[1] do
      native.await()
      self:pump()
    end
    self.keeping = false
  end)
end

---Wait in the queue of a script.
---@param copies luafcgid.copies
---@param order? integer it has waited before, at this place
---@return luafcgid.entry? entry nil: try again
---@return integer order
function Pool:wait(copies, order)
  if not copies.queue[1] then
    self.waiting[#self.waiting + 1] = copies
  end
  self.queued()
  if not order then
    self.order = self.order + 1
  end
  local waiter = { semaphore = task.semaphore(0), order = order or self.order }
  table.insert(copies.queue, order and 1 or #copies.queue + 1, waiter)
  self:keep()
  waiter.semaphore:acquire()
  if not waiter.entry then
    copies.told = copies.told - 1
  end
  return waiter.entry, waiter.order
end

---Whether others were here before, and wait for the same.
---@param copies luafcgid.copies
---@return boolean
function Pool:crowded(copies)
  return copies.queue[1] ~= nil or self.settings.flavor == 1 and self.waiting[1] ~= nil
end

---Whether anybody waits.
---@return boolean
function Pool:in_demand()
  return self.waiting[1] ~= nil
end

-- ---- What a request asks for ----------------------------------------------------------------------------------------

---An idle state, also after some looks.
---@param copies luafcgid.copies
---@return luafcgid.entry?
function Pool:search(copies)
  local entry = tidy(copies)
  if copies.made > 0 then
    for _ = 2, self.settings.retries do
      if entry then
        break
      end
      core.sleep(0)
      entry = tidy(copies)
    end
  end
  return entry
end

---A state for a request, reserved for it: pass the request to it at once. May wait.
---@param script luafcgid.script
---@param root string the document root
---@return luafcgid.entry? entry
---@return string? err nil: the script has gone
function Pool:take(script, root)
  local copies = self:of(script)
  local entry = not self:crowded(copies) and self:search(copies) or nil
  local order
  if entry then
    entry.reserved = true
  end
  while not entry do
    if script.gone then
      return nil
    end
    local once
    if order or not self:crowded(copies) then
      once = self:room(copies)
    end
    if once ~= nil then
      if copies.made == 0 and self.settings.flavor == 2 then
        self:fill(copies, root)
      end
      return self:grow(copies, root, once)
    end
    entry, order = self:wait(copies, order)
  end
  return entry
end

---Nobody wants the state that was taken.
---@param entry luafcgid.entry
function Pool:give_back(entry)
  entry.reserved = false
  if entry.once then
    native.close(entry.box)
  end
  self:pump()
end

---Close idle states whose script has changed or gone.
function Pool:sweep()
  for script, copies in pairs(self.copies) do
    tidy(copies)
    if script.gone and #copies.entries == 0 and copies.making == 0 and not copies.queue[1] then
      self.copies[script] = nil
    end
  end
  self:pump()
end

return new
