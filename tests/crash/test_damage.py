"""The disk store on a disk that is full, read-only or broken: it says so, goes on when it can, and loses nothing."""

import contextlib
import os
import random
import subprocess

import pytest
from heart_server import SANITIZED

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
    """Change the bytes of the newest file with this suffix in a closed database."""
    file = max((f for f in path.iterdir() if f.name.endswith(suffix)), key=lambda f: f.name)
    data = bytearray(file.read_bytes())
    assert data
    change(data)
    file.write_bytes(data)


@pytest.fixture
def killed(tmp_path):
    """A database that was not closed: 100 commits in the write-ahead log."""
    path = tmp_path / "db"
    if os.fork() == 0:
        store = Store(path)
        for i in range(100):
            put(store, b"%03d" % i, b"v" * 500)
        os.kill(os.getpid(), 9)
    os.wait()
    return path


@pytest.mark.parametrize("tail", [b"", b"\0" * 5000, b"noise" * 1000])
def test_damaged_end_of_the_log_costs_the_last_commits_only(killed, tail):
    def change(data):
        del data[-700:]
        data += tail

    damaged(killed, ".log", change)
    store = Store(killed)
    found = [key for key, *_ in store.scan(b"", b"", 1000)[0]]
    assert found == [b"%03d" % i for i in range(len(found))]
    assert 97 <= len(found) < 100
    assert put(store, b"new", b"v")[0] == OK
    store.close()
    again = Store(killed)
    assert again.count(b"", b"") == len(found) + 1
    again.close()


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
    with pytest.raises(StoreError, match="damaged.*heart kv check"):
        Store(path)
