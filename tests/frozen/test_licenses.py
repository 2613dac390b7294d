"""What `heart version --verbose` lists is in dist/heart, and what is in dist/heart is listed."""

import json
import re
import sys
import zipfile

import pytest
from frozen.one_file import entries, start

from heartc import about

MODULES = {"heart": "heartc", "typer-slim": "typer"}  # of packages whose module has another name
OF_ANOTHER = {"libcrypto.so.3": "libssl.so.3"}  # the library beside which it comes
C_LIBRARY = re.compile(
    r"(ld-(linux|musl).*|lib(c|m|dl|pthread|rt|util|resolv|python\d.*))\.so[.\d]*|libc\.musl-.*|.*\.cpython-.*"
)


@pytest.fixture
def facts(binary, cache):
    """What is told."""
    result = start("version", "--verbose", "--json", HEART_CACHE=cache)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.fixture
def inner(facts, cache):
    """The folder of what was unpacked."""
    return cache / entries(cache)[0] / "_internal"


@pytest.fixture
def listed(facts):
    return {part["name"] for part in facts["licences"]}


def modules_in(inner):
    """The top-level modules in the file that do not come with Python."""
    names = zipfile.ZipFile(inner / "modules.zip").namelist() + [path.name for path in inner.iterdir() if path.is_dir()]
    return {re.split(r"[/.]", name)[0] for name in names} - set(sys.stdlib_module_names)


def test_packages_are_listed_if_they_are_inside(listed, inner):
    table = {MODULES.get(row["package"], row["package"].replace("-", "_")): row["name"] for row in about.read_table()}
    del table[""]
    inside = modules_in(inner)
    assert inside <= set(table)
    assert {module for module, name in table.items() if name in listed} == inside


def test_libraries_are_listed_if_they_are_inside(listed, inner):
    table = {row["where"]: row["name"] for row in about.read_table() if ".so" in row["where"]}
    files = {path.name for path in inner.glob("*.so*") if not C_LIBRARY.fullmatch(path.name)}
    inside = {OF_ANOTHER.get(file, file) for file in files}
    assert inside <= set(table)
    assert {file for file, name in table.items() if name in listed} == inside


def test_versions_of_what_was_added_are_known(facts):
    versions = facts["versions"]
    wanted = {"click", "typing_extensions", "redis", "rocksdict", "RocksDB", "PCRE2", "zlib", "Zstandard", "OpenSSL"}
    assert wanted <= set(versions)
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in versions.values())
