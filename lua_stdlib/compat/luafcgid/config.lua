---Reads a configuration file of luafcgid or luafcgid2: a Lua file whose globals are the configuration. It runs in an
---environment of its own, without files, programs and modules, and for a bounded time. Pure Lua: `heart fcgi` reads it
---in a plain state before there are workers, and each worker once more, so that a reload sees what has changed.
local M = {}

local variables = ...
if type(variables) ~= "table" then
  variables = require("compat.luafcgid.variables")
end

local STEPS = 10000000 -- instructions that a configuration file may take
local STEP = 100000
local TOO_LONG = "takes too long: a configuration file may run 10 million instructions"

---@class luafcgid.settings
---@field flavor 1|2 whose configuration it is
---@field listen? string
---@field workers? integer
---@field backlog? integer
---@field max_body integer bytes
---@field log_file? string
---@field states integer luafcgid: of all scripts; luafcgid2: what a script begins with. Of each worker
---@field clones? integer luafcgid: of one script
---@field most? integer luafcgid2: of one script
---@field retries integer
---@field check_ms number how long a file counts as unchanged
---@field checksum boolean a file with the same content has not changed
---@field show_errors boolean
---@field buffering boolean
---@field elapsed boolean X-ElapsedTime is sent
---@field headers string lines
---@field entry string name of the function that is called
---@field status string
---@field content_type string
---@field startup? string path of a script that runs first in each state
---@field config table<any, any> the global Config
---@field variables table<string, any> everything that the file has set
---@field session_name string
---@field session_time number seconds
---@field session_key_length integer
---@field session_secure boolean
---@field session_http_only boolean
---@field session_same_site string
---@field session_ip_score number
---@field session_agent_score number
---@field session_language_score number
---@field session_target_score number

local COMMON = {
  status = "200 OK",
  content_type = "text/html",
  headers = "",
  entry = "main",
  show_errors = false,
  buffering = true,
  checksum = true,
  session_name = "XLuaSession",
  session_time = 3600,
  session_key_length = 24,
  session_secure = true,
  session_http_only = true,
  session_same_site = "",
  session_ip_score = 3,
  session_agent_score = 2,
  session_language_score = 1,
  session_target_score = 3,
}
local DEFAULTS = {
  { states = 5, retries = 2, check_ms = 1000, max_body = 1048576, elapsed = false },
  { states = 3, most = 5, retries = 3, check_ms = 5000, max_body = 4194304, elapsed = true },
}

---The settings of a daemon without a configuration file.
---@param flavor 1|2
---@return luafcgid.settings
function M.defaults(flavor)
  local settings = { flavor = flavor, config = {}, variables = {} }
  for _, values in ipairs({ COMMON, DEFAULTS[flavor] }) do
    for name, value in pairs(values) do
      settings[name] = value
    end
  end
  return settings
end

-- ---- Running the file ----------------------------------------------------------------------------------------------

local function copy(library)
  local own = {}
  for name, value in pairs(library) do
    own[name] = value
  end
  return own
end

---What pcall returns, unless the file's time is over.
local function caught(ok, ...)
  if not ok and ... == TOO_LONG then
    error(TOO_LONG, 0)
  end
  return ok, ...
end

---What a configuration file may use.
local function sandbox()
  local env = {
    string = copy(string),
    table = copy(table),
    math = copy(math),
    os = { time = os.time, date = os.date, clock = os.clock, getenv = os.getenv },
  }
  env.string.dump = nil
  for _, name in ipairs({ "tonumber", "tostring", "type", "pairs", "ipairs", "next", "select", "unpack", "error" }) do
    env[name] = _G[name]
  end
  env.assert, env.rawget, env.rawset, env.setmetatable = assert, rawget, rawset, setmetatable
  env.pcall = function(...)
    return caught(pcall(...))
  end
  env.print = function() end
  env._G = env
  return env
end

---@param path string
---@return function? chunk
---@return string? err
local function load_file(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local text = file:read("*a")
  file:close()
  if not text then
    return nil, path .. ": is not a file that can be read"
  end
  text = text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", "")
  return load(text, "@" .. path, "t")
end

---@param chunk function
---@return boolean ok
---@return any err
local function run(chunk)
  if jit then
    jit.off(chunk, true) -- hooks are for interpreted code
  end
  local steps = 0
  debug.sethook(function()
    steps = steps + STEP
    if steps > STEPS then
      debug.sethook()
      error(TOO_LONG, 0)
    end
  end, "", STEP)
  local ok, err = pcall(chunk)
  debug.sethook()
  return ok, err
end

---The globals that a file sets.
---@param path string
---@return table<string, any>? globals
---@return string? err
local function evaluate(path)
  local chunk, err = load_file(path)
  if not chunk then
    return nil, err
  end
  local env = sandbox()
  local before = copy(env)
  setfenv(chunk, env)
  local ok
  ok, err = run(chunk)
  if not ok then
    return nil, tostring(err)
  end
  local found = {}
  for name, value in pairs(env) do
    if type(name) == "string" and before[name] ~= value then
      found[name] = value
    end
  end
  return found
end

-- ---- Reading it ----------------------------------------------------------------------------------------------------

---How far two words are apart: letters put in, left out, changed.
---@param a string
---@param b string
---@return integer
local function distance(a, b)
  local row = {}
  for j = 0, #b do
    row[j] = j
  end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local change = diagonal + (a:byte(i) == b:byte(j) and 0 or 1)
      row[j] = math.min(above + 1, row[j - 1] + 1, change)
      diagonal = above
    end
  end
  return row[#b]
end

---@param name string
---@return string? near the variable that was probably meant
local function nearest(name)
  local best, least = nil, math.max(1, math.floor(#name / 3)) + 1
  for known in pairs(variables) do
    local apart = distance(name:lower(), known:lower())
    if apart < least or (apart == least and best and known < best) then
      best, least = known, apart
    end
  end
  return best
end

---@param found table<string, any>
---@return 1|2
local function flavor_of(found)
  local counts = { 0, 0 }
  for name in pairs(found) do
    local variable = variables[name]
    if variable and variable.of then
      counts[variable.of] = counts[variable.of] + 1
    end
  end
  return counts[2] > counts[1] and 2 or 1
end

---What is wrong with a value.
---@param variable luafcgid.variable
---@param value any
---@return string?
local function fault(variable, value)
  if type(value) ~= variable.type then
    return ("expected a %s, got a %s"):format(variable.type, type(value))
  elseif variable.type == "number" and (value ~= value or value - value ~= 0) then
    return "expected a number, got " .. tostring(value)
  elseif variable.least and value < variable.least then
    return ("expected %d or more, got %s"):format(variable.least, tostring(value))
  end
end

---@param settings luafcgid.settings
---@param name string
---@param value any
---@param found table<string, any>
---@return string? warning
local function take(settings, name, value, found)
  local variable = variables[name]
  if not variable then
    local near = nearest(name)
    return type(value) ~= "function" and "no such variable" .. (near and "; did you mean " .. near .. "?" or "") or nil
  elseif variable.of and variable.of ~= settings.flavor then
    return ("is a variable of %s, and this is a file of %s"):format(
      variable.of == 1 and "luafcgid" or "luafcgid2",
      settings.flavor == 1 and "luafcgid" or "luafcgid2"
    )
  elseif not variable.to then
    return "has no effect: " .. variable.note
  end
  local why = fault(variable, value)
  if why then
    return why .. "; the default holds"
  end
  local other = variable.like and found[variable.like]
  if other == nil or other == value or type(other) ~= variable.type then
    settings[variable.to] = value
  end
end

---Things that only look right together.
---@param settings luafcgid.settings
---@param warn fun(name: string, text: string)
local function complete(settings, warn)
  if settings.flavor == 1 then
    settings.clones = settings.clones or settings.workers or 3
  elseif settings.most < settings.states then
    warn("LuaMaxStates", ("is less than LuaStates: %d hold"):format(settings.states))
    settings.most = settings.states
  end
  local same_site = settings.session_same_site
  if same_site ~= "" and same_site ~= "Strict" and same_site ~= "Lax" and same_site ~= "None" then
    warn("SessionCookieSameSite", 'expected "Strict", "Lax", "None" or ""; nothing is sent')
    settings.session_same_site = ""
  end
  if settings.session_key_length < 16 then
    warn("SessionKeyLen", "keys of less than 16 characters can be guessed")
  end
  if settings.startup == "" then
    settings.startup = nil
  end
  settings.check_ms = math.max(settings.check_ms, 1)
end

---Values that can go to another Lua state.
---@param value any
---@param inside? table<table, true>
local function plain(value, inside)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then
    return value
  elseif kind ~= "table" or inside and inside[value] then
    return nil
  end
  inside = inside or {}
  inside[value] = true
  local own = {}
  for name, inner in pairs(value) do
    local key = plain(name, inside)
    if key ~= nil and type(key) ~= "table" then
      own[key] = plain(inner, inside)
    end
  end
  inside[value] = nil
  return own
end

---Read a configuration file.
---@param path string
---@return luafcgid.settings? settings
---@return string[]|string warnings or why it can not be read
function M.read(path)
  local found, err = evaluate(path)
  if not found then
    return nil, err --[[@as string]]
  end
  local settings = M.defaults(flavor_of(found))
  local warnings, names = {}, {}
  local function warn(name, text)
    warnings[#warnings + 1] = ("%s: %s: %s"):format(path, name, text)
  end
  for name in pairs(found) do
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local text = take(settings, name, found[name], found)
    if text then
      warn(name, text)
    end
    settings.variables[name] = plain(found[name])
  end
  settings.config = plain(settings.config) or {}
  complete(settings, warn)
  return settings, warnings
end

---What `heart fcgi` has to know of a file, a line each: "name value", or "error text".
---@param path string
---@return string
function M.summary(path)
  local settings, warnings = M.read(path)
  local lines = {}
  local function put(name, value)
    if value ~= nil then
      lines[#lines + 1] = name .. " " .. tostring(value):gsub("\n", " ")
    end
  end
  if not settings then
    put("error", warnings)
    return lines[1]
  end
  put("listen", settings.listen)
  put("log", settings.log_file)
  for _, name in ipairs({ "workers", "backlog", "max_body" }) do
    put(name, settings[name] and ("%.0f"):format(math.floor(settings[name])))
  end
  ---@cast warnings string[]
  for _, text in ipairs(warnings) do
    put("warning", text)
  end
  return table.concat(lines, "\n")
end

return M
