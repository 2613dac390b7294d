---The module ngx.errlog on Heart's log.
local M = {}

local core = require("heart.core")
local logging = require("compat.openresty.log")

M.version = "0.1.28"

---Write a message as it is, without the place that it comes from.
---@param level integer ngx.STDERR to ngx.DEBUG
---@param message string
function M.raw_log(level, message)
  if type(level) ~= "number" then
    error("bad argument #1 to 'raw_log' (must be a number)", 2)
  elseif type(message) ~= "string" then
    error("bad argument #2 to 'raw_log' (must be a string)", 2)
  elseif not logging.name_of(level) then
    error("bad log level", 2)
  end
  core.log[logging.name_of(level)](message)
end

---The least urgent level that is written.
---@return integer
function M.get_sys_filter_level()
  for _, name in ipairs({ "DEBUG", "INFO", "WARN" }) do
    if core.log.enabled(name:lower()) then
      return logging.levels[name]
    end
  end
  return logging.levels.ERR
end

---@return nil
---@return string err
function M.set_filter_level()
  return nil, "the log is not captured in Heart"
end

M.get_logs = M.set_filter_level

return M
