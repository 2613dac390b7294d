# Texts that browsers send: percent-encoding, queries and urlencoded forms, cookies, the type of a form.
#
# Every function reads spans of its caller and gives spans of them back; only a value that must be decoded is
# written, into a Buf of the caller. Nothing is malformed here: what no rule covers is text (a lone "%" stands
# for itself), because that is what browsers and Heart v1 do.
# Not for: paths (the router takes them undecoded), multipart bodies.

from libc.stddef cimport ptrdiff_t
from libc.string cimport memchr, strchr


# ---- Percent-encoding ------------------------------------------------------------------------------------

cdef inline uint8_t url_next(const char *p, size_t n, size_t *i, bint plus) noexcept nogil:
    """Decode the character at `i` < n and step over it. With `plus`, "+" is a space."""
    cdef uint8_t c = <uint8_t>p[i[0]]
    cdef int high, low
    i[0] += 1
    if c == c'+' and plus:
        return c' '
    if c != c'%' or n - i[0] < 2:
        return c
    high = hex_digit(<uint8_t>p[i[0]])
    low = hex_digit(<uint8_t>p[i[0] + 1])
    if high < 0 or low < 0:
        return c
    i[0] += 2
    return <uint8_t>(high << 4 | low)


cdef ptrdiff_t url_decode(const char *p, size_t n, char *out, int plus) noexcept nogil:
    """Decode p[0:n] (RFC 3986 section 2.1) to `out`, which has room for `n` bytes and may be `p`. With `plus`,
    "+" is a space (urlencoded forms). A "%" without two digits stays. Returns the bytes written."""
    cdef size_t i = 0
    cdef ptrdiff_t m = 0
    while i < n:
        out[m] = <char>url_next(p, n, &i, plus)
        m += 1
    return m


cdef bint url_encoded(Span text) noexcept nogil:
    """Whether decoding a form text can change it."""
    cdef size_t i
    for i in range(text.n):
        if text.p[i] == c'%' or text.p[i] == c'+':
            return True
    return False


cdef int url_unescape(Span raw, Buf *scratch, Span *text) noexcept nogil:
    """Decode a name or value of a form: `text` is `raw` if that is plain, else it lies in `scratch`, whose
    content it replaces. OK or ERR_MEMORY."""
    text[0] = raw
    if not url_encoded(raw):
        return OK
    scratch.n = 0
    if buf_reserve(scratch, raw.n) != OK:
        return ERR_MEMORY
    scratch.n = <size_t>url_decode(raw.p, raw.n, scratch.p, True)
    text[0] = buf_span(scratch)
    return OK


cdef bint url_same(Span raw, Span text) noexcept nogil:
    """Whether `raw`, a name of a form, decodes to `text`."""
    cdef size_t i = 0, k = 0
    if raw.n < text.n:
        return False
    while i < raw.n:
        if k == text.n or url_next(raw.p, raw.n, &i, True) != <uint8_t>text.p[k]:
            return False
        k += 1
    return k == text.n


# ---- Lists of pairs --------------------------------------------------------------------------------------

cdef Span span_until(Span *rest, char end) noexcept nogil:
    """Take what stands before the next `end` off `rest`, and the `end` with it."""
    cdef const char *at = <const char *>memchr(rest.p, end, rest.n) if rest.n else NULL
    cdef size_t n = <size_t>(at - rest.p) if at != NULL else rest.n
    cdef Span taken = Span(rest.p, n)
    rest.p += n + (at != NULL)
    rest.n -= n + (at != NULL)
    return taken


cdef inline Span span_trim(Span s) noexcept nogil:
    """Without the spaces and tabs around it."""
    while s.n and (s.p[0] == c' ' or s.p[0] == c'\t'):
        s.p += 1
        s.n -= 1
    while s.n and (s.p[s.n - 1] == c' ' or s.p[s.n - 1] == c'\t'):
        s.n -= 1
    return s


cdef bint query_next(Span *rest, Span *name, Span *value) noexcept nogil:
    """Take the next pair, still encoded, off a query or an urlencoded body. Empty pairs are passed over; a
    name without "=" has an empty value. False: there is none."""
    while rest.n:
        value[0] = span_until(rest, c'&')
        if value.n:
            name[0] = span_until(value, c'=')
            return True
    return False


cdef int query_find(Span query, Span name, Buf *scratch, Span *value) noexcept nogil:
    """The value of the first pair whose decoded name is `name`, decoded as url_unescape does. OK, ERR_MISSING
    or ERR_MEMORY."""
    cdef Span key
    while query_next(&query, &key, value):
        if url_same(key, name):
            return url_unescape(value[0], scratch, value)
    return ERR_MISSING


cdef bint cookie_next(Span *rest, Span *name, Span *value) noexcept nogil:
    """Take the next pair off the value of a Cookie field (RFC 6265 section 5.4), without the whitespace around
    both and without one pair of quotes around the value. A pair without "=" is a value without a name; empty
    pairs are passed over. False: there is none."""
    cdef Span pair
    while rest.n:
        pair = span_trim(span_until(rest, c';'))
        if pair.n == 0:
            continue
        if memchr(pair.p, c'=', pair.n) == NULL:
            name[0] = Span(pair.p, 0)
        else:
            name[0] = span_trim(span_until(&pair, c'='))
        value[0] = span_trim(pair)
        if value.n > 1 and value.p[0] == c'"' and value.p[value.n - 1] == c'"':
            value[0] = Span(value.p + 1, value.n - 2)
        return True
    return False


cdef int cookie_find(Span header_value, Span name, Span *value) noexcept nogil:
    """The value of the first cookie of that name; case counts. OK or ERR_MISSING."""
    cdef Span key
    while cookie_next(&header_value, &key, value):
        if span_equal(key, name.p, name.n):
            return OK
    return ERR_MISSING


# ---- The type of a form ----------------------------------------------------------------------------------

cdef inline bint char_token(uint8_t c) noexcept nogil:
    """tchar of RFC 9110 section 5.6.2."""
    if c <= c' ' or c >= 127:
        return False
    return strchr(b'"(),/:;<=>?@[\\]{}', c) == NULL


cdef inline bint boundary_char(uint8_t c) noexcept nogil:
    """bchars of RFC 2046 section 5.1.1."""
    if char_lower(c) >= c'a' and char_lower(c) <= c'z' or c >= c'0' and c <= c'9':
        return True
    return c != 0 and strchr(b"'()+_,-./:=? ", c) != NULL


cdef bint boundary_valid(Span boundary) noexcept nogil:
    """1 to 70 characters of the set, no space at the end."""
    cdef size_t i
    if boundary.n == 0 or boundary.n > BOUNDARY_MAX or boundary.p[boundary.n - 1] == c' ':
        return False
    for i in range(boundary.n):
        if not boundary_char(<uint8_t>boundary.p[i]):
            return False
    return True


cdef bint parameter_next(Span *rest, Span *name, Span *value) noexcept nogil:
    """Take the next `; name=value` off the rest of a field value (RFC 9110 section 5.6.6). A quoted value comes
    without its quotes and with its escapes, of which only `\\"` and `\\\\` are any: browsers send other
    backslashes as text. False: there is none, and if `rest` is not empty then, that is malformed."""
    cdef Span s = span_trim(rest[0])
    cdef size_t i = 0
    rest[0] = s
    if s.n == 0 or s.p[0] != c';':
        return False
    s = span_trim(Span(s.p + 1, s.n - 1))
    if s.n == 0:
        # A semicolon at the end is common.
        rest[0] = s
        return False
    while i < s.n and char_token(<uint8_t>s.p[i]):
        i += 1
    if i == 0 or i == s.n or s.p[i] != c'=':
        return False
    name[0] = Span(s.p, i)
    s = Span(s.p + i + 1, s.n - i - 1)
    i = parameter_quoted(s) if s.n and s.p[0] == c'"' else parameter_plain(s)
    if i == 0:
        return False
    value[0] = Span(s.p + 1, i - 2) if s.p[0] == c'"' else span_trim(Span(s.p, i))
    rest[0] = Span(s.p + i, s.n - i)
    return True


cdef size_t parameter_quoted(Span s) noexcept nogil:
    """The length of the quoted string, quotes included, at the start of `s`; 0: it does not end."""
    cdef size_t i = 1
    while i < s.n and s.p[i] != c'"':
        if s.p[i] == c'\\' and i + 1 < s.n and (s.p[i + 1] == c'"' or s.p[i + 1] == c'\\'):
            i += 1
        i += 1
    return i + 1 if i < s.n else 0


cdef size_t parameter_plain(Span s) noexcept nogil:
    """The length of an unquoted value, up to the next semicolon; 0: it is blank or has a quote. Boundaries come
    unquoted with characters that no token has, so the caller judges the rest."""
    cdef size_t i = 0
    while i < s.n and s.p[i] != c';':
        if s.p[i] == c'"':
            return 0
        i += 1
    return i if span_trim(Span(s.p, i)).n else 0


cdef int form_type(Span content_type, Span *boundary) noexcept nogil:
    """Which form a Content-Type announces, a FormType. `boundary` is that of a multipart form; it is empty if
    it is missing, malformed or given twice, so that the body cannot be read."""
    cdef Span rest = content_type, name, value
    cdef Span kind
    cdef size_t n = 0
    cdef int given = 0
    boundary[0] = Span(content_type.p, 0)
    while n < rest.n and rest.p[n] != c';':
        n += 1
    kind = span_trim(Span(rest.p, n))
    if span_same(kind, b"application/x-www-form-urlencoded", 33):
        return FORM_URLENCODED
    if not span_same(kind, b"multipart/form-data", 19):
        return FORM_NONE
    rest = Span(rest.p + n, rest.n - n)
    while parameter_next(&rest, &name, &value):
        if span_same(name, b"boundary", 8):
            boundary[0] = value
            given += 1
    if rest.n or given != 1 or not boundary_valid(boundary[0]):
        boundary.n = 0
    return FORM_MULTIPART
