# Listeners: accepting connections, and not accepting them while descriptors or places are out.
# A listening descriptor comes from the main thread, non-blocking, with TCP_NODELAY set (Linux hands it on to what is
# accepted). Shared ones (Unix sockets) wake one worker at a time through EPOLLEXCLUSIVE.

cdef enum:
    ACCEPT_BATCH = 64           # connections accepted in one turn, so that a flood does not starve the open ones
    ACCEPT_RETRY = 100          # ms without accepting after the system ran out of descriptors


cdef int listener_open(Worker *w, Listener *x, int fd, uint8_t flags) noexcept nogil:
    memset(x, 0, sizeof(Listener))
    x.watch.fd = fd
    x.watch.on_event = listener_on_event
    x.flags = flags
    x.proto = &FCGI if flags & LISTENER_FCGI else &HTTP1
    timer_init(&x.retry, listener_on_retry)
    return listener_watch(w, x)


cdef inline bint listener_is_open(Listener *x) noexcept nogil:
    """False before the worker was told to serve."""
    return x.proto != NULL


cdef int listener_watch(Worker *w, Listener *x) noexcept nogil:
    cdef uint32_t events = EPOLLIN
    if x.flags & LISTENER_SHARED:
        events |= EPOLLEXCLUSIVE
    return poller_add(w, &x.watch, events)


cdef void listener_close(Worker *w, Listener *x) noexcept nogil:
    """Take what the kernel has already accepted for this socket, then close it."""
    if x.watch.fd < 0:
        return
    timer_cancel(&w.wheel, &x.retry)
    if listener_is_open(x) and not x.flags & LISTENER_SHARED:
        while listener_accept(w, x) == OK:
            pass
    if not x.flags & LISTENER_PAUSED:
        poller_remove(w, &x.watch)
    close(x.watch.fd)
    x.watch.fd = -1


cdef void listener_on_event(Worker *w, Watch *watch, uint32_t events) noexcept nogil:
    cdef Listener *x = <Listener *>watch
    cdef int i
    for i in range(ACCEPT_BATCH):
        if listener_accept(w, x) != OK or ((i + 1) % TURN_LOOK == 0 and turn_spent(w, TURN_EVENTS)):
            return


cdef int listener_accept(Worker *w, Listener *x) noexcept nogil:
    """One connection. PENDING: none waits, or the listener was paused."""
    cdef sockaddr_storage address
    cdef socklen_t n = sizeof(address)
    cdef Conn *c
    cdef int fd
    if w.nconns >= w.server.limits.connections:
        listener_pause(w, x)
        listener_pass_on(w, x)
        return PENDING
    fd = accept4(x.watch.fd, <sockaddr *>&address, &n, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        return listener_failed(w, x)
    c = conn_new(w, x, fd)
    if c != NULL and not x.flags & LISTENER_UNIX:
        conn_set_address(c, &address)
    return OK


cdef int listener_failed(Worker *w, Listener *x) noexcept nogil:
    """accept() errors that concern one connection only are passed over; out of resources, wait a little."""
    if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
        log_z(w, LEVEL_WARN, b"accept: out of descriptors or memory; new connections wait")
        listener_pause(w, x)
        timer_set(&w.wheel, &x.retry, w.now + ACCEPT_RETRY)
        return PENDING
    return OK if errno == ECONNABORTED or errno == EPERM else PENDING


cdef void listener_pause(Worker *w, Listener *x) noexcept nogil:
    if not x.flags & LISTENER_PAUSED:
        x.flags |= LISTENER_PAUSED
        w.paused += 1
        poller_remove(w, &x.watch)


cdef void listener_pass_on(Worker *w, Listener *x) noexcept nogil:
    """This worker was woken for a connection that it does not take: have the others look."""
    cdef uint32_t i
    if x.flags & LISTENER_SHARED:
        for i in range(w.server.nworkers):
            if &w.server.workers[i] != w:
                eventfd_signal(w.server.workers[i].wake.fd)


cdef void listeners_look(Worker *w) noexcept nogil:
    """Another worker has passed on a connection of a shared listener."""
    cdef uint32_t i
    cdef Listener *x
    for i in range(w.nlisteners):
        x = &w.listeners[i]
        if listener_is_open(x) and x.watch.fd >= 0 and x.flags & LISTENER_SHARED and not x.flags & LISTENER_PAUSED:
            listener_on_event(w, &x.watch, EPOLLIN)


cdef void listener_on_retry(Worker *w, Timer *t) noexcept nogil:
    listeners_resume(w)


cdef inline void listeners_resume(Worker *w) noexcept nogil:
    """A connection has closed, or the waiting time is over: accept again where that was stopped."""
    if unlikely(w.paused != 0):
        listeners_unpause(w)


cdef void listeners_unpause(Worker *w) noexcept nogil:
    cdef uint32_t i
    cdef Listener *x
    for i in range(w.nlisteners):
        x = &w.listeners[i]
        if x.flags & LISTENER_PAUSED and x.watch.fd >= 0 and x.retry.due == 0:
            x.flags &= ~<uint32_t>LISTENER_PAUSED
            w.paused -= 1
            listener_watch(w, x)


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
