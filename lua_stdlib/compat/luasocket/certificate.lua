---Certificates of LuaSec: what Heart's TLS tells of the server's, in LuaSec's methods.
local M = {}

local ffi = require("ffi")

local library = require("compat.openresty.library")
local mime = require("mime.core")

-- Under names of their own: a library may declare the same functions with its types.
ffi.cdef([[
void *heart_d2i_X509(void **, const unsigned char **, long) __asm__("d2i_X509");
int heart_X509_get_signature_nid(const void *) __asm__("X509_get_signature_nid");
void heart_X509_free(void *) __asm__("X509_free");
const char *heart_OBJ_nid2sn(int) __asm__("OBJ_nid2sn");
]])

---@class ssl.certificate
---@field facts table
local methods = {}

local SHORT = {
  CN = "commonName",
  O = "organizationName",
  OU = "organizationalUnitName",
  C = "countryName",
  ST = "stateOrProvinceName",
  L = "localityName",
  emailAddress = "emailAddress",
  DC = "domainComponent",
}

---"CN=example.org,O=Example" (RFC 2253) as a list, in the certificate's order.
---@param text string
---@return {name: string, value: string}[]
local function parse_name(text)
  local parts = {}
  for part in (text:gsub("\\,", "\1") .. ","):gmatch("([^,]*),") do
    local name, value = part:match("^([^=]+)=(.*)$")
    if name then
      table.insert(parts, 1, { name = SHORT[name] or name, value = (value:gsub("\1", ","):gsub("\\(.)", "%1")) })
    end
  end
  return parts
end

---@param seconds number
local function time_text(seconds)
  return os.date("!%b %e %H:%M:%S %Y GMT", seconds)
end

function methods:subject()
  return parse_name(self.facts.subject)
end

function methods:issuer()
  return parse_name(self.facts.issuer)
end

---@return string hexadecimal
function methods:serial()
  return self.facts.serial
end

function methods:notbefore()
  return time_text(self.facts.not_before)
end

function methods:notafter()
  return time_text(self.facts.not_after)
end

---@param time? number seconds since 1970
function methods:validat(time)
  time = time or os.time()
  return time >= self.facts.not_before and time <= self.facts.not_after
end

---@param algorithm? string "sha256", no other
---@return string? hexadecimal
---@return string? err
function methods:digest(algorithm)
  if algorithm ~= "sha256" then
    return nil, ("digest algorithm not supported (%s)"):format(algorithm or "sha1")
  end
  return (self.facts.sha256:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

---@return string? name of the signature's algorithm, as OpenSSL has it: "RSA-SHA256", "ecdsa-with-SHA256"
function methods:getsignaturename()
  local crypto = library.open("crypto")
  local der = self.facts.der
  local x509 = crypto.heart_d2i_X509(nil, ffi.new("const unsigned char *[1]", { der }), #der)
  if x509 == nil then
    return nil
  end
  local name = crypto.heart_OBJ_nid2sn(crypto.heart_X509_get_signature_nid(x509))
  crypto.heart_X509_free(x509)
  return name ~= nil and ffi.string(name) or nil
end

---@return string PEM
function methods:pem()
  local encoded = mime.wrp(64, (mime.b64(self.facts.der)), 64)
  return "-----BEGIN CERTIFICATE-----\n" .. encoded:gsub("\r\n", "\n") .. "\n-----END CERTIFICATE-----\n"
end

---The alternative names: {["2.5.29.17"] = {name =, dNSName = {...}, iPAddress = {...}}}.
function methods:extensions()
  local names = { name = "X509v3 Subject Alternative Name" }
  for _, entry in ipairs(self.facts.names) do
    local kind, value = entry:match("^(%w+):(.*)$")
    local field = kind == "DNS" and "dNSName" or kind == "IP" and "iPAddress" or nil
    if field then
      names[field] = names[field] or {}
      table.insert(names[field], value)
    end
  end
  return { ["2.5.29.17"] = names }
end

local meta = {
  __index = methods,
  __name = "SSL:Certificate",
  __tostring = function(self)
    return ("X509 certificate: %p"):format(self)
  end,
}

---@param facts table of sock:session()
---@return ssl.certificate
function M.new(facts)
  return setmetatable({ facts = facts }, meta)
end

return M
