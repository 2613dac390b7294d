-- The application of test_leaks.py: every kind of wait, to be cancelled in a task, or by a client that leaves.
local app = require("heart.v1")
local config = require("config")
local core = require("heart.core")
local dns = require("heart.v1.dns")
local fs = require("heart.v1.fs")
local http = require("heart.v1.http")
local process = require("heart.v1.process")
local socket = require("heart.v1.socket")
local task = require("heart.v1.task")
local memory = require("heart.v1.kv.memory")
local websocket = require("heart.v1.websocket")

dns.configure({ servers = { config.dns }, cache = 0, timeout = 3, attempts = 1 })

local LARGE = ("x"):rep(32 * 1024 * 1024)

local semaphore, mutex, event = task.semaphore(0), task.mutex(), task.event()
local queue, full = task.queue(1), task.queue(1)
full:push(1)
task.spawn(function()
  mutex:lock()
  task.event():wait()
end)

local function connected()
  return assert(socket.connect("127.0.0.1", config.silent))
end

---A name that no earlier round has asked for: a question in progress is waited for together, and ends for all at once.
local function silent_name(round)
  return ("silent%s.test"):format(round)
end

local WAITS = {
  sleep = function()
    task.sleep(60)
  end,
  semaphore = function()
    semaphore:acquire()
  end,
  mutex = function()
    mutex:lock()
  end,
  event = function()
    event:wait()
  end,
  pop = function()
    queue:pop()
  end,
  push = function()
    full:push(1)
  end,
  gather = function()
    task.gather(function()
      task.sleep(60)
    end, function()
      connected():receive()
    end)
  end,
  time_limit = function()
    task.timeout(60, function()
      connected():receive()
    end)
  end,
  join = function()
    local waits = task.spawn(function()
      task.sleep(0.05)
    end)
    waits:join()
    task.sleep(60)
  end,
  connect = function()
    socket.connect("127.0.0.1", config.full, { timeout = 60 })
  end,
  receive = function()
    connected():receive("*l")
  end,
  send = function()
    connected():send(LARGE)
  end,
  handshake = function()
    socket.connect("127.0.0.1", config.silent, { tls = { verify = false }, timeout = 60 })
  end,
  datagram = function()
    assert(socket.udp({ bind = "127.0.0.1" })):receivefrom()
  end,
  name = function(round)
    dns.resolve(silent_name(round), { timeout = 60 })
  end,
  connect_by_name = function(round)
    socket.connect(silent_name(round), 80, { timeout = 60 })
  end,
  http_head = function()
    http.get(("http://127.0.0.1:%d/"):format(config.silent))
  end,
  http_body = function()
    http.get(("http://127.0.0.1:%d/"):format(config.stalled))
  end,
  http_stream = function()
    local response = assert(http.get(("http://127.0.0.1:%d/"):format(config.stalled), { stream = true }))
    while response.reader() do
    end
  end,
  websocket = function()
    websocket.connect(("ws://127.0.0.1:%d/"):format(config.silent), { timeout = 60 })
  end,
  program = function()
    process.run({ cmd = "sleep", args = { 60 } })
  end,
  program_output = function()
    local child = assert(process.spawn({ cmd = "sleep", args = { 60 } }))
    local ok, err = pcall(child.stdout.receive, child.stdout, "*l")
    child:kill("KILL")
    error(ok and "woken" or err, 0)
  end,
  watch = function()
    for _ in assert(fs.watch(".")) do
    end
  end,
  serial = function()
    memory.serialTransaction(function()
      task.sleep(60)
    end)
  end,
  luasocket = function()
    local sock = assert(require("socket").connect("127.0.0.1", config.silent))
    sock:receive()
  end,
  luasocket_select = function()
    local sock = assert(require("socket").connect("127.0.0.1", config.silent))
    require("socket").select({ sock }, nil, 60)
  end,
  ngx_sleep = function()
    ngx.sleep(60)
  end,
  ngx_socket = function()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", config.silent))
    sock:receive()
  end,
  ngx_semaphore = function()
    require("ngx.semaphore").new():wait(60)
  end,
  coroutine = function()
    coroutine.wrap(function()
      pcall(task.sleep, 60)
      task.sleep(60)
    end)()
  end,
}

app.get("/cancel/:name", function(ctx)
  local tasks = {}
  for i = 1, 20 do
    tasks[i] = task.spawn(WAITS[ctx.pathParam("name")], ctx.query("round"))
  end
  task.sleep(0.03)
  for _, each in ipairs(tasks) do
    each:cancel()
  end
  for _, each in ipairs(tasks) do
    pcall(each.join, each)
  end
end)
app.get("/abort/:name", function(ctx)
  ctx.on_abort()
  WAITS[ctx.pathParam("name")](ctx.query("round"))
end)
app.get("/waits", function(ctx)
  local names = {}
  for name in pairs(WAITS) do
    names[#names + 1] = name
  end
  return ctx.json(names)
end)
app.get("/counters", function(ctx)
  collectgarbage()
  collectgarbage()
  local stats = task.stats()
  return ctx.json({
    memory = collectgarbage("count"),
    tasks = stats.tasks,
    suspended = stats.suspended,
    sockets = core.socket.count(),
  })
end)
