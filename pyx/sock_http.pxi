# What a client of HTTP reads from a socket: the head of a response, the data of a chunked body. The codecs are
# http_response and http_chunk; this file says when the unread input of a Sock has one.

cdef enum:
    CHUNK_BAD = 255         # ChunkState.state: what came was malformed


cdef bint sock_find_head(Sock *s) noexcept nogil:
    """Whether there is a head, or what can not be one. Sock.want bytes are its limit."""
    s.head_result = http_parse_reply(<char *>s.unread.p, s.unread.n, &s.head, s.want)
    s.found = s.skip = s.head.size
    return s.head_result != PARTIAL


cdef bint sock_find_chunk(Sock *s) noexcept nogil:
    """Whether there is data, the end of the body, or what can not be a chunk. Decoded in place: data of several chunks
    comes to lie together. Framing without data is used up at once."""
    cdef char *p = <char *>s.unread.p
    cdef size_t at = 0
    cdef size_t used = 0
    cdef int event
    cdef Span data
    s.found = 0
    while at < s.unread.n and s.found < s.want and s.chunk.state < CHUNK_END:
        event = http_chunk(&s.chunk, p + at, min(s.unread.n - at, s.want - s.found), &used, &data)
        at += used
        if event == CHUNK_DATA:
            memmove(p + s.found, data.p, data.n)
            s.found += data.n
        elif event == 400:
            s.chunk.state = CHUNK_BAD
    s.skip = at
    if s.found or s.chunk.state >= CHUNK_END:
        return True
    s.unread = Span(p + at, s.unread.n - at)
    return False
