"""Writes the executable: launcher, payload, footer. The format is that of packaging/launcher/payload.c."""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import zstandard

EXECUTABLE, LIBC = 1, 2
FOOTER = struct.Struct("<8sIIQQII16s8x")  # magic, version, CRC of the index, size, unpacked, index size, 0, key
LEVEL, WINDOW_LOG = 22, 24  # the launcher needs 16 MiB for a moment


def entries(tree, program, libc):
    """(name, flags, content) of every file, in the order of their names."""
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        name = path.relative_to(tree).as_posix()
        loader = bool(libc) and path.name == libc[0]
        flags = EXECUTABLE if name == program or loader else 0
        yield name, flags | (LIBC if path.name in libc else 0), path.read_bytes()


def payload(tree, program, libc):
    """Index and compressed files, and the footer behind them."""
    index, contents = bytearray(), []
    for name, flags, content in entries(tree, program, libc):
        encoded = name.encode()
        index += struct.pack("<IBB", len(content), flags, len(encoded)) + encoded
        contents.append(content)
    raw = b"".join(contents)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=len(raw), window_log=WINDOW_LOG, write_checksum=True
    )
    body = bytes(index) + zstandard.ZstdCompressor(compression_params=parameters).compress(raw)
    key = hashlib.sha256(body).digest()[:16]
    return body + FOOTER.pack(b"HEARTPAY", 1, zlib.crc32(index), len(body), len(raw), len(index), 0, key)


def write(launcher, tree, program, libc, output):
    """Write the executable file `output`."""
    output.parent.mkdir(parents=True, exist_ok=True)
    new = output.with_name(output.name + ".new")
    new.write_bytes(Path(launcher).read_bytes() + payload(tree, program, libc))
    new.chmod(0o755)
    os.replace(new, output)
