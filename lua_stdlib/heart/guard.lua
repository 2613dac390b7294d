-- Runs a function whose error must not end what calls it, such as the application's in a loop over events.

local log = require("heart.core").log

local function report(err)
  return debug.traceback(type(err) == "string" and err or tostring(err), 2)
end

---Run `fn(...)`; its error is logged, with where it comes from. A cancellation is none: the next wait raises it again.
---@param fn function
---@param ... any
---@return boolean ok
---@return any result the first one
return function(fn, ...)
  local ok, result = xpcall(fn, report, ...)
  if not ok then
    if not result:find("^cancelled\n") then
      log.error(result)
    end
    return false
  end
  return true, result
end
