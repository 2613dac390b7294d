"""Memory of a server that idles, that holds a crowd of keep-alive connections, and that lost them."""

import time
from dataclasses import dataclass

import load
from process import MIB

CROWD = 10_000
WARM_UP = 1_000
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Footprint:
    """RSS in bytes: freshly started, after some requests, with `crowd` connections, and after they closed."""

    fresh: int
    warm: int
    held: int
    released: int
    crowd: int

    @property
    def added(self):
        """MiB that the connections added."""
        return (self.held - self.warm) / MIB

    @property
    def kept(self):
        """MiB that were not given back."""
        return (self.released - self.warm) / MIB


def measure(server):
    """The Footprint of `server`. The warm-up keeps code and Lua memory touched for the first time out of the sums."""
    fresh = settled(server)
    load.h2load(server.url + "/hello", requests=WARM_UP, connections=1)
    warm = settled(server)
    crowd = load.crowd_open(server, "/hello", CROWD)
    held = settled(server)
    for client in crowd:
        client.close()
    return Footprint(fresh, warm, held, settled(server), len(crowd))


def settled(server):
    """RSS of `server` in bytes after a moment of rest."""
    time.sleep(SETTLE_SECONDS)
    return server.memory().rss
