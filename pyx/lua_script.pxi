# Script states: Lua states beside the one that serves, each with one script, isolated from all others. The state in
# service (the front) makes them, picks one for a request and passes the request on (core.script); its Lua code decides
# how many there are. What it has found for a SCRIPT_FILENAME is used again for a while without it (State.known).
# What a script state is for Lua is a box; when that is closed or collected, the state is retired.
# Invariants:
#   - a script state serves one request at a time (State.busy), from script_engage to req_close, or until the front's
#     handler fails;
#   - a state that is busy is retired only with its front, and has the grace of a reload then;
#   - the lists of a front are the worker's alone, as everything of a state.

cdef char SCRIPT_BOX            # registry: the metatable of boxes


# ---- Making ----------------------------------------------------------------------------------------------

cdef int l_script_new(lua_State *L) noexcept nogil:
    """new(name, file, argument) → box; nil and a message. Makes a state and runs `file` in it with `argument`; that
    may wait. `name` is what counts() knows it by."""
    cdef ScriptLoad *x
    luaL_checklstring(L, 1, NULL)
    luaL_checklstring(L, 2, NULL)
    luaL_checklstring(L, 3, NULL)
    x = <ScriptLoad *>calloc(1, sizeof(ScriptLoad))
    if x == NULL:
        return luaL_error(L, b"not enough memory")
    op_init(&x.op)
    x.op.begin = script_begin
    x.op.finish = script_finish
    x.op.cancel = NULL
    x.op.drop = script_drop
    x.front = l_state(L)
    if buf_append_text(&x.text, l_check_span(L, 1)) != OK or buf_append_text(&x.text, l_check_span(L, 2)) != OK or \
            buf_append_text(&x.text, l_check_span(L, 3)) != OK:
        script_load_free(x)
        return luaL_error(L, b"not enough memory")
    x.file_at = l_check_span(L, 1).n + 1
    x.argument_at = x.file_at + l_check_span(L, 2).n + 1
    return l_wait_op(L, &x.op)


cdef int buf_append_text(Buf *b, Span text) noexcept nogil:
    """With a NUL behind it."""
    if buf_append(b, text.p, text.n) != OK:
        return ERR_MEMORY
    return buf_put(b, 0)


cdef void script_load_free(ScriptLoad *x) noexcept nogil:
    buf_free(&x.text)
    buf_free(&x.message)
    free(x)


cdef void script_begin(Worker *w, Op *op) noexcept nogil:
    """The coroutine that asks has yielded: make the state and begin to run its file."""
    cdef ScriptLoad *x = <ScriptLoad *>op
    cdef State *s = state_new(w)
    cdef Coro *co = coro_new(w, s) if s != NULL else NULL
    cdef size_t n = x.text.n - 1 - x.argument_at
    cdef int rc
    if co == NULL:
        buf_append(&x.message, w.message.p, w.message.n)
        if s != NULL:
            state_close(w, s)
        op_ready(w, op)
        return
    x.state = s
    script_adopt(x.front, s, x)
    co.role = ROLE_LOAD
    s.holders += 1
    s.enforced = 1
    rc = luaL_loadfile(co.L, x.text.p + x.file_at)
    s.enforced = 0
    if rc != LUA_OK:
        coro_fail(w, co, rc)
        return
    lua_pushlstring(co.L, x.text.p + x.argument_at, n)
    coro_run(w, co, 1)


cdef void script_adopt(State *front, State *s, ScriptLoad *x) noexcept nogil:
    """The new state belongs to its front."""
    s.is_script = 1
    s.front = front
    s.loading = x
    s.script_next = front.scripts
    if s.script_next != NULL:
        s.script_next.script_prev = s
    front.scripts = s
    buf_append(&s.name, x.text.p, x.file_at - 1)


cdef void state_say(Worker *w, State *s, Span text) noexcept nogil:
    """Why a state did not load. What a worker says is for the main thread, which may be reading it: scripts do not
    write there."""
    if s.is_script:
        buf_append(&s.loading.message, text.p, text.n)
    else:
        worker_say(w, text)


cdef void script_loaded(Worker *w, State *s) noexcept nogil:
    """Its file has ended; see state_loaded."""
    cdef ScriptLoad *x = s.loading
    s.loading = NULL
    if not s.failed:
        state_serves(w, s)
    op_ready(w, &x.op)


cdef int script_finish(Coro *co, Op *op) noexcept nogil:
    cdef ScriptLoad *x = <ScriptLoad *>op
    cdef State *s = x.state
    cdef lua_State *L = co.L
    if s != NULL and not s.failed:
        script_push_box(L, s)
        script_load_free(x)
        return 1
    if s != NULL:
        script_retire(s.worker, s)
    lua_pushnil(L)
    lua_pushlstring(L, x.message.p, x.message.n)
    script_load_free(x)
    return 2


cdef void script_drop(Worker *w, Op *op) noexcept nogil:
    """Nobody waits for the state any more."""
    cdef ScriptLoad *x = <ScriptLoad *>op
    if x.state != NULL:
        x.state.loading = NULL
        script_retire(w, x.state)
    script_load_free(x)


cdef void script_push_box(lua_State *L, State *s) noexcept nogil:
    s.box = <ScriptBox *>lua_newuserdata(L, sizeof(ScriptBox))
    s.box.state = s
    lua_pushlightuserdata(L, &SCRIPT_BOX)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)


# ---- Retiring --------------------------------------------------------------------------------------------

cdef void script_retire(Worker *w, State *s) noexcept nogil:
    """No request is passed to this state any more. Its stop event runs; it closes when nothing holds it. From
    anywhere on the worker, inside Lua code too."""
    if s.retired:
        return
    if s.box != NULL:
        s.box.state = NULL
        s.box = NULL
    script_leave(s)
    if s.serving and s.on_stop != LUA_NOREF:
        lua_spawn_later(w, s, s.on_stop, ROLE_TASK)
    state_retire(w, s)


cdef void script_leave(State *s) noexcept nogil:
    """Its front does not know it any more."""
    if s.front == NULL:
        return
    if s.script_prev != NULL:
        s.script_prev.script_next = s.script_next
    else:
        s.front.scripts = s.script_next
    if s.script_next != NULL:
        s.script_next.script_prev = s.script_prev
    s.front = s.script_next = s.script_prev = NULL


cdef void scripts_close(Worker *w, State *s) noexcept nogil:
    """A state closes: the scripts of a front are retired, and nobody waits for a script any more."""
    cdef ScriptLoad *x = s.loading
    while s.scripts != NULL:
        script_retire(w, s.scripts)
    script_leave(s)
    if x != NULL:
        s.loading = NULL
        x.state = NULL
        op_ready(w, &x.op)


cdef void scripts_stop(Worker *w, State *front) noexcept nogil:
    """The worker ends: the stop events of all scripts of its front."""
    cdef State *s = front.scripts
    while s != NULL:
        if s.serving and s.on_stop != LUA_NOREF:
            s.serving = 0
            lua_spawn(w, s, s.on_stop, ROLE_STOP)
        s = s.script_next


cdef bint scripts_busy(State *front) noexcept nogil:
    """Whether one of its scripts has work that is to be finished before the worker ends."""
    cdef State *s = front.scripts
    while s != NULL:
        if s.holders > s.tasks:
            return True
        s = s.script_next
    return False


cdef void scripts_tune(State *front) noexcept nogil:
    """As state_tune_gc, for all of them."""
    cdef State *s = front.scripts
    while s != NULL:
        state_tune_gc(s)
        s = s.script_next


# ---- Serving ---------------------------------------------------------------------------------------------

cdef ScriptBox *l_script_box(lua_State *L, int narg) noexcept nogil:
    cdef ScriptBox *box = <ScriptBox *>lua_touserdata(L, narg)
    if box == NULL:
        luaL_argerror(L, narg, b"expected a script state")
    return box


cdef int l_script_idle(lua_State *L) noexcept nogil:
    """idle(box) → whether it can take a request now; nil: it is of no use any more."""
    cdef State *s = l_script_box(L, 1).state
    if s == NULL or s.stale:
        return l_nil(L)
    lua_pushboolean(L, not s.busy)
    return 1


cdef int l_script_close(lua_State *L) noexcept nogil:
    """close(box): retire the state."""
    cdef State *s = l_script_box(L, 1).state
    if s != NULL:
        script_retire(s.worker, s)
    return 0


cdef int l_script_pass(lua_State *L) noexcept nogil:
    """pass(ctx, box[, once]): the request of the handler that runs goes on in that state, as soon as the handler has
    returned; whatever it returns is not looked at. The state must be idle. `once`: it is retired after this request."""
    cdef Coro *co = worker_self().running
    cdef Req *r = l_served(L)
    cdef State *s = l_script_box(L, 2).state
    if co == NULL or co.req != r or r.flags & REQ_PASSED:
        return luaL_error(L, b"pass: only a handler passes its request on, and once")
    if s == NULL or s.busy or s.serve == LUA_NOREF:
        return luaL_error(L, b"pass: the script state takes no request")
    script_engage(s)
    s.once = lua_toboolean(L, 3)
    r.passed = s
    r.flags |= REQ_PASSED
    return 0


cdef inline void script_engage(State *s) noexcept nogil:
    """It has a request, which holds it."""
    s.busy = 1
    s.holders += 1
    if s.front != NULL:
        s.front.uses += 1
        s.uses = s.front.uses


cdef int l_script_used(lua_State *L) noexcept nogil:
    """used(box) → how many requests its front had passed on at its last one; nil: it is of no use any more."""
    cdef State *s = l_script_box(L, 1).state
    if s == NULL:
        return l_nil(L)
    lua_pushnumber(L, <double>s.uses)
    return 1


cdef int l_script_known(lua_State *L) noexcept nogil:
    """known(boxes, until): in a front: two tables by SCRIPT_FILENAME. A request for a name in them goes to the box's
    state without the front's handler, if that is idle, before `until` (of core.now())."""
    cdef State *s = l_state(L)
    luaL_checktype(L, 1, LUA_TTABLE)
    luaL_checktype(L, 2, LUA_TTABLE)
    lua_settop(L, 2)
    s.known_until = luaL_ref(L, LUA_REGISTRYINDEX)
    s.known = luaL_ref(L, LUA_REGISTRYINDEX)
    return 0


cdef State *script_find_known(State *front, Span filename) noexcept nogil:
    """NULL: the front's handler is to decide."""
    cdef lua_State *L = front.L
    cdef ScriptBox *box
    cdef double until
    lua_rawgeti(L, LUA_REGISTRYINDEX, front.known)
    lua_rawgeti(L, LUA_REGISTRYINDEX, front.known_until)
    l_push_span(L, filename)
    lua_pushvalue(L, -1)
    lua_rawget(L, -3)
    until = lua_tonumber(L, -1)
    lua_settop(L, -2)
    lua_rawget(L, -3)
    box = <ScriptBox *>lua_touserdata(L, -1)
    lua_settop(L, -4)
    return box.state if box != NULL and <double>clock_ms() < until * 1000 else NULL


cdef bint script_serve_known(Worker *w, Req *r) noexcept nogil:
    """Let a state that is known serve the request. False: there is none, or it can not."""
    cdef State *s
    if r.vars_len == 0 or r.script_len == 0:
        return False
    s = script_find_known(r.state, Span(r.head.base + r.script, r.script_len))
    if s == NULL or s.stale or s.busy or s.serve == LUA_NOREF:
        return False
    script_engage(s)
    script_move(w, r, s)
    return True


cdef void script_take(Worker *w, Coro *co) noexcept nogil:
    """The front's handler has returned: the script state goes on with its request."""
    cdef Req *r = co.req
    script_leave_behind(w, r)
    r.coro = NULL
    coro_recycle(w, co)
    script_move(w, r, r.passed)


cdef void script_move(Worker *w, Req *r, State *s) noexcept nogil:
    """From its front to a state that is engaged."""
    cdef bint listed = r.flags & REQ_LISTED
    if listed:
        req_unlist(r)
    state_release(w, r.state)
    r.state = s
    r.route = NULL
    r.mount = NULL
    r.status = 200
    if listed:
        req_list(r)
    lua_serve(w, r, s.serve)


cdef void script_leave_behind(Worker *w, Req *r) noexcept nogil:
    """What the front wanted of the client was for its handler; the script's state does not know its functions."""
    r.flags &= ~<uint32_t>(REQ_PASSED | REQ_CANCEL)
    if r.waiter != NULL:
        lua_waiter_gone(w, r)
    if r.on_abort != LUA_NOREF:
        lua_forget_abort(r)


cdef void script_give_back(Worker *w, Req *r) noexcept nogil:
    """The front's handler has passed its request on, but did not return: it failed, or was ended."""
    r.flags &= ~<uint32_t>REQ_PASSED
    script_ended(w, r.passed)
    state_release(w, r.passed)


cdef void script_ended(Worker *w, State *s) noexcept nogil:
    """Its request is over: it can take another one, and its front may wait for that."""
    cdef State *front = s.front
    s.busy = 0
    if s.once:
        script_retire(w, s)
    if front != NULL and front.script_wait != NULL:
        op_ready(w, &front.script_wait.op)
        front.script_wait = NULL


cdef int l_script_serve(lua_State *L) noexcept nogil:
    """serve(fn): in a script state: what answers its requests."""
    l_set_reference(L, &l_state(L).serve)
    return 0


cdef int l_script_cookie(lua_State *L) noexcept nogil:
    """cookie(ctx) → HTTP_COOKIE; nil: the client has none."""
    cdef Req *r = l_served(L)
    cdef Span value
    if not r.head.seen & (1 << HEADER_COOKIE) or \
            fcgi_pair_find(fcgi_vars(r), b"HTTP_COOKIE", 11, &value) != OK:
        return l_nil(L)
    return l_push_span(L, value)


cdef int l_script_head(lua_State *L) noexcept nogil:
    """head(ctx, type, elapsed): the fields that all answers of a script begin with: its type, "" for none; `elapsed`:
    X-ElapsedTime, the whole milliseconds since the request came."""
    cdef char text[24]
    cdef Req *r = l_served(L)
    cdef Span ctype = l_check_span(L, 2)
    cdef const char *why = NULL
    if ctype.n:
        why = req_add_field(r, Span(b"Content-Type", 12), ctype)
    if why == NULL and lua_toboolean(L, 3):
        why = req_add_field(r, Span(b"X-ElapsedTime", 13),
                            Span(&text[0], put_decimal(text, (clock_ns() - r.started) // 1000000)))
    return 0 if why == NULL else luaL_error(L, b"%s", why)


cdef int l_script_counts(lua_State *L) noexcept nogil:
    """counts() → name → number of states, of the running script's front."""
    cdef State *s = l_state(L)
    s = s.front if s.is_script else s
    lua_createtable(L, 0, 8)
    s = s.scripts if s != NULL else NULL
    while s != NULL:
        lua_pushlstring(L, s.name.p, s.name.n)
        lua_pushvalue(L, -1)
        lua_rawget(L, -3)
        lua_pushinteger(L, lua_tointeger(L, -1) + 1)
        lua_remove(L, -2)
        lua_rawset(L, -3)
        s = s.script_next
    return 1


# ---- Waiting for a free one --------------------------------------------------------------------------------

cdef void script_await_begin(Worker *w, Op *op) noexcept nogil:
    cdef ScriptWait *x = <ScriptWait *>op
    x.front.script_wait = x


cdef int script_await_finish(Coro *co, Op *op) noexcept nogil:
    free(op)
    return 0


cdef bint script_await_cancel(Worker *w, Op *op) noexcept nogil:
    cdef ScriptWait *x = <ScriptWait *>op
    x.front.script_wait = NULL
    return True


cdef void script_await_drop(Worker *w, Op *op) noexcept nogil:
    free(op)


cdef int l_script_await(lua_State *L) noexcept nogil:
    """await(): wait until a script state of this front has become free. One coroutine at a time."""
    cdef ScriptWait *x
    if l_state(L).script_wait != NULL:
        return luaL_error(L, b"await: another task waits already")
    x = <ScriptWait *>calloc(1, sizeof(ScriptWait))
    if x == NULL:
        return luaL_error(L, b"not enough memory")
    op_init(&x.op)
    x.op.begin = script_await_begin
    x.op.finish = script_await_finish
    x.op.cancel = script_await_cancel
    x.op.drop = script_await_drop
    x.front = l_state(L)
    return l_wait_op(L, &x.op)


cdef void lua_script_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    lua_createtable(L, 0, 1)
    core_put(L, s, b"__gc", l_script_close)
    lua_pushlightuserdata(L, &SCRIPT_BOX)
    lua_insert(L, -2)
    lua_rawset(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 8)
    core_put(L, s, b"new", l_script_new)
    core_put(L, s, b"idle", l_script_idle)
    core_put(L, s, b"close", l_script_close)
    core_put(L, s, b"pass", l_script_pass)
    core_put(L, s, b"used", l_script_used)
    core_put(L, s, b"known", l_script_known)
    core_put(L, s, b"serve", l_script_serve)
    core_put(L, s, b"cookie", l_script_cookie)
    core_put(L, s, b"head", l_script_head)
    core_put(L, s, b"counts", l_script_counts)
    core_put(L, s, b"await", l_script_await)
