-- What public functions say of wrong arguments: in the words of the standard library, at the line that calls them.
--
-- Most need nothing of this. A native function that is called last (`return native(...)`) tells its caller's line by
-- itself, because LuaJIT forgets the frame of the function in between.

local M = {}

---@param known table<string, string>
---@return string
local function names_of(known)
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  table.sort(names)
  return table.concat(names, ", ")
end

---The options of a public function, an empty table if there are none. Raises the error about what is no option of it,
---or not of its type.
---@param name string what was called
---@param options any
---@param known table<string, string> name → type, several with " or " between them, or "any"
---@param level? integer where the error is, as `error` counts for the caller; its caller unless given, 0: nowhere
---@return table
function M.options(name, options, known, level)
  level = level == 0 and 0 or (level or 2) + 1
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    error(("%s: options: expected a table, got %s"):format(name, type(options)), level)
  end
  for key, value in pairs(options) do
    local expected = known[key]
    if not expected then
      error(("%s: unknown option %s (there are: %s)"):format(name, tostring(key), names_of(known)), level)
    elseif expected ~= "any" and not expected:find(type(value), 1, true) then
      error(("%s: %s: expected a %s, got %s"):format(name, key, expected, type(value)), level)
    end
  end
  return options
end

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
