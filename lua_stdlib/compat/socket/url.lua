---URLs (RFC 3986, with the parameters of RFC 2396): parse, build, resolve, escape. Results are those of LuaSocket.
---@class socket.url
local M = {}

local socket = require("socket")
socket.url = M

M._VERSION = "URL 1.0.3"

---@class socket.url.parts
---@field scheme? string
---@field authority? string
---@field userinfo? string
---@field user? string
---@field password? string
---@field host? string without the brackets of an IPv6 address
---@field port? string
---@field path? string
---@field params? string behind the first ";" of the path
---@field query? string
---@field fragment? string

---Escape all but letters, digits and "_".
---@param text string
---@return string
function M.escape(text)
  return (text:gsub("[^%w_]", function(c)
    return ("%%%02x"):format(c:byte())
  end))
end

---@param text string
---@return string
function M.unescape(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

---Escape what has a meaning in a path, or in a URL.
---@param segment string
local function escape_segment(segment)
  return (segment:gsub("[^%w%-_%.!~%*'%(%):@&=%+%$,]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

---Split "user:password@host:port" into `parts`.
---@param authority string
---@param parts socket.url.parts
local function parse_authority(authority, parts)
  local userinfo, rest = authority:match("^([^@]*)@(.*)$")
  if userinfo then
    parts.userinfo = userinfo
    authority = rest
  end
  local host, port = authority:match("^(.*):([^:%]]*)$")
  if host then
    parts.port = port
    authority = host
  end
  if authority ~= "" then
    parts.host = authority:match("^%[(.+)%]$") or authority
  end
  if parts.userinfo then
    local user, password = parts.userinfo:match("^(.*):([^:]*)$")
    parts.user = user or parts.userinfo
    parts.password = password or parts.password
  end
end

---The parts of a URL.
---@param url string?
---@param default? socket.url.parts for parts that it has not
---@return socket.url.parts?
---@return string? err
function M.parse(url, default)
  local parts = {}
  for name, value in pairs(default or {}) do
    parts[name] = value
  end
  if not url or url == "" then
    return nil, "invalid url"
  end
  local function cut(pattern, name)
    local at, _, value = url:find(pattern)
    if at then
      parts[name] = value
      url = url:sub(1, at - 1)
    end
  end
  local scheme, rest = url:match("^(%w[%w%+%-%.]*):(.*)$")
  if scheme then
    parts.scheme, url = scheme, rest
  end
  local authority, behind = url:match("^//([^/%?#]*)(.*)$")
  if authority then
    parts.authority, url = authority, behind
  end
  cut("#(.*)$", "fragment")
  cut("%?(.*)$", "query")
  cut(";(.*)$", "params")
  if url ~= "" then
    parts.path = url
  end
  if parts.authority then
    parse_authority(parts.authority, parts)
  end
  return parts
end

---The authority of the parts.
---@param parts socket.url.parts
local function build_authority(parts)
  if not parts.host then
    return parts.authority
  end
  local authority = parts.host:find(":", 1, true) and "[" .. parts.host .. "]" or parts.host
  if parts.port then
    authority = authority .. ":" .. tostring(parts.port)
  end
  local userinfo = parts.userinfo
  if parts.user then
    userinfo = parts.password and parts.user .. ":" .. parts.password or parts.user
  end
  return userinfo and userinfo .. "@" .. authority or authority
end

---@param parts socket.url.parts
---@return string
function M.build(parts)
  local authority = build_authority(parts)
  return (parts.scheme and parts.scheme .. ":" or "")
    .. (authority and "//" .. authority or "")
    .. (parts.path or "")
    .. (parts.params and ";" .. parts.params or "")
    .. (parts.query and "?" .. parts.query or "")
    .. (parts.fragment and "#" .. parts.fragment or "")
end

---Resolve "." and ".." (RFC 3986 section 5.2.4).
---@param path string
local function remove_dots(path)
  local absolute = path:sub(1, 1) == "/"
  local kept, last = {}, ""
  for segment in ((absolute and path:sub(2) or path) .. "/"):gmatch("([^/]*)/") do
    last = segment
    if segment == ".." and (absolute or (kept[#kept] and kept[#kept] ~= "..")) then
      kept[#kept] = nil
    elseif segment ~= "." then
      kept[#kept + 1] = segment
    end
  end
  if last == "." or last == ".." then
    kept[#kept + 1] = ""
  end
  return (absolute and "/" or "") .. table.concat(kept, "/")
end

---@param base string path
---@param relative string path
local function absolute_path(base, relative)
  if relative:sub(1, 1) ~= "/" then
    local folder = base:gsub("[^/]*$", "")
    relative = (folder:sub(-1) == "/" and folder or folder .. "/") .. relative
  end
  return remove_dots(relative)
end

---The URL that a relative one stands for.
---@param base string|socket.url.parts
---@param relative string
---@return string
function M.absolute(base, relative)
  local from = type(base) == "table" and base or M.parse(base --[[@as string]])
  local to = M.parse(relative)
  if not from then
    return relative
  elseif not to then
    return type(base) == "table" and M.build(base) or base --[[@as string]]
  end
  if to.scheme or to.authority then
    to.scheme = to.scheme or from.scheme
    to.path = to.path and remove_dots(to.path)
    return M.build(to)
  end
  to.scheme, to.authority = from.scheme, from.authority
  to.host, to.port, to.userinfo, to.user, to.password = from.host, from.port, from.userinfo, from.user, from.password
  if to.path then
    to.path = absolute_path(from.path or "", to.path)
  else
    to.path = from.path
    if not to.params then
      to.params = from.params
      to.query = to.query or from.query
    end
  end
  return M.build(to)
end

---The unescaped segments of a path, with is_absolute and is_directory set to 1 where that is so.
---@param path string?
---@return table
function M.parse_path(path)
  path = path or ""
  local segments = {}
  for segment in path:gmatch("[^/]+") do
    segments[#segments + 1] = M.unescape(segment)
  end
  segments.is_absolute = path:sub(1, 1) == "/" and 1 or nil
  segments.is_directory = path:sub(-1) == "/" and 1 or nil
  return segments
end

---@param segments table of parse_path
---@param unsafe? boolean do not escape them
---@return string
function M.build_path(segments, unsafe)
  local parts = {}
  for i, segment in ipairs(segments) do
    parts[i] = unsafe and segment or escape_segment(segment)
  end
  return (segments.is_absolute and "/" or "")
    .. table.concat(parts, "/")
    .. (segments.is_directory and #parts > 0 and "/" or "")
end

return M
