"""Fixtures of the tests of the one-file executable."""

import shlex
from pathlib import Path

import pytest
from frozen.one_file import Root, need_binary
from heart_server import Server


@pytest.fixture
def binary():
    """The path of dist/heart."""
    return need_binary()


@pytest.fixture
def cache(tmp_path):
    """A cache directory that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    """A function that makes an empty root: `root("mount -t tmpfs none tmp")`."""
    return lambda mounts="": Root(tmp_path / "root", mounts)


@pytest.fixture
def frozen(monkeypatch, binary, cache, serve):
    """Like `serve`, but of dist/heart with a cache of its own."""
    monkeypatch.setenv("HEART_BIN", str(binary))
    monkeypatch.setenv("HEART_CACHE", str(cache))
    return serve


@pytest.fixture
def serve_in(monkeypatch):
    """A function that serves a script of a root from within it: `with serve_in(root, "/app/main.lua") as server`."""

    def server(root, script, *args, **env):
        monkeypatch.setenv("HEART_BIN", shlex.join(root.command(**env)))
        return Server(Path(script), *args)

    return server
