-- What public functions say of wrong arguments: in the words of the standard library, at the line that calls them.
--
-- Most need nothing of this. A native function that is called last (`return native(...)`) tells its caller's line by
-- itself, because LuaJIT forgets the frame of the function in between.

local M = {}

---Raise the error about an argument of the function that calls this one.
---@param n integer which; the object of a method is the first one
---@param expected string
---@param value any
function M.wrong(n, expected, value)
  local info = debug.getinfo(2, "n")
  if info.namewhat == "method" then
    n = n - 1
  end
  local got = value == nil and "no value" or type(value)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(n, info.name or "?", expected, got), 3)
end

---@param name string
---@param ok boolean
local function pass(name, ok, ...)
  if not ok then
    error((tostring((...)):gsub("to '%?'", "to '" .. name .. "'")), 4)
  end
  return ...
end

---The results of a native function that does not wait; its error is that of the public function `name`, which calls
---this one.
---@param name string
---@param fn function
---@param ... any its arguments, in the places where `name` has them
function M.call(name, fn, ...)
  local a, b, c = pass(name, pcall(fn, ...))
  return a, b, c
end

return M
