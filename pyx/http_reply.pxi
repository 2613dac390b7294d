# Response heads: status lines, the fields that every response has, names of methods and reasons.
# A codec: writes into a Buf, knows no socket and no Lua.

cdef enum:
    HEAD_FIXED = 512            # bytes of a response head without the handler's own fields, at most


cdef Span method_name(int method) noexcept nogil:
    if method == METHOD_GET: return Span(b"GET", 3)
    if method == METHOD_HEAD: return Span(b"HEAD", 4)
    if method == METHOD_POST: return Span(b"POST", 4)
    if method == METHOD_PUT: return Span(b"PUT", 3)
    if method == METHOD_DELETE: return Span(b"DELETE", 6)
    if method == METHOD_CONNECT: return Span(b"CONNECT", 7)
    if method == METHOD_OPTIONS: return Span(b"OPTIONS", 7)
    if method == METHOD_TRACE: return Span(b"TRACE", 5)
    if method == METHOD_PATCH: return Span(b"PATCH", 5)
    return Span(b"", 0)


cdef extern from *:
    """
    /* Reason phrases of the IANA registry; an unknown status has none, which RFC 9112 section 4 allows. */
    static const char *heart_reason(int status) {
        switch (status) {
        case 200: return "OK"; case 201: return "Created"; case 202: return "Accepted";
        case 203: return "Non-Authoritative Information"; case 204: return "No Content";
        case 205: return "Reset Content"; case 206: return "Partial Content"; case 207: return "Multi-Status";
        case 208: return "Already Reported"; case 226: return "IM Used";
        case 300: return "Multiple Choices"; case 301: return "Moved Permanently"; case 302: return "Found";
        case 303: return "See Other"; case 304: return "Not Modified"; case 305: return "Use Proxy";
        case 307: return "Temporary Redirect"; case 308: return "Permanent Redirect";
        case 400: return "Bad Request"; case 401: return "Unauthorized"; case 402: return "Payment Required";
        case 403: return "Forbidden"; case 404: return "Not Found"; case 405: return "Method Not Allowed";
        case 406: return "Not Acceptable"; case 407: return "Proxy Authentication Required";
        case 408: return "Request Timeout"; case 409: return "Conflict"; case 410: return "Gone";
        case 411: return "Length Required"; case 412: return "Precondition Failed";
        case 413: return "Content Too Large"; case 414: return "URI Too Long";
        case 415: return "Unsupported Media Type"; case 416: return "Range Not Satisfiable";
        case 417: return "Expectation Failed"; case 421: return "Misdirected Request";
        case 422: return "Unprocessable Content"; case 423: return "Locked"; case 424: return "Failed Dependency";
        case 425: return "Too Early"; case 426: return "Upgrade Required"; case 428: return "Precondition Required";
        case 429: return "Too Many Requests"; case 431: return "Request Header Fields Too Large";
        case 451: return "Unavailable For Legal Reasons";
        case 500: return "Internal Server Error"; case 501: return "Not Implemented"; case 502: return "Bad Gateway";
        case 503: return "Service Unavailable"; case 504: return "Gateway Timeout";
        case 505: return "HTTP Version Not Supported"; case 506: return "Variant Also Negotiates";
        case 507: return "Insufficient Storage"; case 508: return "Loop Detected"; case 510: return "Not Extended";
        case 511: return "Network Authentication Required";
        default: return "";
        }
    }
    """
    const char *heart_reason(int status) nogil
    size_t strlen(const char *z) nogil


cdef inline Span span_z(const char *z) noexcept nogil:
    return Span(z, strlen(z))


cdef Span status_reason(int status) noexcept nogil:
    return span_z(heart_reason(status))


cdef inline bint status_has_body(int status) noexcept nogil:
    """RFC 9110 section 6.4.1: 1xx, 204 and 304 never carry content."""
    return status >= 200 and status != 204 and status != 304


cdef inline char *put_status_line(char *p, int status) noexcept nogil:
    cdef Span reason
    if likely(status == 200):
        return put_bytes(p, b"HTTP/1.1 200 OK\r\n", 17)
    p = put_bytes(p, b"HTTP/1.1 ", 9)
    p += put_decimal(p, status)
    p[0] = c' '
    reason = status_reason(status)
    p = put_bytes(p + 1, reason.p, reason.n)
    return put_bytes(p, b"\r\n", 2)


cdef inline char *put_content_type(char *p, int ctype, Span mime) noexcept nogil:
    if ctype == TYPE_JSON:
        return put_bytes(p, b"Content-Type: application/json\r\n", 32)
    if ctype == TYPE_TEXT:
        return put_bytes(p, b"Content-Type: text/plain; charset=utf-8\r\n", 41)
    if ctype == TYPE_HTML:
        return put_bytes(p, b"Content-Type: text/html; charset=utf-8\r\n", 40)
    if ctype == TYPE_SPAN:
        p = put_bytes(p, b"Content-Type: ", 14)
        p = put_bytes(p, mime.p, mime.n)
        return put_bytes(p, b"\r\n", 2)
    return p


cdef inline char *put_content_length(char *p, int64_t n) noexcept nogil:
    p = put_bytes(p, b"Content-Length: ", 16)
    p += put_decimal(p, <uint64_t>n)
    return put_bytes(p, b"\r\n", 2)


cdef void prefix_refresh(Worker *w) noexcept nogil:
    """Render the Server and Date fields for the second that has begun."""
    cdef char *p = w.prefix
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    p = put_bytes(p, b"Server: heart\r\nDate: ", 21)
    http_date_put(t.tv_sec, p)
    p = put_bytes(p + 29, b"\r\n", 2)
    w.prefix_len = <uint32_t>(p - w.prefix)
    w.prefix_until = w.now + <uint64_t>(1000 - t.tv_nsec // 1000000)


cdef inline const char *prefix_date(Worker *w) noexcept nogil:
    """The value of Date as put_prefix writes it now, 29 bytes."""
    if unlikely(w.now >= w.prefix_until):
        prefix_refresh(w)
    return w.prefix + 21


cdef inline char *put_prefix(Worker *w, char *p, uint32_t flags) noexcept nogil:
    """Server and Date, unless the handler set its own."""
    if unlikely(w.now >= w.prefix_until):
        prefix_refresh(w)
    if likely(not flags & (REQ_HAS_DATE | REQ_HAS_SERVER)):
        return put_bytes(p, w.prefix, w.prefix_len)
    if not flags & REQ_HAS_SERVER:
        p = put_bytes(p, w.prefix, 15)
    if not flags & REQ_HAS_DATE:
        p = put_bytes(p, w.prefix + 15, w.prefix_len - 15)
    return p
