"""selection.py: which files of a folder belong to an application."""

import os
import socket

import pytest
from archives import pack
from bundles import write_files

from heartc.errors import HeartError
from heartc.selection import Selection

FILES = {
    "main.lua": "",
    "lib/a.lua": "",
    "lib/notes.txt": "",
    "lib/deep/b.lua": "",
    "public/index.html": "",
    "public/.well-known/security.txt": "",
    "public/empty/": "",
    "tests/test.lua": "",
    ".env": "",
    ".git/config": "",
    ".git/hooks/a.lua": "",
    "main.lua~": "",
    "data/CURRENT": "",
    "data/IDENTITY": "",
    "data/000001.log": "",
}
DEFAULT = "lib/a.lua lib/deep/b.lua lib/notes.txt main.lua public/empty/ public/index.html tests/test.lua"


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "app", FILES)


def names(folder, **more):
    return [os.fsdecode(name) for name, _ in Selection(str(folder / "main.lua"), **more).files]


def test_folder_of_the_script_without_hidden_files_and_databases(folder):
    selection = Selection(str(folder / "main.lua"))
    assert " ".join(os.fsdecode(name) for name, _ in selection.files) == DEFAULT
    assert selection.skipped == [".env", ".git", "data", "main.lua~", "public/.well-known"]


def test_script_without_a_folder_is_in_the_current_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [os.fsdecode(name) for name, _ in Selection("main.lua").files] == DEFAULT.split()


@pytest.mark.parametrize(
    ("exclude", "include", "expected"),
    [
        (["tests"], [], "lib/a.lua lib/deep/b.lua lib/notes.txt main.lua public/empty/ public/index.html"),
        (["tests/", "public", "lib"], [], "main.lua"),
        (["./lib/deep", "t*", "public"], [], "lib/a.lua lib/notes.txt main.lua"),
        (["*.txt", "public", "tests"], [], "lib/a.lua lib/deep/b.lua main.lua"),
        (["*"], [], "main.lua"),
        (["*"], ["*.lua"], "lib/a.lua lib/deep/b.lua main.lua tests/test.lua"),
        (["*"], ["public"], "main.lua public/empty/ public/index.html"),
        (["lib/*"], ["lib/deep"], "lib/deep/b.lua main.lua public/empty/ public/index.html tests/test.lua"),
        (["lib/*", "tests", "public"], ["lib/deep/b.lua"], "lib/deep/b.lua main.lua"),
        (["main.lua", "lib", "tests", "public"], [], "main.lua"),
        (["lib", "tests", "public"], [".env"], ".env main.lua"),
        (["lib", "tests"], [".well-known"], "main.lua public/.well-known/security.txt public/empty/ public/index.html"),
        (["lib", "tests", "public"], [".git/config"], ".git/config main.lua"),
        (["lib", "tests", "public"], ["data"], "data/000001.log data/CURRENT data/IDENTITY main.lua"),
        (["lib", "tests", "public"], ["*.log"], "main.lua"),
        (["LIB", "Tests", "public", "lib"], [], "main.lua tests/test.lua"),
    ],
)
def test_patterns_choose(folder, exclude, include, expected):
    assert names(folder, exclude=exclude, include=include) == expected.split()


def test_names_are_in_the_order_of_their_bytes(tmp_path):
    folder = write_files(
        tmp_path / "app", {"main.lua": "", "a/b": "", "a.c": "", "a-d": "", "Z": "", "\u00e9": "", "z": ""}
    )
    found = [name for name, _ in Selection(str(folder / "main.lua")).files]
    assert found == sorted(found) and len(found) == 7


def test_name_that_is_no_utf_8_is_kept(tmp_path):
    folder = write_files(tmp_path / "app", {"main.lua": ""})
    with open(os.fsencode(folder) + b"/\xff", "wb"):
        pass
    assert [name for name, _ in Selection(str(folder / "main.lua")).files] == [b"main.lua", b"\xff"]


def test_link_inside_is_followed(folder):
    (folder / "link.lua").symlink_to("lib/a.lua")
    (folder / "code").symlink_to("lib/deep")
    assert {"link.lua", "code/b.lua"} <= set(names(folder))


@pytest.mark.parametrize("target", ["../../outside", "../..", "/etc/hostname", "/"])
def test_link_out_is_told(folder, target):
    (folder.parent / "outside").touch()
    (folder / "lib/link").symlink_to(target)
    with pytest.raises(HeartError, match="lib/link: a symbolic link out of .*--exclude lib/link"):
        names(folder)
    assert names(folder, exclude=["lib/link"]) == DEFAULT.split()


@pytest.mark.parametrize("target", [".", "..", "deep"])
def test_link_to_a_folder_around_it_is_told(folder, target):
    (folder / "lib/deep/again").symlink_to(target if target != "deep" else "../deep")
    with pytest.raises(HeartError, match="lib/deep/again: a symbolic link to a folder around it"):
        names(folder)


def test_link_to_nothing_is_told(folder):
    (folder / "gone").symlink_to("nothing")
    with pytest.raises(HeartError, match="gone: No such file or directory; leave it out with --exclude gone"):
        names(folder)
    (folder / "gone").unlink()
    (folder / "round").symlink_to("round")
    with pytest.raises(HeartError, match="round: Too many levels of symbolic links"):
        names(folder)


def test_sibling_with_the_same_beginning_is_outside(folder):
    write_files(folder.parent / "app-private", {"x": ""})
    (folder / "x").symlink_to("../app-private/x")
    with pytest.raises(HeartError, match="out of"):
        names(folder)


def test_special_files_are_left_out(folder):
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        assert names(folder) == DEFAULT.split()


def test_bundles_and_the_executables_of_this_run_are_left_out(folder):
    pack(folder / "older", [(b"main.lua", b"", 0)]).chmod(0o755)
    (folder / "heart").touch()
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    assert names(folder, outside=[str(folder / "heart")]) == sorted([*DEFAULT.split(), "tool"])


def test_folder_that_can_not_be_read_is_told(folder):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "lib").chmod(0)
    with pytest.raises(HeartError, match="lib/?: can not be read: Permission denied"):
        names(folder)
