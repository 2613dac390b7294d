"""The admin socket: `heart kv` on a database that a server has open, which goes on serving meanwhile."""

import json
import os
import socket
import stat
import subprocess
import threading
import time

import pytest
from heart_server import heart, heart_command, heart_environment, wait_until

from heartc import kv_admin, kv_store
from heartc.kv_backend import SET
from heartc.kv_service import Service


class Engine:
    """What the service needs of an engine: no requests come, jobs do."""

    def __init__(self):
        self.woken = threading.Event()

    def kv_take(self, milliseconds):
        self.woken.wait(milliseconds / 1000)
        self.woken.clear()
        return [], []

    def kv_wake(self):
        self.woken.set()

    def notify(self):
        pass

    def log(self, level, text):
        print(level, text)


class Live:
    """A database that is open with its db thread and its admin socket."""

    def __init__(self, path):
        self.path = path
        self.told = []
        self.service = Service(Engine(), lambda: kv_store.Store(path), "always")
        self.service.start()
        assert self.service.opened.wait(5) and self.service.backend
        self.admin = kv_admin.Server(path, self.service, self.told.extend)
        self.admin.start()

    def commit(self, *writes):
        return self.service.call(lambda store: store.commit([([], [], list(writes), False)]))

    def close(self):
        self.admin.stop()
        assert self.service.stop(5)


@pytest.fixture
def live(tmp_path):
    live = Live(tmp_path / "db")
    live.commit(*((SET, b"user:%04d" % i, b"\0name %d" % i, 0, None) for i in range(3000)))
    yield live
    live.close()


def kv(live, *words):
    result = heart("kv", *words, "--db", live.path)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_socket_is_for_its_owner_alone(live):
    path = live.path / "admin.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    live.admin.stop()
    assert not path.exists()


def test_every_action_works_on_an_open_database(live, tmp_path):
    assert kv(live, "get", "user:0042") == "name 42\n"
    kv(live, "set", "k", "v")
    assert kv(live, "get", "k") == "v\n"
    assert kv(live, "count") == "3001\n"
    assert kv(live, "list", "user:", "--reverse", "--limit", "1") == "user:2999\n"
    kv(live, "delete", "k")
    assert heart("kv", "get", "k", "--db", live.path).returncode == 1
    assert kv(live, "delete", "--prefix", "user:1") == "1000\n"
    kv(live, "export", tmp_path / "all.jsonl")
    kv(live, "delete", "--prefix", "user:")
    kv(live, "import", tmp_path / "all.jsonl")
    assert kv(live, "count") == "2000\n"
    kv(live, "compact")
    assert "2000 records, no problems" in heart("kv", "check", "--db", live.path).stderr
    kv(live, "backup", tmp_path / "copy")
    store = kv_store.Store(tmp_path / "copy", create=False)
    assert store.count(b"", b"") == 2000
    store.close()


def test_changes_are_told_to_caches_and_watchers(live):
    kv(live, "set", "k", "v")
    kv(live, "delete", "k")
    heart("kv", "delete", "none", "--db", live.path)
    kv(live, "delete", "--prefix", "user:000")
    assert [(key, value) for key, _, value in live.told] == [
        (b"k", b"\0v"),
        (b"k", None),
        *((b"user:000%d" % i, None) for i in range(10)),
    ]
    versions = [version for _, version, _ in live.told]
    assert versions == sorted(versions) and len(set(versions)) == 3


def test_restore_over_an_open_database_is_refused(live, tmp_path):
    kv(live, "backup", tmp_path / "copy")
    result = heart("kv", "restore", tmp_path / "copy", "--db", live.path)
    assert result.returncode == 1 and "stop it, then restore" in result.stderr


def test_backup_is_of_one_moment_while_others_write(live, tmp_path):
    """Pairs are written together: a backup has both of a pair or none."""
    ended = threading.Event()

    def write():
        n = 0
        while not ended.is_set():
            live.commit((SET, b"a%06d" % n, b"\0", 0, None), (SET, b"b%06d" % n, b"\0", 0, None))
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: live.service.backend.version > 200, "some writes")
        for n in range(3):
            kv(live, "backup", tmp_path / f"copy{n}")
    finally:
        ended.set()
        writer.join()
    for n in range(3):
        store = kv_store.Store(tmp_path / f"copy{n}", create=False)
        pairs = [{key[1:] for key, *_ in store.scan(p, p + b":", 1 << 20, keys_only=True)[0]} for p in (b"a", b"b")]
        store.close()
        assert pairs[0] == pairs[1] and pairs[0]


def test_long_work_leaves_the_db_thread_to_others(live):
    """While everything is listed, checked and compacted, no job of another waits for long."""
    for n in range(20):
        live.commit(*((SET, b"more:%d:%d" % (n, i), b"\0" + bytes(1000), 0, None) for i in range(1000)))
    longest = 0
    with subprocess.Popen(
        [*heart_command(), "kv", "check", "--db", live.path], env=heart_environment(), stderr=subprocess.PIPE
    ) as work:
        while work.poll() is None:
            begun = time.monotonic()
            live.service.call(lambda store: store.read([b"k"]))
            longest = max(longest, time.monotonic() - begun)
        assert work.returncode == 0 and b"23000 records" in work.stderr.read()
    assert longest < 0.5


def test_socket_left_by_a_killed_server_is_no_server(tmp_path):
    store = kv_store.Store(tmp_path / "db")
    store.commit([([], [], [(SET, b"k", b"\0v", 0, None)], True)])
    store.close()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "db" / "admin.sock"))
    assert heart("kv", "get", "k", "--db", tmp_path / "db").stdout == "v\n"
    live = Live(tmp_path / "db")
    assert kv(live, "get", "k") == "v\n"
    live.close()


def test_stopped_server_is_told(live):
    client = kv_admin.connect(live.path)
    live.close()
    live.service.stopping = True
    with pytest.raises(Exception, match="closed|stopped"):
        client.read([b"k"])
    client.close()


def test_long_path_has_no_admin_socket_and_says_so(tmp_path):
    path = tmp_path / ("x" * 100) / "db"
    path.mkdir(parents=True)
    with pytest.raises(Exception, match="too long"):
        kv_admin.Server(path, None, None).start()
    assert kv_admin.connect(path) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"5", b"null", b'{"op":"what"}', b'{"op":["read"]}', b'{"op":"read"}', b'{"op":"read","keys":5}']
    + [b'{"op":"read","keys":["%"]}', b'{"op":"read","keys":[5]}', b'{"op":"scan","start":"","stop":"","limit":"x"}']
    + [b'{"op":"commit","writes":[[0,"aw=="]]}', b'{"op":"commit","writes":[[4,"aw==","","0"]]}', b"[" * 50_000]
    + [b'{"op":"commit","writes":[["x","aw==","",0]]}', b'{"op":"check","position":null,"limit":1}', b"\xff\xfe"]
    + [b'{"op":"read","keys":[],"more":1}', b'{"op":"stats","self":1}'],
)
def test_wrong_request_is_answered_with_an_error(live, line):
    client = kv_admin.connect(live.path)
    client.socket.sendall(line + b"\n")
    assert set(json.loads(client.lines.readline())) == {"error"}
    assert client.read([b"user:0001"])[0][2] == b"\0name 1", "the conversation goes on"
    client.close()


def test_clients_that_leave_in_the_middle_free_their_places(live):
    before = len(os.listdir("/proc/self/task"))
    for _ in range(3 * kv_admin.CLIENTS):
        client = kv_admin.connect(live.path)
        client.socket.sendall(b'{"op":"sc')
        client.close()
    assert kv(live, "count", "user:000") == "10\n"
    assert len(os.listdir("/proc/self/task")) <= before + kv_admin.CLIENTS
