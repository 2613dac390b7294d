"""archive.py and archive.pxi: what is written is read back, and nothing else is believed."""

import os
import random
import struct
from _blake2 import blake2b

import pytest
from archives import STAND_IN, pack
from descriptors import open_below
from static_native import Archived, join_path

from heartc.archive import FOOTER, FORMAT, MAGIC, NAME_MAX, NUMBER, RECORD, Archive, footer_of, size_text
from heartc.errors import HeartError

FILES = [
    (b"a", b"content of a", 1),
    (b"a.txt", b"", -5),
    (b"b c/\xc3\xbc\xff\n.txt", b"x" * 5000, 1 << 40),
    (b"empty/", b"", 7),
    (b"main.lua", b"return 1", 784111777),
    (b"z/main.lua", b"return 2", 0),
]


@pytest.fixture
def opened():
    """A function that opens an archive, which is closed at the end."""
    found = []

    def open_archive(path):
        found.append(Archive(str(path)))
        return found[-1]

    yield open_archive
    for archive in found:
        os.close(archive.fd)


def content(archive, entry):
    return b"".join(archive.chunks(entry))


# ---- Reading what was written ----------------------------------------------------------------------------------


def test_archive_is_read_as_written(tmp_path, opened):
    archive = opened(pack(tmp_path / "app", FILES, ["--port", "80", "--host", "\u00fc"]))
    assert [(entry.name, content(archive, entry), entry.mtime) for entry in archive.entries] == FILES
    assert archive.start == len(STAND_IN)
    assert archive.manifest.script == "main.lua"
    assert archive.manifest.flags == ["--port", "80", "--host", "\u00fc"]
    assert archive.manifest.version == "2.0.0"
    archive.check()


def test_same_files_give_the_same_bytes(tmp_path):
    pack(tmp_path / "1", FILES)
    pack(tmp_path / "2", FILES)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_engine_finds_what_python_finds(tmp_path, opened):
    native = Archived(opened(pack(tmp_path / "app", FILES)))
    for name, body, _ in FILES:
        if not name.endswith(b"/"):
            assert native.find(name) == name
            assert native.read(name) == body
    for name in (
        b"",
        b".",
        b"/",
        b"a/",
        b"A",
        b"empty",
        b"empty/",
        b"main.lu",
        b"main.lua2",
        b"/a",
        b"z",
        b"zz",
        b"\xff",
    ):
        assert native.find(name) is None, name


@pytest.mark.parametrize("folder", [b"empty", b"empty/", b"./empty", b"b c", b"z", b".", b"./", b"z/.."])
def test_folder_is_found(tmp_path, opened, folder):
    assert Archived(opened(pack(tmp_path / "app", FILES))).open_file(folder, b"/none") is None


@pytest.mark.parametrize("folder", [b"", b"/", b"a", b"a.txt", b"emp", b"z/main.lua", b"..", b"/z", b"b", b"x" * 5000])
def test_what_is_no_folder_is_not_found(tmp_path, opened, folder):
    with pytest.raises(KeyError):
        Archived(opened(pack(tmp_path / "app", FILES))).open_file(folder, b"/none")


def test_file_is_served_by_its_place(tmp_path, opened):
    archive = opened(pack(tmp_path / "app", FILES))
    found = Archived(archive).open_file(b".", b"/b%20c/%C3%BC%FF%0A.txt")
    assert os.pread(archive.fd, found.size, found.at) == FILES[2][1]
    assert (found.mtime, found.mime) == (1 << 40, "text/plain; charset=utf-8")


def test_position_beyond_2_gib_is_read(tmp_path, opened):
    """The executable before the archive has a hole."""
    start = (1 << 32) + 12345
    archive = opened(pack(tmp_path / "app", FILES, start=start))
    native = Archived(archive)
    assert archive.entries[0].at == start
    assert native.read(b"main.lua") == b"return 1"
    assert native.open_file(b".", b"/main.lua").at > start
    with os.fdopen(native.copy(b"z/main.lua", False), "rb") as copy:
        copy.seek(0)
        assert copy.read() == b"return 2"


def test_random_names_are_found_in_order(tmp_path, opened):
    pick = random.Random(1)
    parts = [b"a", b"b", b"a.", b"a-", b"\xff", b"ab", b" "]
    names = {b"/".join(pick.choices(parts, k=pick.randrange(1, 5))) for _ in range(500)}
    names = sorted(name for name in names if not any(other.startswith(name + b"/") for other in names))
    entries = [(name, b"%d" % i, i) for i, name in enumerate(sorted([*names, b"main.lua"]))]
    native = Archived(opened(pack(tmp_path / "app", entries)))
    for name, body, _ in entries:
        assert native.read(name) == body
    for name in names:
        assert native.find(name[:-1]) == (name[:-1] if name[:-1] in names else None)


# ---- Paths of an application -----------------------------------------------------------------------------------


def reference_join(within, path):
    """join_path as Python would do it."""
    parts = []
    for part in path.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return (within + b"/".join(parts)).removesuffix(b"/")


@pytest.mark.parametrize("within", [b"", b"public/", b"a/b/"])
def test_paths_are_joined_as_a_file_system_does(within):
    pick = random.Random(within)
    parts = [b"/", b"..", b".", b"a", b"bc", b"...", b".x", b"//", b"/../"]
    for _ in range(5000):
        path = b"".join(pick.choices(parts, k=pick.randrange(1, 12)))
        assert join_path(within, path) == reference_join(within, path), path


@pytest.mark.parametrize("within", [b"", b"public/"])
def test_longest_path(within):
    room = 4096 - 2 - len(within)
    assert join_path(within, b"a" * room) == within + b"a" * room
    assert join_path(within, b"a" * (room + 1)) is None
    assert join_path(within, b"/" * 100_000) is None


# ---- Copies ----------------------------------------------------------------------------------------------------


def test_copy_has_the_content_and_is_closed_on_exec(tmp_path, opened):
    native = Archived(opened(pack(tmp_path / "app", FILES)))
    for name, body, _ in FILES[:3]:
        fd = native.copy(name, False)
        assert not os.get_inheritable(fd)
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            assert file.read() == body
        os.close(fd)


def test_kept_copy_is_made_once(tmp_path, opened):
    native = Archived(opened(pack(tmp_path / "app", FILES)))
    fd = native.copy(b"a", True)
    assert native.copy(b"a", True) == fd
    other = native.copy(b"main.lua", True)
    assert other != fd
    os.close(fd)
    os.close(other)


def test_file_that_was_cut_short_is_an_error(tmp_path, opened):
    path = pack(tmp_path / "app", FILES)
    native = Archived(opened(path))
    os.truncate(path, len(STAND_IN) + 3)
    before = open_below(tmp_path)
    for action in (lambda: native.read(b"a"), lambda: native.copy(b"a", False), lambda: native.copy(b"a", True)):
        with pytest.raises(OSError, match="cut short"):
            action()
    assert native.read(b"a.txt") == b""
    assert open_below(tmp_path) == before


# ---- Damage ----------------------------------------------------------------------------------------------------


def refused(path):
    """The message about a damaged archive, which must be one line that names the file."""
    before = open_below(path.parent)
    with pytest.raises(HeartError) as failure:
        Archive(str(path))
    assert open_below(path.parent) == before
    message = str(failure.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


def test_truncation_at_every_byte_is_refused(tmp_path):
    whole = pack(tmp_path / "app", FILES[:2] + FILES[4:]).read_bytes()
    cut = tmp_path / "cut"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        assert footer_of(cut) is None
        assert "no application" in refused(cut)


def test_beginning_that_is_missing_is_refused(tmp_path):
    whole = pack(tmp_path / "app", FILES).read_bytes()
    cut = tmp_path / "cut"
    for size in range(1, len(whole) - FOOTER.size + 1):
        cut.write_bytes(whole[size:])
        refused(cut)


def test_every_flipped_bit_is_found(tmp_path):
    whole = pack(tmp_path / "app", FILES[:2] + FILES[4:], ["--port", "80"]).read_bytes()
    changed = tmp_path / "changed"
    for bit in range(len(STAND_IN) * 8, len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        changed.write_bytes(data)
        try:
            archive = Archive(str(changed))
        except HeartError:
            continue
        with pytest.raises(HeartError, match="is not what was bundled"):
            archive.check()
        os.close(archive.fd)


def forge(path, index=None, **more):
    """An archive with a right sum and whatever else."""
    fields = {"magic": MAGIC, "form": FORMAT, "count": 1, "start": len(STAND_IN), "contents": b"return 1"} | more
    index = manifest() + record(b"main.lua", 8) if index is None else index
    head = FOOTER.pack(
        fields["magic"],
        fields["form"],
        fields["count"],
        fields["start"],
        fields.get("index_at", len(STAND_IN) + len(fields["contents"])),
        b"",
    )[:32]
    digest = blake2b(head + index, digest_size=32).digest()
    path.write_bytes(STAND_IN + fields["contents"] + index + head + digest)
    return path


def manifest(text=b"2.0.0\0main.lua", size=None):
    return NUMBER.pack(len(text) if size is None else size) + text


def record(name, size, length=None):
    return RECORD.pack(size, 0, len(name) if length is None else length, bytes(16)) + name


def test_forged_archive_is_read_when_all_is_right(tmp_path, opened):
    assert [entry.name for entry in opened(forge(tmp_path / "x")).entries] == [b"main.lua"]


@pytest.mark.parametrize(
    ("why", "more"),
    [
        ("format 2", {"form": 2}),
        ("outside the file", {"start": 0}),
        ("outside the file", {"start": 1 << 63}),
        ("outside the file", {"index_at": 1}),
        ("outside the file", {"index_at": 1 << 63}),
        ("sizes of its files", {"start": 1}),
        ("index is too short", {"count": 2}),
        ("index is too short", {"count": 0xFFFFFFFF}),
        ("index is too long", {"count": 0, "contents": b""}),
        ("sizes of its files", {"count": 0, "index": manifest()}),
        ("index is too short", {"index": b""}),
        ("manifest is too long", {"index": manifest(size=1 << 31)}),
        ("manifest is too long", {"index": NUMBER.pack(100_000) + bytes(100_000)}),
        ("manifest is incomplete", {"index": manifest(b"") + record(b"main.lua", 8)}),
        ("manifest is incomplete", {"index": manifest(b"2.0.0") + record(b"main.lua", 8)}),
        ("script is missing", {"index": manifest(b"2.0.0\0other.lua") + record(b"main.lua", 8)}),
        ("script is missing", {"index": manifest(b"2.0.0\0") + record(b"main.lua", 8)}),
        ("script is missing", {"index": manifest(b"2.0.0\0lib/") + record(b"lib/main.lua", 8)}),
        ("sizes of its files", {"index": manifest() + record(b"main.lua", 7)}),
        ("sizes of its files", {"index": manifest() + record(b"main.lua", 9)}),
        ("sizes of its files", {"index": manifest() + record(b"main.lua", (1 << 64) - 1)}),
        ("index is too short", {"index": manifest() + record(b"main.lua", 8, length=9)}),
        ("index is too long", {"index": manifest() + record(b"main.lua", 8) + b"x"}),
        ("index is too long", {"index": manifest() + record(b"main.lua", 8, length=7)}),
        ("not in order", {"index": manifest() + record(b"b", 4) + record(b"a", 4), "count": 2}),
        ("not in order", {"index": manifest() + record(b"main.lua", 4) * 2, "count": 2}),
        ("not in order", {"index": manifest() + record(b"", 8)}),
        ("empty or too long", {"index": manifest() + record(b"a" * (NAME_MAX + 1), 8)}),
        ("a NUL", {"index": manifest() + record(b"a\0b", 8)}),
        *(
            ("no relative path", {"index": manifest() + record(name, 8)})
            for name in (b"/main.lua", b"../main.lua", b"a/../main.lua", b"./main.lua", b"a//b", b"..", b"a/.")
        ),
        ("no relative path", {"index": manifest() + record(b"/", 0) + record(b"main.lua", 8), "count": 2}),
        ("folder has a content", {"index": manifest() + record(b"a/", 8)}),
        (
            "a file and a folder",
            {"index": manifest() + record(b"a", 4) + record(b"a-", 0) + record(b"a/b/c", 4), "count": 3},
        ),
        ("a file and a folder", {"index": manifest() + record(b"a", 8) + record(b"a/", 0), "count": 2}),
    ],
)
def test_hostile_archive_is_refused(tmp_path, why, more):
    assert why in refused(forge(tmp_path / "x", **more))


def test_random_index_is_refused_or_consistent(tmp_path):
    """With a right sum, so that what reads behind it is reached."""
    pick = random.Random(5)
    base = manifest() + record(b"a/b", 3) + record(b"main.lua", 5)
    for _ in range(3000):
        index = bytearray(base)
        for _ in range(pick.randrange(1, 4)):
            index[pick.randrange(len(index))] = pick.choice([0, 1, 0x2E, 0x2F, 0x61, 0xFF, pick.randrange(256)])
        path = forge(
            tmp_path / "x", index=bytes(index[: pick.choice([len(index), pick.randrange(len(index))])]), count=2
        )
        try:
            archive = Archive(str(path))
        except HeartError:
            continue
        names = [entry.name for entry in archive.entries]
        assert names == sorted(set(names)) and sum(entry.size for entry in archive.entries) == 8
        assert not any(part in (b"", b".", b"..") for name in names for part in name.removesuffix(b"/").split(b"/"))
        os.close(archive.fd)


def test_footer_is_laid_out_as_the_launcher_reads_it(tmp_path):
    data = pack(tmp_path / "app", FILES).read_bytes()
    assert data[-64:-56] == b"HEARTAPP"
    assert struct.unpack("<IIQ", data[-56:-40]) == (1, len(FILES), len(STAND_IN))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (99_949, "99.9 KB"),
        (123_456, "123 KB"),
        (999_999, "1.0 MB"),
        (5_000_000_000_000, "5000 GB"),
    ],
)
def test_sizes_for_people(size, text):
    assert size_text(size) == text
