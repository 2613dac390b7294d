-- Who is there: the members of the channels, in the dictionary of the histories, each under a key of its own that
-- expires unless its worker renews it. With a bridge the members of other machines are in it, too: they are told when
-- they come and go, and all of them at each renewal.

local M = {}

local history = require("heart.channel_history")
local task = require("heart.v1.task")

local LIFE = 30 -- seconds that a member counts without a sign of life of its worker
local RENEW = 10 -- seconds between two of them
local BATCH = 200 -- members in one message to other machines
local LISTED = 10000

local store = history.store

---@class heart.channel.change
---@field set? [string, any][] keys, and who they are
---@field gone? string[] keys

---@type table<string, any> members of this state, by key
local present = {}
local renewing = false

---@type fun(change: heart.channel.change)? tells other machines
M.tell = nil

---@param name string
local function prefix_of(name)
  return ("p:%d:%s:"):format(#name, name)
end

---Tell other machines of all members of this state.
function M.announce()
  if not M.tell then
    return
  end
  local set = {}
  for key, who in pairs(present) do
    set[#set + 1] = { key, who }
    if #set == BATCH then
      M.tell({ set = set })
      set = {}
    end
  end
  if #set > 0 then
    M.tell({ set = set })
  end
end

local function renew()
  repeat
    task.sleep(RENEW)
    for key, who in pairs(present) do
      store.set(key, who, { ttl = LIFE })
    end
    M.announce()
  until not next(present)
  renewing = false
end

---Somebody has come.
---@param name string
---@param who any
---@return string? key for `leave`
---@return string? err
function M.come(name, who)
  local key = prefix_of(name) .. store.ulid()
  local ok, err = store.set(key, who, { ttl = LIFE })
  if not ok then
    return nil, err
  end
  present[key] = who
  if M.tell then
    M.tell({ set = { { key, who } } })
  end
  if not renewing then
    renewing = true
    task.spawn(renew)
  end
  return key
end

---@param key string
function M.leave(key)
  present[key] = nil
  store.delete(key)
  if M.tell then
    M.tell({ gone = { key } })
  end
end

---What another machine tells.
---@param change heart.channel.change
function M.take(change)
  for _, entry in ipairs(change.set or {}) do
    store.set(entry[1], entry[2], { ttl = LIFE })
  end
  for _, key in ipairs(change.gone or {}) do
    store.delete(key)
  end
end

---Who they are, in the order of their coming.
---@param name string
---@return any[]
function M.members(name)
  local found = {}
  for _, item in ipairs(store.list({ prefix = prefix_of(name), limit = LISTED })) do
    found[#found + 1] = item.value
  end
  return found
end

---How many they are.
---@param name string
---@return integer
function M.count(name)
  return store.count(prefix_of(name))
end

return M
