-- The guest-book, written for luafcgid2: the request is in globals, and Session remembers who writes.
local entries = require("lib.entries")

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(text)
  return (text:gsub('[&<>"]', ENTITIES))
end

local PAGE = [[
<!doctype html>
<html lang="en">
<title>%s</title>
<h1>%s</h1>
<form method="post">
<p><label>Name <input name="name" value="%s" required></label>
<p><label>Text <textarea name="text" required></textarea></label>
<p><button>Write</button>
</form>
%s</html>
]]

local function show(message)
  local parts = { message and "<p>" .. escape(message) .. "</p>\n" or "" }
  for _, entry in ipairs(entries.latest(Config.most)) do
    parts[#parts + 1] = ("<p><b>%s</b>: %s</p>\n"):format(escape(entry.name), escape(entry.text))
  end
  local title = escape(Config.title)
  Send(PAGE:format(title, title, escape(Session.GetVar("visitor", "name") or ""), table.concat(parts)))
end

local function write()
  local form = lf.parse(Receive())
  local name, text = tostring(form.name or ""), tostring(form.text or "")
  local ok, why = entries.add(name, text)
  if not ok then
    RespStatus(Response[422])
    show(why or "It can not be kept now.")
    return
  end
  Session.SetVar("visitor", "name", name)
  RespStatus(Response[303])
  Header("Location", Env.SCRIPT_NAME)
end

function main()
  if Env.REQUEST_METHOD == "POST" then
    write()
  else
    show()
  end
end
