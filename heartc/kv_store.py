"""The disk store on RocksDB. The only importer of rocksdict, which is loaded when a database is opened.

Always raw mode, with the same explicit options at every open; a write goes to the log without a sync, and flush_wal
makes what was written durable. (write(sync=True) holds the GIL through its fsync; rocksdict's default mode does not
reopen after a power loss.)

Keys, by their first byte:
    d KEY               a record: format, version (64 bits), expiry time (64 bits, 0: never), typed value
    e TIME KEY          that KEY was to expire at TIME (64 bits, big-endian), for the sweep; may be out of date
    m NAME              the store's own: `format`, `version` (the last one)
"""

import errno
import fcntl
import os
import re
import struct
import time

from . import kv_wal
from .kv_backend import FAILED, PAGE_BYTES, Backend, StoreError
from .kv_group import Group

FORMAT = 1
HEAD = struct.Struct("<BQQ")
STAMP = struct.Struct(">Q")
WORD = struct.Struct("<Q")
DATA, EXPIRY, META = b"d", b"e", b"m"
DATA_STOP, EXPIRY_STOP = b"e", b"f"
VERSION_KEY, FORMAT_KEY = META + b"version", META + b"format"
# What an open adds to the version, so that none is given twice after a power loss that took unflushed commits.
VERSION_LEAP = 1 << 20
KIB, MIB = 1 << 10, 1 << 20
# Seconds: that a write waits for RocksDB to catch up; between two tries, which tell of errors; between two looks.
STALL_MAX, STALL_TRY, STALL_LOOK = 30, 0.05, 0.002
# What may be in the folder before a database has its first log.
OURS = re.compile(r"LOCK|LOG|IDENTITY|MANIFEST-000001|\d+\.dbtmp|rocksdict-config\.json|admin\.sock|LOG\.old\..*")


def now_ms():
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Store(Backend):
    """An open database. `always`: commits that want it are synced before they are answered. `clock` gives Unix
    milliseconds."""

    def __init__(self, path, create=True, always=True, clock=now_ms):
        self.path = os.path.abspath(path)
        self.always = always
        self.clock = clock
        self.db = None
        self.unflushed = False
        self.stalled = False
        rocks = load_rocksdict()
        prepare_folder(self.path, create)
        self.Batch = rocks.WriteBatch
        self.at_once = rocks.WriteOptions()
        self.at_once.no_slowdown = True
        self.rocks = rocks
        self.db, self.notes = open_database(rocks, self.path)
        try:
            self.version = self.check_format(create)
        except BaseException:
            self.db.close()
            raise

    def check_format(self, create):
        """Look at the format, upgrade an older one, mark a new database. Returns the version to go on from."""
        stored = self.db.get(FORMAT_KEY)
        if stored is None:
            if not create or self.db.latest_sequence_number() > 0:
                raise StoreError(f"{self.path}: not a database of Heart: it has no format mark")
            self.mark(FORMAT, 0)
            return 0
        found = WORD.unpack(stored)[0]
        if found > FORMAT:
            raise StoreError(
                f"{self.path}: written by a newer Heart (format {found}, this one knows up to {FORMAT}). Use that "
                f"Heart, or take the data over: there `heart kv export --db {self.path}`, here `heart kv import`"
            )
        version = WORD.unpack(self.db.get(VERSION_KEY) or WORD.pack(0))[0] + VERSION_LEAP
        for step in range(found, FORMAT):
            UPGRADES[step](self)
        self.mark(FORMAT, version)
        return version

    def mark(self, format, version):
        """Write the format and the version, durably."""

        def make():
            batch = self.Batch(raw_mode=True)
            batch.put(FORMAT_KEY, WORD.pack(format))
            batch.put(VERSION_KEY, WORD.pack(version))
            return batch

        self.write(make)
        self.flush()

    # ---- Reading -------------------------------------------------------------------------------------------------

    def load(self, key):
        """The record of a key, expired or not: (version, expires, value), or None."""
        data = self.db.get(DATA + key)
        return None if data is None else self.record(key, data)

    def record(self, key, data):
        """What the bytes of a record say."""
        if len(data) <= HEAD.size or data[0] != FORMAT:
            raise StoreError(f"{self.path}: the record of key {key[:64]!r} is damaged: heart kv check --db {self.path}")
        _, version, expires = HEAD.unpack_from(data)
        return version, expires, data[HEAD.size :]

    def read(self, keys):
        """See Backend.read."""
        now = self.clock()
        with Naming(self):
            return [None if r is None or 0 < r[1] <= now else r for r in map(self.load, keys)]

    def rows(self, start, stop, reverse=False):
        """The raw (key, value) pairs of start <= key < stop, by RocksDB's own names. The bounds are kept here: those of
        rocksdict's ReadOptions point into freed memory. Its items() would end at damage without a word (0.3.29)."""
        cursor = self.db.iter()
        if reverse:
            cursor.seek_for_prev(stop)
            step = cursor.prev
        else:
            cursor.seek(start)
            step = cursor.next
        while cursor.valid():
            name = cursor.key()
            if name < start if reverse else name >= stop:
                return
            if name != stop:
                yield name, cursor.value()
            step()
        cursor.status()

    def live(self, start, stop, reverse=False):
        """The items from start to stop that have not expired."""
        now = self.clock()
        for name, data in self.rows(DATA + start, DATA + stop if stop else DATA_STOP, reverse):
            key = name[1:]
            version, expires, value = self.record(key, data)
            if not 0 < expires <= now:
                yield key, version, expires, value

    def scan(self, start, stop, limit, reverse=False, keys_only=False):
        """See Backend.scan."""
        items, size = [], 0
        if stop and start >= stop:
            return items, False
        with Naming(self):
            for item in self.live(start, stop, reverse):
                if len(items) >= limit or size >= PAGE_BYTES:
                    return items, True
                size += len(item[3])
                items.append((*item[:3], b"") if keys_only else item)
        return items, False

    def count(self, start, stop):
        """See Backend.count."""
        if stop and start >= stop:
            return 0
        with Naming(self):
            return sum(1 for _ in self.live(start, stop))

    # ---- Writing -------------------------------------------------------------------------------------------------

    def commit(self, commits):
        """See Backend.commit. One write for all of them, then at most one sync."""
        group = Group(self.load, self.scan, self.put, self.version, self.clock())
        try:
            with Naming(self):
                results = [group.add(commit) for commit in commits]
                if group.version != self.version:
                    self.version = group.version
                    self.put(group.changes)
                if self.always and any(commit[3] for commit in commits):
                    self.flush()
        except StoreError as error:
            self.version = max(self.version, group.version)
            return [(FAILED, 0, str(error))] * len(commits)
        return results

    def put(self, changes):
        """Write changes, a map of keys to records or None. They are durable after the next flush."""
        if changes:
            self.write(lambda: self.batch_of(changes))

    def batch_of(self, changes):
        """What `put` writes."""
        batch = self.Batch(raw_mode=True)
        put, delete, pack = batch.put, batch.delete, HEAD.pack
        for key, record in changes.items():
            if record is None:
                delete(DATA + key)
                continue
            version, expires, value = record
            put(DATA + key, pack(FORMAT, version, expires) + value)
            if expires:
                put(EXPIRY + STAMP.pack(expires) + key, b"")
        put(VERSION_KEY, WORD.pack(max(self.version, version_of(changes))))
        return batch

    def write(self, make):
        """Write the batch that `make()` returns; rocksdict takes one once, whether it is written or not."""
        self.unflushed = True
        with Naming(self):
            try:
                self.db.write(make(), self.at_once)
            except Exception as error:
                if not is_stall(error):
                    raise
                self.write_after_stall(make)
            self.stalled = False

    def write_after_stall(self, make):
        """Write when RocksDB has caught up with its tables. It would wait by itself, but with the GIL held, and as long
        as a full disk has no room for a table: here that is an error, as soon as RocksDB knows it, at last after
        STALL_MAX. A write that is only to be slowed down is left to it: it knows by how much."""
        end = time.monotonic() + (0 if self.stalled else STALL_MAX)
        slowed = False
        while True:
            stopped = self.is_stopped()
            try:
                return self.db.write(make(), None if slowed and not stopped else self.at_once)
            except Exception as error:
                if not is_stall(error):
                    raise
            if time.monotonic() > end:
                self.stalled = True
                raise StoreError(f"{self.path}: {stall_reason(self.path)}")
            slowed = not stopped

    def is_stopped(self):
        """Whether RocksDB takes no writes, and goes on so for STALL_TRY."""
        end = time.monotonic() + STALL_TRY
        while self.db.property_int_value("rocksdb.is-write-stopped"):
            if time.monotonic() > end:
                return True
            time.sleep(STALL_LOOK)
        return False

    def flush(self):
        """See Backend.flush."""
        if self.unflushed:
            with Naming(self):
                self.db.flush_wal(True)
            self.unflushed = False

    def sweep(self, limit):
        """See Backend.sweep. An entry of the index that no longer agrees with its record is only forgotten."""
        now = self.clock()
        gone, names = {}, []
        with Naming(self):
            for name, _ in self.rows(EXPIRY, EXPIRY + STAMP.pack(now + 1)):
                names.append(name)
                key = name[1 + STAMP.size :]
                record = self.load(key)
                if record is not None and 0 < record[1] <= now and key not in gone:
                    gone[key] = None
                    names.append(DATA + key)
                if len(names) >= 2 * limit:
                    break
            if gone:
                self.version += 1
            if names:
                self.write(lambda: self.batch_without(names))
        return list(gone)

    def batch_without(self, names):
        """What `sweep` writes."""
        batch = self.Batch(raw_mode=True)
        for name in names:
            batch.delete(name)
        batch.put(VERSION_KEY, WORD.pack(self.version))
        return batch

    # ---- Care ----------------------------------------------------------------------------------------------------

    def stats(self):
        """See Backend.stats."""
        names = {
            "bytes on disk": "rocksdb.total-sst-files-size",
            "bytes in memory tables": "rocksdb.cur-size-all-mem-tables",
            "bytes in the block cache": "rocksdb.block-cache-usage",
        }
        figures = {k: self.db.property_int_value(v) for k, v in names.items()}
        return {
            "version": self.version,
            "keys, estimated": self.estimate(),
            "tables": len(self.db.live_files()),
        } | figures

    def estimate(self):
        """About how many keys there are: what tables and memory hold, of which some may be there more than once.
        (RocksDB's own estimate needs figures that an open would have to read from every table.)"""
        text = self.db.property_value("rocksdb.aggregated-table-properties") or ""
        entries, deletions = (sum(map(int, re.findall(f"# {name}=(\\d+)", text))) for name in ("entries", "deletions"))
        return max(0, entries - 2 * deletions) + self.db.property_int_value("rocksdb.num-entries-active-mem-table")

    def close(self):
        """See Backend.close."""
        db, self.db = self.db, None
        if db is None:
            return
        try:
            if self.unflushed:
                db.flush_wal(True)
            db.close()
        except Exception as error:
            raise StoreError(f"{self.path}: {explain(str(error), self.path)}") from error


def version_of(changes):
    """The greatest version among changes."""
    return max((record[0] for record in changes.values() if record is not None), default=0)


# Functions that bring a database from the format they are listed under to the next one, able to start over.
UPGRADES = {}


# ---- Opening -----------------------------------------------------------------------------------------------------


def load_rocksdict():
    """The rocksdict module, or an error that says why there is none."""
    try:
        import rocksdict
    except ImportError as error:
        machine = os.uname().machine
        raise StoreError(
            f"the disk store needs RocksDB, which is not available for this machine ({machine}): {error}; "
            "heart.v1.kv.memory and --kv redis://… work without it"
        ) from None
    return rocksdict


def database_options(rocks):
    """Small and bounded: about 12 MiB when busy, next to nothing when idle. See docs/kv-disk.md."""
    tables = rocks.BlockBasedOptions()
    tables.set_block_cache(rocks.Cache(4 * MIB))
    tables.set_block_size(8 * KIB)
    tables.set_bloom_filter(10, False)
    tables.set_cache_index_and_filter_blocks(True)
    tables.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = rocks.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(tables)
    options.set_compression_type(rocks.DBCompressionType.lz4())
    options.set_write_buffer_size(4 * MIB)
    options.set_max_write_buffer_number(2)
    options.set_arena_block_size(128 * KIB)
    options.set_max_total_wal_size(16 * MIB)
    options.set_target_file_size_base(8 * MIB)
    options.set_max_bytes_for_level_base(32 * MIB)
    options.set_max_background_jobs(2)
    options.set_max_open_files(128)
    options.set_bytes_per_sync(1 * MIB)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 * MIB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_skip_stats_update_on_db_open(True)
    # Any other mode may drop what was flushed, and say nothing.
    options.set_wal_recovery_mode(rocks.DBRecoveryMode.absolute_consistency())
    return options


def list_folder(path, create=False):
    """The names in a database's folder, which is made for its owner alone if it may be."""
    try:
        if create:
            os.makedirs(path, mode=0o700, exist_ok=True)
        return os.listdir(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no database (--db names another folder)") from None
    except (FileExistsError, NotADirectoryError):
        raise StoreError(f"{path}: is not a folder; a database needs one of its own (--db)") from None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def prepare_folder(path, create):
    """Make the folder; refuse what is plainly something else."""
    names = list_folder(path, create)
    if not names and not create:
        raise StoreError(f"{path}: there is no database (--db names another folder)")
    if not names or "CURRENT" in names:
        return
    foreign = sorted(name for name in names if not OURS.fullmatch(name))
    if not foreign:
        return  # a crash came while the database was made
    if any(name.startswith("MANIFEST-") for name in names):
        raise StoreError(no_opening(path, "CURRENT is missing"))
    raise StoreError(
        f"{path}: is not a database of Heart 2 (it holds {foreign[0]}). Give an empty or new folder with --db; a "
        "database of Heart v1 can not be read"
    )


def open_database(rocks, path):
    """Open RocksDB in `path`; its errors become messages that help. Returns it, and its notes (see Backend)."""
    try:
        return open_rocksdb(rocks, path, database_options(rocks)), []
    except Exception as error:
        reason = str(error)
    if not reason.startswith("Corruption"):
        raise StoreError(opening_failed(path, reason))
    return open_damaged(rocks, path, reason)


def open_damaged(rocks, path, reason):
    """The same if it is the write-ahead log that is damaged: the database is that of the moment before the damage."""
    options = database_options(rocks)
    options.set_wal_recovery_mode(rocks.DBRecoveryMode.point_in_time())
    names = ", ".join(kv_wal.log_names(path))
    kept = None if kv_wal.is_torn(path, reason) else kv_wal.keep(path)
    try:
        db = open_rocksdb(rocks, path, options)
    except Exception as error:
        kv_wal.forget(kept)
        raise StoreError(opening_failed(path, str(error))) from None
    return db, [damage_note(path, reason, names, kept)]


def damage_note(path, reason, names, kept):
    """What to tell of a log that was damaged. `kept`: where it is now; None: it only ended too early."""
    if kept is None:
        return "warn", f"{path}: its log ended within a commit, as after a power loss: that one is dropped"
    return "error", (
        f"{path}: its write-ahead log is damaged ({names}: {reason}): what was written behind the damage is lost; "
        f"after a power loss that is only what had not been flushed. The log as it was is kept in {kept}; "
        f"`heart kv check --db {path}` reads what is there"
    )


def open_rocksdb(rocks, path, options):
    """Open RocksDB, or raise its error."""
    return rocks.Rdict(path, options=options, access_type=rocks.AccessType.read_write())


def opening_failed(path, reason):
    """What to say when RocksDB does not open."""
    if "lock hold by current process" in reason:
        return f"{path}: this process has the database open already"
    if "LOCK" in reason:
        holder = lock_holder(os.path.join(path, "LOCK"))
        if holder is not None:
            who = f"process {holder}" if holder else "another process"
            return (
                f"{path}: {who} has this database open. Stop it, or work through it: "
                f"heart kv get|set|list|backup … --db {path} talk to a running server"
            )
    return no_opening(path, reason) if is_damage(reason) else f"{path}: {explain(reason, path)}"


def no_opening(path, reason):
    """What to say of a database that is too damaged to be opened."""
    return (
        f"{path}: damaged so that it does not open: {reason}. Move the folder away, with all its files; `heart kv "
        f"restore BACKUP --db {path}` makes the database of a backup; without one, `heart kv repair FOLDER --db {path}"
        "` makes it of what is whole in the folder that was moved"
    )


def lock_holder(path):
    """The process that holds RocksDB's lock, 0 if that is unknown, None if nobody does. Never to be asked by a process
    that may hold it: closing the file gives its locks up."""
    try:
        with open(path, "r+b") as file:
            query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, query))
    except OSError as error:
        return None if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) else 0
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


# ---- Failures ----------------------------------------------------------------------------------------------------


def explain(reason, path):
    """RocksDB's words about an open database, with what can be done."""
    low = reason.lower()
    if "no space left" in low or "quota" in low:
        return f"the disk is full ({reason})"
    if "read-only file system" in low or "permission denied" in low:
        return f"the folder can not be written ({reason})"
    if "previous error" in low:
        return f"an earlier write failed, and RocksDB has not got over it ({reason})"
    if is_damage(reason):
        return (
            f"damaged: {reason}. `heart kv check --db {path}` says what can be read, `heart kv restore` brings a "
            "backup back"
        )
    return reason


def is_damage(reason):
    """Whether RocksDB's words are about files that are not as it wrote them."""
    low = reason.lower()
    return any(word in low for word in ("corruption", "checksum", "missing files", "no such file"))


def is_stall(error):
    """Whether RocksDB would have had a write wait."""
    return str(error).endswith("Write stall")


def stall_reason(path):
    """Why a write was given up after STALL_MAX."""
    free = os.statvfs(path)
    return (
        f"RocksDB has been behind with its tables for {STALL_MAX} s: the disk is slow, or full "
        f"({free.f_bavail * free.f_frsize / MIB:.1f} MiB are free)"
    )


class Naming:
    """Turns what rocksdict raises into StoreErrors that name the database."""

    def __init__(self, store):
        self.store = store

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if kind is None or not issubclass(kind, Exception) or issubclass(kind, StoreError):
            return
        path = self.store.path
        if self.store.db is None:
            raise StoreError(f"{path}: the database is closed") from error
        if kind.__module__ == "builtins" and kind is not Exception:
            return
        raise StoreError(f"{path}: {explain(str(error), path)}") from error
