---The helpers of both daemons: `require("luafcgid")` and `lf`. Text in, text and tables out.
local M = {}

---A value as Lua source: numbers, strings, booleans, and tables of them. Anything else is "".
---@param value any
---@return string
function M.serialize(value)
  local kind = type(value)
  if kind == "string" then
    return ("%q"):format(value)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif kind ~= "table" then
    return ""
  end
  local parts = {}
  for name, inner in pairs(value) do
    local text = M.serialize(inner)
    if text ~= "" then
      local key = type(name) == "string" and ("[%q]"):format(name) or ("[%s]"):format(tostring(name))
      parts[#parts + 1] = key .. " = " .. text
    end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

---Percent-encode all but letters and digits; a space becomes "+".
---@param text string?
---@return string?
function M.urlencode(text)
  if not text then
    return text
  end
  return (text
    :gsub("[^%w ]", function(c)
      return ("%%%02X"):format(c:byte())
    end)
    :gsub(" ", "+"))
end

---@param text string?
---@return string?
function M.urldecode(text)
  if not text then
    return text
  end
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

---Name and value of "name=value"; the value of a name alone is "".
---@param pair string
---@return string? name
---@return string? value
function M.parse_pair(pair)
  if not pair or pair == "" then
    return nil
  end
  local name, value = pair:match("^([^=]*)=?(.*)$")
  return M.urldecode(name), M.urldecode(value)
end

---A form or query (application/x-www-form-urlencoded) as a table; the values of a name that comes again are a list.
---@param text string?
---@return table<string, string|string[]>
function M.parse(text)
  local found = {}
  for pair in (text or ""):gmatch("[^&]+") do
    local name, value = M.parse_pair(pair)
    if name then
      local before = found[name]
      if before == nil then
        found[name] = value
      elseif type(before) == "table" then
        before[#before + 1] = value
      else
        found[name] = { before, value }
      end
    end
  end
  return found
end

return M
