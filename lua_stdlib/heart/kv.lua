---The part of the K/V stores that is written in Lua, the same for memory, disk and Redis: ranges and pages, the run
---of a transaction, watchers. What is called often is native (see pyx/lua_kv_open.pxi) and taken over as it is.
---
---The seam between the stores: a native function of a store that has to wait yields by itself. Inside a transaction
---`await` does that before it (`patient`).
---
---Errors about arguments are told at the line of the application: a native function is called last, or what it would
---complain about is looked at here before.

local argument = require("heart.argument")
local core = require("heart.core")
local guard = require("heart.guard")

---@alias heart.kv.value string|number|boolean|table

---@class heart.kv.write_options
---@field ttl? number seconds until the key expires
---@field sync? boolean false: do not wait until it is on the disk (true)

---@class heart.kv.transaction_options
---@field retries? integer how often `fn` is run again after a conflict (16)
---@field sync? boolean false: do not wait until it is on the disk (true)

---@alias heart.kv.done boolean?, integer|string|nil true and the version; false: the version there; nil: the reason
---@alias heart.kv.fn fun(store: heart.kv.access): ...: any
---@alias heart.kv.run fun(fn: heart.kv.fn, options?: heart.kv.transaction_options): boolean?, ...: any

---@class heart.kv.item
---@field key string
---@field value heart.kv.value
---@field version integer

---@class heart.kv.pair a {key, value} pair, by name and by position
---@field key string
---@field value string|boolean|table
---@field [1] string
---@field [2] string|boolean|table

---@class heart.kv.list_options
---@field prefix? string only keys that begin so
---@field start? string the first key
---@field stop? string the first key that is not listed any more
---@field limit? integer items at most (1000)
---@field reverse? boolean from the last key down
---@field cursor? string what the call before returned
---@field keys_only? boolean items are keys

---@class heart.kv.event
---@field key string
---@field value? heart.kv.value nil: it was deleted
---@field version integer
---@field lost? true events did not fit the queue: read again what you need. There is no key then
---@field error? string the value could not be read

---@class heart.kv.watcher
---@field stop fun(self: heart.kv.watcher) no more events

---What both a store and a transaction have.
---@class heart.kv.access
---@field get fun(key: string): string|boolean|table "" when missing, a number as text, as in Heart v1
---@field fetch fun(key: string): heart.kv.value?, integer? value and version, nil when missing
---@field has fun(key: string): boolean
---@field set fun(key: string, value: heart.kv.value, options?: heart.kv.write_options): heart.kv.done
---@field delete fun(key: string, options?: heart.kv.write_options): boolean?, string?
---@field add fun(key: string, value: heart.kv.value, options?: heart.kv.write_options): heart.kv.done
---@field incr fun(key: string, by?: number, init?: number, options?: heart.kv.write_options): number?, integer|string?
---@field cas fun(key: string, version?: integer, value?: any, options?: heart.kv.write_options): heart.kv.done
---@field expire fun(key: string, seconds: number?, options?: heart.kv.write_options): boolean?, string?
---@field ttl fun(key: string): number|false|nil seconds left, false: it does not expire, nil: no such key
---@field getMany fun(keys: string[]): table<string, heart.kv.value>?, string?
---@field list fun(options?: heart.kv.list_options): heart.kv.item[]|string[]|nil, string?
---@field listKeys fun(prefix?: string, limit?: integer): string[]
---@field listPairs fun(prefix?: string, limit?: integer): heart.kv.pair[]
---@field count fun(prefix?: string): integer?, string?
---@field deletePrefix fun(prefix: string): integer?, string?

---@class heart.kv.store: heart.kv.access
---@field transaction heart.kv.run
---@field serialTransaction heart.kv.run
---@field batch fun(writes: any[][], options?: {sync: boolean?}): boolean?, table|string, integer?
---@field watch fun(what: string|string[], fn: fun(event: heart.kv.event)): heart.kv.watcher
---@field ulid fun(): string

local M = {}

local RETRIES = 16
local LIST_LIMIT = 1000
local PAGE = 256
local KEY_MAX = 4096 -- bytes
local WAIT_FROM = 3 -- conflicts that are tried again at once
local WAIT_MAX = 0.05 -- seconds

local floor, random, char = math.floor, math.random, string.char

-- ---- Arguments ----------------------------------------------------------------------------------------------------

---@param name string
---@param value any
---@param expected string
---@param level? integer
local function check(name, value, expected, level)
  if type(value) ~= expected then
    error(("%s: expected a %s, got %s"):format(name, expected, type(value)), (level or 2) + 1)
  end
end

---@param name string
---@param limit? number
---@param default number
local function check_limit(name, limit, default)
  if limit == nil then
    return default
  end
  if type(limit) ~= "number" or limit < 0 or floor(limit) ~= limit then
    error(("%s: limit: expected a whole number, got %s"):format(name, tostring(limit)), 3)
  end
  return limit
end

---@param name string of the function
---@param what any a prefix, or an end of a range
---@param level? integer
local function check_bound(name, what, level)
  if what and #what > KEY_MAX then
    error(name .. ": a key has at most 4096 bytes", (level or 2) + 1)
  end
end

---@param name string of the function
---@param i integer its place in a list
---@param key any
---@param level? integer
local function check_key(name, i, key, level)
  if type(key) ~= "string" and type(key) ~= "number" then
    error(("%s: key %d is not a string"):format(name, i), (level or 2) + 1)
  elseif key == "" or #tostring(key) > KEY_MAX then
    error(("%s: key %d: a key has 1 to 4096 bytes"):format(name, i), (level or 2) + 1)
  end
end

---The least string behind all that begin with `prefix`; "" if there is none.
---@param prefix string
local function behind(prefix)
  for i = #prefix, 1, -1 do
    local byte = prefix:byte(i)
    if byte < 255 then
      return prefix:sub(1, i - 1) .. char(byte + 1)
    end
  end
  return ""
end

-- ---- Listing ------------------------------------------------------------------------------------------------------

local LIST_OPTIONS = {
  prefix = "string",
  start = "string",
  stop = "string",
  limit = "number",
  reverse = "boolean",
  cursor = "string",
  keys_only = "boolean",
}
local BOUNDS = { "prefix", "start", "stop", "cursor" }

---Where a list begins and ends: the prefix, narrowed by start, stop and the cursor. "" as the end: none.
---@param options heart.kv.list_options
local function bounds(options)
  local prefix = options.prefix or ""
  local lower, upper = prefix, behind(prefix)
  if options.start and options.start > lower then
    lower = options.start
  end
  if options.stop and (upper == "" or options.stop < upper) then
    upper = options.stop
    if upper == "" then
      return nil
    end
  end
  local cursor = options.cursor
  if cursor and options.reverse then
    if upper == "" or cursor < upper then
      upper = cursor
    end
  elseif cursor and cursor >= lower then
    lower = cursor .. "\0"
  end
  if upper ~= "" and lower >= upper then
    return nil
  end
  return lower, upper
end

---Up to `limit` items, page by page, and the cursor if there may be more; nil and the reason.
---@param page function
---@param limit number
---@param reverse? boolean
---@param keys_only? boolean
---@param lower? string
---@param upper? string
local function collect(page, limit, reverse, keys_only, lower, upper)
  local items, n = {}, 0
  if not lower or limit == 0 then
    return items
  end
  while true do
    local wanted = limit - n
    local found, last = page(lower, upper, wanted < PAGE and wanted or PAGE, reverse, keys_only)
    if not found then
      return nil, last
    end
    for i = 1, #found do
      if n == limit then -- writes of the transaction made the page longer
        return items, keys_only and items[n] or items[n].key
      end
      n = n + 1
      items[n] = found[i]
    end
    if not last or n == limit then
      return items, last
    end
    if reverse then
      upper = last
    else
      lower = last .. "\0"
    end
  end
end

-- Pairs are tables with names, which JSON can hold, and can be read by position too.
local PAIR = {
  __index = function(pair, i)
    return i == 1 and rawget(pair, "key") or i == 2 and rawget(pair, "value") or nil
  end,
}

---The functions that list, from the native `page`.
---@param page function
---@param ready fun() raises an error if the store can not be used any more
---@param give fun(...): ... what a result goes through: it raises failures, inside a transaction
---@param target table
local function add_lists(page, ready, give, target)
  function target.list(options)
    ready()
    options = argument.options("list", options, LIST_OPTIONS)
    for _, name in ipairs(BOUNDS) do
      check_bound("list", options[name])
    end
    local limit = check_limit("list", options.limit, LIST_LIMIT)
    return give(collect(page, limit, options.reverse, options.keys_only, bounds(options)))
  end

  function target.listKeys(prefix, limit)
    ready()
    prefix = prefix or ""
    check("listKeys: prefix", prefix, "string")
    check_bound("listKeys", prefix)
    limit = check_limit("listKeys", limit, math.huge)
    return (give(collect(page, limit, false, true, prefix, behind(prefix))))
  end

  function target.listPairs(prefix, limit)
    ready()
    prefix = prefix or ""
    check("listPairs: prefix", prefix, "string")
    check_bound("listPairs", prefix)
    limit = check_limit("listPairs", limit, math.huge)
    local items, err = give(collect(page, limit, false, false, prefix, behind(prefix)))
    if not items then
      return nil, err
    end
    for i, item in ipairs(items) do
      local value = item.value
      if type(value) == "number" then
        value = tostring(value)
      end
      items[i] = setmetatable({ key = item.key, value = value }, PAIR)
    end
    return items
  end
end

-- ---- The store of a transaction -----------------------------------------------------------------------------------

local function raise(value, err, ...)
  if value == nil and err ~= nil then
    error(err, 0)
  end
  return value, err, ...
end

-- What looks at a key before it does something.
local READERS = { "get", "fetch", "has", "ttl", "add", "cas", "incr", "expire" }

---A store function that does not wait, because what it reads was fetched before.
---@param await fun(key: any, ...)
---@param f function
local function patient(await, f)
  return function(...)
    await(...)
    return f(...)
  end
end

---What the function of a transaction is given: the native functions of a handle, and those built on them here.
---@param native table
---@param methods table
local function new_access(native, methods)
  local page, await, lost = methods.page, methods.await, methods.lost
  methods.page, methods.await, methods.lost = nil, nil, nil
  if native.queued then
    for _, name in ipairs(READERS) do
      methods[name] = patient(await, methods[name])
    end
  end

  local function ready()
    local why = lost()
    if why then
      error(why, 3)
    end
  end

  add_lists(page, ready, raise, methods)
  local fetch, delete, listKeys = methods.fetch, methods.delete, methods.listKeys

  function methods.getMany(keys)
    ready()
    check("getMany", keys, "table")
    local found = {}
    for i = 1, #keys do
      check_key("getMany", i, keys[i])
      found[keys[i]] = fetch(keys[i])
    end
    return found
  end

  function methods.count(prefix)
    ready()
    prefix = prefix or ""
    check("count: prefix", prefix, "string")
    check_bound("count", prefix)
    return #listKeys(prefix)
  end

  function methods.deletePrefix(prefix)
    ready()
    check("deletePrefix", prefix, "string")
    check_bound("deletePrefix", prefix)
    local keys = listKeys(prefix)
    for i = 1, #keys do
      delete(keys[i])
    end
    return #keys
  end

  return methods
end

-- ---- Transactions -------------------------------------------------------------------------------------------------

local TRANSACTION_OPTIONS = { retries = "number", sync = "boolean" }
local NO_OPTIONS = {}

---Wait a little after a conflict, the longer the more there were, and not in step with others.
---@param tries integer
local function back_off(tries)
  if tries >= WAIT_FROM then
    local longest = 0.0005 * 2 ^ (tries - WAIT_FROM)
    core.sleep(random() * (longest < WAIT_MAX and longest or WAIT_MAX))
  end
end

---@param native table
---@param target table
local function add_transactions(native, target)
  local begin, commit, stale = native.begin, native.commit, native.stale
  local restart, rollback, conflicted = native.restart, native.rollback, native.conflicted
  -- A handle that can be used again. One is enough: a function that did not wait has no other beside it.
  local spare, spare_access

  local settle

  ---Another try after a conflict, unless it was the last.
  local function again(handle, access, fn, retries, tries)
    if tries >= retries then
      rollback(handle)
      return nil, "conflict"
    end
    back_off(tries)
    restart(handle)
    return settle(handle, access, fn, retries, tries + 1, pcall(fn, access))
  end

  ---@param ok boolean fn has ended; what follows is its results, or its error
  function settle(handle, access, fn, retries, tries, ok, ...)
    if ok then
      local done, state = commit(handle)
      if done then
        if state then
          spare, spare_access = handle, access
        end
        return true, ...
      end
      if state == "conflict" then
        return again(handle, access, fn, retries, tries)
      end
      rollback(handle)
      return nil, state
    end
    local err = ...
    if err == conflicted or stale(handle) then
      return again(handle, access, fn, retries, tries)
    end
    rollback(handle)
    error(err, 0)
  end

  local function run(name, serial, fn, options)
    if type(fn) ~= "function" then
      check(name, fn, "function")
    end
    options = options == nil and NO_OPTIONS or argument.options(name, options, TRANSACTION_OPTIONS)
    local handle, access = spare, spare_access
    spare = nil
    if not handle then
      local methods
      handle, methods = native.handle()
      access = new_access(native, methods)
    end
    local ok, err = begin(handle, serial, options.sync ~= false)
    if ok == false then
      error(err, 2)
    elseif not ok then
      return nil, err
    end
    return settle(handle, access, fn, options.retries or RETRIES, 0, pcall(fn, access))
  end

  function target.transaction(fn, options)
    return run("transaction", false, fn, options)
  end

  function target.serialTransaction(fn, options)
    return run("serialTransaction", true, fn, options)
  end
end

-- ---- Watching -----------------------------------------------------------------------------------------------------

local Watcher = {}
Watcher.__index = Watcher

function Watcher:stop()
  self.native.stop(self.watcher)
end

---Every event, one after the other; an error of `fn` is logged and the next event comes all the same.
---@param native table
---@param watcher userdata
---@param fn function
local function follow(native, watcher, fn)
  repeat
    local event = native.take(watcher)
    while event do
      guard(fn, event)
      event = native.take(watcher)
    end
  until not native.wait(watcher)
end

---@param what string|string[]
local function check_watched(what)
  if type(what) == "string" then
    check_bound("watch", what, 3)
    return
  end
  for i, key in ipairs(what) do
    check_key("watch", i, key, 3)
  end
end

---@param native table
---@param target table
local function add_watch(native, target)
  function target.watch(what, fn)
    if type(what) ~= "string" then
      check("watch: a prefix or a list of keys", what, "table")
    end
    check("watch", fn, "function")
    check_watched(what)
    local watcher = native.watch(what)
    native.task(function()
      follow(native, watcher, fn)
    end)
    return setmetatable({ native = native, watcher = watcher }, Watcher)
  end
end

-- ---- A store ------------------------------------------------------------------------------------------------------

---The module of a store.
---@param native table its native functions
---@return heart.kv.store
function M.new(native)
  local store = {
    get = native.get,
    fetch = native.fetch,
    has = native.has,
    ttl = native.ttl,
    getMany = native.get_many,
    set = native.set,
    add = native.add,
    delete = native.delete,
    incr = native.incr,
    cas = native.cas,
    expire = native.expire,
    batch = native.batch,
    ulid = core.ulid,
  }

  function store.count(prefix)
    prefix = prefix or ""
    check("count: prefix", prefix, "string")
    check_bound("count", prefix)
    return native.count(prefix, behind(prefix))
  end

  function store.deletePrefix(prefix)
    check("deletePrefix", prefix, "string")
    check_bound("deletePrefix", prefix)
    local total = 0
    while true do
      local n, more = native.delete_prefix(prefix)
      if not n then
        return nil, more
      end
      total = total + n
      if not more then
        return total
      end
      core.sleep(0)
    end
  end

  local function pass(...)
    return ...
  end
  add_lists(native.page, pass, pass, store)
  add_transactions(native, store)
  add_watch(native, store)
  return store
end

return M
