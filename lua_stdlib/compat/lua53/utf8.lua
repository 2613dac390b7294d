---`utf8` of Lua 5.3 (manual section 6.5): codes up to U+10FFFF in their shortest form, surrogates allowed, as there.
local M = {}

local byte, char = string.byte, string.char
local floor = math.floor

local UNICODE_MAX = 0x10FFFF
-- By the number of bytes: the least code that needs them, and what the first byte adds to its bits.
local LEAST = { 0, 0x80, 0x800, 0x10000 }
local FIRST = { 0, 0xC0, 0xE0, 0xF0 }

M.charpattern = "[%z\1-\127\194-\244][\128-\191]*"

---@param narg integer
---@param name string of the function
---@param why string
local function argument_error(narg, name, why)
  error(("bad argument #%d to '%s' (%s)"):format(narg, name, why), 3)
end

---@param narg integer
---@param name string
---@param value any
---@param default? integer
---@return integer
local function check_integer(narg, name, value, default)
  if value == nil and default then
    return default
  end
  local number = tonumber(value)
  if not number then
    local got = value == nil and "no value" or type(value)
    error(("bad argument #%d to '%s' (number expected, got %s)"):format(narg, name, got), 3)
  elseif floor(number) ~= number then
    error(("bad argument #%d to '%s' (number has no integer representation)"):format(narg, name), 3)
  end
  return number
end

---@param narg integer
---@param name string
---@param value any
---@return string
local function check_string(narg, name, value)
  if type(value) == "number" then
    return tostring(value)
  elseif type(value) ~= "string" then
    local got = value == nil and "no value" or type(value)
    error(("bad argument #%d to '%s' (string expected, got %s)"):format(narg, name, got), 3)
  end
  return value
end

---A position that counts from the end if it is negative.
---@param i integer
---@param length integer
---@return integer
local function from_end(i, length)
  if i >= 0 then
    return i
  end
  return -i > length and 0 or length + i + 1
end

local function is_continuation(c)
  return c ~= nil and c >= 0x80 and c < 0xC0
end

---The character at byte `i`: its code and the position behind it; nothing if there is no valid one.
---@param s string
---@param i integer
---@return integer? code
---@return integer? after
local function decode(s, i)
  local c = byte(s, i)
  if not c then
    return nil
  elseif c < 0x80 then
    return c, i + 1
  end
  local n = (c >= 0xF0 and c < 0xF8 and 4) or (c >= 0xE0 and c < 0xF0 and 3) or (c >= 0xC0 and c < 0xE0 and 2)
  if not n then
    return nil
  end
  local code = c - FIRST[n]
  for k = i + 1, i + n - 1 do
    local next_byte = byte(s, k)
    if not is_continuation(next_byte) then
      return nil
    end
    code = code * 64 + next_byte - 0x80
  end
  if code < LEAST[n] or code > UNICODE_MAX then
    return nil
  end
  return code, i + n
end

---@param code integer
---@return string
local function encode(code)
  if code < 0x80 then
    return char(code)
  end
  local tail, room = "", 0x3F -- what fits in the first byte
  repeat
    tail = char(0x80 + code % 64) .. tail
    code = floor(code / 64)
    room = floor(room / 2)
  until code <= room
  return char(256 - 2 * (room + 1) + code) .. tail
end

---The characters of these codes, one behind the other.
---@param ... integer
---@return string
function M.char(...)
  local parts = {}
  for i = 1, select("#", ...) do
    local code = check_integer(i, "char", (select(i, ...)))
    if code < 0 or code > UNICODE_MAX then
      argument_error(i, "char", "value out of range")
    end
    parts[i] = encode(code)
  end
  return table.concat(parts)
end

---`for position, code in utf8.codes(s) do`. Raises an error at a byte sequence that is not valid.
---@param s string
---@return fun(s: string, i: integer): integer?, integer?
---@return string
---@return integer
function M.codes(s)
  s = check_string(1, "codes", s)
  return function(text, i)
    local at = i + 1
    while is_continuation(byte(text, at)) and i > 0 do
      at = at + 1
    end
    if at > #text then
      return nil
    end
    local code, after = decode(text, at)
    if not code or is_continuation(byte(text, after)) then
      error("invalid UTF-8 code", 2)
    end
    return at, code
  end,
    s,
    0
end

---The codes of all characters that begin between bytes `i` and `j`.
---@param s string
---@param i? integer (1)
---@param j? integer (i)
---@return integer ...
function M.codepoint(s, i, j)
  s = check_string(1, "codepoint", s)
  local first = from_end(check_integer(2, "codepoint", i, 1), #s)
  local last = from_end(check_integer(3, "codepoint", j, first), #s)
  if first < 1 then
    argument_error(2, "codepoint", "out of range")
  elseif last > #s then
    argument_error(3, "codepoint", "out of range")
  end
  local codes, n = {}, 0
  local at = first
  while at <= last do
    local code, after = decode(s, at)
    if not code then
      error("invalid UTF-8 code", 2)
    end
    n = n + 1
    codes[n] = code
    at = after --[[@as integer]]
  end
  return unpack(codes, 1, n)
end

---How many characters begin between bytes `i` and `j`; nil and the position of the first byte that is not valid.
---@param s string
---@param i? integer (1)
---@param j? integer (-1)
---@return integer? count
---@return integer? position
function M.len(s, i, j)
  s = check_string(1, "len", s)
  local at = from_end(check_integer(2, "len", i, 1), #s)
  local last = from_end(check_integer(3, "len", j, -1), #s)
  if at < 1 or at > #s + 1 then
    argument_error(2, "len", "initial position out of string")
  elseif last > #s then
    argument_error(3, "len", "final position out of string")
  end
  local n = 0
  while at <= last do
    local code, after = decode(s, at)
    if not code then
      return nil, at
    end
    n = n + 1
    at = after --[[@as integer]]
  end
  return n
end

---@param s string
---@param at integer
---@param n integer characters to go back
---@return integer? at
local function back(s, at, n)
  while n < 0 and at > 1 do
    repeat
      at = at - 1
    until at <= 1 or not is_continuation(byte(s, at))
    n = n + 1
  end
  return n == 0 and at or nil
end

---@param s string
---@param at integer
---@param n integer characters to go on, the one at `at` included
---@return integer? at
local function on(s, at, n)
  n = n - 1
  while n > 0 and at <= #s do
    repeat
      at = at + 1
    until not is_continuation(byte(s, at))
    n = n - 1
  end
  return n == 0 and at or nil
end

---The byte at which the `n`th character begins, counted from byte `i`: 0 is the character that has this byte.
---@param s string
---@param n integer
---@param i? integer 1, or #s + 1 if `n` is negative
---@return integer?
function M.offset(s, n, i)
  s = check_string(1, "offset", s)
  n = check_integer(2, "offset", n)
  local at = from_end(check_integer(3, "offset", i, n >= 0 and 1 or #s + 1), #s)
  if at < 1 or at > #s + 1 then
    argument_error(3, "offset", "position out of range")
  end
  if n == 0 then
    while at > 1 and is_continuation(byte(s, at)) do
      at = at - 1
    end
    return at
  elseif is_continuation(byte(s, at)) then
    error("initial position is a continuation byte", 2)
  end
  if n < 0 then
    return back(s, at, n)
  end
  return on(s, at, n)
end

return M
