"""Clients that leave: a half-close still gets its answer, a reset ends the request."""

import time

import pytest
from heart_server import SANITIZED, Server, wait_until

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/sleep/:s", function(ctx) app.sleep(tonumber(ctx.pathParam("s"))) return "awake" end)
app.post("/", function(ctx) return #ctx.bytes() end)
app.post("/read", { body = "stream" }, function(ctx)
  local n = 0
  for chunk in ctx.reader() do n = n + #chunk end
  return n
end)
app.get("/big", function(ctx) return string.rep("x", 8 * 1024 * 1024) end)
app.get("/stream", function(ctx)
  return ctx.stream(function(write)
    for i = 1, 100 do write(string.rep("x", 65536)) end
  end)
end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_half_close_after_a_request_is_answered(server):
    answer = server.exchange(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hello")


def test_half_close_during_a_suspended_handler_is_answered(server):
    with server.connect() as client:
        client.request(target="/sleep/0.3").half_close()
        assert client.response().text == "awake"
        assert client.closed()


def test_half_close_during_a_big_answer_is_answered(server):
    with server.connect() as client:
        client.request(target="/big").half_close()
        assert len(client.response().body) == 8 << 20
        assert client.closed()


def test_half_close_after_a_pipeline_answers_all(server):
    answer = server.exchange(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" * 10)
    assert answer.count(b"HTTP/1.1 200") == 10


def test_half_close_inside_a_head_ends_the_connection(server):
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHos").half_close()
        rest = client.until_close()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("request_line", ["GET /sleep/5", "GET /big", "GET /stream", "POST /", "POST /read"])
def test_reset_frees_the_connection(server, request_line):
    """At every stage: suspended, sending, streaming, receiving."""
    method, target = request_line.split()
    wait_until(lambda: server.fds() < 100, "connections of earlier tests are gone")
    before = server.fds()
    for _ in range(20):
        client = server.connect(receive_buffer=4096)
        client.request(method, target, [("Content-Length", "1000")] if method == "POST" else [])
        time.sleep(0.005)
        client.reset()
    wait_until(lambda: server.fds() <= before, "descriptors are closed", 3)
    assert server.get().text == "hello"


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_thousand_clients_that_leave_at_once_cost_nothing_lasting(server):
    def wave():
        for _ in range(500):
            client = server.connect()
            client.request(target="/sleep/0.5")
            client.reset()
        time.sleep(0.7)

    wave()
    before, fds = server.rss(), server.fds()
    wave()
    assert server.rss() - before < 4 << 20
    wait_until(lambda: server.fds() <= fds, lambda: f"{server.fds()} descriptors, {fds} before")
    assert server.get().text == "hello"


def test_close_without_a_request_is_fine(server):
    for _ in range(50):
        server.connect().close()
    assert server.get().text == "hello"
