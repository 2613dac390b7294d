-- The application of bench_disk.py: a plain route, a durable write, cached reads in a loop, the loop's longest turn.
local app = require("heart.v1")
local disk = require("heart.v1.kv.disk")
local core = require("heart.core")

local value = ("x"):rep(100)

app.get("/plain", function()
  return "ok"
end)

app.get("/set", function()
  local ok, err = disk.set("key" .. math.random(100000), value)
  return ok and 200 or 503, err or "ok"
end)

app.get("/get", function()
  return disk.get("key" .. math.random(1000))
end)

app.get("/fill", function()
  for i = 1, 1000 do
    disk.set("key" .. i, value, { sync = false })
  end
  return "ok"
end)

-- ns for each of many reads of cached keys, and for the same loop without them.
app.get("/reads", function()
  local keys, count = {}, 1000000
  for i = 1, 1000 do
    keys[i] = "key" .. i
    disk.get(keys[i])
  end
  local start = os.clock()
  for i = 1, count do
    disk.get(keys[i % 1000 + 1])
  end
  return ("%.1f"):format((os.clock() - start) / count * 1e9)
end)

app.get("/turn", function()
  return ("%f %f"):format(core.longest_turn())
end)
