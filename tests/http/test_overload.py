"""More connections than descriptors or than the limit allows."""

import resource
import time

import pytest
from heart_server import PATIENCE, SANITIZED, wait_until

APP = 'require("heart.v1").get("/", function(ctx) return "hello" end)'


def test_out_of_descriptors_neither_spins_nor_kills(serve):
    """EMFILE in accept: a level-triggered listener stays readable, and served connections go on."""
    server = serve(APP, "--max-connections", "100000", limits={resource.RLIMIT_NOFILE: 64})
    clients = [server.connect(timeout=2) for _ in range(100)]
    time.sleep(0.2)
    assert clients[0].fetch().text == "hello"
    if not SANITIZED:
        before = server.cpu()
        time.sleep(1)
        assert server.cpu() - before < 0.3
    assert clients[0].fetch().text == "hello"
    for client in clients:
        client.close()
    wait_until(lambda: works(server), "new connections are served again", PATIENCE)


def works(server):
    try:
        return server.get().status == 200
    except (OSError, AssertionError):
        return False


def test_default_limit_leaves_descriptors_for_the_rest(serve):
    """The default of --max-connections comes from RLIMIT_NOFILE, so that accept never meets EMFILE."""
    server = serve(APP, limits={resource.RLIMIT_NOFILE: 128})
    clients = [server.connect(timeout=2) for _ in range(200)]
    time.sleep(0.3)
    assert server.fds() < 128
    assert clients[0].fetch().text == "hello"
    for client in clients:
        client.close()
    wait_until(lambda: works(server), "new connections are served again", PATIENCE)


def test_connections_above_the_limit_wait_or_are_refused(serve):
    """The first N are served; room made by one that leaves is used."""
    server = serve(APP, "--max-connections", 10)
    clients = [server.connect() for _ in range(10)]
    for client in clients:
        assert client.fetch().text == "hello"
    with server.connect(timeout=0.5) as extra:
        try:
            extra.request()
            response = extra.response()
            assert response.status == 503
        except (TimeoutError, ConnectionError, AssertionError):
            pass
    for client in clients:
        assert client.fetch().text == "hello"
    clients.pop().close()
    wait_until(lambda: works(server), "room for a new connection")
    for client in clients:
        client.close()


def test_many_connections_at_once_are_all_served(serve):
    server = serve(APP, workers=2)
    clients = [server.connect() for _ in range(1000)]
    for client in clients:
        client.request()
    assert all(client.response().text == "hello" for client in clients)
    for client in clients:
        client.close()
    wait_until(lambda: server.fds() < 60, "all connections are closed")


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_idle_connections_cost_little_and_give_it_back(serve):
    """Buffers belong to the worker: 2,000 kept connections after a request each."""
    server = serve(APP, "--no-access-log")
    warm = [server.connect() for _ in range(50)]
    for client in warm:
        client.fetch()
        client.close()
    time.sleep(0.2)
    before = server.rss()
    clients = []
    for _ in range(2000):
        clients.append(server.connect())
        clients[-1].fetch()
    assert server.rss() - before < 2 << 20
    for client in clients:
        client.close()
    wait_until(lambda: server.rss() - before < 1 << 20, "the memory comes back")
