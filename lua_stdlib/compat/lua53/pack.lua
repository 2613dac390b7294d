---string.pack, string.unpack and string.packsize of Lua 5.3 (manual section 6.4.2), where numbers are doubles: an
---integer of more than 53 bits is packed as what the number holds, and refused when it is read.
local M = {}

local ffi = require("ffi")

local byte, char, rep, sub = string.byte, string.char, string.rep, string.sub
local floor = math.floor

local EXACT = 9007199254740992 -- 2^53
local SIZE_MAX = 16 -- bytes of an integer
local NATIVE_ALIGN = 8

---@class lua53.format
---@field text string
---@field at integer of the next character
---@field little boolean
---@field align integer the most that anything is aligned to
---@field what string name of the function, for messages

---@class lua53.item what an option asks for
---@field kind "int"|"uint"|"float"|"chars"|"string"|"zero"|"pad"|"align"|"none"
---@field size integer bytes: of the number, of the length of a string, of the characters
---@field pad integer bytes in front of it

---@param f lua53.format
---@param narg integer
---@param why string
local function refuse(f, narg, why)
  error(("bad argument #%d to '%s' (%s)"):format(narg, f.what, why), 0)
end

---The number that follows an option.
---@param f lua53.format
---@return integer?
local function read_number(f)
  local digits = f.text:match("^%d+", f.at)
  if digits then
    f.at = f.at + #digits
    return tonumber(digits)
  end
end

---@param f lua53.format
---@param default integer
---@return integer
local function read_size(f, default)
  local size = read_number(f) or default
  if size < 1 or size > SIZE_MAX then
    error(("integral size (%d) out of limits [1,%d]"):format(size, SIZE_MAX), 0)
  end
  return size
end

local FIXED = {
  b = { "int", 1 },
  B = { "uint", 1 },
  h = { "int", 2 },
  H = { "uint", 2 },
  l = { "int", 8 },
  L = { "uint", 8 },
  j = { "int", 8 },
  J = { "uint", 8 },
  T = { "uint", 8 },
  f = { "float", 4 },
  d = { "float", 8 },
  n = { "float", 8 },
  z = { "zero", 0 },
  x = { "pad", 1 },
  X = { "align", 0 },
}

---Options that change how the rest is read, and those with a size behind them.
---@type table<string, fun(f: lua53.format): string, integer>
local READ = {
  i = function(f)
    return "int", read_size(f, 4)
  end,
  I = function(f)
    return "uint", read_size(f, 4)
  end,
  s = function(f)
    return "string", read_size(f, 8)
  end,
  c = function(f)
    local size = read_number(f)
    if not size then
      error("missing size for format option 'c'", 0)
    end
    return "chars", size
  end,
  [" "] = function()
    return "none", 0
  end,
  ["<"] = function(f)
    f.little = true
    return "none", 0
  end,
  [">"] = function(f)
    f.little = false
    return "none", 0
  end,
  ["="] = function(f)
    f.little = ffi.abi("le")
    return "none", 0
  end,
  ["!"] = function(f)
    f.align = read_size(f, NATIVE_ALIGN)
    return "none", 0
  end,
}

---@param f lua53.format
---@return string kind
---@return integer size
local function read_option(f)
  local option = sub(f.text, f.at, f.at)
  f.at = f.at + 1
  local fixed = FIXED[option]
  if fixed then
    return fixed[1], fixed[2]
  end
  local read = READ[option]
  if not read then
    error(("invalid format option '%s'"):format(option), 0)
  end
  return read(f)
end

---@param f lua53.format
---@param total integer bytes in front
---@return lua53.item
local function read_item(f, total)
  local kind, size = read_option(f)
  local align = size
  if kind == "align" then
    local next_kind
    if f.at <= #f.text then
      next_kind, align = read_option(f)
    end
    if not next_kind or next_kind == "chars" or align == 0 then
      refuse(f, 1, "invalid next option for option 'X'")
    end
  end
  if align <= 1 or kind == "chars" or kind == "none" then
    return { kind = kind, size = size, pad = 0 }
  end
  align = math.min(align, f.align)
  if 2 ^ floor(math.log(align, 2) + 0.5) ~= align then
    refuse(f, 1, "format asks for alignment not power of 2")
  end
  return { kind = kind, size = size, pad = -total % align }
end

---@param what string
---@param text any
---@return lua53.format
local function new_format(what, text)
  if type(text) ~= "string" then
    error(("bad argument #1 to '%s' (string expected, got %s)"):format(what, type(text)), 0)
  end
  return { text = text, at = 1, little = ffi.abi("le"), align = 1, what = what }
end

-- ---- Writing ------------------------------------------------------------------------------------------------------

---The sign goes on beyond 8 bytes only where there is to be one, as in Lua 5.3.
---@param value integer
---@param size integer
---@param little boolean
---@param signed boolean
---@return string
local function put_integer(value, size, little, signed)
  local bytes = {}
  for i = 1, size do
    if i == 9 and not signed then
      value = 0
    end
    local low = value % 256
    bytes[little and i or size + 1 - i] = char(low)
    value = (value - low) / 256
  end
  return table.concat(bytes)
end

---@param value number
---@param size integer
---@param little boolean
---@return string
local function put_float(value, size, little)
  local text = ffi.string(ffi.new(size == 4 and "float[1]" or "double[1]", value), size)
  return little == ffi.abi("le") and text or text:reverse()
end

---@param f lua53.format
---@param narg integer
---@param value any
---@return number
local function check_number(f, narg, value)
  local number = tonumber(value)
  if not number then
    refuse(f, narg, ("number expected, got %s"):format(value == nil and "no value" or type(value)))
  end
  return number --[[@as number]]
end

---@param f lua53.format
---@param narg integer
---@param value any
---@return string
local function check_text(f, narg, value)
  if type(value) ~= "string" and type(value) ~= "number" then
    refuse(f, narg, ("string expected, got %s"):format(value == nil and "no value" or type(value)))
  end
  return tostring(value)
end

---@param f lua53.format
---@param item lua53.item
---@param narg integer
---@param value any
---@return string
local function pack_integer(f, item, narg, value)
  local number = check_number(f, narg, value)
  if floor(number) ~= number or number < -2 ^ 63 or number >= 2 ^ 64 then
    refuse(f, narg, "number has no integer representation")
  end
  local bits = item.size * 8
  if item.size < 8 and item.kind == "int" and (number < -2 ^ (bits - 1) or number >= 2 ^ (bits - 1)) then
    refuse(f, narg, "integer overflow")
  elseif item.size < 8 and item.kind == "uint" and (number < 0 or number >= 2 ^ bits) then
    refuse(f, narg, "unsigned overflow")
  end
  return put_integer(number, item.size, f.little, item.kind == "int")
end

---@param f lua53.format
---@param item lua53.item
---@param narg integer
---@param value any
---@return string
local function pack_value(f, item, narg, value)
  if item.kind == "int" or item.kind == "uint" then
    return pack_integer(f, item, narg, value)
  elseif item.kind == "float" then
    return put_float(check_number(f, narg, value), item.size, f.little)
  end
  local text = check_text(f, narg, value)
  if item.kind == "chars" then
    if #text > item.size then
      refuse(f, narg, "string longer than given size")
    end
    return text .. rep("\0", item.size - #text)
  elseif item.kind == "string" then
    if item.size < 8 and #text >= 2 ^ (item.size * 8) then
      refuse(f, narg, "string length does not fit in given size")
    end
    return put_integer(#text, item.size, f.little, false) .. text
  end
  if text:find("\0", 1, true) then
    refuse(f, narg, "string contains zeros")
  end
  return text .. "\0"
end

---@param format string
---@param ... any
---@return string
function M.pack(format, ...)
  local f = new_format("pack", format)
  local parts, total, narg = {}, 0, 1
  while f.at <= #f.text do
    local item = read_item(f, total)
    local part = rep("\0", item.pad)
    if item.kind == "pad" then
      part = part .. "\0"
    elseif item.kind ~= "align" and item.kind ~= "none" then
      narg = narg + 1
      part = part .. pack_value(f, item, narg, (select(narg - 1, ...)))
    end
    parts[#parts + 1] = part
    total = total + #part
  end
  return table.concat(parts)
end

---@param format string without "s" and "z"
---@return integer bytes
function M.packsize(format)
  local f = new_format("packsize", format)
  local total = 0
  while f.at <= #f.text do
    local item = read_item(f, total)
    if item.kind == "string" or item.kind == "zero" then
      refuse(f, 1, "variable-length format")
    end
    total = total + item.pad + item.size
    if total > 0x7FFFFFFF then
      refuse(f, 1, "format result too large")
    end
  end
  return total
end

-- ---- Reading ------------------------------------------------------------------------------------------------------

---An integer; one of 8 bytes or more has a sign, whatever was asked for, as in Lua 5.3.
---@param text string
---@param at integer
---@param size integer
---@param little boolean
---@param signed boolean
---@return integer
local function get_integer(text, at, size, little, signed)
  local function digit(i) -- the i-th from the lowest
    return byte(text, little and at + i or at + size - 1 - i)
  end
  local used = math.min(size, 8)
  local negative = (signed or size >= 8) and digit(used - 1) >= 0x80
  local value = 0
  for i = used - 1, 0, -1 do
    value = value * 256 + (negative and 255 - digit(i) or digit(i))
  end
  local rest = signed and negative and 255 or 0
  for i = used, size - 1 do
    if digit(i) ~= rest then
      value = EXACT
    end
  end
  if value >= EXACT then
    error(("%d-byte integer does not fit into Lua Integer"):format(size), 0)
  end
  return negative and -value - 1 or value
end

---@param text string
---@param at integer
---@param size integer
---@param little boolean
---@return number
local function get_float(text, at, size, little)
  local bytes = sub(text, at, at + size - 1)
  if little ~= ffi.abi("le") then
    bytes = bytes:reverse()
  end
  local room = ffi.new(size == 4 and "float[1]" or "double[1]")
  ffi.copy(room, bytes, size)
  return tonumber(room[0]) --[[@as number]]
end

---@param f lua53.format
---@param item lua53.item
---@param text string
---@param at integer
---@return any value
---@return integer after
local function unpack_value(f, item, text, at)
  local size = item.size
  if item.kind == "int" or item.kind == "uint" then
    return get_integer(text, at, size, f.little, item.kind == "int"), at + size
  elseif item.kind == "float" then
    return get_float(text, at, size, f.little), at + size
  elseif item.kind == "chars" then
    return sub(text, at, at + size - 1), at + size
  elseif item.kind == "string" then
    local length = get_integer(text, at, size, f.little, false)
    if at + size + length - 1 > #text then
      refuse(f, 2, "data string too short")
    end
    return sub(text, at + size, at + size + length - 1), at + size + length
  end
  local zero = text:find("\0", at, true)
  if not zero then
    refuse(f, 2, "unfinished string for format 'z'")
  end
  return sub(text, at, zero - 1), zero + 1
end

---@param format string
---@param text string
---@param position? integer (1)
---@return any ... the values, then the position behind them
function M.unpack(format, text, position)
  local f = new_format("unpack", format)
  text = check_text(f, 2, text)
  local at = position == nil and 1 or check_number(f, 3, position)
  if at < 0 then
    at = -at > #text and 0 or #text + at + 1
  end
  if at < 1 or at > #text + 1 then
    refuse(f, 3, "initial position out of string")
  end
  local values, n = {}, 0
  while f.at <= #f.text do
    local item = read_item(f, at - 1)
    if at + item.pad + item.size - 1 > #text then
      refuse(f, 2, "data string too short")
    end
    at = at + item.pad
    if item.kind == "pad" then
      at = at + 1
    elseif item.kind ~= "align" and item.kind ~= "none" then
      n = n + 1
      values[n], at = unpack_value(f, item, text, at)
    end
  end
  values[n + 1] = at
  return unpack(values, 1, n + 1)
end

return M
