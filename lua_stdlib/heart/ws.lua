-- What app.ws makes of its arguments: a handler that checks who asks, accepts, and runs the application's functions.

local M = {}

local argument = require("heart.argument")
local core = require("heart.core")

---An open connection. `data` is a table of the application's own, `protocol()` the subprotocol that was agreed on.
---@class heart.ws
---@field data table
---@field protocol fun(self: heart.ws): string?
---@field send fun(self: heart.ws, data: string, kind?: "text"|"binary"): true?, string?, integer?, string?
---@field receive fun(self: heart.ws, timeout?: number): string?, string?, integer?, string?
---@field ping fun(self: heart.ws, data?: string): true?, string?, integer?, string?
---@field close fun(self: heart.ws, code?: integer, reason?: string)
---@field is_open fun(self: heart.ws): boolean
---Send what is published on a channel (heart.v1.channel), until the socket is closed or unsubscribes.
---@field subscribe fun(self: heart.ws, name: string, options?: heart.channel.options): heart.channel.subscription
---@field unsubscribe fun(self: heart.ws, name: string)

---@alias heart.ws.handler fun(ws: heart.ws, ctx: heart.ctx, protocol?: string)

---@class heart.ws.functions
---@field message fun(ws: heart.ws, data: string, kind: "text"|"binary")
---@field open? fun(ws: heart.ws, ctx: heart.ctx, protocol?: string)
---@field close? fun(ws: heart.ws, code: integer, reason: string)
---@field error? fun(ws: heart.ws, message: string) one of the functions failed; then the socket is closed with 1011

---@class heart.ws.options
---@field origins? string[]|"*" pages of which origins may connect, e.g. "https://example.com"; default: the same host
---@field protocols? string[] subprotocols, the preferred one first
---@field max_message? integer bytes; default: --ws-max-message
---@field deflate? boolean|"context" compress: false: never; "context": remember earlier messages, which takes memory
---@field deflate_min? integer bytes; default: --ws-deflate-min
---@field deflate_level? integer 1 (fast, the default) to 9

local OPTIONS = {
  origins = "table or string",
  protocols = "table",
  max_message = "number",
  deflate = "boolean or string",
  deflate_min = "number",
  deflate_level = "number",
}
local WORDS = { origins = "*", deflate = "context" } -- the only texts that these may be
local FUNCTIONS = { open = true, message = true, close = true, error = true }

---@type table<heart.ws, string>
local protocols_of = setmetatable({}, { __mode = "k" })

-- heart.v1.channel puts its own methods in these places when it is loaded.
local methods = core.ws.methods
for _, name in ipairs({ "subscribe", "unsubscribe" }) do
  methods[name] = methods[name] or function(...)
    require("heart.v1.channel")
    return methods[name](...)
  end
end

methods.protocol = function(ws)
  return protocols_of[ws]
end

---@param ws heart.ws
---@param protocol? string
function M.set_protocol(ws, protocol)
  protocols_of[ws] = protocol
end

---@param options heart.ws.options
local function check_options(options)
  argument.options("ws", options, OPTIONS, 0)
  for name, word in pairs(WORDS) do
    local value = options[name]
    if type(value) == "string" and value ~= word then
      error(('ws: %s: expected a %s, or "%s", got %s'):format(name, OPTIONS[name]:match("%w+"), word, value), 0)
    end
  end
end

---@param functions heart.ws.functions
local function check_functions(functions)
  for name, value in pairs(functions) do
    if not FUNCTIONS[name] then
      error(("ws: unknown function %s (there are: open, message, close, error)"):format(tostring(name)), 0)
    end
    if type(value) ~= "function" then
      error(("ws: %s: expected a function, got %s"):format(name, type(value)), 0)
    end
  end
  if not functions.message then
    error("ws: a function `message` is missing", 0)
  end
end

---Whether a page of this origin may connect (RFC 6455 section 10.2). Clients that are no browsers send none.
---@param ctx heart.ctx
---@param origins string[]
local function origin_allowed(ctx, origins)
  local origin = ctx.header("origin")
  if not origin then
    return true
  end
  origin = origin:lower()
  for _, allowed in ipairs(origins) do
    if allowed:lower() == origin then
      return true
    end
  end
  return false
end

---The first of ours that the client offers.
---@param ctx heart.ctx
---@param ours string[]
---@return string?
local function choose_protocol(ctx, ours)
  local offered = ctx.header("sec-websocket-protocol")
  if not offered then
    return nil
  end
  local set = {}
  for name in offered:gmatch("[^,%s]+") do
    set[name] = true
  end
  for _, name in ipairs(ours) do
    if set[name] then
      return name
    end
  end
end

---What runs when a socket has closed: it leaves its channels, then the application hears of it.
---@param close? fun(ws: heart.ws, code: integer, reason: string)
local function closing(close)
  return function(ws, code, reason)
    local channel = package.loaded["heart.v1.channel"]
    if channel then
      channel.forget(ws)
    end
    if close then
      close(ws, code, reason)
    end
  end
end

local REASONS = {
  [403] = "Forbidden: pages of this origin may not connect",
  [400] = "Bad Request: this is no WebSocket handshake",
  [426] = "Upgrade Required: this is a WebSocket",
}

---The handler of a route.
---@param options heart.ws.options
---@param fn heart.ws.handler|heart.ws.functions
---@return heart.handler
function M.handler(options, fn)
  check_options(options)
  if type(fn) == "table" then
    check_functions(fn)
  elseif type(fn) ~= "function" then
    error(("ws: expected a function or a table of functions, got %s"):format(type(fn)), 0)
  end
  local functions = type(fn) == "table" and fn or {}
  local deflate = options.deflate == nil or options.deflate
  local route = core.ws.route(
    functions.message,
    closing(functions.close),
    functions.error,
    options.max_message,
    deflate,
    options.deflate_min,
    options.deflate_level,
    deflate == "context",
    not options.origins
  )
  local origins = options.origins ~= "*" and options.origins or nil
  local protocols, accept = options.protocols, core.ws.accept
  local begin = functions.open or (type(fn) == "function" and fn)
  -- What waits keeps its stack: one that needs few places, up to the application's function, weighs half as much.
  return function(ctx)
    if origins and not origin_allowed(ctx, origins) then
      return 403, REASONS[403]
    end
    local protocol = protocols and choose_protocol(ctx, protocols)
    local ws, status = accept(ctx, route, protocol)
    if not ws then
      return status, REASONS[status]
    end
    protocols_of[ws] = protocol
    if begin then
      return begin(ws, ctx, protocol)
    end
  end
end

return M
