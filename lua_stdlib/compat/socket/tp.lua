---Line-based protocols with numbered replies, for socket.smtp and socket.ftp.
local M = {}

local socket = require("socket")
local ltn12 = require("ltn12")

socket.tp = M

---Seconds that a connection may be silent.
M.TIMEOUT = 60

---A reply, which may have several lines.
---@return string? code
---@return string reply or the message
local function receive_reply(c)
  local line, err = c:receive()
  if not line then
    return nil, err
  end
  local code, mark = line:match("^(%d%d%d)(.?)")
  if not code then
    return nil, "invalid server reply"
  end
  local lines = { line }
  while mark == "-" do
    line, err = c:receive()
    if not line then
      return nil, err
    end
    lines[#lines + 1] = line
    if line:sub(1, 4) == code .. " " or line == code then
      break
    end
  end
  return code, table.concat(lines, "\n")
end

---@class socket.tp.connection
---@field c socket.tcp
local connection = {}

---Read a reply. What is expected: a pattern of its code, a list of them, or a function that gets code and reply.
---@param ok string|string[]|function
---@return any code nil: another one
---@return string reply
function connection:check(ok)
  local code, reply = receive_reply(self.c)
  if not code then
    return nil, reply
  elseif type(ok) == "function" then
    return ok(tonumber(code), reply)
  end
  for _, pattern in ipairs(type(ok) == "table" and ok or { ok }) do
    if code:find(pattern) then
      return tonumber(code), reply
    end
  end
  return nil, reply
end

---@param name string
---@param argument? string
function connection:command(name, argument)
  return self.c:send(name:upper() .. (argument and " " .. argument or "") .. "\r\n")
end

function connection:sink(snk, pattern)
  local chunk, err = self.c:receive(pattern)
  return snk(chunk, err)
end

function connection:source(source, step)
  return ltn12.pump.all(source, socket.sink("keep-open", self.c), step)
end

function connection:send(data)
  return self.c:send(data)
end

function connection:receive(pattern)
  return self.c:receive(pattern)
end

function connection:getpeername()
  return self.c:getpeername()
end

function connection:getsockname()
  return self.c:getsockname()
end

function connection:getfd()
  return self.c:getfd()
end

function connection:dirty()
  return self.c:dirty()
end

function connection:getcontrol()
  return self.c
end

function connection:close()
  self.c:close()
  return 1
end

---@param host string
---@param port integer|string
---@param timeout? number seconds
---@param create? function that makes the socket
---@return socket.tp.connection?
---@return string? err
function M.connect(host, port, timeout, create)
  local c, err = (create or socket.tcp)()
  if not c then
    return nil, err
  end
  c:settimeout(timeout or M.TIMEOUT)
  local ok
  ok, err = c:connect(host, port)
  if not ok then
    c:close()
    return nil, err
  end
  return setmetatable({ c = c }, { __index = connection })
end

return M
