# Timers: one hierarchical wheel per worker (the layout is explained at Wheel in core.pxd).
# Setting, moving and cancelling cost a few instructions and no system call; the poller's timeout is the wheel's
# next occupied slot. Not thread-safe: a wheel belongs to its worker.

cdef extern from *:
    int ctz64 "__builtin_ctzll"(unsigned long long v) nogil
    int clz64 "__builtin_clzll"(unsigned long long v) nogil


cdef void timer_init(Timer *t, void (*on_timer)(Worker *, Timer *) noexcept nogil) noexcept nogil:
    t.due = t.deadline = 0
    t.on_timer = on_timer


cdef void wheel_link(Wheel *x, Timer *t, uint64_t due) noexcept nogil:
    cdef uint64_t differs
    cdef uint32_t level, slot
    if due <= x.now:
        due = x.now + 1
    differs = due ^ x.now
    level = <uint32_t>(63 - clz64(differs)) // WHEEL_BITS
    if level >= WHEEL_LEVELS:           # beyond the wheel: its last slot, from where it is placed again
        level = WHEEL_LEVELS - 1
        due = x.now | (<uint64_t>(WHEEL_SLOTS - 1) << (WHEEL_BITS * level))
    slot = <uint32_t>(due >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1)
    wheel_hang(x, t, due, level, slot)


cdef inline void wheel_hang(Wheel *x, Timer *t, uint64_t due, uint32_t level, uint32_t slot) noexcept nogil:
    t.due = due
    t.slot = <uint16_t>(level * WHEEL_SLOTS + slot)
    t.prev = NULL
    t.next = x.slots[t.slot]
    if t.next != NULL:
        t.next.prev = t
    x.slots[t.slot] = t
    x.used[level] |= <uint64_t>1 << slot


cdef void wheel_unlink(Wheel *x, Timer *t) noexcept nogil:
    if t.next != NULL:
        t.next.prev = t.prev
    if t.prev != NULL:
        t.prev.next = t.next
    else:
        x.slots[t.slot] = t.next
        if t.next == NULL:
            x.used[t.slot // WHEEL_SLOTS] &= ~(<uint64_t>1 << (t.slot % WHEEL_SLOTS))
    t.due = 0


cdef inline void timer_set(Wheel *x, Timer *t, uint64_t deadline) noexcept nogil:
    """Call t.on_timer once `deadline` (ms, of the worker's clock) has come. An earlier setting is replaced."""
    t.deadline = deadline
    if t.due != 0:
        if likely(deadline >= t.due):
            return
        wheel_unlink(x, t)
    wheel_link(x, t, deadline)


cdef inline void timer_cancel(Wheel *x, Timer *t) noexcept nogil:
    if t.due != 0:
        wheel_unlink(x, t)


cdef uint64_t wheel_next(Wheel *x) noexcept nogil:
    """When the wheel must be looked at next (ms; never later than the first due timer), or 0 when it is empty."""
    cdef uint32_t level
    cdef uint64_t above
    for level in range(WHEEL_LEVELS):
        if x.used[level]:
            above = x.now >> (WHEEL_BITS * (level + 1)) << (WHEEL_BITS * (level + 1))
            return above | (<uint64_t>ctz64(x.used[level]) << (WHEEL_BITS * level))
    return 0


cdef int wheel_timeout(Wheel *x, uint64_t now) noexcept nogil:
    """The same as a timeout for the poller: ms from `now`, -1 when no timer is set."""
    cdef uint64_t due = wheel_next(x)
    if due == 0:
        return -1
    if due <= now:
        return 0
    return <int>(due - now) if due - now < 0x7fffffff else 0x7fffffff


cdef void wheel_advance(Worker *w, uint64_t now) noexcept nogil:
    """Fire what is due at `now`; callbacks may set and cancel any timer. If there is no time for all of them, the wheel
    stands at the first that is left, and the next call goes on with it."""
    cdef Wheel *x = &w.wheel
    cdef Timer *t
    cdef uint64_t due
    cdef uint32_t at, n = 0
    while True:
        due = wheel_next(x)
        if due == 0 or due > now:
            break
        x.now = due
        if x.used[0] == 0:
            wheel_cascade(x)
            continue
        at = <uint32_t>ctz64(x.used[0])
        while x.slots[at] != NULL:
            t = x.slots[at]
            wheel_unlink(x, t)
            if t.deadline > now:
                wheel_link(x, t, t.deadline)
                continue
            t.on_timer(w, t)
            n += 1
            if n % TURN_LOOK == 0 and turn_spent(w, TURN_TIMERS):
                return
    x.now = now


cdef void wheel_cascade(Wheel *x) noexcept nogil:
    """The wheel has come to a slot above the lowest level: spread its timers over the levels below."""
    cdef Timer *t
    cdef uint32_t level = 0
    cdef uint32_t at
    while not x.used[level]:
        level += 1
    at = level * WHEEL_SLOTS + <uint32_t>ctz64(x.used[level])
    while x.slots[at] != NULL:
        t = x.slots[at]
        wheel_unlink(x, t)
        if t.deadline > x.now:
            wheel_link(x, t, t.deadline)
        else:
            wheel_hang(x, t, x.now, 0, <uint32_t>x.now % WHEEL_SLOTS)
