# A turn of the loop and its budget: nothing that became ready is handed out all at once, so that a flood of one kind
# (events, posts of other threads, timers, coroutines that go on) holds up neither the other kinds nor the rest of its
# own. What a turn did not come to is the first of its kind in the next one, which does not sleep.
# Each kind may go on until the turn is as old as its share says; so whatever the kinds before it did, it has the rest
# up to its own share, and TURN_LOOK items at least. The clock is read once in that many.
# Short shares cost next to nothing: what is left over of the events is handed out without a system call.
# A handler that computes for long is not interrupted: the turn is over when it ends. Nor is LuaJIT's collector, of
# which one step is not divided (about 0.5 ms, see state_tune_gc).

cdef enum:
    TURN_LOOK = 4                   # items between two looks at the clock
    TURN_EVENTS = 100000            # ns since the turn began, until which events are handed out,
    TURN_POSTS = 200000             # ... what other threads have posted is run,
    TURN_TIMERS = 225000            # ... timers fire,
    TURN_COROS = 275000             # ... coroutines are resumed,
    TURN_CONNS = 325000             # ... connections written to from outside are flushed, sockets read without an event


cdef inline void turn_begin(Worker *w) noexcept nogil:
    """Set the loop's clock."""
    w.now_ns = clock_ns()
    w.now = w.now_ns // 1000000
    if unlikely(w.measuring):
        w.work_ns = clock_work_ns()


cdef inline bint turn_spent(Worker *w, uint64_t share) noexcept nogil:
    """Whether the turn is older than `share`."""
    return clock_ns() - w.now_ns >= share


cdef inline bint turn_rests(Worker *w) noexcept nogil:
    """Whether the turns before have left nothing to do: the loop may sleep. The inbox, too: what woke the loop for a
    post may have been taken note of in a turn that still had older ones to run."""
    return not (poller_waits(w) or inbox_waits(w) or w.soon.first != NULL or w.turn.first != NULL
                or w.settling != NULL or w.dirty != NULL or w.socks_kicked != NULL)


cdef void turn_measure(Worker *w) noexcept nogil:
    """How long the turn took that ends here: nothing that runs on a worker may block it."""
    cdef uint64_t took = clock_ns() - w.now_ns
    cdef uint64_t worked = clock_work_ns() - w.work_ns
    if took > w.longest_turn:
        w.longest_turn = took
    if worked > w.longest_work:
        w.longest_work = worked
