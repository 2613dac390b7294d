---TLS of ngx.socket: handshakes, and the certificates that ngx.ssl has read.
local M = {}

local contexts = require("heart.tls")

---What ngx.ssl.parse_pem_cert and parse_pem_priv_key give: opaque to their users.
---@class compat.openresty.pem
---@field text string
---@field kind "certificate"|"key"

---@param self ngx.socket.tcp
---@return true?
---@return string? err
function M.set_certificate(self, certificate, key)
  for _, entry in ipairs({ { "cert", certificate }, { "pkey", key } }) do
    local value = entry[2]
    if value ~= nil and (type(value) ~= "table" or not value.text) then
      return nil, ("bad %s arg: cdata expected, got %s"):format(entry[1], type(value))
    end
  end
  if (certificate == nil) ~= (key == nil) then
    return nil, "client certificate and private key are needed together"
  end
  self.certificate, self.certificate_key = certificate and certificate.text, key and key.text
  return true
end

-- What a session is to its user: contexts remember theirs, so this only says that there is one.
local SESSION = setmetatable({}, {
  __tostring = function()
    return "TLS session"
  end,
})

---@param sock any
---@param self ngx.socket.tcp
---@param session any
---@param server_name? string
---@param verify? boolean
---@return any session nil: it failed
---@return string? err
function M.handshake(sock, self, session, server_name, verify)
  local made, err = contexts.context({
    verify = verify and true or false,
    certificate = self.certificate,
    key = self.certificate_key,
  })
  if not made then
    return nil, err
  end
  local ok
  ok, err = sock:tls(made, { server_name = server_name, verify = verify and true or false })
  if not ok then
    return nil, err
  elseif session == false then
    return true
  end
  return SESSION
end

return M
