# Conditional requests: which version of a representation the client has, and what it wants if that is still the current
# one (RFC 9110 section 13). A codec over a parsed head: no socket, no Lua, no allocation.

cdef enum:
    ETAG_MAX = 20               # bytes of an entity tag of ours, "W/" included


# ---- The fields that concern a file ----------------------------------------------------------------------

cdef int ask_field(const char *name, size_t n) noexcept nogil:
    """The AskField of a field name; ASK_FIELDS: none."""
    if n == 5:
        return ASK_RANGE if field_is(name, b"range", 5) else ASK_FIELDS
    if n == 8:
        if field_is(name, b"if-range", 8):
            return ASK_IF_RANGE
        return ASK_IF_MATCH if field_is(name, b"if-match", 8) else ASK_FIELDS
    if n == 13:
        return ASK_IF_NONE_MATCH if field_is(name, b"if-none-match", 13) else ASK_FIELDS
    if n == 15:
        return ASK_ENCODING if field_is(name, b"accept-encoding", 15) else ASK_FIELDS
    if n == 17:
        return ASK_IF_MODIFIED if field_is(name, b"if-modified-since", 17) else ASK_FIELDS
    if n == 19:
        return ASK_IF_UNMODIFIED if field_is(name, b"if-unmodified-since", 19) else ASK_FIELDS
    return ASK_FIELDS


cdef void ask_read(const HttpHead *h, Ask *a) noexcept nogil:
    """Find them in one pass. `a` is good for as long as the head stays where it is."""
    cdef const Header *f
    cdef int i, which
    a.head = h
    memset(a.times, 0, sizeof(a.times))
    for i in range(h.nheaders):
        f = &h.headers[i]
        which = ask_field(h.base + f.name, f.name_len)
        if which != ASK_FIELDS:
            if a.times[which] == 0:
                a.first[which] = <uint16_t>i
            a.times[which] += 1


cdef bint ask_next(const Ask *a, int field, int *at, Span *value) noexcept nogil:
    """The next line of a field whose value is a list, from line `at` of the head on. False: there is none."""
    cdef const HttpHead *h = a.head
    cdef const Header *f
    while at[0] < h.nheaders:
        f = &h.headers[at[0]]
        at[0] += 1
        if ask_field(h.base + f.name, f.name_len) == field:
            value[0] = Span(h.base + f.value, f.value_len)
            return True
    return False


cdef Span ask_only(const Ask *a, int field) noexcept nogil:
    """The value of a field that has one line; p is NULL if it has none, or several, which say nothing."""
    cdef const Header *f
    if a.times[field] != 1:
        return Span(NULL, 0)
    f = &a.head.headers[a.first[field]]
    return Span(a.head.base + f.value, f.value_len)


cdef void ask_codings(const Ask *a, Codings *out) noexcept nogil:
    """The codings that the client would have the file in, the best first."""
    cdef Weights weights
    cdef Span value
    cdef int at = a.first[ASK_ENCODING]
    out.n = 0
    if a.times[ASK_ENCODING] == 0:
        return
    accept_begin(&weights)
    while ask_next(a, ASK_ENCODING, &at, &value):
        accept_read(value, &weights)
    accept_order(&weights, out)


# ---- Entity tags (section 8.8.3) -------------------------------------------------------------------------

cdef size_t etag_put(char *out, const FileVersion *v) noexcept nogil:
    """Write the tag of a version, at most ETAG_MAX bytes; returns their number."""
    cdef char *p = out
    if v.recent:
        p = put_bytes(p, b"W/", 2)
    p[0] = c'"'
    p += 1 + put_hex(p + 1, v.tag)
    p[0] = c'"'
    return p + 1 - out


cdef bint etag_next(Span *rest, Span *tag, bint *weak) noexcept nogil:
    """Take the next tag off a list, quotes included and "W/" not. False: there is none, and if `rest` is not empty
    then, it is malformed."""
    cdef const char *end
    cdef Span s = rest[0]
    while s.n and (char_blank(s.p[0]) or s.p[0] == c','):
        s = Span(s.p + 1, s.n - 1)
    rest[0] = s
    weak[0] = s.n > 2 and s.p[0] == c'W' and s.p[1] == c'/'
    if weak[0]:
        s = Span(s.p + 2, s.n - 2)
    if s.n < 2 or s.p[0] != c'"':
        return False
    end = <const char *>memchr(s.p + 1, c'"', s.n - 1)
    if end == NULL:
        return False
    tag[0] = Span(s.p, end + 1 - s.p)
    s = span_trim(Span(end + 1, s.n - tag.n))
    if s.n and s.p[0] != c',':
        return False
    rest[0] = s
    return True


cdef bint etag_listed(Span value, const FileVersion *v, bint strong) noexcept nogil:
    """Whether a list has the tag of this version, or is "*". A strong comparison holds for two strong tags only
    (section 8.8.3.2)."""
    cdef char text[ETAG_MAX]
    cdef FileVersion plain = v[0]
    cdef size_t n
    cdef Span tag
    cdef bint weak = False
    if span_equal(value, b"*", 1):
        return True
    if strong and v.recent:
        return False
    plain.recent = 0
    n = etag_put(text, &plain)
    while etag_next(&value, &tag, &weak):
        if span_equal(tag, text, n) and not (strong and weak):
            return True
    return False


# ---- Preconditions ---------------------------------------------------------------------------------------

cdef bint ask_listed(const Ask *a, int field, const FileVersion *v, bint strong) noexcept nogil:
    """Whether one of the lines of this field has the tag."""
    cdef int at = a.first[field]
    cdef Span value
    while ask_next(a, field, &at, &value):
        if etag_listed(value, v, strong):
            return True
    return False


cdef int ask_judge(const Ask *a, const FileVersion *v) noexcept nogil:
    """What a GET or HEAD of a file gets, in the order of section 13.2.2: 200 (it, or a part of it), 304 or 412."""
    cdef int64_t moment = 0
    if a.times[ASK_IF_MATCH]:
        if not ask_listed(a, ASK_IF_MATCH, v, True):
            return 412
    elif http_date_parse(ask_only(a, ASK_IF_UNMODIFIED), &moment) == OK and v.mtime > moment:
        return 412
    if a.times[ASK_IF_NONE_MATCH]:
        return 304 if ask_listed(a, ASK_IF_NONE_MATCH, v, False) else 200
    if http_date_parse(ask_only(a, ASK_IF_MODIFIED), &moment) == OK and v.mtime <= moment:
        return 304
    return 200


cdef bint ask_same(Span if_range, const FileVersion *v) noexcept nogil:
    """Whether the parts that the client has are of this version (section 13.1.5), by a strong validator. A date is one
    only if the file has not changed lately (section 8.8.2.2)."""
    cdef int64_t moment = 0
    if if_range.n > 1 and (if_range.p[0] == c'"' or if_range.p[1] == c'/'):
        if memchr(if_range.p, c',', if_range.n) != NULL:    # one tag, and ours has none
            return False
        return etag_listed(if_range, v, True)
    return http_date_parse(if_range, &moment) == OK and moment == v.mtime and not v.recent


cdef Span ask_range(const Ask *a, const FileVersion *v) noexcept nogil:
    """The value of Range, if it is to be heeded; else p is NULL."""
    if a.times[ASK_IF_RANGE] and not ask_same(ask_only(a, ASK_IF_RANGE), v):
        return Span(NULL, 0)
    return ask_only(a, ASK_RANGE)
