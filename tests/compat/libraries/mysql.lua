-- lua-resty-mysql against MariaDB. env: module, port, socket, database, user, password.
local mysql = require(env.module)

local function connect(options)
  local client = assert(mysql:new())
  client:set_timeout(2000)
  local settings = { host = "127.0.0.1", port = env.port, database = env.database, charset = "utf8mb4" }
  settings.user, settings.password, settings.max_packet_size = env.user, env.password, 4 * 1024 * 1024
  for name, value in pairs(options or {}) do
    settings[name] = value
  end
  return client, client:connect(settings)
end

local client, ok, err = connect()
assert(ok, err)
assert(client:server_ver():find("MariaDB"))
assert(client:query("DROP TABLE IF EXISTS cats"))
assert(client:query("CREATE TABLE cats (id SERIAL PRIMARY KEY, name VARCHAR(50), weight DOUBLE, data LONGBLOB)"))
local result = assert(client:query("INSERT INTO cats (name, weight) VALUES ('Bob', 4.5), (NULL, 1), ('Zoë ☃', 0)"))
assert(result.affected_rows == 3 and result.insert_id == 1)
local rows = assert(client:query("SELECT * FROM cats ORDER BY id"))
assert(#rows == 3 and rows[1].name == "Bob" and rows[1].weight == 4.5 and rows[2].name == ngx.null)
assert(rows[3].name == "Zoë ☃")
local nasty = "'\"\\\0\n\r\t\26;--"
result = assert(client:query("INSERT INTO cats (name) VALUES (" .. ngx.quote_sql_str(nasty) .. ")"))
rows = assert(client:query("SELECT name FROM cats WHERE id = " .. result.insert_id))
assert(rows[1].name == nasty)
local big = ("0123456789abcdef"):rep(65536)
assert(client:query("INSERT INTO cats (data) VALUES ('" .. big .. "')"))
assert(client:query("SELECT data FROM cats WHERE data IS NOT NULL")[1].data == big)
rows = assert(client:query("SELECT 1 AS a; SELECT 2 AS b"))
assert(rows[1].a == 1)
local more, again
more, again = client:read_result()
assert(more and more[1].b == 2, again)
local bad, why, code, state = client:query("SELECT * FROM nowhere")
assert(bad == nil and code == 1146 and state == "42S02", why)
assert(client:set_keepalive(10000, 5))
client, ok = connect()
assert(ok and client:get_reused_times() == 1)
client:set_timeout(100)
bad, why = client:query("SELECT SLEEP(2)")
assert(bad == nil and why:find("timeout"), why)
client:close()
ok, err = select(2, connect({ password = "wrong" }))
assert(not ok and err:find("Access denied"), err)
ok, err = select(2, connect({ port = 1 }))
assert(not ok and err:find("connection refused"), err)
client = assert(mysql:new())
ok, err = client:connect({ path = env.socket, database = env.database, user = env.user, password = env.password })
assert(ok, err)
assert(client:query("SELECT 7 AS n")[1].n == 7)

-- Side by side, each on a connection of its own.
local threads, began = {}, ngx.now()
for i = 1, 5 do
  threads[i] = ngx.thread.spawn(function()
    local one = connect()
    return assert(one:query("SELECT SLEEP(0.2), " .. i .. " AS n"))[1].n
  end)
end
for i = 1, 5 do
  local done, n = ngx.thread.wait(threads[i])
  assert(done and n == i, n)
end
assert(ngx.now() - began < 0.8)
