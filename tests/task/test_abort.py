"""ctx.on_abort: the client leaves before its answer is complete."""

import time

import pytest
from heart_server import Server, wait_until
from websocket_client import TEXT, Socket, close_frame, frame
from websockets.sync.client import connect

APP = """
local app = require("heart.v1")
local task = require("heart.v1.task")
local seen = {}
app.get("/seen", function() local text = table.concat(seen, " ") seen = {} return text end)
app.get("/tell", function(ctx)
  ctx.on_abort(function() seen[#seen + 1] = "left" .. ctx.path() end)
  task.sleep(0.3)
  seen[#seen + 1] = "ended"
  return "answer"
end)
app.get("/cancel", function(ctx)
  ctx.on_abort()
  local ok, err = pcall(task.sleep, 5)
  seen[#seen + 1] = tostring(ok) .. err
  task.sleep(5)
end)
app.get("/plain", function() task.sleep(0.3) return "plain" end)
app.get("/stream", function(ctx)
  ctx.on_abort(function() seen[#seen + 1] = "left" end)
  ctx.stream(function(write) while write(("x"):rep(10000)) do task.sleep(0.005) end end)
end)
app.post("/body", { body = "stream" }, function(ctx)
  ctx.on_abort(function() seen[#seen + 1] = "left" end)
  local _, err = ctx.reader()()
  seen[#seen + 1] = err or "part"
end)
app.get("/late", function(ctx)
  task.sleep(0.2)
  ctx.on_abort(function() seen[#seen + 1] = "late" end)
  task.sleep(0.01)
end)
app.ws("/socket", function(ws, ctx)
  ctx.on_abort(function() seen[#seen + 1] = "late" end)
  ctx.on_abort()
  task.sleep(0.01)
  ws:send("there")
end)
app.use("/watched", function(ctx, next) ctx.on_abort(function() end) return next() end)
app.ws("/watched", function(ws)
  local n = 0
  task.sleep(0.2)
  while ws:receive() do n = n + 1 task.sleep(0.01) end
  seen[#seen + 1] = n .. "messages"
end)
app.get("/hello", function() return "hello" end)
app.get("/stats", function() collectgarbage() local s = task.stats() return s.tasks .. " " .. s.suspended end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        server.get("/seen")
        yield server


def seen(server, text):
    collected = []

    def complete():
        collected.extend(server.get("/seen").text.split())
        return " ".join(collected) == text

    wait_until(complete, lambda: collected, 5)


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_function_runs_when_the_client_leaves(server, leave):
    client = server.connect().request(target="/tell")
    time.sleep(0.05)
    getattr(client, leave)()
    seen(server, "left/tell ended")


def test_handler_is_cancelled(server):
    before = server.fds()
    client = server.connect().request(target="/cancel")
    time.sleep(0.05)
    client.close()
    seen(server, "falsecancelled")
    wait_until(lambda: server.get("/stats").text == "0 0", lambda: server.get("/stats").text, 5)
    wait_until(lambda: server.fds() <= before, server.fds, 5)
    assert "cancelled" not in server.logs()


def test_nothing_runs_when_the_answer_is_complete(server):
    with server.connect() as client:
        assert client.fetch(target="/tell").text == "answer"
        assert client.fetch(target="/hello").text == "hello"
        client.half_close()
        assert client.closed()
    seen(server, "ended")


def test_pipelined_request_is_no_abort(server):
    with server.connect() as client:
        client.request(target="/tell").request(target="/hello")
        time.sleep(0.1)
        client.request(target="/hello")
        assert [client.response().text for _ in range(3)] == ["answer", "hello", "hello"]
    seen(server, "ended")


def test_client_that_says_it_sends_no_more_gets_its_answer_unless_the_handler_asked(server):
    with server.connect() as client:
        client.request(target="/plain").half_close()
        assert client.response().text == "plain"


def test_reset_inside_a_stream(server):
    client = server.connect().request(target="/stream")
    client.fill()
    client.reset()
    seen(server, "left")


def test_end_inside_the_body(server):
    client = server.connect()
    client.send(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    time.sleep(0.05)
    client.close()
    seen(server, "left closed")


def test_asking_too_late_runs_at_once(server):
    client = server.connect().request(target="/late")
    time.sleep(0.05)
    client.reset()
    seen(server, "late")


def test_websocket_took_the_place_of_the_answer(server):
    with connect(f"ws://127.0.0.1:{server.port}/socket") as ws:
        assert ws.recv() == "there"
    seen(server, "")


def test_websocket_whose_request_was_watched_gets_what_came_before_the_end(server):
    with Socket(server, "/watched") as ws:
        ws.send(b"".join(frame(TEXT, b"m") for _ in range(4)) + close_frame(1000))
        ws.client.half_close()
        seen(server, "4messages")


def test_many_aborts_leave_nothing(server):
    before = server.fds()
    for _ in range(5):
        clients = [server.connect().request(target="/cancel") for _ in range(40)]
        time.sleep(0.05)
        for client in clients:
            client.reset()
    wait_until(lambda: server.get("/stats").text == "0 0", lambda: server.get("/stats").text, 5)
    wait_until(lambda: server.fds() <= before, server.fds, 5)
