---TCP objects: master, server and client.
local M = {}

local time = require("heart.v1.time")
local object = require("luasocket.object")

local bad_argument, check, fail = object.bad_argument, object.check, object.fail

local BACKLOG = 32

---@class socket.tcp: socket.object
local methods = {}

---The methods of connections, which Unix sockets have as well.
M.stream = {}

---A pattern of receive(): "*l", "*a" or a number of bytes.
local function pattern_of(pattern)
  if pattern == nil then
    return "*l"
  end
  local bytes = tonumber(pattern)
  if bytes then
    return bytes >= 0 and math.floor(bytes) or nil
  end
  if type(pattern) ~= "string" then
    return nil
  end
  local letter = pattern:match("^%*?(.)")
  return (letter == "l" or letter == "a") and "*" .. letter or nil
end

---Read a line without its end, everything up to the end of the stream, or a number of bytes.
---@param pattern? "*l"|"*a"|number
---@param prefix? string what the result begins with
---@return string? data
---@return string? err
---@return string? partial what there was, with the prefix
function M.stream:receive(pattern, prefix)
  local what = pattern_of(pattern)
  if not what then
    bad_argument(2, "receive", "invalid receive pattern")
  end
  local sock = self.sock
  if not sock then
    return nil, "closed", prefix or ""
  end
  object.begin(self)
  local data, err, partial
  if what == 0 and (prefix or "") == "" then
    data, err = sock:readable()
    partial = ""
  else
    data, err, partial = sock:receive(what, prefix)
  end
  if data and what == "*a" and data == prefix then
    data, err, partial = nil, "closed", prefix -- the stream had ended before
  elseif what == "*a" and not data and #partial > #(prefix or "") and not self.secure then
    if object.reason(err) == "closed" then
      data, err = partial, nil -- a reset ends the stream, too; but an encrypted one says itself where it ends
    end
  end
  local got = data or partial
  self.received = self.received + #got - (prefix and #prefix or 0)
  if not data then
    return nil, object.reason(err), got
  end
  return data, nil, nil
end

---Send a string, or the part of it from `i` to `j`.
---@param data string|number
---@param i? integer
---@param j? integer
---@return integer? last position of the last byte that was sent
---@return string? err
---@return integer? partial the same after a failure
function M.stream:send(data, i, j)
  if type(data) == "number" then
    data = tostring(data)
  elseif type(data) ~= "string" then
    bad_argument(2, "send", "string expected, got " .. type(data))
  end
  local size = #data
  i, j = i or 1, j or -1
  if i < 0 then
    i = size + i + 1
  end
  if j < 0 then
    j = size + j + 1
  end
  i, j = i < 1 and 1 or i, j > size and size or j
  if i > j then
    return i - 1, nil, nil
  end
  local sock = self.sock
  if not sock then
    return nil, "closed", i - 1
  end
  object.begin(self)
  local sent, err, partial = sock:send(i == 1 and j == size and data or data:sub(i, j))
  self.sent = self.sent + (sent or partial or 0)
  if not sent then
    return nil, object.reason(err), i - 1 + (partial or 0)
  end
  return i - 1 + sent, nil, nil
end

local WAYS = { both = "both", send = "send", receive = "receive" }

---Say that nothing more will be sent, or received.
---@param how? "both"|"send"|"receive"
---@return 1
function M.stream:shutdown(how)
  local way = WAYS[how or "both"]
  if not way then
    bad_argument(2, "shutdown", ("invalid option '%s'"):format(tostring(how)))
  end
  if self.sock then
    self.sock:shutdown(way)
  end
  return 1
end

---A client object of a native socket.
function M.client(of, sock)
  local client = object.new(getmetatable(of), of.class:gsub("{.*", "{client}"), "stream")
  client.family, client.sock = of.family, sock
  object.apply_timeouts(client)
  return client
end

---Wait for a connection.
---@return socket.tcp? client
---@return string? err
function M.stream:accept()
  if not self.sock then
    return nil, "closed"
  end
  object.begin(self)
  local sock, err = self.sock:accept()
  if not sock then
    return fail(err)
  end
  return M.client(self, sock)
end

---@param backlog? integer
---@return 1?
---@return string? err
function M.stream:listen(backlog)
  if not self.sock then
    return nil, "Bad file descriptor"
  end
  local ok, err = self.sock:listen(backlog or BACKLOG)
  if not ok then
    return fail(err)
  end
  self.class = self.class:gsub("{.*", "{server}")
  return 1
end

---@return 1?
---@return string? err
function methods:accept()
  check(self, "tcp{server}", "accept")
  return M.stream.accept(self)
end

---@return 1?
---@return string? err
function methods:listen(backlog)
  check(self, "tcp{master}", "listen")
  return M.stream.listen(self, backlog)
end

---@param address string
---@param port integer|string
---@return 1?
---@return string? err
function methods:bind(address, port)
  check(self, "tcp{master}", "bind")
  return object.attach(self, "bind", address, port, "bind")
end

---@param address string
---@param port integer|string
---@return 1?
---@return string? err
function methods:connect(address, port, family)
  local list, number = object.addresses(self, address, port, "connect")
  self.class = "tcp{client}" -- also if the connect goes on, or fails
  if not list then
    return nil, number --[[@as string]]
  end
  local err = "host or service not provided, or not known"
  local begun = self.total and time.monotonic()
  for i, candidate in ipairs(list) do
    if not family or candidate.family == family then
      local ok
      ok, err = object.open(self, candidate.family)
      if ok then
        if begun then
          self.sock:deadline(math.max(0, begun + self.total - time.monotonic()))
        end
        ok, err = self.sock:connect(candidate.addr, number)
      end
      if ok then
        return 1
      end
      if self.block == 0 or self.total == 0 then
        break
      elseif list[i + 1] and self.sock and not self.bound then
        self.sock:close() -- one that has failed is of no use for the next address
        self.sock = nil
      end
    end
  end
  return fail(err)
end

function methods:send(data, i, j)
  check(self, "tcp{client}", "send")
  return M.stream.send(self, data, i, j)
end

function methods:receive(pattern, prefix)
  check(self, "tcp{client}", "receive")
  return M.stream.receive(self, pattern, prefix)
end

function methods:shutdown(how)
  check(self, "tcp{client}", "shutdown")
  return M.stream.shutdown(self, how)
end

methods.setpeername, methods.setsockname = methods.connect, methods.bind

local kind = object.kind(methods)

---@param family? "inet"|"inet6"
---@return socket.tcp? sock
---@return string? err
function M.new(family)
  return object.new(kind, "tcp{master}", "stream", family)
end

return M
