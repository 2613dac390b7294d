"""`heart version`: what it says is so."""

import json
import os
import platform
import re

from heart_server import heart

from heartc import __version__


def printed(*args):
    result = heart("version", *args)
    assert result.returncode == 0 and result.stderr == ""
    return result.stdout


def section(text, title):
    """The lines of a section as a dictionary."""
    body = re.search(rf"^{title}:\n((?:  .+\n)+)", text, re.MULTILINE)[1]
    return dict(re.split(r" {2,}", line.strip(), maxsplit=1) for line in body.splitlines())


def test_version_is_one_line():
    assert re.fullmatch(rf"heart {re.escape(__version__)} \(LuaJIT 2\.1\.\d+, Python 3\.\d+\.\d+\)\n", printed())


def test_version_as_an_option_is_the_same():
    result = heart("--version")
    assert result.returncode == 0 and result.stdout == printed()


def test_json_has_the_versions():
    found = json.loads(printed("--json"))
    assert found["versions"]["Heart"] == __version__
    assert found["versions"]["LuaJIT"].startswith("2.1.")


def test_verbose_tells_everything():
    text = printed("--verbose")
    assert max(map(len, text.splitlines())) <= 80
    versions = section(text, "Versions")
    assert versions["Heart"] == __version__
    assert {"LuaJIT", "Python", "lupa", "Typer", "click", "Cython runtime", "RocksDB"} <= set(versions)
    assert versions["OpenSSL"].startswith("3.")
    build = section(text, "Build")
    assert build["architecture"] == os.uname().machine
    assert build["C library"].startswith(("glibc ", "musl"))
    assert re.match(r"(GCC|Clang) \d+\.", build["compiler"])
    assert build["form"] in ("one file", "package", "source tree")
    assert section(text, "Features")["JIT"] == ("yes" if platform.machine() in ("x86_64", "aarch64") else "no")
    assert section(text, "Features")["TLS"] == "yes"
    licences = section(text, "Licences of what is inside")
    assert licences["Heart"] == licences["LuaJIT"] == "MIT"
    assert licences["Python"] == "PSF-2.0"


def test_verbose_json_is_the_same():
    text = printed("--verbose")
    found = json.loads(printed("--verbose", "--json"))
    assert found["versions"] == section(text, "Versions")
    assert found["build"] == section(text, "Build")
    assert {name: "yes" if on else "no" for name, on in found["features"].items()} == section(text, "Features")
    assert {part["name"]: part["licence"] for part in found["licences"]} == section(text, "Licences of what is inside")
