"""Log lines: one JSON object per request, messages from Lua, and a stuck reader that holds up nobody."""

import json
import os
import re
import time
from datetime import UTC, datetime

import pytest
from heart_server import Server, wait_until

APP = """
local app = require("heart.v1")
local log = require("heart.v1.log")
app.get("/", function(ctx) return "hello" end)
app.get("/bytes/:n", function(ctx) return string.rep("x", tonumber(ctx.pathParam("n"))) end)
app.get("/sleep", function(ctx) app.sleep(0.1) return "x" end)
app.get("/log", function(ctx)
  log.debug("a debug message")
  log.info("an info message", { user = "ada", n = 7, ok = true })
  log.warn("a warning")
  log.error("an error\\nwith a second line and \\27[31mcolour")
  return "logged"
end)
app.get("/print", function(ctx) print("printed", 42) return "x" end)
"""


def entries(server, n):
    return wait_until(lambda: len(server.access()) >= n and server.access(), lambda: f"{n} lines:\n{server.tail()}")


def test_request_line_has_all_fields(serve):
    server = serve(APP)
    begin = datetime.now(UTC)
    server.get("/bytes/17?secret=1")
    (entry,) = entries(server, 1)
    assert (entry["status"], entry["method"], entry["path"], entry["bytes"]) == (200, "GET", "/bytes/17", 17)
    assert entry["remote"] == "127.0.0.1"
    assert entry["level"] == "info"
    assert 0 <= entry["response_time"] < 1000
    assert abs((datetime.fromisoformat(entry["time"]) - begin).total_seconds()) < 5


def test_response_time_covers_a_suspended_handler(serve):
    server = serve(APP)
    server.get("/sleep")
    (entry,) = entries(server, 1)
    assert 90 <= entry["response_time"] < 1000


def test_every_outcome_is_logged_once(serve):
    server = serve(APP)
    server.get("/missing")
    server.fetch("PUT", "/")
    server.fetch("HEAD", "/")
    server.exchange(b"BAD\r\n\r\n")
    found = entries(server, 4)
    time.sleep(0.1)
    assert [entry["status"] for entry in server.access()] == [404, 405, 200, 400]
    assert found[2]["method"] == "HEAD"


def test_pipelined_requests_are_all_logged(serve):
    server = serve(APP)
    with server.connect() as client:
        client.send(b"".join(b"GET /bytes/%d HTTP/1.1\r\nHost: t\r\n\r\n" % i for i in range(500)))
        for _ in range(500):
            client.response()
    assert [entry["bytes"] for entry in entries(server, 500)] == list(range(500))


def test_hostile_bytes_cannot_forge_a_line(serve):
    server = serve(APP)
    server.get('/a"}%0d%0a{"status":200')
    server.get("/\\x1b[31m".replace("\\x1b", "%1b"))
    for entry in entries(server, 2):
        assert entry["status"] == 404
    assert all(json.loads(line) for line in server.lines["stdout"])


def test_request_lines_can_be_turned_off(serve):
    for more, env in ((["--no-access-log"], {}), ([], {"ACCESS_LOG": "false"})):
        server = serve(APP, *more, env=env)
        server.get("/log")
        server.wait_log("an info message")
        time.sleep(0.1)
        assert server.access() == []


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", {"debug", "info", "warn", "error"}),
        ("info", {"info", "warn", "error"}),
        ("warn", {"warn", "error"}),
        ("error", {"error"}),
        ("off", set()),
    ],
)
def test_level_selects_messages(serve, level, expected):
    server = serve(APP, "--log-level", level, "--no-access-log")
    server.get("/log")

    def levels():
        messages = [json.loads(line) for line in list(server.lines["stdout"])]
        return {m["level"] for m in messages if re.search("a debug|an info|a warning|an error", json.dumps(m))}

    wait_until(lambda: expected <= levels(), server.tail)
    time.sleep(0.15)
    assert levels() == expected


def test_message_fields_are_in_the_line(serve):
    server = serve(APP)
    server.get("/log")
    server.wait_log("an info message")
    entry = next(json.loads(line) for line in server.lines["stdout"] if "an info message" in line)
    assert (entry["user"], entry["n"], entry["ok"]) == ("ada", 7, True)


def test_print_is_seen(serve):
    server = serve(APP)
    server.get("/print")
    server.wait_log(r"printed\s+42|printed\\t42")


def test_console_is_for_people_in_development(serve):
    server = serve(APP, dev=True)
    server.get("/bytes/3")
    line = server.wait_log(r".*GET.*/bytes/3.*")[0]
    assert not line.startswith("{")
    assert "200" in line
    server.get("/log")
    server.wait_log("an error")
    assert "\x1b[31mcolour" not in server.logs()


def test_stuck_reader_holds_up_no_request_and_no_signal():
    """stdout is a full pipe that nobody reads: requests are served, SIGTERM ends the process."""
    reader, writer = os.pipe()
    try:
        with Server(APP, stdout=writer) as server, server.connect() as client:
            for _ in range(3000):
                assert client.fetch(target="/log").text == "logged"
            begin = time.monotonic()
            server.stop()
            assert time.monotonic() - begin < 5
    finally:
        os.close(reader)
        os.close(writer)
