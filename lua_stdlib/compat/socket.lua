---LuaSocket: the core, and what is written in Lua on top of it.
---@class socket: socket.core
---@field url? table
---@field http? table
local M = require("socket.core")

local callable = require("luasocket.callable")

---@param list {family: string, addr: string}[]
local function bind_first(list, port, backlog)
  local err = "no info on address"
  for _, candidate in ipairs(list) do
    local sock, ok
    sock, err = (candidate.family == "inet6" and M.tcp6 or M.tcp4)()
    if not sock then
      return nil, err
    end
    sock:setoption("reuseaddr", true)
    ok, err = sock:bind(candidate.addr, port)
    if ok then
      ok, err = sock:listen(backlog)
    end
    if ok then
      return sock
    end
    sock:close()
  end
  return nil, err
end

---A server that listens.
---@param host string name, address, or "*" for all
---@param port integer
---@param backlog? integer
---@return socket.tcp? sock
---@return string? err
function M.bind(host, port, backlog)
  local list, err = M.dns.getaddrinfo(host == "*" and "0.0.0.0" or host)
  if not list then
    return nil, err
  end
  return bind_first(list, port, backlog)
end

---@return socket.tcp? sock
---@return string? err
function M.connect4(address, port, local_address, local_port)
  return M.connect(address, port, local_address, local_port, "inet")
end

---@return socket.tcp? sock
---@return string? err
function M.connect6(address, port, local_address, local_port)
  return M.connect(address, port, local_address, local_port, "inet6")
end

M.try = M.newtry()

M.choose = require("luasocket.choose")

-- ---- Sources and sinks (see ltn12) ------------------------------------------------------------------------------

---Bytes that a source reads at a time.
M.BLOCKSIZE = 2048

M.sinkt = {}
M.sourcet = {}

M.sinkt["close-when-done"] = function(sock)
  return callable(sock, function(_, chunk)
    if chunk then
      return sock:send(chunk)
    end
    sock:close()
    return 1
  end)
end

M.sinkt["keep-open"] = function(sock)
  return callable(sock, function(_, chunk)
    if chunk then
      return sock:send(chunk)
    end
    return 1
  end)
end

M.sinkt["default"] = M.sinkt["keep-open"]

M.sourcet["by-length"] = function(sock, length)
  return callable(sock, function()
    if length <= 0 then
      return nil
    end
    local chunk, err = sock:receive(math.min(M.BLOCKSIZE, length))
    if err then
      return nil, err
    end
    length = length - #chunk
    return chunk
  end)
end

M.sourcet["until-closed"] = function(sock)
  local done = false
  return callable(sock, function()
    if done then
      return nil
    end
    local chunk, err, partial = sock:receive(M.BLOCKSIZE)
    if not err then
      return chunk
    elseif err == "closed" then
      sock:close()
      done = true
      return partial
    end
    return nil, err
  end)
end

M.sourcet["default"] = M.sourcet["until-closed"]

---An ltn12 sink of a socket: "keep-open" or "close-when-done".
M.sink = M.choose(M.sinkt)
---An ltn12 source of a socket: "until-closed" or "by-length".
M.source = M.choose(M.sourcet)

return M
