---Names and addresses of ngx.socket.
local M = {}

---@param host any
---@return string host without the brackets of "[::1]"
function M.strip(host)
  return host:match("^%[(.*)%]$") or host
end

---@param host any
---@return boolean
function M.is_numeric(host)
  if type(host) ~= "string" then
    return false
  end
  host = M.strip(host)
  return host:find("^%d+%.%d+%.%d+%.%d+$") ~= nil or host:find("^[%x:]*:[%x:.]*%%?%w*$") ~= nil
end

-- Heart's reasons → numbers and words of nginx's resolver.
local REASONS = {
  ["malformed answer"] = "1: Format error",
  ["server failure"] = "2: Server failure",
  ["host not found"] = "3: Host not found",
  ["refused"] = "5: Operation refused",
  ["timeout"] = "110: Operation timed out",
}

---The addresses of a host.
---@param host string
---@return string[]?
---@return string? err
function M.resolve(host)
  if host == "" then
    return nil, 'failed to parse host name "": no host'
  elseif M.is_numeric(host) then
    return { M.strip(host) }
  end
  local found, err = require("heart.v1.dns").resolve(host)
  if not found then
    return nil, ("%s could not be resolved (%s)"):format(host, REASONS[err] or err)
  end
  return found
end

return M
