-- The HTML of the website. Whatever comes from a visitor goes through escape().
local M = {}

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local LAYOUT = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>%s</title>
<link rel="stylesheet" href="/style.css">
<h1>%s</h1>
%s
</html>
]]

local FORM = [[
<form method="post" action="/name">
<input name="name" placeholder="Your name"> <button>Say hello</button>
</form>
<p><a href="/about.html">About</a></p>]]

local FORGET = [[
<form method="post" action="/forget"><button>Forget me</button></form>]]

local function escape(text)
  return (text:gsub("[&<>\"']", ENTITIES))
end

function M.render(title, content)
  return LAYOUT:format(escape(title), escape(title), content)
end

function M.home(name)
  if name == "" then
    return FORM
  end
  return "<p>Hello, " .. escape(name) .. "!</p>\n" .. FORGET
end

function M.bad_name(max)
  return "<p>A name has 1 to " .. max .. " bytes.</p>\n" .. FORM
end

function M.missing(path)
  return "<p>There is no " .. escape(path) .. ".</p>"
end

return M
