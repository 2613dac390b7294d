-- The application of bench_upstream.py: an answer of its own, and one that it asks another server for.
local app = require("heart.v1")
local http = require("heart.v1.http")

local url = os.getenv("UPSTREAM") .. "/hello"

app.get("/hello", function(ctx)
  return ctx.json({ hello = "world" })
end)

app.get("/upstream", function()
  local response, err = http.get(url)
  return response and response.body or error(err)
end)
