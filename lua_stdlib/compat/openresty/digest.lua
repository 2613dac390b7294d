---ngx.md5, md5_bin, sha1_bin, hmac_sha1 (libcrypto), crc32_short and crc32_long.
local M = {}

local ffi = require("ffi")
local bit = require("bit")
local library = require("compat.openresty.library")

ffi.cdef([[
int EVP_Digest(const void *, size_t, unsigned char *, unsigned int *, const void *, void *);
const void *EVP_get_digestbyname(const char *);
unsigned char *HMAC(const void *, const void *, int, const char *, size_t, unsigned char *, unsigned int *);
]])

local SIZE_MAX = 64 -- bytes of the longest digest (EVP_MAX_MD_SIZE)
local out, size = ffi.new("unsigned char[?]", SIZE_MAX), ffi.new("unsigned int[1]")

---@param name string
---@return any
local function algorithm(name)
  local found = library.open("crypto").EVP_get_digestbyname(name)
  if found == nil then
    error(name .. " is not available in this libcrypto", 0)
  end
  return found
end

---@type table<string, any>
local algorithms = setmetatable({}, {
  __index = function(t, name)
    t[name] = algorithm(name)
    return t[name]
  end,
})

---@param value any
---@param name string
---@return string bytes
local function digest(value, name)
  local text = value == nil and "" or tostring(value)
  if library.open("crypto").EVP_Digest(text, #text, out, size, algorithms[name], nil) ~= 1 then
    error(name .. " failed in libcrypto", 0) -- not allowed by its configuration, for example
  end
  return ffi.string(out, size[0])
end

---@param value any
---@return string bytes 16
function M.md5_bin(value)
  return digest(value, "MD5")
end

---@param value any
---@return string digits 32, in lower case
function M.md5(value)
  return (digest(value, "MD5"):gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

---@param value any
---@return string bytes 20
function M.sha1_bin(value)
  return digest(value, "SHA1")
end

---@param key string|number
---@param text string|number
---@return string bytes 20
function M.hmac_sha1(key, text)
  for i, value in ipairs({ key or false, text or false }) do
    if type(value) ~= "string" and type(value) ~= "number" then
      local kind = value and type(value) or "nil"
      error(("bad argument #%d to 'hmac_sha1' (string expected, got %s)"):format(i, kind), 2)
    end
  end
  key, text = tostring(key), tostring(text)
  if library.open("crypto").HMAC(algorithms.SHA1, key, #key, text, #text, out, size) == nil then
    error("HMAC failed in libcrypto", 0)
  end
  return ffi.string(out, size[0])
end

-- ---- CRC-32 (IEEE 802.3) --------------------------------------------------------------------------------------------

local POLYNOMIAL = bit.tobit(0xEDB88320)
local crcs = ffi.new("int32_t[256]")
for i = 0, 255 do
  local crc = i
  for _ = 1, 8 do
    crc = bit.bxor(bit.rshift(crc, 1), bit.band(-bit.band(crc, 1), POLYNOMIAL))
  end
  crcs[i] = crc
end

---@param value any
---@return integer
function M.crc32_short(value)
  local text = value == nil and "" or tostring(value)
  local p, crc = ffi.cast("const uint8_t *", text), bit.tobit(0xFFFFFFFF)
  for i = 0, #text - 1 do
    crc = bit.bxor(crcs[bit.band(bit.bxor(crc, p[i]), 255)], bit.rshift(crc, 8))
  end
  crc = bit.bnot(crc)
  return crc < 0 and crc + 4294967296 or crc
end

M.crc32_long = M.crc32_short

return M
