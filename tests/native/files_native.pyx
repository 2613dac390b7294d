# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The codecs of requests for files, for Python tests: codings, conditions, ranges. Texts end at an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "c/linux.pxd"
include "mem.pxi"
include "http_parse.pxi"
include "url.pxi"
include "http_date.pxi"
include "http_accept.pxi"
include "http_condition.pxi"
include "http_range.pxi"
include "guard.pxi"

CODING_NAMES = ["identity", "br", "zstd", "gzip"]


def codings(lines):
    """The names of the codings that a client with these lines of Accept-Encoding takes, the best first."""
    cdef Weights weights
    cdef Codings found
    accept_begin(&weights)
    for line in lines:
        accept_read(guarded(line), &weights)
    accept_order(&weights, &found)
    return [CODING_NAMES[found.order[i]] for i in range(found.n)]


def ranges(bytes value not None, int64_t size):
    """[(at, n)] for a Range field; None: the whole is sent."""
    cdef ByteRange out[RANGES_MAX]
    cdef int n = ranges_read(guarded(value), size, out)
    return None if n < 0 else [(out[i].at, out[i].n) for i in range(n)]


def content_range(int64_t at, int64_t n, int64_t size):
    cdef char out[CONTENT_RANGE_MAX]
    return out[:put_content_range(out, ByteRange(at, n), size) - &out[0]]


def parts(list wanted not None, int64_t size, bytes mime not None, bytes boundary not None):
    """(what stands before each part and at the end, bytes of all)."""
    cdef FileParts x
    cdef char out[PART_HEAD_MAX]
    cdef Span m = guarded(mime)
    cdef list heads = []
    cdef int i
    x.size = size
    x.n = len(wanted)
    for i, (at, n) in enumerate(wanted):
        x.ranges[i] = ByteRange(at, n)
    memcpy(x.boundary, <const char *>boundary, RANGE_BOUNDARY)
    for i in range(x.n + 1):
        heads.append(out[:put_part_head(out, &x, i, m) - &out[0]])
    return heads, parts_length(&x, m)


def etag(uint64_t tag, bint recent=False):
    cdef char out[ETAG_MAX]
    cdef FileVersion v = FileVersion(tag, 0, recent)
    return out[:etag_put(out, &v)]


def tags(bytes value not None):
    """[(tag, whether it is weak)] of a list, up to where it is malformed."""
    cdef Span s = guarded(value)
    cdef Span rest = s, tag
    cdef bint weak
    cdef list found = []
    while etag_next(&rest, &tag, &weak):
        found.append((inside(s, tag), bool(weak)))
    return found


def ask(bytes head not None, uint64_t tag, int64_t mtime, bint recent=False):
    """(status, value of a Range that is to be heeded or None, names of codings) for the head of a request."""
    cdef Header headers[32]
    cdef HttpHead h
    cdef HttpLimits limits = HttpLimits(1 << 20, 1 << 20, 32)
    cdef FileVersion v = FileVersion(tag, mtime, recent)
    cdef Ask a
    cdef Codings found
    cdef Span s = guarded(head)
    h.headers = headers
    if http_parse(s.p, s.n, &h, &limits) != OK:
        raise ValueError(head)
    ask_read(&h, &a)
    ask_codings(&a, &found)
    return (ask_judge(&a, &v), inside(s, ask_range(&a, &v)), [CODING_NAMES[found.order[i]] for i in range(found.n)])
