"""The admin socket of an open database: `heart kv` works through it while a server has the database.

One JSON object a line, in both directions, over a Unix socket (mode 0600) in the database's folder. A request has "op"
and that operation's fields; the answer has "result", or "error", a text. Bytes are base64. The operations:
    read     keys                               [[version, expires, value] or null, ...]
    scan     start, stop, limit, reverse, keys_only    [[[key, version, expires, value], ...], more]
    commit   writes [[action, key, value, expires], ...]    [status, version, [keys deleted or whether, ...]]
    check    position, limit                    [records, problems, next position or null]: see kv_care
    compact  position                           next position or null
    backup   -                                  the folder of a checkpoint inside the database's, to be taken away
    stats    -                                  {name: figure}
Every operation is one short job on the db thread, so the server goes on serving: long work is many of them. A client
may not hold a job for longer than it takes.
"""

import base64
import contextlib
import json
import os
import socket
import stat
import threading

from . import kv_care
from .errors import HeartError
from .kv_backend import DELETE, DELETE_PREFIX, EXPIRE, OK, SET, StoreError

NAME = "admin.sock"
LINE_MAX = 64 << 20  # bytes of a request
CLIENTS = 8  # at a time
WRITES = 1000  # of one commit
PAGE = 2000  # items of one scan
ALLOWED = {SET, DELETE, DELETE_PREFIX, EXPIRE}
PATH_MAX = 107  # bytes that the address of a Unix socket has room for


def address(folder):
    """The address of the socket; through /proc if the path is too long for one."""
    path = os.path.join(os.path.abspath(folder), NAME)
    return path if len(os.fsencode(path)) <= PATH_MAX else None


class Server:
    """Listens in the folder of a database. `service` is its kv_service.Service; `tell(events)` takes what was changed,
    (key, version, value or None), to caches and to those who watch."""

    def __init__(self, folder, service, tell):
        self.service = service
        self.tell = tell
        self.places = threading.BoundedSemaphore(CLIENTS)
        self.path = address(folder)
        self.socket = None

    def start(self):
        """Listen. Nobody else has the database open, so a socket that is there is left from before."""
        if self.path is None:
            raise StoreError("the path of the database is too long for its admin socket")
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(self.path).st_mode):
                os.unlink(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Until listen() nobody can connect, so the mode is right before anybody could.
            listener.bind(self.path)
            os.chmod(self.path, 0o600)
            listener.listen(CLIENTS)
        except OSError as error:
            listener.close()
            raise StoreError(f"{self.path}: {error.strerror}") from None
        self.socket = listener
        threading.Thread(target=self.accept, name="heart-kv-admin", daemon=True).start()

    def stop(self):
        """Listen no more. Idempotent."""
        listener, self.socket = self.socket, None
        if listener is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def accept(self):
        """Give each client a thread."""
        while (listener := self.socket) is not None:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.places.acquire()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        """Answer the requests of one client."""
        try:
            with client, client.makefile("rb") as lines, contextlib.suppress(OSError):
                while line := lines.readline(LINE_MAX):
                    if not line.endswith(b"\n"):
                        return
                    client.sendall(json.dumps(self.answer(line)).encode() + b"\n")
        finally:
            self.places.release()

    def answer(self, line):
        """The answer to a line."""
        try:
            request = json.loads(line)
            work = OPERATIONS[request.pop("op")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"error": f"no request; expected an object whose op is one of {', '.join(OPERATIONS)}"}
        try:
            return {"result": work(self, **request)}
        except HeartError as error:
            return {"error": str(error)}
        except (TypeError, ValueError, KeyError) as error:
            return {"error": f"the fields of the request are wrong: {error}"}

    # ---- Operations ------------------------------------------------------------------------------------------

    def read(self, keys):
        records = self.service.call(lambda store: store.read([unpack(key) for key in keys]))
        return [record and (*record[:2], pack(record[2])) for record in records]

    def scan(self, start, stop, limit, reverse=False, keys_only=False):
        bounds = unpack(start), unpack(stop), min(int(limit), PAGE), bool(reverse), bool(keys_only)
        items, more = self.service.call(lambda store: store.scan(*bounds))
        return [(pack(key), version, expires, pack(value)) for key, version, expires, value in items], more

    def commit(self, writes):
        if len(writes) > WRITES:
            raise StoreError(f"{len(writes)} writes in one commit; at most {WRITES}")
        made = [(action, unpack(key), unpack(value), int(expires), None) for action, key, value, expires in writes]
        if not ALLOWED.issuperset(write[0] for write in made):
            raise StoreError("a write that the admin socket does not know")
        status, version, outcomes = self.service.call(self.commit_job, made)
        if status != OK:
            raise StoreError(str(outcomes))
        return status, version, [plain(outcome) for outcome in outcomes or [None] * len(made)]

    def commit_job(self, store, writes):
        """Commit, durably, and tell of it. Runs on the db thread."""
        status, version, outcomes = result = store.commit([([], [], writes, True)])[0]
        if status == OK:
            made = outcomes or [None] * len(writes)
            self.tell([event for pair in zip(writes, made, strict=True) for event in changes(version, *pair)])
        return result

    def check(self, position, limit):
        records, problems, after = self.service.call(kv_care.check_step, unpack(position), min(int(limit), PAGE))
        return records, problems, after and pack(after)

    def compact(self, position):
        after = self.service.call(kv_care.compact_step, unpack(position))
        return after and pack(after)

    def backup(self):
        return self.service.call(kv_care.checkpoint)

    def stats(self):
        return self.service.call(lambda store: store.stats())


def changes(version, write, outcome):
    """What a write has changed: (key, version, value or None)."""
    action, key, value = write[:3]
    if action == SET:
        return [(key, version, value)]
    if action == DELETE_PREFIX:
        return [(gone, version, None) for gone in outcome]
    if action == EXPIRE:
        return [(key, version, outcome)] if outcome is not None else []
    return [(key, version, None)] if outcome else []


OPERATIONS = {
    "read": Server.read,
    "scan": Server.scan,
    "commit": Server.commit,
    "check": Server.check,
    "compact": Server.compact,
    "backup": Server.backup,
    "stats": Server.stats,
}


class Client:
    """The store of a running server, as far as the socket offers it: the same methods as kv_backend.Backend."""

    def __init__(self, connection, path):
        self.path = path
        self.socket = connection
        self.lines = connection.makefile("rb")

    def ask(self, op, **fields):
        """The result of an operation."""
        try:
            self.socket.sendall(json.dumps({"op": op} | fields).encode() + b"\n")
            line = self.lines.readline()
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror or error}") from None
        if not line.endswith(b"\n"):
            raise StoreError(f"{self.path}: the server has stopped")
        answer = json.loads(line)
        if "error" in answer:
            raise StoreError(answer["error"])
        return answer["result"]

    def read(self, keys):
        """See Backend.read."""
        records = self.ask("read", keys=[pack(key) for key in keys])
        return [record and (*record[:2], unpack(record[2])) for record in records]

    def scan(self, start, stop, limit, reverse=False, keys_only=False):
        """See Backend.scan; pages may be shorter."""
        items, more = self.ask(
            "scan", start=pack(start), stop=pack(stop), limit=limit, reverse=reverse, keys_only=keys_only
        )
        return [(unpack(key), version, expires, unpack(value)) for key, version, expires, value in items], more

    def commit(self, commits):
        """See Backend.commit, for one commit of simple writes. A refusal raises."""
        ((_, _, writes, _),) = commits
        plainly = [(action, pack(key), pack(value), expires) for action, key, value, expires, _ in writes]
        return [tuple(self.ask("commit", writes=plainly))]

    def check_step(self, position, limit):
        """See kv_care.check_step."""
        records, problems, after = self.ask("check", position=pack(position), limit=limit)
        return records, problems, after and unpack(after)

    def compact_step(self, position):
        """See kv_care.compact_step."""
        after = self.ask("compact", position=pack(position))
        return after and unpack(after)

    def checkpoint(self):
        """See kv_care.checkpoint."""
        return self.ask("backup")

    def stats(self):
        """See Backend.stats."""
        return self.ask("stats")

    def close(self):
        """End the conversation."""
        self.lines.close()
        self.socket.close()


def connect(folder):
    """A Client of the server that has a database open, or None."""
    path = address(folder)
    if path is None:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except PermissionError:
        connection.close()
        raise StoreError(
            f"{path}: a server has this database open, and its admin socket is for its user alone: "
            f"run heart kv as that user (sudo -u '#{owner(path)}' heart kv ...)"
        ) from None
    return Client(connection, path)


def owner(path):
    """The user id that a file belongs to."""
    try:
        return os.stat(path).st_uid
    except OSError:
        return "?"


def pack(data):
    """Bytes for JSON."""
    return base64.b64encode(data).decode()


def unpack(text):
    """Bytes from JSON."""
    return base64.b64decode(text, validate=True)


def plain(outcome):
    """An outcome for JSON: what matters to people is whether and how many."""
    return len(outcome) if isinstance(outcome, list) else outcome if isinstance(outcome, bool) else None
