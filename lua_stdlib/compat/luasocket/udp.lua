---UDP objects: unconnected and connected.
local M = {}

local dns = require("luasocket.dns")
local object = require("luasocket.object")

local bad_argument, check, fail = object.bad_argument, object.check, object.fail

local UNCONNECTED, CONNECTED = "udp{unconnected}", "udp{connected}"
local DATAGRAM = 8192 -- bytes that receive() gives at most unless it is told

---@class socket.udp: socket.object
local methods = {}

---@param err string
---@return nil
---@return string
local function refused(err)
  if err == "closed" then
    err = "refused"
  end
  return fail(err)
end

---A datagram and where it comes from.
local function take(self, size, name)
  if size ~= nil and type(size) ~= "number" then
    bad_argument(2, name, "number expected, got " .. type(size))
  end
  if not self.sock then
    if self.closed then
      return nil, "refused"
    end
    local ok, err = object.open(self, self.family or "inet")
    if not ok then
      return nil, err
    end
  end
  object.begin(self)
  local data, address, port = self.sock:receivefrom(size or DATAGRAM)
  if not data then
    return refused(address)
  end
  self.received = self.received + #data
  return data, address, port
end

---@param size? integer bytes; the rest of a longer datagram is lost
---@return string? datagram
---@return string? err
function methods:receive(size)
  local data, err = take(self, size, "receive")
  if not data then
    return nil, err
  end
  return data
end

---@param size? integer
---@return string? datagram
---@return string address of the sender, or the message
---@return integer? port
function methods:receivefrom(size)
  check(self, UNCONNECTED, "receivefrom")
  return take(self, size, "receivefrom")
end

---@param data string
---@return integer? bytes
---@return string? err
function methods:send(data)
  check(self, CONNECTED, "send")
  if not self.sock then
    return nil, "refused"
  end
  object.begin(self)
  local sent, err = self.sock:send(data)
  if not sent then
    return refused(err)
  end
  self.sent = self.sent + sent
  return sent
end

---@param data string
---@param address string an address, no name
---@param port integer|string
---@return integer? bytes
---@return string? err
function methods:sendto(data, address, port)
  check(self, UNCONNECTED, "sendto")
  local family = dns.family(address)
  port = tonumber(port)
  if not family or not port then
    return nil, "Name or service not known"
  end
  if not self.sock then
    local ok, err = object.open(self, family)
    if not ok then
      return refused(err)
    end
  end
  object.begin(self)
  local sent, err = self.sock:sendto(data, address, port)
  if not sent then
    return refused(err)
  end
  self.sent = self.sent + sent
  return sent
end

---Send to and receive from one peer only; "*" ends that.
---@param address string
---@param port? integer|string
---@return 1?
---@return string? err
function methods:setpeername(address, port)
  if address == "*" then
    if self.class == CONNECTED and self.sock then
      self.sock:disconnect()
    end
    self.class = UNCONNECTED
    return 1
  end
  local ok, err = object.attach(self, "connect", address, port, "setpeername")
  if not ok then
    return nil, err
  end
  self.class = CONNECTED
  return 1
end

---@param address string
---@param port integer|string
---@return 1?
---@return string? err
function methods:setsockname(address, port)
  check(self, UNCONNECTED, "setsockname")
  return object.attach(self, "bind", address, port, "setsockname")
end

function methods:getpeername()
  check(self, CONNECTED, "getpeername")
  return object.getpeername(self)
end

local kind = object.kind(methods, { "getstats", "setstats" })

---@param family? "inet"|"inet6"
---@return socket.udp? sock
---@return string? err
function M.new(family)
  return object.new(kind, UNCONNECTED, "datagram", family)
end

return M
