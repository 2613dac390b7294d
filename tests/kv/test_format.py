"""Databases of older formats, kept as files: every later Heart opens them and finds what was written.

format-1.tar.gz was written by the first version with a disk store: some keys in a table, some in the log of a process
that was killed, one that has expired and one that will in 2100.
"""

import tarfile
from pathlib import Path

import pytest
from heart_server import SANITIZED

from heartc import kv_number
from heartc.kv_backend import OK, SET
from heartc.kv_store import FORMAT, Store

HERE = Path(__file__).parent
YEAR_2100 = 4_102_444_800_000

pytestmark = pytest.mark.skipif(SANITIZED, reason="the database runs without the server here")


@pytest.fixture(params=range(1, FORMAT + 1))
def path(request, tmp_path):
    """A database of each format that there ever was."""
    with tarfile.open(HERE / f"format-{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "db"


def test_database_of_every_format_opens_with_all_it_has(path):
    store = Store(path, create=False)
    items = {key: (value, expires) for key, _, expires, value in store.scan(b"", b"", 100)[0]}
    assert items == {
        b"text": (b"\0words", 0),
        b"number": (kv_number.encode(1.5), 0),
        b"later": (b"\0in the year 2100", YEAR_2100),
        b"in the log": (b"\0not in a table yet", 0),
        bytes(range(256)): (b"\1\xc3", 0),
    }
    assert store.sweep(100) in ([], [b"gone"])
    store.close()


def test_database_of_every_format_takes_newer_versions(path):
    store = Store(path)
    before = store.read([b"text"])[0][0]
    status, version, _ = store.commit([([(b"text", before)], [], [(SET, b"text", b"\0new", 0, None)], True)])[0]
    assert status == OK and version > before
    store.close()
    again = Store(path)
    assert again.read([b"text"]) == [(version, 0, b"\0new")]
    again.close()
