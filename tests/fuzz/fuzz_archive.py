"""archive: paths of an application as a second reading in Python has them, and what is found by them."""

from types import SimpleNamespace

from static_native import Archived, join_path

NAMES = sorted([b"a", b"a.b/c", b"main.lua", b"public/a b.txt", b"public/index.html", b"public/x/y", b"\xff"])
ENTRIES = [SimpleNamespace(name=name, at=n, size=1, mtime=n, digest=b"") for n, name in enumerate(NAMES)]
FOLDERS = {b"", b"a.b", b"public", b"public/x"}
ARCHIVE = Archived(SimpleNamespace(entries=ENTRIES, fd=-1))
LONGEST = 4094


def read_path(within, data):
    """join_path as Python would do it."""
    if len(within) + len(data) > LONGEST:
        return None
    parts = []
    for part in data.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return (within + b"/".join(parts)).removesuffix(b"/")


def fuzz_one(data):
    for within in (b"", b"public/"):
        assert join_path(within, data) == read_path(within, data)
    name = read_path(b"", data)
    plain = data and not data.startswith(b"/")
    assert ARCHIVE.find(data) == (name if plain and not data.endswith(b"/") and name in NAMES else None)
    try:
        ARCHIVE.open_file(data, b"/none")
        assert plain and name in FOLDERS
    except KeyError:
        assert not (plain and name in FOLDERS)
