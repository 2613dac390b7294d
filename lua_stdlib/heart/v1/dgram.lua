---Datagrams: UDP, and Unix sockets for them. A socket is one of heart.v1.socket, with `sendto` and `receivefrom`.
---
---    local dgram = require("heart.v1.dgram")
---    local statsd = assert(dgram.open({ host = "127.0.0.1", port = 8125 }))
---    statsd:send("visits:1|c")
---
---See docs/socket.md.
---@class heart.v1.dgram
local M = {}

local address = require("heart.address")
local argument = require("heart.argument")
local core = require("heart.core")

---@class heart.dgram.options
---@field host? string the only peer, a name, an address or "unix:/path"; then send() goes there
---@field port? integer
---@field timeout? number seconds for the name. Default 30
---@field bind? string local address, or "unix:/path"
---@field bind_port? integer
---@field family? "inet"|"inet6" of the addresses of a name, and of a socket that has no address yet
---@field reuseaddr? boolean
---@field reuseport? boolean

local OPTIONS = {
  host = "string",
  port = "number",
  timeout = "number",
  bind = "string",
  bind_port = "number",
  family = "string",
  reuseaddr = "boolean",
  reuseport = "boolean",
}

---@param place? string
---@return string? path nil: it is none of a Unix socket
local function path_of(place)
  return type(place) == "string" and place:match("^unix:(.+)$") or nil
end

---The first address of a host.
---@param options heart.dgram.options
---@return string?, string? reason
local function resolve(options)
  local host = options.host --[[@as string]]
  if address.is_numeric(host) then
    return host
  end
  local list, err = require("heart.v1.dns").resolve(host, { family = options.family, timeout = options.timeout })
  return list and list[1], err
end

---A socket for datagrams.
---@param options? heart.dgram.options
---@return heart.socket?, string? reason
function M.open(options)
  options = argument.options("dgram", options, OPTIONS)
  local host, bind = path_of(options.host), path_of(options.bind)
  if host or bind then
    if (options.host and not host) or (options.bind and not bind) then
      error('dgram: host and bind: both begin with "unix:", or none', 2)
    end
    return core.socket.udp({ kind = "unix", address = host, bind = bind })
  end
  local wanted = {
    port = options.port,
    bind = options.bind,
    bind_port = options.bind_port,
    family = options.family,
    reuseaddr = options.reuseaddr,
    reuseport = options.reuseport,
  }
  if options.host then
    local found, err = resolve(options)
    if not found then
      return nil, err
    end
    wanted.address = found
  end
  return core.socket.udp(wanted)
end

return M
