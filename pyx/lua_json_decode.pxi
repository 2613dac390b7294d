# JSON decoder: text to the value on the Lua stack. Strict RFC 8259: nothing beyond the grammar is accepted, unless
# lua-cjson's leniency is asked for; that is looked at only where a strict text would be refused.
#
# Open containers lie on the Lua stack, an object below the key whose value is being read. Containers of one depth
# tend to be alike, so each is created with the size of the one before it at its depth.
# Invariant: bytes at or behind `end` are never read; the text need not be NUL-terminated.

from libc.string cimport memchr

cdef extern from "strings.h" nogil:
    int strncasecmp(const char *a, const char *b, size_t n)

cdef enum:
    UNESCAPE_SIZE = 1024            # longer strings with escapes are unescaped into a userdata
    HINT_MAX = 512                  # elements to make room for before they are seen
    HINT_OBJECT = 4                 # members expected of the first object at a depth

cdef const char *JSON_EMPTY = b"heart.json.object?"
cdef const char *JSON_ARRAY_MT = b"heart.cjson.array"

ctypedef struct JsonNest:
    int32_t count                   # elements or members so far
    uint16_t array_hint             # sizes of the array and of the object that ended last at this depth
    uint16_t object_hint
    bint object

ctypedef struct JsonReader:
    lua_State *L
    const uint8_t *p
    const uint8_t *end
    const char *why                 # of a refusal; `p` is at the culprit
    JsonNest *nests
    int depth                       # open containers
    int seen                        # the deepest so far: nests from here on hold no hints yet
    int limit
    int flags


cdef int reader_refuse(JsonReader *r, const uint8_t *at, const char *why) noexcept nogil:
    r.p = at
    r.why = why
    return ERR_MISSING


cdef const uint8_t *space_skip_run(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and (p[0] == c' ' or p[0] == c'\n' or p[0] == c'\t' or p[0] == c'\r'):
        p += 1
        while end - p >= 8 and load_word(p) == 0x2020202020202020u:
            p += 8
    return p


cdef inline const uint8_t *space_skip(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return p if p < end and p[0] > c' ' else space_skip_run(p, end)


# ---- Strings ---------------------------------------------------------------------------------------------

cdef inline int hex4_read(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """The value of four hexadecimal digits, -1 if they are not."""
    cdef int i, digit, v = 0
    if end - p < 4:
        return -1
    for i in range(4):
        digit = hex_digit(p[i])
        if digit < 0:
            return -1
        v = v << 4 | digit
    return v


cdef inline int utf8_write(char *to, int c) noexcept nogil:
    if c < 0x80:
        to[0] = <char>c
        return 1
    if c < 0x800:
        to[0] = <char>(0xC0 | c >> 6)
        to[1] = <char>(0x80 | c & 0x3F)
        return 2
    if c < 0x10000:
        to[0] = <char>(0xE0 | c >> 12)
        to[1] = <char>(0x80 | c >> 6 & 0x3F)
        to[2] = <char>(0x80 | c & 0x3F)
        return 3
    to[0] = <char>(0xF0 | c >> 18)
    to[1] = <char>(0x80 | c >> 12 & 0x3F)
    to[2] = <char>(0x80 | c >> 6 & 0x3F)
    to[3] = <char>(0x80 | c & 0x3F)
    return 4


cdef const uint8_t *unicode_read(const uint8_t *p, const uint8_t *end, char **to) noexcept nogil:
    """Unescape the \\uXXXX at `p`, or the pair of them that stands for one character; NULL if it is neither."""
    cdef int c = hex4_read(p + 2, end), low
    if c < 0 or 0xDC00 <= c < 0xE000:
        return NULL
    p += 6
    if 0xD800 <= c < 0xDC00:
        if end - p < 6 or p[0] != c'\\' or p[1] != c'u':
            return NULL
        low = hex4_read(p + 2, end)
        if not 0xDC00 <= low < 0xE000:
            return NULL
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00)
        p += 6
    to[0] += utf8_write(to[0], c)
    return p


cdef inline const uint8_t *escape_read(const uint8_t *p, const uint8_t *end, char **to) noexcept nogil:
    """Unescape what the backslash at `p` begins and return its end; NULL if it is no escape."""
    cdef uint8_t c = p[1] if end - p > 1 else 0
    if c == c'u':
        return unicode_read(p, end, to)
    if c == c'n':
        c = c'\n'
    elif c == c't':
        c = c'\t'
    elif c == c'r':
        c = c'\r'
    elif c == c'b':
        c = c'\b'
    elif c == c'f':
        c = c'\f'
    elif c != c'"' and c != c'\\' and c != c'/':
        return NULL
    to[0][0] = <char>c
    to[0] += 1
    return p + 2


cdef inline bint byte_loose(JsonReader *r, const uint8_t *p) noexcept nogil:
    """Whether the byte at `p`, which no JSON string may hold, is taken all the same."""
    return r.flags & JSON_LOOSE and p[0] != 0


cdef const uint8_t *quote_find(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """The quote that ends the string whose first backslash is at `p`; NULL if there is none."""
    cdef const uint8_t *quote
    cdef const uint8_t *slash
    cdef const uint8_t *at = p
    while True:
        quote = <const uint8_t *>memchr(at, c'"', <size_t>(end - at))
        if quote == NULL:
            return NULL
        slash = quote
        while slash > p and (slash - 1)[0] == c'\\':
            slash -= 1
        if (quote - slash) % 2 == 0:
            return quote
        at = quote + 1


cdef int string_unescape(JsonReader *r, const uint8_t *start, const uint8_t *p) noexcept nogil:
    """Push the string from `start` on, whose first backslash is at `p`. Unescaping never makes it longer."""
    cdef char[UNESCAPE_SIZE] room
    cdef char *text = room
    cdef char *to
    cdef const uint8_t *next
    cdef const uint8_t *end = quote_find(p, r.end)
    cdef size_t n
    if unlikely(end == NULL):
        return reader_refuse(r, start - 1, b"unfinished string")
    if unlikely(end - start + 8 > UNESCAPE_SIZE):
        text = <char *>lua_newuserdata(r.L, <size_t>(end - start + 8))
    n = <size_t>(p - start)
    memcpy(text, start, n)
    to = text + n
    while p < end:
        if p[0] == c'\\':
            next = escape_read(p, end, &to)
            if unlikely(next == NULL):
                return reader_refuse(r, p, b"bad escape or lone surrogate")
            p = next
        elif p[0] >= 0x80:
            next = utf8_skip(p, end)
            if unlikely(next == p):
                if not byte_loose(r, p):
                    return reader_refuse(r, p, b"invalid UTF-8")
                next = p + 1
            memcpy(to, p, <size_t>(next - p))
            to += next - p
            p = next
        else:
            n = plain_copy(to, p, end)
            if unlikely(n == 0):
                if not byte_loose(r, p):
                    return reader_refuse(r, p, b"control character in a string")
                to[0] = <char>p[0]
                n = 1
            to += n
            p += n
    lua_pushlstring(r.L, text, <size_t>(to - text))
    if unlikely(text != room):
        lua_remove(r.L, -2)
    r.p = end + 1
    return OK


cdef inline int string_read(JsonReader *r) noexcept nogil:
    """Push the string whose opening quote is at the reader's position."""
    cdef const uint8_t *start = r.p + 1
    cdef const uint8_t *p = start
    cdef const uint8_t *next
    while True:
        p = plain_skip(p, r.end)
        if unlikely(p == r.end):
            return reader_refuse(r, start - 1, b"unfinished string")
        if likely(p[0] == c'"'):
            lua_pushlstring(r.L, <const char *>start, <size_t>(p - start))
            r.p = p + 1
            return OK
        if p[0] == c'\\':
            return string_unescape(r, start, p)
        if p[0] < 0x80:
            if not byte_loose(r, p):
                return reader_refuse(r, p, b"control character in a string")
            p += 1
            continue
        next = utf8_skip(p, r.end)
        if unlikely(next == p):
            if not byte_loose(r, p):
                return reader_refuse(r, p, b"invalid UTF-8")
            next = p + 1
        p = next


# ---- Values ----------------------------------------------------------------------------------------------

cdef inline bint literal_read(JsonReader *r, const char *word, size_t n) noexcept nogil:
    if <size_t>(r.end - r.p) < n or memcmp(r.p, word, n) != 0:
        reader_refuse(r, r.p, b"expected a value")
        return False
    r.p += n
    return True


cdef bint number_odd(const uint8_t *p) noexcept nogil:
    """Whether what begins here is a number for strtod, but none for JSON by its first characters."""
    if p[0] == c'+':
        return True
    p += p[0] == c'-'
    if p[0] == c'0':
        return is_digit(p[1]) or p[1] | 32 == c'x'
    return strncasecmp(<const char *>p, b"inf", 3) == 0 or strncasecmp(<const char *>p, b"nan", 3) == 0


cdef int number_push_loose(JsonReader *r, const uint8_t *at, const char *why) noexcept nogil:
    """Push the number at the reader's position as lua-cjson understands it, or refuse it with `at` and `why`."""
    cdef char *end = NULL
    cdef double v
    if not r.flags & JSON_LOOSE or (number_odd(r.p) and not r.flags & JSON_LOOSE_NUMBERS):
        return reader_refuse(r, at, why)
    v = strtod(<const char *>r.p, &end)
    if end == <char *>r.p:
        return reader_refuse(r, at, why)
    r.p = <const uint8_t *>end
    lua_pushnumber(r.L, v)
    return OK


cdef inline int number_push(JsonReader *r) noexcept nogil:
    cdef const uint8_t *p = r.p
    cdef double v = 0
    if unlikely(number_read(&p, r.end, &v) != OK):
        return number_push_loose(r, p, b"bad number")
    if unlikely(not number_finite(v)):
        return number_push_loose(r, r.p, b"number out of range")
    if unlikely(r.flags & JSON_LOOSE_NUMBERS and number_odd(r.p)):
        return number_push_loose(r, r.p, b"bad number")
    r.p = p
    lua_pushnumber(r.L, v)
    return OK


cdef inline int scalar_read(JsonReader *r, uint8_t c, bint *nil) noexcept nogil:
    """Push the string, number or literal that begins with `c`."""
    if c == c'"':
        return string_read(r)
    if is_digit(c) or c == c'-':
        return number_push(r)
    if c == c't' and literal_read(r, b"true", 4):
        lua_pushboolean(r.L, True)
        return OK
    if c == c'f' and literal_read(r, b"false", 5):
        lua_pushboolean(r.L, False)
        return OK
    if c == c'n' and literal_read(r, b"null", 4):
        if r.flags & JSON_NULL:
            lua_pushlightuserdata(r.L, NULL)
        else:
            nil[0] = True
            lua_pushnil(r.L)
        return OK
    if r.flags & JSON_LOOSE_NUMBERS and number_odd(r.p):
        return number_push_loose(r, r.p, b"expected a value")
    return reader_refuse(r, r.p, b"expected a value")


cdef inline int key_read(JsonReader *r) noexcept nogil:
    """Push a member's name and go behind its colon."""
    r.p = space_skip(r.p, r.end)
    if unlikely(r.p == r.end or r.p[0] != c'"'):
        return reader_refuse(r, r.p, b"expected a string as key")
    if unlikely(string_read(r) != OK):
        return ERR_MISSING
    r.p = space_skip(r.p, r.end)
    if unlikely(r.p == r.end or r.p[0] != c':'):
        return reader_refuse(r, r.p, b"expected ':'")
    r.p += 1
    return OK


cdef inline void array_push(JsonReader *r, int size) noexcept nogil:
    lua_createtable(r.L, size, 0)
    if unlikely(r.flags & JSON_MARK_ARRAYS):
        lua_getfield(r.L, LUA_REGISTRYINDEX, JSON_ARRAY_MT)
        lua_setmetatable(r.L, -2)


cdef int empty_push(JsonReader *r, bint object) noexcept nogil:
    """An empty array is a plain table; an empty object is marked, so that it is written as one again."""
    if not object:
        array_push(r, 0)
    else:
        lua_createtable(r.L, 0, 0)
        if not r.flags & JSON_LOOSE:
            lua_getfield(r.L, LUA_REGISTRYINDEX, JSON_EMPTY)
            lua_setmetatable(r.L, -2)
    r.p += 1
    return OK


cdef int nest_open(JsonReader *r, bint object, bint *whole) noexcept nogil:
    """Push the table of the container that begins here, and an object's first key. `whole`: it ended already."""
    cdef JsonNest *nest = r.nests + r.depth
    if unlikely(r.depth == r.limit):
        return reader_refuse(r, r.p, b"nested too deep")
    if unlikely(not stack_reserve(r.L, r.depth)):
        return reader_refuse(r, r.p, b"not enough memory")
    r.p = space_skip(r.p + 1, r.end)
    if r.p < r.end and r.p[0] == (c'}' if object else c']'):
        whole[0] = True
        return empty_push(r, object)
    if r.depth == r.seen:
        nest.array_hint = 0
        nest.object_hint = HINT_OBJECT
        r.seen += 1
    nest.count = 0
    nest.object = object
    r.depth += 1
    if object:
        lua_createtable(r.L, 0, nest.object_hint)
        return key_read(r)
    array_push(r, nest.array_hint)
    return OK


cdef inline void nest_close(JsonReader *r, JsonNest *nest) noexcept nogil:
    cdef uint16_t hint = <uint16_t>min(nest.count, <int32_t>HINT_MAX)
    if nest.object:
        nest.object_hint = hint
    else:
        nest.array_hint = hint
    r.depth -= 1


cdef inline int value_store(JsonReader *r, JsonNest *nest, bint nil) noexcept nogil:
    """Move the value on top of the stack into its container; see what follows. PARTIAL: the container ended."""
    cdef uint8_t c
    nest.count += 1
    if nest.object:
        lua_rawset(r.L, -3)
    elif nil:
        lua_settop(r.L, -2)
    else:
        lua_rawseti(r.L, -2, nest.count)
    r.p = space_skip(r.p, r.end)
    c = r.p[0] if r.p < r.end else 0
    if c == c',':
        r.p += 1
        return key_read(r) if nest.object else OK
    if likely(c == (c'}' if nest.object else c']')):
        r.p += 1
        nest_close(r, nest)
        return PARTIAL
    if nest.object:
        return reader_refuse(r, r.p, b"expected ',' or '}'")
    return reader_refuse(r, r.p, b"expected ',' or ']'")


cdef int reader_run(JsonReader *r) noexcept nogil:
    """Push the value of the whole text."""
    cdef uint8_t c
    cdef bint whole, nil
    cdef int code
    while True:
        r.p = space_skip(r.p, r.end)
        c = r.p[0] if r.p < r.end else 0
        nil = False
        whole = True
        if c == c'{' or c == c'[':
            whole = False
            code = nest_open(r, c == c'{', &whole)
        else:
            code = scalar_read(r, c, &nil)
        if unlikely(code != OK):
            return code
        if not whole:
            continue
        code = PARTIAL
        while code == PARTIAL and r.depth:
            code = value_store(r, r.nests + r.depth - 1, nil)
            nil = False
        if code != OK:
            return OK if code == PARTIAL else code


cdef int json_decode_with(lua_State *L, const char *p, size_t n, const JsonOptions *options) noexcept nogil:
    """As json_decode, with options."""
    cdef JsonNest[JSON_DEPTH_MAX] nests
    cdef JsonReader r
    cdef int code, top = lua_gettop(L)
    r.L = L
    r.p = <const uint8_t *>p
    r.end = r.p + n
    r.nests = nests
    r.depth = r.seen = 0
    r.limit = options.depth
    r.flags = options.flags
    code = reader_run(&r)
    if likely(code == OK):
        r.p = space_skip(r.p, r.end)
        if likely(r.p == r.end) or (r.flags & JSON_LOOSE and r.p[0] == 0):  # a NUL ends the text there
            return OK
        code = reader_refuse(&r, r.p, b"text behind the value")
    lua_settop(L, top)
    position_push(&r, <const uint8_t *>p)
    return code


cdef void position_push(JsonReader *r, const uint8_t *start) noexcept nogil:
    """Push the message of a refusal. Bytes, lines and columns count from 1; a column is a byte."""
    cdef const uint8_t *line = start
    cdef const uint8_t *p = start
    cdef int lines = 1
    if r.p == r.end:
        r.why = b"unexpected end"
    while p < r.p:
        if p[0] == c'\n':
            line = p + 1
            lines += 1
        p += 1
    lua_pushfstring(r.L, b"%s: %s at byte %d (line %d, column %d)",
                    <const char *>b"cjson.decode" if r.flags & JSON_LOOSE else <const char *>b"json.decode", r.why,
                    <int>(r.p - start + 1), lines, <int>(r.p - line + 1))
