# JSON encoder: the value on the Lua stack to text in a Buf.
#
# A table is an array if its keys are exactly 1..n, an object if all are strings; anything else is refused with the
# path to it. Both kinds are walked once by lua_next, which gives an array's keys in order when Lua holds them in its
# array part; only if they come otherwise is the table checked as a whole and read by index from there.
# Invariants: level i keeps its table in slot base + 2 * i and the key where lua_next stands (or nil) in the slot
# above; every value written is followed by a comma, which the end of its container overwrites.

cdef enum JsonRefusal:
    REFUSE_TYPE = 1                 # refusals of a value ...
    REFUSE_NUMBER
    REFUSE_TEXT
    REFUSE_CYCLE
    REFUSE_DEPTH
    REFUSE_EXCESSIVE
    REFUSE_KEY                      # ... and of the innermost open table
    REFUSE_KEY_TEXT
    REFUSE_MIXED
    REFUSE_MARKED
    REFUSE_SPARSE

cdef enum JsonKind:
    KIND_OBJECT = -2                # string keys
    KIND_OBJECT_ANY = -1            # also numbers as keys: marked by json.object
    KIND_ARRAY = 0                  # walked by lua_next; a number above 0: so many elements, read by index

cdef enum:
    ESCAPE_SIZE = 6                 # \u001f
    STRING_ROOM = 24                # quotes, tail, one escape, and the 8 bytes plain_copy may write too much
    PATH_SIZE = 400                 # bytes of a path in a message
    KEY_SIZE = 60                   # bytes of one key in it

ctypedef struct JsonLevel:
    const void *table
    int32_t index                   # array: the element being written, from 1
    int32_t kind                    # JsonKind

ctypedef struct JsonWriter:
    lua_State *L
    const char *name                # of the function, for messages
    Buf *out
    const JsonOptions *options
    JsonLevel *levels
    int depth                       # open levels
    int base                        # stack slot of the outermost table
    int missing                     # REFUSE_SPARSE: the first index without a value, 0 if a key is no index
    int paired                      # type of the next key if it is on the stack already with its value, else LUA_TNIL


# ---- Scalars ---------------------------------------------------------------------------------------------

cdef inline int escape_write(char *to, uint8_t c) noexcept nogil:
    """RFC 8259 section 7: the two-character form where there is one."""
    cdef char letter
    if c == c'"' or c == c'\\':
        letter = <char>c
    elif c == c'\n':
        letter = c'n'
    elif c == c'\r':
        letter = c'r'
    elif c == c'\t':
        letter = c't'
    elif c == c'\b':
        letter = c'b'
    elif c == c'\f':
        letter = c'f'
    else:
        memcpy(to, b"\\u00", 4)
        to[4] = <char>(c'0' + (c >> 4))
        to[5] = b"0123456789abcdef"[c & 15]
        return ESCAPE_SIZE
    to[0] = c'\\'
    to[1] = letter
    return 2


cdef int string_write(Buf *out, const char *s, size_t n, char tail) noexcept nogil:
    """Append a string in quotes, and `tail`."""
    cdef const uint8_t *p = <const uint8_t *>s
    cdef const uint8_t *end = p + n
    cdef const uint8_t *run
    cdef char *to
    cdef size_t plain
    if unlikely(buf_reserve(out, n + STRING_ROOM) != OK):
        return ERR_MEMORY
    to = out.p + out.n
    to[0] = c'"'
    to += 1
    while True:
        plain = plain_copy(to, p, end)
        p += plain
        to += plain
        if likely(p == end):
            break
        if p[0] >= 0x80:
            run = utf8_skip(p, end)
            if unlikely(run == p):
                return REFUSE_TEXT
            memcpy(to, p, <size_t>(run - p))
            to += run - p
            p = run
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


cdef inline int number_append(Buf *out, double v, char tail) noexcept nogil:
    if unlikely(not number_finite(v)):
        return REFUSE_NUMBER
    if unlikely(buf_reserve(out, NUMBER_SIZE + 1) != OK):
        return ERR_MEMORY
    out.n += number_write(out.p + out.n, v)
    out.p[out.n] = tail
    out.n += 1
    return OK


cdef inline int scalar_write(JsonWriter *w, int kind) noexcept nogil:
    """Append the value on top of the stack, which is no table, and a comma."""
    cdef size_t n
    cdef const char *s
    if kind == LUA_TSTRING:
        s = lua_tolstring(w.L, -1, &n)
        return string_write(w.out, s, n, c',')
    if kind == LUA_TNUMBER:
        return number_append(w.out, lua_tonumber(w.L, -1), c',')
    if kind == LUA_TBOOLEAN:
        if lua_toboolean(w.L, -1):
            return buf_append(w.out, b"true,", 5)
        return buf_append(w.out, b"false,", 6)
    if kind == LUA_TNIL or (kind == LUA_TLIGHTUSERDATA and lua_touserdata(w.L, -1) == NULL):
        return buf_append(w.out, b"null,", 5)
    return REFUSE_TYPE


cdef int newline_write(JsonWriter *w, int levels) noexcept nogil:
    cdef size_t n = <size_t>(levels * w.options.indent)
    if buf_reserve(w.out, n + 1) != OK:
        return ERR_MEMORY
    w.out.p[w.out.n] = c'\n'
    memset(w.out.p + w.out.n + 1, c' ', n)
    w.out.n += n + 1
    return OK


cdef inline int element_begin(JsonWriter *w) noexcept nogil:
    return newline_write(w, w.depth) if unlikely(w.options.indent) else OK


# ---- Tables ----------------------------------------------------------------------------------------------

cdef int mark_read(lua_State *L) noexcept nogil:
    """The JsonMark in the metatable on top of the stack, which is popped."""
    cdef int mark = MARK_NONE
    cdef size_t n
    cdef Span s
    lua_pushlstring(L, b"__jsontype", 10)
    lua_rawget(L, -2)
    if lua_type(L, -1) == LUA_TSTRING:
        s.p = lua_tolstring(L, -1, &n)
        s.n = n
        if span_equal(s, b"array", 5):
            mark = MARK_ARRAY
        elif span_equal(s, b"object", 6):
            mark = MARK_OBJECT
        elif span_equal(s, b"object?", 7):
            mark = MARK_OBJECT_EMPTY
    lua_settop(L, -3)
    return mark


cdef inline bint level_cycle(JsonWriter *w, const void *table) noexcept nogil:
    cdef int i
    for i in range(w.depth):
        if w.levels[i].table == table:
            return True
    return False


cdef int level_open(JsonWriter *w) noexcept nogil:
    """Begin the table on top of the stack: it stays there with its first key and value, or is written if empty."""
    cdef lua_State *L = w.L
    cdef const void *table = lua_topointer(L, -1)
    cdef JsonLevel *level = w.levels + w.depth
    cdef int mark = MARK_NONE
    if unlikely(level_cycle(w, table)):
        return REFUSE_CYCLE
    if unlikely(w.depth == w.options.depth):
        return REFUSE_DEPTH
    if unlikely(not stack_reserve(L, w.depth)):
        return ERR_MEMORY
    if unlikely(lua_getmetatable(L, -1)):
        mark = mark_read(L)
    lua_pushnil(L)
    if not lua_next(L, -2):
        lua_settop(L, -2)
        if mark >= MARK_OBJECT:
            return buf_append(w.out, b"{},", 3)
        return buf_append(w.out, b"[],", 3)
    w.paired = lua_type(L, -2)
    level.table = table
    level.index = 0
    if mark == MARK_OBJECT:
        level.kind = KIND_OBJECT_ANY
    elif mark == MARK_ARRAY or w.paired == LUA_TNUMBER:
        level.kind = KIND_ARRAY
    else:
        level.kind = KIND_OBJECT
    w.depth += 1
    return buf_put(w.out, c'[' if level.kind == KIND_ARRAY else c'{')


cdef int level_close(JsonWriter *w, char bracket) noexcept nogil:
    cdef Buf *out = w.out
    w.depth -= 1
    lua_settop(w.L, w.base + 2 * w.depth - 1)
    out.n -= 1
    if unlikely(w.options.indent) and newline_write(w, w.depth) != OK:
        return ERR_MEMORY
    if unlikely(buf_reserve(out, 2) != OK):
        return ERR_MEMORY
    out.p[out.n] = bracket
    out.p[out.n + 1] = c','
    out.n += 2
    return OK


cdef inline int level_next(JsonWriter *w, int slot) noexcept nogil:
    """Step to the next key and value of the table in `slot`, in place of the key on top of the stack; returns the
    type of the key, LUA_TNIL behind the last one."""
    cdef int kind = w.paired
    if kind:
        w.paired = LUA_TNIL
        return kind
    return lua_type(w.L, -2) if lua_next(w.L, slot) else <int>LUA_TNIL


cdef inline int key_write(JsonWriter *w, JsonLevel *level, int kind) noexcept nogil:
    """Append the key below the top of the stack, which is of type `kind`, and a colon."""
    cdef int code
    cdef size_t n
    cdef const char *s
    if likely(kind == LUA_TSTRING):
        s = lua_tolstring(w.L, -2, &n)
        code = string_write(w.out, s, n, c':')
        if unlikely(code == REFUSE_TEXT):
            return REFUSE_KEY_TEXT
    elif kind != LUA_TNUMBER:
        return REFUSE_KEY
    elif level.kind != KIND_OBJECT_ANY:
        return REFUSE_MIXED
    else:
        code = buf_put(w.out, c'"')
        if code == OK:
            code = number_append(w.out, lua_tonumber(w.L, -2), c'"')
        if code == OK:
            code = buf_put(w.out, c':')
        if code == REFUSE_NUMBER:
            return REFUSE_KEY
    if unlikely(w.options.indent) and code == OK:
        code = buf_put(w.out, c' ')
    return code


cdef int object_write(JsonWriter *w, JsonLevel *level) noexcept nogil:
    """Write members until the object ends or a table in it begins."""
    cdef lua_State *L = w.L
    cdef int slot = w.base + 2 * (w.depth - 1), kind, code
    while True:
        kind = level_next(w, slot)
        if kind == LUA_TNIL:
            return level_close(w, c'}')
        code = element_begin(w)
        if likely(code == OK):
            code = key_write(w, level, kind)
        if unlikely(code != OK):
            return code
        kind = lua_type(L, -1)
        if kind == LUA_TTABLE:
            return level_open(w)
        code = scalar_write(w, kind)
        if unlikely(code != OK):
            return code
        lua_settop(L, -2)


cdef inline int element_write(JsonWriter *w) noexcept nogil:
    """Write the array element on top of the stack and pop it, or begin it if it is a table."""
    cdef int kind = lua_type(w.L, -1), code = element_begin(w)
    if unlikely(code != OK):
        return code
    if kind == LUA_TTABLE:
        return level_open(w)
    code = scalar_write(w, kind)
    if likely(code == OK):
        lua_settop(w.L, -2)
    return code


cdef int array_write(JsonWriter *w, JsonLevel *level) noexcept nogil:
    """Write elements in lua_next's order for as long as this is the order of their indexes."""
    cdef lua_State *L = w.L
    cdef int slot = w.base + 2 * (w.depth - 1), kind, code
    while True:
        kind = level_next(w, slot)
        if kind == LUA_TNIL:
            return level_close(w, c']')
        if unlikely(kind == LUA_TSTRING and level.index == 0):
            return REFUSE_MARKED
        if unlikely(kind != LUA_TNUMBER or lua_tonumber(L, -2) != level.index + 1):
            return array_check(w, level, slot)
        level.index += 1
        code = element_write(w)
        if code != OK or w.paired:
            return code


cdef int array_check(JsonWriter *w, JsonLevel *level, int slot) noexcept nogil:
    """The keys came out of order. If they are 1..n all the same, go on by index behind the elements written."""
    cdef lua_State *L = w.L
    cdef double key
    cdef int n = 0
    cdef bint indexes = True
    lua_settop(L, slot)
    lua_pushnil(L)
    while lua_next(L, slot):
        if lua_type(L, -2) != LUA_TNUMBER:
            return REFUSE_MIXED if lua_type(L, -2) == LUA_TSTRING else REFUSE_KEY
        key = lua_tonumber(L, -2)
        indexes = indexes and key >= 1 and key <= 0x7FFFFFFF and key == <double><int>key
        n += 1
        lua_settop(L, -2)
    w.missing = 0
    if not indexes:
        return REFUSE_SPARSE
    w.missing = array_gap(L, slot, n)
    lua_pushnil(L)
    level.kind = n
    if w.missing:
        return REFUSE_SPARSE
    return OK


cdef int array_gap(lua_State *L, int slot, int n) noexcept nogil:
    """The first index from 1 to `n` without a value, 0 if there is none."""
    cdef int i
    for i in range(1, n + 1):
        lua_rawgeti(L, slot, i)
        if lua_isnil(L, -1):
            lua_settop(L, -2)
            return i
        lua_settop(L, -2)
    return 0


cdef int list_write(JsonWriter *w, JsonLevel *level) noexcept nogil:
    """Write elements by index."""
    cdef int slot = w.base + 2 * (w.depth - 1), code
    while level.index < level.kind:
        level.index += 1
        lua_rawgeti(w.L, slot, level.index)
        code = element_write(w)
        if code != OK or w.paired:
            return code
    return level_close(w, c']')


cdef inline int level_write(JsonWriter *w) noexcept nogil:
    cdef JsonLevel *level = w.levels + w.depth - 1
    if level.kind < KIND_ARRAY:
        return object_write(w, level)
    return array_write(w, level) if level.kind == KIND_ARRAY else list_write(w, level)


cdef int json_encode_with(lua_State *L, int index, Buf *out, const JsonOptions *options) noexcept nogil:
    """As json_encode, with options."""
    cdef JsonLevel[JSON_DEPTH_MAX] levels
    cdef JsonWriter w
    cdef size_t start = out.n
    cdef int code, kind
    w.L = L
    w.name = b"json.encode"
    w.out = out
    w.options = options
    w.levels = levels
    w.depth = 0
    w.paired = LUA_TNIL
    w.base = lua_gettop(L) + 1
    lua_pushvalue(L, index)
    kind = lua_type(L, -1)
    if likely(kind == LUA_TTABLE):
        code = level_open(&w)
    else:
        code = scalar_write(&w, kind)
        lua_settop(L, w.base - (code == OK))
    while code == OK and w.depth:
        code = level_write(&w)
    if unlikely(code != OK):
        out.n = start
        writer_refuse(&w, code)
        return ERR_MISSING
    out.n -= 1
    return OK


# ---- Refusals --------------------------------------------------------------------------------------------

cdef bint key_is_name(const char *s, size_t n) noexcept nogil:
    cdef size_t i
    cdef uint8_t c
    for i in range(n):
        c = char_lower(<uint8_t>s[i])
        if not (c'a' <= c <= c'z' or c == c'_' or (i and is_digit(c))):
            return False
    return n > 0


cdef size_t key_print(char *to, const char *s, size_t n) noexcept nogil:
    """Write `.name` or `["any key"]`, cut to KEY_SIZE bytes, of printable ASCII only."""
    cdef bint name = key_is_name(s, n)
    cdef size_t at = 0, i
    cdef uint8_t c
    if name:
        to[0] = c'.'
        at = 1
    else:
        memcpy(to, b"[\"", 2)
        at = 2
    for i in range(min(n, <size_t>KEY_SIZE)):
        c = <uint8_t>s[i]
        to[at] = <char>c if c >= 0x20 and c < 0x7F else c'?'
        at += 1
    if n > KEY_SIZE:
        memcpy(to + at, b"...", 3)
        at += 3
    if not name:
        memcpy(to + at, b"\"]", 2)
        at += 2
    return at


cdef size_t path_print(JsonWriter *w, char *to, int levels) noexcept nogil:
    """Write the path through the first `levels` open tables, cut to PATH_SIZE bytes."""
    cdef char[KEY_SIZE + 16] part
    cdef size_t at = 0, n
    cdef const char *s
    cdef int i, slot
    for i in range(levels):
        slot = w.base + 2 * i + 1
        if w.levels[i].kind >= KIND_ARRAY:
            part[0] = c'['
            n = 1 + <int>put_decimal(part + 1, <uint64_t>w.levels[i].index)
            part[n] = c']'
            n += 1
        elif lua_type(w.L, slot) == LUA_TSTRING:
            s = lua_tolstring(w.L, slot, &n)
            n = key_print(part, s, n)
        else:
            part[0] = c'['
            n = 1 + number_write(part + 1, lua_tonumber(w.L, slot))
            part[n] = c']'
            n += 1
        if at + n > PATH_SIZE:
            memcpy(to + at, b"...", 3)
            return at + 3
        memcpy(to + at, part, n)
        at += n
    return at


cdef const char *refusal_push(JsonWriter *w, int code) noexcept nogil:
    """Push what is wrong; returns it."""
    cdef lua_State *L = w.L
    if code == REFUSE_TYPE:
        return lua_pushfstring(L, b"cannot encode %s", lua_typename(L, lua_type(L, -1)))
    if code == REFUSE_NUMBER:
        return lua_pushfstring(L, b"cannot encode a number that is infinite or not a number")
    if code == REFUSE_TEXT:
        return lua_pushfstring(L, b"a string is not valid UTF-8")
    if code == REFUSE_CYCLE:
        return lua_pushfstring(L, b"cycle: the table contains itself")
    if code == REFUSE_DEPTH:
        return lua_pushfstring(L, b"nested deeper than %d levels", w.options.depth)
    if code == REFUSE_EXCESSIVE:
        return lua_pushfstring(L, b"excessively sparse array")
    if code == REFUSE_KEY:
        return lua_pushfstring(L, b"a key is neither a string nor a number")
    if code == REFUSE_KEY_TEXT:
        return lua_pushfstring(L, b"a key is not valid UTF-8")
    if code == REFUSE_MIXED:
        return lua_pushfstring(L, b"a table has both string and number keys")
    if code == REFUSE_MARKED:
        return lua_pushfstring(L, b"a string key in an array")
    if code == REFUSE_SPARSE and w.missing:
        return lua_pushfstring(L, b"sparse array, element %d is missing", w.missing)
    if code == REFUSE_SPARSE:
        return lua_pushfstring(L, b"sparse array, a number key is not an index")
    return lua_pushfstring(L, b"not enough memory")


cdef void writer_refuse(JsonWriter *w, int code) noexcept nogil:
    """Leave the message in place of the value."""
    cdef char[PATH_SIZE + 8] path
    cdef size_t n = path_print(w, path, w.depth - 1 if code >= REFUSE_KEY else w.depth)
    cdef const char *what
    path[n] = 0
    what = refusal_push(w, code)
    if n:
        lua_pushfstring(w.L, b"%s: %s at %s", w.name, what, <const char *>path)
    else:
        lua_pushfstring(w.L, b"%s: %s", w.name, what)
    lua_replace(w.L, w.base)
    lua_settop(w.L, w.base)
