-- A counter that all open pages see change: a K/V watcher feeds a channel, and the channel feeds server-sent events.
local app = require("heart.v1")
local channel = require("heart.v1.channel")
local kv = require("heart.v1.kv.memory")

app.static("/", "public")

app.get("/count", function()
  return kv.fetch("count") or 0
end)

app.post("/count", function()
  return kv.incr("count")
end)

-- Every worker hears of every change, and tells the pages that it serves.
app.on("start", function()
  kv.watch({ "count" }, channel.feed("counts"))
end)

app.get("/changes", function(ctx)
  return ctx.sse(function(events)
    events:send({ value = kv.fetch("count") or 0 }, { retry = 1 })
    events:subscribe("counts")
  end)
end)
