---Texts of URIs and of SQL, as ngx.escape_uri, unescape_uri, encode_args, decode_args and quote_sql_str make them.
local M = {}

local ARGS_MAX = 100 -- what decode_args reads at most, unless told otherwise

---@type table<string, string> character → "%XX"
local escaped = {}
---@type table<string, string> "XX" → character
local unescaped = {}
for code = 0, 255 do
  local character = string.char(code)
  escaped[character] = ("%%%02X"):format(code)
  for _, format in ipairs({ "%02x", "%02X" }) do
    local digits = format:format(code)
    unescaped[digits] = character
    unescaped[digits:sub(1, 1):upper() .. digits:sub(2):lower()] = character
    unescaped[digits:sub(1, 1):lower() .. digits:sub(2):upper()] = character
  end
end

-- What is escaped: everything that has a meaning in a URI (2, the default), what may not be in one (0), and "+" besides
-- (1).
local UNSAFE = {
  [0] = "[%z\1-\32#%%?\127-\255]",
  [1] = "[%z\1-\32#%%+?\127-\255]",
  [2] = "[^%w!'()*%-._~]",
}

---@param value any
---@return string
local function text_of(value)
  if type(value) == "string" then
    return value
  end
  return value == nil and "" or tostring(value)
end

---@param value any
---@param kind? 0|1|2
---@return string
function M.escape_uri(value, kind)
  local unsafe = UNSAFE[kind or 2]
  if not unsafe then
    error(('"type" %s out of range'):format(tostring(kind)), 2)
  end
  return (text_of(value):gsub(unsafe, escaped))
end

---@param text string
---@return string
local function unescape(text)
  if text:find("+", 1, true) then
    text = text:gsub("+", " ")
  end
  if text:find("%", 1, true) then
    text = text:gsub("%%(%x%x)", unescaped)
  end
  return text
end

---"%XX" and "+" as the characters that they stand for; what is no escape stays.
---@param value any
---@return string
function M.unescape_uri(value)
  return unescape(text_of(value))
end

---@param out string[]
---@param key string escaped
---@param value any
local function put_argument(out, key, value)
  local kind = type(value)
  if kind == "string" or kind == "number" then
    out[#out + 1] = key .. "=" .. M.escape_uri(value)
  elseif kind == "boolean" then
    out[#out + 1] = value and key or nil
  else
    error(("attempt to use %s as query arg value"):format(kind), 0)
  end
end

---@param args table<string, string|number|boolean|(string|number|boolean)[]>
---@return string
function M.encode_args(args)
  if type(args) ~= "table" then
    error(("bad argument #1 to 'encode_args' (table expected, got %s)"):format(type(args)), 2)
  end
  local out = {}
  for key, value in pairs(args) do
    if type(key) ~= "string" then
      error('attempt to use a non-string key in the "args" option table', 2)
    end
    key = M.escape_uri(key)
    if type(value) == "table" then
      for _, one in pairs(value) do
        put_argument(out, key, one)
      end
    else
      put_argument(out, key, value)
    end
  end
  return table.concat(out, "&")
end

---@param args table
---@param name string
---@param value string|true
local function add_argument(args, name, value)
  local before = args[name]
  if before == nil then
    args[name] = value
  elseif type(before) == "table" then
    before[#before + 1] = value
  else
    args[name] = { before, value }
  end
end

---@param text string|number "a=1&b&a=2"
---@param max? integer arguments; 0: all
---@param into? table
---@return table<string, string|true|(string|true)[]> args `true` where there is no "="
---@return "truncated"? err there were more
function M.decode_args(text, max, into)
  if type(text) ~= "string" and type(text) ~= "number" then
    error(("bad argument #1 to 'decode_args' (string expected, got %s)"):format(type(text)), 2)
  end
  text = tostring(text)
  max = max or ARGS_MAX
  local args = into or {}
  local n = 0
  for pair, at in text:gmatch("([^&]+)()") do
    local name, value = pair:match("^([^=]*)=(.*)$")
    name = unescape(name or pair)
    if name ~= "" then
      add_argument(args, name, value and unescape(value) or true)
    end
    n = n + 1
    if n == max and at <= #text then
      return args, "truncated"
    end
  end
  return args
end

local SQL = {
  ["\0"] = "\\0",
  ["\b"] = "\\b",
  ["\n"] = "\\n",
  ["\r"] = "\\r",
  ["\t"] = "\\t",
  ["\26"] = "\\Z",
  ["\\"] = "\\\\",
  ["'"] = "\\'",
  ['"'] = '\\"',
}

---A text as MySQL's literal, quotes included.
---@param text string|number
---@return string
function M.quote_sql_str(text)
  if type(text) ~= "string" and type(text) ~= "number" then
    error(("bad argument #1 to 'quote_sql_str' (string expected, got %s)"):format(type(text)), 2)
  end
  return "'" .. tostring(text):gsub("[%z\b\n\r\t\26\\'\"]", SQL) .. "'"
end

return M
