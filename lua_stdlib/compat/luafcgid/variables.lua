---The variables of the configuration files of luafcgid and luafcgid2: type, default, and what Heart does with each.
---Pure Lua: it is read by workers and, before there are any, by a plain state.

---@class luafcgid.variable
---@field of 1|2|nil whose it is: luafcgid's or luafcgid2's; nil: both have it
---@field type "number"|"string"|"boolean"|"table"
---@field to? string name of the setting; nil: it has no effect here
---@field least? number
---@field note? string why it has none, or what else is to be said, for the warning
---@field like? string it is another spelling of that variable

---@type table<string, luafcgid.variable>
local M = {}

local GROWS = "buffers grow as they need to"

---@param name string
---@param variable luafcgid.variable
local function add(name, variable)
  M[name] = variable
end

-- ---- Both --------------------------------------------------------------------------------------------------------
add("listen", { type = "string", to = "listen" })

-- ---- luafcgid ----------------------------------------------------------------------------------------------------
add("workers", { of = 1, type = "number", to = "workers", least = 1 })
add("backlog", { of = 1, type = "number", to = "backlog", least = 1 })
add("maxpost", { of = 1, type = "number", to = "max_body", least = 1 })
add("logfile", { of = 1, type = "string", to = "log_file" })
add("states", { of = 1, type = "number", to = "states", least = 1 })
add("clones", { of = 1, type = "number", to = "clones", least = 1 })
add("retries", { of = 1, type = "number", to = "retries", least = 1 })
add("sweep", { of = 1, type = "number", to = "check_ms", least = 0 })
add("showerrors", { of = 1, type = "boolean", to = "show_errors" })
add("buffering", { of = 1, type = "boolean", to = "buffering" })
add("headers", { of = 1, type = "string", to = "headers" })
add("handler", { of = 1, type = "string", to = "entry" })
add("httpstatus", { of = 1, type = "string", to = "status" })
add("contenttype", { of = 1, type = "string", to = "content_type" })
add("headersize", { of = 1, type = "number", note = GROWS })
add("bodysize", { of = 1, type = "number", note = GROWS })
add("buffersize", { of = 1, type = "number", note = GROWS })
add("daemonize", { of = 1, type = "boolean", note = "Heart stays in the foreground; let systemd start it" })
add("watchdog", { of = 1, type = "number", note = "luafcgid does not use it either" })
add("maxcount", { of = 1, type = "number", note = "luafcgid does not use it either" })

-- ---- luafcgid2 ---------------------------------------------------------------------------------------------------
add("Listen", { of = 2, type = "string", to = "listen", like = "listen" })
add("WorkerThreads", { of = 2, type = "number", to = "workers", least = 1 })
add("MaxPostSize", { of = 2, type = "number", to = "max_body", least = 1 })
add("LogFilePath", { of = 2, type = "string", to = "log_file" })
add("LuaStates", { of = 2, type = "number", to = "states", least = 1 })
add("LuaMaxStates", { of = 2, type = "number", to = "most", least = 1 })
add("LuaMaxSearchRetries", { of = 2, type = "number", to = "retries", least = 1 })
add("MinFileInfoTime", { of = 2, type = "number", to = "check_ms", least = 0 })
add("UseFileChecksum", { of = 2, type = "boolean", to = "checksum" })
add("DefaultHeaders", { of = 2, type = "string", to = "headers" })
add("DefaultHttpStatus", { of = 2, type = "string", to = "status" })
add("DefaultContentType", { of = 2, type = "string", to = "content_type" })
add("StartupScript", { of = 2, type = "string", to = "startup" })
add("Entrypoint", { of = 2, type = "string", to = "entry" })
add("entrypoint", { of = 2, type = "string", to = "entry", like = "Entrypoint" })
add("Config", { of = 2, type = "table", to = "config" })
add("SessionName", { of = 2, type = "string", to = "session_name" })
add("SessionTime", { of = 2, type = "number", to = "session_time", least = 1 })
add("SessionKeyLen", { of = 2, type = "number", to = "session_key_length", least = 8 })
add("SessionCookieSecure", { of = 2, type = "boolean", to = "session_secure" })
add("SessionCookieHttpOnly", { of = 2, type = "boolean", to = "session_http_only" })
add("SessionCookieSameSite", { of = 2, type = "string", to = "session_same_site" })
add("SessionIpScore", { of = 2, type = "number", to = "session_ip_score" })
add("SessionUserAgentScore", { of = 2, type = "number", to = "session_agent_score" })
add("SessionLanguageScore", { of = 2, type = "number", to = "session_language_score" })
add("SessionTargetScore", { of = 2, type = "number", to = "session_target_score" })
add("HeadersSize", { of = 2, type = "number", note = GROWS })
add("BodySize", { of = 2, type = "number", note = GROWS })
add("BodySectors", { of = 2, type = "number", note = GROWS })

return M
