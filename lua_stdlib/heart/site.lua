-- What `heart serve DIR` runs: the files of a folder, and nothing else. A route for all paths answers what is no file,
-- so that other methods are told which ones there are.

local core = require("heart.core")
local app = require("heart.v1")

app.static("/", core.site, { redirect = true })

app.get("/*", function(ctx)
  ctx.status(404)
  return core.page("/404.html") or core.answer()
end)
