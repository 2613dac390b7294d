# Listeners of the application. A listener is a Sock whose reader waits for connections; those that nobody has taken yet
# are in Sock.accepted.
# Invariant: a retired listener has no descriptor any more; accept() still gives what was in its queue, then "closed".
# Not for the listeners of the server (listen.pxi).


cdef int sock_accept(Worker *w, Sock *s) noexcept nogil:
    """A connection from the listener's queue into Sock.accepted; PENDING or a failure, which is told once."""
    cdef sockaddr_storage address
    cdef socklen_t n = sizeof(address)
    cdef Sock *x
    cdef Sock **at = &s.accepted
    cdef int fd = io_accept(s.watch.fd, <sockaddr *>&address, &n)
    if fd < 0:
        if fd != PENDING:
            s.error = errno
        return fd
    x = sock_new(w, s.state, fd, s.family, 0)
    if x == NULL:
        s.error = ENOMEM
        return ERR_MEMORY
    while at[0] != NULL:
        at = &at[0].after
    at[0] = x
    return 1


cdef Sock *sock_take_accepted(Sock *s) noexcept nogil:
    cdef Sock *x = s.accepted
    s.accepted = x.after
    x.after = NULL
    return x


cdef void listener_retire(Worker *w, Sock *s) noexcept nogil:
    """Other code serves the address from now on: take what the kernel has accepted for this listener, and close it."""
    while sock_accept(w, s) == 1:
        pass
    sock_shut(w, s)
    s.flags |= SOCK_EOF
    if s.reading.begun:
        op_ready(w, &s.reading)


cdef void state_retire_listeners(Worker *w, State *state) noexcept nogil:
    cdef Sock *s = state.socks
    while s != NULL:
        if s.flags & SOCK_LISTENS and not s.flags & SOCK_EOF:
            listener_retire(w, s)
        s = s.next
