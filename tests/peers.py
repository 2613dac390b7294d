"""Servers made of a Python function, for tests of clients: one thread each, on a port of its own."""

import contextlib
import socket
import struct
import threading

from heart_server import PATIENCE


class Peer:
    """A TCP server as a context manager: `serve(connection)` runs for each client in a thread of its own; what it
    raises fails the test at the end, when connections that are still open are ended. `path`: a Unix socket there."""

    def __init__(self, serve, path=None, backlog=128):
        self.serve = serve
        self.listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.listener.bind(str(path) if path else ("127.0.0.1", 0))
        self.listener.listen(backlog)
        self.port = None if path else self.listener.getsockname()[1]
        self.failures = []
        self.threads = []
        self.connections = []

    def __enter__(self):
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)  # it may be about to add one to the others
        for thread in self.threads:
            thread.join(PATIENCE)
        if kind is None and self.failures:
            raise self.failures[0]

    def finish(self):
        """Wait until all that runs has come to its own end."""
        for thread in list(self.threads):
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.threads.append(threading.Thread(target=self.run, args=(connection,), daemon=True))
            self.threads[-1].start()

    def run(self, connection):
        connection.settimeout(PATIENCE)
        try:
            with connection:
                self.serve(connection)
        except (ConnectionError, BrokenPipeError):
            pass
        except Exception as error:
            self.failures.append(error)


def echo(connection):
    """Send back whatever comes."""
    while data := connection.recv(65536):
        connection.sendall(data)


def reset(connection):
    """End the connection with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Silent:
    """An address whose connects are never answered: its queue of connections is full."""

    def __enter__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.others = [socket.socket() for _ in range(4)]
        for other in self.others:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(("127.0.0.1", self.port))
        return self

    def __exit__(self, *_):
        for other in self.others:
            other.close()
        self.listener.close()
