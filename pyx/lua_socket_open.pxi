# core.socket: making sockets. Connections, listeners, datagrams, descriptors of others; and what can be set on them.
# Options are read from the table at index 1, which holds their strings meanwhile.

# ---- Connecting ------------------------------------------------------------------------------------------

cdef int l_socket_connect(lua_State *L) noexcept nogil:
    """connect{kind = "tcp"|"unix", address =, port =, timeout = seconds, bind =, bind_port =} → socket; or nil and the
    reason. `address` is numeric, or a path (after a NUL byte an abstract name)."""
    cdef Worker *w = worker_self()
    cdef Address address, local
    cdef int64_t timeout
    cdef Sock *s
    cdef int rc
    luaL_checktype(L, 1, LUA_TTABLE)
    lua_settop(L, 1)
    l_connect_addresses(L, &address, &local)
    lua_getfield(L, 1, b"timeout")
    timeout = l_milliseconds(L, 2)
    s = sock_open(w, l_state(L), &address, SOCK_STREAM)
    if s == NULL:
        return l_fail_errno(L, errno)
    if address.at.ss_family != AF_UNIX:
        sock_set_flag(s, IPPROTO_TCP, TCP_NODELAY, 1)
    rc = sock_bind(s, &local)
    if rc == OK:
        rc = io_connect(s.watch.fd, <sockaddr *>&address.at, address.n)
    if rc == OK:
        push_sock(L, s)
        return 1
    if rc == ERR_LIMIT:
        sock_close(w, s)
        return l_fail(L, b"resource temporarily unavailable")
    if rc != PENDING or timeout == 0:
        return l_open_failed(L, s, errno if rc != PENDING else ETIMEDOUT)
    s.flags |= SOCK_CONNECTING | SOCK_FRESH
    return l_wait_op_until(L, &s.writing, clock_ms() + timeout if timeout > 0 else 0)


cdef Sock *sock_open(Worker *w, State *state, const Address *a, int kind) noexcept nogil:
    """A socket for addresses like this one. NULL: see errno."""
    cdef Sock *s
    cdef int fd = socket(a.at.ss_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return NULL
    s = sock_new(w, state, fd, a.at.ss_family, SOCK_DATAGRAM if kind == SOCK_DGRAM else 0)
    return s


cdef int sock_bind(Sock *s, const Address *a) noexcept nogil:
    """To the local address, if there is one. ERR_SYSTEM: see errno."""
    if a.n == 0 or bind(s.watch.fd, <sockaddr *>&a.at, a.n) == 0:
        return OK
    return ERR_SYSTEM


cdef int l_open_failed(lua_State *L, Sock *s, int error) noexcept nogil:
    """Lua has not seen the socket."""
    sock_close(s.state.worker, s)
    return l_fail_errno(L, error)


cdef void l_connect_addresses(lua_State *L, Address *address, Address *local) noexcept nogil:
    """The peer's address and, if one is given (else n = 0), the one to bind to, of the table at 1."""
    cdef Span kind = l_field_span(L, b"kind", Span(b"tcp", 3))
    cdef Span text = l_field_span(L, b"address", Span(NULL, 0))
    cdef Span here = l_field_span(L, b"bind", Span(NULL, 0))
    local.n = 0
    if span_equal(kind, b"unix", 4):
        if address_unix(address, text) != OK:
            luaL_error(L, b"address: expected a path of 1 to 107 bytes")
        return
    if not span_equal(kind, b"tcp", 3):
        luaL_error(L, b"kind: expected \"tcp\" or \"unix\"")
    if address_ip(address, text, l_field_port(L, b"port")) != OK:
        luaL_error(L, b"address: expected an IP address")
    if here.p != NULL and address_ip(local, here, l_field_port(L, b"bind_port")) != OK:
        luaL_error(L, b"bind: expected an IP address")


cdef Span l_field_span(lua_State *L, const char *name, Span otherwise) noexcept nogil:
    """A string in the table at 1, which goes on holding it."""
    cdef Span text = otherwise
    lua_getfield(L, 1, name)
    if lua_type(L, -1) == LUA_TSTRING:
        text.p = lua_tolstring(L, -1, &text.n)
    elif not lua_isnil(L, -1):
        luaL_error(L, b"%s: expected a string", name)
    lua_pop(L, 1)
    return text


cdef uint16_t l_field_port(lua_State *L, const char *name) noexcept nogil:
    """A port in the table at 1; 0 if there is none."""
    cdef double port = 0
    lua_getfield(L, 1, name)
    if not lua_isnil(L, -1):
        port = lua_tonumber(L, -1) if lua_isnumber(L, -1) else -1
    if not 0 <= port <= 65535:
        luaL_error(L, b"%s: expected a number from 0 to 65535", name)
    lua_pop(L, 1)
    return <uint16_t>port


cdef bint l_field_flag(lua_State *L, const char *name, bint otherwise) noexcept nogil:
    """A boolean in the table at 1."""
    cdef bint flag = otherwise
    lua_getfield(L, 1, name)
    if not lua_isnil(L, -1):
        flag = lua_toboolean(L, -1)
    lua_pop(L, 1)
    return flag


cdef int sock_set_flag(Sock *s, int level, int name, int value) noexcept nogil:
    return setsockopt(s.watch.fd, level, name, &value, sizeof(value))


# ---- Listening -------------------------------------------------------------------------------------------

cdef int l_socket_listen(lua_State *L) noexcept nogil:
    """listen{address =, port =, backlog = 511, reuseaddr = true, reuseport = false, v6only = false} or listen{path =} →
    listener; or nil and the reason."""
    cdef Worker *w = worker_self()
    cdef Address address
    cdef Span path
    cdef Sock *s
    cdef double backlog
    luaL_checktype(L, 1, LUA_TTABLE)
    lua_settop(L, 1)
    path = l_field_span(L, b"path", Span(NULL, 0))
    if path.p != NULL:
        if address_unix(&address, path) != OK:
            return luaL_error(L, b"path: expected 1 to 107 bytes")
    elif address_ip(&address, l_field_span(L, b"address", Span(NULL, 0)), l_field_port(L, b"port")) != OK:
        return luaL_error(L, b"address: expected an IP address")
    lua_getfield(L, 1, b"backlog")
    backlog = lua_tonumber(L, 2) if lua_isnumber(L, 2) else 511
    s = sock_open(w, l_state(L), &address, SOCK_STREAM)
    if s == NULL:
        return l_fail_errno(L, errno)
    s.flags |= SOCK_LISTENS
    if path.p == NULL:
        sock_set_flag(s, SOL_SOCKET, SO_REUSEADDR, l_field_flag(L, b"reuseaddr", True))
        sock_set_flag(s, SOL_SOCKET, SO_REUSEPORT, l_field_flag(L, b"reuseport", False))
        sock_set_flag(s, IPPROTO_TCP, TCP_NODELAY, 1)       # handed on to what is accepted
    if address.at.ss_family == AF_INET6:
        sock_set_flag(s, IPPROTO_IPV6, IPV6_V6ONLY, l_field_flag(L, b"v6only", False))
    if sock_bind(s, &address) != OK or listen(s.watch.fd, <int>backlog) != 0:
        return l_open_failed(L, s, errno)
    push_sock(L, s)
    return 1


# ---- Datagrams and others' descriptors -------------------------------------------------------------------

cdef int l_socket_udp(lua_State *L) noexcept nogil:
    """udp{kind = "udp"|"unix", address =, port =, bind =, bind_port =, family = "inet"|"inet6", reuseaddr =, reuseport
    =} → socket; or nil and the reason. With `address` it is connected: send() goes there, and only datagrams from
    there are received."""
    cdef Worker *w = worker_self()
    cdef Address address, local
    cdef Sock *s
    luaL_checktype(L, 1, LUA_TTABLE)
    lua_settop(L, 1)
    l_datagram_addresses(L, &address, &local)
    s = sock_open(w, l_state(L), &address, SOCK_DGRAM)
    if s == NULL:
        return l_fail_errno(L, errno)
    if l_field_flag(L, b"reuseaddr", False):
        sock_set_flag(s, SOL_SOCKET, SO_REUSEADDR, 1)
    if l_field_flag(L, b"reuseport", False):
        sock_set_flag(s, SOL_SOCKET, SO_REUSEPORT, 1)
    if sock_bind(s, &local) != OK:
        return l_open_failed(L, s, errno)
    if address.n and connect(s.watch.fd, <sockaddr *>&address.at, address.n) != 0:
        return l_open_failed(L, s, errno)
    push_sock(L, s)
    return 1


cdef void l_datagram_addresses(lua_State *L, Address *address, Address *local) noexcept nogil:
    """As l_connect_addresses; the peer may be missing (n = 0), but not the family."""
    cdef Span kind = l_field_span(L, b"kind", Span(b"udp", 3))
    cdef Span text = l_field_span(L, b"address", Span(NULL, 0))
    cdef Span here = l_field_span(L, b"bind", Span(NULL, 0))
    cdef Span family = l_field_span(L, b"family", Span(b"inet", 4))
    cdef bint path = span_equal(kind, b"unix", 4)
    if not path and not span_equal(kind, b"udp", 3):
        luaL_error(L, b"kind: expected \"udp\" or \"unix\"")
    address.n = local.n = 0
    if text.p != NULL and address_any(address, path, text, l_field_port(L, b"port")) != OK:
        luaL_error(L, b"address: expected an IP address, or a path of 1 to 107 bytes")
    if here.p != NULL and address_any(local, path, here, l_field_port(L, b"bind_port")) != OK:
        luaL_error(L, b"bind: expected an IP address, or a path of 1 to 107 bytes")
    if text.p != NULL:
        return
    if here.p != NULL:
        address.at.ss_family = local.at.ss_family
    elif path:
        address.at.ss_family = AF_UNIX
    else:
        address.at.ss_family = AF_INET6 if span_equal(family, b"inet6", 5) else AF_INET


cdef int l_socket_adopt(lua_State *L) noexcept nogil:
    """adopt(descriptor) → socket, which closes it; or nil and the reason. For whatever the poller takes: pipes,
    terminals, eventfds, connected sockets."""
    cdef Sock *s
    cdef file_stat st
    cdef int fd = <int>luaL_checkinteger(L, 1)
    cdef int flags = fcntl(fd, F_GETFL)
    if flags < 0 or fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 or fcntl(fd, F_SETFD, FD_CLOEXEC) < 0:
        return l_fail_errno(L, errno)
    if fstat(fd, &st) != 0:
        return l_fail_errno(L, errno)
    s = sock_new(worker_self(), l_state(L), fd, 0, 0 if S_ISSOCK(st.st_mode) else SOCK_PIPE)
    if s == NULL:
        return l_fail_errno(L, ENOMEM)
    push_sock(L, s)
    return 1
