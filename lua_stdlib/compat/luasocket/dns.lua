---Names and addresses, as socket.dns has them: on Heart's resolver, with LuaSocket's results and messages.
local M = {}

local ffi = require("ffi")
local address_parse = require("heart.address").parse
ffi.cdef([[int luasocket_gethostname(char *, size_t) __asm__("gethostname");]])

local UNKNOWN = "host or service not provided, or not known"
local HOST_NAME_MAX = 256

---@return "inet"|"inet6"|nil family of a numeric address
function M.family(text)
  local bytes = address_parse((text:gsub("%%.*$", "")))
  return bytes and (#bytes == 4 and "inet" or "inet6") or nil
end

---The addresses of a name, or the numeric address itself.
---@param host string
---@param family? "inet"|"inet6"
---@return {family: "inet"|"inet6", addr: string}[]?
---@return string? err
function M.resolve(host, family)
  local numeric = M.family(host)
  if numeric then
    if family and family ~= numeric then
      return nil, UNKNOWN
    end
    return { { family = numeric, addr = host } }
  end
  local addresses = require("heart.v1.dns").resolve(host, { family = family })
  if not addresses or #addresses == 0 then
    return nil, UNKNOWN
  end
  local found = {}
  for i, address in ipairs(addresses) do
    found[i] = { family = M.family(address), addr = address }
  end
  return found
end

---@class socket.dns
local functions = {}
M.functions = functions

---Every address of a name.
---@param host string
---@return {family: "inet"|"inet6", addr: string}[]?
---@return string? err
function functions.getaddrinfo(host)
  return M.resolve(host)
end

---@param host string
---@return string? ip the first IPv4 address
---@return table|string resolved {name, alias = {}, ip = {}}, or the message
function functions.toip(host)
  local addresses = M.resolve(host, "inet")
  if not addresses then
    return nil, "host not found"
  end
  local ip = {}
  for i, address in ipairs(addresses) do
    ip[i] = address.addr
  end
  return ip[1], { name = host, alias = {}, ip = ip }
end

---@param address string an address, or a name
---@return string? name
---@return table|string resolved as of toip, or the message
function functions.tohostname(address)
  if not M.family(address) then
    local ip, resolved = functions.toip(address)
    return ip and address, resolved
  end
  local names = require("heart.v1.dns").reverse(address)
  if not names or not names[1] then
    return nil, "host not found"
  end
  return names[1], { name = names[1], alias = { unpack(names, 2) }, ip = { address } }
end

---@param address string
---@param service? string a port
---@return string[]? names of the address
---@return string? service or the message
function functions.getnameinfo(address, service)
  local name = functions.tohostname(address)
  if not name then
    return nil, UNKNOWN
  end
  return { name }, service
end

---@return string name of this machine
function functions.gethostname()
  local name = ffi.new("char[?]", HOST_NAME_MAX)
  ffi.C.luasocket_gethostname(name, HOST_NAME_MAX - 1)
  return ffi.string(name)
end

return M
