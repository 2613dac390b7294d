# What tasks wait for beside each other: semaphores, of which mutexes are a kind, time, and the beginning of service.
# heart/v1/task.lua builds queues, events and timers on them.
# First come, first served: who comes while others wait is the last of them, and `post` hands over to the first at once.
# A permit that was handed to a coroutine which is cancelled before it goes on is handed to the next one.
# Invariants:
#   - a semaphore's memory lives as long as its userdata or somebody who waits;
#   - while somebody waits, no permit is left.

cdef enum:
    PERMITS_MAX = 1000000000


# ---- Semaphores ------------------------------------------------------------------------------------------

cdef TaskSemaphore *semaphore_new(uint32_t permits, bint owned) noexcept nogil:
    cdef TaskSemaphore *m = <TaskSemaphore *>calloc(1, sizeof(TaskSemaphore))
    if m != NULL:
        m.permits = permits
        m.owned = owned
        m.refs = 1
        m.end = &m.first
    return m


cdef inline void semaphore_release(TaskSemaphore *m) noexcept nogil:
    m.refs -= 1
    if m.refs == 0:
        semaphore_disown(m)
        free(m)


cdef inline void semaphore_own(TaskSemaphore *m, Coro *co) noexcept nogil:
    """A mutex belongs to this coroutine, and is unlocked when that ends."""
    m.owner = co
    m.held_next = co.held
    m.held_at = &co.held
    if co.held != NULL:
        co.held.held_at = &m.held_next
    co.held = m


cdef inline void semaphore_disown(TaskSemaphore *m) noexcept nogil:
    if m.owner == NULL:
        return
    m.owner = NULL
    m.held_at[0] = m.held_next
    if m.held_next != NULL:
        m.held_next.held_at = m.held_at


cdef void semaphore_post(Worker *w, TaskSemaphore *m) noexcept nogil:
    """One permit more: for the first who waits, if there is one."""
    cdef SemaphoreWait *x = m.first
    semaphore_disown(m)
    if x == NULL:
        m.permits += 1
        return
    semaphore_unlink(x)
    x.granted = 1
    if m.owned:
        semaphore_own(m, x.op.coro)
    op_ready(w, &x.op)


cdef inline void semaphore_unlink(SemaphoreWait *x) noexcept nogil:
    x.at[0] = x.next
    if x.next != NULL:
        x.next.at = x.at
    else:
        x.semaphore.end = x.at
    x.at = NULL
    x.semaphore.waiting -= 1


cdef void semaphore_begin(Worker *w, Op *op) noexcept nogil:
    cdef SemaphoreWait *x = <SemaphoreWait *>op
    cdef TaskSemaphore *m = x.semaphore
    x.next = NULL
    x.at = m.end
    m.end[0] = x
    m.end = &x.next
    m.waiting += 1


cdef int semaphore_finish(Coro *co, Op *op) noexcept nogil:
    cdef SemaphoreWait *x = <SemaphoreWait *>op
    cdef bint granted = x.granted
    semaphore_release(x.semaphore)
    free(x)
    if granted:
        lua_pushboolean(co.L, 1)
        return 1
    lua_pushnil(co.L)
    lua_pushlstring(co.L, b"timeout", 7)
    return 2


cdef bint semaphore_cancel(Worker *w, Op *op) noexcept nogil:
    semaphore_unlink(<SemaphoreWait *>op)
    return True


cdef void semaphore_drop(Worker *w, Op *op) noexcept nogil:
    cdef SemaphoreWait *x = <SemaphoreWait *>op
    if x.at != NULL:
        semaphore_unlink(x)
    if x.granted:
        semaphore_post(w, x.semaphore)
    semaphore_release(x.semaphore)
    free(x)


cdef void coro_unlock_all(Worker *w, Coro *co) noexcept nogil:
    """The coroutine ends: whoever waits for its mutexes has them."""
    while co.held != NULL:
        semaphore_post(w, co.held)


# ---- Semaphores for Lua: the userdata holds a pointer. Upvalue 2: its metatable ---------------------------

cdef TaskSemaphore *l_semaphore(lua_State *L) noexcept nogil:
    cdef bint ours = False
    if lua_type(L, 1) == LUA_TUSERDATA and lua_getmetatable(L, 1):
        ours = lua_rawequal(L, -1, lua_upvalueindex(2))
        lua_pop(L, 1)
    if not ours:
        luaL_argerror(L, 1, b"not a semaphore or mutex")
    return (<TaskSemaphore **>lua_touserdata(L, 1))[0]


cdef int l_semaphore_new(lua_State *L) noexcept nogil:
    """semaphore(permits[, owned]): owned, a mutex: only who has taken the permit may give it back, and does so when
    its coroutine ends."""
    cdef TaskSemaphore **at
    cdef ptrdiff_t n = luaL_checkinteger(L, 1)
    cdef bint owned = lua_toboolean(L, 2)
    if not 0 <= n <= PERMITS_MAX:
        return luaL_argerror(L, 1, b"expected a number of permits")
    at = <TaskSemaphore **>lua_newuserdata(L, sizeof(TaskSemaphore *))
    at[0] = semaphore_new(<uint32_t>n, owned)
    if at[0] == NULL:
        return luaL_error(L, b"not enough memory")
    lua_pushvalue(L, lua_upvalueindex(2))
    lua_setmetatable(L, -2)
    return 1


cdef int l_semaphore_collect(lua_State *L) noexcept nogil:
    semaphore_release((<TaskSemaphore **>lua_touserdata(L, 1))[0])
    return 0


cdef int l_semaphore_wait(lua_State *L) noexcept nogil:
    """wait(semaphore[, seconds]) → true with a permit; nil, "timeout"."""
    cdef TaskSemaphore *m = l_semaphore(L)
    cdef uint64_t deadline = l_check_deadline(L, 2)
    cdef Coro *co = worker_self().running
    cdef SemaphoreWait *x
    if m.owned and (co == NULL or m.owner == co):
        return luaL_error(L, b"the mutex is locked by this task already" if co != NULL else
                          b"a mutex is locked in a handler, an event or a task")
    if m.permits:
        m.permits -= 1
        if m.owned:
            semaphore_own(m, co)
        lua_pushboolean(L, 1)
        return 1
    if not l_absent(L, 2) and lua_tonumber(L, 2) == 0:
        lua_pushnil(L)
        lua_pushlstring(L, b"timeout", 7)
        return 2
    x = <SemaphoreWait *>calloc(1, sizeof(SemaphoreWait))
    if x == NULL:
        return luaL_error(L, b"not enough memory")
    op_init(&x.op)
    x.op.begin = semaphore_begin
    x.op.finish = semaphore_finish
    x.op.cancel = semaphore_cancel
    x.op.drop = semaphore_drop
    x.semaphore = m
    m.refs += 1
    return l_wait_op_until(L, &x.op, deadline)


cdef int l_semaphore_post(lua_State *L) noexcept nogil:
    """post(semaphore[, permits])"""
    cdef TaskSemaphore *m = l_semaphore(L)
    cdef Worker *w = worker_self()
    cdef ptrdiff_t n = luaL_optinteger(L, 2, 1)
    if m.owned and (m.owner == NULL or m.owner != w.running):
        return luaL_error(L, b"the mutex is not locked by this task")
    if not 0 <= n <= PERMITS_MAX - <ptrdiff_t>m.permits:
        return luaL_argerror(L, 2, b"expected a number of permits")
    while n:
        n -= 1
        semaphore_post(w, m)
    return 0


cdef int l_semaphore_count(lua_State *L) noexcept nogil:
    """count(semaphore) → permits that are free, coroutines that wait"""
    cdef TaskSemaphore *m = l_semaphore(L)
    lua_pushinteger(L, m.permits)
    lua_pushinteger(L, m.waiting)
    return 2


# ---- Resting ---------------------------------------------------------------------------------------------
# A coroutine with ROLE_WATCH that rests does not hold its state.

cdef void rest_begin(Worker *w, Op *op) noexcept nogil:
    cdef RestWait *x = <RestWait *>op
    x.asleep = op.coro.role == ROLE_WATCH
    x.state.watching += x.asleep
    if x.queue != NULL:
        x.next = x.queue[0]
        x.at = x.queue
        if x.next != NULL:
            x.next.at = &x.next
        x.queue[0] = x


cdef void rest_end(RestWait *x) noexcept nogil:
    x.state.watching -= x.asleep
    x.asleep = 0
    if x.at != NULL:
        x.at[0] = x.next
        if x.next != NULL:
            x.next.at = x.at
        x.at = NULL


cdef int rest_finish(Coro *co, Op *op) noexcept nogil:
    rest_end(<RestWait *>op)
    free(op)
    return 0


cdef bint rest_cancel(Worker *w, Op *op) noexcept nogil:
    rest_end(<RestWait *>op)
    return True


cdef void rest_drop(Worker *w, Op *op) noexcept nogil:
    rest_end(<RestWait *>op)
    free(op)


cdef RestWait *l_rest_new(lua_State *L) noexcept nogil:
    cdef RestWait *x = <RestWait *>calloc(1, sizeof(RestWait))
    if x == NULL:
        luaL_error(L, b"not enough memory")
    op_init(&x.op)
    x.op.begin = rest_begin
    x.op.finish = rest_finish
    x.op.cancel = rest_cancel
    x.op.drop = rest_drop
    x.state = l_state(L)
    return x


cdef int l_task_rest(lua_State *L) noexcept nogil:
    """rest(seconds): as sleep, but a state that is retired does not wait for a background task that rests."""
    cdef uint64_t deadline
    luaL_checknumber(L, 1)
    deadline = l_check_deadline(L, 1)
    return l_wait_op_until(L, &l_rest_new(L).op, deadline)


cdef int l_task_serving(lua_State *L) noexcept nogil:
    """serving(): wait until this state serves requests."""
    cdef RestWait *x
    if l_state(L).serving:
        return 0
    x = l_rest_new(L)
    x.queue = &x.state.starters
    return l_wait_op(L, &x.op)


cdef int l_task_ending(lua_State *L) noexcept nogil:
    """ending(): wait until the worker ends, and finishes what it has begun."""
    cdef RestWait *x
    if l_state(L).worker.draining:
        return 0
    x = l_rest_new(L)
    x.queue = &x.state.enders
    return l_wait_op(L, &x.op)


cdef void rests_end(Worker *w, RestWait **queue) noexcept nogil:
    """All who wait in a queue of their state go on."""
    cdef RestWait *x
    while queue[0] != NULL:
        x = queue[0]
        rest_end(x)
        op_ready(w, &x.op)


cdef void state_serves(Worker *w, State *s) noexcept nogil:
    """From now on this state serves requests: its start event, and all who wait for that."""
    s.serving = 1
    rests_end(w, &s.starters)
    if not s.is_script:
        mail_serve(w, s)
    if s.on_start != LUA_NOREF:
        lua_spawn(w, s, s.on_start, ROLE_TASK)


cdef int l_task_clock(lua_State *L) noexcept nogil:
    """clock() → seconds of the monotonic clock, Unix time in seconds, both with fractions"""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    lua_pushnumber(L, <double>clock_ns() / 1e9)
    lua_pushnumber(L, <double>t.tv_sec + <double>t.tv_nsec / 1e9)
    return 2


# ---- The table -------------------------------------------------------------------------------------------

cdef void sync_put(lua_State *L, State *s, const char *name, lua_CFunction f, int meta) noexcept nogil:
    lua_pushlightuserdata(L, s)
    lua_pushvalue(L, meta)
    lua_pushcclosure(L, f, 2)
    lua_setfield(L, -2, name)


cdef void lua_sync_open(lua_State *L, State *s) noexcept nogil:
    """Add to the table on top, core.task."""
    cdef int meta
    lua_createtable(L, 0, 4)
    lua_insert(L, -2)
    meta = lua_gettop(L) - 1
    sync_put(L, s, b"semaphore", l_semaphore_new, meta)
    sync_put(L, s, b"semaphore_wait", l_semaphore_wait, meta)
    sync_put(L, s, b"semaphore_post", l_semaphore_post, meta)
    sync_put(L, s, b"semaphore_count", l_semaphore_count, meta)
    core_put(L, s, b"rest", l_task_rest)
    core_put(L, s, b"serving", l_task_serving)
    core_put(L, s, b"ending", l_task_ending)
    core_put(L, s, b"clock", l_task_clock)
    lua_pushvalue(L, meta)
    core_put(L, s, b"__gc", l_semaphore_collect)
    lua_pushboolean(L, 0)
    lua_setfield(L, -2, b"__metatable")
    lua_pop(L, 1)
    lua_remove(L, meta)
