# JSON as lua-cjson has it, in the fork that OpenResty ships: the native half of lua_stdlib/heart/cjson.lua. The
# decoder is that of lua_json_decode.pxi with JSON_LOOSE; the encoder is one of its own, because it decides differently
# what is an array, and writes bytes, numbers and null in its own way. It shares the levels and the refusals of
# lua_json_encode.pxi, and their invariants.

from libc.stdio cimport snprintf
from libc.string cimport strlen

cdef const char *CJSON_EMPTY_MT = b"heart.cjson.empty"     # see also JSON_ARRAY_MT
cdef int CJSON_EMPTY_ARRAY                                 # its address stands for []

cdef enum CjsonInvalid:
    INVALID_REFUSED
    INVALID_WRITTEN                 # NaN, Infinity, -Infinity
    INVALID_NULL

# The settings of one instance. The members up to `escape_slash` are set by their names, in the order of cjson_names.
ctypedef struct CjsonConfig:
    int encode_depth
    int decode_depth
    int precision                   # significant digits
    int sparse_convert
    int sparse_ratio
    int sparse_safe
    int encode_invalid              # CjsonInvalid
    int decode_invalid
    int empty_object
    int mark_arrays
    int keep_null
    int escape_slash
    double whole                    # integers below it are written in full: 10 ** precision

cdef extern from *:
    """
    static const char *const cjson_names[] = {
        "encode_depth", "decode_depth", "precision", "sparse_convert", "sparse_ratio", "sparse_safe",
        "encode_invalid", "decode_invalid", "empty_object", "mark_arrays", "keep_null", "escape_slash", NULL};
    """
    const char *const *cjson_names

ctypedef struct CjsonWriter:
    JsonWriter json
    const CjsonConfig *config
    uint64_t slash                  # 8 of the character that is escaped beside the others: "/", or a quote once more


# ---- Scalars ---------------------------------------------------------------------------------------------

cdef inline uint64_t word_equal(uint64_t w, uint64_t pattern) noexcept nogil:
    """Flag the bytes of `w` that are as those of `pattern`; only the lowest flag is exact, as in word_special."""
    w ^= pattern
    return (w - 0x0101010101010101u) & ~w


cdef inline uint64_t word_escaped(uint64_t w, uint64_t slash) noexcept nogil:
    """Of 8 bytes, flag those that are escaped: control, quote, backslash, DEL, and those of `slash`."""
    return ((w - 0x2020202020202020u) & ~w | word_equal(w, 0x2222222222222222u) | word_equal(w, 0x5C5C5C5C5C5C5C5Cu) |
            word_equal(w, 0x7F7F7F7F7F7F7F7Fu) | word_equal(w, slash)) & 0x8080808080808080u


cdef inline bint byte_escaped(uint8_t c, uint64_t slash) noexcept nogil:
    return c < 0x20 or c == c'"' or c == c'\\' or c == 0x7F or c == <uint8_t>slash


cdef inline size_t unescaped_copy(char *to, const uint8_t *p, const uint8_t *end, uint64_t slash) noexcept nogil:
    """Copy the run of unescaped bytes at `p`; returns its length. Up to 8 bytes more than that are written."""
    cdef const uint8_t *start = p
    cdef uint64_t escaped
    while end - p >= 8:
        escaped = word_escaped(load_word(p), slash)
        memcpy(to, p, 8)
        if escaped:
            return <size_t>(p - start) + (count_trailing_zeros(escaped) >> 3)
        p += 8
        to += 8
    while p < end and not byte_escaped(p[0], slash):
        to[0] = <char>p[0]
        p += 1
        to += 1
    return <size_t>(p - start)


cdef int cjson_string(Buf *out, const char *s, size_t n, uint64_t slash, char tail) noexcept nogil:
    """Append a string of any bytes in quotes, and `tail`."""
    cdef const uint8_t *p = <const uint8_t *>s
    cdef const uint8_t *end = p + n
    cdef size_t run
    cdef char *to
    if unlikely(buf_reserve(out, n + STRING_ROOM) != OK):
        return ERR_MEMORY
    to = out.p + out.n
    to[0] = c'"'
    to += 1
    while True:
        run = unescaped_copy(to, p, end, slash)
        p += run
        to += run
        if likely(p == end):
            break
        if p[0] == c'/':
            memcpy(to, b"\\/", 2)
            to += 2
        else:
            to += escape_write(to, p[0])
        p += 1
        out.n = <size_t>(to - out.p)
        if unlikely(buf_reserve(out, <size_t>(end - p) + STRING_ROOM) != OK):
            return ERR_MEMORY
        to = out.p + out.n
    to[0] = c'"'
    to[1] = tail
    out.n = <size_t>(to + 2 - out.p)
    return OK


cdef int invalid_number(Buf *out, int how, double v) noexcept nogil:
    """Append an infinity or NaN without a tail."""
    if how == INVALID_REFUSED:
        return REFUSE_NUMBER
    if how == INVALID_NULL:
        return buf_append(out, b"null", 4)
    if v != v:
        return buf_append(out, b"NaN", 3)
    return buf_append(out, b"-Infinity", 9) if v < 0 else buf_append(out, b"Infinity", 8)


cdef inline int cjson_number(Buf *out, const CjsonConfig *config, double v, char tail) noexcept nogil:
    cdef int code
    if unlikely(not number_finite(v)):
        code = invalid_number(out, config.encode_invalid, v)
        return buf_put(out, tail) if code == OK else code
    if unlikely(buf_reserve(out, NUMBER_SIZE + 1) != OK):
        return ERR_MEMORY
    if -config.whole < v < config.whole and v == <double><int64_t>v and (v != 0 or double_bits(v) == 0):
        if v < 0:
            out.p[out.n] = c'-'
            out.n += 1
            v = -v
        out.n += put_decimal(out.p + out.n, <uint64_t>v)
    else:
        out.n += <size_t>snprintf(out.p + out.n, NUMBER_SIZE, b"%.*g", config.precision, v)
    out.p[out.n] = tail
    out.n += 1
    return OK


cdef inline int cjson_scalar(CjsonWriter *w, int kind) noexcept nogil:
    """Append the value on top of the stack, which is no table, and a comma."""
    cdef Buf *out = w.json.out
    cdef size_t n
    cdef const char *s
    if kind == LUA_TSTRING:
        s = lua_tolstring(w.json.L, -1, &n)
        return cjson_string(out, s, n, w.slash, c',')
    if kind == LUA_TNUMBER:
        return cjson_number(out, w.config, lua_tonumber(w.json.L, -1), c',')
    if kind == LUA_TLIGHTUSERDATA and lua_touserdata(w.json.L, -1) == &CJSON_EMPTY_ARRAY:
        return buf_append(out, b"[],", 3)
    return scalar_write(&w.json, kind)


# ---- Tables ----------------------------------------------------------------------------------------------

cdef int array_length(CjsonWriter *w) noexcept nogil:
    """The highest key of the table on top of the stack, 0 if it is empty; -1: it is an object; -2: refused."""
    cdef lua_State *L = w.json.L
    cdef const CjsonConfig *config = w.config
    cdef double key, last = 0, items = 0
    lua_pushnil(L)
    while lua_next(L, -2):
        key = lua_tonumber(L, -2) if lua_type(L, -2) == LUA_TNUMBER else 0
        if not 1 <= key <= 0x7FFFFFFF or key != <double><int>key:
            lua_settop(L, -3)
            return -1
        last = max(last, key)
        items += 1
        lua_settop(L, -2)
    if config.sparse_ratio > 0 and last > items * config.sparse_ratio and last > config.sparse_safe:
        return -1 if config.sparse_convert else -2
    return <int>last


cdef bint metatable_is(lua_State *L, const char *name) noexcept nogil:
    """Whether the metatable on top of the stack is the one that the registry has under `name`."""
    cdef bint same
    lua_getfield(L, LUA_REGISTRYINDEX, name)
    same = lua_rawequal(L, -1, -2)
    lua_settop(L, -2)
    return same


cdef int table_length(CjsonWriter *w) noexcept nogil:
    """As array_length, but -1 also for an empty table that is to be an object."""
    cdef lua_State *L = w.json.L
    cdef bint array = False, empty = False
    cdef int n
    if lua_getmetatable(L, -1):
        array = metatable_is(L, JSON_ARRAY_MT)
        empty = not array and metatable_is(L, CJSON_EMPTY_MT)
        lua_settop(L, -2)
    if array:
        return <int>lua_objlen(L, -1)
    n = array_length(w)
    if n == 0 and w.config.empty_object:
        n = -1
    return 0 if n == -1 and empty else n


cdef int cjson_open(CjsonWriter *w) noexcept nogil:
    """Begin the table on top of the stack, which stays there below its first key, or write it if it is empty."""
    cdef JsonWriter *json = &w.json
    cdef lua_State *L = json.L
    cdef JsonLevel *level = json.levels + json.depth
    cdef int n
    if unlikely(json.depth == json.options.depth):
        return REFUSE_DEPTH
    if unlikely(not stack_reserve(L, json.depth)):
        return ERR_MEMORY
    level.table = lua_topointer(L, -1)
    level.index = 0
    n = table_length(w)
    if n == 0:
        lua_settop(L, -2)
        return buf_append(json.out, b"[],", 3)
    if n == -1:
        lua_pushnil(L)
        level.kind = KIND_OBJECT_ANY
    elif n > 0:
        lua_pushnil(L)
        level.kind = n
    else:
        return REFUSE_EXCESSIVE
    json.depth += 1
    return buf_put(json.out, c'[' if n > 0 else c'{')


cdef inline int cjson_key(CjsonWriter *w, int kind) noexcept nogil:
    """Append the key below the top of the stack, which is of type `kind`, and a colon."""
    cdef lua_State *L = w.json.L
    cdef Buf *out = w.json.out
    cdef size_t n
    cdef const char *s
    cdef int code
    if likely(kind == LUA_TSTRING):
        s = lua_tolstring(L, -2, &n)
        return cjson_string(out, s, n, w.slash, c':')
    if kind != LUA_TNUMBER:
        return REFUSE_KEY
    code = buf_put(out, c'"')
    if code == OK:
        code = cjson_number(out, w.config, lua_tonumber(L, -2), c'"')
    return buf_put(out, c':') if code == OK else (<int>REFUSE_KEY if code == REFUSE_NUMBER else code)


cdef int cjson_object(CjsonWriter *w, JsonLevel *level) noexcept nogil:
    """Write members until the object ends or a table in it begins."""
    cdef lua_State *L = w.json.L
    cdef int slot = w.json.base + 2 * (w.json.depth - 1), kind, code
    while lua_next(L, slot):
        level.index = 1
        code = cjson_key(w, lua_type(L, -2))
        if unlikely(code != OK):
            return code
        kind = lua_type(L, -1)
        if kind == LUA_TTABLE:
            return cjson_open(w)
        code = cjson_scalar(w, kind)
        if unlikely(code != OK):
            return code
        lua_settop(L, -2)
    if level.index == 0 and buf_put(w.json.out, c',') != OK:
        return ERR_MEMORY
    return level_close(&w.json, c'}')


cdef int cjson_list(CjsonWriter *w, JsonLevel *level) noexcept nogil:
    """Write elements until the array ends or a table in it begins."""
    cdef lua_State *L = w.json.L
    cdef int slot = w.json.base + 2 * (w.json.depth - 1), kind, code
    while level.index < level.kind:
        level.index += 1
        lua_rawgeti(L, slot, level.index)
        kind = lua_type(L, -1)
        if kind == LUA_TTABLE:
            return cjson_open(w)
        code = cjson_scalar(w, kind)
        if unlikely(code != OK):
            return code
        lua_settop(L, -2)
    return level_close(&w.json, c']')


cdef int cjson_write(lua_State *L, Buf *out, const CjsonConfig *config) noexcept nogil:
    """Append the JSON text of the value at index 1 to `out`. On failure the message is on top of the stack."""
    cdef JsonLevel[JSON_DEPTH_MAX] levels
    cdef JsonOptions options
    cdef CjsonWriter w
    cdef JsonLevel *level
    cdef int code, kind
    json_defaults(&options)
    options.depth = min(config.encode_depth, <int>JSON_DEPTH_MAX)
    memset(&w, 0, sizeof(w))
    w.json.L = L
    w.json.name = b"cjson.encode"
    w.json.out = out
    w.json.options = &options
    w.json.levels = levels
    w.json.base = lua_gettop(L) + 1
    w.config = config
    w.slash = 0x2F2F2F2F2F2F2F2Fu if config.escape_slash else 0x2222222222222222u
    lua_pushvalue(L, 1)
    kind = lua_type(L, -1)
    code = cjson_open(&w) if kind == LUA_TTABLE else cjson_scalar(&w, kind)
    while code == OK and w.json.depth:
        level = levels + w.json.depth - 1
        code = cjson_list(&w, level) if level.kind > 0 else cjson_object(&w, level)
    if unlikely(code != OK):
        writer_refuse(&w.json, code)
        return ERR_MISSING
    lua_settop(L, w.json.base - 1)
    out.n -= 1
    return OK


# ---- Lua functions: upvalue 1 is the config, 2 the JsonScratch, 3 whether failures are returned -------------

cdef inline CjsonConfig *l_config(lua_State *L) noexcept nogil:
    return <CjsonConfig *>lua_touserdata(L, lua_upvalueindex(1))


cdef int l_cjson_fail(lua_State *L) noexcept nogil:
    """The message on top of the stack as an error, or as the second result of a function of cjson.safe."""
    if not lua_toboolean(L, lua_upvalueindex(3)):
        return lua_error(L)
    lua_pushnil(L)
    lua_insert(L, -2)
    return 2


cdef int l_cjson_encode(lua_State *L) noexcept nogil:
    """encode(value)"""
    cdef JsonScratch *scratch = <JsonScratch *>lua_touserdata(L, lua_upvalueindex(2))
    cdef Buf *out = &scratch.buf[scratch.turn]
    cdef int code
    if unlikely(lua_gettop(L) != 1):
        return luaL_argerror(L, 1, b"expected 1 argument")
    scratch.turn ^= 1
    out.n = 0
    code = cjson_write(L, out, l_config(L))
    if likely(code == OK):
        lua_pushlstring(L, out.p, out.n)
    buf_shrink(out, JSON_KEEP)
    scratch.turn ^= 1
    return 1 if likely(code == OK) else l_cjson_fail(L)


cdef int l_cjson_decode(lua_State *L) noexcept nogil:
    """decode(text)"""
    cdef CjsonConfig *config = l_config(L)
    cdef JsonOptions options
    cdef size_t n
    cdef const char *p
    if unlikely(lua_gettop(L) != 1):
        return luaL_argerror(L, 1, b"expected 1 argument")
    if unlikely(not lua_isstring(L, 1)):
        lua_pushfstring(L, b"bad argument #1 to 'decode' (string expected, got %s)", lua_typename(L, lua_type(L, 1)))
        return l_cjson_fail(L)
    p = lua_tolstring(L, 1, &n)
    if unlikely(n >= 2 and (p[0] == 0 or p[1] == 0)):
        lua_pushfstring(L, b"cjson.decode: the text is UTF-16 or UTF-32")
        return l_cjson_fail(L)
    json_defaults(&options)
    options.depth = min(config.decode_depth, <int>JSON_DEPTH_MAX)
    options.flags = JSON_LOOSE
    if config.keep_null:
        options.flags |= JSON_NULL
    if config.decode_invalid:
        options.flags |= JSON_LOOSE_NUMBERS
    if config.mark_arrays:
        options.flags |= JSON_MARK_ARRAYS
    return 1 if likely(json_decode_with(L, p, n, &options) == OK) else l_cjson_fail(L)


cdef int l_cjson_set(lua_State *L) noexcept nogil:
    """set(name, integer)"""
    cdef CjsonConfig *config = l_config(L)
    cdef Span name
    cdef int i = 0, digits
    name.p = luaL_checklstring(L, 1, &name.n)
    while cjson_names[i] != NULL and not span_equal(name, cjson_names[i], strlen(cjson_names[i])):
        i += 1
    if cjson_names[i] == NULL:
        return luaL_argerror(L, 1, b"unknown setting")
    (&config.encode_depth)[i] = <int>luaL_checkinteger(L, 2)
    config.whole = 1
    for digits in range(config.precision):
        config.whole *= 10
    return 0


cdef void l_cjson_function(lua_State *L, lua_CFunction f, int config, bint safe, const char *name) noexcept nogil:
    """Put a function into the table on top of the stack. Upvalue 1 of the running function: the JsonScratch."""
    lua_pushvalue(L, config)
    lua_pushvalue(L, lua_upvalueindex(1))
    lua_pushboolean(L, safe)
    lua_pushcclosure(L, f, 3)
    lua_setfield(L, -2, name)


cdef int l_cjson_new(lua_State *L) noexcept nogil:
    """new(safe) → {encode, decode, set} of settings of their own, which all are to be set. `safe`: nil and a message
    instead of errors."""
    cdef bint safe = lua_toboolean(L, 1)
    memset(lua_newuserdata(L, sizeof(CjsonConfig)), 0, sizeof(CjsonConfig))
    lua_createtable(L, 0, 3)
    l_cjson_function(L, l_cjson_encode, 2, safe, b"encode")
    l_cjson_function(L, l_cjson_decode, 2, safe, b"decode")
    l_cjson_function(L, l_cjson_set, 2, safe, b"set")
    return 1


cdef void l_cjson_open(lua_State *L, JsonScratch *scratch) noexcept nogil:
    """Push the table of the native half of cjson. `scratch` as for l_json_open."""
    lua_createtable(L, 0, 4)
    lua_pushlightuserdata(L, scratch)
    lua_pushcclosure(L, l_cjson_new, 1)
    lua_setfield(L, -2, b"new")
    luaL_newmetatable(L, JSON_ARRAY_MT)
    lua_setfield(L, -2, b"array_mt")
    luaL_newmetatable(L, CJSON_EMPTY_MT)
    lua_setfield(L, -2, b"empty_array_mt")
    lua_pushlightuserdata(L, &CJSON_EMPTY_ARRAY)
    lua_setfield(L, -2, b"empty_array")
