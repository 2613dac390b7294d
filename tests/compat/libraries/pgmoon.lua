-- pgmoon against PostgreSQL with SCRAM-SHA-256, over ngx and over the facade of LuaSocket. env: module, port, database,
-- user, password, certificate.
local pgmoon = require(env.module)
local arrays = require(env.module .. ".arrays")
local encode_json = require(env.module .. ".json").encode_json

local NAME = 'it\'s "Zoë" ☃'

local function connect(kind, options)
  local settings = { host = "127.0.0.1", port = env.port, database = env.database, user = env.user }
  settings.password, settings.socket_type = env.password, kind
  for name, value in pairs(options or {}) do
    settings[name] = value
  end
  local client = pgmoon.new(settings)
  return client, client:connect()
end

local function connected(kind, options)
  local client, ok, err = connect(kind, options)
  assert(ok, err)
  return client
end

for _, kind in ipairs({ "nginx", "luasocket" }) do
  local client = connected(kind)
  assert(client.sock_type == kind)
  assert(client:query("DROP TABLE IF EXISTS cats"))
  assert(client:query("CREATE TABLE cats (id serial PRIMARY KEY, name text, weight float8, tame boolean, data bytea)"))
  local form = "INSERT INTO cats (name, weight, tame) VALUES (%s, 4.5, true), (NULL, NULL, NULL)"
  local result = assert(client:query(form:format(client:escape_literal(NAME))))
  assert(result.affected_rows == 2)
  local rows = assert(client:query("SELECT * FROM cats ORDER BY id"))
  assert(rows[1].name == NAME and rows[1].weight == 4.5 and rows[1].tame == true and rows[2].name == nil)
  local big = ("0123456789abcdef"):rep(65536)
  assert(client:query("SELECT '" .. big .. "' AS t")[1].t == big)
  local bytes = "\0'\\\r\n\255"
  assert(client:query("INSERT INTO cats (data) VALUES (" .. client:encode_bytea(bytes) .. ")"))
  assert(client:query("SELECT data FROM cats WHERE data IS NOT NULL")[1].data == bytes)
  local both, count = client:query("SELECT 1 AS a; SELECT 2 AS b")
  assert(count == 2 and both[1][1].a == 1 and both[2][1].b == 2)

  -- Values beside the query.
  rows = assert(client:query("SELECT $1 AS a, $2::int + 1 AS b, $3 AS c, $4::text AS d", NAME, 41, false, client.NULL))
  assert(rows[1].a == NAME and rows[1].b == 42 and rows[1].c == false and rows[1].d == nil)
  rows = assert(client:query("SELECT $1 AS t", big))
  assert(rows[1].t == big)

  -- Arrays and JSON.
  rows = client:query("SELECT ARRAY['a b', NULL, '\"'] AS t, ARRAY[[1, 2], [3, 4]] AS n, ARRAY[true, false] AS b")
  assert(rows[1].t[1] == "a b" and rows[1].t[2] == client.NULL and rows[1].t[3] == '"')
  assert(rows[1].n[2][1] == 3 and rows[1].b[1] == true and rows[1].b[2] == false)
  rows = assert(client:query("SELECT " .. arrays.encode_array({ NAME, "x" }) .. " AS t"))
  assert(rows[1].t[1] == NAME and rows[1].t[2] == "x")
  rows = assert(client:query("SELECT $1 AS n", arrays.PostgresArray({ 1, 2.5 })))
  assert(rows[1].n[1] == 1 and rows[1].n[2] == 2.5)
  local value = encode_json({ name = NAME, list = { 1, 2, 3 } })
  local both_forms = "SELECT %s::json AS a, %s::jsonb AS b, ARRAY['{\"k\": 1}']::jsonb[] AS c"
  rows = assert(client:query(both_forms:format(value, value)))
  assert(rows[1].a.name == NAME and rows[1].a.list[3] == 3 and rows[1].b.name == NAME and rows[1].c[1].k == 1)

  -- What went wrong is told, and the connection lives on.
  local bad, why, partly, done = client:query("SELECT 1 AS n; SELECT * FROM nowhere")
  assert(bad == nil and why:find('relation "nowhere" does not exist', 1, true), why)
  assert(done == 1 and partly[1].n == 1)
  bad, why = client:query("INSERT INTO cats (id) VALUES ($1)", 1)
  assert(bad == nil and why:find("duplicate key.*Key %(id%)=%(1%) already exists"), why)
  local notices = select(4, client:query("DROP TABLE IF EXISTS nowhere"))
  assert(notices[1]:find("NOTICE"))
  assert(client:query("SELECT 1 AS n")[1].n == 1)

  -- Notifications: one beside the answer to a query, one waited for.
  local other = connected(kind)
  assert(client:query("LISTEN news"))
  assert(other:query("NOTIFY news, 'one'"))
  local notifications = select(3, client:query("SELECT pg_sleep(0.1)"))
  assert(notifications[1].channel == "news" and notifications[1].payload == "one")
  local began = ngx.now()
  local sender = ngx.thread.spawn(function()
    ngx.sleep(0.1)
    assert(other:query("NOTIFY news, 'two'"))
  end)
  local heard = assert(client:wait_for_notification())
  assert(heard.payload == "two" and ngx.now() - began > 0.09)
  assert(ngx.thread.wait(sender))
  assert(other:disconnect())

  client:settimeout(100)
  bad, why = client:query("SELECT pg_sleep(2)")
  assert(bad == nil and why:find("timeout"), why)
  client:disconnect()

  local ok, err = select(2, connect(kind, { password = "wrong" }))
  assert(not ok and err:find("unsuccessful"), err) -- it is pgmoon that says so, whatever the server answered
  ok, err = select(2, connect(kind, { database = "nowhere" }))
  assert(not ok and err:find('database "nowhere" does not exist', 1, true), err)
  ok, err = select(2, connect(kind, { port = 1 }))
  assert(not ok and err:find("connection refused"), err)

  -- Side by side, each on a connection of its own.
  local threads = {}
  began = ngx.now()
  for i = 1, 5 do
    threads[i] = ngx.thread.spawn(function()
      local one = connected(kind)
      local n = assert(one:query("SELECT pg_sleep(0.3), " .. i .. " AS n"))[1].n
      one:disconnect()
      return n
    end)
  end
  for i = 1, 5 do
    local fine, n = ngx.thread.wait(threads[i])
    assert(fine and n == i, n)
  end
  assert(ngx.now() - began < 1.2)
end

-- With TLS, where the login is bound to the server's certificate (SCRAM-SHA-256-PLUS). Over ngx pgmoon would read the
-- certificate from nginx's own structures.
local tls = { ssl = true, ssl_required = true, ssl_verify = true, cafile = env.certificate }
local secret = connected("luasocket", tls)
local session_tls = secret:query("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[1]
assert(session_tls.ssl == true and session_tls.version == "TLSv1.3")
secret:disconnect()
tls.cafile = nil
local ok, err = select(2, connect("luasocket", tls))
assert(not ok and err:find("certificate verify failed"), err)

-- The pool of ngx: the same session again, without another login.
local client = connected("nginx")
local session = client:query("SELECT pg_backend_pid() AS pid")[1].pid
assert(client:keepalive(10000, 5))
client = connected("nginx", { password = "not asked for" })
assert(client.sock:getreusedtimes() == 1)
assert(client:query("SELECT pg_backend_pid() AS pid")[1].pid == session)
client:disconnect()
assert(not pcall(function()
  return connected("luasocket"):keepalive()
end))
assert(pgmoon.new({}).sock_type == "nginx") -- what it takes where it is not told
