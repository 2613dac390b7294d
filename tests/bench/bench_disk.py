"""The disk store: durable writes against a plain route, commits per flush, the longest turn, cached reads, memory, and
SQLite beside it. A section of run.py.

Usage: python tests/bench/bench_disk.py [--rounds N] [--seconds S] [--check]
Needs wrk and strace. The database lies in build/bench: on a disk, not in memory. Rounds of the plain route and of
durable writes take turns.
"""

import os
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request

import load
import servers
from process import MIB, OUT, STOP_SECONDS, BenchError, Server, tool
from report import Bound
from section import arguments, main

HERE = servers.HERE
CONNECTIONS = 256
WORKERS = 2
SHARE = 0.25  # durable writes, of the plain route's requests per second
COMMITS_PER_FLUSH = 20
TURN_MS = 2
READ_NS = 500
IDLE_MIB = 30
SQLITE_COMMITS = 300
ROUNDS, SECONDS = 5, 2


def start(folder, *before):
    """Heart with the bench's application and an empty database, run by the words `before`."""
    argv = [*before, *servers.HEART, "serve", HERE / "disk.lua", "--workers", WORKERS, "--port", 0, "--no-access-log"]
    return Server("heart-disk", [*argv, "--db", folder])


def ask(server, path):
    with urllib.request.urlopen(server.url + path, timeout=60) as answer:
        return answer.read().decode()


def turn_reset(server):
    """Forget the turns so far on both workers; returns the ms of the longest one, and the ms of processor time that one
    used at most. The kernel picks the worker of a connection."""
    answers = [[float(word) for word in ask(server, "/turn").split()] for _ in range(16 * WORKERS)]
    return max(turn for turn, _ in answers), max(work for _, work in answers)


def machine_stall(seconds):
    """ms of processor time that a thread which only reads its clock uses at most between two readings. What a host
    takes from its guest, and what the kernel does on the back of a thread, is in that time: a turn of millions may be
    far longer than all others. Of the turns above the bound that were looked at, a sampling profiler saw the thread
    run for less than 2 ms: its timer stood still meanwhile, as everything of that processor did."""
    words = [servers.compile_c("stalls.c", "stalls", "-pthread"), WORKERS, seconds]
    return float(subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout)


def drive(server, path, seconds):
    """Requests per second."""
    return load.wrk(server.url + path, connections=CONNECTIONS, seconds=seconds, threads=2).rate


def commits_per_flush(folder, seconds):
    """Acknowledged writes for each fdatasync or fsync, counted by strace, which holds up these calls and no others."""
    summary = OUT / "flushes.txt"
    tracer = [tool("strace"), "-f", "--seccomp-bpf", "-c", "-U", "name,calls", "-e", "trace=fdatasync,fsync"]
    with start(folder, *tracer, "-o", summary) as server:
        seen = load.wrk(server.url + "/set", connections=CONNECTIONS, seconds=seconds, threads=2)
        os.kill(server.pids()[1], signal.SIGTERM)
        server.process.wait(STOP_SECONDS)
    flushes = sum(int(n) for n in re.findall(r"f(?:data)?sync\s+(\d+)", summary.read_text()))
    if not flushes:
        raise BenchError(f"strace has seen no flush:\n{summary.read_text()}")
    return seen.requests / flushes


def sqlite_rate(folder):
    """Durable commits per second of one writer on SQLite, as it is commonly set up for servers."""
    folder.mkdir(parents=True)
    db = sqlite3.connect(folder / "bench.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE kv (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
    started = time.monotonic()
    for i in range(SQLITE_COMMITS):
        db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (f"key{i * 7919 % 100000}", "x" * 100))
    rate = SQLITE_COMMITS / (time.monotonic() - started)
    db.close()
    return rate


def section(rounds=ROUNDS, seconds=SECONDS):
    """Measure. Returns what to say, and the Bounds."""
    folder = OUT / "disk"
    shutil.rmtree(folder, ignore_errors=True)
    with start(folder / "db") as server:
        ask(server, "/fill")
        idle = server.memory().rss / MIB
        reads = statistics.median(float(ask(server, "/reads")) for _ in range(rounds))
        shares, plain, durable, turns = [], [], [], []
        drive(server, "/set", 1)
        for _ in range(rounds):
            turn_reset(server)
            durable.append(drive(server, "/set", seconds))
            turns.append(turn_reset(server))
            plain.append(drive(server, "/plain", seconds))
            shares.append(durable[-1] / plain[-1])
        cached = drive(server, "/get", seconds)
        busy = server.memory().rss / MIB
    flush = commits_per_flush(folder / "traced", seconds)
    stall = machine_stall(rounds * seconds)
    sqlite = sqlite_rate(folder / "sqlite")
    shutil.rmtree(folder, ignore_errors=True)
    rates = [f"{rate:,.0f}" for rate in (statistics.median(plain), statistics.median(durable), flush, cached, sqlite)]
    lines = [
        f"Disk store with {CONNECTIONS} connections and {WORKERS} workers: plain route {rates[0]}/s, durable writes "
        f"{rates[1]}/s, {rates[2]} of them for each flush, cached reads {rates[3]}/s; {busy:.1f} MiB RSS when busy. "
        f"The longest turn of a worker took {max(turn for turn, _ in turns):.1f} ms, with the time when others had its "
        f"processor, and in the median of the rounds {statistics.median(work for _, work in turns):.1f} ms of its own. "
        f"A loop that only reads its clock was held up here for {stall:.1f} ms at once. "
        f"SQLite {sqlite3.sqlite_version}, one writer: {rates[4]} durable commits/s.",
    ]
    return lines, [
        Bound("plain route / durable writes, requests/s", 1 / statistics.median(shares), 1 / SHARE),
        Bound("flushes for each acknowledged commit", 1 / flush, 1 / COMMITS_PER_FLUSH, ""),
        Bound("longest turn of a worker meanwhile: its own work", max(work for _, work in turns), TURN_MS, "ms"),
        Bound("disk store: a cached get", reads, READ_NS, "ns"),
        Bound("disk store open and idle: RSS", idle, IDLE_MIB, "MiB"),
    ]


if __name__ == "__main__":
    sys.exit(main(section, arguments(__doc__, rounds=ROUNDS, seconds=SECONDS)))
