---The core of LuaSocket on Heart's sockets: TCP and UDP objects with their methods, select, dns, protect and try.
---Names, results and error strings are LuaSocket's; what would block there lets other work go on here.
---@class socket.core
local M = {}

local core = require("heart.core")
local dns = require("luasocket.dns")
local tcp = require("luasocket.tcp")
local udp = require("luasocket.udp")
local time = require("heart.v1.time")

local native = core.socket

M._VERSION = "LuaSocket 3.0.0"
---LuaSocket's select takes so many sockets; this one takes any number.
M._SETSIZE = 1024
M._DATAGRAMSIZE = 8192
M._SOCKETINVALID = -1

M.dns = dns.functions
M.gettime = time.now

function M.__unload() end

---Wait, while others run.
---@param seconds number
function M.sleep(seconds)
  if type(seconds) ~= "number" then
    error(("bad argument #1 to 'sleep' (number expected, got %s)"):format(type(seconds)), 2)
  end
  core.sleep(seconds > 0 and seconds or 0)
end

-- ---- Objects -----------------------------------------------------------------------------------------------------

---@return socket.tcp
function M.tcp()
  return tcp.new()
end

---@return socket.tcp? sock
---@return string? err
function M.tcp4()
  return tcp.new("inet")
end

---@return socket.tcp? sock
---@return string? err
function M.tcp6()
  return tcp.new("inet6")
end

---@return socket.udp
function M.udp()
  return udp.new()
end

---@return socket.udp? sock
---@return string? err
function M.udp4()
  return udp.new("inet")
end

---@return socket.udp? sock
---@return string? err
function M.udp6()
  return udp.new("inet6")
end

---A connected client.
---@param address string name or address
---@param port integer|string
---@param local_address? string to bind to
---@param local_port? integer|string
---@param family? "inet"|"inet6" of the address, if it is a name
---@return socket.tcp? sock
---@return string? err
function M.connect(address, port, local_address, local_port, family)
  local sock = tcp.new()
  if local_address then
    local ok, err = sock:bind(local_address, local_port or 0)
    if not ok then
      sock:close()
      return nil, err
    end
  end
  local ok, err = sock:connect(address, port, family)
  if not ok then
    sock:close()
    return nil, err
  end
  return sock
end

-- ---- select ------------------------------------------------------------------------------------------------------

---The descriptors of those in a list that have one; the rest is ignored, as in LuaSocket.
---@param list table?
---@param descriptors integer[]
---@param objects table[]
local function collect(list, descriptors, objects)
  local i = 1
  while list and list[i] ~= nil do
    local sock = list[i]
    local kind = type(sock)
    if kind == "table" or kind == "userdata" then
      local getfd = sock.getfd
      local fd = getfd and getfd(sock)
      if type(fd) == "number" and fd >= 0 then
        descriptors[#descriptors + 1] = fd
        objects[#objects + 1] = sock
      end
    end
    i = i + 1
  end
end

local function add(ready, sock)
  ready[#ready + 1] = sock
  ready[sock] = #ready
end

local function check_list(n, list)
  if list ~= nil and type(list) ~= "table" then
    error(("bad argument #%d to 'select' (table expected, got %s)"):format(n, type(list)), 3)
  end
end

---Wait until some sockets are ready.
---@param receivers table?
---@param senders table?
---@param timeout? number seconds; nil or negative: as long as it takes
---@return table readable its sockets as a list, and each as a key, too
---@return table writable
---@return "timeout"? err
function M.select(receivers, senders, timeout)
  check_list(1, receivers)
  check_list(2, senders)
  local descriptors, objects = {}, {}
  collect(receivers, descriptors, objects)
  local readers = #objects
  collect(senders, descriptors, objects)
  local readable, writable = {}, {}
  local held = {}
  for i = 1, readers do
    local dirty = objects[i].dirty
    if dirty and dirty(objects[i]) then
      held[i] = true
      add(readable, objects[i])
    end
  end
  if next(held) then
    timeout = 0
  elseif timeout and timeout < 0 then
    timeout = nil
  end
  for _, i in ipairs(native.poll(descriptors, readers, timeout)) do
    if i > readers then
      add(writable, objects[i])
    elseif not held[i] then
      add(readable, objects[i])
    end
  end
  if not next(readable) and not next(writable) then
    return readable, writable, "timeout"
  end
  return readable, writable
end

-- ---- try and protect ---------------------------------------------------------------------------------------------

---What `try` raises: `protect` gives its first element back.
local exception = {
  __tostring = function(e)
    return tostring(e[1])
  end,
}

---A function that gives its arguments back, or, if the first is false or nil, calls the finalizer and raises the second
---for `protect`.
---@param finalizer? fun()
---@return fun(...): ...
function M.newtry(finalizer)
  return function(...)
    if not (...) then
      if finalizer then
        pcall(finalizer)
      end
      error(setmetatable({ (select(2, ...)) }, exception), 0)
    end
    return ...
  end
end

local function unprotect(ok, ...)
  if ok then
    return ...
  end
  local err = ...
  if getmetatable(err) == exception then
    return nil, err[1]
  end
  error(err, 0)
end

---A function that calls `fn`, and returns nil and the message where a `try` inside it fails.
---@param fn function
---@return function
function M.protect(fn)
  return function(...)
    return unprotect(pcall(fn, ...))
  end
end

---The arguments behind the first `n` of them.
---@param n integer
function M.skip(n, ...)
  return select(n + 1, ...)
end

return M
