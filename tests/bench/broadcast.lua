-- The application of bench_broadcast.py: subscribers, and a message to all of them for each request.
local app = require("heart.v1")
local channel = require("heart.v1.channel")

app.ws("/subscribe", {
  open = function(ws)
    ws:subscribe("all")
  end,
  message = function() end,
})

app.post("/publish", function(ctx)
  channel.publish("all", ctx.bytes())
  return "published"
end)
