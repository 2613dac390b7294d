---ngx.socket.udp: datagrams to and from one peer.
local M = {}

local core = require("heart.core")
local address = require("compat.openresty.address")

local TIMEOUT = 60000 -- ms
local DATAGRAM_MAX = 65507 -- bytes of one over IPv4

---@class ngx.socket.udp
---@field sock? any
---@field timeout integer ms
local udp = {}
udp.__index = udp

---@return ngx.socket.udp
function M.new()
  return setmetatable({ timeout = TIMEOUT }, udp)
end

---@param host string
---@param port? integer
---@return any sock
---@return string? err
local function open(self, host, port)
  if host:sub(1, 5) == "unix:" then
    return core.socket.udp({ kind = "unix", address = host:sub(6) })
  end
  port = tonumber(port)
  if not port or port < 0 or port > 65535 then
    return nil, "bad port number: " .. tostring(port)
  end
  local found, err = address.resolve(host)
  if not found then
    return nil, err
  end
  return core.socket.udp({ address = found[1], port = port, bind = self.local_address })
end

---@param self ngx.socket.udp
local function apply_timeout(self)
  local seconds = (self.timeout > 0 and self.timeout or TIMEOUT) / 1000
  self.sock:settimeouts(nil, seconds, seconds)
end

---Send to and receive from this host and port, or "unix:/path".
---@param host string
---@param port? integer
---@return 1?
---@return string? err
function udp:setpeername(host, port)
  if type(host) ~= "string" then
    error(("bad argument #2 to 'setpeername' (string expected, got %s)"):format(type(host)), 2)
  end
  local sock, err = open(self, host, port)
  if not sock then
    return nil, err
  end
  self:close()
  self.sock = sock
  apply_timeout(self)
  return 1
end

---@param host string
---@return true?
---@return string? err
function udp:bind(host)
  if not address.is_numeric(host) then
    return nil, "bad address"
  end
  self.local_address = address.strip(host)
  return true
end

---@param ms integer
function udp:settimeout(ms)
  self.timeout = tonumber(ms) or 0
  if self.sock then
    apply_timeout(self)
  end
end

---Send one datagram.
---@param data string|number|boolean|nil|table
---@return 1?
---@return string? err
function udp:send(data)
  if not self.sock then
    return nil, "closed"
  end
  if type(data) == "nil" or type(data) == "boolean" then
    data = tostring(data)
  end
  local ok, err = self.sock:send(data)
  if ok then
    return 1
  end
  return nil, err
end

---Receive one datagram.
---@param size? integer bytes; what is longer is cut
---@return string? data
---@return string? err
function udp:receive(size)
  if not self.sock then
    return nil, "closed"
  end
  local data, err = self.sock:receivefrom(math.min(size or DATAGRAM_MAX, DATAGRAM_MAX))
  if data then
    return data -- without the sender, which is known
  end
  return nil, err
end

---@return 1?
---@return string? err
function udp:close()
  if not self.sock then
    return nil, "closed"
  end
  self.sock:close()
  self.sock = nil
  return 1
end

return M
