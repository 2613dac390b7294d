-- What /etc/hosts and /etc/resolv.conf say (hosts(5), resolv.conf(5)). The files are read off the loop, and again when
-- they have changed; that is looked at once a second, when somebody asks.

local address = require("heart.address")
local fs = require("heart.core").fs

local M = {}

local CHECK_SECONDS = 1
local FILE_MAX = 64 * 1024 * 1024
local LINES_A_TURN = 1000
local SERVERS_MAX = 8
local PORT = 53

---@class heart.dns.server
---@field address string numeric
---@field port integer
---@field slow_until integer it did not answer: until then it is asked last

---@class heart.dns.config
---@field servers heart.dns.server[]
---@field search string[] domains, without dots at their ends
---@field ndots integer a name with fewer dots is looked for in them first
---@field timeout number seconds for one server
---@field attempts integer rounds through the servers
---@field rotate boolean
---@field tcp boolean never ask by UDP
---@field size integer? bytes of a UDP answer, by EDNS(0)
---@field ipv6 boolean addresses of it can be of use

---Keep `value` between two limits.
local function within(value, low, high)
  return math.max(low, math.min(high, value))
end

---@param text string? an address, with a port after it in brackets' form: "192.0.2.1", "2001:db8::1", "[::1]:5353"
---@return heart.dns.server?
function M.server(text)
  local host, port = text:match("^%[(.+)%]:(%d+)$")
  if not host then
    host, port = text:match("^([%d.]+):(%d+)$")
  end
  host = host or text
  if not address.parse((host:gsub("%%[%w.-]+$", ""))) then
    return nil
  end
  return { address = host, port = tonumber(port) or PORT, slow_until = 0 }
end

---One word of an `options` line.
---@param config heart.dns.config
---@param word string
local function set_option(config, word)
  local name, digits = word:match("^([^:]*):(%d+)$")
  local value = tonumber(digits)
  name = name or word
  if name == "ndots" and value then
    config.ndots = within(value, 0, 15)
  elseif name == "timeout" and value then
    config.timeout = within(value, 1, 30)
  elseif name == "attempts" and value then
    config.attempts = within(value, 1, 5)
  elseif name == "rotate" then
    config.rotate = true
  elseif name == "use-vc" then
    config.tcp = true
  elseif name == "edns0" then
    config.size = 1232
  end
end

---The defaults are those of libc.
---@param text string of a resolv.conf
---@return heart.dns.config
function M.parse_resolv(text)
  local config = { servers = {}, search = {}, ndots = 1, timeout = 5, attempts = 2, rotate = false, tcp = false }
  for line in text:gmatch("[^\r\n]+") do
    local word, rest = line:match("^%s*(%a+)%s+(.-)%s*$")
    if word == "nameserver" and #config.servers < SERVERS_MAX then
      config.servers[#config.servers + 1] = M.server(rest:match("^%S+") or "")
    elseif word == "domain" or word == "search" then
      config.search = {}
      for domain in rest:gmatch(word == "search" and "%S+" or "^%S+") do
        config.search[#config.search + 1] = domain:gsub("%.$", "")
      end
    elseif word == "options" then
      for option in rest:gmatch("%S+") do
        set_option(config, option)
      end
    end
  end
  if #config.servers == 0 then
    config.servers[1] = M.server("127.0.0.1")
  end
  return config
end

---@class heart.dns.hosts
---@field addresses table<string, string[]> name in lower case: addresses in their order
---@field names table<string, string[]> numeric address: names in their order

---@param text string of a hosts file
---@param pause? fun() called now and then: a file may be large
---@return heart.dns.hosts
function M.parse_hosts(text, pause)
  local hosts, lines = { addresses = {}, names = {} }, 0
  for line in text:gmatch("[^\r\n]+") do
    local numeric, names = line:gsub("#.*", ""):match("^%s*(%S+)%s+(.*)$")
    local bytes = numeric and address.parse(numeric)
    if bytes then
      numeric = address.text(bytes)
      for name in names:gmatch("%S+") do
        local list = hosts.addresses[name:lower()] or {}
        hosts.addresses[name:lower()], list[#list + 1] = list, numeric
        list = hosts.names[numeric] or {}
        hosts.names[numeric], list[#list + 1] = list, name
      end
    end
    lines = lines + 1
    if pause and lines % LINES_A_TURN == 0 then
      pause()
    end
  end
  return hosts
end

---Whether the machine has an IPv6 address that reaches further than itself and its link (/proc/net/if_inet6: address,
---index, prefix, scope, ...).
---@param text string
local function reaches_ipv6(text)
  for _, scope in text:gmatch("(%x+) %x+ %x+ (%x+)") do
    if scope ~= "10" and scope ~= "20" then
      return true
    end
  end
  return false
end

-- ---- Files -------------------------------------------------------------------------------------------------------

---@class heart.dns.file
---@field path string
---@field sign? string of the content that was read last
---@field text string "" if it can not be read

---@param path string
---@return heart.dns.file
function M.file(path)
  return { path = path, text = "" }
end

---Read the file if it is another than last time. One that can not be read now, but could before, is as it was.
---@param file heart.dns.file
---@return boolean changed
function M.refresh(file)
  local info, _, code = fs.stat(file.path)
  local sign = info and ("%d %d %.9f"):format(info.inode, info.size, info.mtime) or "none"
  if sign == file.sign or (file.sign and not info and code ~= "ENOENT") then
    return false
  end
  local text = info and fs.read(file.path, FILE_MAX)
  if info and not text and file.sign then
    return false
  end
  file.sign, file.text = sign, text or ""
  return true
end

---@return boolean
function M.has_ipv6()
  return reaches_ipv6(fs.read("/proc/net/if_inet6", FILE_MAX) or "")
end

M.check_seconds = CHECK_SECONDS

return M
