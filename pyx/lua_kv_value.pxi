# Lua values to encoded values (kv_value.pxi) and back.
# The rules of this boundary are those of lua_json.pxi: kv_encode and kv_decode report bad data by a code and a message
# on the stack, never by longjmp; they may longjmp when Lua is out of memory, so nothing is held in them that belongs
# to nobody. No metamethod is called and no Lua code runs, but for finalizers.
# A table with the keys 1 to n is an array, every other one a map; keys may be strings, numbers and booleans.
# Metatables are not kept. Nesting is C recursion, bounded by KV_DEPTH_MAX.

cdef enum:
    KV_DEPTH_MAX = 128
    KV_PATH_SIZE = 200              # bytes of the path in a message

ctypedef struct KvEncoder:
    lua_State *L
    Buf *out
    size_t limit                    # bytes of `out` at most
    int base                        # stack slots: key and value of level 1 are at base + 1, base + 2, ...
    int depth
    const char *why                 # after a failure: a format for the type's name
    int culprit                     # ... and where on the stack what can not be stored is


# ---- Encoding --------------------------------------------------------------------------------------------

cdef int kv_encode(lua_State *L, int index, Buf *out) noexcept nogil:
    """Append the encoded value at `index`. On failure push the message; `out` is as before."""
    cdef KvEncoder e
    cdef size_t before = out.n
    cdef int rc
    if index < 0:
        index += lua_gettop(L) + 1
    e.L = L
    e.out = out
    e.limit = before + 1 + KV_VALUE_MAX
    e.base = lua_gettop(L)
    e.depth = 0
    if lua_type(L, index) == LUA_TSTRING:
        rc = encode_plain(&e, index)
    else:
        rc = buf_put(out, KV_PACKED)
        if rc == OK:
            rc = encode_value(&e, index)
    if rc != OK:
        out.n = before
        kv_push_encode_error(&e, rc)
    return rc


cdef int encode_plain(KvEncoder *e, int index) noexcept nogil:
    """A string by itself: its bytes."""
    cdef Span s
    s.p = lua_tolstring(e.L, index, &s.n)
    if s.n > KV_VALUE_MAX:
        return ERR_LIMIT
    if buf_reserve(e.out, s.n + 1) != OK:
        return ERR_MEMORY
    buf_put(e.out, KV_STRING)
    return buf_append(e.out, s.p, s.n)


cdef int encode_value(KvEncoder *e, int index) noexcept nogil:
    cdef int kind = lua_type(e.L, index)
    cdef uint8_t *p
    if e.out.n + 9 > e.limit:
        return ERR_LIMIT
    if buf_reserve(e.out, 9) != OK:
        return ERR_MEMORY
    p = <uint8_t *>e.out.p + e.out.n
    if kind == LUA_TSTRING:
        return encode_string(e, index)
    if kind == LUA_TNUMBER:
        e.out.n += put_number(p, lua_tonumber(e.L, index))
    elif kind == LUA_TBOOLEAN:
        p[0] = 0xC3 if lua_toboolean(e.L, index) else 0xC2
        e.out.n += 1
    elif kind == LUA_TTABLE:
        return encode_table(e, index)
    else:
        return encode_refuse(e, b"a %s cannot be stored", index)
    return OK


cdef int encode_refuse(KvEncoder *e, const char *why, int culprit) noexcept nogil:
    e.why = why
    e.culprit = culprit
    return ERR_MISSING


cdef int encode_string(KvEncoder *e, int index) noexcept nogil:
    cdef Span s
    s.p = lua_tolstring(e.L, index, &s.n)
    if s.n > KV_VALUE_MAX or e.out.n + s.n + 5 > e.limit:
        return ERR_LIMIT
    if buf_reserve(e.out, s.n + 5) != OK:
        return ERR_MEMORY
    e.out.n += put_string_head(<uint8_t *>e.out.p + e.out.n, s.n)
    return buf_append(e.out, s.p, s.n)


cdef int encode_table(KvEncoder *e, int index) noexcept nogil:
    """Keys and values lie on the stack while they are encoded, so that a message can tell the path."""
    cdef size_t n, pairs
    cdef bint array
    cdef int rc
    if e.depth == KV_DEPTH_MAX:
        return encode_refuse(e, b"a %s nested deeper than 128 levels, or that contains itself, cannot be stored", index)
    if not lua_checkstack(e.L, 8):
        return ERR_MEMORY
    array = table_is_array(e.L, index, &pairs)
    e.out.n += put_list_head(<uint8_t *>e.out.p + e.out.n, not array, pairs)
    e.depth += 1
    if array:
        for n in range(1, pairs + 1):
            lua_pushinteger(e.L, n)
            lua_rawgeti(e.L, index, <int>n)
            rc = encode_value(e, lua_gettop(e.L))
            if rc != OK:
                return rc
            lua_pop(e.L, 2)
    else:
        lua_pushnil(e.L)
        while lua_next(e.L, index):
            rc = encode_key(e)
            if rc == OK:
                rc = encode_value(e, lua_gettop(e.L))
            if rc != OK:
                return rc
            lua_pop(e.L, 1)
    e.depth -= 1
    return OK


cdef int encode_key(KvEncoder *e) noexcept nogil:
    """The key below the value on top: all but tables and the like."""
    cdef int at = lua_gettop(e.L) - 1
    if lua_type(e.L, at) == LUA_TTABLE:
        return encode_refuse(e, b"a %s as a key cannot be stored", at)
    return encode_value(e, at)


cdef bint table_is_array(lua_State *L, int index, size_t *pairs) noexcept nogil:
    """Whether its keys are 1 to n, n > 0; `pairs` is their number."""
    cdef size_t n = lua_objlen(L, index)
    cdef bint array = n > 0
    cdef double key
    pairs[0] = 0
    lua_pushnil(L)
    while lua_next(L, index):
        pairs[0] += 1
        if array:
            key = lua_tonumber(L, -2) if lua_type(L, -2) == LUA_TNUMBER else 0
            array = 1 <= key <= <double>n and <double><size_t>key == key
        lua_pop(L, 1)
    return array and pairs[0] == n


cdef void kv_push_encode_error(KvEncoder *e, int rc) noexcept nogil:
    """Replace what the encoder left on the stack by the message."""
    cdef lua_State *L = e.L
    cdef char path[KV_PATH_SIZE]
    cdef size_t n = 0
    cdef int level
    if rc == ERR_MISSING:
        for level in range(e.depth):
            n = path_add(L, e.base + 1 + 2 * level, path, n)
        lua_pushfstring(L, e.why, kv_type_name(L, e.culprit))
        if n:
            lua_pushstring(L, b" (at value")
            lua_pushlstring(L, path, n)
            lua_pushstring(L, b")")
            lua_concat(L, 4)
    elif rc == ERR_LIMIT:
        lua_pushstring(L, b"the value is larger than 16 MiB")
    else:
        lua_pushstring(L, b"not enough memory")
    lua_insert(L, e.base + 1)
    lua_settop(L, e.base + 1)


cdef const char *kv_type_name(lua_State *L, int index) noexcept nogil:
    cdef int kind = lua_type(L, index)
    if kind > LUA_TTHREAD:
        return b"cdata (an FFI object)"
    return lua_typename(L, kind)


cdef size_t path_add(lua_State *L, int index, char *path, size_t n) noexcept nogil:
    """Append the key at `index`: .name or [3]. What finds no room is left out."""
    cdef Span s
    if lua_type(L, index) == LUA_TSTRING:
        s.p = lua_tolstring(L, index, &s.n)
        if s.n + 1 <= KV_PATH_SIZE - n:
            path[n] = c'.'
            memcpy(path + n + 1, s.p, s.n)
            n += s.n + 1
    elif lua_type(L, index) == LUA_TNUMBER and KV_PATH_SIZE - n > NUMBER_SIZE + 2 and \
            lua_tonumber(L, index) - lua_tonumber(L, index) == 0:
        path[n] = c'['
        n += 1 + number_write(path + n + 1, lua_tonumber(L, index))
        path[n] = c']'
        n += 1
    return n


# ---- Decoding --------------------------------------------------------------------------------------------

cdef int kv_decode(lua_State *L, Span value) noexcept nogil:
    """Push the value. Bytes that are none: push a message and return ERR_MISSING. The bytes must stay where they are
    until the call returns."""
    cdef const uint8_t *p = <const uint8_t *>value.p
    cdef const uint8_t *end = p + value.n
    cdef int top = lua_gettop(L)
    cdef int rc = ERR_MISSING
    if value.n and p[0] == KV_STRING:
        lua_pushlstring(L, value.p + 1, value.n - 1)
        return OK
    if value.n and p[0] == KV_PACKED:
        p += 1
        rc = decode_value(L, &p, end, 0)
        if rc == OK and p == end:
            return OK
    lua_settop(L, top)
    lua_pushstring(L, b"not enough memory" if rc == ERR_MEMORY else b"the stored value is damaged")
    return ERR_MISSING


cdef int decode_value(lua_State *L, const uint8_t **at, const uint8_t *end, int depth) noexcept nogil:
    cdef KvToken t
    cdef int rc = token_next(at, end, &t)
    if rc != OK:
        return ERR_MISSING
    if t.kind == TOKEN_STRING:
        lua_pushlstring(L, t.text.p, t.text.n)
    elif t.kind == TOKEN_NUMBER:
        lua_pushnumber(L, t.number)
    elif t.kind == TOKEN_BOOLEAN:
        lua_pushboolean(L, t.boolean)
    elif t.kind == TOKEN_NIL:
        lua_pushnil(L)
    elif depth == KV_DEPTH_MAX or t.n > <size_t>(end - at[0]):
        return ERR_MISSING                  # every element has a byte at least: no table is made for a lie
    elif not lua_checkstack(L, 8):
        return ERR_MEMORY
    elif t.kind == TOKEN_ARRAY:
        return decode_array(L, at, end, depth, t.n)
    else:
        return decode_map(L, at, end, depth, t.n)
    return OK


cdef int decode_array(lua_State *L, const uint8_t **at, const uint8_t *end, int depth, uint32_t n) noexcept nogil:
    cdef uint32_t i
    cdef int rc
    lua_createtable(L, <int>n if n < 65536 else 65536, 0)
    for i in range(n):
        rc = decode_value(L, at, end, depth + 1)
        if rc != OK:
            return rc
        lua_rawseti(L, -2, <int>i + 1)
    return OK


cdef int decode_map(lua_State *L, const uint8_t **at, const uint8_t *end, int depth, uint32_t n) noexcept nogil:
    cdef uint32_t i
    cdef int rc
    cdef double key
    lua_createtable(L, 0, <int>n if n < 4096 else 4096)
    for i in range(n):
        rc = decode_value(L, at, end, KV_DEPTH_MAX)     # a key: no table
        if rc != OK:
            return rc
        key = lua_tonumber(L, -1) if lua_type(L, -1) == LUA_TNUMBER else 0
        if lua_type(L, -1) == LUA_TNIL or key != key:
            return ERR_MISSING
        rc = decode_value(L, at, end, depth + 1)
        if rc != OK:
            return rc
        lua_rawset(L, -3)
    return OK
