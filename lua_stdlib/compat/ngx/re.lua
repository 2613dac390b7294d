---The module ngx.re: split, beside the functions of the global ngx.re.
local M = {}

local regex = require("compat.openresty.regex")
local captures = require("compat.openresty.captures")

M.version = "0.1.28"

---Where the next piece ends, and its separator.
---@param r compat.openresty.regex
---@param subject string
---@param piece integer offset at which the piece begins
---@return integer? from nil: there is no separator
---@return integer|string? to an error
---@return (string|false)[]? found captures
local function separator(r, subject, piece)
  local at = piece
  while at < #subject do
    local rc, ovector = regex.exec(r, subject, at)
    if rc < 0 then
      return nil, rc ~= regex.NOMATCH and "pcre_exec() failed: " .. rc or nil
    end
    local from, to = tonumber(ovector[0]), tonumber(ovector[1])
    if from < to or (from > piece and from < #subject) then
      return from, to, captures.collect(r, subject, rc, ovector)
    end
    at = regex.after(r, subject, from, to) -- an empty match parts two characters of a piece
  end
  return nil
end

---The pieces of a text between the matches of a pattern, with what the pattern's captures have matched. Empty pieces at
---the end are left out, unless `max` is given.
---@param subject string
---@param pattern string
---@param options? string
---@param ctx? { pos?: integer } where to begin
---@param max? integer pieces, the last one being the rest; 0: all
---@param into? table
---@return string[]?
---@return string? err
function M.split(subject, pattern, options, ctx, max, into)
  local r, err = regex.get(tostring(pattern), options)
  if not r then
    return nil, err
  end
  subject = tostring(subject)
  local out, n, pieces = into or {}, 0, 1
  local limit = max and max > 0 and max or math.huge
  local piece = math.max((ctx and ctx.pos or 1) - 1, 0)
  while pieces < limit do
    local from, to, found = separator(r, subject, piece)
    if not from and to then
      return nil, to --[[@as string]]
    elseif not from then
      break
    end
    n, pieces = n + 1, pieces + 1
    out[n] = subject:sub(piece + 1, from)
    for i = 1, r.count - 1 do
      if found[i] then
        n = n + 1
        out[n] = found[i]
      end
    end
    piece = to
  end
  n = n + 1
  out[n] = subject:sub(piece + 1)
  while limit == math.huge and out[n] == "" do
    out[n] = nil
    n = n - 1
  end
  out[n + 1] = nil
  return out
end

---Options of the engine: there are none that Heart's has.
---@param name string
function M.opt(name)
  if name ~= "jit_stack_size" then
    error("unrecognized option name", 2)
  end
end

return M
