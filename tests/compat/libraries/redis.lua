-- lua-resty-redis against a server. env: module, port, socket.
local redis = require(env.module)

local function connect()
  local client = assert(redis:new())
  client:set_timeouts(1000, 1000, 1000)
  assert(client:connect("127.0.0.1", env.port))
  return client
end

local client = connect()
assert(client:ping() == "PONG")
assert(client:set("animal", "dog") == "OK")
assert(client:get("animal") == "dog")
assert(client:get("nothing") == ngx.null)
assert(client:incr("count") == 1 and client:incrby("count", 41) == 42)
local bytes = ("\0\r\n\255"):rep(250000)
assert(client:set("bytes", bytes))
assert(client:get("bytes") == bytes)
local list = assert(client:mget("animal", "nothing", "count"))
assert(list[1] == "dog" and list[2] == ngx.null and list[3] == "42")
assert(client:hmset("hash", { a = 1, b = "two" }))
local hash = client:array_to_hash(client:hgetall("hash"))
assert(hash.a == "1" and hash.b == "two")
local result, err = client:lpush("animal", 1)
assert(result == false and err:find("^WRONGTYPE"), err)
assert(client:eval("return {KEYS[1], ARGV[1], 3}", 1, "k", "v")[3] == 3)

client:init_pipeline()
for i = 1, 100 do
  client:set("p" .. i, i)
  client:get("p" .. i)
end
local answers = assert(client:commit_pipeline())
assert(#answers == 200 and answers[200] == "100")

assert(client:multi() == "OK" and client:set("t", "1") == "QUEUED")
assert(client:exec()[1] == "OK")

assert(client:set_keepalive(10000, 5))
assert(select(2, client:ping()) == "closed")
client = connect()
assert(client:get_reused_times() == 1)

-- A timeout in the middle of an answer, and what the client says then.
client:set_timeout(50)
local value, why = client:blpop("empty", 0)
assert(value == nil and why == "timeout", why)
client:close()

local subscriber, publisher = connect(), connect()
assert(subscriber:subscribe("news")[1] == "subscribe")
local heard
local thread = ngx.thread.spawn(function()
  heard = assert(subscriber:read_reply())
end)
assert(publisher:publish("news", "hello") == 1)
assert(ngx.thread.wait(thread))
assert(heard[1] == "message" and heard[3] == "hello")
assert(subscriber:unsubscribe("news"))

local other = redis:new()
local ok, refused = other:connect("127.0.0.1", 1)
assert(ok == nil and refused == "connection refused", refused)
assert(other:connect("unix:" .. env.socket) == 1)
assert(other:get("animal") == "dog")
assert(other:close() == 1)
ok, refused = other:get("animal")
assert(ok == nil and refused == "closed", refused)
ok, refused = redis:new():connect("unix:/nowhere/socket")
assert(ok == nil and refused == "no such file or directory", refused)
