# Connections: accepting, reading into the worker's scratch buffer, collecting output, closing.
# Invariants:
#   - while the protocol runs for a connection (conn_begin .. conn_end) its output collects in Worker.out and leaves
#     with one write; output for any other connection goes to that one's own buffer, flushed at the end of the turn;
#   - Worker.out holds bytes of Worker.current only, and only while Worker.current.out is empty: order is kept;
#   - a closed connection stays readable memory (CONN_DEAD) until the end of the turn.

cdef enum:
    OUT_BATCH = 65536           # Worker.out is written out when it holds more
    OUT_DIRECT = 32768          # a body from this size is not copied: written together with what waits
    OUT_KEEP = 262144           # capacity that Worker.out keeps between turns
    OUT_HIGH = 65536            # unsent output of one connection that suspends its writer
    PROGRESS_MIN = 1024         # bytes that must move in one timeout, or the peer counts as stalled
    DRAIN_CHUNKS = 16           # reads of one turn while a closing connection is drained


# ---- Life ------------------------------------------------------------------------------------------------

cdef Conn *conn_new(Worker *w, Listener *x, int fd) noexcept nogil:
    """Take over the socket `fd` that was accepted. NULL: out of memory or not watchable; it is closed then."""
    cdef Conn *c = conn_make(w, x.proto, fd, CONN_FRESH)
    if c != NULL:
        timer_set(&w.wheel, &c.timer, w.now + w.server.limits.header_timeout)
        w.nconns += 1
    return c


cdef Conn *conn_make(Worker *w, const Proto *proto, int fd, uint16_t flags) noexcept nogil:
    """As conn_new, for any connected socket. With CONN_OURS the server does not wait for its end."""
    cdef Conn *c = <Conn *>slab_new(&w.conns)
    if c == NULL:
        close(fd)
        return NULL
    memset(c, 0, sizeof(Conn))
    c.watch.fd = fd
    c.watch.on_event = conn_on_event
    c.proto = proto
    c.flags = flags
    timer_init(&c.timer, conn_on_timer)
    if poller_add(w, &c.watch, EPOLLIN) != OK:
        close(fd)
        slab_free(&w.conns, c)
        return NULL
    c.after = w.all
    if w.all != NULL:
        w.all.before = c
    w.all = c
    return c


cdef void conn_close(Worker *w, Conn *c) noexcept nogil:
    """Close at once; unsent output is lost. The protocol hears of it through on_close."""
    if c.flags & CONN_DEAD:
        return
    c.flags |= CONN_DEAD
    if w.current == c:
        w.current = NULL
        w.out.n = 0
    timer_cancel(&w.wheel, &c.timer)
    c.proto.on_close(w, c)
    poller_remove(w, &c.watch)      # close() is not enough: a child of os.execute may hold a duplicate until its exec
    if c.tls != NULL:
        conn_close_tls(c)
    close(c.watch.fd)
    buf_free(&c.spill)
    buf_free(&c.out)
    conn_unlink(w, c)
    if not c.flags & CONN_DIRTY:
        c.next = w.dead
        w.dead = c
    if not c.flags & CONN_OURS:
        w.nconns -= 1
        listeners_resume(w)


cdef void conn_close_tls(Conn *c) noexcept nogil:
    c.tls.api.shutdown(c.tls)
    c.tls.api.session_free(c.tls)
    c.tls = NULL


cdef void conn_unlink(Worker *w, Conn *c) noexcept nogil:
    if c.before != NULL:
        c.before.after = c.after
    else:
        w.all = c.after
    if c.after != NULL:
        c.after.before = c.before


cdef void conn_reset(Worker *w, Conn *c) noexcept nogil:
    """Close so that the peer sees a reset: what it got is not the whole answer."""
    cdef linger hard
    hard.l_onoff = 1
    hard.l_linger = 0
    if not c.flags & CONN_DEAD:
        setsockopt(c.watch.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))
        conn_close(w, c)


cdef inline void conn_await(Worker *w, Conn *c, uint32_t events) noexcept nogil:
    poller_modify(w, &c.watch, events | EPOLLRDHUP if c.flags & CONN_WATCHED else events)


cdef void conn_watch(Worker *w, Conn *c) noexcept nogil:
    """The request in progress wants to know when the client leaves, also while no input is read."""
    if not c.flags & CONN_WATCHED:
        c.flags |= CONN_WATCHED
        poller_modify(w, &c.watch, c.watch.interest | EPOLLRDHUP)


cdef inline void conn_unwatch(Worker *w, Conn *c) noexcept nogil:
    """The request that wanted to know when the client leaves is answered."""
    if unlikely(c.flags & CONN_WATCHED):
        c.flags &= ~<uint32_t>CONN_WATCHED
        poller_modify(w, &c.watch, c.watch.interest & ~<uint32_t>EPOLLRDHUP)


cdef void conn_finish(Worker *w, Conn *c) noexcept nogil:
    """All output of a closing connection is sent. Unread input would turn close() into a reset that destroys the
    answer on its way, so where input may come it is drained first (RFC 9112 section 9.6)."""
    if not c.flags & CONN_LINGER:
        conn_close(w, c)
        return
    c.flags |= CONN_DRAINING
    c.flags &= ~<uint32_t>CONN_PAUSED
    c.spill.n = 0
    io_shutdown(c.watch.fd, c.tls)
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.linger_timeout)
    conn_await(w, c, EPOLLIN)


cdef void conn_drain(Worker *w, Conn *c) noexcept nogil:
    cdef ptrdiff_t n
    cdef int i
    for i in range(DRAIN_CHUNKS):
        n = io_read(c.watch.fd, c.tls, w.scratch, w.scratch_size)
        if n == PENDING:
            return
        if n <= 0:
            conn_close(w, c)
            return


# ---- Events ----------------------------------------------------------------------------------------------

cdef void conn_on_event(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    cdef Conn *c = <Conn *>x
    if c.flags & CONN_DEAD:
        return
    if events & EPOLLERR or (events & EPOLLHUP and (c.flags & CONN_PAUSED or not events & EPOLLIN)):
        conn_close(w, c)
        return
    if events & EPOLLRDHUP and c.flags & CONN_WATCHED and (c.flags & CONN_PAUSED or not events & EPOLLIN):
        conn_close(w, c)                # its request has asked to be told (lua_abort.pxi)
        return
    if events & EPOLLOUT:
        conn_on_writable(w, c)
        if c.flags & CONN_DEAD:
            return
    if events & EPOLLIN:
        if c.flags & CONN_DRAINING:
            conn_drain(w, c)
        elif c.flags & CONN_PAUSED:
            # Level-triggered: what is not read would be reported for ever. Only hang-ups are watched from here.
            poller_modify(w, x, x.interest & ~<uint32_t>EPOLLIN)
        else:
            conn_read(w, c)


cdef void conn_read(Worker *w, Conn *c) noexcept nogil:
    """One read, behind what was kept of the last one; then the protocol runs and its output is written."""
    cdef size_t kept = c.spill.n
    cdef ptrdiff_t n
    if unlikely(kept):
        if c.flags & CONN_KICK:             # whole requests may be among it: they come before an end of the stream
            return
        memcpy(w.scratch, c.spill.p, kept)
    n = io_read(c.watch.fd, c.tls, w.scratch + kept, w.scratch_size - kept)
    if n > 0:
        if unlikely(kept):
            buf_free(&c.spill)
        if unlikely(c.tls != NULL) and c.tls.api.pending(c.tls):
            c.flags |= CONN_UNREAD
            conn_touch(w, c)
        conn_deliver(w, c, kept + n)
    elif n == 0:
        conn_begin(w, c)
        c.proto.on_eof(w, c)
        conn_end(w, c)
    elif n != PENDING:
        conn_close(w, c)
    elif c.tls != NULL and c.tls.want == EPOLLOUT:      # TLS has to answer first
        c.flags |= CONN_UNREAD
        conn_await(w, c, EPOLLOUT)


cdef void conn_deliver(Worker *w, Conn *c, size_t n) noexcept nogil:
    conn_begin(w, c)
    c.proto.on_data(w, c, w.scratch, n)
    conn_end(w, c)


cdef void conn_on_writable(Worker *w, Conn *c) noexcept nogil:
    c.flags &= ~<uint32_t>CONN_BLOCKED
    if unlikely(c.flags & CONN_UNREAD):
        conn_await(w, c, EPOLLIN)
        conn_touch(w, c)
    conn_begin(w, c)
    conn_end(w, c)


cdef void conn_on_timer(Worker *w, Timer *t) noexcept nogil:
    cdef Conn *c = <Conn *>(<char *>t - conn_timer_offset())
    if c.flags & CONN_DRAINING:
        conn_close(w, c)
        return
    conn_begin(w, c)
    if c.flags & CONN_BLOCKED:
        conn_check_progress(w, c)
    else:
        c.proto.on_timer(w, c)
    conn_end(w, c)


cdef inline size_t conn_timer_offset() noexcept nogil:
    return <size_t>&(<Conn *>NULL).timer


cdef void conn_check_progress(Worker *w, Conn *c) noexcept nogil:
    """The write timeout has passed: a client that takes next to nothing is cut off."""
    if c.progress < PROGRESS_MIN:
        conn_reset(w, c)
        return
    c.progress = 0
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.write_timeout)


# ---- Output ----------------------------------------------------------------------------------------------

cdef inline void conn_begin(Worker *w, Conn *c) noexcept nogil:
    w.current = c
    w.out.n = 0


cdef void conn_end(Worker *w, Conn *c) noexcept nogil:
    """Write what was collected; go on with what waited for the output to leave, or close."""
    while not c.flags & CONN_DEAD:
        conn_flush(w, c)
        if c.flags & (CONN_DEAD | CONN_BLOCKED) or not c.flags & CONN_PUMP:
            break
        c.flags &= ~<uint32_t>CONN_PUMP
        c.proto.on_writable(w, c)
    w.current = NULL
    if not c.flags & (CONN_DEAD | CONN_DRAINING | CONN_PUMP) and c.out.n == 0 and c.flags & CONN_CLOSING:
        conn_finish(w, c)


cdef void conn_flush(Worker *w, Conn *c) noexcept nogil:
    """Write all output that waits, as far as the socket takes it; the rest is kept in Conn.out."""
    cdef ptrdiff_t n
    if likely(c.out.n == 0):
        if w.out.n == 0:
            return
        n = io_write(c.watch.fd, c.tls, w.out.p, w.out.n)
        if likely(n == <ptrdiff_t>w.out.n):
            w.out.n = 0
            return
        conn_keep_rest(w, c, w.out.p, w.out.n, n)
        w.out.n = 0
        return
    n = io_write(c.watch.fd, c.tls, c.out.p + c.out_at, c.out.n - c.out_at)
    if n < 0 and n != PENDING:
        conn_close(w, c)
        return
    if n > 0:
        c.out_at += <uint32_t>n
        c.progress += <uint32_t>n
    if c.out_at == c.out.n:
        conn_sent(w, c)
    elif c.watch.interest & EPOLLOUT:
        c.flags |= CONN_BLOCKED
    else:
        conn_wait_writable(w, c)


cdef void conn_sent(Worker *w, Conn *c) noexcept nogil:
    """The output that had to wait is gone."""
    buf_free(&c.out)
    c.out_at = 0
    c.flags &= ~<uint32_t>CONN_BLOCKED
    if c.proto.takes_input(c):
        if c.req == NULL:
            conn_idle(w, c)
        conn_resume(w, c)
    else:
        conn_await(w, c, 0)


cdef inline void conn_idle(Worker *w, Conn *c) noexcept nogil:
    """Between two requests: the next one has its time, but a worker that ends does not wait for it."""
    if unlikely(w.draining and c.spill.n == 0):
        c.flags |= CONN_CLOSING | CONN_LINGER
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.idle_timeout)


cdef void conn_keep_rest(Worker *w, Conn *c, const char *p, size_t n, ptrdiff_t sent) noexcept nogil:
    if sent < 0 and sent != PENDING:
        conn_close(w, c)
        return
    if sent < 0:
        sent = 0
    if buf_append(&c.out, p + sent, n - sent) != OK:
        conn_close(w, c)
        return
    conn_wait_writable(w, c)


cdef void conn_wait_writable(Worker *w, Conn *c) noexcept nogil:
    """The socket is full: take no input until the output has left, but for protocols with two directions; and not for
    longer than the write timeout."""
    c.progress = 0
    c.flags |= CONN_BLOCKED if c.proto.duplex else CONN_PAUSED | CONN_BLOCKED
    conn_await(w, c, EPOLLOUT if c.flags & CONN_PAUSED else EPOLLIN | EPOLLOUT)
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.write_timeout)


cdef inline Buf *conn_out(Worker *w, Conn *c) noexcept nogil:
    """Where output of `c` is collected now."""
    if likely(w.current == c and c.out.n == 0):
        return &w.out
    conn_touch(w, c)
    return &c.out


cdef int conn_write(Worker *w, Conn *c, const char *p, size_t n) noexcept nogil:
    """Send `n` bytes after all earlier ones. Returns OK or ERR_CLOSED; what the socket does not take is kept."""
    if c.flags & CONN_DEAD:
        return ERR_CLOSED
    if w.current != c or c.out.n:
        if buf_append(&c.out, p, n) != OK:
            conn_close(w, c)
            return ERR_CLOSED
        conn_touch(w, c)
        return OK
    if n >= OUT_DIRECT:
        return conn_write_direct(w, c, p, n)
    if w.out.n + n > OUT_BATCH:
        conn_flush(w, c)
        if c.flags & CONN_DEAD or c.out.n:
            return conn_write(w, c, p, n)
    if unlikely(buf_append(&w.out, p, n) != OK):
        conn_close(w, c)
        return ERR_CLOSED
    return OK


cdef int conn_write_direct(Worker *w, Conn *c, const char *p, size_t n) noexcept nogil:
    cdef Span parts[2]
    cdef ptrdiff_t sent
    cdef size_t head = w.out.n
    parts[0] = buf_span(&w.out)
    parts[1] = Span(p, n)
    sent = io_writev(c.watch.fd, c.tls, parts, 2)
    w.out.n = 0
    if sent == <ptrdiff_t>(head + n):
        return OK
    if sent == PENDING:
        sent = 0
    if 0 <= sent < <ptrdiff_t>head:
        if buf_append(&c.out, w.out.p + sent, head - sent) != OK:
            sent = ERR_CLOSED
        else:
            sent = head
    conn_keep_rest(w, c, p, n, sent - head if sent >= 0 else ERR_CLOSED)
    return ERR_CLOSED if c.flags & CONN_DEAD else OK


cdef inline void conn_touch(Worker *w, Conn *c) noexcept nogil:
    """Look at this connection at the end of the turn. One that was closed is in Worker.dead, through the same link."""
    if not c.flags & (CONN_DIRTY | CONN_DEAD):
        c.flags |= CONN_DIRTY
        c.next = w.dirty
        w.dirty = c


cdef void conns_settle(Worker *w) noexcept nogil:
    """The end of a turn: flush connections written to from outside, go on with spilled input, free closed ones."""
    cdef Conn *c
    while w.settling != NULL or w.dirty != NULL:
        if w.settling == NULL:
            conns_take(w)
        c = w.settling
        w.settling = c.next
        c.flags &= ~<uint32_t>CONN_DIRTY
        if c.flags & CONN_DEAD:
            c.next = w.dead
            w.dead = c
            continue
        conn_settle(w, c)
        if turn_spent(w, TURN_CONNS):
            break
    while w.dead != NULL:
        c = w.dead
        w.dead = c.next
        slab_free(&w.conns, c)
    if unlikely(w.out.cap > OUT_KEEP):
        buf_free(&w.out)


cdef void conns_take(Worker *w) noexcept nogil:
    """Move all that are dirty to `settling`, the oldest first."""
    cdef Conn *c
    while w.dirty != NULL:
        c = w.dirty
        w.dirty = c.next
        c.next = w.settling
        w.settling = c


cdef void conn_settle(Worker *w, Conn *c) noexcept nogil:
    if (c.out.n or c.flags & CONN_CLOSING) and not c.flags & CONN_BLOCKED:
        conn_begin(w, c)
        conn_end(w, c)
    if c.flags & CONN_KICK:
        conn_give_spill(w, c)
    if unlikely(c.flags & CONN_UNREAD) and not c.flags & (CONN_DEAD | CONN_PAUSED | CONN_KICK):
        c.flags &= ~<uint32_t>CONN_UNREAD
        conn_on_event(w, &c.watch, EPOLLIN)


cdef void conn_give_spill(Worker *w, Conn *c) noexcept nogil:
    """What was kept, or as much of it as the scratch buffer takes."""
    cdef Buf kept
    cdef size_t n
    c.flags &= ~<uint32_t>CONN_KICK         # conn_resume gives it again
    if c.flags & (CONN_DEAD | CONN_DRAINING | CONN_PAUSED) or c.spill.n == 0:
        return
    kept = c.spill
    memset(&c.spill, 0, sizeof(Buf))
    n = kept.n if kept.n < w.scratch_size else w.scratch_size
    memcpy(w.scratch, kept.p, n)
    conn_deliver(w, c, n)
    if unlikely(n < kept.n) and not c.flags & (CONN_DEAD | CONN_DRAINING) and \
            conn_spill(w, c, kept.p + n, kept.n - n) == OK and not c.flags & CONN_PAUSED:
        conn_kick(w, c)
    buf_free(&kept)


# ---- Input that must wait --------------------------------------------------------------------------------

cdef int conn_spill(Worker *w, Conn *c, const char *p, size_t n) noexcept nogil:
    """Keep input for later; it is given to the protocol again, in front of what is read then. At most what one read
    brings, or came with the connection, is ever kept, since a connection with kept input is not read before that is
    consumed."""
    if n == 0:
        return OK
    if buf_append(&c.spill, p, n) != OK:
        conn_close(w, c)
        return ERR_CLOSED
    return OK


cdef void conn_kick(Worker *w, Conn *c) noexcept nogil:
    """Give the kept input to the protocol at the end of this turn."""
    c.flags |= CONN_KICK
    conn_touch(w, c)


cdef void conn_resume(Worker *w, Conn *c) noexcept nogil:
    """The protocol takes input again."""
    c.flags &= ~<uint32_t>CONN_PAUSED
    if c.out.n == 0:
        conn_await(w, c, EPOLLIN)
    elif c.proto.duplex:
        conn_await(w, c, EPOLLIN | EPOLLOUT)
    if c.spill.n:
        conn_kick(w, c)
    elif unlikely(c.flags & CONN_UNREAD):
        conn_touch(w, c)
