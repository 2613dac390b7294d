"""Care for a database on disk: check, compact, backup and restore, in steps short enough for a server that serves.

The steps work on a kv_store.Store, on the thread that uses it: here for a database that nobody has open, in kv_admin
for one that a server has.
"""

import os
import shutil
import time

from . import kv_files, kv_store
from .kv_backend import StoreError
from .kv_number import TYPE_PACKED, TYPE_STRING

CHECKPOINT = "checkpoint-"
SECONDS = 0.02  # of a step, about


# ---- Steps -----------------------------------------------------------------------------------------------------


def check_step(store, position, limit):
    """Read at most `limit` records from `position`, a name of RocksDB's, on. Returns how many there were, the problems
    as texts, and where to go on, None at the end. RocksDB compares the checksum of every block that it reads."""
    problems, records, name = [], 0, None
    begun = time.monotonic()
    try:
        for name, data in store.rows(position or kv_store.DATA, kv_store.DATA_STOP):
            records += 1
            if problem := damage(store, name[1:], data):
                problems.append(problem)
            if records >= limit or time.monotonic() > begun + SECONDS:
                return records, problems, name + b"\0"
    except Exception as error:
        after = f"after key {name[1:65]!r}" if name else "at its beginning" if not position else f"after {position!r}"
        return records, [*problems, f"can not be read any further {after}: {error}"], None
    return records, problems, None


def damage(store, key, data):
    """What is wrong with a record, or None."""
    try:
        _, _, value = store.record(key, data)
    except StoreError:
        return f"the record of key {key[:64]!r} is damaged"
    if value[0] not in (TYPE_STRING, TYPE_PACKED):
        return f"the value of key {key[:64]!r} is of no type that this Heart knows"
    return None


def compact_step(store, position):
    """Compact one part of the database, as large as one of its files. Returns where to go on, None at the end."""
    ends = sorted(file["end_key"] for file in store.db.live_files())
    stop = next((end for end in ends if end > position), None)
    store.db.compact_range(position or None, stop)
    return stop


def checkpoint(store):
    """Make a checkpoint of all that is committed, in a folder inside the database's; returns its path. One that was
    left by somebody who did not take it away is removed."""
    for name in os.listdir(store.path):
        if name.startswith(CHECKPOINT):
            shutil.rmtree(os.path.join(store.path, name), ignore_errors=True)
    folder = os.path.join(store.path, f"{CHECKPOINT}{os.getpid()}-{time.time_ns()}")
    with kv_store.Naming(store):
        store.flush()
        store.rocks.Checkpoint(store.db).create_checkpoint(folder)
    os.chmod(folder, 0o700)
    return folder


class Closed:
    """A database that nobody has open, with the steps as methods. What is not here is the Store's."""

    def __init__(self, store):
        self.store = store

    def __getattr__(self, name):
        return getattr(self.store, name)

    def check_step(self, position, limit):
        """See check_step."""
        return check_step(self.store, position, limit)

    def compact_step(self, position):
        """See compact_step."""
        return compact_step(self.store, position)

    def checkpoint(self):
        """See checkpoint."""
        return checkpoint(self.store)


class ReadOnly(kv_store.Store):
    """A database that is only looked at: nothing in its folder changes."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.clock = kv_store.now_ms
        self.db = None
        self.version = 0
        self.unflushed = False
        rocks = kv_store.load_rocksdict()
        kv_store.prepare_folder(self.path, False)
        access = rocks.AccessType.read_only()
        try:
            self.db = rocks.Rdict(self.path, options=kv_store.database_options(rocks), access_type=access)
        except Exception as error:
            raise StoreError(f"{self.path}: {not_readable(str(error), self.path)}") from None
        stored = self.db.get(kv_store.FORMAT_KEY)
        found = kv_store.WORD.unpack(stored)[0] if stored else 0
        if not 0 < found <= kv_store.FORMAT:
            self.db.close()
            what = f"written by a newer Heart (format {found}): use that one" if found else "not a database of Heart"
            raise StoreError(f"{self.path}: {what}")


def not_readable(reason, path):
    """Why a backup does not open, and what can be done."""
    if kv_store.is_damage(reason):
        return (
            f"damaged: {reason}. Take another backup; without one, `heart kv repair {path} --db NEW` makes a database "
            "of what is whole in this one"
        )
    return kv_store.explain(reason, path)


# ---- Whole works -----------------------------------------------------------------------------------------------


# Of all works: `tell(done, total, unit)` is told how far it is, see Progress.step.


def estimated(store):
    """How many records a store has, about; 0: it does not know."""
    figures = store.stats()
    return figures.get("keys", 0) or figures.get("keys, estimated", 0)


def check(store, tell):
    """Read every record. Returns (records, problems)."""
    total = estimated(store)
    records, problems, position = 0, [], b""
    while position is not None:
        more, found, position = store.check_step(position, 1000)
        records += more
        problems += found
        tell(records, total, "records")
    return records, problems


def compact(store, tell):
    """Compact everything."""
    total = store.stats()["tables"]
    parts, position = 0, b""
    while position is not None:
        position = store.compact_step(position)
        parts += 1
        tell(parts, total, "parts")


def backup(store, target, tell):
    """Put a checkpoint of `store` into the new folder `target`, and read it all. Returns the number of records."""
    kv_files.refuse_existing(target)
    source = store.checkpoint()
    try:
        kv_files.take_folder(source, target, tell)
    finally:
        shutil.rmtree(source, ignore_errors=True)
    return verify(target, tell)


def verify(folder, tell):
    """Read every record of a database that nobody has open, without changing it. Returns their number."""
    store = ReadOnly(folder)
    try:
        records, problems = check(Closed(store), tell)
    finally:
        store.close()
    if problems:
        raise StoreError(f"{folder}: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""))
    return records


def restore(source, target, tell):
    """Make the database `target` of the backup `source`. Returns the number of records."""
    records = verify(source, tell)
    with kv_files.new_folder(target) as folder:
        kv_files.copy_folder(source, folder, tell)
        verify(folder, tell)
    return records


def repair(source, target, tell):
    """Make the database `target` of what is whole in the folder `source` of one that does not open. Returns the number
    of records, and the problems that are left."""
    names = os.listdir(source) if os.path.isdir(source) else []
    if not any(name.endswith((".sst", ".log")) for name in names):
        raise StoreError(f"{source}: there is no database; FOLDER is that of the damaged one")
    with kv_files.new_folder(target) as folder:
        kv_files.copy_folder(source, folder, tell)
        rebuild(folder)
        store = kv_store.Store(folder, create=False)
        try:
            return check(Closed(store), tell)
        finally:
            store.close()


def rebuild(folder):
    """Have RocksDB find out again which tables and logs make up a database; what it can not read it puts aside."""
    rocks = kv_store.load_rocksdict()
    try:
        rocks.Rdict.repair(folder, kv_store.database_options(rocks))
    except Exception as error:
        raise StoreError(f"{folder}: nothing can be made of it: {error}") from None
