-- Numeric IP addresses: text to bytes and back (RFC 3986 section 3.2.2 for IPv4, RFC 4291 section 2.2 and RFC 5952 for
-- IPv6). Knows no names and no network.

local M = {}

local byte, char, format = string.byte, string.char, string.format

---The four bytes of "192.0.2.1"; nothing else is an address, neither "1.2" nor "01.2.3.4".
---@param text string
---@return string?
function M.parse4(text)
  local a, b, c, d = text:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")
  if not a or text:find("%f[%d]0%d") then
    return nil
  end
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if a > 255 or b > 255 or c > 255 or d > 255 then
    return nil
  end
  return char(a, b, c, d)
end

---The groups between colons as bytes; the last one may be an IPv4 address.
---@return string?
local function parse_groups(text, last)
  if text == "" then
    return ""
  end
  local parts = {}
  for group in (text .. ":"):gmatch("([^:]*):") do
    parts[#parts + 1] = group
  end
  for i, group in ipairs(parts) do
    local tail = last and i == #parts and M.parse4(group)
    if tail then
      parts[i] = tail
    elseif group:match("^%x%x?%x?%x?$") then
      local value = tonumber(group, 16)
      parts[i] = char(math.floor(value / 256), value % 256)
    else
      return nil
    end
  end
  return table.concat(parts)
end

---The sixteen bytes of an IPv6 address without a zone.
---@param text string
---@return string?
function M.parse6(text)
  local at = text:find("::", 1, true)
  if not at then
    local whole = parse_groups(text, true)
    return whole and #whole == 16 and whole or nil
  end
  local before, after = parse_groups(text:sub(1, at - 1), false), parse_groups(text:sub(at + 2), true)
  local zeros = before and after and 16 - #before - #after
  if not zeros or zeros < 2 then
    return nil
  end
  return before .. ("\0"):rep(zeros) .. after
end

---@param text string
---@return string? bytes four or sixteen
function M.parse(text)
  return M.parse4(text) or (text:find(":", 1, true) and M.parse6(text) or nil)
end

---Whether it is an IP address as it stands; an IPv6 address may have a zone.
---@param host string
---@return boolean
function M.is_numeric(host)
  return (M.parse4(host) or M.parse6((host:gsub("%%[^%%]+$", "")))) ~= nil
end

---The text of an address given as four or sixteen bytes; the longest run of zero groups is "::".
---@param bytes string
---@return string
function M.text(bytes)
  if #bytes == 4 then
    return format("%d.%d.%d.%d", byte(bytes, 1, 4))
  end
  local groups, best, best_n, run = {}, 0, 1, 0
  for i = 1, 8 do
    local high, low = byte(bytes, 2 * i - 1, 2 * i)
    groups[i] = high * 256 + low
    run = groups[i] == 0 and run + 1 or 0
    if run > best_n then
      best, best_n = i - run + 1, run
    end
  end
  if bytes:sub(1, 12) == ("\0"):rep(10) .. "\255\255" then
    return "::ffff:" .. M.text(bytes:sub(13))
  end
  local parts = {}
  for i = 1, 8 do
    parts[i] = format("%x", groups[i])
  end
  if best == 0 then
    return table.concat(parts, ":")
  end
  return table.concat(parts, ":", 1, best - 1) .. "::" .. table.concat(parts, ":", best + best_n)
end

---Whether `bytes` lies in the network of the first `bits` bits of `network`.
---@param bytes string
---@param network string
---@param bits integer
---@return boolean
function M.within(bytes, network, bits)
  if #bytes ~= #network then
    return false
  end
  local whole, rest = math.floor(bits / 8), bits % 8
  if bytes:sub(1, whole) ~= network:sub(1, whole) then
    return false
  end
  if rest == 0 then
    return true
  end
  local unit = 2 ^ (8 - rest)
  return math.floor(byte(bytes, whole + 1) / unit) == math.floor(byte(network, whole + 1) / unit)
end

return M
