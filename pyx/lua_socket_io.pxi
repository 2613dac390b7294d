# core.socket: sending and receiving. What a send could not get rid of is held by the Sock, as a copy or through a
# reference to the Lua string; what a read found is pushed by push_received, at once or when the coroutine goes on.

cdef enum:
    SEND_DEPTH = 8              # of nested lists


# ---- Sending ---------------------------------------------------------------------------------------------

cdef int l_sock_send(lua_State *L) noexcept nogil:
    """send(string | number | nested lists of them) → bytes; or nil, the reason and the bytes that were sent."""
    cdef Sock *s = l_check_sock(L)
    cdef Worker *w = worker_self()
    cdef Span data
    cdef ptrdiff_t n = 0
    cdef int64_t timeout
    lua_settop(L, 2)
    data = l_send_data(L, w)
    if s == NULL or s.flags & (SOCK_ENDED | SOCK_BROKEN | SOCK_CUT):
        return l_send_refused(L, s)
    if op_waits(&s.writing) or (s.tls != NULL and not s.flags & SOCK_SECURE):
        return l_fail(L, b"socket busy writing")
    s.write_events = EPOLLOUT
    if data.n or s.flags & SOCK_DATAGRAM:
        n = sock_write(s, data.p, data.n)
    if likely(n == <ptrdiff_t>data.n):
        lua_pushnumber(L, <double>n)
        return 1
    s.sent = n if n > 0 else 0
    if n < 0 and n != PENDING:
        return push_unsent(L, s)
    if sock_hold_rest(L, s, Span(data.p + s.sent, data.n - s.sent)) != OK:
        return luaL_error(L, b"not enough memory")
    return l_send_rest(L, s)


cdef int l_send_rest(lua_State *L, Sock *s) noexcept nogil:
    """`return l_send_rest(...)`: wait until the socket has taken what it did not take."""
    cdef int64_t timeout = s.send_timeout
    cdef uint64_t now = 0
    s.writing.timed_out = 0
    if timeout >= 0 or s.deadline:
        now = clock_ms()
        timeout = sock_timeout(s, timeout, now)
    if timeout != 0:
        return l_wait_op_until(L, &s.writing, now + timeout if timeout > 0 else 0)
    s.writing.timed_out = 1
    push_unsent(L, s)
    writing_drop(worker_self(), &s.writing)
    return 3


cdef int l_sock_sendto(lua_State *L) noexcept nogil:
    """sendto(datagram, address, port) or sendto(datagram, path) → bytes; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Span data = l_check_span(L, 2)
    cdef Address to
    cdef ptrdiff_t n
    if s == NULL:
        return l_fail(L, b"closed")
    if op_waits(&s.writing):
        return l_fail(L, b"socket busy writing")
    if not s.flags & SOCK_DATAGRAM:
        return l_fail(L, b"not a datagram socket")
    l_check_address(L, s, &to)
    s.output.n = 0
    if buf_append(&s.output, <const char *>&to, sizeof(to)) != OK:
        return luaL_error(L, b"not enough memory")
    s.flags |= SOCK_TO
    n = sock_write(s, data.p, data.n)
    s.sent = 0
    if n == PENDING:
        if buf_append(&s.output, data.p, data.n) != OK:
            return luaL_error(L, b"not enough memory")
        s.rest = Span(s.output.p + sizeof(to), data.n)
        return l_send_rest(L, s)
    s.flags &= ~<uint32_t>SOCK_TO
    if n < 0:
        return l_fail(L, sock_reason(s, &s.writing))
    lua_pushnumber(L, <double>n)
    return 1


cdef void l_check_address(lua_State *L, Sock *s, Address *to) noexcept nogil:
    """The arguments from index 3 on, for a socket of that family."""
    cdef Span text = l_check_span(L, 3)
    cdef double port = 0
    if s.family == AF_UNIX:
        if address_unix(to, text) != OK:
            luaL_argerror(L, 3, b"expected a path of 1 to 107 bytes")
        return
    port = luaL_checknumber(L, 4)
    if not 0 <= port <= 65535:
        luaL_argerror(L, 4, b"expected a port")
    if address_ip(to, text, <uint16_t>port) != OK:
        luaL_argerror(L, 3, b"expected an IP address")


cdef int l_send_refused(lua_State *L, Sock *s) noexcept nogil:
    """The socket is closed, or nothing can be sent any more."""
    if s != NULL and s.flags & (SOCK_BROKEN | SOCK_CUT):
        l_fail(L, sock_reason(s, &s.writing))
    else:
        l_fail(L, b"closed")
    lua_pushinteger(L, 0)
    return 3


cdef int sock_hold_rest(lua_State *L, Sock *s, Span rest) noexcept nogil:
    """Keep what the socket did not take: a long string by a reference, all else as a copy."""
    if rest.n > SEND_COPIED and lua_type(L, 2) == LUA_TSTRING:
        lua_pushvalue(L, 2)
        s.output_ref = luaL_ref(L, LUA_REGISTRYINDEX)
        s.rest = rest
        return OK
    s.output.n = 0
    if buf_append(&s.output, rest.p, rest.n) != OK:
        return ERR_MEMORY
    s.rest = buf_span(&s.output)
    return OK


cdef Span l_send_data(lua_State *L, Worker *w) noexcept nogil:
    """What is at index 2, as one text: Lua's own, or in Worker.scratch_send."""
    cdef Span data
    if lua_type(L, 2) != LUA_TTABLE:
        return l_check_span(L, 2)
    w.scratch_send.n = 0
    l_send_collect(L, w, SEND_DEPTH)
    data = buf_span(&w.scratch_send)
    return data


cdef void l_send_collect(lua_State *L, Worker *w, int depth) noexcept nogil:
    """Append the elements of the list on top of the stack."""
    cdef size_t i, n = lua_objlen(L, -1)
    cdef Span part
    if depth == 0:
        luaL_argerror(L, 2, b"lists nested too deeply")
    luaL_checkstack(L, 4, b"lists nested too deeply")
    for i in range(1, n + 1):
        lua_rawgeti(L, -1, <int>i)
        if lua_type(L, -1) == LUA_TTABLE:
            l_send_collect(L, w, depth - 1)
        else:
            part.p = lua_tolstring(L, -1, &part.n)
            if part.p == NULL:
                luaL_argerror(L, 2, b"expected strings and numbers in the list")
            if buf_append(&w.scratch_send, part.p, part.n) != OK:
                luaL_error(L, b"not enough memory")
        lua_pop(L, 1)


cdef int push_sent(lua_State *L, Sock *s) noexcept nogil:
    """The result of a send that has ended."""
    if s.rest.n or s.error or s.flags & (SOCK_BROKEN | SOCK_CUT | SOCK_DEAD) or s.writing.timed_out:
        return push_unsent(L, s)
    lua_pushnumber(L, <double>s.sent)
    return 1


cdef int push_unsent(lua_State *L, Sock *s) noexcept nogil:
    l_fail(L, sock_reason(s, &s.writing))
    lua_pushnumber(L, <double>s.sent)
    return 3


cdef int finish_writing(Coro *co, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_writing(op)
    cdef int n
    if s.flags & SOCK_STEP:
        n = push_connected(co.L, s, op)
    elif s.flags & SOCK_CONNECTING:
        n = l_fail(co.L, sock_reason(s, op))
    elif s.flags & SOCK_FRESH:
        s.flags &= ~<uint32_t>SOCK_FRESH
        push_sock(co.L, s)
        n = 1
    else:
        n = push_sent(co.L, s)
    writing_drop(co.state.worker, op)
    return n


cdef void writing_drop(Worker *w, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_writing(op)
    s.rest = Span(NULL, 0)
    s.flags &= ~<uint32_t>SOCK_TO
    buf_free(&s.output)
    sock_unref(s, &s.output_ref)
    sock_release(w, s)


# ---- Receiving -------------------------------------------------------------------------------------------

cdef inline int l_read_begin(lua_State *L, Sock *s, uint8_t read, size_t want) noexcept nogil:
    """Set up a read. 0: it may go on; else the number of results that say why not."""
    if s == NULL:
        return l_fail(L, b"closed")
    if op_waits(&s.reading):
        return l_fail(L, b"socket busy reading")
    if unlikely(not sock_can(s, read)):
        return l_fail(L, b"not for this kind of socket")
    if s.read != READ_UNTIL or read != READ_UNTIL:
        s.scanned = 0
        s.flags &= ~<uint32_t>SOCK_AFTER_UNTIL
    s.flags &= ~<uint32_t>SOCK_FOUND
    s.read_events = EPOLLIN
    s.read = read
    s.want = want
    s.reading.timed_out = 0
    return 0


cdef inline bint sock_can(Sock *s, uint8_t read) noexcept nogil:
    if s.flags & SOCK_DATAGRAM:
        return read == READ_DATAGRAM
    if s.flags & SOCK_LISTENS:
        return read == READ_ACCEPT
    return read != READ_DATAGRAM and read != READ_ACCEPT


cdef int l_read(lua_State *L, Sock *s) noexcept nogil:
    """`return l_read(...)`: give what is asked for at once, or wait for it."""
    cdef int64_t timeout = s.receive_timeout
    cdef uint64_t now = 0
    cdef Worker *w = s.state.worker
    cdef int n
    if not sock_look(s) and not s.flags & (SOCK_EOF | SOCK_BROKEN):
        if timeout >= 0 or s.deadline:
            now = clock_ms()
            timeout = sock_timeout(s, timeout, now)
        if timeout != 0:
            return l_wait_op_until(L, &s.reading, now + timeout if timeout > 0 else 0)
        sock_fill_now(w, s)
        s.reading.timed_out = not sock_look(s) and not s.flags & SOCK_EOF
    n = push_received(L, s)
    sock_unref(s, &s.prefix)
    return n


cdef int l_sock_receive(lua_State *L) noexcept nogil:
    """receive("*l" | "*a" | bytes [, prefix]) → data; or nil, the reason and what there was. A line comes without its
    LF and without any CR; `prefix` is put in front, and counts as already received."""
    cdef Sock *s = l_check_sock(L)
    cdef uint8_t read = READ_LINE
    cdef double bytes_ = 0
    cdef size_t prefix = 0
    cdef Span pattern
    cdef int n
    lua_settop(L, 3)
    if lua_type(L, 3) != LUA_TNIL:
        luaL_checklstring(L, 3, &prefix)
    if lua_type(L, 2) == LUA_TNUMBER:
        read = READ_COUNT
        bytes_ = lua_tonumber(L, 2)
        if not 0 <= bytes_ < 9e15:
            return luaL_argerror(L, 2, b"expected a number of bytes")
        bytes_ = bytes_ - <double>prefix if bytes_ > <double>prefix else 0
    elif not l_absent(L, 2):
        pattern = l_check_span(L, 2)
        if span_equal(pattern, b"*a", 2) or span_equal(pattern, b"a", 1):
            read = READ_ALL
        elif not span_equal(pattern, b"*l", 2) and not span_equal(pattern, b"l", 1):
            return luaL_argerror(L, 2, b"expected \"*l\", \"*a\" or a number of bytes")
    n = l_read_begin(L, s, read, <size_t>bytes_)
    if unlikely(n):
        if prefix:
            lua_pushvalue(L, 3)
        else:
            lua_pushlstring(L, b"", 0)
        return n + 1
    if prefix:
        s.prefix = luaL_ref(L, LUA_REGISTRYINDEX)
    return l_read(L, s)


cdef size_t l_check_size(lua_State *L, int narg) noexcept nogil:
    """A positive number of bytes."""
    cdef double n = luaL_checknumber(L, narg)
    if not 1 <= n < 9e15:
        luaL_argerror(L, narg, b"expected a positive number of bytes")
    return <size_t>n


cdef int l_sock_receive_any(lua_State *L) noexcept nogil:
    """receive_any(max) → what is there, at least one byte, as soon as there is some; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef int n = l_read_begin(L, s, READ_ANY, l_check_size(L, 2))
    return n if n else l_read(L, s)


cdef int l_sock_receive_until(lua_State *L) noexcept nogil:
    """receive_until(delimiter [, size [, inclusive]]) → the data before the delimiter; or nil, the reason and what
    there was. With `size` in pieces of that many bytes, the last one may be shorter; after it nil, nil. With
    `inclusive` the delimiter is part of the data."""
    cdef Sock *s = l_check_sock(L)
    cdef Span delimiter = l_check_span(L, 2)
    cdef size_t size = 0
    cdef int n
    if delimiter.n == 0:
        return luaL_argerror(L, 2, b"expected a delimiter that is not empty")
    if not l_absent(L, 3):
        size = l_check_size(L, 3)
    n = l_read_begin(L, s, READ_UNTIL, size)
    if n:
        lua_pushlstring(L, b"", 0)
        return n + 1
    s.inclusive = <uint8_t>lua_toboolean(L, 4)
    if not span_equal(buf_span(&s.delimiter), delimiter.p, delimiter.n):
        s.flags &= ~<uint32_t>SOCK_AFTER_UNTIL
        s.scanned = 0
        s.delimiter.n = 0
        if buf_append(&s.delimiter, delimiter.p, delimiter.n) != OK:
            return luaL_error(L, b"not enough memory")
    if s.flags & SOCK_AFTER_UNTIL:
        s.flags &= ~<uint32_t>SOCK_AFTER_UNTIL
        if size:
            return 0
    return l_read(L, s)


cdef int l_sock_receivefrom(lua_State *L) noexcept nogil:
    """receivefrom([max]) → a datagram, cut to `max` bytes, and its sender: address, port or path; or nil and the
    reason."""
    cdef Sock *s = l_check_sock(L)
    cdef size_t most = 65536
    cdef int n
    if not l_absent(L, 2):
        most = l_check_size(L, 2)
    n = l_read_begin(L, s, READ_DATAGRAM, most)
    return n if n else l_read(L, s)


cdef int l_sock_accept(lua_State *L) noexcept nogil:
    """accept([seconds]) → socket; or nil and the reason: "closed" also when other code has taken over the address."""
    cdef Sock *s = l_check_sock(L)
    cdef int n = l_read_begin(L, s, READ_ACCEPT, 0)
    if n:
        return n
    if not l_absent(L, 2):
        s.receive_timeout = l_milliseconds(L, 2)
    return l_read(L, s)


cdef int push_datagram(lua_State *L, Sock *s) noexcept nogil:
    cdef Worker *w = s.state.worker
    cdef Address sender
    if not s.flags & SOCK_GOT:
        return l_fail(L, sock_reason(s, &s.reading))
    s.flags &= ~<uint32_t>SOCK_GOT
    lua_pushlstring(L, s.unread.p, s.unread.n if s.unread.n < s.want else s.want)
    sock_take(w, s, s.unread.n)
    memcpy(&sender.at, w.sender, sizeof(sender.at))
    sender.n = w.sender_n
    return 1 + push_address(L, &sender)


cdef int push_accepted(lua_State *L, Sock *s) noexcept nogil:
    if s.accepted == NULL:
        return l_fail(L, sock_reason(s, &s.reading))
    push_sock(L, sock_take_accepted(s))
    return 1


cdef int push_received(lua_State *L, Sock *s) noexcept nogil:
    """The result of a read that has ended: what was found, or the reason and what there is."""
    if s.read == READ_DATAGRAM:
        return push_datagram(L, s)
    if s.read == READ_ACCEPT:
        return push_accepted(L, s)
    if s.read == READ_HEAD:
        return push_head(L, s)
    if s.read == READ_CHUNK:
        return push_chunk(L, s)
    if s.read == READ_HANDSHAKE:
        return push_shaken(L, s)
    return push_text(L, s)


cdef int push_text(lua_State *L, Sock *s) noexcept nogil:
    cdef bint whole = s.flags & SOCK_FOUND
    if not whole:
        s.found = s.skip = s.unread.n
        if s.read == READ_ALL and s.flags & SOCK_EOF and (s.found or s.prefix != LUA_NOREF):
            whole = True
    if not whole:
        l_fail(L, sock_reason(s, &s.reading))
        if s.read == READ_ANY:
            return 2
    push_input(L, s)
    return 1 if whole else 3


cdef void push_input(lua_State *L, Sock *s) noexcept nogil:
    """The prefix and `found` bytes as one string; `skip` bytes are used up."""
    cdef Span text = Span(s.unread.p, s.found)
    if s.read == READ_LINE:
        text.n = text_without(<char *>text.p, text.n, c'\r')
    if unlikely(s.prefix != LUA_NOREF):
        lua_rawgeti(L, LUA_REGISTRYINDEX, s.prefix)
        lua_pushlstring(L, text.p, text.n)
        lua_concat(L, 2)
    else:
        lua_pushlstring(L, text.p, text.n)
    sock_take(s.state.worker, s, s.skip)


cdef size_t text_without(char *p, size_t n, char c) noexcept nogil:
    """Take all `c` out of p[0:n]; returns the new length."""
    cdef char *at = <char *>memchr(p, c, n) if n else NULL
    cdef char *q = at
    if at == NULL:
        return n
    while q < p + n:
        if q[0] != c:
            at[0] = q[0]
            at += 1
        q += 1
    return at - p


cdef int finish_reading(Coro *co, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_reading(op)
    cdef int n = push_received(co.L, s)
    reading_drop(co.state.worker, op)
    return n


cdef void reading_drop(Worker *w, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_reading(op)
    sock_unref(s, &s.prefix)
    sock_release(w, s)
