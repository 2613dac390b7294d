-- lua-resty-http against nginx. env: module, port, tls_port, ca (not used by the library).
local http = require(env.module)
local base = "http://127.0.0.1:" .. env.port

local client = assert(http.new())
local response =
  assert(client:request_uri(base .. "/hello?a=1", { query = { b = "x y" }, headers = { ["X-A"] = "1" } }))
assert(response.status == 200 and response.headers["Content-Type"] == "text/plain")
assert(response.body == "a=1&b=x%20y 1 GET \n" or response.body:find("^b=x%%20y"), response.body)
response = assert(client:request_uri(base .. "/echo", { method = "POST", body = ("z"):rep(100000) }))
assert(response.body == ("z"):rep(100000))
response = assert(client:request_uri(base .. "/missing"))
assert(response.status == 404)
response = assert(client:request_uri(base .. "/hello", { method = "HEAD" }))
assert(response.status == 200 and (response.body == nil or response.body == ""))

assert(client:connect({ scheme = "http", host = "127.0.0.1", port = env.port }))
response = assert(client:request({ path = "/large" }))
local size, reader = 0, response.body_reader
repeat
  local part, err = reader(8192)
  assert(not err, err)
  size = size + (part and #part or 0)
until not part
assert(size == 1000000, size)
assert(client:set_keepalive())
assert(client:connect({ scheme = "http", host = "127.0.0.1", port = env.port }))
assert(client:get_reused_times() > 0)
local responses = assert(client:request_pipeline({ { path = "/hello" }, { path = "/hello" } }))
for _, one in ipairs(responses) do
  assert(one.status == 200 and one:read_body())
end
client:close()

response = assert(client:request_uri("https://127.0.0.1:" .. env.tls_port .. "/hello", { ssl_verify = false }))
assert(response.status == 200)
local failed, err = client:request_uri("https://127.0.0.1:" .. env.tls_port .. "/hello")
assert(not failed and err, "the certificate is that of nobody")
client:set_timeout(50)
failed, err = client:request_uri(base .. "/slow")
assert(not failed and err == "timeout", err)
failed, err = client:request_uri("http://127.0.0.1:1/")
assert(not failed and err == "connection refused", err)
