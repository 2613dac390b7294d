"""The random mix for minutes instead of seconds, and what must not grow with the number of requests."""

import random
import signal
import threading
import time

import pytest
from heart_server import SANITIZED, Client, wait_until
from nightly.mix import APP, FILES, Mix

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

ODD = (
    b"GET /hello HTTP/1.1\r\nHost: t\r\n\r\n" * 20,
    b"GET /error HTTP/1.1\r\nHost: t\r\n\r\n" * 5,
    b"GET /error/slept HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /error/late HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /stream/3/40000 HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /files/big.bin HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET /missing HTTP/1.1\r\nHost: t\r\n\r\n" * 10,
    b"POST /slow-echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /slow-echo HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\nabc",
    b"POST /pipe HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n",
    b"POST /count HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"POST /limited HTTP/1.1\r\nHost: t\r\nContent-Length: 30000\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"GET /sleep/1 HTTP/1.0\r\n\r\n",
)


@pytest.mark.parametrize("flags", [(), ("--lua-memory", "8M"), ("--max-requests-per-connection", 5)], ids=str)
@pytest.mark.parametrize("every", ["nothing", "reload"])
def test_long_mix_is_answered_to_the_byte(serve, flags, every):
    server = serve(APP, "--reload-grace", 5, "--no-access-log", *flags, workers=2, files=FILES)
    seed = int(time.time())
    lax = "--max-requests-per-connection" in flags  # answers end early then: only survival counts
    mix = Mix(server, seed, clients=24, lax=lax)
    mix.run(60, (lambda: server.signal(signal.SIGHUP)) if every == "reload" else None)
    assert server.alive()


def odd_requests(server, count, seed):
    """Connections that send something odd and leave in one of three ways."""
    rng = random.Random(seed)
    for _ in range(count):
        with Client(server.address(), timeout=0.02) as client:
            try:
                client.send(rng.choice(ODD))
                if rng.random() < 0.7:
                    client.fill()
            except OSError:
                pass
            if rng.random() < 0.3:
                client.reset()


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_memory_and_descriptors_do_not_grow_with_odd_requests(serve):
    collect = 'app.get("/collect", function() collectgarbage() collectgarbage() return "" end)'
    server = serve(APP + collect, "--no-access-log", "--log-level", "off", files=FILES)

    def burst(count):
        threads = [threading.Thread(target=odd_requests, args=(server, count // 8, i)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.get("/collect")

    burst(20_000)
    memory, descriptors = server.rss(), server.fds()
    burst(100_000)
    assert server.rss() - memory < 3 << 20  # a leak of 32 bytes per request
    wait_until(lambda: server.fds() <= descriptors, "descriptors are closed")


def test_start_and_stop_under_load_again_and_again(serve):
    """No order of signals, connections and loading hangs or crashes."""
    rng = random.Random(5)
    for _ in range(60):
        server = serve(APP, workers=2, files=FILES)
        stop = threading.Event()

        def load(server=server, stop=stop):
            while not stop.is_set():
                try:
                    odd_requests(server, 1, rng.random())
                except OSError:
                    time.sleep(0.001)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(rng.random() * 0.3)
        for _ in range(rng.randrange(3)):
            server.signal(signal.SIGHUP)
            time.sleep(rng.random() * 0.02)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        stop.set()
        for thread in threads:
            thread.join()
