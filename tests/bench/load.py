"""The clients: wrk and h2load as processes, and a crowd of idle connections held by this process."""

import http.client
import json
import re
import resource
import socket
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from process import BenchError, tool

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
ANSWER_SECONDS = 10.0
SPARE_DESCRIPTORS = 100
READ_BYTES = 65536


@dataclass(frozen=True)
class Load:
    """What wrk saw: answered requests, requests per second and the 99th percentile of the latency in ms.

    `p99` is None for batches: wrk corrects latencies with an interval per request, not per batch.
    """

    requests: int
    rate: float
    p99: float | None


@dataclass(frozen=True)
class Answer:
    """One response: its status, the names of its fields in lower case, its decoded JSON body."""

    status: int
    fields: frozenset
    body: object


def wrk(url, *, connections, seconds, threads=1, depth=1, close=False, cpus=None):
    """Drive `url` for `seconds` with `depth` requests in each write. An error or a status other than 2xx raises."""
    argv = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
    argv += [tool("wrk"), "-t", threads, "-c", connections, "-d", f"{seconds}s", "-s", WRK_SCRIPT]
    argv += ["-H", "Connection: close"] if close else []
    result = subprocess.run([*map(str, argv), url, "--", str(depth)], capture_output=True, text=True)
    line = re.search(r"^result (.*)$", result.stdout, re.MULTILINE)
    if line is None:
        raise BenchError(f"wrk failed: {result.stdout}{result.stderr}")
    seen = json.loads(line[1])
    if seen["failed"] or not seen["requests"]:
        raise BenchError(f"{url}: {seen['failed']} of {seen['requests']} requests failed")
    p99 = seen["p99"] / 1000 if depth == 1 else None
    return Load(seen["requests"], seen["requests"] / seen["microseconds"] * 1e6, p99)


def h2load(url, *, requests, connections, fields=()):
    """Send exactly `requests` requests with HTTP/1.1, each with these field lines. Raises when one does not succeed."""
    more = [word for field in fields for word in ("-H", field)]
    argv = [tool("h2load", "nghttp2-client"), "--h1", "-n", requests, "-c", connections, *more, url]
    result = subprocess.run([*map(str, argv)], capture_output=True, text=True)
    if f" {requests} succeeded, 0 failed, 0 errored, 0 timeout" not in result.stdout:
        raise BenchError(f"h2load failed: {result.stdout}{result.stderr}")


def ask(server, *paths):
    """Send one request for each path over one connection. Returns the Answers."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=ANSWER_SECONDS)
    answers = []
    with answering(server), closing(connection):
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            fields = frozenset(name.lower() for name, _ in answer.getheaders())
            answers.append(Answer(answer.status, fields, json.loads(answer.read())))
    return answers


@contextmanager
def answering(server):
    """Turns what goes wrong while talking to `server` into a BenchError that names it."""
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise BenchError(f"{server.name} does not answer: {error!r}\n{server.messages()}") from error


def descriptors_raise():
    """Raise the limit of open files to what this process may have. Servers started later inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def crowd_open(server, path, count):
    """Open up to `count` keep-alive connections (as many as the limit of open files allows), each with one answered
    request. Returns the sockets."""
    count = min(count, descriptors_raise() - SPARE_DESCRIPTORS)
    request = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode()
    crowd = []
    with answering(server):
        for _ in range(count):
            client = socket.create_connection((server.host, server.port), ANSWER_SECONDS)
            crowd.append(client)
            client.sendall(request)
            if not client.recv(READ_BYTES).startswith(b"HTTP/1.1 200"):
                raise BenchError(f"{server.name} refuses connection {len(crowd)} of {count}")
    return crowd
