---The usual spelling of header fields: `canonic["content-type"]` is "Content-Type".
local M = {}

local socket = require("socket")
socket.headers = M

-- What is not simply every word with a capital.
local SPELLED = {
  ["content-md5"] = "Content-MD5",
  ["content-id"] = "Content-ID",
  ["message-id"] = "Message-ID",
  ["resent-message-id"] = "Resent-Message-ID",
  ["original-envelope-id"] = "Original-Envelope-ID",
  ["final-log-id"] = "Final-Log-ID",
  ["mime-version"] = "MIME-Version",
  ["dsn-gateway"] = "DSN-Gateway",
  ["received-from-mta"] = "Received-From-MTA",
  ["remote-mta"] = "Remote-MTA",
  ["reporting-mta"] = "Reporting-MTA",
  ["x400-mts-identifier"] = "X400-MTS-Identifier",
  ["smtp-reply-code"] = "SMTP-Reply-Code",
  ["te"] = "TE",
  ["tls"] = "TLS",
  ["dnt"] = "DNT",
  ["etag"] = "ETag",
  ["www-authenticate"] = "WWW-Authenticate",
}

---@param name string
local function spell(name)
  return (name:gsub("%f[%w]%l", string.upper))
end

---@type table<string, string>
M.canonic = setmetatable(SPELLED, {
  __index = function(_, name)
    return type(name) == "string" and name == name:lower() and spell(name) or nil
  end,
})

return M
