"""The store on Redis or Valkey, one server or a cluster: the backend that `--kv redis://…` names.

Every commit is one call of a script in the server (kv_redis_script), which checks what was read and writes all or
nothing; a group of commits travels in one batch (kv_redis_nodes). Keys are spread over buckets by their hash tag: one
bucket on a single server, BUCKETS in a cluster, each in one slot. A transaction stays within one hash tag.

Invariants: a commit has the same client, batch and index however often it is sent, and the script answers a repeated
one from its memory; a batch that was given up is never sent again, and the script refuses it if it comes late. Other
processes write to the same store, so nothing of it may be cached (`shared`).
"""

import binascii
import hashlib
import heapq
import os
import struct
import time

from . import kv_number, kv_redis_url
from . import kv_redis_script as script
from .kv_backend import (
    ADD,
    CAS,
    CONFLICT,
    DELETE,
    DELETE_PREFIX,
    EXISTS,
    EXPIRE,
    FAILED,
    FULL,
    INCR,
    NOT_NUMBER,
    OK,
    PAGE_BYTES,
    PREFIX_STEP,
    SET,
    Backend,
    StoreError,
    digest,
    prefix_stop,
)
from .kv_redis_nodes import Nodes, Request, hint

BUCKETS = 256
SLOTS = 16384
SWEEPS = 10  # steps of one sweep at most
SWEPT = 16  # buckets of a cluster that are swept at a time
HEAD = struct.Struct(">QQ")
STAMP = struct.Struct(">Q")
PAGE = 1000  # items of one call of the scan script
CAS_DELETE = 7  # the script's word for a CAS that deletes
UNKNOWN = "there was no answer: the commit may have happened or not"


def now_ms():
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def hashed(key):
    """The part of a key that decides where it lives: between the first { and the next }, or all of it."""
    start = key.find(b"{")
    if start >= 0:
        stop = key.find(b"}", start + 1)
        if stop > start + 1:
            return key[start + 1 : stop]
    return key


def common_prefix(start, stop):
    """What all keys from start to stop begin with."""
    n = len(os.path.commonprefix((start, stop)))
    if stop and start[n : n + 1] and len(stop) == n + 1 and start[n] + 1 == stop[n]:
        n += 1
    return start[:n]


class Script:
    """A script and the name by which the server knows it."""

    def __init__(self, text):
        self.text = text.encode()
        self.sha = hashlib.sha1(self.text).hexdigest().encode()


SCRIPTS = {name: Script(getattr(script, name)) for name in ("COMMIT", "SCAN", "COUNT", "SWEEP")}


class RedisStore(Backend):
    """An open store. `clock` gives Unix milliseconds."""

    shared = True

    def __init__(self, url, clock=now_ms):
        try:
            self.target = kv_redis_url.read_url(url)
        except ValueError:
            raise StoreError(f"--kv: {url!r}: expected {kv_redis_url.EXPECTED}") from None
        kv_redis_url.check_tls(self.target)
        self.clock = clock
        self.notes = []
        self.count_of_buckets = BUCKETS if self.target.cluster else 1
        self.bases = [b"heart:{%d}:" % bucket for bucket in range(self.count_of_buckets)]
        slots = [binascii.crc_hqx(b"%d" % bucket, 0) % SLOTS for bucket in range(self.count_of_buckets)]
        self.nodes = Nodes(self.target, slots)
        self.client = os.urandom(8).hex().encode()
        self.batch = 0
        self.swept = 0
        self.greet()

    # ---- Talking -------------------------------------------------------------------------------------------------

    def greet(self):
        """Make sure that the servers are there, and of the right kind."""
        self.one(Request(0, (b"EXISTS", self.bases[0] + b"v")))
        for node, _ in self.nodes.masters():
            try:
                text = node.ask("INFO").decode()
            except self.nodes.client.failures as error:
                raise StoreError(f"--kv {self.target}: {node}: {error}") from None
            except self.nodes.client.ResponseError:
                continue  # INFO is forbidden to this user
            info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            self.look_at(node, info)

    def look_at(self, node, info):
        """Check what a server says about itself."""
        version = info.get("redis_version", "5")
        if int(version.split(".")[0]) < 5:
            raise StoreError(f"--kv {self.target}: {node} runs Redis {version}; Heart needs 5.0 or newer, or Valkey")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory", "0") != "0" and policy != "noeviction":
            note = f"{node} drops keys when its memory is full (maxmemory-policy {policy}); a store wants noeviction"
            self.notes.append(("warn", f"--kv {self.target}: {note}"))

    def one(self, request):
        """Carry out one request; its reply, or a StoreError."""
        return self.reply(self.run([request])[0])

    def reply(self, request):
        """The reply of a request, or a StoreError that says why there is none."""
        if request.error is not None:
            raise StoreError(f"{self.target}: {request.error}")
        if isinstance(request.reply, Exception):
            raise StoreError(self.refusal(request.reply))
        return request.reply

    def refusal(self, error):
        """What a server said, with what helps."""
        if type(error).__name__ == "MovedError":
            hosts = str(self.target).partition("://")[2].partition("/")[0]
            return f"{self.target}: this server belongs to a cluster: use redis-cluster://{hosts}"
        return f"{self.target}: {error}{hint(error)}"

    def call(self, script, bucket, *words):
        """The request that calls a script. The second key never exists: so a cluster runs no script on a slot while
        that moves and its keys are here and there, but says TRYAGAIN until all have arrived."""
        base = self.bases[bucket]
        return Request(bucket, (b"EVALSHA", SCRIPTS[script].sha, b"2", base + b"v", base + b"never", base, *words))

    def run(self, requests):
        """Carry out requests; scripts that a server does not have are sent to it."""
        self.nodes.run(requests)
        strange = [r for r in requests if type(r.reply).__name__ == "NoScriptError"]
        if strange:
            for request in strange:
                sha = request.words[1]
                text = next(script.text for script in SCRIPTS.values() if script.sha == sha)
                request.words = (b"EVAL", text, *request.words[2:])
                request.reply = None
            self.nodes.run(strange)
        return requests

    # ---- Where keys live -----------------------------------------------------------------------------------------

    def bucket(self, key):
        """The bucket of a key."""
        return binascii.crc_hqx(hashed(key), 0) % self.count_of_buckets

    def buckets(self, start, stop):
        """The buckets in which keys from start to stop can be."""
        prefix = common_prefix(start, stop)
        tag = hashed(prefix)
        if self.count_of_buckets > 1 and tag is prefix:
            return range(self.count_of_buckets)
        return (binascii.crc_hqx(tag, 0) % self.count_of_buckets,)

    def home(self, commit):
        """The one bucket of a commit; StoreError if its keys have several hash tags."""
        reads, ranges, writes = commit[:3]
        if self.count_of_buckets == 1:
            return 0
        first = None
        for key in (*(read[0] for read in reads), *(write[1] for write in writes if write[0] != DELETE_PREFIX)):
            if first is None:
                first = key
            elif hashed(key) != hashed(first):
                raise StoreError(apart(first, key))
        spans = [range_[:2] for range_ in ranges]
        spans += [(write[1], prefix_stop(write[1])) for write in writes if write[0] == DELETE_PREFIX]
        for start, stop in spans:
            prefix = common_prefix(start, stop)
            if hashed(prefix) is prefix:
                raise StoreError(
                    f"{self.target}: a transaction in a cluster can list or delete only below one hash tag: the prefix "
                    f"{show(prefix)} has none; write it as in {{user1}}:"
                )
            if first is None:
                first = prefix
            elif hashed(prefix) != hashed(first):
                raise StoreError(apart(first, prefix))
        return self.bucket(first) if first is not None else 0

    # ---- Reading -------------------------------------------------------------------------------------------------

    def read(self, keys):
        """See Backend.read. Not MGET: a slot that moves has no answer to it."""
        buckets = [self.bucket(key) for key in keys]
        requests = [Request(b, (b"GET", self.bases[b] + b"d:" + key)) for b, key in zip(buckets, keys, strict=True)]
        found = map(self.reply, self.run(requests))
        return [r and (*HEAD.unpack_from(r), r[HEAD.size :]) for r in found]

    def scan(self, start, stop, limit, reverse=False, keys_only=False):
        """See Backend.scan. In a cluster, a list that has no hash tag is merged from all buckets; it is no snapshot."""
        if stop and start >= stop:
            return [], False
        wanted = self.buckets(start, stop)
        size = min(limit + 1, PAGE) if len(wanted) == 1 else min(limit + 1, PAGE, 2 * limit // len(wanted) + 8)
        streams = [Stream(bucket, start, stop, size, reverse, keys_only) for bucket in wanted]
        items, size = [], 0
        for key, version, expires, value, taken in self.merge(streams, reverse):
            if len(items) >= limit or size >= PAGE_BYTES:
                return items, True
            items.append((key, version, expires, value))
            size += taken
        return items, False

    def merge(self, streams, reverse):
        """The items of several streams in order."""
        self.fill(streams)
        turn = Backwards if reverse else bytes
        heap = [(turn(s.items[0][0]), n) for n, s in enumerate(streams) if s.items]
        heapq.heapify(heap)
        while heap:
            _, n = heap[0]
            stream = streams[n]
            yield stream.take()
            if stream.empty() and stream.more:
                self.fill([s for s in streams if s.empty() and s.more])
            if stream.empty():
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (turn(stream.first()), n))

    def fill(self, streams):
        """Read the next page of streams."""
        requests = [self.call("SCAN", stream.bucket, *stream.words()) for stream in streams]
        for stream, request in zip(streams, self.run(requests), strict=True):
            stream.page(self.reply(request))

    def count(self, start, stop):
        """See Backend.count."""
        if stop and start >= stop:
            return 0
        requests = [self.call("COUNT", bucket, start, stop) for bucket in self.buckets(start, stop)]
        return sum(map(self.reply, self.run(requests)))

    # ---- Writing -------------------------------------------------------------------------------------------------

    def commit(self, commits):
        """See Backend.commit. The server decides when its disk is written (its `appendfsync`): `sync` changes
        nothing."""
        self.batch += 1
        results = [None] * len(commits)
        requests, places = [], []
        for place, commit in enumerate(commits):
            try:
                made = self.commit_requests(commit, place)
            except StoreError as error:
                results[place] = (FAILED, 0, str(error))
                continue
            requests += made
            places += [place] * len(made)
        for request, place in zip(self.run(requests), places, strict=True):
            results[place] = joined(results[place], self.result(request, commits[place]))
        return results

    def commit_requests(self, commit, place):
        """The requests for one commit: one, but for a prefix deleted in all buckets."""
        reads, ranges, writes, _ = commit
        if not reads and not ranges and len(writes) == 1 and writes[0][0] == DELETE_PREFIX:
            buckets = self.buckets(writes[0][1], prefix_stop(writes[0][1]))
        else:
            buckets = (self.home(commit),)
        words = [self.client, self.batch, place, len(reads)]
        for key, version in reads:
            words += (key, stamp(version))
        words.append(len(ranges))
        for range_ in ranges:
            words += self.range_words(*range_)
        words.append(len(writes))
        now = self.clock()
        for write in writes:
            words += write_words(*write, now)
        return [self.call("COMMIT", bucket, *words) for bucket in buckets]

    def range_words(self, start, stop, limit, reverse, seen, _version):
        """What the script needs to check a page: a digest that it can compute, of what agrees with `seen` here.

        The script has no CRC, so the page is read once more; what changes between this and the script's own look at it,
        the script finds."""
        items, _ = self.scan(start, stop, limit, reverse, keys_only=True)
        text = b"".join(struct.pack(">I", len(key)) + key + STAMP.pack(version) for key, version, *_ in items)
        agreed = hashlib.sha1(text).hexdigest() if digest(items) == seen else "changed"
        return (start, stop, limit, int(reverse), PAGE_BYTES, agreed)

    def result(self, request, commit):
        """The result of a commit."""
        if request.error is not None:
            text = f"{request.error}; {UNKNOWN}" if request.unknown else request.error
            return (FAILED, 0, f"{self.target}: {text}")
        if isinstance(request.reply, Exception):
            if str(request.reply).startswith("OOM"):
                return (FULL, 0, None)
            return (FAILED, 0, self.refusal(request.reply))
        status, version, *rest = request.reply
        if status == OK:
            found = [outcome(write[0], values) for write, values in zip(commit[2], rest, strict=True)]
            return (OK, int(version), found if any(one is not None for one in found) else None)
        if status == FAILED:
            return (FAILED, 0, f"{self.target}: {rest[0].decode()}")
        place = rest[0] if status in (CONFLICT, EXISTS, NOT_NUMBER) and rest[0] != b"" else None
        return (status, STAMP.unpack(version)[0] if version else 0, place)

    def sweep(self, limit):
        """See Backend.sweep. The server removes expired keys by itself; here its indexes forget them, and the scripts
        tell those who watch."""
        for _ in range(SWEEPS):
            if len(self.sweep_step(limit)) < limit:
                break
        return []

    def sweep_step(self, limit):
        """Forget some expired keys, and return them. Of a cluster, some buckets at a time."""
        buckets = [(self.swept + n) % self.count_of_buckets for n in range(min(SWEPT, self.count_of_buckets))]
        self.swept = (buckets[-1] + 1) % self.count_of_buckets
        share = max(1, limit // len(buckets))
        requests = self.run([self.call("SWEEP", bucket, share) for bucket in buckets])
        return [key for request in requests for key in self.reply(request)]

    # ---- Care ----------------------------------------------------------------------------------------------------

    def watch(self, heard):
        """Watch all keys: see kv_redis_watch.Watch."""
        from .kv_redis_watch import Watch

        return Watch(self, heard)

    def flush(self):
        """See Backend.flush. When the server's disk is written is the server's setting (`appendfsync`)."""

    def stats(self):
        """See Backend.stats."""
        return {
            "keys": self.count(b"", b""),
            "nodes": ", ".join(str(node) for node, _ in self.nodes.masters()),
            "nodes down": sum(node.down is not None for node in self.nodes.nodes.values()),
        }

    def close(self):
        """See Backend.close."""
        self.nodes.close()


class Backwards:
    """A key that sorts the other way round."""

    __slots__ = ("key",)

    def __init__(self, key):
        self.key = key

    def __lt__(self, other):
        return self.key > other.key


class Stream:
    """The items of one bucket, read page by page."""

    def __init__(self, bucket, start, stop, size, reverse, keys_only):
        self.bucket = bucket
        self.start = start
        self.stop = stop
        self.size = size
        self.reverse = reverse
        self.keys_only = keys_only
        self.items = []
        self.at = 0
        self.more = True

    def words(self):
        """The arguments of the script for the next page."""
        return (self.start, self.stop, self.size, int(self.reverse), int(self.keys_only), PAGE_BYTES)

    def page(self, reply):
        """Take a page in."""
        self.more = bool(reply[0])
        self.at = 0
        self.items = [
            (key, *HEAD.unpack_from(record), record[HEAD.size :], size)
            for key, record, size in zip(reply[1::3], reply[2::3], reply[3::3], strict=True)
        ]
        if self.items and self.reverse:
            self.stop = self.items[-1][0]
            self.more = self.more and self.start < self.stop
        elif self.items:
            self.start = self.items[-1][0] + b"\0"

    def empty(self):
        """Whether the page is used up."""
        return self.at == len(self.items)

    def first(self):
        """The key of the next item."""
        return self.items[self.at][0]

    def take(self):
        """The next item."""
        self.at += 1
        return self.items[self.at - 1]


def stamp(version):
    """A version as the script compares it: 8 bytes, nothing for a key that is missing."""
    return STAMP.pack(version) if version else b""


def write_words(action, key, value, expires, arg, now):
    """What the script gets of one write."""
    init = b""
    if action == CAS:
        action = CAS if value is not None else CAS_DELETE
        arg = stamp(arg)
    elif action == INCR:
        arg, init = (repr(float(number)) for number in arg)
    elif action == DELETE_PREFIX:
        arg, init = prefix_stop(key), PREFIX_STEP
    else:
        arg = b""
    # An expiry time that has passed is one millisecond before the server's now.
    life = (max(expires - now, 0) or -1) if expires else 0
    return (action, key, value if action in (SET, ADD, CAS) else b"", life, arg, init)


def outcome(action, values):
    """What kv_backend says about an action's outcome, from the script's list."""
    if action == DELETE:
        return values[0] == 1
    if action == INCR:
        return float(kv_number.decode(values[0])), values[0], int(values[1])
    if action == EXPIRE:
        return values[0] if values else None
    return values if action == DELETE_PREFIX else None


def joined(one, other):
    """The result of a commit that was made in several buckets."""
    if one is None or one[0] != OK:
        return one or other
    if other[0] != OK:
        return other
    return (OK, max(one[1], other[1]), [sorted(one[2][0] + other[2][0])])


def show(key):
    """A key for people."""
    return repr(key[:64].decode("utf-8", "backslashreplace"))


def apart(one, other):
    """Two keys that a transaction can not have together."""
    return (
        f"the keys of a transaction in a cluster must have one hash tag, so that they are in one slot: {show(one)} and "
        f"{show(other)} do not; name them like {{user1}}:a and {{user1}}:b"
    )
