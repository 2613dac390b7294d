# Replies over FastCGI: the output half of the protocol table FCGI (fcgi.pxi). A reply is a stream of records: its head
# in the form of RFC 3875 section 6, which always has a Status, then its body; then the end of the request.
# Content-Length is sent where the length is known, and nothing else that frames a message or dates it: that is for the
# web server to say.

cdef enum:
    FCGI_ENDING = 32            # bytes behind a body, at most: the ends of two streams and of the request

cdef const char *FCGI_ZEROS = b"\0\0\0\0\0\0\0\0"


# ---- Records ---------------------------------------------------------------------------------------------

cdef int fcgi_write(Worker *w, Conn *c, int type_, uint16_t id, const char *p, size_t n) noexcept nogil:
    """Bytes of a stream, in as many records as they need. OK or ERR_CLOSED."""
    cdef char head[FCGI_HEAD]
    cdef size_t part
    while n:
        part = n if n < FCGI_CONTENT_MAX else FCGI_CONTENT_MAX
        fcgi_put_head(head, type_, id, part)
        if conn_write(w, c, head, FCGI_HEAD) != OK or conn_write(w, c, p, part) != OK:
            return ERR_CLOSED
        if fcgi_padding(part) and conn_write(w, c, FCGI_ZEROS, fcgi_padding(part)) != OK:
            return ERR_CLOSED
        p += part
        n -= part
    return OK


cdef Buf *fcgi_out(Worker *w, Conn *c, size_t room) noexcept nogil:
    """Where `room` bytes of output can be written now; NULL: the connection is closed."""
    cdef Buf *b
    if w.current == c and w.out.n > OUT_BATCH:
        conn_flush(w, c)
    if c.flags & CONN_DEAD:
        return NULL
    b = conn_out(w, c)
    if unlikely(buf_reserve(b, room) != OK):
        conn_close(w, c)
        return NULL
    return b


cdef void fcgi_split(Buf *b, size_t at, int type_, uint16_t id) noexcept nogil:
    """What lies in the buffer behind room for a header at `at` becomes a record, or several: then there is room for
    FCGI_HEAD bytes more in the buffer for each."""
    cdef size_t n = b.n - at - FCGI_HEAD
    cdef size_t more = (n - 1) // FCGI_CONTENT_MAX
    cdef size_t i = more
    cdef size_t part = n - more * FCGI_CONTENT_MAX
    cdef char *start = b.p + at
    cdef char *to
    b.n += more * FCGI_HEAD
    while True:
        to = start + i * (FCGI_HEAD + FCGI_CONTENT_MAX)
        if i:
            memmove(to + FCGI_HEAD, start + FCGI_HEAD + i * FCGI_CONTENT_MAX, part)
        fcgi_put_head(to, type_, id, part)
        if i == 0:
            break
        part = FCGI_CONTENT_MAX
        i -= 1
    part = fcgi_padding(n - more * FCGI_CONTENT_MAX)
    memset(b.p + b.n, 0, part)
    b.n += part


cdef int fcgi_end(Worker *w, Conn *c, Req *r, uint32_t application, int protocol) noexcept nogil:
    """FCGI_END_REQUEST. OK or ERR_CLOSED."""
    cdef char answer[FCGI_END_SIZE]
    fcgi_put_end(answer, r.id, application, protocol)
    return conn_write(w, c, answer, FCGI_END_SIZE)


# ---- The protocol's own answers --------------------------------------------------------------------------

cdef int fcgi_decline(Worker *w, Conn *c, Fcgi *f, int status) noexcept nogil:
    """A request that is not begun."""
    cdef char answer[FCGI_END_SIZE]
    log_refusal(w, c.address, 503, b"a FastCGI request with an unknown role" if status == FCGI_UNKNOWN_ROLE
                else b"too many FastCGI requests at once (--max-connections), or the server ends")
    fcgi_put_end(answer, f.id, 0, status)
    if conn_write(w, c, answer, FCGI_END_SIZE) != OK:
        return ERR_CLOSED
    fcgi_rest(w, c, f, False)
    return OK


cdef int fcgi_tell_values(Worker *w, Conn *c, Span asked) noexcept nogil:
    cdef char answer[FCGI_VALUES_ROOM]
    cdef size_t n
    cdef uint64_t places = <uint64_t>w.server.limits.connections * w.server.nworkers
    if fcgi_put_values(answer, asked, places, &n) != OK:
        return <int>fcgi_fault(w, c, b"malformed FCGI_GET_VALUES")
    return conn_write(w, c, answer, n)


cdef void fcgi_refuse(Worker *w, Conn *c, Fcgi *f, Req *r, int status, const char *why) noexcept nogil:
    """Answer what is no valid request, or more than a limit allows; `why` is for the log."""
    cdef Buf *text = &w.scratch_text
    cdef Buf *b
    cdef size_t at
    cdef char *p
    log_refusal(w, r.address, status, why)
    b = fcgi_out(w, c, 2 * HEAD_FIXED)
    if b == NULL:
        return
    text.n = 0
    put_status_text(text, status)
    at = b.n
    p = fcgi_put_status(b.p + at + FCGI_HEAD, status)
    p = put_content_type(p, TYPE_TEXT, buf_span(text))
    p = put_content_length(p, <int64_t>text.n)
    p = put_bytes(p, b"\r\n", 2)
    p = put_bytes(p, text.p, text.n)
    b.n = p - b.p
    fcgi_split(b, at, FCGI_STDOUT, r.id)
    p = fcgi_put_head(b.p + b.n, FCGI_STDOUT, r.id, 0)
    p = fcgi_put_end(p, r.id, 0, FCGI_COMPLETE)
    b.n = p - b.p
    fcgi_remove(w, f, r)
    req_recycle(w, r)
    fcgi_rest(w, c, f, False)


cdef void fcgi_refuse_body(Worker *w, Req *r, int status) noexcept nogil:
    """Refuse a request whose head was fine: 400 (not as long as announced), 408, 413. A handler that reads is told."""
    if r.coro != NULL:
        if r.flags & REQ_READING:
            lua_fail_body(w, r, b"timeout")
        return
    r.flags |= REQ_HELD
    r.status = status
    r.ctype = TYPE_TEXT
    r.fields.n = 0
    w.scratch_text.n = 0
    put_status_text(&w.scratch_text, status)
    req_reply(w, r, buf_span(&w.scratch_text))
    req_finish(w, r)


# ---- Replies ---------------------------------------------------------------------------------------------

cdef inline char *fcgi_put_status(char *p, int status) noexcept nogil:
    cdef Span reason
    if likely(status == 200):
        return put_bytes(p, b"Status: 200 OK\r\n", 16)
    p = put_bytes(p, b"Status: ", 8)
    p += put_decimal(p, status)
    p[0] = c' '
    reason = status_reason(status)
    p = put_bytes(p + 1, reason.p, reason.n)
    return put_bytes(p, b"\r\n", 2)


cdef int fcgi_reply_head(Worker *w, Req *r, int64_t length) noexcept nogil:
    cdef Conn *c = r.conn
    cdef Buf *b
    cdef size_t at
    cdef char *p
    if unlikely(r.fields.n):
        req_remove_field(r, Span(b"status", 6))
    b = fcgi_out(w, c, 2 * HEAD_FIXED + r.fields.n + r.mime.n + r.fields.n // 64)
    if b == NULL:
        return ERR_CLOSED
    at = b.n
    p = fcgi_put_status(b.p + at + FCGI_HEAD, r.status)
    p = put_content_type(p, r.ctype, r.mime)
    if unlikely(r.fields.n):
        p = put_bytes(p, r.fields.p, r.fields.n)
    if not status_has_body(r.status):
        r.flags |= REQ_NO_BODY
    elif length >= 0:
        p = put_content_length(p, length)
    else:
        r.flags |= REQ_CHUNKED_REPLY
    p = put_bytes(p, b"\r\n", 2)
    b.n = p - b.p
    fcgi_split(b, at, FCGI_STDOUT, r.id)
    r.flags |= REQ_HEAD_SENT
    return OK


cdef int fcgi_reply_body(Worker *w, Req *r, const char *p, size_t n) noexcept nogil:
    cdef Buf *b
    cdef char *q
    if r.flags & REQ_NO_BODY or n == 0:
        return OK
    r.sent += n
    if n >= OUT_DIRECT:
        return fcgi_write(w, r.conn, FCGI_STDOUT, r.id, p, n)
    b = fcgi_out(w, r.conn, FCGI_HEAD + n + FCGI_ALIGN)
    if b == NULL:
        return ERR_CLOSED
    q = put_bytes(fcgi_put_head(b.p + b.n, FCGI_STDOUT, r.id, n), p, n)
    memset(q, 0, fcgi_padding(n))
    b.n += FCGI_HEAD + n + fcgi_padding(n)
    return OK


cdef void fcgi_reply_end(Worker *w, Req *r) noexcept nogil:
    """The response is complete: its streams end, and the request."""
    cdef Conn *c = r.conn
    cdef Fcgi *f = conn_fcgi(c)
    cdef Buf *b = fcgi_out(w, c, FCGI_ENDING)
    cdef char *p
    if b == NULL:
        return
    p = fcgi_put_head(b.p + b.n, FCGI_STDOUT, r.id, 0)
    if unlikely(r.flags & REQ_ERRORS):
        p = fcgi_put_head(p, FCGI_STDERR, r.id, 0)
    p = fcgi_put_end(p, r.id, 0, FCGI_COMPLETE)
    b.n = p - b.p
    fcgi_remove(w, f, r)
    fcgi_rest(w, c, f, r.flags & (REQ_BODY_DONE | REQ_BODY_SEEN) != 0)


cdef void fcgi_abort(Worker *w, Req *r) noexcept nogil:
    """The answer will not come, or not the rest of it. The web server sees that it is too short, if its length was
    announced; else only the end of the connection tells that, and takes with it the other requests."""
    cdef Conn *c = r.conn
    cdef Fcgi *f
    if c == NULL:
        return
    if r.flags & REQ_HEAD_SENT and r.flags & REQ_CHUNKED_REPLY:
        if w.current == c or c.out.n:
            conn_flush(w, c)
        conn_reset(w, c)
        return
    if fcgi_end(w, c, r, 1, FCGI_COMPLETE) != OK:
        return
    f = conn_fcgi(c)
    fcgi_remove(w, f, r)
    fcgi_leave(w, r)
    fcgi_rest(w, c, f, False)


cdef void fcgi_rest(Worker *w, Conn *c, Fcgi *f, bint whole) noexcept nogil:
    """A request has ended, `whole` if all its input was seen: close after the last one, or wait for the next."""
    if f.n == 0:
        f.due = 0
        if f.last:
            c.flags |= CONN_CLOSING if whole else CONN_CLOSING | CONN_LINGER
        elif c.flags & CONN_BLOCKED:
            c.flags |= CONN_PUMP            # its time begins when all is sent
        elif not c.flags & CONN_MORE:
            conn_idle(w, c)
    fcgi_resume(w, c, f)
    if not c.flags & CONN_MORE:
        conn_touch(w, c)


# ---- What waits until output has left ---------------------------------------------------------------------

cdef void fcgi_want_output(Worker *w, Req *r) noexcept nogil:
    cdef Fcgi *f = conn_fcgi(r.conn)
    if not r.flags & REQ_PUMPED:
        r.flags |= REQ_PUMPED
        r.pump = NULL
        f.pumped_end[0] = r
        f.pumped_end = &r.pump
    r.conn.flags |= CONN_PUMP
    conn_touch(w, r.conn)


cdef void fcgi_unpump(Fcgi *f, Req *r) noexcept nogil:
    cdef Req **at = &f.pumped
    while at[0] != r:
        at = &at[0].pump
    at[0] = r.pump
    if r.pump == NULL:
        f.pumped_end = at
    r.flags &= ~<uint32_t>REQ_PUMPED


cdef void fcgi_on_writable(Worker *w, Conn *c) noexcept nogil:
    """One request after the other goes on."""
    cdef Fcgi *f = conn_fcgi(c)
    cdef Req *r
    if f == NULL:
        return
    r = f.pumped
    if r != NULL:
        fcgi_unpump(f, r)
        if f.pumped != NULL:
            c.flags |= CONN_PUMP
        if r.source == SOURCE_FILE:
            fcgi_send_file(w, c, r)
        elif r.flags & REQ_WRITING:
            lua_resume_writer(w, r)
        if c.flags & CONN_DEAD:
            return
    if c.flags & (CONN_BLOCKED | CONN_CLOSING) or c.out.n:
        return
    if f.n == 0:
        conn_idle(w, c)
    if f.held:
        conn_await(w, c, 0)                 # nothing is to be sent, and no input taken
    fcgi_resume(w, c, f)


cdef void fcgi_send_file(Worker *w, Conn *c, Req *r) noexcept nogil:
    """The next record of a file. sendfile would leave records half sent, between which others may not come."""
    cdef size_t n = <size_t>r.file_left if r.file_left < FCGI_CONTENT_MAX else FCGI_CONTENT_MAX
    cdef Buf *b = fcgi_out(w, c, FCGI_HEAD + n + FCGI_ALIGN)
    cdef ptrdiff_t got
    cdef char *p
    if b == NULL:
        return
    p = b.p + b.n
    got = pread(r.file, p + FCGI_HEAD, n, r.file_at)
    if got <= 0:                            # shorter than announced
        fcgi_abort(w, r)
        return
    fcgi_put_head(p, FCGI_STDOUT, r.id, got)
    memset(p + FCGI_HEAD + got, 0, fcgi_padding(got))
    b.n += FCGI_HEAD + got + fcgi_padding(got)
    r.file_at += got
    r.file_left -= got
    r.sent += got
    if r.file_left == 0 and not req_next_part(w, r):
        r.flags |= REQ_HELD
        req_finish(w, r)
        return
    fcgi_want_output(w, r)
    if turn_spent(w, TURN_EVENTS):
        conn_wait_writable(w, c)            # so that one large file does not keep the worker from others
