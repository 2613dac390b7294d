"""Request bodies: Content-Length, chunked, trailers, Expect (RFC 9112 sections 6 and 7, RFC 9110 section 10.1.1)."""

import time

import pytest
from heart_server import Server, need, run

APP = """
local app = require("heart.v1")
app.post("/echo", function(ctx) return ctx.bytes() end)
app.put("/length", function(ctx) return #ctx.bytes() end)
app.post("/seen", function(ctx) return tostring(ctx.header("X-Trailer")) .. ctx.bytes() end)
"""
HEAD = b"POST /echo HTTP/1.1\r\nHost: t\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 4095, 4096, 16383, 16384, 65535, 65536, 65537, 1 << 20, 4 << 20])
def test_body_of_every_size_arrives_whole(server, size):
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    with server.connect() as client:
        assert client.fetch("POST", "/echo", body=body).body == body
        assert client.fetch("POST", "/echo", body=b"next").body == b"next"


@pytest.mark.parametrize("size", [1, 5, 4096, 65536, 1 << 20])
def test_chunked_body_arrives_whole(server, size):
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    for step in {1 if size < 100 else 1000, 70000}:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for at in range(0, size, step) if (p := body[at : at + step]))
        with server.connect() as client:
            assert client.send(CHUNKED + chunks + b"0\r\n\r\n").response().body == body
            assert client.fetch("POST", "/echo", body=b"next").body == b"next"


def test_chunk_sizes_in_either_case_and_with_zeros(server):
    """RFC 9112 section 7.1: 1*HEXDIG."""
    with server.connect() as client:
        body = b"a" * 10 + b"b" * 11
        client.send(CHUNKED + b"A\r\n" + b"a" * 10 + b"\r\n000b\r\n" + b"b" * 11 + b"\r\n00\r\n\r\n")
        assert client.response().body == body


def test_chunk_extensions_are_dropped(server):
    """RFC 9112 section 7.1.1."""
    with server.connect() as client:
        client.send(CHUNKED + b'3;name=value;q="a b"\r\nabc\r\n0;last\r\n\r\n')
        assert client.response().body == b"abc"
        assert client.fetch("POST", "/echo", body=b"next").body == b"next"


def test_trailers_are_dropped(server):
    """RFC 9112 section 7.1.2: a trailer never becomes a header."""
    with server.connect() as client:
        client.send(
            b"POST /seen HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Trailer: yes\r\nHost: other\r\n\r\n"
        )
        assert client.response().body == b"nilabc"
        assert client.fetch("POST", "/echo", body=b"next").body == b"next"


def test_message_split_at_every_byte_gives_the_same_answer(server):
    whole = CHUNKED.replace(b"Host: t", b"Host: t\r\nX: y") + b"4;e=f\r\nwiki\r\n5\r\npedia\r\n0\r\nT: v\r\n\r\n"
    for at in range(1, len(whole)):
        with server.connect() as client:
            client.send(whole[:at])
            time.sleep(0.001)
            assert client.send(whole[at:]).response().body == b"wikipedia", at


def test_message_byte_by_byte_gives_the_same_answer(server):
    with server.connect() as client:
        for message in (CHUNKED + b"4\r\nwiki\r\n0\r\n\r\n", HEAD + b"Content-Length: 4\r\n\r\nwiki"):
            for byte in message:
                client.send(bytes([byte]))
            assert client.response().body == b"wiki"


@pytest.mark.parametrize(
    "tail",
    [
        b"g\r\n",
        b" 3\r\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"-3\r\nabc\r\n",
        b"\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"3\r\nabcX\r\n",
        b"11111111111111111\r\n",
        b"ffffffffffffffff\r\n",
        b"3;a\nb\r\nabc\r\n",
        b"3;a\rb\r\nabc\r\n",
        b"0\r\nBad Trailer: x\r\n\r\n",
        b"0\r\nT: a\r\n folded\r\n\r\n",
        b"0\r\nT: a\n\r\n",
    ],
)
def test_malformed_chunk_is_refused_and_closes(server, tail):
    """RFC 9112 section 7.1, and nothing that follows is read as a request."""
    with server.connect() as client:
        response = client.send(CHUNKED + tail).response()
        assert response.status in (400, 413)
        assert response["connection"] == "close"
        assert client.closed()


def test_expect_continue_is_answered_before_the_body(server):
    """RFC 9110 section 10.1.1."""
    with server.connect() as client:
        client.request("POST", "/echo", [("Expect", "100-continue"), ("Content-Length", "4")])
        assert client.response().status == 100
        assert client.send(b"body").response().body == b"body"


def test_expect_continue_is_skipped_when_the_body_is_there(server):
    """RFC 9110 section 10.1.1: may be omitted once content arrived; either way one final answer follows."""
    with server.connect() as client:
        client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
        response = client.response()
        if response.status == 100:
            response = client.response()
        assert response.body == b"body"
        assert client.fetch("POST", "/echo", body=b"next").body == b"next"


def test_expect_continue_is_refused_when_the_body_is_too_large(server):
    """The refusal comes instead of the 100, before any of the body."""
    with server.connect() as client:
        client.request("POST", "/echo", [("Expect", "100-continue"), ("Content-Length", "50000000")])
        assert client.response().status == 413
        assert client.closed()


def test_expect_continue_on_an_unknown_path_is_not_continued(server):
    """Routing happens when the head is complete: a 404 needs no body."""
    with server.connect() as client:
        client.request("POST", "/nowhere", [("Expect", "100-continue"), ("Content-Length", "4")])
        assert client.response().status == 404


def test_expect_of_1_0_is_ignored(server):
    """RFC 9110 section 10.1.1: a 100 is never sent to a 1.0 client."""
    with server.connect() as client:
        client.send(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.quiet(0.1)
        assert client.send(b"body").response().body == b"body"


def test_unknown_expectation_is_417(server):
    """RFC 9110 section 10.1.1."""
    assert server.get("/echo", [("Expect", "magic")]).status == 417


def test_body_shorter_than_announced_gets_no_success(server):
    """RFC 9112 section 8: an incomplete message is not acted on."""
    answer = server.exchange(HEAD + b"Content-Length: 10\r\n\r\nshort")
    assert b" 200 " not in answer
    answer = server.exchange(CHUNKED + b"5\r\nab")
    assert b" 200 " not in answer


def test_curl_uploads_whole(server, tmp_path):
    """curl asks with Expect for bodies over 1 MiB, and sends chunked when it reads a pipe."""
    curl = need("curl", "curl")
    data = bytes(range(256)) * 8192
    (tmp_path / "data").write_bytes(data)
    for more in (["-T", tmp_path / "data"], ["-T", tmp_path / "data", "-H", "Transfer-Encoding: chunked"]):
        assert run(curl, "-sS", *more, f"{server.url}/length").stdout == str(len(data))
    assert run(curl, "-sS", "-H", "Expect: 100-continue", "--data", "x=1", f"{server.url}/echo").stdout == "x=1"
