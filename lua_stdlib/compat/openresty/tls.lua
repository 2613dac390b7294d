---TLS of ngx.socket: handshakes, and the certificates that ngx.ssl has read.
local M = {}

local ffi = require("ffi")
local contexts = require("heart.tls")
local library = require("compat.openresty.library")
local log = require("compat.openresty.log")

ffi.cdef([[
const char *X509_verify_cert_error_string(long);
]])

---What ngx.ssl.parse_pem_cert and parse_pem_priv_key give: opaque to their users.
---@class compat.openresty.pem
---@field text string
---@field kind "certificate"|"key"

---@param self ngx.socket.tcp
---@return true?
---@return string? err
function M.set_certificate(self, certificate, key)
  if not certificate and not key then
    self.certificate, self.certificate_key = nil, nil
    return true
  elseif not certificate or not key then
    return nil, "client certificate must be supplied with corresponding private key"
  end
  for _, entry in ipairs({ { "cert", certificate }, { "pkey", key } }) do
    local name, value = entry[1], entry[2]
    if type(value) ~= "table" or not value.text then
      return nil, ("bad %s arg: cdata expected, got %s"):format(name, type(value))
    end
  end
  self.certificate, self.certificate_key = certificate.text, key.text
  return true
end

-- What a session is to its user: contexts remember theirs, so this only says that there is one.
local SESSION = setmetatable({}, {
  __tostring = function()
    return "TLS session"
  end,
})

-- ---- Words of the original -----------------------------------------------------------------------------------------

local REFUSED = "^certificate verify failed: (.*)$" -- as Heart says it
local VERIFY_MAX = 100 -- above OpenSSL's numbers of what is wrong with a certificate

local numbers ---@type table<string, integer>? what is wrong with a certificate → OpenSSL's number of it

---@param reason string
---@return integer?
local function number_of(reason)
  if not numbers then
    numbers = {}
    local crypto = library.open("crypto")
    for n = VERIFY_MAX, 1, -1 do
      numbers[ffi.string(crypto.X509_verify_cert_error_string(n))] = n
    end
  end
  return numbers[reason]
end

---Why a handshake has failed. The original tells no more of what is not about the certificate; the log does.
---@param err string
---@return string
local function words(err)
  local reason = err:match(REFUSED)
  if not reason then
    return err == "timeout" and err or "handshake failed"
  elseif reason:find("mismatch$") then
    return "certificate host mismatch"
  end
  local number = number_of(reason)
  return number and ("%d: %s"):format(number, reason) or reason
end

-- ---- Handshakes ----------------------------------------------------------------------------------------------------

---@param sock any
---@param self ngx.socket.tcp
---@param server_name? string
---@param verify boolean
---@return boolean? ok
---@return string? err
local function encrypt(sock, self, server_name, verify)
  local context, err = contexts.context({
    verify = verify,
    certificate = self.certificate,
    key = self.certificate_key,
  })
  if not context then
    return nil, err
  end
  local ok
  ok, err = sock:tls(context, { server_name = server_name, verify = verify })
  if ok then
    return true
  end
  log.log(log.levels.INFO, "TLS handshake failed: ", err)
  return nil, words(err)
end

---@param sock any
---@param self ngx.socket.tcp
---@param session any
---@param server_name? string
---@param verify? boolean
---@return any session nil: it failed
---@return string? err
function M.handshake(sock, self, session, server_name, verify)
  if not sock:session() then -- of a pool it may be encrypted already
    local ok, err = encrypt(sock, self, server_name, verify and true or false)
    if not ok then
      return nil, err
    end
  end
  if session == false then
    return true
  end
  return SESSION
end

return M
