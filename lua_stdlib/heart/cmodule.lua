-- Whether a C module can be loaded: one that was built for another C library crashes the process, or fails with a
-- message about symbols that helps nobody. What a module was built for is read from its ELF file.

local ffi = require("ffi")

local M = {}

local HEADER_SIZE = 56 -- of a program header
local PT_LOAD, PT_DYNAMIC = 1, 2
local DT_NEEDED, DT_STRTAB, DT_STRSZ = 1, 5, 10

--- The unsigned little-endian number of `n` bytes at `offset` (0 is the first byte).
---@param data string
local function number(data, offset, n)
  local value = 0
  for i = offset + n, offset + 1, -1 do
    value = value * 256 + data:byte(i)
  end
  return value
end

--- The program headers of the type `wanted`.
local function segments(data, wanted)
  local found = {}
  local first, count = number(data, 32, 8), number(data, 56, 2)
  for at = first, first + HEADER_SIZE * (count - 1), HEADER_SIZE do
    if number(data, at, 4) == wanted then
      local address, length = number(data, at + 16, 8), number(data, at + 32, 8)
      found[#found + 1] = { offset = number(data, at + 8, 8), address = address, length = length }
    end
  end
  return found
end

--- The names in the dynamic section's string table, and where in it the names of the needed libraries are.
local function dynamic(data)
  local entries, needed = {}, {}
  local section = segments(data, PT_DYNAMIC)[1]
  for at = section.offset, section.offset + section.length - 16, 16 do
    local tag, value = number(data, at, 8), number(data, at + 8, 8)
    entries[tag] = value
    if tag == DT_NEEDED then
      needed[#needed + 1] = value
    end
  end
  for _, part in ipairs(segments(data, PT_LOAD)) do
    local inside = entries[DT_STRTAB] - part.address
    if inside >= 0 and inside < part.length then
      return data:sub(part.offset + inside + 1, part.offset + inside + entries[DT_STRSZ]), needed
    end
  end
  error("no string table")
end

--- What the ELF file `data` was built for: "musl", "glibc" with the minor number of its version 2.x, or nothing.
local function built_for(data)
  local strings, needed = dynamic(data)
  for _, offset in ipairs(needed) do
    local name = strings:match("^%Z*", offset + 1)
    if name == "libc.so" or name:find("^libc%.musl") then
      return "musl"
    end
  end
  local minor
  for digits in strings:gmatch("GLIBC_2%.(%d+)") do
    minor = math.max(minor or 0, tonumber(digits))
  end
  return minor and "glibc", minor
end

--- The C library of this process, as built_for, and a name for it.
local function running()
  ffi.cdef("const char *gnu_get_libc_version(void);")
  local known, version = pcall(function()
    return ffi.string(ffi.C.gnu_get_libc_version())
  end)
  local maps = io.open("/proc/self/maps")
  local text = maps and maps:read("*a") or ""
  if maps then
    maps:close()
  end
  local whose = text:find("/_internal/libc.so.6", 1, true) and "its own" or "the system's"
  if not known then
    return "musl", nil, "musl"
  end
  return "glibc", tonumber(version:match("^2%.(%d+)")), whose .. " glibc " .. version
end

--- Why the C module at `path` cannot be loaded into this process; nil if it can, or if that is for the loader to say.
---@param path string
---@return string?
function M.refuse(path)
  local file = io.open(path, "rb")
  local data = file and file:read("*a")
  if file then
    file:close()
  end
  if not data or data:sub(1, 6) ~= "\127ELF\2\1" then
    return nil
  end
  local ok, libc, minor = pcall(built_for, data)
  if not ok or not libc then
    return nil
  end
  local ours, our_minor, name = running()
  if libc == ours and (minor or 0) <= (our_minor or 0) then
    return nil
  end
  local wanted = minor and "glibc 2." .. minor or libc
  return ("it was built for %s, and Heart runs with %s here; install it for %s, or use a module written in Lua"):format(
    wanted,
    name,
    our_minor and "glibc 2." .. our_minor .. " or older" or ours
  )
end

return M
