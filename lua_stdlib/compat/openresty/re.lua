---ngx.re: match, find, gmatch, sub, gsub as lua-nginx-module documents them, on PCRE2.
---@class ngx.re
local M = {}

local regex = require("compat.openresty.regex")
local captures = require("compat.openresty.captures")

local NOMATCH = regex.NOMATCH

---@param pattern any
---@return string
local function pattern_text(pattern)
  if type(pattern) == "number" then
    return tostring(pattern)
  end
  if type(pattern) ~= "string" then
    error(("bad argument #2 (string expected, got %s)"):format(type(pattern)), 3)
  end
  return pattern
end

---@param rc integer
local function failure(rc)
  return "pcre_exec() failed: " .. rc
end

---@param ctx? { pos?: integer }
---@return integer
local function start_of(ctx)
  local pos = ctx and ctx.pos
  if not pos or pos <= 0 then
    return 0
  end
  return pos - 1
end

---The first match.
---@param subject string
---@param pattern string
---@param options? string letters of "adDijJmosuUx"
---@param ctx? { pos?: integer } where to look; `pos` is set behind the match
---@param into? table gets the captures
---@return ngx.re.captures?
---@return string? err
function M.match(subject, pattern, options, ctx, into)
  local r, err = regex.get(pattern_text(pattern), options)
  if not r then
    return nil, err
  end
  subject = tostring(subject)
  local rc, ovector = regex.exec(r, subject, start_of(ctx))
  if rc == NOMATCH then
    return nil
  elseif rc < 0 then
    return nil, failure(rc)
  end
  if ctx then
    ctx.pos = tonumber(ovector[1]) + 1
  end
  return captures.collect(r, subject, rc, ovector, into)
end

---Where the first match, or its capture `nth`, begins and ends.
---@param subject string
---@param pattern string
---@param options? string
---@param ctx? { pos?: integer }
---@param nth? integer
---@return integer? from
---@return integer? to
---@return string? err
function M.find(subject, pattern, options, ctx, nth)
  local r, err = regex.get(pattern_text(pattern), options)
  if not r then
    return nil, nil, err
  end
  subject = tostring(subject)
  local rc, ovector = regex.exec(r, subject, start_of(ctx))
  if rc == NOMATCH then
    return nil
  elseif rc < 0 then
    return nil, nil, failure(rc)
  end
  nth = nth or 0
  if nth >= r.count then
    return nil, nil, "nth out of bound"
  end
  if ctx then
    ctx.pos = tonumber(ovector[1]) + 1
  end
  if nth >= rc then
    return nil, nil
  end
  nth = math.max(nth, 0)
  local from, to = tonumber(ovector[2 * nth]), tonumber(ovector[2 * nth + 1])
  if from > #subject then
    return nil, nil
  end
  return from + 1, to
end

---An iterator over all matches: it gives captures, nil at the end, or nil and an error.
---@param subject string
---@param pattern string
---@param options? string
---@return (fun(): ngx.re.captures?, string?)?
---@return string? err
function M.gmatch(subject, pattern, options)
  local r, err = regex.get(pattern_text(pattern), options)
  if not r then
    return nil, err
  end
  subject = tostring(subject)
  local at = 0
  return function()
    if not at then
      return nil
    end
    local rc, ovector = regex.exec(r, subject, at)
    if rc < 0 then
      at = nil
    end
    if rc == NOMATCH then
      return nil
    elseif rc < 0 then
      return nil, failure(rc)
    end
    local from, to = tonumber(ovector[0]), tonumber(ovector[1])
    at = regex.after(r, subject, from, to)
    if at > #subject then
      at = nil
    end
    return captures.collect(r, subject, rc, ovector)
  end
end

-- ---- Replacing ---------------------------------------------------------------------------------------------------

---@type table<string, (string|integer)[]>
local templates = setmetatable({}, { __mode = "v" })

---Texts and numbers of captures that a replacement is made of: "[$1]" → { "[", 1, "]" }.
---@param text string
---@return (string|integer)[]?
local function parse_template(text)
  local parts, at = {}, 1
  while true do
    local dollar = text:find("$", at, true)
    if dollar ~= at and at <= #text then
      parts[#parts + 1] = text:sub(at, (dollar or 0) - 1)
    end
    if not dollar then
      return parts
    end
    local number, after = text:match("^(%d+)()", dollar + 1)
    if not number then
      number, after = text:match("^{(%d+)}()", dollar + 1)
    end
    if number then
      parts[#parts + 1] = tonumber(number)
      at = after
    elseif text:sub(dollar + 1, dollar + 1) == "$" then
      parts[#parts + 1] = "$"
      at = dollar + 2
    else
      return nil
    end
  end
end

---@param text string
---@return (string|integer)[]?
---@return string? err
local function template(text)
  local parts = templates[text] or parse_template(text)
  if not parts then
    require("compat.openresty.log").log(4, 'lua script: invalid capturing variable name found in "', text, '"')
    return nil, "failed to compile the replacement template"
  end
  templates[text] = parts
  return parts
end

---@param out string[]
local function fill(out, parts, subject, rc, ovector)
  for i = 1, #parts do
    local part = parts[i]
    if type(part) == "number" then
      part = captures.one(subject, rc, ovector, part) or ""
    end
    out[#out + 1] = part
  end
end

---@param limit integer of replacements
---@return string?
---@return integer?
---@return string? err
local function replace(limit, subject, pattern, replacement, options)
  local r, err = regex.get(pattern, options)
  if not r then
    return nil, nil, err
  end
  subject = tostring(subject)
  local parts
  if type(replacement) ~= "function" then
    parts, err = template(tostring(replacement))
    if not parts then
      return nil, nil, err
    end
  end
  local out, done, copied, at = {}, 0, 0, 0
  while done < limit and at <= #subject do
    local rc, ovector = regex.exec(r, subject, at)
    if rc == NOMATCH then
      break
    elseif rc < 0 then
      return nil, nil, failure(rc)
    end
    local from, to = tonumber(ovector[0]), tonumber(ovector[1])
    out[#out + 1] = subject:sub(copied + 1, from)
    if parts then
      fill(out, parts, subject, rc, ovector)
    else
      out[#out + 1] = tostring(replacement(captures.collect(r, subject, rc, ovector)))
    end
    done, copied = done + 1, to
    at = regex.after(r, subject, from, to)
  end
  if done == 0 then
    return subject, 0
  end
  out[#out + 1] = subject:sub(copied + 1)
  return table.concat(out), done
end

---Replace the first match.
---@param subject string
---@param pattern string
---@param replacement string|fun(captures: ngx.re.captures): string "$0", "$1", "${12}" are captures, "$$" is "$"
---@param options? string
---@return string? text
---@return integer? n
---@return string? err
function M.sub(subject, pattern, replacement, options)
  return replace(1, subject, pattern_text(pattern), replacement, options)
end

---Replace all matches.
---@param subject string
---@param pattern string
---@param replacement string|fun(captures: ngx.re.captures): string
---@param options? string
---@return string? text
---@return integer? n
---@return string? err
function M.gsub(subject, pattern, replacement, options)
  return replace(math.huge, subject, pattern_text(pattern), replacement, options)
end

return M
