"""http_accept, http_condition, http_range: results are within bounds, and say the same when they are written again."""

import re

from files_native import ask, codings, etag, ranges, tags

MAX_LEN = 512
SIZES = (0, 1, 10, 1 << 40)
TAG = 0xC0FFEE


def fuzz_ranges(data, size):
    found = ranges(data, size)
    if found is None:
        return
    assert data[:6].lower() == b"bytes=" and size > 0
    assert len(found) <= 16 and sum(n for _, n in found) <= size
    assert all(0 <= at and n > 0 and at + n <= size for at, n in found)
    if found:
        assert ranges(b"bytes=" + b",".join(b"%d-%d" % (at, at + n - 1) for at, n in found), size) == found


def fuzz_one(data):
    for size in SIZES:
        fuzz_ranges(data, size)
        fuzz_ranges(b"bytes=" + data, size)
    order = codings([data])
    assert len(set(order)) == len(order)
    assert codings([b", ".join(b"%s;q=0.%d" % (name.encode(), 9 - i) for i, name in enumerate(order))]) == order
    found = tags(data)
    assert tags(b", ".join(b"W/" * weak + tag for tag, weak in found)) == found
    assert all(re.fullmatch(rb'"[^"]*"', tag, re.DOTALL) for tag, _ in found)
    value = bytes(byte for byte in data if byte >= 32 and byte != 127)
    for name in (b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since"):
        status, _, _ = ask(b"GET / HTTP/1.1\r\nHost: t\r\n%b: %b\r\n\r\n" % (name, value), TAG, 784111777)
        assert status in (200, 304, 412)
        known = [
            tag for tag, weak in tags(value.strip(b" \t")) if tag == etag(TAG) and not (weak and name == b"If-Match")
        ]
        if name.endswith(b"-Match") and known:
            assert status == (200 if name == b"If-Match" else 304)
    head = b"GET / HTTP/1.1\r\nHost: t\r\nRange: bytes=0-0\r\nIf-Range: %b\r\n\r\n" % value
    assert ask(head, TAG, 784111777)[1] in (None, b"bytes=0-0")
