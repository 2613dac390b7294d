---The response as ngx makes it: print, say, flush, eof, exit, redirect, header, status.
---
---What is said collects in the request's state and leaves as one response when the handler ends, unless it grows or
---the handler flushes. From the first print on the head counts as sent, as in OpenResty, though it may still be here.
local M = {}

local core = require("heart.core")
local current = require("compat.openresty.request")
local logging = require("compat.openresty.log")

local request = core.request

local POSTPONE = 16384 -- bytes that are collected before they are sent
local BACKLOG = 1048576 -- bytes that the client has not taken: print waits from here on
local DRAIN_STEP = 0.005 -- seconds between two looks, for a light thread that waits
local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }
local CLOSE = 444 -- nginx's own status: close the connection without an answer

---@param ... any
local function complain(...)
  logging.log(logging.levels.ERR, ...)
end

---@param state compat.openresty.state
---@return boolean
local function is_begun(state)
  return state.begun or (request.sent(state.ctx)) or false
end

-- ---- Output --------------------------------------------------------------------------------------------------------

local put

---@param out string[]
---@param list table
local function put_list(out, list)
  local n = 0
  for key in pairs(list) do
    if type(key) ~= "number" or key < 1 or key % 1 ~= 0 then
      error("bad argument #1 to 'print' (non-array table found)", 0)
    end
    n = math.max(n, key)
  end
  for i = 1, n do
    put(out, list[i], "bad data type %s found")
  end
end

---@param out string[]
---@param value any
---@param complaint string
function put(out, value, complaint)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = value
  elseif kind == "number" or kind == "boolean" or kind == "nil" then
    out[#out + 1] = tostring(value)
  elseif kind == "table" then
    put_list(out, value)
  elseif value == core.json.null then
    out[#out + 1] = "null"
  else
    error("bad argument #1 to 'print' (" .. complaint:format(kind) .. ")", 0)
  end
end

---Wait until the client has taken what was sent.
---@param state compat.openresty.state
local function drain(state)
  if current.is_handler(state) then
    core.stream_write(state.ctx, "")
    return
  end
  while select(3, request.sent(state.ctx)) > 0 do
    core.sleep(DRAIN_STEP)
  end
end

---Send what was collected.
---@param state compat.openresty.state
---@return boolean ok
local function send(state)
  local text = table.concat(state.out)
  state.out, state.size = {}, 0
  request.begin(state.ctx)
  return (text == "" or request.write(state.ctx, text)) and not select(2, request.sent(state.ctx))
end

---@param state compat.openresty.state
---@param text string
---@return 1?
---@return string? err
local function emit(state, text)
  if state.ended then
    return nil, "seen eof"
  end
  state.begun = true
  state.out[#state.out + 1] = text
  state.size = state.size + #text
  if state.size < POSTPONE then
    return 1
  end
  if not send(state) then
    return nil, "nginx output filter error"
  end
  if select(3, request.sent(state.ctx)) > BACKLOG then
    drain(state)
  end
  return 1
end

---@param terminator? string
---@return string
local function text_of(terminator, ...)
  local out = {}
  for i = 1, select("#", ...) do
    put(out, (select(i, ...)), "string, number, boolean, nil, ngx.null, or array table expected, but got %s")
  end
  out[#out + 1] = terminator
  return table.concat(out)
end

---Send texts, numbers, nested lists of them.
---@return 1?
---@return string? err
function M.print(...)
  return emit(current.need(), text_of(nil, ...))
end

---The same, and a line end.
---@return 1?
---@return string? err
function M.say(...)
  return emit(current.need(), text_of("\n", ...))
end

---Send what was printed so far; with `true` wait until the client has taken it.
---@param wait? boolean
---@return 1?
---@return string? err
function M.flush(wait)
  if wait ~= nil and type(wait) ~= "boolean" then
    error(("bad argument #1 to 'flush' (boolean expected, got %s)"):format(type(wait)), 2)
  end
  local state = current.need()
  if state.ended then
    return nil, "seen eof"
  end
  if not state.begun then
    return nil, "nothing to flush"
  end
  if not send(state) then
    return nil, "client aborted"
  end
  if wait then
    drain(state)
  end
  return 1
end

---Decide the head: later changes are refused.
---@return 1
function M.send_headers()
  current.need().begun = true
  return 1
end

---@param state compat.openresty.state
local function finish(state)
  state.begun, state.ended = true, true
  request.finish(state.ctx, table.concat(state.out))
  state.out, state.size = {}, 0
end

---End the response; the handler runs on.
---@return 1?
---@return string? err
function M.eof()
  local state = current.need()
  if state.ended then
    return nil, "seen eof"
  end
  finish(state)
  return 1
end

-- ---- Ending --------------------------------------------------------------------------------------------------------

---Set the status of ngx.exit, and the text that goes with it where nothing was said.
---@param state compat.openresty.state
---@param status integer
local function take_status(state, status)
  if status == -1 then
    status = 500
  end
  if status < 200 then
    return
  end
  if is_begun(state) then
    local was = request.status(state.ctx)
    if status ~= was then
      local form = "attempt to set status %d via ngx.exit after sending out the response status %d"
      complain(form:format(status, was))
    end
    return
  end
  request.status(state.ctx, status)
  if status >= 400 and current.is_handler(state) then
    state.out[1] = core.answer()
  end
end

---End the handler with this status, or as it stands (ngx.OK). Does not return.
---@param status integer
function M.exit(status)
  if type(status) ~= "number" then
    error(("bad argument #1 to 'exit' (number expected, got %s)"):format(type(status)), 2)
  end
  local state = current.state()
  if not state or not state.serving then
    require("compat.openresty.run").end_task()
  end
  ---@cast state compat.openresty.state
  if status >= 100 and (status < 200 or status > 599) then
    error(("bad argument #1 to 'exit' (status %d can not end a response)"):format(status), 2)
  end
  require("compat.openresty.run").kill_threads(state)
  current.close_sockets(state)
  if status == CLOSE and not is_begun(state) then
    request.refuse(state.ctx)
  else
    take_status(state, status)
    if not state.ended then
      finish(state)
    end
  end
  if current.is_handler(state) then
    request.end_handler(state.ctx)
  end
  request.stop(state.ctx)
  require("compat.openresty.run").end_task()
end

---@param uri string
---@param status? 301|302|303|307|308
function M.redirect(uri, status)
  status = status or 302
  if not REDIRECTS[status] then
    error(
      "only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, ngx.HTTP_PERMANENT_REDIRECT, "
        .. "ngx.HTTP_SEE_OTHER, and ngx.HTTP_TEMPORARY_REDIRECT are allowed",
      2
    )
  end
  local state = current.need()
  if is_begun(state) then
    error("attempt to call ngx.redirect after sending out the headers", 2)
  end
  request.set(state.ctx, "Location", uri)
  M.exit(status)
end

---@param name string
---@return function
local function missing(name)
  return function()
    error(name .. " is not available in Heart: there are no nginx locations", 2)
  end
end

M.exec = missing("ngx.exec")
M.location = {
  capture = missing("ngx.location.capture"),
  capture_multi = missing("ngx.location.capture_multi"),
}

---The value of a handler that has said something: that, and what it has returned besides.
---@param state compat.openresty.state
local function conclude(state, ...)
  if not state.begun then
    return ...
  elseif state.ended then
    return nil
  end
  local status, body, headers = ...
  if type(status) ~= "number" or body == nil then
    status, body, headers = nil, (...), nil
  end
  if type(body) == "string" or type(body) == "number" then
    state.out[#state.out + 1] = tostring(body)
  end
  if request.sent(state.ctx) then
    send(state)
    return nil
  end
  body = table.concat(state.out)
  if status then
    return status, body, headers
  end
  return body
end

---What the engine calls when a handler has returned.
function M.after(...)
  local state = current.state()
  ---@cast state compat.openresty.state
  require("compat.openresty.run").wait_threads(state)
  current.close_sockets(state)
  return conclude(state, ...)
end

-- ---- Head ----------------------------------------------------------------------------------------------------------

---@return integer
function M.get_status()
  return request.status(current.need().ctx)
end

---@param status integer|string
function M.set_status(status)
  local state = current.need()
  local code = tonumber(status)
  if not code or code % 1 ~= 0 or code < 200 or code > 599 then
    error(("bad status %s: expected a number from 200 to 599"):format(tostring(status)), 3)
  end
  if is_begun(state) then
    complain("attempt to set ngx.status after sending out response headers")
    return
  end
  request.status(state.ctx, code)
end

---@return boolean
function M.headers_sent()
  return is_begun(current.need())
end

---@param code string
local function percent(code)
  return ("%%%02X"):format(code:byte())
end

---A value with its control characters escaped, as nginx does: they would end the line.
---@param value any
---@return string
local function field_value(value)
  return (tostring(value):gsub("[%z\1-\8\10-\31\127]", percent))
end

---@param state compat.openresty.state
---@param name string
---@param value any nil and {}: remove it
---@param add? boolean beside others of that name
local function set_field(state, name, value, add)
  if type(value) ~= "table" then
    request.set(state.ctx, name, value ~= nil and field_value(value) or nil, add)
    return
  end
  if not add then
    request.set(state.ctx, name, nil)
  end
  for _, one in ipairs(value) do
    request.set(state.ctx, name, field_value(one), true)
  end
end

---@type table<string, string|string[]|nil> response fields; "_" in a name stands for "-"
M.header = setmetatable({}, {
  __index = function(_, name)
    local state = current.need()
    local values = current.find(request.answer(state.ctx), (tostring(name):gsub("_", "-")))
    return #values > 1 and values or values[1]
  end,
  __newindex = function(_, name, value)
    local state = current.need()
    if is_begun(state) then
      complain("attempt to set ngx.header.HEADER after sending out response headers")
      return
    end
    set_field(state, (tostring(name):gsub("_", "-")), value)
  end,
})

M.resp = {
  ---@param max? integer
  ---@param raw? boolean
  ---@return table<string, string|string[]>
  ---@return "truncated"? err
  get_headers = function(max, raw)
    return current.table_of(request.answer(current.need().ctx), max, raw)
  end,
}

---@param name string
---@param value string|string[]
function M.add_header(name, value)
  local state = current.need()
  if is_begun(state) then
    complain("attempt to set ngx.header.HEADER after sending out response headers")
    return
  end
  set_field(state, (name:gsub("_", "-")), value, true)
end

return M
