"""http_response: heads of responses, as servers that we did not write send them."""

import random

import pytest
from codecs_native import Reply, parse_reply

PARTIAL, ERR_LIMIT = -1, -6


def parse(fields, line="HTTP/1.1 200 OK"):
    """A head with these field lines."""
    head = "\r\n".join([line, *fields, "", ""]).encode("latin-1")
    found = parse_reply(head + b"body")
    assert not isinstance(found, Reply) or found.size == len(head)
    return found


def test_head_is_parsed():
    found = parse(["Server: x y", "Content-Length: 12", "empty:", "Set-Cookie: a=b", "Set-Cookie:c=d "])
    assert found == (
        *(found.size, 200, b"OK", 1, 12, True, False, False),
        [
            (b"Server", b"x y"),
            (b"Content-Length", b"12"),
            (b"empty", b""),
            (b"Set-Cookie", b"a=b"),
            (b"Set-Cookie", b"c=d"),
        ],
    )


@pytest.mark.parametrize(
    ("line", "status", "reason", "minor"),
    [
        ("HTTP/1.0 404 Not Found", 404, b"Not Found", 0),
        ("HTTP/1.1 200", 200, b"", 1),
        ("HTTP/1.1 200 ", 200, b"", 1),
        ("HTTP/1.1 999 \xe9 \t x", 999, b"\xe9 \t x", 1),
        ("HTTP/1.7 100 Continue", 100, b"Continue", 1),
    ],
)
def test_status_line_is_read(line, status, reason, minor):
    assert parse([], line)[1:4] == (status, reason, minor)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("HTTP/2.0 200 OK", "not HTTP/1"),
        ("ICY 200 OK", "not HTTP/1"),
        ("http/1.1 200 OK", "not HTTP/1"),
        ("HTTP/1.1  200 OK", "not HTTP/1"),
        ("HTTP/1.1 20 OK", "not HTTP/1"),
        ("HTTP/1.1 099 OK", "malformed status"),
        ("HTTP/1.1 2000 OK", "control character"),
        ("HTTP/1.1 200 O\0K", "control character"),
        ("HTTP/1.1 200 O\rK", "bare CR"),
        ("<html>", "not HTTP/1"),
    ],
)
def test_other_status_line_is_refused(line, why):
    assert parse([], line) == why


@pytest.mark.parametrize(
    ("fields", "keep"),
    [
        ([], True),
        (["Connection: close"], False),
        (["Connection: keep-alive, Close"], False),
        (["Connection: keep-alive"], True),
        (["Transfer-Encoding: chunked", "Content-Length: 3"], False),
    ],
)
def test_connection_is_kept_unless_the_server_says_no(fields, keep):
    """RFC 9112 section 9.3"""
    assert parse(fields).keep_alive == keep


def test_connection_of_an_old_server_is_kept_if_it_says_so():
    assert parse([], "HTTP/1.0 200 OK").keep_alive is False
    assert parse(["Connection: keep-alive"], "HTTP/1.0 200 OK").keep_alive is True
    found = parse(["Connection: keep-alive", "Transfer-Encoding: chunked"], "HTTP/1.0 200 OK")
    assert (found.keep_alive, found.chunked) == (False, True)


@pytest.mark.parametrize(
    ("fields", "length", "chunked"),
    [
        (["Content-Length: 0"], 0, False),
        (["Content-Length: 5", "content-length: 5"], 5, False),
        (["Content-Length: 5, 5 ,5"], 5, False),
        (["Transfer-Encoding: Chunked"], -1, True),
        (["Transfer-Encoding: identity", "Content-Length: 3"], 3, False),
        (["Content-Length: 3", "Transfer-Encoding: chunked"], -1, True),
        (["Content-Length: 9223372036854775807"], 2**63 - 1, False),
    ],
)
def test_framing_is_read(fields, length, chunked):
    """RFC 9112 section 6.3"""
    found = parse(fields)
    assert (found.content_length, found.chunked) == (length, chunked)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (["Content-Length: 5", "Content-Length: 6"], "contradictory Content-Length"),
        (["Content-Length: 5,6"], "contradictory Content-Length"),
        (["Content-Length:"], "malformed Content-Length"),
        (["Content-Length: 5,"], "malformed Content-Length"),
        (["Content-Length: -1"], "malformed Content-Length"),
        (["Content-Length: 0x5"], "malformed Content-Length"),
        (["Content-Length: 9223372036854775808"], "malformed Content-Length"),
        (["Transfer-Encoding: gzip, chunked"], "unknown transfer coding"),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "repeated transfer coding"),
        (["no colon"], "malformed field name"),
        ([": x"], "malformed field name"),
        (["a : x"], "malformed field name"),
        ([" folded: first"], "malformed field name"),
        (["a: x\ry"], "bare CR"),
        (["a: x\0y"], "control character"),
    ],
)
def test_bad_field_is_refused(fields, why):
    assert parse(fields) == why


def test_folded_lines_are_joined():
    """RFC 9112 section 5.2"""
    assert parse(["a: one", "  two", "\tthree", "b:", " x", "c: y"]).fields == [
        (b"a", b"one    two  \tthree"),
        (b"b", b"x"),
        (b"c", b"y"),
    ]
    assert parse(["Content-Length: 1", " 2"]) == "malformed Content-Length"


def test_lines_may_end_in_a_bare_line_feed():
    found = parse_reply(b"HTTP/1.1 200 OK\na: b\nContent-Length: 2\n\nxx")
    assert (found.size, found.content_length, found.fields[0]) == (40, 2, (b"a", b"b"))


def test_head_beyond_the_limit_is_refused():
    head = b"HTTP/1.1 200 OK\r\na: " + b"x" * 100 + b"\r\n\r\n"
    assert isinstance(parse_reply(head, len(head)), Reply)
    assert parse_reply(head, len(head) - 1) == ERR_LIMIT
    assert parse_reply(head[:-1], len(head) - 1) == PARTIAL


def prefix_results(data):
    return [parse_reply(data[:n]) for n in range(len(data) + 1)]


def test_every_prefix_is_partial_or_final():
    rng = random.Random(3)
    lines = [
        b"Content-Length: 5",
        b"Connection: close",
        b" folded",
        b"x:",
        b"Transfer-Encoding: chunked",
        b"\0",
        b"a b",
    ]
    for _ in range(300):
        end = rng.choice([b"\r\n", b"\n"])
        data = end.join([b"HTTP/1.1 200 OK", *rng.choices(lines, k=rng.randrange(5)), b"", b"more"])
        results = prefix_results(data)
        final = next((r for r in results if r != PARTIAL), PARTIAL)
        decided = next((n for n, r in enumerate(results) if r != PARTIAL), len(results))
        assert all(r == final for r in results[decided:])
