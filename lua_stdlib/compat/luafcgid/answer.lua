---What a script answers: it is collected, and sent when the script has ended or asks for it.
local core = require("heart.core")
local log = require("heart.v1.log")

local request = core.request

---@class luafcgid.answer
---@field private ctx heart.ctx
---@field private settings luafcgid.settings
---@field session? luafcgid.session nil: nobody has asked for one, and the client has not sent a key
---@field private parts string[] of the body, those that were not sent
---@field private n integer
---@field private lines string[][] pairs of name and value
---@field private status string
---@field private content_type string
---@field private begun boolean the head was sent
---@field private closed boolean the client has left
---@field private late boolean it was told that a header came too late
local Answer = {}
Answer.__index = Answer

---@param ctx heart.ctx
---@param settings luafcgid.settings
---@return luafcgid.answer
local function new(ctx, settings)
  return setmetatable({
    ctx = ctx,
    settings = settings,
    session = nil,
    parts = {},
    n = 0,
    lines = {},
    status = settings.status,
    content_type = settings.content_type,
    begun = false,
    closed = false,
    late = false,
  }, Answer)
end

-- ---- The head ------------------------------------------------------------------------------------------------------

---Names and values of header lines.
---@param text string
---@param add fun(name: string, value: string)
local function each_line(text, add)
  for line in text:gmatch("[^\r\n]+") do
    local name, value = line:match("^([^:%s]+)%s*:%s*(.-)%s*$")
    if not name then
      error(('header: %q is no line "Name: value"'):format(line), 0)
    end
    add(name, value)
  end
end

---@type table<string, string[]> text -> {name, value, name, value, ...}
local parsed = {}

---The header lines that every answer begins with.
---@param text string
---@return string[]
local function default_lines(text)
  local list = parsed[text]
  if not list then
    list = {}
    each_line(text, function(name, value)
      list[#list + 1], list[#list + 2] = name, value
    end)
    parsed[text] = list
  end
  return list
end

---@param text string
---@return integer? code
local function code_of(text)
  local code = tonumber(text:match("^%s*(%d%d%d)%f[^%d]"))
  return code and code >= 200 and code <= 599 and code or nil
end

-- Patterns are slow for what every request does: names that were looked at are known, in lower case.
local NAMES_MAX = 1000
local known, nknown = {}, 0 ---@type table<string, string>, integer

---@param name string
---@return string? lower nil: it is no name of a header
local function lower_name(name)
  local lower = known[name]
  if not lower and name ~= "" and not name:find("[:%s%z]") then
    if nknown == NAMES_MAX then
      known, nknown = {}, 0
    end
    lower = name:lower()
    known[name], nknown = lower, nknown + 1
  end
  return lower
end

---@param value string
---@return boolean
local function one_line(value)
  return not (value:find("\n", 1, true) or value:find("\r", 1, true) or value:find("\0", 1, true))
end

---@param name string
---@param value string
function Answer:add_line(name, value)
  local lower = lower_name(name)
  if lower == "status" then
    self.status = value
  elseif lower == "content-type" then
    self.content_type = value
  else
    self.lines[#self.lines + 1] = { name, value }
  end
end

---A header; without a value `name` has finished lines.
---@param name string
---@param value? string
function Answer:header(name, value)
  if self.begun then
    if not self.late then
      self.late = true
      log.warn("a header was set after the head of the answer had been sent: it is left out", { header = name })
    end
  elseif value == nil then
    each_line(name, function(...)
      self:add_line(...)
    end)
  elseif not lower_name(name) or not one_line(value) then
    error(("header: %q: a line end, a NUL or a colon has no place there"):format(name), 0)
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

---Tell the engine what the head is.
function Answer:make_head()
  local ctx, settings = self.ctx, self.settings
  local add = request.set
  local code = self.status == "200 OK" and 200 or code_of(self.status)
  if not code then
    error(("status: %q does not begin with a status from 200 to 599"):format(self.status), 0)
  end
  request.status(ctx, code)
  if self.content_type ~= "" then
    add(ctx, "Content-Type", self.content_type, true)
  end
  if settings.elapsed then
    add(ctx, "X-ElapsedTime", ("%d"):format(request.age(ctx) * 1000), true)
  end
  local defaults = default_lines(settings.headers)
  for i = 1, #defaults, 2 do
    add(ctx, defaults[i], defaults[i + 1], true)
  end
  for _, line in ipairs(self.lines) do
    add(ctx, line[1], line[2], true)
  end
  local cookie = self.session and self.session:cookie()
  if cookie then
    add(ctx, "Set-Cookie", cookie, true)
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
  self.parts, self.n = {}, 0
  if headers then
    self.lines, self.status, self.content_type = {}, self.settings.status, self.settings.content_type
  end
end

---@return string
function Answer:take()
  local text = table.concat(self.parts, "", 1, self.n)
  self.parts, self.n = {}, 0
  return text
end

---Send what there is, the head first. Waits while the client has not taken what was sent before.
function Answer:flush()
  if not self.begun then
    self:make_head()
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
