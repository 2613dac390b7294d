# Programs that were started: their end, and who waits for it. The kernel tells by a pidfd in the poller; where it has
# none, a thread of its own waits. Every program is reaped by its worker, whoever still knows of it.
# Invariants:
#   - a program is reaped only by process_reap, so its id and its group are nobody else's before `reaped`;
#   - Process.waits holds waits whose op has begun; each leaves the list before it ends.
# Not for: starting (launch), feeding and reading (run).


# ---- Life ------------------------------------------------------------------------------------------------

cdef Process *process_new(Worker *w, State *s, int pid, int pidfd) noexcept nogil:
    """Held once. NULL: out of memory; then it was killed and reaped."""
    cdef Process *p = <Process *>calloc(1, sizeof(Process))
    cdef int status
    if p == NULL:
        kill(-pid, SIGKILL)
        process_look(pid, 0, 1, &status)
        if pidfd >= 0:
            close(pidfd)
        return NULL
    p.worker = w
    p.state = s
    p.pid = pid
    p.holders = 1
    p.exit.fd = pidfd
    p.exit.on_event = process_on_event
    p.post.on_post = process_on_post
    p.next = w.processes
    if p.next != NULL:
        p.next.prev = p
    w.processes = p
    if pidfd < 0 or poller_add(w, &p.exit, EPOLLIN) != OK:
        process_wait_elsewhere(p)
    return p


cdef void process_wait_elsewhere(Process *p) noexcept nogil:
    """Without a pidfd. Where there can be no thread either, the program can not stay."""
    if p.exit.fd >= 0:
        close(p.exit.fd)
    p.exit.fd = -1
    p.holders += 1
    if thread_start_small(process_thread, p, JOBS_STACK) != 0:
        kill(-p.pid, SIGKILL)
        process_thread(p)


cdef void *process_thread(void *arg) noexcept nogil:
    """Wait for the end of one program, and leave it to its worker."""
    cdef Process *p = <Process *>arg
    cdef int status
    process_look(p.pid, 1, 1, &status)
    worker_post(p.worker, &p.post)
    return NULL


cdef void process_release(Process *p) noexcept nogil:
    """One holder less."""
    p.holders -= 1
    process_settle(p)


cdef void process_settle(Process *p) noexcept nogil:
    """Free what nobody needs."""
    if p.holders or not p.reaped:
        return
    if p.prev != NULL:
        p.prev.next = p.next
    else:
        p.worker.processes = p.next
    if p.next != NULL:
        p.next.prev = p.prev
    free(p)


cdef int process_kill(Process *p, int signal) noexcept nogil:
    """Send a signal to the program and to what it has started in its group. Returns 0 or an errno."""
    if p.reaped:
        return ESRCH
    return 0 if kill(-p.pid, signal) == 0 else errno


cdef void processes_end(Worker *w, State *s) noexcept nogil:
    """The state closes: its programs go with it."""
    cdef Process *p = w.processes
    while p != NULL:
        if p.state == s:
            process_kill(p, SIGKILL)
            p.state = NULL
        p = p.next


# ---- Its end ---------------------------------------------------------------------------------------------

cdef void process_on_event(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    poller_remove(w, x)
    close(x.fd)
    x.fd = -1
    process_end(w, <Process *>x)


cdef void process_on_post(Worker *w, Post *post) noexcept nogil:
    cdef Process *p = <Process *>(<char *>post - <size_t>&(<Process *>NULL).post)
    process_end(w, p)
    process_release(p)


cdef void process_end(Worker *w, Process *p) noexcept nogil:
    """It has ended: tell who waits."""
    cdef ProcessWait *x
    p.ended = 1
    process_look(p.pid, 1, 0, &p.status)
    process_reap(p)
    p.holders += 1
    while p.waits != NULL:
        x = p.waits
        p.waits = x.next
        x.on_exit(w, x)
    process_release(p)


cdef void process_reap(Process *p) noexcept nogil:
    """Take it out of the kernel's table, unless somebody may still want to kill its group."""
    if p.ended and not p.reaped and p.keepers == 0:
        process_look(p.pid, 0, 0, &p.status)
        p.reaped = 1


# ---- Waiting ---------------------------------------------------------------------------------------------

cdef void wait_init(ProcessWait *x, Process *p) noexcept nogil:
    """All but the functions."""
    op_init(&x.op)
    x.process = p
    x.next = NULL
    p.holders += 1


cdef void wait_enter(ProcessWait *x) noexcept nogil:
    x.next = x.process.waits
    x.process.waits = x


cdef void wait_leave(ProcessWait *x) noexcept nogil:
    """If it is in the list."""
    cdef ProcessWait **at = &x.process.waits
    while at[0] != NULL:
        if at[0] == x:
            at[0] = x.next
            return
        at = &at[0].next


cdef void exit_begin(Worker *w, Op *op) noexcept nogil:
    """A coroutine waits for nothing but the end."""
    cdef ProcessWait *x = <ProcessWait *>op
    if x.process.ended:
        op_ready(w, op)
    else:
        wait_enter(x)


cdef void exit_on_exit(Worker *w, ProcessWait *x) noexcept nogil:
    op_done(w, &x.op)


cdef bint exit_cancel(Worker *w, Op *op) noexcept nogil:
    wait_leave(<ProcessWait *>op)
    return True


cdef void exit_drop(Worker *w, Op *op) noexcept nogil:
    process_release((<ProcessWait *>op).process)
    free(op)
