-- The histories of the channels: the last messages of each, numbered, in a dictionary that all workers share. With a
-- bridge (channel_bridge.lua) the numbers are those of its server, and this is a copy.

local M = {}

local shared = require("heart.v1.shared")

local PAST = 10000 -- messages, at most

M.store = shared("heart.channel", 64 * 1024 * 1024)

local store = M.store

---@type table<string, integer> how many messages are kept, by name
M.lengths = {}

---Names may have any byte in them, so their length stands in front.
---@param name string
local function prefix_of(name)
  return ("h:%d:%s:"):format(#name, name)
end

---@param name string
---@param id integer
local function key_of(name, id)
  return prefix_of(name) .. ("%016x"):format(id)
end

---@param message heart.channel.message with its id
---@param length integer
---@return true? ok
---@return string? err
local function put(message, length)
  local name, id = message.channel, message.id
  local ok, err = store.set(key_of(name, id), { channel = name, id = id, data = message.data })
  if id > length then
    store.delete(key_of(name, id - length))
  end
  return ok, err
end

---Number a message and keep it.
---@param message heart.channel.message
---@param length integer
---@return true? ok
---@return string? err
function M.add(message, length)
  local id, err = store.incr("id:" .. message.channel)
  if not id then
    return nil, err
  end
  message.id = id --[[@as integer]]
  return put(message, length)
end

---Keep a message that has its number from elsewhere; they come in order.
---@param message heart.channel.message
---@param length integer
function M.keep(message, length)
  store.set("id:" .. message.channel, message.id)
  put(message, length)
end

---The number that was given last; 0: none.
---@param name string
---@return integer
function M.latest(name)
  return tonumber((store.fetch("id:" .. name))) or 0
end

---Put back a message that may be older than others.
---@param message heart.channel.message
---@param length integer
function M.fill(message, length)
  if message.id > M.latest(message.channel) then
    return M.keep(message, length)
  end
  put(message, length)
end

---A history is here, though it may be empty.
---@param name string
function M.begin(name)
  store.add("id:" .. name, 0)
end

---The channels whose history is here.
---@return string[]
function M.names()
  local names = {}
  for i, key in ipairs(store.listKeys("id:", PAST)) do
    names[i] = key:sub(4)
  end
  return names
end

---Forget a history: its numbers begin again.
---@param name string
function M.clear(name)
  store.delete("id:" .. name)
  store.deletePrefix(prefix_of(name))
end

---The messages that are kept, oldest first.
---@param name string
---@param after? integer|string only those with a greater id; all, if it is greater than any that was given
---@return heart.channel.message[]
function M.past(name, after)
  local found = {}
  local id = tonumber(after)
  if not id or id ~= id or id > M.latest(name) then
    id = -1
  end
  local prefix = prefix_of(name)
  local start = key_of(name, math.max(0, math.floor(id) + 1))
  for _, item in ipairs(store.list({ prefix = prefix, start = start, limit = PAST })) do
    found[#found + 1] = item.value
  end
  return found
end

return M
