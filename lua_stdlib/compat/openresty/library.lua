---Shared libraries for FFI: PCRE2 and libcrypto, as Heart ships them or as the system has them.
local M = {}

local ffi = require("ffi")
local core = require("heart.core")

-- With the version of the interface that the code here is written for; the name of the link is there on machines for
-- development only.
local SYSTEM = {
  pcre2 = { "libpcre2-8.so.0", "pcre2-8" },
  crypto = { "libcrypto.so.3", "crypto" },
}
local PACKAGE = { pcre2 = "libpcre2-8-0", crypto = "libssl3" }

---@type table<string, ffi.namespace*>
local opened = {}

---A library, opened once for each state.
---@param name "pcre2"|"crypto"
---@return ffi.namespace*
function M.open(name)
  if opened[name] then
    return opened[name]
  end
  local own = core.libraries and core.libraries[name]
  for _, path in ipairs(own and { own } or SYSTEM[name]) do
    local ok, library = pcall(ffi.load, path)
    if ok then
      opened[name] = library
      return library
    end
  end
  error(("%s is missing: apt-get install %s"):format(SYSTEM[name][1], PACKAGE[name]), 0)
end

---Make the functions of a library visible to all code, as `ffi.C` finds them. They stay so.
---@param name "pcre2"|"crypto"
function M.publish(name)
  local own = core.libraries and core.libraries[name]
  for _, path in ipairs(own and { own } or SYSTEM[name]) do
    local ok, library = pcall(ffi.load, path, true)
    if ok then
      opened[name] = opened[name] or library
      return
    end
  end
end

return M
