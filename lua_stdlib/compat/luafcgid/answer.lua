---What a script answers: it is collected, and sent when the script has ended or asks for it. A state has one of them
---for all its requests, which come one at a time.
local core = require("heart.core")
local log = require("heart.v1.log")
local table_clear = require("table.clear")

local request = core.request

---@class luafcgid.answer
---@field private ctx heart.ctx
---@field private settings luafcgid.settings
---@field session? luafcgid.session nil: nobody has asked for one, and the client has not sent a key
---@field private parts string[] of the body, those that were not sent
---@field private n integer
---@field private lines string[] of the head: name, value, name, value, ...
---@field private nlines integer strings in it
---@field private status string
---@field private content_type string
---@field private begun boolean the head was sent
---@field private closed boolean the client has left
---@field private late boolean it was told that a header came too late
local Answer = {}
Answer.__index = Answer

---@param settings luafcgid.settings
---@return luafcgid.answer
local function new(settings)
  return setmetatable({ settings = settings, parts = {}, n = 0, lines = {} }, Answer)
end

---Forget the last answer.
---@param ctx heart.ctx of the next one
function Answer:start(ctx)
  self.ctx = ctx
  self.session = nil
  self.begun, self.closed, self.late = false, false, false
  self:reset(true)
end

-- ---- The head ------------------------------------------------------------------------------------------------------

---Names and values of header lines.
---@param text string
---@return string[]? list {name, value, name, value, ...}
---@return string? err
local function parse_lines(text)
  local list = {}
  for line in text:gmatch("[^\r\n]+") do
    local name, value = line:match("^([^:%s]+)%s*:%s*(.-)%s*$")
    if not name then
      return nil, ('header: %q is no line "Name: value"'):format(line)
    end
    list[#list + 1], list[#list + 2] = name, value
  end
  return list
end

local parsed = {} ---@type table<string, string[]>

---The header lines that every answer begins with.
---@param text string
---@return string[]
local function default_lines(text)
  local list = parsed[text]
  if not list then
    local err
    list, err = parse_lines(text)
    parsed[text] = list or error(err, 0)
  end
  return list
end

---@param text string
---@return integer? code
local function code_of(text)
  local code = tonumber(text:match("^%s*(%d%d%d)%f[^%d]"))
  return code and code >= 200 and code <= 599 and code or nil
end

-- Patterns are slow for what every request does, so what was found is kept: of so many texts that are not long.
local KEPT_MAX, KEPT_LENGTH = 1000, 100

---A function that remembers its results.
---@generic T
---@param look fun(text: string): T
---@return fun(text: string): T
local function remembering(look)
  local found, n = {}, 0
  return function(text)
    local result = found[text]
    if result == nil then
      result = look(text)
      if #text <= KEPT_LENGTH then
        if n == KEPT_MAX then
          table_clear(found)
          n = 0
        end
        found[text], n = result, n + 1
      end
    end
    return result
  end
end

-- The name of a header in lower case; false: it is none.
local lower_name = remembering(function(name) ---@return string|false
  return name ~= "" and not name:find("[:%s%z]") and name:lower()
end)

local one_line = remembering(function(value) ---@return boolean
  return not value:find("[\r\n%z]")
end)

---@param name string
---@param value string
function Answer:add_line(name, value)
  local lower = lower_name(name)
  if lower == "status" then
    self.status = value
  elseif lower == "content-type" then
    self.content_type = value
  else
    local lines, n = self.lines, self.nlines
    lines[n + 1], lines[n + 2] = name, value
    self.nlines = n + 2
  end
end

---@param text string
---@return string? err
function Answer:add_lines(text)
  local list, err = parse_lines(text)
  for i = 1, list and #list or 0, 2 do
    self:add_line(list[i], list[i + 1])
  end
  return err
end

---A header; without a value `name` has finished lines.
---@param name string
---@param value? string
---@return string? err it was not taken
function Answer:header(name, value)
  if self.begun then
    if not self.late then
      self.late = true
      log.warn("a header was set after the head of the answer had been sent: it is left out", { header = name })
    end
  elseif value == nil then
    return self:add_lines(name)
  elseif not lower_name(name) or not one_line(value) then
    return ("header: %q: a line end, a NUL or a colon has no place there"):format(name)
  else
    self:add_line(name, value)
  end
end

---@param text string status code and text
function Answer:set_status(text)
  self.status = text
end

---@param text string
function Answer:set_type(text)
  self.content_type = text
end

---@param ctx heart.ctx
---@param lines string[] name, value, name, value, ...
---@param n integer strings in it
local function add_fields(ctx, lines, n)
  for i = 1, n, 2 do
    request.set(ctx, lines[i], lines[i + 1], true)
  end
end

---Tell the engine what the head is.
---@return integer status
function Answer:make_head()
  local ctx, settings = self.ctx, self.settings
  local code = self.status == "200 OK" and 200 or code_of(self.status)
  if not code then
    error(("status: %q does not begin with a status from 200 to 599"):format(self.status), 0)
  end
  core.script.head(ctx, self.content_type, settings.elapsed)
  if settings.headers ~= "" then
    local defaults = default_lines(settings.headers)
    add_fields(ctx, defaults, #defaults)
  end
  add_fields(ctx, self.lines, self.nlines)
  local cookie = self.session and self.session:cookie()
  if cookie then
    request.set(ctx, "Set-Cookie", cookie, true)
  end
  return code
end

-- ---- The body ------------------------------------------------------------------------------------------------------

---@param text string
function Answer:put(text)
  self.n = self.n + 1
  self.parts[self.n] = text
  if not self.settings.buffering then
    self:flush()
  end
end

---Forget what was not sent.
---@param headers boolean the headers, too
function Answer:reset(headers)
  if self.n > 0 then
    table_clear(self.parts)
    self.n = 0
  end
  if headers then
    self.nlines, self.status, self.content_type = 0, self.settings.status, self.settings.content_type
  end
end

---@return string
function Answer:take()
  local parts = self.parts
  if self.n == 1 then
    local text = parts[1]
    parts[1], self.n = nil, 0
    return text
  end
  local text = table.concat(parts, "", 1, self.n)
  self:reset(false)
  return text
end

---Send what there is, the head first. Waits while the client has not taken what was sent before.
function Answer:flush()
  if not self.begun then
    request.status(self.ctx, self:make_head())
    self.begun = true
    core.stream_begin(self.ctx)
  end
  local text = self:take()
  if text ~= "" and not self.closed then
    self.closed = not core.stream_write(self.ctx, text)
  end
end

---The script has ended. What this returns is what a handler returns.
---@return integer? status
---@return string? body
function Answer:finish()
  if self.begun then
    self:flush()
    return
  end
  return self:make_head(), self:take()
end

return new
