-- Runs first in every new Lua state, with the table of native functions (heart.core) as its argument. It makes the
-- standard library work on the engine's scheduler: coroutines pass the engine's waits through, and the files that an
-- application is made of are recorded, so that --watch knows them.

local core = ...

package.preload["heart.core"] = function()
  return core
end
package.preload["heart.core.log"] = function()
  return core.log
end
package.preload["heart.core.json"] = function()
  return core.json
end

-- ---- Coroutines ----------------------------------------------------------------------------------------------
-- An engine function called inside a coroutine of the application yields `engine`. The resume that receives it hands
-- it on outwards, until it reaches the engine; what the engine answers goes back in the same way. While that lasts the
-- coroutine is not the application's to resume: its status is "normal", as if it were running something else.

do
  local engine = core.engine
  local create, resume, yield, status = coroutine.create, coroutine.resume, coroutine.yield, coroutine.status
  local waiting = setmetatable({}, { __mode = "k" })

  ---@param co thread
  local function awake(co, ...)
    waiting[co] = nil
    return ...
  end

  ---@param co thread
  local function pass(co, ok, first, ...)
    if ok and first == engine then
      waiting[co] = true
      return pass(co, resume(co, awake(co, yield(engine))))
    end
    return ok, first, ...
  end

  function coroutine.resume(co, ...)
    if waiting[co] then
      return false, "cannot resume non-suspended coroutine"
    end
    return pass(co, resume(co, ...))
  end

  function coroutine.status(co)
    if waiting[co] then
      return "normal"
    end
    return status(co)
  end

  local function deliver(ok, ...)
    if ok then
      return ...
    end
    error((...), 0)
  end

  function coroutine.wrap(f)
    local co = create(f)
    return function(...)
      if waiting[co] then
        error("cannot resume non-suspended coroutine", 2)
      end
      return deliver(pass(co, resume(co, ...)))
    end
  end
end

-- ---- Tasks ---------------------------------------------------------------------------------------------------

do
  local wait, results = core.task.wait, core.task.results

  ---What the task's function returns, once it has; its error is raised. nil and "timeout" or "cancelled".
  ---@param seconds? number
  function core.task.methods:join(seconds)
    if type(self) ~= "userdata" then
      require("heart.argument").wrong(1, "task", self)
    elseif seconds ~= nil and not tonumber(seconds) then
      require("heart.argument").wrong(2, "number", seconds)
    end
    local ok, err = wait(self, seconds)
    if not ok then
      return nil, err
    end
    return results(self)
  end
end

-- ---- C modules ------------------------------------------------------------------------------------------------
-- The third searcher is the one for C modules (package.cpath), the fourth finds a submodule in the file of its root.
do
  local searchpath, loadlib, load_file = package.searchpath, package.loadlib, loadfile
  local folder = debug.getinfo(1, "S").source:match("^@(.*)boot%.lua$")
  local cmodule

  -- Found beside this file, whatever the application has done to package.path.
  ---@return string? reason
  local function refuse(path)
    cmodule = cmodule or assert(load_file(folder .. "cmodule.lua"))()
    return cmodule.refuse(path)
  end

  local function guarded(search, file_of)
    return function(name)
      local path = searchpath(file_of(name), package.cpath)
      local reason = path and refuse(path)
      if reason then
        error(("error loading module '%s' from file '%s':\n\t%s"):format(name, path, reason), 0)
      end
      return search(name)
    end
  end

  package.loaders[3] = guarded(package.loaders[3], function(name)
    return name
  end)
  package.loaders[4] = guarded(package.loaders[4], function(name)
    return name:match("^[^.]*")
  end)

  function package.loadlib(path, name)
    local reason = type(path) == "string" and refuse(path)
    if reason then
      return nil, ("%s: %s"):format(path, reason), "open"
    end
    return loadlib(path, name)
  end
end

-- ---- OpenResty ---------------------------------------------------------------------------------------------------
-- Libraries for OpenResty expect a global `ngx`, which is filled on its first use.

do
  core.ngx = {}

  local function fill()
    require("ngx")
    return core.ngx
  end

  ---@type ngx
  ngx = setmetatable(core.ngx, {
    __index = function(_, name)
      return fill()[name]
    end,
    __newindex = function(_, name, value)
      fill()[name] = value
    end,
  })
end

-- ---- Files -----------------------------------------------------------------------------------------------------

do
  local loaded, searchpath = core.loaded, package.searchpath
  local load_file = loadfile

  function loadfile(path, ...)
    if path ~= nil then
      loaded(path)
    end
    return load_file(path, ...)
  end

  function dofile(path)
    local chunk, err = loadfile(path)
    if not chunk then
      error(err, 0)
    end
    return chunk()
  end

  -- The second searcher is the one for Lua files (package.path).
  package.loaders[2] = function(name)
    local host = name:match("^(%a+)%.")
    if host == "resty" or host == "nginx" then -- Debian's name of "resty"
      local found = require("compat.openresty.libraries").prepare(name)
      if found then
        return found
      end
    end
    local path, tried = searchpath(name, package.path)
    if not path then
      return tried
    end
    loaded(path)
    local chunk, err = load_file(path)
    if not chunk then
      error(("error loading module '%s' from file '%s':\n\t%s"):format(name, path, err), 0)
    end
    return chunk
  end
end

-- ---- require ---------------------------------------------------------------------------------------------------
-- LuaJIT's own calls the file from C, so the file could not wait. This one gives the same results and errors. Who
-- requires a module that another coroutine is loading waits for it; only a true loop is an error.

do
  local package, loaded, self = package, package.loaded, core.task.self
  local semaphore, wait, post = core.task.semaphore, core.task.semaphore_wait, core.task.semaphore_post
  local LOADING = newproxy()

  ---@class heart.load
  ---@field by any the coroutine that loads it
  ---@field waiting integer
  ---@field ended userdata a semaphore

  ---@type table<string, heart.load>
  local loads = {}
  ---@type table<any, string> who waits for which module
  local waits = {}

  ---Whether the load of a module waits, perhaps through others, for what `me` loads.
  local function waits_for(name, me)
    while name do
      local load = loads[name]
      if not load or load.by == me then
        return load ~= nil
      end
      name = waits[load.by]
    end
    return false
  end

  ---Wait until another coroutine has loaded the module. False: that would never be.
  local function wait_for(name)
    local load, me = loads[name], self()
    if not load or not me or waits_for(name, me) then
      return false
    end
    load.waiting = load.waiting + 1
    waits[me] = name
    local ok, err = pcall(function()
      local done = wait(load.ended)
      return done
    end)
    waits[me] = nil
    if not ok then
      error(err, 0)
    end
    return loaded[name] ~= LOADING
  end

  ---The loader of a module, from the first searcher that finds one.
  local function find(name)
    local loaders = package.loaders
    if type(loaders) ~= "table" then
      error("'package.loaders' must be a table", 3)
    end
    local tried, i = "", 1
    while true do
      local search = loaders[i]
      if search == nil then
        error(("module '%s' not found:%s"):format(name, tried), 3)
      end
      local found = search(name)
      if type(found) == "function" then
        return found
      elseif type(found) == "string" or type(found) == "number" then
        tried = tried .. found
      end
      i = i + 1
    end
  end

  local function finish(name, load, ok, ...)
    loads[name] = nil
    if load.waiting > 0 then
      post(load.ended, load.waiting)
    end
    if not ok then
      error((...), 0)
    end
    local value = ...
    if value ~= nil then
      loaded[name] = value
    elseif loaded[name] == LOADING then
      loaded[name] = true
    end
    return loaded[name]
  end

  function require(name)
    if type(name) ~= "string" then
      if type(name) ~= "number" then
        local got = name == nil and "no value" or type(name)
        error(("bad argument #1 to 'require' (string expected, got %s)"):format(got), 2)
      end
      name = tostring(name)
    end
    local value = loaded[name]
    if value == LOADING and not wait_for(name) then
      error(("loop or previous error loading module '%s'"):format(name), 2)
    end
    value = loaded[name]
    if value then
      return value
    end
    local load_module = find(name)
    local load = { by = self(), waiting = 0, ended = semaphore(0) }
    loaded[name] = LOADING
    loads[name] = load
    return finish(name, load, pcall(load_module, name))
  end
end

-- ---- What the engine calls ---------------------------------------------------------------------------------------

core.describe(function(err)
  local meta = getmetatable(err)
  if type(meta) == "table" and meta.__tostring then
    return tostring(err)
  end
  if type(err) == "table" and type(err.message) == "string" then
    return err.message
  end
  return ("(error object is a %s value)"):format(type(err))
end)

if core.channels then
  -- Also an application that publishes from a handler alone begins with a connection to the other servers.
  core.prelude(function(script)
    require("heart.v1.channel")
    return script()
  end)
end

if core.dev then
  core.errorpage(require("heart.errorpage"))
end

-- ctx methods that are written in Lua: made from the ctx on first use.
local stream_begin, stream_write = core.stream_begin, core.stream_write
function core.ctx_functions.stream(ctx)
  return function(fn)
    if type(fn) ~= "function" then
      require("heart.argument").wrong(1, "function", fn)
    end
    stream_begin(ctx)
    fn(function(part)
      return stream_write(ctx, part)
    end)
  end
end
function core.ctx_functions.sse(ctx)
  return require("heart.sse")(ctx)
end
