"""Archives for the tests: written by the package's own writer behind a stand-in for the executable."""

import contextlib
import os

from heartc.archive import Archive, Manifest, Writer

STAND_IN = b"\x7fELF a stand-in for the heart executable\n" + b"HEARTPAY".ljust(64, b"\0")


def pack(path, entries, flags=(), script="main.lua", start=None, before=STAND_IN):
    """Write an executable, `start` bytes long with a hole, and (name, content, mtime) entries, which must be in order.
    Returns the path."""
    with open(path, "wb") as file:
        file.write(before[:-64])
        file.seek((start or len(before)) - 64)
        file.write(before[-64:])
        writer = Writer(file)
        for name, content, mtime in entries:
            writer.add(name, mtime, [content] if content else [])
        writer.finish(Manifest("2.0.0", script, flags))
    return path


@contextlib.contextmanager
def write_archive(path, files, flags=(), script="main.lua"):
    """An archive of the files that a Selection has found, open for reading."""
    entries = []
    for name, where in files:
        content = b""
        if where:
            with open(where, "rb") as file:
                content = file.read()
        entries.append((name, content, int(os.stat(where).st_mtime) if where else 0))
    found = Archive(str(pack(path, entries, flags, script)))
    try:
        yield found
    finally:
        os.close(found.fd)
