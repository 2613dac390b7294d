-- Runs before heart/boot.lua when the application is in the executable, with the table of native functions (heart.core)
-- as its argument. Files are read from the archive where a relative path names one; all else goes to the disk. What is
-- written goes to the disk always.

local core = ...
local archive = core.archive
local NAME = "/proc/self/fd/%d"

-- ---- Files -----------------------------------------------------------------------------------------------------

do
  local open, lines, input = io.open, io.lines, io.input

  ---Whether a file opened so can only be read.
  ---@param mode? string
  ---@return boolean
  local function reads(mode)
    return mode == nil or (type(mode) == "string" and mode:find("^r[^+]*$") ~= nil)
  end

  ---Call `fn` with the name of a copy of an archived file. Descriptor and message as archive.open gives them.
  ---@param fd integer
  ---@param path string
  ---@param fn fun(name: string, ...): any
  local function named(fd, path, fn, ...)
    local ok, file, message = pcall(fn, NAME:format(fd), ...)
    archive.close(fd)
    if ok and file then
      return file
    end
    return nil, ("%s: can not be read from the executable: %s"):format(path, ok and message or file)
  end

  function io.open(path, mode)
    local fd, message
    if type(path) == "string" and reads(mode) then
      fd, message = archive.open(path)
    end
    if fd then
      return named(fd, path, open, mode)
    elseif fd == false then
      return nil, message
    end
    return open(path, mode)
  end

  ---@param path any
  ---@param fn function
  local function open_or_raise(path, fn, ...)
    local fd, message
    if type(path) == "string" then
      fd, message = archive.open(path)
    end
    if fd == nil then
      return fn(path, ...)
    end
    local file
    if fd then
      file, message = named(fd, path, fn, ...)
    end
    return file or error(message, 3)
  end

  function io.lines(...)
    if select("#", ...) == 0 then
      return lines()
    end
    return open_or_raise((...), lines, select(2, ...))
  end

  function io.input(...)
    if select("#", ...) == 0 then
      return input()
    end
    return open_or_raise((...), input)
  end
end

-- ---- Code ------------------------------------------------------------------------------------------------------
-- Modules with a relative path are the application's own. They come from the archive only: what lies in the folder that
-- somebody starts it from is no part of it.

do
  local load_file, load_library, searchpath = loadfile, package.loadlib, package.searchpath

  function loadfile(path, mode, env)
    local text, message
    if type(path) == "string" then
      text, message = archive.read(path)
    end
    if text then
      return load(text, "@" .. path, mode, env)
    elseif text == false then
      return nil, message
    end
    return load_file(path, mode, env)
  end

  ---@param text string
  ---@param old string not a pattern
  ---@param new string
  ---@return string
  local function replace(text, old, new)
    return (text:gsub(old:gsub("%p", "%%%0"), (new:gsub("%%", "%%%%"))))
  end

  function package.searchpath(name, path, separator, replacement)
    if type(name) ~= "string" or type(path) ~= "string" then
      return searchpath(name, path, separator, replacement)
    end
    separator, replacement = separator or ".", replacement or "/"
    local file_name = separator == "" and name or replace(name, separator, replacement)
    local tried = {}
    for template in path:gmatch("[^;]+") do
      local file, message
      if template:sub(1, 1) == "/" then
        file, message = searchpath(name, template, separator, replacement)
      else
        file = replace(template, "?", file_name)
        if not archive.has(file) then
          file, message = nil, ("\n\tno file '%s' in the executable"):format(file)
        end
      end
      if file then
        return file
      end
      tried[#tried + 1] = message
    end
    return nil, table.concat(tried)
  end

  -- The dynamic loader wants a name in the file system: that of a copy in memory.
  function package.loadlib(path, symbol)
    local fd, message
    if type(path) == "string" then
      fd, message = archive.keep(path)
    end
    if fd == false then
      return nil, message, "open"
    end
    if not fd then
      return load_library(path, symbol)
    end
    local fn, why, where = load_library(NAME:format(fd), symbol)
    return fn, why and replace(why, NAME:format(fd), path), where
  end

  ---@param name string
  ---@param file string
  local function load_c(name, file)
    local symbol = "luaopen_" .. replace(name:match("%-(.*)") or name, ".", "_")
    local fn, message, where = package.loadlib(file, symbol)
    if not fn and where ~= "init" then
      error(("error loading module '%s' from file '%s':\n\t%s"):format(name, file, message), 0)
    end
    return fn, message
  end

  package.loaders[3] = function(name)
    local file, tried = package.searchpath(name, package.cpath)
    if not file then
      return tried
    end
    local fn, message = load_c(name, file)
    return fn or error(("error loading module '%s' from file '%s':\n\t%s"):format(name, file, message), 0)
  end

  -- A library may hold the modules below its name, too.
  package.loaders[4] = function(name)
    local root = name:match("^(.-)%.")
    local file, tried
    if root then
      file, tried = package.searchpath(root, package.cpath)
    end
    if not file then
      return tried
    end
    return load_c(name, file) or ("\n\tno module '%s' in file '%s'"):format(name, file)
  end
end
