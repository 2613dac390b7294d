"""--watch: the files that were loaded are watched, and a change reloads."""

import os
import time

import pytest
from heart_server import Server, wait_until

MAIN = 'local m = require("part") require("heart.v1").get("/", function(ctx) return m end)'


@pytest.fixture
def server():
    with Server(MAIN, "--watch", workers=2, files={"part.lua": 'return "one"'}) as server:
        assert server.get().text == "one"
        yield server


def becomes(server, text):
    wait_until(lambda: all(server.get().text == text for _ in range(10)), lambda: f"{text}:\n{server.tail()}")


def test_changed_module_is_loaded(server):
    server.write("part.lua", 'return "two"')
    becomes(server, "two")
    server.write("part.lua", 'return "three"')
    becomes(server, "three")


def test_changed_script_is_loaded(server):
    server.write("main.lua", 'require("heart.v1").get("/", function(ctx) return "main" end)')
    becomes(server, "main")


def test_file_replaced_by_rename_is_loaded(server):
    """Editors write a new file and move it over the old one: the old inode tells nothing any more."""
    for text in ("two", "three", "four"):
        path = server.write("part.lua.tmp", f'return "{text}"')
        os.replace(path, server.folder / "part.lua")
        becomes(server, text)


def test_broken_file_keeps_the_old_code_until_it_is_mended(server):
    server.write("part.lua", "return (")
    server.wait_log(r"part\.lua:1")
    assert server.get().text == "one"
    server.write("part.lua", 'return "mended"')
    becomes(server, "mended")


def test_module_of_the_new_code_is_watched_too(server):
    server.write("later.lua", 'return "later one"')
    server.write("part.lua", 'return require("later")')
    becomes(server, "later one")
    server.write("later.lua", 'return "later two"')
    becomes(server, "later two")


def test_other_files_reload_nothing(server):
    server.write("notes.txt", "x")
    server.write("part.lua.swp", "x")
    before = len(server.logs())
    time.sleep(0.5)
    assert "reload" not in server.logs()[before:].lower()


def test_many_changes_at_once_end_with_the_last(server):
    for i in range(30):
        server.write("part.lua", f'return "change {i}"')
    becomes(server, "change 29")


def test_without_the_flag_nothing_is_watched(serve):
    server = serve(MAIN, files={"part.lua": 'return "one"'})
    server.write("part.lua", 'return "two"')
    time.sleep(0.5)
    assert server.get().text == "one"
