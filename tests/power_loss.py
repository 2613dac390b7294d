"""Power loss for tests: what a folder would hold if the machine had lost its power when the process was killed.

A C layer (tests/crash/power_loss.c), preloaded into the process, keeps what was fsynced; the rest is dropped here, or
kept in part, as a file system may do.
"""

import os
import shutil
import subprocess
from pathlib import Path

from heart_server import ROOT, need, run

SOURCE = ROOT / "tests/crash/power_loss.c"
REWRITTEN = {"rocksdict-config.json"}  # in place, without a sync: it may be the old one, empty or the new one
TORN_MAX = 1 << 16  # bytes of what was not synced that may survive


def layer(folder):
    """Compile the layer into `folder`; returns its path."""
    library = Path(folder) / "power_loss.so"
    command = [need("gcc", "gcc"), "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"]
    subprocess.run([str(word) for word in command], check=True, timeout=60)
    return library


def environment(library, folder, kept):
    """The variables that make a process keep the durable state of `folder` in `kept`."""
    Path(kept).mkdir(exist_ok=True)
    return {
        "LD_PRELOAD": str(library),
        "POWER_LOSS_FOLDER": os.path.realpath(folder),
        "POWER_LOSS_KEPT": os.path.realpath(kept),
    }


def begin(folder, kept):
    """Take what is in the folder now as durable: nobody syncs it again."""
    lines = []
    for file in sorted(Path(folder).iterdir()):
        if file.is_file():
            inode, birth = run("stat", "-c", "%i %.9W", file).stdout.split()
            seconds, _, rest = birth.partition(".")
            identity = f"{inode}-{seconds}.{int(rest)}"
            (Path(kept) / identity).write_bytes(file.read_bytes())
            lines.append(f"{file.name} {identity}\n")
    (Path(kept) / "entries").write_text("".join(lines))


def lose(folder, kept, random=None):
    """Leave in `folder` what a power loss leaves. With `random`, a part of what was not synced survives, torn."""
    folder, kept = Path(folder), Path(kept)
    entries = [line.split() for line in (kept / "entries").read_text().splitlines()]
    state = {}
    for name, identity in entries:
        durable = (kept / identity).read_bytes() if (kept / identity).exists() else b""
        real = (folder / name).read_bytes() if (folder / name).exists() else durable
        if real[: len(durable)] == durable:
            state[name] = durable + (torn(real[len(durable) :], random) if random else b"")
        else:
            assert name in REWRITTEN or len(real) < len(durable), f"{name} did not only grow at its end"
            state[name] = random.choice((durable, b"", real)) if random else durable
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    for name, data in state.items():
        (folder / name).write_bytes(data)
    shutil.rmtree(kept)


def torn(rest, random):
    """A part of bytes that were not synced: none, a beginning, or a beginning with a hole or noise at its end."""
    part = bytearray(rest[: random.choice((0, random.randint(0, len(rest)), random.randint(0, min(len(rest), 64))))])
    part = part[:TORN_MAX]
    kind = random.choice(("plain", "hole", "noise"))
    if part and kind != "plain":
        at = random.randrange(len(part))
        part[at:] = bytes(len(part) - at) if kind == "hole" else random.randbytes(len(part) - at)
    return bytes(part)
