# Which coroutines go on: the queue of this turn and that of the next one (CoroQueue).

cdef inline void queue_init(CoroQueue *q) noexcept nogil:
    q.first = NULL
    q.end = &q.first


cdef inline void queue_put(CoroQueue *q, Coro *co, uint8_t place) noexcept nogil:
    co.queued = place
    co.turn = NULL
    co.turn_at = q.end
    q.end[0] = co
    q.end = &co.turn


cdef inline void queue_remove(CoroQueue *q, Coro *co) noexcept nogil:
    co.queued = PLACE_NONE
    co.turn_at[0] = co.turn
    if co.turn != NULL:
        co.turn.turn_at = co.turn_at
    else:
        q.end = co.turn_at


cdef void coro_queue(Worker *w, Coro *co) noexcept nogil:
    """Go on in the next turn."""
    if not co.queued:
        queue_put(&w.turn, co, PLACE_TURN)


cdef void coro_soon(Worker *w, Coro *co) noexcept nogil:
    """Go on at the end of this turn."""
    if not co.queued:
        queue_put(&w.soon, co, PLACE_SOON)


cdef void coro_unqueue(Worker *w, Coro *co) noexcept nogil:
    queue_remove(&w.soon if co.queued == PLACE_SOON else &w.turn, co)


cdef void coros_settle(Worker *w) noexcept nogil:
    """Resume what waited for this turn, and what becomes ready meanwhile, as far as there is time: a task may be
    spawned, run and joined in one turn. A bare yield waits for the next one."""
    cdef Coro *co
    cdef uint32_t n = 0
    while w.turn.first != NULL:
        co = w.turn.first
        queue_remove(&w.turn, co)
        queue_put(&w.soon, co, PLACE_SOON)
    while w.soon.first != NULL and not (n and n % TURN_LOOK == 0 and turn_spent(w, TURN_COROS)):
        co = w.soon.first
        queue_remove(&w.soon, co)
        n += 1
        coro_go_on(w, co)


cdef inline void coro_go_on(Worker *w, Coro *co) noexcept nogil:
    """Resume a coroutine that was queued."""
    if co.throws:
        coro_throw(w, co)
    elif co.op != NULL and co.op.ready:
        op_done(w, co.op)
    elif co.gone:
        co.gone = 0
        lua_pushnil(co.L)
        lua_pushlstring(co.L, b"closed", 6)
        coro_wake(w, co, 2)
    elif lua_status(co.L) == LUA_OK:    # it begins: the function is above its anchors
        coro_wake(w, co, lua_gettop(co.L) - (TASK_BASE if co.task != NULL else 1) - 1)
    else:
        coro_wake(w, co, 0)
