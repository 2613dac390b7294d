---Operators that Lua 5.3 has and LuaJIT does not: where a script uses one, and what to write instead. Reads Lua source
---without running it.
local M = {}

local INSTEAD = {
  ["//"] = "math.floor(a / b)",
  ["<<"] = "bit.lshift(a, n)",
  [">>"] = "bit.rshift(a, n)",
  ["&"] = "bit.band(a, b)",
  ["|"] = "bit.bor(a, b)",
  ["~"] = "bit.bxor(a, b), or bit.bnot(a)",
}

local find, sub = string.find, string.sub

---The position behind a long bracket that begins at `at`; nil: there is none.
---@param text string
---@param at integer
---@return integer?
local function behind_long(text, at)
  local _, stop, equals = find(text, "^%[(=*)%[", at)
  if not stop then
    return nil
  end
  local _, last = find(text, "]" .. equals .. "]", stop + 1, true)
  return (last or #text) + 1
end

---The position behind a comment that begins at `at`.
---@param text string
---@param at integer
---@return integer
local function behind_comment(text, at)
  return behind_long(text, at + 2) or find(text, "\n", at, true) or #text + 1
end

---The position behind a quoted string that begins at `at`; an unfinished one ends with its line.
---@param text string
---@param at integer
---@return integer
local function behind_string(text, at)
  local quote = sub(text, at, at)
  at = at + 1
  while true do
    at = find(text, "[\\\n\"']", at) or #text + 1
    local c = sub(text, at, at)
    if c == quote or c == "\n" or c == "" then
      return at + 1
    end
    at = at + (c == "\\" and 2 or 1)
  end
end

---The operator at `at`, if it is one of Lua 5.3 alone.
---@param text string
---@param at integer
---@return string?
local function operator(text, at)
  local two = sub(text, at, at + 1)
  if two == "~=" then
    return nil
  elseif INSTEAD[two] then
    return two
  end
  local one = sub(text, at, at)
  return INSTEAD[one] and one or nil
end

---The first such operator of a script.
---@param text string Lua source
---@return string? operator
---@return integer? line
function M.first(text)
  local at = 1
  while true do
    at = find(text, "[-%[\"'~/<>&|]", at) --[[@as integer]]
    if not at then
      return nil
    end
    local c = sub(text, at, at)
    local after = at + 1
    if sub(text, at, at + 1) == "--" then
      after = behind_comment(text, at)
    elseif c == "[" then
      after = behind_long(text, at) or at + 1
    elseif c == '"' or c == "'" then
      after = behind_string(text, at)
    elseif sub(text, at, at + 1) == "~=" then
      after = at + 2
    else
      local found = operator(text, at)
      if found then
        local _, breaks = sub(text, 1, at):gsub("\n", "")
        return found, breaks + 1
      end
    end
    at = after
  end
end

---A message of the compiler, or one that names the operator if that is what it did not understand.
---@param message string "name:line: what"
---@param text string the source
---@param name? string of the file, as it is to be written; else that of the message
---@return string
function M.explain(message, text, name)
  local file, number = message:match("^(.-):(%d+): ")
  local found, line = M.first(text)
  if not found or not number or line > tonumber(number) then
    return message
  end
  return ("%s:%d: the operator '%s' is of Lua 5.3; Heart runs Lua 5.1 (LuaJIT): write %s"):format(
    name or file,
    line,
    found,
    INSTEAD[found]
  )
end

return M
