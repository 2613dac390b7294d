-- What runs first in a script state of `heart fcgi`: it gives the script the libraries and globals of luafcgid and
-- luafcgid2, loads it, and serves its requests, one at a time. See compat/luafcgid/front.lua, which makes the state.
local core = require("heart.core")
local buffer = require("string.buffer")
local answer = require("compat.luafcgid.answer")
local cookies = require("compat.luafcgid.cookies")
local globals_of_requests = require("compat.luafcgid.globals")
local library = require("compat.luafcgid.library")
local log = require("heart.v1.log")
local names = require("compat.lua53.names")
local operators = require("compat.lua53.operators")
local page = require("compat.luafcgid.page")
local paths = require("compat.luafcgid.paths")

local request = core.request

---@class luafcgid.argument
---@field settings luafcgid.settings
---@field path string of the script
---@field text string its source
---@field number integer of this state, among those of the script
---@field root string the document root; "" if it is not known

---@type luafcgid.argument
local argument = buffer.decode((...)) --[[@as luafcgid.argument]]
local settings, script_path = argument.settings, argument.path
local folder = script_path:match("^(.*)/") --[[@as string]]
if folder == "" then
  folder = "/"
end

---@class luafcgid.now the request that is served
---@field ctx heart.ctx
---@field cookies? table<string, string> nil: not looked at yet
---@field answer luafcgid.answer
---@field read boolean its body

local the_request = { answer = answer(settings) } ---@type luafcgid.now
local now ---@type luafcgid.now? nil: there is none

---The request of the running code. A task that an earlier request has left behind has none.
---@param name string of the function that wants it
---@return luafcgid.now
local function serving(name)
  if not now or request.current() ~= now.ctx then
    error(name .. ": no request is served here", 3)
  end
  return now
end

---@param name string
---@param narg integer
---@param value any
---@return string
local function check_text(name, narg, value)
  if type(value) == "string" then
    return value
  elseif type(value) == "number" then
    return tostring(value)
  end
  local got = value == nil and "no value" or type(value)
  error(("bad argument #%d to '%s' (string expected, got %s)"):format(narg, name, got), 3)
end

---@param r luafcgid.now
---@return table<string, string>
local function cookies_of(r)
  r.cookies = r.cookies or cookies.parse(core.script.cookie(r.ctx))
  return r.cookies
end

---The session of a request. Most scripts have none, and do not pay for its modules.
---@param r luafcgid.now
---@return luafcgid.session
local function session_of(r)
  if not r.answer.session then
    r.answer.session = require("compat.luafcgid.session")(settings, core.fcgi.params(r.ctx), cookies_of(r))
  end
  return r.answer.session
end

---Raise an error, if there is one, with the place of the script's call.
---@param err? string
local function refuse(err)
  if err then
    error(err, 3)
  end
end

---The body, once.
---@param r luafcgid.now
---@return string?
local function read_body(r)
  local body = not r.read and request.body(r.ctx) or nil
  r.read = true
  return body
end

local function write_log(text)
  log.info(text, { script = script_path })
end

-- ---- luafcgid ------------------------------------------------------------------------------------------------------

---@class luafcgid.connection the second argument of main
local Connection = {}
Connection.__index = Connection

---@param name string a header, or without `value` a line
---@param value? string
function Connection.header(_, name, value)
  local r = serving("header")
  name = check_text("header", 1, name)
  value = value ~= nil and check_text("header", 2, value) or nil
  refuse(r.answer:header(name, value))
end

---@param text string
function Connection.puts(_, text)
  local r = serving("puts")
  r.answer:put(check_text("puts", 1, text))
end

---Send what there is.
function Connection.flush(_)
  local r = serving("flush")
  r.answer:flush()
end

---Forget the body that was not sent.
function Connection.reset(_)
  local r = serving("reset")
  r.answer:reset(false)
end

---@return string? body nil: there is none, or it was read
function Connection.gets(_)
  local body = read_body(serving("gets"))
  return body ~= "" and body or nil
end

---@param text string
function Connection.log(_, text)
  write_log(check_text("log", 1, text))
end

---A variable of the configuration file; with a value, what this state takes it for from now on.
---@param name string
---@param value? any
---@return any
function Connection.config(_, name, value)
  if value ~= nil then
    settings.variables[name] = value
  end
  return settings.variables[name]
end

local connection = setmetatable({}, Connection)

-- ---- luafcgid2 -----------------------------------------------------------------------------------------------------

local globals = {
  LUAFCGID = true,
  LUAFCGID_VERSION = 2,
  Response = require("compat.luafcgid.responses"),
  Config = settings.config,
  lf = {
    serialize = library.serialize,
    urlencode = library.urlencode,
    urldecode = library.urldecode,
    parse_pair = library.parse_pair,
    parse = library.parse,
  },
  Session = {},
}

---@param name string a header, or without `value` a line
---@param value? string
function globals.Header(name, value)
  local r = serving("Header")
  name = check_text("Header", 1, name)
  value = value ~= nil and check_text("Header", 2, value) or nil
  refuse(r.answer:header(name, value))
end

---@param text string
function globals.Send(text)
  local r = serving("Send")
  r.answer:put(check_text("Send", 1, text))
end

---Forget headers and body.
function globals.Reset()
  local r = serving("Reset")
  r.answer:reset(true)
end

---@return string body "": there is none, or it was read
function globals.Receive()
  return read_body(serving("Receive")) or ""
end

---@param text string code and text, as in `Response`
function globals.RespStatus(text)
  local r = serving("RespStatus")
  r.answer:set_status(check_text("RespStatus", 1, text))
end

---@param text string
function globals.RespContentType(text)
  local r = serving("RespContentType")
  r.answer:set_type(check_text("RespContentType", 1, text))
end

---@param text string
function globals.Log(text)
  write_log(check_text("Log", 1, text))
end

---@return string folder of the script
function globals.Dir()
  return folder
end

---@return table<string, integer> script path -> states of this worker
function globals.ThreadData()
  return core.script.counts()
end

function globals.Session.Start()
  session_of(serving("Session.Start")):start()
end

function globals.Session.Delete()
  session_of(serving("Session.Delete")):delete()
end

---@param realm string
---@return boolean
function globals.Session.HasRealm(realm)
  return session_of(serving("Session.HasRealm")):has_realm(check_text("HasRealm", 1, realm))
end

---@param realm string "*": all
function globals.Session.Clear(realm)
  session_of(serving("Session.Clear")):clear(check_text("Clear", 1, realm))
end

---@param realm string "*": all there are
---@param name string
---@param value string|number|boolean|nil
---@return boolean
function globals.Session.SetVar(realm, name, value)
  local r = serving("Session.SetVar")
  return session_of(r):set(check_text("SetVar", 1, realm), check_text("SetVar", 2, name), value)
end

---@param realm string "*": the first that has it
---@param name string
---@return string|number|boolean|nil
function globals.Session.GetVar(realm, name)
  local r = serving("Session.GetVar")
  return session_of(r):get(check_text("GetVar", 1, realm), check_text("GetVar", 2, name))
end

-- ---- Serving -------------------------------------------------------------------------------------------------------

local begin_globals = globals_of_requests({ "Env", "Cookies", "Info", "LocalConfig" }, {
  Env = function()
    return now and core.fcgi.params(now.ctx)
  end,
  Cookies = function()
    return now and cookies_of(now)
  end,
  Info = function()
    return now and { State = argument.number, Thread = core.worker }
  end,
  LocalConfig = function()
    local name = now and core.fcgi.param(now.ctx, "SERVER_NAME")
    local config = rawget(_G, "Config")
    return name and type(config) == "table" and config[name] or nil
  end,
})

---@param ctx heart.ctx
---@return luafcgid.now
local function begin(ctx)
  now = the_request
  now.ctx, now.cookies, now.read = ctx, nil, false
  now.answer:start(ctx)
  begin_globals()
  if core.script.cookie(ctx) and cookies_of(now)[settings.session_name] then
    session_of(now)
  end
  return now
end

---The variables as luafcgid gives them to main.
---@param ctx heart.ctx
---@return table<string, string|integer>
local function variables(ctx)
  local env = core.fcgi.params(ctx)
  env.LUAFCGID_VERSION = env.LUAFCGID_VERSION or 1
  return env
end

local known, wants ---@type function?, boolean the last main, and whether it takes arguments

---@param ctx heart.ctx
local function serve(ctx)
  local main = rawget(_G, settings.entry)
  if type(main) ~= "function" then
    error(("%s: there is no function %s"):format(script_path, settings.entry), 0)
  end
  if main ~= known then
    local about = debug.getinfo(main, "u")
    known, wants = main, about.nparams > 0 or about.isvararg
  end
  local r = begin(ctx)
  if wants then
    main(variables(ctx), connection)
  else
    main()
  end
  local status, body = r.answer:finish()
  now = nil
  return status, body
end

---@param err any
local function fail(_, err)
  now = nil
  return page.failed(settings.show_errors and tostring(err) or nil)
end

-- ---- Loading -------------------------------------------------------------------------------------------------------

---A search path without what lies below the folder of this file, which is none of the script's.
---@param path string
---@return string
local function without_own(path)
  local own = debug.getinfo(1, "S").source:match("^@(.*)state%.lua$")
  local kept = {}
  for entry in path:gmatch("[^;]+") do
    if entry:sub(1, #own) ~= own then
      kept[#kept + 1] = entry
    end
  end
  return table.concat(kept, ";")
end

---What `require` finds: modules beside the script and below the document root first, then those of their LuaRocks
---trees. C modules come from the document root, not from beside the script, as with luafcgid2.
local function set_package_path()
  local root = argument.root ~= "" and argument.root or nil
  local roots = { folder, root ~= folder and root or nil }
  local path, cpath = {}, {}
  for _, tree in ipairs({ "", "/lua_modules/share/lua/5.1" }) do
    for _, place in ipairs(roots) do
      path[#path + 1] = ("%s%s/?.lua;%s%s/?/init.lua"):format(place, tree, place, tree)
    end
  end
  if root then
    cpath[1] = ("%s/?.so;%s/lua_modules/lib/lua/5.1/?.so"):format(root, root)
  end
  path[#path + 1] = without_own(package.path)
  cpath[#cpath + 1] = without_own(package.cpath)
  package.path, package.cpath = table.concat(path, ";"), table.concat(cpath, ";")
  package.preload["luafcgid"] = function()
    return library
  end
end

---Have the loader of modules name operators of Lua 5.3, too.
local function explain_modules()
  local search = package.loaders[2]
  package.loaders[2] = function(name)
    local ok, found = pcall(search, name)
    if ok then
      return found
    end
    local path = package.searchpath(name, package.path)
    local file = path and io.open(path, "rb")
    if file then
      local text = file:read("*a") or ""
      file:close()
      found = found:gsub("\n\t(.*)$", function(message)
        return "\n\t" .. operators.explain(message, text, path)
      end)
    end
    error(found, 0)
  end
end

---A chunk; its error is raised and names operators of Lua 5.3.
---@param text string
---@param path string
---@return function
local function compile(text, path)
  text = text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", "")
  local chunk, err = load(text, "@" .. path, "t")
  return chunk or error(operators.explain(err, text, path), 0)
end

local function run_startup()
  local path = settings.startup
  if not path then
    return
  end
  local file, err = io.open(path, "rb")
  if not file then
    error("StartupScript: " .. err, 0)
  end
  local text = file:read("*a")
  file:close()
  compile(text or "", path)()
end

core.folder = folder
for name, value in pairs(globals) do
  rawset(_G, name, value)
end
names.install(_G)
set_package_path()
explain_modules()
run_startup()
paths.install(folder)
core.loaded(script_path)
local chunk = compile(argument.text, script_path)
argument.text = nil
chunk()
core.script.serve(serve)
if not core.dev then
  core.onerror(fail)
end
