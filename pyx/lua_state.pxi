# Lua states: one generation of the application's code on one worker, from its making to its closing.
# Invariants:
#   - the API is called from the worker's thread only;
#   - State.enforced is set exactly while Lua code runs (coro_run, state_call): only then may an allocation fail,
#     so that no engine call outside a protected call can raise;
#   - a state closes at the end of a turn, never under its own code.

cdef enum:
    SMALL_HEAP = 4096           # KiB, garbage included
    PAUSE_SMALL = 400           # percent of the live heap at which the next collection begins
    PAUSE_DEFAULT = 200         # LuaJIT's own
    MEMORY_FULL_PERCENT = 50    # kept through a full collection after memory ran out: the state is replaced

# What the engine yields, so that the wrapped coroutine functions (heart/boot.lua) pass it through.
cdef char ENGINE_TAG


cdef inline Worker *worker_self() noexcept nogil:
    return <Worker *>worker_get_self()


# ---- Memory ----------------------------------------------------------------------------------------------

cdef void *state_alloc(void *ud, void *p, size_t was, size_t n) noexcept nogil:
    """lua_Alloc with a limit: NULL makes LuaJIT collect or raise "not enough memory"."""
    cdef State *s = <State *>ud
    cdef void *q
    if p == NULL:
        was = 0
    if n == 0:
        s.memory -= was
        free(p)
        return NULL
    if n > was and s.enforced and s.memory + (n - was) > s.memory_max:
        return NULL
    q = realloc(p, n)
    if q != NULL:
        s.memory += n - was
    return q


cdef void state_tune_gc(State *s) noexcept nogil:
    """Let a small heap grow further between two collections: what a cycle costs is mostly the live heap, a tenth of
    a small handler's work at LuaJIT's default. Not much further: the one step of a cycle that is not divided grows
    with the garbage, 1.3 ms at a pause of 800 and 0.6 at 400, which costs a request 90 instructions. Called about
    once a second; a pause that the application has set itself is left alone."""
    cdef int pause = PAUSE_DEFAULT
    cdef int before
    if s.pause == 0:
        return
    if lua_gc(s.L, LUA_GCCOUNT, 0) <= SMALL_HEAP:
        pause = PAUSE_SMALL
    before = lua_gc(s.L, LUA_GCSETPAUSE, pause)
    if before == s.pause:
        s.pause = pause
    else:
        lua_gc(s.L, LUA_GCSETPAUSE, before)
        s.pause = 0


cdef bint state_starves(State *s) noexcept nogil:
    """After memory ran out: collect everything; true if that did not help."""
    if s.memory_max == 0:
        return False
    lua_gc(s.L, LUA_GCCOLLECT, 0)
    return s.memory > s.memory_max // 100 * MEMORY_FULL_PERCENT


# ---- Making ----------------------------------------------------------------------------------------------

cdef State *state_new(Worker *w) noexcept nogil:
    """A state with the libraries and Heart's own functions, before any script. NULL: Worker.message says why."""
    cdef State *s = <State *>calloc(1, sizeof(State))
    if s == NULL:
        return NULL
    s.worker = w
    s.memory_max = w.server.limits.lua_memory
    s.fallback = s.onerror = s.on_start = s.on_stop = s.errorpage = s.describe = s.ctx_functions = LUA_NOREF
    s.after = s.pools = s.prelude = s.serve = s.known = s.known_until = LUA_NOREF
    timer_init(&s.grace, state_on_grace)
    s.L = lua_newstate(state_alloc, s) if s.memory_max else luaL_newstate()
    if s.L == NULL:
        free(s)
        worker_say(w, Span(b"cannot make a Lua state: out of memory", 38))
        return NULL
    w.generations += 1
    s.generation = w.generations
    s.pause = PAUSE_DEFAULT
    state_tune_gc(s)
    if state_boot(w, s) != OK:
        state_close(w, s)
        return NULL
    return s


cdef int state_boot(Worker *w, State *s) noexcept nogil:
    """Open the libraries and run heart/boot.lua, which wraps what must be wrapped; before it, if the application is
    in the executable, heart/bundle.lua."""
    cdef lua_State *L = s.L
    lua_pushlightuserdata(L, s)
    lua_pushcclosure(L, l_open_libraries, 1)
    if state_call(s, 0, 0) != LUA_OK:
        state_take_message(w, s)
        return ERR_SYSTEM
    return OK


cdef int state_call(State *s, int nargs, int nresults) noexcept nogil:
    """lua_pcall on the main thread of the state, with the memory limit in force."""
    cdef int rc
    cdef uint8_t before = s.enforced
    s.enforced = 1
    rc = lua_pcall(s.L, nargs, nresults, 0)
    s.enforced = before
    return rc


cdef void state_take_message(Worker *w, State *s) noexcept nogil:
    """Pop an error message from the main thread into Worker.message."""
    cdef Span text = Span(NULL, 0)
    text.p = lua_tolstring(s.L, -1, &text.n)
    if text.p == NULL:
        text = Span(b"(an error without a message)", 28)
    worker_say(w, text)
    lua_pop(s.L, 1)


cdef int l_open_libraries(lua_State *L) noexcept nogil:
    cdef State *s = <State *>lua_touserdata(L, lua_upvalueindex(1))
    cdef Server *g = s.worker.server
    luaL_openlibs(L)
    lua_getfield(L, LUA_GLOBALSINDEX, b"package")
    lua_pushlstring(L, g.package_path.p, g.package_path.n)
    lua_setfield(L, -2, b"path")
    lua_pushlstring(L, g.package_cpath.p, g.package_cpath.n)
    lua_setfield(L, -2, b"cpath")
    lua_core_open(L, s)
    if g.archive.n:
        l_run_stdlib(L, g, b"bundle")
    l_run_stdlib(L, g, b"boot")
    return 0


cdef void l_run_stdlib(lua_State *L, Server *g, const char *name) noexcept nogil:
    """Run a file of Heart's own Lua modules with the table on top of the stack."""
    lua_pushfstring(L, b"%s/heart/%s.lua", g.stdlib.p, name)
    if luaL_loadfile(L, lua_tostring_z(L, -1)) != LUA_OK:
        lua_error(L)
    lua_pushvalue(L, -3)
    lua_call(L, 1, 0)
    lua_pop(L, 1)


cdef int state_load(Worker *w, State *s) noexcept nogil:
    """Begin to run the script, on a coroutine, so that it may wait; state_loaded is called when it ended."""
    cdef Coro *co = coro_new(w, s)
    cdef int rc
    if co == NULL:
        worker_say(w, Span(b"out of memory", 13))
        return ERR_MEMORY
    co.role = ROLE_LOAD
    s.holders += 1
    rc = script_load(s, co.L)
    if rc != LUA_OK:
        coro_fail(w, co, rc)
    elif s.prelude != LUA_NOREF:
        lua_rawgeti(co.L, LUA_REGISTRYINDEX, s.prelude)
        lua_insert(co.L, -2)
        coro_run(w, co, 1)
    else:
        coro_run(w, co, 0)
    return OK


# ---- Holding and closing ---------------------------------------------------------------------------------

cdef inline void state_release(Worker *w, State *s) noexcept nogil:
    s.holders -= 1


cdef void state_release_role(State *s, uint8_t role) noexcept nogil:
    """A coroutine without a request has ended."""
    s.holders -= 1
    s.tasks -= role == ROLE_TASK or role == ROLE_WATCH


cdef void state_retire(Worker *w, State *s) noexcept nogil:
    """No new request goes to this state; it closes when nothing holds it, or when its grace is over."""
    s.retired = 1
    s.next = w.retired
    w.retired = s
    timer_set(&w.wheel, &s.grace, w.now + w.server.limits.reload_grace)


cdef void states_settle(Worker *w) noexcept nogil:
    """Close the retired states that nothing holds any more. Called at the end of a turn."""
    cdef State **at = &w.retired
    cdef State *s
    while at[0] != NULL:
        s = at[0]
        if s.holders == s.watching:
            at[0] = s.next
            state_abandon(w, s)
            state_close(w, s)
        else:
            at = &s.next


cdef void state_on_grace(Worker *w, Timer *t) noexcept nogil:
    """The grace of a retired state is over: its requests end without an answer, its tasks stop."""
    cdef State *s = <State *>(<char *>t - <size_t>&(<State *>NULL).grace)
    state_hand_over(w, s)
    ws_close_all(w, s, WS_RESTART)
    if s.holders > s.tasks:
        log_z(w, LEVEL_WARN, b"reload: requests of the old code took longer than --reload-grace and were ended")
    state_abandon(w, s)


cdef void state_hand_over(Worker *w, State *s) noexcept nogil:
    """Files on their way need no code any more: the state in service holds them from now on."""
    cdef Req *r = s.requests
    cdef Req *after
    while r != NULL:
        after = r.next
        if r.source == SOURCE_FILE:
            req_unlist(r)
            r.route = NULL
            r.mount = NULL
            r.state = w.state
            r.state.holders += 1
            s.holders -= 1
            req_list(r)
        r = after


cdef void state_abandon(Worker *w, State *s) noexcept nogil:
    cdef Coro *co
    cdef Req *r
    while s.suspended != NULL:
        co = s.suspended
        r = co.req
        if r == NULL:
            state_release_role(s, co.role)
        coro_drop(w, co)
        if r != NULL:
            r.coro = NULL
            req_cancel(w, r)
    while s.requests != NULL:           # whose bodies still arrive
        req_cancel(w, s.requests)


cdef void state_close(Worker *w, State *s) noexcept nogil:
    cdef Coro *co
    cdef uint32_t i
    timer_cancel(&w.wheel, &s.grace)
    mail_forget(w, &s.mail)
    scripts_close(w, s)
    while s.idle != NULL:
        co = s.idle
        s.idle = co.next
        slab_free(&w.coros, co)
    ws_close_clients(w, s)
    state_close_socks(w, s)
    processes_end(w, s)
    lua_close(s.L)
    state_close_socks(w, s)             # that finalizers have opened
    router_free(&s.router)
    for i in range(s.nmounts):
        folder_close(&s.mounts[i].folder)
        free(<void *>s.mounts[i].prefix.p)
    free(s.mounts)
    buf_free(&s.files)
    buf_free(&s.places)
    buf_free(&s.name)
    template_free(s.template)
    free(s)


cdef str lua_evaluate_gil(bytes code, bytes argument):
    """Run Lua code with one argument in a plain state of its own; its result as text. RuntimeError: its error."""
    cdef lua_State *L = luaL_newstate()
    cdef const char *p
    cdef size_t n = 0
    cdef int rc
    if L == NULL:
        raise MemoryError("cannot make a Lua state")
    luaL_openlibs(L)
    rc = luaL_loadbuffer(L, code, len(code), b"=heart")
    if rc == LUA_OK:
        lua_pushlstring(L, argument, len(argument))
        rc = lua_pcall(L, 1, 1, 0)
    p = lua_tolstring(L, -1, &n)
    text = p[:n].decode("utf-8", "surrogateescape") if p != NULL else ""
    lua_close(L)
    if rc != LUA_OK:
        raise RuntimeError(text)
    return text
