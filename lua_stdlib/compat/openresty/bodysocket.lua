---ngx.req.socket: the request body read as from a socket. On a route with `body = "stream"` it is read while it
---arrives. How long it may take is the server's --body-timeout.
local M = {}

local current = require("compat.openresty.request")

---@class compat.openresty.bodysocket
---@field read fun(): string?, string? the next part
---@field rest string read and not yet received
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
  local self = setmetatable({ read = state.ctx.reader(), rest = "" }, socket)
  if not self:fill() then
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

---@return boolean there is more
function socket:fill()
  local part = self:next()
  self.rest = self.rest .. (part or "")
  return part ~= nil
end

---Read on until so many bytes are there.
---@param size number
---@return boolean they are
function socket:gather(size)
  local parts, n = { self.rest }, #self.rest
  while n < size do
    local part = self:next()
    if not part then
      break
    end
    parts[#parts + 1], n = part, n + #part
  end
  self.rest = table.concat(parts)
  return n >= size
end

---Take the first bytes, and leave out some behind them.
---@param n integer
---@param skip integer
---@return string
function socket:take(n, skip)
  local data = self.rest:sub(1, n)
  self.rest = self.rest:sub(n + skip + 1)
  return data
end

---What a read gives whose end did not come.
---@return nil
---@return string err
---@return string partial
function socket:fail()
  return nil, self.err, self:take(#self.rest, 0)
end

---@param delimiter string
---@param from integer where to look
---@return integer? at
function socket:find(delimiter, from)
  repeat
    local at = self.rest:find(delimiter, math.max(from, 1), true)
    if at then
      return at
    end
    from = #self.rest - #delimiter + 2
  until not self:fill()
  return nil
end

---Receive a line (default), "*a": all, or so many bytes.
---@param what? "*l"|"*a"|integer
---@return string? data
---@return string? err
---@return string? partial
function socket:receive(what)
  if what == nil or what == "*l" then
    local at = self:find("\n", 1)
    if not at then
      return self:fail()
    end
    return (self:take(at - 1, 1):gsub("\r", ""))
  elseif what == "*a" then
    self:gather(math.huge)
    if self.err == "closed" then
      return self:take(#self.rest, 0)
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
  if self.rest == "" and not self:fill() then
    return self:fail()
  end
  return self:take(max, 0)
end

---@param delimiter string
---@param options? { inclusive?: boolean }
---@return fun(size?: integer): string?, string?, string?
function socket:receiveuntil(delimiter, options)
  local inclusive = options and options.inclusive
  local reached = false -- by reads in pieces
  return function(size)
    if size and reached then
      reached = false
      return nil
    end
    local at = self:find(delimiter, 1)
    if not at then
      return self:fail()
    end
    local n = inclusive and at + #delimiter - 1 or at - 1
    if size and size > 0 and n > size then
      return self:take(size, 0)
    end
    reached = size ~= nil
    return self:take(n, inclusive and 0 or #delimiter)
  end
end

---The server's --body-timeout holds.
function socket.settimeout() end

socket.settimeouts = socket.settimeout

return M
