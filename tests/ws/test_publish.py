"""core.ws.publish: one frame for many sockets, compressed or not; slow ones are closed."""

import re

from websocket_client import TEXT, Socket, inflated

APP = """
local app = require("heart.v1")
local task = require("heart.v1.task")
local publish = require("heart.core").ws.publish
local all = {}
local function join(ws) all[#all + 1] = ws end
local function nothing() end
app.ws("/plain", { deflate = false }, { open = join, message = nothing })
local function left(_, code) print("left", code) end
app.ws("/packed", { deflate_min = 0 }, { open = join, message = nothing, close = left })
app.ws("/context", { deflate_min = 0, deflate = "context" }, { open = join, message = nothing })
app.post("/say", function(ctx) return publish(all, ctx.bytes()) end)
app.post("/bytes", function(ctx) return publish(all, ctx.bytes(), "binary") end)
app.post("/say-when-full", function(ctx)
    local data, kept, n, size = ctx.bytes(), {}, 0, nil
    local function fill()
        while true do
            n = n + 1
            kept = { kept, ("x"):rep(size) .. n }
        end
    end
    for _ = 1, 300 do task.spawn(app.sleep, 60) end  -- no coroutine is idle
    collectgarbage("stop")
    for power = 20, 0, -1 do
        size = 2 ^ power
        pcall(fill)
    end
    for _ = 1, 300 do publish(all, data) end
    kept = nil
    collectgarbage("restart")
    return "said"
end)
app.post("/wrong", function(ctx) return select(2, pcall(publish, { ctx }, "x")) end)
"""
DEFLATE = (("Sec-WebSocket-Extensions", "permessage-deflate; server_max_window_bits=12"),)
PLAIN_DEFLATE = (("Sec-WebSocket-Extensions", "permessage-deflate"),)


def test_all_get_the_message_each_in_its_own_way(serve):
    server = serve(APP)
    sockets = [
        Socket(server, "/plain"),
        Socket(server, "/packed"),
        Socket(server, "/packed", PLAIN_DEFLATE),
        Socket(server, "/packed", DEFLATE),
        Socket(server, "/context", PLAIN_DEFLATE),
    ]
    for text in ("hello " * 100, "x", "", "again " * 50):
        assert server.post("/say", text.encode()).text == "5"
        for ws in sockets:
            assert ws.message() == text
    assert server.post("/bytes", b"\xff" * 300).text == "5"
    assert [ws.message() for ws in sockets] == [b"\xff" * 300] * 5
    for ws in sockets:
        ws.client.close()


def test_repetitive_text_is_sent_compressed(serve):
    server = serve(APP)
    with Socket(server, "/packed", PLAIN_DEFLATE) as ws:
        server.post("/say", b"y" * 1000)
        opcode, payload, first = ws.receive()
        assert (opcode, first & 0x40) == (TEXT, 0x40) and inflated(payload) == b"y" * 1000 and len(payload) < 30


def test_closed_sockets_and_wrong_arguments_are_seen(serve):
    server = serve(APP)
    with Socket(server, "/packed") as ws:
        ws.client.reset()
    server.wait_log("left")
    assert server.post("/say", b"x").text == "0"
    assert server.post("/say", b"\xff").status == 500
    assert re.search("bad argument|expected", server.post("/wrong", b"").text)


def test_slow_socket_is_closed_and_others_are_not(serve):
    server = serve(APP, "--ws-max-unsent", "64K")
    with Socket(server, "/packed", receive_buffer=4096), Socket(server, "/plain") as quick:
        for _ in range(60):
            server.post("/say", b"z" * 100000)
            assert len(quick.message()) == 100000
        server.wait_log(r"left\s+1008")
        assert server.post("/say", b"end").text == "1"
        assert quick.message() == "end"


def test_slow_socket_is_closed_by_a_state_without_memory(serve):
    """Its close function gets a coroutine all the same."""
    server = serve(APP, "--ws-max-unsent", "64K", "--lua-memory", "8M")
    with Socket(server, "/packed", receive_buffer=4096):
        assert server.post("/say-when-full", b"z" * 100000).text == "said", server.tail()
        server.wait_log(r"left\s+1008")
