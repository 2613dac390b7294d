# The poller: which descriptors are watched, and waiting for them. epoll, level-triggered (Linux).
# Invariant: epoll_event.data.ptr is a Watch that lives until the end of the turn in which it is removed.
# Another poller (io_uring, kqueue) is another file with these functions.

cdef enum:
    POLL_EVENTS = 64            # handed out in one turn: what they start must not hold up the rest for long


cdef int poller_open(Worker *w) noexcept nogil:
    w.epfd = epoll_create1(EPOLL_CLOEXEC)
    return OK if w.epfd >= 0 else ERR_SYSTEM


cdef void poller_close(Worker *w) noexcept nogil:
    if w.epfd >= 0:
        close(w.epfd)
    w.epfd = -1


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
    cdef epoll_event e
    x.interest = 0
    epoll_ctl(w.epfd, EPOLL_CTL_DEL, x.fd, &e)


cdef void poller_wait(Worker *w, epoll_event *events, int timeout) noexcept nogil:
    """Wait at most `timeout` ms (-1: for ever), then hand every event to its Watch. Sets the loop's clock."""
    cdef int i
    cdef int n = sys_epoll_wait(w.epfd, events, POLL_EVENTS, timeout)
    cdef Watch *x
    w.now_ns = clock_ns()
    w.now = w.now_ns // 1000000
    if unlikely(w.measuring):
        w.work_ns = clock_work_ns()
    for i in range(n):
        x = <Watch *>events[i].data.ptr
        x.on_event(w, x, events[i].events)


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
