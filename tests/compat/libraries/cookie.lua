-- lua-resty-cookie, on a request with "Cookie: a=1; b=two". env: module.
local cookie = assert(require(env.module):new())
assert(cookie:get("a") == "1" and cookie:get("b") == "two" and cookie:get("c") == nil)
assert(cookie:get_all().b == "two")
assert(cookie:set({ key = "name", value = "Bob", path = "/", httponly = true, max_age = 50 }))
assert(ngx.header["Set-Cookie"]:find("^name=Bob; .*HttpOnly"))
