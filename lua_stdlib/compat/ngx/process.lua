---The module ngx.process. Heart's workers are threads, so there is one process.
local M = {}

local worker = require("compat.openresty.run").worker

M.version = "0.1.28"

---@return "worker"
function M.type()
  return "worker"
end

---@return integer
function M.get_master_pid()
  return worker.pid()
end

---@return nil
---@return string err
function M.enable_privileged_agent()
  return nil, "there is no privileged agent in Heart"
end

---End the server when its requests are served, as SIGTERM does.
function M.signal_graceful_exit()
  local ffi = require("ffi")
  ffi.cdef("int kill(int, int);")
  ffi.C.kill(worker.pid(), 15)
end

return M
