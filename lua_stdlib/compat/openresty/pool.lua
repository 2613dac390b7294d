---The backlog of a pool: how many connections there may be at once, and how many coroutines may wait for one of them.
local M = {}

---@type table<string, any> key of the pool → its semaphore
local gates = {}

---Wait for one's turn.
---@param key string
---@param options { pool_size?: integer, backlog: integer }
---@param timeout number seconds
---@return any? gate to leave by
---@return string? err
function M.enter(key, options, timeout)
  local gate = gates[key]
  if not gate then
    gate = require("ngx.semaphore").new(options.pool_size or 30)
    gates[key] = gate
  end
  if gate:count() <= -options.backlog then
    return nil, "too many waiting connect operations"
  end
  local ok, err = gate:wait(timeout)
  return ok and gate or nil, err
end

---@param gate any
function M.leave(gate)
  gate:post(1)
end

return M
