"""What the db thread asks of a store, and in which words: the seam between it and RocksDB or Redis.

A backend is an object with the methods of Backend. It is used by one thread. Keys and values are bytes; a value is
typed (its first byte says how, see kv_number.py), which a backend need not know but to increment one. Times are
Unix milliseconds, 0 stands for "never"; versions are positive and grow with every commit of a store.

A commit is a tuple (reads, ranges, writes, sync):
    reads   [(key, version)]: what the transaction has read; version 0: the key was missing
    ranges  [(start, stop, limit, reverse, digest, version)]: the pages of scans that it has seen, the `digest` of
            each, and the store's version then (0: not known)
    writes  [(action, key, value, expires, arg)]
    sync    the answer must not leave before the commit is on the disk
A result is a tuple (status, version, outcomes). With OK, `version` is the commit's and `outcomes` is None or has one
entry for each write, see the actions. CONFLICT, EXISTS: `version` is the one that is there, `outcomes` the position of
the write that was refused, None if a read or range was. FAILED: `outcomes` is the reason, a text. Whatever is not OK
has changed nothing. (The numbers are those of KvAction and KvResult in pyx/core.pxd.)
"""

import struct
import zlib

from .errors import HeartError

# Actions of a write, with what `arg` is and what its outcome is (None where nothing is said).
SET = 0
DELETE = 1  # Outcome: whether the key was there
ADD = 2  # only if the key is missing, else EXISTS
CAS = 3  # only if the key has version `arg` (0: is missing), else CONFLICT. `value` None: delete
INCR = (
    4  # `arg` is (by, init), numbers; init stands for a missing one. Else NOT_NUMBER. Outcome: (number, value, expires)
)
EXPIRE = 5  # keeps the value. Outcome: the value, None if the key is missing, which is no failure
DELETE_PREFIX = 6  # Outcome: the keys that were deleted; PREFIX_STEP of them or more: there may be more

# Statuses of a result.
OK = 0
CONFLICT = 1
EXISTS = 2
NOT_NUMBER = 3
FULL = 4
FAILED = 5

PAGE_BYTES = 1 << 20
PREFIX_STEP = 2000  # KV_PREFIX_STEP


class StoreError(HeartError):
    """A store can not be opened, or can not do what it was asked for."""


class Backend:
    """What every store offers. Failures are StoreErrors, with a message for people. `shared`: others may write to it,
    too; then it has watch(heard), see kv_redis_watch.Watch. `notes`: what is to be told of a store that was opened,
    texts with their log levels."""

    shared = False
    notes = ()

    def read(self, keys):
        """For each key, in order: (version, expires, value), or None."""
        raise NotImplementedError

    def commit(self, commits):
        """Carry the commits out, one after the other; returns their results. All that were to be synced are."""
        raise NotImplementedError

    def scan(self, start, stop, limit, reverse=False, keys_only=False):
        """A page: at most `limit` items (key, version, expires, value) of start <= key < stop in bytewise order, and
        whether there may be more. An empty `stop`: to the end. keys_only: values are empty. A page ends early when its
        values take PAGE_BYTES, given or not, so that the same scan of the same keys gives the same page."""
        raise NotImplementedError

    def count(self, start, stop):
        """How many keys there are from start to stop."""
        raise NotImplementedError

    def sweep(self, limit):
        """Remove up to about `limit` expired keys; returns those that were removed, as a commit whose version is
        `self.version`. Empty: there are none, or the store does this by itself."""
        raise NotImplementedError

    def flush(self):
        """All that was committed is on the disk when this returns."""
        raise NotImplementedError

    def stats(self):
        """Figures by name, for people."""
        raise NotImplementedError

    def close(self):
        """Flush and close. Idempotent."""
        raise NotImplementedError


def prefix_stop(prefix):
    """The least key behind all that begin with `prefix`; empty if there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b""


def digest(items):
    """A fingerprint of a page: which keys at which versions, in order. kv_digest in pyx/kv_txn.pxi is the same."""
    sum = 0
    for key, version, *_ in items:
        sum = zlib.crc32(struct.pack("<QI", version, len(key)) + key, sum)
    return sum << 32 | len(items)
