"""A worker that runs Lua on sockets, and peers that we did not write for it: Python's own sockets, on threads."""

import contextlib
import socket
import threading

import pytest
from heart_server import PATIENCE, wait_until
from lua_shell import Shell

# show(...): the values as text. dial(port): a connection with short timeouts.
PRELUDE = """
local core = require("heart.core")
sockets = core.socket
function show(...)
  local out = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    out[i] = type(value) == "userdata" and "socket" or tostring(value)
  end
  return table.concat(out, "|")
end
function dial(port, receive, send)
  local sock = assert(sockets.connect({ address = "127.0.0.1", port = port, timeout = 5 }))
  sock:settimeouts(5, send or 5, receive or 5)
  return sock
end
"""


@pytest.fixture(scope="session")
def shell():
    with Shell(prelude=PRELUDE) as shell:
        yield shell


@pytest.fixture
def lua(shell):
    """shell.text; afterwards nothing may be left open: neither in the worker's books nor in the kernel's."""
    shell.text("collectgarbage() collectgarbage()")
    open_before = shell.server.fds()
    yield shell.text

    def left():
        return shell.text("collectgarbage() collectgarbage() return show(sockets.count())")

    wait_until(lambda: left() == "0|0", left)
    wait_until(lambda: shell.server.fds() <= open_before, lambda: f"{shell.server.fds()} descriptors of {open_before}")


class Peer:
    """A listener whose connections are given to a function, each on a thread."""

    def __init__(self, serve, family=socket.AF_INET, address=("127.0.0.1", 0)):
        self.serve = serve
        self.listener = socket.create_server(address, family=family)
        self.port = self.listener.getsockname()[1]
        self.errors = []
        self.clients = []
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.clients.append(client)
            self.threads.append(threading.Thread(target=self.run, args=(client,), daemon=True))
            self.threads[-1].start()

    def run(self, client):
        client.settimeout(PATIENCE)
        with client:
            try:
                if client.family != socket.AF_UNIX:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve(client)
            except ConnectionError:
                pass  # the other side has what it wants, and leaves
            except Exception as error:
                self.errors.append(error)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not self.errors, self.errors


@pytest.fixture
def peer():
    """A function that starts a Peer and returns its port."""
    peers = []

    def start(serve, **more):
        peers.append(Peer(serve, **more))
        return peers[-1].port

    yield start
    for each in peers:
        each.close()
