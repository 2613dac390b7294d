# Running Lua: coroutines from a pool, what they return, what they wait for, how they fail.
# A handler runs on an idle coroutine (lua_resume costs what a pcall costs). If it ends, the same coroutine takes the
# next one; if it waits, the request keeps it; after an error it is dropped.
# Invariants:
#   - Worker.running is the coroutine the engine resumed last; coroutines that Lua code made inside it wait through it;
#   - a wait is begun (timer set, flag raised) only after the coroutine has really yielded (coro_suspend): lua_yield
#     may fail instead, inside table.sort for example, and the code may go on;
#   - coroutines are resumed from the loop only, never from inside another one's run.

cdef enum:
    COROS_KEPT = 256            # idle coroutines of a state; more are left to the collector


# ---- Coroutines ------------------------------------------------------------------------------------------

cdef Coro *coro_new(Worker *w, State *s) noexcept nogil:
    """A fresh coroutine with an empty stack but for its ctx. NULL: out of memory."""
    cdef Coro *co = <Coro *>slab_new(&w.coros)
    if co == NULL:
        return NULL
    memset(co, 0, sizeof(Coro))
    timer_init(&co.timer, coro_on_timer)
    co.state = s
    co.L = lua_newthread(s.L)
    co.ref = luaL_ref(s.L, LUA_REGISTRYINDEX)
    ctx_new(co)
    return co


cdef inline Coro *coro_take(Worker *w, State *s) noexcept nogil:
    cdef Coro *co = s.idle
    if likely(co != NULL):
        s.idle = co.next
        s.nidle -= 1
        return co
    return coro_new(w, s)


cdef inline void coro_recycle(Worker *w, Coro *co) noexcept nogil:
    """The function has ended: back to the pool, with a fresh ctx if somebody may still hold the old one."""
    cdef State *s = co.state
    co.ctx.req = NULL
    co.req = NULL
    if unlikely(co.op != NULL):         # its yield had failed
        op_forget(w, co)
    if unlikely(co.txns != NULL):
        txns_abandon(co)
    if unlikely(co.held != NULL):
        coro_unlock_all(w, co)
    co.cancelled = 0
    if unlikely(co.caused):
        coro_forget_cause(co.L, co)
    if unlikely(s.nidle >= COROS_KEPT):
        coro_drop(w, co)
        return
    if unlikely(co.ctx.shared or w.server.dev):
        lua_settop(co.L, 0)
        ctx_new(co)
    else:
        lua_settop(co.L, 1)
    co.next = s.idle
    s.idle = co
    s.nidle += 1


cdef void coro_drop(Worker *w, Coro *co) noexcept nogil:
    """Leave the coroutine to Lua's collector; whatever it waited for is forgotten."""
    timer_cancel(&w.wheel, &co.timer)
    if co.task != NULL:
        task_end(w, co, TASK_CANCELLED)
    if co.op != NULL:
        op_forget(w, co)
    if co.txns != NULL:
        txns_abandon(co)
    if co.held != NULL:
        coro_unlock_all(w, co)
    if co.caused:
        coro_forget_cause(co.state.L, co)
    if co.queued:
        coro_unqueue(w, co)
    if co.listed:
        coro_unlist(co)
    coro_leave_client(co)
    if co.ws != NULL:
        co.ws.coro = NULL
    ctx_forget(co)
    luaL_unref(co.state.L, LUA_REGISTRYINDEX, co.ref)
    slab_free(&w.coros, co)


cdef inline void coro_leave_client(Coro *co) noexcept nogil:
    """It does not wait for the client of its request any more."""
    cdef Req *r = co.ctx.req
    if r != NULL and r.waiter == co:
        req_take_waiter(r)


cdef void coro_list(Coro *co) noexcept nogil:
    co.listed = 1
    co.prev = NULL
    co.next = co.state.suspended
    if co.next != NULL:
        co.next.prev = co
    co.state.suspended = co


cdef void coro_unlist(Coro *co) noexcept nogil:
    co.listed = 0
    if co.prev != NULL:
        co.prev.next = co.next
    else:
        co.state.suspended = co.next
    if co.next != NULL:
        co.next.prev = co.prev


# ---- Running ---------------------------------------------------------------------------------------------

cdef inline void coro_run(Worker *w, Coro *co, int nargs) noexcept nogil:
    """Resume with the function (first time) and `nargs` arguments on its stack; then settle what came of it."""
    cdef State *s = co.state
    cdef int rc
    w.running = co
    s.enforced = 1
    rc = lua_resume(co.L, nargs)
    s.enforced = 0
    w.running = NULL
    if likely(rc == LUA_OK):
        coro_finish(w, co)
    elif rc == LUA_YIELD:
        coro_suspend(w, co)
    else:
        coro_fail(w, co, rc)


cdef inline void lua_serve(Worker *w, Req *r, int handler) noexcept nogil:
    """Run a handler (a registry reference) for a request."""
    cdef Coro *co = coro_take(w, r.state)
    if unlikely(co == NULL):
        r.status = 503
        req_reply(w, r, Span(NULL, 0))
        req_finish(w, r)
        return
    lua_bind(co, r)
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, handler)
    lua_pushvalue(co.L, 1)
    coro_run(w, co, 1)


cdef inline void lua_bind(Coro *co, Req *r) noexcept nogil:
    co.role = ROLE_HANDLER
    co.req = r
    co.ctx.req = r
    r.coro = co


cdef void lua_spawn(Worker *w, State *s, int function, uint8_t role) noexcept nogil:
    """Run a function (a registry reference) that belongs to no request: ROLE_TASK or ROLE_STOP."""
    cdef Coro *co = coro_take(w, s)
    if co == NULL:
        log_z(w, LEVEL_ERROR, b"out of memory: an event handler was not run")
        return
    co.role = role
    s.holders += 1
    s.tasks += role == ROLE_TASK
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, function)
    coro_run(w, co, 0)


cdef void lua_spawn_later(Worker *w, State *s, int function, uint8_t role) noexcept nogil:
    """The same, from inside Lua code: it begins in the next turn."""
    cdef Coro *co = coro_for_task(w, s, 1)
    if co == NULL:
        log_z(w, LEVEL_ERROR, b"out of memory: a task was not run")
        return
    co.role = role
    s.holders += 1
    s.tasks += 1
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, function)
    coro_start_later(w, co)


cdef void coro_start_later(Worker *w, Coro *co) noexcept nogil:
    """Run the function that is on its stack with its arguments, in the next turn."""
    coro_list(co)
    coro_queue(w, co)


cdef inline void coro_finish(Worker *w, Coro *co) noexcept nogil:
    cdef State *s = co.state
    cdef Req *r = co.req
    cdef uint8_t role
    cdef Ws *ws
    if unlikely(co.role != ROLE_HANDLER):
        role = co.role
        if co.task != NULL:
            task_done(w, co)
        if role == ROLE_WS:
            ws_coro_settle(w, co)
        ws = co.ws
        co.ws = NULL
        state_release_role(s, role)
        coro_recycle(w, co)
        if role == ROLE_LOAD:
            state_loaded(w, s)
        elif role == ROLE_WS:
            ws_coro_ended(w, ws, False)
        return
    if unlikely(r.flags & (REQ_AFTER | REQ_PASSED)):
        if r.flags & REQ_PASSED:
            script_take(w, co)
        else:
            lua_run_after(w, co)
        return
    if lua_reply(w, co, r) != OK:
        coro_fail(w, co, LUA_ERRRUN)
        return
    r.coro = NULL
    coro_recycle(w, co)
    req_done(w, r)


# ---- Waiting ---------------------------------------------------------------------------------------------

cdef int l_wait(lua_State *L, uint8_t wait) noexcept nogil:
    """Yield to the engine from a C function; `return l_wait(...)`. What the engine passes on is the result."""
    cdef Coro *co = worker_self().running
    if co == NULL:
        return luaL_error(L, b"this function waits, so it must run in a handler, an event or a task")
    if unlikely(co.cancelled):
        return l_raise_cancelled(L, co)
    co.wait = wait
    co.waiting = L
    lua_pushlightuserdata(L, &ENGINE_TAG)
    return lua_yield(L, 1)


cdef int l_wait_op(lua_State *L, Op *op) noexcept nogil:
    """As l_wait, for an op: op.begin is called when the coroutine has yielded, op.finish gives the results."""
    return l_wait_op_until(L, op, 0)


cdef int l_wait_op_until(lua_State *L, Op *op, uint64_t deadline) noexcept nogil:
    """The same, at most until `deadline` (ms of the worker's clock; 0: as long as it takes)."""
    cdef Worker *w = worker_self()
    cdef Coro *co = w.running
    if co == NULL or co.cancelled:
        op.drop(w, op)
    else:
        op_attach(w, co, op)
        co.wake_at = deadline
    return l_wait(L, WAIT_POST)


cdef void coro_suspend(Worker *w, Coro *co) noexcept nogil:
    """The coroutine has yielded: begin the wait that it asked for. A bare coroutine.yield() lasts one turn."""
    cdef Req *r
    if co.role == ROLE_WS:
        ws_coro_settle(w, co)
    r = co.req
    if lua_touserdata(co.L, -1) != &ENGINE_TAG:
        co.wait = WAIT_TURN
        co.waiting = co.L
    if co.wait == WAIT_END:
        coro_end_request(w, co)
        return
    if co.op != NULL and co.wait != WAIT_POST:      # an op whose yield had failed
        op_forget(w, co)
    co.waits += 1
    lua_settop(co.L, 0)
    coro_list(co)
    co.ctx.shared = 1
    if unlikely(co.wait == WAIT_NOTHING):
        coro_end(w, co)
        return
    if r == NULL and (co.wait == WAIT_READ or co.wait == WAIT_WRITE):
        r = co.ctx.req                  # that a task has inherited
    if r != NULL and not lua_suspend_request(w, co, r):
        return
    if co.wait == WAIT_TIMER:
        timer_set(&w.wheel, &co.timer, co.wake_at)
    elif co.wait == WAIT_TURN:
        coro_queue(w, co)
    elif co.wait == WAIT_POST:
        if co.wake_at:
            timer_set(&w.wheel, &co.timer, co.wake_at)
        co.op.begun = 1
        co.op.begin(w, co.op)


cdef bint lua_suspend_request(Worker *w, Coro *co, Req *r) noexcept nogil:
    """The request outlives the read that brought it. False: the wait is over already, or has been begun here."""
    if req_retain(w, r) != OK and r.conn != NULL:
        conn_close(w, r.conn)
    if r.conn == NULL:
        if co.wait == WAIT_READ or co.wait == WAIT_WRITE:
            co.gone = 1
            coro_queue(w, co)
            return False
        return True
    if unlikely(co.txns != NULL):
        txns_suspended(w, co)
    if co.wait == WAIT_READ:
        r.waiter = co
        r.flags |= REQ_READING
        r.proto.want_body(w, r)
        return False
    r.proto.suspend(w, r)
    if co.wait == WAIT_WRITE:
        r.waiter = co
        r.flags |= REQ_WRITING
        r.proto.want_output(w, r)
    return True


cdef void coro_wake(Worker *w, Coro *co, int nargs) noexcept nogil:
    """Resume a suspended coroutine with the `nargs` values on its stack; output leaves when it waits again."""
    cdef Conn *c = co.req.conn if co.req != NULL else NULL
    cdef bint outer = c != NULL and w.current == NULL
    coro_unlist(co)
    if outer:
        conn_begin(w, c)
    coro_run(w, co, nargs)
    if outer:
        conn_end(w, c)


cdef void coro_on_timer(Worker *w, Timer *t) noexcept nogil:
    cdef Coro *co = <Coro *>t
    if co.op != NULL:
        op_expire(w, co.op)
    else:
        coro_wake(w, co, 0)


cdef inline Coro *req_take_waiter(Req *r) noexcept nogil:
    """The coroutine that waits for the client, which it does no more."""
    cdef Coro *co = r.waiter
    r.waiter = NULL
    r.flags &= ~<uint32_t>(REQ_READING | REQ_WRITING)
    return co


cdef int l_check_free(lua_State *L, Req *r) noexcept nogil:
    """One coroutine at a time waits for the client."""
    if r.waiter != NULL:
        luaL_error(L, b"another task waits for this client")
    return 0


cdef void lua_give_body(Worker *w, Req *r, Span part) noexcept nogil:
    """A part of the body for the coroutine that waits for it; an empty one: the body has ended."""
    cdef Coro *co = req_take_waiter(r)
    if part.n:
        lua_pushlstring(co.L, part.p, part.n)
    else:
        lua_pushnil(co.L)
    coro_wake(w, co, 1)


cdef void lua_fail_body(Worker *w, Req *r, const char *why) noexcept nogil:
    """The rest of the body will not come; who waits for it gets nil and the reason."""
    cdef Coro *co = req_take_waiter(r)
    r.flags |= REQ_BODY_FAILED
    lua_pushnil(co.L)
    lua_pushstring(co.L, why)
    coro_wake(w, co, 2)


cdef void lua_resume_writer(Worker *w, Req *r) noexcept nogil:
    """The client has taken the output: go on writing."""
    cdef Coro *co = req_take_waiter(r)
    lua_pushboolean(co.L, 1)
    coro_wake(w, co, 1)


cdef void lua_waiter_gone(Worker *w, Req *r) noexcept nogil:
    """The client, or the request, has gone: who waits for it is told in the next turn."""
    cdef Coro *co = req_take_waiter(r)
    co.gone = 1
    coro_queue(w, co)


cdef void lua_client_gone(Worker *w, Req *r) noexcept nogil:
    """The connection closed under a handler."""
    if r.waiter != NULL:
        lua_waiter_gone(w, r)
    txns_client_gone(r.coro)
    if r.coro.op != NULL:
        op_client_gone(w, r.coro)
    if r.on_abort != LUA_NOREF or r.flags & REQ_CANCEL:
        req_aborted(w, r)


cdef int l_sleep(lua_State *L) noexcept nogil:
    """sleep(seconds): others run meanwhile."""
    cdef uint64_t ms = l_check_seconds(L, 1)
    cdef Coro *co = worker_self().running
    if co != NULL:
        co.wake_at = clock_ms() + ms
    return l_wait(L, WAIT_TIMER if ms else WAIT_TURN)


cdef uint64_t l_check_seconds(lua_State *L, int narg) noexcept nogil:
    """A time to wait, in ms, rounded up."""
    cdef double seconds = luaL_checknumber(L, narg)
    if not 0 <= seconds <= SLEEP_MAX:
        luaL_argerror(L, narg, b"expected seconds from 0 to 31536000 (a year)")
    return <uint64_t>(seconds * 1000 + 0.999)


cdef enum:
    SLEEP_MAX = 31536000        # seconds


# ---- Failing ---------------------------------------------------------------------------------------------

cdef void coro_fail(Worker *w, Coro *co, int rc) noexcept nogil:
    """The function raised an error: log it with its traceback, answer 500, drop the coroutine."""
    cdef State *s = co.state
    cdef Req *r = co.req
    cdef Ws *ws = co.ws
    cdef uint8_t role = co.role
    cdef bint gave_up
    cdef Buf message
    cdef Buf trace
    if co.task != NULL:
        task_fail(w, co, rc)
        return
    memset(&message, 0, sizeof(Buf))
    memset(&trace, 0, sizeof(Buf))
    gave_up = coro_gave_up(co)
    lua_describe(s, co, &message, &trace)
    ctx_push(co)                        # the ctx and the error value itself, for onerror
    lua_xmove(co.L, s.L, 1)
    coro_drop(w, co)
    if role != ROLE_HANDLER:
        state_release_role(s, role)
    if role == ROLE_LOAD:
        s.failed = 1
        state_say(w, s, buf_span(&message if rc == LUA_ERRSYNTAX else &trace))
        state_loaded(w, s)
    else:
        if not gave_up:
            log_failure(w, r, buf_span(&trace))
        if role == ROLE_HANDLER:
            r.coro = NULL
            lua_fail_request(w, r, buf_span(&message), buf_span(&trace))
        elif role == ROLE_WS:
            lua_ws_failed(w, ws, r, buf_span(&message))
    lua_pop(s.L, 2)
    buf_free(&message)
    buf_free(&trace)
    if rc == LUA_ERRMEM and role != ROLE_LOAD and state_starves(s):
        worker_replace_state(w, s)


cdef void lua_describe(State *s, Coro *co, Buf *message, Buf *trace) noexcept nogil:
    """Render the error value on top of the coroutine's stack, and where it happened."""
    cdef lua_State *L = s.L
    cdef int top = lua_gettop(L)
    cdef Span text
    if lua_type(co.L, -1) == LUA_TSTRING:
        lua_pushvalue(co.L, -1)
        lua_xmove(co.L, L, 1)
    else:
        lua_rawgeti(L, LUA_REGISTRYINDEX, s.describe)
        lua_pushvalue(co.L, -1)
        lua_xmove(co.L, L, 1)
        lua_pcall(L, 1, 1, 0)
    text.p = lua_tolstring(L, -1, &text.n)
    if text.p == NULL:
        text = Span(b"(error object)", 14)
    buf_append(message, text.p, text.n)
    buf_put(message, 0)
    luaL_traceback(L, co.L, message.p, 0)
    message.n -= 1
    text.p = lua_tolstring(L, -1, &text.n)
    buf_append(trace, text.p, text.n)
    if co.caused:
        lua_describe_cause(L, co, trace)
    lua_settop(L, top)


cdef void lua_describe_cause(lua_State *L, Coro *co, Buf *trace) noexcept nogil:
    """Add where the error was raised first, if it comes from a task that was joined."""
    cdef Span text
    lua_rawgeti(L, LUA_REGISTRYINDEX, co.state.task_of)
    lua_rawgeti(L, -1, -co.ref)
    lua_rawgeti(L, -1, 1)
    lua_pushvalue(co.L, -1)
    lua_xmove(co.L, L, 1)
    if lua_rawequal(L, -1, -2):
        lua_rawgeti(L, -3, 2)
        text.p = lua_tolstring(L, -1, &text.n)
        buf_append(trace, b"\nraised by a task that was joined:\n", 35)
        buf_append(trace, text.p, text.n)


cdef void coro_forget_cause(lua_State *L, Coro *co) noexcept nogil:
    co.caused = 0
    lua_rawgeti(L, LUA_REGISTRYINDEX, co.state.task_of)
    lua_pushnil(L)
    lua_rawseti(L, -2, -co.ref)
    lua_pop(L, 1)


cdef void lua_fail_request(Worker *w, Req *r, Span message, Span trace) noexcept nogil:
    """Answer a request whose handler failed: the application's onerror, else the engine."""
    cdef State *s = r.state
    if r.flags & REQ_PASSED:
        script_give_back(w, r)
    if r.conn == NULL:
        req_finish(w, r)
        return
    if r.flags & REQ_HEAD_SENT:
        r.proto.abort(w, r)
        req_finish(w, r)
        return
    r.status = 500
    r.fields.n = 0
    r.flags &= ~<uint32_t>(REQ_HAS_DATE | REQ_HAS_SERVER)
    r.ctype = TYPE_TEXT
    if s.onerror != LUA_NOREF and not r.flags & REQ_FAILED:
        r.flags |= REQ_FAILED
        lua_serve_error(w, r)
        return
    lua_answer_failed(w, r, message, trace)
    req_finish(w, r)


cdef void lua_serve_error(Worker *w, Req *r) noexcept nogil:
    """onerror(ctx, error) is a handler like any other, but the last one; its ctx is that of the handler that failed.
    Both are on top of the main stack, the error last."""
    cdef Coro *co = coro_take(w, r.state)
    if co == NULL:
        req_reply(w, r, Span(NULL, 0))
        req_finish(w, r)
        return
    ctx_adopt(co, -2)
    lua_bind(co, r)
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, r.state.onerror)
    lua_pushvalue(co.L, 1)
    lua_pushvalue(r.state.L, -1)
    lua_xmove(r.state.L, co.L, 1)
    coro_run(w, co, 2)


cdef void lua_answer_failed(Worker *w, Req *r, Span message, Span trace) noexcept nogil:
    """The bare status; in development a page about the error."""
    cdef lua_State *L = r.state.L
    cdef int top = lua_gettop(L)
    cdef Span page
    w.scratch_text.n = 0
    put_status_text(&w.scratch_text, 500)
    page = buf_span(&w.scratch_text)
    if w.server.dev and r.state.errorpage != LUA_NOREF:
        lua_rawgeti(L, LUA_REGISTRYINDEX, r.state.errorpage)
        lua_push_failure(L, r, message, trace)
        if lua_pcall(L, 1, 1, 0) == LUA_OK and lua_type(L, -1) == LUA_TSTRING:
            page.p = lua_tolstring(L, -1, &page.n)
            r.ctype = TYPE_HTML
    req_reply(w, r, page)
    lua_settop(L, top)


cdef void lua_push_failure(lua_State *L, Req *r, Span message, Span trace) noexcept nogil:
    """The table that heart/errorpage.lua takes."""
    lua_createtable(L, 0, 6)
    lua_set_span(L, b"message", message)
    lua_set_span(L, b"traceback", trace)
    lua_set_span(L, b"method", req_method(r))
    lua_set_span(L, b"target", Span(r.head.base + r.head.target, r.head.target_len))
    lua_pushlstring(L, HEART_VERSION, strlen(HEART_VERSION))
    lua_setfield(L, -2, b"version")
    lua_push_header_list(L, r)
    lua_setfield(L, -2, b"headers")


cdef void lua_push_header_list(lua_State *L, Req *r) noexcept nogil:
    cdef int i
    cdef Header *h
    lua_createtable(L, r.head.nheaders, 0)
    for i in range(r.head.nheaders):
        h = &r.head.headers[i]
        lua_createtable(L, 2, 0)
        lua_pushlstring(L, r.head.base + h.name, h.name_len)
        lua_rawseti(L, -2, 1)
        lua_pushlstring(L, r.head.base + h.value, h.value_len)
        lua_rawseti(L, -2, 2)
        lua_rawseti(L, -2, i + 1)


cdef void lua_set_span(lua_State *L, const char *name, Span text) noexcept nogil:
    lua_pushlstring(L, text.p, text.n)
    lua_setfield(L, -2, name)
