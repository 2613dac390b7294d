---ngx.var: nginx's variables of the request, as far as they have a meaning here. A variable of another name is the
---application's own: a text, for the rest of the request.
local M = {}

local core = require("heart.core")
local current = require("compat.openresty.request")
local clock = require("compat.openresty.clock")
local text = require("compat.openresty.text")
local worker = require("compat.openresty.run").worker

local request = core.request

---@type table<string, fun(state: compat.openresty.state): string|number|nil>
local READ = {}

---@param state compat.openresty.state
---@param name string
---@return string?
local function field(state, name)
  local values = current.find(current.fields(state), name)
  return values[1] and table.concat(values, name == "cookie" and "; " or ", ")
end

function READ.request_method(state)
  return (request.line(state.ctx))
end

function READ.request_uri(state)
  return (select(2, request.line(state.ctx)))
end

---Decoded, with "." and ".." resolved and slashes merged, as nginx does before it looks for a location.
function READ.uri(state)
  local path = text.unescape_uri((select(3, request.line(state.ctx)):gsub("%+", "%%2B")))
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local tail = #parts > 0 and path:match("/%.?%.?$") and "/" or ""
  return "/" .. table.concat(parts, "/") .. tail
end
READ.document_uri = READ.uri

function READ.args(state)
  return current.query(state)
end
READ.query_string = READ.args

function READ.is_args(state)
  return (current.query(state) or "") ~= "" and "?" or ""
end

function READ.request(state)
  return (request.head(state.ctx):match("^([^\r\n]*)"))
end

function READ.server_protocol(state)
  return "HTTP/1." .. select(5, request.line(state.ctx))
end

function READ.scheme(state)
  return (select(3, request.peer(state.ctx)))
end

function READ.https(state)
  return READ.scheme(state) == "https" and "on" or ""
end

function READ.host(state)
  local host = (field(state, "host") or ""):lower()
  return (host:gsub(":%d*$", ""))
end
READ.server_name = READ.host

function READ.remote_addr(state)
  local address = request.peer(state.ctx)
  return address ~= "" and address or "unix:"
end
READ.realip_remote_addr = READ.remote_addr

function READ.remote_port(state)
  return tostring((select(2, request.peer(state.ctx))))
end

function READ.server_addr(state)
  return (request.server(state.ctx))
end

function READ.server_port(state)
  return tostring((select(2, request.server(state.ctx))))
end

function READ.content_type(state)
  return field(state, "content-type")
end

function READ.content_length(state)
  return field(state, "content-length")
end

function READ.request_length(state)
  return tostring(#request.head(state.ctx) + #(current.body(state) or ""))
end

function READ.request_body(state)
  return current.body(state)
end

function READ.request_time(state)
  return ("%.3f"):format(request.age(state.ctx))
end

function READ.request_id(state)
  state.id = state.id or require("compat.openresty.digest").md5(core.ulid())
  return state.id
end

function READ.status(state)
  return tostring(request.status(state.ctx))
end

function READ.msec()
  return ("%.3f"):format(clock.now())
end

function READ.time_iso8601()
  return (os.date("%Y-%m-%dT%H:%M:%S%z"):gsub("(%d%d)$", ":%1"))
end

function READ.time_local()
  return os.date("%d/%b/%Y:%H:%M:%S %z") --[[@as string]]
end

function READ.pid()
  return tostring(worker.pid())
end

function READ.hostname()
  return worker.hostname()
end

function READ.nginx_version()
  return "1.27.1"
end

function READ.document_root()
  return core.folder
end

function READ.remote_user(state)
  local credentials = (field(state, "authorization") or ""):match("^[Bb]asic +(%S+)")
  local plain = credentials and require("compat.openresty.base64").decode_base64(credentials)
  return plain and plain:match("^([^:]*):")
end

-- Families of variables: prefix → what the rest of the name gives.
---@type table<string, fun(state: compat.openresty.state, name: string): string?>
local FAMILIES = {
  arg_ = function(state, name)
    local query = current.query(state) or ""
    for key, value in query:gmatch("([^&=]+)=([^&]*)") do
      if key:lower() == name then
        return value
      end
    end
    return nil
  end,
  http_ = function(state, name)
    return field(state, (name:gsub("_", "-")))
  end,
  sent_http_ = function(state, name)
    local values = current.find(request.answer(state.ctx), (name:gsub("_", "-")))
    return values[1] and table.concat(values, ", ")
  end,
  cookie_ = function(state, name)
    for key, value in (field(state, "cookie") or ""):gmatch("([^=;%s]+)=([^;]*)") do
      if key:lower() == name then
        return value
      end
    end
    return nil
  end,
}

---@param name string
---@return (fun(state: compat.openresty.state, name: string): string?)?
---@return string rest
local function family_of(name)
  for prefix, read in pairs(FAMILIES) do
    if name:sub(1, #prefix) == prefix then
      return read, name:sub(#prefix + 1)
    end
  end
  return nil, name
end

setmetatable(M, {
  __index = function(_, name)
    if type(name) == "number" then
      return nil -- captures of a location's pattern
    elseif type(name) ~= "string" then
      error("bad variable name", 2)
    end
    local state = current.need()
    name = name:lower()
    if state.vars and state.vars[name] then
      return state.vars[name]
    elseif READ[name] then
      return READ[name](state)
    end
    local read, rest = family_of(name)
    return read and read(state, rest)
  end,
  __newindex = function(_, name, value)
    local kind = type(value)
    if type(name) ~= "string" then
      error("bad variable name", 2)
    elseif kind ~= "string" and kind ~= "number" and kind ~= "nil" then
      error("bad argument #3 to '__newindex' (string, number or nil expected, got " .. kind .. ")", 2)
    end
    local state = current.need()
    name = name:lower()
    value = value ~= nil and tostring(value) or nil
    if name == "args" or name == "query_string" then
      state.args = value or ""
    elseif READ[name] or family_of(name) then
      error(('variable "%s" not changeable'):format(name), 2)
    else
      state.vars = state.vars or {}
      state.vars[name] = value
    end
  end,
})

return M
