"""The protocol frame by frame: what clients must not send, sizes, splits, closing, compression (RFC 6455, RFC 7692)."""

import pytest
from websocket_client import BINARY, CLOSE, PING, PONG, TEXT, Socket, close_frame, deflated, frame

APP = """
local app = require("heart.v1")
app.ws("/echo", { max_message = 100000 }, {
  message = function(ws, data, kind) ws:send(data, kind) end,
  close = function(ws, code, reason) print(("closed %d [%s]"):format(code, reason)) end,
})
app.ws("/packed", { deflate_min = 0 }, { message = function(ws, data, kind) ws:send(data, kind) end })
app.ws("/asked", { max_message = 100000, deflate_min = 1 }, function(ws)
  local data, kind = ws:receive()
  while data do
    ws:send(data, kind)
    data, kind = ws:receive()
  end
end)
"""
DEFLATE = (("Sec-WebSocket-Extensions", "permessage-deflate"),)


@pytest.fixture(scope="module")
def server():
    from heart_server import Server

    with Server(APP) as running:
        yield running


@pytest.fixture(params=["/echo", "/asked"])
def ws(server, request):
    with Socket(server, request.param) as socket:
        assert socket.response.status == 101
        yield socket


def test_handshake_is_answered_by_the_rfc(server):
    """RFC 6455 section 4.2.2"""
    with Socket(server, "/echo") as ws:
        assert ws.response["upgrade"] == "websocket" and ws.response["connection"] == "Upgrade"
        assert ws.response["sec-websocket-accept"] == "BACScCJPNqyz+UBoqMH89VmURoA="
        assert ws.response["sec-websocket-extensions"] is None and ws.response["content-length"] is None


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 4096, 65535, 65536, 100000])
def test_message_of_any_size_comes_back(ws, size):
    data = bytes(i % 251 for i in range(size))
    assert ws.send(frame(BINARY, data)).message() == data


def test_frame_that_arrives_byte_by_byte_is_read(ws):
    for byte in frame(TEXT, "grüße".encode()):
        ws.send(bytes([byte]))
    assert ws.message() == "grüße"


def test_fragments_with_control_frames_between_them_are_one_message(ws):
    """RFC 6455 section 5.4"""
    ws.send(frame(TEXT, b"a", fin=False), frame(PING, b"?"), frame(0, b"", fin=False), frame(0, b"b"))
    assert ws.receive()[:2] == (PONG, b"?")
    assert ws.message() == "ab"


def test_many_messages_of_one_read_are_answered_in_order(ws):
    ws.send(*(frame(TEXT, str(i).encode()) for i in range(500)))
    assert [ws.message() for _ in range(500)] == [str(i) for i in range(500)]


def test_pong_without_ping_is_passed_over(ws):
    assert ws.send(frame(PONG, b"x")).text("go on").message() == "go on"


@pytest.mark.parametrize(
    "frames, code",
    [
        ([frame(TEXT, b"x", masked=False)], 1002),
        ([frame(TEXT, b"x", rsv=1)], 1002),
        ([frame(TEXT, b"x", rsv=4)], 1002),
        ([frame(3, b"x")], 1002),
        ([frame(11)], 1002),
        ([frame(PING, b"x", fin=False)], 1002),
        ([frame(PING, b"x" * 126)], 1002),
        ([frame(0, b"x")], 1002),
        ([frame(TEXT, b"x", fin=False), frame(TEXT, b"y")], 1002),
        ([frame(TEXT, b"\xff")], 1007),
        ([frame(TEXT, b"\xe2\x82")], 1007),
        ([frame(TEXT, b"\xe2", fin=False), frame(0, b"x")], 1007),
        ([frame(TEXT, b"\xf4\x90", fin=False)], 1007),
        ([frame(BINARY, b"x", length=100001)], 1009),
        ([frame(BINARY, b"x" * 60000, fin=False), frame(0, b"x", length=40001)], 1009),
        ([frame(BINARY, b"", length=1 << 62)], 1009),
        ([frame(CLOSE, b"\x03")], 1002),
        ([close_frame(1005)], 1002),
        ([close_frame(1000, b"\xff")], 1007),
    ],
)
def test_peer_that_breaks_the_rules_is_told_the_code(ws, frames, code):
    ws.send(*frames)
    assert ws.closing()[0] == code


def test_text_that_is_wrong_in_its_first_part_fails_before_its_end(ws):
    """The frame announces more than is sent."""
    ws.send(frame(TEXT, b"abc\xff", length=10))
    assert ws.closing()[0] == 1007


@pytest.mark.parametrize("code, answer", [(1000, 1000), (1001, 1001), (3000, 3000), (4999, 4999)])
def test_close_is_answered_with_its_code(server, code, answer):
    """RFC 6455 section 5.5.1"""
    with Socket(server, "/echo") as ws:
        ws.send(close_frame(code, b"bye"))
        assert ws.closing() == (answer, "bye")
        assert ws.client.closed()
        server.wait_log(rf"closed {code} \[bye\]")


def test_close_without_a_code_is_answered(server):
    with Socket(server, "/echo") as ws:
        ws.send(frame(CLOSE))
        assert ws.closing()[0] == 1000
        server.wait_log(r"closed 1005 \[\]")


def test_data_behind_a_close_is_not_looked_at(ws):
    ws.send(close_frame(1000), frame(TEXT, b"late"))
    assert ws.closing()[0] == 1000
    assert ws.client.closed()


def test_lost_connection_is_told_as_1006(server):
    with Socket(server, "/echo") as ws:
        ws.client.reset()
    server.wait_log(r"closed 1006 \[\]")


def test_compressed_messages_go_both_ways(server):
    """RFC 7692 section 7.2"""
    with Socket(server, "/asked", DEFLATE) as ws:
        assert "permessage-deflate" in ws.response["sec-websocket-extensions"]
        for data in (b"", b"x", b"hello " * 1000, "grüße".encode() * 500):
            ws.send(frame(TEXT, deflated(data), rsv=4))
            assert ws.message() == data.decode()
        packed = deflated(b"in three parts " * 100)
        ws.send(frame(TEXT, packed[:5], rsv=4, fin=False), frame(0, packed[5:9], fin=False), frame(0, packed[9:]))
        assert ws.message() == "in three parts " * 100
        assert ws.text("not compressed").message() == "not compressed"


def test_answer_is_compressed_only_when_that_is_shorter(server):
    with Socket(server, "/asked", DEFLATE) as ws:
        assert not ws.text("x").receive()[2] & 0x40
        assert ws.text("x" * 200).receive()[2] & 0x40


def test_every_message_is_compressed_when_that_is_asked_for(server):
    with Socket(server, "/packed", DEFLATE) as ws:
        assert ws.text("x").receive()[2] & 0x40
        assert ws.text("x" * 200).receive()[2] & 0x40


@pytest.mark.parametrize(
    "payload, code",
    [(deflated(b"x" * 100001), 1009), (b"\xff\xff\xff", 1007), (deflated(b"\xff\xfe"), 1007)],
)
def test_compressed_message_that_is_broken_or_a_bomb_closes(server, payload, code):
    with Socket(server, "/asked", DEFLATE) as ws:
        ws.send(frame(TEXT, payload, rsv=4))
        assert ws.closing()[0] == code
