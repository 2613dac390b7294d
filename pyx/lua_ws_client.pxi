# WebSockets that this side opens: what heart/v1/websocket.lua needs beside HTTP's client. The object is the same as
# that of app.ws, in straight-line style; it belongs to who has it: nothing but a waiting coroutine holds it, and one
# that is collected says good-bye.

cdef int l_ws_accept_of(lua_State *L) noexcept nogil:
    """accept_of(key) → the Sec-WebSocket-Accept that a server must answer with."""
    cdef char out[WS_ACCEPT_LEN]
    cdef Span key = l_check_span(L, 1)
    if not ws_key_valid(key):
        return luaL_argerror(L, 1, b"expected 16 bytes in base64")
    ws_accept_put(key, out)
    lua_pushlstring(L, out, WS_ACCEPT_LEN)
    return 1


cdef int l_ws_is_client(lua_State *L) noexcept nogil:
    """is_client(ws) → whether it was opened from here, not accepted."""
    lua_pushboolean(L, l_ws(L).flags & WS_CLIENT != 0)
    return 1


cdef int l_sock_websocket(lua_State *L) noexcept nogil:
    """websocket({extensions =, fresh =, max_message =, deflate_min =, deflate_level =}) → a WebSocket whose handshake
    the server has accepted, the socket is gone; or nil and the reason. `extensions`: the server's answer, nil without
    one; `fresh`: it was asked that every message is compressed anew."""
    cdef Sock *s = l_check_sock(L)
    cdef State *state = l_state(L)
    cdef Span extensions
    cdef WsDeflateParams params
    cdef WsClient *x
    cdef Conn *c
    cdef const char *why = sock_not_for_ws(s)
    luaL_checktype(L, 2, LUA_TTABLE)
    if why != NULL:
        return l_fail(L, why)
    lua_settop(L, 2)
    lua_insert(L, 1)                    # the fields are looked for at index 1
    extensions = l_field_span(L, b"extensions", Span(NULL, 0))
    x = l_ws_client_new(L)
    if extensions.p != NULL:
        if not deflate_accepted(extensions, x.ws.flags & WS_SELF_FRESH != 0, &params):
            return l_fail(L, b"bad handshake: the server's extensions are not those that were offered")
        ws_client_agree(x, &params)
    c = sock_hand_over(state.worker, s, &WS)
    if c == NULL:
        return l_fail(L, b"out of memory")
    ws_open(state.worker, &x.ws, c, &x.route, state)
    return 1


cdef const char *sock_not_for_ws(Sock *s) noexcept nogil:
    """Why a socket can not become a WebSocket; NULL: it can."""
    if s == NULL or s.flags & (SOCK_BROKEN | SOCK_CUT | SOCK_ENDED):
        return b"closed"
    if op_waits(&s.reading) or op_waits(&s.writing):
        return b"socket busy"
    if s.flags & (SOCK_LISTENS | SOCK_DATAGRAM | SOCK_PIPE):
        return b"not for this kind of socket"
    return NULL


cdef WsClient *l_ws_client_new(lua_State *L) noexcept nogil:
    """Push an object with the options of the table at index 1."""
    cdef Limits *limits = &l_state(L).worker.server.limits
    cdef WsClient *x
    lua_getfield(L, 1, b"max_message")
    lua_getfield(L, 1, b"deflate_min")
    lua_getfield(L, 1, b"deflate_level")
    lua_getfield(L, 1, b"fresh")
    x = <WsClient *>lua_newuserdata(L, sizeof(WsClient))
    memset(x, 0, sizeof(WsClient))
    luaL_newmetatable(L, WS_CLASS)
    lua_setmetatable(L, -2)
    x.route.message = x.route.close = x.route.error = LUA_NOREF
    x.route.max_message = <size_t>luaL_optinteger(L, -5, <ptrdiff_t>limits.ws_max_message)
    x.route.deflate_min = <size_t>luaL_optinteger(L, -4, <ptrdiff_t>limits.ws_deflate_min)
    x.route.deflate_level = <uint8_t>luaL_optinteger(L, -3, 1)
    x.ws.flags = WS_CLIENT | WS_STRAIGHT
    if lua_toboolean(L, -2):
        x.ws.flags |= WS_SELF_FRESH
    x.ws.ref = LUA_NOREF
    return x


cdef void ws_client_agree(WsClient *x, const WsDeflateParams *d) noexcept nogil:
    x.ws.flags |= WS_DEFLATE
    x.ws.bits = d.client_bits
    if d.client_fresh:
        x.ws.flags |= WS_SELF_FRESH
    if d.server_fresh:
        x.ws.flags |= WS_PEER_FRESH
    if d.client_bits < WS_BITS_MIN:     # no stream has that window: the messages go as they are
        x.route.deflate_min = SIZE_MAX
