"""Bundles made by dist/heart, run by themselves: what only the real file has. All else is tested in tests/http and
tests/cli, with HEART_BIN=dist/heart too."""

import os
import shutil
import subprocess

import pytest
from bundles import Bundle, write_files
from frozen.one_file import BINARY, entries, need_binary
from heart_server import PATIENCE, ROOT, Server, heart, need, run
from shown import check, example_commands

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/main.lua"))
APP = 'require("heart.v1").get("/", function(ctx) return require("part") end)'
FILES = {"main.lua": APP, "part.lua": 'return "part"', "public/data.bin": os.urandom(50_000)}


@pytest.fixture(autouse=True)
def heart_is_the_file(monkeypatch, tmp_path):
    """dist/heart is what is tested, with a cache of its own."""
    monkeypatch.setenv("HEART_BIN", str(need_binary()))
    monkeypatch.setenv("HEART_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bundle(tmp_path):
    return Bundle(write_files(tmp_path / "app", FILES), tmp_path / "myapp")


@pytest.mark.parametrize("folder", EXAMPLES, ids=[folder.name for folder in EXAMPLES])
def test_bundled_example_answers_as_its_readme_says(folder, tmp_path):
    with Bundle(folder, tmp_path / "myapp").server(workers=2) as server:
        check(server, example_commands(folder))


def test_bundles_share_what_is_unpacked(bundle, tmp_path):
    other = Bundle(write_files(tmp_path / "other", {"main.lua": "x = 1"}), tmp_path / "other-app")
    with bundle.server() as server:
        assert server.get().text == "part"
    with other.server() as server:
        assert server.get().status == 404
    assert heart("version").returncode == 0
    assert len(entries(tmp_path / "cache")) == 1


def test_bundle_is_found_through_the_path_and_links(bundle, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/another-name").symlink_to(bundle.path)
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    result = subprocess.run(
        ["sh", "-c", "another-name --help"], env=os.environ | env, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.stdout.startswith("Usage: myapp [OPTIONS]\n\nServes main.lua")


def broken(path):
    """Start a file that must not serve; what it says."""
    result = subprocess.run([path, "--port", "0"], capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode not in (0, None) and result.returncode > 0, result
    assert "listening" not in result.stderr and "Traceback" not in result.stderr
    return result.stderr


def test_stripped_bundle_says_that_it_is_damaged(bundle):
    run(need("strip", "binutils"), bundle.path)
    assert "damaged" in broken(bundle.path)


def test_truncated_bundle_says_that_it_is_damaged(bundle, tmp_path):
    data = bundle.path.read_bytes()
    start = BINARY.stat().st_size
    cut = tmp_path / "cut"
    for size in (len(data) - 1, len(data) - 64, start + 100, start + 1, start - 1, start // 2):
        cut.write_bytes(data[:size])
        cut.chmod(0o755)
        assert "damaged" in broken(cut), size


def test_bundle_without_its_application_is_heart(bundle, tmp_path):
    shutil.copy(bundle.path, tmp_path / "cut")
    os.truncate(tmp_path / "cut", BINARY.stat().st_size)
    assert (tmp_path / "cut").read_bytes() == BINARY.read_bytes()


def test_flipped_byte_of_the_list_of_files_is_told(bundle):
    data = bytearray(bundle.path.read_bytes())
    for at in (-65, -60, -50, -44, -40, -1):
        changed = bytearray(data)
        changed[at] ^= 4
        bundle.path.unlink()
        bundle.path.write_bytes(changed)
        bundle.path.chmod(0o755)
        said = broken(bundle.path)
        assert said.count("\n") == 1 and ("damaged" in said or "format" in said), (at, said)


def test_bundle_reads_its_files_in_an_empty_root(root, tmp_path):
    """With our own C library, and no directory of the host."""
    code = """
        local app = require("heart.v1")
        app.static("/", "public")
        app.get("/", function() return require("part") .. io.open("page.txt"):read("*a") end)
    """
    files = FILES | {"main.lua": code, "page.txt": " page"}
    bundle = Bundle(write_files(tmp_path / "app", files), tmp_path / "myapp")
    there = root("mount -t tmpfs none tmp")
    shutil.copy(bundle.path, there.folder / "heart")
    with Server(None, command=(), program=there.command()) as server:
        assert server.get().text == "part page"
        assert server.get("/data.bin").body == FILES["public/data.bin"]


def test_bundle_that_is_replaced_before_its_program_runs_is_served(bundle):
    """What is served is in the file that was started, not in what lies at its path now."""
    script = f'cd {bundle.path.parent}; exec 9<myapp; rm myapp; echo other >myapp; exec /proc/self/fd/9 "$@"'
    with Server(None, command=(), program=["sh", "-c", script, "sh"]) as server:
        assert server.get().text == "part"


def test_heart_without_a_file_system_runs(tmp_path):
    """A copy in memory, as a remote start may make it."""
    fd = os.memfd_create("heart", 0)
    with open(fd, "wb", closefd=False) as file:
        file.write(need_binary().read_bytes())
    result = subprocess.run([f"/proc/self/fd/{fd}", "version"], pass_fds=[fd], capture_output=True, text=True)
    os.close(fd)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("heart ")


def test_bundle_that_is_deleted_while_it_runs_goes_on(bundle):
    """Its files are read through a descriptor."""
    with bundle.server() as server:
        bundle.path.unlink()
        assert server.get().text == "part"
