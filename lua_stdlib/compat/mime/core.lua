---The low-level filters of LuaSocket's mime: Base64, quoted-printable, line ends and SMTP's dots. Each takes its state
---and a chunk (nil: the end) and gives the filtered chunk and the next state, for ltn12.filter.cycle.
---@class mime.core
local M = {}

local ffi = require("ffi")
local bit = require("bit")

local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift

M._VERSION = "MIME 1.0.3"

local CRLF = "\r\n"
local LINE = 76

-- ---- Base64 (RFC 2045 section 6.8) -------------------------------------------------------------------------------

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local PAD = ("="):byte()
local NONE = 255

local digits = ffi.new("uint8_t[64]")
local values = ffi.new("uint8_t[256]", NONE)
ffi.fill(values, 256, NONE)
for i = 0, 63 do
  digits[i] = ALPHABET:byte(i + 1)
  values[digits[i]] = i
end
values[PAD] = 0

---@param text string its length is a multiple of three
local function encode_groups(text)
  local n = #text
  local from, to = ffi.cast("const uint8_t *", text), ffi.new("uint8_t[?]", n / 3 * 4)
  local at = 0
  for i = 0, n - 1, 3 do
    local group = bor(lshift(from[i], 16), lshift(from[i + 1], 8), from[i + 2])
    to[at] = digits[rshift(group, 18)]
    to[at + 1] = digits[band(rshift(group, 12), 63)]
    to[at + 2] = digits[band(rshift(group, 6), 63)]
    to[at + 3] = digits[band(group, 63)]
    at = at + 4
  end
  return ffi.string(to, at)
end

---The last one or two bytes, padded.
---@param text string
local function encode_rest(text)
  if text == "" then
    return ""
  end
  local missing = 3 - #text
  return encode_groups(text .. ("\0"):rep(missing)):sub(1, 4 - missing) .. ("="):rep(missing)
end

---@param text string? what was left over before
---@param more string? nil: encode and pad the rest
---@return string? encoded
---@return string? rest
function M.b64(text, more)
  if not text then
    return nil, nil
  end
  if more then
    text = text .. more
  end
  local whole = #text - #text % 3
  local encoded = encode_groups(text:sub(1, whole))
  local rest = text:sub(whole + 1)
  if more then
    return encoded, rest
  end
  encoded = encoded .. encode_rest(rest)
  return encoded ~= "" and encoded or nil, nil
end

---Decode; characters that are no digits are skipped.
---@param text string? what was left over before
---@param more string? nil: the end, what is left over is lost
---@return string? decoded
---@return string? rest
function M.unb64(text, more)
  if not text then
    return nil, nil
  end
  if more then
    text = text .. more
  end
  local n = #text
  local from, to = ffi.cast("const uint8_t *", text), ffi.new("uint8_t[?]", n / 4 * 3 + 3)
  local size, group, held, first, pads = 0, 0, 0, n, 0
  for i = 0, n - 1 do
    local value = values[from[i]]
    if value ~= NONE then
      if held == 0 then
        first = i
      end
      if from[i] == PAD and held >= 2 and pads == 0 then
        pads = 4 - held
      end
      group = bor(lshift(group, 6), value)
      held = held + 1
      if held == 4 then
        to[size] = band(rshift(group, 16), 255)
        to[size + 1] = band(rshift(group, 8), 255)
        to[size + 2] = band(group, 255)
        size = size + 3 - pads
        group, held, first, pads = 0, 0, n, 0
      end
    end
  end
  local decoded = ffi.string(to, size)
  if more then
    return decoded, (text:sub(first + 1):gsub("[^%w%+/=]", ""))
  end
  return decoded ~= "" and decoded or nil, nil
end

-- ---- Quoted-printable (RFC 2045 section 6.7) ---------------------------------------------------------------------

local quoted, unquoted = {}, {}
for i = 0, 255 do
  local c, hex = string.char(i), ("%02X"):format(i)
  quoted[c] = "=" .. hex
  unquoted[hex] = c
end

---@param text string without CRLF and without a space or tab at its end that stands before one
local function quote(text)
  return (text:gsub("[^!-<>-~ \t]", quoted))
end

---The length of what can only be encoded when more is known: a CR, or a space or tab that may end a line.
---@param text string
local function undecided(text)
  if text:find("^[ \t]", -2) and #text >= 2 then
    return 2
  end
  return text:find("[ \t\r]$") and 1 or 0
end

---@param text string? what was left over before
---@param more string? nil: the end, which gets a soft line break unless a line has just ended
---@param marker? string what a line end becomes (CRLF)
---@return string? encoded
---@return string? rest
function M.qp(text, more, marker)
  if not text then
    return nil, nil
  end
  marker = marker or CRLF
  if not more then
    if text == "" then
      return nil, nil
    end
    return text:gsub("[^!-<>-~]", quoted) .. "=" .. CRLF, nil
  end
  text = text .. more
  local out, at = {}, 1
  while true do
    local cr = text:find(CRLF, at, true)
    if not cr then
      break
    end
    local line = quote(text:sub(at, cr - 1))
    out[#out + 1] = line:gsub("[ \t]$", quoted)
    out[#out + 1] = marker
    at = cr + 2
  end
  local rest = text:sub(at)
  local held = undecided(rest)
  out[#out + 1] = quote(rest:sub(1, #rest - held))
  return table.concat(out), rest:sub(#rest - held + 1)
end

---@param text string? what was left over before
---@param more string? nil: the end
---@return string? decoded
---@return string? rest
function M.unqp(text, more)
  if not text then
    return nil, nil
  end
  if not more then
    return nil, nil
  end
  text = text .. more
  local out, at, n = {}, 1, #text
  while at <= n do
    local special = text:find("[=\r]", at) or n + 1
    out[#out + 1] = text:sub(at, special - 1):gsub("[^\t -~]", "")
    at = special
    if at > n then
      break
    end
    local size = text:byte(at) == PAD and 3 or 2
    if at + size - 1 > n then
      break
    end
    local piece = text:sub(at, at + size - 1)
    if piece == CRLF then
      out[#out + 1] = piece
    elseif size == 3 and piece ~= "=" .. CRLF then
      out[#out + 1] = unquoted[piece:sub(2):upper()] or piece
    end
    at = at + size
  end
  return table.concat(out), text:sub(at)
end

-- ---- Lines -------------------------------------------------------------------------------------------------------

---Break lines where they are full. CRs are dropped, LFs become CRLF.
---@param left integer characters that the current line still takes
---@param text string? nil: the end, which ends an open line
---@param length integer?
---@param joint string what breaks a line
---@param cut fun(line: string, at: integer, left: integer): string, integer the next piece, what a line must have left
---@return string? wrapped
---@return integer left
local function wrap(left, text, length, joint, cut)
  length = length or LINE
  if not text then
    return left < length and joint or nil, length
  end
  local out = {}
  for line, ending in text:gsub("\r", ""):gmatch("([^\n]*)(\n?)") do
    local at = 1
    while at <= #line do
      local piece, room = cut(line, at, left)
      if left < room then
        out[#out + 1] = joint
        left = length
        piece = cut(line, at, left)
      end
      out[#out + 1] = piece
      at, left = at + #piece, left - #piece
    end
    if ending ~= "" then
      out[#out + 1] = CRLF
      left = length
    end
  end
  return table.concat(out), left
end

---@param line string
---@param at integer
---@param left integer
local function cut_plain(line, at, left)
  return line:sub(at, at + math.max(left, 1) - 1), 1
end

---A line keeps one place for the "=" that breaks it, and so has to have three left for a quoted character.
---@param line string
---@param at integer
---@param left integer
local function cut_quoted(line, at, left)
  if line:byte(at) == 61 then -- "="
    return "=", 4
  end
  local piece = line:sub(at, at + math.max(left - 1, 1) - 1)
  return piece:match("^[^=]+"), 2
end

---Break lines of text that is encoded in base64.
---@param left integer characters that the current line still takes
---@param text string? nil: the end, which ends an open line
---@param length? integer
---@return string? wrapped
---@return integer left
function M.wrp(left, text, length)
  return wrap(left, text, length, CRLF, cut_plain)
end

---Break lines of quoted-printable text by soft line breaks.
---@param left integer characters that the current line still takes
---@param text string? nil: the end, which ends an open line softly
---@param length? integer
---@return string? wrapped
---@return integer left
function M.qpwrp(left, text, length)
  return wrap(left, text, length, "=" .. CRLF, cut_quoted)
end

---Make all line ends (CR, LF, CRLF, LFCR) the same.
---@param last integer the CR or LF that the text before ended with, 0: none
---@param text string? nil: the end
---@param marker? string (CRLF)
---@return string? normal
---@return integer last
function M.eol(last, text, marker)
  marker = marker or CRLF
  if not text then
    return nil, 0
  end
  local begin = ""
  local first = text:match("^[\r\n]")
  if last ~= 0 and first then
    begin = first:byte() == last and marker or ""
    text = text:sub(2)
    last = 0
  elseif text ~= "" then
    last = 0
  end
  local two = marker .. marker
  local ends = { ["\r"] = marker, ["\n"] = marker, ["\r\n"] = marker, ["\n\r"] = marker }
  ends["\r\r"], ends["\n\n"] = two, two
  local open = #text:match("[\r\n]*$") % 2 == 1
  local normal = text:gsub("[\r\n][\r\n]?", ends)
  return begin .. normal, open and text:byte(-1) or last
end

local BEFORE = { [1] = "\r", [2] = CRLF }

---Double the dots that begin lines, as SMTP wants it (RFC 5321 section 4.5.2).
---@param state integer how much of a CRLF stands before the text: 0 to 2. A text begins with 2
---@param text string? nil: the end
---@return string? stuffed
---@return integer state
function M.dot(state, text)
  if not text then
    return nil, 2
  end
  local before = BEFORE[state] or ""
  local whole = before .. text
  local stuffed = whole:gsub("\r\n%.", "\r\n.."):sub(#before + 1)
  return stuffed, whole:sub(-2) == CRLF and 2 or whole:sub(-1) == "\r" and 1 or 0
end

return M
