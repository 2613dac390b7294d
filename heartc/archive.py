"""The archive: the files of an application behind the executable that serves them.

    executable | contents of the files | index | footer (64 bytes)

index    size of the manifest (u32), the manifest: texts with a NUL between them (version of Heart, name of the script,
         flags); then for every file, in the order of their names: size (u64), time of change (i64), size of the name
         (u32), BLAKE2b of the content (16 bytes), name. An empty folder is a name that ends in "/".
footer   magic (8 bytes), format (u32), number of files (u32), where the contents begin (u64), where the index begins
         (u64), BLAKE2b of all this and of the index (32 bytes)

Numbers are little endian, positions count from the start of the file. Contents lie one behind the other in the order of
the index, without a gap: no position is stored that could be wrong, and each follows from the sizes before it. They are
not compressed, so that the kernel sends a file from the executable itself.

The reader believes nothing: `Archive` exists only if every size, name and the sum of the index is right. What it has
found is handed to the engine as numbers, so that no native code parses bytes of a file. Contents are checked where they
are read as a whole (`heart bundle --list`, `--extract`), not at every start.
"""

import os
import struct
from _blake2 import blake2b  # hashlib would load OpenSSL, too

from .errors import HeartError

MAGIC = b"HEARTAPP"
FORMAT = 1
NAME_MAX = 4000  # bytes; with a folder before it still a path
MANIFEST_MAX = 1 << 16
FOOTER = struct.Struct("<8sIIQQ32s")
SIGNED = FOOTER.size - 32  # of the footer, before the sum
RECORD = struct.Struct("<QqI16s")
NUMBER = struct.Struct("<I")
CHUNK = 1 << 20


class Entry:
    """One file of an archive. `at` is where its content begins in the executable."""

    __slots__ = ("name", "at", "size", "mtime", "digest")

    def __init__(self, name, at, size, mtime, digest):
        self.name = name
        self.at = at
        self.size = size
        self.mtime = mtime
        self.digest = digest


class Manifest:
    """What the application is: the name of its script, the flags it is served with, the Heart that bundled it."""

    def __init__(self, version, script, flags):
        self.version = version
        self.script = script
        self.flags = list(flags)

    def pack(self):
        """As bytes. Texts of the command line hold no NUL."""
        return b"\0".join(os.fsencode(text) for text in (self.version, self.script, *self.flags))


def footer_of(path, fd=None):
    """The last bytes of the file at `path`, or of the one that `fd` is open on, if they are an archive's footer; else
    None."""
    try:
        with open(path if fd is None else fd, "rb", closefd=fd is None) as file:
            if file.seek(0, os.SEEK_END) < FOOTER.size:
                return None
            file.seek(-FOOTER.size, os.SEEK_END)
            footer = file.read(FOOTER.size)
    except OSError as error:
        raise HeartError(f"{path}: can not be read: {error.strerror}") from None
    return footer if footer.startswith(MAGIC) else None


def open_file(path):
    """A descriptor of the file at `path`."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HeartError(f"{path}: can not be read: {error.strerror}") from None


def size_text(size):
    """A number of bytes for people."""
    if size < 1000:
        return f"{size} bytes"
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if size < 999.5 or unit == "GB":
            return f"{size:.{0 if size >= 100 else 1}f} {unit}"


def count_text(count):
    """A number of files for people."""
    return "1 file" if count == 1 else f"{count:,} files"


# ---- Reading ---------------------------------------------------------------------------------------------------


class Archive:
    """The archive at the end of an open file: `manifest`, `entries` in the order of their names, `start`, `fd`."""

    def __init__(self, path, fd=None):
        """Takes `fd`, which is open on the file; without one `path` is opened, which messages name in any case. Raises
        HeartError if there is no archive or it is damaged."""
        self.path = path
        self.fd = open_file(path) if fd is None else fd
        try:
            if footer_of(path, self.fd) is None:
                raise HeartError(f"{path}: there is no application in this file")
            self.read_index()
        except HeartError:
            os.close(self.fd)
            raise

    def damaged(self, why):
        """The one error about a file that is not as it was written."""
        return HeartError(f"{self.path}: the application in this file is damaged ({why}); bundle or copy it again")

    def read_index(self):
        """Read footer and index, and check all of them."""
        end = os.fstat(self.fd).st_size - FOOTER.size
        footer = self.read_at(max(0, end), FOOTER.size)
        _, form, count, self.start, index_at, digest = FOOTER.unpack(footer)
        if form != FORMAT:
            raise HeartError(f"{self.path}: the application in this file has format {form}; this heart reads {FORMAT}")
        if not 0 < self.start <= index_at <= end:
            raise self.damaged("a position lies outside the file")
        index = self.read_at(index_at, end - index_at)
        if blake2b(footer[:SIGNED] + index, digest_size=32).digest() != digest:
            raise self.damaged("the sum of its index is wrong")
        try:
            self.manifest, position = read_manifest(index)
            self.entries = read_entries(index, position, count, self.start, index_at)
        except ValueError as error:
            raise self.damaged(error) from None
        except struct.error:
            raise self.damaged("its index is too short") from None
        if self.find(os.fsencode(self.manifest.script)) is None:
            raise self.damaged("its script is missing")

    def read_at(self, at, size):
        """Exactly `size` bytes."""
        parts = []
        while size:
            try:
                part = os.pread(self.fd, min(size, CHUNK), at)
            except OSError as error:
                raise HeartError(f"{self.path}: can not be read: {error.strerror}") from None
            if not part:
                raise self.damaged("the file is too short")
            parts.append(part)
            at += len(part)
            size -= len(part)
        return b"".join(parts)

    def find(self, name):
        """The file with this name, or None."""
        low, high = 0, len(self.entries)
        while low < high:
            middle = (low + high) // 2
            if self.entries[middle].name < name:
                low = middle + 1
            else:
                high = middle
        return self.entries[low] if low < len(self.entries) and self.entries[low].name == name else None

    def chunks(self, entry):
        """The content of a file, part by part; at its end an error if it is not what was bundled."""
        digest = blake2b(digest_size=16)
        for at in range(entry.at, entry.at + entry.size, CHUNK):
            part = self.read_at(at, min(CHUNK, entry.at + entry.size - at))
            digest.update(part)
            yield part
        if digest.digest() != entry.digest:
            raise self.damaged(f"{os.fsdecode(entry.name)} is not what was bundled")

    def check(self):
        """Read every content and compare it with its sum."""
        for entry in self.entries:
            for _ in self.chunks(entry):
                pass


def read_manifest(index):
    """The manifest at the start of an index, and where it ends. Raises ValueError or struct.error."""
    (size,) = NUMBER.unpack_from(index)
    end = NUMBER.size + size
    if size > MANIFEST_MAX or end > len(index):
        raise ValueError("its manifest is too long")
    texts = [os.fsdecode(text) for text in index[NUMBER.size : end].split(b"\0")]
    if len(texts) < 2:
        raise ValueError("its manifest is incomplete")
    return Manifest(texts[0], texts[1], texts[2:]), end


def read_entries(index, position, count, start, end):
    """The files of an index from `position` on, which must fill it, and whose contents must fill start to end."""
    entries = []
    before = b""
    at = start
    for _ in range(count):
        size, mtime, length, digest = RECORD.unpack_from(index, position)
        position += RECORD.size
        name = index[position : position + length]
        position += length
        if position > len(index):
            raise ValueError("its index is too short")
        if name <= before:
            raise ValueError("its names are not in order")
        check_name(name, size)
        entries.append(Entry(name, at, size, mtime, digest))
        before = name
        at += size
    if position != len(index):
        raise ValueError("its index is too long")
    if at != end:
        raise ValueError("the sizes of its files are wrong")
    check_folders(entries)
    return entries


def check_name(name, size):
    """Refuse, by a ValueError, a name that is no clean relative path."""
    if not 0 < len(name) <= NAME_MAX:
        raise ValueError("a name is empty or too long")
    if name.endswith(b"/"):
        name = name[:-1]
        if size:
            raise ValueError("a folder has a content")
    if b"\0" in name:
        raise ValueError("a name contains a NUL")
    for part in name.split(b"/"):
        if part in (b"", b".", b".."):
            raise ValueError("a name is no relative path")


def check_folders(entries):
    """Refuse a name that is a file and a folder."""
    files = {entry.name for entry in entries}
    seen = set()
    for entry in entries:
        slash = entry.name.rfind(b"/")
        while slash > 0 and entry.name[:slash] not in seen:
            folder = entry.name[:slash]
            if folder in files:
                raise ValueError("a name is a file and a folder")
            seen.add(folder)
            slash = folder.rfind(b"/")


# ---- Writing ---------------------------------------------------------------------------------------------------


class Writer:
    """Appends an archive to a file that is open for writing and stands at its end, where the executable ends.

    `add` every file in the order of the names, then `finish`."""

    def __init__(self, file):
        self.file = file
        self.start = file.tell()
        self.records = []
        self.before = b""

    def add(self, name, mtime, chunks):
        """Add a file with the content of `chunks`. Returns its size. Raises ValueError if it can not be read back."""
        digest = blake2b(digest_size=16)
        size = 0
        for part in chunks:
            digest.update(part)
            self.file.write(part)
            size += len(part)
        check_name(name, size)
        if name <= self.before:
            raise ValueError("its names are not in order")
        self.before = name
        self.records.append(RECORD.pack(size, mtime, len(name), digest.digest()) + name)
        return size

    def finish(self, manifest):
        """Write index and footer."""
        packed = manifest.pack()
        if len(packed) > MANIFEST_MAX:
            raise ValueError(f"the flags are longer than {MANIFEST_MAX} bytes")
        index = NUMBER.pack(len(packed)) + packed + b"".join(self.records)
        head = FOOTER.pack(MAGIC, FORMAT, len(self.records), self.start, self.file.tell(), b"")[:SIGNED]
        self.file.write(index + head + blake2b(head + index, digest_size=32).digest())
