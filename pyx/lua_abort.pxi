# What happens when a client leaves before its answer is complete: ctx.on_abort, and the end of serial transactions.
# Only for requests that ask, or that others wait for with the lock of a store (kv_lock.pxi), are clients watched while
# no input is read: by EPOLLRDHUP, which tells the end of the stream, and nothing about pipelined input. The connection
# is closed then, as it is after a reset; the handler runs on unless it asked to be cancelled.

cdef int l_ctx_on_abort(lua_State *L) noexcept nogil:
    """on_abort(fn): run fn in a task; on_abort(): cancel the handler."""
    cdef Worker *w = worker_self()
    cdef Req *r = ctx_req(L)
    cdef bint cancel = l_absent(L, 1)
    if not cancel:
        luaL_checktype(L, 1, LUA_TFUNCTION)
    if r.flags & REQ_ANSWERED:          # the client may come and go
        return 0
    if not cancel:
        lua_settop(L, 1)
        luaL_unref(L, LUA_REGISTRYINDEX, r.on_abort)
        r.on_abort = luaL_ref(L, LUA_REGISTRYINDEX)
    else:
        r.flags |= REQ_CANCEL
    r.coro.ctx.shared = 1
    if r.conn == NULL:                  # too late to watch
        req_aborted(w, r)
    else:
        conn_watch(w, r.conn)
    return 0


cdef void lua_forget_abort(Req *r) noexcept nogil:
    luaL_unref(r.state.L, LUA_REGISTRYINDEX, r.on_abort)
    r.on_abort = LUA_NOREF


cdef void req_aborted(Worker *w, Req *r) noexcept nogil:
    """Its client has left while its handler runs."""
    cdef Task *t
    if r.on_abort != LUA_NOREF:
        task_start(w, r.coro, r.on_abort)
        lua_forget_abort(r)
    if r.flags & REQ_CANCEL:
        r.status = 499
        coro_cancel(w, r.coro)


cdef void task_start(Worker *w, Coro *parent, int function) noexcept nogil:
    """Spawn a task from the engine: a function (a registry reference) without arguments, for the parent's request."""
    cdef State *s = parent.state
    cdef Coro *co = coro_for_task(w, s, 1)
    cdef uint8_t before = s.enforced
    if co == NULL:
        log_z(w, LEVEL_ERROR, b"out of memory: a task was not run")
        return
    s.enforced = 0
    task_new(co.L, co, ROLE_TASK)
    task_inherit(parent, co)
    task_anchor(co)
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, function)
    s.enforced = before
    coro_list(co)
    coro_soon(w, co)


# ---- Serial transactions ---------------------------------------------------------------------------------

cdef void coro_watch_client(Worker *w, Coro *co) noexcept nogil:
    """Notice when the client of the coroutine's request leaves, if there is one."""
    if co != NULL and co.req != NULL and co.req.conn != NULL:
        conn_watch(w, co.req.conn)


cdef void txns_suspended(Worker *w, Coro *co) noexcept nogil:
    """A coroutine with open transactions waits: what holds a serial lock ends with its client. (A request to the store
    itself does not take long.)"""
    cdef KvTxn *t = co.txns
    while t != NULL:
        if co.op != &t.op and lock_is_held(t):
            coro_watch_client(w, co)
        t = t.outer


cdef void txns_client_gone(Coro *co) noexcept nogil:
    cdef KvTxn *t = co.txns
    while t != NULL:
        if t.serial:
            lock_lose(t, KV_LEFT)
        t = t.outer
