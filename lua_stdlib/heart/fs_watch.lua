---What fs.watch gives: the events of inotify as those of names. Folders are watched, not files: a file that another one
---replaces would not be seen any more.

local core = require("heart.core")
local guard = require("heart.guard")
local native = core.fs

local MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x8, 0x40, 0x80, 0x100, 0x200
local OVERFLOW, IGNORED, ISDIR = 0x4000, 0x8000, 0x40000000
local KINDS = { [MODIFY] = "modify", [CLOSE_WRITE] = "write", [CREATE] = "create", [DELETE] = "delete" }
local PAIR = 0.002 -- seconds in which the second half of a move comes

---@class heart.fs.event
---@field kind "create"|"write"|"modify"|"delete"|"move"|"lost" "lost": too much happened at once, look for yourself
---@field name string path; of what was moved the new one
---@field from? string of what was moved: the old one
---@field folder? true it is a folder

---@class heart.fs.watch_options
---@field recursive? boolean the folders in it, too, also new ones
---@field modify? boolean an event for each change, not only when the file is closed

---What is watched. Call it, or use it in a `for`, to get the next event; nil when it was closed.
---@class heart.fs.watcher
---@field package native userdata
---@field package path string
---@field package only? string the name of the one file that is of interest
---@field package folders table<integer, string> number → path
---@field package queue heart.fs.event[]
---@field package first integer position in the queue
---@operator call: heart.fs.event?
local Watcher = {}
Watcher.__index = Watcher

local M = {}

---@param self heart.fs.watcher
---@param event heart.fs.event
local function push(self, event)
  self.queue[#self.queue + 1] = event
end

---Watch a folder, with what is in it if all is to be watched.
---@param self heart.fs.watcher
---@param path string
---@param fresh boolean it has just been made: tell what is in it
---@return integer? number
---@return string? err
---@return string? code
local function add(self, path, fresh)
  local number, err, code = native.watch_add(self.native, path, self.modify)
  if not number then
    return nil, err, code
  end
  self.folders[number] = path
  local names, kinds = nil, nil
  if self.recursive then
    names, kinds = native.list(path)
  end
  for _, name in ipairs(names or {}) do
    local full = path .. "/" .. name
    local folder = kinds[name] == "directory" or nil
    if fresh then
      push(self, { kind = "create", name = full, folder = folder })
    end
    if folder then
      add(self, full, fresh)
    end
  end
  return number
end

---A folder has another place, or none here any more: so have those in it.
---@param self heart.fs.watcher
---@param path string
local function forget(self, path)
  for number, folder in pairs(self.folders) do
    if folder == path or folder:sub(1, #path + 1) == path .. "/" then
      native.watch_remove(self.native, number)
      self.folders[number] = nil
    end
  end
end

---@param self heart.fs.watcher
---@param event heart.fs.event
local function tell(self, event)
  if event.folder and self.recursive then
    if event.from then
      forget(self, event.from)
    end
    if event.kind == "delete" then
      forget(self, event.name)
    end
    push(self, event)
    if event.kind == "create" or event.kind == "move" then
      add(self, event.name, event.kind == "create")
    end
  elseif not self.only or event.name == self.path or event.from == self.path then
    push(self, event)
  end
end

---@param self heart.fs.watcher
---@param raw any[] what watch_take gives
---@param at integer
---@return string?
local function path_of(self, raw, at)
  local folder = self.folders[raw[at]]
  if self.only and folder and raw[at + 3] == self.only then
    return self.path
  end
  return folder and (folder == "/" and "" or folder) .. "/" .. raw[at + 3]
end

---@param self heart.fs.watcher
---@param raw any[]
---@param at integer
---@return boolean pair it and the one behind it are one event
local function translate(self, raw, at)
  local mask = raw[at + 1]
  local bits = bit.band(mask, 0xFFFF)
  local name = path_of(self, raw, at)
  local folder = bit.band(mask, ISDIR) ~= 0 or nil
  if bits == OVERFLOW then
    push(self, { kind = "lost", name = self.path })
    if self.recursive then
      add(self, self.path, false)
    end
  elseif bits == IGNORED then
    if self.folders[raw[at]] == self.root then
      push(self, { kind = "delete", name = self.root, folder = true })
      self:close()
    end
    self.folders[raw[at]] = nil
  elseif not name then -- of a folder that was left meanwhile
    return false
  elseif bits == MOVED_FROM then
    local next_mask = raw[at + 5]
    if next_mask and bit.band(next_mask, MOVED_TO) ~= 0 and raw[at + 6] == raw[at + 2] then
      tell(self, { kind = "move", name = path_of(self, raw, at + 4) or name, from = name, folder = folder })
      return true
    end
    tell(self, { kind = "delete", name = name, folder = folder })
  elseif bits == MOVED_TO then
    tell(self, { kind = "create", name = name, folder = folder })
  elseif KINDS[bits] then
    tell(self, { kind = KINDS[bits], name = name, folder = folder })
  end
  return false
end

---@param self heart.fs.watcher
---@param raw any[]
local function translate_all(self, raw)
  if bit.band(raw[#raw - 2], MOVED_FROM) ~= 0 then -- its second half may be behind the end of what was read
    core.sleep(PAIR)
    for _, value in ipairs(native.watch_take(self.native) or {}) do
      raw[#raw + 1] = value
    end
  end
  local at = 1
  while at <= #raw do
    at = at + (translate(self, raw, at) and 8 or 4)
  end
end

---The next event; waits for one.
---@return heart.fs.event?
function Watcher:next()
  while true do
    local event = self.queue[self.first]
    if event then
      self.first = self.first + 1
      return event
    end
    self.queue, self.first = {}, 1
    local raw = native.watch_take(self.native)
    if raw then
      translate_all(self, raw)
    elseif not native.watch_wait(self.native) then
      return nil
    end
  end
end

Watcher.__call = Watcher.next

---No more events. Idempotent.
function Watcher:close()
  native.watch_stop(self.native)
end

---Every event, one after the other; an error of `fn` is logged and the next event comes all the same.
---@param self heart.fs.watcher
---@param fn fun(event: heart.fs.event)
local function follow(self, fn)
  for event in self do
    guard(fn, event)
  end
end

---@param path string
---@param options table checked
---@param fn? fun(event: heart.fs.event)
---@return heart.fs.watcher?
---@return string? err
---@return string? code
function M.new(path, options, fn)
  local found = native.stat(path, false)
  local folder, only = path, nil
  if not found or found.kind ~= "directory" then
    folder, only = path:match("^(.*)/([^/]+)$")
    folder, only = folder or ".", only or path
  end
  if #folder > 1 then
    folder = folder:gsub("/+$", "")
  end
  folder = folder == "" and "/" or folder
  local watch, err, code = native.watch(path)
  if not watch then
    return nil, err, code
  end
  local self = setmetatable({
    native = watch,
    path = only and path or folder,
    root = folder,
    only = only,
    recursive = options.recursive and not only,
    modify = options.modify or false,
    folders = {},
    queue = {},
    first = 1,
  }, Watcher)
  local number
  number, err, code = add(self, folder, false)
  if not number then
    self:close()
    return nil, err, code
  end
  if fn then
    native.watch_task(function()
      follow(self, fn)
    end)
  end
  return self
end

return M
