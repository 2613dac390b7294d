# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The HTTP codecs for Python tests. Every input is parsed flush against an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "mem.pxi"
include "http_parse.pxi"
include "http_response.pxi"
include "http_chunk.pxi"
include "guard.pxi"

from collections import namedtuple

cdef enum:
    FIELDS_MAX = 256

Head = namedtuple(
    "Head",
    "size method target path query host content_length headers minor keep_alive chunked expect upgrade asterisk"
    " encoded close seen",
)
Refusal = namedtuple("Refusal", "status why method target")
METHODS = {
    METHOD_GET: "GET", METHOD_HEAD: "HEAD", METHOD_POST: "POST", METHOD_PUT: "PUT", METHOD_DELETE: "DELETE",
    METHOD_CONNECT: "CONNECT", METHOD_OPTIONS: "OPTIONS", METHOD_TRACE: "TRACE", METHOD_PATCH: "PATCH",
}


cdef bytes piece(HttpHead *h, uint32_t at, uint32_t n):
    return inside(Span(h.base, _main_end - h.base), Span(h.base + at, n))


cdef list fields(HttpHead *h):
    cdef Header f
    cdef int i
    result = []
    for i in range(h.nheaders):
        f = h.headers[i]
        result.append((piece(h, f.name, f.name_len), piece(h, f.value, f.value_len), f.id))
    return result


cdef object head(HttpHead *h):
    method = piece(h, 0, h.method_len)
    assert METHODS.get(h.method, method.decode()) == method.decode()
    return Head(
        h.size, method, piece(h, h.target, h.target_len), piece(h, h.path, h.path_len),
        piece(h, h.query, h.query_len), piece(h, h.host, h.host_len), h.content_length, fields(h), h.minor,
        bool(h.flags & HEAD_KEEP_ALIVE), bool(h.flags & HEAD_CHUNKED), bool(h.flags & HEAD_EXPECT_CONTINUE),
        bool(h.flags & HEAD_UPGRADE), bool(h.flags & HEAD_ASTERISK), bool(h.flags & HEAD_ENCODED),
        bool(h.flags & HEAD_CLOSE), h.seen,
    )


cdef int parse_head(HttpHead *h, Header *headers, bytes data, const HttpLimits *lim) except *:
    cdef Span input = guarded(data)
    memset(h, 0xff, sizeof(HttpHead))
    h.headers = headers
    return http_parse(input.p, input.n, h, lim)


def parse(bytes data, uint32_t head_max=16384, uint32_t target_max=8192, uint32_t fields_max=100):
    """A Head, a Refusal, or None when more input is needed."""
    cdef HttpHead h
    cdef Header headers[FIELDS_MAX]
    cdef HttpLimits lim = HttpLimits(head_max, target_max, fields_max)
    cdef int result
    assert fields_max <= FIELDS_MAX
    result = parse_head(&h, headers, data, &lim)
    if result == PARTIAL:
        return None
    if result == OK:
        return head(&h)
    return Refusal(result, h.why.decode(), piece(&h, 0, h.method_len), piece(&h, h.target, h.target_len))


def prefixes(bytes data, uint32_t head_max=16384, uint32_t target_max=8192, uint32_t fields_max=100):
    """What http_parse returns for every prefix of `data`, from empty to whole."""
    cdef HttpHead h
    cdef Header headers[FIELDS_MAX]
    cdef HttpLimits lim = HttpLimits(head_max, target_max, fields_max)
    assert fields_max <= FIELDS_MAX
    return [parse_head(&h, headers, data[:n], &lim) for n in range(len(data) + 1)]


def dechunk(pieces):
    """Decode a body delivered as `pieces`: (event or 400, decoded bytes, bytes consumed).

    The event is "done" or "more"; pieces behind the end are not read.
    """
    cdef ChunkState s
    cdef Span data, input
    cdef size_t used
    cdef int event = CHUNK_MORE
    body = []
    total = 0
    memset(&s, 0, sizeof(s))
    for each in pieces:
        input = guarded(each)
        event = CHUNK_DATA
        while event == CHUNK_DATA:
            event = http_chunk(&s, input.p, input.n, &used, &data)
            assert used <= input.n
            if event == CHUNK_DATA:
                assert data.n and data.p + data.n == input.p + used
                body.append(inside(input, data))
            input = Span(input.p + used, input.n - used)
            total += used
        if event != CHUNK_MORE:
            break
        assert input.n == 0
    return {CHUNK_DONE: "done", CHUNK_MORE: "more"}.get(event, event), b"".join(body), total


Reply = namedtuple("Reply", "size status reason minor content_length keep_alive chunked upgrade fields")


def parse_reply(bytes data, size_t most=65536):
    """http_parse_reply: a Reply, PARTIAL, ERR_LIMIT, or the reason of a refusal."""
    cdef Span input = guarded(data)
    cdef HttpReplyHead h
    cdef Span rest, name, value
    cdef int result
    memset(&h, 0xff, sizeof(h))
    result = http_parse_reply(<char *>input.p, input.n, &h, most)
    if result == ERR_SYSTEM:
        return (<bytes>h.why).decode()
    if result != OK:
        return result
    assert h.size <= input.n
    rest = Span(input.p + h.fields, h.size - h.fields)
    found = []
    while fields_next(&rest, &name, &value):
        found.append((inside(input, name), inside(input, value)))
    return Reply(
        h.size, h.status, inside(input, Span(input.p + h.reason, h.reason_len)), h.minor, h.content_length,
        bool(h.flags & HEAD_KEEP_ALIVE), bool(h.flags & HEAD_CHUNKED), bool(h.flags & HEAD_UPGRADE), found,
    )
