# Parts of a representation: Range, Content-Range and multipart/byteranges (RFC 9110 section 14). A codec: no socket, no
# Lua, no allocation.
#
# A request for parts may always be answered with the whole (section 14.2). That happens to what is malformed or in
# another unit, and to what would cost more than the whole: too many ranges, or more bytes in all than there are, as
# overlapping ranges ask for.

cdef enum:
    CONTENT_RANGE_MAX = 96      # bytes of a Content-Range line, at most
    PART_HEAD_MAX = 384         # bytes of the head of a part, with a media type from the table


cdef inline int64_t position_read(Span *s) noexcept nogil:
    """Take the digits off the beginning of `s`; what is too large is INT64_MAX. -1: there is none."""
    cdef int64_t v = -1
    cdef int digit
    while s.n and char_digit(s.p[0]):
        digit = s.p[0] - c'0'
        v = 0 if v < 0 else v
        v = v * 10 + digit if v <= (INT64_MAX - digit) // 10 else INT64_MAX
        s.p += 1
        s.n -= 1
    return v


cdef bint range_read(Span s, int64_t size, ByteRange *out) noexcept nogil:
    """Read `first-last`, `first-` or `-length` (section 14.1.1). False: malformed. out.n is 0 if it is not satisfiable:
    it begins behind the end, or asks for the last 0 bytes."""
    cdef int64_t first = position_read(&s)
    cdef int64_t last
    if s.n == 0 or s.p[0] != c'-':
        return False
    s = Span(s.p + 1, s.n - 1)
    last = position_read(&s)
    if s.n or (first < 0 and last < 0) or (last >= 0 and first > last):
        return False
    if first < 0:                       # so many bytes at the end
        out.n = last if last < size else size
        out.at = size - out.n
        return True
    if last < 0 or last >= size:
        last = size - 1
    out.at = first
    out.n = last - first + 1 if first < size else 0
    return True


cdef int ranges_read(Span value, int64_t size, ByteRange *out) noexcept nogil:
    """The satisfiable ranges of a Range field for a representation of `size` bytes, in the order of the field, at most
    RANGES_MAX. Returns their number; 0: there is none, which is answered with 416; -1: send the whole."""
    cdef int64_t left = size
    cdef ByteRange found
    cdef Span part
    cdef int n = 0
    cdef bint any_ = False
    if value.n < 6 or not span_same(Span(value.p, 6), b"bytes=", 6):
        return -1
    value = Span(value.p + 6, value.n - 6)
    while value.n:
        part = span_trim(span_until(&value, c','))
        if part.n == 0:                 # section 5.6.1.2
            continue
        if not range_read(part, size, &found):
            return -1
        any_ = True
        if found.n == 0:
            continue
        if n == RANGES_MAX or found.n > left:
            return -1
        left -= found.n
        out[n] = found
        n += 1
    return n if any_ and size else -1   # nothing can be cut from an empty one, whose whole costs nothing


cdef char *put_content_range(char *p, ByteRange r, int64_t size) noexcept nogil:
    """Write the line that says which part this is; of none (r.n is 0), how many bytes there are."""
    p = put_bytes(p, b"Content-Range: bytes ", 21)
    if r.n == 0:
        p[0] = c'*'
        p += 1
    else:
        p += put_decimal(p, <uint64_t>r.at)
        p[0] = c'-'
        p += 1 + put_decimal(p + 1, <uint64_t>(r.at + r.n - 1))
    p[0] = c'/'
    p += 1 + put_decimal(p + 1, <uint64_t>size)
    return put_bytes(p, b"\r\n", 2)


cdef char *put_part_head(char *p, const FileParts *x, int i, Span mime) noexcept nogil:
    """Write what stands before part `i`, at most PART_HEAD_MAX bytes; behind the last part, the end."""
    if i:
        p = put_bytes(p, b"\r\n", 2)
    p = put_bytes(p, b"--", 2)
    p = put_bytes(p, x.boundary, RANGE_BOUNDARY)
    if i == x.n:
        return put_bytes(p, b"--\r\n", 4)
    p = put_bytes(p, b"\r\nContent-Type: ", 16)
    p = put_bytes(p, mime.p, mime.n)
    p = put_bytes(p, b"\r\n", 2)
    p = put_content_range(p, x.ranges[i], x.size)
    return put_bytes(p, b"\r\n", 2)


cdef int64_t parts_length(const FileParts *x, Span mime) noexcept nogil:
    """Bytes of all parts with their heads."""
    cdef char head[PART_HEAD_MAX]
    cdef int64_t n = 0
    cdef int i
    for i in range(x.n + 1):
        n += put_part_head(head, x, i, mime) - &head[0]
        if i < x.n:
            n += x.ranges[i].n
    return n
