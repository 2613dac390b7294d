---ngx.socket: cosockets with the methods, results and words of lua-nginx-module, on Heart's sockets. A socket belongs
---to its state, not to a request; one that a handler has left open is closed when the handler has ended.
---@class ngx.socket
local M = {}

local core = require("heart.core")
local current = require("compat.openresty.request")
local address = require("compat.openresty.address")
local pool = require("compat.openresty.pool")

local TIMEOUT = 60000 -- ms: of each operation, until settimeout says otherwise
local KEEPALIVE = 60000 -- ms that a connection stays in its pool
local KEEPALIVE_SIZE = 30 -- connections of a pool

---@class ngx.socket.tcp
---@field sock? any Heart's
---@field begun? boolean connect was called
---@field key? string of its pool
---@field gate? any what its pool's backlog waits at
---@field timeouts integer[] ms: connect, send, receive
local tcp = {}
tcp.__index = tcp

-- Heart's words → those of the original, where they differ.
local WORDS = {
  ["connection reset"] = "connection reset by peer",
  ["network unreachable"] = "network is unreachable",
  ["host unreachable"] = "no route to host",
}

---@param err string?
---@return string?
local function words(err)
  return WORDS[err] or err
end

---@return ngx.socket.tcp
function M.tcp()
  return setmetatable({ timeouts = { TIMEOUT, TIMEOUT, TIMEOUT } }, tcp)
end

M.stream = M.tcp

---@param ms integer
---@return number seconds
local function seconds(ms)
  return (ms > 0 and ms or TIMEOUT) / 1000
end

---@param self ngx.socket.tcp
local function apply_timeouts(self)
  if self.sock then
    local t = self.timeouts
    self.sock:settimeouts(seconds(t[1]), seconds(t[2]), seconds(t[3]))
  end
end

---@param name string
---@param wanted integer
---@param seen integer
local function check_count(name, wanted, seen)
  if seen ~= wanted then
    local form = "ngx.socket %s: expecting %d arguments (including the object) but seen %d"
    error(form:format(name, wanted, seen), 3)
  end
end

---@param value any
---@return integer
local function check_timeout(value)
  value = tonumber(value) or 0
  if value < 0 then
    error("bad timeout value", 3)
  end
  return value
end

---@param ms integer for each operation
function tcp.settimeout(...)
  check_count("settimeout", 2, select("#", ...))
  local self, ms = ...
  ms = check_timeout(ms)
  self.timeouts = { ms, ms, ms }
  apply_timeouts(self)
end

---@param connect integer ms
---@param send integer
---@param receive integer
function tcp.settimeouts(...)
  check_count("settimeout", 4, select("#", ...))
  local self, connect, send, receive = ...
  self.timeouts = { check_timeout(connect), check_timeout(send), check_timeout(receive) }
  apply_timeouts(self)
end

-- ---- Connecting ----------------------------------------------------------------------------------------------------

---Forget the connection: the socket is closed, or somebody else's.
---@param self ngx.socket.tcp
local function forget(self)
  self.sock = nil
  if self.state and self.state.sockets then
    self.state.sockets[self] = nil
  end
  self.state = nil
  if self.gate then
    pool.leave(self.gate)
    self.gate = nil
  end
end

---@param options table
---@param name string
---@param kinds string
---@param least? integer
local function check_option(options, name, kinds, least)
  local value = options[name]
  if value == nil then
    return
  elseif not kinds:find(type(value), 1, true) then
    error(("bad argument #4 to 'connect' (bad \"%s\" option type: %s)"):format(name, type(value)), 4)
  elseif least and value < least then
    error(("bad argument #4 to 'connect' (bad \"%s\" option value: %d)"):format(name, value), 4)
  end
end

---@param ... any host, port, options or path, options
---@return string host
---@return integer? port nil: a path
---@return table options
---@return string? err
local function connect_arguments(...)
  local n = select("#", ...)
  local host, port, options = ...
  if n < 1 or n > 3 then
    local form = "ngx.socket connect: expecting 2, 3, or 4 arguments (including the object), but seen %d"
    error(form:format(n + 1), 3)
  elseif type(host) ~= "string" and type(host) ~= "number" then
    error(("bad argument #2 to 'connect' (string expected, got %s)"):format(type(host)), 3)
  end
  host = tostring(host)
  if type(port) == "table" and options == nil then
    port, options = nil, port
  end
  options = type(options) == "table" and options or {}
  check_option(options, "pool", "string number")
  check_option(options, "pool_size", "number", 1)
  check_option(options, "backlog", "number", 0)
  if host:sub(1, 5) == "unix:" then
    return host, nil, options
  end
  port = tonumber(port)
  if not port then
    return host, nil, options, "missing the port number"
  elseif port < 0 or port > 65535 then
    return host, nil, options, ("bad port number: %d"):format(port)
  end
  return host, port, options
end

---A new connection.
---@param self ngx.socket.tcp
---@param host string
---@param port? integer
---@return any sock
---@return string? err
local function dial(self, host, port)
  local timeout = seconds(self.timeouts[1])
  if not port then
    return core.socket.connect({ kind = "unix", address = host:sub(6), timeout = timeout })
  end
  local found, err = address.resolve(host)
  if not found then
    return nil, err
  end
  local sock
  for _, one in ipairs(found) do
    sock, err = core.socket.connect({ address = one, port = port, timeout = timeout, bind = self.local_address })
    if sock then
      return sock
    end
  end
  return nil, err
end

---@param self ngx.socket.tcp
---@param sock any
local function own(self, sock)
  self.sock = sock
  apply_timeouts(self)
  local state = current.state()
  if state and state.serving then
    state.sockets = state.sockets or {}
    state.sockets[self] = true
    self.state = state
  end
end

---Connect to a host and port, or to "unix:/path". A connection of the pool is used if there is one.
---@param ... any host, port, { pool, pool_size, backlog }
---@return 1?
---@return string? err
function tcp:connect(...)
  local host, port, options, err = connect_arguments(...)
  if err then
    return nil, err
  end
  if self.sock then
    self.sock:close()
    forget(self)
  end
  self.begun = true
  local key = options.pool and tostring(options.pool) or port and host .. ":" .. port or host
  self.key, self.size = key, options.pool_size
  if options.backlog then
    self.gate, err = pool.enter(key, options, seconds(self.timeouts[1]))
    if not self.gate then
      return nil, err
    end
  end
  local sock = core.socket.take(key)
  if not sock then
    sock, err = dial(self, host, port)
  end
  if not sock then
    forget(self)
    return nil, words(err)
  end
  own(self, sock)
  return 1
end

---@param host string
---@param port integer|table|nil
---@param options? table
---@return ngx.socket.tcp?
---@return string? err
function M.connect(host, port, options)
  local self = M.tcp()
  local ok, err
  if options == nil then
    ok, err = self:connect(host, port)
  else
    ok, err = self:connect(host, port, options)
  end
  if ok then
    return self
  end
  return nil, err
end

---Connect from this address of the machine.
---@param host string
---@return true?
---@return string? err
function tcp.bind(...)
  if select("#", ...) ~= 2 then
    error(("expecting 2 arguments, but got %d"):format(select("#", ...)), 2)
  end
  local self, host = ...
  if not address.is_numeric(host) then
    return nil, "bad address"
  end
  self.local_address = address.strip(host)
  return true
end

---Close the connection.
---@return 1?
---@return string? err
function tcp:close()
  if not self.sock then
    return nil, "closed"
  end
  local sock = self.sock
  forget(self)
  sock:close()
  return 1
end

---Leave the connection to its pool.
---@param ms? integer idle; 0: as long as the peer likes
---@param size? integer connections of the pool
---@return 1?
---@return string? err
function tcp:setkeepalive(ms, size)
  for i, value in ipairs({ ms or 0, size or 0 }) do
    if not tonumber(value) then
      error(("bad argument #%d to 'setkeepalive' (number expected, got %s)"):format(i + 1, type(value)), 2)
    end
  end
  local sock = self.sock
  if not sock then
    return nil, "closed"
  end
  local idle = math.max(tonumber(ms or KEEPALIVE), 0) / 1000
  local most = tonumber(size or 0) > 0 and tonumber(size) or self.size or KEEPALIVE_SIZE
  local ok, err = sock:give(self.key, idle, most)
  if ok or not (err or ""):find("^socket busy") then
    forget(self)
  end
  if ok then
    return 1
  end
  return nil, words(err)
end

---How often the connection came from its pool.
---@return integer?
---@return string? err
function tcp:getreusedtimes()
  if not self.sock then
    return nil, "closed"
  end
  return self.sock:reused()
end

-- ---- Sending and receiving -----------------------------------------------------------------------------------------

---@param data any
---@return string|table
local function to_send(data)
  local kind = type(data)
  if kind == "string" or kind == "number" then
    return data
  elseif kind == "nil" or kind == "boolean" then
    return tostring(data)
  elseif kind ~= "table" then
    local form = "bad argument #2 to 'send' (string, number, boolean, nil, or array table expected, got %s)"
    error(form:format(kind), 3)
  end
  for key in pairs(data) do
    if type(key) ~= "number" then
      error("bad argument #2 to 'send' (non-array table found)", 3)
    end
  end
  return data
end

---Send texts, numbers, nested lists of them.
---@param data any
---@return integer? bytes
---@return string? err
function tcp.send(...)
  if select("#", ...) ~= 2 then
    error(("expecting 2 arguments (including the object), but got %d"):format(select("#", ...)), 2)
  end
  local self, data = ...
  data = to_send(data)
  if not self.sock then
    return nil, "closed"
  end
  local n, err = self.sock:send(data)
  if n then
    return n
  end
  return nil, words(err)
end

---What a read gives: "closed" with an empty rest comes as in the original.
local function received(data, err, partial)
  if data then
    return data
  end
  return nil, words(err), partial or ""
end

---@param what any
---@return string|integer
local function pattern_of(what)
  if what == "*l" or what == "*a" then
    return what
  end
  local size = tonumber(what)
  if not size or size < 0 then
    error("bad argument #2 to 'receive' (bad pattern argument)", 3)
  end
  return size
end

---Receive a line (default), "*a": all, or so many bytes.
---@param what? "*l"|"*a"|integer
---@return string? data
---@return string? err
---@return string? partial
function tcp:receive(what)
  local pattern = what == nil and "*l" or pattern_of(what)
  if not self.sock then
    return nil, "closed"
  end
  local data, err, partial = self.sock:receive(pattern)
  if pattern == "*a" and err == "closed" then
    return partial or ""
  end
  return received(data, err, partial)
end

---Receive what there is, at most `max` bytes.
---@param max integer
---@return string? data
---@return string? err
---@return string? partial
function tcp.receiveany(...)
  if select("#", ...) ~= 2 then
    error(("expecting 2 arguments (including the object), but got %d"):format(select("#", ...)), 2)
  end
  local self, max = ...
  max = tonumber(max)
  if not max or max < 1 then
    error("bad argument #2 to 'receiveany' (bad max argument)", 2)
  end
  if not self.sock then
    return nil, "closed"
  end
  return received(self.sock:receive_any(max))
end

---A function that receives up to a delimiter; called with a size, in pieces of at most that, with nil at the end.
---@param delimiter string
---@param options? { inclusive?: boolean }
---@return (fun(size?: integer): string?, string?, string?)?
---@return string? err
function tcp.receiveuntil(...)
  local n = select("#", ...)
  if n < 2 or n > 3 then
    error(("expecting 2 or 3 arguments (including the object), but got %d"):format(n), 2)
  end
  local self, delimiter, options = ...
  if type(delimiter) ~= "string" and type(delimiter) ~= "number" then
    error(("bad argument #2 to 'receiveuntil' (string expected, got %s)"):format(type(delimiter)), 2)
  elseif delimiter == "" then
    return nil, "pattern is empty"
  end
  delimiter = tostring(delimiter)
  local inclusive = options and options.inclusive
  if inclusive ~= nil and type(inclusive) ~= "boolean" then
    error(('bad "inclusive" option value type: %s'):format(type(inclusive)), 2)
  end
  return function(size)
    if size ~= nil and not tonumber(size) then
      error(("bad argument #1 (number expected, got %s)"):format(type(size)), 2)
    elseif not self.sock then
      return nil, "closed"
    end
    size = tonumber(size)
    local data, err, partial = self.sock:receive_until(delimiter, size and size > 0 and size or nil, inclusive)
    if not data and not err then
      return nil -- the delimiter was reached before
    end
    return received(data, err, partial)
  end
end

-- ---- Options -------------------------------------------------------------------------------------------------------

local OPTIONS = { keepalive = true, reuseaddr = true, ["tcp-nodelay"] = true, sndbuf = true, rcvbuf = true }

---@param self ngx.socket.tcp
---@param name any
---@return string? err
local function option_fault(self, name)
  if not self.begun then
    error("socket is never created nor connected", 3)
  elseif name == nil then
    return 'missing the "option" argument'
  elseif not OPTIONS[name] then
    return "unsupported option " .. tostring(name)
  end
  return not self.sock and "closed" or nil
end

---@param name "keepalive"|"reuseaddr"|"tcp-nodelay"|"sndbuf"|"rcvbuf"
---@param value boolean|integer
---@return true?
---@return string? err
function tcp:setoption(name, value)
  local err = option_fault(self, name)
  if err then
    return nil, err
  elseif value == nil then
    return nil, 'missing the "value" argument'
  end
  if name ~= "sndbuf" and name ~= "rcvbuf" then
    value = value == true or (type(value) == "number" and value ~= 0)
  elseif type(value) ~= "number" then
    error(("bad argument #3 to 'setoption' (number expected, got %s)"):format(type(value)), 2)
  end
  local ok
  ok, err = self.sock:option(name, value)
  if ok then
    return ok
  end
  return nil, words(err)
end

---@param name string
---@return integer? value
---@return string? err
function tcp:getoption(name)
  local err = option_fault(self, name)
  if err then
    return nil, err
  end
  local value
  value, err = self.sock:option(name)
  if type(value) == "boolean" then
    return value and 1 or 0
  elseif value then
    return value
  end
  return nil, words(err)
end

-- ---- TLS -----------------------------------------------------------------------------------------------------------

---Send this certificate when the server asks for one; see ngx.ssl.
---@param certificate any of ngx.ssl.parse_pem_cert; nil: none
---@param key any of ngx.ssl.parse_pem_priv_key
---@return true?
---@return string? err
function tcp:setclientcert(certificate, key)
  return require("compat.openresty.tls").set_certificate(self, certificate, key)
end

---Trust these authorities in place of the system's.
---@param store any an X509_STORE, as lua-resty-openssl makes them; nil: those of the system
---@return true?
---@return string? err
function tcp:settrustedstore(store)
  return require("compat.openresty.tls").set_trusted(self, store)
end

---Speak TLS from now on.
---@param ... any session of an earlier handshake (`false`: give `true` instead of one), server name, verify
---@return any session
---@return string? err
function tcp.sslhandshake(...)
  local n = select("#", ...)
  if n < 1 or n > 5 then
    error(("ngx.socket sslhandshake: expecting 1 ~ 5 arguments (including the object), but seen %d"):format(n), 2)
  end
  local self, session, server_name, verify = ...
  if not self.begun then
    error("socket is never created nor connected", 2)
  elseif not self.sock then
    return nil, "closed"
  end
  local ok, err = require("compat.openresty.tls").handshake(self.sock, self, session, server_name, verify)
  if ok then
    return ok
  end
  local sock = self.sock
  forget(self)
  sock:close()
  return nil, words(err)
end

function M.udp()
  return require("compat.openresty.udp").new()
end

return M
