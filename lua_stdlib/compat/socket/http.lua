---HTTP/1.1 for clients, as LuaSocket's socket.http: request(url [, body]) and request{...}. For new code there is
---heart.v1.http, which keeps connections.
---@class socket.http
local M = {}

local callable = require("luasocket.callable")
local socket = require("socket")
local headers = require("socket.headers")
local ltn12 = require("ltn12")
local mime = require("mime")
local url = require("socket.url")

socket.http = M

---Seconds that a connection may be silent.
M.TIMEOUT = 60
---@type string? URL of a proxy
M.PROXY = nil
M.USERAGENT = socket._VERSION

local REDIRECTS = 5
local PROXY_PORT = 3128

---@class socket.http.scheme
---@field port integer
---@field create fun(request: table): function the function that makes a socket
---@type table<string, socket.http.scheme>
M.schemes = {
  http = {
    port = 80,
    create = function()
      return socket.tcp
    end,
  },
  https = {
    port = 443,
    create = function(request)
      return require("ssl.https").tcp(request)
    end,
  },
}

-- ---- The protocol ------------------------------------------------------------------------------------------------

---Field lines up to the empty one: lower-case names, values of one name joined by ", ".
---@param sock socket.tcp
---@param fields? table<string, string> to add to
---@return table<string, string>?
---@return string? err
local function receive_fields(sock, fields)
  fields = fields or {}
  local name
  while true do
    local line, err = sock:receive()
    if not line then
      return nil, err
    elseif line == "" then
      return fields
    end
    local folded = line:match("^[ \t]+(.*)$")
    if folded and name then
      fields[name] = fields[name] .. " " .. folded
    else
      local value
      name, value = line:match("^(.-):%s*(.*)$")
      if not name then
        return nil, "malformed reponse headers"
      end
      name = name:lower()
      fields[name] = fields[name] and fields[name] .. ", " .. value or value
    end
  end
end

socket.sourcet["http-chunked"] = function(sock, fields)
  local ended = false
  return callable(sock, function()
    if ended then
      return nil
    end
    local line, err = sock:receive()
    if not line then
      return nil, err
    end
    local size = tonumber((line:gsub(";.*", "")), 16)
    if not size then
      return nil, "invalid chunk size"
    end
    if size > 0 then
      local chunk
      chunk, err = sock:receive(size)
      if chunk then
        sock:receive()
      end
      return chunk, err
    end
    ended = true
    fields, err = receive_fields(sock, fields)
    return nil, not fields and err or nil
  end)
end

socket.sinkt["http-chunked"] = function(sock)
  return callable(sock, function(_, chunk)
    if not chunk then
      return sock:send("0\r\n\r\n")
    elseif chunk == "" then
      return 1
    end
    return sock:send(("%X\r\n%s\r\n"):format(#chunk, chunk))
  end)
end

---A connection on which one request is made. Failures raise what socket.protect gives back.
---@class socket.http.connection
---@field c socket.tcp
---@field try function
local connection = {}

---@param host string
---@param port integer|string
---@param create function
---@return socket.http.connection
function M.open(host, port, create)
  local c = socket.try(create())
  local h = setmetatable({ c = c }, { __index = connection })
  h.try = socket.newtry(function()
    h:close()
  end)
  h.try(c:settimeout(M.TIMEOUT))
  h.try(c:connect(host, port))
  return h
end

function connection:sendrequestline(method, uri)
  return self.try(self.c:send(("%s %s HTTP/1.1\r\n"):format(method or "GET", uri)))
end

function connection:sendheaders(fields)
  local lines = {}
  for name, value in pairs(fields) do
    lines[#lines + 1] = (headers.canonic[name] or name) .. ": " .. value .. "\r\n"
  end
  self.try(self.c:send(table.concat(lines) .. "\r\n"))
  return 1
end

function connection:sendbody(fields, source, step)
  local mode = fields["content-length"] and "keep-open" or "http-chunked"
  return self.try(ltn12.pump.all(source or ltn12.source.empty(), socket.sink(mode, self.c), step))
end

---@return integer? code nil: the server speaks HTTP/0.9
---@return string line or, without a code, what it begins with
function connection:receivestatusline()
  local start = self.try(self.c:receive(5))
  if start ~= "HTTP/" then
    return nil, start
  end
  local line = self.try(self.c:receive("*l", start))
  local code = line:match("^HTTP/%d*%.?%d* (%d%d%d)")
  return self.try(tonumber(code), line)
end

function connection:receiveheaders()
  return self.try(receive_fields(self.c))
end

function connection:receivebody(fields, sink, step)
  local length = tonumber(fields["content-length"])
  local coding = fields["transfer-encoding"]
  local source
  if coding and coding ~= "identity" then
    source = socket.source("http-chunked", self.c, fields)
  elseif length then
    source = socket.source("by-length", self.c, length)
  else
    source = socket.source("until-closed", self.c)
  end
  return self.try(ltn12.pump.all(source, sink or ltn12.sink.null(), step))
end

function connection:receive09body(start, sink, step)
  local source = ltn12.source.rewind(socket.source("until-closed", self.c))
  source(start)
  return self.try(ltn12.pump.all(source, sink or ltn12.sink.null(), step))
end

function connection:close()
  return self.c:close()
end

-- ---- Requests ----------------------------------------------------------------------------------------------------

---@class socket.http.request
---@field url? string
---@field method? string
---@field headers? table<string, string|number>
---@field source? ltn12.source of the body
---@field sink? ltn12.sink for the body of the answer
---@field step? function
---@field proxy? string
---@field redirect? boolean false: do not follow redirects
---@field maxredirects? integer|false
---@field create? function that makes the socket
---@field uri? string instead of the path of the URL

---@param user string
---@param password string
local function basic(user, password)
  return "Basic " .. mime.b64(user .. ":" .. url.unescape(password))
end

---What a request sends beside what it says itself, in lower case.
local function fields_of(request, proxy)
  local host = request.host
  if host:find(":", 1, true) then
    host = "[" .. host .. "]"
  end
  if tonumber(request.port) ~= M.schemes[request.scheme].port then
    host = host .. ":" .. request.port
  end
  local fields = {
    ["user-agent"] = M.USERAGENT,
    ["host"] = host,
    ["connection"] = "close, TE",
    ["te"] = "trailers",
  }
  if request.user and request.password then
    fields["authorization"] = basic(request.user, request.password)
  end
  if proxy and proxy.user and proxy.password then
    fields["proxy-authorization"] = basic(proxy.user, proxy.password)
  end
  for name, value in pairs(request.headers or {}) do
    fields[name:lower()] = value
  end
  if request.source and not fields["content-length"] and not fields["transfer-encoding"] then
    fields["transfer-encoding"] = "chunked"
  end
  return fields
end

---A copy of the request with everything that it leaves out.
local function complete(given)
  local request = given.url and url.parse(given.url, { path = "/", scheme = "http" }) or { scheme = "http" }
  for name, value in pairs(given) do
    request[name] = value
  end
  local scheme = M.schemes[request.scheme]
  if not scheme then
    socket.try(nil, "unknown scheme '" .. tostring(request.scheme) .. "'")
  end
  if not request.host or request.host == "" then
    socket.try(nil, "invalid host '" .. tostring(request.host) .. "'")
  end
  request.create = request.create or scheme.create(request)
  if not request.port or request.port == "" then
    request.port = scheme.port
  end
  if not request.method or request.method == "" then
    request.method = "GET"
  end
  local proxy = request.proxy or M.PROXY
  proxy = proxy and url.parse(proxy) or nil
  if not request.uri then
    local path = socket.try(request.path, "invalid path 'nil'")
    request.uri = url.build(proxy and request or { path = path, params = request.params, query = request.query })
  end
  request.headers = fields_of(request, proxy)
  if proxy then
    request.host, request.port = proxy.host, proxy.port or PROXY_PORT
  end
  return request
end

local REDIRECTED = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

---Where a request goes on; nil: it has its answer.
---@return string? url
local function redirection(request, code, fields)
  local location = fields.location and fields.location:gsub("%s", "")
  if not location or location == "" or not REDIRECTED[code] or request.redirect == false or request.source then
    return nil
  end
  if request.method ~= "GET" and request.method ~= "HEAD" then
    return nil
  end
  local to = url.absolute(request.url, location)
  local scheme = url.parse(to).scheme
  if not M.schemes[scheme] or (request.scheme == "https" and scheme ~= "https") then
    return nil
  end
  local most = request.maxredirects
  if most ~= false and (request.nredirects or 0) >= (most or REDIRECTS) then
    return nil
  end
  return to
end

local function has_body(request, code)
  return request.method ~= "HEAD" and code ~= 204 and code ~= 304 and (code < 100 or code >= 200)
end

local perform

---The same request at another place.
local function redirect(given, request, to)
  local parts = url.parse(to)
  local same = parts.scheme == request.scheme
  local result, code, fields, status = perform({
    url = to,
    method = given.method,
    sink = given.sink,
    step = given.step,
    headers = given.headers,
    proxy = given.proxy,
    maxredirects = given.maxredirects,
    nredirects = (given.nredirects or 0) + 1,
    create = same and given.create or nil,
    cafile = given.cafile,
    capath = given.capath,
    verify = given.verify,
    protocol = given.protocol,
  })
  fields = fields or {}
  fields.location = fields.location or to -- a hint that there was a redirect
  return result, code, fields, status
end

---@param given socket.http.request
---@return 1
---@return integer code
---@return table<string, string>? fields
---@return string? status line
function perform(given)
  local request = complete(given)
  local h = M.open(request.host, request.port, request.create)
  h:sendrequestline(request.method, request.uri)
  h:sendheaders(request.headers)
  if request.source then
    h:sendbody(request.headers, request.source, request.step)
  end
  local code, status = h:receivestatusline()
  if not code then
    h:receive09body(status, request.sink, request.step)
    return 1, 200
  end
  while code == 100 do
    h:receiveheaders()
    code, status = h:receivestatusline()
  end
  local fields = h:receiveheaders()
  local to = redirection(request, code, fields)
  if to then
    h:close()
    return redirect(given, request, to)
  end
  if has_body(request, code) then
    h:receivebody(fields, request.sink, request.step)
  end
  h:close()
  return 1, code, fields, status
end

---The request{...} that request(url, body) makes; its `target` gets the pieces of the answer.
---@param address string
---@param body? string
function M.genericform(address, body)
  local target = {}
  local request = { url = address, sink = ltn12.sink.table(target), target = target }
  if body then
    request.method = "POST"
    request.source = ltn12.source.string(body)
    request.headers = { ["content-length"] = #body, ["content-type"] = "application/x-www-form-urlencoded" }
  end
  return request
end

---Make a request: of a URL, with a body as POST, or as the table says.
---@type fun(request: string|socket.http.request, body?: string): any, integer|string, table<string, string>?, string?
M.request = socket.protect(function(given, body)
  if type(given) ~= "string" then
    return perform(given)
  end
  local request = M.genericform(given, body)
  local _, code, fields, status = perform(request)
  return table.concat(request.target), code, fields, status
end)

return M
