---Sockets that wait without holding up anybody else: TCP, UDP and Unix, with TLS; and listeners for any protocol.
---
---    local socket = require("heart.v1.socket")
---    local sock, err = socket.connect("example.org", 443, { tls = true, timeout = 5 })
---    sock:send("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n")
---    local line = sock:receive("*l")
---
---Everything that can go wrong at run time is nil and a reason: "timeout", "closed", "connection refused", ...
---See docs/socket.md.
---@class heart.v1.socket
local M = {}

local core = require("heart.core")
local address = require("heart.address")
local argument = require("heart.argument")
local dgram = require("heart.v1.dgram")
local guard = require("heart.guard")
local log = require("heart.v1.log")
local tls = require("heart.tls")
local native, task = core.socket, core.task

---@alias heart.socket.data string|number|heart.socket.data[]

---@class heart.socket
---All bytes of a string, or of nested lists of strings; or nil, the reason and how many were sent.
---@field send fun(self: heart.socket, data: heart.socket.data): integer?, string?, integer?
---A line (without its end), all up to the end, or so many bytes; or nil, the reason and what there was.
---@field receive fun(self: heart.socket, what?: "*l"|"*a"|integer, prefix?: string): string?, string?, string?
---What is there, as soon as there is some.
---@field receive_any fun(self: heart.socket, max: integer): string?, string?
---What is before the delimiter; with `size` in pieces, then nil.
---@field receive_until fun(self, delimiter: string, size?: integer, inclusive?: boolean): string?, string?, string?
---A datagram, and the address and port, or the path, that it came from.
---@field receivefrom fun(self: heart.socket, max?: integer): string?, string?, integer?
---To an address and port, or to a path.
---@field sendto fun(self: heart.socket, data: string, address: string, port?: integer): integer?, string?
---Seconds for each operation. nil: no limit, 0: do not wait.
---@field settimeouts fun(self: heart.socket, connect?: number, send?: number, receive?: number): boolean
---Seconds from now on, for all operations together.
---@field deadline fun(self: heart.socket, seconds?: number): boolean
---@field shutdown fun(self: heart.socket, way: "send"|"receive"|"both"): boolean?, string?
---@field close fun(self: heart.socket): boolean?, string?
---Address and port, or path, of the other side.
---@field peer fun(self: heart.socket): string?, integer|string|nil
---The same of this side.
---@field name fun(self: heart.socket): string?, integer|string|nil
---Set, or get without a value.
---@field option fun(self: heart.socket, name: string, value?: any): any, string?
---Encrypt the connection from now on.
---@field tls fun(self: heart.socket, context: userdata, options?: table): boolean?, string?
---{version, cipher, alpn, resumed, certificate}; nil: it is not encrypted.
---@field session fun(self: heart.socket): table?
---Into the pool of `key`, for so many seconds; the pool has at most `size`. The socket is gone afterwards.
---@field give fun(self: heart.socket, key: string, seconds?: number, size?: integer): boolean?, string?
---How often it came from a pool.
---@field reused fun(self: heart.socket): integer
---Bytes that were read and not yet received.
---@field buffered fun(self: heart.socket): integer
---@field fd fun(self: heart.socket): integer

---@class heart.listener
---@field accept fun(self: heart.listener, seconds?: number): heart.socket?, string?
---@field name fun(self: heart.listener): string?, integer|string|nil
---@field close fun(self: heart.listener): boolean?, string?

---@class heart.socket.connect_options
---@field timeout? number seconds for everything: name, connection, TLS. Default 30
---@field send_timeout? number seconds of each send afterwards
---@field receive_timeout? number seconds of each receive afterwards
---@field tls? boolean|heart.tls.options true: with the options that need not be given
---@field pool? string an idle connection of this pool, if there is one
---@field family? "inet"|"inet6" of the addresses of a name
---@field bind? string local address
---@field bind_port? integer

local STAGGER = 0.25 -- seconds between two attempts (RFC 8305 section 5)
local CONNECT_TIMEOUT = 30
local RETRY = 0.1 -- seconds without accepting when descriptors are out
local CONNECTIONS = 10000 -- of one listener on one worker
local PORT_MAX = 65535

-- ---- Names ---------------------------------------------------------------------------------------------------

---RFC 8305 section 4: the families take turns, the first one as the resolver has it.
---@param list string[]
---@return string[]
local function interleave(list)
  local queues = { [true] = {}, [false] = {} }
  for _, ip in ipairs(list) do
    local queue = queues[ip:find(":", 1, true) ~= nil]
    queue[#queue + 1] = ip
  end
  local six = list[1] ~= nil and list[1]:find(":", 1, true) ~= nil
  local sorted, at = {}, { [true] = 1, [false] = 1 }
  for _ = 1, #list do
    if not queues[six][at[six]] then
      six = not six
    end
    sorted[#sorted + 1] = queues[six][at[six]]
    at[six] = at[six] + 1
    six = not six
  end
  return sorted
end

---@param host string
---@param family? string
---@param seconds number
---@return string[]?, string?
local function resolve(host, family, seconds)
  if address.is_numeric(host) then
    return { host }
  end
  local list, err = require("heart.v1.dns").resolve(host, { family = family, timeout = seconds })
  if not list then
    return nil, err
  end
  return #list > 1 and interleave(list) or list
end

-- ---- Connecting ----------------------------------------------------------------------------------------------

---Close what the others have reached or will reach.
---@param tasks heart.task[]
local function abandon(tasks)
  for i = 1, #tasks do
    if not tasks[i]:cancel() and tasks[i]:status() == "done" then
      local sock = tasks[i]:join()
      if sock then
        sock:close()
      end
    end
  end
end

---RFC 8305 section 5: one attempt after the other, each new one after STAGGER seconds or when one has failed; the first
---connection that stands is taken.
---@param list string[]
---@param attempt fun(ip: string): heart.socket?, string?
---@param running heart.task[] the attempts that have not ended, to be abandoned by the caller
---@return heart.socket?, string?
local function race(list, attempt, running)
  local started, reason = 0, nil
  repeat
    if started < #list then
      started = started + 1
      running[#running + 1] = task.spawn(attempt, list[started])
    end
    local at = task.wait_many(running, false, started < #list and STAGGER or nil)
    while at do
      local sock, err = table.remove(running, at):join()
      if sock then
        return sock
      end
      reason = reason or err
      at = started == #list and #running > 0 and task.wait_many(running, false)
    end
  until started == #list and #running == 0
  return nil, reason
end

---@param list string[]
---@param attempt fun(ip: string): heart.socket?, string?
---@return heart.socket?, string?
local function connect_any(list, attempt)
  local running = {}
  local ok, sock, err = pcall(race, list, attempt, running)
  abandon(running)
  if not ok then
    error(sock, 0)
  end
  return sock, err
end

---@param sock heart.socket
---@param context userdata
---@param peer table whom it should reach
---@param left number seconds
---@return heart.socket?, string?
local function encrypt(sock, context, peer, left)
  sock:settimeouts(math.max(left, 0.001), nil, nil)
  local ok, err = sock:tls(context, peer)
  if ok then
    return sock
  end
  sock:close()
  return nil, err
end

---@param host string a path if it begins with "unix:"
---@param port? integer
---@param options heart.socket.connect_options
---@param deadline number of core.now
---@return heart.socket?, string?
local function reach(host, port, options, deadline)
  local path = host:match("^unix:(.+)$")
  if path then
    return native.connect({ kind = "unix", address = path, timeout = deadline - core.now() })
  end
  local list, err = resolve(host, options.family, deadline - core.now())
  if not list then
    return nil, err
  end
  local function attempt(ip)
    return native.connect({
      address = ip,
      port = port,
      timeout = math.max(deadline - core.now(), 0),
      bind = options.bind,
      bind_port = options.bind_port,
    })
  end
  if #list == 1 then
    return attempt(list[1])
  end
  return connect_any(list, attempt)
end

---A new connection, encrypted if that is wanted.
---@param host string
---@param port? integer
---@param options heart.socket.connect_options
---@return heart.socket?, string?
local function open_connection(host, port, options)
  local deadline = core.now() + (options.timeout or CONNECT_TIMEOUT)
  local context, err
  if options.tls then
    context, err = tls.context(type(options.tls) == "table" and options.tls or nil)
    if not context then
      return nil, err
    end
  end
  local sock
  sock, err = reach(host, port, options, deadline)
  if not sock or not context then
    return sock, err
  end
  local name = type(options.tls) == "table" and options.tls.server_name or host
  return encrypt(sock, context, { server_name = name, port = port }, deadline - core.now())
end

local CONNECT_OPTIONS = {
  timeout = "number",
  send_timeout = "number",
  receive_timeout = "number",
  tls = "boolean or table",
  pool = "string",
  family = "string",
  bind = "string",
  bind_port = "number",
}

---Connect to a name, an address or "unix:/path".
---@param host string
---@param port? integer
---@param options? heart.socket.connect_options
---@return heart.socket?, string? reason
function M.connect(host, port, options)
  if type(host) ~= "string" then
    error("connect: expected a host", 2)
  end
  local number = tonumber(port or 0)
  if not number or number < 0 or number > PORT_MAX then
    error(("connect: expected a port, got %s"):format(tostring(port)), 2)
  end
  options = argument.options("connect", options, CONNECT_OPTIONS)
  local sock = options.pool and native.take(options.pool)
  if not sock then
    local err
    sock, err = open_connection(host, port, options)
    if not sock then
      return nil, err
    end
  end
  sock:settimeouts(options.timeout or CONNECT_TIMEOUT, options.send_timeout, options.receive_timeout)
  return sock
end

---An idle connection that was given to the pool of `key`; nil: there is none.
---@param key string
---@return heart.socket?
function M.take(key)
  return native.take(key)
end

---A socket for datagrams: that of heart.v1.dgram.
---@param options? heart.dgram.options
---@return heart.socket?, string? reason
function M.udp(options)
  return dgram.open(options)
end

-- ---- Listening -----------------------------------------------------------------------------------------------

---@class heart.socket.listen_options
---@field backlog? integer connections that wait to be accepted. Default 511
---@field connections? integer that are served at once, on each worker. Default 10000
---@field reuseport? boolean one socket for each worker, and for the code after a reload. Default true

local LISTEN_OPTIONS = { backlog = "number", connections = "number", reuseport = "boolean" }

---"127.0.0.1:70", "[::1]:70", ":70" or 70 (every address), "unix:/path"
---@param where string|integer
---@param options heart.socket.listen_options
---@return table? what native.listen takes
local function listen_options(where, options)
  if type(where) == "number" then
    where = ":" .. where
  end
  local path = type(where) == "string" and where:match("^unix:(.+)$")
  if path then
    return { path = path, backlog = options.backlog }
  end
  local host, port = tostring(where):match("^%[?([^%]]*)%]?:(%d+)$")
  if not host then
    return nil
  end
  return {
    address = host == "" and "::" or host,
    port = tonumber(port),
    backlog = options.backlog,
    reuseport = options.reuseport ~= false,
  }
end

---A Unix socket takes the place of an older one at once, without a moment in which there is none.
---@param wanted table
---@return heart.listener?, string?
local function open_unix(wanted)
  local path = wanted.path
  if path:byte(1) == 0 then
    return native.listen(wanted)
  end
  wanted.path = path .. ".new"
  os.remove(wanted.path)
  local listener, err = native.listen(wanted)
  if not listener then
    return nil, err
  end
  local ok
  ok, err = os.rename(wanted.path, path)
  if not ok then
    listener:close()
    os.remove(wanted.path)
    return nil, err
  end
  return listener
end

---@param wanted table
---@return heart.listener?, string?
local function open(wanted)
  if wanted.path then
    return open_unix(wanted)
  end
  local listener, err = native.listen(wanted)
  if not listener and wanted.address == "::" then -- without IPv6
    wanted.address = "0.0.0.0"
    listener, err = native.listen(wanted)
  end
  return listener, err
end

---@param handler fun(sock: heart.socket)
---@param sock heart.socket
---@param places userdata
local function serve_one(handler, sock, places)
  guard(handler, sock)
  task.semaphore_post(places)
  sock:close()
end

---@param listener heart.listener
---@param handler fun(sock: heart.socket)
---@param most integer
local function serve(listener, handler, most)
  local places = task.semaphore(most)
  while true do
    task.semaphore_wait(places)
    local sock, err
    repeat
      sock, err = listener:accept()
      if err == "closed" then
        return
      elseif not sock then
        log.warn("accept: new connections wait", { reason = err })
        core.sleep(RETRY)
      end
    until sock
    task.spawn(serve_one, handler, sock, places)
  end
end

---What this worker gets where another one listens, and a script that is only checked.
---@return heart.listener?, string?
local function closed_listener()
  local listener, err = native.udp({})
  if listener then
    listener:close()
  end
  return listener, err
end

---Serve connections: `handler` runs in a task of its own for each, which closes it. Every worker listens, but on a Unix
---socket, which is the first worker's. After a reload the new code accepts, and the old goes on with what it has.
---@param where string|integer "127.0.0.1:70", "[::1]:70", ":70", 70 or "unix:/path"
---@param handler fun(sock: heart.socket)
---@param options? heart.socket.listen_options
---@return heart.listener? listener
---@return string? reason
function M.listen(where, handler, options)
  if type(handler) ~= "function" then
    error("listen: expected a function", 2)
  end
  options = argument.options("listen", options, LISTEN_OPTIONS)
  local wanted = listen_options(where, options)
  if not wanted then
    error('listen: expected "host:port", a port or "unix:/path"', 2)
  end
  if core.checking or (wanted.path and core.worker ~= 0) then
    return closed_listener()
  end
  local listener, err = open(wanted)
  if not listener then
    return nil, err
  end
  task.spawn(serve, listener, handler, options.connections or CONNECTIONS)
  return listener
end

return M
