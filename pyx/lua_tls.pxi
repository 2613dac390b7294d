# core.tls: TLS contexts for Lua, and what sockets tell of their sessions. A context is a userdata; sockets take it with
# l_check_tls and hold it through their session.
# Not for: TLS itself, which is the extension's (tls.pyx), and sockets.

cdef char TLS_CONTEXT           # registry: the metatable of contexts


cdef void lua_tls_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    lua_pushlightuserdata(L, &TLS_CONTEXT)
    lua_createtable(L, 0, 2)
    lua_pushcclosure(L, l_tls_collect, 0)
    lua_setfield(L, -2, b"__gc")
    lua_pushboolean(L, 0)
    lua_setfield(L, -2, b"__metatable")
    lua_rawset(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 1)
    core_put(L, s, b"context", l_tls_context)


cdef int l_tls_collect(lua_State *L) noexcept nogil:
    cdef TlsContext **box = <TlsContext **>lua_touserdata(L, 1)
    if box[0] != NULL:
        box[0].api.context_free(box[0])
        box[0] = NULL
    return 0


cdef TlsContext *l_check_tls(lua_State *L, int narg) noexcept nogil:
    """The context at `narg`. It is good while Lua holds it, or a session of it lives."""
    cdef TlsContext **box = <TlsContext **>lua_touserdata(L, narg)
    cdef bint right = False
    if lua_type(L, narg) == LUA_TUSERDATA and lua_getmetatable(L, narg):
        lua_pushlightuserdata(L, &TLS_CONTEXT)
        lua_rawget(L, LUA_REGISTRYINDEX)
        right = lua_rawequal(L, -1, -2)
        lua_pop(L, 2)
    if not right:
        luaL_argerror(L, narg, b"expected a TLS context")
    return box[0]


# ---- Contexts --------------------------------------------------------------------------------------------

cdef int l_tls_context(lua_State *L) noexcept nogil:
    """context{verify = true, ca_file =, ca_path =, certificate =, key =, password =, alpn = {...}, ciphers =,
    min_version = "1.2"|"1.3", depth =, session_cache = true} → context; or nil and the reason. Waits."""
    cdef TlsOptions o
    cdef char alpn[TLS_ALPN_MAX]
    cdef TlsAsk *ask
    memset(&o, 0, sizeof(TlsOptions))
    o.verify = TLS_VERIFY_PEER
    o.session_cache = 1
    o.depth = -1
    lua_settop(L, 1)
    if not lua_isnil(L, 1):
        luaL_checktype(L, 1, LUA_TTABLE)
        lua_pushnil(L)
        while lua_next(L, 1):
            if lua_type(L, 2) != LUA_TSTRING:
                return luaL_error(L, b"tls: options have names")
            l_tls_option(L, &o, alpn)
            lua_settop(L, 2)
    ask = tls_ask_new(worker_self(), &o)
    if ask == NULL:
        return luaL_error(L, b"not enough memory")
    ask.op.finish = finish_tls_context
    return l_wait_op(L, &ask.op)


cdef void l_tls_option(lua_State *L, TlsOptions *o, char *alpn) noexcept nogil:
    """The option whose name is at 2 and value at 3. Texts stay Lua's, in the table at 1."""
    cdef Span name = l_check_span(L, 2)
    if span_equal(name, b"verify", 6):
        o.verify = TLS_VERIFY_PEER if l_tls_flag(L) else TLS_VERIFY_NONE
    elif span_equal(name, b"session_cache", 13):
        o.session_cache = l_tls_flag(L)
    elif span_equal(name, b"depth", 5):
        o.depth = l_tls_depth(L)
    elif span_equal(name, b"min_version", 11):
        o.min_version = l_tls_version(L)
    elif span_equal(name, b"alpn", 4):
        o.alpn = l_tls_alpn(L, 3, alpn)
    elif span_equal(name, b"ca_file", 7):
        o.ca_file = l_tls_text(L)
    elif span_equal(name, b"ca_path", 7):
        o.ca_path = l_tls_text(L)
    elif span_equal(name, b"certificate", 11):
        o.certificate = l_tls_text(L)
    elif span_equal(name, b"key", 3):
        o.key = l_tls_text(L)
    elif span_equal(name, b"password", 8):
        o.password = l_tls_text(L)
    elif span_equal(name, b"ciphers", 7):
        o.ciphers = l_tls_text(L)
    else:
        luaL_error(L, b"tls: unknown option %s (there are: verify, ca_file, ca_path, certificate, key, password, alpn, "
                      b"ciphers, min_version, depth, session_cache)", name.p)


cdef Span l_tls_text(lua_State *L) noexcept nogil:
    """The value is a string. Paths and names with a NUL would mean something else than they say."""
    cdef Span text = Span(NULL, 0)
    if lua_type(L, 3) != LUA_TSTRING:
        luaL_error(L, b"tls: %s: expected a string", lua_tostring_z(L, 2))
    text = l_check_span(L, 3)
    if text.n != strlen(text.p):
        luaL_error(L, b"tls: %s: there is a NUL in it", lua_tostring_z(L, 2))
    return text


cdef bint l_tls_flag(lua_State *L) noexcept nogil:
    if lua_type(L, 3) != LUA_TBOOLEAN:
        luaL_error(L, b"tls: %s: expected true or false", lua_tostring_z(L, 2))
    return lua_toboolean(L, 3)


cdef int l_tls_depth(lua_State *L) noexcept nogil:
    cdef double depth = lua_tonumber(L, 3)
    if lua_type(L, 3) != LUA_TNUMBER or not 0 <= depth <= 100:
        luaL_error(L, b"tls: depth: expected a number from 0 to 100")
    return <int>depth


cdef uint16_t l_tls_version(lua_State *L) noexcept nogil:
    cdef Span text = l_tls_text(L)
    if span_equal(text, b"1.2", 3):
        return TLS_1_2
    if not span_equal(text, b"1.3", 3):
        luaL_error(L, b"tls: min_version: expected \"1.2\" or \"1.3\"")
    return TLS_1_3


cdef Span l_tls_alpn(lua_State *L, int narg, char *room) noexcept nogil:
    """The names in the list at `narg` in the form of TlsOptions.alpn, in `room` of TLS_ALPN_MAX bytes."""
    cdef Span name
    cdef size_t i, n = 0
    if lua_type(L, narg) != LUA_TTABLE:
        luaL_error(L, b"tls: alpn: expected a list of names")
    for i in range(1, lua_objlen(L, narg) + 1):
        lua_rawgeti(L, narg, <int>i)
        name.p = NULL
        if lua_type(L, -1) == LUA_TSTRING:
            name.p = lua_tolstring(L, -1, &name.n)
        if name.p == NULL or name.n == 0 or n + 1 + name.n > TLS_ALPN_MAX:
            luaL_error(L, b"tls: alpn: expected names, of 255 characters together")
        room[n] = <char>name.n
        memcpy(room + n + 1, name.p, name.n)
        n += 1 + name.n
        lua_pop(L, 1)
    return Span(room, n)


cdef int finish_tls_context(Coro *co, Op *op) noexcept nogil:
    cdef lua_State *L = co.L
    cdef TlsAsk *ask = <TlsAsk *>op
    cdef TlsContext **box
    if ask.context == NULL:
        lua_pushnil(L)
        lua_pushstring(L, ask.error)
        tls_ask_free(ask)
        return 2
    box = <TlsContext **>lua_newuserdata(L, sizeof(TlsContext *))
    box[0] = ask.context
    tls_ask_free(ask)
    lua_pushlightuserdata(L, &TLS_CONTEXT)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)
    return 1


# ---- What a session tells --------------------------------------------------------------------------------

cdef void tls_put(lua_State *L, const char *name, Span text) noexcept nogil:
    lua_pushlstring(L, text.p, text.n)
    lua_setfield(L, -2, name)


cdef void l_push_tls_session(lua_State *L, TlsSession *s) noexcept nogil:
    """Push {version, cipher, alpn (or nil), resumed, certificate (or nil)} of a session after its handshake."""
    cdef TlsCertificate c
    lua_createtable(L, 0, 5)
    lua_pushstring(L, s.version)
    lua_setfield(L, -2, b"version")
    lua_pushstring(L, s.cipher)
    lua_setfield(L, -2, b"cipher")
    lua_pushboolean(L, s.resumed)
    lua_setfield(L, -2, b"resumed")
    if s.alpn.n:
        tls_put(L, b"alpn", s.alpn)
    if s.api.certificate(s, &c) == OK:
        l_push_certificate(L, &c)
        lua_setfield(L, -2, b"certificate")


cdef void l_push_certificate(lua_State *L, const TlsCertificate *c) noexcept nogil:
    """Push {subject, issuer, serial, names (a list), der, signature, sha256 (32 bytes), not_before, not_after}."""
    cdef const char *name = c.names.p
    cdef int n = 0
    lua_createtable(L, 0, 9)
    tls_put(L, b"subject", c.subject)
    tls_put(L, b"issuer", c.issuer)
    tls_put(L, b"serial", c.serial)
    tls_put(L, b"der", c.der)
    tls_put(L, b"signature", c.signature)
    tls_put(L, b"sha256", Span(<const char *>c.sha256, 32))
    lua_pushnumber(L, <double>c.not_before)
    lua_setfield(L, -2, b"not_before")
    lua_pushnumber(L, <double>c.not_after)
    lua_setfield(L, -2, b"not_after")
    lua_createtable(L, 0, 0)
    while name < c.names.p + c.names.n:
        n += 1
        lua_pushstring(L, name)
        lua_rawseti(L, -2, n)
        name += strlen(name) + 1
    lua_setfield(L, -2, b"names")
