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

---Keep a message, which has its number, together with another write. All of it happens or nothing.
---@param message heart.channel.message
---@param length integer
---@param write? any[] see `batch` of the stores
---@return true? ok
---@return string? err
local function put(message, length, write)
  local name, id = message.channel, message.id
  local writes = { { "set", key_of(name, id), { channel = name, id = id, data = message.data } } }
  if id > length then
    writes[#writes + 1] = { "delete", key_of(name, id - length) }
  end
  writes[#writes + 1] = write
  local ok, err = store.batch(writes)
  return ok, err --[[@as string?]]
end

---Number a message and keep it. Another worker may take the same number first: then it takes the next one.
---@param message heart.channel.message
---@param length integer
---@return true? ok
---@return string? err
function M.add(message, length)
  local counter = "id:" .. message.channel
  local ok, err
  repeat
    local last, version = store.fetch(counter)
    message.id = (last or 0) + 1 --[[@as integer]]
    ok, err = put(message, length, { "cas", counter, version, message.id })
  until err ~= "conflict"
  return ok, err
end

---Keep a message that has its number from elsewhere; they come in order.
---@param message heart.channel.message
---@param length integer
function M.keep(message, length)
  put(message, length, { "set", "id:" .. message.channel, message.id })
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
