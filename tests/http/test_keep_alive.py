"""When a connection stays open after an answer (RFC 9112 section 9.3)."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/close", function(ctx) ctx.set("Connection", "close") return "bye" end)
app.post("/", function(ctx) return #ctx.bytes() end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_1_1_request_keeps_the_connection(server):
    """RFC 9112 section 9.3: persistent by default in HTTP/1.1."""
    with server.connect() as client:
        for _ in range(3):
            response = client.fetch()
            assert (response.status, response.body) == (200, b"hello")
            assert response["connection"] in (None, "keep-alive")


@pytest.mark.parametrize("value", ["close", "Close", "CLOSE", "keep-alive, close", "close, TE", "x , close"])
def test_1_1_close_option_closes(server, value):
    """RFC 9112 section 9.6; the option is a case-insensitive token of a list, and close wins."""
    with server.connect() as client:
        response = client.fetch(headers=[("Connection", value)])
        assert (response.status, response["connection"]) == (200, "close")
        assert client.closed()


def test_1_1_close_in_a_second_field_closes(server):
    """RFC 9110 section 5.3: repeated list fields count as one list."""
    with server.connect() as client:
        assert client.fetch(headers=[("Connection", "TE"), ("Connection", "close")])["connection"] == "close"
        assert client.closed()


def test_1_1_token_that_contains_close_keeps(server):
    with server.connect() as client:
        assert client.fetch(headers=[("Connection", "closed, xclose")]).status == 200
        assert client.fetch().status == 200


def test_1_0_request_closes(server):
    """RFC 9112 section 9.3: not persistent without keep-alive in HTTP/1.0."""
    with server.connect() as client:
        response = client.send(b"GET / HTTP/1.0\r\n\r\n").response()
        assert (response.status, response.body) == (200, b"hello")
        assert client.closed()


def test_1_0_keep_alive_request_keeps_and_says_so(server):
    """A 1.0 client needs the keep-alive option in the answer to know."""
    with server.connect() as client:
        for _ in range(2):
            response = client.send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").response()
            assert (response.status, response["connection"].lower()) == (200, "keep-alive")
        client.send(b"GET / HTTP/1.0\r\n\r\n").response()
        assert client.closed()


def test_1_0_never_gets_a_chunked_answer(serve):
    """RFC 9112 section 6.1: no Transfer-Encoding to a client older than 1.1; the end is the close."""
    server = serve("""
        local app = require("heart.v1")
        app.get("/", function(ctx) return ctx.stream(function(write) write("a") write("b") end) end)
    """)
    with server.connect() as client:
        response = client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").response()
        assert response["transfer-encoding"] is None
        assert (response["connection"], response.body) == ("close", b"ab")


def test_handler_may_close(server):
    with server.connect() as client:
        response = client.fetch(target="/close")
        assert (response["connection"], response.body) == ("close", b"bye")
        assert client.closed()


def test_body_that_the_handler_ignores_keeps_the_connection(server):
    """An unread body must not become the next request (RFC 9112 section 9.3)."""
    smuggled = b"GET /close HTTP/1.1\r\nHost: x\r\n\r\n"
    with server.connect() as client:
        assert client.fetch("GET", "/", body=smuggled).body == b"hello"
        assert client.fetch("GET", "/").body == b"hello"
        assert client.fetch("POST", "/nowhere", body=smuggled).status in (404, 405)
        assert client.fetch("GET", "/").body == b"hello"


def test_empty_lines_before_a_request_are_ignored(server):
    """RFC 9112 section 2.2."""
    with server.connect() as client:
        client.fetch("POST", "/", body=b"x")
        client.send(b"\r\n")
        assert client.fetch().status == 200


def test_requests_per_connection_are_limited_by_the_flag(serve):
    server = serve(APP, "--max-requests-per-connection", 3)
    with server.connect() as client:
        assert [client.fetch()["connection"] for _ in range(3)] == [None, None, "close"]
        assert client.closed()


def test_idle_connection_closes_after_its_time(serve):
    server = serve(APP, "--idle-timeout", 0.4)
    with server.connect() as client:
        client.fetch()
        assert client.quiet(0.2)
        assert client.closed()
    with server.connect() as silent:
        assert silent.quiet(0.2)
