# core.socket: options of sockets, by LuaSocket's names.

cdef enum OptionKind:
    OPTION_FLAG
    OPTION_NUMBER
    OPTION_LINGER           # {on =, timeout = seconds}, or seconds (false: off)
    OPTION_ADDRESS          # an IPv4 address
    OPTION_GROUP4           # {multiaddr =, interface = address}
    OPTION_GROUP6           # {multiaddr =, interface = number}
    OPTION_ERROR            # to read: what went wrong, or nil

ctypedef struct SocketOption:
    const char *name
    int level
    int number
    uint8_t kind            # OptionKind

cdef SocketOption[25] OPTIONS


cdef void options_init() noexcept nogil:
    OPTIONS[0] = SocketOption(b"keepalive", SOL_SOCKET, SO_KEEPALIVE, OPTION_FLAG)
    OPTIONS[1] = SocketOption(b"tcp-nodelay", IPPROTO_TCP, TCP_NODELAY, OPTION_FLAG)
    OPTIONS[2] = SocketOption(b"reuseaddr", SOL_SOCKET, SO_REUSEADDR, OPTION_FLAG)
    OPTIONS[3] = SocketOption(b"reuseport", SOL_SOCKET, SO_REUSEPORT, OPTION_FLAG)
    OPTIONS[4] = SocketOption(b"linger", SOL_SOCKET, SO_LINGER, OPTION_LINGER)
    OPTIONS[5] = SocketOption(b"rcvbuf", SOL_SOCKET, SO_RCVBUF, OPTION_NUMBER)
    OPTIONS[6] = SocketOption(b"sndbuf", SOL_SOCKET, SO_SNDBUF, OPTION_NUMBER)
    OPTIONS[7] = SocketOption(b"broadcast", SOL_SOCKET, SO_BROADCAST, OPTION_FLAG)
    OPTIONS[8] = SocketOption(b"dontroute", SOL_SOCKET, SO_DONTROUTE, OPTION_FLAG)
    OPTIONS[9] = SocketOption(b"ipv6-v6only", IPPROTO_IPV6, IPV6_V6ONLY, OPTION_FLAG)
    OPTIONS[10] = SocketOption(b"tcp-keepidle", IPPROTO_TCP, TCP_KEEPIDLE, OPTION_NUMBER)
    OPTIONS[11] = SocketOption(b"tcp-keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, OPTION_NUMBER)
    OPTIONS[12] = SocketOption(b"tcp-keepcnt", IPPROTO_TCP, TCP_KEEPCNT, OPTION_NUMBER)
    OPTIONS[13] = SocketOption(b"ip-ttl", IPPROTO_IP, IP_TTL, OPTION_NUMBER)
    OPTIONS[14] = SocketOption(b"ip-multicast-ttl", IPPROTO_IP, IP_MULTICAST_TTL, OPTION_NUMBER)
    OPTIONS[15] = SocketOption(b"ip-multicast-loop", IPPROTO_IP, IP_MULTICAST_LOOP, OPTION_FLAG)
    OPTIONS[16] = SocketOption(b"ip-multicast-if", IPPROTO_IP, IP_MULTICAST_IF, OPTION_ADDRESS)
    OPTIONS[17] = SocketOption(b"ip-add-membership", IPPROTO_IP, IP_ADD_MEMBERSHIP, OPTION_GROUP4)
    OPTIONS[18] = SocketOption(b"ip-drop-membership", IPPROTO_IP, IP_DROP_MEMBERSHIP, OPTION_GROUP4)
    OPTIONS[19] = SocketOption(b"ipv6-unicast-hops", IPPROTO_IPV6, IPV6_UNICAST_HOPS, OPTION_NUMBER)
    OPTIONS[20] = SocketOption(b"ipv6-multicast-hops", IPPROTO_IPV6, IPV6_MULTICAST_HOPS, OPTION_NUMBER)
    OPTIONS[21] = SocketOption(b"ipv6-multicast-loop", IPPROTO_IPV6, IPV6_MULTICAST_LOOP, OPTION_FLAG)
    OPTIONS[22] = SocketOption(b"ipv6-add-membership", IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, OPTION_GROUP6)
    OPTIONS[23] = SocketOption(b"ipv6-drop-membership", IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, OPTION_GROUP6)
    OPTIONS[24] = SocketOption(b"error", SOL_SOCKET, SO_ERROR, OPTION_ERROR)


options_init()


cdef const SocketOption *option_find(Span name) noexcept nogil:
    cdef int i
    for i in range(25):
        if span_equal(name, OPTIONS[i].name, strlen(OPTIONS[i].name)):
            return &OPTIONS[i]
    return NULL


cdef int l_sock_option(lua_State *L) noexcept nogil:
    """option(name, value) → true; option(name) → its value; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef const SocketOption *o = option_find(l_check_span(L, 2))
    if o == NULL:
        return luaL_argerror(L, 2, b"unknown socket option")
    if s == NULL:
        return l_fail(L, b"closed")
    if l_absent(L, 3):
        return l_option_get(L, s, o)
    lua_settop(L, 3)
    if l_option_set(L, s, o) != 0:
        return l_fail_errno(L, errno)
    lua_pushboolean(L, 1)
    return 1


cdef int l_option_get(lua_State *L, Sock *s, const SocketOption *o) noexcept nogil:
    cdef linger pause
    cdef in_addr four
    cdef int value = 0
    cdef char text[64]
    cdef void *p = &value
    cdef socklen_t n = sizeof(value)
    if o.kind == OPTION_GROUP4 or o.kind == OPTION_GROUP6:
        return luaL_argerror(L, 2, b"this option can only be set")
    if o.kind == OPTION_LINGER:
        p = &pause
        n = sizeof(pause)
    elif o.kind == OPTION_ADDRESS:
        p = &four
        n = sizeof(four)
    if getsockopt(s.watch.fd, o.level, o.number, p, &n) != 0:
        return l_fail_errno(L, errno)
    if o.kind == OPTION_LINGER:
        lua_createtable(L, 0, 2)
        lua_pushboolean(L, pause.l_onoff)
        lua_setfield(L, -2, b"on")
        lua_pushinteger(L, pause.l_linger)
        lua_setfield(L, -2, b"timeout")
    elif o.kind == OPTION_ADDRESS:
        lua_pushstring(L, inet_ntop(AF_INET, &four, text, sizeof(text)))
    elif o.kind == OPTION_FLAG:
        lua_pushboolean(L, value)
    elif o.kind == OPTION_ERROR:
        if value == 0:
            return l_nil(L)
        lua_pushstring(L, errno_text(value))
    else:
        lua_pushinteger(L, value)
    return 1


cdef int l_option_set(lua_State *L, Sock *s, const SocketOption *o) noexcept nogil:
    """From the value at index 3; what setsockopt returns."""
    cdef linger pause
    cdef in_addr four
    if o.kind == OPTION_LINGER:
        pause.l_linger = 0
        pause.l_onoff = lua_toboolean(L, 3)
        if lua_type(L, 3) == LUA_TNUMBER:
            pause.l_linger = <int>lua_tonumber(L, 3)
        elif lua_type(L, 3) == LUA_TTABLE:
            lua_getfield(L, 3, b"on")
            pause.l_onoff = lua_toboolean(L, -1)
            lua_getfield(L, 3, b"timeout")
            pause.l_linger = <int>lua_tonumber(L, -1)
        return setsockopt(s.watch.fd, o.level, o.number, &pause, sizeof(pause))
    if o.kind == OPTION_ADDRESS:
        l_check_four(L, 3, &four)
        return setsockopt(s.watch.fd, o.level, o.number, &four, sizeof(four))
    if o.kind == OPTION_GROUP4 or o.kind == OPTION_GROUP6:
        return l_option_group(L, s, o)
    if o.kind == OPTION_FLAG:
        return sock_set_flag(s, o.level, o.number, lua_toboolean(L, 3))
    if o.kind == OPTION_ERROR:
        return luaL_argerror(L, 2, b"this option can only be read")
    return sock_set_flag(s, o.level, o.number, <int>luaL_checknumber(L, 3))


cdef int l_option_group(lua_State *L, Sock *s, const SocketOption *o) noexcept nogil:
    cdef ip_mreq four
    cdef ipv6_mreq six
    cdef const char *group
    luaL_checktype(L, 3, LUA_TTABLE)
    lua_getfield(L, 3, b"multiaddr")
    lua_getfield(L, 3, b"interface")
    if o.kind == OPTION_GROUP4:
        l_check_four(L, 4, &four.imr_multiaddr)
        four.imr_interface.s_addr = 0
        if not lua_isnil(L, 5):
            l_check_four(L, 5, &four.imr_interface)
        return setsockopt(s.watch.fd, o.level, o.number, &four, sizeof(four))
    group = lua_tolstring(L, 4, NULL)
    if group == NULL or inet_pton(AF_INET6, group, &six.ipv6mr_multiaddr) != 1:
        return luaL_argerror(L, 3, b"multiaddr: expected an IPv6 address")
    six.ipv6mr_interface = <unsigned int>lua_tonumber(L, 5)
    return setsockopt(s.watch.fd, o.level, o.number, &six, sizeof(six))


cdef void l_check_four(lua_State *L, int i, in_addr *a) noexcept nogil:
    """The IPv4 address at index `i`; "*" is any."""
    cdef const char *text = lua_tolstring(L, i, NULL)
    if text != NULL and text[0] == c'*' and text[1] == 0:
        a.s_addr = 0
    elif text == NULL or inet_pton(AF_INET, text, a) != 1:
        luaL_argerror(L, 3, b"expected an IPv4 address")
