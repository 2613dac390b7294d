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

local core = require("heart.core")
local json = require("heart.v1.json")
local log = require("heart.v1.log")
local shared = require("heart.v1.shared")
local task = require("heart.v1.task")
local worker = require("heart.v1.worker")

local TOPIC = "heart.channel"
local QUEUE = 256 -- messages that wait for one function
local PRESENCE = 30 -- seconds that a member counts without a sign of life of its worker
local RENEW = 10 -- seconds between two of them

---@class heart.channel.message
---@field channel string
---@field data any
---@field id? integer if the channel has a history

---@class heart.channel.options
---@field after? integer|string id of the last message that was seen: later ones of the history come first
---@field as? any who this is: it is listed by channel.members

---Who listens: sockets get a frame that was made once for all of them, `receive` is called for everybody else.
---@class heart.channel.list
---@field sockets heart.ws[]
---@field places table<heart.ws, integer>
---@field others table<heart.channel.subscription, true>

---@class heart.channel.subscription
---@field channel string
---@field package list heart.channel.list
---@field package receive fun(message: heart.channel.message)
---@field package ws? heart.ws
---@field package seen? table<integer, true> ids that came from the history
---@field package member? string key of its presence
---@field package queue? heart.queue
local Subscription = {}
Subscription.__index = Subscription

---@type table<string, heart.channel.list>
local lists = {}
---@type table<string, string> glob -> Lua pattern
local globs = {}
---@type table<string, integer> length of the history, by name
local histories = {}
---@type table<heart.ws, table<string, heart.channel.subscription>>
local by_socket = setmetatable({}, { __mode = "k" })
---@type table<string, any> members of this worker, by key
local present = {}

local store = shared("heart.channel", 64 * 1024 * 1024)
local renewing, listening = false, false

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
    list = { sockets = {}, places = {}, others = {} }
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
  list.sockets[n], list.places[ws] = nil, nil
end

---What a WebSocket gets: texts as they are, all else as JSON.
---@param data any
---@return string
local function as_text(data)
  return type(data) == "string" and data or json.encode(data)
end

---@param list heart.channel.list
---@param message heart.channel.message
local function deliver_to(list, message)
  if #list.sockets > 0 then
    core.ws.publish(list.sockets, as_text(message.data))
  end
  for subscription in pairs(list.others) do
    if not (subscription.seen and subscription.seen[message.id]) then
      subscription.receive(message)
    end
  end
end

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

local function listen()
  if not listening then
    listening = true
    worker.on_message(TOPIC, deliver)
  end
end

-- ---- History -----------------------------------------------------------------------------------------------------

---@param name string
---@param id integer
local function history_key(name, id)
  return ("h:%s:%016x"):format(name, id)
end

---Keep the last `length` messages of a channel, for those who come later or come back.
---@param name string
---@param length integer
function M.history(name, length)
  check_name(name)
  if type(length) ~= "number" or length < 1 or length > 10000 then
    error(("channel.history: expected a length from 1 to 10000, got %s"):format(tostring(length)), 2)
  end
  histories[name] = length
end

---@param message heart.channel.message
---@param length integer
---@return true? ok, string? err
local function remember(message, length)
  local id, err = store.incr("id:" .. message.channel)
  if not id then
    return nil, err
  end
  message.id = id
  local ok
  ok, err = store.set(history_key(message.channel, id), message)
  if id > length then
    store.delete(history_key(message.channel, id - length))
  end
  return ok, err
end

---The messages that are kept, oldest first.
---@param name string
---@param after? integer|string only those with a greater id
---@return heart.channel.message[]
function M.past(name, after)
  local found = {}
  local id = tonumber(after)
  local start = history_key(name, id and id + 1 or 0)
  for _, item in ipairs(store.list({ prefix = "h:" .. name .. ":", start = start, limit = 10000 })) do
    found[#found + 1] = item.value
  end
  return found
end

-- ---- Presence ----------------------------------------------------------------------------------------------------

local function renew()
  while next(present) do
    for key, who in pairs(present) do
      store.set(key, who, { ttl = PRESENCE })
    end
    task.sleep(RENEW)
  end
  renewing = false
end

---@param subscription heart.channel.subscription
---@param who any
local function appear(subscription, who)
  local key = ("p:%s:%s"):format(subscription.channel, store.ulid())
  subscription.member, present[key] = key, who
  store.set(key, who, { ttl = PRESENCE })
  if not renewing then
    renewing = true
    task.spawn(renew)
  end
end

---Who has subscribed to a channel with `as`, on all workers, in the order of their coming.
---@param name string
---@return any[]
function M.members(name)
  check_name(name)
  local found = {}
  for _, item in ipairs(store.list({ prefix = "p:" .. name .. ":", limit = 10000 })) do
    found[#found + 1] = item.value
  end
  return found
end

---How many they are.
---@param name string
---@return integer
function M.count(name)
  check_name(name)
  return store.count("p:" .. name .. ":")
end

-- ---- Publishing and subscribing ------------------------------------------------------------------------------------

---Send `data` to all who have subscribed to the channel. The messages of one worker arrive everywhere in their order.
---@param name string
---@param data any a string, a number, a boolean or a table of them
---@return true? ok, string? err
function M.publish(name, data)
  check_name(name)
  local message = { channel = name, data = data }
  if histories[name] then
    local ok, err = remember(message, histories[name])
    if not ok then
      return nil, err
    end
  end
  listen()
  deliver(message)
  return worker.send("others", message, TOPIC)
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

---@param name string
---@param receive fun(message: heart.channel.message)
---@param options? heart.channel.options
---@return heart.channel.subscription
local function subscribe(name, receive, options)
  listen()
  local list = list_of(name)
  local subscription = setmetatable({ channel = name, list = list, receive = receive }, Subscription)
  if options and options.after then
    subscription.seen = {}
    for _, message in ipairs(M.past(name, options.after)) do
      subscription.seen[message.id] = true
      receive(message)
    end
  end
  if options and options.as ~= nil then
    appear(subscription, options.as)
  end
  return subscription
end

---Call `receive(message)` at once with what is published: it must not wait.
---@param name string may have `*` in it
---@param receive fun(message: heart.channel.message)
---@param options? heart.channel.options
---@return heart.channel.subscription
function M.listen(name, receive, options)
  check_name(name)
  local subscription = subscribe(name, receive, options)
  subscription.list.others[subscription] = true
  return subscription
end

---Call `fn(data, message)` with what is published, one message at a time; it may wait. `name` may have `*` in it. When
---256 messages wait for it, further ones are dropped, and the log says so.
---@param name string
---@param fn fun(data: any, message: heart.channel.message)
---@param options? heart.channel.options
---@return heart.channel.subscription
function M.subscribe(name, fn, options)
  if type(fn) ~= "function" then
    error(("channel.subscribe: expected a function, got %s"):format(type(fn)), 2)
  end
  local queue = task.queue(QUEUE)
  local subscription = M.listen(name, function(message)
    if not queue:push(message, 0) then
      log.warn("channel: a subscriber is too slow: a message was dropped", { channel = name })
    end
  end, options)
  task.spawn(function()
    for message in queue:each() do
      fn(message.data, message)
    end
  end)
  subscription.queue = queue
  return subscription
end

---Get no more.
function Subscription:stop()
  local list = self.list
  if self.ws then
    if list.places[self.ws] then
      remove_socket(list, self.ws)
    end
    local subscriptions = by_socket[self.ws]
    if subscriptions then
      subscriptions[self.channel] = nil
    end
  end
  list.others[self] = nil
  if self.queue then
    self.queue:close()
  end
  if self.member then
    present[self.member] = nil
    store.delete(self.member)
    self.member = nil
  end
  drop_empty(self.channel)
end

---@param ws heart.ws
---@param name string
---@param options? heart.channel.options
---@return heart.channel.subscription
local function ws_subscribe(ws, name, options)
  check_name(name)
  local subscriptions = by_socket[ws]
  if not subscriptions then
    subscriptions = {}
    by_socket[ws] = subscriptions
  end
  if subscriptions[name] then
    return subscriptions[name]
  end
  local subscription = subscribe(name, function(message)
    ws:send(as_text(message.data))
  end, options)
  subscription.ws = ws
  subscriptions[name] = subscription
  add_socket(subscription.list, ws)
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

return M
