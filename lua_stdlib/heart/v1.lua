---Routes, middleware, static files and events of an application.
---
---    local app = require("heart.v1")
---    app.get("/hello/:name", function(ctx)
---      return "Hello, " .. ctx.pathParam("name")
---    end)
---
---Handlers get a `ctx` (see heart.v1.context) and return the body, or `status, body[, headers]`.
---@class heart.v1
local M = {}

local argument = require("heart.argument")
local core = require("heart.core")

---@alias heart.body string|number|nil
---@alias heart.handler fun(ctx: heart.ctx): heart.body|integer, heart.body, table<string, string|string[]>?
---@alias heart.middleware fun(ctx: heart.ctx, next: fun(): any): any

---@class heart.route.options
---@field body? "buffer"|"stream" "stream": the handler runs at once and reads with ctx.reader()
---@field max_body? integer bytes; a larger body is refused with 413

---@alias heart.add.plain fun(path: string, fn: heart.handler)
---@alias heart.add fun(path: string, options: heart.route.options, fn: heart.handler)|heart.add.plain

---@class heart.group
---@field get heart.add
---@field head heart.add
---@field post heart.add
---@field put heart.add
---@field delete heart.add
---@field options heart.add
---@field trace heart.add
---@field patch heart.add
---@field any heart.add
---@field use fun(fn: heart.middleware)
---@field group fun(prefix: string): heart.group

local METHODS = { "get", "head", "post", "put", "delete", "options", "trace", "patch", "any" }

---One middleware: for all paths below a prefix, or for the routes of a group and of the groups inside it.
---@class heart.v1.layer
---@field fn heart.middleware
---@field prefix? string
---@field group? heart.group

---@type heart.v1.layer[]
local layers = {}
---@type table<heart.group, heart.group>
local parents = {}
---@type heart.handler?
local missing

---@param name string what was called
---@param value any
---@param expected string
local function check(name, value, expected)
  if type(value) ~= expected then
    error(("%s: expected a %s, got %s"):format(name, expected, type(value)), 3)
  end
end

---A prefix with a leading slash and without a trailing one: "" for all.
---@param prefix string
local function trim(prefix)
  prefix = prefix:gsub("/+$", "")
  if prefix ~= "" and prefix:sub(1, 1) ~= "/" then
    prefix = "/" .. prefix
  end
  return prefix
end

---Whether `prefix` (lower case) covers the path: "/api" covers "/api" and "/api/x", not "/apis".
---@param prefix string
---@param path string
local function covers(prefix, path)
  if path:sub(1, #prefix):lower() ~= prefix then
    return false
  end
  local after = path:sub(#prefix + 1, #prefix + 1)
  return after == "" or after == "/"
end

---@param group heart.group
---@param inner? heart.group
local function contains(group, inner)
  while inner and inner ~= group do
    inner = parents[inner]
  end
  return inner == group
end

---Wrap a handler into one middleware.
---@param layer heart.v1.layer
---@param handler heart.handler
---@return heart.handler
local function wrap(layer, handler)
  local fn, prefix = layer.fn, layer.prefix
  if not prefix or prefix == "" then
    return function(ctx)
      return fn(ctx, function()
        return handler(ctx)
      end)
    end
  end
  return function(ctx)
    if not covers(prefix, ctx.path()) then
      return handler(ctx)
    end
    return fn(ctx, function()
      return handler(ctx)
    end)
  end
end

---All middleware registered so far that concerns a handler, wrapped around it, the first one outermost.
---@param handler heart.handler
---@param group? heart.group that the handler belongs to
---@return heart.handler
local function compose(handler, group)
  for i = #layers, 1, -1 do
    local layer = layers[i]
    if not layer.group or contains(layer.group, group) then
      handler = wrap(layer, handler)
    end
  end
  return handler
end

---Tell the engine what answers where no route does. Without middleware and notfound it does that alone.
local function set_fallback()
  core.fallback(compose(function(ctx)
    if missing and ctx.method() ~= "OPTIONS" then
      ctx.status(200)
      return missing(ctx)
    end
    return core.answer()
  end))
end

---Where the application registers a route: "@file:line", for `heart check`.
local function place()
  local info = debug.getinfo(3, "Sl")
  return info.source .. ":" .. info.currentline
end

---@param prefix string
---@param target table
---@param group? heart.group
---@return any
local function add_methods(prefix, target, group)
  for _, method in ipairs(METHODS) do
    target[method] = function(path, options, fn)
      if fn == nil then
        options, fn = nil, options
      end
      check(method .. ": path", path, "string")
      check(method .. " " .. path .. ": handler", fn, "function")
      if prefix ~= "" and path ~= "" and path:sub(1, 1) ~= "/" then
        path = "/" .. path
      end
      local ok, err = pcall(core.route, method, prefix .. path, compose(fn, group), options, core.checking and place())
      if not ok then
        error(err, 2)
      end
    end
  end
  return target
end

add_methods("", M)

---Accept WebSockets: `fn(ws, ctx, protocol)` asks for messages with `ws:receive()`, and the socket is closed when it
---returns; or a table of functions, which are called with what happens.
---
---    app.ws("/echo", function(ws)
---      for data, kind in ws.receive, ws do
---        ws:send(data, kind)
---      end
---    end)
---@param path string
---@param options heart.ws.options|heart.ws.handler|heart.ws.functions
---@param fn? heart.ws.handler|heart.ws.functions
---@overload fun(path: string, fn: heart.ws.handler|heart.ws.functions)
function M.ws(path, options, fn)
  if fn == nil then
    options, fn = nil, options
  end
  check("ws: path", path, "string")
  local ok, handler = pcall(require("heart.ws").handler, options or {}, fn)
  if not ok then
    error(handler, 2)
  end
  M.get(path, handler)
end

---@class heart.static.options
---@field max_age? integer seconds that browsers and caches may keep a file without asking again (Cache-Control)
---@field precompressed? boolean send app.js.br, .zst or .gz in place of app.js to clients that take it (default: true)
---@field redirect? boolean redirect /docs to /docs/ if docs is a folder, in place of serving it (default: false)

---Serve the files below `dir` under `route`: GET and HEAD, index.html, no dotfiles. Several directories may be served;
---they are looked at before routes, and a file that does not exist goes on to the next directory or route.
---@param route string
---@param dir string relative to the working directory, else to the script's folder
---@param options? heart.static.options
function M.static(route, dir, options)
  check("static: route", route, "string")
  check("static: directory", dir, "string")
  if options ~= nil then
    check("static: options", options, "table")
  end
  local handler
  if #layers > 0 then
    handler = compose(function()
      return core.answer()
    end)
  end
  local called, ok, err = pcall(core.mount, route, dir, handler, options)
  if not called then
    error(ok, 2)
  end
  if not ok and dir:sub(1, 1) ~= "/" then
    ok = core.mount(route, core.folder .. "/" .. dir, handler, options)
  end
  if not ok then
    error(("static: %s: %s"):format(dir, err), 2)
  end
end

---Answer requests that no route takes. The status stays 200 unless `fn` sets it, as in Heart v1.
---@param fn heart.handler
function M.notfound(fn)
  check("notfound", fn, "function")
  missing = fn
  set_fallback()
end

---Run `fn(ctx, next)` around everything that is registered after this call and whose path lies under `prefix`
---(default: all), and around requests that nothing answers. `next()` gives what the handler returns.
---@param prefix string|heart.middleware a plain path, without parameters
---@param fn? heart.middleware
---@overload fun(fn: heart.middleware)
function M.use(prefix, fn)
  if type(prefix) == "function" then
    prefix, fn = "", prefix
  end
  check("use: prefix", prefix, "string")
  check("use", fn, "function")
  if prefix:find("[:*+]") then
    error(("use: %s: a prefix has no parameters; a group may have them"):format(prefix), 2)
  end
  ---@cast fn heart.middleware
  layers[#layers + 1] = { prefix = trim(prefix):lower(), fn = fn }
  set_fallback()
end

---@param prefix string
---@param parent? heart.group
---@return heart.group
local function new_group(prefix, parent)
  local group = {}
  add_methods(prefix, group, group)
  parents[group] = parent
  function group.use(fn)
    check("use", fn, "function")
    layers[#layers + 1] = { group = group, fn = fn }
  end
  function group.group(inner)
    check("group", inner, "string")
    return new_group(prefix .. trim(inner), group)
  end
  return group
end

---A set of routes below a common path, which may have parameters. `group.use(fn)` runs around the routes that are
---added to it, and to groups inside it, afterwards.
---@param prefix string
---@return heart.group
function M.group(prefix)
  check("group", prefix, "string")
  return new_group(trim(prefix))
end

---Answer requests whose handler failed. The status is 500 unless `fn` sets another; the error is logged anyway.
---@param fn fun(ctx: heart.ctx, err: any): any gets the ctx of the handler and the value that it raised
function M.onerror(fn)
  check("onerror", fn, "function")
  core.onerror(fn)
end

local listeners = { start = {}, stop = {} }

---Run `fn(worker)` when this worker begins to serve ("start") or ends or gets new code ("stop").
---@param event "start"|"stop"
---@param fn fun(worker: integer)
function M.on(event, fn)
  local list = listeners[event]
  if not list then
    error(('on: expected "start" or "stop", got %s'):format(tostring(event)), 2)
  end
  check("on", fn, "function")
  list[#list + 1] = fn
  core.on(event, function()
    for i = 1, #list do
      list[i](core.worker)
    end
  end)
end

---Wait, while other requests run.
---@param seconds number
function M.sleep(seconds)
  if not tonumber(seconds) then
    argument.wrong(1, "number", seconds)
  end
  core.sleep(seconds)
end

---@type string
M.version = core.version

return M
