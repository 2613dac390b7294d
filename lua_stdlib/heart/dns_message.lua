-- Messages of the domain name system (RFC 1035 section 4) as a codec: bytes to tables and back. Knows no network.
-- Invariants:
--   - decoding never raises, whatever the bytes are, and takes time in proportion to them: a compression pointer must
--     point further back than the name that it is part of, and a name has at most 255 bytes;
--   - a record that this file does not know keeps its data as bytes.

local address = require("heart.address")

local M = {}

local byte, char, sub = string.byte, string.char, string.sub

local CLASS_IN = 1
local HEAD = 12
local NAME_MAX, LABEL_MAX = 255, 63
local RECORDS_MAX = 4096

---@type table<string, integer>
M.types = {
  A = 1,
  NS = 2,
  CNAME = 5,
  SOA = 6,
  PTR = 12,
  MX = 15,
  TXT = 16,
  AAAA = 28,
  SRV = 33,
  OPT = 41,
  CAA = 257,
}

---What a reply code (RFC 1035 section 4.1.1) means, in words.
---@type table<integer, string>
M.codes = {
  [1] = "format error",
  [2] = "server failure",
  [3] = "host not found",
  [4] = "not implemented",
  [5] = "refused",
}

local names = {}
for name, number in pairs(M.types) do
  names[number] = name
end

---@class heart.dns.record
---@field name string
---@field type string
---@field ttl integer seconds
---@field address? string A, AAAA
---@field target? string CNAME, NS, PTR, MX, SRV
---@field preference? integer MX
---@field priority? integer SRV
---@field weight? integer SRV
---@field port? integer SRV
---@field text? string TXT: its strings, joined
---@field strings? string[] TXT
---@field flags? integer CAA
---@field tag? string CAA
---@field value? string CAA
---@field data? string of a type without fields of its own

-- ---- Names -------------------------------------------------------------------------------------------------------

---@param value integer
local function put16(value)
  return char(math.floor(value / 256) % 256, value % 256)
end

---A name as labels with their lengths.
---@param name string with or without a dot at its end; a backslash stands before a dot in a label, or three digits
---@return string? nil: no name can look like that
function M.encode_name(name)
  if name == "." then
    return "\0"
  end
  name = name:gsub("\\(%d%d%d)", function(digits)
    return "\\" .. char(tonumber(digits) % 256)
  end)
  local parts, label, size = {}, {}, 1
  local function close()
    size = size + #label + 1
    parts[#parts + 1] = char(math.min(#label, LABEL_MAX)) .. table.concat(label)
    local fits = #label > 0 and #label <= LABEL_MAX and size <= NAME_MAX
    label = {}
    return fits
  end
  for escaped, c in name:gmatch("(\\?)(.)") do
    if c ~= "." or escaped ~= "" then
      label[#label + 1] = c
    elseif not close() then
      return nil
    end
  end
  if (#label > 0 and not close()) or #parts == 0 then
    return nil
  end
  return table.concat(parts) .. "\0"
end

local function escape(c)
  if c == "." or c == "\\" then
    return "\\" .. c
  end
  return ("\\%03d"):format(byte(c))
end

---The name at `at`, without a dot at its end ("." for the root).
---@param data string
---@param at integer
---@return string? name nil: malformed
---@return integer next behind it
local function name_at(data, at)
  local labels, size, limit = {}, 1, at
  local after
  while true do
    local n = byte(data, at)
    if not n then
      return nil, 0
    elseif n == 0 then
      break
    elseif n >= 0xC0 then
      local low = byte(data, at + 1)
      local to = low and (n - 0xC0) * 256 + low + 1
      if not to or to >= limit then
        return nil, 0
      end
      after = after or at + 2
      at, limit = to, to
    elseif n > LABEL_MAX or at + n > #data then
      return nil, 0
    else
      size = size + n + 1
      if size > NAME_MAX then
        return nil, 0
      end
      labels[#labels + 1] = sub(data, at + 1, at + n):gsub("[^%w%-_/*]", escape)
      at = at + n + 1
    end
  end
  return #labels == 0 and "." or table.concat(labels, "."), after or at + 1
end

---A name as it stands in a message that was decoded, in lower case.
---@param name string that encode_name takes
---@return string
function M.canonical(name)
  local text = name_at(M.encode_name(name), 1)
  return text:lower()
end

-- ---- Numbers -----------------------------------------------------------------------------------------------------
-- The bytes are there: callers have looked.

local function get16(data, at)
  local a, b = byte(data, at, at + 1)
  return a * 256 + b
end

local function get32(data, at)
  return get16(data, at) * 65536 + get16(data, at + 2)
end

-- ---- Data of records -----------------------------------------------------------------------------------------------
-- Each reads the bytes from `at` to `last` into the fields of a record. False: malformed.

---@type table<string, fun(record: table, data: string, at: integer, last: integer): boolean?>
local read = {}

local function read_target(record, data, at, last)
  local name, after = name_at(data, at)
  record.target = name
  return name ~= nil and after == last + 1
end

read.NS, read.CNAME, read.PTR = read_target, read_target, read_target

function read.A(record, data, at, last)
  record.address = last - at == 3 and address.text(sub(data, at, last)) or nil
  return record.address ~= nil
end

function read.AAAA(record, data, at, last)
  record.address = last - at == 15 and address.text(sub(data, at, last)) or nil
  return record.address ~= nil
end

function read.MX(record, data, at, last)
  if last - at < 2 then
    return false
  end
  record.preference = get16(data, at)
  return read_target(record, data, at + 2, last)
end

function read.SRV(record, data, at, last)
  if last - at < 6 then
    return false
  end
  record.priority, record.weight, record.port = get16(data, at), get16(data, at + 2), get16(data, at + 4)
  return read_target(record, data, at + 6, last)
end

function read.TXT(record, data, at, last)
  local strings = {}
  while at <= last do
    local n = byte(data, at)
    if at + n > last then
      return false
    end
    strings[#strings + 1] = sub(data, at + 1, at + n)
    at = at + n + 1
  end
  record.strings, record.text = strings, table.concat(strings)
  return true
end

function read.SOA(record, data, at, last)
  local primary, mailbox
  primary, at = name_at(data, at)
  if not primary then
    return false
  end
  mailbox, at = name_at(data, at)
  if not mailbox or at + 19 ~= last then
    return false
  end
  record.target, record.mailbox, record.serial = primary, mailbox, get32(data, at)
  record.refresh, record.retry, record.expire = get32(data, at + 4), get32(data, at + 8), get32(data, at + 12)
  record.minimum = get32(data, at + 16)
  return true
end

---RFC 8659 section 4.1
function read.CAA(record, data, at, last)
  local n = last - at >= 2 and byte(data, at + 1) or 0
  if n == 0 or at + 1 + n > last then
    return false
  end
  record.flags, record.tag = byte(data, at), sub(data, at + 2, at + 1 + n)
  record.value = sub(data, at + 2 + n, last)
  return true
end

-- ---- Messages ----------------------------------------------------------------------------------------------------

---A question with "recursion desired".
---@param id integer 0 to 65535
---@param name string
---@param type integer
---@param size? integer bytes of a UDP answer that are welcome (EDNS(0), RFC 6891); nil: not said
---@return string? packet nil: no name can look like that
function M.encode(id, name, type, size)
  local encoded = M.encode_name(name)
  if not encoded then
    return nil
  end
  local head = put16(id) .. "\1\0\0\1\0\0\0\0" .. put16(size and 1 or 0)
  local packet = head .. encoded .. put16(type) .. put16(CLASS_IN)
  if size then
    packet = packet .. "\0" .. put16(M.types.OPT) .. put16(size) .. "\0\0\0\0\0\0"
  end
  return packet
end

---@param data string
---@param at integer
---@return heart.dns.record? record nil: malformed
---@return integer next
local function record_at(data, at)
  local name, after = name_at(data, at)
  if not name or after + 9 > #data then
    return nil, 0
  end
  local number, class, ttl = get16(data, after), get16(data, after + 2), get32(data, after + 4)
  local from = after + 10
  local last = from + get16(data, after + 8) - 1
  if last > #data then
    return nil, 0
  end
  local kind = names[number] or "TYPE" .. number
  local record = { name = name, type = kind, ttl = ttl < 2 ^ 31 and ttl or 0 }
  if number ~= M.types.OPT and class ~= CLASS_IN then
    record.type = "CLASS" .. class
  elseif read[kind] then
    if not read[kind](record, data, from, last) then
      return nil, 0
    end
    return record, last + 1
  end
  record.data = sub(data, from, last)
  return record, last + 1
end

---@class heart.dns.message
---@field id integer
---@field response boolean
---@field truncated boolean
---@field code integer reply code
---@field name? string of the question, lower case
---@field type? integer of the question
---@field answers heart.dns.record[]
---@field authority heart.dns.record[]

---Read an answer; the additional section is left out.
---@param data string
---@return heart.dns.message?
---@return string? err
function M.decode(data)
  if #data < HEAD then
    return nil, "too short"
  end
  local flags, questions = get16(data, 3), get16(data, 5)
  local message = {
    id = get16(data, 1),
    response = flags >= 0x8000,
    truncated = math.floor(flags / 512) % 2 == 1,
    code = flags % 16,
    answers = {},
    authority = {},
  }
  local at = HEAD + 1
  if questions > 1 then
    return nil, "more than one question"
  elseif questions == 1 then
    local name
    name, at = name_at(data, at)
    if not name or at + 3 > #data or get16(data, at + 2) ~= CLASS_IN then
      return nil, "malformed question"
    end
    message.name, message.type = name:lower(), get16(data, at)
    at = at + 4
  end
  for section, count in ipairs({ get16(data, 7), get16(data, 9) }) do
    local list = section == 1 and message.answers or message.authority
    if count > RECORDS_MAX then
      return nil, "too many records"
    end
    for i = 1, count do
      list[i], at = record_at(data, at)
      if not list[i] then
        return message.truncated and message or nil, "malformed record"
      end
    end
  end
  return message
end

return M
