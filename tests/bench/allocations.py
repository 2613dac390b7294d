"""How often a server asks the C library for memory, counted by a preloaded library (malloc_count.c)."""

import time
from itertools import pairwise
from pathlib import Path

import load
from servers import OUT, compile_c, heart_start

COUNTER = OUT / "malloc_count"
WINDOWS = (10_000, 20_000)
WARM_UP = 10_000
CONNECTIONS = 8
SETTLE_SECONDS = 0.2


def environment(counter=COUNTER):
    """The variables that make a process count into the file `counter`, which starts from zero."""
    library = compile_c("malloc_count.c", "malloc_count.so", "-shared", "-fPIC")
    Path(counter).unlink(missing_ok=True)
    return {"LD_PRELOAD": str(library), "MALLOC_COUNT_FILE": str(counter)}


def calls(counter=COUNTER):
    """Calls counted so far."""
    return int.from_bytes(Path(counter).read_bytes(), "little")


def windows(url, counter=COUNTER, fields=()):
    """Calls while the server at `url` answers each number of requests in WINDOWS, after a warm-up. All requests have
    these field lines."""
    load.h2load(url, requests=WARM_UP, connections=CONNECTIONS, fields=fields)
    marks = [calls_settled(counter)]
    for requests in WINDOWS:
        load.h2load(url, requests=requests, connections=CONNECTIONS, fields=fields)
        marks.append(calls_settled(counter))
    return [after - before for before, after in pairwise(marks)]


def calls_settled(counter):
    """Calls counted once the connections are closed on the server's side too."""
    time.sleep(SETTLE_SECONDS)
    return calls(counter)


def measure():
    """Calls of Heart in each of WINDOWS, for the route /hello."""
    with heart_start(1, env=environment()) as server:
        return windows(server.url + "/hello")
