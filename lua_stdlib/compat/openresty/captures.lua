---Captures of a match as Lua sees them: by number and by name, `false` for those that did not match.
local M = {}

---@alias ngx.re.captures table<integer|string, string|false|string[]>

---The text of capture `i`, or false. What does not lie in the subject did not match.
function M.one(subject, rc, ovector, i)
  if i >= rc then
    return false
  end
  local from, to = tonumber(ovector[2 * i]), tonumber(ovector[2 * i + 1])
  if from > #subject then
    return false
  end
  return subject:sub(from + 1, to)
end

---@param r compat.openresty.regex
---@param captures table
local function name_captures(r, captures)
  for _, entry in ipairs(r.names) do
    local name, value = entry[1], captures[entry[2]]
    if r.flags.duplicates then
      if value then
        local list = type(captures[name]) == "table" and captures[name] or {}
        list[#list + 1] = value
        captures[name] = list
      end
    else
      captures[name] = value
    end
  end
end

---All captures of a match.
---@return ngx.re.captures
function M.collect(r, subject, rc, ovector, into)
  local found = into or {}
  local count = r.flags.dfa and 1 or r.count
  for i = 0, count - 1 do
    found[i] = M.one(subject, rc, ovector, i)
  end
  if #r.names > 0 and count > 1 then
    name_captures(r, found)
  end
  return found
end

return M
