# Programs for Lua: the table core.process that lua_stdlib/heart/v1/process.lua builds on. launch starts one on the
# pool, wait and run wait for it. Failures are nil, reason, "ENAME".


cdef int l_process_launch(lua_State *L) noexcept nogil:
    """launch{command, args, env, clean, cwd or nil, user or nil, stdin, stdout, stderr}, all checked by the caller:
    `args` and `env` lists of strings, the last three numbers (LaunchStream) → process, and this side's descriptor of
    each stream or -1"""
    cdef Launch *x = <Launch *>calloc(1, sizeof(Launch))
    cdef int i
    if x == NULL:
        return luaL_error(L, b"not enough memory")
    job_init(&x.job, worker_self(), launch_run)
    x.job.op.finish = launch_finish
    x.job.op.drop = launch_drop
    x.state = l_state(L)
    x.ends[0] = x.ends[1] = x.ends[2] = x.pidfd = -1
    launch_put(L, x, 1)
    x.nargs = launch_put_list(L, x, 2)
    x.nenv = launch_put_list(L, x, 3)
    x.clean = lua_toboolean(L, 4)
    x.has_cwd = not l_absent(L, 5)
    x.has_user = not l_absent(L, 6)
    for i in range(5, 7):
        if not l_absent(L, i):
            launch_put(L, x, i)
    for i in range(3):
        x.kinds[i] = <uint8_t>lua_tointeger(L, 7 + i)
    if x.job.error:
        return launch_push_failure(L, x)
    return l_wait_op(L, &x.job.op)


cdef void launch_put(lua_State *L, Launch *x, int index) noexcept nogil:
    """Add a string. One with a NUL in it can be no argument."""
    cdef Span s
    s.p = lua_tolstring(L, index, &s.n)
    if s.p == NULL or strlen(s.p) != s.n:
        x.job.error = EINVAL
    elif buf_append(&x.text, s.p, s.n + 1) != OK:
        x.job.error = ENOMEM


cdef uint32_t launch_put_list(lua_State *L, Launch *x, int index) noexcept nogil:
    cdef uint32_t i, n = <uint32_t>lua_objlen(L, index)
    for i in range(1, n + 1):
        lua_rawgeti(L, index, <int>i)
        launch_put(L, x, -1)
        lua_pop(L, 1)
    return n


cdef int launch_push_failure(lua_State *L, Launch *x) noexcept nogil:
    """nil, "what: reason", "ENAME"; the launch is freed."""
    cdef const char *what = x.text.p if x.text.n else NULL
    if what != NULL and x.step == SPAWN_AT_FOLDER:
        what = launch_string(x, 1 + x.nargs + x.nenv)
    elif what != NULL and x.step == SPAWN_AT_USER:
        what = launch_string(x, 1 + x.nargs + x.nenv + x.has_cwd)
    if what == NULL:
        what = b"process"
    l_push_error(L, what, x.job.error)
    launch_free(x)
    return 3


cdef void launch_free(Launch *x) noexcept nogil:
    launch_close(x.ends)
    buf_free(&x.text)
    free(x)


cdef void launch_drop(Worker *w, Op *op) noexcept nogil:
    """Nobody wants it any more: it is killed, and reaped when it has ended."""
    cdef Launch *x = <Launch *>op
    cdef Process *p
    if x.pid > 0:
        p = process_new(w, NULL, x.pid, x.pidfd)
        if p != NULL:
            process_kill(p, SIGKILL)
            process_release(p)
    launch_free(x)


cdef int launch_finish(Coro *co, Op *op) noexcept nogil:
    cdef lua_State *L = co.L
    cdef Launch *x = <Launch *>op
    cdef Process **box
    cdef int i
    if x.job.error:
        return launch_push_failure(L, x)
    box = <Process **>lua_newuserdata(L, sizeof(Process *))
    box[0] = NULL
    l_set_named_metatable(L, b"heart.process")
    box[0] = process_new(x.job.worker, x.state, x.pid, x.pidfd)
    if box[0] == NULL:
        x.job.error = ENOMEM
        return launch_push_failure(L, x)
    for i in range(3):
        lua_pushinteger(L, x.ends[i])
        x.ends[i] = -1
    launch_free(x)
    return 4


# ---- A process -------------------------------------------------------------------------------------------

cdef Process *l_check_process(lua_State *L) noexcept nogil:
    return (<Process **>luaL_checkudata(L, 1, b"heart.process"))[0]


cdef int l_process_collect(lua_State *L) noexcept nogil:
    cdef Process **box = <Process **>lua_touserdata(L, 1)
    if box[0] != NULL:
        process_release(box[0])
    box[0] = NULL
    return 0


cdef int l_process_pid(lua_State *L) noexcept nogil:
    lua_pushinteger(L, l_check_process(L).pid)
    return 1


cdef int l_process_kill(lua_State *L) noexcept nogil:
    """kill(process, number) → true"""
    cdef int error = process_kill(l_check_process(L), <int>luaL_checkinteger(L, 2))
    if error:
        return l_push_error(L, b"kill", error)
    lua_pushboolean(L, 1)
    return 1


cdef int l_process_wait(lua_State *L) noexcept nogil:
    """wait(process, seconds or nil) → exit status, or minus the signal that ended it; or nil and "timeout" """
    cdef Process *p = l_check_process(L)
    cdef double seconds = -1
    cdef ProcessWait *x
    if not l_absent(L, 2):
        seconds = luaL_checknumber(L, 2)
        if not 0 <= seconds <= SLEEP_MAX:
            return luaL_argerror(L, 2, b"expected seconds from 0 to 31536000 (a year)")
    x = <ProcessWait *>calloc(1, sizeof(ProcessWait))
    if x == NULL:
        return luaL_error(L, b"not enough memory")
    wait_init(x, p)
    x.on_exit = exit_on_exit
    x.op.begin = exit_begin
    x.op.finish = exit_finish
    x.op.cancel = exit_cancel
    x.op.drop = exit_drop
    return l_wait_op_until(L, &x.op, 0 if seconds < 0 else clock_ms() + <uint64_t>(seconds * 1000 + 0.999))


cdef int exit_finish(Coro *co, Op *op) noexcept nogil:
    cdef ProcessWait *x = <ProcessWait *>op
    cdef int results = 1
    if op.timed_out:
        lua_pushnil(co.L)
        lua_pushlstring(co.L, b"timeout", 7)
        results = 2
    else:
        lua_pushinteger(co.L, x.process.status)
    exit_drop(x.process.worker, op)
    return results


# ---- Running to the end ----------------------------------------------------------------------------------

cdef int l_process_run(lua_State *L) noexcept nogil:
    """run(process, stdin, stdout, stderr, data, seconds or nil, limit): the descriptors are those of launch, `data` a
    string or a heart.bytes → exit status or minus the signal, stdout, stderr; nil, or "timeout", "output too large" """
    cdef Process *p = l_check_process(L)
    cdef Buf *given = l_check_bytes(L, 5)
    cdef double seconds = 0 if l_absent(L, 6) else luaL_checknumber(L, 6)
    cdef double limit = luaL_checknumber(L, 7)
    cdef Run *r = <Run *>calloc(1, sizeof(Run))
    cdef Span data
    cdef int i
    if r == NULL:
        return luaL_error(L, b"not enough memory")
    wait_init(&r.wait, p)
    r.wait.on_exit = run_on_exit
    r.wait.op.begin = run_begin
    r.wait.op.finish = run_finish
    r.wait.op.cancel = run_cancel
    r.wait.op.drop = run_drop
    timer_init(&r.timer, run_on_timer)
    r.timeout = <uint64_t>(seconds * 1000 + 0.999)
    r.limit = <size_t>limit
    for i in range(3):
        stream_init(r, i, <int>lua_tointeger(L, 2 + i))
    if given != NULL:
        r.streams[0].bytes = given[0]
        memset(given, 0, sizeof(Buf))
    else:
        data.p = lua_tolstring(L, 5, &data.n)
        if buf_append(&r.streams[0].bytes, data.p, data.n) != OK:
            run_free(p.worker, r)
            return luaL_error(L, b"not enough memory")
    return l_wait_op(L, &r.wait.op)


cdef int run_finish(Coro *co, Op *op) noexcept nogil:
    cdef Run *r = <Run *>op
    cdef lua_State *L = co.L
    lua_pushinteger(L, r.wait.process.status)
    l_push_span(L, buf_span(&r.streams[1].bytes))
    l_push_span(L, buf_span(&r.streams[2].bytes))
    if r.failure == RUN_TIMEOUT:
        lua_pushlstring(L, b"timeout", 7)
    elif r.failure == RUN_TOO_LARGE:
        lua_pushlstring(L, b"output too large", 16)
    else:
        lua_pushnil(L)
    run_free(r.wait.process.worker, r)
    return 4


cdef void lua_process_open(lua_State *L, State *s) noexcept nogil:
    """Push the table core.process."""
    l_named_metatable(L, b"heart.process", l_process_collect)
    lua_createtable(L, 0, 5)
    core_put(L, s, b"launch", l_process_launch)
    core_put(L, s, b"pid", l_process_pid)
    core_put(L, s, b"kill", l_process_kill)
    core_put(L, s, b"wait", l_process_wait)
    core_put(L, s, b"run", l_process_run)
