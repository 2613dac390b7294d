-- APP_NAME: what answers which request. The HTML is in pages.lua, files for the browser are in static/.
local app = require("heart.v1")
local pages = require("pages")

local NAME_MAX = 40
local MONTH = 30 * 24 * 3600

app.static("/static", "static")

app.get("/", function(ctx)
  return ctx.html(pages.home(ctx.cookie("name")))
end)

-- The form of the page. 303 sends the browser back to it, so that a reload does not send the form again.
app.post("/name", function(ctx)
  local name = ctx.form("name") or ""
  if name == "" or #name > NAME_MAX or name:find("[%c;]") then
    return 422, ctx.html(pages.home(nil, "A name has 1 to " .. NAME_MAX .. " characters."))
  end
  ctx.cookies("name", name, { maxAge = MONTH, httpOnly = true, sameSite = "Lax" })
  return ctx.redirect("/", 303)
end)

app.get("/api/hello/:name?", function(ctx)
  local name = ctx.pathParam("name")
  return ctx.json({ hello = name ~= "" and name or "world" })
end)

app.notfound(function(ctx)
  return 404, ctx.html(pages.missing(ctx.path()))
end)
