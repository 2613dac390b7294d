-- A connection to Redis or Valkey that is made again when it breaks, with a bounded queue of commands. It knows what a
-- command and a push are, not what they mean (channel_bridge.lua).
-- Invariants:
--   - commands are sent in the order of `ask`, and answers come in that order, also between those of different callers;
--   - a command whose answer was lost is sent again only if it is `kept`, and then it is told so (`again`);
--   - the functions of a command and of the link run on the coroutine that reads, one at a time; they must not wait
--     long.

local core = require("heart.core")
local guard = require("heart.guard")
local log = require("heart.v1.log")
local resp = require("heart.resp")
local socket = require("heart.v1.socket")
local task = require("heart.v1.task")

local NAME = "heart-channels" -- in the server's list of clients
local CONNECT = 5 -- seconds to connect and greet
local ANSWER = 5 -- seconds until an answer counts as lost
local SILENCE = 5 -- seconds without a word, until the server is asked for one
local FIRST_PAUSE, LAST_PAUSE = 0.1, 5 -- seconds between attempts to connect
local QUEUE, QUEUE_BYTES = 1024, 16777216 -- commands that wait for their answers
local BATCH = 65536 -- bytes of one send

---@class heart.link.command
---@field words (string|number)[]
---@field urgent? true it may exceed the limit of the queue
---@field kept? true it is sent again after the connection was lost
---@field again? true it has been sent before
---@field answered? fun(reply: any) an error of the server is {error = its words}
---@field lost? fun() the connection was lost before the answer; it may change `words`
---@field package text? string
---@field package sent? number when

---@class heart.link.events
---@field up fun(first: boolean) connected: what is asked for now goes before all that was kept
---@field push fun(list: heart.resp.list)

---@class heart.link
---@field up boolean
---@field private dropped integer commands for which there was no room
---@field private target table<string, string>
---@field private setup (string|number)[][]
---@field private events heart.link.events
---@field private sock? heart.socket
---@field private queue table<integer, heart.link.command>
---@field private kept heart.link.command[]
local Link = {}
Link.__index = Link

---@param target table<string, string> what --channels says (heartc/channel_url.py)
---@param setup (string|number)[][] commands that make a connection ready; pushes may come from the last one on
---@param events heart.link.events
---@return heart.link
local function new(target, setup, events)
  local link = { target = target, setup = setup, events = events, queue = {}, first = 1, next = 1, last = 0, bytes = 0 }
  link.kept, link.dropped, link.up, link.greeted = {}, 0, false, false
  link.wake = task.event()
  return setmetatable(link, Link)
end

-- ---- Connecting ------------------------------------------------------------------------------------------------

---@param err string
local function explain(err)
  if err:find("^ERR unknown command") and err:find("HELLO", 1, true) then
    return err .. " (Redis 6 or newer is needed, or Valkey)"
  end
  return err
end

---Speak RESP3, log in, choose the database, make ready.
---@param sock heart.socket
---@return true? ok
---@return string? err
function Link:greet(sock)
  local target = self.target
  local hello = { "HELLO", "3", "SETNAME", NAME }
  if target.password ~= "" or target.user ~= "" then
    hello = { "HELLO", "3", "AUTH", target.user ~= "" and target.user or "default", target.password, "SETNAME", NAME }
  end
  local commands = { hello }
  if target.db ~= "0" then
    commands[2] = { "SELECT", target.db }
  end
  for _, words in ipairs(self.setup) do
    commands[#commands + 1] = words
  end
  for _, words in ipairs(commands) do
    local reply, err = resp.call(sock, unpack(words))
    if reply == nil then
      return nil, explain(err or "closed")
    end
  end
  return true
end

---@return heart.socket?
---@return string? err
function Link:connect()
  local target = self.target
  local options = { timeout = CONNECT, send_timeout = ANSWER, tls = target.tls ~= "" or nil }
  local sock, err = socket.connect(target.host, tonumber(target.port), options)
  if not sock then
    return nil, err
  end
  sock:deadline(CONNECT)
  local ok
  ok, err = self:greet(sock)
  if not ok then
    sock:close()
    return nil, err
  end
  sock:deadline(nil)
  return sock
end

---Connect for the first time.
---@return true? ok
---@return string? err
function Link:open()
  local err
  self.sock, err = self:connect()
  return self.sock and true, err
end

-- ---- The queue -------------------------------------------------------------------------------------------------

---@param command heart.link.command
function Link:put(command)
  command.text = resp.command(unpack(command.words))
  self.bytes = self.bytes + #command.text
  self.last = self.last + 1
  self.queue[self.last] = command
  self.wake:set()
end

---Send a command, in its turn. What is kept may also wait for a connection.
---@param command heart.link.command
---@return true? ok
---@return "lost"|"full"|nil reason why it is not sent
function Link:ask(command)
  if not self.up and not command.kept then
    return nil, "lost"
  end
  local n = self.up and self.last - self.first + 1 or #self.kept
  if not command.urgent and (n >= QUEUE or self.bytes > QUEUE_BYTES) then
    if self.dropped == 0 then
      log.warn("channels: the server is too slow, messages do not reach other servers", { server = self.target.url })
    end
    self.dropped = self.dropped + 1
    return nil, "full"
  end
  if self.up then
    self:put(command)
  else
    self.kept[#self.kept + 1] = command
    for _, word in ipairs(command.words) do
      self.bytes = self.bytes + #tostring(word)
    end
  end
  return true
end

---@param reply any
---@return string? err
function Link:answer(reply)
  local command = self.queue[self.first]
  if not command or self.first == self.next then
    return "an answer that nobody has asked for"
  end
  self.queue[self.first] = nil
  self.first = self.first + 1
  self.bytes = self.bytes - #command.text
  if self.dropped > 0 and self.first > self.last then
    log.info("channels: messages reach other servers again", { server = self.target.url, lost = self.dropped })
    self.dropped = 0
  end
  if command.answered then
    command.answered(reply)
  end
end

---Empty the queue: what is kept waits for the next connection, all else is gone.
function Link:clear()
  local queue, first, last = self.queue, self.first, self.last
  self.queue, self.first, self.next, self.last, self.bytes = {}, 1, 1, 0, 0
  for i = first, last do
    local command = queue[i]
    if command.kept then
      command.again = command.again or command.sent ~= nil or nil
      self.kept[#self.kept + 1] = command
      self.bytes = self.bytes + #command.text
    end
    if command.lost then
      guard(command.lost)
    end
  end
end

-- ---- A connection that stands ------------------------------------------------------------------------------------

---Send what is asked for, many commands at once.
---@param sock heart.socket
function Link:write(sock)
  while true do
    while self.next > self.last do
      self.wake:clear()
      self.wake:wait()
    end
    local parts, bytes, now = {}, 0, core.now()
    repeat
      local command = self.queue[self.next]
      command.sent = now
      parts[#parts + 1], bytes = command.text, bytes + #command.text
      self.next = self.next + 1
    until self.next > self.last or bytes >= BATCH
    local ok, err = sock:send(parts)
    if not ok then
      return self:give_up(sock, err)
    end
  end
end

---@param sock heart.socket
---@param reason? string
function Link:give_up(sock, reason)
  self.reason = self.reason or reason
  sock:close()
end

---Notice that the server has fallen silent.
---@param sock heart.socket
function Link:watch(sock)
  while true do
    task.sleep(1)
    local now, oldest = core.now(), self.queue[self.first]
    if oldest and oldest.sent and now - oldest.sent > ANSWER and now - self.heard > ANSWER then
      return self:give_up(sock, ("no answer within %d s"):format(ANSWER))
    elseif not oldest and now - self.heard > SILENCE then
      self:ask({ words = { "PING" }, urgent = true })
    end
  end
end

---Take what has come.
---@param value any
---@return string? err
function Link:take(value)
  if type(value) == "table" and value.push then
    self.events.push(value)
    return nil
  end
  return self:answer(value)
end

---Read until the connection is broken.
---@param sock heart.socket
---@return string? reason
function Link:read(sock)
  while true do
    local value, err = resp.read(sock)
    if value == nil then
      return err
    end
    self.heard = core.now()
    local _, failure = guard(self.take, self, value)
    if failure then
      return failure
    end
  end
end

---Serve a connection until it breaks.
---@param sock heart.socket
---@return string reason
function Link:serve(sock)
  self.up, self.heard, self.reason, self.live = true, core.now(), nil, sock
  local kept = self.kept
  self.kept, self.bytes = {}, 0
  guard(self.events.up, not self.greeted)
  self.greeted = true
  for _, command in ipairs(kept) do
    self:put(command)
  end
  local writer, watcher = task.spawn(self.write, self, sock), task.spawn(self.watch, self, sock)
  local reason = self:read(sock)
  self.up = false
  writer:cancel()
  watcher:cancel()
  sock:close()
  self:clear()
  return self.reason or reason or "closed"
end

---Connect until it works.
---@param pause number
---@return heart.socket?
function Link:connect_again(pause)
  while not self.closed do
    task.sleep(pause * (0.75 + math.random() / 2))
    local sock, err = self:connect()
    if sock then
      return sock
    end
    pause = math.min(2 * pause, LAST_PAUSE)
    log.debug("channels: no connection", { server = self.target.url, reason = err })
  end
end

---Serve, and connect again when the connection breaks, until closed.
function Link:run()
  local pause = FIRST_PAUSE
  while not self.closed do
    local sock = self.sock or self:connect_again(pause)
    self.sock = nil
    if not sock then
      return
    end
    if self.told then
      log.info("channels: connected again", { server = self.target.url })
    end
    local began = core.now()
    local reason = self:serve(sock)
    if self.closed then
      return
    end
    log.warn("channels: the connection is lost, messages reach this server alone", {
      server = self.target.url,
      reason = reason,
    })
    self.told = true
    pause = core.now() - began > LAST_PAUSE and FIRST_PAUSE or math.min(2 * pause, LAST_PAUSE)
  end
end

---Serve in the background. The link need not be open yet.
function Link:start()
  self.told = self.sock == nil
  task.spawn(self.run, self)
end

---End the connection.
function Link:close()
  self.closed = true
  if self.live then
    self.live:close()
  end
end

return { new = new }
