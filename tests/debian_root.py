"""Debian roots for tests: made by mmdebstrap once, kept in build/debian, unpacked for each test that wants one."""

import contextlib
import os
import platform
import re
import signal
import subprocess
from pathlib import Path

import pytest
from heart_server import ROOT, missing, need, run

from heartc import __version__

CACHE = ROOT / "build/debian"
BASE = "systemd-standalone-sysusers,libpam-modules"  # what Debian's heart depends on, and nothing else
BOOTABLE = "systemd,systemd-sysv,dbus,libpam-modules"


def need_root():
    """chroot and mount are for root only."""
    if os.geteuid() != 0:
        missing("the right to chroot", "sudo, and run the tests as root")


def suite():
    """The release of Debian that runs here, from whose mirror roots are made."""
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if not found or not Path("/etc/debian_version").exists():
        pytest.skip("this system is not Debian")
    return found[1]


def archive(packages):
    """A tar file with a small Debian and `packages` in it."""
    need_root()
    mmdebstrap = need("mmdebstrap", "mmdebstrap")
    name = f"{suite()}-{platform.machine()}-{packages.replace(',', '-')}.tar"
    if not (CACHE / name).exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = CACHE / f"{os.getpid()}.tar"
        words = [mmdebstrap, "--quiet", "--variant=essential", f"--include={packages}", suite(), part]
        run(*words, timeout=280)
        part.rename(CACHE / name)
    return CACHE / name


def unpack(packages, folder):
    """A root in `folder`."""
    run(
        "tar",
        "--extract",
        "--numeric-owner",
        "--xattrs",
        "--file",
        archive(packages),
        "--directory",
        folder,
        timeout=60,
    )
    return folder


def inside(root, *words, user="root", **more):
    """The words of a command line in `root`, in mount and process namespaces of its own, with /proc."""
    script = 'mount -t proc proc "$0/proc" && exec chroot --userspec="$1" "$0" "${@:2}"'
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    words = ["unshare", "--mount", "--pid", "--fork", "bash", "-c", script, root, user, *words]
    return {"args": [str(word) for word in words], "env": environment | more}


def do(root, *words, check=True, **more):
    """Run a command in `root` to its end."""
    call = inside(root, *words, **more)
    return subprocess.run(**call, check=check, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def package():
    """The package that `make deb` has left."""
    need("dpkg", "dpkg")
    name = f"heart_{__version__}_{run('dpkg', '--print-architecture').stdout.strip()}.deb"
    if not (ROOT / "dist" / name).exists():
        missing(f"dist/{name}", "dpkg, then `make binary deb`")
    return ROOT / "dist" / name


def install(root, package):
    """Install a package in `root`, as an admin does with a file that came from elsewhere."""
    (root / "heart.deb").write_bytes(package.read_bytes())
    do(root, "dpkg", "--install", "/heart.deb")
    (root / "heart.deb").unlink()


@contextlib.contextmanager
def running(root, *words, **more):
    """A process in `root`, ended at the end."""
    process = subprocess.Popen(
        **inside(root, *words, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end(process.pid)
        process.communicate()


def end(pid):
    """Kill what `unshare` waits for: the first process of its namespace, with which all others end. (--kill-child is
    of no use here: it is forgotten when the child changes its user.)"""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def files(root):
    """Every file below `root`: path to what it is (a link's target, a file's bytes, or its kind)."""
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else path.stat().st_mode
    return found
