# HTTP/1.0 and 1.1 on a connection (RFC 9112): the protocol table HTTP1.
# One request at a time: Conn.req is the one in progress, NULL between requests. Pipelined requests of one read are
# answered in order into Worker.out, which leaves with one write. While a request is suspended, or its reply has to
# wait for the client, the rest of the read is kept and no more is read (CONN_PAUSED).
#
# on_data ─ http1_request ─ parse, route ─ http1_body ─ sink full ─ req_serve ─ reply_head, reply_body ─ reply_end

cdef const char *CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef enum:
    CONTINUE_LEN = 25
    CHUNK_HEAD = 20             # bytes of a chunk's size line, at most

cdef Proto HTTP1


cdef void http1_init() noexcept nogil:
    HTTP1.name = b"http/1"
    HTTP1.on_data = http1_on_data
    HTTP1.on_eof = http1_on_eof
    HTTP1.on_writable = http1_on_writable
    HTTP1.on_timer = http1_on_timer
    HTTP1.on_close = http1_on_close
    HTTP1.on_stop = http1_on_stop
    HTTP1.takes_input = http1_takes_input
    HTTP1.want_body = http1_want_body
    HTTP1.want_output = http1_want_output
    HTTP1.suspend = http1_suspend
    HTTP1.reply_head = http1_reply_head
    HTTP1.reply_body = http1_reply_body
    HTTP1.reply_end = http1_reply_end
    HTTP1.abort = http1_abort


# ---- Input -----------------------------------------------------------------------------------------------

cdef void http1_on_data(Worker *w, Conn *c, char *p, size_t n) noexcept nogil:
    cdef size_t used = 0
    cdef ptrdiff_t taken = 1
    c.flags |= CONN_MORE
    if unlikely(c.req != NULL):
        used = http1_body(w, c, c.req, p, n)
    while used < n and c.req == NULL and not c.flags & (CONN_DEAD | CONN_CLOSING | CONN_PAUSED):
        taken = http1_request(w, c, p + used, n - used)
        if taken <= 0:
            break
        used += taken
        if unlikely(c.served % TURN_LOOK == 0) and used < n and c.req == NULL and turn_spent(w, TURN_CONNS):
            conn_kick(w, c)
            break
    if c.flags & CONN_DEAD:
        return
    c.flags &= ~<uint32_t>CONN_MORE
    if unlikely(c.proto != &HTTP1):         # a handler has switched to another one, which paused this loop
        c.flags &= ~<uint32_t>CONN_PAUSED
        c.proto.on_data(w, c, p + used, n - used)
        return
    http1_wait(w, c, p + used, n - used, taken == 0)


cdef inline void http1_wait(Worker *w, Conn *c, char *rest, size_t n, bint partial) noexcept nogil:
    """The read is used up as far as it can be now: keep the rest, set the deadline for what comes next."""
    cdef Limits *limits = &w.server.limits
    if unlikely(n):
        if c.flags & CONN_CLOSING:          # nothing after the last response is looked at
            c.flags |= CONN_LINGER
            return
        if conn_spill(w, c, rest, n) != OK:
            return
        if c.req != NULL and not http1_wants_body(c.req):   # a task has read while the handler waits
            c.flags |= CONN_PAUSED
    if c.req != NULL or c.flags & CONN_BLOCKED:
        return
    if unlikely(partial):
        if not c.flags & CONN_PARTIAL:      # counted from the first byte, not from the last
            c.flags |= CONN_PARTIAL
            timer_set(&w.wheel, &c.timer, w.now + (DRAIN_GRACE if w.draining else limits.header_timeout))
    elif n == 0:
        conn_idle(w, c)


cdef ptrdiff_t http1_request(Worker *w, Conn *c, char *p, size_t n) noexcept nogil:
    """One request at `p`. Returns the bytes used, 0 if its head is incomplete, all of them after a refusal."""
    cdef Req *r = req_new(w)
    cdef size_t size
    cdef int rc
    if unlikely(r == NULL):
        conn_close(w, c)
        return 0
    r.head.headers = w.headers
    rc = http_parse(p, n, &r.head, &w.server.limits.http)
    if unlikely(rc != OK):
        req_recycle(w, r)
        if rc == PARTIAL:
            return 0
        http1_refuse(w, c, rc, r.head.why)
        return n
    c.flags &= ~<uint32_t>(CONN_PARTIAL | CONN_FRESH)
    c.served += 1
    req_open(w, r, c)
    c.req = r
    if r.head.flags & HEAD_KEEP_ALIVE and not w.draining and c.served != w.server.limits.requests:
        r.flags = REQ_KEEP_ALIVE
    if r.head.method == METHOD_HEAD:
        r.flags |= REQ_NO_BODY
    if unlikely(c.tls != NULL):
        r.flags |= REQ_SECURE
    size = r.head.size
    r.head.size -= <uint32_t>(r.head.base - p)
    req_route(w, r)
    return size + http1_begin_body(w, c, r, p + size, n - size)


cdef inline size_t http1_begin_body(Worker *w, Conn *c, Req *r, char *p, size_t n) noexcept nogil:
    """Decide on the body from the head alone, then read as much of it as is there."""
    if likely(r.head.content_length <= 0 and not r.head.flags & HEAD_CHUNKED):
        r.flags |= REQ_BODY_DONE
        req_serve(w, r)
        return 0
    r.body_left = r.body_max if r.head.flags & HEAD_CHUNKED else r.head.content_length
    if r.body_left > r.body_max:
        http1_refuse_body(w, r, 413)
        return 0
    memset(&r.chunk, 0, sizeof(r.chunk))
    http1_set_body_deadline(w, c)
    if r.head.flags & HEAD_EXPECT_CONTINUE and n == 0:
        if r.sink == SINK_DISCARD:              # a final answer instead of "go on": the body never comes
            r.flags &= ~<uint32_t>REQ_KEEP_ALIVE
            req_serve(w, r)
            return 0
        r.flags |= REQ_CONTINUE
    if r.sink == SINK_STREAM:
        req_serve(w, r)
    else:
        http1_await_body(w, r)
    return http1_body(w, c, r, p, n)


cdef void http1_want_body(Worker *w, Req *r) noexcept nogil:
    r.conn.flags &= ~<uint32_t>CONN_PAUSED
    http1_await_body(w, r)


cdef void http1_await_body(Worker *w, Req *r) noexcept nogil:
    """The body is wanted now. A handler that takes part after part of a read does not move the deadline with each:
    bytes that trickle in are no progress."""
    cdef Conn *c = r.conn
    if http1_continue(w, r) != OK or c.flags & CONN_MORE:
        return
    http1_set_body_deadline(w, c)
    conn_resume(w, c)


cdef inline void http1_set_body_deadline(Worker *w, Conn *c) noexcept nogil:
    c.progress = 0
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.body_timeout)


cdef inline int http1_continue(Worker *w, Req *r) noexcept nogil:
    """Tell a client that asked whether it should send the body (RFC 9110 section 10.1.1)."""
    if likely(not r.flags & REQ_CONTINUE):
        return OK
    r.flags &= ~<uint32_t>REQ_CONTINUE
    return conn_write(w, r.conn, CONTINUE, CONTINUE_LEN)


cdef size_t http1_body(Worker *w, Conn *c, Req *r, char *p, size_t n) noexcept nogil:
    """Give body bytes to the sink for as long as it takes them; returns the bytes used. When a buffered or discarded
    body is complete the request is served; a streaming handler is resumed with each part."""
    cdef size_t used = 0
    cdef ptrdiff_t taken
    while c.req == r and http1_wants_body(r) and used < n:
        if r.head.flags & HEAD_CHUNKED:
            taken = http1_chunk(w, r, p + used, n - used)
        else:
            taken = http1_part(w, r, p + used, n - used)
        if taken < 0:
            return n
        used += taken
        c.progress += <uint32_t>taken
    if c.flags & CONN_DEAD or c.req != r:
        return used
    if http1_wants_body(r):
        req_retain_or_close(w, r)
    return used


cdef inline bint http1_wants_body(Req *r) noexcept nogil:
    if r.flags & REQ_BODY_DONE:
        return False
    return r.flags & REQ_READING if r.sink == SINK_STREAM else not r.flags & REQ_HEAD_SENT


cdef void req_retain_or_close(Worker *w, Req *r) noexcept nogil:
    if req_retain(w, r) != OK and r.conn != NULL:
        conn_close(w, r.conn)


cdef ptrdiff_t http1_part(Worker *w, Req *r, char *p, size_t n) noexcept nogil:
    """Bytes of a body with Content-Length."""
    if <int64_t>n > r.body_left:
        n = <size_t>r.body_left
    r.body_left -= n
    if r.sink == SINK_STREAM:
        if r.body_left == 0:
            r.flags |= REQ_BODY_DONE
        lua_give_body(w, r, Span(p, n))         # may end the request
        return n
    if r.sink == SINK_BUFFER:
        if r.body_left == 0 and r.body_buf.n == 0:
            r.body = Span(p, n)                 # all of it lies in the scratch buffer: no copy
        elif http1_collect(w, r, p, n) != OK:
            return ERR_CLOSED
    if r.body_left == 0:
        http1_body_done(w, r)
    return n


cdef ptrdiff_t http1_chunk(Worker *w, Req *r, char *p, size_t n) noexcept nogil:
    """Bytes of a chunked body, up to the next piece of data or its end."""
    cdef size_t used = 0
    cdef Span data
    cdef int rc = http_chunk(&r.chunk, p, n, &used, &data)
    if rc == CHUNK_MORE:
        return used
    if rc == CHUNK_DONE:
        http1_body_done(w, r)
        return used
    if rc == CHUNK_DATA:
        r.body_left -= data.n
        rc = 413
    if rc != 413 or r.body_left < 0:
        http1_refuse_body(w, r, rc)
        return ERR_CLOSED
    if r.sink == SINK_STREAM:
        lua_give_body(w, r, data)               # may end the request
    elif r.sink == SINK_BUFFER and http1_collect(w, r, data.p, data.n) != OK:
        return ERR_CLOSED
    return used


cdef int http1_collect(Worker *w, Req *r, const char *p, size_t n) noexcept nogil:
    if buf_append(&r.body_buf, p, n) != OK:
        conn_close(w, r.conn)
        return ERR_CLOSED
    r.body = buf_span(&r.body_buf)
    return OK


cdef void http1_body_done(Worker *w, Req *r) noexcept nogil:
    r.flags |= REQ_BODY_DONE
    if r.sink != SINK_STREAM:
        req_serve(w, r)
    elif r.flags & REQ_READING:
        lua_give_body(w, r, Span(NULL, 0))


# ---- Refusals --------------------------------------------------------------------------------------------

cdef void http1_refuse(Worker *w, Conn *c, int status, const char *why) noexcept nogil:
    """Answer what is no valid request, or more than a limit allows, and close; `why` is for the log."""
    cdef Buf *b = &w.scratch_text
    log_refusal(w, c.address, status, why)
    b.n = 0
    put_status_text(b, status)
    http1_put_refusal(w, c, status, buf_span(b))
    c.flags |= CONN_CLOSING | CONN_LINGER


cdef void http1_put_refusal(Worker *w, Conn *c, int status, Span body) noexcept nogil:
    cdef char head[HEAD_FIXED]
    cdef char *p = put_status_line(head, status)
    p = put_prefix(w, p, 0)
    p = put_content_type(p, TYPE_TEXT, body)
    p = put_content_length(p, <int64_t>body.n)
    p = put_bytes(p, b"Connection: close\r\n\r\n", 21)
    if conn_write(w, c, head, p - head) == OK:
        conn_write(w, c, body.p, body.n)


cdef void http1_refuse_body(Worker *w, Req *r, int status) noexcept nogil:
    """Refuse a request whose head was fine: 400 (chunk syntax), 408, 413. A handler that reads is told."""
    cdef Conn *c = r.conn
    r.flags &= ~<uint32_t>REQ_KEEP_ALIVE
    if r.coro != NULL:
        c.flags |= CONN_LINGER
        lua_fail_body(w, r, http1_body_fault(status))
        return
    r.flags |= REQ_HELD
    r.status = status
    r.ctype = TYPE_TEXT
    r.fields.n = 0
    w.scratch_text.n = 0
    put_status_text(&w.scratch_text, status)
    req_reply(w, r, buf_span(&w.scratch_text))
    req_finish(w, r)
    c.flags |= CONN_LINGER


cdef const char *http1_body_fault(int status) noexcept nogil:
    """What a handler that reads is told."""
    if status == 408:
        return b"timeout"
    return b"too large" if status == 413 else b"malformed chunk"


# ---- Events ----------------------------------------------------------------------------------------------

cdef void http1_on_eof(Worker *w, Conn *c) noexcept nogil:
    """The client sends no more. All complete requests have been answered, since input is read only between them."""
    if c.req != NULL or w.out.n == 0:
        conn_close(w, c)
    else:
        c.flags |= CONN_CLOSING


cdef void http1_on_stop(Worker *w, Conn *c) noexcept nogil:
    """The worker ends: serve what this connection has sent already, then close it."""
    if c.req != NULL or c.flags & (CONN_PAUSED | CONN_DRAINING | CONN_KICK):
        return
    conn_read(w, c)
    if c.req != NULL or c.flags & (CONN_DEAD | CONN_DRAINING | CONN_CLOSING | CONN_BLOCKED):
        return
    if c.flags & (CONN_FRESH | CONN_PARTIAL):
        timer_set(&w.wheel, &c.timer, w.now + DRAIN_GRACE)
    else:
        conn_close(w, c)


cdef bint http1_takes_input(Conn *c) noexcept nogil:
    return c.req == NULL or http1_wants_body(c.req)


cdef void http1_suspend(Worker *w, Req *r) noexcept nogil:
    """No input is taken meanwhile, unless a task of the request reads."""
    if not r.flags & REQ_READING:
        r.conn.flags |= CONN_PAUSED


cdef void http1_want_output(Worker *w, Req *r) noexcept nogil:
    r.conn.flags |= CONN_PUMP
    conn_touch(w, r.conn)


cdef void http1_on_writable(Worker *w, Conn *c) noexcept nogil:
    cdef Req *r = c.req
    if r == NULL:
        return
    if r.source == SOURCE_FILE:
        http1_send_file(w, r)
    elif r.flags & REQ_WRITING:
        lua_resume_writer(w, r)


cdef void http1_send_file(Worker *w, Req *r) noexcept nogil:
    cdef Conn *c = r.conn
    cdef size_t n = <size_t>r.file_left if r.file_left < FILE_TURN else FILE_TURN
    cdef ptrdiff_t sent = io_sendfile(c.watch.fd, c.tls, r.file, &r.file_at, n)
    if sent > 0:
        r.file_left -= sent
        r.sent += sent
        c.progress += <uint32_t>sent
        if r.file_left == 0 and not req_next_part(w, r):
            req_finish(w, r)
        else:
            c.flags |= CONN_PUMP
            conn_wait_writable(w, c)        # so that one large file does not keep the worker from others
    elif sent == PENDING:
        c.flags |= CONN_PUMP
        conn_wait_writable(w, c)
    else:
        conn_reset(w, c)                    # gone, or the file is shorter than announced


cdef void http1_on_timer(Worker *w, Conn *c) noexcept nogil:
    cdef Req *r = c.req
    if r == NULL:
        if c.flags & CONN_PARTIAL and not w.draining:
            http1_refuse(w, c, 408, b"request header timeout")
        else:
            conn_close(w, c)
        return
    if not http1_wants_body(r):
        return                              # the handler runs; it has no deadline here
    if c.progress >= PROGRESS_MIN:
        http1_await_body(w, r)
    else:
        http1_refuse_body(w, r, 408)


cdef void http1_on_close(Worker *w, Conn *c) noexcept nogil:
    cdef Req *r = c.req
    c.req = NULL
    if r == NULL:
        return
    r.conn = NULL
    if r.coro != NULL:
        lua_client_gone(w, r)               # the handler runs on; its reply goes nowhere
    elif not r.flags & REQ_HELD:
        req_log(w, r)
        req_close(w, r)


# ---- Replies ---------------------------------------------------------------------------------------------

cdef int http1_reply_head(Worker *w, Req *r, int64_t length) noexcept nogil:
    """Status line and fields. length -1: the body is chunked, or ends with the connection for HTTP/1.0."""
    cdef Conn *c = r.conn
    cdef Buf *b
    cdef char *p
    if w.out.n > OUT_BATCH:
        conn_flush(w, c)
    if length < 0:                          # the handler may go on reading, after its answer has begun
        http1_continue(w, r)
    if c.flags & CONN_DEAD:
        return ERR_CLOSED
    b = conn_out(w, c)
    if unlikely(buf_reserve(b, HEAD_FIXED + r.fields.n + r.mime.n) != OK):
        conn_close(w, c)
        return ERR_CLOSED
    if unlikely(w.draining or not r.flags & REQ_BODY_DONE):
        r.flags &= ~<uint32_t>REQ_KEEP_ALIVE
    p = put_status_line(b.p + b.n, r.status)
    p = put_prefix(w, p, r.flags)
    p = put_content_type(p, r.ctype, r.mime)
    if unlikely(r.fields.n):
        p = put_bytes(p, r.fields.p, r.fields.n)
    p = http1_put_framing(r, p, length)
    p = http1_put_connection(r, p)
    b.n = p - b.p
    r.flags |= REQ_HEAD_SENT
    return OK


cdef inline char *http1_put_framing(Req *r, char *p, int64_t length) noexcept nogil:
    """How the body's end is found (RFC 9112 section 6)."""
    if unlikely(not status_has_body(r.status)):
        r.flags |= REQ_NO_BODY
        return p
    if likely(length >= 0):
        return put_content_length(p, length)
    if r.head.minor == 0:
        r.flags &= ~<uint32_t>REQ_KEEP_ALIVE
        return p
    r.flags |= REQ_CHUNKED_REPLY
    return put_bytes(p, b"Transfer-Encoding: chunked\r\n", 28)


cdef inline char *http1_put_connection(Req *r, char *p) noexcept nogil:
    """The Connection field, where it differs from the version's default, and the empty line."""
    if unlikely(not r.flags & REQ_KEEP_ALIVE):
        p = put_bytes(p, b"Connection: close\r\n", 19)
    elif r.head.minor == 0:
        p = put_bytes(p, b"Connection: keep-alive\r\n", 24)
    return put_bytes(p, b"\r\n", 2)


cdef int http1_reply_body(Worker *w, Req *r, const char *p, size_t n) noexcept nogil:
    cdef char size[CHUNK_HEAD]
    cdef size_t digits
    if r.flags & REQ_NO_BODY or n == 0:
        return OK
    r.sent += n
    if likely(not r.flags & REQ_CHUNKED_REPLY):
        return conn_write(w, r.conn, p, n)
    digits = put_hex(size, n)
    memcpy(size + digits, b"\r\n", 2)
    if conn_write(w, r.conn, size, digits + 2) != OK or conn_write(w, r.conn, p, n) != OK:
        return ERR_CLOSED
    return conn_write(w, r.conn, b"\r\n", 2)


cdef void http1_reply_end(Worker *w, Req *r) noexcept nogil:
    """The response is complete: close, or go on with the next request."""
    cdef Conn *c = r.conn
    if r.flags & REQ_CHUNKED_REPLY and not r.flags & REQ_NO_BODY:
        if conn_write(w, c, b"0\r\n\r\n", 5) != OK:
            return
    r.conn = NULL
    c.req = NULL
    conn_unwatch(w, c)
    if unlikely(not r.flags & REQ_KEEP_ALIVE):
        c.flags |= CONN_CLOSING
        if not r.flags & REQ_BODY_DONE or r.head.flags & HEAD_KEEP_ALIVE:   # more may be on its way
            c.flags |= CONN_LINGER
    if likely(c.flags & CONN_MORE):
        return
    if not c.flags & (CONN_BLOCKED | CONN_CLOSING):
        conn_idle(w, c)
        conn_resume(w, c)
    conn_touch(w, c)


cdef void http1_abort(Worker *w, Req *r) noexcept nogil:
    """The answer will not come, or not the rest of it: a reset keeps the client from taking it for whole. Earlier
    answers leave before."""
    cdef Conn *c = r.conn
    if c != NULL:
        if w.current == c or c.out.n:
            conn_flush(w, c)
        conn_reset(w, c)
