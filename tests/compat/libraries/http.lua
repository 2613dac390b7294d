-- lua-resty-http against nginx. env: module, port, tls_port.
local http = require(env.module)
local base = "http://127.0.0.1:" .. env.port

local client = assert(http.new())
local response =
  assert(client:request_uri(base .. "/hello?a=1", { query = { b = "x y" }, headers = { ["X-A"] = "1" } }))
assert(response.status == 200 and response.headers["Content-Type"] == "text/plain")
assert(response.body == "a=1&b=x%20y 1 GET \n" or response.body:find("^b=x%%20y"), response.body)
response = assert(client:request_uri(base .. "/echo", { method = "POST", body = ("z"):rep(100000) }))
assert(response.body == ("z"):rep(100000))
local left = 3
local function next_part()
  left = left - 1
  return left >= 0 and "part" or nil
end
response = assert(
  client:request_uri(base .. "/echo", { method = "POST", headers = { ["Content-Length"] = 12 }, body = next_part })
)
assert(response.body == "partpartpart")
local patient = { method = "POST", headers = { Expect = "100-continue" }, body = "later" }
assert(client:request_uri(base .. "/echo", patient).body == "later")
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

client:set_proxy_options({ http_proxy = base, no_proxy = "near.test" })
assert(client:get_proxy_uri("http", "far.test") == base and not client:get_proxy_uri("http", "a.near.test"))
response = assert(client:request_uri("http://far.test/hello?by=proxy"))
assert(response.body:find("^by=proxy"), response.body)
client:set_proxy_options({})

response = assert(client:request_uri("https://127.0.0.1:" .. env.tls_port .. "/hello", { ssl_verify = false }))
assert(response.status == 200)
local failed, err = client:request_uri("https://127.0.0.1:" .. env.tls_port .. "/hello")
assert(not failed and err, "the certificate is that of nobody")
client:set_timeout(50)
failed, err = client:request_uri(base .. "/slow")
assert(not failed and err == "timeout", err)
failed, err = client:request_uri("http://127.0.0.1:1/")
assert(not failed and err == "connection refused", err)
