# JSON (RFC 8259) between text and the Lua stack: what the encoder and the decoder share, and the Lua functions; it
# includes both of them.
#
# The rules of this boundary:
#   - json_encode and json_decode report bad data by a code and a message on the stack, never by longjmp. They may
#     longjmp when Lua is out of memory, so they run under Lua protection only, and everything they hold belongs to
#     Lua's stack, to the C stack or to a Buf of the caller.
#   - no Lua code runs in them, no metamethod is called; but a push may run a garbage collector's finalizer, which
#     may call json.encode: that is why JsonScratch has two buffers.
#   - nesting costs no C recursion: one JsonLevel or JsonNest of at most 16 bytes per level in one frame of at most
#     33 KiB, and two Lua stack slots.
# Not for streaming: a text and a value are whole.

from libc.stdint cimport int32_t

cdef enum JsonLimit:
    JSON_DEPTH = 1000               # levels of nesting unless `depth` says otherwise
    JSON_DEPTH_MAX = 2000           # Lua gives a C function 8000 slots
    JSON_INDENT_MAX = 16
    JSON_KEEP = 65536               # bytes of scratch kept between two calls
    JSON_SLOTS = 12                 # free Lua stack slots that json_encode and json_decode expect
    JSON_STEP = 8                   # levels for which more are reserved at a time
    JSON_STEP_FIRST = 4             # the level at which that begins

cdef enum JsonFlag:                 # of decode
    JSON_NULL = 1                   # null becomes json.null instead of nil
    JSON_LOOSE = 2                  # what lua-cjson accepts: any byte but NUL in strings, numbers as strtod has them.
    #                                 Empty objects are not marked. The text must end with a NUL behind it
    JSON_LOOSE_NUMBERS = 4          # ... also leading zeros, hexadecimal, "inf" and "nan"
    JSON_MARK_ARRAYS = 8            # arrays get the metatable JSON_ARRAY_MT

# What a metatable's field `__jsontype` says.
cdef enum JsonMark:
    MARK_NONE
    MARK_ARRAY                      # "array": integer keys only, [] when empty
    MARK_OBJECT                     # "object": any keys, {} when empty
    MARK_OBJECT_EMPTY               # "object?": {} when empty, else the keys decide; decode puts it on each {}

ctypedef struct JsonOptions:
    int depth
    int indent                      # spaces per level; 0: one line
    int flags                       # JsonFlag

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll"(uint64_t x) nogil


cdef inline bint stack_reserve(lua_State *L, int depth) noexcept nogil:
    """Before the container at `depth` is opened: is there room for it, its key and its value?"""
    return depth % JSON_STEP != JSON_STEP_FIRST or lua_checkstack(L, 2 * JSON_STEP + JSON_SLOTS)


# ---- Text ------------------------------------------------------------------------------------------------

cdef inline uint64_t word_special(uint64_t w) noexcept nogil:
    """Of 8 bytes, flag those that end a plain run: control, quote, backslash, not ASCII. A flag is the byte's top
    bit; only the lowest one is exact, as a borrow may raise wrong ones above it."""
    return (w | (w - 0x2020202020202020u) | ((w ^ 0x2222222222222222u) - 0x0101010101010101u) |
            ((w ^ 0x5C5C5C5C5C5C5C5Cu) - 0x0101010101010101u)) & 0x8080808080808080u


cdef inline bint byte_plain(uint8_t c) noexcept nogil:
    return 0x20 <= c < 0x80 and c != c'"' and c != c'\\'


cdef inline const uint8_t *plain_skip(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """The first byte from `p` on that does not stand for itself in a string, or `end`."""
    cdef uint64_t special
    while end - p >= 8:
        special = word_special(load_word(p))
        if special:
            return p + (count_trailing_zeros(special) >> 3)
        p += 8
    while p < end and byte_plain(p[0]):
        p += 1
    return p


cdef inline size_t plain_copy(char *to, const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Copy the plain run at `p`; returns its length. Up to 8 bytes more than that are written."""
    cdef const uint8_t *start = p
    cdef uint64_t special
    while end - p >= 8:
        special = word_special(load_word(p))
        memcpy(to, p, 8)
        if special:
            return <size_t>(p - start) + (count_trailing_zeros(special) >> 3)
        p += 8
        to += 8
    if end - p >= 4 and not word_special(load_half(p) | load_half(end - 4) << 32):
        # 4 to 7 bytes, as two halves that overlap.
        memcpy(to, p, 4)
        memcpy(to + (end - p) - 4, end - 4, 4)
        return <size_t>(end - start)
    while p < end and byte_plain(p[0]):
        to[0] = <char>p[0]
        p += 1
        to += 1
    return <size_t>(p - start)


cdef inline bint is_continuation(uint8_t c) noexcept nogil:
    return (c & 0xC0) == 0x80


cdef inline int utf8_length(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Bytes of the well-formed sequence at `p`, whose first byte is not ASCII (RFC 3629 section 4); else 0."""
    cdef uint8_t c = p[0]
    cdef ptrdiff_t room = end - p
    if c < 0xE0:
        return 2 if c >= 0xC2 and room > 1 and is_continuation(p[1]) else 0
    if room < 3 or not is_continuation(p[1]) or not is_continuation(p[2]):
        return 0
    if c < 0xF0:
        # Neither overlong nor a surrogate.
        return 3 if not (c == 0xE0 and p[1] < 0xA0) and not (c == 0xED and p[1] >= 0xA0) else 0
    if room < 4 or not is_continuation(p[3]) or c > 0xF4:
        return 0
    return 4 if not (c == 0xF0 and p[1] < 0x90) and not (c == 0xF4 and p[1] >= 0x90) else 0


cdef inline const uint8_t *utf8_skip(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Behind the run of well-formed sequences at `p`; `p` itself if there is none."""
    cdef int n
    while p < end and p[0] >= 0x80:
        n = utf8_length(p, end)
        if n == 0:
            break
        p += n
    return p


# ---- Calls from the core ---------------------------------------------------------------------------------

cdef inline void json_defaults(JsonOptions *o) noexcept nogil:
    o.depth = JSON_DEPTH
    o.indent = 0
    o.flags = 0


cdef inline int json_encode(lua_State *L, int index, Buf *out) noexcept nogil:
    """Append the JSON text of the value at `index` to `out`. On failure `out` is as before, the message is on top
    of the stack, and the result is not OK."""
    cdef JsonOptions options
    json_defaults(&options)
    return json_encode_with(L, index, out, &options)


cdef inline int json_decode(lua_State *L, const char *p, size_t n, int flags) noexcept nogil:
    """Push the value of the JSON text `p`, `n`; on failure push the message and return ERR_MISSING. `flags`:
    JsonFlag. The bytes must stay where they are until the call returns."""
    cdef JsonOptions options
    json_defaults(&options)
    options.flags = flags
    return json_decode_with(L, p, n, &options)


cdef int json_encode_string(lua_State *L, int index, const JsonOptions *options, JsonScratch *scratch) noexcept nogil:
    """Push the JSON text of the value at `index` as a Lua string; on failure push the message, return its code."""
    cdef Buf *out = &scratch.buf[scratch.turn]
    cdef int code
    scratch.turn ^= 1
    out.n = 0
    code = json_encode_with(L, index, out, options)
    if likely(code == OK):
        lua_pushlstring(L, out.p, out.n)
    buf_shrink(out, JSON_KEEP)
    scratch.turn ^= 1
    return code


cdef void json_scratch_free(JsonScratch *scratch) noexcept nogil:
    buf_free(&scratch.buf[0])
    buf_free(&scratch.buf[1])


# ---- Lua functions ---------------------------------------------------------------------------------------

cdef int l_option_integer(lua_State *L, const char *name, int low, int high) noexcept nogil:
    """The value on top of the stack, of the option `name`."""
    cdef double v = lua_tonumber(L, -1) if lua_type(L, -1) == LUA_TNUMBER else low - 1
    if not low <= v <= high:
        luaL_error(L, b"bad option '%s' (an integer from %d to %d expected)", name, low, high)
    return <int>v


cdef void l_options_table(lua_State *L, JsonOptions *o) noexcept nogil:
    """Options of argument 2, checked name by name, so that a typing error is no silent default."""
    cdef Span name
    luaL_checktype(L, 2, LUA_TTABLE)
    lua_pushnil(L)
    while lua_next(L, 2):
        name = Span(NULL, 0)
        if lua_type(L, -2) == LUA_TSTRING:
            name.p = lua_tolstring(L, -2, &name.n)
        if span_equal(name, b"depth", 5):
            o.depth = l_option_integer(L, name.p, 1, JSON_DEPTH_MAX)
        elif span_equal(name, b"indent", 6):
            o.indent = l_option_integer(L, name.p, 0, JSON_INDENT_MAX)
        elif span_equal(name, b"null", 4):
            o.flags = JSON_NULL if lua_toboolean(L, -1) else 0
        else:
            luaL_error(L, b"unknown option (there are: depth, indent, null)")
        lua_settop(L, -2)


cdef inline void l_options(lua_State *L, int given, JsonOptions *o) noexcept nogil:
    json_defaults(o)
    if unlikely(given > 1 and not lua_isnil(L, 2)):
        l_options_table(L, o)


cdef int l_json_encode(lua_State *L) noexcept nogil:
    """json.encode(value[, {depth, indent}]): upvalue 1 is the JsonScratch."""
    cdef JsonOptions options
    cdef int given = lua_gettop(L)
    if unlikely(given == 0):
        return luaL_argerror(L, 1, b"value expected")
    l_options(L, given, &options)
    if unlikely(json_encode_string(L, 1, &options, <JsonScratch *>lua_touserdata(L, lua_upvalueindex(1))) != OK):
        return luaL_error(L, b"%s", lua_tostring_z(L, -1))
    return 1


cdef int l_json_decode(lua_State *L) noexcept nogil:
    """json.decode(text[, {depth, null}])"""
    cdef JsonOptions options
    cdef size_t n
    cdef const char *p = luaL_checklstring(L, 1, &n)
    l_options(L, lua_gettop(L), &options)
    if unlikely(json_decode_with(L, p, n, &options) != OK):
        return luaL_error(L, b"%s", lua_tostring_z(L, -1))
    return 1


cdef int l_json_mark(lua_State *L) noexcept nogil:
    """json.array([t]), json.object([t]): upvalue 1 is the metatable to set, upvalues 2 and 3 may be replaced."""
    cdef int i
    if lua_gettop(L) == 0:
        lua_createtable(L, 0, 0)
    luaL_checktype(L, 1, LUA_TTABLE)
    lua_settop(L, 1)
    if lua_getmetatable(L, 1):
        for i in range(1, 4):
            if lua_rawequal(L, 2, lua_upvalueindex(i)):
                break
        else:
            return luaL_argerror(L, 1, b"the table has a metatable; set its field __jsontype")
        lua_settop(L, 1)
    lua_pushvalue(L, lua_upvalueindex(1))
    lua_setmetatable(L, 1)
    return 1


cdef void l_metatable(lua_State *L, const char *name, const char *mark) noexcept nogil:
    luaL_newmetatable(L, name)
    lua_pushstring(L, mark)
    lua_setfield(L, -2, b"__jsontype")


cdef void l_mark_function(lua_State *L, int first, int second, int third) noexcept nogil:
    lua_pushvalue(L, first)
    lua_pushvalue(L, second)
    lua_pushvalue(L, third)
    lua_pushcclosure(L, l_json_mark, 3)


cdef void l_json_open(lua_State *L, JsonScratch *scratch) noexcept nogil:
    """Push the table of the JSON functions. `scratch`, zeroed by its owner, must live as long as the state."""
    cdef int array = lua_gettop(L) + 1
    luaL_checkstack(L, 8, b"json")
    l_metatable(L, b"heart.json.array", b"array")
    l_metatable(L, b"heart.json.object", b"object")
    l_metatable(L, JSON_EMPTY, b"object?")
    lua_createtable(L, 0, 5)
    lua_pushlightuserdata(L, scratch)
    lua_pushcclosure(L, l_json_encode, 1)
    lua_setfield(L, -2, b"encode")
    lua_pushcclosure(L, l_json_decode, 0)
    lua_setfield(L, -2, b"decode")
    l_mark_function(L, array, array + 1, array + 2)
    lua_setfield(L, -2, b"array")
    l_mark_function(L, array + 1, array, array + 2)
    lua_setfield(L, -2, b"object")
    lua_pushlightuserdata(L, NULL)
    lua_setfield(L, -2, b"null")
    lua_replace(L, array)
    lua_settop(L, array)


include "lua_json_encode.pxi"
include "lua_json_decode.pxi"
include "lua_cjson.pxi"
