---ngx.log and the log levels of nginx on Heart's log.
local M = {}

local log = require("heart.core").log

---@type table<string, integer>
M.levels = { STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8 }

-- Heart has four levels; "notice" is what nginx writes of its ordinary doings.
local HEART = { [0] = "error", "error", "error", "error", "error", "warn", "info", "info", "debug" }

---The level of Heart's log for one of nginx.
---@param level any
---@return heart.log.level?
function M.name_of(level)
  return HEART[level]
end

---@param value any
---@param n integer
---@return string
local function part(value, n)
  local kind = type(value)
  if kind == "string" then
    return value
  elseif kind == "number" or kind == "boolean" or kind == "nil" then
    return tostring(value)
  elseif value == require("heart.core").json.null then
    return "null"
  end
  local meta = kind == "table" and getmetatable(value)
  if meta and meta.__tostring then
    return tostring(value)
  elseif kind == "table" then
    error(("bad argument #%d to 'log' (expected table to have __tostring metamethod)"):format(n), 3)
  end
  error(("bad argument #%d to 'log' (string, number, boolean, or nil expected, got %s)"):format(n, kind), 3)
end

---@param level integer ngx.STDERR to ngx.DEBUG
---@param ... any texts, written without anything between
function M.log(level, ...)
  local name = HEART[level]
  if type(level) ~= "number" then
    error(("bad argument #1 to 'log' (number expected, got %s)"):format(type(level)), 2)
  elseif not name then
    error(("bad argument #1 to 'log' (bad log level: %d)"):format(level), 2)
  end
  local n = select("#", ...)
  local parts = { ... }
  for i = 1, n do
    parts[i] = part(parts[i], i)
  end
  if not log.enabled(name) then
    return
  end
  local place = debug.getinfo(2, "Sl")
  local at = place and place.currentline > 0 and ("%s:%d"):format(place.short_src, place.currentline) or nil
  log[name](table.concat(parts), { at = at })
end

return M
