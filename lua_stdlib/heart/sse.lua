-- Server-sent events (HTML Living Standard, section 9.2): what ctx.sse gives to its function. Built on ctx.stream, so a
-- client that does not take its events suspends the sender, and one that leaves is told to it.

local core = require("heart.core")
local argument = require("heart.argument")
local json = require("heart.v1.json")
local task = require("heart.v1.task")

local QUEUE = 256 -- messages that wait for a client; one that is slower is left
local KEEP_ALIVE = 15 -- seconds without output, after which a comment is sent: proxies close what is silent

---@class heart.sse
---@field last_id? string the id of the last event that the client has seen (Last-Event-ID)
---@field private ctx heart.ctx
---@field package write fun(part: string): true?, string?
---@field private turn heart.mutex of those who write
---@field package closed boolean
---@field private ending? boolean the server stops
---@field private spoken boolean something was written since the last look
---@field private queue? heart.queue messages of a channel
local Events = {}
Events.__index = Events

---@type table<heart.sse, true> streams that are open
local streams = {}
local guarded = false

---When the server stops, streams that would never end are ended; their clients come back to the next server.
local function guard()
  if guarded then
    return
  end
  guarded = true
  core.task.background(function()
    core.task.ending()
    for events in pairs(streams) do
      events.ending = true
      if events.queue then
        events.queue:close()
      end
    end
  end)
end

---@class heart.sse.options
---@field event? string its type; "message" for the browser if there is none
---@field id? string|integer what the client sends as Last-Event-ID when it comes back
---@field retry? number seconds after which the client comes back when the connection is lost

---A value of one line. Line ends would begin another field.
---@param name string
---@param value any
local function field(name, value)
  value = tostring(value)
  if value:find("[\r\n%z]") then
    error(("sse: %s: a line end or NUL has no place in it"):format(name), 3)
  end
  return name .. ": " .. value .. "\n"
end

---@param events heart.sse
---@param text string
local function write(events, text)
  if events.closed then
    return nil, "closed"
  end
  local ok, err = events.write(text)
  events.closed = not ok
  return ok, err
end

---@param text string
---@return true? ok, string? err
function Events:output(text)
  self.spoken = true
  return self.turn:with(write, self, text)
end

---Send an event. A table is sent as JSON. Waits while the client has not taken what was sent before.
---@param data string|number|boolean|table
---@param options? heart.sse.options
---@return true? ok, string? err nil, "closed" once the client has left
function Events:send(data, options)
  local text = type(data) == "string" and data or json.encode(data)
  local lines = {}
  if options then
    if options.event then
      lines[#lines + 1] = field("event", options.event)
    end
    if options.id then
      lines[#lines + 1] = field("id", options.id)
    end
    if options.retry then
      lines[#lines + 1] = field("retry", math.floor(options.retry * 1000 + 0.5))
    end
  end
  for line in (text:gsub("\r\n?", "\n") .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = "data: " .. line .. "\n"
  end
  lines[#lines + 1] = "\n"
  return self:output(table.concat(lines))
end

---Send a comment, which the client passes over.
---@param text? string
---@return true? ok, string? err
function Events:comment(text)
  return self:output(field("", text or "") .. "\n")
end

---Forward what is published on a channel until the client has left. Messages of a channel with a history carry their
---id, and a client that comes back gets what it has missed.
---@param name string may have `*` in it
---@param options? heart.channel.options
function Events:subscribe(name, options)
  local channel = require("heart.v1.channel")
  options = argument.options("subscribe", options, channel.OPTIONS)
  local queue = task.queue(QUEUE)
  self.queue = queue
  if self.ending then
    return
  end
  self.ctx.on_abort(function()
    self.closed = true
    queue:close()
  end)
  local function give(message)
    return self:send(message.data, message.id and { id = message.id })
  end
  local function receive(message)
    if not queue:push(message, 0) then
      self.closed = true
      queue:close()
    end
  end
  local wanted = { after = options.after or self.last_id, as = options.as }
  local subscription = channel.follow(name, wanted, receive, give)
  local ok, err = pcall(function()
    for message in queue:each() do
      if not give(message) then
        break
      end
    end
  end)
  subscription:stop()
  if not ok then
    error(err, 0)
  end
end

---Whether there is somebody to send to: the client has not left, and the server does not stop.
---@return boolean
function Events:is_open()
  return not self.closed and not self.ending
end

---Comments keep the connection alive, and find out whether the client is still there.
---@param events heart.sse
local function keep_alive(events)
  while not events.closed do
    task.sleep(KEEP_ALIVE)
    if not events.spoken then
      events:comment()
    end
    events.spoken = false
  end
end

---@param ctx heart.ctx
---@return fun(fn: fun(events: heart.sse))
return function(ctx)
  return function(fn)
    if type(fn) ~= "function" then
      argument.wrong(1, "function", fn)
    end
    ctx.set("Content-Type", "text/event-stream").set("Cache-Control", "no-cache").set("X-Accel-Buffering", "no")
    ctx.stream(function(send)
      local events = setmetatable({ ctx = ctx, last_id = ctx.header("last-event-id"), write = send }, Events)
      events.closed, events.turn = false, task.mutex()
      streams[events] = true
      guard()
      events:comment() -- the head leaves at once
      local keeper = task.spawn(keep_alive, events)
      local ok, err = pcall(fn, events)
      events.closed, streams[events] = true, nil
      keeper:cancel()
      if not ok then
        error(err, 0)
      end
    end)
  end
end
