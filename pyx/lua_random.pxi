# Clocks and random numbers for Lua: the table core.random that lua_stdlib/heart/v1/time.lua and random.lua build on.
# All random bits come from getrandom(2); nothing is seeded or kept.

cdef enum:
    RANDOM_MAX = 1048576            # bytes that one call gives
    RANDOM_PIECE = 256              # bytes that getrandom gives at once, whatever interrupts


cdef int l_random_bytes(lua_State *L) noexcept nogil:
    """bytes(n) → a string"""
    cdef double n = luaL_checknumber(L, 1)
    cdef char *p
    cdef size_t size, at = 0, piece
    if not 0 <= n <= RANDOM_MAX or n != <double><size_t>n:
        return luaL_argerror(L, 1, b"expected a number of bytes from 0 to 1048576")
    size = <size_t>n
    p = <char *>lua_newuserdata(L, size + 1)
    while at < size:
        piece = size - at if size - at < RANDOM_PIECE else RANDOM_PIECE
        if random_fill(p + at, piece) != 0:
            return luaL_error(L, b"the system gives no random bits")
        at += piece
    lua_pushlstring(L, p, size)
    return 1


cdef int l_random_integer(lua_State *L) noexcept nogil:
    """integer(low, high) → a whole number between them, both included, each as likely as the other"""
    cdef double low = luaL_checknumber(L, 1)
    cdef double high = luaL_checknumber(L, 2)
    cdef uint64_t range_, mask, bits
    if not -9007199254740992.0 <= low <= high <= 9007199254740992.0 or low != <double><int64_t>low or \
            high != <double><int64_t>high or high - low > 9007199254740991.0:
        return luaL_error(L, b"integer: expected whole numbers, the first not above the second, less than 2^53 apart")
    range_ = <uint64_t>(high - low)
    mask = range_
    mask |= mask >> 1
    mask |= mask >> 2
    mask |= mask >> 4
    mask |= mask >> 8
    mask |= mask >> 16
    mask |= mask >> 32
    while True:                     # what lies outside is thrown away: a remainder would favour small numbers
        if random_fill(&bits, sizeof(bits)) != 0:
            return luaL_error(L, b"the system gives no random bits")
        bits &= mask
        if bits <= range_:
            break
    lua_pushnumber(L, low + <double>bits)
    return 1


cdef int l_clock_wall(lua_State *L) noexcept nogil:
    """wall() → Unix time in seconds, with a fraction"""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    lua_pushnumber(L, <double>t.tv_sec + <double>t.tv_nsec / 1e9)
    return 1


cdef int l_clock_monotonic(lua_State *L) noexcept nogil:
    """monotonic() → seconds since some moment, with a fraction; never set back"""
    lua_pushnumber(L, <double>clock_ns() / 1e9)
    return 1


cdef void lua_random_open(lua_State *L, State *s) noexcept nogil:
    """Push the table core.random."""
    lua_createtable(L, 0, 4)
    core_put(L, s, b"bytes", l_random_bytes)
    core_put(L, s, b"integer", l_random_integer)
    core_put(L, s, b"wall", l_clock_wall)
    core_put(L, s, b"monotonic", l_clock_monotonic)
