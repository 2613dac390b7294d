# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The codecs of queries, cookies and forms for Python tests. Inputs lie flush against an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "mem.pxi"
include "url.pxi"
include "multipart.pxi"
include "guard.pxi"

FORMS = {FORM_NONE: None, FORM_URLENCODED: "urlencoded", FORM_MULTIPART: "multipart"}


def decode(bytes data, bint plus=False):
    """url_decode into room of exactly the length of the input, and in place: both must agree."""
    cdef Span raw = guarded(data)
    cdef Span out = guarded_name(data)
    n = url_decode(raw.p, raw.n, <char *>out.p, plus)
    result = out.p[:n]
    assert url_decode(raw.p, raw.n, <char *>raw.p, plus) == n and raw.p[:n] == result
    return result


def query_pairs(bytes data):
    """All pairs, decoded."""
    cdef Span whole = guarded(data), rest = whole, name, value, text
    cdef Buf scratch
    memset(&scratch, 0, sizeof(Buf))
    pairs = []
    while query_next(&rest, &name, &value):
        inside(whole, name), inside(whole, value)
        assert url_unescape(name, &scratch, &text) == OK
        key = text.p[:text.n]
        assert url_unescape(value, &scratch, &text) == OK
        pairs.append((key, text.p[:text.n]))
    buf_free(&scratch)
    return pairs


def query_get(bytes data, bytes name):
    """The decoded value, None if there is none."""
    cdef Span value
    cdef Buf scratch
    memset(&scratch, 0, sizeof(Buf))
    found = query_find(guarded(data), guarded_name(name), &scratch, &value) == OK
    result = value.p[:value.n] if found else None
    buf_free(&scratch)
    return result


def query_copies(bytes data, bytes name):
    """Whether the value had to be copied to be decoded."""
    cdef Span value
    cdef Buf scratch
    memset(&scratch, 0, sizeof(Buf))
    assert query_find(guarded(data), guarded_name(name), &scratch, &value) == OK
    copied = scratch.cap != 0
    buf_free(&scratch)
    return copied


def cookies(bytes data):
    """All pairs of a Cookie field."""
    cdef Span whole = guarded(data), rest = whole, name, value
    pairs = []
    while cookie_next(&rest, &name, &value):
        pairs.append((inside(whole, name), inside(whole, value)))
    return pairs


def cookie_get(bytes data, bytes name):
    """The value of one cookie, None if there is none."""
    cdef Span whole = guarded(data), value
    return inside(whole, value) if cookie_find(whole, guarded_name(name), &value) == OK else None


def form(bytes data):
    """(type, boundary) of a Content-Type."""
    cdef Span whole = guarded(data), boundary
    kind = form_type(whole, &boundary)
    return FORMS[kind], inside(whole, boundary)


def parts(bytes data, bytes boundary):
    """A list of dicts of all parts; ValueError if the body is malformed."""
    cdef Span body = guarded(data)
    cdef Multipart m
    cdef Part part
    found = []
    if multipart_init(&m, body, guarded_name(boundary)) != OK:
        raise ValueError("boundary")
    event = multipart_next(&m, &part)
    while event == PART_NEXT:
        found.append({
            "name": inside(body, part.name), "filename": inside(body, part.filename),
            "type": inside(body, part.type), "headers": inside(body, part.headers),
            "data": inside(body, part.data),
        })
        event = multipart_next(&m, &part)
    assert multipart_next(&m, &part) == event
    if event != PART_END:
        raise ValueError(event)
    return found


def part_get(bytes data, bytes boundary, bytes name):
    """The data of a field, None if there is none; ValueError if the body is malformed."""
    cdef Span body = guarded(data), value
    # The name must not take the place of the boundary.
    rc = multipart_find(body, Span(boundary, len(boundary)), guarded_name(name), &value)
    if rc > 0:
        raise ValueError(rc)
    return inside(body, value) if rc == OK else None


def unescape(bytes raw):
    """The text of a name or filename."""
    cdef Span s = guarded(raw), out = guarded_name(raw)
    return out.p[:multipart_unescape(s, <char *>out.p)]
