# core.socket: encrypting a connection. The session is the TLS extension's (lua_tls.pxi, TlsApi in core.pxd); the
# handshake is a read like others, so that it waits and times out like them.

cdef int l_sock_tls(lua_State *L) noexcept nogil:
    """tls(context, {server_name =, host = server_name, port =, verify = boolean, alpn = {...}}) → true, the connection
    is encrypted and the peer is `host`; or nil and the reason. It has the time of a connect."""
    cdef Sock *s = l_check_sock(L)
    cdef TlsContext *context = l_check_tls(L, 2)
    cdef char alpn[TLS_ALPN_MAX]
    cdef TlsPeer peer
    cdef const char *why
    cdef int n
    lua_settop(L, 3)
    l_tls_peer(L, &peer, alpn)
    n = l_read_begin(L, s, READ_HANDSHAKE, 0)
    if n:
        return n
    why = sock_unfit(s)
    if why == NULL and (s.tls != NULL or s.flags & SOCK_PIPE):
        why = b"not for this kind of socket"
    if why != NULL:
        return l_fail(L, why)
    s.tls = context.api.session_new(context, s.watch.fd, &peer)
    if s.tls == NULL:
        return luaL_error(L, b"not enough memory")
    return l_shake(L, s)


cdef int l_shake(lua_State *L, Sock *s) noexcept nogil:
    """Begin the handshake, and wait for its end."""
    cdef int64_t timeout = s.connect_timeout
    cdef uint64_t now = clock_ms()
    cdef bint pending = sock_shake(s) == PENDING
    timeout = sock_timeout(s, timeout, now)
    if not pending or timeout == 0:
        s.reading.timed_out = pending
        return push_shaken(L, s)
    return l_wait_op_until(L, &s.reading, now + timeout if timeout > 0 else 0)


cdef void l_tls_peer(lua_State *L, TlsPeer *peer, char *alpn) noexcept nogil:
    """The options at index 3. They may be missing."""
    memset(peer, 0, sizeof(TlsPeer))
    if lua_isnil(L, 3):
        return
    luaL_checktype(L, 3, LUA_TTABLE)
    lua_insert(L, 1)
    peer.server_name = l_field_span(L, b"server_name", Span(NULL, 0))
    peer.host = l_field_span(L, b"host", peer.server_name)
    peer.port = l_field_port(L, b"port")
    lua_getfield(L, 1, b"verify")
    if not lua_isnil(L, -1):
        peer.verify = TLS_VERIFY_PEER if lua_toboolean(L, -1) else TLS_VERIFY_NONE
    lua_getfield(L, 1, b"alpn")
    if not lua_isnil(L, -1):
        peer.alpn = l_tls_alpn(L, lua_gettop(L), alpn)
    lua_pop(L, 2)


cdef int push_shaken(lua_State *L, Sock *s) noexcept nogil:
    """The handshake has ended. One that has not succeeded leaves nothing that the connection could be used for."""
    if s.flags & SOCK_SECURE:
        lua_pushboolean(L, 1)
        return 1
    l_fail(L, sock_reason(s, &s.reading))
    s.flags |= SOCK_BROKEN
    return 2


cdef int l_sock_session(lua_State *L) noexcept nogil:
    """session() → {version, cipher, alpn, resumed, certificate}; nil: the connection is not encrypted."""
    cdef Sock *s = l_check_sock(L)
    if s == NULL or not s.flags & SOCK_SECURE:
        return l_nil(L)
    l_push_tls_session(L, s.tls)
    return 1
