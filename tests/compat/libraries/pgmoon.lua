-- pgmoon against PostgreSQL with SCRAM-SHA-256, over ngx and over the facade of LuaSocket. env: module, port, database,
-- user, password.
local pgmoon = require(env.module)

for _, kind in ipairs({ "nginx", "luasocket" }) do
  local function connect(password)
    local settings = { host = "127.0.0.1", port = env.port, database = env.database, user = env.user }
    settings.password, settings.socket_type = password, kind
    local client = pgmoon.new(settings)
    return client, client:connect()
  end

  local client, ok, err = connect(env.password)
  assert(ok, err)
  assert(client:query("DROP TABLE IF EXISTS cats"))
  assert(client:query("CREATE TABLE cats (id serial PRIMARY KEY, name text, weight float8, tame boolean)"))
  local name = 'it\'s "Zoë" ☃'
  local form = "INSERT INTO cats (name, weight, tame) VALUES (%s, 4.5, true), (NULL, NULL, NULL)"
  local result = assert(client:query(form:format(client:escape_literal(name))))
  assert(result.affected_rows == 2)
  local rows = assert(client:query("SELECT * FROM cats ORDER BY id"))
  assert(rows[1].name == name and rows[1].weight == 4.5 and rows[1].tame == true and rows[2].name == nil)
  local big = ("0123456789abcdef"):rep(65536)
  assert(client:query("SELECT '" .. big .. "' AS t")[1].t == big)
  local bad, why = client:query("SELECT * FROM nowhere")
  assert(bad == nil and why:find("does not exist"), why)
  assert(client:query("SELECT 1 AS n")[1].n == 1)
  assert(client:disconnect() or true)
  ok, err = select(2, connect("wrong"))
  assert(not ok and err:find("password authentication failed"), err)
end
