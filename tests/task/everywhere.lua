-- The application of test_everywhere.py: at each place where Lua runs, `try(place)` does one of everything that waits.
local app = require("heart.v1")
local channel = require("heart.v1.channel")
local config = require("config")
local disk = require("heart.v1.kv.disk")
local dns = require("heart.v1.dns")
local fs = require("heart.v1.fs")
local http = require("heart.v1.http")
local memory = require("heart.v1.kv.memory")
local process = require("heart.v1.process")
local socket = require("heart.v1.socket")
local task = require("heart.v1.task")
local worker = require("heart.v1.worker")

local results = require("heart.v1.shared")("results")

dns.configure({ servers = { config.dns }, cache = 0 })

local WORK = {
  sleep = function()
    app.sleep(0.001)
    return true
  end,
  tasks = function()
    local one, two = task.gather(function()
      task.sleep(0.001)
      return 1
    end, function()
      return 2
    end)
    return one + two == 3
  end,
  time_limit = function()
    return select(2, task.timeout(0.001, task.sleep, 5)) == "timeout"
  end,
  name = function()
    return assert(dns.resolve("www.example.test", { family = "inet" }))[1] == "192.0.2.1"
  end,
  http = function()
    return assert(http.get(config.url)).body == "hello"
  end,
  stream = function()
    local sock = assert(socket.connect("127.0.0.1", config.echo))
    assert(sock:send("line\n"))
    local line = assert(sock:receive("*l"))
    return sock:close() and line == "line"
  end,
  datagram = function()
    local here = assert(socket.udp({ bind = "127.0.0.1" }))
    local _, port = here:name()
    assert(assert(socket.udp({ host = "127.0.0.1", port = port })):send("packet"))
    return assert(here:receivefrom()) == "packet"
  end,
  program = function()
    return assert(process.run({ cmd = "cat", stdin = "text" })).stdout == "text"
  end,
  file = function()
    local path = assert(fs.temp_dir()) .. "/file"
    assert(fs.write(path, "content"))
    return assert(fs.read(path)) == "content"
  end,
  memory = function()
    return memory.transaction(function(tx)
      tx.set("key", 1)
      return true
    end)
  end,
  disk = function()
    assert(disk.set("key", "value"))
    return disk.fetch("key") == "value"
  end,
  message = function()
    return worker.send(0, "value", "nobody")
  end,
  luasocket = function()
    return require("socket.http").request(config.url) == "hello"
  end,
  openresty = function()
    local sock = ngx.socket.tcp()
    assert(sock:connect("127.0.0.1", config.echo))
    assert(sock:send("line\n"))
    ngx.sleep(0.001)
    return sock:receive() == "line" and sock:setkeepalive() == 1
  end,
}

local function try(place)
  local wrong = {}
  for name, work in pairs(WORK) do
    local ok, result = xpcall(work, debug.traceback)
    if not ok or not result then
      wrong[#wrong + 1] = name .. ": " .. tostring(result)
    end
  end
  assert(results.set(place, #wrong == 0 and "all" or table.concat(wrong, "\n")))
end

try("load")
try_module = try -- luacheck: ignore 111
require("module")

app.on("start", function()
  try("start")
end)
app.on("stop", function()
  try("stop")
  print("stop " .. results.get("stop"))
end)

task.spawn(try, "task while loading")
task.after(0.001, try, "after")
local ticking
ticking = task.every(0.001, function()
  try("every")
  ticking:cancel()
end)

app.use("/middleware", function(_, next)
  try("middleware")
  return next()
end)
app.get("/middleware", function() end)
app.get("/handler", function()
  try("handler")
end)
app.get("/answered", function()
  task.spawn(function()
    task.sleep(0.02)
    try("after the response")
  end)
end)
app.get("/task", function()
  task.spawn(try, "task"):join()
end)
app.get("/stream", function(ctx)
  ctx.stream(function(write)
    write("part")
    try("stream")
  end)
end)
app.get("/fails", function()
  error("on purpose")
end)
app.onerror(function()
  try("error handler")
  return 500, ""
end)
app.get("/coroutine", function()
  for _ in
    coroutine.wrap(function()
      try("coroutine")
      coroutine.yield(1)
    end)
  do
  end
end)
app.get("/metamethod", function()
  local _ = setmetatable({}, {
    __index = function()
      pcall(try, "metamethod")
    end,
  }).field
end)
app.get("/timer", function()
  ngx.timer.at(0, function()
    try("ngx.timer")
  end)
end)
app.get("/message", function()
  worker.send(0, 1, "try")
end)
worker.on_message("try", function()
  try("message")
end)
memory.watch("watched", function()
  try("kv.watch")
end)
app.get("/kv", function()
  memory.set("watched", 1)
end)
channel.subscribe("news", function()
  try("channel")
end)
app.get("/channel", function()
  channel.publish("news", "text")
end)
app.get("/abort", function(ctx)
  ctx.on_abort(function()
    try("abort")
  end)
  task.sleep(0.2)
end)
app.ws("/websocket", function(ws)
  try("websocket")
  ws:close()
end)
app.get("/watch", function()
  local folder = assert(fs.temp_dir())
  local watcher
  watcher = assert(fs.watch(folder, function()
    watcher:close()
    try("watch")
  end))
  assert(fs.write(folder .. "/file", ""))
end)
local listener = assert(socket.listen("127.0.0.1:0", function()
  try("listener")
end))
app.get("/listener", function()
  local address, port = listener:name()
  assert(socket.connect(address, port)):receive("*a")
end)
app.get("/result/:place", function(ctx)
  return results.fetch((ctx.pathParam("place"):gsub("_", " "))) or "not yet"
end)
