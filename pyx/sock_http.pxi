# What a client of HTTP reads from a socket: the head of a response, the parts of a chunked body. The codecs are
# http_response and http_chunk; this file says when the unread input of a Sock has one.
# Invariant: what was found is found once: Sock.http tells it from then on, until the next read begins.


cdef bint sock_find_head(Sock *s) noexcept nogil:
    """Whether there is a head, or what can not be one. Sock.want bytes are its limit."""
    if s.http == PARTIAL and s.unread.n:
        s.http = http_parse_reply(<char *>s.unread.p, s.unread.n, &s.head, s.want)
        s.found = s.skip = s.head.size
    return s.http != PARTIAL


cdef bint sock_find_chunk(Sock *s) noexcept nogil:
    """Whether there is data, the end of the body, or what can not be a chunk. Bytes of framing are used up on the way,
    and at most Sock.want bytes are looked at at once."""
    cdef size_t n = min(s.unread.n, s.want)
    cdef size_t used
    cdef Span data
    while s.http == PARTIAL and n:
        data = Span(NULL, 0)
        s.http = http_chunk(&s.chunk, s.unread.p, n, &used, &data)
        if s.http == CHUNK_MORE:
            s.http = PARTIAL
            sock_take(s.state.worker, s, used)
            n = min(s.unread.n, s.want)
            continue
        s.skip = used
        s.found = data.n
        s.before = <size_t>(data.p - s.unread.p) if data.n else 0
    return s.http != PARTIAL
