"""The memory store: what it costs a request, alone, on two workers, and beside Redis. A section of run.py.

Usage: python tests/bench/bench_kv.py [--rounds N] [--seconds S] [--check]
CPU time per request is what is compared: on a small machine the client is the bottleneck. All that is compared takes
turns in short rounds, and ratios are taken between neighbours. Needs wrk; redis-server and redis-tools for the
comparison.
"""

import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

import load
import report
import servers
from process import BenchError, Server, tool
from section import arguments, main

APP = servers.HERE / "kv.lua"
CONNECTIONS = 64
MANY = 100  # operations in one request of /gets and /sets, as in kv.lua
REDIS_REQUESTS = 200_000
ROUNDS, SECONDS = 7, 2
HITS = 1 / 0.85


@dataclass
class Rounds:
    """CPU time per request in microseconds and requests per second, round by round."""

    cpu: list
    rate: list

    def median(self):
        return statistics.median(self.cpu), statistics.median(self.rate)


def heart_start(workers):
    argv = [*servers.HEART, "serve", APP, "--workers", workers, "--port", 0, "--no-access-log"]
    return Server(f"heart-kv-{workers}", argv)


def drive(server, path, seconds, threads=1):
    """(CPU microseconds per request, requests per second)"""
    before = server.cpu_ns()
    seen = load.wrk(server.url + path, connections=CONNECTIONS, seconds=seconds, threads=threads)
    return (server.cpu_ns() - before) / 1000 / seen.requests, seen.rate


def redis_start():
    argv = [tool("redis-server"), "--port", 16379, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
    return Server("redis", argv, port=16379)


def redis_drive(server, name):
    """The same for redis-benchmark without pipelining."""
    before = server.cpu_ns()
    argv = [tool("redis-benchmark", "redis-tools"), "-p", server.port, "-c", CONNECTIONS, "-n", REDIS_REQUESTS]
    argv += ["-t", name, "-d", 32, "-r", 1000, "--csv"]
    result = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=True)
    rate = re.search(rf'^"{name.upper()}","([\d.]+)"', result.stdout, re.MULTILINE)
    if rate is None:
        raise BenchError(f"redis-benchmark: {result.stdout}{result.stderr}")
    return (server.cpu_ns() - before) / 1000 / REDIS_REQUESTS, float(rate[1])


def measure(rounds, seconds):
    """Rounds by (what, path)."""
    found = {}

    def note(key, figures):
        known = found.setdefault(key, Rounds([], []))
        known.cpu.append(figures[0])
        known.rate.append(figures[1])

    with ExitStack() as stack:
        one, two = stack.enter_context(heart_start(1)), stack.enter_context(heart_start(2))
        redis = stack.enter_context(redis_start())
        for server in (one, two):
            drive(server, "/set", 1)
        for _ in range(rounds):
            for path in ("/hello", "/hits", "/hello", "/get", "/set", "/gets", "/sets"):
                note(("1", path), drive(one, path, seconds))
                if path in ("/get", "/set"):
                    note(("2", path), drive(two, path, seconds, threads=2))
                    note(("redis", path), redis_drive(redis, path[1:]))
                time.sleep(0.1)
    return found


def ratio(found, one, other):
    """Median over neighbouring rounds of the CPU time of `one` as a multiple of that of `other`."""
    a, b = found[one].cpu, found[other].cpu
    step = len(b) // len(a)
    return statistics.median(x / y for x, y in zip(a, b[::step], strict=True))


def share(found, one, other):
    """Median over neighbouring rounds of the requests per second of `other` as a multiple of those of `one`."""
    a, b = found[one].rate, found[other].rate
    return statistics.median(y / x for x, y in zip(a, b[:: len(b) // len(a)], strict=True))


def bounds(found):
    """What was promised."""
    hello = statistics.median(found["1", "/hello"].cpu)
    get = (statistics.median(found["1", "/gets"].cpu) - hello) / MANY
    return [
        report.Bound("memory store: a get in a handler", get, 0.3, "us"),
        report.Bound(
            "serialTransaction: requests/s of hello / hits", share(found, ("1", "/hits"), ("1", "/hello")), HITS
        ),
        report.Bound("get: CPU with 2 workers / with 1", ratio(found, ("2", "/get"), ("1", "/get")), 1.25),
        report.Bound("set: CPU with 2 workers / with 1", ratio(found, ("2", "/set"), ("1", "/set")), 1.25),
    ]


def section(rounds=ROUNDS, seconds=SECONDS):
    """Measure. Returns the lines of the table, and the Bounds."""
    found = measure(rounds, seconds)
    names = {"1": "Heart, 1 worker", "2": "Heart, 2 workers", "redis": "Redis (redis-benchmark)"}
    rows = []
    for (what, path), known in found.items():
        cpu, rate = known.median()
        rows.append((names[what], path, f"{cpu:.2f}", f"{rate:,.0f}"))
    head = "Memory store, 64 connections", "request", "CPU us/request", "requests/s"
    return report.table(head, rows), bounds(found)


if __name__ == "__main__":
    sys.exit(main(section, arguments(__doc__, rounds=ROUNDS, seconds=SECONDS)))
