-- The application of tests/task: each route runs one chunk that the test sends, with the modules at hand.
local app = require("heart.v1")
local task = require("heart.v1.task")
local env = setmetatable({ app = app, task = task, shared = {}, core = require("heart.core") }, { __index = _G })

app.post("/run", function(ctx)
  env.ctx = ctx
  local chunk = assert(loadstring(ctx.bytes(), "=test"))
  local ok, result = xpcall(setfenv(chunk, env), debug.traceback)
  return ok and 200 or 500, ok and tostring(result) or result
end)
app.get("/hello", function()
  return "hello"
end)
app.get("/stats", function()
  collectgarbage()
  collectgarbage()
  local stats = task.stats()
  return stats.tasks .. " " .. stats.suspended
end)
