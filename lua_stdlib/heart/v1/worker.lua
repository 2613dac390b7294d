---The worker that runs this code, and messages to the others.
---
---    local worker = require("heart.v1.worker")
---    worker.on_message("forget", function(user) cache[user] = nil end)
---    worker.send("all", user, "forget")
---@class heart.v1.worker
local M = {}

local core = require("heart.core")
local guard = require("heart.guard")
local messages, task = core.messages, core.task

---@type integer from 0
M.id = core.worker
---@type integer how many there are
M.count = core.workers

---@return integer pid of the process, which all workers share
function M.pid()
  local file = assert(io.open("/proc/self/stat"))
  local pid = file:read("*n")
  file:close()
  return pid
end

---@type table<string, function[]>
local listeners = {}
local listening = false

---One message after the other, each to all who listen to its topic.
local function dispatch()
  while true do
    local topic, value, sender = messages.take()
    while topic do
      local list = listeners[topic] or {}
      for i = 1, #list do
        guard(list[i], value, sender)
      end
      topic, value, sender = messages.take()
    end
    messages.wait()
  end
end

---Run `fn(value, sender)` for each message to this worker. The next message waits until it has ended.
---@param topic string|fun(value: any, sender: integer) the topic, or `fn` for messages without one
---@param fn? fun(value: any, sender: integer)
function M.on_message(topic, fn)
  if type(topic) == "function" then
    topic, fn = "", topic
  end
  if type(topic) ~= "string" or type(fn) ~= "function" then
    error("on_message: expected a topic and a function", 2)
  end
  listeners[topic] = listeners[topic] or {}
  table.insert(listeners[topic], fn)
  if not listening then
    listening = true
    messages.listen()
    task.background(dispatch)
  end
end

---Send a value that the K/V stores can hold (docs/kv.md). It arrives on a later turn, messages of one sender in order.
---@param to integer|"all"|"others" the id of a worker
---@param value any
---@param topic? string
---@return true? sent
---@return string? reason too many messages wait there, or the value can not be sent
function M.send(to, value, topic)
  if type(to) == "number" then
    return messages.send(to, topic or "", value)
  end
  if to ~= "all" and to ~= "others" then
    error('send: expected the id of a worker, "all" or "others"', 2)
  end
  local failed
  for id = 0, M.count - 1 do
    if to == "all" or id ~= M.id then
      local ok, err = messages.send(id, topic or "", value)
      failed = failed or (not ok and err)
    end
  end
  if failed then
    return nil, failed
  end
  return true
end

return M
