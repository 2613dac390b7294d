"""One message to 5,000 WebSockets on 2 workers, beside a bare C loop of the same sends. A section of run.py.

Usage: python tests/bench/bench_broadcast.py [--rounds N] [--check]
CPU time per broadcast is what is compared, all of it: the request that publishes, the other worker, the sends. Both
servers send frames of the same size to as many sockets of the same client on two threads, and take turns.
"""

import http.client
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing

import load
import report
import servers
from process import BenchError, Server
from section import arguments, main, medians, ratio

APP = servers.HERE / "broadcast.lua"
SUBSCRIBERS, WORKERS = 5000, 2
TEXT = b"x" * 100
FRAME = 2 + len(TEXT)  # the header of a short frame has two bytes
ROUNDS, BROADCASTS = 15, 10
SETTLE_SECONDS = 1
FLOOR, MEMORY = 1.3, 1000


class Subscribers:
    """The client's end, as a context manager: a process that reads whatever `server` sends."""

    def __init__(self, server, path):
        words = [servers.compile_c("broadcast.c", "broadcast", "-pthread"), "subscribe", server.port, SUBSCRIBERS, path]
        self.server = server
        self.process = subprocess.Popen(
            [str(word) for word in (*words, FRAME)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.expect("ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def expect(self, word):
        """Wait until the process says so."""
        line = self.process.stdout.readline().strip()
        if line != word:
            raise BenchError(f"{self.server.name}: the subscribers say {line!r}: {self.server.messages()}")

    def receive(self, publish):
        """Publish, and wait until all have got it."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        publish()
        self.expect("done")


def heart_start():
    argv = [*servers.HEART, "serve", APP, "--workers", WORKERS, "--port", 0, "--no-access-log"]
    return Server("heart-broadcast", [*argv, "--ws-ping-interval", 3600, "--idle-timeout", 3600])


def floor_start():
    return Server(
        "floor-broadcast", [servers.compile_c("broadcast.c", "broadcast", "-pthread"), "serve", WORKERS, FRAME]
    )


def heart_publisher(server, stack):
    """What publishes a message, over one connection."""
    connection = stack.enter_context(closing(http.client.HTTPConnection(server.host, server.port)))

    def publish():
        connection.request("POST", "/publish", body=TEXT)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise BenchError(f"{server.name} answers /publish with {answer.status}")

    return publish


def floor_publisher(server, stack):
    """One more connection of the floor: it gets the message, too, and drops it."""
    client = stack.enter_context(socket.create_connection((server.host, server.port)))

    def publish():
        client.sendall(b"x")
        client.recv(FRAME)

    return publish


def drive(server, subscribers, publish):
    """CPU microseconds per broadcast, milliseconds until the last subscriber has it."""
    before, began = server.cpu_ns(), time.monotonic()
    for _ in range(BROADCASTS):
        subscribers.receive(publish)
    took = time.monotonic() - began
    time.sleep(0.05)
    return (server.cpu_ns() - before) / 1000 / BROADCASTS, 1000 * took / BROADCASTS


def measure(rounds):
    """Lists of (CPU, ms) by server, one for each round; bytes that a subscriber costs Heart."""
    found = {"heart": [], "floor": []}
    load.descriptors_raise()
    with ExitStack() as stack:
        heart, floor = stack.enter_context(heart_start()), stack.enter_context(floor_start())
        publish = {"heart": heart_publisher(heart, stack), "floor": floor_publisher(floor, stack)}
        publish["heart"]()
        time.sleep(SETTLE_SECONDS)
        before = heart.memory().rss
        crowd = {
            "heart": stack.enter_context(Subscribers(heart, "/subscribe")),
            "floor": stack.enter_context(Subscribers(floor, "-")),
        }
        time.sleep(SETTLE_SECONDS)
        each = (heart.memory().rss - before) / SUBSCRIBERS
        running = {"heart": heart, "floor": floor}
        for name, server in running.items():
            drive(server, crowd[name], publish[name])
        for _ in range(rounds):
            for name, server in running.items():
                found[name].append(drive(server, crowd[name], publish[name]))
    return found, each


def section(rounds=ROUNDS):
    """Measure. Returns the lines of the table, and the Bounds."""
    found, each = measure(rounds)
    rows = []
    for name, known in found.items():
        cpu, ms = medians(known)
        title = "Heart, channel.publish" if name == "heart" else "C loop of sends"
        rows.append((title, f"{cpu:,.0f}", f"{cpu / SUBSCRIBERS:.2f}", f"{ms:.1f}"))
    bounds = [
        report.Bound(
            f"one message to {SUBSCRIBERS:,} WebSockets: CPU / C loop of the same sends",
            ratio(found, "heart", "floor"),
            FLOOR,
        ),
        report.Bound("a subscribed WebSocket adds", each, MEMORY, "bytes"),
    ]
    head = (
        f"One message to {SUBSCRIBERS:,} WebSockets, 2 workers",
        "CPU us",
        "CPU us/socket",
        "ms until the last has it",
    )
    return report.table(head, rows), bounds


if __name__ == "__main__":
    sys.exit(main(section, arguments(__doc__, rounds=ROUNDS)))
