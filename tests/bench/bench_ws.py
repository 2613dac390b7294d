"""WebSockets: what a message costs beside node's ws and PyPI's picows, and what idle ones weigh. A section of run.py.

Usage: python tests/bench/bench_ws.py [--rounds N] [--seconds S] [--check]
The load is ws_load.c: connections that send a short text when the one before has come back. CPU time of the server's
process per message is what is compared; the servers take turns in short rounds.
"""

import importlib.metadata
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import load
import memory
import report
import servers
from process import MIB, BenchError, Server, tool
from section import arguments, main, ratio, rows

sys.path.append(str(servers.HERE.parent))

APP = servers.HERE / "ws.lua"
PINS = servers.HERE / "requirements.txt"
NODE_ECHO = servers.HERE.parent / "tools" / "ws_echo.cjs"
CONNECTIONS, SIZE = 64, 64
ROUNDS, SECONDS = 7, 2
CROWD = 10_000
NODE, PICOWS = 1.5, 1.0  # as many messages in the same CPU time, at least
CALLED_MIB, ASKED_MIB = 5, 17
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TITLES = {
    ("heart", "/called"): "Heart, message function",
    ("heart", "/asked"): "Heart, ws:receive",
    ("node", "/"): "node, ws",
    ("picows", "/"): "picows",
}


def packages_install():
    """The pinned packages of this folder, in this environment."""
    for pin in PINS.read_text().split():
        name, version = pin.split("==")
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        if installed != version:
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", pin], check=True)


def heart_start():
    argv = [*servers.HEART, "serve", APP, "--workers", 1, "--port", 0, "--no-access-log"]
    return Server("heart-ws", argv)


def node_start():
    from node import modules

    argv = [tool("node", "nodejs"), NODE_ECHO, '{"perMessageDeflate": false}']
    return Server("node-ws", argv, env={"NODE_PATH": str(modules())})


def picows_start():
    packages_install()
    return Server("picows", [sys.executable, servers.HERE / "ws_echo.py"])


def drive(server, path, seconds):
    """CPU microseconds per message, messages per second."""
    words = [servers.compile_c("ws_load.c", "ws_load"), server.port, path, CONNECTIONS, seconds, SIZE]
    before = server.cpu_ns()
    result = subprocess.run([*map(str, words)], capture_output=True, text=True)
    time.sleep(0.1)
    used = server.cpu_ns() - before
    if result.returncode:
        raise BenchError(f"{server.name}: {result.stderr}\n{server.messages()}")
    messages, took = map(float, result.stdout.split())
    return used / 1000 / messages, messages / took


def measure(rounds, seconds):
    """Lists of (CPU, rate), one for each round, by the keys of TITLES."""
    found = {key: [] for key in TITLES}
    with ExitStack() as stack:
        starts = {"heart": heart_start, "node": node_start, "picows": picows_start}
        started = {name: stack.enter_context(start()) for name, start in starts.items()}
        for name, path in TITLES:
            drive(started[name], path, 1)
        for _ in range(rounds):
            for name, path in TITLES:
                found[name, path].append(drive(started[name], path, seconds))
    return found


def crowd_open(server, path, count):
    """Open WebSockets that say nothing. Returns the sockets."""
    count = min(count, load.descriptors_raise() - load.SPARE_DESCRIPTORS)
    request = HANDSHAKE.format(path=path, host=f"{server.host}:{server.port}").encode()
    crowd = []
    with load.answering(server):
        for _ in range(count):
            client = socket.create_connection((server.host, server.port), load.ANSWER_SECONDS)
            crowd.append(client)
            client.sendall(request)
            if not client.recv(load.READ_BYTES).startswith(b"HTTP/1.1 101"):
                raise BenchError(f"{server.name} refuses WebSocket {len(crowd)} of {count}")
    return crowd


def weigh(path):
    """(MiB that idle WebSockets add, their number), on a server of its own."""
    with heart_start() as server:
        drive(server, path, 1)
        before = memory.settled(server)
        crowd = crowd_open(server, path, CROWD)
        held = memory.settled(server)
        for client in crowd:
            client.close()
        return (held - before) / MIB, len(crowd)


def section(rounds=ROUNDS, seconds=SECONDS):
    """Measure. Returns the lines of the table, and the Bounds."""
    found = measure(rounds, seconds)
    called = ("heart", "/called")
    bounds = [
        report.Bound("WebSocket echo: CPU / node's ws", ratio(found, called, ("node", "/")), 1 / NODE),
        report.Bound("WebSocket echo: CPU / picows", ratio(found, called, ("picows", "/")), 1 / PICOWS),
    ]
    for path, limit in (("/called", CALLED_MIB), ("/asked", ASKED_MIB)):
        added, count = weigh(path)
        bounds.append(report.Bound(f"{count:,} idle WebSockets, {path[1:]}: RSS added", added, limit, "MiB"))
    head = f"WebSocket echo, 1 worker, {CONNECTIONS} connections, {SIZE} bytes", "CPU us/message", "messages/s"
    return report.table(head, rows(found, TITLES)), bounds


if __name__ == "__main__":
    sys.exit(main(section, arguments(__doc__, rounds=ROUNDS, seconds=SECONDS)))
