"""WebSocket frames and the handshake as codecs (RFC 6455, RFC 7692). Every input ends at an unmapped page."""

import base64
import hashlib
import itertools
import os
import random

import pytest
import ws_native as ws

MASK = b"\x37\xfa\x21\x3d"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 1 << 32, (1 << 63) - 1])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("compressed", [False, True])
def test_header_written_is_read_back(length, mask, opcode, compressed):
    head = ws.put(opcode, length, mask, compressed)
    assert ws.parse(head) == ws.Frame(len(head), opcode, True, compressed, mask, length)
    for n in range(len(head)):
        assert ws.parse(head[:n]) is None
    assert ws.parse(head + b"payload").size == len(head)


def test_examples_of_the_rfc_are_read():
    """RFC 6455 section 5.7"""
    assert ws.parse(b"\x81\x05Hello") == (2, 1, True, False, None, 5)
    assert ws.parse(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") == (6, 1, True, False, MASK, 5)
    assert ws.masked(b"\x7f\x9f\x4d\x51\x58", MASK) == b"Hello"
    assert ws.parse(b"\x01\x03Hel") == (2, 1, False, False, None, 3)
    assert ws.parse(b"\x80\x02lo") == (2, 0, True, False, None, 2)
    assert ws.parse(b"\x82\x7e\x01\x00") == (4, 2, True, False, None, 256)
    assert ws.parse(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00") == (10, 2, True, False, None, 65536)


@pytest.mark.parametrize(
    "head",
    [
        *(bytes([0x80 | bits | 1, 0]) for bits in (0x10, 0x20, 0x30)),
        *(bytes([0x80 | opcode, 0]) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        *(bytes([opcode, 0]) for opcode in (8, 9, 10)),
        *(bytes([0x80 | opcode, n]) for opcode in (8, 9, 10) for n in (126, 127)),
        b"\xc9\x00",
        b"\xc0\x00",
        b"\x81\x7e\x00\x7d",
        b"\x81\x7e\x00\x00",
        b"\x81\x7f" + (65535).to_bytes(8, "big"),
        b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
    ],
)
def test_header_against_the_rules_is_refused(head):
    """RFC 6455 sections 5.2 and 5.5, RFC 7692 section 6"""
    code, why = ws.parse(head)
    assert code == 1002 and why


@pytest.mark.parametrize(
    ("answer", "params"),
    [
        (b"permessage-deflate", (False, False, 15, 15, False)),
        (b"permessage-deflate; server_no_context_takeover", (True, False, 15, 15, False)),
        (b'Permessage-Deflate;client_max_window_bits=9;server_max_window_bits="10"', (False, False, 10, 9, True)),
        (b"permessage-deflate; client_no_context_takeover; client_max_window_bits=8", (False, True, 15, 8, True)),
        (b"permessage-deflate; client_max_window_bits", None),
        (b"permessage-deflate; server_max_window_bits=7", None),
        (b"permessage-deflate, permessage-deflate", None),
        (b"x-webkit-deflate-frame", None),
        (b"", None),
    ],
)
def test_answer_to_an_offer_is_judged(answer, params):
    """RFC 7692 section 7.1"""
    assert ws.accepted(answer, False) == (params and ws.Params(*params))
    assert (ws.accepted(answer) is not None) == bool(params and params[0])


def test_mask_is_its_own_inverse_from_any_offset():
    for n, at in itertools.product(range(40), (0, 1, 2, 3, 5, 1 << 40)):
        data = os.urandom(n)
        expected = bytes(b ^ MASK[(at + i) % 4] for i, b in enumerate(data))
        assert ws.masked(data, MASK, at) == expected
        assert ws.masked(expected, MASK, at) == data


def is_text(data):
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def test_text_is_checked_as_python_does():
    for length in (1, 2, 3):
        for first in range(256):
            data = bytes(
                [first, *(random.choice((0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)) for _ in range(length))]
            )
            assert (ws.utf8([data]) is True) == is_text(data), data
    for point in (0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        assert ws.utf8([chr(point).encode()]) is True
    for surrogate in (0xD800, 0xDFFF):
        assert ws.utf8([chr(surrogate).encode("utf-8", "surrogatepass")]) is False
    assert ws.utf8([b"\xf4\x90\x80\x80"]) is False


def test_text_may_be_split_anywhere_and_fails_at_its_first_wrong_byte():
    text = "aäß€😀z".encode() * 3
    for n in range(len(text) + 1):
        assert ws.utf8([text[:n], text[n:]]) is True
        assert ws.utf8([text[i : i + 1] for i in range(n)]) in (True, None)
    assert ws.utf8([b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed", b"\xa0"]) is False
    assert ws.utf8([b"\xe2\x82"]) is None
    for at in range(24):
        assert ws.utf8([b"a" * at + b"\xff" + b"a" * 20]) is False


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_code_is_read(code):
    assert ws.close_payload(code.to_bytes(2, "big") + "grüß".encode()) == (code, "grüß".encode())


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_code_that_none_may_send_is_refused(code):
    assert ws.close_payload(code.to_bytes(2, "big")) == 1002


def test_close_payload_is_judged():
    assert ws.close_payload(b"") == (1005, b"")
    assert ws.close_payload(b"\x03") == 1002
    assert ws.close_payload(b"\x03\xe8\xff") == 1007
    assert ws.close_payload(b"\x03\xe8\xe2\x82") == 1007


def test_accept_is_that_of_hashlib():
    assert ws.accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    for _ in range(50):
        key = base64.b64encode(os.urandom(16))
        assert ws.accept(key) == base64.b64encode(hashlib.sha1(key + GUID).digest())


@pytest.mark.parametrize(
    "key",
    [b"", b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZQ===", b"dGhlIHNhbXBsZSBub25jZ===", b"?" * 22 + b"=="],
)
def test_key_that_is_none_is_refused(key):
    assert ws.accept(key) is None


@pytest.mark.parametrize(
    "offer, answer",
    [
        (b"permessage-deflate", b"permessage-deflate"),
        (b"permessage-deflate; client_max_window_bits", b"permessage-deflate"),
        (b"Permessage-Deflate;client_max_window_bits=9", b"permessage-deflate"),
        (
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (b"permessage-deflate; server_max_window_bits=10", b"permessage-deflate; server_max_window_bits=10"),
        (b'permessage-deflate; server_max_window_bits="12"', b"permessage-deflate; server_max_window_bits=12"),
        (b"x-webkit-deflate-frame, permessage-deflate", b"permessage-deflate"),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", b"permessage-deflate"),
        (
            b"permessage-deflate; unknown, permessage-deflate; server_max_window_bits=9",
            b"permessage-deflate; server_max_window_bits=9",
        ),
    ],
)
def test_offer_of_compression_is_accepted(offer, answer):
    """RFC 7692 section 7.1"""
    params, text = ws.choose(offer, keep_context=True)
    assert text == answer
    params, text = ws.choose(offer)
    assert params.server_fresh and params.client_fresh and b"client_no_context_takeover" in text


@pytest.mark.parametrize(
    "offer",
    [
        b"",
        b",",
        b"permessage-deflate-x",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=7",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; server_max_window_bits=08",
        b"permessage-deflate; server_max_window_bits=8",
        b"permessage-deflate; client_max_window_bits=0",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        b"permessage-deflate; =1",
        b'permessage-deflate; server_max_window_bits="10',
        b"permessage-deflate extra",
    ],
)
def test_offer_that_is_malformed_or_cannot_be_kept_is_declined(offer):
    """RFC 7692 section 7.1: an endpoint declines what it does not understand"""
    assert ws.choose(offer) is None
