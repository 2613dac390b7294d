---The Cookie header as the global `Cookies` of luafcgid2: name to value, both as sent.
local M = {}

---A quoted value without its quotes.
---@param value string
local function unquote(value)
  return value:match('^"(.*)"$') or value
end

---@param header string? the values of all Cookie fields
---@return table<string, string>
function M.parse(header)
  local found = {}
  if not header then
    return found
  end
  for pair in header:gmatch("[^;]+") do
    local name, value = pair:match("^%s*([^=]-)%s*=%s*(.-)%s*$")
    name = name or pair:match("^%s*(.-)%s*$")
    if name ~= "" then
      found[name] = unquote(value or "")
    end
  end
  return found
end

return M
