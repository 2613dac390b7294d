"""What Heart runs inside a Redis or Valkey server: Lua 5.1 that checks and writes in one step.

A store is divided into buckets, each with a hash tag of its own: one on a single server, BUCKETS in a cluster. The
names of a bucket T, which a cluster keeps on one node; a script is given `heart:{T}:` and makes the others:
    heart:{T}:v         the version of the last commit
    heart:{T}:d:KEY     a record: version and expiry time (64 bits each, big-endian, 0: never), typed value. Redis
                        removes it when it expires
    heart:{T}:i         the keys in bytewise order (a sorted set whose scores are 0)
    heart:{T}:x         the keys that expire, by time; an expired key stays here and in `i` until it is swept
    heart:{T}:o:CLIENT  the outcomes of a client's last batch, by index, so that a commit that is sent again after a
                        broken connection is not done again
    heart:{T}:w         exists while somebody watches; n: number of the last event
Versions are the greater of the last one plus one and the server's clock in microseconds: none repeats, even if the
last seconds of a node were lost with it. Whatever is refused has changed nothing: all checks come before all writes.
"""

# Shared by the scripts. A record without a value is { version, expires } as strings of 8 bytes.
COMMON = """
local base = ARGV[1]
local data, index, times = base .. 'd:', base .. 'i', base .. 'x'
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function bounds(start, stop)
  return '[' .. start, stop == '' and '+' or '(' .. stop
end

-- Calls visit(key, record, size) for each live key of a range, with the whole record or its first 16 bytes, and with
-- the size of the value, until it returns true.
local function walk(start, stop, reverse, whole, visit)
  local low, high = bounds(start, stop)
  while true do
    local keys
    if reverse then
      keys = call('ZREVRANGEBYLEX', index, high, low, 'LIMIT', 0, 256)
    else
      keys = call('ZRANGEBYLEX', index, low, high, 'LIMIT', 0, 256)
    end
    for _, key in ipairs(keys) do
      local record, size
      if whole then
        record = call('GET', data .. key) or ''
        size = #record
      else
        record = call('GETRANGE', data .. key, 0, 15)
        size = call('STRLEN', data .. key)
      end
      if record ~= '' and visit(key, record, size - 16) then return end
    end
    if #keys < 256 then return end
    if reverse then high = '(' .. keys[#keys] else low = '(' .. keys[#keys] end
  end
end

-- The version of a commit that is made now, as text: greater than all before.
local function next_version()
  local last = tonumber(call('GET', base .. 'v') or 0)
  return string.format('%.0f', math.max(last + 1, clock[1] * 1000000 + clock[2]))
end

-- Publishes what a key holds now: the bucket's base, the number of the event (0: it could not be counted), version,
-- key, and the value after a 1, or a 0.
local function publish(key, version, value)
  local counted = redis.pcall('INCR', base .. 'n')
  local n = type(counted) == 'number' and counted or 0
  local head = struct.pack('>I4I8I8I4', #base, n, tonumber(version), #key)
  call('PUBLISH', 'heart:events', head .. base .. key .. (value and '\\1' .. value or '\\0'))
end

local function is_watched()
  return call('EXISTS', base .. 'w') == 1
end

-- Forgets keys that have expired, at most `limit`; returns them.
local function sweep(limit)
  local gone = call('ZRANGEBYSCORE', times, '-inf', now, 'LIMIT', 0, limit)
  local watched = #gone > 0 and is_watched()
  local version = watched and next_version()
  if watched then redis.pcall('SET', base .. 'v', version) end
  for _, key in ipairs(gone) do
    call('ZREM', times, key)
    call('ZREM', index, key)
    call('DEL', data .. key)
    if watched then publish(key, version) end
  end
  return gone
end
"""

# ARGV: base, start, stop, limit, reverse, keys_only, bytes. Returns { more, key, record, size, ... }.
SCAN = (
    COMMON
    + """
local limit, whole, room = tonumber(ARGV[4]), ARGV[6] == '0', tonumber(ARGV[7])
local found, count, taken = { 0 }, 0, 0
walk(ARGV[2], ARGV[3], ARGV[5] == '1', whole, function(key, record, size)
  if count >= limit or taken >= room then
    found[1] = 1
    return true
  end
  count, taken = count + 1, taken + size
  found[#found + 1] = key
  found[#found + 1] = record
  found[#found + 1] = size
end)
return found
"""
)

# ARGV: base, start, stop.
COUNT = (
    COMMON
    + """
repeat until #sweep(1000) < 1000
local low, high = bounds(ARGV[2], ARGV[3])
return call('ZLEXCOUNT', index, low, high)
"""
)

# ARGV: base, limit.
SWEEP = COMMON + "return sweep(ARGV[2])"

# ARGV: base, client, batch, index in it, then counted lists: reads (key, version), ranges (start, stop,
# limit, reverse, bytes, digest), writes (action, key, value, lifetime in ms, two of arg); versions are 8 bytes, or
# empty. Returns { OK, version, outcomes... }, with an outcome (a list) for each write; refused: { status, the version
# that is there, the position of the write (counted from 0) or the reason }.
COMMIT = (
    COMMON
    + """
local OK, CONFLICT, EXISTS, NOT_NUMBER, FULL, FAILED = 0, 1, 2, 3, 4, 5
local SET, DELETE, ADD, CAS, INCR, EXPIRE, DELETE_PREFIX, CAS_DELETE = '0', '1', '2', '3', '4', '5', '6', '7'
local done, batch, place = base .. 'o:' .. ARGV[2], ARGV[3], ARGV[4]
local at = 4

local function take()
  at = at + 1
  return ARGV[at]
end

local function refuse(status, reason, there)
  return { status, there or '', reason or '' }
end

-- Was it done before?
local known = call('HMGET', done, 'batch', place)
if known[1] == batch and known[2] then return cmsgpack.unpack(known[2]) end
if known[1] and tonumber(known[1]) > tonumber(batch) then return refuse(FAILED, 'it came too late') end

-- ---- What was read

for _ = 1, tonumber(take()) do
  local key, version = take(), take()
  if call('GETRANGE', data .. key, 0, 7) ~= version then return refuse(CONFLICT) end
end

for _ = 1, tonumber(take()) do
  local start, stop, limit, reverse, room, digest = take(), take(), tonumber(take()), take(), tonumber(take()), take()
  local seen, size = {}, 0
  walk(start, stop, reverse == '1', false, function(key, record, bytes)
    if #seen >= limit or size >= room then return true end
    size = size + bytes
    seen[#seen + 1] = struct.pack('>I4', #key) .. key .. record:sub(1, 8)
  end)
  if redis.sha1hex(table.concat(seen)) ~= digest then return refuse(CONFLICT) end
end

-- ---- What is to be written: `plan` has { key, value or nil, expires }

local plan, fresh, stored = {}, {}, {}

local function current(key)
  if fresh[key] then return fresh[key].value and fresh[key] end
  if stored[key] == nil then
    local record = call('GET', data .. key)
    stored[key] = record
      and { version = record:sub(1, 8), expires = struct.unpack('>I8', record, 9), value = record:sub(17) }
  end
  return stored[key]
end

-- The version of a key, empty if it is missing.
local function there(key)
  if fresh[key] then return fresh[key].value and fresh[key].version or '' end
  return call('GETRANGE', data .. key, 0, 7)
end

local function put(key, value, expires)
  local was_there = value or there(key) ~= ''
  local entry = { key = key, value = value, expires = expires, version = string.rep('\\255', 8) }
  if value and expires > 0 and expires <= now then
    entry.value = nil
    was_there = there(key) ~= ''
  end
  entry.silent = not was_there
  plan[#plan + 1] = entry
  fresh[key] = entry
end

-- Forms of numbers in MessagePack, by their first byte.
local NUMBERS = { [202] = '>f', [203] = '>d', [204] = '>B', [205] = '>H', [206] = '>I4', [207] = '>I8',
  [208] = '>b', [209] = '>h', [210] = '>i4', [211] = '>i8' }
local SIZES = { [202] = 4, [203] = 8, [204] = 1, [205] = 2, [206] = 4, [207] = 8, [208] = 1, [209] = 2, [210] = 4,
  [211] = 8 }

-- The number that a typed value is, or nil: see heartc/kv_number.py.
local function number(value)
  local kind, code = value:byte(1, 2)
  if kind == 0 then
    local text = value:sub(2)
    if #text > 63 then return nil end
    local mantissa = text:match('^%s*[+-]?([%d.]+)$') or text:match('^%s*[+-]?([%d.]+)[eE][+-]?%d+$')
    return mantissa and tonumber((text:gsub('^(%s*)%+', '%1')))
  end
  if kind ~= 1 or not code then return nil end
  if #value == 2 and code < 128 then return code end
  if #value == 2 and code >= 224 then return code - 256 end
  if SIZES[code] and #value == 2 + SIZES[code] then return (struct.unpack(NUMBERS[code], value, 3)) end
end

local SIGNED = {
  { code = 208, format = 'b', half = 2 ^ 7 },
  { code = 209, format = 'h', half = 2 ^ 15 },
  { code = 210, format = 'i4', half = 2 ^ 31 },
  { code = 211, format = 'i8', half = 2 ^ 63 },
}

local function typed(total)
  if total % 1 ~= 0 or math.abs(total) > 9007199254740992 or (total == 0 and 1 / total < 0) then
    return struct.pack('>BBd', 1, 203, total)
  end
  if total >= -32 and total < 128 then return string.char(1, total % 256) end
  for _, form in ipairs(SIGNED) do
    if total >= -form.half and total < form.half then return struct.pack('>BB' .. form.format, 1, form.code, total) end
  end
end

-- The outcome of an increment, or nil: there is no number, or the sum is not finite.
local function increment(key, expires, by, init)
  local record = current(key)
  local before = init
  if record then
    before, expires = number(record.value), record.expires
  end
  if not before then return nil end
  local total = before + by
  if total ~= total or math.abs(total) == math.huge then return nil end
  put(key, typed(total), expires)
  return { typed(total), string.format('%.0f', expires) }
end

-- Deletes the first `step` keys.
local function delete_prefix(prefix, stop, step)
  local found = {}
  walk(prefix, stop, false, false, function(key)
    if not fresh[key] then found[#found + 1] = key end
    return #found >= step
  end)
  for key, entry in pairs(fresh) do
    if entry.value and key:sub(1, #prefix) == prefix then found[#found + 1] = key end
  end
  for _, key in ipairs(found) do put(key) end
  table.sort(found)
  return found
end

local outcomes = { OK, '' }
for place = 0, tonumber(take()) - 1 do
  local action, key, value, life, arg, init = take(), take(), take(), tonumber(take()), take(), take()
  local expires = life == 0 and 0 or now + life
  local outcome = {}
  if action == SET then
    put(key, value, expires)
  elseif action == DELETE then
    outcome[1] = there(key) == '' and 0 or 1
    put(key)
  elseif action == ADD then
    if there(key) ~= '' then return refuse(EXISTS, place, there(key)) end
    put(key, value, expires)
  elseif action == CAS or action == CAS_DELETE then
    if there(key) ~= arg then return refuse(CONFLICT, place, there(key)) end
    put(key, action == CAS and value or nil, expires)
  elseif action == INCR then
    outcome = increment(key, expires, tonumber(arg), tonumber(init))
    if not outcome then return refuse(NOT_NUMBER, place, there(key)) end
  elseif action == EXPIRE then
    local record = current(key)
    if record then
      put(key, record.value, expires)
      outcome[1] = record.value
    end
  elseif action == DELETE_PREFIX then
    outcome = delete_prefix(key, arg, tonumber(init))
  end
  outcomes[#outcomes + 1] = outcome
end

-- ---- Writing

if #plan == 0 then
  outcomes[2] = call('GET', base .. 'v') or '0'
  return outcomes
end
outcomes[2] = next_version()

-- The first write fails if the memory of the server is full; deleting is possible all the same.
local first = redis.pcall('SET', base .. 'v', outcomes[2])
local full = type(first) == 'table' and first.err
if full and not full:find('OOM', 1, true) then return first end
if full then
  for _, entry in ipairs(plan) do
    if entry.value then return refuse(FULL) end
  end
else
  if known[1] ~= batch then
    call('DEL', done)
    call('HSET', done, 'batch', batch)
    call('PEXPIRE', done, 60000)
  end
  call('HSET', done, place, cmsgpack.pack(outcomes))
end

local stamp = struct.pack('>I8', tonumber(outcomes[2]))
for _, entry in ipairs(plan) do
  local key, value, expires = entry.key, entry.value, entry.expires
  if not value then
    call('DEL', data .. key)
    call('ZREM', index, key)
    call('ZREM', times, key)
  else
    local record = stamp .. struct.pack('>I8', expires) .. value
    call('ZADD', index, 0, key)
    if expires > 0 then
      call('SET', data .. key, record, 'PX', string.format('%.0f', expires - now))
      call('ZADD', times, string.format('%.0f', expires), key)
    else
      call('SET', data .. key, record)
      call('ZREM', times, key)
    end
  end
end

if is_watched() then
  for _, entry in ipairs(plan) do
    if not entry.silent then publish(entry.key, outcomes[2], entry.value) end
  end
end
return outcomes
"""
)
