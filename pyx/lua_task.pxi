# Tasks: functions that run beside the one that spawned them, each on a pooled coroutine of its own (core.task).
# A task begins at the end of the turn in which it was spawned, outlives the request of its spawner, sees that request's
# ctx as long as the request lasts, and holds its state like any task (ROLE_TASK): a retired state's tasks end with its
# grace, those of a worker that ends with the worker.
# The results stay with the userdata. A joiner waits by a TaskWait, linked into every task that it waits for.
# Invariants:
#   - a running task's userdata is anchored by its coroutine, one that has ended by Lua code alone; so nothing here
#     points to a task that has ended;
#   - Task.coro.task is the task.

cdef enum:
    TASK_BASE = 3               # below the function on a task's stack: its own ctx, the task, the ctx of the spawner


# ---- Spawning --------------------------------------------------------------------------------------------

cdef int l_task_spawn(lua_State *L) noexcept nogil:
    """spawn(fn, ...) → task. fn(...) runs at the end of this turn."""
    return l_spawn(L, ROLE_TASK)


cdef int l_task_background(lua_State *L) noexcept nogil:
    """background(fn, ...) → task. The same, but while it rests it does not hold its state, and it knows no request."""
    return l_spawn(L, ROLE_WATCH)


cdef inline int l_spawn(lua_State *L, uint8_t role) noexcept nogil:
    cdef State *s = l_state(L)
    cdef Worker *w = s.worker
    cdef Coro *co
    cdef int n = lua_gettop(L)
    luaL_checktype(L, 1, LUA_TFUNCTION)
    co = coro_for_task(w, s, n)
    if co == NULL:
        return luaL_error(L, b"not enough memory")
    task_new(L, co, role)
    lua_pushvalue(L, -1)
    lua_xmove(L, co.L, 1)
    task_inherit(w.running if role == ROLE_TASK else NULL, co)
    task_anchor(co)
    lua_insert(L, 1)
    lua_xmove(L, co.L, n)
    coro_list(co)
    coro_soon(w, co)
    return 1


cdef inline Task *task_new(lua_State *L, Coro *co, uint8_t role) noexcept nogil:
    """Push a task that this coroutine will run. If Lua is out of memory an idle coroutine is lost."""
    cdef State *s = co.state
    cdef Task *t = <Task *>lua_newuserdata(L, sizeof(Task))
    memset(t, 0, sizeof(Task))
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.task_meta)
    lua_setmetatable(L, -2)
    t.coro = co
    co.task = t
    co.role = role
    s.holders += 1
    s.tasks += 1
    return t


cdef Coro *coro_for_task(Worker *w, State *s, int n) noexcept nogil:
    """An idle coroutine with room for a function and its arguments. NULL: out of memory. The memory limit does not
    hold meanwhile: the main thread of the state must not raise."""
    cdef Coro *co
    cdef uint8_t before = s.enforced
    s.enforced = 0
    co = coro_take(w, s)
    if co != NULL and not lua_checkstack(co.L, n + TASK_BASE):
        coro_recycle(w, co)
        co = NULL
    s.enforced = before
    return co


cdef inline void task_inherit(Coro *parent, Coro *co) noexcept nogil:
    """Push the ctx of the request that the spawner serves or has inherited; it is that of the task, too."""
    if parent == NULL or parent.ctx.req == NULL:
        lua_pushnil(co.L)
        return
    parent.ctx.shared = 1
    co.ctx = parent.ctx
    lua_pushlightuserdata(co.L, co.ctx.req.coro)
    lua_rawget(co.L, LUA_REGISTRYINDEX)


cdef inline void task_anchor(Coro *co) noexcept nogil:
    """Make the task findable when its coroutine's stack is of no use any more: tasks[co.ref]."""
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, co.state.task_of)
    lua_pushvalue(co.L, 2)
    lua_rawseti(co.L, -2, co.ref)
    lua_pop(co.L, 1)


cdef inline void task_release(lua_State *L, Coro *co) noexcept nogil:
    lua_rawgeti(L, LUA_REGISTRYINDEX, co.state.task_of)
    lua_pushnil(L)
    lua_rawseti(L, -2, co.ref)
    lua_pop(L, 1)


# ---- Ending ----------------------------------------------------------------------------------------------

cdef inline void task_done(Worker *w, Coro *co) noexcept nogil:
    """The function has returned: what it did is on the stack, above the anchors."""
    cdef lua_State *L = co.L
    cdef int i
    cdef int n = lua_gettop(L) - TASK_BASE
    if n:
        lua_createtable(L, n, 0)
        lua_insert(L, TASK_BASE + 1)
        for i in range(n, 0, -1):
            lua_rawseti(L, TASK_BASE + 1, i)
        lua_setfenv(L, 2)
    co.task.results = n
    task_end(w, co, TASK_DONE)
    co.ctx = <Ctx *>lua_touserdata(L, 1)


cdef bint task_end(Worker *w, Coro *co, uint8_t status) noexcept nogil:
    """The coroutine runs its task no more. Wakes who waits for it; True if somebody did."""
    cdef Task *t = co.task
    cdef TaskLink *link
    cdef TaskWait *x
    cdef bint heard = t.joiners != NULL
    co.task = NULL
    co.cancelled = 0
    t.coro = NULL
    t.status = status
    task_release(co.state.L, co)
    while t.joiners != NULL:
        link = t.joiners
        x = link.wait
        link_remove(link)
        x.left -= 1
        if x.left == 0 or (x.strict and status != TASK_DONE):
            x.ended = 0 if x.strict and status == TASK_DONE else link.position
            links_remove(x)
            op_ready(w, &x.op)
    return heard


cdef void task_fail(Worker *w, Coro *co, int rc) noexcept nogil:
    """The function raised an error: keep it with its traceback for who joins, log it if nobody does now."""
    cdef State *s = co.state
    cdef Req *r = co.ctx.req
    cdef Buf message
    cdef Buf trace
    if coro_gave_up(co):
        state_release_role(s, co.role)
        coro_drop(w, co)
        return
    memset(&message, 0, sizeof(Buf))
    memset(&trace, 0, sizeof(Buf))
    lua_describe(s, co, &message, &trace)
    task_keep_error(co, buf_span(&trace))
    if not task_end(w, co, TASK_FAILED):
        log_failure(w, r, buf_span(&trace))
    state_release_role(s, co.role)
    coro_drop(w, co)
    buf_free(&message)
    buf_free(&trace)
    if rc == LUA_ERRMEM and state_starves(s):
        worker_replace_state(w, s)


cdef void task_keep_error(Coro *co, Span trace) noexcept nogil:
    """The task's environment: {error, traceback}. Pops the error."""
    cdef lua_State *L = co.state.L
    lua_rawgeti(L, LUA_REGISTRYINDEX, co.state.task_of)
    lua_rawgeti(L, -1, co.ref)
    lua_createtable(L, 2, 0)
    lua_xmove(co.L, L, 1)
    lua_rawseti(L, -2, 1)
    lua_pushlstring(L, trace.p, trace.n)
    lua_rawseti(L, -2, 2)
    lua_setfenv(L, -2)
    lua_pop(L, 2)


# ---- Waiting for tasks -----------------------------------------------------------------------------------

cdef inline void link_add(TaskLink *link) noexcept nogil:
    link.next = link.task.joiners
    if link.next != NULL:
        link.next.at = &link.next
    link.at = &link.task.joiners
    link.task.joiners = link


cdef inline void link_remove(TaskLink *link) noexcept nogil:
    if link.at == NULL:
        return
    link.at[0] = link.next
    if link.next != NULL:
        link.next.at = link.at
    link.at = NULL


cdef void links_remove(TaskWait *x) noexcept nogil:
    cdef uint32_t i
    for i in range(x.n):
        link_remove(&x.links[i])


cdef void await_begin(Worker *w, Op *op) noexcept nogil:
    cdef TaskWait *x = <TaskWait *>op
    cdef uint32_t i
    for i in range(x.n):
        link_add(&x.links[i])


cdef int await_finish(Coro *co, Op *op) noexcept nogil:
    cdef bint late = op.timed_out
    cdef uint32_t ended = (<TaskWait *>op).ended
    free(op)
    if not late:
        lua_pushinteger(co.L, ended)
        return 1
    lua_pushnil(co.L)
    lua_pushlstring(co.L, b"timeout", 7)
    return 2


cdef bint await_cancel(Worker *w, Op *op) noexcept nogil:
    links_remove(<TaskWait *>op)
    return True


cdef void await_drop(Worker *w, Op *op) noexcept nogil:
    links_remove(<TaskWait *>op)
    free(op)


cdef TaskWait *l_await_new(lua_State *L, uint32_t n) noexcept nogil:
    cdef TaskWait *x = <TaskWait *>calloc(1, sizeof(TaskWait) + n * sizeof(TaskLink))
    if x == NULL:
        luaL_error(L, b"not enough memory")
    op_init(&x.op)
    x.op.begin = await_begin
    x.op.finish = await_finish
    x.op.cancel = await_cancel
    x.op.drop = await_drop
    return x


cdef inline void await_add(TaskWait *x, Task *t, uint32_t position) noexcept nogil:
    cdef TaskLink *link = &x.links[x.n]
    link.wait = x
    link.task = t
    link.position = position
    x.n += 1


cdef Task *l_task(lua_State *L, int i) noexcept nogil:
    """The task at index i. Upvalue 2: the metatable of tasks."""
    cdef bint ours = False
    if lua_type(L, i) == LUA_TUSERDATA and lua_getmetatable(L, i):
        ours = lua_rawequal(L, -1, lua_upvalueindex(2))
        lua_pop(L, 1)
    if not ours:
        luaL_argerror(L, i, b"expected a task")
    return <Task *>lua_touserdata(L, i)


cdef uint64_t l_check_deadline(lua_State *L, int narg) noexcept nogil:
    """The moment that lies so many seconds ahead, in ms of the worker's clock; nil: 0, never."""
    cdef double seconds
    if l_absent(L, narg):
        return 0
    seconds = luaL_checknumber(L, narg)
    if not 0 <= seconds <= SLEEP_MAX:
        luaL_argerror(L, narg, b"expected seconds from 0 to 31536000 (a year)")
    return clock_ms() + <uint64_t>(seconds * 1000 + 0.999)


cdef int l_task_wait(lua_State *L) noexcept nogil:
    """wait(task[, seconds]) → 1 once it has ended; nil, "timeout"."""
    cdef Task *t = l_task(L, 1)
    cdef uint64_t deadline
    cdef TaskWait *x
    if t.status != TASK_RUNNING:
        lua_pushinteger(L, 1)
        return 1
    if t.coro == worker_self().running:
        return luaL_error(L, b"a task can not wait for itself")
    deadline = l_check_deadline(L, 2)
    x = l_await_new(L, 1)
    await_add(x, t, 1)
    x.left = 1
    return l_wait_op_until(L, &x.op, deadline)


cdef int l_task_wait_many(lua_State *L) noexcept nogil:
    """wait_many(tasks, all[, seconds]) → position of a task in the list that has failed or was cancelled, else, with
    `all`, 0 once all have ended; without it the position of one that has ended; nil, "timeout"."""
    cdef bint all_ = lua_toboolean(L, 2)
    cdef uint64_t deadline = l_check_deadline(L, 3)
    cdef uint32_t n, i
    cdef TaskWait *x
    cdef Task *t
    luaL_checktype(L, 1, LUA_TTABLE)
    n = <uint32_t>lua_objlen(L, 1)
    for i in range(n):                  # may raise, so nothing is held yet
        lua_rawgeti(L, 1, <int>i + 1)
        t = l_task(L, -1)
        lua_pop(L, 1)
        if t.coro != NULL and t.coro == worker_self().running:
            return luaL_error(L, b"a task can not wait for itself")
        if t.status > TASK_DONE or (t.status == TASK_DONE and not all_):
            lua_pushinteger(L, i + 1)
            return 1
    x = l_await_new(L, n)
    for i in range(n):
        lua_rawgeti(L, 1, <int>i + 1)
        t = <Task *>lua_touserdata(L, -1)
        lua_pop(L, 1)
        if t.status == TASK_RUNNING:
            await_add(x, t, i + 1)
    x.strict = all_
    x.left = x.n if all_ else 1
    if x.n == 0:
        free(x)
        lua_pushinteger(L, 0)
        return 1
    return l_wait_op_until(L, &x.op, deadline)


# ---- What a task userdata tells --------------------------------------------------------------------------

cdef int l_task_results(lua_State *L) noexcept nogil:
    """results(task) → what its function returned; raises what it raised; nil, "cancelled". It must have ended."""
    cdef Task *t = l_task(L, 1)
    cdef int i
    if t.status == TASK_CANCELLED:
        lua_pushnil(L)
        lua_pushlstring(L, b"cancelled", 9)
        return 2
    if t.status == TASK_DONE and t.results == 0:
        return 0
    lua_getfenv(L, 1)
    if t.status == TASK_FAILED:
        task_note_cause(L)
        lua_rawgeti(L, -1, 1)
        return lua_error(L)
    luaL_checkstack(L, t.results + 1, b"too many results")
    for i in range(t.results):
        lua_rawgeti(L, 2, i + 1)
    return t.results


cdef void task_note_cause(lua_State *L) noexcept nogil:
    """The error in the table on top is about to be raised: keep its traceback for the log (lua_describe)."""
    cdef Coro *co = worker_self().running
    if co == NULL:
        return
    lua_rawgeti(L, LUA_REGISTRYINDEX, co.state.task_of)
    lua_pushvalue(L, -2)
    lua_rawseti(L, -2, -co.ref)
    lua_pop(L, 1)
    co.caused = 1


cdef int l_task_self(lua_State *L) noexcept nogil:
    """self() → what stands for the running coroutine of the engine, as long as it runs; nil: there is none."""
    cdef Coro *co = worker_self().running
    if co == NULL:
        return l_nil(L)
    lua_pushlightuserdata(L, co)
    return 1


cdef int l_task_status(lua_State *L) noexcept nogil:
    """status(task) → "running", "done", "failed" or "cancelled"."""
    cdef uint8_t status = l_task(L, 1).status
    if status == TASK_RUNNING:
        lua_pushlstring(L, b"running", 7)
    elif status == TASK_DONE:
        lua_pushlstring(L, b"done", 4)
    elif status == TASK_FAILED:
        lua_pushlstring(L, b"failed", 6)
    else:
        lua_pushlstring(L, b"cancelled", 9)
    return 1


cdef int l_task_cancel(lua_State *L) noexcept nogil:
    """cancel(task) → whether it was running: its wait raises "cancelled", and every later one."""
    cdef Task *t = l_task(L, 1)
    cdef bint runs = t.status == TASK_RUNNING
    if runs:
        coro_cancel(worker_self(), t.coro)
    lua_pushboolean(L, runs)
    return 1


cdef int l_task_stats(lua_State *L) noexcept nogil:
    """stats() → {tasks =, suspended =, idle =}: of this state, coroutines each; tasks may be suspended."""
    cdef State *s = l_state(L)
    cdef Coro *co = s.suspended
    cdef uint32_t n = 0
    while co != NULL:
        n += 1
        co = co.next
    lua_createtable(L, 0, 3)
    lua_pushinteger(L, s.tasks)
    lua_setfield(L, -2, b"tasks")
    lua_pushinteger(L, n)
    lua_setfield(L, -2, b"suspended")
    lua_pushinteger(L, s.nidle)
    lua_setfield(L, -2, b"idle")
    return 1


# ---- The table -------------------------------------------------------------------------------------------

cdef void task_put(lua_State *L, State *s, const char *name, lua_CFunction f) noexcept nogil:
    lua_pushlightuserdata(L, s)
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.task_meta)
    lua_pushcclosure(L, f, 2)
    lua_setfield(L, -2, name)


cdef void lua_task_open(lua_State *L, State *s) noexcept nogil:
    """Push the table core.task. `methods` are those of tasks; boot.lua adds join."""
    lua_createtable(L, 0, 0)
    s.task_of = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 2)
    s.task_meta = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 8)
    task_put(L, s, b"spawn", l_task_spawn)
    task_put(L, s, b"wait", l_task_wait)
    task_put(L, s, b"wait_many", l_task_wait_many)
    task_put(L, s, b"results", l_task_results)
    task_put(L, s, b"stats", l_task_stats)
    task_put(L, s, b"background", l_task_background)
    task_put(L, s, b"self", l_task_self)
    lua_sync_open(L, s)
    lua_createtable(L, 0, 4)
    task_put(L, s, b"cancel", l_task_cancel)
    task_put(L, s, b"status", l_task_status)
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.task_meta)
    lua_pushvalue(L, -2)
    lua_setfield(L, -2, b"__index")
    lua_pushlstring(L, b"task", 4)
    lua_setfield(L, -2, b"__metatable")
    lua_pop(L, 1)
    lua_setfield(L, -2, b"methods")
