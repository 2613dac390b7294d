# core.socket: sockets for Heart's own Lua modules. A socket is a userdata (SockBox); its functions return nil and the
# reason when something fails, and raise only for wrong arguments. What waits is in sock.pxi.
# The rules of this boundary: what a coroutine waits for is in the Sock, not on Lua's stack, which is gone while it
# waits; the finish_* functions push the results. A string that is still needed is held by a reference in the registry.
# A userdata that is collected while a coroutine waits leaves its socket to that coroutine.
# All functions have the State as upvalue 1 and the metatable of sockets as upvalue 2.

cdef enum:
    SECONDS_MAX = 31536000      # of a timeout: a year


cdef void socket_put(lua_State *L, State *s, int meta, const char *name, lua_CFunction f) noexcept nogil:
    """Into the table on top; `meta` is the index of the metatable."""
    lua_pushlightuserdata(L, s)
    lua_pushvalue(L, meta)
    lua_pushcclosure(L, f, 2)
    lua_setfield(L, -2, name)


cdef void lua_socket_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    cdef int meta
    lua_createtable(L, 0, 4)
    meta = lua_gettop(L)
    lua_createtable(L, 0, 32)
    socket_put(L, s, meta, b"send", l_sock_send)
    socket_put(L, s, meta, b"receive", l_sock_receive)
    socket_put(L, s, meta, b"receive_any", l_sock_receive_any)
    socket_put(L, s, meta, b"receive_until", l_sock_receive_until)
    socket_put(L, s, meta, b"read_head", l_sock_read_head)
    socket_put(L, s, meta, b"receive_chunk", l_sock_receive_chunk)
    socket_put(L, s, meta, b"sendto", l_sock_sendto)
    socket_put(L, s, meta, b"receivefrom", l_sock_receivefrom)
    socket_put(L, s, meta, b"accept", l_sock_accept)
    socket_put(L, s, meta, b"bind", l_sock_bind)
    socket_put(L, s, meta, b"listen", l_sock_listen)
    socket_put(L, s, meta, b"connect", l_sock_connect)
    socket_put(L, s, meta, b"disconnect", l_sock_disconnect)
    socket_put(L, s, meta, b"readable", l_sock_readable)
    socket_put(L, s, meta, b"patient", l_sock_patient)
    socket_put(L, s, meta, b"option", l_sock_option)
    socket_put(L, s, meta, b"tls", l_sock_tls)
    socket_put(L, s, meta, b"session", l_sock_session)
    socket_put(L, s, meta, b"websocket", l_sock_websocket)
    socket_put(L, s, meta, b"give", l_sock_give)
    socket_put(L, s, meta, b"reused", l_sock_reused)
    socket_put(L, s, meta, b"settimeouts", l_sock_settimeouts)
    socket_put(L, s, meta, b"deadline", l_sock_deadline)
    socket_put(L, s, meta, b"shutdown", l_sock_shutdown)
    socket_put(L, s, meta, b"close", l_sock_close)
    socket_put(L, s, meta, b"peer", l_sock_peer)
    socket_put(L, s, meta, b"name", l_sock_name)
    socket_put(L, s, meta, b"fd", l_sock_fd)
    socket_put(L, s, meta, b"buffered", l_sock_buffered)
    lua_setfield(L, meta, b"__index")
    lua_pushcclosure(L, l_sock_collect, 0)
    lua_setfield(L, meta, b"__gc")
    lua_pushboolean(L, 0)
    lua_setfield(L, meta, b"__metatable")
    lua_pushlightuserdata(L, &SOCK_META)
    lua_pushvalue(L, meta)
    lua_rawset(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 8)
    socket_put(L, s, meta, b"connect", l_socket_connect)
    socket_put(L, s, meta, b"udp", l_socket_udp)
    socket_put(L, s, meta, b"listen", l_socket_listen)
    socket_put(L, s, meta, b"adopt", l_socket_adopt)
    socket_put(L, s, meta, b"take", l_socket_take)
    socket_put(L, s, meta, b"new", l_socket_new)
    socket_put(L, s, meta, b"poll", l_socket_poll)
    socket_put(L, s, meta, b"count", l_socket_count)
    socket_put(L, s, meta, b"field", l_http_field)
    socket_put(L, s, meta, b"fields", l_http_fields)
    lua_createtable(L, 0, 0)
    s.pools = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_remove(L, meta)


cdef char SOCK_META             # registry: the metatable of sockets


# ---- Userdata --------------------------------------------------------------------------------------------

cdef SockBox *push_sock(lua_State *L, Sock *s) noexcept nogil:
    """Push a userdata for the socket. `s` may be NULL, to be put in afterwards."""
    cdef SockBox *box = <SockBox *>lua_newuserdata(L, sizeof(SockBox))
    box.sock = s
    if s != NULL:
        s.box = box
    lua_pushlightuserdata(L, &SOCK_META)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)
    return box


cdef inline Sock *l_check_sock(lua_State *L) noexcept nogil:
    """The socket at index 1; NULL: it is closed. Raises if that is something else."""
    cdef SockBox *box = <SockBox *>lua_touserdata(L, 1)
    if unlikely(box == NULL or not lua_getmetatable(L, 1)):
        luaL_argerror(L, 1, b"expected a socket")
    if unlikely(not lua_rawequal(L, -1, lua_upvalueindex(2))):
        luaL_argerror(L, 1, b"expected a socket")
    lua_pop(L, 1)
    return box.sock


cdef int l_sock_collect(lua_State *L) noexcept nogil:
    cdef SockBox *box = <SockBox *>lua_touserdata(L, 1)
    cdef Sock *s = box.sock
    if s != NULL:
        box.sock = NULL
        s.box = NULL
        sock_release(s.state.worker, s)
    return 0


cdef void sock_unref(Sock *s, int *reference) noexcept nogil:
    if reference[0] != LUA_NOREF:
        luaL_unref(s.state.L, LUA_REGISTRYINDEX, reference[0])
        reference[0] = LUA_NOREF


# ---- Failures --------------------------------------------------------------------------------------------

cdef const char *errno_text(int error) noexcept nogil:
    """Why a socket failed, in the words of LuaSocket and OpenResty where they have some. 0: the stream was cut off."""
    if error == 0 or error == EPIPE or error == ENOTCONN:
        return b"closed"
    if error == ECONNREFUSED:
        return b"connection refused"
    if error == ECONNRESET:
        return b"connection reset"
    if error == ECONNABORTED:
        return b"connection aborted"
    if error == ETIMEDOUT:
        return b"timeout"
    if error == ENETUNREACH or error == ENETDOWN:
        return b"network unreachable"
    if error == EHOSTUNREACH or error == EHOSTDOWN:
        return b"host unreachable"
    if error == EADDRINUSE:
        return b"address already in use"
    if error == EADDRNOTAVAIL:
        return b"address not available"
    if error == EACCES or error == EPERM:
        return b"permission denied"
    if error == ENOENT:
        return b"no such file or directory"
    if error == EMFILE or error == ENFILE:
        return b"too many open files"
    if error == ENOMEM or error == ENOBUFS:
        return b"out of memory"
    if error == EBADF:
        return b"bad file descriptor"
    if error == EINVAL:
        return b"invalid argument"
    if error == EMSGSIZE:
        return b"message too long"
    if error == EAFNOSUPPORT:
        return b"address family not supported"
    return strerror(error)


cdef int l_fail(lua_State *L, const char *why) noexcept nogil:
    lua_pushnil(L)
    lua_pushstring(L, why)
    return 2


cdef int l_fail_errno(lua_State *L, int error) noexcept nogil:
    return l_fail(L, errno_text(error))


cdef const char *sock_reason(Sock *s, Op *op) noexcept nogil:
    """Why an operation ended without what it was for."""
    cdef int error
    if s.flags & SOCK_DEAD:
        return b"closed"
    if s.flags & SOCK_BROKEN:
        if s.tls != NULL and s.tls.error != NULL:
            return s.tls.error
        return errno_text(s.error)
    if s.flags & SOCK_CUT and op == &s.writing:
        return errno_text(s.send_error)
    if s.error:                         # of a datagram or an accept: told once
        error = s.error
        s.error = 0
        return errno_text(error)
    if op.timed_out:
        return b"timeout"
    return b"closed"


# ---- Times -----------------------------------------------------------------------------------------------

cdef int64_t l_milliseconds(lua_State *L, int narg) noexcept nogil:
    """Seconds as ms; -1 for nil and negative numbers: no limit."""
    cdef double seconds
    if l_absent(L, narg):
        return -1
    seconds = luaL_checknumber(L, narg)
    if not seconds <= SECONDS_MAX:
        luaL_argerror(L, narg, b"expected seconds, at most 31536000 (a year)")
    return <int64_t>(seconds * 1000 + 0.999) if seconds >= 0 else -1


cdef int l_sock_settimeouts(lua_State *L) noexcept nogil:
    """settimeouts(connect, send, receive): seconds that each operation may take; nil: no limit, 0: do not wait."""
    cdef Sock *s = l_check_sock(L)
    cdef int64_t connect_ = l_milliseconds(L, 2)
    cdef int64_t send = l_milliseconds(L, 3)
    cdef int64_t receive = l_milliseconds(L, 4)
    if s != NULL:
        s.connect_timeout = connect_
        s.send_timeout = send
        s.receive_timeout = receive
    lua_pushboolean(L, 1)
    return 1


cdef int l_sock_deadline(lua_State *L) noexcept nogil:
    """deadline(seconds): from now, for all operations together; nil: none."""
    cdef Sock *s = l_check_sock(L)
    cdef int64_t left = l_milliseconds(L, 2)
    if s != NULL:
        s.deadline = clock_ms() + <uint64_t>left if left >= 0 else 0
    lua_pushboolean(L, 1)
    return 1


# ---- Ending ----------------------------------------------------------------------------------------------

cdef int l_sock_close(lua_State *L) noexcept nogil:
    """close() → true; or nil and "closed" if it is closed already."""
    cdef Sock *s = l_check_sock(L)
    if s == NULL:
        return l_fail(L, b"closed")
    sock_close(worker_self(), s)
    lua_pushboolean(L, 1)
    return 1


cdef int l_sock_shutdown(lua_State *L) noexcept nogil:
    """shutdown("send" | "receive" | "both") → true; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Span how = l_check_span(L, 2)
    cdef int way = SHUT_RDWR
    if span_equal(how, b"send", 4):
        way = SHUT_WR
    elif span_equal(how, b"receive", 7):
        way = SHUT_RD
    elif not span_equal(how, b"both", 4):
        return luaL_argerror(L, 2, b"expected \"send\", \"receive\" or \"both\"")
    if s == NULL:
        return l_fail(L, b"closed")
    if way != SHUT_RD:
        if s.tls != NULL:
            s.tls.api.shutdown(s.tls)
        s.flags |= SOCK_ENDED
    if shutdown(s.watch.fd, way) != 0:
        return l_fail_errno(L, errno)
    if way != SHUT_WR:
        s.flags |= SOCK_EOF
        sock_end_op(worker_self(), &s.reading)
    lua_pushboolean(L, 1)
    return 1


# ---- What it is ------------------------------------------------------------------------------------------

cdef int push_address(lua_State *L, const Address *a) noexcept nogil:
    """address, port; or path."""
    cdef char room[ADDRESS_TEXT_MAX]
    cdef int port = address_port(a)
    l_push_span(L, address_text(a, room))
    if port < 0:
        return 1
    lua_pushinteger(L, port)
    return 2


cdef int l_sock_peer(lua_State *L) noexcept nogil:
    """peer() → address, port; or path; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Address a
    if s == NULL:
        return l_fail(L, b"closed")
    a.n = sizeof(a.at)
    if getpeername(s.watch.fd, <sockaddr *>&a.at, &a.n) != 0:
        return l_fail_errno(L, errno)
    return push_address(L, &a)


cdef int l_sock_name(lua_State *L) noexcept nogil:
    """name() → address, port; or path; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Address a
    if s == NULL:
        return l_fail(L, b"closed")
    a.n = sizeof(a.at)
    if getsockname(s.watch.fd, <sockaddr *>&a.at, &a.n) != 0:
        return l_fail_errno(L, errno)
    return push_address(L, &a)


cdef int l_sock_fd(lua_State *L) noexcept nogil:
    """fd() → the descriptor, -1 when it is closed."""
    cdef Sock *s = l_check_sock(L)
    lua_pushinteger(L, s.watch.fd if s != NULL else -1)
    return 1


cdef int l_sock_buffered(lua_State *L) noexcept nogil:
    """buffered() → bytes that were read and not yet received."""
    cdef Sock *s = l_check_sock(L)
    lua_pushinteger(L, s.unread.n if s != NULL else 0)
    return 1


cdef int l_sock_reused(lua_State *L) noexcept nogil:
    """reused() → how often it was taken from a pool."""
    cdef Sock *s = l_check_sock(L)
    lua_pushinteger(L, s.reused if s != NULL else 0)
    return 1


cdef int l_socket_count(lua_State *L) noexcept nogil:
    """count() → open sockets of this state, and how many of them are idle in pools."""
    lua_pushinteger(L, l_state(L).nsocks)
    lua_pushinteger(L, l_state(L).npooled)
    return 2
