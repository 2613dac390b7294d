"""heartc/licenses.txt says what the installed packages say. Run this file with --write to set the versions."""

import re
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from heartc import about, kv_store, lualib

ROOT = Path(__file__).parent.parent.parent
# What packages wrote before SPDX expressions.
SPOKEN = {"Apache 2": "Apache-2.0", "MIT style": "MIT", "MIT License": "MIT"}


def pinned():
    """The versions of the packages that pyproject.toml pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = (re.match(r"([\w-]+)==([^;\s]+)", line) for line in project["dependencies"])
    return {match[1]: match[2] for match in found if match}


def installed(name):
    """The metadata of a package, or None."""
    try:
        return metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None


def licence(fields):
    """The licence that a package's metadata names, as SPDX."""
    said = fields.get("License-Expression") or fields.get("License")
    if not said:
        classifiers = [text for text in fields.get_all("Classifier") if text.startswith("License ::")]
        said = classifiers[0].rpartition(" :: ")[2]
    return SPOKEN.get(said, said)


def test_licences_are_those_of_the_packages():
    found = {row["package"]: row["licence"] for row in about.read_table() if installed(row["package"] or "-")}
    assert {"lupa", "typer-slim", "click", "typing_extensions"} <= set(found)
    assert found == {name: licence(installed(name)) for name in found}


def test_versions_are_those_that_are_pinned():
    found = {row["package"]: row["version"] for row in about.read_table() if row["version"]}
    assert {name: found.get(name) for name in pinned()} == pinned(), "run this file with --write"


def rocksdb_version(folder):
    """What the store says of itself in its files."""
    kv_store.load_rocksdict().Rdict(str(folder / "store")).close()
    options = next((folder / "store").glob("OPTIONS-*")).read_text()
    return re.search(r"^  rocksdb_version=(\S+)$", options, re.MULTILINE)[1]


def test_version_of_rocksdb_is_the_one_in_rocksdict(tmp_path):
    found = {row["name"]: row["version"] for row in about.read_table()}
    assert found["RocksDB"] == rocksdb_version(tmp_path), "run this file with --write"


def test_all_that_is_depended_on_is_listed():
    """Whatever the installed heart needs at run time, and what that needs."""
    listed = {row["package"] for row in about.read_table()}
    todo, seen = ["heart"], set()
    while todo:
        name = todo.pop().replace("typing-extensions", "typing_extensions")
        if name in seen or installed(name) is None:
            continue
        seen.add(name)
        needed = [text for text in metadata.requires(name) or () if "extra ==" not in text]
        todo += [re.match(r"[\w.-]+", text)[0] for text in needed]
    assert len(seen) >= 5
    assert seen <= listed


def test_own_licence_is_that_of_the_repository():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_every_licence_is_an_expression():
    for row in about.read_table():
        assert re.fullmatch(r"[A-Za-z0-9.+-]+( (OR|AND|WITH) [A-Za-z0-9.+-]+)*", row["licence"]), row


def write():
    """Set the versions of the pinned packages, and of the store in one of them."""
    path = Path(lualib.data_path(about.TABLE))
    lines = path.read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        rocksdb = rocksdb_version(Path(folder))
    for i, line in enumerate(lines):
        cells = line.split(" | ")
        version = rocksdb if cells[0] == "RocksDB" else pinned().get(cells[-1])
        if not line.startswith("#") and version:
            cells[1] = version
            lines[i] = " | ".join(cells)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: test_licenses.py --write")
    write()
