# Pools of idle connections, one for each key in each state: last in, first out, so that a few are used and the others
# grow old. What happens to an idle connection ends it: its peer closes it, or says something that nobody asked for.
# Invariant: a socket in a pool has no userdata, no unread input, and the poller watches it for input.

cdef enum:
    POOLS_SWEPT = 64            # empty pools are kept until there are more than this, and more empty ones than others


cdef void pool_add(Worker *w, SockPool *pool, Sock *s, uint64_t idle) noexcept nogil:
    """Idle from now on, for at most `idle` ms (0: as long as the peer likes)."""
    s.flags |= SOCK_POOLED
    s.pool = pool
    s.given = w.now_ns
    s.newer = NULL
    s.older = pool.first
    if s.older != NULL:
        s.older.newer = s
    else:
        pool.last = s
    pool.first = s
    pool.n += 1
    s.state.npooled += 1
    s.timer.deadline = 0
    if idle:
        timer_set(&w.wheel, &s.timer, w.now + idle)


cdef void pool_remove(Sock *s) noexcept nogil:
    """Not idle any more. Its timer goes on: setting it again is cheaper than taking it out of the wheel."""
    cdef SockPool *pool = s.pool
    s.flags &= ~<uint32_t>SOCK_POOLED
    s.pool = NULL
    if s.newer != NULL:
        s.newer.older = s.older
    else:
        pool.first = s.older
    if s.older != NULL:
        s.older.newer = s.newer
    else:
        pool.last = s.newer
    pool.n -= 1
    s.state.npooled -= 1


cdef Sock *pool_take(Worker *w, SockPool *pool, bint unseen) noexcept nogil:
    """The connection that was given last and is still good; NULL: there is none. `unseen`: the kernel is not asked, for
    somebody who can bear that it is closed."""
    cdef Sock *s
    while pool.first != NULL:
        s = pool.first
        # the poller has had time to tell, or the kernel is asked
        if unseen or (s.given != w.now_ns and not poller_waits(w)) or io_is_idle(s.watch.fd):
            pool_remove(s)
            s.reused += 1
            return s
        sock_close(w, s)
    return NULL


cdef void pool_on_event(Worker *w, Sock *s) noexcept nogil:
    """TLS has messages of its own, which are not for the application."""
    if s.tls == NULL or s.tls.api.read(s.tls, w.scratch, w.scratch_size) != PENDING:
        sock_close(w, s)


cdef void sock_on_timer(Worker *w, Timer *t) noexcept nogil:
    cdef Sock *s = <Sock *>(<char *>t - <size_t>&(<Sock *>NULL).timer)
    if s.flags & SOCK_POOLED and t.deadline:
        sock_close(w, s)
