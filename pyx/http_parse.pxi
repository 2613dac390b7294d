# The head of a request: bytes in, spans out (RFC 9110, RFC 9112). Not for bodies (http_chunk) nor replies.
#
# Invariants:
#   - One pass from left to right, and what is decided at a byte depends on the bytes before it only. So a
#     head gives the same answer however it arrives: a prefix is PARTIAL or has the refusal of the whole.
#   - Nothing may be read two ways. Where lenient parsers disagree (bare CR or LF, folded lines, space before
#     a colon, repeated or contradictory framing fields) the answer is a refusal, never a guess.
#   - No byte at or after p + n is read.

from libc.stdint cimport INT64_MAX, UINT16_MAX
from libc.string cimport memchr

cdef extern from *:
    """
    #if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define word_order(x) __builtin_bswap64(x)
    #else
    #define word_order(x) (x)
    #endif
    #define word_first_byte(x) (__builtin_ctzll(x) >> 3)
    """
    uint64_t word_order(uint64_t) nogil         # as if loaded on a little-endian machine
    size_t word_first_byte(uint64_t) nogil      # position of the lowest marked byte

cdef enum:
    EMPTY_LINES_MAX = 4         # skipped before a request line, where RFC 9112 section 2.2 asks for one
    VERSION_SIZE = 8            # HTTP/1.1

# What a byte may be part of.
cdef enum CharClass:
    CHAR_TOKEN = 1              # RFC 9110 section 5.6.2
    CHAR_PATH = 2               # of a request target, up to its query
    CHAR_TARGET = 4             # of a request target: visible ASCII but "#"
    CHAR_PERCENT = 8
    CHAR_NAME = 16              # of a registered name in a host: unreserved and sub-delims, RFC 3986
    CHAR_ADDRESS = 32           # of an IPv6 address
    CHAR_HEX = 64
    CHAR_TEXT = 128             # of a field value: HTAB, space, visible ASCII and obs-text

cdef uint8_t[256] CHARS


cdef void chars_mark(const char *text, uint8_t bits) noexcept nogil:
    while text[0]:
        CHARS[<uint8_t>text[0]] |= bits
        text += 1


cdef void chars_init() noexcept nogil:
    cdef int c
    for c in range(256):
        CHARS[c] = CHAR_TEXT if (c >= c' ' and c != 0x7f) or c == c'\t' else 0
        if c > c' ' and c < 0x7f and c != c'#':
            CHARS[c] |= CHAR_TARGET if c == c'?' else CHAR_TARGET | CHAR_PATH
    chars_mark(b"0123456789", CHAR_TOKEN | CHAR_NAME | CHAR_ADDRESS | CHAR_HEX)
    chars_mark(b"abcdefABCDEF", CHAR_ADDRESS | CHAR_HEX)
    chars_mark(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", CHAR_TOKEN | CHAR_NAME)
    chars_mark(b"!#$%&'*+-.^_`|~", CHAR_TOKEN)
    chars_mark(b"-._~!$&'()*+,;=", CHAR_NAME)
    chars_mark(b":.", CHAR_ADDRESS)
    chars_mark(b"%", CHAR_PERCENT)


chars_init()


cdef inline bint char_is(char c, uint8_t bits) noexcept nogil:
    return CHARS[<uint8_t>c] & bits


cdef inline bint char_digit(char c) noexcept nogil:
    return c >= c'0' and c <= c'9'


cdef inline bint char_blank(char c) noexcept nogil:
    return c == c' ' or c == c'\t'


# ---- Scanning --------------------------------------------------------------------------------------------

cdef inline const char *token_end(const char *q, const char *end) noexcept nogil:
    while q < end and char_is(q[0], CHAR_TOKEN):
        q += 1
    return q


cdef inline uint64_t word_controls(const char *q) noexcept nogil:
    """Mark the bytes of q[0:8] below space or equal to DEL. The lowest mark is exact; those above it may not be."""
    cdef uint64_t x, deleted
    memcpy(&x, q, 8)
    x = word_order(x)
    deleted = x ^ 0x7f7f7f7f7f7f7f7fULL
    return (((x - 0x2020202020202020ULL) & ~x) | ((deleted - 0x0101010101010101ULL) & ~deleted)) & 0x8080808080808080ULL


cdef inline const char *text_end(const char *q, const char *end) noexcept nogil:
    """The first byte that cannot be part of a field value, or `end`."""
    cdef uint64_t marks
    while end - q >= 8:
        marks = word_controls(q)
        if marks == 0:
            q += 8
            continue
        q += word_first_byte(marks)
        if q[0] != c'\t':
            return q
        q += 1
    while q < end and char_is(q[0], CHAR_TEXT):
        q += 1
    return q


cdef inline const char *blank_end(const char *q, const char *end) noexcept nogil:
    while q < end and char_blank(q[0]):
        q += 1
    return q


cdef inline const char *blank_start(const char *start, const char *q) noexcept nogil:
    """Where the white space that ends at `q` begins, at the earliest at `start`."""
    while q > start and char_blank((q - 1)[0]):
        q -= 1
    return q


# ---- The parser ------------------------------------------------------------------------------------------

cdef inline int head_refuse(HttpHead *h, int status, const char *why) noexcept nogil:
    h.why = why
    return status


cdef int http_parse(const char *p, size_t n, HttpHead *h, const HttpLimits *lim) noexcept nogil:
    """Parse the head of the request that starts at `p`; `h.headers` has room for `lim.headers` field lines.

    Returns OK with `h` filled; PARTIAL when more is needed (call again from the start, with more); or the
    status of a refusal, with `h.why`: 400 malformed, 414 target too long, 417 unknown expectation, 431 head
    or its number of fields too large, 501 unknown transfer coding, 505 not HTTP/1. After a refusal the
    method and the target may be read as far as their lengths are not 0. RFC 9112 sections 2 to 6.
    """
    cdef const char *q = p
    cdef const char *end = p + (n if n <= lim.head else lim.head)
    cdef int result
    h.base = p
    h.method_len = h.target = h.target_len = h.path = h.path_len = h.query = h.query_len = h.host = h.host_len = 0
    h.content_length = -1
    h.nheaders = 0
    h.seen = 0
    h.flags = 0
    result = head_line(h, &q, end, lim)
    if result == OK:
        result = head_fields(h, &q, end, lim)
    if likely(result == OK):
        h.size = <uint32_t>(q - p)
        return head_settle(h)
    if result == PARTIAL and n > lim.head:
        return head_refuse(h, 431, b"head too large")
    return result


cdef int head_settle(HttpHead *h) noexcept nogil:
    """Judge what only the complete head can tell: Host, framing, persistence."""
    if h.minor == 0:
        if h.seen & (1 << HEADER_TRANSFER_ENCODING):
            return head_refuse(h, 400, b"Transfer-Encoding in HTTP/1.0")
        h.flags &= ~HEAD_UPGRADE                # RFC 9110 section 7.8
    elif not h.seen & (1 << HEADER_HOST):
        return head_refuse(h, 400, b"no Host")
    if unlikely(h.seen & (1 << HEADER_TRANSFER_ENCODING)):
        if h.seen & (1 << HEADER_CONTENT_LENGTH):
            return head_refuse(h, 400, b"both Content-Length and Transfer-Encoding")
        if not h.flags & HEAD_CHUNKED:
            return head_refuse(h, 501, b"unknown transfer coding")
    if h.flags & HEAD_CLOSE:
        h.flags &= ~HEAD_KEEP_ALIVE
    if not h.seen & (1 << HEADER_UPGRADE):
        h.flags &= ~HEAD_UPGRADE
    return OK


# ---- Request line (RFC 9112 section 3) -------------------------------------------------------------------

cdef inline int head_line(HttpHead *h, const char **at, const char *end, const HttpLimits *lim) noexcept nogil:
    cdef int result = head_skip(h, at, end)
    if unlikely(result != OK):
        return result
    h.base = at[0]
    result = head_method(h, at, end)
    if likely(result == OK):
        result = head_target(h, at, end, lim)
    if likely(result == OK):
        result = head_version(h, at, end)
    if unlikely(result != OK) or likely(h.base[h.target] == c'/' and h.method != METHOD_CONNECT):
        return result
    return target_settle(h)


cdef inline int head_skip(HttpHead *h, const char **at, const char *end) noexcept nogil:
    """Skip the empty lines that some clients send after a body (section 2.2)."""
    cdef const char *q = at[0]
    cdef int i
    for i in range(EMPTY_LINES_MAX):
        if q == end:
            return PARTIAL
        if likely(q[0] != c'\r'):
            break
        if q + 1 == end:
            return PARTIAL
        if q[1] != c'\n':
            return head_refuse(h, 400, b"bare CR")
        q += 2
    at[0] = q
    return OK


cdef inline int head_method(HttpHead *h, const char **at, const char *end) noexcept nogil:
    cdef const char *q
    if likely(end - h.base >= 4 and memcmp(h.base, b"GET ", 4) == 0):
        h.method = METHOD_GET
        h.method_len = 3
        at[0] = h.base + 4
        return OK
    q = token_end(h.base, end)
    if q == end:
        return PARTIAL
    if q[0] != c' ' or q == h.base:
        return head_refuse(h, 400, b"malformed method")
    h.method_len = <uint32_t>(q - h.base)
    h.method = method_find(h.base, h.method_len)
    at[0] = q + 1
    return OK


cdef uint8_t method_find(const char *p, size_t n) noexcept nogil:
    """Methods are case-sensitive (RFC 9110 section 9.1)."""
    if n == 3:
        if memcmp(p, b"GET", 3) == 0:
            return METHOD_GET
        return METHOD_PUT if memcmp(p, b"PUT", 3) == 0 else METHOD_OTHER
    if n == 4:
        if memcmp(p, b"POST", 4) == 0:
            return METHOD_POST
        return METHOD_HEAD if memcmp(p, b"HEAD", 4) == 0 else METHOD_OTHER
    if n == 5:
        if memcmp(p, b"PATCH", 5) == 0:
            return METHOD_PATCH
        return METHOD_TRACE if memcmp(p, b"TRACE", 5) == 0 else METHOD_OTHER
    if n == 6:
        return METHOD_DELETE if memcmp(p, b"DELETE", 6) == 0 else METHOD_OTHER
    if n == 7:
        if memcmp(p, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        return METHOD_CONNECT if memcmp(p, b"CONNECT", 7) == 0 else METHOD_OTHER
    return METHOD_OTHER


cdef inline int head_target(HttpHead *h, const char **at, const char *end, const HttpLimits *lim) noexcept nogil:
    """Find the target's end and its first "?"; `path` is all before that until target_settle cuts it."""
    cdef const char *start = at[0]
    cdef const char *q = start
    cdef uint8_t seen = 0
    while q < end and char_is(q[0], CHAR_PATH):
        seen |= CHARS[<uint8_t>q[0]]
        q += 1
    h.target = h.path = <uint32_t>(start - h.base)
    h.path_len = <uint32_t>(q - start)
    if q < end and q[0] == c'?':
        h.query = <uint32_t>(q + 1 - h.base)
        while q < end and char_is(q[0], CHAR_TARGET):
            q += 1
        h.query_len = <uint32_t>(q - h.base) - h.query
    if unlikely(q - start > lim.target):
        return head_refuse(h, 414, b"target too long")
    if unlikely(q == end):
        return PARTIAL
    if unlikely(q[0] != c' ' or q == start):
        return head_refuse(h, 400, b"malformed target")
    h.target_len = <uint32_t>(q - start)
    if seen & CHAR_PERCENT:
        h.flags = HEAD_ENCODED
    at[0] = q + 1
    return OK


cdef inline int head_version(HttpHead *h, const char **at, const char *end) noexcept nogil:
    """Read the version and its line end. HTTP/1.2 and later speak 1.1 (RFC 9110 section 2.5)."""
    cdef const char *q = at[0]
    cdef Py_ssize_t n = end - q
    if likely(n >= VERSION_SIZE + 2 and memcmp(q, b"HTTP/1.1\r\n", VERSION_SIZE + 2) == 0):
        h.minor = 1
        h.flags |= HEAD_KEEP_ALIVE
        at[0] = q + VERSION_SIZE + 2
        return OK
    return version_judge(h, at, end)


cdef int version_judge(HttpHead *h, const char **at, const char *end) noexcept nogil:
    cdef const char *form = b"HTTP/0.0\r\n"
    cdef const char *q = at[0]
    cdef int i
    for i in range(VERSION_SIZE + 2):
        if i == VERSION_SIZE and q[5] != c'1':
            return head_refuse(h, 505, b"not HTTP/1")
        if q + i == end:
            return PARTIAL
        if not (char_digit(q[i]) if form[i] == c'0' else q[i] == form[i]):
            return head_refuse(h, 400, b"malformed version")
    h.minor = q[7] != c'0'
    if h.minor:
        h.flags |= HEAD_KEEP_ALIVE
    at[0] = q + VERSION_SIZE + 2
    return OK


# ---- Forms of the target other than origin-form (RFC 9112 section 3.2) -----------------------------------

cdef int target_settle(HttpHead *h) noexcept nogil:
    cdef Span t = Span(h.base + h.target, h.target_len)
    if h.method == METHOD_CONNECT:
        return target_connect(h, t)
    if h.method == METHOD_OPTIONS and span_equal(t, b"*", 1):
        h.flags |= HEAD_ASTERISK
        h.path_len = 0
        return OK
    if t.n >= 7 and span_same(Span(t.p, 7), b"http://", 7):
        return target_absolute(h, 7)
    if t.n >= 8 and span_same(Span(t.p, 8), b"https://", 8):
        return target_absolute(h, 8)
    return head_refuse(h, 400, b"malformed target")


cdef int target_connect(HttpHead *h, Span t) noexcept nogil:
    """authority-form: a host and a port that is not left out (section 3.2.3), so it ends in a digit."""
    if not host_valid(t.p, t.n) or not char_digit(t.p[t.n - 1]) or memchr(t.p, c':', t.n) == NULL:
        return head_refuse(h, 400, b"malformed target")
    h.host = h.target
    h.host_len = h.target_len
    h.path_len = 0
    h.flags &= ~HEAD_ENCODED
    return OK


cdef int target_absolute(HttpHead *h, uint32_t scheme) noexcept nogil:
    """http://host[:port][/path][?query]; user information is refused (RFC 9110 section 4.2.4)."""
    cdef const char *authority = h.base + h.target + scheme
    cdef uint32_t left = h.path_len - scheme
    cdef const char *slash = <const char *>memchr(authority, c'/', left)
    h.host = h.target + scheme
    h.host_len = <uint32_t>(slash - authority) if slash != NULL else left
    if not host_valid(authority, h.host_len):
        return head_refuse(h, 400, b"malformed host in target")
    h.path = h.host + h.host_len
    h.path_len = left - h.host_len
    h.flags &= ~HEAD_ENCODED
    if memchr(h.base + h.path, c'%', h.path_len) != NULL:
        h.flags |= HEAD_ENCODED
    return OK


cdef bint host_valid(const char *p, size_t n) noexcept nogil:
    """uri-host [":" port] (RFC 9110 section 7.2), where the host is not empty.

    Of IP literals only IPv6 addresses pass, judged by their characters; nobody speaks IPvFuture.
    """
    cdef const char *end = p + n
    cdef const char *q = p
    if n and q[0] == c'[':
        q += 1
        while q < end and char_is(q[0], CHAR_ADDRESS):
            q += 1
        if q == p + 1 or q == end or q[0] != c']':
            return False
        q += 1
    else:
        q = name_end(q, end)
    if q == p:
        return False
    if q < end and q[0] == c':':
        q += 1
        while q < end and char_digit(q[0]):
            q += 1
    return q == end


cdef inline const char *name_end(const char *q, const char *end) noexcept nogil:
    """The end of a registered name, in which "%" stands before two hexadecimal digits (RFC 3986 section 3.2.2)."""
    while q < end:
        if char_is(q[0], CHAR_NAME):
            q += 1
        elif q[0] == c'%' and end - q > 2 and char_is(q[1], CHAR_HEX) and char_is(q[2], CHAR_HEX):
            q += 3
        else:
            break
    return q


# ---- Field lines (RFC 9112 section 5) --------------------------------------------------------------------

cdef inline int head_fields(HttpHead *h, const char **at, const char *end, const HttpLimits *lim) noexcept nogil:
    cdef int result
    while at[0] < end and at[0][0] != c'\r':
        if unlikely(h.nheaders == lim.headers):
            return head_refuse(h, 431, b"too many fields")
        result = head_field(h, at, end)
        if unlikely(result != OK):
            return result
    return line_end(h, at, end)


cdef inline int line_end(HttpHead *h, const char **at, const char *end) noexcept nogil:
    """Expect CRLF. A single one of the two ends a line for some parsers and not for others."""
    cdef const char *q = at[0]
    if q == end:
        return PARTIAL
    if unlikely(q[0] != c'\r'):
        return head_refuse(h, 400, b"bare LF or control character")
    if q + 1 == end:
        return PARTIAL
    if unlikely(q[1] != c'\n'):
        return head_refuse(h, 400, b"bare CR")
    at[0] = q + 2
    return OK


cdef inline int head_field(HttpHead *h, const char **at, const char *end) noexcept nogil:
    """One field line. A folded line and a space before the colon both end the name too early."""
    cdef const char *name = at[0]
    cdef const char *q = token_end(name, end)
    cdef Header *f = &h.headers[h.nheaders]
    cdef const char *value
    cdef int result
    if q == end:
        return PARTIAL
    if unlikely(q[0] != c':' or q == name):
        return head_refuse(h, 400, b"malformed field name")
    if unlikely(q - name > UINT16_MAX):
        return head_refuse(h, 431, b"field name too long")
    value = blank_end(q + 1, end)
    f.name = <uint32_t>(name - h.base)
    f.name_len = <uint16_t>(q - name)
    f.id = field_find(name, f.name_len)
    at[0] = text_end(value, end)
    f.value = <uint32_t>(value - h.base)
    f.value_len = <uint32_t>(blank_start(value, at[0]) - value)
    result = line_end(h, at, end)
    if unlikely(result != OK):
        return result
    h.nheaders += 1
    return OK if f.id == HEADER_OTHER else field_judge(h, f)


cdef inline bint field_is(const char *p, const char *lower, size_t n) noexcept nogil:
    """Compare a token without regard to case. Setting bit 5 makes no other byte of a token a letter or "-"."""
    cdef size_t i
    for i in range(n):
        if p[i] | 32 != lower[i]:
            return False
    return True


cdef inline uint8_t field_find(const char *p, size_t n) noexcept nogil:
    """The HeaderId of a field name."""
    if n == 4:
        return HEADER_HOST if field_is(p, b"host", 4) else HEADER_OTHER
    elif n == 6:
        if field_is(p, b"cookie", 6):
            return HEADER_COOKIE
        return HEADER_EXPECT if field_is(p, b"expect", 6) else HEADER_OTHER
    elif n == 7:
        return HEADER_UPGRADE if field_is(p, b"upgrade", 7) else HEADER_OTHER
    elif n == 10:
        return HEADER_CONNECTION if field_is(p, b"connection", 10) else HEADER_OTHER
    elif n == 12:
        return HEADER_CONTENT_TYPE if field_is(p, b"content-type", 12) else HEADER_OTHER
    elif n == 14:
        return HEADER_CONTENT_LENGTH if field_is(p, b"content-length", 14) else HEADER_OTHER
    elif n == 17:
        return HEADER_TRANSFER_ENCODING if field_is(p, b"transfer-encoding", 17) else HEADER_OTHER
    return HEADER_OTHER


cdef int field_judge(HttpHead *h, const Header *f) noexcept nogil:
    """Take in a field that frames or routes the message."""
    cdef Span v = Span(h.base + f.value, f.value_len)
    cdef bint repeated = (h.seen & (1 << f.id)) != 0
    h.seen |= <uint16_t>(1 << f.id)
    if f.id == HEADER_HOST:
        return field_host(h, v, repeated)
    elif f.id == HEADER_CONNECTION:
        field_connection(h, v)
    elif f.id == HEADER_CONTENT_LENGTH:
        return field_length(h, v, repeated)
    elif f.id == HEADER_TRANSFER_ENCODING:
        return field_coding(h, v, repeated)
    elif f.id == HEADER_EXPECT and h.minor:
        if not span_same(v, b"100-continue", 12):
            return head_refuse(h, 417, b"unknown expectation")
        h.flags |= HEAD_EXPECT_CONTINUE
    return OK


cdef int field_host(HttpHead *h, Span v, bint repeated) noexcept nogil:
    """RFC 9112 section 3.2: one Host, valid; a target with an authority overrides it, but not if it is empty."""
    if repeated:
        return head_refuse(h, 400, b"repeated Host")
    if v.n == 0:
        return OK if h.host_len == 0 else head_refuse(h, 400, b"empty Host beside a target with a host")
    if not host_valid(v.p, v.n):
        return head_refuse(h, 400, b"malformed Host")
    if h.host_len == 0:
        h.host = <uint32_t>(v.p - h.base)
        h.host_len = <uint32_t>v.n
    return OK


cdef int field_length(HttpHead *h, Span v, bint repeated) noexcept nogil:
    """1*DIGIT that fit int64. Equal values in a list or in two fields could be merged (RFC 9110 section 8.6); no
    sane client sends them."""
    cdef int64_t length = 0
    cdef int digit
    cdef size_t i
    if repeated or v.n == 0:
        return head_refuse(h, 400, b"repeated or empty Content-Length")
    for i in range(v.n):
        digit = v.p[i] - c'0'
        if digit < 0 or digit > 9 or length > (INT64_MAX - digit) // 10:
            return head_refuse(h, 400, b"malformed Content-Length")
        length = length * 10 + digit
    h.content_length = length
    return OK


cdef int field_coding(HttpHead *h, Span v, bint repeated) noexcept nogil:
    """Transfer-Encoding (RFC 9112 section 6.1): "chunked" alone is served.

    A list of other codings, "chunked" at most once and last, is understood but not served: head_settle
    answers 501 if nothing worse follows. All else leaves the length of the body open, hence 400: an empty
    element, parameters, "chunked" before another coding, a second field.
    """
    cdef const char *q = v.p
    cdef const char *end = v.p + v.n
    cdef const char *coding
    if span_same(v, b"chunked", 7) and not repeated:
        h.flags |= HEAD_CHUNKED
        return OK
    while not repeated:
        coding = q
        q = token_end(q, end)
        if q == coding:
            break
        v = Span(coding, q - coding)
        q = blank_end(q, end)
        if q == end:
            return OK
        if q[0] != c',' or span_same(v, b"chunked", 7):
            break
        q = blank_end(q + 1, end)
    return head_refuse(h, 400, b"malformed Transfer-Encoding")


cdef void field_connection(HttpHead *h, Span v) noexcept nogil:
    """Collect the options of all Connection fields; head_settle lets "close" win (RFC 9112 section 9.3)."""
    cdef const char *q = v.p
    cdef const char *end = v.p + v.n
    cdef const char *comma
    cdef Span option
    while q < end:
        q = blank_end(q, end)
        comma = <const char *>memchr(q, c',', end - q)
        if comma == NULL:
            comma = end
        option = Span(q, blank_start(q, comma) - q)
        if span_same(option, b"close", 5):
            h.flags |= HEAD_CLOSE
        elif span_same(option, b"keep-alive", 10):
            h.flags |= HEAD_KEEP_ALIVE
        elif span_same(option, b"upgrade", 7):
            h.flags |= HEAD_UPGRADE
        q = comma + 1
