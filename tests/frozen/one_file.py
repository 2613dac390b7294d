"""What the tests of the one-file executable share: the file, a cache of their own, roots with next to nothing in them.

need_binary()  the path of dist/heart; where it is missing the test is skipped (in CI it fails)
start()        one run of it with exactly the environment that is given
Root           a root directory that holds the file, /proc, two devices, and what a test puts there
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from heart_server import PATIENCE, ROOT, need

BINARY = ROOT / "dist/heart"
APP = 'require("heart.v1").get("/", function(ctx) return "served" end)'
ENTRY = re.compile(r"[0-9a-f]{32}-(own|host)")


def need_binary():
    """The executable file, or a skipped test."""
    if not BINARY.exists():
        message = "dist/heart is missing: make binary"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return BINARY


def start(*arguments, file=None, **env):
    """Run the file to its end with the environment `env` and nothing else."""
    return subprocess.run(
        [str(file or need_binary()), *map(str, arguments)],
        env={name: str(value) for name, value in env.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def entries(cache):
    """The names of the unpacked payloads in a cache directory."""
    return sorted(path.name for path in Path(cache).iterdir() if ENTRY.fullmatch(path.name))


def worked(result):
    """Whether a run of `heart version` printed it."""
    return result.returncode == 0 and result.stdout.startswith("heart ")


def footer(data):
    """The payload's footer in the bytes of the file: its offset."""
    at = len(data) - 64
    assert data[at : at + 8] == b"HEARTPAY"
    return at


class Root:
    """An otherwise empty root directory. Commands run in it within a mount namespace of their own.

    `mounts`: shell commands that are run first, in the folder of the root.
    """

    def __init__(self, folder, mounts=""):
        self.folder = folder
        self.mounts = mounts
        for name in ("proc", "dev", "tmp", "app"):
            (folder / name).mkdir(parents=True)
        for name in ("null", "urandom"):
            (folder / "dev" / name).touch()
        shutil.copy(need_binary(), folder / "heart")
        self.write("app/main.lua", APP)

    def write(self, name, content):
        """A file of the root."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def command(self, **env):
        """The words that run the file in this root; more words may follow."""
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        lines = [
            "set -e",
            f"cd {shlex.quote(str(self.folder))}",
            "mount --rbind /proc proc",
            *(f"mount --bind /dev/{name} dev/{name}" for name in ("null", "urandom")),
            self.mounts,
            f"exec {need('env', 'coreutils')} -i {shlex.join(f'{k}={v}' for k, v in env.items())} "
            f'{need("chroot", "coreutils")} . /heart "$@"',
        ]
        return [need("unshare", "util-linux"), *as_root, "--mount", "sh", "-c", "\n".join(lines), "heart"]

    def run(self, *arguments, **env):
        """Run the file to its end."""
        return subprocess.run(
            [*self.command(**env), *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE
        )
