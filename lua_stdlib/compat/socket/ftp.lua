---FTP for clients, as LuaSocket's socket.ftp: get(url), put(url, text), command{...}. Data goes over connections that
---this side opens (EPSV); port() and eprt() let the server open them.
local M = {}

local socket = require("socket")
local ltn12 = require("ltn12")
local tp = require("socket.tp")
local url = require("socket.url")

socket.ftp = M

---Seconds that the server may be silent.
M.TIMEOUT = 60
M.USER = "ftp"
M.PASSWORD = "anonymous@anonymous.org"

local PORT = 21

-- ---- The protocol ------------------------------------------------------------------------------------------------

---A control connection. Failures raise what socket.protect gives back.
---@class socket.ftp.connection
---@field tp socket.tp.connection
---@field try function
---@field pasvt? {address: string, port: integer|string} where the next data connection goes to
---@field server? socket.tp that the server connects to
---@field data? socket.tcp
local connection = {}

local function ask(self, expected, name, argument)
  self.try(self.tp:command(name, argument))
  return self.try(self.tp:check(expected))
end

function connection:greet()
  local code = self.try(self.tp:check({ "1..", "2.." }))
  if code < 200 then
    self.try(self.tp:check("2.."))
  end
  return 1
end

function connection:login(user, password)
  if ask(self, { "2..", "331" }, "USER", user or M.USER) == 331 then
    ask(self, "2..", "PASS", password or M.PASSWORD)
  end
  return 1
end

---The server opens no connection: this side connects there.
local function passive(self, address, port)
  self.pasvt = { address = address, port = port }
  if self.server then
    self.server:close()
    self.server = nil
  end
  return address, port
end

function connection:pasv()
  local _, reply = ask(self, "2..", "PASV")
  local a, b, c, d, high, low = reply:match("(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)%D(%d+)")
  self.try(low, reply)
  return passive(self, ("%d.%d.%d.%d"):format(a, b, c, d), high * 256 + low)
end

function connection:epsv()
  local _, reply = ask(self, "229", "EPSV")
  local _, port = reply:match("%((.).-%1.-%1(.-)%1%)")
  self.try(port, "invalid epsv response")
  return passive(self, (self.try(self.tp:getpeername())), port)
end

---This side opens no connection: the server connects here.
local function active(self)
  local own = self.try(self.tp:getsockname())
  self.server = self.try(socket.bind(own, 0))
  self.try(self.server:settimeout(M.TIMEOUT))
  return self.try(self.server:getsockname())
end

function connection:port(address, port)
  self.pasvt = nil
  if not address then
    address, port = active(self)
  end
  local low = port % 256
  ask(self, "2..", "PORT", (("%s,%d,%d"):format(address, (port - low) / 256, low):gsub("%.", ",")))
  return 1
end

---@param family "1"|"2" of IPv4 or IPv6
function connection:eprt(family, address, port)
  self.pasvt = nil
  if not address then
    address, port = active(self)
  end
  ask(self, "2..", "EPRT", ("|%s|%s|%d|"):format(family, address, port))
  return 1
end

local function open_data(self)
  if self.pasvt then
    self.data = self.try(socket.tcp())
    self.try(self.data:settimeout(M.TIMEOUT))
    self.try(self.data:connect(self.pasvt.address, self.pasvt.port))
  end
end

local function accept_data(self)
  if not self.pasvt then
    self.data = self.try(self.server:accept())
    self.try(self.data:settimeout(M.TIMEOUT))
  end
end

local function argument_of(transfer)
  local argument = transfer.argument or url.unescape((transfer.path or ""):gsub("^[/\\]", ""))
  return argument ~= "" and argument or nil
end

---@param transfer table {source =, path = or argument =, command =, step =}
---@return integer sent bytes
function connection:send(transfer)
  self.try(self.pasvt or self.server, "need port or pasv first")
  open_data(self)
  local code = ask(self, { "2..", "1.." }, transfer.command or "STOR", argument_of(transfer))
  accept_data(self)
  self.try(ltn12.pump.all(transfer.source, socket.sink("close-when-done", self.data), transfer.step))
  if code < 200 then
    self.try(self.tp:check("2.."))
  end
  self.data:close()
  local sent = socket.skip(1, self.data:getstats())
  self.data = nil
  return sent
end

---@param transfer table {sink =, path = or argument =, command =, step =}
function connection:receive(transfer)
  self.try(self.pasvt or self.server, "need port or pasv first")
  open_data(self)
  local code, reply = ask(self, { "1..", "2.." }, transfer.command or "RETR", argument_of(transfer))
  if code >= 200 then
    transfer.sink(reply)
    return 1
  end
  accept_data(self)
  self.try(ltn12.pump.all(socket.source("until-closed", self.data), transfer.sink, transfer.step))
  self.try(self.tp:check("2.."))
  self.data:close()
  self.data = nil
  return 1
end

function connection:cwd(folder)
  ask(self, "250", "CWD", folder)
  return 1
end

function connection:type(kind)
  ask(self, "200", "TYPE", kind)
  return 1
end

function connection:quit()
  ask(self, "2..", "QUIT")
  return 1
end

function connection:close()
  for _, sock in pairs({ self.data, self.server }) do
    sock:close()
  end
  return self.tp:close()
end

---@return socket.ftp.connection
function M.open(server, port, create)
  local control = socket.try(tp.connect(server, port or PORT, M.TIMEOUT, create))
  local self = setmetatable({ tp = control }, { __index = connection })
  self.try = socket.newtry(function()
    self:close()
  end)
  return self
end

-- ---- Transfers ---------------------------------------------------------------------------------------------------

---A request whose `url` is spelled out.
local function spelled(request)
  local parts = request.url and socket.try(url.parse(request.url)) or {}
  for name, value in pairs(request) do
    parts[name] = value
  end
  socket.try(parts.host, "missing hostname")
  return parts
end

---A connection that is logged in.
local function log_in(request)
  local self = M.open(request.host, request.port, request.create)
  self:greet()
  self:login(request.user, request.password)
  if request.type then
    self:type(request.type)
  end
  return self
end

---The request that a URL stands for.
---@param address string
function M.genericform(address)
  local request = socket.try(url.parse(address, { path = "/", scheme = "ftp" }))
  socket.try(request.scheme == "ftp", "wrong scheme '" .. request.scheme .. "'")
  socket.try(request.host, "missing hostname")
  if request.params then
    request.type = request.params:match("^type=(.)$")
    socket.try(request.type == "a" or request.type == "i", "invalid type '" .. tostring(request.type) .. "'")
  end
  return request
end

local function put(request)
  local self = log_in(request)
  self:epsv()
  local sent = self:send(request)
  self:quit()
  self:close()
  return sent
end

local function get(request)
  local self = log_in(request)
  self:epsv()
  self:receive(request)
  self:quit()
  return self:close()
end

---Upload: a text to a URL, or as the table says.
---@type fun(request: string|table, text?: string): integer?, string?
M.put = socket.protect(function(given, text)
  if type(given) == "string" then
    local request = M.genericform(given)
    request.source = ltn12.source.string(text)
    return put(request)
  end
  return put(spelled(given))
end)

---Download: the text of a URL, or as the table says.
---@type fun(request: string|table): string|1|nil, string?
M.get = socket.protect(function(given)
  if type(given) ~= "string" then
    return get(spelled(given))
  end
  local request, parts = M.genericform(given), {}
  request.sink = ltn12.sink.table(parts)
  get(request)
  return table.concat(parts)
end)

---Send one command, or a list of them.
---@type fun(request: table): 1?, string? {host =, command =, argument =, check =}
M.command = socket.protect(function(given)
  local request = spelled(given)
  socket.try(request.command, "missing command")
  local self = log_in(request)
  local several = type(request.command) == "table"
  local commands = several and request.command or { request.command }
  local arguments = several and request.argument or { request.argument }
  local checks = several and request.check or { request.check }
  for i, name in ipairs(commands) do
    self.try(self.tp:command(name, arguments and arguments[i]))
    if checks and checks[i] then
      self.try(self.tp:check(checks[i]))
    end
  end
  self:quit()
  return self:close()
end)

return M
