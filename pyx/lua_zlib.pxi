# The table core.zlib that heart.v1.zlib builds on: streams of zip.pxi as userdata, and checksums.
#
# Invariant: while a result is pushed a finalizer may run, which may use the same stream; `busy` refuses that, since it
# would move the bytes being pushed. It stays set when the push runs out of memory: that stream has lost output.
# Not for options and whole texts, which are lua_stdlib/heart/v1/zlib.lua's.

cdef enum:
    ZIP_KEEP = 65536            # bytes of room for output kept between two calls
    ZIP_MOST = 0x7FFFFF00       # bytes of a Lua string

ctypedef struct Zipper:
    Zip zip
    Buf out
    uint8_t busy

cdef const char *ZIP_CLASS = b"heart.zlib"


cdef void lua_zlib_open(lua_State *L) noexcept nogil:
    """Push the table."""
    luaL_newmetatable(L, ZIP_CLASS)
    lua_createtable(L, 0, 3)
    zip_put(L, b"run", l_zip_run)
    zip_put(L, b"reset", l_zip_reset)
    zip_put(L, b"close", l_zip_close)
    lua_setfield(L, -2, b"__index")
    zip_put(L, b"__gc", l_zip_gc)
    lua_pop(L, 1)
    lua_createtable(L, 0, 4)
    zip_put(L, b"open", l_zip_open)
    zip_put(L, b"crc32", l_zip_crc32)
    zip_put(L, b"adler32", l_zip_adler32)
    lua_createtable(L, 0, 4)
    zip_put_format(L, b"gzip", ZIP_GZIP)
    zip_put_format(L, b"zlib", ZIP_ZLIB)
    zip_put_format(L, b"raw", ZIP_RAW)
    zip_put_format(L, b"auto", ZIP_AUTO)
    lua_setfield(L, -2, b"formats")


cdef void zip_put(lua_State *L, const char *name, lua_CFunction f) noexcept nogil:
    lua_pushcclosure(L, f, 0)
    lua_setfield(L, -2, name)


cdef void zip_put_format(lua_State *L, const char *name, int format) noexcept nogil:
    lua_pushinteger(L, format)
    lua_setfield(L, -2, name)


cdef int l_check_range(lua_State *L, int narg, int low, int high) noexcept nogil:
    cdef ptrdiff_t v = luaL_checkinteger(L, narg)
    if not low <= v <= high:
        luaL_argerror(L, narg, lua_pushfstring(L, b"expected an integer from %d to %d", low, high))
    return <int>v


cdef int l_zip_open(lua_State *L) noexcept nogil:
    """open(expands, format, level, window, memory) → a stream. format: a value of `formats`."""
    cdef bint expands = lua_toboolean(L, 1)
    cdef int format = l_check_range(L, 2, ZIP_GZIP, ZIP_AUTO if expands else ZIP_RAW)
    cdef int level = l_check_range(L, 3, 0, 9)
    cdef int window = l_check_range(L, 4, 9, ZIP_WINDOW)
    cdef int memory = l_check_range(L, 5, 1, 9)
    cdef Zipper *x = <Zipper *>lua_newuserdata(L, sizeof(Zipper))
    memset(x, 0, sizeof(Zipper))
    luaL_newmetatable(L, ZIP_CLASS)
    lua_setmetatable(L, -2)
    if zip_open(&x.zip, expands, format, level, window, memory) != OK:
        return luaL_error(L, b"not enough memory")
    return 1


cdef Zipper *l_zipper(lua_State *L) noexcept nogil:
    """The stream at index 1, open and not in use."""
    cdef Zipper *x = <Zipper *>luaL_checkudata(L, 1, ZIP_CLASS)
    if not x.zip.open:
        luaL_error(L, b"the stream is closed")
    if x.busy:
        luaL_error(L, b"the stream is in use")
    return x


cdef int l_zip_run(lua_State *L) noexcept nogil:
    """stream:run(data, from, most[, "sync"|"finish"]) → output of at most `most` bytes, the position of the first byte
    of `data` that was not taken, and what is next: nil (more input), "full" (call again with the rest) or "end".
    Or nil and the reason."""
    cdef Zipper *x = l_zipper(L)
    cdef Span data = l_check_span(L, 2)
    cdef size_t whole = data.n
    cdef size_t start = <size_t>l_check_range(L, 3, 1, ZIP_MOST) - 1
    cdef size_t most = <size_t>l_check_range(L, 4, 1, ZIP_MOST)
    cdef int flush = ZIP_MORE if l_absent(L, 5) else l_zip_flush(L)
    cdef int state
    start = start if start < whole else whole
    data.p, data.n = data.p + start, data.n - start
    state = zip_run(&x.zip, &data, &x.out, most, flush)
    if state < 0:
        return l_zip_fail(L, x, state)
    x.busy = 1
    lua_pushlstring(L, x.out.p, x.out.n)
    x.busy = 0
    buf_shrink(&x.out, ZIP_KEEP)
    lua_pushinteger(L, <ptrdiff_t>(whole - data.n) + 1)
    if state == ZIP_HUNGRY:
        return 2
    lua_pushstring(L, b"end" if state == ZIP_END else b"full")
    return 3


cdef int l_zip_flush(lua_State *L) noexcept nogil:
    cdef Span name = l_check_span(L, 5)
    if span_equal(name, b"finish", 6):
        return ZIP_FINISH
    if not span_equal(name, b"sync", 4):
        luaL_argerror(L, 5, b"expected \"sync\" or \"finish\"")
    return ZIP_SYNC


cdef int l_zip_fail(lua_State *L, Zipper *x, int code) noexcept nogil:
    """Return nil and the reason. The stream is of no use any more."""
    if code == ERR_MEMORY:
        zip_free(x)
        return luaL_error(L, b"not enough memory")
    lua_pushnil(L)
    lua_pushstring(L, zip_reason(&x.zip))
    zip_free(x)
    return 2


cdef void zip_free(Zipper *x) noexcept nogil:
    zip_close(&x.zip)
    buf_free(&x.out)


cdef int l_zip_reset(lua_State *L) noexcept nogil:
    """stream:reset(): another stream of the same kind begins."""
    zip_reset(&l_zipper(L).zip)
    return 0


cdef int l_zip_close(lua_State *L) noexcept nogil:
    """stream:close(): give its memory back. May be called twice."""
    cdef Zipper *x = <Zipper *>luaL_checkudata(L, 1, ZIP_CLASS)
    if not x.busy:
        zip_free(x)
    return 0


cdef int l_zip_gc(lua_State *L) noexcept nogil:
    zip_free(<Zipper *>lua_touserdata(L, 1))
    return 0


cdef int l_zip_crc32(lua_State *L) noexcept nogil:
    """crc32(data[, of what was before it]) → the checksum of gzip, 0 to 4294967295"""
    cdef Span data = l_check_span(L, 1)
    cdef uLong before = 0 if l_absent(L, 2) else <uLong><uint32_t><int64_t>luaL_checknumber(L, 2)
    lua_pushnumber(L, <double>crc32_z(before, <const Bytef *>data.p, data.n))
    return 1


cdef int l_zip_adler32(lua_State *L) noexcept nogil:
    """adler32(data[, of what was before it]) → the checksum of zlib, 0 to 4294967295"""
    cdef Span data = l_check_span(L, 1)
    cdef uLong before = 1 if l_absent(L, 2) else <uLong><uint32_t><int64_t>luaL_checknumber(L, 2)
    lua_pushnumber(L, <double>adler32_z(before, <const Bytef *>data.p, data.n))
    return 1
