-- What bench_ws.py asks: an echo in both styles, without compression, as the servers it is compared with have it.
local app = require("heart.v1")

app.ws("/called", { deflate = false }, {
  message = function(ws, data, kind)
    ws:send(data, kind)
  end,
})

app.ws("/asked", { deflate = false }, function(ws)
  local data, kind = ws:receive()
  while data do
    ws:send(data, kind)
    data, kind = ws:receive()
  end
end)
