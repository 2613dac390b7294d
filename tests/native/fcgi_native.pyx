# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The codecs of FastCGI for Python tests. Inputs end at an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "mem.pxi"
include "http_parse.pxi"
include "fcgi_record.pxi"
include "cgi_head.pxi"
include "guard.pxi"

from collections import namedtuple

Record = namedtuple("Record", "type id length padding")

cdef enum:
    FIELDS = 4096

cdef Header[FIELDS] headers


def parse(bytes data not None):
    """A Record, None when more input is needed, or what is wrong."""
    cdef FcgiRecord x
    cdef Span s = guarded(data)
    cdef int rc = fcgi_record_parse(s.p, s.n, &x)
    if rc == PARTIAL:
        return None
    if rc != OK:
        return x.why.decode()
    return Record(x.type, x.id, x.length, x.padding)


def begin(bytes data not None):
    """(role, flags) of the content of FCGI_BEGIN_REQUEST."""
    cdef uint16_t role
    cdef uint8_t flags
    fcgi_begin_parse(guarded(data).p, &role, &flags)
    return role, flags


def pairs(bytes data not None):
    """The pairs in order; the last element is None if they are cut off."""
    cdef Span s = guarded(data)
    cdef Span rest = s
    cdef Span name, value
    cdef int rc = fcgi_pair_next(&rest, &name, &value)
    found = []
    while rc == OK:
        found.append((inside(s, name), inside(s, value)))
        rc = fcgi_pair_next(&rest, &name, &value)
    return found if rc == ERR_MISSING else [*found, None]


def find(bytes data not None, bytes key not None):
    cdef Span s = guarded(data)
    cdef Span k = guarded_name(key)
    cdef Span value
    return inside(s, value) if fcgi_pair_find(s, k.p, k.n, &value) == OK else None


def put_pair(bytes name not None, bytes value not None):
    cdef bytearray out = bytearray(len(name) + len(value) + 8)
    cdef char *start = out
    return bytes(out[:fcgi_put_pair(start, Span(name, len(name)), Span(value, len(value))) - start])


def put_head(int type_, uint16_t id_, size_t n):
    cdef char out[FCGI_HEAD]
    fcgi_put_head(out, type_, id_, n)
    return out[:FCGI_HEAD]


def put_end(uint16_t id_, uint32_t application, int protocol):
    cdef char out[FCGI_END_SIZE]
    return out[:fcgi_put_end(out, id_, application, protocol) - out]


def put_unknown(uint8_t type_):
    cdef char out[FCGI_END_SIZE]
    return out[:fcgi_put_unknown(out, type_) - out]


def put_values(bytes asked not None, uint64_t places):
    """The whole answer, None if what was asked is malformed."""
    cdef char out[FCGI_VALUES_ROOM]
    cdef size_t n
    cdef Span s = guarded(asked)
    if fcgi_put_values(out, s, places, &n) != OK:
        return None
    assert n <= FCGI_VALUES_ROOM
    return out[:n]


def head(bytes variables not None):
    """The text of the head made of these name-value pairs, or what is wrong."""
    cdef CgiVars v
    cdef Span s = guarded(variables)
    cdef const char *why = b"malformed variables"
    cdef size_t n = 0
    cdef bytearray out = bytearray(cgi_head_room(s))
    cdef char *p = out
    if cgi_read(s, &v) != OK or cgi_head_put(&v, p, &n, &why) != OK:
        return why.decode()
    assert <Py_ssize_t>n <= len(out), "the head is longer than its room"
    return bytes(out[:n])


def client(bytes variables not None):
    """(whether the client speaks TLS, its address, its port)"""
    cdef CgiVars v
    cdef Span s = guarded(variables)
    assert cgi_read(s, &v) == OK
    return bool(cgi_secure(&v)), inside(s, v.address), cgi_port(v.port)


def fields(bytes text not None):
    """What http_parse makes of a head: (method, target, minor, [(name, value)]), or (status, why)."""
    cdef HttpHead h
    cdef HttpLimits limits = HttpLimits(1 << 20, 1 << 20, FIELDS)
    cdef Span s = guarded(text)
    cdef int i, rc
    h.headers = headers
    rc = http_parse(s.p, s.n, &h, &limits)
    if rc == PARTIAL:
        return None
    if rc != OK:
        return rc, h.why.decode()
    assert h.size == s.n
    found = []
    for i in range(h.nheaders):
        found.append((s.p[h.headers[i].name:h.headers[i].name + h.headers[i].name_len],
                      s.p[h.headers[i].value:h.headers[i].value + h.headers[i].value_len]))
    return s.p[:h.method_len], s.p[h.target:h.target + h.target_len], h.minor, found
