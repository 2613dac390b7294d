"""print: a line is one piece, whoever else writes at that time."""

import threading

from heart_server import Client

APP = """
local app = require("heart.v1")
local odd = setmetatable({}, { __tostring = function() return "odd" end })
app.get("/", function() print("a", 1, true, nil, odd, "") return "ok" end)
app.get("/nothing", function() print() print(nil) return "ok" end)
app.get("/long", function() print(("x"):rep(100000)) return "ok" end)
app.get("/bad", function() print(setmetatable({}, { __tostring = function() return {} end })) end)
"""
CLIENTS, ROUNDS, PIPELINED = 4, 20, 50


def printed(server):
    """The lines that are no log."""
    lines = server.logs().split("\n")
    return [line for line in lines if not line.startswith(('{"time":', "listening on "))]


def test_lines_of_workers_and_of_the_log_are_whole(serve):
    server = serve(APP, workers=2)

    def drive():
        with Client(server.address()) as client:
            for _ in range(ROUNDS):
                client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * PIPELINED)
                for _ in range(PIPELINED):
                    assert client.response().text == "ok"

    threads = [threading.Thread(target=drive) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    lines = printed(server)
    assert set(lines) == {"a\t1\ttrue\tnil\todd\t"}
    assert len(lines) == CLIENTS * ROUNDS * PIPELINED


def test_what_is_printed_is_that_of_lua(serve):
    """A line that is too long for a pipe to take in one piece is whole when nobody else writes."""
    server = serve(APP, "--no-access-log")
    assert server.get("/nothing").status == 200
    assert server.get("/long").status == 200
    assert server.get("/bad").status == 500
    server.stop()
    assert printed(server)[:3] == ["", "nil", "x" * 100000]
    assert "main.lua:7: 'tostring' must return a string to 'print'" in server.logs()
