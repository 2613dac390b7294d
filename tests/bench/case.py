"""A case of the comparison: which servers are driven how, the rounds that were measured, and the ratios they give."""

import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import load
import servers

WARM_UP_SECONDS = 1
SETTLE_SECONDS = 0.1


@dataclass(frozen=True)
class Case:
    """`bounds`: the most that the CPU time of `subject` may be, as a multiple of that of another server."""

    name: str
    title: str
    path: str
    workers: int = 1
    connections: int = 64
    depth: int = 1
    close: bool = False
    servers: tuple = servers.NAMES
    subject: str = "heart"
    bounds: dict = field(default_factory=dict)


CASES = (
    Case("hello", "1 worker, 64 connections", "/hello", bounds={"floor": 1.10, "nginx": 0.80}),
    Case("echo", "the same, every answer different", "/echo?name=X", bounds={"nginx": 0.80}),
    Case("hello2", "2 workers, 256 connections", "/hello", 2, 256, bounds={"floor": 1.10, "nginx": 0.80}),
    Case("pipeline", "1 worker, 16 requests per write", "/hello", depth=16, bounds={"floor": 1.90, "nginx": 0.80}),
    Case("close", "1 worker, 1 request per connection", "/hello", close=True),
    Case(
        "logs",
        "1 worker, access log to a file",
        "/hello",
        servers=("heart", "heart-logs"),
        subject="heart-logs",
        bounds={"heart": 1.10},
    ),
)


@dataclass(frozen=True)
class Round:
    """One run of wrk against one server: its Load and the server's CPU time per request in microseconds."""

    load: load.Load
    cpu: float


def cpus_split(workers):
    """The processors of the servers and those of the client: apart for one worker, all for both otherwise."""
    available = sorted(os.sched_getaffinity(0))
    if workers > 1 or len(available) < 2:
        return None, None
    return available[:1], available[1:]


class Result:
    """The rounds of a case by server, in the order they were run, and the servers' memory before and after them."""

    def __init__(self, case, names):
        self.case = case
        self.rounds = {name: [] for name in case.servers if name in names}
        self.idle = {}
        self.loaded = {}

    def cpu(self, name):
        """Median of the CPU time per request in microseconds."""
        return statistics.median(r.cpu for r in self.rounds[name])

    def spread(self, name):
        """Least and greatest CPU time per request."""
        values = [r.cpu for r in self.rounds[name]]
        return min(values), max(values)

    def median(self, name, attribute):
        """Median of an attribute of Load, None where wrk could not tell."""
        values = [getattr(r.load, attribute) for r in self.rounds[name]]
        return None if None in values else statistics.median(values)

    def ratio(self, base, subject=None):
        """Median over the rounds of the subject's CPU time as a multiple of that of `base`, None if one did not run.

        Rounds are compared with their neighbours, so that a machine that slows down for a while slows both.
        """
        pairs = zip(self.rounds.get(subject or self.case.subject, ()), self.rounds.get(base, ()), strict=False)
        ratios = [one.cpu / other.cpu for one, other in pairs]
        return statistics.median(ratios) if ratios else None


def drive(case, server, seconds, client_cpus):
    """One Round against `server`."""
    before = server.cpu_ns()
    seen = load.wrk(
        server.url + case.path,
        connections=case.connections,
        seconds=seconds,
        threads=case.workers,
        depth=case.depth,
        close=case.close,
        cpus=client_cpus,
    )
    time.sleep(SETTLE_SECONDS)
    return Round(seen, (server.cpu_ns() - before) / seen.requests / 1000)


def measure(case, names, rounds, seconds):
    """Run `rounds` interleaved rounds of `case` with those of its servers that are in `names`. Returns a Result."""
    result = Result(case, names)
    server_cpus, client_cpus = cpus_split(case.workers)
    with ExitStack() as running:
        started = {}
        for name in result.rounds:
            server = servers.start(name, case.workers, close=case.close, cpus=server_cpus)
            started[name] = running.enter_context(server)
            result.idle[name] = server.memory()
            servers.check(server)
            drive(case, server, WARM_UP_SECONDS, client_cpus)
        for _ in range(rounds):
            for name, server in started.items():
                result.rounds[name].append(drive(case, server, seconds, client_cpus))
                log_empty()
        result.loaded = {name: server.memory() for name, server in started.items()}
    return result


def log_empty():
    """Keep the access log from filling the disk; it is written in append mode."""
    if servers.LOG.exists():
        os.truncate(servers.LOG, 0)
