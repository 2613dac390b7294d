"""Servers with a FastCGI listener, and the application that the tests of this folder ask."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from fcgi_client import Client
from heart_server import Server

APP = Path(__file__).parent / "app.lua"
FILES = {"files/small.txt": b"small", "files/large.bin": bytes(range(256)) * 4096 * 12}


@pytest.fixture
def respond(serve):
    """A function that starts a server with FastCGI on a port of its own and flags."""

    def start(*flags, **more):
        more = {"files": FILES} | more
        return serve(APP.read_text(), "--listen", "fcgi:127.0.0.1:0", *flags, **more)

    return start


@pytest.fixture(scope="module")
def start_shared():
    """The same with all flags given, for all tests of a file."""
    with ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(Server(APP.read_text(), *flags, files=FILES, **more))


@pytest.fixture(scope="module")
def shared(start_shared):
    """A server with FastCGI alone."""
    return start_shared("--listen", "fcgi:127.0.0.1:0")


@pytest.fixture
def client(shared):
    """A connection to it."""
    with Client(shared.address()) as found:
        yield found


@pytest.fixture
def files():
    """What is served below /files, by name."""
    return {name.removeprefix("files/"): content for name, content in FILES.items()}
