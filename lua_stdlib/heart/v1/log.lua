---The log of the server: one line per message, JSON in production, readable in development.
---A call never fails and never waits.
---@class heart.log
local M = {}

local core = require("heart.core").log

---@alias heart.log.level "debug"|"info"|"warn"|"error"
---@alias heart.log.fields table<string, any> flat: a nested table is written as JSON

---For the developer, hidden unless `--log-level debug`.
---@param message any made a string as print would
---@param fields? heart.log.fields
function M.debug(message, fields)
  core.debug(message, fields)
end

---What the application does.
---@param message any
---@param fields? heart.log.fields
function M.info(message, fields)
  core.info(message, fields)
end

---What somebody should look at.
---@param message any
---@param fields? heart.log.fields
function M.warn(message, fields)
  core.warn(message, fields)
end

---What went wrong.
---@param message any
---@param fields? heart.log.fields
function M.error(message, fields)
  core.error(message, fields)
end

---Whether messages of this level are written: saves preparing one that nobody sees.
---@param level heart.log.level
---@return boolean
function M.enabled(level)
  return core.enabled(level)
end

return M
