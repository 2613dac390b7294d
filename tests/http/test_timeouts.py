"""Time limits: slow heads and bodies get 408, idle and stuck connections are closed."""

import time

import pytest
from heart_server import Server, wait_until

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.post("/", function(ctx) return #ctx.bytes() end)
app.get("/big", function(ctx) return string.rep("x", 16 * 1024 * 1024) end)
app.get("/sleep", function(ctx) app.sleep(1.2) return "awake" end)
"""


@pytest.fixture(scope="module")
def server():
    args = ["--header-timeout", 0.6, "--body-timeout", 0.6, "--idle-timeout", 0.6, "--write-timeout", 0.6]
    with Server(APP, *args) as server:
        yield server


def seconds(work):
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def test_slow_head_is_408(server):
    """RFC 9110 section 15.5.9."""
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\n")
        response = None

        def wait():
            nonlocal response
            response = client.response()

        assert 0.4 < seconds(wait) < 2
        assert (response.status, response["connection"]) == (408, "close")
        assert client.closed()


def test_dripping_head_is_408_all_the_same(server):
    """The head's time counts from its first byte: progress does not renew it."""
    with server.connect() as client:
        begin = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\nX: ")
        client.sock.settimeout(0.05)
        while time.monotonic() - begin < 3 and not client.rest:
            try:
                client.fill()
            except TimeoutError:
                client.send(b"a")
        assert client.response().status == 408
        assert time.monotonic() - begin < 2


def test_slow_body_is_408(server):
    with server.connect() as client:
        client.request("POST", "/", [("Content-Length", "10")]).send(b"abc")
        response = client.response()
        assert (response.status, response["connection"]) == (408, "close")
        assert client.closed()


def test_slow_chunked_body_is_408(server):
    with server.connect() as client:
        client.request("POST", "/", [("Transfer-Encoding", "chunked")]).send(b"5\r\nab")
        assert client.response().status == 408


def test_body_that_makes_progress_is_not_timed_out(server):
    """The body's time begins anew with every KiB."""
    with server.connect() as client:
        client.request("POST", "/", [("Content-Length", "20000")])
        for _ in range(10):
            time.sleep(0.15)
            client.send(b"x" * 2000)
        assert client.response().text == "20000"


def test_dripping_body_is_408_all_the_same(server):
    """A byte now and then is no progress: that is how slow-body attacks hold connections."""
    with server.connect() as client:
        begin = time.monotonic()
        client.request("POST", "/", [("Content-Length", "1000")])
        client.sock.settimeout(0.1)
        while time.monotonic() - begin < 3 and not client.rest:
            try:
                client.fill()
            except TimeoutError:
                client.send(b"x")
        assert client.response().status == 408
        assert time.monotonic() - begin < 2


def test_connection_without_a_request_closes_silently(server):
    with server.connect() as client:
        assert 0.3 < seconds(lambda: client.closed() or pytest.fail("bytes without a request")) < 2


def test_idle_connection_closes_silently(server):
    with server.connect() as client:
        client.fetch()
        assert 0.3 < seconds(lambda: client.closed() or pytest.fail("bytes without a request")) < 2


def test_use_renews_the_idle_time(server):
    with server.connect() as client:
        for _ in range(6):
            assert client.fetch().status == 200
            time.sleep(0.25)


def test_suspended_handler_is_not_idle(server):
    """A handler may take longer than every network timeout."""
    with server.connect() as client:
        assert client.fetch(target="/sleep").text == "awake"


def test_reader_that_stops_is_cut_off(server):
    """--write-timeout: a connection on which nothing can be sent is closed and its memory freed."""
    fds = server.fds()
    with server.connect(receive_buffer=4096) as client:
        client.request(target="/big")
        client.exactly(1000)
        wait_until(lambda: server.fds() <= fds, "the connection is closed", 5)
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.exactly(16 << 20)


def test_reader_that_is_slow_but_moves_is_served(server):
    with server.connect(receive_buffer=65536) as client:
        client.request(target="/big")
        head = client.head()
        left = int(head["content-length"])
        for _ in range(8):
            time.sleep(0.25)
            client.exactly(1 << 20)
            left -= 1 << 20
        assert len(client.exactly(left)) == left


def test_many_timeouts_are_precise_and_free_everything(server):
    """200 connections that stop in the middle of a head all end, each about when it should."""
    fds = server.fds()
    clients = []
    for _ in range(200):
        clients.append(server.connect())
        clients[-1].send(b"GET / HT")
    begin = time.monotonic()
    for client in clients:
        assert client.response().status == 408
        client.close()
    assert time.monotonic() - begin < 2.5
    wait_until(lambda: server.fds() <= fds, lambda: f"{server.fds()} descriptors, {fds} before")
