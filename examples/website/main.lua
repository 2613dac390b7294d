-- A small website: pages from Lua, files from public/, a form that answers with a redirect and a cookie.
local app = require("heart.v1")
local page = require("page")

local NAME_MAX = 40
local YEAR = 365 * 24 * 3600

app.static("/", "public")

app.get("/", function(ctx)
  return ctx.html(page.render("Welcome", page.home(ctx.cookies("name"))))
end)

-- A form is answered with 303: the browser goes on with GET, and a reload does not send the form again.
app.post("/name", function(ctx)
  local name = ctx.formParam("name")
  if name == "" or #name > NAME_MAX or name:find("[%c;]") then
    return 422, ctx.html(page.render("Please try again", page.bad_name(NAME_MAX)))
  end
  ctx.cookies("name", name, { maxAge = YEAR, httpOnly = true })
  return ctx.redirect("/", 303)
end)

app.post("/forget", function(ctx)
  ctx.clearCookie("name")
  return ctx.redirect("/", 303)
end)

app.notfound(function(ctx)
  return 404, ctx.html(page.render("Not found", page.missing(ctx.path())))
end)
