---Base64 (RFC 4648 sections 4 and 5), as ngx.encode_base64, ngx.decode_base64 and ngx.base64 have it.
local M = {}

local ffi = require("ffi")
local bit = require("bit")

local STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local URL = STANDARD:gsub("%+", "-"):gsub("/", "_")
local PAD = ("="):byte()
local INVALID = 255

---@class compat.openresty.alphabet
---@field letters ffi.cdata* 64 characters
---@field values ffi.cdata* 256 numbers

---@param letters string
---@return compat.openresty.alphabet
local function alphabet(letters)
  local values = ffi.new("uint8_t[256]")
  ffi.fill(values, 256, INVALID)
  for i = 1, 64 do
    values[letters:byte(i)] = i - 1
  end
  return { letters = ffi.new("uint8_t[64]", letters), values = values }
end

local standard, url = alphabet(STANDARD), alphabet(URL)

-- Used again and again; a larger one is made for a larger text alone.
local SCRATCH = 4096
local scratch = ffi.new("uint8_t[?]", SCRATCH)

---@param size integer
local function room_for(size)
  return size <= SCRATCH and scratch or ffi.new("uint8_t[?]", size)
end

---@param text string
---@param how compat.openresty.alphabet
---@param pad boolean
---@return string
local function encode(text, how, pad)
  local n, letters = #text, how.letters
  local p = ffi.cast("const uint8_t *", text)
  local out = room_for(math.ceil(n / 3) * 4)
  local at = 0
  for i = 0, n - 1, 3 do
    local left = n - i
    local a, b, c = p[i], left > 1 and p[i + 1] or 0, left > 2 and p[i + 2] or 0
    out[at] = letters[bit.rshift(a, 2)]
    out[at + 1] = letters[bit.bor(bit.lshift(bit.band(a, 3), 4), bit.rshift(b, 4))]
    out[at + 2] = left > 1 and letters[bit.bor(bit.lshift(bit.band(b, 15), 2), bit.rshift(c, 6))] or PAD
    out[at + 3] = left > 2 and letters[bit.band(c, 63)] or PAD
    at = at + 4
  end
  if not pad and n % 3 ~= 0 then
    at = at - 3 + n % 3
  end
  return ffi.string(out, at)
end

---Nothing is asked of what follows the first "=", nor of the bits that are left over: so it is in nginx.
---@param text string
---@param how compat.openresty.alphabet
---@return string? data nil: it is no base64
local function decode(text, how)
  local n, values = (text:find("=", 1, true) or #text + 1) - 1, how.values
  if n % 4 == 1 then
    return nil
  end
  local p = ffi.cast("const uint8_t *", text)
  local out = room_for(n)
  local held, bits, at = 0, 0, 0
  for i = 0, n - 1 do
    local value = values[p[i]]
    if value == INVALID then
      return nil
    end
    held = bit.bor(bit.lshift(bit.band(held, 63), 6), value)
    bits = bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[at] = bit.band(bit.rshift(held, bits), 255)
      at = at + 1
    end
  end
  return ffi.string(out, at)
end

---@param value any
---@param no_padding? boolean
---@return string
function M.encode_base64(value, no_padding)
  if no_padding ~= nil and type(no_padding) ~= "boolean" then
    error(("bad no_padding: boolean expected, got %s"):format(type(no_padding)), 2)
  end
  return encode(value == nil and "" or tostring(value), standard, not no_padding)
end

---@param text string
---@return string? data
function M.decode_base64(text)
  if type(text) ~= "string" then
    error("string argument only", 2)
  end
  return decode(text, standard)
end

---Of a text with line ends and other characters between, as in mail (RFC 2045 section 6.8).
---@param text string
---@return string? data
function M.decode_base64mime(text)
  if type(text) ~= "string" then
    error("string argument only", 2)
  end
  return decode((text:gsub("[^%w+/=]", "")), standard)
end

---@param text string
---@return string? encoded without padding
---@return string? err
function M.encode_base64url(text)
  if type(text) ~= "string" then
    return nil, "must provide a string"
  end
  return encode(text, url, false)
end

---@param text string
---@return string? data
---@return string? err
function M.decode_base64url(text)
  if type(text) ~= "string" then
    return nil, "must provide a string"
  end
  local data = decode(text, url)
  if data then
    return data
  end
  return nil, "invalid input"
end

return M
