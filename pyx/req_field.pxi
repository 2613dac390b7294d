# The fields of a response, as finished lines in Req.fields. Whatever could break a line is refused here (header
# injection), so that the protocols copy them as they are.

cdef const char *field_fault(Span name, Span value) noexcept nogil:
    """What makes a field unusable (RFC 9110 section 5), or NULL."""
    cdef size_t i
    cdef uint8_t c
    if name.n == 0:
        return b"header name is empty"
    for i in range(name.n):
        if not char_token(<uint8_t>name.p[i]):
            return b"header name has a character that is not allowed"
    for i in range(value.n):
        c = <uint8_t>value.p[i]
        if (c < 32 and c != c'\t') or c == 127:
            return b"header value contains a control character (CR, LF, NUL, ...)"
    return NULL


cdef const char *req_set_field(Req *r, Span name, Span value) noexcept nogil:
    """Set a response field in place of earlier ones of that name. Returns what is wrong with it, or NULL."""
    cdef const char *why = field_fault(name, value)
    if why != NULL:
        return why
    if field_is_ours(r, name, value):
        return NULL
    req_remove_field(r, name)
    return req_put_field(r, name, value)


cdef const char *req_add_field(Req *r, Span name, Span value) noexcept nogil:
    """Add a response field beside earlier ones of that name."""
    cdef const char *why = field_fault(name, value)
    if why != NULL:
        return why
    if field_is_ours(r, name, value):
        return NULL
    return req_put_field(r, name, value)


cdef const char *req_put_field(Req *r, Span name, Span value) noexcept nogil:
    if buf_reserve(&r.fields, name.n + value.n + 4) != OK:
        return b"not enough memory"
    buf_append(&r.fields, name.p, name.n)
    buf_append(&r.fields, b": ", 2)
    buf_append(&r.fields, value.p, value.n)
    buf_append(&r.fields, b"\r\n", 2)
    return NULL


cdef bint field_is_ours(Req *r, Span name, Span value) noexcept nogil:
    """Fields that the engine writes itself. Framing is never the handler's: what it says of it is dropped."""
    if span_same(name, b"content-length", 14) or span_same(name, b"transfer-encoding", 17):
        return True
    if span_same(name, b"connection", 10):
        if span_same(value, b"close", 5):
            r.flags &= ~<uint32_t>REQ_KEEP_ALIVE
        return True
    if span_same(name, b"content-type", 12):
        r.ctype = TYPE_SET
    elif span_same(name, b"date", 4):
        r.flags |= REQ_HAS_DATE
    elif span_same(name, b"server", 6):
        r.flags |= REQ_HAS_SERVER
    return False


cdef void req_remove_field(Req *r, Span name) noexcept nogil:
    cdef char *p = r.fields.p
    cdef char *end = p + r.fields.n
    cdef char *line_end
    while p < end:
        line_end = <char *>memchr(p, c'\n', end - p) + 1
        if <size_t>(line_end - p) > name.n and p[name.n] == c':' and text_same_fold(p, name.p, name.n):
            memmove(p, line_end, end - line_end)
            end -= line_end - p
        else:
            p = line_end
    r.fields.n = end - r.fields.p if r.fields.p != NULL else 0


cdef bint req_has_field(Req *r, Span name) noexcept nogil:
    """Whether a field was set; `name` is in lower case."""
    cdef Span rest = buf_span(&r.fields)
    cdef Span line
    while rest.n:
        line = span_until(&rest, c'\n')
        if line.n > name.n and line.p[name.n] == c':' and span_same(Span(line.p, name.n), name.p, name.n):
            return True
    return False
