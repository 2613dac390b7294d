-- The HTML of APP_NAME. Whatever comes from a visitor goes through escape().
local M = {}

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local LAYOUT = [[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>
<link rel="stylesheet" href="/static/style.css">
</head>
<body>
<main>
%s
</main>
<footer>Served by Heart. JSON is at <a href="/api/hello">/api/hello</a>.</footer>
</body>
</html>
]]

local HOME = [[
<h1>%s</h1>
<p class="lead">APP_NAME runs. Edit <code>main.lua</code> and <code>pages.lua</code> to make it yours.</p>
%s
<form method="post" action="/name">
<label for="name">Your name</label>
<input id="name" name="name" maxlength="40" autocomplete="name" required>
<button>Say hello</button>
</form>]]

local MISSING = [[
<h1>Not found</h1>
<p class="lead">There is no <code>%s</code>. <a href="/">Back to the start</a></p>]]

local function escape(text)
  return (text:gsub("[&<>\"']", ENTITIES))
end

---@param name? string of the visitor
---@param problem? string what was wrong with the form
function M.home(name, problem)
  local title = name and "Hello, " .. escape(name) .. "!" or "Hello!"
  local notice = problem and '<p class="problem" role="alert">' .. escape(problem) .. "</p>" or ""
  return LAYOUT:format("APP_NAME", HOME:format(title, notice))
end

---@param path string that nothing answers
function M.missing(path)
  return LAYOUT:format("Not found", MISSING:format(escape(path)))
end

return M
