-- The client of lua-resty-websocket against a server that sends back what it gets. env: module, port, tls_port.
local websocket = require(env.module)

local function exchange(client)
  for _, text in ipairs({ "hello", "", ("x"):rep(200), ("y"):rep(70000) }) do
    assert(client:send_text(text))
    local data, kind, err = client:recv_frame()
    assert(data == text and kind == "text", err)
  end
  assert(client:send_binary("\0\255"))
  local data, kind = client:recv_frame()
  assert(data == "\0\255" and kind == "binary")
  assert(client:send_ping("are you there?"))
  data, kind = client:recv_frame()
  assert(data == "are you there?" and kind == "pong")
end

local client = assert(websocket:new({ timeout = 2000, max_payload_len = 100000 }))
assert(client:connect("ws://127.0.0.1:" .. env.port .. "/chat"))
exchange(client)
assert(client:send_close(1000, "bye"))
local data, kind, code = client:recv_frame()
assert(kind == "close" and code == 1000, tostring(data))
client:close()

client = assert(websocket:new({ timeout = 2000, max_payload_len = 100000 }))
local ok, err = client:connect("wss://127.0.0.1:" .. env.tls_port .. "/", { ssl_verify = true })
assert(not ok and err:find("ssl handshake failed", 1, true), err)
client = assert(websocket:new({ timeout = 2000, max_payload_len = 100000 }))
assert(client:connect("wss://127.0.0.1:" .. env.tls_port .. "/"))
exchange(client)
assert(client:set_keepalive(1000, 5))

client = websocket:new({ timeout = 2000 })
ok, err = client:connect("ws://127.0.0.1:1/")
assert(not ok and err:find("connection refused", 1, true), err)
client = assert(websocket:new({ timeout = 50 }))
assert(client:connect("ws://127.0.0.1:" .. env.port .. "/"))
data, kind, err = client:recv_frame()
assert(not data and not kind and err:find("timeout", 1, true), err)
