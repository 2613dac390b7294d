-- What bench_tasks.py asks for.
local app = require("heart.v1")
local task = require("heart.v1.task")
local clock = require("heart.core").task.clock
local ROUNDS = 100000
local asleep = 0

local function nothing() end

app.get("/spawn", function()
  local start = (clock())
  for _ = 1, ROUNDS do
    task.spawn(nothing):join()
  end
  return ("%.0f"):format(((clock()) - start) / ROUNDS * 1e9)
end)

app.get("/late/:ms", function(ctx)
  local seconds = tonumber(ctx.pathParam("ms")) / 1000
  local due = (clock()) + seconds
  asleep = asleep + 1
  app.sleep(seconds)
  asleep = asleep - 1
  return ("%.3f"):format(((clock()) - due) * 1000)
end)

app.get("/asleep", function()
  return asleep
end)
