# Encoded values, without Lua: the MessagePack that stands behind the type byte, and numbers in it.
#   KV_STRING   the bytes of a Lua string as they are
#   KV_PACKED   one MessagePack object: boolean, number, or a table as array or map (lua_kv_value.pxi)
# A whole number up to 2^53 is written as an int of 1 to 9 bytes, every other as a double. Read is all that other
# writers may use instead (float, any int, bin for str), but no extensions.
# Knows no socket and no store, and allocates nothing. heartc/kv_number.py is the same for numbers in Python.

cdef enum KvType:
    KV_STRING = 0
    KV_PACKED = 1

cdef enum:
    KV_NUMBER_SIZE = 10             # room for an encoded number
    KV_DECIMAL_MAX = 63             # characters of a string that is taken for a number

cdef enum KvTokenKind:
    TOKEN_NIL
    TOKEN_BOOLEAN
    TOKEN_NUMBER
    TOKEN_STRING
    TOKEN_ARRAY
    TOKEN_MAP

# One MessagePack head. For a string `text` is the whole; for an array or map `n` is the number of elements or pairs.
ctypedef struct KvToken:
    uint8_t kind                    # KvTokenKind
    bint boolean
    double number
    uint32_t n
    Span text


# ---- Writing ---------------------------------------------------------------------------------------------

cdef inline void put_big(uint8_t *p, uint64_t v, int n) noexcept nogil:
    """The low `n` bytes of `v`, the highest first."""
    while n > 0:
        n -= 1
        p[n] = <uint8_t>v
        v >>= 8


cdef inline size_t put_coded(uint8_t *p, uint8_t code, uint64_t v, int n) noexcept nogil:
    p[0] = code
    put_big(p + 1, v, n)
    return 1 + n


cdef size_t put_integer(uint8_t *p, int64_t v) noexcept nogil:
    if -32 <= v < 128:
        p[0] = <uint8_t>v
        return 1
    if -0x80 <= v < 0x80:
        return put_coded(p, 0xD0, <uint64_t>v, 1)
    if -0x8000 <= v < 0x8000:
        return put_coded(p, 0xD1, <uint64_t>v, 2)
    if -<int64_t>0x80000000 <= v < <int64_t>0x80000000:
        return put_coded(p, 0xD2, <uint64_t>v, 4)
    return put_coded(p, 0xD3, <uint64_t>v, 8)


cdef size_t put_number(uint8_t *p, double v) noexcept nogil:
    """At most 9 bytes. Minus zero keeps its sign."""
    if -9007199254740992.0 <= v <= 9007199254740992.0 and <double><int64_t>v == v and \
            double_bits(v) != <uint64_t>1 << 63:
        return put_integer(p, <int64_t>v)
    return put_coded(p, 0xCB, double_bits(v), 8)


cdef size_t put_string_head(uint8_t *p, size_t n) noexcept nogil:
    """At most 5 bytes."""
    if n < 32:
        p[0] = <uint8_t>(0xA0 | n)
        return 1
    if n < 0x100:
        return put_coded(p, 0xD9, n, 1)
    if n < 0x10000:
        return put_coded(p, 0xDA, n, 2)
    return put_coded(p, 0xDB, n, 4)


cdef size_t put_list_head(uint8_t *p, bint map, size_t n) noexcept nogil:
    """At most 5 bytes: the head of an array, or of a map with `n` pairs."""
    if n < 16:
        p[0] = <uint8_t>((0x80 if map else 0x90) | n)
        return 1
    if n < 0x10000:
        return put_coded(p, 0xDE if map else 0xDC, n, 2)
    return put_coded(p, 0xDF if map else 0xDD, n, 4)


cdef size_t kv_put_number(char *out, double v) noexcept nogil:
    """A number as a whole value, at most KV_NUMBER_SIZE bytes."""
    out[0] = KV_PACKED
    return 1 + put_number(<uint8_t *>out + 1, v)


# ---- Reading ---------------------------------------------------------------------------------------------

cdef inline uint64_t take_big(const uint8_t *p, int n) noexcept nogil:
    cdef uint64_t v = 0
    cdef int i
    for i in range(n):
        v = v << 8 | p[i]
    return v


cdef inline double float_value(uint32_t bits) noexcept nogil:
    cdef float f
    memcpy(&f, &bits, 4)
    return f


cdef int token_string(const uint8_t **at, const uint8_t *end, int size, KvToken *t) noexcept nogil:
    """A string behind a length of `size` bytes; 0: `t.n` has it already."""
    cdef const uint8_t *p = at[0]
    if end - p < size:
        return PARTIAL
    if size:
        t.n = <uint32_t>take_big(p, size)
    p += size
    if <size_t>(end - p) < t.n:
        return PARTIAL
    t.kind = TOKEN_STRING
    t.text = Span(<const char *>p, t.n)
    at[0] = p + t.n
    return OK


cdef int token_list(const uint8_t **at, const uint8_t *end, int size, uint8_t kind, KvToken *t) noexcept nogil:
    if end - at[0] < size:
        return PARTIAL
    if size:
        t.n = <uint32_t>take_big(at[0], size)
    at[0] += size
    t.kind = kind
    return OK


cdef int token_number(const uint8_t **at, const uint8_t *end, uint8_t code, KvToken *t) noexcept nogil:
    """0xCA to 0xD3: float, double, unsigned and signed ints."""
    cdef int size = 4 if code == 0xCA else 8 if code == 0xCB else 1 << (code & 3)
    cdef uint64_t v
    if end - at[0] < size:
        return PARTIAL
    v = take_big(at[0], size)
    at[0] += size
    t.kind = TOKEN_NUMBER
    if code == 0xCA:
        t.number = float_value(<uint32_t>v)
    elif code == 0xCB:
        t.number = double_from_bits(v)
    elif code <= 0xCF:
        t.number = <double>v
    else:                           # sign-extend
        t.number = <double>(<int64_t>(v << (64 - 8 * size)) >> (64 - 8 * size))
    return OK


cdef int token_next(const uint8_t **at, const uint8_t *end, KvToken *t) noexcept nogil:
    """Read one head and move behind it, of a string behind its bytes. PARTIAL: cut off; ERR_MISSING: no such code."""
    cdef uint8_t code
    if at[0] == end:
        return PARTIAL
    code = at[0][0]
    at[0] += 1
    t.n = code & 15
    if code < 0x80 or code >= 0xE0:
        t.kind = TOKEN_NUMBER
        t.number = <int8_t>code
    elif code < 0x90:
        t.kind = TOKEN_MAP
    elif code < 0xA0:
        t.kind = TOKEN_ARRAY
    elif code < 0xC0:
        t.n = code & 31
        return token_string(at, end, 0, t)
    elif code == 0xC0:
        t.kind = TOKEN_NIL
    elif code == 0xC2 or code == 0xC3:
        t.kind = TOKEN_BOOLEAN
        t.boolean = code & 1
    elif 0xC4 <= code <= 0xC6:
        return token_string(at, end, 1 << (code - 0xC4), t)
    elif 0xCA <= code <= 0xD3:
        return token_number(at, end, code, t)
    elif 0xD9 <= code <= 0xDB:
        return token_string(at, end, 1 << (code - 0xD9), t)
    elif code == 0xDC or code == 0xDD:
        return token_list(at, end, 2 << (code - 0xDC), TOKEN_ARRAY, t)
    elif code == 0xDE or code == 0xDF:
        return token_list(at, end, 2 << (code - 0xDE), TOKEN_MAP, t)
    else:
        return ERR_MISSING
    return OK


# ---- Numbers ---------------------------------------------------------------------------------------------

cdef inline const char *digits_skip(const char *p, const char *end) noexcept nogil:
    while p < end and c'0' <= p[0] <= c'9':
        p += 1
    return p


cdef bint decimal_is_plain(const char *p, const char *end) noexcept nogil:
    """[+-] digits [. digits] [e [+-] digits], at least one digit before the exponent."""
    cdef const char *start
    cdef size_t digits
    if p < end and (p[0] == c'+' or p[0] == c'-'):
        p += 1
    start = p
    p = digits_skip(p, end)
    digits = p - start
    if p < end and p[0] == c'.':
        start = p + 1
        p = digits_skip(start, end)
        digits += p - start
    if digits == 0:
        return False
    if p < end and (p[0] | 32) == c'e':
        p += 1
        if p < end and (p[0] == c'+' or p[0] == c'-'):
            p += 1
        start = p
        p = digits_skip(p, end)
        if p == start:
            return False
    return p == end


cdef int decimal_number(Span text, double *v) noexcept nogil:
    """The number that a decimal text is, spaces around it allowed."""
    cdef char copy[KV_DECIMAL_MAX + 1]
    while text.n and (text.p[0] == c' ' or 9 <= text.p[0] <= 13):
        text.p += 1
        text.n -= 1
    while text.n and (text.p[text.n - 1] == c' ' or 9 <= text.p[text.n - 1] <= 13):
        text.n -= 1
    if text.n > KV_DECIMAL_MAX or not decimal_is_plain(text.p, text.p + text.n):
        return ERR_MISSING
    memcpy(copy, text.p, text.n)
    copy[text.n] = 0
    v[0] = strtod(copy, NULL)
    return OK


cdef int kv_number(Span value, double *v) noexcept nogil:
    """The number that a value is. A string in decimal counts as one, because Heart v1 stored numbers so."""
    cdef const uint8_t *p = <const uint8_t *>value.p
    cdef const uint8_t *end = p + value.n
    cdef KvToken t
    if value.n == 0:
        return ERR_MISSING
    if p[0] == KV_STRING:
        return decimal_number(Span(value.p + 1, value.n - 1), v)
    p += 1
    if value.p[0] != KV_PACKED or token_next(&p, end, &t) != OK or t.kind != TOKEN_NUMBER or p != end:
        return ERR_MISSING
    v[0] = t.number
    return OK
