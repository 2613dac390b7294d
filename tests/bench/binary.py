"""The one-file executable: its size, how long it takes to the first answer, and its memory beside that of its peers."""

import os
import shutil
import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import memory
import servers
from process import MIB, OUT, ROOT, BenchError, Server

FILE = ROOT / "dist" / "heart"
CACHE = OUT / "cache"
FIRST_STARTS, WARM_STARTS = 9, 31
PATIENCE = 30.0
POLL_SECONDS = 0.0005
SIZE_MB, FIRST_MS, WARM_MS, IDLE_MIB, CROWD_MIB = 12.5, 300, 100, 18, 22

# MiB with 2 workers, idle and with 10,000 connections, measured on one machine when this was planned.
PEERS = (("80s", 6.6, 51), ("nginx + Lua", 32, 40), ("Heart v1", 17, 176))


@dataclass(frozen=True)
class Figures:
    """Megabytes, milliseconds (medians) and bytes of RSS."""

    size: float
    first: float
    warm: float
    idle: int
    crowd: int


def environment():
    """The environment with a cache of the bench's own."""
    return {**os.environ, "HEART_CACHE": str(CACHE)}


def answers(port):
    """Whether a server on `port` answers a request."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def port_free():
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ms():
    """Milliseconds from the start of a process to its first answer."""
    port = port_free()
    argv = [FILE, "serve", Path(servers.HERE) / "app.lua", "--workers", "2", "--port", str(port), "--no-access-log"]
    began = time.perf_counter()
    process = subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise BenchError(f"{FILE} does not answer: run it by hand with {servers.HERE / 'app.lua'}")
            time.sleep(POLL_SECONDS)
        return (time.perf_counter() - began) * 1000
    finally:
        process.terminate()
        process.wait()


def first_start_ms():
    """The same, with nothing unpacked yet."""
    shutil.rmtree(CACHE, ignore_errors=True)
    return start_ms()


def measure():
    """The Figures of dist/heart."""
    if not FILE.exists():
        raise BenchError(f"{FILE} is missing: make binary")
    first = statistics.median(first_start_ms() for _ in range(FIRST_STARTS))
    warm = statistics.median(start_ms() for _ in range(WARM_STARTS))
    argv = [FILE, "serve", servers.HERE / "app.lua", "--workers", 2, "--port", 0, "--no-access-log"]
    with Server("one-file", argv, env=environment()) as server:
        footprint = memory.measure(server)
    return Figures(FILE.stat().st_size / 1e6, first, warm, footprint.fresh, footprint.held)


def promises(figures):
    """(title, value, limit, unit) of everything that is promised."""
    return (
        ("dist/heart: size", figures.size, SIZE_MB, "MB"),
        ("dist/heart: very first start to first answer", figures.first, FIRST_MS, "ms"),
        ("dist/heart: start to first answer", figures.warm, WARM_MS, "ms"),
        ("dist/heart: idle, 2 workers: RSS", figures.idle / MIB, IDLE_MIB, "MiB"),
        ("dist/heart: 10,000 connections: RSS", figures.crowd / MIB, CROWD_MIB, "MiB"),
    )


def peers(figures):
    """Rows (server, idle, crowd) for a table."""
    own = ("Heart (dist/heart)", figures.idle / MIB, figures.crowd / MIB)
    return [(name, f"{idle:.1f}", f"{crowd:.1f}") for name, idle, crowd in (own, *PEERS)]
