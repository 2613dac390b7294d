"""dist/heart-aarch64 itself: its segments, and kernels with larger pages. Run by packaging/arm/build.sh.

The kernels of the Raspberry Pi 5 and of Apple's processors have pages of 16 KiB, some servers' of 64 KiB. The loader
refuses a file whose segments are aligned to less. qemu-user tells programs the page size that QEMU_PAGESIZE says.
"""

import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from heart_server import ROOT, Server, run

FILE = ROOT / "dist/heart-aarch64"
LARGEST_PAGE = 0x10000
SEGMENT = re.compile(r"^  LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x\w+ 0x\w+ .{3} 0x(\w+)$", re.MULTILINE)
APP = """
local app = require("heart.v1")
local ffi = require("ffi")
ffi.cdef("int getpagesize(void);")
app.get("/page", function(ctx) return tostring(ffi.C.getpagesize()) end)
app.get("/work", function(ctx)
    local parts = {}
    for i = 1, 20000 do parts[#parts + 1] = i % 7 end
    return tostring(#table.concat(parts))
end)
app.static("/files", "files")
"""


@pytest.fixture
def heart(monkeypatch):
    """Server and heart() run the file."""
    monkeypatch.setenv("HEART_BIN", str(FILE))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder into which the file has unpacked itself."""
    folder = tmp_path_factory.mktemp("cache")
    run(FILE, "version", env=os.environ | {"HEART_CACHE": str(folder)}, timeout=60)
    return folder


def segments(path):
    """(offset, address, alignment) of every segment that is loaded."""
    text = run("readelf", "--wide", "--program-headers", path).stdout
    return [tuple(int(number, 16) for number in found) for found in SEGMENT.findall(text)]


def is_elf(path):
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def test_launcher_is_static_and_for_this_architecture():
    header = run("readelf", "--wide", "--file-header", "--program-headers", FILE).stdout
    assert re.search(r"Machine:\s+AArch64", header)
    assert "INTERP" not in header


def test_segments_suit_pages_of_64_kib(unpacked):
    files = [FILE, *(path for path in unpacked.rglob("*") if path.is_file() and is_elf(path))]
    names = {path.name.split(".")[0] for path in files}
    assert {"heart", "_core", "luajit21", "rocksdict", "libc", "ld-linux-aarch64"} <= names
    for path in files:
        assert segments(path), path.name
        for offset, address, alignment in segments(path):
            assert alignment >= LARGEST_PAGE, f"{path.name}: aligned to {alignment:#x}"
            assert offset % alignment == address % alignment, path.name


@pytest.mark.skipif(os.uname().machine == "aarch64", reason="the page size is the kernel's")
@pytest.mark.parametrize("size", [4096, 16384, 65536])
def test_server_works_with_pages_of(heart, size):
    """Start, requests on two workers, memory taken and given back, a file, and a clean end."""
    content = os.urandom(300_000)
    files = {"files/data.bin": content}
    with Server(APP, workers=2, files=files, env={"QEMU_PAGESIZE": str(size)}) as server:
        assert server.get("/page").text == str(size)
        assert server.get("/files/data.bin").body == content
        with ExitStack() as stack:
            for _ in range(100):
                client = stack.enter_context(server.connect())
                assert client.fetch(target="/work").text == "20000"


def test_c_library_is_the_files_own_where_there_is_none(unpacked):
    entries = [path.name for path in unpacked.iterdir() if path.is_dir()]
    expected = "own" if not Path("/lib/ld-linux-aarch64.so.1").exists() else "host"
    assert [name.rpartition("-")[2] for name in entries] == [expected]


def test_child_processes_run(heart):
    """io.popen starts a program of this machine, beside the emulated server."""
    with Server('require("heart.v1").get("/", function(ctx) return io.popen("echo child"):read("*l") end)') as server:
        assert server.get().text == "child"
