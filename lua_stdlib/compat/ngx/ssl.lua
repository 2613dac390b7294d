---The module ngx.ssl, as far as clients need it: certificates and keys for setclientcert. Heart's own listeners have
---their certificates from the configuration.
local M = {}

M.version = "0.1.28"
M.SSL3_VERSION = 0x0300
M.TLS1_VERSION = 0x0301
M.TLS1_1_VERSION = 0x0302
M.TLS1_2_VERSION = 0x0303
M.TLS1_3_VERSION = 0x0304

---@param text string
---@param kind "certificate"|"key"
---@param label string
---@return compat.openresty.pem?
---@return string? err
local function pem(text, kind, label)
  if type(text) ~= "string" or not text:find("%-%-%-%-%-BEGIN [%u ]*" .. label .. "%-%-%-%-%-") then
    return nil, "PEM_read_bio failed: no " .. kind .. " in it"
  end
  return { text = text, kind = kind }
end

---@param text string PEM: a certificate, perhaps with those that it is signed by
---@return compat.openresty.pem?
---@return string? err
function M.parse_pem_cert(text)
  return pem(text, "certificate", "CERTIFICATE")
end

---@param text string PEM
---@return compat.openresty.pem?
---@return string? err
function M.parse_pem_priv_key(text)
  return pem(text, "key", "PRIVATE KEY")
end

return M
