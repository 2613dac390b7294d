# The poller: which descriptors are watched, and waiting for them. epoll, level-triggered (Linux).
# Invariant: a Watch that was removed is not called any more and may be freed, also if it has an event that was not
# handed out yet.
# Another poller (io_uring, kqueue) is another file with these functions.

cdef enum:
    POLL_EVENTS = 64            # taken at once


cdef int poller_open(Worker *w) noexcept nogil:
    w.events = malloc(POLL_EVENTS * sizeof(epoll_event))
    w.epfd = epoll_create1(EPOLL_CLOEXEC)
    return OK if w.epfd >= 0 and w.events != NULL else ERR_SYSTEM


cdef void poller_close(Worker *w) noexcept nogil:
    if w.epfd >= 0:
        close(w.epfd)
    w.epfd = -1
    free(w.events)


cdef int poller_add(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    cdef epoll_event e
    e.events = events
    e.data.ptr = x
    x.interest = events
    return OK if epoll_ctl(w.epfd, EPOLL_CTL_ADD, x.fd, &e) == 0 else ERR_SYSTEM


cdef void poller_modify(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    """Change what is asked for; errors and hang-ups are always reported. No system call if nothing changes."""
    cdef epoll_event e
    if x.interest == events:
        return
    e.events = events
    e.data.ptr = x
    x.interest = events
    epoll_ctl(w.epfd, EPOLL_CTL_MOD, x.fd, &e)


cdef void poller_remove(Worker *w, Watch *x) noexcept nogil:
    cdef epoll_event *events = <epoll_event *>w.events
    cdef epoll_event e
    cdef int i
    x.interest = 0
    epoll_ctl(w.epfd, EPOLL_CTL_DEL, x.fd, &e)
    for i in range(w.event_at, w.event_n):
        if events[i].data.ptr == x:
            events[i].data.ptr = NULL


cdef inline bint poller_waits(Worker *w) noexcept nogil:
    """Whether there are events that were taken and not handed out."""
    return w.event_at < w.event_n


cdef void poller_turn(Worker *w, int timeout) noexcept nogil:
    """Begin a turn. If no events are left of the last one, wait for some, at most `timeout` ms (-1: for ever); then
    hand them to their Watches, those for which there is time."""
    cdef epoll_event *events = <epoll_event *>w.events
    cdef Watch *x
    if likely(not poller_waits(w)):
        w.event_at = 0
        w.event_n = sys_epoll_wait(w.epfd, events, POLL_EVENTS, timeout)
    turn_begin(w)
    while w.event_at < w.event_n:
        x = <Watch *>events[w.event_at].data.ptr
        w.event_at += 1
        if likely(x != NULL):
            x.on_event(w, x, events[w.event_at - 1].events)
        if w.event_at % TURN_LOOK == 0 and turn_spent(w, TURN_EVENTS):
            break


cdef int wake_open(Worker *w) noexcept nogil:
    """Let other threads interrupt the wait with `worker_wake`."""
    w.wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if w.wake.fd < 0:
        return ERR_SYSTEM
    w.wake.on_event = wake_on_event
    return poller_add(w, &w.wake, EPOLLIN)


cdef void eventfd_signal(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, sizeof(one))


cdef void wake_on_event(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    cdef uint64_t count
    read(x.fd, &count, sizeof(count))
    worker_command(w)


# ---- Clocks ----------------------------------------------------------------------------------------------

cdef inline uint64_t clock_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef inline uint64_t clock_ms() noexcept nogil:
    return clock_ns() // 1000000


cdef uint64_t clock_work_ns() noexcept nogil:
    """Processor time of this thread; a system call."""
    cdef timespec t
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef inline uint64_t clock_coarse_ms() noexcept nogil:
    """clock_ms of the last tick of the kernel, at most some ms ago, for a quarter of the price."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000
