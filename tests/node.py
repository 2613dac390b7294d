"""Packages of Node.js for tests, in the versions named here: installed once, into build/node."""

import fcntl
import subprocess

from heart_server import ROOT, need

PACKAGES = {"playwright-core": "1.65.1", "ws": "8.23.0"}
FOLDER = ROOT / "build" / "node"
INSTALL_SECONDS = 120


def modules():
    """The folder node_modules with all PACKAGES."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sorted(f"{name}@{version}" for name, version in PACKAGES.items())
    stamp = FOLDER / "stamp"
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not stamp.exists() or stamp.read_text().split() != wanted:
            npm = need("npm", "nodejs npm")
            words = [npm, "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(FOLDER), *wanted]
            subprocess.run(words, check=True, timeout=INSTALL_SECONDS)
            stamp.write_text(" ".join(wanted))
    return FOLDER / "node_modules"
