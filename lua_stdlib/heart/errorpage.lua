---The page that answers a failed request in development: message, source, traceback, request.
---It is pure: it takes what the server knows and gives HTML; whatever it is given, it does not raise.

---@class heart.errorpage.info
---@field message any
---@field traceback? string
---@field method? string
---@field target? string
---@field headers? string[][] pairs of name and value
---@field version? string

local CONTEXT = 6 -- lines shown before and after the one that failed
local LINE_MAX = 400 -- bytes shown of a line, and of a header's value
local TEXT_MAX = 65536 -- bytes shown of a message or traceback
local TRIES = 16 -- places in a text whose file is looked for
local MASKED = { authorization = true, cookie = true, ["proxy-authorization"] = true, ["set-cookie"] = true }
local SECRET = { "token", "secret", "password", "api%-?key", "session" } -- in the name of a header

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local STYLE = [[
:root { color-scheme: light dark; --back: #fff; --text: #1d1f21; --dim: #6b7076; --line: #e3e5e8; --soft: #f6f7f8;
  --mark: #fdecea; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #17191c; --text: #e4e6e8; --dim: #969ca3; --line: #2e3237;
  --soft: #1f2226; --mark: #432321; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .25rem; color: var(--bad); font-size: 1.35rem; white-space: pre-wrap; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .5rem; font-size: 1rem; }
p, footer { margin: 0; color: var(--dim); font-size: .9rem; overflow-wrap: anywhere; }
footer { margin-top: 2rem; }
pre, table { margin: 0; border: 1px solid var(--line); border-radius: 6px; background: var(--soft); width: 100%;
  font: 13.5px/1.55 ui-monospace, monospace; overflow-x: auto; }
pre { padding: .6rem 0; tab-size: 4; }
pre span, pre mark { display: block; padding: 0 .9rem; min-width: max-content; }
pre mark { background: var(--mark); color: inherit; font-weight: 600; }
pre i { display: inline-block; min-width: 3.5em; padding-right: 1.2em; text-align: right; color: var(--dim);
  font-style: normal; font-weight: 400; user-select: none; }
table { border-collapse: collapse; }
td { padding: .2rem .9rem; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
tr:first-child td { border-top: 0; }
td:first-child { width: 14rem; color: var(--dim); }
]]

---@param value any
---@return string
local function text_of(value)
  if type(value) == "string" then
    return value
  end
  local ok, text = pcall(tostring, value)
  return ok and type(text) == "string" and text or "(an error without text)"
end

---@param value any
---@return string
local function escape(value)
  return (text_of(value):gsub("[&<>\"']", ENTITIES))
end

---@param text string
---@param limit integer bytes
---@return string
local function shorten(text, limit)
  return #text > limit and text:sub(1, limit) .. " ..." or text
end

---Find a file whose name Lua has shortened to "...end of the path", below the folders of package.path.
---@param tail string
---@return file*?
local function open_shortened(tail)
  for folder in tostring(package.path):gmatch("([^;?]+)%?[^;]*") do
    local from = 1
    while from do
      local path = folder .. tail:sub(from)
      local file = path:sub(-#tail) == tail and io.open(path, "r")
      if file then
        return file
      end
      local slash = tail:find("/", from, true)
      from = slash and slash + 1
    end
  end
end

---Only Lua files are shown: what stands in a message may come from a client.
---@param name string
---@return file*?
local function open_source(name)
  if not name:find("%.lua$") then
    return nil
  end
  if name:sub(1, 3) == "..." then
    return open_shortened(name:sub(4))
  end
  return (io.open(name, "r"))
end

---@class heart.errorpage.source
---@field name string
---@field line integer the one that failed
---@field first integer the number of lines[1]
---@field lines string[]

---@param name string
---@param line integer
---@return heart.errorpage.source?
local function read_source(name, line)
  local file = open_source(name)
  if not file then
    return nil
  end
  local source = { name = name, line = line, first = math.max(1, line - CONTEXT), lines = {} }
  for number = 1, line + CONTEXT do
    local text = file:read("*l")
    if not text then
      break
    end
    if number >= source.first then
      source.lines[#source.lines + 1] = text
    end
  end
  file:close()
  return source.lines[line - source.first + 1] and source or nil
end

---The source around the first "file:line:" that can be read.
---@param text string
---@return heart.errorpage.source?
local function find_source(text)
  local tries = 0
  -- The frontier lets a match begin only where a name can: without it a long text would take quadratic time.
  for name, line in ("\n" .. text):gmatch("%f[^\n'\":]([^\n'\":]+):(%d+):") do
    local source = read_source(name:match("^%s*(.*)"), tonumber(line))
    tries = tries + 1
    if source or tries == TRIES then
      return source
    end
  end
end

---@param out string[]
---@param source heart.errorpage.source?
local function add_source(out, source)
  if not source then
    return
  end
  out[#out + 1] = "<h2>" .. escape(source.name) .. ", line " .. source.line .. "</h2>\n<pre>"
  for index, text in ipairs(source.lines) do
    local number = source.first + index - 1
    local tag = number == source.line and "mark" or "span"
    out[#out + 1] = ("<%s><i>%d</i>%s</%s>"):format(tag, number, escape(shorten(text, LINE_MAX)), tag)
  end
  out[#out + 1] = "</pre>\n"
end

---@param out string[]
---@param traceback string
local function add_traceback(out, traceback)
  if traceback == "" then
    return
  end
  out[#out + 1] = "<h2>Traceback</h2>\n<pre>"
  for line in traceback:gmatch("[^\n]+") do
    out[#out + 1] = "<span>" .. escape(line) .. "</span>"
  end
  out[#out + 1] = "</pre>\n"
end

---@param name string
---@return boolean
local function is_secret(name)
  name = name:lower()
  for _, pattern in ipairs(SECRET) do
    if name:find(pattern) then
      return true
    end
  end
  return MASKED[name] or false
end

---@param out string[]
---@param info heart.errorpage.info
local function add_request(out, info)
  out[#out + 1] = "<h2>Request</h2>\n<table>\n"
  local first = text_of(info.method or "") .. " " .. text_of(info.target or "")
  out[#out + 1] = "<tr><td>request</td><td>" .. escape(first) .. "</td></tr>\n"
  for _, header in ipairs(type(info.headers) == "table" and info.headers or {}) do
    if type(header) == "table" then
      local name, value = text_of(header[1]), text_of(header[2])
      value = is_secret(name) and "(hidden)" or shorten(value, LINE_MAX)
      out[#out + 1] = "<tr><td>" .. escape(name) .. "</td><td>" .. escape(value) .. "</td></tr>\n"
    end
  end
  out[#out + 1] = "</table>\n"
end

---@param info heart.errorpage.info
---@return string html
local function render(info)
  if type(info) ~= "table" then
    info = { message = info }
  end
  local message = shorten(text_of(info.message), TEXT_MAX)
  local traceback = shorten(text_of(info.traceback or ""), TEXT_MAX)
  local out = {
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>',
    escape(shorten(message:match("[^\n]*"), LINE_MAX)),
    "</title>\n<style>\n",
    STYLE,
    "</style>\n</head>\n<body>\n<h1>",
    escape(message),
    "</h1>\n<p>500 Internal Server Error: the handler failed. This page is shown in development only.</p>\n",
  }
  add_source(out, find_source(message) or find_source(traceback))
  add_traceback(out, traceback)
  add_request(out, info)
  out[#out + 1] = "<footer>Heart " .. escape(info.version or "") .. "</footer>\n</body>\n</html>\n"
  return table.concat(out)
end

return render
