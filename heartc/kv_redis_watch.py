"""Hears what is committed to a store on Redis, by anybody, in the order of the commits (in a cluster: of each bucket).

The commit script publishes an event for each key while the mark `w` of its bucket exists, which lives MARK seconds and
is renewed here; so commits cost nothing more while nobody watches. Events of a bucket are numbered: a gap, or a broken
connection, becomes LOST, after which the watcher must list again. A key that expires makes no event.

The watch has a thread and connections of its own; `heard` is called on that thread.
"""

import struct
import threading
import time

from .errors import HeartError
from .kv_backend import StoreError
from .kv_redis_nodes import FIRST_PAUSE, Nodes, Request

CHANNEL = b"heart:events"
MARK = 60  # seconds
CHECK = 15  # seconds between renewals of the marks
LISTEN = 0.5  # seconds of one look at the connection
LAST_PAUSE = 2.0  # seconds between attempts to connect, at most
HEAD = struct.Struct(">IQQI")
LOST = None


class Watch:
    """A subscription. heard(events) gets lists of (key, version, value), value None: deleted, and of LOST."""

    def __init__(self, store, heard):
        self.heard = heard
        self.bases = store.bases
        self.nodes = Nodes(store.target, store.nodes.slots)
        self.places = {base: n for n, base in enumerate(store.bases)}
        self.seen = []
        self.behind = []
        self.node = None
        self.ended = False
        self.checked = 0.0
        self.subscribe()
        self.thread = threading.Thread(target=self.run, name="heart-kv-watch", daemon=True)
        self.thread.start()

    def stop(self):
        """End the subscription. No event is told after this, except by the call that runs now."""
        self.ended = True
        self.thread.join(2 * LISTEN)

    # ---- The connection ------------------------------------------------------------------------------------------

    def subscribe(self):
        """Mark the buckets as watched, subscribe, and see which events are already past."""
        self.mark()
        node = self.listener()
        try:
            node.ask("SUBSCRIBE", CHANNEL)
        except (*self.nodes.client.failures, self.nodes.client.ResponseError) as error:
            node.lost(error)
            raise StoreError(f"{self.nodes.target}: {node}: {error}") from None
        self.node = node
        self.seen = self.numbers()
        self.behind = [True] * len(self.bases)

    def listener(self):
        """A node that can be reached, with a connection that is used for nothing else."""
        nodes = [node for node, _ in self.nodes.masters()]
        best = min(nodes, key=lambda node: node.down is not None)
        return Nodes(self.nodes.target, ()).node(best.address)

    def ask(self, words):
        """The replies to the same command for each bucket."""
        requests = [Request(bucket, words(base)) for bucket, base in enumerate(self.bases)]
        for request in self.nodes.run(requests):
            error = request.error or (request.reply if isinstance(request.reply, Exception) else None)
            if error is not None:
                raise StoreError(f"{self.nodes.target}: {error}")
        return [request.reply for request in requests]

    def mark(self):
        """Ask the commit script to publish."""
        self.checked = time.monotonic()
        self.ask(lambda base: (b"SET", base + b"w", b"1", b"EX", MARK))

    def numbers(self):
        """The number of the last event of each bucket."""
        return [int(number or 0) for number in self.ask(lambda base: (b"GET", base + b"n"))]

    # ---- The thread ----------------------------------------------------------------------------------------------

    def run(self):
        """Listen until stopped; connect again when the connection breaks."""
        pause = FIRST_PAUSE
        while not self.ended:
            try:
                if self.node is None:
                    self.subscribe()
                    self.heard([LOST])
                self.listen()
                pause = FIRST_PAUSE
            except HeartError:
                self.drop()
                time.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE)
        self.drop()
        self.nodes.close()

    def drop(self):
        """Leave the connection."""
        if self.node is not None:
            self.node.close()
            self.node = None

    def listen(self):
        """Hear what has come; from time to time, see whether something should have."""
        try:
            if self.node.connection.can_read(timeout=LISTEN):
                self.take(self.node.connection.read_response())
            if time.monotonic() > self.checked + CHECK:
                self.check()
        except self.nodes.client.failures as error:
            raise StoreError(str(error)) from None

    def check(self):
        """Renew the marks; events that were lost without a later one show by the number of the last."""
        self.mark()
        last = self.numbers()
        deadline = time.monotonic() + LISTEN
        while self.is_behind(last) and time.monotonic() < deadline:
            if self.node.connection.can_read(timeout=LISTEN / 10):
                self.take(self.node.connection.read_response())
        if self.is_behind(last):
            self.seen = last
            self.heard([LOST])

    def is_behind(self, last):
        """Whether an event up to the numbers `last` is missing."""
        return any(seen < number for seen, number in zip(self.seen, last, strict=True))

    def take(self, message):
        """Tell one message."""
        if message[0] != b"message":
            return
        events = []
        key, version, value, number, bucket = parse(message[2], self.places)
        if bucket is None:
            return
        last = self.seen[bucket]
        if self.behind[bucket] and 0 < number <= last:
            return  # from before the subscription
        self.behind[bucket] = False
        if number != last + 1:
            events.append(LOST)
        self.seen[bucket] = number or last
        self.heard([*events, (key, version, value)])


def parse(data, places):
    """(key, version, value, number, bucket) of an event; bucket None if it is not one."""
    try:
        base_size, number, version, key_size = HEAD.unpack_from(data)
    except struct.error:
        return None, 0, None, 0, None
    base_end = HEAD.size + base_size
    key_end = base_end + key_size
    value = data[key_end + 1 :] if data[key_end : key_end + 1] == b"\1" else None
    return data[base_end:key_end], version, value, number, places.get(data[HEAD.size : base_end])
