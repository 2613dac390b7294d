# The inbox: how another thread reaches a worker, and how a coroutine waits for it. A Post is pushed without a lock; the
# worker is woken (one eventfd write) only if its inbox was empty, and runs the posts in the order of their
# arrival, in each turn those for which there is time.
# Invariants:
#   - a Post is in at most one inbox, and its sender does not touch it after worker_post;
#   - an Op that has begun ends in exactly one of the ways that core.pxd lists;
#   - posts to a worker that has ended are never run: their memory goes with the process.
# Not for commands of the main thread (Worker.command), which may be given before the worker has started.

cdef extern from *:
    """
    static inline void *inbox_head(void *inbox) { return __atomic_load_n((void **)inbox, __ATOMIC_RELAXED); }
    static inline int inbox_push(void *inbox, void **head, void *post) {
        return __atomic_compare_exchange_n((void **)inbox, head, post, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    }
    static inline void *inbox_take(void *inbox) { return __atomic_exchange_n((void **)inbox, NULL, __ATOMIC_SEQ_CST); }
    """
    void *inbox_head(void *inbox) nogil
    bint inbox_push(void *inbox, void **head, void *post) nogil
    void *inbox_take(void *inbox) nogil


# ---- Posts -----------------------------------------------------------------------------------------------

cdef void worker_post(Worker *to, Post *p) noexcept nogil:
    """Have p.on_post(to, p) called on one of the worker's next turns. From any thread, the worker's own included."""
    cdef void *head = inbox_head(&to.inbox)
    while True:
        p.next = <Post *>head
        if inbox_push(&to.inbox, &head, p):
            break
    if head == NULL:
        eventfd_signal(to.wake.fd)


cdef inline bint inbox_waits(Worker *w) noexcept nogil:
    """Whether there is something to run."""
    return w.posts != NULL or inbox_head(&w.inbox) != NULL


cdef void inbox_run(Worker *w) noexcept nogil:
    """Run what has arrived: a group of answers must not hold up everything else."""
    cdef Post *p
    cdef uint32_t n = 0
    if w.posts == NULL:
        w.posts = inbox_sorted(<Post *>inbox_take(&w.inbox))
    while w.posts != NULL:
        p = w.posts
        w.posts = p.next
        p.on_post(w, p)
        n += 1
        if n % TURN_LOOK == 0 and turn_spent(w, TURN_POSTS):
            break


cdef Post *inbox_sorted(Post *p) noexcept nogil:
    """The same posts, the oldest first."""
    cdef Post *ready = NULL
    cdef Post *next_
    while p != NULL:
        next_ = p.next
        p.next = ready
        ready = p
        p = next_
    return ready


# ---- Ops: what a coroutine waits for ------------------------------------------------------------------------

cdef void op_init(Op *op) noexcept nogil:
    """All but the functions of the op's kind."""
    op.post.on_post = op_on_post
    op.coro = NULL
    op.begun = op.ready = op.timed_out = op.for_client = 0


cdef void op_on_post(Worker *w, Post *p) noexcept nogil:
    op_done(w, <Op *>p)


cdef void op_done(Worker *w, Op *op) noexcept nogil:
    """It has ended: the coroutine goes on with its results. From the loop only, never from inside Lua or `begin`."""
    cdef Coro *co = op.coro
    op.begun = 0
    op.ready = 0
    if co == NULL:
        op.drop(w, op)
        return
    op_detach(w, co)
    coro_wake(w, co, op.finish(co, op))


cdef void op_ready(Worker *w, Op *op) noexcept nogil:
    """It has ended: the coroutine goes on at the end of this turn. From anywhere on the worker, once it has begun."""
    op.begun = 0
    if op.coro == NULL:
        op.drop(w, op)
        return
    op.ready = 1
    coro_soon(w, op.coro)


cdef void op_attach(Worker *w, Coro *co, Op *op) noexcept nogil:
    """The coroutine is about to yield for this op. One whose yield failed before is dropped."""
    if co.op != NULL:
        op_forget(w, co)
    op.timed_out = 0
    co.op = op
    op.coro = co


cdef void op_detach(Worker *w, Coro *co) noexcept nogil:
    """They do not know each other any more."""
    timer_cancel(&w.wheel, &co.timer)
    co.op.coro = NULL
    co.op = NULL


cdef void op_forget(Worker *w, Coro *co) noexcept nogil:
    """The coroutine goes away, or does something else: nobody waits for its op any more."""
    cdef Op *op = co.op
    op_detach(w, co)
    if not op.begun or op_cancel(w, op):
        op.ready = 0
        op.drop(w, op)


cdef bint op_cancel(Worker *w, Op *op) noexcept nogil:
    """Whether the op was taken back: then it has ended."""
    if op.cancel == NULL or not op.cancel(w, op):
        return False
    op.begun = 0
    return True


cdef void op_expire(Worker *w, Op *op) noexcept nogil:
    """Its deadline has passed. What has ended already, or can not be taken back, goes on as if there were none."""
    cdef Coro *co = op.coro
    if not op.begun or not op_cancel(w, op):
        return
    op.timed_out = 1
    op_detach(w, co)
    coro_wake(w, co, op.finish(co, op))


cdef void op_client_gone(Worker *w, Coro *co) noexcept nogil:
    """The client left. What only waits for its turn gives it up and gets nil, "closed"; other work goes on."""
    cdef Op *op = co.op
    if op == NULL or not op.for_client or not op.begun or not op_cancel(w, op):
        return
    op_detach(w, co)
    co.gone = 1
    coro_queue(w, co)
