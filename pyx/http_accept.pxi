# Which content codings a client takes, and which it likes best: Accept-Encoding (RFC 9110 sections 12.4.2 and 12.5.3).
# A codec: no socket, no Lua, no allocation.


cdef int weight_read(Span s) noexcept nogil:
    """`q=0.5` in thousandths; -1: it is malformed."""
    cdef int weight, unit = 100
    cdef size_t i
    if s.n < 3 or s.n > 7 or s.p[0] | 32 != c'q' or s.p[1] != c'=' or not c'0' <= s.p[2] <= c'1':
        return -1
    if s.n > 3 and s.p[3] != c'.':
        return -1
    weight = 1000 * (s.p[2] - c'0')
    for i in range(4, s.n):
        if not c'0' <= s.p[i] <= c'9':
            return -1
        weight += unit * (s.p[i] - c'0')
        unit //= 10
    return weight if weight <= 1000 else -1


cdef int coding_find(Span name) noexcept nogil:
    """The Coding of a name; CODINGS: one that no file here has, or "*"."""
    if span_same(name, b"gzip", 4) or span_same(name, b"x-gzip", 6):    # section 8.4.1.3
        return CODING_GZIP
    if span_same(name, b"br", 2):
        return CODING_BROTLI
    if span_same(name, b"zstd", 4):
        return CODING_ZSTD
    return CODING_NONE if span_same(name, b"identity", 8) else CODINGS


cdef void accept_begin(Weights *w) noexcept nogil:
    cdef int i
    for i in range(CODINGS + 1):
        w.of[i] = WEIGHT_NONE


cdef void accept_read(Span value, Weights *w) noexcept nogil:
    """Take in the value of one field line. What is malformed, or no coding of a file here, is passed over."""
    cdef Span part, name
    cdef int coding, weight
    while value.n:
        part = span_until(&value, c',')
        name = span_trim(span_until(&part, c';'))
        part = span_trim(part)
        weight = weight_read(part) if part.n else 1000
        coding = coding_find(name)
        if weight >= 0 and (coding != CODINGS or span_equal(name, b"*", 1)):
            w.of[coding] = <int16_t>weight


cdef void accept_order(const Weights *w, Codings *out) noexcept nogil:
    """The codings that a file may be sent in, the best first: what the client weighs more, and of equals the one that
    usually is smaller. A coding that it likes less than the plain file is none of them."""
    cdef int coding, at
    cdef int16_t weight
    cdef int16_t weights[CODINGS]
    out.n = 0
    for coding in range(CODING_NONE + 1, CODINGS):
        weight = w.of[coding] if w.of[coding] != WEIGHT_NONE else w.of[CODINGS]
        if weight <= 0 or weight < w.of[CODING_NONE]:
            continue
        at = out.n
        while at and weights[at - 1] < weight:
            weights[at] = weights[at - 1]
            out.order[at] = out.order[at - 1]
            at -= 1
        weights[at] = weight
        out.order[at] = <uint8_t>coding
        out.n += 1
