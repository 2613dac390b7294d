---A string on its way to the thread pool: it is copied, a long one piece by piece, so that no turn takes long.

local core = require("heart.core")
local native = core.fs

local PIECE = 262144 -- bytes that are copied in one turn

---@param data string
---@return string|userdata? what the functions of core.fs and core.process take; nil: out of memory
return function(data)
  if #data <= PIECE then
    return data
  end
  local bytes = native.bytes(#data)
  for at = 1, bytes and #data or 0, PIECE do
    native.add(bytes, data, at, PIECE)
    core.sleep(0)
  end
  return bytes
end
