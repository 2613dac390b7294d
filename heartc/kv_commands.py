"""`heart kv`: look into a store, change it, take it out and bring it back, care for it.

On the database of --db: through the admin socket if a server has it open (kv_admin), directly if nobody has. With --kv
on Redis or Valkey (kv_redis), as far as the action means something there.
"""

import os
import sys
import time

from . import kv_admin, kv_care, kv_store, kv_text
from .errors import ConfigError, HeartError
from .kv_backend import DELETE, FAILED, OK, SET, prefix_stop
from .kv_progress import Progress

DEFAULT = "./.heart_db"
PAGE = 1000
BATCH, BATCH_BYTES = 500, 1 << 20  # of an import: records and bytes of one commit
# What each action takes: its arguments (a ? marks those that may be missing) and options beside --db, --kv, --quiet.
ACTIONS = {
    "get": (("key",), ()),
    "set": (("key", "value"), ("ttl", "json")),
    "delete": (("key?",), ("prefix",)),
    "list": (("prefix?",), ("limit", "reverse", "json")),
    "count": (("prefix?",), ()),
    "export": (("file?",), ("prefix",)),
    "import": (("file?",), ("from_line",)),
    "backup": (("folder",), ()),
    "restore": (("folder",), ()),
    "repair": (("folder",), ()),
    "check": ((), ()),
    "compact": ((), ()),
}
LOCAL = {"backup", "restore", "repair", "check", "compact"}  # of a database on disk only


def run(action, words, db, kv, quiet, **options):
    """`heart kv ACTION WORDS...`. Returns the exit status."""
    check_words(action, words, options)
    kv = kv or os.environ.get("HEART_KV")
    if kv and action in LOCAL:
        raise ConfigError(f"heart kv {action}: is for a database on disk (--db); a Redis server has its own ways")
    work = Work(db or os.environ.get("DB_PATH") or DEFAULT, kv, Progress(quiet), options)
    try:
        return WORK[action](work, *words) or 0
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        work.close()


def usage(action):
    """How an action is called."""
    shown = [name.upper() if name[-1] != "?" else f"[{name[:-1].upper()}]" for name in ACTIONS[action][0]]
    return " ".join([f"heart kv {action}", *shown])


def flag(name):
    """The spelling of an option."""
    return "--" + name.replace("_", "-")


def check_words(action, words, options):
    """Complain about arguments and options that the action does not take, or misses."""
    arguments, allowed = ACTIONS[action]
    needed = [name for name in arguments if not name.endswith("?")]
    if len(words) > len(arguments):
        raise ConfigError(f"{words[len(arguments)]}: one argument too many; expected {usage(action)}")
    if len(words) < len(needed):
        raise ConfigError(f"{needed[len(words)].upper()} is missing: {usage(action)}")
    for name, setting in options.items():
        if setting not in (None, False) and name not in allowed:
            known = ", ".join(map(flag, allowed)) or "none"
            raise ConfigError(f"{flag(name)}: is no option of heart kv {action} (its own options: {known})")


class Work:
    """What an action works with: the store, which is opened when it is asked for, and the options."""

    def __init__(self, db, kv, progress, options):
        self.db = db
        self.kv = kv
        self.progress = progress
        self.options = options
        self.opened = None
        self.damaged = False  # as was found when it was opened

    def store(self, create=False):
        """The store that the options name."""
        if self.opened is None:
            self.opened = self.open(create)
        return self.opened

    def open(self, create):
        if self.kv:
            from .kv_redis import RedisStore

            return RedisStore(self.kv)
        client = kv_admin.connect(self.db)
        return client or self.open_closed(create)

    def open_closed(self, create):
        """The store of a database that nobody has open, and what is to be told of it."""
        store = kv_store.Store(self.db, create=create)
        for level, note in store.notes:
            self.damaged |= level == "error"
            print(f"heart: {note}", file=sys.stderr)
        return kv_care.Closed(store)

    def close(self):
        """Close what was opened."""
        if self.opened is not None:
            self.opened.close()

    def commit(self, writes):
        """Carry out writes; their outcomes."""
        full = [(action, key, value, expires, None) for action, key, value, expires in writes]
        status, _, outcomes = self.store().commit([([], [], full, True)])[0]
        if status != OK:
            raise HeartError(str(outcomes) if status == FAILED else "the store is full")
        return outcomes or [None] * len(full)

    def about(self, start):
        """How many records there are from `start` on, if that is known: for all keys together it is, about."""
        return 0 if start else kv_care.estimated(self.store())

    def pages(self, start, stop, reverse=False, keys_only=False, limit=None):
        """The items from start to stop, in lists."""
        more = True
        while more and limit != 0:
            size = PAGE if limit is None else min(PAGE, limit)
            items, more = self.store().scan(start, stop, size, reverse, keys_only)
            if items and reverse:
                stop = items[-1][0]
            elif items:
                start = items[-1][0] + b"\0"
            if limit is not None:
                limit -= len(items)
            yield items


# ---- Single keys ---------------------------------------------------------------------------------------------


def get(work, key):
    """Print a value."""
    name = kv_text.key_argument(key)
    record = work.store().read([name])[0]
    if record is None:
        raise HeartError(f"{key}: no such key")
    data = kv_text.value_bytes(record[2])
    write_out(data if data.endswith(b"\n") and not sys.stdout.isatty() else data + b"\n")


def set_value(work, key, value):
    """Store a value; "-" reads it from the standard input."""
    text = sys.stdin.buffer.read() if value == "-" else value
    typed = kv_text.value_argument(text, work.options["json"])
    if len(typed) - 1 > kv_text.VALUE_MAX:
        raise ConfigError(f"VALUE: has {len(typed) - 1} bytes; at most {kv_text.VALUE_MAX} can be stored")
    ttl = work.options["ttl"]
    expires = time.time_ns() // 1_000_000 + int(ttl * 1000) if ttl else 0
    name = kv_text.key_argument(key)
    work.store(create=True)
    work.commit([(SET, name, typed, expires)])


def delete(work, key=None):
    """Delete a key, or with --prefix every key that begins so."""
    prefix = work.options["prefix"]
    if (key is None) == (prefix is None):
        raise ConfigError("heart kv delete: expected either KEY or --prefix PREFIX")
    if key is not None:
        name = kv_text.key_argument(key)
        if not work.commit([(DELETE, name, b"", 0)])[0]:
            raise HeartError(f"{key}: no such key")
        return
    start, deleted = kv_text.key_argument(prefix), 0
    for items in work.pages(start, prefix_stop(start), keys_only=True):
        deleted += sum(map(bool, work_writes(work, [(DELETE, item[0], b"", 0) for item in items])))
        work.progress.step(deleted, 0, "keys deleted")
    work.progress.end()
    print(deleted)


def work_writes(work, writes):
    """Outcomes of writes that need not happen together."""
    if not work.kv:
        return work.commit(writes) if writes else []
    results = work.store().commit([([], [], [(*write, None)], True) for write in writes])
    for status, _, outcomes in results:
        if status != OK:
            raise HeartError(str(outcomes) if status == FAILED else "the store is full")
    return [outcomes[0] if outcomes else None for _, _, outcomes in results]


# ---- Many keys -----------------------------------------------------------------------------------------------


def list_keys(work, prefix=""):
    """Print keys, or with --json whole records, in order."""
    start = kv_text.key_argument(prefix)
    whole, limit = work.options["json"], work.options["limit"]
    for items in work.pages(start, prefix_stop(start), work.options["reverse"], not whole, limit):
        lines = [
            kv_text.line(key, expires, value) if whole else kv_text.key_text(key) for key, _, expires, value in items
        ]
        write_out("".join(line + "\n" for line in lines).encode())


def count(work, prefix=""):
    """Print how many keys there are."""
    start = kv_text.key_argument(prefix)
    total, about = 0, work.about(start)
    for items in work.pages(start, prefix_stop(start), keys_only=True):
        total += len(items)
        work.progress.step(total, about, "keys")
    work.progress.end()
    print(total)


def export(work, file="-"):
    """Write every record as a line of JSON; a file is there when it is whole."""
    start = kv_text.key_argument(work.options["prefix"] or "")
    if file == "-":
        export_to(work, start, sys.stdout.buffer)
        return
    partial = file + ".partial"
    try:
        with open(partial, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            total = export_to(work, start, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    except OSError as error:
        raise HeartError(f"{error.filename or file}: {error.strerror}") from None
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
    work.progress.end(f"{counted(total)} in {file}")


def export_to(work, start, out):
    """Write the lines, and a last one with their number."""
    total, about = 0, work.about(start)
    for items in work.pages(start, prefix_stop(start)):
        out.write("".join(kv_text.line(key, expires, value) + "\n" for key, _, expires, value in items).encode())
        total += len(items)
        work.progress.step(total, about, "records")
    out.write(b'{"records":%d}\n' % total)
    out.flush()
    work.progress.end()
    return total


def import_lines(work, file="-"):
    """Store what an export has written. Each batch is stored as a whole, so that one can go on after a failure."""
    try:
        lines = sys.stdin.buffer if file == "-" else open(file, "rb")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    with lines:
        work.store(create=True)
        importer = Importer(work, lines, work.options["from_line"] or 1)
        importer.take("standard input" if file == "-" else file)


class Importer:
    """One import. `stored` records are in the store, up to the line before `line`."""

    def __init__(self, work, lines, first):
        self.work = work
        self.lines = lines
        self.bytes = os.fstat(lines.fileno()).st_size  # 0: a pipe
        self.first = first
        self.line = first
        self.writes = []
        self.size = 0
        self.stored = self.expired = 0
        self.seen = 0
        self.ended = None

    def take(self, name):
        """Import all lines."""
        number = 0
        try:
            for number, text in enumerate(self.lines, 1):
                if number >= self.first and text.strip():
                    self.take_line(text)
                    if len(self.writes) >= BATCH or self.size > BATCH_BYTES:
                        self.store(number + 1)
            self.store(number + 1)
            if self.ended is None and number:
                self.work.progress.end()
                print(f"heart: {name}: has no last line with the number of records: it may be cut off", file=sys.stderr)
        except ValueError as error:
            self.store(number)
            raise HeartError(f"{name}:{number}: {error}{self.hint()}") from None
        except HeartError as error:
            raise HeartError(f"{error}{self.hint()}") from None
        self.work.progress.end(f"{counted(self.stored)} stored" + (f", {self.expired} expired" if self.expired else ""))

    def part(self):
        """How far it is, from 0 to 1, if that is known."""
        return self.lines.tell() / self.bytes if self.bytes else None

    def hint(self):
        """How to go on."""
        return f"; {counted(self.stored)} stored, --from-line {self.line} goes on behind them"

    def take_line(self, text):
        """Keep one record for the next batch."""
        if self.ended is not None:
            raise ValueError("there is something behind the last line of an export")
        if text.startswith(b'{"records":'):
            self.ended = int(text.strip()[len(b'{"records":') : -1])
            if self.first == 1 and self.ended != self.seen:
                raise ValueError(f"the export has {self.ended} records, but {self.seen} lines came: some are missing")
            return
        key, expires, value = kv_text.parse(text)
        self.seen += 1
        if 0 < expires <= time.time_ns() // 1_000_000:
            self.expired += 1
            return
        self.writes.append((SET, key, value, expires))
        self.size += len(key) + len(value)

    def store(self, next_line):
        """Store the batch; the import goes on at `next_line`."""
        if self.writes:
            work_writes(self.work, self.writes)
        self.stored += len(self.writes)
        self.writes, self.size, self.line = [], 0, next_line
        self.work.progress.tell(f"{self.stored} records", self.part())


# ---- Care ----------------------------------------------------------------------------------------------------


def backup(work, folder):
    """Put a copy of the database, as it is at one moment, into a new folder, and read it all."""
    records = kv_care.backup(work.store(), folder, work.progress.step)
    work.progress.end(f"{folder}: {counted(records)}, all readable")


def restore(work, folder):
    """Make the database of --db of a backup."""
    if kv_admin.connect(work.db):
        raise HeartError(f"{work.db}: a server has this database open: stop it, then restore")
    records = kv_care.restore(folder, work.db, work.progress.step)
    work.progress.end(f"{work.db}: {counted(records)} restored")


def repair(work, folder):
    """Make the database of --db of what is whole in a damaged one."""
    return say_checked(work, *kv_care.repair(folder, work.db, work.progress.step))


def check(work):
    """Read every record and compare the checksums."""
    return say_checked(work, *kv_care.check(work.store(), work.progress.step))


def say_checked(work, records, problems):
    """Tell what was found. Returns the exit status."""
    for problem in problems:
        work.progress.end()
        print(f"{work.db}: {problem}", file=sys.stderr)
    found = len(problems) + work.damaged
    work.progress.end(f"{work.db}: {counted(records)}, {found or 'no'} problems")
    return 1 if found else 0


def compact(work):
    """Give back the room of what was deleted."""
    kv_care.compact(work.store(), work.progress.step)
    work.progress.end(f"{work.db}: compacted")


def counted(records):
    """A number of records."""
    return f"{records} record" + ("" if records == 1 else "s")


def write_out(data):
    """Bytes to the standard output."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


WORK = {
    "get": get,
    "set": set_value,
    "delete": delete,
    "list": list_keys,
    "count": count,
    "export": export,
    "import": import_lines,
    "backup": backup,
    "restore": restore,
    "repair": repair,
    "check": check,
    "compact": compact,
}
