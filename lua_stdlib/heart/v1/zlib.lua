---Compression: gzip (RFC 1952), zlib (RFC 1950) and bare deflate (RFC 1951), whole texts and streams.
---Bad data is a value, `nil, reason`; a call computes without waiting, so others of this worker wait for it.
---@class heart.zlib
local M = {}

local argument = require("heart.argument")
local core = require("heart.core").zlib

---@class heart.zlib.options
---@field format? "gzip"|"zlib"|"raw" ("zlib"; `gzip` always writes "gzip")
---@field level? integer 0 (store) to 9 (small and slow) (6)
---@field window? integer the logarithm of the window, 9 to 15: how far back repetitions are found (15)
---@field memory? integer 1 to 9: of the compressor (8)

---@class heart.zlib.expand_options
---@field format? "gzip"|"zlib"|"raw"|"auto" "auto": gzip or zlib, whatever it is
---@field max? integer bytes of output; more is the error "too large" (16 MiB)
---@field window? integer at least that of the compressor (15)

local MAX = 16 * 1024 * 1024
local PIECE = 65536
local GZIP, PADDING = 0x1F, 0

-- The options, and from where to where their numbers may be.
local COMPRESS = { format = "any", level = "any", window = "any", memory = "any" }
local EXPAND = { format = "any", max = "number", window = "any" }
local RANGES = { level = { 0, 9 }, window = { 9, 15 }, memory = { 1, 9 } }

---@param name string of the function
---@param options? table
---@param known table<string, string>
---@return table
local function check_options(name, options, known)
  options = argument.options(name, options, known, 3)
  for key, range in pairs(RANGES) do
    local value = options[key]
    local whole = type(value) == "number" and value % 1 == 0
    if value ~= nil and not (whole and value >= range[1] and value <= range[2]) then
      local message = "%s: %s: expected a whole number from %d to %d, got %s"
      error(message:format(name, key, range[1], range[2], tostring(value)), 3)
    end
  end
  return options
end

---@param name string
---@param data any
local function check_data(name, data)
  if type(data) ~= "string" then
    error(("%s: expected a string, got %s"):format(name, type(data)), 3)
  end
end

---@param name string
---@param expands boolean
---@param format string
---@param options heart.zlib.options
local function open(name, expands, format, options)
  local code = core.formats[format]
  if not code or (format == "auto" and not expands) then
    error(("%s: unknown format %s"):format(name, tostring(format)), 3)
  end
  return core.open(expands, code, options.level or 6, options.window or 15, options.memory or 8)
end

---All output that `data` leads to. A compressor does not fail.
local function compress(stream, data, flush)
  local out, at, state = stream:run(data, 1, PIECE, flush)
  if state ~= "full" then
    return out
  end
  local parts = { out }
  while state == "full" do
    parts[#parts + 1], at, state = stream:run(data, at, PIECE, flush)
  end
  return table.concat(parts)
end

-- ---- Compressing --------------------------------------------------------------------------------------------------

---@class heart.zlib.deflater
---@field private stream any
local Deflater = {}
Deflater.__index = Deflater

---Give data; the result is the part of the output that is complete, often "".
---@param data string
---@return string
function Deflater:write(data)
  check_data("write", data)
  return compress(self.stream, data)
end

---Give all output that is held back, so that the receiver can expand everything up to here.
---@return string
function Deflater:flush()
  return compress(self.stream, "", "sync")
end

---Give the end of the output; the memory is free then.
---@param data? string the last of it
---@return string
function Deflater:finish(data)
  check_data("finish", data or "")
  local out = compress(self.stream, data or "", "finish")
  self.stream:close()
  return out
end

---Begin another stream with the same options, for protocols that compress each message by itself.
function Deflater:reset()
  self.stream:reset()
end

---Give the memory (256 KiB) back without waiting for the collector.
function Deflater:close()
  self.stream:close()
end

---A compressor of data that comes in parts.
---@param options? heart.zlib.options
---@return heart.zlib.deflater
function M.deflater(options)
  options = check_options("deflater", options, COMPRESS)
  return setmetatable({ stream = open("deflater", false, options.format or "zlib", options) }, Deflater)
end

local function deflate(name, format, data, options)
  local stream = open(name, false, format, options)
  local out = compress(stream, data, "finish")
  stream:close()
  return out
end

---Compress a text for a file or a `Content-Encoding: gzip`.
---@param data string
---@param options? heart.zlib.options
---@return string
function M.gzip(data, options)
  check_data("gzip", data)
  return deflate("gzip", "gzip", data, check_options("gzip", options, COMPRESS))
end

---Compress a text.
---@param data string
---@param options? heart.zlib.options
---@return string
function M.deflate(data, options)
  check_data("deflate", data)
  options = check_options("deflate", options, COMPRESS)
  return deflate("deflate", options.format or "zlib", data, options)
end

-- ---- Expanding ----------------------------------------------------------------------------------------------------

---@class heart.zlib.inflater
---@field private stream any
---@field private max integer
---@field private total integer bytes of output so far
---@field private ended boolean a stream has ended; of gzip another one may follow
---@field private members boolean
local Inflater = {}
Inflater.__index = Inflater

---Behind the end of a stream: gzip allows another one, and zeros (RFC 1952 section 2.2).
---@return integer? at of the first byte to go on with
---@return string? err
local function next_member(self, data, at)
  while at <= #data do
    local byte = data:byte(at)
    if byte == GZIP and self.members then
      self.stream:reset()
      self.ended = false
      return at
    elseif byte ~= PADDING or not self.members then
      return nil, "data after the end"
    end
    at = at + 1
  end
  return at
end

---Expand at most `most` bytes.
---@return string? out
---@return integer|string at of the first byte that was not taken; the reason of a failure
---@return boolean? more there is output that did not fit
local function expand(self, data, at, most)
  if self.ended then
    local from, err = next_member(self, data, at)
    if not from or self.ended then
      return from and "", from or err
    end
    at = from
  end
  local out, next_at, state = self.stream:run(data, at, most)
  if not out then
    return nil, next_at
  end
  self.ended = state == "end"
  self.total = self.total + #out
  if self.total > self.max then
    return nil, "too large"
  end
  return out, next_at, state == "full" or (self.ended and next_at <= #data)
end

---Go through what `data` expands to, in pieces of at most 64 KiB. A failure is a last turn with false and the reason:
---
---    for piece, err in inflater:pieces(data) do
---@param data string
---@return fun(): string|boolean?, string?
function Inflater:pieces(data)
  check_data("pieces", data)
  local at, more = 1, true
  return function()
    while more do
      local out
      out, at, more = expand(self, data, at, PIECE)
      if not out then
        self.stream:close()
        return false, at
      elseif out ~= "" then
        return out
      end
    end
  end
end

---Give data; the result is what it expands to.
---@param data string
---@return string?
---@return string? err "too large", "data after the end", or what is wrong with the data
function Inflater:write(data)
  check_data("write", data)
  local out, at, more = expand(self, data, 1, PIECE)
  if not more then
    return out, not out and at or nil
  end
  local parts = { out }
  while more do
    out, at, more = expand(self, data, at, PIECE)
    parts[#parts + 1] = out
  end
  if not out then
    self.stream:close()
    return nil, at
  end
  return table.concat(parts)
end

---No more data comes; the memory is free then.
---@return boolean? ok
---@return string? err "truncated"
function Inflater:finish()
  self.stream:close()
  if not self.ended then
    return nil, "truncated"
  end
  return true
end

---Begin another stream with the same options.
function Inflater:reset()
  self.stream:reset()
  self.ended, self.total = false, 0
end

---Give the memory (40 KiB) back without waiting for the collector.
function Inflater:close()
  self.stream:close()
end

local function new_inflater(name, format, options)
  return setmetatable({
    stream = open(name, true, format, options),
    max = options.max or MAX,
    total = 0,
    ended = false,
    members = format == "gzip" or format == "auto",
  }, Inflater)
end

---An expander of data that comes in parts.
---@param options? heart.zlib.expand_options
---@return heart.zlib.inflater
function M.inflater(options)
  options = check_options("inflater", options, EXPAND)
  return new_inflater("inflater", options.format or "zlib", options)
end

local function inflate(name, format, data, options)
  local inflater = new_inflater(name, format, options)
  local out, err = inflater:write(data)
  local complete, why = inflater:finish()
  if not out then
    return nil, err
  elseif not complete then
    return nil, why
  end
  return out
end

---Expand a gzip file, of one or more members.
---@param data string
---@param options? heart.zlib.expand_options
---@return string?
---@return string? err "too large", "truncated", "data after the end", or what is wrong with the data
function M.gunzip(data, options)
  check_data("gunzip", data)
  return inflate("gunzip", "gzip", data, check_options("gunzip", options, EXPAND))
end

---Expand a text.
---@param data string
---@param options? heart.zlib.expand_options
---@return string?
---@return string? err
function M.inflate(data, options)
  check_data("inflate", data)
  options = check_options("inflate", options, EXPAND)
  return inflate("inflate", options.format or "zlib", data, options)
end

-- ---- Checksums ----------------------------------------------------------------------------------------------------

---The CRC-32 of gzip, PNG and zip files.
---@type fun(data: string, before?: integer): integer
M.crc32 = core.crc32

---The Adler-32 of zlib.
---@type fun(data: string, before?: integer): integer
M.adler32 = core.adler32

return M
