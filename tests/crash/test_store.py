"""The disk store after kill -9 and after a power loss: what was acknowledged is there, and the database opens.

A child process commits counters and tells what was acknowledged; it is killed at a random moment, again and again on
the same database. kill -9 leaves the page cache in place; the power loss layer drops what was not synced.
"""

import random
import subprocess
import sys
import textwrap
import time

import power_loss
import pytest
from heart_server import ROOT, SANITIZED

from heartc.kv_store import Store

pytestmark = pytest.mark.skipif(SANITIZED, reason="the database runs without the server here")

# Each round: keys k0..k9 get growing numbers in one commit, so that a torn commit is seen; every 7th is not synced.
CHILD = """
    import os, sys
    sys.path.insert(0, {root!r})
    from heartc.kv_store import Store
    store = Store({path!r})
    n = int(sys.argv[1])
    os.write(1, b"open\\n")
    while True:
        n += 1
        value = b"\\0%d" % n + b"x" * (n * 37 % 3000)
        writes = [(0, b"k%d" % i, value, 0, None) for i in range(10)]
        sync = n % 7 != 0
        (status, version, why), = store.commit([([], [], writes, sync)])
        assert status == 0, why
        if sync:
            os.write(1, b"%d\\n" % n)
"""


def load(path, first, seconds, env=None):
    """Commit from `first` on until killed. Returns the last number that was acknowledged as durable."""
    code = textwrap.dedent(CHILD.format(root=str(ROOT), path=str(path)))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(first)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    assert child.stdout.readline() == b"open\n", child.stderr.read().decode()
    time.sleep(seconds)
    child.kill()
    output, errors = child.communicate(timeout=30)
    assert child.returncode == -9, errors.decode()
    lines = [line for line in output.splitlines(keepends=True) if line.endswith(b"\n")]
    return int(lines[-1]) if lines else first


def found(path):
    """The number in the database, the same in all ten keys."""
    store = Store(path)
    values = {int(v[1:].rstrip(b"x") or 0) for _, _, _, v in store.scan(b"", b"", 100)[0]}
    store.close()
    assert len(values) <= 1, f"half a commit: {values}"
    return values.pop() if values else 0


def rounds_kill(path, count, seed):
    chance, last = random.Random(seed), 0
    for _ in range(count):
        acknowledged = load(path, last, chance.uniform(0, 0.3))
        last = found(path)
        assert last >= acknowledged


def rounds_power(folder, count, seed):
    chance, last = random.Random(seed), 0
    library = power_loss.layer(folder)
    path, kept = folder / "db", folder / "kept"
    for _ in range(count):
        path.mkdir(exist_ok=True)
        env = power_loss.environment(library, path, kept)
        power_loss.begin(path, kept)
        acknowledged = load(path, last, chance.uniform(0, 0.3), env)
        power_loss.lose(path, kept, chance if chance.random() < 0.7 else None)
        last = found(path)
        assert last >= acknowledged


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_store_keeps_every_acknowledged_commit(tmp_path, seed):
    rounds_kill(tmp_path / "db", 10, seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_power_loss_keeps_every_acknowledged_commit(tmp_path, seed):
    rounds_power(tmp_path, 10, seed)


def test_power_loss_layer_drops_what_was_not_synced(tmp_path):
    """Else the tests above could not fail."""
    code = textwrap.dedent(f"""
        import os, signal
        f = open({str(tmp_path / "db/file")!r}, "wb", buffering=0)
        f.write(b"kept")
        os.fsync(f.fileno())
        folder = os.open({str(tmp_path / "db")!r}, os.O_RDONLY)
        os.fsync(folder)
        f.write(b" lost")
        g = open({str(tmp_path / "db/other")!r}, "wb", buffering=0)
        g.write(b"all of it")
        os.fdatasync(g.fileno())
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    (tmp_path / "db").mkdir()
    env = power_loss.environment(power_loss.layer(tmp_path), tmp_path / "db", tmp_path / "kept")
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == -9
    assert (tmp_path / "db/file").read_bytes() == b"kept lost"
    power_loss.lose(tmp_path / "db", tmp_path / "kept")
    assert {f.name: f.read_bytes() for f in (tmp_path / "db").iterdir()} == {"file": b"kept"}


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rounds", [rounds_kill, rounds_power])
def test_two_hundred_rounds(tmp_path, rounds):
    rounds(tmp_path / "db" if rounds is rounds_kill else tmp_path, 200, 3)
