"""`make wheel`: the wheel and the source distribution in dist/. Nothing is built here."""

import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest
from heart_server import ROOT, missing, run

CORE_SET = (ROOT / "packaging/wheel/core-set.txt").read_text().split()


def built(pattern):
    """The file of dist/ that `make wheel` has left."""
    found = sorted((ROOT / "dist").glob(pattern))
    if not found:
        missing(f"dist/{pattern}", "python3-venv, then `make wheel`")
    assert len(found) == 1, f"several: {found}"
    return found[0]


@pytest.fixture(scope="module")
def wheel():
    return built(f"heart-*_{platform.machine()}.whl")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `heart` of a fresh virtual environment that got nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    run("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable, "-m", "venv", folder, timeout=60)
    run(folder / "bin/pip", "install", "--quiet", wheel, timeout=110)
    return folder / "bin/heart"


def test_tag_names_the_glibc_that_is_needed(wheel):
    """auditwheel found it in the symbols; a plain linux_ tag would be refused by package indexes."""
    assert re.search(r"-(many|musl)linux_\d+_\d+_(x86_64|aarch64)\.whl$", wheel.name)


def test_wheel_has_all_modules_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    core = {name for name in names if re.fullmatch(r"heartc/_core\.cpython-\d+-\S+\.so", name)}
    assert len(core) == 1
    tracked = run("git", "-C", ROOT, "ls-files", "heartc").stdout.split()
    wanted = {name for name in tracked if (ROOT / name).exists()}
    wanted |= {f"heartc/{path.relative_to(ROOT)}" for path in (ROOT / "lua_stdlib").rglob("*.lua")}
    assert wanted <= names
    assert {name.split("/")[0] for name in names} == {
        "heartc",
        next(n for n in names if ".dist-info" in n).split("/")[0],
    }


def test_source_distribution_has_every_file_of_the_repository():
    """The wheel was built from it alone; tests, docs and examples are there, too."""
    tracked = run("git", "-C", ROOT, "ls-files", "-z").stdout.split("\0")
    with tarfile.open(built("heart-*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked if name and (ROOT / name).exists()} - names == set()
    assert not {name for name in names if name.endswith((".so", ".pyc")) or name.startswith("build/")}


def test_installed_wheel_runs_from_its_own_files(installed):
    assert run(installed, "version", cwd="/").stdout.startswith("heart ")
    code = "import heartc, heartc._core; print(heartc.__file__, heartc._core.__file__)"
    for path in run(installed.with_name("python"), "-c", code, cwd="/").stdout.split():
        assert path.startswith(str(installed.parent.parent))


@pytest.mark.timeout(400)
def test_core_tests_pass_with_the_installed_wheel(installed):
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", *CORE_SET]
    result = subprocess.run(
        words, cwd=ROOT, env=os.environ | {"HEART_BIN": str(installed)}, capture_output=True, text=True, timeout=380
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) > 100
