"""The processor time that control groups leave: made-up hierarchies, and a real one where this system lets us."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from heart_server import Server, heart_command

from heartc import cgroup


def tree(folder, own, files):
    """A made-up /proc/self/cgroup and /sys/fs/cgroup; the quota that they give."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cgroup.quota(str(folder / "own"), str(folder / "sys"))


@pytest.mark.parametrize(
    ("own", "files", "wanted"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/system.slice/heart.service\n", {"system.slice/heart.service/cpu.max": "50000 100000\n"}, 0.5),
        # A slice above may be the tighter one.
        ("0::/a/b\n", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 1),
        # Named as the host sees it, in a container whose own group is the topmost.
        ("0::/docker/0123\n", {"cpu.max": "200000 100000\n"}, 2),
        (
            "3:cpuset:/\n1:cpu,cpuacct:/x\n0::/\n",
            {"cpu/x/cpu.cfs_quota_us": "25000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            0.25,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/odd:name\n", {"odd:name/cpu.max": "100000 100000\n"}, 1),
    ],
)
def test_tightest_limit_counts(tmp_path, own, files, wanted):
    assert tree(tmp_path, own, files) == wanted


def test_missing_proc_means_no_limit(tmp_path):
    assert cgroup.quota(str(tmp_path / "own"), str(tmp_path)) is None


@pytest.fixture
def group():
    """A real group of version 1 with half a processor, of which we may only be given the right."""
    folder = Path(f"/sys/fs/cgroup/cpu/heart-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        pytest.skip(f"no control group of our own can be made here: {error}")
    yield folder
    folder.rmdir()


def test_auto_starts_one_worker_where_the_group_has_half_a_processor(group, monkeypatch, tmp_path):
    script = tmp_path / "enter"
    script.write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("HEART_BIN", " ".join([str(script), *heart_command()]))
    code = 'local id = tostring({}) require("heart.v1").get("/", function() return id end)'
    with Server(code, workers="auto") as server:
        assert re.search(r"cpu[^:]*:/heart-test-", Path(f"/proc/{server.pid}/cgroup").read_text())
        assert len({server.get().text for _ in range(40)}) == 1
    assert subprocess.run(["cat", group / "cgroup.procs"], capture_output=True).stdout == b""
