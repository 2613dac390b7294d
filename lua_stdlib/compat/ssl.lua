---LuaSec for clients, on Heart's TLS: newcontext, wrap and the connection that it gives. As in LuaSec nothing is
---verified unless the parameters ask for it (`verify = "peer"`); then the name given to sni() must be in the
---certificate, too.
---There is no server mode: Heart's own listeners are not made from Lua.
---@class ssl
local M = {}

local certificate = require("luasocket.certificate")
local object = require("luasocket.object")
local tcp = require("luasocket.tcp")

local core = require("heart.core")

M._VERSION = "1.2.0"
M._COPYRIGHT = "LuaSec's interface on Heart's TLS"

M.config = {
  protocols = { any = true, tlsv1_2 = true, tlsv1_3 = true },
  options = {},
  algorithms = { ec = true },
  capabilities = { tlsv13 = true },
}

-- The oldest version that a protocol of LuaSec's names stands for. Older ones than TLS 1.2 are not spoken.
local PROTOCOLS = { any = "1.2", sslv23 = "1.2", tlsv1_2 = "1.2", tlsv1_3 = "1.3" }

---@class ssl.parameters
---@field mode "client"
---@field protocol? "any"|"sslv23"|"tlsv1_2"|"tlsv1_3"
---@field verify? "none"|"peer"|string[]
---@field cafile? string
---@field capath? string
---@field certificate? string path of a PEM file
---@field key? string
---@field password? string|fun(): string
---@field ciphers? string
---@field depth? integer
---@field alpn? string|string[]

---@class ssl.context
---@field native userdata
---@field verify boolean
---@field alpn? string[]

-- What `verify` may say, and whether the server's certificate is verified then.
local VERIFY = { none = false, peer = true, client_once = false, fail_if_no_peer_cert = true }

---@param verify string|string[]|nil
---@return boolean? verifies
---@return string? err
local function verifies(verify)
  local found = false
  for _, word in ipairs(type(verify) == "table" and verify or { verify }) do
    if VERIFY[word] == nil then
      return nil, ("invalid verify option (%s)"):format(tostring(word))
    end
    found = found or VERIFY[word]
  end
  return found
end

-- LuaSec's words for what is wrong with an option of Heart's.
local REFUSALS = {
  ca_file = "error loading CA locations",
  ca_path = "error loading CA locations",
  certificate = "error loading certificate",
  key = "error loading private key",
  ciphers = "error setting cipher list",
}

---@param err string
---@return string
local function refusal(err)
  local option, reason = err:match("^tls: ([%w_]+): (.*)$")
  if REFUSALS[option] then
    return ("%s (%s)"):format(REFUSALS[option], reason)
  end
  return err
end

local context = {
  __name = "SSL:Context",
  __tostring = function(self)
    return ("SSL context: %p"):format(self)
  end,
}

---@param parameters ssl.parameters
---@return ssl.context?
---@return string? err
function M.newcontext(parameters)
  if parameters.mode == "server" then
    return nil, "invalid mode (server): there is none but client"
  elseif parameters.mode ~= "client" then
    return nil, "invalid mode"
  end
  local version = PROTOCOLS[parameters.protocol or "any"]
  if not version then
    return nil, ("invalid protocol (%s)"):format(tostring(parameters.protocol))
  end
  local alpn, password = parameters.alpn, parameters.password
  local verify, wrong = verifies(parameters.verify)
  if verify == nil then
    return nil, wrong
  end
  if alpn ~= nil and type(alpn) ~= "string" and type(alpn) ~= "table" then
    return nil, "invalid ALPN parameter"
  end
  if type(password) == "function" then
    password = password()
  elseif password ~= nil and type(password) ~= "string" then
    return nil, "invalid password type"
  end
  if type(alpn) == "string" then
    alpn = { alpn }
  end
  local native, err = core.tls.context({
    verify = verify,
    ca_file = parameters.cafile,
    ca_path = parameters.capath,
    certificate = parameters.certificate,
    key = parameters.key,
    password = password,
    ciphers = parameters.ciphers,
    depth = parameters.depth,
    min_version = version,
    alpn = alpn,
  })
  if not native then
    return nil, refusal(err)
  end
  return setmetatable({ native = native, verify = verify, alpn = alpn }, context)
end

-- ---- Connections -------------------------------------------------------------------------------------------------

---@class ssl.connection: socket.object
---@field context ssl.context
---@field name? string of sni()
---@field wanted "nothing"|"read"|"write"
local methods = {}

---What LuaSec says when the time is over: which direction it waits for.
local function waits(self, err, direction)
  self.wanted = "nothing"
  if err == "timeout" then
    self.wanted = direction
    return "want" .. direction
  end
  return err
end

---Why a handshake has failed, in OpenSSL's words alone. Of a name that is not in the certificate LuaSec says nothing.
---@param err string
---@return string
local function words(err)
  if err:find("^certificate verify failed: ") and not err:find("mismatch$") then
    return "certificate verify failed"
  end
  return (err:gsub("^tls: ", ""))
end

---The name of the server: for SNI, and for the certificate if it is verified.
---@param name string
function methods:sni(name)
  self.name = name
end

---@return string? name that sni() has set
function methods:getsniname()
  return self.name
end

---Agree on keys. A socket that does not wait (settimeout(0)) waits here.
---@return boolean done
---@return string? err
function methods:dohandshake()
  local sock = self.sock
  if not sock then
    return false, "closed"
  end
  if self.secure then
    return true
  end
  if self.block == 0 then
    sock:settimeouts(nil, nil, nil)
  end
  if self.total and self.total > 0 then
    sock:deadline(self.total)
  end
  local ok, err = sock:tls(self.context.native, {
    server_name = self.name,
    host = self.context.verify and self.name or "",
    verify = self.context.verify,
    alpn = self.context.alpn,
  })
  object.apply_timeouts(self)
  if not ok then
    return false, waits(self, words(object.reason(err)), "read")
  end
  self.secure = true
  return true
end

-- Before the handshake nothing goes out, since it would go out unencrypted.

function methods:send(data, i, j)
  if not self.secure then
    return nil, "closed", (i or 1) - 1
  end
  local last, err, partial = tcp.stream.send(self, data, i, j)
  if not last then
    return nil, waits(self, err, "write"), partial
  end
  return last
end

function methods:receive(pattern, prefix)
  if not self.secure then
    return nil, "closed", prefix or ""
  end
  local data, err, partial = tcp.stream.receive(self, pattern, prefix)
  if not data then
    return nil, waits(self, err, "read"), partial
  end
  return data, nil, nil
end

---Whether the connection waits for something.
---@return "nothing"|"read"|"write"
function methods:want()
  return self.wanted
end

---Bits of the keys of a cipher.
---@param cipher string
---@return integer?
local function bits_of(cipher)
  return cipher:find("CHACHA20") and 256 or tonumber(cipher:match("AES_?(%d+)"))
end

---@param field? "protocol"|"cipher"|"bits"|"algbits"|"compression"
---@return any info
---@return string? err
function methods:info(field)
  local session = self.sock and self.sock:session()
  if not session then
    return nil, "closed"
  end
  local bits = bits_of(session.cipher)
  local info = { protocol = session.version, cipher = session.cipher, bits = bits, algbits = bits }
  if field then
    return info[field]
  end
  return info
end

---@return string? protocol agreed on
function methods:getalpn()
  local session = self.sock and self.sock:session()
  return session and session.alpn
end

---The certificate of the server.
---@param n? integer 1
---@return ssl.certificate?
---@return string? err
function methods:getpeercertificate(n)
  local session = self.sock and self.sock:session()
  if not session then
    return nil, "closed"
  elseif not session.certificate or (n or 1) ~= 1 then
    return nil
  end
  return certificate.new(session.certificate)
end

---@return boolean verified
function methods:getpeerverification()
  return self.secure and self.context.verify or false
end

---Say that nothing more is sent, and close.
function methods:close()
  if self.sock then
    if self.secure then
      self.sock:shutdown("send")
    end
    self.sock:close()
    self.sock = nil
  end
  self.closed = true
end

methods.compression = function() end

local kind = object.kind(methods)

---A connection on a connected socket, which the socket loses. dohandshake() comes next.
---@param sock socket.tcp
---@param parameters ssl.parameters|ssl.context
---@return ssl.connection?
---@return string? err
function M.wrap(sock, parameters)
  local ctx = parameters
  if getmetatable(ctx) ~= context then
    local err
    ctx, err = M.newcontext(parameters --[[@as ssl.parameters]])
    if not ctx then
      return nil, err
    end
  end
  if type(sock) ~= "table" or not sock.sock then
    return nil, "closed"
  end
  local connection = object.new(kind, "SSL connection", "stream")
  connection.sock, connection.family = sock.sock, sock.family
  sock.sock, sock.closed = nil, true
  connection.context, connection.wanted = ctx, "nothing"
  object.apply_timeouts(connection)
  return connection
end

return M
