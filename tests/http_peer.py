"""A server that does to its clients exactly what a test says."""

import socket
import struct
import threading


class Request:
    """What a client has sent: method, target, fields (lower-case names, in order), body."""

    def __init__(self, line, fields, body):
        self.method, self.target, self.version = line.split(" ")
        self.fields = fields
        self.body = body

    def __getitem__(self, name):
        """The only value of a field; None without one."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, values
        return values[0] if values else None


class Connection:
    """One client, read strictly."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")

    def line(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode("latin-1")

    def request(self, answer_expect=b"HTTP/1.1 100 Continue\r\n\r\n"):
        """The next request; None when the client has closed."""
        if self.file.closed or not self.file.peek(1):
            return None
        line, fields = self.line(), []
        while text := self.line():
            name, value = text.split(": ", 1)
            fields.append((name.lower(), value))
        request = Request(line, fields, b"")
        if request["expect"] and answer_expect:
            self.send(answer_expect)
        if request["transfer-encoding"] == "chunked":
            parts = []
            while size := int(self.line(), 16):
                parts.append(self.file.read(size))
                assert self.line() == ""
            assert self.line() == ""
            request.body = b"".join(parts)
        elif request["content-length"]:
            request.body = self.file.read(int(request["content-length"]))
        return request

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, body=b"", status="200 OK", *fields):
        """A response with a Content-Length."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.file.close()
        self.sock.close()


class Peer:
    """Accepts on 127.0.0.1 and runs `script(connection, request)` for each request, as a context manager.

    A script that returns False ends the connection. `on_connect(connection)` runs instead, if given.
    """

    def __init__(self, script=None, on_connect=None, family=socket.AF_INET, wrap=None):
        self.script, self.on_connect, self.wrap = script, on_connect, wrap
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self.listener = socket.create_server((host, 0), family=family)
        self.port = self.listener.getsockname()[1]
        self.requests = []
        self.connections = 0
        self.failures = []
        self.closed = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, kind, *_):
        self.listener.close()
        if kind is None:
            assert not self.failures, self.failures

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            connection = Connection(self.wrap(sock) if self.wrap else sock)
            if self.on_connect:
                self.on_connect(connection)
            else:
                while request := connection.request():
                    self.requests.append(request)
                    if self.script(connection, request) is False:
                        break
            connection.close()
        except OSError:
            pass  # the client has left, or the script has closed
        except Exception as error:  # told by the test's own thread
            self.failures.append(repr(error))
        finally:
            self.closed += 1
