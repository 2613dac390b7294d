"""WebSocket servers for tests of the client: PyPI's websockets on a thread, node's ws, and one of raw frames.

Websockets  `handler(connection)` for each client, as a context manager; with a context over TLS
NodeWs      an echo by the npm package ws
answer()    the server's half of the opening handshake on an http_peer.Connection; then frames by hand
"""

import base64
import hashlib
import struct
import subprocess
import threading
from pathlib import Path

from heart_server import PATIENCE, need
from node import modules
from websocket_client import frame
from websockets.sync.server import serve

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TOOLS = Path(__file__).parent / "tools"


def echo(connection):
    """Send back what comes, until the end."""
    for message in connection:
        connection.send(message)


class Websockets:
    """What a handler raises fails the test at the end. `closed`: (code, reason) of each client that has closed."""

    def __init__(self, handler=echo, context=None, **more):
        self.handler, self.failures, self.closed = handler, [], []
        more = {"max_size": None, "open_timeout": PATIENCE, "close_timeout": PATIENCE, "ping_interval": None} | more
        self.server = serve(self.run, "127.0.0.1", 0, ssl=context, **more)
        self.port = self.server.socket.getsockname()[1]
        self.url = f"{'wss' if context else 'ws'}://127.0.0.1:{self.port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.server.shutdown()
        self.thread.join(PATIENCE)
        if kind is None:
            assert not self.failures, self.failures

    def run(self, connection):
        try:
            self.handler(connection)
            for _ in connection:  # until the client has closed, too
                pass
        except Exception as error:
            if connection.close_code is None:
                self.failures.append(repr(error))
        finally:
            self.closed.append((connection.close_code, connection.close_reason))


class NodeWs:
    """`options` are those of the package's server, as JSON. As a context manager."""

    def __init__(self, options="{}"):
        self.options = options

    def __enter__(self):
        words = [need("node", "nodejs"), str(TOOLS / "ws_echo.cjs"), self.options]
        env = {"NODE_PATH": str(modules())}
        self.process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)
        self.url = self.process.stderr.readline().split()[-1].replace("http", "ws")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def accept_of(key):
    """Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def answer(connection, *fields, request=None):
    """Accept the handshake with these further fields."""
    request = request or connection.request()
    accept = accept_of(request["sec-websocket-key"])
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    connection.send("\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", *fields, "", ""]).encode())
    return request


def send(connection, opcode, payload=b"", **more):
    """One frame of the server."""
    connection.send(frame(opcode, payload, masked=False, **more))


def receive(connection):
    """The client's next frame: (opcode, payload, mask, first byte); None at the end of the stream."""
    head = connection.file.read(2)
    if len(head) < 2:
        return None
    first, second = head
    assert second & 0x80, "not masked"
    n = second & 127
    if n > 125:
        n = struct.unpack("!H" if n == 126 else "!Q", connection.file.read(2 if n == 126 else 8))[0]
    mask = connection.file.read(4)
    payload = connection.file.read(n)
    key = int.from_bytes(mask * (n // 4 + 1), "big") >> 8 * (4 - n % 4)
    return first & 15, (int.from_bytes(payload, "big") ^ key).to_bytes(n, "big"), mask, first
