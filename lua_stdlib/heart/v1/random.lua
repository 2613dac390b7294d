---Random numbers and names that nobody can guess: all bits come from the system.
---@class heart.random
local M = {}

local argument = require("heart.argument")
local core = require("heart.core").random

local floor = math.floor
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

---So many random bytes, at most 1 MiB.
---@type fun(n: integer): string
M.bytes = core.bytes

---A whole number from `low` to `high`, each as likely as the other.
---@type fun(low: integer, high: integer): integer
M.integer = core.integer

---@param bytes string
local function hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

---`n` random bytes as 2 n hexadecimal digits.
---@param n integer
---@return string
function M.hex(n)
  return hex(argument.call("hex", core.bytes, n))
end

---A text of letters, digits, "-" and "_" that is safe in URLs, for sessions and links: each character has 6 bits.
---@param n? integer characters (22: 132 bits)
---@return string
function M.token(n)
  return (
    argument.call("token", core.bytes, n or 22):gsub(".", function(c)
      local at = c:byte() % 64 + 1
      return ALPHABET:sub(at, at)
    end)
  )
end

---@param digits string 32 of them; those that tell version and variant are put in
---@param version string
local function dashed(digits, version)
  local variant = tonumber(digits:sub(17, 17), 16) % 4
  return ("%s-%s-%s%s-%s%s-%s"):format(
    digits:sub(1, 8),
    digits:sub(9, 12),
    version,
    digits:sub(14, 16),
    ("89ab"):sub(variant + 1, variant + 1),
    digits:sub(18, 20),
    digits:sub(21, 32)
  )
end

local last = 0 -- 4096ths of a ms: what the newest UUID of version 7 has of time

---Version 7: of the time and 62 random bits, so that they sort by when they were made; those of one worker strictly.
local function uuid7()
  last = math.max(floor(core.wall() * 4096000), last + 1)
  local ms = floor(last / 4096)
  local time = ("%04x%08x"):format(floor(ms / 4294967296), ms % 4294967296)
  return dashed(("%s0%03x%s"):format(time, last % 4096, hex(core.bytes(8))), "7")
end

---A UUID (RFC 9562): version 4, of random bits alone, or version 7, which begins with the time.
---@param version? 4|7 (4)
---@return string
function M.uuid(version)
  if version == 7 then
    return uuid7()
  elseif version ~= nil and version ~= 4 then
    error("uuid: expected version 4 or 7, got " .. tostring(version), 2)
  end
  return dashed(hex(core.bytes(16)), "4")
end

return M
