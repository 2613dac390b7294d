"""Many requests on a connection without waiting: answered in order, in batches (RFC 9112 section 9.3.2)."""

import socket
import time

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
app.get("/n/:n", function(ctx) return ctx.pathParam("n") end)
app.post("/length", function(ctx) return #ctx.bytes() end)
app.get("/sleep/:ms", function(ctx)
  app.sleep(tonumber(ctx.pathParam("ms")) / 1000)
  return "slept " .. ctx.pathParam("ms")
end)
app.get("/broken", function(ctx)
  local start = os.clock()
  repeat until os.clock() - start > 0.002 -- as long as a turn may take, and longer
  ctx.stream(function(write)
    write("part")
    error("the rest will not come")
  end)
end)
app.get("/big/:n", function(ctx) return ctx.pathParam("n") .. string.rep("x", 100000) end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def get(target, more=b""):
    return f"GET {target} HTTP/1.1\r\nHost: t\r\n".encode() + more + b"\r\n"


def test_answers_come_in_order(server):
    with server.connect() as client:
        client.send(b"".join(get(f"/n/{i}") for i in range(20)))
        assert [client.response().text for _ in range(20)] == [str(i) for i in range(20)]


def test_a_batch_is_answered_with_one_write(server):
    """The answers of one read leave in one segment: on the loopback one recv returns them all."""
    with server.connect() as client:
        client.fetch(target="/n/0")
        client.send(b"".join(get(f"/n/{i}") for i in range(16)))
        assert client.fill()
        received = client.rest
        assert received.count(b"HTTP/1.1 200") == 16
        assert [client.response().text for _ in range(16)] == [str(i) for i in range(16)]


def test_thousand_requests_in_one_write(server):
    with server.connect() as client:
        client.send(b"".join(get(f"/n/{i}") for i in range(1000)))
        assert [client.response().text for _ in range(1000)] == [str(i) for i in range(1000)]


def test_posts_and_gets_mix(server):
    """Bodies of both framings between requests without one."""
    messages, expected = [], []
    for i in range(100):
        body = b"b" * (i * 7 % 300)
        head = b"POST /length HTTP/1.1\r\nHost: t\r\n"
        chunks = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        messages += [
            head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            get(f"/n/{i}"),
            head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        ]
        expected += [str(len(body)), str(i), str(len(body))]
    with server.connect() as client:
        client.send(b"".join(messages))
        assert [client.response().text for _ in expected] == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_pipeline_split_at_any_size_gives_the_same_answers(server, size):
    stream = b"".join(get(f"/n/{i}") for i in range(5)) + (
        b"POST /length HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\nhello world" + get("/n/last")
    )
    with server.connect() as client:
        for at in range(0, len(stream), size):
            client.send(stream[at : at + size])
        assert [client.response().text for _ in range(7)] == ["0", "1", "2", "3", "4", "11", "last"]


def test_suspended_request_holds_back_those_behind_it(server):
    """RFC 9112 section 9.3.2: answers in the order of the requests, though the second is ready first."""
    with server.connect() as client:
        client.send(get("/sleep/200") + get("/n/1") + get("/sleep/50") + get("/n/2"))
        assert client.quiet(0.1)
        assert [client.response().text for _ in range(4)] == ["slept 200", "1", "slept 50", "2"]


def test_close_in_the_middle_drops_what_follows(server):
    """RFC 9112 section 9.6: nothing after the request that asked to close is answered."""
    with server.connect() as client:
        client.send(get("/n/1") + get("/n/2", b"Connection: close\r\n") + get("/n/3"))
        assert [client.response().text for _ in range(2)] == ["1", "2"]
        assert client.closed()


def test_bad_request_in_the_middle_is_the_last_answered(server):
    with server.connect() as client:
        client.send(get("/n/1") + b"GET /n/2 HTTP/1.1\r\nHost: t\r\nBad Name: x\r\n\r\n" + get("/n/3"))
        assert client.response().text == "1"
        assert client.response().status == 400
        assert client.closed()


def test_big_answers_in_a_pipeline_are_complete(server):
    with server.connect(receive_buffer=4096) as client:
        client.send(b"".join(get(f"/big/{i}") for i in range(50)))
        time.sleep(0.2)
        for i in range(50):
            assert client.response().body == str(i).encode() + b"x" * 100000


def test_unread_pipeline_is_bounded(server):
    """A client that sends without reading is stopped by TCP, not buffered in the server."""
    before = server.rss()
    request = get("/big/1") * 100
    with server.connect(receive_buffer=4096) as client:
        client.sock.settimeout(0.5)
        sent = 0
        with pytest.raises(socket.timeout):
            while sent < 64 << 20:
                sent += client.sock.send(request)
        assert server.rss() - before < 16 << 20
        assert server.get("/n/7").text == "7"


def test_pipeline_behind_a_suspended_request_is_bounded(server):
    """While a request sleeps its connection is not read further."""
    before = server.rss()
    with server.connect() as client:
        client.send(get("/sleep/1500"))
        client.sock.settimeout(0.4)
        sent = 0
        with pytest.raises(socket.timeout):
            while sent < 64 << 20:
                sent += client.sock.send(get("/n/1") * 100)
        assert server.rss() - before < 8 << 20


def test_reset_in_the_middle_of_a_long_turn_harms_no_other_connection(server):
    """The fourth request of a read: after so many of them a turn that has lasted long is interrupted."""
    for _ in range(3):
        with server.connect() as client:
            client.send(b"".join(get(f"/n/{i}") for i in range(3)) + get("/broken") + get("/n/4"))
            with pytest.raises((ConnectionResetError, AssertionError)):
                for _ in range(5):
                    client.response()
        with server.connect() as client:
            assert client.fetch(target="/n/7").text == "7"
