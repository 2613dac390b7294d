-- Connections of the HTTP client: from the pool of their key, or new ones, through a proxy and with TLS where needed.

local address = require("heart.address")
local now = require("heart.core").now
local socket = require("heart.v1.socket")
local tls = require("heart.tls")

local M = {}

local POOL_SIZE = 256
local TUNNEL_HEAD_MAX = 16384

---@class heart.http.route
---@field target heart.url
---@field proxy? heart.url
---@field tunnel? boolean the proxy is to connect us through
---@field tls? table options
---@field key string of the pool: connections with the same key can take each other's place
---@field connect_timeout number

---@param sock any
---@param route heart.http.route
---@return boolean? ok
---@return string? err
local function start_tls(sock, route)
  local context, err = tls.context(route.tls)
  if not context then
    return nil, err
  end
  local name = route.tls and route.tls.server_name or route.target.host
  -- An address is no name to ask for (RFC 6066 section 3), but it is what the certificate must be for.
  local asked = not address.parse(name) and name or nil
  return sock:tls(context, { server_name = asked, host = name, port = route.target.port })
end

---@param proxy heart.url
---@return string line a field line, or ""
function M.proxy_authorization(proxy)
  if not proxy.user then
    return ""
  end
  return "Proxy-Authorization: Basic " .. M.base64(proxy.user .. ":" .. (proxy.password or "")) .. "\r\n"
end

---Have the proxy connect us through (RFC 9110 section 9.3.6).
---@return boolean? ok
---@return string? err
local function tunnel(sock, route)
  local place = route.target.origin:match("//(.*)$")
  local sent, err = sock:send({
    "CONNECT ",
    place,
    " HTTP/1.1\r\nHost: ",
    place,
    "\r\n",
    M.proxy_authorization(route.proxy),
    "\r\n",
  })
  if not sent then
    return nil, err
  end
  local status, why = sock:read_head(TUNNEL_HEAD_MAX)
  if not status then
    return nil, "proxy: " .. why
  elseif status < 200 or status > 299 then
    return nil, "proxy: refused with status " .. status
  end
  return true
end

---What comes before the request.
---@return boolean? ok
---@return string? err
local function prepare(sock, route)
  if route.tunnel then
    local ok, err = tunnel(sock, route)
    if not ok then
      return nil, err
    end
  end
  if route.target.scheme == "https" then
    return start_tls(sock, route)
  end
  return true
end

---A new connection, ready for a request.
---@param route heart.http.route
---@param seconds number that it may take
---@return any? sock
---@return string? err
function M.open(route, seconds)
  local place = route.proxy or route.target
  seconds = math.min(seconds, route.connect_timeout)
  local deadline = now() + seconds
  local sock, err = socket.connect(place.host, place.port, { timeout = seconds })
  if not sock then
    return nil, route.proxy and "proxy: " .. err or err
  end
  if route.tunnel or route.target.scheme == "https" then
    sock:deadline(math.max(deadline - now(), 0.001))
    local whole, ok, why = pcall(prepare, sock, route)
    if not whole then -- cancelled
      sock:close()
      error(ok, 0)
    elseif not ok then
      sock:close()
      return nil, why
    end
  end
  return sock
end

---@param sock any
---@param key string
---@param seconds number that it may be idle
function M.give(sock, key, seconds)
  if not sock:give(key, seconds, POOL_SIZE) then
    sock:close()
  end
end

local BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

---@param text string
---@return string
function M.base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local word = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 18, 0, -6 do
      local at = math.floor(word / 2 ^ shift) % 64 + 1
      out[#out + 1] = BASE64:sub(at, at)
    end
  end
  local padding = (3 - #text % 3) % 3
  return table.concat(out, "", 1, #out - padding) .. ("="):rep(padding)
end

return M
