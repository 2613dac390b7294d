"""Files of Debian packages that are downloaded and unpacked, but not installed."""

import fcntl
import shutil
import subprocess

from heart_server import ROOT, missing, need, run

HOME = ROOT / "build/packages"


def unpack(*packages):
    """A folder with the files of these packages, and perhaps of others; each is downloaded once."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = [name for name in packages if not (HOME / f".{name}").exists()]
        if wanted:
            download(wanted)
    return HOME


def download(packages):
    folder = HOME / "download"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # The user of apt's sandbox may not write here.
    words = [need("apt-get", "apt"), "-q", "-o", "APT::Sandbox::User=root", "download", *packages]
    if subprocess.run(words, cwd=folder, capture_output=True).returncode:
        missing(f"one of {', '.join(packages)}", "nothing: after apt-get update they can be downloaded")
    for package in folder.glob("*.deb"):
        run(need("dpkg", "dpkg"), "-x", package, HOME)
    for name in packages:
        (HOME / f".{name}").touch()
    shutil.rmtree(folder)
