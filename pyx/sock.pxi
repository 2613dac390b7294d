# Sockets of the application: connecting, reading, writing, closing; what a coroutine waits for is an Op (inbox.pxi).
# lua_socket.pxi is the side of Lua, io.pxi moves the bytes.
# Invariants:
#   - input is read on an event of the poller only, once for each event, into the worker's scratch buffer; what nobody
#     takes at once goes to Sock.input. A read with a timeout of 0 is the exception: it must answer at once, while the
#     scratch buffer may hold a request, and reads into Sock.input;
#   - the poller watches a socket for input all the time, so that an exchange costs no call to it. Input that nobody
#     waits for turns that off; output is watched only while a writer waits;
#   - a hang-up that nobody waits for takes the socket out of the poller, which would report it for ever;
#   - a closed socket stays readable memory (SOCK_DEAD) until both ops have ended and the turn has.

cdef extern from *:
    void *memmem(const void *p, size_t n, const void *what, size_t m) nogil

cdef enum:
    SEND_TURN = 262144          # bytes given to the kernel in one turn
    SEND_COPIED = 16384         # an unsent rest up to this size is copied, a longer one stays in its Lua string
    INPUT_KEPT = 65536          # capacity of the spare input buffer
    INPUT_STEP = 65536          # room made for a read behind kept input
    INPUT_TURN = 262144         # bytes read in one turn


# ---- Life ------------------------------------------------------------------------------------------------

cdef Sock *sock_new(Worker *w, State *state, int fd, uint16_t family, uint32_t flags) noexcept nogil:
    """Take over a non-blocking descriptor. NULL: out of memory; the descriptor is closed then."""
    cdef Sock *s = <Sock *>slab_new(&w.socks)
    if s == NULL:
        close(fd)
        return NULL
    memset(s, 0, sizeof(Sock))
    s.watch.fd = fd
    s.watch.on_event = sock_on_event
    s.family = family
    s.flags = flags
    s.state = state
    timer_init(&s.timer, sock_on_timer)
    s.read_events = EPOLLIN
    s.write_events = EPOLLOUT
    s.prefix = s.output_ref = LUA_NOREF
    s.connect_timeout = s.send_timeout = s.receive_timeout = -1
    op_init(&s.reading)
    s.reading.begin = reading_begin
    s.reading.cancel = sock_op_cancel
    s.reading.drop = reading_drop
    s.reading.finish = finish_reading
    op_init(&s.writing)
    s.writing.begin = writing_begin
    s.writing.cancel = sock_op_cancel
    s.writing.drop = writing_drop
    s.writing.finish = finish_writing
    s.next = state.socks
    if s.next != NULL:
        s.next.prev = s
    state.socks = s
    state.nsocks += 1
    return s


cdef void sock_close(Worker *w, Sock *s) noexcept nogil:
    """Close at once. Who waits is told at the end of the turn."""
    if s.flags & SOCK_DEAD:
        return
    s.flags |= SOCK_DEAD
    if s.box != NULL:
        s.box.sock = NULL
        s.box = NULL
    if s.flags & SOCK_POOLED:
        pool_remove(s)
    timer_cancel(&w.wheel, &s.timer)
    if s.tls != NULL:
        sock_close_tls(s)
    sock_shut(w, s)
    while s.accepted != NULL:
        sock_close(w, sock_take_accepted(s))
    sock_unlist(s)
    s.unread = Span(NULL, 0)
    buf_free(&s.input)
    buf_free(&s.output)
    buf_free(&s.delimiter)
    sock_end_op(w, &s.reading)
    sock_end_op(w, &s.writing)
    sock_release(w, s)


cdef void sock_close_tls(Sock *s) noexcept nogil:
    if (s.flags & (SOCK_SECURE | SOCK_BROKEN | SOCK_CUT | SOCK_ENDED)) == SOCK_SECURE:
        s.tls.api.shutdown(s.tls)
    s.tls.api.session_free(s.tls)
    s.tls = NULL


cdef void sock_shut(Worker *w, Sock *s) noexcept nogil:
    """Give the descriptor up. close() is not enough: a child of os.execute may hold a duplicate until its exec."""
    sock_unwatch(w, s)
    if s.watch.fd >= 0:
        close(s.watch.fd)
    s.watch.fd = -1


cdef void sock_unlist(Sock *s) noexcept nogil:
    if s.prev != NULL:
        s.prev.next = s.next
    else:
        s.state.socks = s.next
    if s.next != NULL:
        s.next.prev = s.prev
    s.state.nsocks -= 1


cdef void sock_end_op(Worker *w, Op *op) noexcept nogil:
    """The socket is closed under what waits for it."""
    if op.begun:
        op_ready(w, op)
    elif op.coro != NULL and not op.ready:      # its yield has failed
        op_forget(w, op.coro)


cdef inline bint op_waits(Op *op) noexcept nogil:
    """Whether a coroutine waits for it. One whose yield has failed does not."""
    return op.begun or op.ready


cdef void sock_release(Worker *w, Sock *s) noexcept nogil:
    """An op has ended, or Lua has let go: close what nobody can reach, free what is closed."""
    if op_waits(&s.reading) or op_waits(&s.writing):
        return
    if s.flags & SOCK_DEAD:
        if not s.flags & (SOCK_FREED | SOCK_KICKED):
            s.flags |= SOCK_FREED
            s.after = w.socks_dead
            w.socks_dead = s
    elif s.box == NULL and not s.flags & SOCK_POOLED:
        sock_close(w, s)


cdef void socks_settle(Worker *w) noexcept nogil:
    """The end of a turn: read what no event will tell of; free what is closed."""
    cdef Sock *s
    if w.socks_kicked != NULL:
        socks_go_on(w)
    while w.socks_dead != NULL:
        s = w.socks_dead
        w.socks_dead = s.after
        slab_free(&w.socks, s)


cdef void socks_go_on(Worker *w) noexcept nogil:
    """One read for each that was kicked before this call, as far as there is time."""
    cdef Sock *s = w.socks_kicked
    cdef Sock *after
    cdef uint32_t n = 0
    w.socks_kicked = NULL
    while s != NULL:
        after = s.kicked
        s.flags &= ~<uint32_t>SOCK_KICKED
        n += 1
        if s.flags & SOCK_DEAD:
            sock_release(w, s)
        elif n % TURN_LOOK == 0 and turn_spent(w, TURN_CONNS):
            sock_kick(w, s)
        elif s.reading.begun:
            sock_on_readable(w, s)
        s = after


cdef void state_close_socks(Worker *w, State *state) noexcept nogil:
    """The state ends; no coroutine of it waits any more."""
    while state.socks != NULL:
        sock_close(w, state.socks)


# ---- Waiting ---------------------------------------------------------------------------------------------

cdef inline Sock *sock_of_reading(Op *op) noexcept nogil:
    return <Sock *>(<char *>op - <size_t>&(<Sock *>NULL).reading)


cdef inline Sock *sock_of_writing(Op *op) noexcept nogil:
    return <Sock *>(<char *>op - <size_t>&(<Sock *>NULL).writing)


cdef void sock_watch(Worker *w, Sock *s, uint32_t events) noexcept nogil:
    """Have the poller report these. One that does not take the descriptor makes it fail."""
    if s.flags & SOCK_WATCHED:
        poller_modify(w, &s.watch, events)
    elif poller_add(w, &s.watch, events) == OK:
        s.flags |= SOCK_WATCHED
    else:
        sock_break(s, errno)


cdef void sock_unwatch(Worker *w, Sock *s) noexcept nogil:
    if s.flags & SOCK_WATCHED:
        s.flags &= ~<uint32_t>SOCK_WATCHED
        poller_remove(w, &s.watch)


cdef void reading_begin(Worker *w, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_reading(op)
    sock_watch(w, s, s.watch.interest | s.read_events)
    if s.flags & SOCK_BROKEN:
        op_ready(w, op)
    elif s.flags & SOCK_MORE:
        sock_kick(w, s)


cdef void sock_kick(Worker *w, Sock *s) noexcept nogil:
    """Read at the end of the turn, without an event."""
    if not s.flags & SOCK_KICKED:
        s.flags |= SOCK_KICKED
        s.kicked = w.socks_kicked
        w.socks_kicked = s


cdef void writing_begin(Worker *w, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_writing(op)
    cdef uint32_t events = s.watch.interest | s.write_events
    if not s.flags & (SOCK_WATCHED | SOCK_CONNECTING):
        events |= EPOLLIN
    sock_watch(w, s, events)
    if s.flags & SOCK_BROKEN:
        op_ready(w, op)


cdef bint sock_op_cancel(Worker *w, Op *op) noexcept nogil:
    """Nothing else holds an op: the next event finds nobody who waits."""
    return True


cdef int64_t sock_timeout(Sock *s, int64_t timeout, uint64_t now) noexcept nogil:
    """The ms that an operation with this timeout has, -1: as long as it takes."""
    cdef int64_t left
    if s.deadline == 0:
        return timeout
    left = <int64_t>(s.deadline - now) if s.deadline > now else 0
    return left if timeout < 0 or left < timeout else timeout


# ---- Events ----------------------------------------------------------------------------------------------

cdef void sock_on_event(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    cdef Sock *s = <Sock *>x
    cdef bint broken = (events & (EPOLLERR | EPOLLHUP)) != 0
    cdef uint32_t wanted = 0
    if s.flags & (SOCK_DEAD | SOCK_POOLED):
        if s.flags & SOCK_POOLED:
            pool_on_event(w, s)
        return
    if s.writing.begun:
        wanted = s.write_events
    if s.reading.begun:
        wanted |= s.read_events
    # Level-triggered: what nobody waits for would be reported for ever. Who waits next turns it on again.
    events &= EPOLLIN | EPOLLOUT
    if events & ~wanted:
        poller_modify(w, x, x.interest & ~(events & ~wanted))
    if s.writing.begun and (broken or events & s.write_events):
        sock_on_writable(w, s)
    if s.reading.begun and (broken or events & s.read_events):
        sock_on_readable(w, s)
    if broken and not s.flags & SOCK_DEAD and not s.reading.begun and not s.writing.begun:
        sock_unwatch(w, s)


cdef void sock_on_readable(Worker *w, Sock *s) noexcept nogil:
    """One read; then the reader goes on if that was what it waits for."""
    cdef ptrdiff_t n = sock_fill(w, s)
    if n == PENDING:
        sock_watch(w, s, s.watch.interest | s.read_events)
    elif sock_look(s) or n <= 0:
        op_done(w, &s.reading)
    else:
        sock_keep(w, s)
        if s.flags & SOCK_MORE:
            sock_kick(w, s)
        sock_extend(s, &s.reading, s.receive_timeout)


cdef void sock_extend(Sock *s, Op *op, int64_t timeout) noexcept nogil:
    """Bytes have moved, more are to."""
    cdef Coro *co = op.coro
    if s.flags & SOCK_PATIENT and timeout > 0 and co != NULL and op.begun:
        co.wake_at = s.state.worker.now + <uint64_t>sock_timeout(s, timeout, s.state.worker.now)
        timer_set(&s.state.worker.wheel, &co.timer, co.wake_at)


cdef void sock_on_writable(Worker *w, Sock *s) noexcept nogil:
    if s.flags & SOCK_CONNECTING:
        sock_connected(w, s)
    elif sock_push(s) == PENDING:
        sock_watch(w, s, s.watch.interest | s.write_events)
    elif s.rest.n == 0 or s.error or s.flags & (SOCK_BROKEN | SOCK_CUT):
        op_done(w, &s.writing)
    else:
        sock_extend(s, &s.writing, s.send_timeout)


cdef void sock_connected(Worker *w, Sock *s) noexcept nogil:
    """The connect is decided."""
    cdef int error = 0
    cdef socklen_t n = sizeof(error)
    if getsockopt(s.watch.fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0:
        error = errno
    if error:
        sock_break(s, error)
    else:
        s.flags &= ~<uint32_t>SOCK_CONNECTING
        poller_modify(w, &s.watch, EPOLLIN)
    op_done(w, &s.writing)


# ---- Input -----------------------------------------------------------------------------------------------

cdef ptrdiff_t sock_read(Sock *s, char *p, size_t n) noexcept nogil:
    """As io_read; the flags tell of the end, and of a datagram."""
    cdef ptrdiff_t got
    if s.flags & SOCK_DATAGRAM:
        return sock_read_datagram(s.state.worker, s, p, n)
    elif s.flags & SOCK_PIPE:
        got = io_read_pipe(s.watch.fd, p, n)
    elif s.tls != NULL:
        got = sock_read_tls(s, p, n)
    else:
        got = io_read(s.watch.fd, NULL, p, n)
    if got == 0:
        s.flags |= SOCK_EOF
    elif got < 0:
        sock_failed(s, got, &s.read_events)
    return got


cdef ptrdiff_t sock_read_tls(Sock *s, char *p, size_t n) noexcept nogil:
    """A session gives one record at a time: read on until the socket has no more, or the room is full."""
    cdef size_t sum_ = 0
    cdef ptrdiff_t got = 0
    s.flags |= SOCK_MORE
    while sum_ < n:
        got = io_read(s.watch.fd, s.tls, p + sum_, n - sum_)
        if got <= 0:
            break
        sum_ += got
    if got == PENDING:
        s.flags &= ~<uint32_t>SOCK_MORE
    return <ptrdiff_t>sum_ if sum_ else got


cdef ptrdiff_t sock_read_datagram(Worker *w, Sock *s, char *p, size_t n) noexcept nogil:
    """A datagram may be empty; a failure concerns an earlier one that was sent, and is told once."""
    cdef ptrdiff_t got
    w.sender_n = sizeof(w.sender)
    got = io_receive_from(s.watch.fd, p, n, w.sender, &w.sender_n)
    if got >= 0:
        s.flags |= SOCK_GOT
    elif got != PENDING:
        s.error = errno
    return got


cdef void sock_failed(Sock *s, ptrdiff_t rc, uint32_t *events) noexcept nogil:
    """What a read that gave nothing means."""
    if rc == PENDING:
        if s.tls != NULL:
            events[0] = s.tls.want
        return
    sock_break(s, errno)
    if s.tls != NULL:
        s.error = s.tls.system_error if rc == ERR_SYSTEM else 0


cdef void sock_write_failed(Sock *s, ptrdiff_t rc) noexcept nogil:
    """A peer that has left without reading all may have answered before: its answer can still be read."""
    if rc != ERR_CLOSED:
        sock_failed(s, rc, &s.write_events)
        return
    s.flags |= SOCK_CUT
    s.send_error = errno if s.tls == NULL else 0


cdef inline void sock_break(Sock *s, int error) noexcept nogil:
    """Nothing can be read or written any more."""
    s.flags |= SOCK_BROKEN
    s.error = error


cdef ptrdiff_t sock_fill(Worker *w, Sock *s) noexcept nogil:
    """Read once, on an event: into the scratch buffer, or behind the input that is kept already."""
    cdef ptrdiff_t n
    if s.flags & SOCK_LISTENS:
        return sock_accept(w, s)
    if s.read == READ_HANDSHAKE:
        return sock_shake(s)
    if s.unread.n:
        return sock_fill_input(s)
    n = sock_read(s, w.scratch, w.scratch_size)
    if n > 0:
        s.unread = Span(w.scratch, n)
        s.flags |= SOCK_SCRATCH
    return n


cdef ptrdiff_t sock_shake(Sock *s) noexcept nogil:
    """Go on with the TLS handshake."""
    cdef int rc = s.tls.api.handshake(s.tls)
    if rc == OK:
        s.flags |= SOCK_SECURE | SOCK_MORE
        return 1
    sock_failed(s, rc, &s.read_events)
    return rc


cdef void sock_fill_now(Worker *w, Sock *s) noexcept nogil:
    """Read what is there already, outside of an event."""
    if s.flags & SOCK_LISTENS:
        sock_accept(w, s)
    elif s.read == READ_HANDSHAKE:
        sock_shake(s)
    else:
        sock_fill_input(s)


cdef ptrdiff_t sock_fill_input(Sock *s) noexcept nogil:
    """Read once into Sock.input, which holds all unread input, if any."""
    cdef ptrdiff_t n
    cdef size_t kept = s.unread.n
    if kept and s.unread.p != s.input.p:
        memmove(s.input.p, s.unread.p, kept)
    s.input.n = kept
    if buf_reserve(&s.input, INPUT_STEP) != OK:
        sock_break(s, ENOMEM)
        return ERR_MEMORY
    n = s.input.cap - kept
    n = sock_read(s, s.input.p + kept, n if n < INPUT_TURN else INPUT_TURN)
    if n > 0:
        s.input.n += n
    s.unread = buf_span(&s.input)
    return n


cdef void sock_keep(Worker *w, Sock *s) noexcept nogil:
    """The event is over: what is unread must not stay in the scratch buffer, and no buffer where nothing is."""
    cdef Span text = s.unread
    cdef bint scratch = (s.flags & SOCK_SCRATCH) != 0
    s.flags &= ~<uint32_t>SOCK_SCRATCH
    if text.n == 0:
        s.unread.p = NULL
        if s.input.p != NULL:
            sock_drop_input(w, s)
    elif scratch:
        if s.input.p == NULL and w.socks_spare.p != NULL:
            s.input = w.socks_spare
            memset(&w.socks_spare, 0, sizeof(Buf))
        s.input.n = 0
        if buf_append(&s.input, text.p, text.n) != OK:
            sock_break(s, ENOMEM)
        s.unread = buf_span(&s.input)


cdef inline void sock_take(Worker *w, Sock *s, size_t n) noexcept nogil:
    """The first `n` unread bytes are used up."""
    s.unread.p += n
    s.unread.n -= n
    s.scanned = s.scanned - n if s.scanned > n else 0
    sock_keep(w, s)


cdef inline void sock_drop_input(Worker *w, Sock *s) noexcept nogil:
    """The buffer has served: the next socket gets it."""
    if w.socks_spare.p == NULL and s.input.cap <= INPUT_KEPT:
        w.socks_spare = s.input
        memset(&s.input, 0, sizeof(Buf))
    else:
        buf_free(&s.input)


cdef inline bint sock_look(Sock *s) noexcept nogil:
    """Whether the unread input has what is asked for; then `found` and `skip` say how much of it."""
    if sock_find(s):
        s.flags |= SOCK_FOUND
    return s.flags & SOCK_FOUND


cdef bint sock_find(Sock *s) noexcept nogil:
    cdef size_t n = s.unread.n
    if s.read == READ_ANY:
        s.found = s.skip = n if n < s.want else s.want
        return n != 0
    elif s.read == READ_COUNT:
        s.found = s.skip = s.want
        return n >= s.want
    elif s.read == READ_LINE:
        return n != 0 and sock_find_line(s)
    elif s.read == READ_UNTIL:
        return sock_find_delimiter(s)
    elif s.read == READ_HEAD:
        return n != 0 and sock_find_head(s)
    elif s.read == READ_CHUNK:
        return sock_find_chunk(s)
    elif s.read == READ_DATAGRAM:
        return s.flags & SOCK_GOT
    elif s.read == READ_ACCEPT:
        return s.accepted != NULL
    elif s.read == READ_HANDSHAKE:
        return s.flags & SOCK_SECURE
    return False                        # READ_ALL ends with the stream


cdef bint sock_find_line(Sock *s) noexcept nogil:
    cdef const char *p = <const char *>memchr(s.unread.p + s.scanned, c'\n', s.unread.n - s.scanned)
    if p == NULL:
        s.scanned = s.unread.n
        return False
    s.found = p - s.unread.p
    s.skip = s.found + 1
    return True


cdef bint sock_find_delimiter(Sock *s) noexcept nogil:
    """The text before the delimiter; with `want` also a piece that is surely before it."""
    cdef Span d = buf_span(&s.delimiter)
    cdef const char *p = NULL
    cdef size_t before
    if s.unread.n >= d.n:
        p = <const char *>memmem(s.unread.p + s.scanned, s.unread.n - s.scanned, d.p, d.n)
    if p == NULL:
        s.scanned = s.unread.n - d.n + 1 if s.unread.n >= d.n else 0
        s.found = s.skip = s.want
        return s.want and s.scanned >= s.want
    s.scanned = before = p - s.unread.p
    s.found = before + d.n if s.inclusive else before
    s.skip = before + d.n
    if s.want and s.found > s.want and before:      # a delimiter is not given in two pieces
        s.found = s.skip = before if before < s.want else s.want
    elif s.want:
        s.flags |= SOCK_AFTER_UNTIL
    return True


# ---- Output ----------------------------------------------------------------------------------------------

cdef ptrdiff_t sock_write(Sock *s, const char *p, size_t n) noexcept nogil:
    """As io_write, for at most SEND_TURN bytes: bytes written, at least one; PENDING or a failure."""
    cdef ptrdiff_t done
    if s.flags & SOCK_DATAGRAM:
        return sock_write_datagram(s, p, n)
    if n > SEND_TURN:
        n = SEND_TURN
    if s.flags & SOCK_PIPE:
        done = io_write_pipe(s.watch.fd, p, n)
    else:
        done = io_write(s.watch.fd, s.tls, p, n)
    if done < 0:
        sock_write_failed(s, done)
    return done


cdef ptrdiff_t sock_write_datagram(Sock *s, const char *p, size_t n) noexcept nogil:
    """To the connected peer, or to the address that Sock.output begins with."""
    cdef ptrdiff_t done
    cdef Address *to = <Address *>s.output.p
    if s.flags & SOCK_TO:
        done = io_send_to(s.watch.fd, p, n, <sockaddr *>&to.at, to.n)
    else:
        done = io_write(s.watch.fd, NULL, p, n)
    if done < 0 and done != PENDING:
        s.error = errno
    return done


cdef ptrdiff_t sock_push(Sock *s) noexcept nogil:
    """Write more of the rest."""
    cdef ptrdiff_t n = sock_write(s, s.rest.p, s.rest.n)
    if n > 0:
        s.rest.p += n
        s.rest.n -= n
        s.sent += n
    return n
