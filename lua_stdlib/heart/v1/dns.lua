---Names of hosts: /etc/hosts, then the name servers of /etc/resolv.conf, as the C library would ask them, but without
---holding up anybody. Answers are kept for as long as they are good, in each worker; askers of one question share it.
---@class heart.dns
local M = {}

local core = require("heart.core")
local address = require("heart.address")
local argument = require("heart.argument")
local client = require("heart.dns_client")
local config = require("heart.dns_config")
local message = require("heart.dns_message")

local CACHE_SIZE = 4096
local TTL_MAX, NEGATIVE_MAX = 86400, 900
local ALIASES_MAX = 16
local OTHER_FAMILY_SECONDS = 0.05
local TIMEOUT = 30
local LOCALHOST = { "127.0.0.1", "::1" }

---@class heart.dns.options
---@field servers? string[] numeric addresses, "192.0.2.1" or "192.0.2.1:5353" or "[::1]:5353", in place of the file's
---@field search? string[] domains, in place of the file's
---@field ndots? integer
---@field timeout? number seconds for one server (5)
---@field attempts? integer rounds through the servers (2)
---@field rotate? boolean
---@field edns? boolean say that larger UDP answers are welcome
---@field tcp? boolean never ask by UDP
---@field ipv6? boolean whether names are asked for IPv6 addresses at all (default: if the machine has one)
---@field resolv_conf? string path ("/etc/resolv.conf")
---@field hosts? string path ("/etc/hosts")
---@field cache? integer answers kept, at most (4096); 0: none

---@type heart.dns.options
local given = {}
local OPTIONS = {
  servers = "table",
  search = "table",
  ndots = "number",
  timeout = "number",
  attempts = "number",
  rotate = "boolean",
  edns = "boolean",
  tcp = "boolean",
  ipv6 = "boolean",
  resolv_conf = "string",
  hosts = "string",
  cache = "number",
}

-- ---- Settings ------------------------------------------------------------------------------------------------------

local resolv_file, hosts_file = config.file("/etc/resolv.conf"), config.file("/etc/hosts")
---@type heart.dns.config?
local settings
---@type heart.dns.hosts
local hosts
local checked, checking = 0, nil

-- ---- Cache ---------------------------------------------------------------------------------------------------------
-- Two generations: when the younger one is full it becomes the older one, and that is forgotten.

---@class heart.dns.answer
---@field records? heart.dns.record[]
---@field err? string
---@field expires number

---@type table<string, heart.dns.answer>, table<string, heart.dns.answer>, integer
local young, old, nyoung = {}, {}, 0
---@type table<string, any> tasks
local asking = {}

---Other servers may know other answers: neither what is kept nor what was asked counts any more.
local function forget_answers()
  young, old, nyoung = {}, {}, 0
  asking = {}
end

---@param key string
---@return heart.dns.answer?
local function cache_get(key)
  local answer = young[key] or old[key]
  if answer and answer.expires > core.now() then
    return answer
  end
end

---@param key string
---@param answer heart.dns.answer
local function cache_put(key, answer)
  local half = math.floor((given.cache or CACHE_SIZE) / 2)
  if nyoung >= half then
    young, old, nyoung = {}, young, 0
  end
  if half > 0 then
    nyoung = nyoung + (young[key] and 0 or 1)
    young[key] = answer
  end
end

---@return heart.dns.config
local function load_settings()
  local changed = config.refresh(resolv_file)
  if config.refresh(hosts_file) then
    hosts = config.parse_hosts(hosts_file.text, function()
      core.sleep(0)
    end)
    hosts_file.text = ""
  end
  if changed or not settings then
    local fresh = config.parse_resolv(resolv_file.text)
    if given.servers then
      fresh.servers = {}
      for i, text in ipairs(given.servers) do
        fresh.servers[i] = config.server(text)
      end
    end
    for _, name in ipairs({ "search", "ndots", "timeout", "attempts", "rotate", "tcp" }) do
      if given[name] ~= nil then
        fresh[name] = given[name]
      end
    end
    fresh.size = given.edns == true and 1232 or given.edns == nil and fresh.size or nil
    settings = fresh
    forget_answers()
  end
  settings.ipv6 = given.ipv6
  if given.ipv6 == nil then
    settings.ipv6 = config.has_ipv6()
  end
  return settings
end

---The settings, from the files if they have changed. One asker looks, the others wait for it.
---@return heart.dns.config
local function current_settings()
  local now = core.now()
  if settings and not checking and now - checked < config.check_seconds then
    return settings
  end
  if not checking then
    checked = now
    checking = core.task.spawn(function()
      local ok, err = pcall(load_settings)
      checking = nil
      if not ok then
        error(err, 0)
      end
    end)
  end
  core.task.wait(checking)
  return assert(settings, "dns: there are no settings")
end

---Choose where names are looked up, in this worker; what is not given is as it was at the start.
---@param options heart.dns.options
function M.configure(options)
  options = argument.options("dns.configure", options, OPTIONS)
  for _, text in ipairs(options.servers or {}) do
    if not config.server(text) then
      error(("dns.configure: servers: %s is not a numeric address"):format(tostring(text)), 2)
    end
  end
  given = options
  resolv_file = config.file(options.resolv_conf or "/etc/resolv.conf")
  hosts_file = config.file(options.hosts or "/etc/hosts")
  settings, checking = nil, nil
  forget_answers()
end

-- ---- Questions -----------------------------------------------------------------------------------------------------

---The records that answer for `name`, through its aliases.
---@param found heart.dns.message
---@param name string canonical
---@param kind string
---@return heart.dns.record[] records
---@return integer ttl the least
---@return string? alias where to go on, if the records of its end are not in the message
local function follow(found, name, kind)
  local records, ttl, asked = {}, TTL_MAX, name
  for _ = 1, ALIASES_MAX do
    local target
    for _, record in ipairs(found.answers) do
      if record.name:lower() == name then
        if record.type == kind then
          records[#records + 1] = record
          ttl = math.min(ttl, record.ttl)
        elseif record.type == "CNAME" then
          target = record.target:lower()
          ttl = math.min(ttl, record.ttl)
        end
      end
    end
    if #records > 0 or not target then
      break
    end
    name = target
  end
  return records, ttl, name ~= asked and name or nil
end

---How long the absence may be remembered (RFC 2308 section 5); without an SOA not at all.
---@param found heart.dns.message
local function negative_ttl(found)
  for _, record in ipairs(found.authority) do
    if record.type == "SOA" then
      return math.min(record.ttl, record.minimum, NEGATIVE_MAX)
    end
  end
  return 0
end

---@param name string
---@param kind string
---@return heart.dns.answer
local function ask(name, kind)
  local ttl = TTL_MAX
  for _ = 1, ALIASES_MAX do
    local found, err = client.exchange(current_settings(), name, message.types[kind])
    if not found then
      return { err = err, expires = 0 }
    end
    local records, least, alias = follow(found, message.canonical(name), kind)
    ttl = math.min(ttl, least)
    if #records > 0 then
      return { records = records, expires = core.now() + ttl }
    elseif not alias or found.code ~= 0 or negative_ttl(found) > 0 then
      ttl = math.min(ttl, negative_ttl(found))
      return { err = found.code == 3 and "host not found" or "no records", expires = core.now() + ttl }
    end
    name = alias
  end
  return { err = "too many aliases", expires = 0 }
end

---The answer, if it is known, or the task that asks; both may be used by several at once.
---@param name string
---@param kind string
---@return heart.dns.answer?
---@return any? task
local function start(name, kind)
  current_settings()
  local key = name .. " " .. kind
  local answer = cache_get(key)
  if answer then
    return answer
  end
  local tasks = asking
  local task = tasks[key]
  if not task then
    task = core.task.spawn(function()
      local ok, result = pcall(ask, name, kind)
      tasks[key] = nil
      if not ok then
        error(result, 0)
      end
      if result.expires > core.now() and tasks == asking then
        cache_put(key, result)
      end
      return result
    end)
    tasks[key] = task
  end
  return nil, task
end

---@param task any
---@param seconds number
---@return heart.dns.answer
local function wait_for(task, seconds)
  if not core.task.wait(task, math.max(seconds, 0.001)) then
    return { err = "timeout", expires = 0 }
  end
  return core.task.results(task)
end

---@param name string
---@param kind string
---@param seconds number
---@return heart.dns.answer
local function answer_of(name, kind, seconds)
  local answer, task = start(name, kind)
  return answer or wait_for(task, seconds)
end

-- ---- Addresses -----------------------------------------------------------------------------------------------------

---Names that no name server is asked for (RFC 6761, RFC 7686).
---@param name string
---@return string[]|false|nil addresses false: there is no such host; nil: ask
local function special(name)
  if name == "localhost" or name:sub(-10) == ".localhost" then
    return LOCALHOST
  elseif name == "invalid" or name:sub(-8) == ".invalid" or name:sub(-6) == ".onion" then
    return false
  elseif name:match("^%d+$") or name:match("%.%d+$") then -- an address that is none
    return false
  end
end

---@param list string[]
---@param family string
---@return string[]? nil: none is left
---@return string? err
local function of_family(list, family)
  local found = {}
  for _, text in ipairs(list) do
    local is_v6 = text:find(":", 1, true) ~= nil
    if family == "any" or is_v6 == (family == "inet6") then
      found[#found + 1] = text
    end
  end
  if #found == 0 then
    return nil, "host not found"
  end
  return found
end

---The families in turns, IPv6 first (RFC 8305 section 4).
---@param six heart.dns.record[]
---@param four heart.dns.record[]
---@return string[]
local function interleave(six, four)
  local list = {}
  for i = 1, math.max(#six, #four) do
    list[#list + 1] = six[i] and six[i].address
    list[#list + 1] = four[i] and four[i].address
  end
  return list
end

---Ask for both families at once. When one has answered with addresses, the other one gets a moment more (RFC 8305
---section 3): some servers never answer the question that they do not know.
---@return heart.dns.answer six
---@return heart.dns.answer four
local function ask_both(name, deadline)
  local six, six_task = start(name, "AAAA")
  local four, four_task = start(name, "A")
  local function left()
    return deadline - core.now()
  end
  if six_task and four_task then
    core.task.wait_many({ six_task, four_task }, false, math.max(left(), 0.001))
    if six_task:status() == "running" then
      four = wait_for(four_task, left())
    else
      six = wait_for(six_task, left())
    end
  end
  local known = six or four
  local patience = known and known.records and math.min(left(), OTHER_FAMILY_SECONDS) or left()
  return six or wait_for(six_task, patience), four or wait_for(four_task, patience)
end

---@param name string
---@param family string
---@param deadline number
---@return string[]?
---@return string? err
local function addresses_of(name, family, deadline)
  if family == "any" and current_settings().ipv6 then
    local six, four = ask_both(name, deadline)
    if six.records or four.records then
      return interleave(six.records or {}, four.records or {})
    end
    return nil, four.err
  end
  local answer = answer_of(name, family == "inet6" and "AAAA" or "A", deadline - core.now())
  return answer.records and interleave({}, answer.records), answer.err
end

---The full names that a name may stand for, in the order in which to try them.
---@param name string
---@param current heart.dns.config
---@return string[]
local function candidates(name, current)
  if name:sub(-1) == "." then
    return { (name:gsub("%.$", "")) }
  end
  local list, dots = {}, select(2, name:gsub("%.", ""))
  for _, domain in ipairs(current.search) do
    list[#list + 1] = domain == "" and name or name .. "." .. domain
  end
  table.insert(list, dots >= current.ndots and 1 or #list + 1, name)
  return list
end

---@param name string lower case
---@param family string
---@param deadline number
---@return string[]?
---@return string? err
local function look_up(name, family, deadline)
  local reason
  for _, full in ipairs(candidates(name, current_settings())) do
    local found, err = addresses_of(full, family, deadline)
    if found then
      return found
    elseif err == "timeout" or err == "bad host name" then
      return nil, err
    elseif err ~= "host not found" and err ~= "no records" then
      reason = reason or err
    end
  end
  return nil, reason or "host not found"
end

---@class heart.dns.resolve_options
---@field family? "any"|"inet"|"inet6" IPv4 or IPv6 ("any")
---@field timeout? number seconds for all of it (30)

local RESOLVE_OPTIONS = { family = "string", timeout = "number" }
local QUERY_OPTIONS = { timeout = "number" }

local FAMILIES = { any = true, inet = true, inet6 = true }

---The numeric addresses of a host, in the order in which to try them: families in turns, IPv6 first. A numeric address
---is its own.
---@param host string
---@param options? heart.dns.resolve_options
---@return string[]?
---@return string? err "host not found", "timeout", "server failure", "refused", "bad host name", ...
function M.resolve(host, options)
  if type(host) ~= "string" then
    error(("dns.resolve: expected a string, got %s"):format(type(host)), 2)
  end
  options = argument.options("dns.resolve", options, RESOLVE_OPTIONS)
  local family = options.family or "any"
  if not FAMILIES[family] then
    error(("dns.resolve: unknown family %s"):format(tostring(family)), 2)
  end
  if address.parse((host:gsub("%%.*", ""))) then
    return of_family({ host }, family)
  end
  local deadline = core.now() + (options.timeout or TIMEOUT)
  local name = host:lower()
  current_settings()
  local plain = name:gsub("%.$", "")
  local list = hosts.addresses[plain]
  if list == nil then
    list = special(plain)
  end
  if list ~= nil then
    return of_family(list or {}, family)
  end
  return look_up(name, family, deadline)
end

-- ---- Records -------------------------------------------------------------------------------------------------------

---The name under which the host of a numeric address is found (RFC 1035 section 3.5, RFC 3596 section 2.5).
---@param bytes string
---@return string
local function reverse_name(bytes)
  if #bytes == 4 then
    return ("%d.%d.%d.%d.in-addr.arpa"):format(bytes:reverse():byte(1, 4))
  end
  return (
    bytes:reverse():gsub(".", function(c)
      return ("%x.%x."):format(c:byte() % 16, math.floor(c:byte() / 16))
    end)
  ) .. "ip6.arpa"
end

---Order by priority; among equals in random order, a heavier one first more often (RFC 2782).
---@param records heart.dns.record[]
local function sort_services(records)
  local keys = {}
  for _, record in ipairs(records) do
    -- The greatest of u^(1/weight) is each record with a probability in proportion to its weight.
    keys[record] = math.random() ^ (1 / math.max(record.weight, 0.01))
  end
  table.sort(records, function(a, b)
    if a.priority ~= b.priority then
      return a.priority < b.priority
    end
    return keys[a] > keys[b]
  end)
end

---The records of a name and a type, straight from the name servers; the name is taken as it is, without search domains.
---MX come by preference, SRV in the order in which to try them. For PTR the name may be a numeric address.
---@param name string
---@param kind "A"|"AAAA"|"CNAME"|"MX"|"TXT"|"SRV"|"NS"|"PTR"|"SOA"|"CAA"
---@param options? { timeout?: number } seconds for all of it (30)
---@return heart.dns.record[]?
---@return string? err "host not found", "no records", "timeout", "server failure", ...
function M.query(name, kind, options)
  if type(name) ~= "string" or not message.types[kind] or kind == "OPT" then
    error(("dns.query: unknown type %s, or a name that is no string"):format(tostring(kind)), 2)
  end
  options = argument.options("dns.query", options, QUERY_OPTIONS)
  local bytes = kind == "PTR" and address.parse(name)
  name = bytes and reverse_name(bytes) or name:lower():gsub("(.)%.$", "%1")
  local answer = answer_of(name, kind, options.timeout or TIMEOUT)
  if not answer.records then
    return nil, answer.err
  end
  local left, records = math.max(0, math.ceil(answer.expires - core.now())), {}
  for i, record in ipairs(answer.records) do
    local copy = {}
    for key, value in pairs(record) do
      copy[key] = value
    end
    copy.ttl = math.min(record.ttl, left)
    records[i] = copy
  end
  if kind == "SRV" then
    sort_services(records)
  elseif kind == "MX" then
    table.sort(records, function(a, b)
      return a.preference < b.preference
    end)
  end
  return records
end

---The names of a numeric address: from the hosts file, else from the name servers.
---@param text string
---@param options? { timeout?: number }
---@return string[]?
---@return string? err "host not found", "timeout", "server failure", ...
function M.reverse(text, options)
  local bytes = type(text) == "string" and address.parse(text)
  if not bytes then
    error("dns.reverse: expected a numeric address", 2)
  end
  options = argument.options("dns.reverse", options, QUERY_OPTIONS)
  current_settings()
  local names = {}
  for i, name in ipairs(hosts.names[address.text(bytes)] or {}) do
    names[i] = name
  end
  if #names > 0 then
    return names
  end
  local records, err = M.query(text, "PTR", options)
  if not records then
    return nil, err
  end
  for i, record in ipairs(records) do
    names[i] = record.target
  end
  return names
end

return M
