"""Fixtures of the tests of files, processes, time and random numbers."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from snippets import Lua


@pytest.fixture(scope="module")
def shared_lua():
    with Lua(workers=1) as lua:
        yield lua


@pytest.fixture
def lua(shared_lua):
    """A server that it shares with the other tests of its module. `dir` is a global of snippets: an empty folder, in
    memory where that is possible, since a disk makes thousands of files slowly."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        shared_lua.dir = Path(folder)
        shared_lua.run("dir = v.dir", dir=folder)
        yield shared_lua


@pytest.fixture
def open_lua():
    """A function that starts a server of its own."""
    with ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Lua(*args, **more))
