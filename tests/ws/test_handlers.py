"""app.ws: both styles, waiting, errors, the handshake's rules, reload, stopping, with PyPI's websockets as client."""

import json
import re
import signal
import threading
import time

import pytest
from heart_server import PATIENCE, wait_until
from websocket_client import HANDSHAKE, PING, PONG, TEXT, Socket, close_frame, frame
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_to

APP = """
local app = require("heart.v1")
app.use("/private", function(ctx, next)
  if ctx.query("key") ~= "secret" then return 401, "who are you?" end
  ctx.set("X-Seen", "yes")
  return next()
end)
app.ws("/private/:room", function(ws, ctx)
  local room, agent = ctx.pathParam("room"), ctx.header("user-agent")
  ws:send(room .. " " .. (ctx.cookies("id") or "nobody"))
  ws:receive()
end)
app.ws("/chat", { protocols = { "v2", "v1" }, origins = { "https://good.example" } }, {
  open = function(ws, ctx, protocol)
    app.sleep(0.02)
    ws.data.protocol = protocol
    ws:send("protocol " .. tostring(protocol))
  end,
  message = function(ws, data)
    app.sleep(0.005)
    if data == "fail" then error("as asked") end
    if data == "leave" then return ws:close(3001, "done") end
    ws.data.n = (ws.data.n or 0) + 1
    ws:send(ws.data.n .. data)
  end,
  close = function(ws, code, reason) print("closed", code, reason, ws.data.n) end,
  error = function(ws, message) ws:send("sorry: " .. message) end,
})
app.ws("/asked", function(ws)
  local data, why, code, reason = ws:receive(0.05)
  ws:send(tostring(data) .. " " .. why)
  data, why, code, reason = ws:receive()
  if data == "fail" then error("as asked") end
  if data == "flood" then
    local n = 0
    while ws:send(("x"):rep(100000), "binary") do n = n + 1 end
    print("flood ended", n)
    return
  end
  print("ended", data, why, code, reason)
  print("again", ws:receive())
  print("send", ws:send("x"))
end)
app.ws("/quick", function(ws) ws:send("only this") end)
app.get("/ctx", function() return "plain" end)
"""


@pytest.fixture
def server(serve):
    return serve(APP)


def connect(server, path, **more):
    """A client that answers as browsers do."""
    return connect_to(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE, close_timeout=PATIENCE, **more)


def test_handler_sees_parameters_cookies_and_middleware(server):
    with connect(server, "/private/lobby?key=secret", additional_headers={"Cookie": "id=ann"}) as ws:
        assert ws.response.headers["X-Seen"] == "yes"
        assert ws.recv(PATIENCE) == "lobby ann"


def test_middleware_can_refuse_before_the_upgrade(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(server, "/private/lobby")
    assert refused.value.response.status_code == 401


def test_messages_of_one_socket_are_handled_one_after_the_other(server):
    with connect(server, "/chat", subprotocols=["v1", "v2"]) as ws:
        assert ws.subprotocol == "v2"
        for _ in range(20):
            ws.send("m")
        assert ws.recv(PATIENCE) == "protocol v2"
        assert [ws.recv(PATIENCE) for _ in range(20)] == [f"{i}m" for i in range(1, 21)]
    server.wait_log(r"closed\s+1000\s+20")


def test_handler_closes_with_code_and_reason(server):
    with connect(server, "/chat") as ws:
        ws.recv(PATIENCE)
        ws.send("leave")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3001, "done")


def test_error_in_a_function_is_logged_told_and_closes_with_1011(server):
    with connect(server, "/chat") as ws:
        ws.recv(PATIENCE)
        ws.send("fail")
        assert re.match(r"sorry: .*main.lua:\d+: as asked", ws.recv(PATIENCE))
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert closed.value.rcvd.code == 1011
    assert "stack traceback" in server.wait_log(r'"level":"error".*as asked.*')[0]
    assert server.get("/ctx").text == "plain"


def test_receive_times_out_and_tells_the_end(server):
    with connect(server, "/asked") as ws:
        assert ws.recv(PATIENCE) == "nil timeout"
        ws.close(4000, "enough")
    server.wait_log(r"ended\s+nil\s+closed\s+4000\s+enough")
    server.wait_log(r"again\s+nil\s+closed\s+4000")
    server.wait_log(r"send\s+nil\s+closed\s+4000")


def test_error_in_a_handler_closes_with_1011(server):
    with connect(server, "/asked") as ws:
        ws.recv(PATIENCE)
        ws.send("fail")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert closed.value.rcvd.code == 1011
    server.wait_log("as asked")


def test_handler_that_returns_closes_with_1000(server):
    with connect(server, "/quick") as ws:
        assert ws.recv(PATIENCE) == "only this"
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(PATIENCE)
        assert closed.value.rcvd.code == 1000


def test_slow_consumer_suspends_the_sender(server):
    with Socket(server, "/asked", receive_buffer=4096) as ws:
        ws.receive()
        ws.text("flood")
        time.sleep(0.2)
        assert server.rss() < 60 << 20
        assert server.get("/ctx").text == "plain"
        ws.client.reset()
    server.wait_log(r"flood ended\s+\d+")


@pytest.mark.parametrize(
    "drop, status, field",
    [
        ("Upgrade", 426, ("upgrade", "websocket")),
        ("Connection", 426, ("upgrade", "websocket")),
        ("Sec-WebSocket-Version", 426, ("sec-websocket-version", "13")),
        ("Sec-WebSocket-Key", 400, None),
    ],
)
def test_request_that_is_no_handshake_is_refused(server, drop, status, field):
    """RFC 6455 section 4.2.1, RFC 9110 section 15.5.22"""
    answer = server.get("/quick", [header for header in HANDSHAKE if header[0] != drop])
    assert answer.status == status
    assert field is None or answer[field[0]] == field[1]


@pytest.mark.parametrize(
    "path, origin, status",
    [
        ("/quick", "http://127.0.0.1", 101),
        ("/quick", "http://evil.example", 403),
        ("/quick", "null", 403),
        ("/chat", "https://good.example", 101),
        ("/chat", "https://GOOD.example", 101),
        ("/chat", "http://127.0.0.1", 403),
    ],
)
def test_pages_of_other_origins_may_not_connect(server, path, origin, status):
    """RFC 6455 section 10.2"""
    with Socket(server, path, (("Origin", origin),)) as ws:
        assert ws.response.status == status


def test_request_is_logged_when_it_is_answered(server):
    with connect(server, "/asked") as ws:
        ws.recv(PATIENCE)
        server.wait_log(r'"status":101,"method":"GET","path":"/asked"')


def test_wrong_use_is_told(serve):
    server = serve(
        """
        local app = require("heart.v1")
        local json = require("heart.v1.json")
        local function try(...) return select(2, pcall(app.ws, ...)) end
        local told = { try("/a"), try("/a", {}), try("/a", { opn = print }), try("/a", { orgins = {} }, print),
          try("/a", { max_message = "x" }, print), try("/a", { message = 1 }) }
        app.get("/", function(ctx) return ctx.json(told) end)
        """
    )
    told = json.loads(server.get("/").body)
    expected = ["expected a function", "`message` is missing", "unknown function opn", "unknown option orgins"]
    expected += ["max_message: expected a number", "message: expected a function"]
    assert all(part in text for part, text in zip(expected, told, strict=True)), told


def test_methods_check_their_arguments(serve):
    server = serve(
        """
        local app = require("heart.v1")
        app.ws("/", function(ws)
          for _, call in ipairs({
            function() ws:send("\\255") end, function() ws:send("x", "txt") end, function() ws:close(1005) end,
            function() ws:close(1000, ("x"):rep(124)) end, function() ws:ping(("x"):rep(126)) end,
            function() ws.name = 1 end, function() ws:receive(-1) end,
          }) do
            ws:send(select(2, pcall(call)))
          end
        end)
        """
    )
    with connect(server, "/") as ws:
        told = [ws.recv(PATIENCE) for _ in range(7)]
    expected = ["UTF-8", "text", "1000 to 1014", "123 bytes", "125 bytes", "ws.data", "seconds"]
    assert all(part in text for part, text in zip(expected, told, strict=True)), told


def test_silent_peer_is_pinged_and_then_given_up(serve):
    server = serve(APP, "--ws-ping-interval", "0.1", "--ws-timeout", "0.1")
    with Socket(server, "/chat") as ws:
        assert ws.receive()[0] == TEXT
        opcode, payload, _ = ws.receive()
        assert opcode == PING
        ws.send(frame(10, payload))
        assert ws.receive()[0] == PING
        assert ws.client.closed()
    server.wait_log(r"closed\s+1006")


def test_peer_that_answers_while_a_handler_works_is_not_given_up(serve):
    """Its pong waits behind a message that the handler has not asked for."""
    app = """
    local app = require("heart.v1")
    app.ws("/", function(ws)
      ws:receive()
      app.sleep(0.8)
      ws:send("done, after " .. ws:receive())
      ws:receive()
    end)
    """
    server = serve(app, "--ws-ping-interval", "0.2", "--ws-timeout", "0.2")
    with connect(server, "/", ping_interval=None) as ws:
        ws.send("work")
        ws.send("more")
        assert ws.recv(PATIENCE) == "done, after more"


def test_both_sides_can_send_at_the_same_time(serve):
    """A client that takes nothing while it sends must not wait for ever for a server that does the same."""
    app = """
    local app = require("heart.v1")
    local task = require("heart.v1.task")
    app.ws("/", { deflate = false }, function(ws)
      local sender = task.spawn(function()
        for _ = 1, 20 do ws:send(("x"):rep(300000)) end
      end)
      for _ = 1, 20 do assert(ws:receive()) end
      sender:join()
      ws:send("end")
    end)
    """
    server = serve(app, "--write-timeout", "5")
    with Socket(server, "/", receive_buffer=4096) as ws:
        part = frame(TEXT, b"y" * 300000)
        for _ in range(20):
            ws.send(part)
        for _ in range(20):
            assert len(ws.message()) == 300000
        assert ws.message() == "end"


def test_pings_of_a_peer_that_reads_nothing_are_answered_up_to_a_limit(serve):
    app = """
    local app = require("heart.v1")
    app.ws("/", function(ws)
      ws:send(("x"):rep(8000000), "binary")
      ws:receive()
    end)
    """
    server = serve(app)
    with Socket(server, "/", receive_buffer=4096) as ws:
        before = server.rss()
        ws.client.sock.settimeout(0.3)
        pings = frame(PING, b"p" * 125) * 1000
        with pytest.raises(TimeoutError):  # they stay with it
            for _ in range(200):
                ws.send(pings)
        assert server.rss() < before + (12 << 20)
        ws.client.sock.settimeout(PATIENCE)
        assert len(ws.message()) == 8000000
        assert ws.receive()[:2] == (PONG, b"p" * 125)


def test_stopping_closes_with_1001(serve):
    server = serve(APP)
    with Socket(server, "/chat") as one, Socket(server, "/asked") as two:
        one.receive(), two.receive()
        server.signal(signal.SIGTERM)
        assert one.closed()[0] == 1001
        assert two.closed()[0] == 1001
    assert server.wait() == 0


def test_peer_that_does_not_answer_the_close_is_left(serve):
    server = serve(APP, "--ws-close-timeout", "0.2")
    with Socket(server, "/quick") as ws:
        ws.receive()
        assert ws.closing()[0] == 1000
        assert ws.client.closed()


def test_reload_keeps_sockets_until_the_grace_is_over(serve):
    server = serve(APP, "--reload-grace", "0.5")
    with Socket(server, "/chat") as ws:
        ws.receive()
        server.write("main.lua", 'require("heart.v1").get("/ctx", function() return "new" end)')
        server.signal(signal.SIGHUP)
        server.wait_log("reloaded|loaded")
        assert ws.text("still ").message() == "1still "
        assert ws.closing()[0] == 1012
        ws.send(close_frame(1012))
    assert server.get("/ctx").text == "new"


def test_thousand_sockets_leave_nothing_behind(serve):
    server = serve(APP)
    before = server.fds()
    for _ in range(3):
        sockets = [Socket(server, "/chat") for _ in range(300)]
        threads = [threading.Thread(target=ws.text, args=("m",)) for ws in sockets[:10]]
        [t.start() for t in threads], [t.join() for t in threads]
        for ws in sockets:
            ws.client.close()
    wait_until(lambda: server.fds() <= before, lambda: f"{server.fds()} descriptors, {before} before")
