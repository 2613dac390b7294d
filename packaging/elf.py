"""What the ELF files of the payload ask for, as binutils' readelf says it."""

import re
import subprocess


def readelf(*arguments):
    """readelf's output."""
    return subprocess.run(["readelf", "-W", *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def is_elf(path):
    """Whether a file is an ELF file."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def interpreter(path):
    """The path of the loader that a program names."""
    return re.search(r"program interpreter: ([^]]+)\]", readelf("-l", path))[1]


def needed(path):
    """The names of the libraries that a file needs."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", readelf("-d", path))


def glibc_needed(paths):
    """The minor number of the oldest glibc 2.x that has every symbol version the files ask for; None: no glibc."""
    found = [int(minor) for path in paths for minor in re.findall(r"Name: GLIBC_2\.(\d+)", readelf("-V", path))]
    return max(found, default=None)
