"""FastCGI records and the heads made of variables, as codecs. Every input ends at an unmapped page."""

import struct

import fcgi_native as fcgi
import pytest
from fcgi_client import (
    ABORT,
    BEGIN,
    DATA,
    END,
    GET_VALUES,
    PARAMS,
    STDERR,
    STDIN,
    STDOUT,
    UNKNOWN,
    VALUES,
    begin,
    pairs,
    record,
    variables,
)

ANSWERS = (END, STDOUT, STDERR, VALUES, UNKNOWN)


@pytest.mark.parametrize("kind", [PARAMS, STDIN, DATA])
@pytest.mark.parametrize("number", [1, 255, 256, 65535])
@pytest.mark.parametrize("size, padding", [(0, 0), (1, 7), (256, 0), (65535, 255)])
def test_header_is_read(kind, number, size, padding):
    data = record(kind, number, b"y" * size, padding)
    assert fcgi.parse(data[:8]) == (kind, number, size, padding)
    assert fcgi.parse(data) == (kind, number, size, padding)
    for n in range(8):
        assert fcgi.parse(data[:n]) is None


@pytest.mark.parametrize(
    "data, why",
    [
        (record(STDIN, 1, version=2), "not FastCGI 1"),
        (b"GET / HTTP/1.1\r\n", "not FastCGI 1"),
        (b"\x00", "not FastCGI 1"),
        (record(0, 1), "unknown record type"),
        (record(0, 0), "unknown record type"),
        (record(12, 1), "unknown record type"),
        *((record(kind, 1), "a record that only applications send") for kind in ANSWERS),
        *((record(kind, 0), "a record that only applications send") for kind in ANSWERS),
        *((record(kind, 0), "a record of a request without its number") for kind in (BEGIN, ABORT, PARAMS, STDIN)),
        (record(GET_VALUES, 1), "FCGI_GET_VALUES for a request"),
        (record(GET_VALUES, 0, b"x" * 1025), "FCGI_GET_VALUES is too long"),
        (record(BEGIN, 1, b"x" * 7), "FCGI_BEGIN_REQUEST of a wrong length"),
        (record(BEGIN, 1, b"x" * 9), "FCGI_BEGIN_REQUEST of a wrong length"),
        (record(ABORT, 1, b"x"), "FCGI_ABORT_REQUEST with content"),
    ],
)
def test_record_against_the_rules_is_refused(data, why):
    assert fcgi.parse(data) == why


@pytest.mark.parametrize("kind", [12, 13, 255])
def test_unknown_record_about_the_connection_is_left_to_the_caller(kind):
    """Section 4.2: it is answered with FCGI_UNKNOWN_TYPE"""
    assert fcgi.parse(record(kind, 0, b"xyz")) == (kind, 0, 3, 0)
    assert fcgi.put_unknown(kind) == record(UNKNOWN, 0, bytes([kind, 0, 0, 0, 0, 0, 0, 0]))


def test_begin_is_read():
    assert fcgi.begin(begin(1, flags=1, role=3)[8:]) == (3, 1)
    assert fcgi.begin(begin(1, flags=254, role=0x1234)[8:]) == (0x1234, 254)


@pytest.mark.parametrize("name", [0, 1, 127, 128, 300])
@pytest.mark.parametrize("value", [0, 1, 127, 128, 70000])
def test_pair_written_is_read_back(name, value):
    """Section 3.4"""
    name, value = b"n" * name, b"v" * value
    data = fcgi.put_pair(name, value)
    assert data == pairs([(name, value)])
    assert fcgi.pairs(data * 2) == [(name, value), (name, value)]
    for n in {1, 2, len(data) // 2, len(data) - 1} - {0, len(data)}:
        assert fcgi.pairs(data[:n]) == [None]


def test_long_form_of_a_short_length_is_read():
    data = struct.pack(">II", 1 << 31 | 1, 1 << 31 | 2) + b"nvv"
    assert fcgi.pairs(data) == [(b"n", b"vv")]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x7f\x7f" + b"x" * 253, b"\x80\x00\x00"])
def test_pair_longer_than_its_input_is_refused(data):
    assert fcgi.pairs(data) == [None]


def test_last_pair_of_a_name_is_found():
    data = pairs([("A", "1"), ("AB", "2"), ("A", "3")])
    assert fcgi.find(data, b"A") == b"3"
    assert fcgi.find(data, b"B") is None
    assert fcgi.find(data[:-1], b"A") == b"1"


@pytest.mark.parametrize("size", range(17))
def test_record_written_has_the_padding_that_aligns_it(size):
    """Section 3.3"""
    head = fcgi.put_head(STDOUT, 258, size)
    kind, number, length, padding = struct.unpack(">xBHHBx", head)
    assert (kind, number, length) == (STDOUT, 258, size)
    assert padding < 8 and (size + padding) % 8 == 0


def test_end_is_written():
    assert fcgi.put_end(258, 0x01020304, 2) == record(END, 258, b"\1\2\3\4\2\0\0\0")


def test_values_that_are_known_are_told_once():
    """Section 4.1"""
    asked = pairs([("FCGI_MAX_CONNS", ""), ("OTHER", ""), ("FCGI_MPXS_CONNS", ""), ("FCGI_MAX_CONNS", "")])
    answer = fcgi.put_values(asked, 123456)
    _, kind, number, size, padding = struct.unpack(">BBHHBx", answer[:8])
    assert (kind, number, len(answer)) == (VALUES, 0, 8 + size + padding)
    assert fcgi.pairs(answer[8 : 8 + size]) == [(b"FCGI_MAX_CONNS", b"123456"), (b"FCGI_MPXS_CONNS", b"1")]
    assert fcgi.put_values(b"", 1) == record(VALUES, 0)
    assert fcgi.put_values(asked[:-1], 1) is None
    all_of_them = pairs(dict.fromkeys(("FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"), "") | {"": ""})
    assert fcgi.put_values(all_of_them, (1 << 64) - 1)


# ---- Heads


def head(**more):
    found = {name: value for name, value in variables(**more).items() if value is not None}
    return fcgi.head(pairs(found))


def test_head_is_that_of_the_client():
    text = head(target="/a%20b?q=1", HTTP_USER_AGENT="me", HTTP_X_A="1", HTTP_COOKIE="a=b; c=d")
    assert text.split(b"\r\n") == [
        b"GET /a%20b?q=1 HTTP/1.1",
        b"Host: test",
        b"User-Agent: me",
        b"X-A: 1",
        b"Cookie: a=b; c=d",
        b"",
        b"",
    ]
    method, target, minor, fields = fcgi.fields(text)
    assert (method, target, minor) == (b"GET", b"/a%20b?q=1", 1)
    assert fields[0] == (b"Host", b"test")


def test_body_is_described():
    text = head(method="POST", body=b"12345", CONTENT_TYPE="text/plain", HTTP_CONTENT_TYPE="a/b", HTTP_CONTENT_LENGTH=9)
    assert fcgi.fields(text)[3] == [(b"Content-Length", b"5"), (b"Content-Type", b"text/plain"), (b"Host", b"test")]
    assert b"Content" not in head(CONTENT_LENGTH="", CONTENT_TYPE="")


def test_fields_about_the_connection_are_left_out():
    """RFC 9110 section 7.6.1"""
    names = "TE EXPECT UPGRADE TRAILER CONNECTION KEEP_ALIVE PROXY_CONNECTION TRANSFER_ENCODING".split()
    text = head(**{f"HTTP_{name}": "x" for name in names})
    assert fcgi.fields(text)[3] == [(b"Host", b"test")]


@pytest.mark.parametrize(
    "given, target",
    [
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/x y", "QUERY_STRING": "q=%41"}, b"/app/x%20y?q=%41"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "/a%b?c#d"}, b"/a%25b%3Fc%23d"),
        ({"SCRIPT_NAME": "app"}, b"/app"),
        ({"SCRIPT_NAME": "", "PATH_INFO": "x"}, b"/x"),
        ({"SCRIPT_NAME": ""}, b"/"),
        ({"SCRIPT_NAME": "/ä\r\n"}, b"/%C3%A4%0D%0A"),
        ({"REQUEST_URI": "http://host/x", "SCRIPT_NAME": "/y"}, b"http://host/x"),
    ],
)
def test_target_is_made_of_what_there_is(given, target):
    text = head(**{"REQUEST_URI": None, "QUERY_STRING": None, **given})
    assert fcgi.fields(text)[1] == target


@pytest.mark.parametrize(
    "given, minor",
    [
        ({}, 1),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 0),
        ({"SERVER_PROTOCOL": "HTTP/2.0"}, 1),
        ({"SERVER_PROTOCOL": None}, 1),
        ({"HTTP_HOST": None, "SERVER_NAME": "name"}, 1),
        ({"HTTP_HOST": None}, 0),
    ],
)
def test_version_is_one_that_the_head_can_have(given, minor):
    """HTTP/1.1 asks for a Host"""
    assert fcgi.fields(head(**given))[2] == minor


@pytest.mark.parametrize(
    "given",
    [
        {"REQUEST_METHOD": None},
        {"REQUEST_METHOD": ""},
        {"REQUEST_METHOD": "GET /x HTTP/1.1\r\nA: b\r\n\r\nGET"},
        {"REQUEST_URI": "/ HTTP/1.1\r\nA: b"},
        {"REQUEST_URI": "/a b"},
        {"REQUEST_URI": b"/\x00"},
        {"REQUEST_URI": b"/\xff"},
        {"REQUEST_URI": None, "QUERY_STRING": "a b"},
        {"HTTP_X": "a\r\nB: c"},
        {"HTTP_X": "a\nb"},
        {"HTTP_X": b"\x00"},
        {"HTTP_A:B": "c"},
        {"HTTP_A B": "c"},
        {"HTTP_Ä": "c"},
        {"HTTP_HOST": "a\r\nb"},
        {"CONTENT_TYPE": "a\r\nb"},
        {"CONTENT_LENGTH": "1\r\n"},
        {"HTTP_HOST": None, "SERVER_NAME": "a\r\nb"},
    ],
)
def test_variable_that_would_end_a_line_is_refused(given):
    assert isinstance(head(**given), str)


@pytest.mark.parametrize(
    "given, status",
    [
        ({"CONTENT_LENGTH": "-1"}, 400),
        ({"CONTENT_LENGTH": "1x"}, 400),
        ({"CONTENT_LENGTH": "99999999999999999999"}, 400),
        ({"HTTP_HOST": "a b"}, 400),
        ({"REQUEST_URI": "x"}, 400),
        ({"REQUEST_URI": "/#"}, 400),
    ],
)
def test_what_http_refuses_is_left_to_its_parser(given, status):
    assert fcgi.fields(head(**given))[0] == status


def test_cut_off_variables_are_refused():
    assert fcgi.head(pairs(variables())[:-1]) == "malformed variables"


@pytest.mark.parametrize(
    "given, secure",
    [
        ({}, False),
        ({"HTTPS": "on"}, True),
        ({"HTTPS": "1"}, True),
        ({"HTTPS": "off"}, False),
        ({"HTTPS": "OFF", "REQUEST_SCHEME": "https"}, False),
        ({"HTTPS": "0"}, False),
        ({"HTTPS": "", "REQUEST_SCHEME": "https"}, True),
        ({"REQUEST_SCHEME": "http"}, False),
    ],
)
def test_scheme_of_the_client_is_known(given, secure):
    assert fcgi.client(pairs(variables(**given))) == (secure, b"192.0.2.7", 4711)


@pytest.mark.parametrize("text, port", [("0", 0), ("65535", 65535), ("65536", 0), ("9" * 20, 0), ("x", 0), ("", 0)])
def test_port_is_a_number_or_none(text, port):
    assert fcgi.client(pairs(variables(REMOTE_PORT=text)))[2] == port
