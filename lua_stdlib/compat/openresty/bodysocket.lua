---ngx.req.socket: the request body read as from a socket. On a route with `body = "stream"` it is read while it
---arrives. How long it may take is the server's --body-timeout.
local M = {}

local current = require("compat.openresty.request")

---@class compat.openresty.bodysocket
---@field read fun(): string?, string? the next part
---@field rest string what was read last; the bytes from `at` on were not received yet
---@field at integer
---@field err? string what has ended the body: "closed", "timeout", ...
local socket = {}
socket.__index = socket

---@param state compat.openresty.state
---@param raw? boolean
---@return compat.openresty.bodysocket?
---@return string? err
function M.open(state, raw)
  if raw then
    return nil, "raw request sockets are not available in Heart"
  elseif not current.is_handler(state) then
    return nil, "only the handler can read the body"
  end
  local self = setmetatable({ read = state.ctx.reader(), rest = "", at = 1 }, socket)
  if not self:gather(1) then
    return nil, "no body"
  end
  return self
end

---@return string? part nil: the body has ended, and `err` says how
function socket:next()
  if self.err then
    return nil
  end
  local part, err = self.read()
  if not part then
    self.err = err or "closed"
  end
  return part
end

---@return integer bytes that are there
function socket:count()
  return #self.rest - self.at + 1
end

---Read on until so many bytes are there.
---@param size number
---@return boolean they are
function socket:gather(size)
  local n = self:count()
  if n >= size then
    return true
  end
  local parts = { self.rest:sub(self.at) }
  while n < size do
    local part = self:next()
    if not part then
      break
    end
    parts[#parts + 1], n = part, n + #part
  end
  self.rest, self.at = table.concat(parts), 1
  return n >= size
end

---Take the first bytes, and leave out some behind them.
---@param n integer
---@param skip integer
---@return string
function socket:take(n, skip)
  local data = self.rest:sub(self.at, self.at + n - 1)
  self.at = self.at + n + skip
  return data
end

---What a read gives whose end did not come.
---@return nil
---@return string err
---@return string partial
function socket:fail()
  return nil, self.err, self:take(self:count(), 0)
end

---Read on until the delimiter is there. Each byte is looked at once, and a part is joined to the others once.
---@param delimiter string
---@return integer? before bytes in front of it
function socket:find(delimiter)
  local at = self.rest:find(delimiter, self.at, true)
  if at then
    return at - self.at
  end
  local parts, n = { self.rest:sub(self.at) }, self:count()
  local overlap, before = #delimiter - 1, nil
  local tail = overlap > 0 and parts[1]:sub(-overlap) or ""
  while not before do
    local part = self:next()
    if not part then
      break
    end
    local seen = tail .. part
    at = seen:find(delimiter, 1, true)
    before = at and n - #tail + at - 1
    parts[#parts + 1], n = part, n + #part
    tail = overlap > 0 and seen:sub(-overlap) or ""
  end
  self.rest, self.at = table.concat(parts), 1
  return before
end

---Receive a line (default), "*a": all, or so many bytes.
---@param what? "*l"|"*a"|integer
---@return string? data
---@return string? err
---@return string? partial
function socket:receive(what)
  if what == nil or what == "*l" then
    local n = self:find("\n")
    if not n then
      return self:fail()
    end
    return (self:take(n, 1):gsub("\r", ""))
  elseif what == "*a" then
    self:gather(math.huge)
    if self.err == "closed" then
      return self:take(self:count(), 0)
    end
    return self:fail()
  end
  local size = tonumber(what)
  if not size or size < 0 then
    error("bad argument #2 to 'receive' (bad pattern argument)", 2)
  end
  if not self:gather(size) then
    return self:fail()
  end
  return self:take(size, 0)
end

---@param max integer bytes
---@return string? data
---@return string? err
---@return string? partial
function socket:receiveany(max)
  if not self:gather(1) then
    return self:fail()
  end
  return self:take(math.min(max, self:count()), 0)
end

---The next piece up to a delimiter, which is not given in two.
---@param delimiter string
---@param size integer bytes at most
---@param inclusive? boolean
---@return string? data
---@return boolean? last the delimiter was behind it, or is the end of it
function socket:piece(delimiter, size, inclusive)
  self:gather(size + #delimiter)
  local near = self.rest:sub(self.at, self.at + size + #delimiter - 1)
  local at = near:find(delimiter, 1, true)
  if not at then
    return #near - #delimiter + 1 >= size and self:take(size, 0) or nil
  end
  local before = at - 1
  local n = inclusive and before + #delimiter or before
  if n > size and before > 0 then
    return self:take(math.min(before, size), 0)
  end
  return self:take(n, inclusive and 0 or #delimiter), true
end

---@param delimiter string
---@param options? { inclusive?: boolean }
---@return (fun(size?: integer): string?, string?, string?)?
---@return string? err
function socket:receiveuntil(delimiter, options)
  if delimiter == "" then
    return nil, "pattern is empty"
  end
  local inclusive = options and options.inclusive
  local reached = false -- by reads in pieces
  return function(size)
    if size and reached then
      reached = false
      return nil
    end
    reached = false
    if size and size > 0 then
      local data, last = self:piece(delimiter, size, inclusive)
      reached = last or false
      if not data then
        return self:fail()
      end
      return data
    end
    local before = self:find(delimiter)
    if not before then
      return self:fail()
    elseif inclusive then
      return self:take(before + #delimiter, 0)
    end
    return self:take(before, #delimiter)
  end
end

---The server's --body-timeout holds.
function socket.settimeout() end

socket.settimeouts = socket.settimeout

return M
