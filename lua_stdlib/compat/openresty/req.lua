---ngx.req: the request as it was received, and changes to it that later looks see.
---@class ngx.req
local M = {}

local core = require("heart.core")
local current = require("compat.openresty.request")
local text = require("compat.openresty.text")

local request = core.request

---@return string
function M.get_method()
  return (request.line(current.need().ctx))
end

---@return number 1.0, 1.1
function M.http_version()
  local _, _, _, _, minor = request.line(current.need().ctx)
  return 1 + minor / 10
end

---@return number seconds since 1970, with milliseconds
function M.start_time()
  local age = request.age(current.need().ctx)
  return math.floor((require("compat.openresty.clock").now() - age) * 1000) / 1000
end

---@return boolean
function M.is_internal()
  return false
end

---@param without_line? boolean
---@return string
function M.raw_header(without_line)
  local head = request.head(current.need().ctx)
  return without_line and head:match("^[^\n]*\n(.*)$") or head
end

-- ---- Fields --------------------------------------------------------------------------------------------------------

---@param max? integer default 100; 0: all
---@param raw? boolean names as they were received
---@return table<string, string|string[]>
---@return "truncated"? err
function M.get_headers(max, raw)
  return current.table_of(current.fields(current.need()), max, raw)
end

---@param name string
---@param value string|number|(string|number)[]|nil nil and {}: remove it
---@param add? boolean beside others of that name
local function change(name, value, add)
  local state = current.need()
  local fields, before = {}, current.fields(state)
  for i = 1, #before, 2 do
    if add or before[i]:lower() ~= name:lower() then
      fields[#fields + 1] = before[i]
      fields[#fields + 1] = before[i + 1]
    end
  end
  for _, one in ipairs(type(value) == "table" and value or { value }) do
    fields[#fields + 1] = name
    fields[#fields + 1] = tostring(one)
  end
  state.fields = fields
end

---Change a field as ngx.req and ngx.var see it; Heart's ctx sees what the client sent.
---@param name string
---@param value string|number|(string|number)[]|nil
function M.set_header(name, value)
  change(name, value)
end

---@param name string
function M.clear_header(name)
  change(name, nil)
end

---@param name string
---@param value string|number|(string|number)[]
function M.add_header(name, value)
  change(name, value, true)
end

-- ---- Arguments -----------------------------------------------------------------------------------------------------

---@param max? integer default 100; 0: all
---@param into? table
---@return table<string, string|true|(string|true)[]>
---@return "truncated"? err
function M.get_uri_args(max, into)
  return text.decode_args(current.query(current.need()) or "", max, into)
end

---@param args string|table as ngx.req and ngx.var see them from now on
function M.set_uri_args(args)
  current.need().args = type(args) == "table" and text.encode_args(args) or tostring(args)
end

---@param max? integer default 100; 0: all
---@param into? table
---@return table<string, string|true|(string|true)[]>
---@return "truncated"? err
function M.get_post_args(max, into)
  return text.decode_args(current.body(current.need()) or "", max, into)
end

-- ---- Body ----------------------------------------------------------------------------------------------------------

---Read the body. On routes without `body = "stream"` it is there already.
function M.read_body()
  local state = current.need()
  if current.body(state) or not current.is_handler(state) then
    return
  end
  local parts, read = {}, state.ctx.reader()
  for part in read do
    parts[#parts + 1] = part
  end
  state.body = table.concat(parts)
end

---@return string? body
function M.get_body_data()
  return current.body(current.need())
end

---Bodies are in memory: there is never a file.
---@return nil
function M.get_body_file()
  return nil
end

---Heart reads what the handler has left by itself.
function M.discard_body() end

---@param raw? boolean
---@return table? socket
---@return string? err
function M.socket(raw)
  return require("compat.openresty.bodysocket").open(current.need(), raw)
end

for _, name in ipairs({
  "set_uri",
  "set_method",
  "set_body_data",
  "set_body_file",
  "init_body",
  "append_body",
  "finish_body",
}) do
  M[name] = function()
    error(("ngx.req.%s is not available in Heart: no later phase would see the change"):format(name), 2)
  end
end

return M
