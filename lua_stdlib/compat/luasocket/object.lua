---What TCP, UDP and Unix sockets have in common: a table with the native socket inside, its class ("tcp{client}"), and
---the methods of all of them. LuaSocket makes the descriptor of `socket.tcp()` when it is bound or connected; so does
---this, and options set earlier are kept until then.
local M = {}

local time = require("heart.v1.time")
local dns = require("luasocket.dns")

local native = require("heart.core").socket

-- Where Heart's words differ from LuaSocket's.
local WORDS = {
  ["connection reset"] = "closed",
  ["connection aborted"] = "closed",
  ["network unreachable"] = "Network is unreachable",
  ["host unreachable"] = "No route to host",
  ["address not available"] = "Cannot assign requested address",
  ["no such file or directory"] = "No such file or directory",
  ["too many open files"] = "Too many open files",
  ["out of memory"] = "Cannot allocate memory",
  ["resource temporarily unavailable"] = "Resource temporarily unavailable",
  ["Transport endpoint is already connected"] = "already connected",
}

local PORT_MAX = 65535
local BAD_DESCRIPTOR = "Bad file descriptor"

-- LuaSocket's names of options, and what their values are. `native`: Heart's name, if it is another.
local FLAG, NUMBER, TABLE, TEXT = "boolean", "number", "table", "string"
local OPTIONS = {
  ["keepalive"] = { FLAG },
  ["reuseaddr"] = { FLAG },
  ["reuseport"] = { FLAG },
  ["tcp-nodelay"] = { FLAG },
  ["tcp-keepidle"] = { NUMBER },
  ["tcp-keepcnt"] = { NUMBER },
  ["tcp-keepintvl"] = { NUMBER },
  ["dontroute"] = { FLAG },
  ["broadcast"] = { FLAG },
  ["linger"] = { TABLE },
  ["ipv6-v6only"] = { FLAG },
  ["error"] = {},
  ["recv-buffer-size"] = { NUMBER, native = "rcvbuf" },
  ["send-buffer-size"] = { NUMBER, native = "sndbuf" },
  ["ip-multicast-if"] = { TEXT },
  ["ip-multicast-ttl"] = { NUMBER },
  ["ip-multicast-loop"] = { FLAG },
  ["ip-add-membership"] = { TABLE },
  ["ip-drop-membership"] = { TABLE },
  ["ipv6-unicast-hops"] = { NUMBER },
  ["ipv6-multicast-hops"] = { NUMBER },
  ["ipv6-multicast-loop"] = { FLAG },
  ["ipv6-add-membership"] = { TABLE },
  ["ipv6-drop-membership"] = { TABLE },
}

---An argument error as LuaSocket raises it.
function M.bad_argument(n, name, message)
  error(("bad argument #%d to '%s' (%s)"):format(n, name, message), 3)
end

---@param reason string of the native socket
function M.reason(reason)
  return WORDS[reason] or reason
end

---The reason as the second result.
---@return nil
---@return string
function M.fail(reason)
  return nil, WORDS[reason] or reason
end

---@class socket.object
---@field class string
---@field sock userdata? the native socket
---@field kind "stream"|"datagram"
---@field family? "inet"|"inet6"|"unix" of the native socket, or of those that it may become
---@field block number? seconds that the socket may be silent
---@field total number? seconds of one call
---@field only? "inet"|"inet6"|"unix" the family of the addresses that it may take
---@field bound? boolean
---@field pending table options set before there is a descriptor
local methods = {}

---The object must be of one of these classes.
function M.check(self, class, name)
  if type(self) ~= "table" or self.class ~= class then
    error(("bad argument #1 to '%s' (%s expected)"):format(name, class), 3)
  end
end

---Give the object a native socket of the family, unless it has one.
---@return true?
---@return string? err
function M.open(self, family)
  if self.sock and self.family == family then
    return true
  end
  if self.sock then
    self.sock:close()
    self.sock = nil
  end
  if self.closed then
    return nil, "closed"
  end
  local sock, err = native.new(self.kind, family)
  if not sock then
    return M.fail(err)
  end
  self.sock, self.family = sock, family
  M.apply_timeouts(self)
  for name, value in pairs(self.pending) do
    sock:option(OPTIONS[name].native or name, value)
  end
  return true
end

function M.apply_timeouts(self)
  local sock, block = self.sock, self.block
  if sock then
    sock:settimeouts(block, block, block)
    sock:patient(true)
    if not self.total then
      sock:deadline(nil)
    end
  end
end

---Before an operation: the time of the call begins.
function M.begin(self)
  if self.total then
    self.sock:deadline(self.total)
  end
end

---An address and a port to the native form of both.
---@return {family: string, addr: string}[]?
---@return string|integer port or the message
function M.addresses(self, address, port, name, passive)
  if type(address) ~= "string" then
    M.bad_argument(2, name, "string expected, got " .. type(address))
  end
  local number = tonumber(port)
  if not number or number < 0 or number > PORT_MAX then
    return nil, "Servname not supported for ai_socktype"
  end
  if passive and address == "*" then
    if self.family then
      address = self.family == "inet6" and "::" or "0.0.0.0"
    else
      address = "0.0.0.0"
    end
  end
  local list, err = dns.resolve(address, self.only)
  if not list then
    return nil, err --[[@as string]]
  end
  return list, number
end

---Bind or connect to the first address with which that works.
---@param method "bind"|"connect" of the native socket
---@param name string of the function that was called
---@return 1?
---@return string? err
function M.attach(self, method, address, port, name)
  local list, number = M.addresses(self, address, port, name, method == "bind")
  if not list then
    return nil, number --[[@as string]]
  end
  local err
  for _, candidate in ipairs(list) do
    local ok
    ok, err = M.open(self, candidate.family)
    if ok then
      ok, err = self.sock[method](self.sock, candidate.addr, number)
    end
    if ok then
      if method == "bind" then
        self.bound, self.only = true, candidate.family
      end
      return 1
    end
  end
  return M.fail(err)
end

---@return 1
function methods:close()
  if self.sock then
    self.sock:close()
    self.sock = nil
  end
  self.closed = true
  return 1
end

---Whether data is here that select() does not see.
function methods:dirty()
  return self.sock ~= nil and self.sock:buffered() > 0
end

---@return integer descriptor -1: there is none
function methods:getfd()
  return self.sock and self.sock:fd() or -1
end

---Take over a descriptor. The one before is closed.
---@param descriptor integer
function methods:setfd(descriptor)
  if self.sock and self.sock:fd() == descriptor then
    return
  end
  if self.sock then
    self.sock:close()
    self.sock = nil
  end
  if descriptor >= 0 then
    self.sock = native.adopt(descriptor)
    M.apply_timeouts(self)
  end
end

---@return "inet4"|"inet6"
function methods:getfamily()
  return self.family == "inet6" and "inet6" or "inet4"
end

---@param value number? seconds; nil or negative: as long as it takes
---@param mode? "b"|"t"|"r" of every wait, or of the whole call
---@return 1
function methods:settimeout(value, mode)
  if value ~= nil and type(value) ~= "number" then
    M.bad_argument(2, "settimeout", "number expected, got " .. type(value))
  end
  if value and value < 0 then
    value = nil
  end
  mode = mode and mode:sub(1, 1) or "b"
  if mode == "b" then
    self.block = value
  elseif mode == "t" or mode == "r" then
    self.total = value
  else
    M.bad_argument(3, "settimeout", "invalid timeout mode")
  end
  M.apply_timeouts(self)
  return 1
end

---@return number block seconds, -1: none
---@return number total
function methods:gettimeout()
  return self.block or -1, self.total or -1
end

---@param name string
---@param method string
local function option(name, method)
  if type(name) ~= "string" then
    M.bad_argument(2, method, "string expected, got " .. type(name))
  end
  local found = OPTIONS[name]
  if not found then
    error(("bad argument #2 to '%s' (unsupported option `%.35s')"):format(method, name), 3)
  end
  return found
end

---@param name string
---@return any value
---@return string? err
function methods:getoption(name)
  local found = option(name, "getoption")
  if not self.sock then
    return nil, "getsockopt failed"
  end
  local value, err = self.sock:option(found.native or name)
  if err then
    return nil, "getsockopt failed"
  end
  return value
end

---@param name string
---@param value any
---@return 1?
---@return string? err
function methods:setoption(name, value)
  local found = option(name, "setoption")
  if type(value) ~= found[1] then
    M.bad_argument(3, "setoption", ("%s expected, got %s"):format(found[1] or "nothing", type(value)))
  end
  if not self.sock then
    if self.closed then
      return nil, "setsockopt failed"
    end
    self.pending[name] = value
    return 1
  end
  if not self.sock:option(found.native or name, value) then
    return nil, "setsockopt failed"
  end
  return 1
end

---@return integer received
---@return integer sent
---@return number age seconds
function methods:getstats()
  return self.received, self.sent, time.now() - self.born
end

---@param received? integer
---@param sent? integer
---@param age? number
---@return 1
function methods:setstats(received, sent, age)
  self.received = received or self.received
  self.sent = sent or self.sent
  self.born = age and time.now() - age or self.born
  return 1
end

---@return string? address
---@return string|integer|nil port or the message
---@return string? family
function methods:getsockname()
  if not self.sock then
    return nil, BAD_DESCRIPTOR
  end
  local address, port = self.sock:name()
  if not address then
    return M.fail(port)
  end
  return address, tostring(port), self.family
end

---@return string? address
---@return string|integer|nil port or the message
---@return string? family
function methods:getpeername()
  if not self.sock then
    return nil, BAD_DESCRIPTOR
  end
  local address, port = self.sock:peer()
  if not address then
    return M.fail(port == "closed" and "Transport endpoint is not connected" or port)
  end
  return address, port, self.family
end

M.getpeername = methods.getpeername

---A kind of objects: the methods of all but those that are nil here, and its own.
---@param own table methods
---@param without? string[] names
function M.kind(own, without)
  local index = {}
  for name, method in pairs(methods) do
    index[name] = method
  end
  for _, name in ipairs(without or {}) do
    index[name] = nil
  end
  for name, method in pairs(own) do
    index[name] = method
  end
  return {
    __index = index,
    __tostring = function(self)
      return ("%s: %p"):format(self.class, self)
    end,
  }
end

---A new object. With a family (of IP addresses) it has a native socket from the start.
---@return table?
---@return string? err
function M.new(kind, class, how, family)
  local self = setmetatable({
    class = class,
    kind = how,
    family = family,
    only = family,
    pending = {},
    received = 0,
    sent = 0,
    born = time.now(),
  }, kind)
  if family == "inet" or family == "inet6" then
    local ok, err = M.open(self, family)
    if not ok then
      return nil, err
    end
  end
  return self
end

return M
