# HTTP for clients: the methods read_head and receive_chunk of sockets, and what finds fields in a head. A head is one
# Lua string, as it came; of most responses nobody asks for more than a field or two.

cdef enum:
    HTTP_FIELDS_JOINED = 256    # fields of one name that are joined


# ---- Reading ---------------------------------------------------------------------------------------------

cdef int l_sock_read_head(lua_State *L) noexcept nogil:
    """read_head(max) → status, head, length, keep: the head of a response as a string of at most `max` bytes; the
    length of its body in bytes, "chunked", or nil (up to the end of the connection); whether the connection stays
    open. Or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef size_t most = l_check_size(L, 2)
    cdef int n = l_read_begin(L, s, READ_HEAD, most)
    return n if n else l_read(L, s)


cdef int push_head(lua_State *L, Sock *s) noexcept nogil:
    """The result of read_head."""
    cdef HttpReplyHead *h = &s.head
    if not s.flags & SOCK_FOUND or s.head_result != OK:
        sock_keep(s.state.worker, s)
    if not s.flags & SOCK_FOUND:
        return l_fail(L, sock_reason(s, &s.reading))
    if unlikely(s.head_result == ERR_LIMIT):
        return l_fail(L, b"response head too large")
    if unlikely(s.head_result != OK):
        lua_pushnil(L)
        lua_pushfstring(L, b"malformed response: %s", h.why)
        return 2
    lua_pushinteger(L, h.status)
    push_input(L, s)
    if h.flags & HEAD_CHUNKED:
        lua_pushlstring(L, b"chunked", 7)
    elif h.content_length >= 0:
        lua_pushnumber(L, <double>h.content_length)
    else:
        lua_pushnil(L)
    lua_pushboolean(L, h.flags & HEAD_KEEP_ALIVE != 0)
    return 4


cdef int l_sock_receive_chunk(lua_State *L) noexcept nogil:
    """receive_chunk(max) → at most `max` bytes of a chunked body; nil: it has ended; nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef size_t most = l_check_size(L, 2)
    cdef int n = l_read_begin(L, s, READ_CHUNK, most)
    return n if n else l_read(L, s)


cdef int push_chunk(lua_State *L, Sock *s) noexcept nogil:
    """The result of receive_chunk."""
    cdef uint8_t state = s.chunk.state
    if not s.flags & SOCK_FOUND:
        sock_keep(s.state.worker, s)
        return l_fail(L, sock_reason(s, &s.reading))
    if s.found:
        push_input(L, s)
        return 1
    sock_take(s.state.worker, s, s.skip)
    if state == CHUNK_BAD:
        return l_fail(L, b"malformed chunk")
    memset(&s.chunk, 0, sizeof(ChunkState))
    return l_nil(L)


# ---- Fields ----------------------------------------------------------------------------------------------

cdef Span l_check_fields(lua_State *L) noexcept nogil:
    """The field lines of the head at index 1."""
    cdef Span head = l_check_span(L, 1)
    cdef const char *line = <const char *>memchr(head.p, c'\n', head.n)
    if line == NULL:
        return Span(head.p, 0)
    return Span(line + 1, <size_t>(head.p + head.n - line - 1))


cdef bint span_same_fold(Span a, Span b) noexcept nogil:
    """Compare without regard to ASCII case."""
    cdef size_t i
    if a.n != b.n:
        return False
    for i in range(a.n):
        if char_lower(<uint8_t>a.p[i]) != char_lower(<uint8_t>b.p[i]):
            return False
    return True


cdef int l_http_field(lua_State *L) noexcept nogil:
    """field(head, name) → the value of a field, in any case; of several with commas between them (RFC 9110 section
    5.3); nil: there is none"""
    cdef Span rest = l_check_fields(L)
    cdef Span wanted = l_check_span(L, 2)
    cdef Span name, value
    cdef int n = 0
    while n < HTTP_FIELDS_JOINED and fields_next(&rest, &name, &value):
        if not span_same_fold(name, wanted):
            continue
        if n:
            lua_pushlstring(L, b", ", 2)
        lua_pushlstring(L, value.p, value.n)
        n += 1
        if n > 1:
            lua_concat(L, 3)
    return 1 if n else l_nil(L)


cdef int l_http_fields(lua_State *L) noexcept nogil:
    """fields(head) → { name, value, name, value, ... } as they came"""
    cdef Span rest = l_check_fields(L)
    cdef Span name, value
    cdef int n = 0
    lua_createtable(L, 16, 0)
    while fields_next(&rest, &name, &value):
        lua_pushlstring(L, name.p, name.n)
        lua_rawseti(L, -2, n + 1)
        lua_pushlstring(L, value.p, value.n)
        lua_rawseti(L, -2, n + 2)
        n += 2
    return 1
