"""Size limits: the right refusal, decided early, and a client that gets to read it."""

import socket
import time

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/*", function(ctx) return "path" end)
app.post("/", function(ctx) return #ctx.bytes() end)
app.post("/stream", { body = "stream" }, function(ctx)
  local n = 0
  for chunk in ctx.reader() do n = n + #chunk end
  return n
end)
"""
SMALL = ["--max-header-size", "2K", "--max-target-size", "512", "--max-headers", "10", "--max-body-size", "64K"]


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.fixture(scope="module")
def small():
    with Server(APP, *SMALL) as server:
        yield server


def fields(n):
    return [(f"X-{i}", "v") for i in range(n)]


def test_header_block_at_its_limit_passes_and_above_is_431(server, small):
    """RFC 6585 section 5. The defaults are 16 KiB and 100 fields."""
    assert server.get("/", [("X", "a" * 15000)]).status == 200
    assert server.get("/", [("X", "a" * 17000)]).status == 431
    assert small.get("/", [("X", "a" * 1500)]).status == 200
    assert small.get("/", [("X", "a" * 2100)]).status == 431


def test_header_count_above_its_limit_is_431(server, small):
    assert server.get("/", fields(98)).status == 200
    assert server.get("/", fields(100)).status == 431
    assert small.get("/", fields(9)).status == 200
    assert small.get("/", fields(10)).status == 431


def test_target_above_its_limit_is_414(server, small):
    """RFC 9110 section 15.5.15."""
    assert server.get("/" + "a" * 8000).status == 200
    assert server.get("/" + "a" * 8192).status == 414
    assert small.get("/" + "a" * 500).status == 200
    assert small.get("/" + "a" * 512).status == 414


def test_limits_are_decided_before_the_end_arrives(server):
    """A sender that never ends a line is refused when the limit is passed, not when it stops."""
    for start, status in ((b"GET /", 414), (b"GET / HTTP/1.1\r\nHost: t\r\nX: ", 431), (b"G", 400)):
        with server.connect() as client:
            client.send(start + b"a" * 40000)
            assert client.response().status in {status, 431}
            assert client.closed()


def test_body_at_its_limit_passes_and_above_is_413(server, small):
    assert server.post("/", b"x" * (4 << 20)).text == str(4 << 20)
    assert server.post("/", b"x" * ((4 << 20) + 1)).status == 413
    assert small.post("/", b"x" * 65536).text == "65536"
    assert small.post("/", b"x" * 65537).status == 413


def test_content_length_above_the_limit_is_refused_before_reading(small):
    """RFC 9110 section 15.5.14: decided from the head alone."""
    with small.connect() as client:
        client.request("POST", "/", [("Content-Length", "65537")])
        response = client.response()
        assert (response.status, response["connection"]) == (413, "close")
        assert client.closed()


def test_chunked_body_above_the_limit_is_413(small):
    with small.connect() as client:
        client.request("POST", "/", [("Transfer-Encoding", "chunked")])
        client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        client.send(b"1\r\nx\r\n0\r\n\r\n")
        assert client.response().status == 413
        assert client.closed()


def test_streamed_body_has_no_limit_of_its_own(small):
    """Nothing collects it: the handler decides how much it reads."""
    assert small.post("/stream", b"x" * (1 << 20)).text == str(1 << 20)


@pytest.mark.parametrize("options", ["max_body = 10", 'max_body = 10, body = "stream"'])
def test_route_may_have_a_limit_of_its_own(serve, options):
    """Lower or higher than the server's, for both kinds of body."""
    server = serve(f"""
        local app = require("heart.v1")
        local function length(ctx)
          local n = 0
          for chunk in ctx.reader() do n = n + #chunk end
          return n
        end
        app.post("/low", {{ {options} }}, length)
        app.post("/high", {{ {options.replace("10", "8388608")} }}, length)
    """)
    assert server.post("/low", b"x" * 10).text == "10"
    assert server.post("/low", b"x" * 11).status == 413
    assert server.post("/high", b"x" * 8388608).text == "8388608"
    assert server.post("/high", b"x" * 8388609).status == 413


def test_client_sees_the_refusal_while_it_still_sends(small):
    """RFC 9112 section 9.6: a lingering close; a plain close would reset the connection and lose the 413."""
    for _ in range(5):
        with small.connect() as client:
            client.request("POST", "/", [("Content-Length", str(10 << 20))])
            try:
                for _ in range(160):
                    client.send(b"x" * 65536)
                    time.sleep(0.0005)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert client.response().status == 413


def test_lingering_ends_after_two_seconds(small):
    """A sender that never stops is cut off."""
    with small.connect() as client:
        client.request("POST", "/", [("Content-Length", str(1 << 40))])
        begin = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError, socket.timeout)):
            while time.monotonic() - begin < 6:
                client.send(b"x" * 1024)
                time.sleep(0.02)
        assert 1 < time.monotonic() - begin < 5


def test_refusals_leave_others_served(small):
    with small.connect() as healthy:
        for _ in range(50):
            assert small.get("/", fields(20)).status == 431
            assert healthy.fetch().status == 200
    assert small.fds() < 100
