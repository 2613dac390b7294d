---What the facade knows of a request, or of a task: a table that lives as long as that, found through the running
---coroutine. Light threads share that of the request they belong to.
local M = {}

local request = require("heart.core").request

---@class compat.openresty.state
---@field ctx any Heart's ctx of the request; of a task: its coroutine's
---@field serving boolean there is a request
---@field context? table ngx.ctx
---@field out string[] what was said and not sent
---@field size integer its bytes
---@field begun? boolean the response's head is decided
---@field ended? boolean the response is complete
---@field threads? table<table, true> light threads that have not ended
---@field fields? string[] request fields after changes: name, value, name, value
---@field args? string the query after changes
---@field body? string that was read part by part
---@field sockets? table<ngx.socket.tcp, true> that it has open
---@field vars? table<string, string> variables of the application's own

request.after(function(...)
  return require("compat.openresty.reply").after(...)
end)

-- A key that no field of a ctx can have by chance.
local KEY = {}

---The state of the running coroutine. nil: nothing runs that could have one.
---@return compat.openresty.state?
function M.state()
  local ctx, serving, own = request.current()
  if ctx == nil then
    return nil
  end
  local state = own[KEY] or ctx[KEY]
  if not state then
    state = { ctx = ctx, serving = serving, out = {}, size = 0 }
    ctx[KEY] = state
    if serving then
      request.hold(ctx)
    end
  end
  return state
end

---Let the running coroutine act for another one's request.
---@param state compat.openresty.state
function M.adopt(state)
  local _, _, own = request.current()
  own[KEY] = state
end

---Whether the running coroutine is the handler of the request, and not a thread of it.
---@param state compat.openresty.state
---@return boolean
function M.is_handler(state)
  local _, _, own = request.current()
  return own == state.ctx
end

---The state of the running coroutine, which must serve a request.
---@return compat.openresty.state
function M.need()
  local state = M.state()
  if not state or not state.serving then
    error("no request found", 3)
  end
  return state
end

---@return table
function M.context()
  local state = M.state()
  if not state then
    error("no request ctx found", 3)
  end
  state.context = state.context or {}
  return state.context
end

---@param value table
function M.set_context(value)
  if type(value) ~= "table" then
    error("ctx should be a table while getting a " .. type(value), 3)
  end
  local state = M.state()
  if not state then
    error("no request ctx found", 3)
  end
  state.context = value
end

---The request's fields as they are now: name, value, name, value.
---@param state compat.openresty.state
---@return string[]
function M.fields(state)
  return state.fields or request.fields(state.ctx)
end

---Close what the handler has left open: libraries rely on it, and the collector may take its time.
---@param state compat.openresty.state
function M.close_sockets(state)
  for socket in pairs(state.sockets or {}) do
    socket:close()
  end
end

---The query as it is now.
---@param state compat.openresty.state
---@return string?
function M.query(state)
  if state.args then
    return state.args
  end
  local _, _, _, query = request.line(state.ctx)
  return query
end

---The body, as far as it was read. nil: there is none.
---@param state compat.openresty.state
---@return string?
function M.body(state)
  local body = state.body or request.body(state.ctx)
  return body ~= "" and body or nil
end

---@param fields string[] name, value, name, value
---@param name string
---@return string[] values
function M.find(fields, name)
  local values = {}
  name = name:lower()
  for i = 1, #fields, 2 do
    if fields[i]:lower() == name then
      values[#values + 1] = fields[i + 1]
    end
  end
  return values
end

local FIELDS_MAX = 100

-- ngx's tables of fields find "User-Agent", "user_agent", "USER-AGENT" under "user-agent".
local folded = {
  __index = function(t, name)
    return type(name) == "string" and rawget(t, (name:lower():gsub("_", "-"))) or nil
  end,
}

---The table that get_headers gives.
---@param fields string[] name, value, name, value
---@param max? integer fields; 0: all
---@param raw? boolean names as they are
---@return table<string, string|string[]>
---@return "truncated"? err
function M.table_of(fields, max, raw)
  if max ~= nil and type(max) ~= "number" then
    error(("bad argument #1 to 'get_headers' (number expected, got %s)"):format(type(max)), 3)
  end
  max = max or FIELDS_MAX
  local found, n = {}, #fields / 2
  if max > 0 then
    n = math.min(n, max)
  end
  for i = 1, 2 * n, 2 do
    local name, value = raw and fields[i] or fields[i]:lower(), fields[i + 1]
    local before = found[name]
    if type(before) == "table" then
      before[#before + 1] = value
    else
      found[name] = before and { before, value } or value
    end
  end
  if not raw then
    setmetatable(found, folded)
  end
  if 2 * n < #fields then
    return found, "truncated"
  end
  return found
end

return M
