"""http_range.pxi: parts of a representation (RFC 9110 section 14)."""

import email
import random
import re

import files_native as files
import pytest

WHOLE = None
HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "size", "wanted"),
    [
        ("bytes=0-0", 10, [(0, 1)]),
        ("bytes=0-", 10, [(0, 10)]),
        ("bytes=3-5", 10, [(3, 3)]),
        ("bytes=9-", 10, [(9, 1)]),
        ("bytes=5-100", 10, [(5, 5)]),
        ("bytes=-3", 10, [(7, 3)]),
        ("bytes=-10", 10, [(0, 10)]),
        ("bytes=-100", 10, [(0, 10)]),
        ("BYTES=1-2", 10, [(1, 2)]),
        ("bytes=0000001-0000002", 10, [(1, 2)]),
        ("bytes=0-99999999999999999999999999", 10, [(0, 10)]),
        (f"bytes={HUGE - 1}-", HUGE, [(HUGE - 1, 1)]),
        (f"bytes=0-{HUGE}", HUGE, [(0, HUGE)]),
        # the examples of section 14.1.2
        ("bytes=0-499", 10000, [(0, 500)]),
        ("bytes=-500", 10000, [(9500, 500)]),
        ("bytes=9500-", 10000, [(9500, 500)]),
        ("bytes=0-0,-1", 10000, [(0, 1), (9999, 1)]),
        ("bytes= 0-999, 4500-5499, -1000", 10000, [(0, 1000), (4500, 1000), (9000, 1000)]),
        ("bytes=500-600,601-999", 10000, [(500, 101), (601, 399)]),
        ("bytes=500-700,601-999", 10000, [(500, 201), (601, 399)]),
        # several: in their order, without what can not be satisfied
        ("bytes=5-5,0-0,3-3", 10, [(5, 1), (0, 1), (3, 1)]),
        ("bytes=20-30,1-1,-0", 10, [(1, 1)]),
        ("bytes=,, 1-1 ,\t,2-2,", 10, [(1, 1), (2, 1)]),
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(16)), 100, [(i, 1) for i in range(16)]),
        # none is satisfiable: 416
        ("bytes=10-", 10, []),
        ("bytes=10-10", 10, []),
        ("bytes=-0", 10, []),
        ("bytes=11-12,-0,99999999999999999999999-", 10, []),
        # too much: the whole
        ("bytes=" + ",".join(f"{i}-{i}" for i in range(17)), 100, WHOLE),
        ("bytes=0-,0-", 10, WHOLE),
        ("bytes=0-5,0-4", 10, WHOLE),
        ("bytes=0-9,-1", 10, WHOLE),
        # nothing can be cut from nothing
        ("bytes=0-", 0, WHOLE),
        ("bytes=-5", 0, WHOLE),
        # malformed, or in another unit
        ("", 10, WHOLE),
        ("bytes", 10, WHOLE),
        ("bytes=", 10, WHOLE),
        ("bytes=,", 10, WHOLE),
        ("bytes=-", 10, WHOLE),
        ("bytes=--1", 10, WHOLE),
        ("bytes=5", 10, WHOLE),
        ("bytes=5-4", 10, WHOLE),
        ("bytes=a-b", 10, WHOLE),
        ("bytes=1-2-3", 10, WHOLE),
        ("bytes=1-2;3-4", 10, WHOLE),
        ("bytes=1 - 2", 10, WHOLE),
        ("bytes =1-2", 10, WHOLE),
        ("bytes=0x1-0x2", 10, WHOLE),
        ("bytes=+1-2", 10, WHOLE),
        ("bytes=0-1,x", 10, WHOLE),
        ("bytes=0-1,5-4", 10, WHOLE),
        ("bytes=\x00", 10, WHOLE),
        ("lines=0-1", 10, WHOLE),
        ("byte=0-1", 10, WHOLE),
        ("0-1", 10, WHOLE),
    ],
)
def test_ranges_of_a_field(value, size, wanted):
    assert files.ranges(value.encode(), size) == wanted


def reference(value, size):
    """A second reading. Numbers that are too large are all alike."""
    if not value.lower().startswith("bytes="):
        return WHOLE
    members = [member.strip(" \t") for member in value[6:].split(",")]
    found = []
    for first, last in [
        (match[1], match[2]) if (match := re.fullmatch(r"(\d*)-(\d*)", member)) else (None, None)
        for member in members
        if member
    ]:
        if first is None or not first + last or (first and last and min(HUGE, int(first)) > min(HUGE, int(last))):
            return WHOLE
        begin = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        found.append((begin, max(0, end - begin)))
    some = [each for each in found if each[1]]
    too_much = len(some) > 16 or sum(n for _, n in some) > size
    return WHOLE if not found or not size or too_much else some


def test_random_fields_are_read_as_by_another_reader():
    pick = random.Random(1)
    for _ in range(10000):
        size = pick.choice([0, 1, 2, 10, 1000])
        pieces = [
            str(pick.randrange(size + 2)),
            "-",
            ",",
            "-",
            str(size),
            " ",
            "0",
            "1",
            "99999999999999999999",
            ",-1",
            "x",
        ]
        value = pick.choice(["bytes=", "bytes=", "bytes=", "Bytes=0-", "byte="]) + "".join(
            pick.choices(pieces, [6, 6, 5, 6, 2, 1, 2, 2, 1, 1, 0.2], k=pick.randrange(10))
        )
        assert files.ranges(value.encode(), size) == reference(value, size), (value, size)


def test_too_many_of_a_kind_that_costs_nothing_are_no_error():
    """What can not be satisfied is not sent."""
    assert files.ranges(b"bytes=" + b"100-," * 1000 + b"1-1", 10) == [(1, 1)]


def test_content_range_names_the_part_and_the_whole():
    assert files.content_range(0, 1, 10) == b"Content-Range: bytes 0-0/10\r\n"
    assert files.content_range(5, 5, 10) == b"Content-Range: bytes 5-9/10\r\n"
    assert files.content_range(0, 0, 10) == b"Content-Range: bytes */10\r\n"
    assert len(files.content_range(HUGE - 1, 1, HUGE)) <= 96


def test_parts_are_a_multipart_message():
    """RFC 9110 section 14.6, read by Python's reader of mail."""
    data = bytes(range(256)) * 4
    boundary = b"0123456789abcdef" * 2
    wanted = [(0, 1), (1000, 24), (300, 300)]
    heads, length = files.parts(wanted, len(data), b"text/plain; charset=utf-8", boundary)
    body = b"".join(head + data[at : at + n] for head, (at, n) in zip(heads, [*wanted, (0, 0)], strict=True))
    assert len(body) == length
    message = email.message_from_bytes(b'Content-Type: multipart/byteranges; boundary="%b"\r\n\r\n' % boundary + body)
    assert not message.defects
    for part, (at, n) in zip(message.get_payload(), wanted, strict=True):
        assert part["content-type"] == "text/plain; charset=utf-8"
        assert part["content-range"] == f"bytes {at}-{at + n - 1}/{len(data)}"
    pieces = body.split(b"--" + boundary)
    assert [piece.partition(b"\r\n\r\n")[2][:-2] for piece in pieces[1:-1]] == [data[at : at + n] for at, n in wanted]
