# The opening handshake of WebSocket as text: keys, and the negotiation of compression (RFC 6455 section 4, RFC 7692
# section 7). A codec: no socket, no Lua, no allocation.

cdef const char *WS_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
cdef const char *BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

cdef enum:
    WS_KEY_LEN = 24             # 16 bytes in base64
    WS_ACCEPT_LEN = 28          # 20 bytes in base64
    WS_GUID_LEN = 36
    WS_BITS_MIN = 9             # zlib makes no raw stream with the smallest window, 8
    WS_BITS_MAX = 15
    WS_EXTENSION_MAX = 128      # bytes of the field value that accepts compression


# ---- Keys ------------------------------------------------------------------------------------------------

cdef inline uint32_t rotated(uint32_t v, int n) noexcept nogil:
    return v << n | v >> (32 - n)


cdef void sha1_block(uint32_t *h, const uint8_t *p) noexcept nogil:
    """One block of 64 bytes (FIPS 180-4 section 6.1.2)."""
    cdef uint32_t x[80]
    cdef uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4]
    cdef uint32_t f, k, next_
    cdef int i
    for i in range(16):
        x[i] = <uint32_t>p[4 * i] << 24 | <uint32_t>p[4 * i + 1] << 16 | <uint32_t>p[4 * i + 2] << 8 | p[4 * i + 3]
    for i in range(16, 80):
        x[i] = rotated(x[i - 3] ^ x[i - 8] ^ x[i - 14] ^ x[i - 16], 1)
    for i in range(80):
        if i < 20:
            f = (b & c) | (~b & d)
            k = 0x5a827999u
        elif i < 40:
            f = b ^ c ^ d
            k = 0x6ed9eba1u
        elif i < 60:
            f = (b & c) | (b & d) | (c & d)
            k = 0x8f1bbcdcu
        else:
            f = b ^ c ^ d
            k = 0xca62c1d6u
        next_ = rotated(a, 5) + f + e + k + x[i]
        e = d
        d = c
        c = rotated(b, 30)
        b = a
        a = next_
    h[0] += a
    h[1] += b
    h[2] += c
    h[3] += d
    h[4] += e


cdef bint ws_key_valid(Span key) noexcept nogil:
    """Base64 of 16 bytes (section 4.2.1)."""
    cdef size_t i
    if key.n != WS_KEY_LEN or key.p[22] != c'=' or key.p[23] != c'=':
        return False
    for i in range(22):
        if key.p[i] == 0 or strchr(BASE64, key.p[i]) == NULL:
            return False
    return True


cdef void ws_accept_put(Span key, char *out) noexcept nogil:
    """Write Sec-WebSocket-Accept for a valid key, WS_ACCEPT_LEN bytes: base64 of the SHA-1 of key and GUID. Both
    together are 60 bytes, so the digest is that of two fixed blocks; nothing secret depends on it."""
    cdef uint32_t h[5]
    cdef uint8_t block[128]
    cdef uint8_t digest[21]
    cdef int i
    memset(block, 0, sizeof(block))
    memcpy(block, key.p, WS_KEY_LEN)
    memcpy(block + WS_KEY_LEN, WS_GUID, WS_GUID_LEN)
    block[60] = 0x80
    block[126] = (60 * 8) >> 8
    block[127] = (60 * 8) & 255
    h[0] = 0x67452301u
    h[1] = 0xefcdab89u
    h[2] = 0x98badcfeu
    h[3] = 0x10325476u
    h[4] = 0xc3d2e1f0u
    sha1_block(h, block)
    sha1_block(h, block + 64)
    for i in range(20):
        digest[i] = <uint8_t>(h[i // 4] >> 8 * (3 - i % 4))
    digest[20] = 0
    for i in range(7):
        base64_put(digest + 3 * i, out + 4 * i)
    out[27] = c'='


cdef inline void base64_put(const uint8_t *p, char *out) noexcept nogil:
    """Three bytes as four characters."""
    cdef uint32_t v = <uint32_t>p[0] << 16 | <uint32_t>p[1] << 8 | p[2]
    cdef int i
    for i in range(4):
        out[i] = BASE64[v >> 6 * (3 - i) & 63]


# ---- Compression -----------------------------------------------------------------------------------------

cdef bint extension_parameter(Span *rest, Span *name, Span *value) noexcept nogil:
    """Take the next `; name[=value]` off an extension (section 9.1); value.p is NULL where there is none, quotes are
    taken off. False: there is none, and if `rest` is not empty then, that is malformed."""
    cdef Span s = span_trim(rest[0])
    cdef size_t i = 0
    rest[0] = s
    if s.n == 0 or s.p[0] != c';':
        return False
    s = span_trim(Span(s.p + 1, s.n - 1))
    while i < s.n and char_token(<uint8_t>s.p[i]):
        i += 1
    if i == 0:
        return False
    name[0] = Span(s.p, i)
    value[0] = Span(NULL, 0)
    s = span_trim(Span(s.p + i, s.n - i))
    if s.n and s.p[0] == c'=':
        s = span_trim(Span(s.p + 1, s.n - 1))
        i = 0
        if s.n and s.p[0] == c'"':
            i = parameter_quoted(s)
            value[0] = Span(s.p + 1, i - 2)
        else:
            while i < s.n and char_token(<uint8_t>s.p[i]):
                i += 1
            value[0] = Span(s.p, i)
        if i == 0:
            return False
        s = Span(s.p + i, s.n - i)
    rest[0] = s
    return True


cdef int window_bits(Span value) noexcept nogil:
    """8 to 15, without a leading zero; 0: something else."""
    if value.n == 1 and c'8' <= value.p[0] <= c'9':
        return value.p[0] - c'0'
    if value.n == 2 and value.p[0] == c'1' and c'0' <= value.p[1] <= c'5':
        return 10 + value.p[1] - c'0'
    return 0


cdef bint deflate_parameter(WsDeflateParams *d, Span name, Span value, uint8_t *seen) noexcept nogil:
    """One parameter of an offer or of an answer (RFC 7692 section 7.1); False: unknown, wrong or repeated."""
    cdef uint8_t bit
    if span_same(name, b"server_no_context_takeover", 26) and value.p == NULL:
        bit = 1
        d.server_fresh = 1
    elif span_same(name, b"client_no_context_takeover", 26) and value.p == NULL:
        bit = 2
        d.client_fresh = 1
    elif span_same(name, b"server_max_window_bits", 22):
        bit = 4
        d.server_bits = <uint8_t>window_bits(value) if value.p != NULL else 0
        if d.server_bits == 0:
            return False
    elif span_same(name, b"client_max_window_bits", 22):
        bit = 8
        d.client_limits = 1
        if value.p != NULL:
            d.client_limits = 2
            d.client_bits = <uint8_t>window_bits(value)
            if d.client_bits == 0:
                return False
    else:
        return False
    if seen[0] & bit:
        return False
    seen[0] |= bit
    return True


cdef bint deflate_read(Span extension, WsDeflateParams *d) noexcept nogil:
    """Whether one extension, as it stands between two commas, is permessage-deflate with parameters that are in
    order."""
    cdef Span name, value
    cdef uint8_t seen = 0
    cdef size_t n = 0
    memset(d, 0, sizeof(d[0]))
    d.server_bits = d.client_bits = WS_BITS_MAX
    while n < extension.n and extension.p[n] != c';':
        n += 1
    if not span_same(span_trim(Span(extension.p, n)), b"permessage-deflate", 18):
        return False
    extension = Span(extension.p + n, extension.n - n)
    while extension_parameter(&extension, &name, &value):
        if not deflate_parameter(d, name, value, &seen):
            return False
    return extension.n == 0


cdef bint deflate_choose(Span offers, bint keep_context, WsDeflateParams *d) noexcept nogil:
    """Take the first offer of a Sec-WebSocket-Extensions field that can be kept. Without `keep_context` both sides
    begin every message anew, which costs no memory between two of them."""
    cdef Span offer
    while offers.n:
        offer = span_until(&offers, c',')
        if not deflate_read(offer, d) or d.server_bits < WS_BITS_MIN:
            continue
        if d.client_bits < WS_BITS_MIN:     # a larger window reads it as well
            d.client_bits = WS_BITS_MIN
        if not keep_context:
            d.server_fresh = d.client_fresh = 1
        return True
    return False


cdef bint deflate_accepted(Span answer, bint fresh, WsDeflateParams *d) noexcept nogil:
    """Whether what a server has answered can be kept by a client that has offered client_max_window_bits, and `fresh`:
    that both sides begin every message anew."""
    return deflate_read(answer, d) and d.client_limits != 1 and (d.server_fresh or not fresh)


cdef size_t deflate_put(const WsDeflateParams *d, char *out) noexcept nogil:
    """Write the value that accepts the offer, at most WS_EXTENSION_MAX bytes; returns their number."""
    cdef char *p = put_bytes(out, b"permessage-deflate", 18)
    if d.server_fresh:
        p = put_bytes(p, b"; server_no_context_takeover", 28)
    if d.client_fresh:
        p = put_bytes(p, b"; client_no_context_takeover", 28)
    if d.server_bits != WS_BITS_MAX:
        p = put_bytes(p, b"; server_max_window_bits=", 25)
        p += put_decimal(p, d.server_bits)
    return p - out
