# FastCGI records (FastCGI 1.0, sections 3 to 5): headers in and out, name-value pairs, the small bodies of records.
# A codec: no socket, no Lua, no allocation. The content of streams stays where it is.
# Invariants: input may end anywhere; a header is taken whole or not at all; no byte at or after p + n is read.

cdef enum:
    FCGI_VERSION = 1
    FCGI_HEAD = 8               # bytes of a record's header
    FCGI_ALIGN = 8              # records that are sent have a multiple of it
    FCGI_BEGIN_SIZE = 8         # content of FCGI_BEGIN_REQUEST
    FCGI_END_SIZE = 16          # a whole FCGI_END_REQUEST, and FCGI_UNKNOWN_TYPE
    FCGI_CONTENT_MAX = 65528    # content of a record that is sent: the most that needs no padding
    FCGI_VALUES_MAX = 1024      # content of FCGI_GET_VALUES
    FCGI_VALUES_ROOM = 128      # bytes of a whole answer to it
    FCGI_RESPONDER = 1
    FCGI_KEEP_CONN = 1


# ---- Records in ------------------------------------------------------------------------------------------

cdef int fcgi_record_parse(const char *p, size_t n, FcgiRecord *x) noexcept nogil:
    """The header of the record at `p`, as a web server may send it: OK, PARTIAL, or ERR_SYSTEM with `why` set."""
    cdef const uint8_t *q = <const uint8_t *>p
    if n and q[0] != FCGI_VERSION:
        return fcgi_refuse_record(x, b"not FastCGI 1")
    if n < FCGI_HEAD:
        return PARTIAL
    x.type = q[1]
    x.id = <uint16_t>(q[2] << 8 | q[3])
    x.length = <uint16_t>(q[4] << 8 | q[5])
    x.padding = q[6]
    return fcgi_judge(x)


cdef int fcgi_judge(FcgiRecord *x) noexcept nogil:
    """Whether a record of this type may be about this, and as long as it is."""
    if x.type == 0:
        return fcgi_refuse_record(x, b"unknown record type")
    if x.type > FCGI_UNKNOWN:
        return OK if x.id == 0 else fcgi_refuse_record(x, b"unknown record type")
    if x.type == FCGI_END or x.type == FCGI_STDOUT or x.type == FCGI_STDERR or x.type > FCGI_GET_VALUES:
        return fcgi_refuse_record(x, b"a record that only applications send")
    if x.type == FCGI_GET_VALUES:
        if x.id != 0:
            return fcgi_refuse_record(x, b"FCGI_GET_VALUES for a request")
        return OK if x.length <= FCGI_VALUES_MAX else fcgi_refuse_record(x, b"FCGI_GET_VALUES is too long")
    if x.id == 0:
        return fcgi_refuse_record(x, b"a record of a request without its number")
    if x.type == FCGI_BEGIN and x.length != FCGI_BEGIN_SIZE:
        return fcgi_refuse_record(x, b"FCGI_BEGIN_REQUEST of a wrong length")
    if x.type == FCGI_ABORT and x.length != 0:
        return fcgi_refuse_record(x, b"FCGI_ABORT_REQUEST with content")
    return OK


cdef inline int fcgi_refuse_record(FcgiRecord *x, const char *why) noexcept nogil:
    x.why = why
    return ERR_SYSTEM


cdef inline void fcgi_begin_parse(const char *p, uint16_t *role, uint8_t *flags) noexcept nogil:
    """The FCGI_BEGIN_SIZE bytes of content of FCGI_BEGIN_REQUEST."""
    cdef const uint8_t *q = <const uint8_t *>p
    role[0] = <uint16_t>(q[0] << 8 | q[1])
    flags[0] = q[2]


# ---- Name-value pairs (section 3.4) ----------------------------------------------------------------------

cdef inline bint fcgi_length_take(Span *rest, uint32_t *length) noexcept nogil:
    """A length of one byte, or of four if the highest bit is set. False: it is cut off."""
    cdef const uint8_t *q = <const uint8_t *>rest.p
    cdef size_t size
    if rest.n == 0:
        return False
    size = 4 if q[0] & 0x80 else 1
    if rest.n < size:
        return False
    if size == 1:
        length[0] = q[0]
    else:
        length[0] = <uint32_t>(q[0] & 0x7f) << 24 | <uint32_t>q[1] << 16 | <uint32_t>q[2] << 8 | q[3]
    rest.p += size
    rest.n -= size
    return True


cdef int fcgi_pair_next(Span *rest, Span *name, Span *value) noexcept nogil:
    """Take the next pair off `rest`: OK, ERR_MISSING if there is none, ERR_SYSTEM if it is cut off."""
    cdef uint32_t name_len = 0
    cdef uint32_t value_len = 0
    if rest.n == 0:
        return ERR_MISSING
    if not fcgi_length_take(rest, &name_len) or not fcgi_length_take(rest, &value_len):
        return ERR_SYSTEM
    if <uint64_t>name_len + value_len > rest.n:
        return ERR_SYSTEM
    name[0] = Span(rest.p, name_len)
    value[0] = Span(rest.p + name_len, value_len)
    rest.p += name_len + value_len
    rest.n -= name_len + value_len
    return OK


cdef int fcgi_pair_find(Span pairs, const char *key, size_t n, Span *value) noexcept nogil:
    """The value of the last pair of that name: OK or ERR_MISSING."""
    cdef int rc = ERR_MISSING
    cdef Span name, one
    while fcgi_pair_next(&pairs, &name, &one) == OK:
        if span_equal(name, key, n):
            value[0] = one
            rc = OK
    return rc


cdef inline char *fcgi_put_length(char *p, size_t n) noexcept nogil:
    if n < 0x80:
        p[0] = <char>n
        return p + 1
    p[0] = <char>(n >> 24 | 0x80)
    p[1] = <char>(n >> 16)
    p[2] = <char>(n >> 8)
    p[3] = <char>n
    return p + 4


cdef char *fcgi_put_pair(char *p, Span name, Span value) noexcept nogil:
    """At most 8 bytes more than name and value have."""
    p = fcgi_put_length(p, name.n)
    p = fcgi_put_length(p, value.n)
    p = put_bytes(p, name.p, name.n)
    return put_bytes(p, value.p, value.n)


# ---- Records out -----------------------------------------------------------------------------------------

cdef inline size_t fcgi_padding(size_t n) noexcept nogil:
    """Bytes that go behind `n` bytes of content."""
    return (FCGI_ALIGN - n % FCGI_ALIGN) % FCGI_ALIGN


cdef inline char *fcgi_put_head(char *p, int type, uint16_t id, size_t n) noexcept nogil:
    """The header of a record with `n` bytes of content, at most FCGI_CONTENT_MAX; fcgi_padding(n) bytes follow them."""
    p[0] = FCGI_VERSION
    p[1] = <char>type
    p[2] = <char>(id >> 8)
    p[3] = <char>id
    p[4] = <char>(n >> 8)
    p[5] = <char>n
    p[6] = <char>fcgi_padding(n)
    p[7] = 0
    return p + FCGI_HEAD


cdef inline char *fcgi_put_end(char *p, uint16_t id, uint32_t application, int protocol) noexcept nogil:
    """FCGI_END_REQUEST with the status of the application, 0 if all is well, and a FcgiStatus: FCGI_END_SIZE bytes."""
    p = fcgi_put_head(p, FCGI_END, id, 8)
    memset(p, 0, 8)
    p[0] = <char>(application >> 24)
    p[1] = <char>(application >> 16)
    p[2] = <char>(application >> 8)
    p[3] = <char>application
    p[4] = <char>protocol
    return p + 8


cdef char *fcgi_put_unknown(char *p, uint8_t type) noexcept nogil:
    """The answer to a record about the connection of an unknown type: FCGI_END_SIZE bytes."""
    p = fcgi_put_head(p, FCGI_UNKNOWN, 0, 8)
    memset(p, 0, 8)
    p[0] = <char>type
    return p + 8


cdef int fcgi_put_values(char *out, Span asked, uint64_t places, size_t *n) noexcept nogil:
    """The answer to FCGI_GET_VALUES: what is known of what was asked, once each. `places`: connections and requests
    that can be served. OK, or ERR_SYSTEM if the pairs are cut off; at most FCGI_VALUES_ROOM bytes."""
    cdef char number[24]
    cdef char *p = out + FCGI_HEAD
    cdef Span name, ignored
    cdef Span value = Span(&number[0], put_decimal(number, places))
    cdef uint32_t told = 0
    cdef uint32_t bit
    cdef int rc = fcgi_pair_next(&asked, &name, &ignored)
    while rc == OK:
        bit = fcgi_value_bit(name)
        if bit & ~told:
            told |= bit
            p = fcgi_put_pair(p, name, value if bit != 4 else Span(b"1", 1))
        rc = fcgi_pair_next(&asked, &name, &ignored)
    n[0] = <size_t>(p - out) - FCGI_HEAD
    fcgi_put_head(out, FCGI_VALUES, 0, n[0])
    memset(p, 0, fcgi_padding(n[0]))
    n[0] += FCGI_HEAD + fcgi_padding(n[0])
    return OK if rc == ERR_MISSING else ERR_SYSTEM


cdef uint32_t fcgi_value_bit(Span name) noexcept nogil:
    if span_equal(name, b"FCGI_MAX_CONNS", 14):
        return 1
    if span_equal(name, b"FCGI_MAX_REQS", 13):
        return 2
    return 4 if span_equal(name, b"FCGI_MPXS_CONNS", 15) else 0
