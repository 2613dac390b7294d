# core.socket: pools of idle connections (sock_pool.pxi). A pool is found by its key in a Lua table of the state; a
# connection that is given loses its userdata, so that nobody reads what is meant for the next one who takes it.

cdef enum:
    POOL_SIZE = 30              # idle connections of one key, if the one who gives does not say
    POOL_IDLE = 60000           # ms


cdef int l_socket_take(lua_State *L) noexcept nogil:
    """take(key [, unseen]) → an idle connection, without timeouts; or nil. `unseen` saves a system call: it may be one
    that the peer has just closed."""
    cdef State *state = l_state(L)
    cdef SockPool *pool
    cdef Sock *s = NULL
    l_check_span(L, 1)
    pool = l_pool(L, state)
    if pool != NULL:
        s = pool_take(state.worker, pool, lua_toboolean(L, 2))
    if s == NULL:
        return l_nil(L)
    s.connect_timeout = s.send_timeout = s.receive_timeout = -1
    s.deadline = 0
    push_sock(L, s)
    return 1


cdef int l_sock_give(lua_State *L) noexcept nogil:
    """give(key [, seconds = 60 [, size = 30]]) → true: the connection is idle, in the pool of `key`, for at most that
    long (0: as long as the peer likes); the one that was idle longest leaves if there are more than `size`. Or nil and
    the reason. The socket is gone in both cases."""
    cdef Sock *s = l_check_sock(L)
    cdef Worker *w = worker_self()
    cdef SockPool *pool
    cdef int64_t idle = POOL_IDLE
    cdef double size = POOL_SIZE
    cdef const char *why
    l_check_span(L, 2)
    if not l_absent(L, 3):
        idle = l_milliseconds(L, 3)
    if not l_absent(L, 4):
        size = luaL_checknumber(L, 4)
    if not 1 <= size <= 1e9:
        return luaL_argerror(L, 4, b"expected a number of connections")
    if s == NULL:
        return l_fail(L, b"closed")
    why = sock_unfit(s)
    if why != NULL:
        if not op_waits(&s.reading) and not op_waits(&s.writing):
            sock_close(w, s)
        return l_fail(L, why)
    lua_pushvalue(L, 2)
    lua_replace(L, 1)
    pool = l_pool_made(L, s.state)
    s.box.sock = NULL
    s.box = NULL
    pool_add(w, pool, s, <uint64_t>idle if idle > 0 else 0)
    sock_watch(w, s, EPOLLIN)
    if s.flags & SOCK_BROKEN:
        sock_close(w, s)
    while pool.n > <uint32_t>size:
        sock_close(w, pool.last)
    lua_pushboolean(L, 1)
    return 1


cdef const char *sock_unfit(Sock *s) noexcept nogil:
    """Why the connection can not be used again; NULL: it can."""
    if op_waits(&s.reading):
        return b"socket busy reading"
    if op_waits(&s.writing):
        return b"socket busy writing"
    if s.flags & (SOCK_LISTENS | SOCK_DATAGRAM):
        return b"not for this kind of socket"
    if s.flags & (SOCK_EOF | SOCK_BROKEN | SOCK_CUT | SOCK_ENDED):
        return b"closed"
    if s.unread.n or (s.tls != NULL and s.tls.api.pending(s.tls)):
        return b"unread data in buffer"
    if s.flags & SOCK_WATCHED and not s.watch.interest & EPOLLIN:
        return b"connection in dubious state"    # something has come that nobody waited for
    return NULL


cdef SockPool *l_pool(lua_State *L, State *s) noexcept nogil:
    """The pool whose key is at index 1, or NULL. The table of pools is on top of the stack then."""
    cdef SockPool *pool
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.pools)
    lua_pushvalue(L, 1)
    lua_rawget(L, -2)
    pool = <SockPool *>lua_touserdata(L, -1)
    lua_pop(L, 1)
    return pool


cdef SockPool *l_pool_made(lua_State *L, State *s) noexcept nogil:
    """The same; it is made if there is none. It is a userdata: Lua frees it."""
    cdef SockPool *pool = l_pool(L, s)
    if pool != NULL:
        return pool
    if s.npools >= POOLS_SWEPT and s.npools > 2 * s.npooled:
        l_sweep_pools(L, s)
    lua_pushvalue(L, 1)
    pool = <SockPool *>lua_newuserdata(L, sizeof(SockPool))
    memset(pool, 0, sizeof(SockPool))
    lua_rawset(L, -3)
    s.npools += 1
    return pool


cdef void l_sweep_pools(lua_State *L, State *s) noexcept nogil:
    """Remove the empty pools from the table on top of the stack: keys may be many, like the names that users give."""
    lua_pushnil(L)
    while lua_next(L, -2):
        if (<SockPool *>lua_touserdata(L, -1)).n == 0:
            lua_pushvalue(L, -2)
            lua_pushnil(L)
            lua_rawset(L, -5)
            s.npools -= 1
        lua_pop(L, 1)
