---The entries of the guest-book, in the memory store: all workers see them, and they are gone when the server ends.
local M = {}

local kv = require("heart.v1.kv.memory")

local KEY = "guestbook/"

---@class entry
---@field name string
---@field text string

---@param name string
---@param text string
---@return boolean ok
---@return string? why
function M.add(name, text)
  name, text = name:sub(1, 40), text:sub(1, 400)
  if not name:find("%S") or not text:find("%S") then
    return false, "A name and a text, please."
  end
  return kv.set(KEY .. kv.ulid(), { name = name, text = text }) == true
end

---The newest first.
---@param most integer
---@return entry[]
function M.latest(most)
  local found = {}
  for i, item in ipairs(kv.list({ prefix = KEY, reverse = true, limit = most })) do
    found[i] = item.value
  end
  return found
end

return M
