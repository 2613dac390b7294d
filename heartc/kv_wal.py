"""Write-ahead logs that RocksDB does not take as they are: what a power loss leaves of one, and what is damaged.

A log is a row of blocks. A commit is one record, or several: the first, those in the middle and the last, because none
reaches into the next block. RocksDB compares the checksums; here only the heads are read.
"""

import os
import shutil
import struct
import tempfile
import time

from . import kv_files
from .kv_backend import StoreError

BLOCK = 32768
HEAD = struct.Struct("<IHB")  # checksum, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
# What RocksDB says when a log ends too early, and all checksums before that are right.
ENDED = ("truncated header", "truncated record body", "reading trailing data due to encountering EOF")


def is_torn(folder, reason):
    """Whether the logs of a database lack nothing but the end of the last commit, as after a crash or a power loss.
    `reason`: what RocksDB said about them."""
    if not any(text in reason for text in ENDED):
        return False
    logs = [data for name in log_names(folder) if (data := read(folder, name))]
    return bool(logs) and all(end_of(data) == len(data) for data in logs[:-1]) and ends_torn(logs[-1])


def ends_torn(data):
    """Whether a log ends within its last commit. Where a damaged length only makes it look so, commits follow."""
    end = end_of(data)
    return end is not None and end < len(data) and not any(end_of(data, at) == len(data) for at in heads(data, end))


def heads(data, end):
    """Where heads of records could be in the last block, behind `end`."""
    begin = max(end + 1, len(data) - len(data) % BLOCK)
    return (at for at in range(begin, len(data) - HEAD.size + 1) if FULL <= data[at + HEAD.size - 1] <= LAST)


def end_of(data, at=0):
    """Where the last whole commit from `at` on ends. None: there is something else than records."""
    end = at
    while at < len(data):
        room = BLOCK - at % BLOCK
        if room < HEAD.size:
            at = end = min(at + room, len(data))
            continue
        if at + HEAD.size > len(data):
            break
        _, length, kind = HEAD.unpack_from(data, at)
        at += HEAD.size + length
        if not FULL <= kind <= LAST or HEAD.size + length > room:
            return None
        if at <= len(data) and kind in (FULL, LAST):
            end = at
    return end


def log_names(folder):
    """The logs of a database, oldest first."""
    return sorted(name for name in os.listdir(folder) if name.endswith(".log"))


def read(folder, name):
    """The bytes of a log."""
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def keep(folder):
    """Keep the logs of a database as they are, in a new folder inside it; returns that."""
    kept = None
    try:
        kept = tempfile.mkdtemp(prefix=time.strftime("damaged-log-%Y%m%d-%H%M%S-"), dir=folder)
        for name in log_names(folder):
            link(os.path.join(folder, name), os.path.join(kept, name))
        kv_files.sync_folder(kept)
        kv_files.sync_path(folder)
    except OSError as error:
        forget(kept)
        raise StoreError(f"{folder}: its write-ahead log is damaged and can not be kept: {error.strerror}") from None
    return kept


def link(source, target):
    """The same file under a second name, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def forget(kept):
    """The log was not what kept the database from opening."""
    if kept:
        shutil.rmtree(kept, ignore_errors=True)
