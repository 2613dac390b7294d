"""url: queries, cookies and Content-Type as a second reading in Python has them."""

import re
import urllib.parse

from forms_native import cookie_get, cookies, decode, form, query_get, query_pairs

MAX_LEN = 256
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
PARAMETER = re.compile(rb'[ \t]*;[ \t]*(%b)=(?:"((?:\\["\\]|\\(?!["\\])|[^"\\])*)"|([^";]*[^"; \t]))[ \t]*' % TOKEN)
BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


def first(pairs, name):
    return next((value for key, value in pairs if key == name), None)


def form_text(raw):
    return urllib.parse.unquote_to_bytes(raw.replace(b"+", b" "))


def read_query(query):
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    return [(form_text(name), form_text(value)) for name, _, value in pairs]


def read_cookies(field):
    pairs = []
    for pair in field.split(b";"):
        pair = pair.strip(b" \t")
        name, equals, value = pair.partition(b"=") if b"=" in pair else (b"", b"", pair)
        value = value.strip(b" \t")
        if len(value) > 1 and value[:1] == value[-1:] == b'"':
            value = value[1:-1]
        if pair:
            pairs.append((name.strip(b" \t"), value))
    return pairs


def read_form(field):
    kind, semicolon, rest = field.partition(b";")
    kind = kind.strip(b" \t").lower()
    if kind == b"application/x-www-form-urlencoded":
        return "urlencoded", b""
    if kind != b"multipart/form-data":
        return None, b""
    rest, at, boundaries = semicolon + rest, 0, []
    while found := PARAMETER.match(rest, at):
        at = found.end()
        if found[1].lower() == b"boundary":
            boundaries.append(found[2] if found[3] is None else found[3].strip(b" \t"))
    if rest[at:].strip(b" \t") in (b"", b";") and len(boundaries) == 1 and BOUNDARY.fullmatch(boundaries[0]):
        return "multipart", boundaries[0]
    return "multipart", b""


def fuzz_one(data):
    assert decode(data) == urllib.parse.unquote_to_bytes(data)
    assert decode(data, True) == form_text(data)
    pairs = query_pairs(data)
    assert pairs == read_query(data)
    name = data[:2]
    assert query_get(data, name) == first(pairs, name)
    pairs = cookies(data)
    assert pairs == read_cookies(data)
    assert cookie_get(data, name) == first(pairs, name)
    for field in (data, b"multipart/form-data;" + data):
        assert form(field) == read_form(field)
