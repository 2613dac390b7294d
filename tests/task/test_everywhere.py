"""Everything is allowed everywhere: all that waits works wherever Lua runs."""

from pathlib import Path

import pytest
from dns_server import DnsServer
from heart_server import Server, wait_until
from http_peer import Peer as HttpPeer
from peers import Peer, echo
from websockets.sync.client import connect

APP = Path(__file__).with_name("everywhere.lua").read_text()
CONFIG = 'return {{ url = "{}/", echo = {}, dns = "{}" }}'
ZONE = "www.example.test. 60 IN A 192.0.2.1"


@pytest.fixture(scope="module")
def server():
    with DnsServer(ZONE) as dns, Peer(echo) as echoing, HttpPeer(lambda c, r: c.answer(b"hello")) as peer:
        files = {
            "config.lua": CONFIG.format(peer.url, echoing.port, dns.address),
            "module.lua": 'try_module("module")',
        }
        with Server(APP, "--db", "db", files=files) as server:
            yield server
            server.stop()
            assert "stop all" in server.logs(), server.logs()


def check(server, place):
    target = "/result/" + place.replace(" ", "_")
    wait_until(lambda: server.get(target).text != "not yet", lambda: place)
    assert server.get(target).text == "all"


@pytest.mark.parametrize("place", ["load", "module", "start", "task while loading", "after", "every"])
def test_place_that_needs_no_request(server, place):
    check(server, place)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/middleware", "middleware"),
        ("/handler", "handler"),
        ("/answered", "after the response"),
        ("/task", "task"),
        ("/stream", "stream"),
        ("/fails", "error handler"),
        ("/coroutine", "coroutine"),
        ("/metamethod", "metamethod"),
        ("/timer", "ngx.timer"),
        ("/message", "message"),
        ("/watch", "watch"),
        ("/kv", "kv.watch"),
        ("/channel", "channel"),
        ("/listener", "listener"),
    ],
)
def test_place_of_a_request(server, target, place):
    server.get(target)
    check(server, place)


def test_function_of_an_abort(server):
    with server.connect() as client:
        client.request(target="/abort")
        wait_until(lambda: client.quiet(0.05), "the handler waits")
    check(server, "abort")


def test_websocket(server):
    with connect(f"ws://127.0.0.1:{server.port}/websocket"):
        check(server, "websocket")
