-- Which proxy a request goes through: the variables http_proxy, https_proxy, all_proxy and no_proxy of the environment,
-- as curl reads them. HTTP_PROXY in capitals is not read: a CGI program gets a request's "Proxy" field there.

local address = require("heart.address")
local url = require("heart.url")

local M = {}

local function environment(name, capitals)
  local value = os.getenv(name) or (capitals and os.getenv(name:upper())) or ""
  return value ~= "" and value or nil
end

local variables = {
  http = environment("http_proxy") or environment("all_proxy", true),
  https = environment("https_proxy", true) or environment("all_proxy", true),
}

---@param entry string "example.com", ".example.com", "10.0.0.0/8", "::1", each perhaps with a port
---@param target heart.url
---@return boolean
local function covers(entry, target)
  local host, port = entry:match("^%[(.+)%]:(%d+)$")
  if not host then
    host, port = entry:match("^([^:]+):(%d+)$")
  end
  if port and tonumber(port) ~= target.port then
    return false
  end
  host = (host or entry):lower():gsub("^%[(.+)%]$", "%1"):gsub("^%*?%.", "")
  local bytes = address.parse(target.host)
  local network, bits = host:match("^(.+)/(%d+)$")
  network = address.parse(network or host)
  if bytes or network then
    return bytes ~= nil and network ~= nil and address.within(bytes, network, tonumber(bits) or 8 * #network)
  end
  return target.host == host or target.host:sub(-#host - 1) == "." .. host
end

---Whether a no_proxy list covers the target.
---@param list string
---@param target heart.url
---@return boolean
function M.excepted(list, target)
  for entry in list:gmatch("[^%s,]+") do
    if entry == "*" or covers(entry, target) then
      return true
    end
  end
  return false
end

---@param text string
---@return heart.url?
---@return string? err
function M.parse(text)
  local proxy, err = url.parse(text:find("://", 1, true) and text or "http://" .. text)
  if proxy and proxy.scheme ~= "http" then
    return nil, "unsupported proxy scheme"
  end
  return proxy, err
end

local no_proxy = environment("no_proxy", true) or ""
local from_environment = {}

---The proxy that the environment names for the target.
---@param target heart.url
---@return heart.url? proxy nil: none
---@return string? err
function M.find(target)
  local text = variables[target.scheme]
  if not text or M.excepted(no_proxy, target) then
    return nil
  end
  local proxy = from_environment[text]
  if not proxy then
    local err
    proxy, err = M.parse(text)
    if not proxy then
      return nil, "proxy: " .. err
    end
    from_environment[text] = proxy
  end
  return proxy
end

return M
