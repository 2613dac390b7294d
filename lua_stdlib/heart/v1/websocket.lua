---A WebSocket client (RFC 6455, RFC 7692): connections to other servers, with the same object that app.ws gives.
---
---    local websocket = require("heart.v1.websocket")
---    local ws, err = websocket.connect("wss://feed.example/ticker", { protocols = { "v2" } })
---    ws:send("hello")
---    local data, kind = ws:receive(5)
---    ws:close()
---
---The opening handshake is a request of heart.v1.http, so proxies, TLS, cookies, times and reasons are those of it.
---@class heart.websocket
local M = {}

local argument = require("heart.argument")
local base64 = require("heart.http_connection").base64
local core = require("heart.core")
local http = require("heart.v1.http")
local names = require("heart.ws")

local TIMEOUT = 30
local OFFER = "permessage-deflate; client_max_window_bits"
local OFFER_FRESH = OFFER .. "; client_no_context_takeover; server_no_context_takeover"
local TOKEN = "^[%w!#$%%&'*+%-.^_`|~]+$"

---@class heart.websocket.options
---@field headers? table<string, string|number|string[]|false> of the handshake, such as Cookie, Authorization or Origin
---@field protocols? string[] subprotocols, the preferred one first
---@field timeout? number seconds until the WebSocket is open (30)
---@field max_message? integer bytes; a longer message closes with 1009 (--ws-max-message)
---@field deflate? boolean|"context" compress: false: never; "context": remember earlier messages, which takes memory
---@field deflate_min? integer bytes; shorter messages are sent as they are (--ws-deflate-min)
---@field deflate_level? integer 1 (fast, the default) to 9
---@field auth? { user: string, password: string } Basic
---@field jar? heart.http.jar cookies
---@field proxy? string|false "http://[user:password@]host:port" (of the environment)
---@field tls? table options of heart.v1.socket's TLS

local OPTIONS = {
  headers = "table",
  protocols = "table",
  timeout = "number",
  max_message = "number",
  deflate = "boolean or string",
  deflate_min = "number",
  deflate_level = "number",
  auth = "table",
  jar = "table",
  proxy = "string or boolean",
  tls = "table",
}

---@param options? heart.websocket.options
---@return heart.websocket.options
local function check_options(options)
  options = argument.options("websocket", options, OPTIONS, 3)
  if type(options.deflate) == "string" and options.deflate ~= "context" then
    error(('websocket: deflate: expected a boolean or "context", got %s'):format(options.deflate), 3)
  end
  for _, protocol in ipairs(options.protocols or {}) do
    if type(protocol) ~= "string" or not protocol:find(TOKEN) then
      error("websocket: protocols: expected a list of names", 3)
    end
  end
  return options
end

---The URL as HTTP's client knows it.
---@param url string
---@return string? url nil: another scheme
local function as_http(url)
  local secure, rest = url:match("^[wW][sS]([sS]?)(://.*)$")
  return secure and "http" .. secure:lower() .. rest
end

---What the handshake asks for (RFC 6455 section 4.1).
---@param options heart.websocket.options
---@param key string
---@return table<string, string|number|string[]|false>? headers
---@return string? err
local function write_headers(options, key)
  local headers = {}
  for name, value in pairs(options.headers or {}) do
    local lower = tostring(name):lower()
    if lower == "upgrade" or lower:find("^sec%-websocket%-") then
      return nil, "the header " .. tostring(name) .. " is the client's own"
    end
    headers[name] = value
  end
  headers.Upgrade = "websocket"
  headers["Sec-WebSocket-Key"] = key
  headers["Sec-WebSocket-Version"] = "13"
  if options.protocols and options.protocols[1] then
    headers["Sec-WebSocket-Protocol"] = table.concat(options.protocols, ", ")
  end
  if options.deflate ~= false then
    headers["Sec-WebSocket-Extensions"] = options.deflate == "context" and OFFER or OFFER_FRESH
  end
  return headers
end

---@param list string? a comma-separated field
---@param word string lower case
local function has_word(list, word)
  for one in (list or ""):lower():gmatch("[^,%s]+") do
    if one == word then
      return true
    end
  end
  return false
end

---Whether the subprotocol is one of those that were offered.
---@param protocol string
---@param offered? string[]
local function was_offered(protocol, offered)
  for _, one in ipairs(offered or {}) do
    if one == protocol then
      return true
    end
  end
  return false
end

---What is wrong with the answer to the handshake (RFC 6455 section 4.1, its second half).
---@param headers table<string, string>
---@param key string
---@param options heart.websocket.options
---@return string? err
local function refuse(headers, key, options)
  local protocol = headers["sec-websocket-protocol"]
  if (headers.upgrade or ""):lower() ~= "websocket" or not has_word(headers.connection, "upgrade") then
    return "bad handshake: the server upgrades to something else"
  elseif headers["sec-websocket-accept"] ~= core.ws.accept_of(key) then
    return "bad handshake: Sec-WebSocket-Accept is wrong"
  elseif protocol and not was_offered(protocol, options.protocols) then
    return "bad handshake: a subprotocol that was not offered"
  elseif headers["sec-websocket-extensions"] and options.deflate == false then
    return "bad handshake: an extension that was not offered"
  end
end

---Make a WebSocket of the connection, which is closed if that fails.
---@param response heart.http.response
---@param key string
---@param options heart.websocket.options
---@return heart.ws?
---@return string? err
local function open(response, key, options)
  local headers, sock = response.headers, response.socket
  local err = refuse(headers, key, options)
  if err then
    sock:close()
    return nil, err
  end
  local ws
  ws, err = sock:websocket({
    extensions = headers["sec-websocket-extensions"],
    fresh = options.deflate ~= "context",
    max_message = options.max_message,
    deflate_min = options.deflate_min,
    deflate_level = options.deflate_level,
  })
  if not ws then
    sock:close()
    return nil, err
  end
  names.set_protocol(ws, headers["sec-websocket-protocol"])
  return ws
end

---Open a WebSocket. Redirects are not followed.
---@param url string "ws://host[:port]/path" or "wss://…"
---@param options? heart.websocket.options
---@return heart.ws? ws
---@return heart.http.response|string response or the reason: "bad status 403", "timeout", "connection refused", …
---@return heart.http.response? response with a bad status
function M.connect(url, options)
  if type(url) ~= "string" then
    error(("websocket.connect: expected a URL, got %s"):format(type(url)), 2)
  end
  options = check_options(options)
  local target = as_http(url)
  if not target then
    return nil, "unsupported scheme"
  end
  local key = base64(core.random.bytes(16))
  local headers, err = write_headers(options, key)
  if not headers then
    return nil, err --[[@as string]]
  end
  local timeout = options.timeout or TIMEOUT
  local response
  response, err = http.request({
    url = target,
    headers = headers,
    timeout = timeout,
    connect_timeout = timeout,
    redirects = false,
    decompress = false,
    auth = options.auth,
    jar = options.jar,
    proxy = options.proxy,
    tls = options.tls,
  })
  if not response then
    return nil, err --[[@as string]]
  elseif response.status ~= 101 then
    return nil, "bad status " .. response.status, response
  end
  local ws
  ws, err = open(response, key, options)
  response.socket = nil
  if not ws then
    ---@cast err string
    return nil, err, response
  end
  return ws, response
end

return M
