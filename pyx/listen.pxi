# Listeners: accepting connections, and not accepting them while descriptors or places are out.
# A listening descriptor comes from the main thread, non-blocking, with TCP_NODELAY set (Linux hands it on to what is
# accepted). Shared ones (Unix sockets) wake one worker at a time through EPOLLEXCLUSIVE.

cdef enum:
    ACCEPT_BATCH = 64           # connections accepted in one turn, so that a flood does not starve the open ones
    ACCEPT_RETRY = 100          # ms without accepting after the system ran out of descriptors


cdef int listener_open(Worker *w, Listener *l, int fd, uint8_t flags) noexcept nogil:
    memset(l, 0, sizeof(Listener))
    l.watch.fd = fd
    l.watch.on_event = listener_on_event
    l.flags = flags
    l.proto = &HTTP1
    timer_init(&l.retry, listener_on_retry)
    return listener_watch(w, l)


cdef int listener_watch(Worker *w, Listener *l) noexcept nogil:
    cdef uint32_t events = EPOLLIN
    if l.flags & LISTENER_SHARED:
        events |= EPOLLEXCLUSIVE
    return poller_add(w, &l.watch, events)


cdef void listener_close(Worker *w, Listener *l) noexcept nogil:
    """Take what the kernel has already accepted for this socket, then close it."""
    if l.watch.fd < 0:
        return
    timer_cancel(&w.wheel, &l.retry)
    if not l.flags & LISTENER_SHARED:
        while listener_accept(w, l) == OK:
            pass
    if not l.flags & LISTENER_PAUSED:
        poller_remove(w, &l.watch)
    close(l.watch.fd)
    l.watch.fd = -1


cdef void listener_on_event(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    cdef Listener *l = <Listener *>x
    cdef int i
    for i in range(ACCEPT_BATCH):
        if listener_accept(w, l) != OK:
            return


cdef int listener_accept(Worker *w, Listener *l) noexcept nogil:
    """One connection. PENDING: none waits, or the listener was paused."""
    cdef sockaddr_storage address
    cdef socklen_t n = sizeof(address)
    cdef Conn *c
    cdef int fd
    if w.nconns >= w.server.limits.connections:
        listener_pause(w, l)
        return PENDING
    fd = accept4(l.watch.fd, <sockaddr *>&address, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        return listener_failed(w, l)
    c = conn_new(w, l, fd)
    if c != NULL and not l.flags & LISTENER_UNIX:
        conn_set_address(c, &address)
    return OK


cdef int listener_failed(Worker *w, Listener *l) noexcept nogil:
    """accept() errors that concern one connection only are passed over; out of resources, wait a little."""
    if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
        log_z(w, LEVEL_WARN, b"accept: out of descriptors or memory; new connections wait")
        listener_pause(w, l)
        timer_set(&w.wheel, &l.retry, w.now + ACCEPT_RETRY)
        return PENDING
    return OK if errno == ECONNABORTED or errno == EPERM else PENDING


cdef void listener_pause(Worker *w, Listener *l) noexcept nogil:
    if not l.flags & LISTENER_PAUSED:
        l.flags |= LISTENER_PAUSED
        w.paused += 1
        poller_remove(w, &l.watch)


cdef void listener_on_retry(Worker *w, Timer *t) noexcept nogil:
    listeners_resume(w)


cdef inline void listeners_resume(Worker *w) noexcept nogil:
    """A connection has closed, or the waiting time is over: accept again where that was stopped."""
    if unlikely(w.paused != 0):
        listeners_unpause(w)


cdef void listeners_unpause(Worker *w) noexcept nogil:
    cdef uint32_t i
    cdef Listener *l
    for i in range(w.nlisteners):
        l = &w.listeners[i]
        if l.flags & LISTENER_PAUSED and l.watch.fd >= 0 and l.retry.due == 0:
            l.flags &= ~<uint32_t>LISTENER_PAUSED
            w.paused -= 1
            listener_watch(w, l)


cdef void conn_set_address(Conn *c, sockaddr_storage *s) noexcept nogil:
    cdef sockaddr_in *four = <sockaddr_in *>s
    cdef sockaddr_in6 *six = <sockaddr_in6 *>s
    if s.ss_family == AF_INET:
        c.address[10] = c.address[11] = 0xff
        memcpy(&c.address[12], &four.sin_addr, 4)
        c.port = ntohs(four.sin_port)
    elif s.ss_family == AF_INET6:
        memcpy(c.address, &six.sin6_addr, 16)
        c.port = ntohs(six.sin6_port)
