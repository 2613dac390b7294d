"""Decides what the commits of one group do: checks what they have read, carries out their writes in memory.

A group is many commits on their way to the disk in one write. Each is checked against the store and what the group's
earlier commits have changed; nothing is written here. The store is seen through three functions:
    load(key) → (version, expires, value) or None, expired or not
    scan(start, stop, limit, reverse, keys_only) → (items, more), as Backend.scan
    spill(changes)   take the group's changes over, so that `load` and `scan` see them
Invariant: a commit that is refused has changed nothing.
"""

from . import kv_number
from .kv_backend import (
    ADD,
    CAS,
    CONFLICT,
    DELETE,
    DELETE_PREFIX,
    EXISTS,
    EXPIRE,
    INCR,
    NOT_NUMBER,
    OK,
    PREFIX_STEP,
    SET,
    digest,
    prefix_stop,
)


class Refused(Exception):
    """A commit does not happen. Its arguments: the status and the version that is there."""


class Group:
    """The commits of one write. `version` is that of the last commit; `changes` maps keys to records or None."""

    def __init__(self, load, scan, spill, version, now):
        self.load = load
        self.scan = scan
        self.spill = spill
        self.version = version
        self.now = now
        self.changes = {}

    def add(self, commit):
        """Check one commit and take its changes in. Returns its result."""
        reads, ranges, writes, _ = commit
        if (reads and not self.reads_hold(reads)) or (ranges and not self.ranges_hold(ranges)):
            return (CONFLICT, 0, None)
        return self.apply(writes) if writes else (OK, self.version, None)

    # ---- What was read ---------------------------------------------------------------------------------------

    def current(self, key):
        """The record of a key, None if it is missing or expired."""
        changes = self.changes
        record = changes[key] if key in changes else self.load(key)
        if record is not None and 0 < record[1] <= self.now:
            return None
        return record

    def reads_hold(self, reads):
        """Whether every key still has the version that was read."""
        for key, version in reads:
            record = self.current(key)
            if version != (record[0] if record else 0):
                return False
        return True

    def ranges_hold(self, ranges):
        """Whether no key has appeared, changed or gone in what was listed."""
        for start, stop, limit, reverse, seen, version in ranges:
            if version == self.version:
                continue
            self.settle()
            if digest(self.scan(start, stop, limit, reverse)[0]) != seen:
                return False
        return True

    def settle(self):
        """Let scans see what the group has changed so far."""
        if self.changes:
            self.spill(self.changes)
            self.changes = {}

    # ---- What is written -------------------------------------------------------------------------------------

    def apply(self, writes):
        """Carry out the writes of one commit; all have its version."""
        version = self.version + 1
        if len(writes) == 1:
            action, key, value, expires, _ = writes[0]
            if action == SET:
                self.changes[key] = (version, expires, value)
                self.version = version
                return (OK, version, None)
        if any(write[0] == DELETE_PREFIX for write in writes):
            self.settle()
        before, self.changes = self.changes, Layer(self.changes)
        outcomes = []
        try:
            for write in writes:
                outcomes.append(self.write(version, *write))
        except Refused as refused:
            self.changes = before
            return (*refused.args, len(outcomes))
        before.update(self.changes.own)
        self.changes = before
        self.version = version
        return (OK, version, outcomes)

    def write(self, version, action, key, value, expires, arg):
        """Carry out one write; returns its outcome."""
        if action == SET:
            self.changes[key] = (version, expires, value)
            return None
        if action == DELETE_PREFIX:
            return self.delete_prefix(key)
        record = self.current(key)
        there = record[0] if record else 0
        if action == DELETE:
            self.changes[key] = None
            return there > 0
        if action == INCR:
            return self.increment(version, key, record, expires, *arg)
        if action == EXPIRE:
            if record is not None:
                self.changes[key] = (version, expires, record[2])
            return record and record[2]
        if action == ADD and there:
            raise Refused(EXISTS, there)
        if action == CAS and arg != there:
            raise Refused(CONFLICT, there)
        self.changes[key] = None if value is None else (version, expires, value)
        return None

    def increment(self, version, key, record, expires, by, init):
        """Add to a number, which keeps its time; a missing one is `init` before."""
        try:
            number = kv_number.total(kv_number.decode(record[2]) if record else init, by)
        except ValueError:
            raise Refused(NOT_NUMBER, record[0] if record else 0) from None
        value, expires = kv_number.encode(number), record[1] if record else expires
        self.changes[key] = (version, expires, value)
        return number, value, expires

    def delete_prefix(self, prefix):
        """Delete the first PREFIX_STEP keys that begin with `prefix`; returns them."""
        found, start, more = [], prefix, True
        while more and len(found) < PREFIX_STEP:
            items, more = self.scan(start, prefix_stop(prefix), PREFIX_STEP - len(found), False, True)
            found += [item[0] for item in items]
            start = found[-1] + b"\0" if found else b""
        own = {key: record for key, record in self.changes.own.items() if key.startswith(prefix)}
        keys = sorted({key for key in found if own.get(key, True)} | {key for key, record in own.items() if record})
        for key in keys:
            self.changes[key] = None
        return keys


class Layer:
    """The changes of one commit over those of the group, forgotten if the commit is refused."""

    def __init__(self, below):
        self.below = below
        self.own = {}

    def __contains__(self, key):
        return key in self.own or key in self.below

    def __getitem__(self, key):
        return self.own[key] if key in self.own else self.below[key]

    def __setitem__(self, key, record):
        self.own[key] = record
