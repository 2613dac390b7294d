# The thread pool of the server: for what may block (files, starting programs), so that no worker does. A coroutine
# waits for a Job as for any Op; the pool runs it and posts it back to its worker.
# Invariants:
#   - a Job that was pushed runs exactly once, or is taken back by jobs_remove before a thread has taken it;
#   - `run` touches the job only: no Lua, no worker, no Python. No signal is delivered to the threads;
#   - the Pool is never freed: a stuck job may outlive the workers, and the process ends without waiting for it.
# Threads are made when all others are busy, and end when they have had nothing to do for a while.

from libc.stdlib cimport calloc

cdef enum:
    JOBS_WAITING = 65536            # jobs that wait at most; then they are refused
    JOBS_IDLE = 5                   # seconds that a thread waits for a job
    JOBS_STACK = 262144             # bytes


# ---- The pool --------------------------------------------------------------------------------------------

cdef Pool *jobs_new(uint32_t threads) noexcept nogil:
    """One with at most so many threads, none to begin with. NULL: out of memory."""
    cdef Pool *pool = <Pool *>calloc(1, sizeof(Pool))
    if pool == NULL:
        return NULL
    pool.most = threads
    pool.gate = gate_new()
    if pool.gate == NULL:
        free(pool)
        return NULL
    return pool


cdef int jobs_push(Pool *pool, Job *j) noexcept nogil:
    """Have j.run(j) called on a thread of the pool. ERR_LIMIT: too many jobs wait. ERR_SYSTEM: there is no thread."""
    cdef bint grow
    cdef int rc = OK
    gate_take(pool.gate)
    if pool.waiting >= JOBS_WAITING:
        gate_give(pool.gate)
        return ERR_LIMIT
    jobs_append(pool, j)
    grow = pool.waiting > pool.idle and pool.threads < pool.most
    pool.threads += grow
    gate_give(pool.gate)
    if not grow:
        gate_wake(pool.gate)
    elif thread_start_small(jobs_run, pool, JOBS_STACK) != 0:
        gate_take(pool.gate)
        pool.threads -= 1
        if pool.threads == 0 and j.waits:
            jobs_unlink(pool, j)
            rc = ERR_SYSTEM
        gate_give(pool.gate)
    return rc


cdef bint jobs_remove(Pool *pool, Job *j) noexcept nogil:
    """Take a job back. False: too late, a thread has it or had it."""
    cdef bint waits
    gate_take(pool.gate)
    waits = j.waits
    if waits:
        jobs_unlink(pool, j)
    gate_give(pool.gate)
    return waits


cdef void jobs_append(Pool *pool, Job *j) noexcept nogil:
    """The gate is taken."""
    j.waits = 1
    j.next = NULL
    j.prev = pool.last
    if pool.last != NULL:
        pool.last.next = j
    else:
        pool.first = j
    pool.last = j
    pool.waiting += 1


cdef void jobs_unlink(Pool *pool, Job *j) noexcept nogil:
    """The gate is taken."""
    j.waits = 0
    if j.prev != NULL:
        j.prev.next = j.next
    else:
        pool.first = j.next
    if j.next != NULL:
        j.next.prev = j.prev
    else:
        pool.last = j.prev
    pool.waiting -= 1


cdef void *jobs_run(void *arg) noexcept nogil:
    """A thread: job after job, the oldest first."""
    cdef Pool *pool = <Pool *>arg
    cdef Job *j
    cdef bint late
    thread_set_name(b"heart-pool")
    gate_take(pool.gate)
    while True:
        while pool.first == NULL:
            pool.idle += 1
            late = gate_wait(pool.gate, JOBS_IDLE)
            pool.idle -= 1
            if late and pool.first == NULL:
                pool.threads -= 1
                gate_give(pool.gate)
                return NULL
        j = pool.first
        jobs_unlink(pool, j)
        gate_give(pool.gate)
        job_run(j)
        gate_take(pool.gate)


cdef inline void job_run(Job *j) noexcept nogil:
    """Its worker is read first: a job without one frees itself."""
    cdef Worker *w = j.worker
    j.run(j)
    if w != NULL:
        worker_post(w, &j.op.post)


# ---- Jobs ------------------------------------------------------------------------------------------------

cdef void job_init(Job *j, Worker *w, void (*run)(Job *) noexcept nogil) noexcept nogil:
    """One that a coroutine of `w` will wait for. op.finish and op.drop are set by the caller, and free it."""
    op_init(&j.op)
    j.op.begin = job_begin
    j.op.cancel = job_cancel
    j.worker = w
    j.run = run
    j.error = 0
    j.waits = 0


cdef void job_begin(Worker *w, Op *op) noexcept nogil:
    cdef Job *j = <Job *>op
    if jobs_push(w.server.pool, j) != OK:
        j.error = EBUSY
        worker_post(w, &op.post)


cdef bint job_cancel(Worker *w, Op *op) noexcept nogil:
    """Its coroutine is gone. What runs already ends, and is dropped then."""
    return jobs_remove(w.server.pool, <Job *>op)


cdef void job_leave(Worker *w, Job *j, void (*run)(Job *) noexcept nogil) noexcept nogil:
    """Have `run`, which frees the job, called without anybody who waits; here, if there is no other way."""
    job_init(j, NULL, run)
    if jobs_push(w.server.pool, j) != OK:
        run(j)
