-- RESP3, the protocol of Redis and Valkey, on a socket of heart.v1.socket: commands out, values in. Knows no command.

local M = {}

local DEPTH = 8 -- lists in lists
local COUNT = 1000000 -- values in a list
local BYTES = 536870912 -- of a string, which is the server's own limit

---What the server says in place of a value.
M.null = newproxy()

---@class heart.resp.error
---@field error string

---@class heart.resp.list
---@field push? true nobody has asked for it: a message of a channel
---@field [integer] any

---The bytes of a command.
---@param ... string|number
---@return string
function M.command(...)
  local n = select("#", ...)
  local parts = { ("*%d\r\n"):format(n) }
  for i = 1, n do
    local word = tostring((select(i, ...)))
    parts[#parts + 1] = ("$%d\r\n"):format(#word)
    parts[#parts + 1] = word
    parts[#parts + 1] = "\r\n"
  end
  return table.concat(parts)
end

local readers = {}

---@param sock heart.socket
---@param depth integer
---@return any value nil: nothing can be read any more
---@return string? err
local function read(sock, depth)
  local line, err = sock:receive("*l")
  if not line then
    return nil, err
  end
  local reader = readers[line:sub(1, 1)]
  if not reader or depth > DEPTH then
    return nil, "this is not RESP3"
  end
  return reader(sock, line:sub(2), depth)
end

---@param text string
---@param limit integer
---@return integer?
local function size(text, limit)
  local n = tonumber(text)
  return n and n >= -1 and n <= limit and n % 1 == 0 and n or nil
end

local function read_string(sock, text)
  local n = size(text, BYTES)
  if not n then
    return nil, "this is not RESP3"
  elseif n < 0 then
    return M.null
  end
  local data, err = sock:receive(n + 2)
  if not data then
    return nil, err
  end
  return data:sub(1, n)
end

local function read_list(sock, text, depth, each)
  local n = size(text, COUNT)
  if not n then
    return nil, "this is not RESP3"
  elseif n < 0 then
    return M.null
  end
  local list = {}
  for i = 1, n * (each or 1) do
    local value, err = read(sock, depth + 1)
    if value == nil then
      return nil, err
    end
    list[i] = value
  end
  return list
end

local function read_number(_, text)
  local value = tonumber(text)
  return value, value == nil and "this is not RESP3" or nil
end

readers["$"] = read_string
readers["="] = read_string -- three letters of its format and ":" stay in front
readers["*"] = read_list
readers["~"] = read_list
readers[":"] = read_number
readers[","] = read_number
readers["+"] = function(_, text)
  return text
end
readers["("] = readers["+"]
readers["-"] = function(_, text)
  return { error = text }
end
readers["!"] = function(sock, text)
  local message, err = read_string(sock, text)
  return message and { error = message }, err
end
readers["_"] = function()
  return M.null
end
readers["#"] = function(_, text)
  return text == "t"
end
readers["%"] = function(sock, text, depth)
  return read_list(sock, text, depth, 2)
end
readers[">"] = function(sock, text, depth)
  local list, err = read_list(sock, text, depth)
  if type(list) ~= "table" then
    return nil, err or "this is not RESP3"
  end
  list.push = true
  return list
end

---The next value: a string, a number, a boolean, `null`, a list (of pairs: one after the other) or an error of the
---server. nil and the reason: the connection is of no use any more.
---@param sock heart.socket
---@return any value
---@return string? err
function M.read(sock)
  return read(sock, 0)
end

---Send a command and wait for its answer. An error of the server is a reason, too.
---@param sock heart.socket
---@param ... string|number
---@return any value
---@return string? err
function M.call(sock, ...)
  local ok, err = sock:send(M.command(...))
  if not ok then
    return nil, err
  end
  local value
  value, err = read(sock, 0)
  if type(value) == "table" and value.error then
    return nil, value.error
  end
  return value, err
end

return M
