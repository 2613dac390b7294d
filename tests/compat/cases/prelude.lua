-- luacheck: ignore 211 231
-- Before every file of cases: `case(name, fn, ...)` prints what fn gives, or the error that it raises, in one line.
-- What differs by nature is made the same: places in the source, addresses, names of functions in messages.

local function show(value)
  if type(value) == "table" then
    local keys, out = {}, {}
    for key in pairs(value) do
      keys[#keys + 1] = key
    end
    table.sort(keys, function(a, b)
      return tostring(a) < tostring(b)
    end)
    for i, key in ipairs(keys) do
      out[i] = tostring(key) .. "=" .. show(value[key])
    end
    return "{" .. table.concat(out, ",") .. "}"
  elseif type(value) == "string" then
    return ("%q"):format(value):gsub("\n", "n"):gsub("0x%x+", "ADDRESS")
  end
  return (tostring(value):gsub("0x%x+", "ADDRESS"))
end

-- Where the response's head is at stake nothing may be printed before the end: hold() in the beginning, release() then.
local held

local function hold()
  held = {}
end

local function release()
  ngx.print(held)
end

local function line(name, ok, ...)
  local out = { name .. ":" }
  for i = 1, select("#", ...) do
    out[i + 1] = show((select(i, ...)))
  end
  if not ok then
    out = { name .. ": raises", (tostring((...)):gsub("^[^ ]*:%d+: ", ""):gsub("to '[^']*'", "to '?'")) }
  end
  out = table.concat(out, " ") .. "\n"
  if held then
    held[#held + 1] = out
  else
    ngx.print(out)
  end
end

local function case(name, fn, ...)
  line(name, pcall(fn, ...))
end
