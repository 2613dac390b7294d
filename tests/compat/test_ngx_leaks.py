"""What the facade `ngx` keeps: nothing of requests, threads, timers, sockets and semaphores that have ended."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
local core = require("heart.core")
local semaphore = require("ngx.semaphore").new()
local PORT = %d

local function connect()
  local s = ngx.socket.tcp()
  assert(s:connect("127.0.0.1", PORT))
  return s
end

local routes = {
  say = function() ngx.ctx.x = {} ngx.say("hi ", ngx.var.arg_x) end,
  exit = function() ngx.say("hi") ngx.exit(200) end,
  thread = function() ngx.thread.spawn(function() ngx.sleep(0) ngx.say("thread") end) ngx.say("hi") end,
  thread_exits = function() ngx.thread.spawn(function() ngx.sleep(0) ngx.exit(200) end) ngx.sleep(10) end,
  thread_fails = function() ngx.thread.spawn(function() ngx.sleep(0) error("boo") end) ngx.say("hi") end,
  killed = function() ngx.thread.kill(ngx.thread.spawn(function() ngx.sleep(10) end)) ngx.say("hi") end,
  eof = function() ngx.say("hi") ngx.eof() ngx.sleep(0) end,
  stream = function() ngx.say("x") ngx.flush(true) ngx.exit(200) end,
  timer = function() ngx.timer.at(0, function() end) ngx.say("hi") end,
  semaphore = function() semaphore:wait(0.001) ngx.say(semaphore:count()) end,
  socket = function() connect():send("GET /left HTTP/1.1\\\\r\\\\n") ngx.say("left open") end,
  socket_exit = function() connect() ngx.exit(200) end,
  socket_kept = function() ngx.say(connect():setkeepalive()) end,
}
for name, fn in pairs(routes) do
  app.get("/" .. name, fn)
end
app.get("/kept", function()
  collectgarbage()
  collectgarbage()
  local stats = core.task.stats()
  return ("%%d %%d %%d"):format(collectgarbage("count"), stats.tasks + stats.suspended, core.socket.count())
end)
"""
ROUTES = (
    "say exit thread thread_exits thread_fails killed eof stream timer semaphore socket socket_exit socket_kept"
).split()


@pytest.fixture(scope="module")
def server():
    with Server("require('heart.v1').get('/', function() return 'x' end)") as peer, Server(APP % peer.port) as server:
        yield server


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_kept(server, route):
    def kept():
        with server.connect() as client:
            return [int(word) for word in client.fetch(target="/kept").text.split()]

    def go(n):
        with server.connect() as client:
            for _ in range(n):
                assert client.fetch(target=f"/{route}?x=1").status == 200

    go(50)
    memory, suspended, sockets = kept()
    go(300)
    after = kept()
    assert after[0] - memory < 40  # KiB
    assert after[1] <= suspended + 1
    assert after[2] == sockets
