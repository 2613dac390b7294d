---Sends mail, as LuaSocket's socket.smtp: `smtp.send{from=, rcpt=, source=smtp.message{headers=, body=}, server=}`.
local M = {}

local socket = require("socket")
local headers = require("socket.headers")
local ltn12 = require("ltn12")
local mime = require("mime")
local tp = require("socket.tp")

socket.smtp = M

---Seconds that the server may be silent.
M.TIMEOUT = 60
M.SERVER = "localhost"
M.PORT = 25
---What this side calls itself.
M.DOMAIN = os.getenv("SERVER_NAME") or "localhost"
---Time zone of the Date field.
M.ZONE = "-0000"

-- ---- The protocol ------------------------------------------------------------------------------------------------

---A connection to a server. Failures raise what socket.protect gives back.
---@class socket.smtp.connection
---@field tp socket.tp.connection
---@field try function
local connection = {}

---Send a command and read the reply.
---@param expected string pattern of its code
local function ask(self, expected, name, argument)
  self.try(self.tp:command(name, argument))
  return self.try(self.tp:check(expected))
end

---@return string extensions that the server knows
function connection:greet(domain)
  self.try(self.tp:check("2.."))
  return socket.skip(1, ask(self, "2..", "EHLO", domain or M.DOMAIN))
end

function connection:mail(from)
  return ask(self, "2..", "MAIL", "FROM:" .. from)
end

function connection:rcpt(to)
  return ask(self, "2..", "RCPT", "TO:" .. to)
end

function connection:data(source, step)
  ask(self, "3..", "DATA")
  self.try(self.tp:source(source, step))
  self.try(self.tp:send("\r\n.\r\n"))
  return self.try(self.tp:check("2.."))
end

function connection:quit()
  return ask(self, "2..", "QUIT")
end

function connection:close()
  return self.tp:close()
end

function connection:login(user, password)
  ask(self, "3..", "AUTH", "LOGIN")
  self.try(self.tp:send(mime.b64(user) .. "\r\n"))
  self.try(self.tp:check("3.."))
  self.try(self.tp:send(mime.b64(password) .. "\r\n"))
  return self.try(self.tp:check("2.."))
end

function connection:plain(user, password)
  return ask(self, "2..", "AUTH", "PLAIN " .. mime.b64("\0" .. user .. "\0" .. password))
end

---@param extensions string of greet()
function connection:auth(user, password, extensions)
  if not user or not password then
    return 1
  end
  if extensions:find("AUTH[^\n]+LOGIN") then
    return self:login(user, password)
  elseif extensions:find("AUTH[^\n]+PLAIN") then
    return self:plain(user, password)
  end
  self.try(nil, "authentication not supported")
end

---@param mail table {from =, rcpt =, source =}
function connection:send(mail)
  self:mail(mail.from)
  for _, to in ipairs(type(mail.rcpt) == "table" and mail.rcpt or { mail.rcpt }) do
    self:rcpt(to)
  end
  self:data(ltn12.source.chain(mail.source, mime.stuff()), mail.step)
end

---@return socket.smtp.connection
function M.open(server, port, create)
  local control = socket.try(tp.connect(server or M.SERVER, port or M.PORT, M.TIMEOUT, create))
  local self = setmetatable({ tp = control }, { __index = connection })
  self.try = socket.newtry(function()
    self:close()
  end)
  return self
end

-- ---- Messages ----------------------------------------------------------------------------------------------------

local boundaries = 0

---A line that is in no part of a message, in all likelihood.
local function new_boundary()
  boundaries = boundaries + 1
  return ("%s%05d==%05d"):format(os.date("%d%m%Y%H%M%S"), math.random(0, 99999), boundaries)
end

---@return table<string, any>
local function lower_names(fields)
  local lower = {}
  for name, value in pairs(fields or {}) do
    lower[name:lower()] = value
  end
  return lower
end

---@return string
local function head(fields)
  local lines = {}
  for name, value in pairs(fields) do
    lines[#lines + 1] = (headers.canonic[name] or name) .. ": " .. value .. "\r\n"
  end
  return table.concat(lines) .. "\r\n"
end

local message_source

---@return ltn12.source
local function multipart_source(message)
  local boundary, body = new_boundary(), message.body
  local fields = lower_names(message.headers)
  fields["content-type"] = (fields["content-type"] or "multipart/mixed") .. '; boundary="' .. boundary .. '"'
  local sources = { ltn12.source.string(head(fields)) }
  local function add(text)
    sources[#sources + 1] = ltn12.source.string(text)
  end
  if body.preamble then
    add(body.preamble .. "\r\n")
  end
  for _, part in ipairs(body) do
    add("\r\n--" .. boundary .. "\r\n")
    sources[#sources + 1] = message_source(part)
  end
  add("\r\n--" .. boundary .. "--\r\n\r\n")
  if body.epilogue then
    add(body.epilogue .. "\r\n")
  end
  return ltn12.source.cat(unpack(sources))
end

---@return ltn12.source
function message_source(message)
  local body = message.body
  if type(body) == "table" and not (getmetatable(body) or {}).__call then
    return multipart_source(message)
  end
  local fields = lower_names(message.headers)
  fields["content-type"] = fields["content-type"] or 'text/plain; charset="iso-8859-1"'
  local source = type(body) == "string" and ltn12.source.string(body) or body
  return ltn12.source.cat(ltn12.source.string(head(fields)), source)
end

---The source of a message.
---@param message {headers: table<string, string>?, body: string|ltn12.source|table, zone: string?}
---@return ltn12.source
function M.message(message)
  local fields = lower_names(message.headers)
  fields["date"] = fields["date"] or os.date("!%a, %d %b %Y %H:%M:%S ") .. (message.zone or M.ZONE)
  fields["x-mailer"] = fields["x-mailer"] or socket._VERSION
  fields["mime-version"] = "1.0"
  message.headers = fields
  return message_source(message)
end

---Send a mail.
---@type fun(mail: table): 1?, string? {from, rcpt, source, server, port, domain, user, password, create, step}
M.send = socket.protect(function(mail)
  local self = M.open(mail.server, mail.port, mail.create)
  local extensions = self:greet(mail.domain)
  self:auth(mail.user, mail.password, extensions)
  self:send(mail)
  self:quit()
  return self:close()
end)

return M
