-- What an HTTP request looks like on the wire: its options checked, its head written (RFC 9112 section 3). A request
-- that is written here is never changed again, so that it can be kept and sent again.

local argument = require("heart.argument")
local connection = require("heart.http_connection")
local core = require("heart.core")
local json = require("heart.v1.json")
local proxies = require("heart.http_proxy")
local tls = require("heart.tls")
local urls = require("heart.url")

local M = {}

local TIMEOUT, CONNECT_TIMEOUT = 60, 10
local TIMEOUT_MAX = 30 * 86400
local REDIRECTS = 5
local HEAD_MAX, BODY_MAX = 65536, 16 * 1024 * 1024
local IDLE = 60
local KEPT = 256

---@class heart.http.options
---@field url? string
---@field method? string ("GET", with a body "POST")
---@field query? table<string, any> added to the query of the URL; a list repeats its name
---@field headers? table<string, string|number|string[]|false> false: leave out one that is sent by itself
---@field body? string|fun(): string? a function gives the next part each time, nil at the end
---@field json? any sent as JSON
---@field form? table<string, any> sent as a form
---@field auth? { user: string, password: string } Basic
---@field timeout? number seconds for all, with `stream` for each wait behind the head (60)
---@field connect_timeout? number seconds for the connection (10)
---@field redirects? integer|false to follow, at most (5)
---@field retries? integer times to try again, if that can do no harm (0)
---@field stream? boolean the body is not read: `response.reader` gives it part by part
---@field decompress? boolean ask for and expand gzip and deflate (true)
---@field max_body? integer bytes (16 MiB)
---@field max_head? integer bytes (64 KiB)
---@field keepalive? number|false seconds that the connection is kept for others (60)
---@field expect? boolean wait for "100 Continue" before the body is sent
---@field proxy? string|false "http://[user:password@]host:port" (of the environment)
---@field tls? table options of heart.v1.socket's TLS
---@field jar? heart.http.jar cookies

local OPTIONS = {
  url = "string",
  method = "string",
  query = "table",
  headers = "table",
  body = "string or function",
  json = "any",
  form = "table",
  auth = "table",
  timeout = "number",
  connect_timeout = "number",
  redirects = "number or boolean",
  retries = "number",
  stream = "boolean",
  decompress = "boolean",
  max_body = "number",
  max_head = "number",
  keepalive = "number or boolean",
  expect = "boolean",
  proxy = "string or boolean",
  tls = "table",
  jar = "table",
}

local IDEMPOTENT = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true, TRACE = true }
---Fields that would contradict what the client does.
local RESERVED = { ["transfer-encoding"] = true, ["connection"] = true, ["expect"] = true }
local BODY_METHODS = { POST = true, PUT = true, PATCH = true }

---@class heart.http.call
---@field target heart.url
---@field method string
---@field head string all that is sent before the body; with a short body, that too
---@field body? string|fun(): string?
---@field length? integer of a body that a function gives
---@field route heart.http.route
---@field key string of the pool
---@field repeatable boolean sending it twice does no harm, and it can be done
---@field options heart.http.options

---@param options heart.http.options
---@param level integer whom to blame
function M.check_options(options, level)
  argument.options("http", options, OPTIONS, level + 1)
end

-- ---- Head ----------------------------------------------------------------------------------------------------------

---@param lines string[]
---@param seen table<string, boolean>
---@param name any
---@param value any
---@return string? err
local function add_field(lines, seen, name, value)
  if type(value) == "table" then
    for _, one in ipairs(value) do
      local err = add_field(lines, seen, name, one)
      if err then
        return err
      end
    end
    return nil
  end
  name = tostring(name)
  if not name:match("^[%w!#$%%&'*+%-.^_`|~]+$") then
    return "bad header name"
  end
  seen[name:lower()] = true
  if RESERVED[name:lower()] and value ~= false then
    return "the header " .. name .. " is the client's own"
  elseif value ~= false then
    value = tostring(value)
    if value:find("[%z\1-\8\10-\31\127]") then
      return "bad header value"
    end
    lines[#lines + 1] = name .. ": " .. value .. "\r\n"
  end
end

---@param options heart.http.options
---@return string|fun()|nil body
---@return string? kind its Content-Type
---@return string? err
local function body_of(options)
  local given = (options.body ~= nil and 1 or 0) + (options.json ~= nil and 1 or 0) + (options.form and 1 or 0)
  if given > 1 then
    return nil, nil, "more than one of body, json and form"
  elseif options.json ~= nil then
    local ok, text = pcall(json.encode, options.json)
    if not ok then
      return nil, nil, text
    end
    return text, "application/json"
  elseif options.form then
    return urls.form(options.form), "application/x-www-form-urlencoded"
  end
  return options.body
end

---The fields that the client adds, unless they were given.
---@param lines string[]
---@param seen table<string, boolean>
---@param call table
---@param kind string?
local function add_own_fields(lines, seen, call, kind)
  local options, target, body = call.options, call.target, call.body
  local function add(name, value)
    if value and not seen[name:lower()] then
      lines[#lines + 1] = name .. ": " .. value .. "\r\n"
    end
  end
  add("Host", target.authority)
  add("User-Agent", "heart/" .. core.version)
  add("Accept-Encoding", options.decompress ~= false and "gzip, deflate" or nil)
  add("Content-Type", kind)
  if type(body) == "string" or (not body and BODY_METHODS[call.method]) then
    add("Content-Length", #(body or ""))
  elseif body and not call.length then
    add("Transfer-Encoding", "chunked")
  end
  local user, password = target.user, target.password
  if options.auth then
    user, password = options.auth.user, options.auth.password
  end
  add("Authorization", user and "Basic " .. connection.base64(user .. ":" .. (password or "")))
  add("Cookie", options.jar and options.jar:header(target))
  add("Connection", seen.upgrade and "upgrade" or (options.keepalive == false and "close" or nil))
  add("Expect", options.expect and body and "100-continue" or nil)
end

---@param call table
---@return string? head
---@return string? err
local function write_head(call)
  local options, target = call.options, call.target
  local absolute = call.route.proxy and not call.route.tunnel
  local lines, seen = { call.method, " ", absolute and target.text or target.target, " HTTP/1.1\r\n" }, {}
  for name, value in pairs(options.headers or {}) do
    local err = add_field(lines, seen, name, value)
    if err then
      return nil, err
    end
    if tostring(name):lower() == "content-length" and value ~= false then
      call.length = tonumber(value)
      if type(call.body) ~= "function" or not call.length then
        return nil, "Content-Length is for a body that a function gives"
      end
    end
  end
  add_own_fields(lines, seen, call, call.kind)
  if absolute then
    lines[#lines + 1] = connection.proxy_authorization(call.route.proxy)
  end
  lines[#lines + 1] = "\r\n"
  return table.concat(lines)
end

-- ---- Calls ---------------------------------------------------------------------------------------------------------

---@param options heart.http.options
---@param target heart.url
---@return heart.url? proxy
---@return string? err
local function proxy_of(options, target)
  if options.proxy == false then
    return nil
  elseif type(options.proxy) == "string" then
    local proxy, err = proxies.parse(options.proxy)
    return proxy, err and "proxy: " .. err
  end
  return proxies.find(target)
end

---Whether the connection is to change its protocol.
---@param options heart.http.options
local function asks_upgrade(options)
  for name, value in pairs(options.headers or {}) do
    if value ~= false and tostring(name):lower() == "upgrade" then
      return true
    end
  end
  return false
end

---@param options heart.http.options
---@param target heart.url
---@return heart.http.route?
---@return string? err
local function route_of(options, target)
  local proxy, err = proxy_of(options, target)
  if err then
    return nil, err
  end
  local key, tunnel = "http " .. target.origin, nil
  if proxy then
    -- Requests to any http host can share a connection to the proxy; a tunnel leads to one host. An upgrade of the
    -- connection to the proxy would be the proxy's.
    tunnel = target.scheme == "https" or asks_upgrade(options)
    key = (tunnel and key .. " via" or "http proxy") .. " " .. proxy.origin
    key = key .. " " .. (proxy.user or "") .. ":" .. (proxy.password or "")
  end
  if target.scheme == "https" then
    key = key .. " " .. tls.key(options.tls)
  end
  return {
    target = target,
    proxy = proxy,
    tunnel = tunnel,
    tls = options.tls,
    key = key,
    connect_timeout = options.connect_timeout or CONNECT_TIMEOUT,
  }
end

---Write a request.
---@param options heart.http.options
---@param target heart.url
---@return heart.http.call?
---@return string? err
function M.write(options, target)
  local body, kind, err = body_of(options)
  local route
  if not err then
    route, err = route_of(options, target)
  end
  local method = options.method or (body and "POST") or "GET"
  if err or not method:match("^[%w!#$%%&'*+%-.^_`|~]+$") or method == "CONNECT" then
    return nil, err or "bad method"
  end
  local call = {
    target = target,
    method = method,
    body = body,
    kind = kind,
    route = route,
    key = route.key,
    options = options,
    repeatable = IDEMPOTENT[method] == true and type(body) ~= "function",
    is_head = method == "HEAD",
    stream = options.stream,
    jar = options.jar,
    decompress = options.decompress ~= false,
    timeout = math.min(options.timeout or TIMEOUT, TIMEOUT_MAX),
    max_head = options.max_head or HEAD_MAX,
    max_body = options.max_body or BODY_MAX,
    idle = options.keepalive ~= false and (tonumber(options.keepalive) or IDLE),
    retries = options.retries or 0,
    redirects = options.redirects ~= false and (tonumber(options.redirects) or REDIRECTS) or 0,
  }
  call.head, err = write_head(call)
  if not call.head then
    return nil, err
  end
  if type(body) == "string" and not options.expect then
    call.head, call.body = body == "" and call.head or { call.head, body }, nil
  end
  return call
end

---@type table<string, heart.http.call>, integer
local plain, nplain = {}, 0
local NO_OPTIONS = {}

---The request for a URL alone, which is kept: most programs ask for the same ones again and again.
---@param text string
---@return heart.http.call?
---@return string? err
function M.write_plain(text)
  local call = plain[text]
  if call then
    return call
  end
  local target, err = urls.parse(text)
  if not target then
    return nil, err
  end
  call, err = M.write(NO_OPTIONS, target)
  if call then
    if nplain >= KEPT then
      plain, nplain = {}, 0
    end
    plain[text], nplain = call, nplain + 1
  end
  return call, err
end

---@param options heart.http.options
---@return heart.http.call?
---@return string? err
function M.write_options(options)
  local target, err = urls.parse(options.url or "")
  if not target then
    return nil, err
  end
  if options.query then
    local added = urls.form(options.query)
    if added ~= "" then
      target = urls.resolve(target, "?" .. (target.query and target.query ~= "" and target.query .. "&" or "") .. added)
    end
  end
  return M.write(options, target)
end

-- ---- Redirects (RFC 9110 section 15.4) -----------------------------------------------------------------------------

---Fields that belong to one origin, and those that describe a body.
local SECRET = { authorization = true, cookie = true, ["proxy-authorization"] = true, host = true }
local OF_BODY = { ["content-type"] = true, ["content-length"] = true, ["content-encoding"] = true }

---The request that a redirect asks for.
---@param call heart.http.call
---@param status integer
---@param location string
---@return heart.http.call?
---@return string? err
function M.redirect(call, status, location)
  local target, err = urls.resolve(call.target, location)
  if not target then
    return nil, "redirect: " .. err
  end
  local options = {}
  for name, value in pairs(call.options) do
    options[name] = value
  end
  options.query, options.method = nil, call.method
  local drops_body = status == 303 or ((status == 301 or status == 302) and call.method == "POST")
  if drops_body then
    options.body, options.json, options.form = nil, nil, nil
    options.method = call.is_head and "HEAD" or "GET"
  end
  local leaves = target.origin ~= call.target.origin
  if leaves then
    options.auth = nil
  elseif call.target.user and not target.user then
    target.user, target.password = call.target.user, call.target.password
  end
  options.headers = {}
  for name, value in pairs(call.options.headers or {}) do
    local lower = tostring(name):lower()
    if not (leaves and SECRET[lower]) and not (drops_body and OF_BODY[lower]) then
      options.headers[name] = value
    end
  end
  return M.write(options, target)
end

return M
