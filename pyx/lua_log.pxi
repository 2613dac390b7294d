# heart.v1.log for Lua: messages and fields from the Lua stack to the worker's log ring.
#
# Invariants:
#   - a log call never raises because of what it is given: what cannot be logged is replaced by a text that says why;
#   - Worker.scratch_json is used as a stack, from its present end: a finalizer that runs in the middle of a log call
#     may log (or encode) itself.
# Not for: formats and rings, which are log.pxi's.

cdef enum:
    LOG_FIELDS_MAX = 32         # of one message; a member "more" tells of others
    LOG_STRING_MAX = 8192       # bytes of a string in a field
    LOG_ESCAPED_MAX = 6         # bytes that one byte of text can become
    LOG_SCRATCH_KEEP = 65536    # bytes


cdef int lua_log_open(lua_State *L) noexcept nogil:
    """Push the table {debug, info, warn, error, enabled}. Under protection: it allocates."""
    cdef uint8_t level
    lua_createtable(L, 0, 5)
    for level in range(LEVEL_DEBUG, LEVEL_OFF):
        lua_pushinteger(L, level)
        lua_getfield(L, LUA_GLOBALSINDEX, b"tostring")
        lua_pushcclosure(L, l_log, 2)
        lua_setfield(L, -2, level_name(level))
    lua_pushcclosure(L, l_log_enabled, 0)
    lua_setfield(L, -2, b"enabled")
    return 1


cdef int l_log(lua_State *L) noexcept nogil:
    """log.LEVEL(message[, fields]); upvalues: the level, and tostring."""
    cdef Worker *w = worker_self()
    cdef uint8_t level = <uint8_t>lua_tointeger(L, lua_upvalueindex(1))
    cdef LogField fields[LOG_FIELDS_MAX + 1]
    cdef Buf *out = &w.scratch_json
    cdef size_t start
    cdef Span message
    cdef int n
    if not log_enabled(w.log, level):
        return 0
    lua_settop(L, 2)
    l_log_stringify(L)
    message.p = lua_tolstring(L, 1, &message.n)
    start = out.n
    n = l_log_fields(L, out, fields)
    fields_place(fields, n, out.p + start)      # from here on nothing may move `out`
    log_message(w.log, level, message, fields, n)
    out.n = start
    if start == 0:
        buf_shrink(out, LOG_SCRATCH_KEEP)
    return 0


cdef int l_log_enabled(lua_State *L) noexcept nogil:
    """log.enabled(level): whether messages of this level are written at all."""
    cdef size_t n
    cdef const char *name = luaL_checklstring(L, 1, &n)
    cdef uint8_t level
    for level in range(LEVEL_DEBUG, LEVEL_OFF):
        if span_equal(Span(name, n), level_name(level), strlen(level_name(level))):
            lua_pushboolean(L, log_enabled(worker_self().log, level))
            return 1
    return luaL_argerror(L, 1, b"expected 'debug', 'info', 'warn' or 'error'")


cdef void l_log_stringify(lua_State *L) noexcept nogil:
    """Make argument 1 a string, as print would; an error in __tostring becomes the message."""
    if lua_type(L, 1) == LUA_TSTRING or lua_type(L, 1) == LUA_TNUMBER:
        return
    lua_pushvalue(L, lua_upvalueindex(2))
    lua_pushvalue(L, 1)
    lua_pcall(L, 1, 1, 0)
    if lua_type(L, -1) != LUA_TSTRING:
        lua_pop(L, 1)
        lua_pushstring(L, b"(a message without text)")
    lua_replace(L, 1)


cdef int l_log_fields(lua_State *L, Buf *out, LogField *fields) noexcept nogil:
    """Append keys and values of argument 2 to `out`, one behind the other; only lengths are set in `fields`.

    Returns how many fields there are. Anything but a table is the one field "fields".
    """
    cdef int n = 0
    if lua_type(L, 2) == LUA_TNIL:
        return 0
    if lua_type(L, 2) != LUA_TTABLE:
        lua_pushstring(L, b"fields")
        lua_pushvalue(L, 2)
        return 1 if l_log_field(L, out, &fields[0]) == OK else 0
    lua_pushnil(L)
    while lua_next(L, 2):
        if n == LOG_FIELDS_MAX:
            lua_settop(L, 2)
            lua_pushstring(L, b"more")
            lua_pushboolean(L, 1)
            return n + 1 if l_log_field(L, out, &fields[n]) == OK else n
        if l_log_field(L, out, &fields[n]) == OK:
            n += 1
        lua_settop(L, 3)
    return n


cdef int l_log_field(lua_State *L, Buf *out, LogField *f) noexcept nogil:
    """Append the key at index 3 and the value at index 4. ERR_MEMORY leaves `out` as it was."""
    cdef size_t start = out.n
    cdef Span key
    lua_pushvalue(L, 3)         # tolstring would change the number that lua_next needs
    if lua_type(L, 5) != LUA_TSTRING and lua_type(L, 5) != LUA_TNUMBER:
        lua_pushstring(L, lua_typename(L, lua_type(L, 5)))
    key.p = lua_tolstring(L, -1, &key.n)
    f.key.n = key.n
    if buf_append(out, key.p, key.n) != OK or l_log_value(L, 4, out) != OK:
        out.n = start
        return ERR_MEMORY
    f.value.n = out.n - start - key.n
    return OK


cdef int l_log_value(lua_State *L, int index, Buf *out) noexcept nogil:
    """Append a value as JSON text; what JSON cannot hold becomes a string that says so."""
    cdef Span text
    if lua_type(L, index) != LUA_TSTRING:
        if json_encode(L, index, out) == OK:
            return OK
        lua_pushlstring(L, b"<", 1)
        lua_insert(L, -2)
        lua_pushlstring(L, b">", 1)
        lua_concat(L, 3)
        index = -1
    text.p = lua_tolstring(L, index, &text.n)
    return buf_append_quoted(out, text)


cdef int buf_append_quoted(Buf *out, Span text) noexcept nogil:
    """Append a string literal of JSON, of at most LOG_STRING_MAX bytes of `text`; invalid UTF-8 is replaced."""
    cdef size_t n = text.n if text.n < LOG_STRING_MAX else LOG_STRING_MAX
    cdef LogLine l
    if buf_reserve(out, LOG_ESCAPED_MAX * n + LOG_LINE_TAIL) != OK:
        return ERR_MEMORY
    l.p, l.end, l.cut = out.p + out.n, out.p + out.cap, False
    line_put(&l, b'"', 1)
    line_put_text(&l, Span(text.p, n), TEXT_JSON)
    if n != text.n:
        line_put_z(&l, b" [truncated]")
    line_put(&l, b'"', 1)
    out.n = <size_t>(l.p - out.p)
    return OK


cdef void fields_place(LogField *fields, int n, const char *p) noexcept nogil:
    """Point the fields at their texts, which lie one behind the other from `p`."""
    cdef int i
    for i in range(n):
        fields[i].key.p = p
        p += fields[i].key.n
        fields[i].value.p = p
        p += fields[i].value.n
