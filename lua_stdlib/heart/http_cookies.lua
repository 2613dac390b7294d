-- A jar of cookies, as a browser keeps them (RFC 6265 section 5), in memory. There is no list of public suffixes: a
-- Domain must have a dot, and be the host or above it.

local address = require("heart.address")

local M = {}

local COOKIES_MAX = 3000
local SIZE_MAX = 4096
local MONTHS = {}
for month in ("jan feb mar apr may jun jul aug sep oct nov dec"):gmatch("%a+") do
  MONTHS[#MONTHS + 1], MONTHS[month] = month, #MONTHS + 1
end

---@class heart.http.cookie
---@field name string
---@field value string
---@field domain string
---@field path string
---@field host_only boolean
---@field secure boolean
---@field http_only boolean
---@field expires? number Unix time
---@field order integer

---@class heart.http.jar
---@field private list heart.http.cookie[]
---@field private count integer
local Jar = {}
Jar.__index = Jar

---The Unix time of a day of the proleptic Gregorian calendar.
local function unix_time(year, month, day, hour, minute, second)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  days = days + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
  return days * 86400 + hour * 3600 + minute * 60 + second
end

---RFC 6265 section 5.1.1: the order of the parts does not matter.
---@param text string
---@return number? time
local function parse_date(text)
  local hour, minute, second, day, month, year
  for token in text:gmatch("[^\t -/;-@%[-`{-~]+") do
    local h, m, s = token:match("^(%d%d?):(%d%d?):(%d%d?)%f[%D]")
    local number = token:match("^(%d+)")
    if not hour and h then
      hour, minute, second = tonumber(h), tonumber(m), tonumber(s)
    elseif not day and number and #number <= 2 then
      day = tonumber(number)
    elseif not month and MONTHS[token:sub(1, 3):lower()] then
      month = MONTHS[token:sub(1, 3):lower()]
    elseif not year and number and (#number == 2 or #number == 4) then
      year = tonumber(number)
    end
  end
  if not (hour and day and month and year) then
    return nil
  end
  if year < 100 then
    year = year + (year < 70 and 2000 or 1900)
  end
  if day < 1 or day > 31 or year < 1601 or hour > 23 or minute > 59 or second > 59 then
    return nil
  end
  return unix_time(year, month, day, hour, minute, second)
end

---@param host string
---@param domain string
local function domain_matches(host, domain)
  return host == domain or (host:sub(-#domain - 1) == "." .. domain and not address.parse(host))
end

---@param path string of a request
---@param of string of a cookie
local function path_matches(path, of)
  return path == of or (path:sub(1, #of) == of and (of:sub(-1) == "/" or path:sub(#of + 1, #of + 1) == "/"))
end

---@param text string a Set-Cookie field
---@return string? name
---@return string value
---@return table<string, string> attributes
local function split(text)
  local first, rest = text:match("^([^;]*);?(.*)$")
  local name, value = first:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
  local attributes = {}
  for part in rest:gmatch("[^;]+") do
    local key, of = part:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
    key = key or part:match("^%s*(.-)%s*$")
    attributes[key:lower()] = of or ""
  end
  return name ~= "" and name or nil, value, attributes
end

---@param attributes table<string, string>
---@return number? expires
local function expiry(attributes)
  local age = tonumber((attributes["max-age"] or ""):match("^-?%d+$"))
  if age then
    return age <= 0 and 0 or os.time() + age
  end
  return attributes.expires and parse_date(attributes.expires)
end

---Keep a cookie that a response to `target` has set; one that may not be set is ignored.
---@param target heart.url
---@param text string the value of a Set-Cookie field
function Jar:set(target, text)
  local name, value, attributes = split(text)
  if not name or #name + #value > SIZE_MAX then
    return
  end
  local domain = (attributes.domain or ""):lower():gsub("^%.", "")
  local path = attributes.path or ""
  if domain == target.host then
    domain = domain:find(".", 1, true) and not address.parse(domain) and domain or ""
  end
  if domain ~= "" and not (domain:find(".", 1, true) and domain_matches(target.host, domain)) then
    return
  end
  local secure = attributes.secure ~= nil
  if secure and target.scheme ~= "https" then
    return
  end
  if path:sub(1, 1) ~= "/" then
    path = target.path:match("^(/.*)/") or "/"
  end
  self:put({
    name = name,
    value = value,
    host_only = domain == "",
    domain = domain == "" and target.host or domain,
    path = path,
    secure = secure,
    http_only = attributes.httponly ~= nil,
    expires = expiry(attributes),
    order = 0,
  })
end

---Put a cookie in place of the one of the same name, domain and path.
---@private
---@param cookie heart.http.cookie
function Jar:put(cookie)
  local kept, now = {}, os.time()
  self.count = self.count + 1
  cookie.order = self.count
  for _, other in ipairs(self.list) do
    if other.name == cookie.name and other.domain == cookie.domain and other.path == cookie.path then
      cookie.order = other.order
    elseif not other.expires or other.expires > now then
      kept[#kept + 1] = other
    end
  end
  if not cookie.expires or cookie.expires > now then
    kept[#kept + 1] = cookie
  end
  if #kept > COOKIES_MAX then
    table.remove(kept, 1)
  end
  self.list = kept
end

---The value of the Cookie field of a request: longer paths first, then older cookies.
---@param target heart.url
---@return string? nil: there are none
function Jar:header(target)
  local found, now = {}, os.time()
  for _, cookie in ipairs(self.list) do
    local host_fits
    if cookie.host_only then
      host_fits = target.host == cookie.domain
    else
      host_fits = domain_matches(target.host, cookie.domain)
    end
    if
      host_fits
      and path_matches(target.path, cookie.path)
      and (not cookie.secure or target.scheme == "https")
      and (not cookie.expires or cookie.expires > now)
    then
      found[#found + 1] = cookie
    end
  end
  if #found == 0 then
    return nil
  end
  table.sort(found, function(a, b)
    if #a.path ~= #b.path then
      return #a.path > #b.path
    end
    return a.order < b.order
  end)
  for i, cookie in ipairs(found) do
    found[i] = cookie.name .. "=" .. cookie.value
  end
  return table.concat(found, "; ")
end

---All cookies, as copies.
---@return heart.http.cookie[]
function Jar:all()
  local copies = {}
  for i, cookie in ipairs(self.list) do
    local copy = {}
    for key, value in pairs(cookie) do
      copy[key] = value
    end
    copies[i] = copy
  end
  return copies
end

---Forget all cookies.
function Jar:clear()
  self.list = {}
end

---@return heart.http.jar
function M.new()
  return setmetatable({ list = {}, count = 0 }, Jar)
end

M.parse_date = parse_date

return M
