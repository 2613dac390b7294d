---HTTPS requests, as LuaSec's ssl.https: request(url [, body]) and request{...} with LuaSec's parameters beside
---those of socket.http. As there, certificates are verified only if the request says `verify = "peer"`.
local M = {}

local http = require("socket.http")
local socket = require("socket")
local ssl = require("ssl")
local url = require("socket.url")

M._VERSION = "1.2.0"
M.PORT = 443
---Seconds that a connection may be silent.
M.TIMEOUT = 60

local DEFAULTS = { protocol = "any", verify = "none" }

---@param address string
local function with_port(address)
  return url.build(socket.try(url.parse(address, { port = M.PORT })))
end

---Methods of the connection, called through the table that socket.http has.
local function forward(wrapper)
  for name, method in pairs(getmetatable(wrapper.sock).__index) do
    if type(method) == "function" and name ~= "settimeout" then
      wrapper[name] = function(self, ...)
        return method(self.sock, ...)
      end
    end
  end
end

---The function that makes the sockets of a request.
---@param parameters? table of the request
---@return fun(): table
function M.tcp(parameters)
  local options = { mode = "client" }
  for name, value in pairs(DEFAULTS) do
    options[name] = value
  end
  for name, value in pairs(parameters or {}) do
    options[name] = value
  end
  options.mode = "client"
  return function()
    local wrapper = { sock = socket.try(socket.tcp()) }
    function wrapper:settimeout()
      return self.sock:settimeout(M.TIMEOUT)
    end
    function wrapper:close()
      return self.sock:close()
    end
    function wrapper:connect(host, port)
      socket.try(self.sock:connect(host, port))
      self.sock = socket.try(ssl.wrap(self.sock, options))
      self.sock:sni(host)
      self.sock:settimeout(M.TIMEOUT)
      socket.try(self.sock:dohandshake())
      forward(self)
      return 1
    end
    return wrapper
  end
end

local function request(given, body)
  local target
  if type(given) == "string" then
    given = http.genericform(given, body)
    target = given.target
  end
  if http.PROXY or given.proxy then
    return nil, "proxy not supported"
  elseif given.redirect then
    return nil, "redirect not supported"
  elseif given.create then
    return nil, "create function not permitted"
  end
  given.url = with_port(given.url)
  given.create = M.tcp(given)
  local result, code, fields, status = http.request(given)
  if result and target then
    return table.concat(target), code, fields, status
  end
  return result, code, fields, status
end

---@type fun(request: string|table, body?: string): any, integer|string, table<string, string>?, string?
M.request = socket.protect(request)

return M
