# FastCGI on a connection: the protocol table FCGI, for a web server in front. Conn.req is the Fcgi; it has the requests
# in progress, as many as the web server sends at once, each with its number. Replies: fcgi_reply.pxi.
# Invariants:
#   - records of replies enter the output whole, so those of several requests never mix;
#   - input is taken while handlers run. It stops only while output waits for the web server, or while a streamed body
#     has FCGI_HELD bytes that its handler has not asked for: all other requests of the connection wait then, too;
#   - a Req without a State is one whose variables still arrive; they collect in body_buf, where the body will;
#   - what is given to Lua may end requests and close the connection: afterwards only the Conn is looked at, until it
#     is known to be alive.
#
# on_data ─ fcgi_take ─ fcgi_params ─ fcgi_open ─ fcgi_stdin ─ req_serve ─ reply_head, reply_body ─ reply_end

cdef enum:
    FCGI_HELD = 65536           # bytes of a streamed body that wait for the handler of their request
    FCGI_PARAMS_FACTOR = 4      # the variables may be so many times --max-header-size: they repeat the target

cdef Proto FCGI


cdef void fcgi_init() noexcept nogil:
    FCGI.name = b"fastcgi"
    FCGI.on_data = fcgi_on_data
    FCGI.on_eof = fcgi_on_eof
    FCGI.on_writable = fcgi_on_writable
    FCGI.on_timer = fcgi_on_timer
    FCGI.on_close = fcgi_on_close
    FCGI.on_stop = fcgi_on_stop
    FCGI.takes_input = fcgi_takes_input
    FCGI.want_body = fcgi_want_body
    FCGI.want_output = fcgi_want_output
    FCGI.suspend = fcgi_suspend
    FCGI.reply_head = fcgi_reply_head
    FCGI.reply_body = fcgi_reply_body
    FCGI.reply_end = fcgi_reply_end
    FCGI.abort = fcgi_abort


cdef inline Fcgi *conn_fcgi(Conn *c) noexcept nogil:
    """NULL before the first record, and once the connection is closed."""
    return <Fcgi *>c.req


cdef Fcgi *fcgi_new(Worker *w, Conn *c) noexcept nogil:
    cdef Fcgi *f = <Fcgi *>slab_new(&w.fcgis)
    if f == NULL:
        conn_close(w, c)
        return NULL
    memset(f, 0, sizeof(Fcgi))
    f.slots = f.few
    f.nslots = FCGI_FEW
    f.pumped_end = &f.pumped
    c.req = <Req *>f
    return f


# ---- The requests of a connection ------------------------------------------------------------------------

cdef inline Req *fcgi_find(Fcgi *f, uint16_t id) noexcept nogil:
    cdef Req *r = f.slots[id & (f.nslots - 1)]
    while r != NULL and r.id != id:
        r = r.beside
    return r


cdef inline void fcgi_link(Fcgi *f, Req *r) noexcept nogil:
    cdef Req **slot = &f.slots[r.id & (f.nslots - 1)]
    r.beside = slot[0]
    slot[0] = r


cdef void fcgi_add(Worker *w, Fcgi *f, Req *r) noexcept nogil:
    if f.n == 2 * f.nslots:
        fcgi_grow(f)
    fcgi_link(f, r)
    f.n += 1
    w.nfcgi += 1


cdef void fcgi_grow(Fcgi *f) noexcept nogil:
    """A table of twice the size. Without memory for it the chains grow instead."""
    cdef Req **old = f.slots
    cdef uint32_t n = f.nslots
    cdef uint32_t i
    cdef Req *r
    cdef Req *after
    cdef Req **slots = <Req **>calloc(2 * n, sizeof(Req *))
    if slots == NULL:
        return
    f.slots = slots
    f.nslots = 2 * n
    for i in range(n):
        r = old[i]
        while r != NULL:
            after = r.beside
            fcgi_link(f, r)
            r = after
    if old != f.few:
        free(old)


cdef void fcgi_remove(Worker *w, Fcgi *f, Req *r) noexcept nogil:
    """The connection has nothing more to do with the request."""
    cdef Req **at = &f.slots[r.id & (f.nslots - 1)]
    while at[0] != r:
        at = &at[0].beside
    at[0] = r.beside
    f.n -= 1
    w.nfcgi -= 1
    if f.fresh == r:
        f.fresh = NULL
    if r.flags & REQ_PUMPED:
        fcgi_unpump(f, r)
    if fcgi_holds(r):
        f.held -= 1
    r.conn = NULL


cdef inline bint fcgi_holds(Req *r) noexcept nogil:
    """Whether so much of its body waits that no more is taken."""
    return r.state != NULL and r.sink == SINK_STREAM and r.body_buf.n >= FCGI_HELD


cdef void fcgi_leave(Worker *w, Req *r) noexcept nogil:
    """The request has lost its client. Its handler runs on, and its reply goes nowhere."""
    r.conn = NULL
    if r.state == NULL:
        req_recycle(w, r)
    elif r.coro != NULL:
        lua_client_gone(w, r)
    elif not r.flags & REQ_HELD:
        req_log(w, r)
        req_close(w, r)


# ---- Input -----------------------------------------------------------------------------------------------

cdef void fcgi_on_data(Worker *w, Conn *c, char *p, size_t n) noexcept nogil:
    cdef Fcgi *f = conn_fcgi(c)
    cdef size_t used = 0
    cdef ptrdiff_t taken
    cdef uint32_t served = c.served
    if f == NULL:
        f = fcgi_new(w, c)
        if f == NULL:
            return
    c.flags |= CONN_MORE
    while used < n and not c.flags & (CONN_DEAD | CONN_CLOSING | CONN_PAUSED):
        taken = fcgi_take(w, c, f, p + used, n - used)
        if taken <= 0:
            break
        used += taken
        if unlikely(c.served - served >= TURN_LOOK) and used < n:
            if turn_spent(w, TURN_CONNS):
                conn_kick(w, c)
                break
            served = c.served
    if c.flags & CONN_DEAD:
        return
    c.flags &= ~<uint32_t>CONN_MORE
    fcgi_settle_input(w, c, f, p + used, n - used)


cdef void fcgi_settle_input(Worker *w, Conn *c, Fcgi *f, char *rest, size_t n) noexcept nogil:
    """The read is used up as far as it can be now: keep what is needed of it, set the deadline for what comes next."""
    if c.flags & CONN_CLOSING:              # nothing more is looked at
        c.flags |= CONN_LINGER if n else 0
        return
    if not fcgi_keep_fresh(w, c, f) or conn_spill(w, c, rest, n) != OK or c.flags & CONN_BLOCKED:
        return
    if f.n:
        fcgi_arm(w, c, f)
    elif n == 0:
        conn_idle(w, c)
    elif not c.flags & CONN_PARTIAL:        # a part of a record: it has the time of a head, from its first byte
        c.flags |= CONN_PARTIAL
        timer_set(&w.wheel, &c.timer, w.now + (DRAIN_GRACE if w.draining else w.server.limits.header_timeout))


cdef ptrdiff_t fcgi_take(Worker *w, Conn *c, Fcgi *f, char *p, size_t n) noexcept nogil:
    """The next part of what has arrived: a header, with its content if that is small and of a fixed form, else a piece
    of content, or of padding. Returns the bytes used, 0 if more are needed, less after a refusal."""
    cdef FcgiRecord x
    cdef int rc
    if f.left:
        n = n if n < f.left else f.left
        f.left -= <uint32_t>n
        fcgi_content(w, c, f, p, n)
        return n
    if f.padding:
        n = n if n < f.padding else f.padding
        f.padding -= <uint8_t>n
        return n
    rc = fcgi_record_parse(p, n, &x)
    if rc == PARTIAL:
        return 0
    if rc != OK:
        return fcgi_fault(w, c, x.why)
    f.type = x.type
    f.id = x.id
    if x.type == FCGI_BEGIN or x.type == FCGI_GET_VALUES:
        if n < <size_t>FCGI_HEAD + x.length:
            return 0
        f.padding = x.padding
        p += FCGI_HEAD
        rc = fcgi_begin(w, c, f, p) if x.type == FCGI_BEGIN else fcgi_tell_values(w, c, Span(p, x.length))
        return FCGI_HEAD + x.length if rc == OK else rc
    f.left = x.length
    f.padding = x.padding
    rc = fcgi_bare(w, c, f, x.length == 0)
    return FCGI_HEAD if rc == OK else rc


cdef ptrdiff_t fcgi_fault(Worker *w, Conn *c, const char *why) noexcept nogil:
    """The web server does not speak the protocol: there is no known place to go on from."""
    log_refusal(w, c.address, 400, why)
    conn_close(w, c)
    return ERR_CLOSED


cdef int fcgi_begin(Worker *w, Conn *c, Fcgi *f, const char *p) noexcept nogil:
    """A new request, or the reason why not: then what follows of it is passed over."""
    cdef uint16_t role
    cdef uint8_t flags
    cdef Req *r
    if fcgi_find(f, f.id) != NULL:
        return fcgi_fault(w, c, b"FCGI_BEGIN_REQUEST for a request in progress")
    fcgi_begin_parse(p, &role, &flags)
    if not flags & FCGI_KEEP_CONN:
        f.last = 1
    if role != FCGI_RESPONDER:
        return fcgi_decline(w, c, f, FCGI_UNKNOWN_ROLE)
    if w.draining and f.refuse_at == 0:
        f.refuse_at = w.now + DRAIN_GRACE
    if w.nfcgi >= w.server.limits.connections or (w.draining and w.now >= f.refuse_at):
        return fcgi_decline(w, c, f, FCGI_OVERLOADED)
    r = req_new(w)
    if r == NULL:
        return fcgi_decline(w, c, f, FCGI_OVERLOADED)
    c.flags &= ~<uint32_t>(CONN_FRESH | CONN_PARTIAL)
    r.conn = c
    memcpy(r.address, c.address, sizeof(r.address))
    r.state = NULL
    r.id = f.id
    r.flags = 0
    r.body_buf.n = 0
    fcgi_add(w, f, r)
    fcgi_await(w, f, r, w.server.limits.header_timeout)
    c.served += 1
    if c.served == w.server.limits.requests:
        f.last = 1
    return OK


cdef int fcgi_bare(Worker *w, Conn *c, Fcgi *f, bint empty) noexcept nogil:
    """The header of a record whose content, if it is not empty, follows."""
    cdef char answer[FCGI_END_SIZE]
    cdef Req *r
    if f.id == 0:
        fcgi_put_unknown(answer, f.type)
        return conn_write(w, c, answer, FCGI_END_SIZE)
    r = fcgi_find(f, f.id)
    if r == NULL or f.type == FCGI_DATA:        # ended, refused, or of no use to a responder
        return OK
    if f.type == FCGI_ABORT:
        fcgi_abandoned(w, c, f, r)
    elif f.type == FCGI_PARAMS:
        if r.state != NULL:
            return <int>fcgi_fault(w, c, b"FCGI_PARAMS after their end")
        if empty:
            fcgi_open(w, c, f, r)
    elif r.state == NULL:
        return <int>fcgi_fault(w, c, b"FCGI_STDIN before the end of FCGI_PARAMS")
    elif r.flags & (REQ_BODY_DONE | REQ_BODY_SEEN):
        return <int>fcgi_fault(w, c, b"FCGI_STDIN after its end")
    elif empty:
        fcgi_stdin_end(w, c, f, r)
    return ERR_CLOSED if c.flags & CONN_DEAD else OK


cdef inline void fcgi_content(Worker *w, Conn *c, Fcgi *f, char *p, size_t n) noexcept nogil:
    """A piece of the content of the current record."""
    cdef Req *r = fcgi_find(f, f.id)
    if r == NULL:
        return
    if f.type == FCGI_PARAMS and r.state == NULL:
        fcgi_params(w, c, f, r, p, n)
    elif f.type == FCGI_STDIN and r.state != NULL:
        fcgi_stdin(w, c, f, r, p, n)


cdef void fcgi_abandoned(Worker *w, Conn *c, Fcgi *f, Req *r) noexcept nogil:
    """FCGI_ABORT_REQUEST: the client has left. The web server wants to hear that the request is over (section 5.4)."""
    if fcgi_end(w, c, r, 0, FCGI_COMPLETE) != OK:
        return
    fcgi_remove(w, f, r)
    fcgi_leave(w, r)
    fcgi_rest(w, c, f, True)


# ---- Variables -------------------------------------------------------------------------------------------

cdef void fcgi_params(Worker *w, Conn *c, Fcgi *f, Req *r, char *p, size_t n) noexcept nogil:
    """A piece of the variables of a request."""
    r.progress += <uint32_t>n
    if r.body_buf.n + n > <size_t>FCGI_PARAMS_FACTOR * w.server.limits.http.head:
        fcgi_refuse(w, c, f, r, 431, b"the variables of a request are too long")
    elif buf_append(&r.body_buf, p, n) != OK:
        conn_close(w, c)


cdef void fcgi_open(Worker *w, Conn *c, Fcgi *f, Req *r) noexcept nogil:
    """The variables are complete: they become the head of a request. Behind it in Worker.cgi lie they themselves."""
    cdef CgiVars v
    cdef Span vars = buf_span(&r.body_buf)
    cdef const char *why = b"malformed variables"
    cdef int rc
    if not fcgi_keep_fresh(w, c, f):        # its head is where this one goes
        return
    rc = fcgi_make_head(w, r, vars, &v, &why)
    if rc == OK:
        req_open(w, r, c)
    fcgi_set_client(r, &v)
    if rc != OK:
        fcgi_refuse(w, c, f, r, rc, why)
        return
    r.vars = r.head.size
    r.vars_len = <uint32_t>vars.n
    r.script = r.vars + <uint32_t>(v.file.p - vars.p) if v.file.n else 0
    r.script_len = <uint32_t>v.file.n
    r.head.size += r.vars_len
    r.body_buf.n = 0
    if r.head.method == METHOD_HEAD:
        r.flags |= REQ_NO_BODY
    if cgi_secure(&v):
        r.flags |= REQ_SECURE
    req_route(w, r)
    fcgi_begin_body(w, f, r)


cdef int fcgi_make_head(Worker *w, Req *r, Span vars, CgiVars *v, const char **why) noexcept nogil:
    """Fill r.head: OK, or the status of a refusal."""
    cdef Buf *b = &w.cgi
    cdef size_t n
    cdef int rc = cgi_read(vars, v)
    if rc != OK:
        return rc
    b.n = 0
    if buf_reserve(b, cgi_head_room(vars) + vars.n) != OK:
        why[0] = b"out of memory"
        return 503
    rc = cgi_head_put(v, b.p, &n, why)
    if rc != OK:
        return rc
    r.head.headers = w.headers
    rc = http_parse(b.p, n, &r.head, &w.server.limits.http)
    if rc == PARTIAL:
        return 400
    if rc != OK:
        why[0] = r.head.why
        return rc
    memcpy(b.p + n, vars.p, vars.n)
    return OK


cdef void fcgi_set_client(Req *r, const CgiVars *v) noexcept nogil:
    """Whom the web server serves, if it tells that; else it is itself the peer."""
    cdef Address a
    cdef sockaddr_in *four = <sockaddr_in *>&a.at
    cdef sockaddr_in6 *six = <sockaddr_in6 *>&a.at
    if v.address.n == 0 or address_ip(&a, v.address, 0) != OK:
        return
    r.port = cgi_port(v.port)
    if a.at.ss_family == AF_INET6:
        memcpy(r.address, &six.sin6_addr, 16)
        return
    memset(r.address, 0, 10)
    r.address[10] = r.address[11] = 0xff
    memcpy(&r.address[12], &four.sin_addr, 4)


# ---- Bodies ----------------------------------------------------------------------------------------------

cdef bint fcgi_keep_fresh(Worker *w, Conn *c, Fcgi *f) noexcept nogil:
    """Copy a request that goes on later out of the worker's memory. False: the connection is closed."""
    cdef Req *r = f.fresh
    f.fresh = NULL
    if r != NULL and req_retain(w, r) != OK:
        conn_close(w, c)
        return False
    return True


cdef void fcgi_begin_body(Worker *w, Fcgi *f, Req *r) noexcept nogil:
    """Decide on the body from the head alone. Its end is always said, so it needs no length."""
    r.body_left = r.head.content_length if r.head.content_length >= 0 else r.body_max
    r.due = 0
    if r.body_left > r.body_max:
        fcgi_refuse_body(w, r, 413)
        return
    f.fresh = r
    if r.sink == SINK_STREAM:
        req_serve(w, r)
    else:
        fcgi_await(w, f, r, w.server.limits.body_timeout)


cdef void fcgi_stdin(Worker *w, Conn *c, Fcgi *f, Req *r, char *p, size_t n) noexcept nogil:
    """A piece of a body."""
    if r.flags & REQ_BODY_FAILED:
        return
    if r.sink == SINK_STREAM:
        if r.flags & REQ_READING:
            fcgi_give(w, r, Span(p, n))
        else:
            fcgi_hold(w, c, f, r, p, n)
        return
    r.progress += <uint32_t>n
    r.body_left -= n
    if r.body_left < 0:
        fcgi_refuse_body(w, r, 413 if r.head.content_length < 0 else 400)
    elif r.sink == SINK_BUFFER and fcgi_collect(f, r, p, n) != OK:
        conn_close(w, c)


cdef int fcgi_collect(Fcgi *f, Req *r, char *p, size_t n) noexcept nogil:
    """The first piece may stay where it is: if it is all, it is not copied."""
    if f.fresh == r and r.body.n == 0 and r.body_buf.n == 0:
        r.body = Span(p, n)
        return OK
    if r.body.n and r.body_buf.n == 0 and buf_append(&r.body_buf, r.body.p, r.body.n) != OK:
        return ERR_MEMORY
    if buf_append(&r.body_buf, p, n) != OK:
        return ERR_MEMORY
    r.body = buf_span(&r.body_buf)
    return OK


cdef void fcgi_stdin_end(Worker *w, Conn *c, Fcgi *f, Req *r) noexcept nogil:
    """The body is complete. One that is not as long as announced comes from a client that has left (section 6.2)."""
    r.due = 0
    if r.flags & REQ_BODY_FAILED:
        return
    if r.sink == SINK_STREAM:
        fcgi_stream_end(w, f, r)
    elif r.head.content_length >= 0 and r.body_left:
        fcgi_refuse_body(w, r, 400)
    else:
        r.flags |= REQ_BODY_DONE
        req_serve(w, r)


cdef void fcgi_stream_end(Worker *w, Fcgi *f, Req *r) noexcept nogil:
    cdef bint whole = r.head.content_length < 0 or r.body_left == <int64_t>r.body_buf.n
    if whole and r.body_buf.n:
        r.flags |= REQ_BODY_SEEN
    elif whole:
        r.flags |= REQ_BODY_DONE
        if r.flags & REQ_READING:
            lua_give_body(w, r, Span(NULL, 0))
    elif r.flags & REQ_READING:
        lua_fail_body(w, r, b"closed")
    else:
        fcgi_take_held(w, f, r)
        r.flags |= REQ_BODY_FAILED


# ---- Streamed bodies -------------------------------------------------------------------------------------

cdef void fcgi_hold(Worker *w, Conn *c, Fcgi *f, Req *r, const char *p, size_t n) noexcept nogil:
    """The handler does not read now."""
    cdef bint before = fcgi_holds(r)
    if buf_append(&r.body_buf, p, n) != OK:
        conn_close(w, c)
    elif fcgi_holds(r) and not before:
        f.held += 1
        c.flags |= CONN_PAUSED


cdef Span fcgi_take_held(Worker *w, Fcgi *f, Req *r) noexcept nogil:
    """What has waited for the handler; valid until more arrives."""
    cdef Span part = buf_span(&r.body_buf)
    if fcgi_holds(r):
        f.held -= 1
        fcgi_renew(w, f)
    r.body_buf.n = 0
    return part


cdef void fcgi_give(Worker *w, Req *r, Span part) noexcept nogil:
    """A part of the body for the handler, which waits for it."""
    r.due = 0
    r.body_left -= part.n
    if r.body_left < 0:
        lua_fail_body(w, r, b"too large")
        return
    if r.flags & REQ_BODY_SEEN:
        r.flags |= REQ_BODY_DONE
    lua_give_body(w, r, part)


cdef void fcgi_want_body(Worker *w, Req *r) noexcept nogil:
    cdef Conn *c = r.conn
    cdef Fcgi *f = conn_fcgi(c)
    cdef Span part
    if r.body_buf.n == 0:
        fcgi_await(w, f, r, w.server.limits.body_timeout)
        if not c.flags & CONN_MORE:
            fcgi_arm(w, c, f)
        return
    part = fcgi_take_held(w, f, r)
    fcgi_resume(w, c, f)
    fcgi_give(w, r, part)


cdef void fcgi_resume(Worker *w, Conn *c, Fcgi *f) noexcept nogil:
    """Take input again, if nothing keeps from it any more."""
    if f.held == 0 and c.flags & CONN_PAUSED and c.out.n == 0 and not c.flags & CONN_BLOCKED:
        conn_resume(w, c)


cdef void fcgi_suspend(Worker *w, Req *r) noexcept nogil:
    """Others may go on."""


cdef bint fcgi_takes_input(Conn *c) noexcept nogil:
    return conn_fcgi(c) == NULL or conn_fcgi(c).held == 0


# ---- Times -----------------------------------------------------------------------------------------------

cdef inline void fcgi_await(Worker *w, Fcgi *f, Req *r, uint64_t ms) noexcept nogil:
    """Input of this request is wanted, at the latest in so many ms."""
    r.progress = 0
    r.due = w.now + ms
    if f.due == 0 or r.due < f.due:
        f.due = r.due


cdef inline void fcgi_arm(Worker *w, Conn *c, Fcgi *f) noexcept nogil:
    """See to it that the timer fires in time. While output is blocked it is set for that."""
    if f.due and not c.flags & CONN_BLOCKED and (c.timer.due == 0 or f.due < c.timer.deadline):
        timer_set(&w.wheel, &c.timer, f.due)


cdef void fcgi_renew(Worker *w, Fcgi *f) noexcept nogil:
    """No input was taken for a while: the requests that want some could not get it."""
    cdef uint32_t i
    cdef Req *r
    for i in range(f.nslots):
        r = f.slots[i]
        while r != NULL:
            if r.due:
                fcgi_await(w, f, r, w.server.limits.body_timeout)
            r = r.beside


cdef Req *fcgi_overdue(Worker *w, Fcgi *f) noexcept nogil:
    """A request whose input makes no progress, or NULL. Sets f.due anew."""
    cdef uint32_t i
    cdef Req *r
    f.due = 0
    for i in range(f.nslots):
        r = f.slots[i]
        while r != NULL:
            if r.due and r.due <= w.now:
                if r.progress < PROGRESS_MIN or r.state == NULL:
                    return r
                fcgi_await(w, f, r, w.server.limits.body_timeout)
            elif r.due and (f.due == 0 or r.due < f.due):
                f.due = r.due
            r = r.beside
    return NULL


cdef void fcgi_on_timer(Worker *w, Conn *c) noexcept nogil:
    cdef Fcgi *f = conn_fcgi(c)
    cdef Req *r
    if f == NULL or f.n == 0:
        conn_close(w, c)
        return
    if f.held:
        fcgi_renew(w, f)
    r = fcgi_overdue(w, f)
    while r != NULL:
        r.due = 0
        if r.state == NULL:
            fcgi_refuse(w, c, f, r, 408, b"request header timeout")
        else:
            fcgi_refuse_body(w, r, 408)
        if c.flags & CONN_DEAD:
            return
        r = fcgi_overdue(w, f)
    fcgi_arm(w, c, f)


# ---- Events ----------------------------------------------------------------------------------------------

cdef void fcgi_on_eof(Worker *w, Conn *c) noexcept nogil:
    """The web server has closed the connection, and with it left all requests in progress."""
    if (conn_fcgi(c) != NULL and conn_fcgi(c).n) or w.out.n == 0:
        conn_close(w, c)
    else:
        c.flags |= CONN_CLOSING


cdef void fcgi_on_stop(Worker *w, Conn *c) noexcept nogil:
    """The worker ends: serve what was sent already, and what comes beside that in the next moment, then close."""
    if c.flags & (CONN_PAUSED | CONN_DRAINING | CONN_KICK) or (conn_fcgi(c) != NULL and conn_fcgi(c).n):
        return
    conn_read(w, c)
    if c.flags & (CONN_DEAD | CONN_DRAINING | CONN_CLOSING | CONN_BLOCKED):
        return
    if c.flags & (CONN_FRESH | CONN_PARTIAL):
        timer_set(&w.wheel, &c.timer, w.now + DRAIN_GRACE)
    elif conn_fcgi(c).n == 0:
        conn_close(w, c)


cdef void fcgi_on_close(Worker *w, Conn *c) noexcept nogil:
    cdef Fcgi *f = conn_fcgi(c)
    cdef Req *r
    cdef Req *after
    cdef uint32_t i
    c.req = NULL
    if f == NULL:
        return
    w.nfcgi -= f.n
    for i in range(f.nslots):
        r = f.slots[i]
        while r != NULL:
            after = r.beside
            fcgi_leave(w, r)
            r = after
    if f.slots != f.few:
        free(f.slots)
    slab_free(&w.fcgis, f)
