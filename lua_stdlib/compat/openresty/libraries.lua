---What lua-resty-* libraries find in the process they run in.
local M = {}

local VERSION = "0.1.28" -- of lua-resty-core, which knows the functions that Heart has in its place

local published = false

---Called before a module "resty.…" (Debian: "nginx.…") is loaded.
---
---Several of them (resty.sha256, resty.aes, resty.string, …) call libcrypto and two functions of nginx through ffi.C,
---since nginx is linked with them. A library made global cannot be taken back, so that is done for those who ask alone.
---@param name string
---@return function? loader of a part of lua-resty-core: Heart has no such parts, all is there from the start
function M.prepare(name)
  if not published then
    published = true
    require("compat.openresty.library").publish("crypto")
    require("heart.core").request.publish()
  end
  if name:find("^resty%.core%.") and name ~= "resty.core.base" then
    return function()
      return { version = VERSION }
    end
  end
  return nil
end

return M
