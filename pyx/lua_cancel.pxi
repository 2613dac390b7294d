# Cancelling coroutines.
# LuaJIT can not raise an error in a suspended coroutine. So it is resumed with a hook that raises before the first
# instruction. Hooks are for interpreted code; after a yield that is what goes on, but for one case: a function that was
# called in the middle of compiled code returns to compiled code. Then all compiled code is thrown away before.
# A function that waits and was called by pcall itself, as in pcall(kv.set, ...), can not raise inside of that: it
# returns nil, "cancelled".

cdef enum:
    SWALLOWED_MAX = 100         # times that a cancelled coroutine may catch the error and wait again


cdef void coro_cancel(Worker *w, Coro *co) noexcept nogil:
    """Have every wait of the coroutine raise "cancelled" from now on, also the one that it is in. From anywhere."""
    if not co.cancelled:
        co.cancelled = 1
    if not co.listed or co.throws:          # it runs, or is told already
        return
    if co.task != NULL and lua_status(co.L) == LUA_OK:
        coro_end(w, co)
        return
    timer_cancel(&w.wheel, &co.timer)
    if co.op != NULL:
        op_forget(w, co)
    if co.queued:
        coro_unqueue(w, co)
    coro_leave_client(co)
    co.gone = 0
    co.throws = 1
    coro_soon(w, co)


cdef void coro_end(Worker *w, Coro *co) noexcept nogil:
    """Drop a coroutine that has no request, or end its request."""
    cdef Req *r = co.req
    if r == NULL:
        state_release_role(co.state, co.role)
    coro_drop(w, co)
    if r != NULL:
        r.coro = NULL
        req_cancel(w, r)


cdef int l_raise_cancelled(lua_State *L, Coro *co) noexcept nogil:
    """One that catches this error for ever is not resumed any more."""
    if co.cancelled <= SWALLOWED_MAX:
        co.cancelled += 1
        lua_pushlstring(L, b"cancelled", 9)
        return lua_error(L)
    co.wait = WAIT_NOTHING
    lua_pushlightuserdata(L, &ENGINE_TAG)
    return lua_yield(L, 1)


cdef void throw_hook(lua_State *L, void *ar) noexcept nogil:
    """Nested coroutines pass the wait on, so the error is raised only where the innermost one goes on."""
    cdef Coro *co = worker_self().running
    if L == co.waiting:
        lua_sethook(L, NULL, 0, 0)
        l_raise_cancelled(L, co)


cdef bint coro_gave_up(Coro *co) noexcept nogil:
    """Whether the error on top of the stack is that of its cancellation."""
    cdef Span text
    if not co.cancelled or lua_type(co.L, -1) != LUA_TSTRING:
        return False
    text.p = lua_tolstring(co.L, -1, &text.n)
    return span_equal(text, b"cancelled", 9)


cdef void coro_throw(Worker *w, Coro *co) noexcept nogil:
    """Resume a suspended coroutine with the error."""
    cdef lua_Hook hook = lua_gethook(co.L)
    cdef int mask = lua_gethookmask(co.L)
    cdef int count = lua_gethookcount(co.L)
    cdef lua_State *L = co.state.L
    cdef int kind = call_kind(co.waiting)
    co.throws = 0
    if kind == CALL_PROTECTED:
        lua_pushnil(co.L)
        lua_pushlstring(co.L, b"cancelled", 9)
        coro_wake(w, co, 2)
        return
    if kind != CALL_PLAIN:
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH)
    lua_sethook(L, throw_hook, LUA_MASKCOUNT, 1)
    coro_wake(w, co, 0)
    lua_sethook(L, hook, mask, count)
