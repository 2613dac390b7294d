-- Bodies of HTTP messages, from the framing on the wire to the bytes that were meant (RFC 9112 section 6, RFC 9110
-- section 8.4). Everything is bounded: a part has at most 64 KiB, a whole body as much as its reader allows.

local core = require("heart.core")
local zlib = require("heart.v1.zlib")

local M = {}

local PART = 65536
local A_TURN = 262144 -- bytes that are expanded, or given to the kernel, before others go on

---@alias heart.http.reader fun(): string?, string? a part; nil at the end; nil and the reason

---A body as it comes: by its length, in chunks (length "chunked"), or up to the end of the connection (nil).
---@param sock any
---@param length integer|"chunked"|nil
---@return heart.http.reader
local function raw(sock, length)
  if length == "chunked" then
    return function()
      return sock:receive_chunk(PART)
    end
  elseif not length then
    return function()
      local part, err = sock:receive_any(PART)
      if not part and err == "closed" then
        return nil
      end
      return part, err
    end
  end
  local left = length
  return function()
    if left == 0 then
      return nil
    end
    local part, err = sock:receive_any(math.min(left, PART))
    left = left - #(part or "")
    return part, err
  end
end

---The format of a "deflate" coding: it should be zlib's, but some servers leave the frame out.
---@param start string at least one byte
local function deflate_format(start)
  local first, second = start:byte(1, 2)
  local framed = first % 16 == 8 and first < 128 and (not second or (first * 256 + second) % 31 == 0)
  return framed and "zlib" or "raw"
end

local CODINGS = { gzip = "gzip", ["x-gzip"] = "gzip", deflate = "deflate" }

---Expand what a reader gives.
---@param read heart.http.reader
---@param coding string
---@param max number bytes of output
---@return heart.http.reader
local function expanded(read, coding, max)
  local inflater, pieces
  local computed = 0
  local function fail(err)
    read = function()
      return nil, err
    end
    return nil, err
  end
  return function()
    while true do
      local piece, why
      if pieces then
        piece, why = pieces()
      end
      if piece then
        computed = computed + #piece
        if computed >= A_TURN then
          computed = 0
          core.sleep(0)
        end
        return piece
      elseif piece == false then
        return fail("bad " .. coding .. " data: " .. why)
      end
      local part, err = read()
      if not part then
        if err or not inflater then
          return nil, err
        end
        local whole, cut = inflater:finish()
        if not whole then
          return fail("bad " .. coding .. " data: " .. cut)
        end
        inflater, pieces = nil, nil
        return nil
      elseif part ~= "" then
        local format = coding == "gzip" and "gzip" or deflate_format(part)
        inflater = inflater or zlib.inflater({ format = format, max = max })
        pieces = inflater:pieces(part)
      end
    end
  end
end

---A reader that calls `done(complete)` once, when the body has ended or has failed.
---@param sock any
---@param length integer|"chunked"|nil
---@param coding? string of Content-Encoding
---@param max number bytes that it may expand to
---@param done fun(complete: boolean)
---@return heart.http.reader
function M.reader(sock, length, coding, max, done)
  local read = raw(sock, length)
  coding = coding and CODINGS[coding:lower()]
  if coding then
    read = expanded(read, coding, max)
  end
  local ended, why = false, nil
  return function()
    if ended then
      return nil, why
    end
    local ok, part, err = pcall(read)
    if not ok then -- cancelled
      done(false)
      error(part, 0)
    elseif not part then
      ended, why = true, err
      done(err == nil)
    end
    return part, err
  end
end

---@param sock any
---@param length integer|"chunked"|nil
---@param coding? string of Content-Encoding
---@param max number bytes
---@return string?
---@return string? err "body too large", "closed", "timeout", ...
function M.whole(sock, length, coding, max)
  if not coding and type(length) == "number" then
    if length > max then
      return nil, "body too large"
    end
    return sock:receive(length)
  end
  local parts, total = {}, 0
  local read = M.reader(sock, length, coding, max, function() end)
  while true do
    local part, err = read()
    if not part then
      if err then
        return nil, err:find("too large", 1, true) and "body too large" or err
      end
      return table.concat(parts)
    end
    total = total + #part
    if total > max then
      return nil, "body too large"
    end
    parts[#parts + 1] = part
  end
end

---Send a body that a function gives part by part.
---@param sock any
---@param source fun(): string? nil: it has ended
---@param length integer? its Content-Length; nil: in chunks
---@return boolean? ok
---@return string? err
---@return boolean? own the source is at fault, not the connection
function M.send(sock, source, length)
  local total, pause_at = 0, A_TURN
  while true do
    local part = source()
    if part == nil then
      break
    elseif type(part) ~= "string" then
      return nil, "the body function returned a " .. type(part), true
    elseif part ~= "" then
      total = total + #part
      if length and total > length then
        return nil, "the body is longer than its Content-Length", true
      end
      local sent, err = sock:send(length and part or { ("%x\r\n"):format(#part), part, "\r\n" })
      if not sent then
        return nil, err
      end
      if total >= pause_at then -- the kernel may take all of it without any wait
        pause_at = total + A_TURN
        core.sleep(0)
      end
    end
  end
  if length then
    if total < length then
      return nil, "the body is shorter than its Content-Length", true
    end
    return true
  end
  return sock:send("0\r\n\r\n")
end

return M
