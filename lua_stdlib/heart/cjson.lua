---lua-cjson, in the fork that OpenResty ships, on Heart's JSON: same names, same texts, same values. `heart.v1.json` is
---the stricter module for new code.
---@class cjson
---@field encode fun(value: any): string
---@field decode fun(text: string): any
---@field new fun(): cjson an instance with settings of its own
---@field null lightuserdata what null is in tables
---@field empty_array lightuserdata is encoded as []
---@field array_mt table the metatable of tables that are always encoded as arrays
---@field empty_array_mt table the metatable of tables that are encoded as arrays when empty
---@field encode_max_depth fun(levels?: integer): integer
---@field decode_max_depth fun(levels?: integer): integer
---@field encode_number_precision fun(digits?: integer): integer
---@field encode_sparse_array fun(convert?: boolean, ratio?: integer, safe?: integer): boolean, integer, integer
---@field encode_invalid_numbers fun(how?: boolean|"null"): boolean|"null"
---@field decode_invalid_numbers fun(accept?: boolean): boolean
---@field encode_keep_buffer fun(keep?: boolean): boolean
---@field encode_empty_table_as_object fun(object?: boolean): boolean
---@field encode_escape_forward_slash fun(escape?: boolean): boolean
---@field decode_array_with_array_mt fun(mark?: boolean): boolean
---@field decode_json_null fun(keep?: boolean): boolean

local core = require("heart.core")
local native, null = core.cjson, core.json.null

local INT_MAX = 2147483647
local SWITCH = { [true] = true, [false] = false, on = true, off = false }

---@param n integer number of the argument
---@param name string of the function
---@param message string
local function bad_argument(n, name, message)
  error(("bad argument #%d to '%s' (%s)"):format(n, name, message), 4)
end

---@return integer
local function integer(n, name, value, low, high)
  local number = tonumber(value)
  if not number then
    bad_argument(n, name, "number expected, got " .. type(value))
  end
  number = math.floor(number)
  if number < low or number > high then
    bad_argument(n, name, ("expected integer between %d and %d"):format(low, high))
  end
  return number
end

---@return boolean
local function switch(n, name, value)
  local on = SWITCH[value]
  if on == nil then
    bad_argument(n, name, ("invalid option '%s'"):format(tostring(value)))
  end
  return on
end

---The functions of one instance. Each setting has a function of that name, which sets it if it is given a value and
---returns it.
---@param safe boolean encode and decode return nil and a message instead of raising it
---@return cjson
local function instance(safe)
  local functions = native.new(safe)
  local set = functions.set
  local M = {
    _NAME = "cjson",
    _VERSION = "2.1.0.10",
    encode = functions.encode,
    decode = functions.decode,
    null = null,
    empty_array = native.empty_array,
    array_mt = native.array_mt,
    empty_array_mt = native.empty_array_mt,
  }

  function M.new()
    return instance(safe)
  end

  local function add_integer(name, setting, low, high, current)
    set(setting, current)
    M[name] = function(value)
      if value ~= nil then
        current = integer(1, name, value, low, high)
        set(setting, current)
      end
      return current
    end
  end

  local function add_switch(name, setting, current)
    set(setting, current and 1 or 0)
    M[name] = function(value)
      if value ~= nil then
        current = switch(1, name, value)
        set(setting, current and 1 or 0)
      end
      return current
    end
  end

  add_integer("encode_max_depth", "encode_depth", 1, INT_MAX, 1000)
  add_integer("decode_max_depth", "decode_depth", 1, INT_MAX, 1000)
  add_integer("encode_number_precision", "precision", 1, 16, 14)
  add_switch("decode_invalid_numbers", "decode_invalid", true)
  add_switch("encode_empty_table_as_object", "empty_object", true)
  add_switch("encode_escape_forward_slash", "escape_slash", true)
  add_switch("decode_array_with_array_mt", "mark_arrays", false)
  add_switch("decode_json_null", "keep_null", true)

  local invalid = false ---@type boolean|"null"
  set("encode_invalid", 0)
  function M.encode_invalid_numbers(how)
    if how == "null" then
      invalid = how
      set("encode_invalid", 2)
    elseif how ~= nil then
      invalid = switch(1, "encode_invalid_numbers", how)
      set("encode_invalid", invalid and 1 or 0)
    end
    return invalid
  end

  local sparse = { convert = false, ratio = 2, safe = 10 }
  local function set_sparse(name, value)
    sparse[name] = value
    set("sparse_" .. name, value == true and 1 or value or 0)
  end
  for name, value in pairs({ convert = false, ratio = 2, safe = 10 }) do
    set_sparse(name, value)
  end
  function M.encode_sparse_array(convert, ratio, low)
    if convert ~= nil then
      set_sparse("convert", switch(1, "encode_sparse_array", convert))
    end
    if ratio ~= nil then
      set_sparse("ratio", integer(2, "encode_sparse_array", ratio, 0, INT_MAX))
    end
    if low ~= nil then
      set_sparse("safe", integer(3, "encode_sparse_array", low, 0, INT_MAX))
    end
    return sparse.convert, sparse.ratio, sparse.safe
  end

  -- Heart's buffer is the worker's and goes back when it is large; the setting is kept for those who ask.
  local keep = true
  function M.encode_keep_buffer(value)
    if value ~= nil then
      keep = switch(1, "encode_keep_buffer", value)
    end
    return keep
  end

  return M
end

return instance
