---The sessions of luafcgid2 (the global `Session`), in the memory store, so that all workers see them. A session is a
---set of realms, each with variables. Who brings its key must look enough like the one who brought it last: address,
---browser and languages score points.
local kv = require("heart.v1.kv.memory")
local random = require("heart.v1.random")

local PREFIX = "luafcgid/session/"
local ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
local ALL = "*"

---@alias luafcgid.value string|number|boolean

---@class luafcgid.record a session in the store
---@field address string
---@field agent string
---@field languages string
---@field realms table<string, table<string, luafcgid.value>>

---@class luafcgid.session the session of one request
---@field private settings luafcgid.settings
---@field private env table<string, string>
---@field private sent? string the key that the client has sent
---@field private key? string of the session that there is
---@field private looked boolean
---@field private deleted boolean
local Session = {}
Session.__index = Session

---@param settings luafcgid.settings
---@param env table<string, string>
---@param cookies table<string, string>
---@return luafcgid.session
local function new(settings, env, cookies)
  local sent = cookies[settings.session_name]
  if sent and (#sent ~= settings.session_key_length or sent:find("[^%w_]")) then
    sent = "_"
  end
  return setmetatable({ settings = settings, env = env, sent = sent, looked = false, deleted = false }, Session)
end

---Random characters, each as likely as the other.
---@param length integer
---@return string
local function new_key(length)
  local parts, n = {}, 0
  while n < length do
    for c in random.bytes(length):gmatch(".") do
      local at = c:byte() % 64
      if at < #ALPHABET and n < length then
        n = n + 1
        parts[n] = ALPHABET:sub(at + 1, at + 1)
      end
    end
  end
  return table.concat(parts)
end

---Who the client seems to be.
---@return string address
---@return string agent
---@return string languages
function Session:who()
  local env = self.env
  return env.REMOTE_ADDR or "", env.HTTP_USER_AGENT or "", env.HTTP_ACCEPT_LANGUAGE or ""
end

---Whether a session may be this client's.
---@param record luafcgid.record
---@return boolean
function Session:matches(record)
  local settings = self.settings
  local address, agent, languages = self:who()
  local score = (record.address == address and settings.session_ip_score or 0)
    + (record.agent == agent and settings.session_agent_score or 0)
    + (record.languages == languages and settings.session_language_score or 0)
  return settings.session_target_score <= 0 or score >= settings.session_target_score
end

---The client's session, once for each request: it lives on from now, and belongs to the client as it looks now.
---@return string? key
function Session:find()
  if self.looked or not self.sent or self.sent == "_" then
    return self.key
  end
  self.looked = true
  local record = kv.fetch(PREFIX .. self.sent)
  if type(record) ~= "table" or not self:matches(record) then
    return nil
  end
  local address, agent, languages = self:who()
  if record.address ~= address or record.agent ~= agent or record.languages ~= languages then
    self:change(self.sent, function(now)
      now.address, now.agent, now.languages = address, agent, languages
    end)
  else
    kv.expire(PREFIX .. self.sent, self.settings.session_time)
  end
  self.key = self.sent
  return self.key
end

---Change a session, whoever else does so at the same time.
---@param key string
---@param fn fun(record: luafcgid.record)
---@return boolean ok false: it is not there any more, or the store is full
function Session:change(key, fn)
  local ttl = { ttl = self.settings.session_time }
  local ok, there = kv.transaction(function(store)
    local record = store.fetch(PREFIX .. key)
    if type(record) ~= "table" then
      return false
    end
    fn(record)
    store.set(PREFIX .. key, record, ttl)
    return true
  end)
  return ok == true and there == true
end

---Begin a session if there is none.
---@return string? key
function Session:start()
  local key = self:find()
  if key then
    return key
  end
  local address, agent, languages = self:who()
  local record = { address = address, agent = agent, languages = languages, realms = {} }
  repeat
    key = new_key(self.settings.session_key_length)
    local made, why = kv.add(PREFIX .. key, record, { ttl = self.settings.session_time })
    if made == nil then
      return nil, why
    end
  until made
  self.key, self.looked, self.deleted = key, true, false
  return key
end

function Session:delete()
  local key = self:find()
  if key then
    kv.delete(PREFIX .. key)
    self.key, self.deleted = nil, true
  end
end

---@param record luafcgid.record
---@param realm string
---@return table<string, luafcgid.value>[]
local function chosen(record, realm)
  if realm ~= ALL then
    return { record.realms[realm] }
  end
  local all, names = {}, {}
  for name in pairs(record.realms) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    all[i] = record.realms[name]
  end
  return all
end

---@return luafcgid.record?
function Session:record()
  local key = self:find()
  local record = key and kv.fetch(PREFIX .. key)
  return type(record) == "table" and record or nil
end

---@param realm string "*": any
---@return boolean
function Session:has_realm(realm)
  local record = self:record()
  if not record then
    return false
  end
  return realm == ALL and next(record.realms) ~= nil or record.realms[realm] ~= nil
end

---Empty a realm, or all of them.
---@param realm string
function Session:clear(realm)
  local key = self:find()
  if key then
    self:change(key, function(record)
      if realm == ALL then
        record.realms = {}
      elseif record.realms[realm] then
        record.realms[realm] = {}
      end
    end)
  end
end

---@param realm string "*": every realm there is
---@param name string
---@param value any nil removes the variable
---@return boolean ok false: nothing was changed
function Session:set(realm, name, value)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" and kind ~= "boolean" and kind ~= "nil" then
    return false
  end
  local key = self:start()
  if not key then
    return false
  end
  return self:change(key, function(record)
    if realm ~= ALL and not record.realms[realm] then
      record.realms[realm] = {}
    end
    for _, variables in ipairs(chosen(record, realm)) do
      variables[name] = value
    end
  end)
end

---@param realm string "*": the first realm that has it
---@param name string
---@return luafcgid.value?
function Session:get(realm, name)
  local record = self:record()
  for _, variables in ipairs(record and chosen(record, realm) or {}) do
    if variables[name] ~= nil then
      return variables[name]
    end
  end
  return nil
end

---A name that browsers take as the domain of a cookie: not an address, and not one label.
---@param name? string
local function domain(name)
  if name and name:find("^[%w-]+%.[%w.-]+$") and not name:find("^[%d.]+$") then
    return "; Domain=" .. name
  end
  return ""
end

---The Set-Cookie field of the answer: the session lives on, or the client forgets its key.
---@return string? value
function Session:cookie()
  local settings = self.settings
  local key = self:find()
  if not key and not self.sent then
    return nil
  end
  local parts = { settings.session_name .. "=" .. (key or "_") }
  parts[2] = "Expires=" .. os.date("!%a, %d %b %Y %H:%M:%S GMT", key and os.time() + settings.session_time or 0)
  if settings.session_http_only then
    parts[#parts + 1] = "HttpOnly"
  end
  if settings.session_secure then
    parts[#parts + 1] = "Secure"
  end
  if settings.session_same_site ~= "" then
    parts[#parts + 1] = "SameSite=" .. settings.session_same_site
  end
  parts[#parts + 1] = "Path=/"
  return table.concat(parts, "; ") .. domain(self.env.SERVER_NAME)
end

return new
