-- Addresses of the web (RFC 3986), as an HTTP client needs them: http and https, with a host. Knows no network.
-- What may not stand in a path or query (spaces, bytes beyond ASCII) is percent-encoded, as browsers do; control
-- characters are refused, for they would reach the request line.

local address = require("heart.address")

local M = {}

local PORTS = { http = 80, https = 443 }

---@class heart.url
---@field scheme "http"|"https"
---@field host string lower case; an IPv6 address without its brackets
---@field port integer
---@field authority string as in a Host field: without the scheme's own port
---@field origin string scheme, host and port: what connections and credentials belong to
---@field path string with a slash in front
---@field query? string without "?"
---@field target string path and query
---@field user? string
---@field password? string
---@field text string without fragment and credentials

local function encode_byte(c)
  return ("%%%02X"):format(c:byte())
end

---Percent-encode all but unreserved characters.
---@param text string
---@return string
function M.encode(text)
  return (text:gsub("[^%w%-._~]", encode_byte))
end

---@param text string
---@return string
function M.decode(text)
  return (text:gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

---@param text string a path or a query
---@return string
local function tidy(text)
  text = text:gsub("[^%w%-._~:/?@!$&'()*+,;=%%%[%]|]", encode_byte)
  return (text:gsub("%%(%x?%x?)", function(digits)
    return #digits < 2 and "%25" .. digits or nil
  end))
end

---@param parts string[]
---@param name string
---@param value any
local function add_pair(parts, name, value)
  if type(value) == "table" then
    for _, one in ipairs(value) do
      add_pair(parts, name, one)
    end
  elseif value ~= nil then
    parts[#parts + 1] = M.encode(tostring(name)) .. "=" .. M.encode(tostring(value))
  end
end

---The text of a form or query (application/x-www-form-urlencoded), its names in order; a list repeats its name.
---@param fields table<string, string|number|boolean|(string|number|boolean)[]>
---@return string
function M.form(fields)
  local names, parts = {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, name in ipairs(names) do
    add_pair(parts, name, fields[name])
  end
  return table.concat(parts, "&")
end

---Resolve "." and ".." (RFC 3986 section 5.2.4).
---@param path string with a slash in front
---@return string
local function remove_dots(path)
  if not path:find("/.", 1, true) then
    return path
  end
  local kept, n, last = {}, 0, nil
  for segment in path:gmatch("/([^/]*)") do
    last = segment
    if segment == ".." then
      n = math.max(0, n - 1)
    elseif segment ~= "." then
      n = n + 1
      kept[n] = segment
    end
  end
  local slash = (last == "." or last == "..") and "/" or ""
  return "/" .. table.concat(kept, "/", 1, n) .. (n > 0 and slash or "")
end

---@param text string the part between "//" and the path, without credentials
---@return string? host nil: malformed
---@return integer|string|nil port or the reason
local function split_host(text)
  local host, port = text:match("^%[([%x:.]+)%](.*)$")
  if host then
    if not address.parse6(host) then
      return nil, "bad host name"
    end
  else
    host, port = text:match("^([^:]*)(.*)$")
    host = host:lower()
    if host == "" or #host > 255 or host:find("[^%w%-._~]") then
      return nil, "bad host name"
    end
  end
  if port ~= "" and port ~= ":" then
    local number = tonumber(port:match("^:(%d+)$"))
    if not number or number > 65535 or number < 1 then
      return nil, "bad port"
    end
    return host:lower(), number
  end
  return host:lower()
end

---@param scheme string
---@param authority string
---@param path string
---@param query string?
---@return heart.url?
---@return string? err
local function build(scheme, authority, path, query)
  if not PORTS[scheme] then
    return nil, "unsupported scheme"
  end
  local credentials, place = authority:match("^(.*)@([^@]*)$")
  local host, port = split_host(place or authority)
  if not host then
    return nil, port --[[@as string]]
  end
  local url = { scheme = scheme, host = host, port = port or PORTS[scheme] }
  local shown = host:find(":", 1, true) and "[" .. host .. "]" or host
  url.origin = scheme .. "://" .. shown .. ":" .. url.port
  url.authority = url.port == PORTS[scheme] and shown or shown .. ":" .. url.port
  if credentials then
    local user, password = credentials:match("^([^:]*):?(.*)$")
    url.user, url.password = M.decode(user), M.decode(password)
  end
  url.path = remove_dots(tidy(path == "" and "/" or path))
  url.query = query and tidy(query)
  url.target = url.query and url.path .. "?" .. url.query or url.path
  url.text = scheme .. "://" .. url.authority .. url.target
  return url
end

---@param text string
---@return string? before the query
---@return string? query
local function split_query(text)
  text = text:gsub("#.*", "")
  local before, query = text:match("^([^?]*)%?(.*)$")
  return before or text, query
end

---@param text string
---@return heart.url?
---@return string? err "bad URL", "bad host name", "bad port", "unsupported scheme"
function M.parse(text)
  local before, query = split_query(text)
  local scheme, authority, path = before:match("^([%a][%w+.-]*)://([^/]*)(.*)$")
  if not scheme or text:find("%c") then
    return nil, "bad URL"
  end
  return build(scheme:lower(), authority, path, query)
end

---What a reference, as in a Location field, means at `base` (RFC 3986 section 5.2).
---@param base heart.url
---@param reference string
---@return heart.url?
---@return string? err
function M.resolve(base, reference)
  reference = reference:match("^%s*(.-)%s*$")
  if reference:find("%c") then
    return nil, "bad URL"
  end
  if reference:match("^%a[%w+.-]*:") then
    if not reference:match("^%a[%w+.-]*://") then
      return nil, "unsupported scheme"
    end
    return M.parse(reference)
  end
  local path, query = split_query(reference)
  local authority = path:match("^//([^/]*)")
  if authority then
    return build(base.scheme, authority, path:sub(#authority + 3), query)
  elseif path == "" then
    path, query = base.path, query or base.query
  elseif path:sub(1, 1) ~= "/" then
    path = base.path:match("^(.*/)") .. path
  end
  return build(base.scheme, base.authority, path, query)
end

return M
