# WebSocket frames (RFC 6455 section 5, RFC 7692 section 6): headers in and out, masking, UTF-8, close payloads.
# A codec: no socket, no Lua, no allocation. Payloads stay where they are.
# Invariant: input may end anywhere; a header is taken whole or not at all.

cdef enum:
    WS_HEAD_MAX = 14            # bytes of a frame's header
    WS_CONTROL_MAX = 125        # bytes of a control frame's payload


# ---- Headers ---------------------------------------------------------------------------------------------

cdef int ws_frame_parse(const char *p, size_t n, WsFrame *f) noexcept nogil:
    """The header of the frame at `p`: OK, PARTIAL, or 1002 with `why` set. Whether bit RSV1 and a mask may be there is
    for the caller to say: both are only reported."""
    cdef const uint8_t *q = <const uint8_t *>p
    cdef size_t size = 2
    cdef int i
    if n < 2:
        return PARTIAL
    f.fin = q[0] >> 7
    f.compressed = q[0] >> 6 & 1
    f.opcode = q[0] & 15
    f.masked = q[1] >> 7
    f.length = q[1] & 127
    if q[0] & 0x30:
        return ws_frame_refuse(f, b"reserved bits are set")
    if (f.opcode & 7) > WS_BINARY:
        return ws_frame_refuse(f, b"unknown opcode")
    if f.opcode & WS_CONTROL:
        if not f.fin:
            return ws_frame_refuse(f, b"a control frame is fragmented")
        if f.length > WS_CONTROL_MAX:
            return ws_frame_refuse(f, b"a control frame is longer than 125 bytes")
        if f.compressed:
            return ws_frame_refuse(f, b"a control frame is compressed")
    elif f.opcode == WS_CONTINUATION and f.compressed:
        return ws_frame_refuse(f, b"a continuation has bit RSV1")
    if f.length > 125:
        size = 4 if f.length == 126 else 10
        if n < size:
            return PARTIAL
        if ws_frame_length(q + 2, size, f) != OK:
            return ws_frame_refuse(f, b"a length is not in its shortest form, or too large")
    if f.masked:
        if n < size + 4:
            return PARTIAL
        for i in range(4):
            f.mask[i] = q[size + i]
        size += 4
    f.size = <uint8_t>size
    return OK


cdef inline int ws_frame_length(const uint8_t *q, size_t size, WsFrame *f) noexcept nogil:
    """An extended length: 16 or 64 bits, the highest of which is 0; in the shortest of the three forms."""
    cdef size_t i
    f.length = 0
    for i in range(size - 2):
        f.length = f.length << 8 | q[i]
    if size == 4:
        return OK if f.length > 125 else ERR_LIMIT
    return OK if f.length > 0xffff and not f.length >> 63 else ERR_LIMIT


cdef inline int ws_frame_refuse(WsFrame *f, const char *why) noexcept nogil:
    f.why = why
    return WS_PROTOCOL_ERROR


cdef size_t ws_frame_put(char *p, int opcode, bint compressed, uint64_t length, const uint8_t *mask) noexcept nogil:
    """Write the header of an unfragmented frame, at most WS_HEAD_MAX bytes; returns its size. `mask`: 4 bytes, or NULL
    for none."""
    cdef uint8_t *q = <uint8_t *>p
    cdef uint8_t masked = 0x80 if mask != NULL else 0
    cdef size_t size = 2
    cdef int i
    q[0] = <uint8_t>(0x80 | (0x40 if compressed else 0) | opcode)
    if length <= 125:
        q[1] = masked | <uint8_t>length
    elif length <= 0xffff:
        q[1] = masked | 126
        size = 4
    else:
        q[1] = masked | 127
        size = 10
    for i in range(2, <int>size):
        q[i] = <uint8_t>(length >> 8 * (size - 1 - i))
    if mask != NULL:
        memcpy(q + size, mask, 4)
        size += 4
    return size


# ---- Payloads --------------------------------------------------------------------------------------------

cdef void ws_mask(char *p, size_t n, const uint8_t *mask, uint64_t at) noexcept nogil:
    """Apply the mask to `n` bytes of which the first is number `at` of its payload; the same undoes it. Eight bytes at
    a time, which the compiler makes into vector instructions."""
    cdef uint8_t turned[8]
    cdef uint64_t word, key
    cdef size_t i
    for i in range(8):
        turned[i] = mask[(at + i) & 3]
    memcpy(&key, turned, 8)
    for i in range(n // 8):
        memcpy(&word, p + 8 * i, 8)
        word ^= key
        memcpy(p + 8 * i, &word, 8)
    for i in range(n & ~<size_t>7, n):
        p[i] ^= <char>turned[i & 7]


cdef bint utf8_feed(Utf8 *u, const char *p, size_t n) noexcept nogil:
    """Check the next bytes of a text; False at the first that can not be part of one (RFC 3629). The text may end
    where `need` is 0."""
    cdef const uint8_t *q = <const uint8_t *>p
    cdef const uint8_t *end = q + n
    cdef uint64_t word
    while q < end:
        if u.need:
            if not u.low <= q[0] <= u.high:
                return False
            u.need -= 1
            u.low = 0x80
            u.high = 0xbf
            q += 1
            continue
        while end - q >= 8:
            memcpy(&word, q, 8)
            if word & 0x8080808080808080u:
                break
            q += 8
        if q == end:
            break
        if q[0] >= 0x80 and not utf8_lead(u, q[0]):
            return False
        q += 1
    return True


cdef bint utf8_lead(Utf8 *u, uint8_t c) noexcept nogil:
    """The first byte of a sequence: how many follow, and what the next one may be, so that overlong forms, surrogates
    and what lies beyond U+10FFFF are seen at once."""
    u.low = 0x80
    u.high = 0xbf
    if 0xc2 <= c <= 0xdf:
        u.need = 1
        return True
    if 0xe0 <= c <= 0xef:
        u.need = 2
        if c == 0xe0:
            u.low = 0xa0
        elif c == 0xed:
            u.high = 0x9f
        return True
    if 0xf0 <= c <= 0xf4:
        u.need = 3
        if c == 0xf0:
            u.low = 0x90
        elif c == 0xf4:
            u.high = 0x8f
        return True
    return False


# ---- Closing ---------------------------------------------------------------------------------------------

cdef bint ws_code_valid(uint32_t code) noexcept nogil:
    """Whether a close frame may carry this code (section 7.4, and the codes registered since)."""
    if 3000 <= code <= 4999:
        return True
    return 1000 <= code <= 1014 and code != 1004 and code != 1005 and code != 1006


cdef int ws_close_parse(Span payload, uint16_t *code, Span *reason) noexcept nogil:
    """The payload of a close frame: OK with code (1005 if there is none) and reason, else the code to answer with."""
    cdef const uint8_t *q = <const uint8_t *>payload.p
    cdef Utf8 u
    code[0] = WS_NO_CODE
    reason[0] = Span(payload.p, 0)
    if payload.n == 0:
        return OK
    if payload.n == 1:
        return WS_PROTOCOL_ERROR
    code[0] = <uint16_t>(q[0] << 8 | q[1])
    reason[0] = Span(payload.p + 2, payload.n - 2)
    if not ws_code_valid(code[0]):
        return WS_PROTOCOL_ERROR
    memset(&u, 0, sizeof(u))
    if not utf8_feed(&u, reason.p, reason.n) or u.need:
        return WS_BAD_TEXT
    return OK
