-- The application of bench_kv.py. `module` is the store: heart.v1.kv.memory unless HEART_BENCH_KV names another.
local app = require("heart.v1")
local core = require("heart.core")
local kv = require(os.getenv("HEART_BENCH_KV") or "heart.v1.kv.memory")

local MANY = 100
local KEYS = 1000
local VALUE = ("x"):rep(32)
local mine = ("worker%d:"):format(core.worker)
local keys = {}
for i = 1, KEYS do
  keys[i] = mine .. i
  assert(kv.set(keys[i], VALUE))
end

-- Keys that only this worker uses, one after the other.
local at = 0
local function key()
  at = at % KEYS + 1
  return keys[at]
end

app.get("/hello", function()
  return "hello"
end)

app.get("/get", function()
  return kv.get(key())
end)

app.get("/set", function()
  kv.set(key(), VALUE)
  return "done"
end)

app.get("/gets", function()
  for _ = 1, MANY do
    kv.get(key())
  end
  return "done"
end)

app.get("/sets", function()
  for _ = 1, MANY do
    kv.set(key(), VALUE)
  end
  return "done"
end)

app.get("/hits", function()
  local hits
  kv.serialTransaction(function(store)
    hits = (tonumber(store.get("hits")) or 0) + 1
    store.set("hits", hits)
  end)
  return hits
end)
