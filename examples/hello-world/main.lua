-- The smallest application: two routes.
local app = require("heart.v1")

app.get("/", function()
  return "Hello, World!"
end)

app.get("/hello/:name?", function(ctx)
  local name = ctx.pathParam("name")
  if name == "" then
    name = "World"
  end
  return ctx.json({ hello = name })
end)
