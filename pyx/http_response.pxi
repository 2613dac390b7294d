# The head of a response, for clients: bytes in, framing out (RFC 9110, RFC 9112). Field lines are checked here and
# found again by fields_next when somebody asks for them.
# It is more patient than the parser of requests where that cannot change what the message means: lines may end in a
# bare LF, a folded line is unfolded in place, equal lengths may be repeated, the reason may be missing.
# Invariants: no byte at or after p + n is read; a prefix is PARTIAL or has the refusal of the whole.
# Not for requests (http_parse), nor bodies (http_chunk).

# A place in the bytes of a head, while it is parsed.
ctypedef struct ReplyCursor:
    char *q
    char *end


cdef int http_parse_reply(char *p, size_t n, HttpReplyHead *h, size_t most) noexcept nogil:
    """Parse the head that starts at `p`. Folded lines are joined, in place.

    Returns OK with `h` filled; PARTIAL when more is needed (call again from the start, with more); ERR_LIMIT for a
    head of more than `most` bytes; ERR_SYSTEM, with `h.why`, for what is no such head."""
    cdef ReplyCursor at
    cdef int result
    at.q = p
    at.end = p + min(n, most)
    memset(h, 0, sizeof(HttpReplyHead))
    h.content_length = -1
    result = reply_status_line(h, &at, p)
    h.fields = <uint32_t>(at.q - p)
    while result == OK and at.q < at.end and at.q[0] != c'\r' and at.q[0] != c'\n':
        result = reply_field(h, &at)
    if result == OK:
        result = reply_line_end(h, &at)
    if result == PARTIAL and n > most:
        return ERR_LIMIT
    if result == OK:
        h.size = <uint32_t>(at.q - p)
        reply_settle(h)
    return result


cdef inline int reply_refuse(HttpReplyHead *h, const char *why) noexcept nogil:
    h.why = why
    return ERR_SYSTEM


cdef int reply_line_end(HttpReplyHead *h, ReplyCursor *at) noexcept nogil:
    """CRLF or LF."""
    if at.q == at.end:
        return PARTIAL
    if at.q[0] == c'\r':
        if at.q + 1 == at.end:
            return PARTIAL
        if at.q[1] != c'\n':
            return reply_refuse(h, b"bare CR")
        at.q += 1
    elif at.q[0] != c'\n':
        return reply_refuse(h, b"control character")
    at.q += 1
    return OK


cdef int reply_status_line(HttpReplyHead *h, ReplyCursor *at, char *p) noexcept nogil:
    """HTTP/1.x SP 3DIGIT [SP reason] (RFC 9112 section 4)"""
    cdef const char *form = b"HTTP/1.0 000"
    cdef char *reason
    cdef int i
    for i in range(12):
        if p + i == at.end:
            return PARTIAL
        if not (char_digit(p[i]) if form[i] == c'0' else p[i] == form[i]):
            return reply_refuse(h, b"not HTTP/1")
    h.minor = p[7] != c'0'
    h.status = (p[9] - c'0') * 100 + (p[10] - c'0') * 10 + (p[11] - c'0')
    if h.status < 100:
        return reply_refuse(h, b"malformed status")
    at.q = p + 12
    if at.q < at.end and at.q[0] == c' ':
        reason = at.q + 1
        at.q = <char *>text_end(reason, at.end)
        h.reason = <uint32_t>(reason - p)
        h.reason_len = <uint32_t>(at.q - reason)
    return reply_line_end(h, at)


cdef int reply_field(HttpReplyHead *h, ReplyCursor *at) noexcept nogil:
    """One field line, with the lines folded into it."""
    cdef char *name = at.q
    cdef char *colon = <char *>token_end(name, at.end)
    cdef char *value
    cdef char *line
    cdef int result
    if colon == at.end:
        return PARTIAL
    if colon[0] != c':' or colon == name:
        return reply_refuse(h, b"malformed field name")
    at.q = colon + 1
    while True:
        value = <char *>blank_end(colon + 1, at.end)
        at.q = <char *>text_end(at.q, at.end)
        line = at.q
        result = reply_line_end(h, at)
        if result != OK:
            return result
        if at.q == at.end:
            return PARTIAL
        if not char_blank(at.q[0]):
            break
        memset(line, c' ', <size_t>(at.q - line))
    return reply_judge(h, Span(name, <size_t>(colon - name)), Span(value, <size_t>(blank_start(value, line) - value)))


cdef int reply_judge(HttpReplyHead *h, Span name, Span value) noexcept nogil:
    """Take in a field that frames the message. The flags are those of a request head."""
    cdef HttpHead other
    cdef uint8_t id = field_find(name.p, name.n)
    if id == HEADER_CONNECTION:
        other.flags = 0
        field_connection(&other, value)
        h.flags |= other.flags
    elif id == HEADER_CONTENT_LENGTH:
        return reply_length(h, value)
    elif id == HEADER_TRANSFER_ENCODING:
        if not span_same(value, b"chunked", 7) and not span_same(value, b"identity", 8):
            return reply_refuse(h, b"unknown transfer coding")
        if h.flags & HEAD_CHUNKED:
            return reply_refuse(h, b"repeated transfer coding")
        if span_same(value, b"chunked", 7):
            h.flags |= HEAD_CHUNKED
    return OK


cdef int reply_length(HttpReplyHead *h, Span value) noexcept nogil:
    """1*DIGIT; the same number again, in a list or in another field, may be merged (RFC 9110 section 8.6)."""
    cdef HttpHead other
    cdef const char *comma
    cdef Span one
    while True:
        comma = <const char *>memchr(value.p, c',', value.n)
        one = Span(value.p, value.n if comma == NULL else <size_t>(comma - value.p))
        one.n = <size_t>(blank_start(one.p, one.p + one.n) - one.p)
        other.content_length = -1
        if field_length(&other, one, False) != OK:
            return reply_refuse(h, b"malformed Content-Length")
        if h.content_length >= 0 and h.content_length != other.content_length:
            return reply_refuse(h, b"contradictory Content-Length")
        h.content_length = other.content_length
        if comma == NULL:
            return OK
        one.p = blank_end(comma + 1, value.p + value.n)
        value.n -= <size_t>(one.p - value.p)
        value.p = one.p


cdef void reply_settle(HttpReplyHead *h) noexcept nogil:
    """Judge what only the complete head can tell (RFC 9112 sections 6.3 and 9.3). A message that is framed in two ways
    is the last one of its connection."""
    cdef bint close_ = h.flags & HEAD_CLOSE != 0
    if h.flags & HEAD_CHUNKED and (h.content_length >= 0 or h.minor == 0):
        h.content_length = -1
        close_ = True
    if h.minor and not close_:
        h.flags |= HEAD_KEEP_ALIVE
    elif close_:
        h.flags &= ~<uint32_t>HEAD_KEEP_ALIVE


cdef bint fields_next(Span *rest, Span *name, Span *value) noexcept nogil:
    """Take the next field line off `rest`, the field lines of a head that was parsed, up to its empty line. False:
    there is none."""
    cdef const char *p = rest.p
    cdef const char *end = p + rest.n
    cdef const char *q = token_end(p, end)
    if q == p or q == end:
        return False
    name[0] = Span(p, <size_t>(q - p))
    p = blank_end(q + 1, end)
    q = <const char *>memchr(p, c'\n', <size_t>(end - p))
    if q == NULL:
        return False
    rest[0] = Span(q + 1, <size_t>(end - q - 1))
    if q > p and (q - 1)[0] == c'\r':
        q -= 1
    value[0] = Span(p, <size_t>(blank_start(p, q) - p))
    return True
