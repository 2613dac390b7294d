# The serial lock of a store: one transaction at a time, first come, first served, across workers.
# Free, it is taken by a few instructions. Taken by another worker, it is waited for by spinning for about a
# microsecond, which is how long a transaction that does not wait holds it; then the coroutine waits in a queue, and a
# Post tells it that the lock is its own (lock_release hands it over, so nobody can overtake).
# A holder loses the lock when the time of --kv-lock-timeout is over: it finds out itself when it next uses the store or
# commits, or is found out by who waits. And it loses it when its client leaves. Clients are watched of those who wait
# for longer than a moment, and of holders that are suspended (lua_abort.pxi), so most transactions cost no system call.
# Invariants:
#   - holder, first, last and the queue's links are touched under KvLock.guard only;
#   - a transaction whose lock was taken away (KV_LATE, KV_LEFT) can read and write no more, and its commit fails;
#   - one that commits (KV_COMMITTING) keeps the lock until that has ended;
#   - while there is no holder, nobody waits.
# Other machines that share the store know nothing of it.

cdef enum:
    LOCK_SPINS = 60                 # looks at the lock before its queue is joined
    LOCK_PAUSES = 8                 # cpu_relax between two looks
    LOCK_AGAIN = 10                 # ms until the next look at a holder that commits
    LOCK_WATCH = 20                 # ms of waiting after which the client is watched


cdef inline void lock_grant(KvLock *k, KvTxn *t) noexcept nogil:
    """Under the guard."""
    k.holder = t
    t.held_since = clock_coarse_ms()
    t.lock = KV_HELD


cdef int lock_take(Worker *w, KvTxn *t) noexcept nogil:
    """OK: it is held. PENDING: wait with t.op."""
    cdef KvLock *k = &t.store.serial
    cdef bint hopeless
    cdef int i, pause
    for i in range(LOCK_SPINS):
        spin_lock(&k.guard)
        if k.holder == NULL:
            lock_grant(k, t)
            spin_unlock(&k.guard)
            return OK
        hopeless = k.first != NULL or k.holder.worker == w
        spin_unlock(&k.guard)
        if hopeless:
            break
        for pause in range(LOCK_PAUSES):
            cpu_relax()
    t.op.begin = lock_begin
    t.op.cancel = lock_cancel
    t.op.for_client = 1
    timer_init(&t.lock_timer, lock_on_timer)
    return PENDING


cdef void lock_begin(Worker *w, Op *op) noexcept nogil:
    """The coroutine has yielded: stand in the queue."""
    cdef KvTxn *t = <KvTxn *>op
    cdef KvLock *k = &t.store.serial
    spin_lock(&k.guard)
    if k.holder == NULL:
        lock_grant(k, t)
        spin_unlock(&k.guard)
        worker_post(w, &t.op.post)
        return
    t.lock = KV_WAITING
    t.lock_next = NULL
    t.lock_prev = k.last
    if k.last != NULL:
        k.last.lock_next = t
    else:
        k.first = t
    k.last = t
    spin_unlock(&k.guard)
    timer_set(&w.wheel, &t.lock_timer, w.now + LOCK_WATCH)


cdef void lock_unlink(KvLock *k, KvTxn *t) noexcept nogil:
    """Out of the queue, under the guard."""
    if t.lock_prev != NULL:
        t.lock_prev.lock_next = t.lock_next
    else:
        k.first = t.lock_next
    if t.lock_next != NULL:
        t.lock_next.lock_prev = t.lock_prev
    else:
        k.last = t.lock_prev


cdef bint lock_cancel(Worker *w, Op *op) noexcept nogil:
    """Leave the queue. False: the lock was handed over already."""
    cdef KvTxn *t = <KvTxn *>op
    cdef KvLock *k = &t.store.serial
    cdef bint waiting
    timer_cancel(&w.wheel, &t.lock_timer)
    spin_lock(&k.guard)
    waiting = t.lock == KV_WAITING
    if waiting:
        lock_unlink(k, t)
        t.lock = KV_UNLOCKED
    spin_unlock(&k.guard)
    return waiting


cdef void lock_arrived(Worker *w, KvTxn *t) noexcept nogil:
    """The post has come: the lock is held."""
    timer_cancel(&w.wheel, &t.lock_timer)
    t.op.cancel = NULL


cdef KvTxn *lock_hand_on(KvLock *k) noexcept nogil:
    """Under the guard: the next one holds it. Who, so that it can be told after the guard; NULL: nobody waits."""
    cdef KvTxn *next_ = k.first
    k.holder = NULL
    if next_ != NULL:
        lock_unlink(k, next_)
        lock_grant(k, next_)
    return next_


cdef void lock_release(KvTxn *t) noexcept nogil:
    """The transaction has ended, or it never got the lock. Nothing happens if it was taken away."""
    cdef KvLock *k = &t.store.serial
    cdef KvTxn *next_ = NULL
    spin_lock(&k.guard)
    if k.holder == t:
        next_ = lock_hand_on(k)
    t.lock = KV_UNLOCKED
    spin_unlock(&k.guard)
    if next_ != NULL:
        worker_post(next_.worker, &next_.op.post)


cdef bint lock_lose(KvTxn *t, int why) noexcept nogil:
    """Take the lock away from a transaction, if it has it and does not commit: whether that was done."""
    cdef KvLock *k = &t.store.serial
    cdef KvTxn *next_ = NULL
    cdef bint lost
    spin_lock(&k.guard)
    lost = k.holder == t and lock_cas(&t.lock, KV_HELD, why)
    if lost:
        next_ = lock_hand_on(k)
    spin_unlock(&k.guard)
    if next_ != NULL:
        worker_post(next_.worker, &next_.op.post)
    return lost


cdef const char *lock_lost(KvTxn *t) noexcept nogil:
    """Why a serial transaction has the lock no more; NULL: it has."""
    cdef int state = load_acquire(&t.lock, __ATOMIC_ACQUIRE)
    if state == KV_HELD and clock_coarse_ms() > t.held_since + t.worker.server.limits.kv_lock:
        if lock_lose(t, KV_LATE):
            lock_log_late(t.worker)
        state = load_acquire(&t.lock, __ATOMIC_ACQUIRE)
    if state == KV_LATE:
        return b"the transaction held its lock longer than --kv-lock-timeout and was rolled back"
    if state == KV_LEFT:
        return b"the client has left: the transaction lost its lock and was rolled back"
    return NULL


cdef inline const char *lock_look(KvTxn *t) noexcept nogil:
    """Why the transaction may not go on; NULL: it has the lock, or never wanted it."""
    return lock_lost(t) if t.serial else NULL


cdef const char *lock_commit(KvTxn *t) noexcept nogil:
    """As lock_look; from now on the lock can not be taken away."""
    cdef const char *why = lock_look(t)
    if why == NULL and t.serial and not lock_cas(&t.lock, KV_HELD, KV_COMMITTING):
        why = lock_lost(t)
    return why


cdef inline bint lock_is_held(KvTxn *t) noexcept nogil:
    """Whether it has a lock that it can lose."""
    return t.serial and load_acquire(&t.lock, __ATOMIC_ACQUIRE) == KV_HELD


cdef void lock_on_timer(Worker *w, Timer *timer) noexcept nogil:
    """It waits for longer than a moment: watch its client, and whether the holder's time is over."""
    cdef KvTxn *t = <KvTxn *>(<char *>timer - <size_t>&(<KvTxn *>NULL).lock_timer)
    cdef KvLock *k = &t.store.serial
    cdef KvTxn *next_ = NULL
    cdef uint64_t again = 0
    coro_watch_client(w, t.op.coro)
    spin_lock(&k.guard)
    if t.lock == KV_WAITING:
        again = k.holder.held_since + w.server.limits.kv_lock
        if again <= w.now:
            again = w.now + LOCK_AGAIN
            if lock_cas(&k.holder.lock, KV_HELD, KV_LATE):
                next_ = lock_hand_on(k)
                again = w.now + w.server.limits.kv_lock
    spin_unlock(&k.guard)
    if again and next_ != t:
        timer_set(&w.wheel, timer, again)
    if next_ != NULL:
        lock_log_late(w)
        worker_post(next_.worker, &next_.op.post)


cdef void lock_log_late(Worker *w) noexcept nogil:
    log_z(w, LEVEL_WARN, b"kv: a serial transaction held its lock longer than --kv-lock-timeout: rolled back")
