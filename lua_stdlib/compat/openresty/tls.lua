---TLS of ngx.socket: handshakes, the certificates that ngx.ssl has read, and stores of trusted ones.
local M = {}

local ffi = require("ffi")
local contexts = require("heart.tls")
local library = require("compat.openresty.library")
local log = require("compat.openresty.log")

-- Under names of our own, since libraries declare them with types of theirs.
ffi.cdef([[
const char *heart_verify_error(long) __asm__("X509_verify_cert_error_string");
void *heart_store_certificates(void *) __asm__("X509_STORE_get1_all_certs");
int heart_stack_size(const void *) __asm__("OPENSSL_sk_num");
void *heart_stack_value(const void *, int) __asm__("OPENSSL_sk_value");
void heart_stack_free(void *) __asm__("OPENSSL_sk_free");
void heart_certificate_free(void *) __asm__("X509_free");
const void *heart_bio_memory(void) __asm__("BIO_s_mem");
void *heart_bio_new(const void *) __asm__("BIO_new");
int heart_bio_free(void *) __asm__("BIO_free");
int heart_bio_read(void *, void *, int) __asm__("BIO_read");
int heart_write_certificate(void *, void *) __asm__("PEM_write_bio_X509");
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

---@param bio any
---@return string
local function text_of(bio)
  local parts, room = {}, ffi.new("char[4096]")
  while true do
    local n = library.open("crypto").heart_bio_read(bio, room, ffi.sizeof(room))
    if n <= 0 then
      return table.concat(parts)
    end
    parts[#parts + 1] = ffi.string(room, n)
  end
end

---The certificates of an X509_STORE as PEM, which is what contexts take. They may be on another libcrypto.
---@param store any
---@return string
local function certificates_of(store)
  local crypto = library.open("crypto")
  local list = crypto.heart_store_certificates(store)
  local bio = crypto.heart_bio_new(crypto.heart_bio_memory())
  for i = 0, crypto.heart_stack_size(list) - 1 do
    local certificate = crypto.heart_stack_value(list, i)
    crypto.heart_write_certificate(bio, certificate)
    crypto.heart_certificate_free(certificate)
  end
  crypto.heart_stack_free(list)
  local text = text_of(bio)
  crypto.heart_bio_free(bio)
  return text
end

---@param self ngx.socket.tcp
---@param store any an X509_STORE; nil: the authorities of the system
---@return true?
---@return string? err
function M.set_trusted(self, store)
  if store and type(store) ~= "cdata" then
    return nil, "bad store arg: cdata expected, got " .. type(store)
  end
  self.trusted = store and certificates_of(store) or nil
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
      numbers[ffi.string(crypto.heart_verify_error(n))] = n
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
    ca_file = self.trusted,
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
