"""The disk store on a disk that is full, read-only or broken: it says so, goes on when it can, and loses nothing."""

import contextlib
import os
import random
import shutil
import subprocess
import sys

import pytest
from heart_server import ROOT, SANITIZED

from heartc.kv_backend import FAILED, OK, SET, StoreError
from heartc.kv_store import Store

pytestmark = pytest.mark.skipif(SANITIZED, reason="the database runs without the server here")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    path = tmp_path / "small"
    path.mkdir()

    def mount(options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True, timeout=20)

    try:
        mount("size=24m")
    except subprocess.CalledProcessError:
        pytest.skip("mounting is not allowed here")
    yield path
    subprocess.run(["umount", "-l", path], check=True, timeout=20)


def remount(path, options):
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True, timeout=20)


def put(store, key, value, sync=True):
    return store.commit([([], [], [(SET, key, value, 0, None)], sync)])[0]


def fill(store):
    """Write until it fails: the keys that were acknowledged, and the failure's reason."""
    chance, keys = random.Random(1), []
    for i in range(1000):
        key = b"%04d" % i
        status, _, reason = put(store, key, chance.randbytes(200_000))
        if status != OK:
            assert status == FAILED
            return keys, reason
        keys.append(key)
    raise AssertionError("the disk never was full")


def test_full_disk_fails_the_commit_and_keeps_what_was_acknowledged(small_disk):
    store = Store(small_disk / "db")
    keys, reason = fill(store)
    assert len(keys) > 20
    assert "the disk is full" in reason and str(small_disk / "db") in reason
    assert all(store.read(keys))
    with contextlib.suppress(StoreError):
        store.close()
    remount(small_disk, "size=64m")  # without room it may not open: the log is made a table then
    again = Store(small_disk / "db")
    assert all(again.read(keys))
    assert again.count(b"", b"") in (len(keys), len(keys) + 1)
    again.close()


# The tables of this one are written at 4 MiB/s.
FILL = """
import random, sys
from heartc import kv_store
from heartc.kv_backend import OK, SET
options_of = kv_store.database_options
def options(rocks):
    options = options_of(rocks)
    options.set_ratelimiter(4 << 20, 100_000, 10)
    return options
kv_store.database_options = options
store, n = kv_store.Store(sys.argv[1]), 0
while True:
    status, _, reason = store.commit([([], [], [(SET, b"%d" % n, random.randbytes(4_200_000), 0, None)], True)])[0]
    if status != OK:
        break
    n += 1
assert all(store.read([b"%d" % i for i in range(n)]))
print(n, reason)
"""


def test_write_never_waits_for_a_table_that_has_no_room(small_disk):
    """While a table is written, a second one gets full, and a third write waits: then there is no room for the first.
    RocksDB would have that write wait until there is, and all of the store. In a process of its own, which would not
    even take a signal then."""
    remount(small_disk, "size=11m")
    command = [sys.executable, "-c", FILL, small_disk / "db"]
    filled = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30)
    n, _, reason = filled.stdout.partition(" ")
    assert n == "2" and "the disk is full" in reason and ".sst" in reason


def test_store_goes_on_when_the_full_disk_has_room_again(small_disk):
    store = Store(small_disk / "db")
    keys, _ = fill(store)
    remount(small_disk, "size=64m")
    # RocksDB looks for room every few seconds.
    for _ in range(300):
        status, *_ = put(store, b"after", b"v")
        if status == OK:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert status == OK
    store.close()
    again = Store(small_disk / "db")
    assert all(again.read([*keys, b"after"]))
    again.close()


def test_read_only_disk_is_named(small_disk):
    Store(small_disk / "db").close()
    remount(small_disk, "ro")
    with pytest.raises(StoreError, match="can not be written"):
        Store(small_disk / "db")
    remount(small_disk, "rw")


def damaged(path, suffix, change):
    """Change the bytes of the newest file with this suffix in a closed database. Returns what is in it now."""
    file = max((f for f in path.iterdir() if f.name.endswith(suffix)), key=lambda f: f.name)
    data = bytearray(file.read_bytes())
    assert data
    change(data)
    file.write_bytes(data)
    return bytes(data)


def killed_after(path, code):
    """Run `code` in a process with an open store, and kill that. (A fork of this one would miss RocksDB's threads.)"""
    lines = ["from heartc.kv_backend import SET", "from heartc.kv_store import Store", f"store = Store({str(path)!r})"]
    lines += ["def put(key, value): store.commit([([], [], [(SET, key, value, 0, None)], True)])", code]
    lines += ["import os; os.kill(os.getpid(), 9)"]
    child = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, timeout=20)
    assert child.returncode == -9


@pytest.fixture
def killed(tmp_path):
    """A database that was not closed: 100 commits in the write-ahead log."""
    path = tmp_path / "db"
    killed_after(path, "for i in range(100): put(b'%03d' % i, b'v' * 500)")
    return path


def shorten(size):
    """A change that keeps so many bytes."""
    return lambda data: data.__delitem__(slice(size, None))


def keys(store):
    return [key for key, *_ in store.scan(b"", b"", 1000)[0]]


def kept_logs(path):
    """What is kept of damaged logs: the bytes of each."""
    return [file.read_bytes() for file in path.glob("damaged-log-*/*.log")]


@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"noise" * 1000])
def test_damaged_end_of_the_log_costs_the_last_commits_only(killed, tail):
    def change(data):
        del data[-700:]
        data += tail

    damaged(killed, ".log", change)
    store = Store(killed)
    found = keys(store)
    assert found == [b"%03d" % i for i in range(len(found))]
    assert 97 <= len(found) < 100
    assert len(store.notes) == 1
    assert put(store, b"new", b"v")[0] == OK
    store.close()
    again = Store(killed)
    assert again.count(b"", b"") == len(found) + 1 and not again.notes
    again.close()


@pytest.mark.parametrize("cut", [3, 100, 700, 5000])
def test_log_that_ends_within_a_commit_is_no_damage(killed, cut):
    """As after a power loss: that commit had not been flushed. It is told, but nothing needs to be kept."""
    damaged(killed, ".log", shorten(-cut))
    store = Store(killed)
    assert store.notes == [
        ("warn", f"{killed}: its log ended within a commit, as after a power loss: that one is dropped")
    ]
    store.close()
    assert not kept_logs(killed)


def test_log_of_a_killed_store_is_whole(killed):
    store = Store(killed)
    assert len(keys(store)) == 100 and not store.notes
    store.close()


MIDDLE = 28_000  # of a log of 56 KB: in its first block, and the second block is the last one
SECOND = 45_000


def flip(data, at):
    data[at] ^= 0xFF


def lengthen(data, at):
    """Damage the length in the head of the first record behind `at`, so that it seems to end behind the log."""
    data[data.index(b"\x02\x01", at)] = 0x40  # of more than 512 bytes, a whole commit


def blank(data, at):
    data[at : at + 4096] = bytes(4096)


@pytest.mark.parametrize("at", [MIDDLE, SECOND])
@pytest.mark.parametrize("change", [flip, lengthen, blank])
def test_damaged_middle_of_the_log_is_told_and_kept(killed, change, at):
    """Acknowledged commits are lost by the damage: never without a word, and never for good."""
    log = damaged(killed, ".log", lambda data: change(data, at))
    store = Store(killed)
    found = keys(store)
    assert found == [b"%03d" % i for i in range(len(found))] and 40 < len(found) < 90
    ((level, text),) = store.notes
    assert level == "error" and str(killed) in text and "damaged" in text and "heart kv check" in text
    assert kept_logs(killed) == [log] and str(next(killed.glob("damaged-log-*"))) in text
    assert put(store, b"new", b"v")[0] == OK
    store.close()
    again = Store(killed)
    assert len(keys(again)) == len(found) + 1 and not again.notes
    again.close()
    assert kept_logs(killed) == [log]


@pytest.mark.parametrize("change", [flip, lengthen])
def test_damaged_log_is_kept_where_there_are_no_hard_links(killed, change, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    log = damaged(killed, ".log", lambda data: change(data, MIDDLE))
    Store(killed).close()
    assert kept_logs(killed) == [log]


def test_large_commit_that_was_cut_off_is_no_damage(tmp_path):
    """It takes several records of the log, which may end within or between them."""
    path = tmp_path / "db"
    killed_after(path, "put(b'small', b'v'); put(b'large', bytes(range(256)) * 800)")
    whole = max(path.glob("*.log")).read_bytes()
    for size in (32_768, 32_771, 32_775, 40_000, 65_536, 100_000, len(whole) - 1):
        copy = tmp_path / f"{size}"
        shutil.copytree(path, copy)
        damaged(copy, ".log", shorten(size))
        store = Store(copy)
        assert keys(store) == [b"small"] and [level for level, _ in store.notes] == ["warn"], size
        store.close()


def test_older_log_that_lacks_its_end_is_damaged(killed):
    """What is in a newer one was written later: it is dropped, too."""
    log = max(killed.glob("*.log"))
    whole = log.read_bytes()
    (killed / f"{int(log.stem) + 1:06}.log").write_bytes(whole)
    damaged(killed, f"{log.name}", shorten(-100))
    store = Store(killed)
    assert [level for level, _ in store.notes] == ["error"]
    store.close()
    assert len(kept_logs(killed)) == 2


def test_damaged_table_fails_the_read_and_names_what_helps(tmp_path):
    path = tmp_path / "db"
    store = Store(path)
    chance = random.Random(2)
    for i in range(300):
        put(store, b"%03d" % i, b"\0" + chance.randbytes(1000), sync=False)
    store.close()

    def change(data):
        for at in range(20_000, 60_000, 100):
            data[at] ^= 0xFF

    damaged(path, ".sst", change)
    store = Store(path)
    with pytest.raises(StoreError, match="damaged.*heart kv check"):
        for i in range(300):
            store.read([b"%03d" % i])
    with pytest.raises(StoreError, match="damaged.*heart kv check"):
        store.scan(b"", b"", 1000)
    with pytest.raises(StoreError, match="damaged.*heart kv check"):
        store.count(b"", b"")
    store.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST"])
def test_database_whose_heart_is_damaged_does_not_open_and_says_what_helps(tmp_path, name):
    path = tmp_path / "db"
    store = Store(path)
    put(store, b"k", b"v")
    store.close()
    for file in path.iterdir():
        if file.name.startswith(name):
            file.write_bytes(b"\xff" * 200)
    with pytest.raises(StoreError, match="does not open.*heart kv restore BACKUP.*heart kv repair") as raised:
        Store(path)
    assert "heart kv check" not in str(raised.value), "which would have to open it"
    assert not list(path.glob("damaged-log-*"))
