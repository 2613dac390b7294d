---ngx.shared: dictionaries that all workers share, on heart.v1.shared. One of any name is there when it is asked for;
---heart.v1.shared(name, bytes) gives it a size.
---
---A value with flags, and a list, are tables there; all others are what they are, so incr is Heart's own.
local M = {}

local shared = require("heart.v1.shared")

local KEY_MAX = 4096 -- bytes, of Heart's stores
local KEYS = 1024 -- that get_keys gives, unless told otherwise
local TRIES = 1000 -- of a change that others come before

---@class ngx.shared.dict
---@field store heart.shared
local dict = {}
dict.__index = dict

---@param key any
---@return string? key
---@return string? err
local function check_key(key)
  if key == nil then
    return nil, "nil key"
  end
  key = tostring(key)
  if key == "" then
    return nil, "empty key"
  elseif #key > KEY_MAX then
    return nil, "key too long"
  end
  return key
end

---@param self any
---@return heart.shared
local function store_of(self)
  if getmetatable(self) ~= dict then
    error('bad "zone" argument', 3)
  end
  return self.store
end

---@param self any
---@param key any
---@return heart.shared store
---@return string? key
---@return string? err
local function place_of(self, key)
  if getmetatable(self) ~= dict then
    error('bad "zone" argument', 3)
  end
  local name, err = check_key(key)
  return self.store, name, err
end

---@param value any
---@return boolean
local function is_value(value)
  local kind = type(value)
  return kind == "string" or kind == "number" or kind == "boolean"
end

---@param seconds any
---@param name string
---@return { ttl?: number }
local function expiry(seconds, name)
  if seconds == nil then
    return {}
  elseif type(seconds) ~= "number" or seconds < 0 then
    error(('bad "%s" argument'):format(name), 3)
  end
  return { ttl = seconds > 0 and seconds or nil }
end

---@param value any as it is in the store
---@return any value
---@return integer? flags
---@return string? err
local function unpacked(value)
  if type(value) ~= "table" then
    return value
  elseif value.list then
    return nil, nil, "value is a list"
  end
  return value.value, value.flags
end

---@param value any
---@param flags any
local function packed(value, flags)
  if flags == nil or flags == 0 then
    return value
  elseif type(flags) ~= "number" then
    error('bad "flags" argument', 3)
  end
  return { value = value, flags = flags }
end

-- ---- Reading -------------------------------------------------------------------------------------------------------

---@param key string
---@return string|number|boolean|nil value
---@return integer|string|nil flags or an error
function dict:get(key)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  local value, flags
  value, flags, err = unpacked((store.fetch(name)))
  if err or flags then
    return value, err or flags
  end
  return value
end

---The same, of a value that has expired, too, if it is still there.
---@param key string
---@return string|number|boolean|nil value
---@return integer|string|nil flags or an error
---@return boolean? stale
function dict:get_stale(key)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  local found, _, stale = store.stale(name)
  if found == nil then
    return nil
  end
  local value, flags
  value, flags, err = unpacked(found)
  return value, err or flags, stale
end

---@param key string
---@return number? seconds left; 0: it does not expire
---@return string? err
function dict:ttl(key)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  local left = store.ttl(name)
  if left == nil then
    return nil, "not found"
  end
  return left or 0
end

-- ---- Writing -------------------------------------------------------------------------------------------------------

---@param err any
---@return string
local function reason(err)
  err = tostring(err)
  return err:find("full", 1, true) and "no memory" or err
end

---@param how fun(store: heart.shared, key: string, value: any, options: table): any, string?
---@return boolean? ok
---@return string? err
---@return boolean? forcible always false: what had to leave is not told
local function write(self, how, key, value, seconds, flags)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  elseif not is_value(value) then
    return nil, "bad value type"
  end
  local ok
  ok, err = how(store, name, packed(value, flags), expiry(seconds, "exptime"))
  if not ok then
    return false, err, false
  end
  return true, nil, false
end

---@return boolean? ok
---@return string? err
local function put(store, key, value, options)
  local ok, err = store.set(key, value, options)
  return ok, not ok and reason(err) or nil
end

---Whether a value fits without another one leaving.
---@return boolean? ok
---@return string? err
local function put_safely(store, key, value, options)
  local used, most = store.usage()
  if used + #key + #tostring(type(value) == "table" and value.value or value) > most then
    return false, "no memory"
  end
  return put(store, key, value, options)
end

---@return boolean? ok
---@return string? err
local function put_new(store, key, value, options)
  local ok, err = store.add(key, value, options)
  if ok then
    return true
  end
  return false, ok == false and "exists" or reason(err)
end

---@return boolean? ok
---@return string? err
local function put_over(store, key, value, options)
  for _ = 1, TRIES do
    local _, version = store.fetch(key)
    if not version then
      return false, "not found"
    end
    local ok, err = store.cas(key, version, value, options)
    if ok then
      return true
    elseif ok == nil then
      return false, reason(err)
    end
  end
  return false, "busy"
end

---@param key string
---@param value string|number|boolean|nil nil: delete it
---@param seconds? number until it expires; 0: never
---@param flags? integer kept with it
---@return boolean? ok
---@return string? err
---@return boolean? forcible
function dict:set(key, value, seconds, flags)
  if value == nil and key ~= nil then
    return self:delete(key)
  end
  return write(self, put, key, value, seconds, flags)
end

---The same, if no other value has to leave for it.
---@return boolean? ok
---@return string? err
function dict:safe_set(key, value, seconds, flags)
  return write(self, put_safely, key, value, seconds, flags)
end

---@param value any
local function check_not_nil(value)
  return value ~= nil, "attempt to add or replace nil values"
end

---Set it if the key is not there.
---@return boolean? ok
---@return string? err
---@return boolean? forcible
function dict:add(key, value, seconds, flags)
  local given, err = check_not_nil(value)
  if not given then
    return false, err, false
  end
  return write(self, put_new, key, value, seconds, flags)
end

---@return boolean? ok
---@return string? err
function dict:safe_add(key, value, seconds, flags)
  local given, err = check_not_nil(value)
  if not given then
    return false, err, false
  end
  return write(self, function(store, name, packed_value, options)
    if store.has(name) then
      return false, "exists"
    end
    return put_safely(store, name, packed_value, options)
  end, key, value, seconds, flags)
end

---Set it if the key is there.
---@return boolean? ok
---@return string? err
---@return boolean? forcible
function dict:replace(key, value, seconds, flags)
  local given, err = check_not_nil(value)
  if not given then
    return false, err, false
  end
  return write(self, put_over, key, value, seconds, flags)
end

---@param key string
---@return boolean? ok
---@return string? err
---@return boolean? forcible
function dict:delete(key)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  store.delete(name)
  return true, nil, false
end

---@param key string
---@param seconds number until it expires; 0: never
---@return true?
---@return string? err
function dict:expire(key, seconds)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  -- A time that has passed already: the least that there is.
  local left = seconds > 0 and seconds or nil
  if seconds < 0 then
    left = 0.001
  end
  if not store.expire(name, left) then
    return nil, "not found"
  end
  return true
end

---Change a value that is there by what `fn` makes of it.
---@param store heart.shared
---@param key string
---@param fn fun(value: any): any, string? the new value (nil: delete it) and what goes wrong
---@param first? any where there is none
---@return boolean? ok
---@return string? err
local function update(store, key, fn, first)
  for _ = 1, TRIES do
    local value, version = store.fetch(key)
    if value == nil then
      value = first
      if value == nil then
        return nil, "not found"
      end
    end
    local left = store.ttl(key)
    local changed, err = fn(value)
    if err then
      return nil, err
    end
    local ok
    ok, err = store.cas(key, version, changed, { ttl = left or nil })
    if ok then
      return true
    elseif ok == nil then
      return nil, reason(err)
    end
  end
  return nil, "busy"
end

---Add to a number.
---@param key string
---@param by number
---@param init? number what is added to where there is none
---@param init_ttl? number seconds until that expires; 0: never
---@return number? sum
---@return string? err
---@return boolean? forcible
function dict:incr(key, by, init, init_ttl)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  by = tonumber(by) or error('bad "value" argument', 2)
  if init ~= nil and type(init) ~= "number" then
    error(("bad init arg: number expected, got %s"):format(type(init)), 2)
  end
  local options = expiry(init_ttl, "init_ttl")
  if init and put_new(store, name, init + by, options) then
    return init + by, nil, false
  end
  local sum, ok
  ok, err = update(store, name, function(value)
    local number, flags = unpacked(value)
    if type(number) ~= "number" then
      return nil, "not a number"
    end
    sum = number + by
    return packed(sum, flags)
  end)
  if not ok then
    return nil, err
  end
  if init then
    return sum, nil, false
  end
  return sum
end

-- ---- Lists ---------------------------------------------------------------------------------------------------------
-- A list is one value of the store, so each change costs as much as the list is long.

---@param place 1|false where to insert; false: at the end
---@return integer? length
---@return string? err
local function push(self, key, value, place)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  elseif type(value) ~= "string" and type(value) ~= "number" then
    return nil, "bad value type"
  end
  local n, ok
  ok, err = update(store, name, function(found)
    if type(found) ~= "table" or not found.list then
      return nil, "value not a list"
    end
    local list = found.list
    table.insert(list, place or #list + 1, value)
    n = #list
    return { list = list }
  end, { list = {} })
  if not ok then
    return nil, err
  end
  return n
end

---@param last boolean
---@return string|number|nil value
---@return string? err
local function pop(self, key, last)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  local value, ok
  ok, err = update(store, name, function(found)
    if type(found) ~= "table" or not found.list then
      return nil, "value not a list"
    end
    value = table.remove(found.list, not last and 1 or nil)
    return #found.list > 0 and { list = found.list } or nil
  end)
  if not ok and err ~= "not found" then
    return nil, err
  end
  return value
end

---@param key string
---@param value string|number
---@return integer? length
---@return string? err
function dict:lpush(key, value)
  return push(self, key, value, 1)
end

---@param key string
---@param value string|number
---@return integer? length
---@return string? err
function dict:rpush(key, value)
  return push(self, key, value, false)
end

---@param key string
---@return string|number|nil value
---@return string? err
function dict:lpop(key)
  return pop(self, key, false)
end

---@param key string
---@return string|number|nil value
---@return string? err
function dict:rpop(key)
  return pop(self, key, true)
end

---@param key string
---@return integer? length
---@return string? err
function dict:llen(key)
  local store, name, err = place_of(self, key)
  if not name then
    return nil, err
  end
  local found = store.fetch(name)
  if found == nil then
    return 0
  elseif type(found) ~= "table" or not found.list then
    return nil, "value not a list"
  end
  return #found.list
end

-- ---- The whole -----------------------------------------------------------------------------------------------------

function dict:flush_all()
  store_of(self).clear()
end

---Remove what has expired.
---@param max? integer keys at most; 0: all
---@return integer n
function dict:flush_expired(max)
  return store_of(self).flush_expired(max and max > 0 and max or nil)
end

---@param max? integer default 1024; 0: all
---@return string[]
function dict:get_keys(max)
  max = max or KEYS
  return store_of(self).list({ keys_only = true, limit = max > 0 and max or 2 ^ 31 }) --[[@as string[] ]]
end

---@return integer bytes
function dict:capacity()
  local _, most = store_of(self).usage()
  return most
end

---@return integer bytes
function dict:free_space()
  local used, most = store_of(self).usage()
  return math.max(most - used, 0)
end

return setmetatable(M, {
  __index = function(t, name)
    if type(name) ~= "string" then
      return nil
    end
    local made = setmetatable({ store = shared(name) }, dict)
    rawset(t, name, made)
    return made
  end,
})
