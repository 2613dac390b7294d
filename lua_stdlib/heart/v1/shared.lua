---Dictionaries that all workers share: small values by name, in memory, with an expiry if you like.
---
---    local visits = require("heart.v1.shared")("visits")
---    local n = visits.incr("front page")
---
---They have the functions of the K/V stores (docs/kv.md). A full dictionary drops what was not used for longest.
---@class heart.v1.shared

local argument = require("heart.argument")
local core = require("heart.core")
local kv = require("heart.kv")

---@class heart.shared: heart.kv.store
---@field stale fun(key: string): heart.kv.value?, integer?, boolean? value, version, whether it has expired
---@field usage fun(): integer, integer, integer bytes used, bytes at most, keys
---@field flush_expired fun(max?: integer): integer how many expired keys were removed
---@field clear fun() remove everything

---The dictionary of a name, the same for all workers. It lives as long as the server.
---@param name string
---@param max_bytes? integer 10 MiB unless given; the last size that was given holds
---@return heart.shared
return function(name, max_bytes)
  local native = argument.call("shared", core.shared, name, max_bytes)
  local store = kv.new(native)
  ---@cast store heart.shared
  store.stale, store.usage, store.flush_expired = native.stale, native.usage, native.flush_expired
  function store.clear()
    store.deletePrefix("")
  end
  return store
end
