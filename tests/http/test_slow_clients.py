"""Clients that read or write slowly cost nobody else anything."""

import csv
import subprocess
import threading
import time

import pytest
from heart_server import PATIENCE, SANITIZED, Server, need

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.post("/", function(ctx) return #ctx.bytes() end)
app.get("/big", function(ctx) return string.rep("x", 4 * 1024 * 1024) end)
app.get("/medium", function(ctx) return string.rep("x", 512 * 1024) end)
local block = string.rep("y", 65536)
app.get("/stream", function(ctx)
  return ctx.stream(function(write)
    for _ = 1, 1024 do write(block) end
  end)
end)
"""


@pytest.fixture
def server():
    with Server(APP, "--header-timeout", 1, "--body-timeout", 1, "--idle-timeout", 1, "--write-timeout", 1) as server:
        yield server


class Probe:
    """Requests in the background; afterwards the slowest one and the failures are known."""

    def __init__(self, server):
        self.server, self.times, self.failures = server, [], []
        self.running = True
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while self.running:
            begin = time.monotonic()
            try:
                if self.server.get().status != 200:
                    self.failures.append("status")
            except Exception as e:
                self.failures.append(repr(e))
            self.times.append(time.monotonic() - begin)
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.running = False
        self.thread.join()


def test_slow_readers_of_a_stream_cost_no_memory(server):
    """Back-pressure: a writer whose client does not read is suspended instead of buffered."""
    before = server.rss()
    clients = [server.connect(receive_buffer=4096) for _ in range(20)]
    for client in clients:
        client.request(target="/stream")
        client.head()
    with Probe(server) as probe:
        time.sleep(0.5)
        grown = server.rss() - before
    for client in clients:
        client.close()
    assert grown < (64 << 20 if SANITIZED else 16 << 20)
    assert not probe.failures
    assert max(probe.times) < 0.5


def test_slow_reader_gets_everything(server):
    with server.connect(receive_buffer=65536) as client:
        client.request(target="/stream")
        assert client.head()["transfer-encoding"] == "chunked"
        total = 0
        for i, chunk in enumerate(client.chunks()):
            total += len(chunk)
            if i % 64 == 0:
                time.sleep(0.02)
        assert total == 64 << 20


def test_slow_reader_of_a_big_body_gets_everything(server):
    with server.connect(receive_buffer=4096) as client:
        client.request(target="/big")
        head = client.head()
        assert head["content-length"] == str(4 << 20)
        for _ in range(4):
            time.sleep(0.2)
            assert client.exactly(1 << 20) == b"x" * (1 << 20)
        assert client.fetch().text == "hello"


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        pytest.param("-H", ["-l", "8"], id="slowloris"),
        pytest.param("-B", ["-l", "8", "-s", "8192"], id="slow-body"),
        pytest.param("-R", ["-l", "4", "-a", "10", "-b", "3000"], id="range-header"),
        pytest.param("-X", ["-l", "4", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3"], id="slow-read"),
    ],
)
def test_slowhttptest_is_closed_and_others_are_served(server, tmp_path, mode, more):
    """200 slow connections for a few seconds: they end by the server's timeouts while normal requests go on."""
    tool = need("slowhttptest", "slowhttptest")
    target = server.url + ("/medium" if mode == "-X" else "/")
    command = [tool, mode, "-c", "200", "-r", "200", "-i", "1", "-p", "2", "-u", target, *more]
    with Probe(server) as probe:
        subprocess.run(
            [*command, "-g", "-o", str(tmp_path / "slow")],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
    assert len(probe.times) > 20
    assert not probe.failures
    assert max(probe.times) < PATIENCE / 5
    with (tmp_path / "slow.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert rows, "no statistics"
    assert max(int(row["Closed"]) for row in rows) >= (150 if mode in ("-H", "-B") else 0)
    assert server.fds() < 150
