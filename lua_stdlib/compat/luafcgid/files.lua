---The script files of one worker: found by SCRIPT_FILENAME, kept inside a folder if there is one, read when they are
---first asked for, and looked at again after a while.
local fs = require("heart.v1.fs")
local task = require("heart.v1.task")
local core = require("heart.core")

local NAMES_MAX = 4096 -- spellings of file names that are remembered

---@class luafcgid.script a file, known by its real path
---@field path string
---@field text string its content
---@field version integer counts changes of the content
---@field gone boolean it is not there any more
---@field package stat? heart.fs.stat
---@field package checked number seconds: when it was looked at last
---@field package mutex heart.mutex

---@class luafcgid.files
---@field private root? string the real path of the folder that holds all scripts
---@field private given? string its path as it was given
---@field private patience number seconds that a file counts as unchanged
---@field private checksum boolean
---@field private scripts table<string, luafcgid.script> by real path
---@field private names table<string, {path: string, checked: number}> by SCRIPT_FILENAME
---@field private nnames integer
---@field private changed fun() called when what was found before may not be so any more
local Files = {}
Files.__index = Files

---@param root? string the folder that holds all scripts, an absolute path; nil: they may be anywhere
---@param settings luafcgid.settings
---@param changed fun() called when what was found before may not be so any more
---@return luafcgid.files
local function new(root, settings, changed)
  return setmetatable({
    root = root and assert(fs.realpath(root)),
    given = root,
    patience = settings.check_ms / 1000,
    checksum = settings.checksum,
    scripts = {},
    names = {},
    nnames = 0,
    changed = changed,
  }, Files)
end

---"." and ".." and repeated slashes resolved by the letters alone.
---@param path string
---@return string
local function normal(path)
  local kept = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then
      kept[#kept] = nil
    elseif part ~= "." then
      kept[#kept + 1] = part
    end
  end
  return "/" .. table.concat(kept, "/")
end

---@param path string
---@param root string
local function below(path, root)
  return root == "/" or path:sub(1, #root + 1) == root .. "/"
end

---What a front server means: Apache puts the address of the responder in front.
---@param filename string
---@return string
local function plain(filename)
  return filename:match("^proxy:.-://[^/]*(/.*)$") or filename
end

---The real path of a script.
---@param filename string
---@return string? path
---@return integer? status 403 or 404
function Files:resolve(filename)
  local path = plain(filename)
  if path:find("%z") or path == "" then
    return nil, 404
  elseif path:sub(1, 1) ~= "/" then
    path = (self.root or fs.realpath(".")) .. "/" .. path
  end
  path = normal(path)
  if self.root and not below(path, self.root) and not below(path, self.given) then
    return nil, 403 -- whether there is such a file is nobody's business
  end
  local real, _, code = fs.realpath(path)
  if not real then
    return nil, code == "EACCES" and 403 or 404
  elseif self.root and not below(real, self.root) then
    return nil, 403
  end
  return real
end

---@param a heart.fs.stat
---@param b? heart.fs.stat
local function same(a, b)
  return b ~= nil
    and a.size == b.size
    and a.mtime == b.mtime
    and a.ctime == b.ctime
    and a.inode == b.inode
    and a.device == b.device
end

---Look at a file, and read it if it has changed.
---@param script luafcgid.script
---@return integer? status nil: it is there
function Files:look(script)
  local stat = fs.stat(script.path)
  if not stat or stat.kind ~= "file" then
    script.gone = true
    self.changed()
    self.scripts[script.path] = nil
    return 404
  end
  if same(stat, script.stat) then
    script.checked = core.now()
    return nil
  end
  local text, _, code = fs.read(script.path)
  if not text then
    return code == "EACCES" and 403 or 404
  end
  if text ~= script.text or not self.checksum then
    script.text, script.version = text, script.version + 1
    self.changed()
  end
  script.stat, script.checked = stat, core.now()
end

---The script of a real path, fresh enough.
---@param path string
---@return luafcgid.script? script
---@return integer? status
function Files:open(path)
  local script = self.scripts[path]
  if not script then
    script = { path = path, text = nil, version = 0, gone = false, checked = -math.huge, mutex = task.mutex() }
    self.scripts[path] = script
  end
  if core.now() - script.checked < self.patience then
    return script
  end
  local status = script.mutex:with(function()
    if not script.gone and core.now() - script.checked >= self.patience then
      return self:look(script)
    end
  end)
  if script.gone or status then
    if script.version == 0 then
      self.scripts[path] = nil
    end
    return nil, status or 404
  end
  return script
end

---The script of a request.
---@param filename string SCRIPT_FILENAME
---@return luafcgid.script? script
---@return integer? status 403 or 404
function Files:find(filename)
  local name = self.names[filename]
  if name and core.now() - name.checked < self.patience then
    local script = self.scripts[name.path]
    if script and core.now() - script.checked < self.patience then
      return script
    end
  end
  local path, status = self:resolve(filename)
  if not path then
    return nil, status
  end
  if not self.names[filename] then
    self.nnames = self.nnames + 1
    if self.nnames > NAMES_MAX then
      self.names, self.nnames = {}, 1
      self.changed()
    end
  end
  self.names[filename] = { path = path, checked = core.now() }
  return self:open(path)
end

---@param filename string of a script that find() has found
---@return number? seconds of core.now(): until then it would find the same; nil: it may not
function Files:known_until(filename)
  local name = self.names[filename]
  local script = name and self.scripts[name.path]
  return script and math.min(name.checked, script.checked) + self.patience
end

---Look at all files whose time has come.
function Files:sweep()
  local paths = {}
  for path in pairs(self.scripts) do
    paths[#paths + 1] = path
  end
  for _, path in ipairs(paths) do
    self:open(path)
  end
end

return new
