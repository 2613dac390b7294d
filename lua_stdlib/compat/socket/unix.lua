---Unix sockets of LuaSocket: stream() and dgram() objects, by paths.
local M = {}

local object = require("luasocket.object")
local tcp = require("luasocket.tcp")

local check, fail = object.check, object.fail
local stream = tcp.stream

local DATAGRAM = 8192

---@param self table
---@param method "bind"|"connect"
local function attach(self, method, path)
  if type(path) ~= "string" then
    error(("bad argument #2 to '%s' (string expected, got %s)"):format(method, type(path)), 3)
  end
  if #path > 107 then
    return nil, "path too long"
  end
  local ok, err = object.open(self, "unix")
  if ok then
    ok, err = self.sock[method](self.sock, path)
  end
  if not ok then
    return fail(err)
  end
  return 1
end

---@return string? path
---@return string? err
local function getsockname(self)
  if not self.sock then
    return nil, "Bad file descriptor"
  end
  local path, err = self.sock:name()
  if not path then
    return fail(err)
  end
  return path
end

-- ---- Streams -----------------------------------------------------------------------------------------------------

---@class socket.unix.stream: socket.object
local streams = { getsockname = getsockname }

function streams:bind(path)
  check(self, "unixstream{master}", "bind")
  return attach(self, "bind", path)
end

function streams:connect(path)
  check(self, "unixstream{master}", "connect")
  local ok, err = attach(self, "connect", path)
  if not ok then
    return nil, err
  end
  self.class = "unixstream{client}"
  return 1
end

function streams:listen(backlog)
  check(self, "unixstream{master}", "listen")
  return stream.listen(self, backlog)
end

function streams:accept()
  check(self, "unixstream{server}", "accept")
  return stream.accept(self)
end

function streams:send(data, i, j)
  check(self, "unixstream{client}", "send")
  return stream.send(self, data, i, j)
end

function streams:receive(pattern, prefix)
  check(self, "unixstream{client}", "receive")
  return stream.receive(self, pattern, prefix)
end

function streams:shutdown(how)
  check(self, "unixstream{client}", "shutdown")
  return stream.shutdown(self, how)
end

streams.setpeername, streams.setsockname = streams.connect, streams.bind

local stream_kind = object.kind(streams, { "getpeername", "getfamily" })

-- ---- Datagrams ---------------------------------------------------------------------------------------------------

---@class socket.unix.dgram: socket.object
local datagrams = { getsockname = getsockname }

local UNCONNECTED, CONNECTED = "unixdgram{unconnected}", "unixdgram{connected}"

function datagrams:bind(path)
  check(self, UNCONNECTED, "bind")
  return attach(self, "bind", path)
end

function datagrams:connect(path)
  local ok, err = attach(self, "connect", path)
  if not ok then
    return nil, err
  end
  self.class = CONNECTED
  return 1
end

function datagrams:send(data)
  check(self, CONNECTED, "send")
  local sent, err = self.sock:send(data)
  if not sent then
    return fail(err)
  end
  return sent
end

function datagrams:sendto(data, path)
  check(self, UNCONNECTED, "sendto")
  local ok, err = object.open(self, "unix")
  if not ok then
    return nil, err
  end
  local sent
  sent, err = self.sock:sendto(data, path)
  if not sent then
    return fail(err)
  end
  return sent
end

function datagrams:receivefrom(size)
  check(self, UNCONNECTED, "receivefrom")
  if not self.sock then
    return nil, "closed"
  end
  object.begin(self)
  local data, path = self.sock:receivefrom(size or DATAGRAM)
  if not data then
    return fail(path)
  end
  return data, path
end

function datagrams:receive(size)
  if not self.sock then
    return nil, "closed"
  end
  object.begin(self)
  local data, err = self.sock:receivefrom(size or DATAGRAM)
  if not data then
    return fail(err)
  end
  return data
end

datagrams.setpeername, datagrams.setsockname = datagrams.connect, datagrams.bind

local datagram_kind = object.kind(datagrams, { "getpeername", "getfamily", "getstats", "setstats" })

---@return socket.unix.stream
function M.stream()
  return object.new(stream_kind, "unixstream{master}", "stream", "unix")
end

---@return socket.unix.dgram
function M.dgram()
  return object.new(datagram_kind, UNCONNECTED, "datagram", "unix")
end

M.tcp, M.udp = M.stream, M.dgram

return setmetatable(M, {
  __call = function()
    return M.stream()
  end,
})
