# Chunked bodies: bytes in, spans of decoded data out (RFC 9112 section 7.1). Data is never copied; chunk
# extensions and trailer fields are checked and dropped.
#
# Invariants: input may be split anywhere; one byte is looked at once. As in http_parse, what parsers could
# read in two ways is refused: bare CR or LF, spaces around a size, folded trailers, sizes beyond int64.

cdef enum:
    CHUNK_DIGITS_MAX = 16
    CHUNK_EXTENSION_MAX = 4096      # see chunk_paid
    CHUNK_TRAILER_MAX = 8192        # all trailer fields of a body together

# What comes next. SIZE is 0, so that a zeroed ChunkState starts there.
cdef enum ChunkPlace:
    CHUNK_SIZE
    CHUNK_EXTENSION
    CHUNK_SIZE_LF
    CHUNK_BYTES
    CHUNK_BYTES_CR
    CHUNK_BYTES_LF
    CHUNK_TRAILER           # the first byte of a trailer line or of the last, empty line
    CHUNK_TRAILER_NAME
    CHUNK_TRAILER_VALUE
    CHUNK_TRAILER_LF
    CHUNK_END_LF
    CHUNK_END


cdef int http_chunk(ChunkState *s, const char *p, size_t n, size_t *used, Span *data) noexcept nogil:
    """Decode from p[0:n] and set `used` to the number of bytes consumed.

    Returns CHUNK_DATA with `data` a part of the input, to be called again with the rest; CHUNK_MORE when all
    is consumed; CHUNK_DONE after the last byte of the body; 400 when it is malformed, after which the
    connection has no known place to go on from.
    """
    cdef size_t i = 0
    while i < n and s.state != CHUNK_END:
        if s.state == CHUNK_BYTES:
            data.p = p + i
            data.n = n - i if n - i < s.left else <size_t>s.left
            s.left -= data.n
            if s.left == 0:
                s.state = CHUNK_BYTES_CR
            used[0] = i + data.n
            return CHUNK_DATA
        if unlikely(not chunk_step(s, p[i])):
            used[0] = i
            return 400
        i += 1
    used[0] = i
    return CHUNK_DONE if s.state == CHUNK_END else CHUNK_MORE


cdef bint chunk_step(ChunkState *s, char c) noexcept nogil:
    """Take one byte of framing; False if it must not stand here."""
    if s.state == CHUNK_SIZE:
        return chunk_size(s, c)
    elif s.state == CHUNK_EXTENSION:
        if c == c'\r':
            s.state = CHUNK_SIZE_LF
            return True
        return char_is(c, CHAR_TEXT) and chunk_extra(s, CHUNK_EXTENSION_MAX)
    elif s.state == CHUNK_SIZE_LF:
        chunk_paid(s)
        return chunk_expect(s, c, c'\n', CHUNK_BYTES if s.left else CHUNK_TRAILER)
    elif s.state == CHUNK_BYTES_CR:
        return chunk_expect(s, c, c'\r', CHUNK_BYTES_LF)
    elif s.state == CHUNK_BYTES_LF:
        s.digits = 0
        return chunk_expect(s, c, c'\n', CHUNK_SIZE)
    elif s.state == CHUNK_END_LF:
        return chunk_expect(s, c, c'\n', CHUNK_END)
    return chunk_trailer(s, c)


cdef inline bint chunk_expect(ChunkState *s, char c, char wanted, uint8_t next) noexcept nogil:
    s.state = next
    return c == wanted


cdef inline bint chunk_extra(ChunkState *s, uint32_t most) noexcept nogil:
    s.extra += 1
    return s.extra <= most


cdef inline void chunk_paid(ChunkState *s) noexcept nogil:
    """Each byte of data pays for one byte of extensions. So those of honest senders (a signature for some KiB)
    pass in a body of any length, but nobody can send the limit with every byte. Trailers start at 0."""
    if s.left == 0 or s.left >= s.extra:
        s.extra = 0
    else:
        s.extra -= <uint32_t>s.left


cdef inline bint chunk_size(ChunkState *s, char c) noexcept nogil:
    cdef int digit = hex_digit(<uint8_t>c)
    if digit >= 0:
        s.digits += 1
        s.left = s.left << 4 | <uint64_t>digit
        return s.digits <= CHUNK_DIGITS_MAX and s.left <= <uint64_t>INT64_MAX
    if s.digits == 0:
        return False
    if c == c';':
        s.state = CHUNK_EXTENSION
        return chunk_extra(s, CHUNK_EXTENSION_MAX)
    return chunk_expect(s, c, c'\r', CHUNK_SIZE_LF)


cdef bint chunk_trailer(ChunkState *s, char c) noexcept nogil:
    """Check that trailers are field lines (RFC 9112 section 5); an empty line ends them."""
    if not chunk_extra(s, CHUNK_TRAILER_MAX):
        return False
    if s.state == CHUNK_TRAILER:
        if c == c'\r':
            s.state = CHUNK_END_LF
            return True
        s.state = CHUNK_TRAILER_NAME
        return char_is(c, CHAR_TOKEN)
    elif s.state == CHUNK_TRAILER_NAME:
        if c == c':':
            s.state = CHUNK_TRAILER_VALUE
            return True
        return char_is(c, CHAR_TOKEN)
    elif s.state == CHUNK_TRAILER_VALUE:
        if c == c'\r':
            s.state = CHUNK_TRAILER_LF
            return True
        return char_is(c, CHAR_TEXT)
    return chunk_expect(s, c, c'\n', CHUNK_TRAILER)
