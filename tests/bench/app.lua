-- The application that the bench drives: one constant answer, and one that differs for every request, so that
-- no server can win by remembering what it said.
local app = require("heart.v1")

local served = 0

app.get("/hello", function(ctx)
  return ctx.json({ hello = "world" })
end)

app.get("/echo", function(ctx)
  served = served + 1
  return ctx.json({ name = ctx.queryParam("name"), n = served })
end)
