-- The bridge of heart.v1.channel to the pub/sub of a Redis or Valkey server (--channels): what is published here
-- reaches the subscribers of all servers that have the same URL, and the other way round.
--
-- It is Lua on heart.v1.socket in worker 0, not Python on the client library that the K/V uses: a message meets neither
-- the GIL nor another thread, a slow server holds up one coroutine, the executable needs no more modules (the library
-- costs 8 MiB when it is loaded), and TLS is Heart's own. What of the protocol is needed fits into resp.lua.
--
-- One connection (RESP3) carries both directions. So answers and messages have one order: what was missed while it was
-- broken is read behind the subscription, and nothing is lost between the two or comes twice.
-- The channel NAME is the server's PREFIX .. NAME; PREFIX alone is for the bridges. A payload is one of
--   MAGIC "m" ORIGIN value          a message
--   MAGIC "h" ID ":" ORIGIN SEQUENCE "," KEEP ":" value
--                                   one of a channel with a history, numbered by the script ADD
--   MAGIC "p" ORIGIN change         members that have come and gone
--   MAGIC "w" ORIGIN                a server has come, or has come back: who is there?
--   MAGIC "o" ORIGIN                the code of this server that was replaced hears no more from here on
-- and anything else is a text that another program has published. Values are packed as the K/V packs them.
--
-- Who publishes on a channel with a history hears the message when it comes back with its number, as all others do;
-- without a connection at once, without a number. The server gets it later, and `early` keeps it from coming twice.
--
-- A reload makes a new bridge while the old one still works. The new one, once it serves, asks the old one to leave:
-- that sends what it still has, and "o" behind it. Up to this mark the old one hears, from it on the new one; and the
-- new one sends only then. So nothing is lost, twice or out of its order.

local M = {}

local core = require("heart.core")
local history = require("heart.channel_history")
local link_to = require("heart.channel_link").new
local log = require("heart.v1.log")
local presence = require("heart.channel_presence")
local task = require("heart.v1.task")
local worker = require("heart.v1.worker")

local messages = core.messages
local target = core.channels ---@type table<string, string>
local prefix, origin = target.prefix, target.origin

local TOPIC = "heart.channel.bridge" -- to worker 0: what to do
local WHO = "heart.channel.who" -- to all: tell who is there
local LOADED = "heart.channel.loaded" -- to one: a history is here
local LEAVE = "heart.channel.leave" -- to older states of worker 0

local MAGIC = "\0H1"
local KEPT = 604800 -- seconds after its last message that a history stays on the server
local HANDOVER = 2 -- seconds to wait for the old bridge
local LOAD = 2 -- seconds to wait for a history
local LOOK = 0.05 -- ... and between two looks at it
local CROWD = 512 -- messages that wait for a worker: then the bridge reads no further
local PATIENCE = 1 -- ... for so many seconds
local HEARD = 10000 -- channels and origins that are told apart
local ORIGIN = #origin

-- ADD key body length channel seconds again → the number; negative: it was there already. The last number is that of
-- the last member, so the history is one key.
local ADD = [[
local key, body, length, channel, seconds, again = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
if again == '1' then
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    local id, rest = member:match('^(%d+):(.*)$')
    if rest == body then return -tonumber(id) end
  end
end
local id = (tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]) or 0) + 1
local member = string.format('%.0f:', id) .. body
redis.call('ZADD', key, id, member)
redis.call('ZREMRANGEBYRANK', key, 0, -length - 1)
redis.call('EXPIRE', key, seconds)
redis.call('PUBLISH', channel, '\0H1h' .. member)
return id
]]

---@class heart.bridge.entry
---@field message heart.channel.message
---@field early boolean delivered here before it had a number
---@field seen boolean it has come back
---@field answered boolean

local first = core.worker == 0
local link ---@type heart.link of worker 0
local spread ---@type fun(message: heart.channel.message) to all subscribers of this server
local open = false -- this bridge hears
local leaving = false
local delayed = {} ---@type {action: string, value: any}[] what is to be done once the old bridge has left
local own = {} ---@type table<string, heart.bridge.entry> by their sequence numbers
local sequence = core.generation * 2 ^ 32 -- of the last message; ORIGIN and it are the message's name
local heard = {} ---@type table<string, number> the last sequence number of an origin on a channel
local nheard = 0
local syncing = {} ---@type table<string, true> channels whose history is being read anew
local wanted = {} ---@type table<string, true> channels whose history is to be read when there is a connection
local loading = {} ---@type table<string, heart.event> histories that this worker waits for
local refused = false -- and said so
local stuck = false -- a worker was waited for in vain

---@param name string
local function key_of(name)
  return prefix .. "history:" .. name
end

---A prefix may have characters that mean something in a pattern.
local function pattern()
  return (prefix:gsub("[%*%?%[%]\\]", "\\%0")) .. "*"
end

-- ---- Delivering ------------------------------------------------------------------------------------------------

---A message of another server. Workers that have much to do are waited for; one that is stuck holds up the others once.
---@param message heart.channel.message
local function deliver(message)
  local deadline = core.now() + PATIENCE
  while messages.waiting() > CROWD and not stuck do
    stuck = core.now() >= deadline
    task.sleep(0.001)
  end
  stuck = stuck and messages.waiting() > CROWD
  message.far = true
  spread(message)
end

---The server refuses what is asked of it. Once for each connection.
---@param reason string
local function say_refused(reason)
  if not refused then
    refused = true
    log.warn("channels: the server refuses a command", { server = target.url, reason = reason })
  end
end

---An entry without a number, because there is no connection, or no room.
---@param entry heart.bridge.entry
local function deliver_early(entry)
  if not entry.early and not entry.seen then
    entry.early = true
    spread({ channel = entry.message.channel, data = entry.message.data, far = true })
  end
end

-- ---- Histories -------------------------------------------------------------------------------------------------

---@class heart.bridge.member one message of a history, as the server has it
---@field message heart.channel.message
---@field keep integer
---@field entry? heart.bridge.entry if this state has sent it
---@field from string
---@field number string

---@param name string
---@param text string
---@return heart.bridge.member?
local function read_member(name, text)
  local id, from, number, keep, at = text:match("^(%d+):(" .. ("."):rep(ORIGIN) .. ")(%d+),(%d+):()")
  local data = at and messages.unpack(text:sub(at))
  if data == nil then
    return nil
  end
  local message = { channel = name, id = tonumber(id), data = data }
  local entry = from == origin and own[number] or nil
  return { message = message, keep = tonumber(keep), entry = entry, from = from, number = number }
end

---Whether it has come before, with another number: its sender has sent it again, for Redis had lost it.
---@param member heart.bridge.member
---@return boolean
local function is_repeated(member)
  local key, number = member.from .. member.message.channel, tonumber(member.number)
  local last = heard[key]
  if last and number <= last then
    return true
  elseif not last then
    nheard = nheard + 1
    if nheard > HEARD then
      heard, nheard = {}, 1
    end
  end
  heard[key] = number
  return false
end

---Keep a message, and deliver it unless that has been done.
---@param member heart.bridge.member
local function take_member(member)
  local entry = member.entry
  history.keep(member.message, member.keep)
  if not entry then
    if not is_repeated(member) then
      deliver(member.message)
    end
    return
  end
  entry.seen = true
  if entry.answered then
    own[member.number] = nil
  end
  if not entry.early then
    deliver(member.message)
  end
end

---Read the history of a channel. `done(members)` gets what is behind `after`; nil: it can not be read.
---@param name string
---@param after integer
---@param done fun(members?: heart.bridge.member[])
local function read_history(name, after, done)
  local words = { "ZRANGEBYSCORE", key_of(name), "(" .. ("%.0f"):format(after), "+inf" }
  local ok = link:ask({
    words = words,
    urgent = true,
    lost = done,
    answered = function(reply)
      local members = {}
      if reply.error then
        say_refused(reply.error)
        return done(nil)
      end
      for _, text in ipairs(reply) do
        members[#members + 1] = read_member(name, text)
      end
      return done(members)
    end,
  })
  if not ok then
    done(nil)
  end
end

---What was published on a channel while there was no connection. If the server has lost its numbers, ours begin again.
---@param name string
local function catch_up(name)
  syncing[name] = true
  local function read(after)
    read_history(name, after, function(members)
      syncing[name] = nil
      for _, member in ipairs(members or {}) do
        take_member(member)
      end
    end)
  end
  local ok = link:ask({
    words = { "ZREVRANGE", key_of(name), 0, 0 },
    urgent = true,
    lost = function()
      syncing[name] = nil
    end,
    answered = function(reply)
      local latest = history.latest(name)
      local newest = not reply.error and reply[1] and tonumber(reply[1]:match("^%d+")) or 0
      if newest < latest then
        history.clear(name)
        latest = 0
      end
      read(latest)
    end,
  })
  if not ok then
    syncing[name] = nil
  end
end

---@param name string
local function loaded_key(name)
  return "l:" .. name
end

---Read a history that this server does not have yet.
---@param name string
---@param done? fun()
local function load(name, done)
  wanted[name] = true
  read_history(name, 0, function(members)
    if members then
      for _, member in ipairs(members) do
        history.fill(member.message, member.keep)
      end
      history.begin(name)
      history.store.set(loaded_key(name), true)
      wanted[name] = nil
    end
    if done then
      done()
    end
  end)
end

-- ---- What worker 0 does ------------------------------------------------------------------------------------------

local actions = {}

---@param reply any
local function published(reply)
  if type(reply) == "table" and reply.error then
    say_refused(reply.error)
  end
end

---Send a message without a history.
---@param message heart.channel.message
function actions.send(message)
  local payload = MAGIC .. "m" .. origin .. messages.pack(message.data)
  link:ask({ words = { "PUBLISH", prefix .. message.channel, payload }, answered = published })
end

---@param number string
---@param entry heart.bridge.entry
---@param reply any
local function numbered(number, entry, reply)
  entry.answered = true
  if type(reply) ~= "number" then
    published(reply)
    deliver_early(entry)
  end
  local comes = type(reply) == "number" and (reply > 0 or syncing[entry.message.channel])
  if entry.seen or not comes then
    own[number] = nil
  end
end

---Have the server number a message and publish it.
---@param request {channel: string, data: any, keep: integer}
function actions.number(request)
  sequence = sequence + 1
  local number = ("%.0f"):format(sequence)
  local name, keep = request.channel, request.keep
  local body = ("%s%s,%d:%s"):format(origin, number, keep, messages.pack(request.data))
  local entry = { message = request, early = false, seen = false, answered = false }
  local words = { "EVAL", ADD, 1, key_of(name), body, keep, prefix .. name, KEPT, 0 }
  own[number] = entry
  local ok = link:ask({
    words = words,
    kept = true,
    answered = function(reply)
      numbered(number, entry, reply)
    end,
    lost = function()
      words[#words] = 1
      deliver_early(entry)
    end,
  })
  if not ok then
    own[number] = nil
  end
  if not ok or not link.up then
    deliver_early(entry)
  end
end

---@param change heart.channel.change
function actions.tell(change)
  link:ask({ words = { "PUBLISH", prefix, MAGIC .. "p" .. origin .. messages.pack(change) } })
end

---@param request {name: string, worker?: integer} the worker that waits for it
function actions.load(request)
  load(request.name, request.worker and function()
    messages.send(request.worker, LOADED, request.name)
  end)
end

---Do what a worker asks for; a new bridge does it when the old one has left.
---@param request {action: string, value: any}
local function act(request)
  if not open then
    delayed[#delayed + 1] = request
    return
  end
  actions[request.action](request.value)
end

---From now on this bridge hears and sends.
local function begin()
  if open then
    return
  end
  open = true
  local waiting = delayed
  delayed = {}
  for _, request in ipairs(waiting) do
    act(request)
  end
end

-- ---- What comes from the server ----------------------------------------------------------------------------------

---@param kind string
---@param from string
---@param body string
local function take_control(kind, from, body)
  if kind == "o" and from == origin then
    if leaving then
      link:close()
    else
      begin()
    end
  elseif from == origin or not open then
    return
  elseif kind == "p" then
    local change = messages.unpack(body)
    if type(change) == "table" then
      presence.take(change)
    end
  elseif kind == "w" then
    presence.announce()
    messages.spread(WHO, true)
  end
end

---@param list heart.resp.list
local function take(list)
  if list[1] ~= "pmessage" then
    return
  end
  local name, payload = list[3]:sub(#prefix + 1), list[4]
  local ours = payload:sub(1, #MAGIC) == MAGIC
  local kind, body = payload:sub(#MAGIC + 1, #MAGIC + 1), payload:sub(#MAGIC + 2)
  if name == "" then
    if ours then
      take_control(kind, body:sub(1, ORIGIN), body:sub(ORIGIN + 1))
    end
  elseif not open then
    return -- the old bridge hears it
  elseif not ours then
    deliver({ channel = name, data = payload })
  elseif kind == "h" and not syncing[name] then
    local member = read_member(name, body)
    if member then
      take_member(member)
    end
  elseif kind == "m" and body:sub(1, ORIGIN) ~= origin then
    local data = messages.unpack(body:sub(ORIGIN + 1))
    if data ~= nil then
      deliver({ channel = name, data = data })
    end
  end
end

---Connected: who is there, and what was missed?
---@param from_start boolean
local function come_up(from_start)
  refused = false
  link:ask({ words = { "PUBLISH", prefix, MAGIC .. "w" .. origin } })
  presence.announce()
  messages.spread(WHO, true)
  if not from_start or not M.in_time then -- else there was nothing to hear, or the old bridge has heard it
    for _, name in ipairs(history.names()) do
      catch_up(name)
    end
  end
  for name in pairs(wanted) do
    load(name)
  end
end

-- ---- For all workers -------------------------------------------------------------------------------------------

---@param action string
---@param value any
---@return true? ok
---@return string? err
local function ask_first(action, value)
  local request = { action = action, value = value }
  if first and messages.serving() then
    act(request)
    return true
  end
  return messages.send(0, TOPIC, request)
end

---A message without a history that was published here: worker 0 sends it on.
---@param message heart.channel.message
function M.pass(message)
  if first and not message.far and messages.serving() then
    act({ action = "send", value = message })
  end
end

---Publish a message on a channel with a history: it comes back with its number.
---@param message heart.channel.message its data can be packed
---@param keep integer
---@return true? ok
---@return string? err
function M.number(message, keep)
  return ask_first("number", { channel = message.channel, data = message.data, keep = keep })
end

---The channel has a history: it will be read, so that what is missed later is known.
---@param name string
function M.prepare(name)
  if not history.store.has(loaded_key(name)) then
    ask_first("load", { name = name })
  end
end

---Have the history of a channel here. Waits if it is not yet.
---@param name string
function M.load(name)
  if history.store.has(loaded_key(name)) then
    return
  end
  local done = loading[name]
  if not done then
    done = task.event()
    loading[name] = done
    ask_first("load", { name = name, worker = core.worker })
  end
  local deadline = core.now() + LOAD
  repeat -- a script beside the application gets no messages, so it looks
    local ended = done:wait(LOOK)
  until ended or core.now() > deadline or history.store.has(loaded_key(name))
  loading[name] = nil
end

---Wait until this state serves; then have the old bridge leave.
local function take_over()
  core.task.serving()
  messages.spread(LEAVE, true)
  task.sleep(HANDOVER)
  begin()
end

---Send what is left, and the mark behind it.
local function leave()
  if leaving or messages.serving() then
    return
  end
  leaving = true
  if not link:ask({ words = { "PUBLISH", prefix, MAGIC .. "o" .. origin }, urgent = true }) then
    link:close()
  end
end

---Connect. A server that can not be reached, or refuses, is an error when Heart starts; later it is tried again.
---@param deliver_all fun(message: heart.channel.message)
function M.start(deliver_all)
  spread = deliver_all
  presence.tell = function(change)
    ask_first("tell", change)
  end
  worker.on_message(WHO, presence.announce)
  worker.on_message(LOADED, function(name)
    if loading[name] then
      loading[name]:set()
    end
  end)
  if not first or not messages.main() then
    return
  end
  worker.on_message(TOPIC, act)
  worker.on_message(LEAVE, leave)
  link = link_to(target, { { "PSUBSCRIBE", pattern() } }, { up = come_up, push = take })
  local ok, err = link:open()
  if not ok and core.generation == 1 then
    error(("--channels %s: %s"):format(target.url, err), 0)
  end
  M.in_time = ok
  if core.generation == 1 then
    open = true
  else
    task.spawn(take_over)
  end
  link:start()
end

return M
