---What libraries use of resty.core.base: helpers for tables and for calls by FFI.
local M = {}

local ffi = require("ffi")

M.version = "0.1.28"
M.FFI_OK = 0
M.FFI_ERROR = -1
M.FFI_AGAIN = -2
M.FFI_BUSY = -3
M.FFI_DONE = -4
M.FFI_DECLINED = -5
M.FFI_NO_REQ_CTX = -100
M.FFI_BAD_CONTEXT = -101
M.new_tab = require("table.new")
M.clear_tab = require("table.clear")

local size = 4096
local buffer
local length = ffi.new("size_t[1]")
local message = ffi.new("unsigned char *[1]")

---@param bytes integer
function M.set_string_buf_size(bytes)
  size = bytes
  buffer = nil
end

---@return integer
function M.get_string_buf_size()
  return size
end

---Memory for one call; a larger one is made for the caller alone.
---@param bytes integer
---@param fresh? boolean
---@return ffi.cdata*
function M.get_string_buf(bytes, fresh)
  if fresh or bytes > size then
    return ffi.new("unsigned char[?]", bytes)
  end
  buffer = buffer or ffi.new("unsigned char[?]", size)
  return buffer
end

---@return ffi.cdata*
function M.get_size_ptr()
  return length
end

---@return ffi.cdata*
function M.get_errmsg_ptr()
  return message
end

---Keep a value in a list: its place there.
---@param list table
---@param key any
---@return integer?
function M.ref_in_table(list, key)
  if key == nil then
    return -1
  end
  local place = #list + 1
  list[place] = key
  return place
end

---@param ... string
function M.allows_subsystem(...)
  for _, name in ipairs({ ... }) do
    if name == "http" then
      return
    end
  end
  error("unsupported subsystem: http", 2)
end

return M
