---Files. No call holds up the worker: what may take its time is done by threads of its own, while other requests run.
---Failures are `nil, "path: reason", code`, where the code is the name of the error: "ENOENT", "EACCES", …
---Relative paths count from the working directory. In an executable with an application, files that are only read
---come from there first, as with io.open. See docs/fs.md.
---@class heart.fs
local M = {}

local argument = require("heart.argument")
local native = require("heart.core").fs
local portable = require("heart.portable")

local READ = 65536 -- bytes read ahead

---@alias heart.fs.kind "file"|"directory"|"link"|"fifo"|"socket"|"character device"|"block device"|"unknown"
---@alias heart.fs.mode integer|string permission bits; a string is octal: "644"

---@class heart.fs.stat
---@field kind heart.fs.kind
---@field size integer bytes
---@field mode integer permission bits
---@field mtime number Unix time of the last change of its content
---@field atime number of the last reading
---@field ctime number of the last change of its content or attributes
---@field uid integer
---@field gid integer
---@field links integer
---@field inode integer
---@field device integer

---@class heart.fs.write_options
---@field append? boolean behind what is there
---@field atomic? boolean all or nothing: into a new file, to the disk, then under its name
---@field mode? heart.fs.mode of the file; without it 666 less the umask for a new one

---@class heart.fs.mkdir_options
---@field parents? boolean make what is missing above, too; no failure if it exists
---@field mode? heart.fs.mode

---@class heart.fs.remove_options
---@field recursive? boolean a folder with all that is in it

---@class heart.fs.temp_options
---@field dir? string ($TMPDIR, else /tmp)
---@field prefix? string beginning of its name ("heart-")
---@field suffix? string end of its name (""); files only

---@param name string what was called
---@param value any
---@param expected string
local function check(name, value, expected)
  if type(value) ~= expected then
    error(("%s: expected a %s, got %s"):format(name, expected, type(value)), 3)
  end
end

---Permission bits as a number.
---@param name string what was called
---@param mode heart.fs.mode?
---@return integer?
local function bits(name, mode)
  if mode == nil then
    return nil
  end
  local value = type(mode) == "number" and mode
    or type(mode) == "string" and mode:find("^[0-7]+$") and tonumber(mode, 8)
  if not value or value < 0 or value > 4095 or value % 1 ~= 0 then
    error(('%s: mode: expected permission bits such as "644"'):format(name), 3)
  end
  return value
end

---@param data any a string or a number
---@return string?
local function text_of(data)
  if type(data) == "number" then
    return tostring(data)
  end
  return type(data) == "string" and data or nil
end

-- ---- Whole files --------------------------------------------------------------------------------------------------

---The content of a file.
---@type fun(path: string, max?: integer): string?, string?, string?
M.read = native.read

local WRITE_OPTIONS = { append = "boolean", atomic = "boolean", mode = "any" }

---Write a file, a new one or in place of what it had.
---@param path string
---@param data string|number
---@param options? heart.fs.write_options
---@return true?
---@return string? err
---@return string? code
function M.write(path, data, options)
  check("write: path", path, "string")
  local text = text_of(data)
  if not text then
    error(("write: expected a string, got %s"):format(type(data)), 2)
  end
  local o = argument.options("write", options, WRITE_OPTIONS)
  if o.append and o.atomic then
    error("write: append and atomic exclude each other", 2)
  end
  local mode = bits("write", o.mode)
  local given = portable(text)
  if not given then
    return nil, path .. ": Cannot allocate memory", "ENOMEM"
  end
  return native.write(path, given, o.append, o.atomic, mode)
end

---Copy a file; the copy gets its permissions if it is new.
---@type fun(from: string, to: string): true?, string?, string?
M.copy = native.copy

-- ---- Open files ---------------------------------------------------------------------------------------------------

---An open file. One coroutine uses it at a time; another one gets nil and "EBUSY" meanwhile.
---@class heart.fs.file
---@field path string as opened
---@field package native userdata
---@field package ahead string read and not given yet
---@field package ended boolean
local File = {}
File.__index = File

---@param file userdata
---@param path string
local function new_file(file, path)
  return setmetatable({ native = file, path = path, ahead = "", ended = false }, File)
end

---@param self heart.fs.file
---@return boolean? whether there is more; nil and the failure
---@return string?
---@return string?
local function fill(self)
  if self.ended then
    return false
  end
  local data, err, code = native.file_read(self.native, READ)
  if not data then
    return nil, err, code
  end
  self.ended = data == ""
  self.ahead = self.ahead .. data
  return not self.ended
end

---@param self heart.fs.file
---@param n integer
local function take(self, n)
  local data = self.ahead:sub(1, n)
  self.ahead = self.ahead:sub(n + 1)
  return data
end

---@param self heart.fs.file
---@param keep boolean with its line end
local function read_line(self, keep)
  local parts, last
  while true do
    local at = self.ahead:find("\n", 1, true)
    if at or (self.ended and (parts or self.ahead ~= "")) then
      last = take(self, at or #self.ahead)
      break
    end
    if parts then
      parts[#parts + 1] = self.ahead
    elseif self.ahead ~= "" then
      parts = { self.ahead }
    end
    self.ahead = ""
    local more, err, code = fill(self)
    if more == nil then
      self.ahead = table.concat(parts or {})
      return nil, err, code
    end
    if not more and not parts then
      return nil
    end
  end
  if parts then
    parts[#parts + 1] = last
    last = table.concat(parts)
  end
  if not keep and last:byte(-1) == 10 then
    return last:sub(1, -2)
  end
  return last
end

---@param self heart.fs.file
---@param n integer
local function read_bytes(self, n)
  if n == 0 then
    return (self.ahead ~= "" or fill(self)) and "" or nil
  end
  local parts, have = {}, 0
  while have < n do
    local data = take(self, n - have)
    if data == "" then
      local err, code
      if n - have >= READ then
        data, err, code = native.file_read(self.native, n - have)
      else
        local more
        more, err, code = fill(self)
        data = more ~= nil and take(self, n - have) or nil
      end
      if not data then
        self.ahead = table.concat(parts) .. self.ahead
        return nil, err, code
      end
    end
    if data == "" then
      break
    end
    have = have + #data
    parts[#parts + 1] = data
  end
  return have > 0 and table.concat(parts) or nil
end

---@param self heart.fs.file
local function read_all(self)
  local parts = { self.ahead }
  self.ahead = ""
  repeat
    local data, err, code = native.file_read(self.native, READ * 16)
    if not data then
      self.ahead = table.concat(parts)
      return nil, err, code
    end
    parts[#parts + 1] = data
  until data == ""
  self.ended = true
  return table.concat(parts)
end

---Read: so many bytes, or "l" a line without its end (the default), "L" with it, "a" all that is left. At the end nil
---("" for "a"). Fewer bytes than asked for mean that the file has ended.
---@param what? integer|"l"|"L"|"a"|"*l"|"*L"|"*a"
---@return string?
---@return string? err
---@return string? code
function File:read(what)
  if type(what) == "number" then
    if what < 0 or what % 1 ~= 0 then
      error("read: expected a number of bytes", 2)
    end
    return read_bytes(self, what)
  end
  local format = what == nil and "l" or type(what) == "string" and what:match("^%*?([lLa])$")
  if not format then
    error(('read: expected a number, "l", "L" or "a", got %s'):format(tostring(what)), 2)
  end
  if format == "a" then
    return read_all(self)
  end
  return read_line(self, format == "L")
end

---For each line, or what else `read` gives. A failure while reading raises an error.
---@param what? integer|"l"|"L"
---@return fun(): string?
function File:lines(what)
  return function()
    local data, err = self:read(what)
    if data == nil and err then
      error(err, 2)
    end
    return data
  end
end

---What was read ahead is given back before the file moves on.
---@param self heart.fs.file
local function forget(self)
  local n = #self.ahead
  self.ended = false
  if n == 0 then
    return true
  end
  self.ahead = ""
  return native.file_seek(self.native, "cur", -n)
end

---Write strings and numbers, where the file stands or, opened with "a", at its end. Nothing is kept back.
---@param ... string|number
---@return heart.fs.file?
---@return string? err
---@return string? code
function File:write(...)
  local parts = { ... }
  for i = 1, select("#", ...) do
    parts[i] = text_of(parts[i]) or error(("write: expected a string, got %s"):format(type(parts[i])), 2)
  end
  local ok, err, code = forget(self)
  local given = ok and portable(table.concat(parts))
  if ok and not given then
    return nil, self.path .. ": Cannot allocate memory", "ENOMEM"
  end
  if ok then
    ok, err, code = native.file_write(self.native, given)
  end
  if not ok then
    return nil, err, code
  end
  return self
end

---Move to a place: from the beginning ("set"), from here ("cur", the default) or from the end. Returns it, from the
---beginning.
---@param whence? "set"|"cur"|"end"
---@param offset? integer (0)
---@return integer?
---@return string? err
---@return string? code
function File:seek(whence, offset)
  local ok, err, code = forget(self)
  if not ok then
    return nil, err, code
  end
  return native.file_seek(self.native, whence or "cur", offset or 0)
end

---Wait until all that was written is on the disk.
---@return true?
---@return string? err
---@return string? code
function File:sync()
  return native.file_sync(self.native)
end

---Cut the file off, or fill it up with zeros.
---@param size integer
---@return true?
---@return string? err
---@return string? code
function File:truncate(size)
  local ok, err, code = forget(self)
  if not ok then
    return nil, err, code
  end
  return native.file_truncate(self.native, size)
end

---@return heart.fs.stat?
---@return string? err
---@return string? code
function File:stat()
  return native.file_stat(self.native)
end

---@return true?
---@return string? err
---@return string? code
function File:close()
  self.ahead, self.ended = "", false
  return native.file_close(self.native)
end

File.__tostring = function(self)
  return ("heart.fs.file (%s)"):format(self.path)
end

---Open a file: "r" to read (the default), "w" to write from the beginning, "a" at the end; "r+", "w+", "a+" for both;
---"wx" fails if it exists.
---@param path string
---@param mode? string
---@return heart.fs.file?
---@return string? err
---@return string? code
function M.open(path, mode)
  check("open: path", path, "string")
  if mode ~= nil and not (type(mode) == "string" and (mode:find("^w[+bx]*$") or mode:find("^[ra][+b]*$"))) then
    error(("open: expected a mode such as r, w, a, r+, w+, a+ or wx, got %s"):format(tostring(mode)), 2)
  end
  local file, err, code = native.open(path, mode or "r")
  if not file then
    return nil, err, code
  end
  return new_file(file, path)
end

-- ---- Names and attributes -----------------------------------------------------------------------------------------

---What is known of a file; a link is followed.
---@param path string
---@return heart.fs.stat?
---@return string? err
---@return string? code
function M.stat(path)
  return native.stat(path, false)
end

---... of the link itself.
---@param path string
---@return heart.fs.stat?
---@return string? err
---@return string? code
function M.lstat(path)
  return native.stat(path, true)
end

---Whether there is something of that name. nil: it can not be told.
---@param path string
---@return boolean?
---@return string? err
---@return string? code
function M.exists(path)
  check("exists: path", path, "string")
  local found, err, code = native.stat(path, false)
  if found then
    return true
  elseif code == "ENOENT" or code == "ENOTDIR" then
    return false
  end
  return nil, err, code
end

---The names in a folder, in order, and the kind of each.
---@type fun(path: string): string[]?, table<string, heart.fs.kind>|string, string?
M.list = native.list

---Make a folder.
---@param path string
---@param options? heart.fs.mkdir_options
---@return true?
---@return string? err
---@return string? code
function M.mkdir(path, options)
  check("mkdir: path", path, "string")
  local o = argument.options("mkdir", options, { parents = "boolean", mode = "any" })
  return native.mkdir(path, o.parents, bits("mkdir", o.mode))
end

---Remove a file, a link or an empty folder.
---@param path string
---@param options? heart.fs.remove_options
---@return true?
---@return string? err
---@return string? code
function M.remove(path, options)
  check("remove: path", path, "string")
  return native.remove(path, argument.options("remove", options, { recursive = "boolean" }).recursive)
end

---Give a file another name, in place of what has it. Only within one file system.
---@type fun(from: string, to: string): true?, string?, string?
M.rename = native.rename

---Make `path` a link to `target`.
---@type fun(target: string, path: string): true?, string?, string?
M.symlink = native.symlink

---What a link says.
---@type fun(path: string): string?, string?, string?
M.readlink = native.readlink

---The absolute path without links.
---@type fun(path: string): string?, string?, string?
M.realpath = native.realpath

---Set the permissions.
---@param path string
---@param mode heart.fs.mode
---@return true?
---@return string? err
---@return string? code
function M.chmod(path, mode)
  check("chmod: path", path, "string")
  return native.chmod(path, bits("chmod", mode) or error('chmod: mode: expected permission bits such as "644"', 2))
end

---Watch a folder, or one file, which need not exist. With `fn` it is called for each event, on a task of its own;
---without it call the watcher, or loop: `for event in fs.watch(path) do`. What happens after this call is told.
---@param path string
---@param options? heart.fs.watch_options
---@param fn? fun(event: heart.fs.event)
---@return heart.fs.watcher?
---@return string? err
---@return string? code
---@overload fun(path: string, fn: fun(event: heart.fs.event)): heart.fs.watcher?, string?, string?
function M.watch(path, options, fn)
  if type(options) == "function" then
    options, fn = nil, options
  end
  check("watch: path", path, "string")
  if fn ~= nil then
    check("watch", fn, "function")
  end
  local o = argument.options("watch", options, { recursive = "boolean", modify = "boolean" })
  return require("heart.fs_watch").new(path, o, fn)
end

---@param o heart.fs.temp_options
local function temp_path(o)
  local dir = o.dir or os.getenv("TMPDIR") or "/tmp"
  return (dir == "" and "." or dir) .. "/" .. (o.prefix or "heart-"), o.suffix or ""
end

---A new file, open for reading and writing, that only this user may use, and its path. Nobody removes it for you.
---@param options? heart.fs.temp_options
---@return heart.fs.file?
---@return string path or the reason
---@return string? code
function M.temp_file(options)
  local o = argument.options("temp_file", options, { dir = "string", prefix = "string", suffix = "string" })
  local path, suffix = temp_path(o)
  local file, name, code = native.temp_file(path, suffix)
  if not file then
    return nil, name, code
  end
  return new_file(file, name), name
end

---The path of a new folder that only this user may use.
---@param options? heart.fs.temp_options
---@return string?
---@return string? err
---@return string? code
function M.temp_dir(options)
  local o = argument.options("temp_dir", options, { dir = "string", prefix = "string" })
  return native.temp_dir((temp_path(o)))
end

return M
