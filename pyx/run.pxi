# A program that is run to its end: what it is to read is written to it, what it writes is collected, within a time and
# a size. It stays a zombie until its output is closed, too: so the whole group can be killed at any time before.
# Invariants:
#   - nothing of a Run is watched once it is `over`;
#   - a Run that does not end by itself (timeout, size, its coroutine is gone) kills the group.

cdef enum:
    RUN_READ = 65536                # bytes taken from a pipe in one go


cdef void run_begin(Worker *w, Op *op) noexcept nogil:
    cdef Run *r = <Run *>op
    cdef int i
    r.begun = 1
    r.wait.process.keepers += 1
    if not r.wait.process.ended:
        wait_enter(&r.wait)
    for i in range(3):
        if r.streams[i].watch.fd >= 0 and poller_add(w, &r.streams[i].watch, EPOLLOUT if i == 0 else EPOLLIN) != OK:
            stream_close(w, &r.streams[i])
    if r.timeout:
        timer_set(&w.wheel, &r.timer, w.now + r.timeout)
    if run_is_done(r):
        run_leave(w, r)
        op_ready(w, op)


cdef bint run_is_done(Run *r) noexcept nogil:
    return r.wait.process.ended and r.streams[0].watch.fd < 0 and r.streams[1].watch.fd < 0 and \
        r.streams[2].watch.fd < 0


cdef void run_look(Worker *w, Run *r) noexcept nogil:
    """Something has happened: is that all?"""
    if run_is_done(r):
        run_leave(w, r)
        op_done(w, &r.wait.op)


cdef void run_leave(Worker *w, Run *r) noexcept nogil:
    """Await nothing any more."""
    cdef int i
    if r.over:
        return
    r.over = 1
    for i in range(3):
        stream_close(w, &r.streams[i])
    timer_cancel(&w.wheel, &r.timer)
    if r.begun:
        wait_leave(&r.wait)
        r.wait.process.keepers -= 1
        process_reap(r.wait.process)


cdef void run_stop(Worker *w, Run *r) noexcept nogil:
    """It does not end by itself."""
    process_kill(r.wait.process, SIGKILL)
    run_leave(w, r)


cdef void run_fail(Worker *w, Run *r, uint8_t failure) noexcept nogil:
    r.failure = failure
    run_stop(w, r)
    op_done(w, &r.wait.op)


cdef void run_on_exit(Worker *w, ProcessWait *x) noexcept nogil:
    """What it did not read will not be read."""
    cdef Run *r = <Run *>x
    stream_close(w, &r.streams[0])
    run_look(w, r)


cdef void run_on_timer(Worker *w, Timer *t) noexcept nogil:
    run_fail(w, <Run *>(<char *>t - <size_t>&(<Run *>NULL).timer), RUN_TIMEOUT)


cdef bint run_cancel(Worker *w, Op *op) noexcept nogil:
    run_stop(w, <Run *>op)
    return True


cdef void run_drop(Worker *w, Op *op) noexcept nogil:
    run_free(w, <Run *>op)


cdef void run_free(Worker *w, Run *r) noexcept nogil:
    cdef int i
    if not r.over:                  # it never began
        run_stop(w, r)
    process_release(r.wait.process)
    for i in range(3):
        buf_free(&r.streams[i].bytes)
    free(r)


# ---- Streams ---------------------------------------------------------------------------------------------

cdef void stream_init(Run *r, int i, int fd) noexcept nogil:
    r.streams[i].run = r
    r.streams[i].watch.fd = fd
    r.streams[i].watch.on_event = stream_on_writable if i == 0 else stream_on_readable


cdef void stream_close(Worker *w, RunStream *x) noexcept nogil:
    if x.watch.fd < 0:
        return
    if x.watch.interest:
        poller_remove(w, &x.watch)
    close(x.watch.fd)
    x.watch.fd = -1


cdef void stream_on_writable(Worker *w, Watch *watch, uint32_t events) noexcept nogil:
    """stdin takes some; closed when it has all, or wants no more."""
    cdef RunStream *x = <RunStream *>watch
    cdef ptrdiff_t n = 0
    if x.at < x.bytes.n:
        n = io_result(write(watch.fd, x.bytes.p + x.at, x.bytes.n - x.at))
        if n == PENDING:
            return
    if n > 0:
        x.at += <size_t>n
    if n < 0 or x.at == x.bytes.n:
        stream_close(w, x)
        run_look(w, x.run)


cdef void stream_on_readable(Worker *w, Watch *watch, uint32_t events) noexcept nogil:
    cdef RunStream *x = <RunStream *>watch
    cdef size_t room = RUN_READ if w.scratch_size > RUN_READ else w.scratch_size
    cdef ptrdiff_t n = io_result(read(watch.fd, w.scratch, room))
    if n == PENDING:
        return
    if n <= 0:
        stream_close(w, x)
        run_look(w, x.run)
        return
    if x.bytes.n + <size_t>n > x.run.limit:
        n = <ptrdiff_t>(x.run.limit - x.bytes.n)
        buf_append(&x.bytes, w.scratch, <size_t>n)
        run_fail(w, x.run, RUN_TOO_LARGE)
    elif buf_append(&x.bytes, w.scratch, <size_t>n) != OK:
        run_fail(w, x.run, RUN_TOO_LARGE)
