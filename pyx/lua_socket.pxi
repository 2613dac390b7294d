# core.socket: sockets for Heart's own Lua modules. A socket is a userdata (SockBox); its functions return nil and the
# reason when something fails, and raise only for wrong arguments. What waits is in sock.pxi.
# The rules of this boundary: what a coroutine waits for is in the Sock, not on Lua's stack, which is gone while it waits;
# the finish_* functions push the results. A string that is still needed is held by a reference in the registry.
# A userdata that is collected while a coroutine waits leaves its socket to that coroutine.
# All functions have the State as upvalue 1 and the metatable of sockets as upvalue 2.

cdef enum:
    SEND_DEPTH = 8              # of nested tables
    SECONDS_MAX = 31536000      # of a timeout: a year


cdef void socket_put(lua_State *L, State *s, int meta, const char *name, lua_CFunction f) noexcept nogil:
    """Into the table on top; `meta` is the index of the metatable."""
    lua_pushlightuserdata(L, s)
    lua_pushvalue(L, meta)
    lua_pushcclosure(L, f, 2)
    lua_setfield(L, -2, name)


cdef void lua_socket_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    cdef int meta
    lua_createtable(L, 0, 4)
    meta = lua_gettop(L)
    lua_createtable(L, 0, 24)
    socket_put(L, s, meta, b"send", l_sock_send)
    socket_put(L, s, meta, b"receive", l_sock_receive)
    socket_put(L, s, meta, b"receive_any", l_sock_receive_any)
    socket_put(L, s, meta, b"receive_until", l_sock_receive_until)
    socket_put(L, s, meta, b"settimeouts", l_sock_settimeouts)
    socket_put(L, s, meta, b"deadline", l_sock_deadline)
    socket_put(L, s, meta, b"shutdown", l_sock_shutdown)
    socket_put(L, s, meta, b"close", l_sock_close)
    socket_put(L, s, meta, b"peer", l_sock_peer)
    socket_put(L, s, meta, b"name", l_sock_name)
    socket_put(L, s, meta, b"fd", l_sock_fd)
    socket_put(L, s, meta, b"buffered", l_sock_buffered)
    lua_setfield(L, meta, b"__index")
    lua_pushcclosure(L, l_sock_collect, 0)
    lua_setfield(L, meta, b"__gc")
    lua_pushboolean(L, 0)
    lua_setfield(L, meta, b"__metatable")
    lua_pushlightuserdata(L, &SOCK_META)
    lua_pushvalue(L, meta)
    lua_rawset(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 8)
    socket_put(L, s, meta, b"connect", l_socket_connect)
    socket_put(L, s, meta, b"count", l_socket_count)
    lua_remove(L, meta)


cdef char SOCK_META             # registry: the metatable of sockets


# ---- Userdata --------------------------------------------------------------------------------------------

cdef SockBox *push_sock(lua_State *L, Sock *s) noexcept nogil:
    """Push a userdata for the socket. `s` may be NULL, to be put in afterwards."""
    cdef SockBox *box = <SockBox *>lua_newuserdata(L, sizeof(SockBox))
    box.sock = s
    if s != NULL:
        s.box = box
    lua_pushlightuserdata(L, &SOCK_META)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)
    return box


cdef inline Sock *l_check_sock(lua_State *L) noexcept nogil:
    """The socket at index 1; NULL: it is closed. Raises if that is something else."""
    cdef SockBox *box = <SockBox *>lua_touserdata(L, 1)
    if unlikely(box == NULL or not lua_getmetatable(L, 1)):
        luaL_argerror(L, 1, b"expected a socket")
    if unlikely(not lua_rawequal(L, -1, lua_upvalueindex(2))):
        luaL_argerror(L, 1, b"expected a socket")
    lua_pop(L, 1)
    return box.sock


cdef int l_sock_collect(lua_State *L) noexcept nogil:
    cdef SockBox *box = <SockBox *>lua_touserdata(L, 1)
    cdef Sock *s = box.sock
    if s != NULL:
        box.sock = NULL
        s.box = NULL
        sock_release(s.state.worker, s)
    return 0


cdef void sock_unref(Sock *s, int *reference) noexcept nogil:
    if reference[0] != LUA_NOREF:
        luaL_unref(s.state.L, LUA_REGISTRYINDEX, reference[0])
        reference[0] = LUA_NOREF


# ---- Failures --------------------------------------------------------------------------------------------

cdef const char *errno_text(int error) noexcept nogil:
    """Why a socket failed, in the words of LuaSocket and OpenResty where they have some. 0: the stream was cut off."""
    if error == 0 or error == EPIPE or error == ENOTCONN:
        return b"closed"
    if error == ECONNREFUSED:
        return b"connection refused"
    if error == ECONNRESET:
        return b"connection reset"
    if error == ECONNABORTED:
        return b"connection aborted"
    if error == ETIMEDOUT:
        return b"timeout"
    if error == ENETUNREACH or error == ENETDOWN:
        return b"network unreachable"
    if error == EHOSTUNREACH or error == EHOSTDOWN:
        return b"host unreachable"
    if error == EADDRINUSE:
        return b"address already in use"
    if error == EADDRNOTAVAIL:
        return b"address not available"
    if error == EACCES or error == EPERM:
        return b"permission denied"
    if error == ENOENT:
        return b"no such file or directory"
    if error == EMFILE or error == ENFILE:
        return b"too many open files"
    if error == ENOMEM or error == ENOBUFS:
        return b"out of memory"
    return strerror(error)


cdef int l_fail(lua_State *L, const char *why) noexcept nogil:
    lua_pushnil(L)
    lua_pushstring(L, why)
    return 2


cdef int l_fail_errno(lua_State *L, int error) noexcept nogil:
    return l_fail(L, errno_text(error))


cdef const char *sock_reason(Sock *s, Op *op) noexcept nogil:
    """Why an operation ended without what it was for."""
    if s.flags & SOCK_DEAD:
        return b"closed"
    if s.flags & SOCK_BROKEN:
        if s.tls != NULL and s.tls.error != NULL:
            return s.tls.error
        return errno_text(s.error)
    if op.timed_out:
        return b"timeout"
    return b"closed"


# ---- Times -----------------------------------------------------------------------------------------------

cdef int64_t l_milliseconds(lua_State *L, int narg) noexcept nogil:
    """Seconds as ms; -1 for nil and negative numbers: no limit."""
    cdef double seconds
    if l_absent(L, narg):
        return -1
    seconds = luaL_checknumber(L, narg)
    if not seconds <= SECONDS_MAX:
        luaL_argerror(L, narg, b"expected seconds, at most 31536000 (a year)")
    return <int64_t>(seconds * 1000 + 0.999) if seconds >= 0 else -1


cdef int l_sock_settimeouts(lua_State *L) noexcept nogil:
    """settimeouts(connect, send, receive): seconds that each operation may take; nil: no limit, 0: do not wait."""
    cdef Sock *s = l_check_sock(L)
    cdef int64_t connect_ = l_milliseconds(L, 2)
    cdef int64_t send = l_milliseconds(L, 3)
    cdef int64_t receive = l_milliseconds(L, 4)
    if s != NULL:
        s.connect_timeout = connect_
        s.send_timeout = send
        s.receive_timeout = receive
    lua_pushboolean(L, 1)
    return 1


cdef int l_sock_deadline(lua_State *L) noexcept nogil:
    """deadline(seconds): from now, for all operations together; nil: none."""
    cdef Sock *s = l_check_sock(L)
    cdef int64_t left = l_milliseconds(L, 2)
    if s != NULL:
        s.deadline = clock_ms() + <uint64_t>left if left >= 0 else 0
    lua_pushboolean(L, 1)
    return 1


# ---- Connecting ------------------------------------------------------------------------------------------

cdef int l_socket_connect(lua_State *L) noexcept nogil:
    """connect{kind = "tcp"|"unix", address =, port =, timeout = seconds, bind =, bind_port =} → socket; or nil and the
    reason. `address` is numeric, or a path (after a NUL byte an abstract name)."""
    cdef State *state = l_state(L)
    cdef Worker *w = worker_self()
    cdef Address address, local
    cdef int64_t timeout
    cdef Sock *s
    cdef int fd, rc
    luaL_checktype(L, 1, LUA_TTABLE)
    lua_settop(L, 1)
    l_connect_addresses(L, &address, &local)
    lua_getfield(L, 1, b"timeout")
    timeout = l_milliseconds(L, lua_gettop(L))
    fd = socket(address.at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return l_fail_errno(L, errno)
    s = sock_new(w, state, fd)
    if s == NULL:
        return l_fail_errno(L, ENOMEM)
    if address.at.ss_family != AF_UNIX:
        sock_set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1)
    rc = OK
    if local.n:
        rc = OK if bind(fd, <sockaddr *>&local.at, local.n) == 0 else ERR_SYSTEM
    if rc == OK:
        rc = io_connect(fd, <sockaddr *>&address.at, address.n)
    if rc == OK:
        push_sock(L, s)
        return 1
    if rc != PENDING or timeout == 0:
        rc = errno if rc != PENDING else ETIMEDOUT
        sock_close(w, s)
        return l_fail_errno(L, rc)
    s.flags |= SOCK_CONNECTING | SOCK_FRESH
    return l_wait_op_until(L, &s.writing, clock_ms() + timeout if timeout > 0 else 0)


cdef void l_connect_addresses(lua_State *L, Address *address, Address *local) noexcept nogil:
    """The peer's address and, if one is given (else n = 0), the one to bind to, of the table at 1."""
    cdef Span kind = l_field_span(L, b"kind", Span(b"tcp", 3))
    cdef Span text = l_field_span(L, b"address", Span(NULL, 0))
    cdef Span here = l_field_span(L, b"bind", Span(NULL, 0))
    local.n = 0
    if span_equal(kind, b"unix", 4):
        if address_unix(address, text) != OK:
            luaL_error(L, b"address: expected a path of 1 to 107 bytes")
        return
    if not span_equal(kind, b"tcp", 3):
        luaL_error(L, b"kind: expected \"tcp\" or \"unix\"")
    if address_ip(address, text, l_field_port(L, b"port")) != OK:
        luaL_error(L, b"address: expected an IP address")
    if here.p != NULL and address_ip(local, here, l_field_port(L, b"bind_port")) != OK:
        luaL_error(L, b"bind: expected an IP address")


cdef Span l_field_span(lua_State *L, const char *name, Span otherwise) noexcept nogil:
    """A string in the table at 1, which goes on holding it."""
    cdef Span text = otherwise
    lua_getfield(L, 1, name)
    if lua_type(L, -1) == LUA_TSTRING:
        text.p = lua_tolstring(L, -1, &text.n)
    elif not lua_isnil(L, -1):
        luaL_error(L, b"%s: expected a string", name)
    lua_pop(L, 1)
    return text


cdef uint16_t l_field_port(lua_State *L, const char *name) noexcept nogil:
    """A port in the table at 1; 0 if there is none."""
    cdef double port = 0
    lua_getfield(L, 1, name)
    if not lua_isnil(L, -1):
        port = lua_tonumber(L, -1) if lua_isnumber(L, -1) else -1
    if not 0 <= port <= 65535:
        luaL_error(L, b"%s: expected a number from 0 to 65535", name)
    lua_pop(L, 1)
    return <uint16_t>port


cdef void sock_set_flag(int fd, int level, int name, int value) noexcept nogil:
    setsockopt(fd, level, name, &value, sizeof(value))


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
    if s == NULL or s.flags & (SOCK_ENDED | SOCK_BROKEN):
        return l_send_refused(L, s)
    if op_waits(&s.writing):
        return l_fail(L, b"socket busy writing")
    if data.n:
        n = sock_write(s, data.p, data.n)
    if likely(n == <ptrdiff_t>data.n):
        lua_pushnumber(L, <double>n)
        return 1
    s.sent = n if n > 0 else 0
    s.writing.timed_out = 0
    timeout = s.send_timeout
    if timeout >= 0 or s.deadline:
        timeout = sock_timeout(s, timeout, clock_ms())
    if s.flags & SOCK_BROKEN:
        return push_sent(L, s)
    if timeout == 0:
        s.writing.timed_out = 1
        return push_sent(L, s)
    if sock_hold_rest(L, s, Span(data.p + s.sent, data.n - s.sent)) != OK:
        return luaL_error(L, b"not enough memory")
    return l_wait_op_until(L, &s.writing, clock_ms() + timeout if timeout > 0 else 0)


cdef int l_send_refused(lua_State *L, Sock *s) noexcept nogil:
    """The socket is closed, or nothing can be sent any more."""
    if s != NULL and s.flags & SOCK_BROKEN:
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
    if s.rest.n == 0 and not s.flags & (SOCK_BROKEN | SOCK_DEAD) and not s.writing.timed_out:
        lua_pushnumber(L, <double>s.sent)
        return 1
    l_fail(L, sock_reason(s, &s.writing))
    lua_pushnumber(L, <double>s.sent)
    return 3


cdef int finish_writing(Coro *co, Op *op) noexcept nogil:
    cdef Sock *s = sock_of_writing(op)
    cdef int n
    if s.flags & SOCK_CONNECTING:
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
    if s.read != READ_UNTIL or read != READ_UNTIL:
        s.scanned = 0
        s.flags &= ~<uint32_t>SOCK_AFTER_UNTIL
    s.read = read
    s.want = want
    s.reading.timed_out = 0
    return 0


cdef int l_read(lua_State *L, Sock *s) noexcept nogil:
    """`return l_read(...)`: give what is asked for at once, or wait for it."""
    cdef int64_t timeout = s.receive_timeout
    cdef uint64_t now = 0
    cdef bint done = sock_satisfied(s)
    if not done and not s.flags & (SOCK_EOF | SOCK_BROKEN):
        if timeout >= 0 or s.deadline:
            now = clock_ms()
            timeout = sock_timeout(s, timeout, now)
        if timeout != 0:
            return l_wait_op_until(L, &s.reading, now + timeout if timeout > 0 else 0)
        done = sock_fill_input(s) > 0 and sock_satisfied(s)
        s.reading.timed_out = not done
    done = push_received(L, s)
    sock_unref(s, &s.prefix)
    return done


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
    """receive_until(delimiter [, size [, inclusive]]) → the data before the delimiter; or nil, the reason and what there
    was. With `size` in pieces of that many bytes, the last one may be shorter; after it nil, nil. With `inclusive` the
    delimiter is part of the data."""
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


cdef int push_received(lua_State *L, Sock *s) noexcept nogil:
    """The result of a read that has ended: what was found, or the reason and what there is."""
    cdef bint whole = not s.reading.timed_out and not s.flags & SOCK_DEAD and sock_satisfied(s)
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
    cdef char *at = <char *>memchr(p, c, n)
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


# ---- Ending ----------------------------------------------------------------------------------------------

cdef int l_sock_close(lua_State *L) noexcept nogil:
    """close() → true; or nil and "closed" if it is closed already."""
    cdef Sock *s = l_check_sock(L)
    if s == NULL:
        return l_fail(L, b"closed")
    sock_close(worker_self(), s)
    lua_pushboolean(L, 1)
    return 1


cdef int l_sock_shutdown(lua_State *L) noexcept nogil:
    """shutdown("send" | "receive" | "both") → true; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Span how = l_check_span(L, 2)
    cdef int way = SHUT_RDWR
    if span_equal(how, b"send", 4):
        way = SHUT_WR
    elif span_equal(how, b"receive", 7):
        way = SHUT_RD
    elif not span_equal(how, b"both", 4):
        return luaL_argerror(L, 2, b"expected \"send\", \"receive\" or \"both\"")
    if s == NULL:
        return l_fail(L, b"closed")
    if way != SHUT_RD:
        if s.tls != NULL:
            s.tls.api.shutdown(s.tls)
        s.flags |= SOCK_ENDED
    if shutdown(s.watch.fd, way) != 0:
        return l_fail_errno(L, errno)
    lua_pushboolean(L, 1)
    return 1


# ---- What it is ------------------------------------------------------------------------------------------

cdef int push_address(lua_State *L, const Address *a) noexcept nogil:
    """address, port; or path."""
    cdef char room[ADDRESS_TEXT_MAX]
    cdef int port = address_port(a)
    l_push_span(L, address_text(a, room))
    if port < 0:
        return 1
    lua_pushinteger(L, port)
    return 2


cdef int l_sock_peer(lua_State *L) noexcept nogil:
    """peer() → address, port; or path; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Address a
    if s == NULL:
        return l_fail(L, b"closed")
    a.n = sizeof(a.at)
    if getpeername(s.watch.fd, <sockaddr *>&a.at, &a.n) != 0:
        return l_fail_errno(L, errno)
    return push_address(L, &a)


cdef int l_sock_name(lua_State *L) noexcept nogil:
    """name() → address, port; or path; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef Address a
    if s == NULL:
        return l_fail(L, b"closed")
    a.n = sizeof(a.at)
    if getsockname(s.watch.fd, <sockaddr *>&a.at, &a.n) != 0:
        return l_fail_errno(L, errno)
    return push_address(L, &a)


cdef int l_sock_fd(lua_State *L) noexcept nogil:
    """fd() → the descriptor, -1 when it is closed."""
    cdef Sock *s = l_check_sock(L)
    lua_pushinteger(L, s.watch.fd if s != NULL else -1)
    return 1


cdef int l_sock_buffered(lua_State *L) noexcept nogil:
    """buffered() → bytes that were read and not yet received."""
    cdef Sock *s = l_check_sock(L)
    lua_pushinteger(L, s.unread.n if s != NULL else 0)
    return 1


cdef int l_socket_count(lua_State *L) noexcept nogil:
    """count() → open sockets of this state."""
    lua_pushinteger(L, l_state(L).nsocks)
    return 1
