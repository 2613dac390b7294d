"""A WebSocket client frame by frame, for what well-behaved clients never do. Its answers are parsed by hand."""

import base64
import os
import struct
import zlib

KEY = base64.b64encode(b"0123456789abcdef").decode()
HANDSHAKE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
    """The bytes of one frame. `length` is announced in place of the payload's own."""
    n = len(payload) if length is None else length
    size = struct.pack("!B", n) if n < 126 else struct.pack("!BH", 126, n) if n < 65536 else struct.pack("!BQ", 127, n)
    head = bytes([fin << 7 | rsv << 4 | opcode, size[0] | masked << 7]) + size[1:]
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def close_frame(code, reason=b""):
    """A close frame of the client."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


def deflated(data):
    """A compressed payload without its tail (RFC 7692 section 7.2.1)."""
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data):
    """What such a payload stands for."""
    return zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")


class Socket:
    """A connection on which the upgrade has been asked for; `response` is the answer's head."""

    def __init__(self, server, path, headers=(), **more):
        self.client = server.connect(**more)
        self.client.request("GET", path, (*HANDSHAKE, *headers), host="127.0.0.1")
        self.response = self.client.head()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def send(self, *frames):
        """Send frames, or any bytes."""
        self.client.send(b"".join(frames))
        return self

    def text(self, data):
        """Send a text of one frame."""
        return self.send(frame(TEXT, data.encode()))

    def receive(self):
        """The next frame: (opcode, payload, first byte). The server's are never masked or fragmented."""
        first, second = self.client.exactly(2)
        assert first & 0x80, "fragmented"
        assert second < 128, "masked"
        n = second
        if n == 126:
            n = struct.unpack("!H", self.client.exactly(2))[0]
        elif n == 127:
            n = struct.unpack("!Q", self.client.exactly(8))[0]
        return first & 15, self.client.exactly(n), first

    def message(self):
        """The next message, expanded if it is compressed, as text or bytes."""
        opcode, payload, first = self.receive()
        if first & 0x40:
            payload = inflated(payload)
        assert opcode in (TEXT, BINARY), (opcode, payload)
        return payload.decode() if opcode == TEXT else payload

    def closing(self):
        """(code, reason) of the close frame that comes next; its end of the stream must follow."""
        opcode, payload, _ = self.receive()
        assert opcode == CLOSE, (opcode, payload)
        return struct.unpack("!H", payload[:2])[0], payload[2:].decode()

    def closed(self):
        """As closing, with the answer to it, and the end of the stream."""
        code, reason = self.closing()
        self.send(close_frame(code))
        assert self.client.closed()
        return code, reason
