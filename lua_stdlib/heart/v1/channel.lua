---Channels: what is published reaches all who have subscribed, on every worker.
---
---    local channel = require("heart.v1.channel")
---    app.ws("/room/:name", {
---      open = function(ws, ctx)
---        ws.data.room = "room:" .. ctx.pathParam("name")
---        ws:subscribe(ws.data.room)
---      end,
---      message = function(ws, text) channel.publish(ws.data.room, text) end,
---    })
---@class heart.v1.channel
local M = {}

local argument = require("heart.argument")
local core = require("heart.core")
local guard = require("heart.guard")
local history = require("heart.channel_history")
local json = require("heart.v1.json")
local log = require("heart.v1.log")
local presence = require("heart.channel_presence")
local task = require("heart.v1.task")
local worker = require("heart.v1.worker")

local messages = core.messages
local TOPIC = "heart.channel"
local QUEUE = 256 -- messages that wait for one function
local OVERLAP = 10 -- seconds after which a message of the history does not come again as a new one

---@class heart.channel.message
---@field channel string
---@field data any
---@field id? integer if the channel has a history
---@field package far? boolean it came from another server, or is on its way there already

---@class heart.channel.options
---@field after? integer|string id of the last message that was seen: later ones of the history come first
---@field as? any who this is: it is listed by channel.members

---What is known of who subscribes, in each of the ways to do it.
---@package
M.OPTIONS = { after = "number or string", as = "any" }

---Who listens: sockets get a frame that was made once for all of them, `receive` is called for everybody else.
---@class heart.channel.list
---@field sockets heart.ws[]
---@field places table<heart.ws, integer>
---@field late table<heart.ws, heart.channel.subscription> sockets that have just had the history
---@field others table<heart.channel.subscription, true>

---@class heart.channel.subscription
---@field channel string
---@field package list heart.channel.list
---@field package receive? fun(message: heart.channel.message) must not wait
---@field package ws? heart.ws
---@field package seen? table<integer, true> ids that came from the history: messages that were on their way meanwhile
---@field package until_time? number when `seen` is of no use any more
---@field package member? string key of its presence
---@field package queue? heart.queue
---@field package stopped? boolean
local Subscription = {}
Subscription.__index = Subscription

---@type table<string, heart.channel.list>
local lists = {}
---@type table<string, string> glob -> Lua pattern
local globs = {}
---@type table<heart.ws, table<string, heart.channel.subscription>>
local by_socket = setmetatable({}, { __mode = "k" })

local bridge = core.channels and not core.checking and require("heart.channel_bridge") or nil
local listening = false

---@param name string
local function check_name(name)
  if type(name) ~= "string" or name == "" or #name > 255 then
    error(("channel: expected a name of 1 to 255 bytes, got %s"):format(type(name)), 3)
  end
end

-- ---- Who listens -----------------------------------------------------------------------------------------------

---@param name string
---@return heart.channel.list
local function list_of(name)
  local list = lists[name]
  if not list then
    list = { sockets = {}, places = {}, late = {}, others = {} }
    lists[name] = list
    if name:find("*", 1, true) then
      globs[name] = "^" .. name:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
    end
  end
  return list
end

---@param name string
local function drop_empty(name)
  local list = lists[name]
  if list and #list.sockets == 0 and not next(list.others) then
    lists[name], globs[name] = nil, nil
  end
end

---@param list heart.channel.list
---@param ws heart.ws
local function add_socket(list, ws)
  local n = #list.sockets + 1
  list.sockets[n], list.places[ws] = ws, n
end

---@param list heart.channel.list
---@param ws heart.ws
local function remove_socket(list, ws)
  local at, n = list.places[ws], #list.sockets
  local last = list.sockets[n]
  list.sockets[at], list.places[last] = last, at
  list.sockets[n], list.places[ws], list.late[ws] = nil, nil, nil
end

-- ---- Delivering ------------------------------------------------------------------------------------------------

---What a WebSocket gets: strings as they are, all else as JSON.
---@param data any
---@return string
---@return "text"|"binary"
local function as_frame(data)
  if type(data) ~= "string" then
    return json.encode(data), "text"
  end
  return data, core.ws.kind_of(data)
end

---Whether a subscriber has had a message from the history.
---@param subscription heart.channel.subscription
---@param id? integer
---@return boolean
local function has_seen(subscription, id)
  local seen = subscription.seen
  if not seen then
    return false
  elseif core.now() > subscription.until_time then
    subscription.seen = nil
    return false
  end
  return id ~= nil and seen[id] == true
end

---The sockets of a list but those that have had a message from the history.
---@param list heart.channel.list
---@param id? integer
---@return heart.ws[]
local function sockets_without(list, id)
  local skipped = {}
  for ws, subscription in pairs(list.late) do
    skipped[ws] = has_seen(subscription, id)
    if not subscription.seen then
      list.late[ws] = nil
    end
  end
  local sockets = {}
  for _, ws in ipairs(list.sockets) do
    if not skipped[ws] then
      sockets[#sockets + 1] = ws
    end
  end
  return sockets
end

---@param list heart.channel.list
---@param message heart.channel.message
local function send_to_sockets(list, message)
  core.ws.publish(next(list.late) and sockets_without(list, message.id) or list.sockets, as_frame(message.data))
end

---@param list heart.channel.list
---@param message heart.channel.message
local function deliver_to(list, message)
  if #list.sockets > 0 then
    guard(send_to_sockets, list, message) -- JSON does not have every number: the others get it all the same
  end
  for subscription in pairs(list.others) do
    if not has_seen(subscription, message.id) then
      subscription.receive(message)
    end
  end
end

---To the subscribers of this state.
---@param message heart.channel.message
local function deliver(message)
  local list = lists[message.channel]
  if list then
    deliver_to(list, message)
  end
  for glob, pattern in pairs(globs) do
    if glob ~= message.channel and message.channel:find(pattern) then
      deliver_to(lists[glob], message)
    end
  end
end

---From another state of this server.
---@param message heart.channel.message
local function hear(message)
  deliver(message)
  if bridge then
    bridge.pass(message)
  end
end

local function listen()
  if not listening then
    listening = true
    worker.on_message(TOPIC, hear)
  end
end

---To all subscribers of this server.
---@param message heart.channel.message
---@return true? ok
---@return string? err
local function spread(message)
  local ok, err = messages.spread(TOPIC, message)
  if ok == nil then
    return nil, err
  end
  deliver(message)
  if bridge then
    bridge.pass(message)
  end
  return ok or nil, err
end

-- ---- History and presence ----------------------------------------------------------------------------------------

---Keep the last `length` messages of a channel, for those who come later or come back.
---@param name string
---@param length integer
function M.history(name, length)
  check_name(name)
  if type(length) ~= "number" or length < 1 or length > 10000 then
    error(("channel.history: expected a length from 1 to 10000, got %s"):format(tostring(length)), 2)
  end
  history.lengths[name] = math.floor(length)
  if bridge then
    bridge.prepare(name)
  end
end

---The messages that are kept, oldest first. With --channels the first look at a channel may wait.
---@param name string
---@param after? integer|string only those with a greater id
---@return heart.channel.message[]
function M.past(name, after)
  check_name(name)
  if bridge and history.lengths[name] then
    bridge.load(name)
  end
  return history.past(name, after)
end

---Who has subscribed to a channel with `as`, on all workers, in the order of their coming.
---@param name string
---@return any[]
function M.members(name)
  check_name(name)
  return presence.members(name)
end

---How many they are.
---@param name string
---@return integer
function M.count(name)
  check_name(name)
  return presence.count(name)
end

-- ---- Publishing --------------------------------------------------------------------------------------------------

---Send `data` to all who have subscribed to the channel. The messages of one worker arrive everywhere in their order.
---@param name string
---@param data any a string, a number, a boolean or a table of them
---@return true? ok
---@return string? err
function M.publish(name, data)
  check_name(name)
  if data == nil then
    error("channel.publish: expected a string, a number, a boolean or a table, got nil", 2)
  end
  listen()
  local message = { channel = name, data = data }
  local length = history.lengths[name]
  if bridge then
    local packed, err = messages.pack(data)
    if not packed then
      return nil, err
    end
  end
  if length and bridge then
    return bridge.number(message, length)
  elseif length then
    local ok, err = history.add(message, length)
    if not ok then
      return nil, err
    end
  end
  return spread(message)
end

---What feeds a channel from a watcher of a store: `kv.watch("user:", channel.feed("users"))`. Every worker has its own
---watcher, so each tells its own subscribers. The data is the event: key, value (nil: deleted), version; or lost.
---@param name string
---@return fun(event: table)
function M.feed(name)
  check_name(name)
  return function(event)
    deliver({ channel = name, data = event })
  end
end

-- ---- Subscribing -------------------------------------------------------------------------------------------------

---Give what the history has, and what is published while that waits.
---@param subscription heart.channel.subscription
---@param after integer|string
---@param give fun(message: heart.channel.message): any false or nil: it does not want more
local function catch_up(subscription, after, give)
  local seen = {}
  local found = M.past(subscription.channel, after)
  while #found > 0 do
    for _, message in ipairs(found) do
      if subscription.stopped or not give(message) then
        return
      end
      seen[message.id], after = true, message.id
    end
    found = history.past(subscription.channel, after)
  end
  if next(seen) then
    subscription.seen, subscription.until_time = seen, core.now() + OVERLAP
  end
end

---From now on it gets what is published.
---@param subscription heart.channel.subscription
---@param options heart.channel.options
local function join(subscription, options)
  listen()
  local list = list_of(subscription.channel)
  subscription.list = list
  if subscription.ws then
    add_socket(list, subscription.ws)
    list.late[subscription.ws] = subscription.seen and subscription
  else
    list.others[subscription] = true
  end
  if options.as ~= nil then
    subscription.member = presence.come(subscription.channel, options.as)
  end
end

---For heart.sse: `give` takes what the history has, and may wait; then `receive` gets what is published, at once.
---@param name string may have `*` in it
---@param options heart.channel.options
---@param receive fun(message: heart.channel.message) must not wait
---@param give fun(message: heart.channel.message): any false or nil: it does not want more
---@return heart.channel.subscription
function M.follow(name, options, receive, give)
  check_name(name)
  local subscription = setmetatable({ channel = name, receive = receive }, Subscription)
  if options.after then
    catch_up(subscription, options.after, give)
  end
  join(subscription, options)
  return subscription
end

---Call `fn(data, message)` with what is published, one message at a time; it may wait, and its errors are logged.
---`name` may have `*` in it. When 256 messages wait for it, further ones are dropped, and the log says so. After a
---reload it gets no more: the new code has subscribed.
---@param name string
---@param fn fun(data: any, message: heart.channel.message)
---@param options? heart.channel.options
---@return heart.channel.subscription
function M.subscribe(name, fn, options)
  check_name(name)
  if type(fn) ~= "function" then
    error(("channel.subscribe: expected a function, got %s"):format(type(fn)), 2)
  end
  options = argument.options("channel.subscribe", options, M.OPTIONS)
  local queue = task.queue(QUEUE)
  local subscription = setmetatable({ channel = name, queue = queue }, Subscription)
  function subscription.receive(message)
    if messages.serving() and not queue:push(message, 0) then
      log.warn("channel: a subscriber is too slow: a message was dropped", { channel = name })
    end
  end
  local function call(message)
    guard(fn, message.data, message)
    return true
  end
  if not options.after then
    join(subscription, options)
  end
  task.spawn(function()
    if options.after then
      catch_up(subscription, options.after, call)
      if not subscription.stopped then
        join(subscription, options)
      end
    end
    for message in queue:each() do
      call(message)
    end
  end)
  return subscription
end

---Get no more. Idempotent.
function Subscription:stop()
  if self.stopped then
    return
  end
  local list, ws = self.list, self.ws
  self.stopped = true
  if ws then
    if list and list.places[ws] then
      remove_socket(list, ws)
    end
    if by_socket[ws] then
      by_socket[ws][self.channel] = nil
    end
  end
  if self.queue then
    self.queue:close()
  end
  if self.member then
    presence.leave(self.member)
    self.member = nil
  end
  if list then
    list.others[self] = nil
    drop_empty(self.channel)
  end
end

---Send what is published to the socket, until it is closed.
---@param ws heart.ws
---@param name string may have `*` in it
---@param options? heart.channel.options
---@return heart.channel.subscription
local function ws_subscribe(ws, name, options)
  check_name(name)
  options = argument.options("subscribe", options, M.OPTIONS)
  if core.ws.is_client(ws) then -- nobody would tell of its end
    error("subscribe: this WebSocket was not accepted but opened: use channel.subscribe, and send it the messages", 2)
  end
  local subscriptions = by_socket[ws]
  if not subscriptions then
    subscriptions = {}
    by_socket[ws] = subscriptions
  end
  if subscriptions[name] then
    return subscriptions[name]
  end
  local subscription = setmetatable({ channel = name, ws = ws }, Subscription)
  subscriptions[name] = subscription
  if options.after then
    catch_up(subscription, options.after, function(message)
      return ws:send(as_frame(message.data))
    end)
  end
  if not subscription.stopped and ws:is_open() then
    join(subscription, options)
  end
  return subscription
end

---@param ws heart.ws
---@param name string
local function ws_unsubscribe(ws, name)
  local subscriptions = by_socket[ws]
  local subscription = subscriptions and subscriptions[name]
  if subscription then
    subscription:stop()
  end
end

---A socket has closed.
---@param ws heart.ws
function M.forget(ws)
  local subscriptions = by_socket[ws]
  by_socket[ws] = nil
  for _, subscription in pairs(subscriptions or {}) do
    subscription:stop()
  end
end

core.ws.methods.subscribe = ws_subscribe
core.ws.methods.unsubscribe = ws_unsubscribe
if bridge then
  listen()
  bridge.start(spread)
end

return M
