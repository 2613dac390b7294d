# Multipart forms: reads a complete multipart/form-data body part by part (RFC 7578, RFC 2046 section 5.1).
#
# Strict where two readers could disagree: CRLF only, no folded lines, one Content-Disposition with one name,
# nothing but padding behind a delimiter, a closing delimiter at the end. Tolerant in what browsers and curl
# differ in: names and filenames in both of their escapes, preamble and epilogue, parts of any other header.
# Every byte is looked at a bounded number of times, whatever the body holds.
# Invariant: the spans of a Part point into the body; nothing is allocated and nothing of the body is changed.
# Not for: limits on the number of parts (the caller counts), bodies that arrive in pieces.

from libc.string cimport memchr

cdef extern from "string.h" nogil:
    void *memmem(const void *p, size_t n, const void *needle, size_t needle_n)

cdef enum:
    MULTIPART_MALFORMED = 400


cdef int multipart_init(Multipart *m, Span body, Span boundary) noexcept nogil:
    """Start to read `body`. Both spans may be of any origin: the boundary is copied. OK, or 400 for a boundary
    that form_type found wanting (it is empty then)."""
    if boundary.n == 0 or boundary.n > BOUNDARY_MAX:
        return MULTIPART_MALFORMED
    m.rest = body
    m.started = False
    m.delimiter_len = <uint8_t>(boundary.n + 4)
    memcpy(m.delimiter, b"\r\n--", 4)
    memcpy(m.delimiter + 4, boundary.p, boundary.n)
    return OK


cdef inline void span_skip(Span *s, size_t n) noexcept nogil:
    s.p += n
    s.n -= n


cdef inline bint span_starts(Span s, const char *p, size_t n) noexcept nogil:
    return s.n >= n and memcmp(s.p, p, n) == 0


cdef int multipart_start(Multipart *m) noexcept nogil:
    """Pass over the preamble and the first delimiter, which has no line before it in most bodies."""
    cdef const char *at
    if span_starts(m.rest, m.delimiter + 2, m.delimiter_len - 2):
        span_skip(&m.rest, m.delimiter_len - 2)
    else:
        at = <const char *>memmem(m.rest.p, m.rest.n, m.delimiter, m.delimiter_len)
        if at == NULL:
            return MULTIPART_MALFORMED
        span_skip(&m.rest, <size_t>(at - m.rest.p) + m.delimiter_len)
    m.started = True
    return OK


cdef bint multipart_closed(Span rest) noexcept nogil:
    """Whether the delimiter that ended before `rest` is the closing one. Behind it come padding and the end of
    the body or of the line; the epilogue is nobody's."""
    if not span_starts(rest, b"--", 2):
        return False
    span_skip(&rest, 2)
    span_skip_padding(&rest)
    return rest.n == 0 or span_starts(rest, b"\r\n", 2)


cdef inline void span_skip_padding(Span *s) noexcept nogil:
    while s.n and (s.p[0] == c' ' or s.p[0] == c'\t'):
        span_skip(s, 1)


cdef int multipart_next(Multipart *m, Part *part) noexcept nogil:
    """Read the next part. Returns a PartEvent, or 400 if the body is malformed; after PART_END and 400 every
    further call returns the same."""
    cdef Span rest
    if not m.started and multipart_start(m) != OK:
        return MULTIPART_MALFORMED
    if multipart_closed(m.rest):
        return PART_END
    rest = m.rest
    span_skip_padding(&rest)
    if not span_starts(rest, b"\r\n", 2):
        return MULTIPART_MALFORMED
    span_skip(&rest, 2)
    if part_read_headers(part, &rest, m) != OK or part_read_data(part, &rest, m) != OK:
        return MULTIPART_MALFORMED
    m.rest = rest
    return PART_NEXT


cdef int part_read_data(Part *part, Span *rest, Multipart *m) noexcept nogil:
    """Find the delimiter behind the data that `rest` starts with. The empty line before the data may be the
    line break of the delimiter at once (RFC 2046 section 5.1.1: the body of a part is optional)."""
    cdef const char *data = rest.p
    cdef const char *at = <const char *>memmem(data - 2, rest.n + 2, m.delimiter, m.delimiter_len)
    if at == NULL:
        return MULTIPART_MALFORMED
    part.data = Span(data, <size_t>(at - data) if at > data else 0)
    rest.n -= <size_t>(at + m.delimiter_len - data)
    rest.p = at + m.delimiter_len
    return OK


cdef int part_read_headers(Part *part, Span *rest, Multipart *m) noexcept nogil:
    """Read the field lines and the empty line behind them. No line may be a delimiter: what starts with one
    can look like a field, and other readers end the part there."""
    cdef const char *start = rest.p
    cdef Span line
    memset(part, 0, sizeof(Part))
    while True:
        if header_line_next(rest, &line) != OK:
            return MULTIPART_MALFORMED
        if line.n == 0:
            break
        if span_starts(line, m.delimiter + 2, m.delimiter_len - 2) or part_read_header(part, line) != OK:
            return MULTIPART_MALFORMED
    part.headers = Span(start, <size_t>(rest.p - start) - 2)
    return OK if part.name.p != NULL else MULTIPART_MALFORMED


cdef int header_line_next(Span *rest, Span *line) noexcept nogil:
    """Take a line off `rest`, without its CRLF. A CR or LF that is no line break, or a NUL, is malformed."""
    cdef const char *at = <const char *>memchr(rest.p, c'\r', rest.n)
    if at == NULL:
        return MULTIPART_MALFORMED
    line[0] = Span(rest.p, <size_t>(at - rest.p))
    span_skip(rest, line.n)
    if not span_starts(rest[0], b"\r\n", 2):
        return MULTIPART_MALFORMED
    span_skip(rest, 2)
    if memchr(line.p, c'\n', line.n) != NULL or memchr(line.p, 0, line.n) != NULL:
        return MULTIPART_MALFORMED
    return OK


cdef int part_read_header(Part *part, Span line) noexcept nogil:
    """Read `name: value`; keep what the part needs of it. A folded line starts with a space, which no name
    does, and is malformed by that."""
    cdef Span name, value
    cdef size_t n = 0
    while n < line.n and char_token(<uint8_t>line.p[n]):
        n += 1
    if n == 0 or n == line.n or line.p[n] != c':':
        return MULTIPART_MALFORMED
    name = Span(line.p, n)
    value = span_trim(Span(line.p + n + 1, line.n - n - 1))
    if span_same(name, b"content-disposition", 19):
        return part_read_disposition(part, value)
    if span_same(name, b"content-type", 12):
        if part.type.p != NULL:
            return MULTIPART_MALFORMED
        part.type = value
    return OK


cdef int part_read_disposition(Part *part, Span value) noexcept nogil:
    """Read `form-data; name="..."; filename="..."` (RFC 7578 section 4.2). Other parameters, `filename*` too,
    say nothing; a second of these two, or no name, is malformed."""
    cdef Span rest = value, key, text
    cdef size_t n = 0
    while n < rest.n and rest.p[n] != c';':
        n += 1
    if part.name.p != NULL or not span_same(span_trim(Span(rest.p, n)), b"form-data", 9):
        return MULTIPART_MALFORMED
    span_skip(&rest, n)
    while parameter_next(&rest, &key, &text):
        if span_same(key, b"name", 4):
            if part.name.p != NULL:
                return MULTIPART_MALFORMED
            part.name = text
        elif span_same(key, b"filename", 8):
            if part.filename.p != NULL:
                return MULTIPART_MALFORMED
            part.filename = text
    return OK if rest.n == 0 and part.name.p != NULL else MULTIPART_MALFORMED


# ---- Values ----------------------------------------------------------------------------------------------

cdef uint8_t multipart_char(Span raw, size_t *i) noexcept nogil:
    """Decode the character at `i` of a name or filename and step over it. curl and mail programs write `\\"` and
    `\\\\`; browsers write %22, %0D and %0A, and no other escape, so that "%41" is text."""
    cdef const char *p = raw.p + i[0]
    cdef size_t left = raw.n - i[0]
    cdef int high, low, c
    i[0] += 1
    if p[0] == c'\\' and left > 1 and (p[1] == c'"' or p[1] == c'\\'):
        i[0] += 1
        return <uint8_t>p[1]
    if p[0] == c'%' and left > 2:
        high = hex_digit(<uint8_t>p[1])
        low = hex_digit(<uint8_t>p[2])
        c = high << 4 | low if high >= 0 and low >= 0 else 0
        if c == c'"' or c == c'\r' or c == c'\n':
            i[0] += 2
            return <uint8_t>c
    return <uint8_t>p[0]


cdef size_t multipart_unescape(Span raw, char *out) noexcept nogil:
    """Write the text of a name or filename to `out`, which has room for raw.n bytes; returns its length."""
    cdef size_t i = 0, n = 0
    while i < raw.n:
        out[n] = <char>multipart_char(raw, &i)
        n += 1
    return n


cdef bint multipart_same(Span raw, Span text) noexcept nogil:
    """Whether the name `raw` is the text `text`."""
    cdef size_t i = 0, k = 0
    while i < raw.n:
        if k == text.n or multipart_char(raw, &i) != <uint8_t>text.p[k]:
            return False
        k += 1
    return k == text.n


cdef int multipart_find(Span body, Span boundary, Span name, Span *value) noexcept nogil:
    """The data of the first part of that name that is no file; a part with an empty filename is none. OK,
    ERR_MISSING, or 400 if the body is malformed before such a part."""
    cdef Multipart m
    cdef Part part
    cdef int event = multipart_init(&m, body, boundary)
    if event != OK:
        return event
    event = multipart_next(&m, &part)
    while event == PART_NEXT:
        if part.filename.n == 0 and multipart_same(part.name, name):
            value[0] = part.data
            return OK
        event = multipart_next(&m, &part)
    return event if event != PART_END else ERR_MISSING
