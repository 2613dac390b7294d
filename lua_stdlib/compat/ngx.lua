---The global `ngx`: what libraries for OpenResty (lua-nginx-module) expect of their host, on Heart's scheduler.
---
---The table is there in every state from the start; this file fills it on its first use. Its larger parts, in
---compat/openresty, are loaded when they are asked for. Everything is allowed everywhere, also where OpenResty has it
---disabled: at start-up, in timers, after the response.
---@class ngx
---@field ctx table of the request, or of the timer
---@field status integer of the response
---@field headers_sent boolean
local M = require("heart.core").ngx

local core = require("heart.core")

setmetatable(M, nil)

-- ---- Constants -----------------------------------------------------------------------------------------------------

for name, value in pairs({ OK = 0, ERROR = -1, AGAIN = -2, DONE = -4, DECLINED = -5 }) do
  M[name] = value
end

local METHODS = {
  { "GET", "HEAD", "POST", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH", "LOCK" },
  { "UNLOCK", "PATCH", "TRACE" },
}
local bits = 2
for _, row in ipairs(METHODS) do
  for _, name in ipairs(row) do
    M["HTTP_" .. name] = bits
    bits = bits * 2
  end
end

local STATUSES = {
  [100] = "CONTINUE",
  [101] = "SWITCHING_PROTOCOLS",
  [200] = "OK",
  [201] = "CREATED",
  [202] = "ACCEPTED",
  [204] = "NO_CONTENT",
  [206] = "PARTIAL_CONTENT",
  [300] = "SPECIAL_RESPONSE",
  [301] = "MOVED_PERMANENTLY",
  [302] = "MOVED_TEMPORARILY",
  [303] = "SEE_OTHER",
  [304] = "NOT_MODIFIED",
  [307] = "TEMPORARY_REDIRECT",
  [308] = "PERMANENT_REDIRECT",
  [400] = "BAD_REQUEST",
  [401] = "UNAUTHORIZED",
  [402] = "PAYMENT_REQUIRED",
  [403] = "FORBIDDEN",
  [404] = "NOT_FOUND",
  [405] = "NOT_ALLOWED",
  [406] = "NOT_ACCEPTABLE",
  [408] = "REQUEST_TIMEOUT",
  [409] = "CONFLICT",
  [410] = "GONE",
  [426] = "UPGRADE_REQUIRED",
  [429] = "TOO_MANY_REQUESTS",
  [444] = "CLOSE",
  [451] = "ILLEGAL",
  [500] = "INTERNAL_SERVER_ERROR",
  [501] = "NOT_IMPLEMENTED",
  [502] = "BAD_GATEWAY",
  [503] = "SERVICE_UNAVAILABLE",
  [504] = "GATEWAY_TIMEOUT",
  [505] = "VERSION_NOT_SUPPORTED",
  [507] = "INSUFFICIENT_STORAGE",
}
for status, name in pairs(STATUSES) do
  M["HTTP_" .. name] = status
end
M.HTTP_METHOD_NOT_IMPLEMENTED = 501

---The same value as json.null: a NULL pointer.
M.null = core.json.null

---@class ngx.config
M.config = {
  subsystem = "http",
  debug = false,
  nginx_version = 1027001,
  ngx_lua_version = 10028,
  ---@return string the folder of the script
  prefix = function()
    return core.folder .. "/"
  end,
  ---@return string
  nginx_configure = function()
    return ""
  end,
}

-- ---- Parts ---------------------------------------------------------------------------------------------------------

-- Which file of compat/openresty has what.
local FUNCTIONS = {
  text = "escape_uri unescape_uri encode_args decode_args quote_sql_str",
  base64 = "encode_base64 decode_base64 decode_base64mime",
  digest = "md5 md5_bin sha1_bin hmac_sha1 crc32_short crc32_long",
  clock = "now time update_time today localtime utctime http_time cookie_time parse_http_time",
  reply = "print say flush eof exit redirect exec send_headers header resp location",
  log = "log",
  run = "sleep get_phase on_abort thread timer worker run_worker_thread",
}
-- Parts that are modules as a whole.
local MODULES = { re = "re", req = "req", var = "var", socket = "socket", shared = "shared" }

---@type table<string, string> field → file
local file_of = {}
for file, names in pairs(FUNCTIONS) do
  for name in names:gmatch("%S+") do
    file_of[name] = file
  end
end

for name, level in pairs(require("compat.openresty.log").levels) do
  M[name] = level
end

-- Fields that are different at each look.
local READ = {
  ctx = function()
    return require("compat.openresty.request").context()
  end,
  status = function()
    return require("compat.openresty.reply").get_status()
  end,
  headers_sent = function()
    return require("compat.openresty.reply").headers_sent()
  end,
  is_subrequest = function()
    return false
  end,
}
local WRITE = {
  ctx = function(value)
    require("compat.openresty.request").set_context(value)
  end,
  status = function(value)
    require("compat.openresty.reply").set_status(value)
  end,
}

setmetatable(M, {
  __index = function(t, name)
    if READ[name] then
      return READ[name]()
    end
    local value
    if MODULES[name] then
      value = require("compat.openresty." .. MODULES[name])
    elseif file_of[name] then
      value = require("compat.openresty." .. file_of[name])[name]
    end
    rawset(t, name, value)
    return value
  end,
  __newindex = function(t, name, value)
    if WRITE[name] then
      WRITE[name](value)
    else
      rawset(t, name, value)
    end
  end,
})

return M
