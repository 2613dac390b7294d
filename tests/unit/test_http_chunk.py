"""http_chunk: the decoder of chunked bodies."""

import pytest
from codecs_native import dechunk

BODIES = {
    "one": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "two": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    "empty": (b"0\r\n\r\n", b""),
    "hex_in_both_cases": (b"a\r\n0123456789\r\nA\r\n0123456789\r\n1f\r\n" + b"x" * 31 + b"\r\n0\r\n\r\n", None),
    "leading_zeros": (b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", b"hello"),
    "extension": (b"5;name\r\nhello\r\n0;last=1\r\n\r\n", b"hello"),
    "extension_quoted": (b'5; a="b;c"; d\t= e\r\nhello\r\n0\r\n\r\n', b"hello"),
    "extension_high_bytes": (b"5;a=\xc3\xa9\r\nhello\r\n0\r\n\r\n", b"hello"),
    "extension_empty": (b"5;\r\nhello\r\n0\r\n\r\n", b"hello"),
    "trailers": (b"5\r\nhello\r\n0\r\nVary: *\r\nX-Sum:abc \r\nX:\r\n\r\n", b"hello"),
    "data_that_looks_like_framing": (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
    "all_bytes": (b"100\r\n" + bytes(range(256)) + b"\r\n0\r\n\r\n", bytes(range(256))),
}
REFUSED = {
    "no_size": b"\r\n",
    "no_size_before_extension": b";a\r\n",
    "not_hex": b"g\r\n",
    "prefix": b"0x5\r\nhello\r\n",
    "plus": b"+5\r\nhello\r\n",
    "minus": b"-5\r\nhello\r\n",
    "space_before_size": b" 5\r\nhello\r\n",
    "space_after_size": b"5 \r\nhello\r\n",
    "space_before_extension": b"5 ;a\r\nhello\r\n",
    "size_of_17_digits": b"00000000000000005\r\nhello\r\n",
    "size_beyond_int64": b"8000000000000000\r\n",
    "size_bare_lf": b"5\nhello\r\n",
    "size_bare_cr": b"5\rhello\r\n",
    "extension_bare_lf": b"5;a\nhello\r\n",
    "extension_bare_cr": b"5;a\rhello\r\n",
    "extension_nul": b"5;a\0\r\n",
    "extension_delete": b"5;a\x7f\r\n",
    "data_longer_than_size": b"5\r\nhello!\r\n",
    "data_end_bare_lf": b"5\r\nhello\n0\r\n\r\n",
    "data_end_bare_cr": b"5\r\nhello\r0\r\n\r\n",
    "end_bare_lf": b"0\r\n\n",
    "end_bare_cr": b"0\r\n\rx",
    "trailer_bare_lf": b"0\r\nA: b\n",
    "trailer_bare_cr": b"0\r\nA: b\rx",
    "trailer_folded": b"0\r\nA: b\r\n c\r\n",
    "trailer_without_name": b"0\r\n: b\r\n",
    "trailer_without_colon": b"0\r\nA\r\n",
    "trailer_space_before_colon": b"0\r\nA : b\r\n",
    "trailer_name_no_token": b"0\r\n(A): b\r\n",
    "trailer_nul": b"0\r\nA: \0\r\n",
}
EXTENSION_MAX = 4096
TRAILER_MAX = 8192


def single(data):
    return [bytes([byte]) for byte in data]


@pytest.mark.parametrize("name", BODIES)
def test_body_is_decoded(name):
    """RFC 9112 section 7.1."""
    data, body = BODIES[name]
    event, decoded, used = dechunk([data + b"GET / "])
    assert (event, used) == ("done", len(data))
    assert body is None or decoded == body


@pytest.mark.parametrize("name", BODIES)
def test_body_in_any_two_pieces_is_the_same(name):
    data, _ = BODIES[name]
    whole = dechunk([data])
    assert dechunk(single(data)) == whole
    for at in range(len(data)):
        assert dechunk([data[:at], data[at:]]) == whole


@pytest.mark.parametrize("name", BODIES)
def test_prefix_is_unfinished(name):
    data, _ = BODIES[name]
    for n in range(len(data)):
        event, _, used = dechunk([data[:n]])
        assert (event, used) == ("more", n)


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_body_is_refused(name):
    data = REFUSED[name]
    event, decoded, used = dechunk([data])
    assert event == 400
    assert dechunk(single(data)) == (event, decoded, used)
    assert dechunk([data[:used]])[0] == "more"
    assert dechunk([data[: used + 1]])[0] == 400


@pytest.mark.parametrize("byte", range(256))
def test_byte_where_a_size_starts(byte):
    assert (dechunk([bytes([byte])])[0] == "more") == (byte in b"0123456789abcdefABCDEF")


@pytest.mark.parametrize("size", [0, 1, 9, 10, 15, 16, 255, 256, 4095, 65536])
def test_size_in_hex_counts_bytes(size):
    data = b"%x\r\n%b\r\n" % (size, b"x" * size)
    event, decoded, used = dechunk([data])
    assert (event, len(decoded), used) == ("done" if size == 0 else "more", size, len(data))


def test_largest_size_is_int64():
    assert dechunk([b"7fffffffffffffff\r\nx"]) == ("more", b"x", 19)


def test_extension_of_the_limit_passes():
    assert dechunk([b"0;" + b"x" * (EXTENSION_MAX - 1) + b"\r\n\r\n"])[0] == "done"


def test_longer_extension_is_refused():
    assert dechunk([b"0;" + b"x" * EXTENSION_MAX])[0] == 400


def test_extensions_of_small_chunks_add_up():
    """Else a client could make the server read thousands of bytes for each byte that counts as body."""
    chunk = b"1;" + b"x" * 99 + b"\r\ny\r\n"
    assert dechunk([chunk * 41])[0] == "more"
    assert dechunk([chunk * 42])[0] == 400


def test_extensions_of_large_chunks_never_end():
    """Signed uploads carry one on every chunk."""
    chunk = b"400;chunk-signature=" + b"0" * 64 + b"\r\n" + b"y" * 1024 + b"\r\n"
    event, decoded, _ = dechunk([chunk] * 1000 + [b"0\r\n\r\n"])
    assert (event, len(decoded)) == ("done", 1024 * 1000)


def test_trailers_of_the_limit_pass():
    line = b"A: " + b"x" * 94 + b"\r\n"
    lines = line * (TRAILER_MAX // len(line))
    last = b"A:" + b"x" * (TRAILER_MAX - len(lines) - 5) + b"\r\n"
    assert dechunk([b"0\r\n" + lines + last + b"\r\n"])[0] == "done"
    assert dechunk([b"0\r\n" + lines + b"x" + last + b"\r\n"])[0] == 400


def test_endless_trailers_are_refused():
    assert dechunk([b"0\r\n"] + [b"A: b\r\n"] * TRAILER_MAX)[0] == 400


def test_extension_before_trailers_does_not_count_as_trailer():
    extension = b";" + b"x" * (EXTENSION_MAX - 1)
    assert dechunk([b"0" + extension + b"\r\nA: " + b"x" * 8000 + b"\r\n\r\n"])[0] == "done"


def test_nothing_behind_the_end_is_consumed():
    assert dechunk([b"0\r\n\r\n", b"5\r\nhello\r\n"]) == ("done", b"", 5)
