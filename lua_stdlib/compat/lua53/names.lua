---Names of Lua 5.3's library that LuaJIT does not have: utf8, table.pack/unpack/move, string.pack/unpack/packsize,
---math.tointeger/type/ult/maxinteger/mininteger, rawlen. Integers are whole numbers of up to 53 bits here; 3.0 is one.
local M = {}

local floor = math.floor
local EXACT = 9007199254740992 -- 2^53: whole numbers up to it are exact

local function is_integer(value)
  return type(value) == "number" and floor(value) == value and value >= -EXACT and value <= EXACT
end

---@param value any
---@return integer? what it is as an integer; nil: it is none
local function tointeger(value)
  if type(value) == "string" then
    value = tonumber(value)
  end
  return is_integer(value) and value or nil
end

---@param ... any
---@return "integer"|"float"|nil
local function math_type(...)
  if select("#", ...) == 0 then
    error("bad argument #1 to 'type' (value expected)", 2)
  end
  local value = ...
  if type(value) ~= "number" then
    return nil
  end
  return is_integer(value) and "integer" or "float"
end

---Whether a < b, both taken as unsigned integers of 64 bits.
---@param a integer
---@param b integer
---@return boolean
local function ult(a, b)
  for i, value in ipairs({ a or false, b or false }) do
    if type(value) ~= "number" or floor(value) ~= value then
      error(("bad argument #%d to 'ult' (integer expected)"):format(i), 2)
    end
  end
  if (a < 0) ~= (b < 0) then
    return b < 0
  end
  return a < b
end

local function table_pack(...)
  return { n = select("#", ...), ... }
end

---Copy a[first .. last] to target[at ...]; the two may overlap.
---@param a table
---@param first integer
---@param last integer
---@param at integer
---@param target? table (a)
---@return table target
local function move(a, first, last, at, target)
  target = target or a
  if at > last or at <= first or target ~= a then
    for i = 0, last - first do
      target[at + i] = a[first + i]
    end
  else
    for i = last - first, 0, -1 do
      target[at + i] = a[first + i]
    end
  end
  return target
end

local function rawlen(value)
  if type(value) ~= "table" and type(value) ~= "string" then
    error("table or string expected", 2)
  end
  return #value
end

---A function of compat.lua53.pack, loaded when it is first called. It raises errors with the place of the caller, as
---functions written in C do.
---@param name string
local function packing(name)
  local function deliver(ok, ...)
    if not ok then
      error((...), 3)
    end
    return ...
  end
  return function(...)
    return deliver(pcall(require("compat.lua53.pack")[name], ...))
  end
end

local function add(target, name, value)
  if target[name] == nil then
    target[name] = value
  end
end

---Put the names where they are missing.
---@param globals table as _G
function M.install(globals)
  add(globals, "utf8", require("compat.lua53.utf8"))
  add(globals, "rawlen", rawlen)
  add(globals.table, "pack", table_pack)
  add(globals.table, "unpack", unpack)
  add(globals.table, "move", move)
  add(globals.string, "pack", packing("pack"))
  add(globals.string, "unpack", packing("unpack"))
  add(globals.string, "packsize", packing("packsize"))
  add(globals.math, "tointeger", tointeger)
  add(globals.math, "type", math_type)
  add(globals.math, "ult", ult)
  add(globals.math, "maxinteger", EXACT)
  add(globals.math, "mininteger", -EXACT)
end

return M
