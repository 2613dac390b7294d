"""Percent-encoding, queries, cookies and the type of a form."""

import urllib.parse

import pytest
from forms_native import cookie_get, cookies, decode, form, query_copies, query_get, query_pairs
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "raw,plus,text",
    [
        (b"", False, b""),
        (b"plain", True, b"plain"),
        (b"a%20b", False, b"a b"),
        (b"a+b", False, b"a+b"),
        (b"a+b", True, b"a b"),
        (b"%2B+%2b", True, b"+ +"),
        (b"%C3%a9", False, b"\xc3\xa9"),
        (b"%00%ff", False, b"\x00\xff"),
        (b"%2525", False, b"%25"),
        # What is no escape is text.
        (b"%", False, b"%"),
        (b"100%", True, b"100%"),
        (b"%4", False, b"%4"),
        (b"%zz%4g%g4", False, b"%zz%4g%g4"),
        (b"%%41", False, b"%A"),
        (b"%4%41", False, b"%4A"),
        (b"%u0041", False, b"%u0041"),
        (b"\xff%\xff", False, b"\xff%\xff"),
    ],
)
def test_decoding_gives_text(raw, plus, text):
    """RFC 3986 section 2.1."""
    assert decode(raw, plus) == text


@given(st.binary(max_size=64))
def test_encoded_bytes_decode_to_themselves(data):
    assert decode(urllib.parse.quote_from_bytes(data).encode()) == data
    assert decode(urllib.parse.quote_plus(data).encode(), True) == data


@given(st.binary(max_size=64))
def test_any_bytes_decode_as_python_does(data):
    assert decode(data) == urllib.parse.unquote_to_bytes(data)


@pytest.mark.parametrize(
    "query,pairs",
    [
        (b"", []),
        (b"a=1", [(b"a", b"1")]),
        (b"a=1&b=2&a=3", [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]),
        (b"a", [(b"a", b"")]),
        (b"a&b=", [(b"a", b""), (b"b", b"")]),
        (b"&&a=1&&&b=2&", [(b"a", b"1"), (b"b", b"2")]),
        (b"=1", [(b"", b"1")]),
        (b"a=b=c==", [(b"a", b"b=c==")]),
        (b"a;b=1;2", [(b"a;b", b"1;2")]),
        (b"full+name=J%C3%BCrgen+X", [(b"full name", b"J\xc3\xbcrgen X")]),
        (b"a%26b=c%3Dd", [(b"a&b", b"c=d")]),
        (b"x[]=1&x[]=2", [(b"x[]", b"1"), (b"x[]", b"2")]),
    ],
)
def test_query_gives_pairs(query, pairs):
    assert query_pairs(query) == pairs


def test_first_value_of_a_name_is_found():
    query = b"aa=0&a=1&a=2&%61b=%33&c+d=4&e&A=5"
    assert [query_get(query, n) for n in (b"a", b"ab", b"c d", b"e", b"A")] == [b"1", b"3", b"4", b"", b"5"]
    assert [query_get(query, n) for n in (b"", b"aaa", b"c+d", b"%61b", b"1")] == [None] * 5
    assert query_get(b"=x", b"") == b"x"


def test_plain_value_is_not_copied():
    assert not query_copies(b"a=1&b=plain-text_~.&c=", b"b")
    assert not query_copies(b"a%62=1", b"ab")
    assert query_copies(b"a=1+2", b"a")
    assert query_copies(b"a=%41", b"a")


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=6))
def test_query_of_python_is_read_back(pairs):
    query = urllib.parse.urlencode(pairs).encode()
    expected = [(k.encode(), v.encode()) for k, v in pairs]
    assert query_pairs(query) == expected
    for key, value in expected:
        assert query_get(query, key) == dict(reversed(expected))[key]
        assert value is not None


@given(st.binary(max_size=64), st.binary(max_size=4))
def test_lookup_agrees_with_the_list(query, name):
    first = next((value for key, value in query_pairs(query) if key == name), None)
    assert query_get(query, name) == first


@pytest.mark.parametrize(
    "field,pairs",
    [
        (b"", []),
        (b"a=1", [(b"a", b"1")]),
        (b"a=1; b=2", [(b"a", b"1"), (b"b", b"2")]),
        (b"a=1;b=2;", [(b"a", b"1"), (b"b", b"2")]),
        (b" a = 1 ;\tb\t=\t2 ", [(b"a", b"1"), (b"b", b"2")]),
        (b'a="1"; b="x y"; c="', [(b"a", b"1"), (b"b", b"x y"), (b"c", b'"')]),
        (b'a=""; b=" 1 "', [(b"a", b""), (b"b", b" 1 ")]),
        (b"a=b=c", [(b"a", b"b=c")]),
        (b"lonely; a=1", [(b"", b"lonely"), (b"a", b"1")]),
        (b"=v; a=", [(b"", b"v"), (b"a", b"")]),
        (b";; ;a=1; ;", [(b"a", b"1")]),
        (b"a=%41+b", [(b"a", b"%41+b")]),
        (b"a=1, b=2", [(b"a", b"1, b=2")]),
    ],
)
def test_cookie_field_gives_pairs(field, pairs):
    """RFC 6265 section 5.4, as lenient as Heart v1."""
    assert cookies(field) == pairs


def test_cookie_is_found_by_exact_name():
    field = b'id=0; sid=1; sid=2; SID=3; quoted="q"'
    assert cookie_get(field, b"sid") == b"1"
    assert cookie_get(field, b"SID") == b"3"
    assert cookie_get(field, b"quoted") == b"q"
    assert cookie_get(field, b"d") is None
    assert cookie_get(b"", b"a") is None


@given(st.binary(max_size=40), st.binary(max_size=3))
def test_cookie_lookup_agrees_with_the_list(field, name):
    assert cookie_get(field, name) == next((value for key, value in cookies(field) if key == name), None)


MULTIPART = b"multipart/form-data"


@pytest.mark.parametrize(
    "field,expected",
    [
        (b"", (None, b"")),
        (b"text/plain", (None, b"")),
        (b"application/json; charset=utf-8", (None, b"")),
        (b"multipart/mixed; boundary=x", (None, b"")),
        (b"application/x-www-form-urlencoded", ("urlencoded", b"")),
        (b" Application/X-WWW-Form-URLencoded ; charset=UTF-8", ("urlencoded", b"")),
        (b"application/x-www-form-urlencodedx", (None, b"")),
        (MULTIPART + b"; boundary=abc", ("multipart", b"abc")),
        (b"Multipart/Form-Data;BOUNDARY=abc", ("multipart", b"abc")),
        (MULTIPART + b'; boundary="a b:c"', ("multipart", b"a b:c")),
        (MULTIPART + b"; charset=utf-8 ; boundary=abc ; x=y", ("multipart", b"abc")),
        (MULTIPART + b"; boundary=abc;", ("multipart", b"abc")),
        (MULTIPART + b"; boundary=----WebKitFormBoundary7MA4YWxk", ("multipart", b"----WebKitFormBoundary7MA4YWxk")),
        (MULTIPART + b"; boundary====a=b/c:d", ("multipart", b"===a=b/c:d")),
        (MULTIPART + b"; boundary=" + b"x" * 70, ("multipart", b"x" * 70)),
        # Announced but not readable.
        (MULTIPART, ("multipart", b"")),
        (MULTIPART + b"; boundary=", ("multipart", b"")),
        (MULTIPART + b'; boundary=""', ("multipart", b"")),
        (MULTIPART + b'; boundary="abc', ("multipart", b"")),
        (MULTIPART + b'; boundary=ab"c', ("multipart", b"")),
        (MULTIPART + b'; boundary="abc"d', ("multipart", b"")),
        (MULTIPART + b'; boundary="abc "', ("multipart", b"")),
        (MULTIPART + b"; boundary=a{b", ("multipart", b"")),
        (MULTIPART + b"; boundary=a\x00b", ("multipart", b"")),
        (MULTIPART + b"; boundary=\xc3\xa9", ("multipart", b"")),
        (MULTIPART + b"; boundary=a; boundary=b", ("multipart", b"")),
        (MULTIPART + b"; boundary=a; boundary=a", ("multipart", b"")),
        (MULTIPART + b"; boundary=a; junk", ("multipart", b"")),
        (MULTIPART + b"; boundary=a; x= ", ("multipart", b"")),
        (MULTIPART + b"; boundary=a; x= ; y=z", ("multipart", b"")),
        (MULTIPART + b"; boundary = a", ("multipart", b"")),
        (MULTIPART + b"; boundary=" + b"x" * 71, ("multipart", b"")),
    ],
)
def test_content_type_gives_form(field, expected):
    """RFC 2046 section 5.1.1: 1 to 70 characters, no space at the end."""
    assert form(field) == expected


@given(st.binary(max_size=80))
def test_any_content_type_stays_in_its_input(field):
    for value in (field, MULTIPART + b";" + field, MULTIPART + b';boundary="' + field):
        kind, boundary = form(value)
        assert len(boundary) <= 70
        assert kind == "multipart" or boundary == b""
