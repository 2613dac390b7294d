"""The file itself: its size, what it needs, what it tells about the machine it was built on; damaged copies of it."""

import re
import struct
import zipfile
from pathlib import Path

import pytest
from frozen.one_file import APP, entries, footer, start, worked
from heart_server import ROOT, need, run

LARGEST = 12_500_000


def test_size(binary):
    assert binary.stat().st_size <= LARGEST


def test_static(binary):
    """No loader and no library is asked for: the kernel alone can start it."""
    assert "statically linked" in run(need("file", "file"), "-L", binary).stdout
    assert "INTERP" not in run(need("readelf", "binutils"), "-lW", binary).stdout


def test_no_paths_of_the_build_machine_in_the_file(binary):
    """None of the checkout, of a home or a temporary folder."""
    text = run(need("strings", "binutils"), "-a", binary, errors="replace").stdout
    found = [line for line in text.splitlines() if re.search(r"/(tmp|root|home|build|work|usr/src)/", line)]
    assert not found


def test_no_paths_of_the_build_machine_in_what_is_unpacked(binary, cache):
    """rocksdict comes compiled, with the paths of its own makers; Python's texts have /tmp as an example."""
    assert worked(start("version", HEART_CACHE=cache))
    folders = [str(ROOT), str(Path.home()) + "/", "/build/binary"]
    for path in (path for path in cache.rglob("*") if path.is_file()):
        data = path.read_bytes()
        own = "rocksdict" not in path.parts
        assert not [folder for folder in folders if own and folder.encode() in data], path
        assert str(ROOT).encode() not in data, path


def test_no_tools_are_inside(binary, cache):
    assert worked(start("version", HEART_CACHE=cache))
    names = {path.name for path in cache.rglob("*")}
    assert not [name for name in names if re.match(r"(lua5|luajit20|_ssl).*\.so", name)]
    modules = zipfile.ZipFile(next(cache.glob("*/_internal/modules.zip"))).namelist()
    assert "encodings/utf_8.pyc" in modules
    assert not {name.split("/")[0] for name in modules} & {"Cython", "setuptools", "PyInstaller", "pip", "rich"}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 0.999999])
def test_file_that_is_cut_off_says_so(binary, cache, tmp_path, share):
    cut = tmp_path / "cut"
    data = binary.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    cut.chmod(0o755)
    result = start("version", file=cut, HEART_CACHE=cache)
    assert result.returncode == 127
    assert result.stderr == "heart: this file is damaged or incomplete: download it again\n"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_changed_byte_is_noticed_when_it_is_unpacked(binary, cache, tmp_path, share):
    data = bytearray(binary.read_bytes())
    size = struct.unpack_from("<Q", data, footer(data) + 16)[0]
    data[footer(data) - size + int(size * share)] ^= 1
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    bad.chmod(0o755)
    result = start("version", file=bad, HEART_CACHE=cache)
    assert result.returncode == 127
    assert "damaged" in result.stderr
    assert entries(cache) == []


def test_changed_byte_of_the_index_is_noticed(binary, cache, tmp_path):
    """It may be a letter of a name."""
    data = bytearray(binary.read_bytes())
    at = footer(data)
    size, _, index_size = struct.unpack_from("<QQI", data, at + 16)
    for i in (0, 4, 5, 6, index_size // 2, index_size - 1):
        bad = tmp_path / f"bad-{i}"
        bad.write_bytes(data[: at - size + i] + bytes([data[at - size + i] ^ 1]) + data[at - size + i + 1 :])
        bad.chmod(0o755)
        result = start("version", file=bad, HEART_CACHE=cache)
        assert (result.returncode, "damaged" in result.stderr) == (127, True), i


def test_footer_with_a_wrong_byte_is_no_crash(binary, cache, tmp_path):
    """In every field, from the magic to the size of the index; sizes that are not used may be wrong."""
    data = bytearray(binary.read_bytes())
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    bad.chmod(0o755)
    at = footer(data)
    for i in range(40):
        with bad.open("r+b") as file:
            file.seek(at + i)
            file.write(bytes([data[at + i] ^ 0xFF]))
        result = start("version", file=bad, HEART_CACHE=cache)
        assert worked(result) or (result.returncode == 127 and result.stderr.startswith("heart: ")), i
        with bad.open("r+b") as file:
            file.seek(at)
            file.write(data[at:])


def test_application_behind_the_payload_shares_the_cache_entry(binary, cache, tmp_path):
    (tmp_path / "main.lua").write_text(APP)
    both = tmp_path / "both"
    assert start("bundle", tmp_path / "main.lua", "-o", both, HEART_CACHE=cache).returncode == 0
    assert worked(start("--heart", "version", file=both, HEART_CACHE=cache))
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("start_at", [0, 63, 64, 1 << 40, (1 << 64) - 1])
def test_application_footer_that_points_elsewhere_is_no_crash(binary, cache, tmp_path, start_at):
    bad = tmp_path / "bad"
    bad.write_bytes(binary.read_bytes() + struct.pack("<8sIIQ", b"HEARTAPP", 1, 0, start_at).ljust(64, b"\0"))
    bad.chmod(0o755)
    result = start("version", file=bad, HEART_CACHE=cache)
    assert result.returncode == 127
    assert "damaged" in result.stderr
