"""Two builds of the same sources give the same bytes, whoever builds, where and when."""

import os
import shutil
import subprocess
import sys

import pytest
from heart_server import ROOT

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", "*.so", "*.egg-info")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


def build(folder, umask, **env):
    """The bytes of the file, built in `folder`."""
    home = folder.parent / f"home of {folder.name}"
    home.mkdir()
    subprocess.run(
        [PYTHON, "packaging/build.py"],
        cwd=folder,
        env={**os.environ, **env, "HOME": str(home)},
        preexec_fn=lambda: os.umask(umask),
        check=True,
    )
    return (folder / "dist/heart").read_bytes()


def test_same_bytes_from_different_folders(tmp_path):
    one, two = tmp_path / "one", tmp_path / "a much longer name" / "two"
    for folder in (one, two):
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    first = build(one, 0o022, TZ="Asia/Tokyo", PYTHONHASHSEED="1", LANG="C")
    second = build(two, 0o077, TZ="America/Lima", SOURCE_DATE_EPOCH="1", CFLAGS="")
    assert len(first) == len(second)
    assert first == second
