"""A wait that is cancelled, or whose client leaves, leaves nothing: no descriptor, coroutine, process or memory.
Counters say so for every kind of wait."""

import contextlib
import itertools
import re
from pathlib import Path

import pytest
from dns_server import DnsServer
from heart_server import SANITIZED, Server, wait_until
from peers import Peer, Silent

FOLDER = Path(__file__).parent
APP = (FOLDER / "leaks.lua").read_text()
WAITS = re.findall(r"^  (\w+) = function\(\w*\)$", APP, re.MULTILINE)
ROUNDS = 6
NUMBERS = itertools.count()  # of all rounds
LUA_KIB = 60  # that Lua's memory may have grown by after 100 waits more
RSS = 6 << 20


def silent(connection):
    """Take nothing and say nothing."""
    connection.settimeout(None)
    connection.recv(1)
    while connection.recv(100):
        pass


def stall(connection):
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
    silent(connection)


@pytest.fixture(scope="module")
def server():
    with Peer(silent) as mute, Peer(stall) as stalled, Silent() as full, DnsServer(script=lambda *_: None) as dns:
        ports = f"silent = {mute.port}, stalled = {stalled.port}, full = {full.port}"
        config = f'return {{ {ports}, dns = "{dns.address}" }}'
        with Server(APP, files={"config.lua": config}) as server:
            server.idle, _ = counters(server)
            yield server


def children(server):
    found = 0
    for thread in Path(f"/proc/{server.pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            found += len((thread / "children").read_text().split())
    return found


def counters(server):
    """Coroutines, sockets, descriptors, processes; and KiB of Lua's memory."""
    found = server.get("/counters").json
    return [found["tasks"], found["suspended"], found["sockets"], server.fds(), children(server)], found["memory"]


def settled(server, most):
    """The counters when nothing goes on behind the scenes any more: none is above `most`."""

    def quiet():
        found, memory = counters(server)
        return all(n <= limit for n, limit in zip(found, most, strict=True)) and (found, memory)

    return wait_until(quiet, lambda: (counters(server), most))


def check(server, go):
    """A round that may fill caches, and then more, which may leave nothing."""
    go()
    _, memory = settled(server, server.idle)
    rss = server.rss()
    for _ in range(ROUNDS):
        go()
    assert settled(server, server.idle)[1] - memory < LUA_KIB
    assert SANITIZED or server.rss() - rss < RSS


def test_all_waits_are_tried(server):
    assert sorted(server.get("/waits").json) == sorted(WAITS)


@pytest.mark.parametrize("wait", WAITS)
def test_cancelled_wait_leaves_nothing(server, wait):
    check(server, lambda: server.get(f"/cancel/{wait}?round={next(NUMBERS)}"))


@pytest.mark.parametrize("wait", WAITS)
def test_wait_of_a_client_that_leaves_leaves_nothing(server, wait):
    def go():
        target = f"/abort/{wait}?round={next(NUMBERS)}"
        clients = [server.connect().request(target=target) for _ in range(20)]
        wait_until(lambda: all(client.quiet(0.002) for client in clients), "they wait")
        for client in clients:
            client.reset()

    check(server, go)
