# The head of an HTTP/1 request made of the variables that a web server sends (RFC 3875 section 4.1), so that one parser
# (http_parse) judges all requests: its limits and its refusals hold here, too.
# A codec: no socket, no Lua, no allocation. Variables are name-value pairs as in FastCGI.
# Invariant: whatever the variables hold, the text is one request line, the field lines that they stand for, and an
# empty line. A value that could end a line is refused.
# What concerns the connection between the client and the web server (Connection, Transfer-Encoding, ...) is left out.

cdef enum:
    CGI_ROOM = 128              # bytes of what is added to the variables, whatever they are

cdef const char *CGI_HEX = b"0123456789ABCDEF"


cdef inline size_t cgi_head_room(Span vars) noexcept nogil:
    """Bytes that the head made of these variables has at most: each byte of a path may take three."""
    return 3 * vars.n + CGI_ROOM


# ---- Looking through the variables -----------------------------------------------------------------------

cdef int cgi_read(Span vars, CgiVars *v) noexcept nogil:
    """Find those that are needed; the last one of a name counts. OK, or 400 if they are cut off."""
    cdef Span name, value
    cdef Span *place
    cdef int rc
    memset(v, 0, sizeof(CgiVars))
    v.all = vars
    rc = fcgi_pair_next(&vars, &name, &value)
    while rc == OK:
        place = cgi_place(v, name)
        if place != NULL:
            place[0] = value
        rc = fcgi_pair_next(&vars, &name, &value)
    return OK if rc == ERR_MISSING else 400


cdef inline bint cgi_is(Span name, const char *text) noexcept nogil:
    """`text` is as long as the name."""
    return memcmp(name.p, text, name.n) == 0


cdef Span *cgi_place(CgiVars *v, Span name) noexcept nogil:
    """Where the value of a variable is kept, NULL: nowhere."""
    if name.n == 5:
        return &v.https if cgi_is(name, b"HTTPS") else NULL
    if name.n == 9:
        if cgi_is(name, b"HTTP_HOST"):
            return &v.host
        return &v.path if cgi_is(name, b"PATH_INFO") else NULL
    if name.n == 11:
        if cgi_is(name, b"REQUEST_URI"):
            return &v.uri
        if cgi_is(name, b"SCRIPT_NAME"):
            return &v.script
        if cgi_is(name, b"REMOTE_ADDR"):
            return &v.address
        if cgi_is(name, b"REMOTE_PORT"):
            return &v.port
        return &v.name if cgi_is(name, b"SERVER_NAME") else NULL
    if name.n == 12:
        if cgi_is(name, b"QUERY_STRING"):
            return &v.query
        return &v.type if cgi_is(name, b"CONTENT_TYPE") else NULL
    if name.n == 14:
        if cgi_is(name, b"REQUEST_METHOD"):
            return &v.method
        if cgi_is(name, b"CONTENT_LENGTH"):
            return &v.length
        return &v.scheme if cgi_is(name, b"REQUEST_SCHEME") else NULL
    if name.n == 15:
        if cgi_is(name, b"SCRIPT_FILENAME"):
            return &v.file
        return &v.protocol if cgi_is(name, b"SERVER_PROTOCOL") else NULL
    return NULL


cdef bint cgi_secure(const CgiVars *v) noexcept nogil:
    """Whether the client speaks TLS with the web server."""
    if v.https.n:
        return not span_same(v.https, b"off", 3) and not span_equal(v.https, b"0", 1)
    return span_same(v.scheme, b"https", 5)


cdef uint16_t cgi_port(Span text) noexcept nogil:
    """A port number, 0 if it is none."""
    cdef uint32_t port = 0
    cdef size_t i
    for i in range(text.n):
        if not char_digit(text.p[i]) or port > 6553:
            return 0
        port = port * 10 + <uint32_t>(text.p[i] - c'0')
    return <uint16_t>port if port <= 65535 else 0


# ---- Making the head -------------------------------------------------------------------------------------

cdef int cgi_head_put(const CgiVars *v, char *out, size_t *n, const char **why) noexcept nogil:
    """Write the head, at most cgi_head_room bytes: OK, or 400 with `why` set."""
    cdef char *p = out
    if not cgi_all_token(v.method):
        why[0] = b"no REQUEST_METHOD, or a malformed one"
        return 400
    p = put_bytes(p, v.method.p, v.method.n)
    p[0] = c' '
    p = cgi_put_target(v, p + 1)
    if p == NULL:
        why[0] = b"malformed REQUEST_URI or QUERY_STRING"
        return 400
    p = put_bytes(p, b" HTTP/1.1\r\n", 11)
    if span_same(v.protocol, b"http/1.0", 8) or (v.host.p == NULL and v.name.n == 0):    # the latter asks for a host
        (p - 3)[0] = c'0'
    p = cgi_put_fields(v, p)
    if p == NULL:
        why[0] = b"a variable that is no header field"
        return 400
    p = put_bytes(p, b"\r\n", 2)
    n[0] = <size_t>(p - out)
    return OK


cdef bint cgi_all_token(Span s) noexcept nogil:
    return s.n and token_end(s.p, s.p + s.n) == s.p + s.n


cdef bint cgi_all_visible(Span s) noexcept nogil:
    """No byte that could end the target."""
    cdef size_t i
    for i in range(s.n):
        if <uint8_t>s.p[i] <= c' ' or <uint8_t>s.p[i] >= 0x7f:
            return False
    return True


cdef char *cgi_put_target(const CgiVars *v, char *p) noexcept nogil:
    """As the client has sent it, if that is known; else made of SCRIPT_NAME, PATH_INFO and QUERY_STRING. NULL: it is
    malformed."""
    if v.uri.n:
        return put_bytes(p, v.uri.p, v.uri.n) if cgi_all_visible(v.uri) else NULL
    if (v.script.n == 0 or v.script.p[0] != c'/') and (v.script.n or v.path.n == 0 or v.path.p[0] != c'/'):
        p[0] = c'/'
        p += 1
    p = cgi_put_path(p, v.script)
    p = cgi_put_path(p, v.path)
    if v.query.n == 0:
        return p
    p[0] = c'?'
    return put_bytes(p + 1, v.query.p, v.query.n) if cgi_all_visible(v.query) else NULL


cdef char *cgi_put_path(char *p, Span path) noexcept nogil:
    """A path that was decoded (section 4.1.5), encoded again."""
    cdef size_t i
    cdef uint8_t c
    for i in range(path.n):
        c = <uint8_t>path.p[i]
        if char_is(path.p[i], CHAR_PATH) and c != c'%':
            p[0] = path.p[i]
            p += 1
        else:
            p[0] = c'%'
            p[1] = CGI_HEX[c >> 4]
            p[2] = CGI_HEX[c & 15]
            p += 3
    return p


cdef char *cgi_put_fields(const CgiVars *v, char *p) noexcept nogil:
    """The field lines. NULL: a name or a value is malformed."""
    cdef Span rest = v.all
    cdef Span name, value
    if v.host.p == NULL and v.name.n:
        p = cgi_put_field(p, Span(b"Host", 4), v.name)
    if p != NULL and v.length.n:
        p = cgi_put_field(p, Span(b"Content-Length", 14), v.length)
    if p != NULL and v.type.n:
        p = cgi_put_field(p, Span(b"Content-Type", 12), v.type)
    while p != NULL and fcgi_pair_next(&rest, &name, &value) == OK:
        if name.n > 5 and cgi_is(Span(name.p, 5), b"HTTP_"):
            name = Span(name.p + 5, name.n - 5)
            if not cgi_left_out(name):
                p = cgi_put_field(p, name, value)
    return p


cdef bint cgi_left_out(Span name) noexcept nogil:
    """Fields that frame the message between client and web server, or are about their connection (RFC 9110 section
    7.6.1), and those that have variables of their own."""
    if name.n == 2:
        return cgi_is(name, b"TE")
    if name.n == 6:
        return cgi_is(name, b"EXPECT")
    if name.n == 7:
        return cgi_is(name, b"UPGRADE") or cgi_is(name, b"TRAILER")
    if name.n == 10:
        return cgi_is(name, b"CONNECTION") or cgi_is(name, b"KEEP_ALIVE")
    if name.n == 12:
        return cgi_is(name, b"CONTENT_TYPE")
    if name.n == 14:
        return cgi_is(name, b"CONTENT_LENGTH")
    if name.n == 16:
        return cgi_is(name, b"PROXY_CONNECTION")
    return name.n == 17 and cgi_is(name, b"TRANSFER_ENCODING")


cdef char *cgi_put_field(char *p, Span name, Span value) noexcept nogil:
    """One line: USER_AGENT becomes User-Agent. NULL: it could be read in another way."""
    cdef const char *end = value.p + value.n
    cdef char *start = p
    cdef bint first = True
    cdef char c
    cdef size_t i
    if value.n and text_end(value.p, end) != end:
        return NULL
    for i in range(name.n):
        c = name.p[i]
        if c == c'_':
            c = c'-'
        elif not first:
            c = <char>char_lower(<uint8_t>c)
        first = c == c'-'
        p[0] = c
        p += 1
    if not cgi_all_token(Span(start, name.n)):
        return NULL
    p = put_bytes(p, b": ", 2)
    p = put_bytes(p, value.p, value.n)
    return put_bytes(p, b"\r\n", 2)
