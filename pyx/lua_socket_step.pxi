# core.socket: sockets that are made step by step, as LuaSocket does it: new, then bind, listen or connect. A connect
# that has no time left goes on by itself; the socket is usable once the kernel has decided. And waiting for several.

cdef int l_socket_new(lua_State *L) noexcept nogil:
    """new("stream" | "datagram", "inet" | "inet6" | "unix") → socket; or nil and the reason."""
    cdef bint datagram = span_equal(l_check_span(L, 1), b"datagram", 8)
    cdef Span family = l_check_span(L, 2)
    cdef Address a
    cdef Sock *s
    a.at.ss_family = AF_INET
    if span_equal(family, b"inet6", 5):
        a.at.ss_family = AF_INET6
    elif span_equal(family, b"unix", 4):
        a.at.ss_family = AF_UNIX
    s = sock_open(worker_self(), l_state(L), &a, SOCK_DGRAM if datagram else SOCK_STREAM)
    if s == NULL:
        return l_fail_errno(L, errno)
    if a.at.ss_family == AF_INET6:
        sock_set_flag(s, IPPROTO_IPV6, IPV6_V6ONLY, True)
    push_sock(L, s)
    return 1


cdef Sock *l_check_step(lua_State *L, Address *a) noexcept nogil:
    """The socket at index 1, and the address behind it. NULL: the socket is closed."""
    cdef Sock *s = l_check_sock(L)
    if s != NULL:
        lua_pushnil(L)
        lua_insert(L, 2)            # where l_check_address looks for it
        l_check_address(L, s, a)
    return s


cdef int l_sock_bind(lua_State *L) noexcept nogil:
    """bind(address, port) or bind(path) → true; or nil and the reason."""
    cdef Address a
    cdef Sock *s = l_check_step(L, &a)
    if s == NULL:
        return l_fail(L, b"closed")
    if sock_bind(s, &a) != OK:
        return l_fail_errno(L, errno)
    lua_pushboolean(L, 1)
    return 1


cdef int l_sock_listen(lua_State *L) noexcept nogil:
    """listen(backlog) → true; or nil and the reason. From then on it is a listener."""
    cdef Sock *s = l_check_sock(L)
    if s == NULL:
        return l_fail(L, b"closed")
    if listen(s.watch.fd, <int>luaL_checkinteger(L, 2)) != 0:
        return l_fail_errno(L, errno)
    s.flags |= SOCK_LISTENS
    lua_pushboolean(L, 1)
    return 1


cdef int l_sock_connect(lua_State *L) noexcept nogil:
    """connect(address, port) or connect(path) → true; or nil and the reason. Called again it tells how far an earlier
    connect is: "operation already in progress", "already connected", or why it failed."""
    cdef Address a
    cdef Sock *s = l_check_step(L, &a)
    cdef int64_t timeout
    cdef uint64_t now = clock_ms()
    cdef int rc
    if s == NULL:
        return l_fail(L, b"closed")
    if op_waits(&s.writing):
        return l_fail(L, b"socket busy connecting")
    rc = io_connect(s.watch.fd, <sockaddr *>&a.at, a.n)
    if rc == OK:
        lua_pushboolean(L, 1)
        return 1
    if rc == ERR_LIMIT:
        return l_fail(L, b"resource temporarily unavailable")
    if rc != PENDING:
        return l_fail_errno(L, errno)
    timeout = sock_timeout(s, s.connect_timeout, now)
    if timeout == 0:
        return l_fail(L, b"timeout")
    s.flags |= SOCK_CONNECTING | SOCK_STEP
    return l_wait_op_until(L, &s.writing, now + timeout if timeout > 0 else 0)


cdef int l_sock_disconnect(lua_State *L) noexcept nogil:
    """disconnect(): a datagram socket has no peer any more."""
    cdef Sock *s = l_check_sock(L)
    cdef sockaddr_storage any
    memset(&any, 0, sizeof(any))        # AF_UNSPEC
    if s != NULL and s.flags & SOCK_DATAGRAM:
        io_connect(s.watch.fd, <sockaddr *>&any, sizeof(sockaddr_in))
    return 0


cdef int push_connected(lua_State *L, Sock *s, Op *op) noexcept nogil:
    """The result of connect(). A socket that failed may be connected again."""
    cdef bint done = not s.flags & (SOCK_CONNECTING | SOCK_DEAD)
    s.flags &= ~<uint32_t>SOCK_STEP
    if done:
        lua_pushboolean(L, 1)
        return 1
    l_fail(L, sock_reason(s, op))
    if not s.flags & SOCK_DEAD:
        s.flags &= ~<uint32_t>(SOCK_CONNECTING | SOCK_BROKEN)
        s.error = 0
        sock_unwatch(s.state.worker, s)
    return 2


cdef int l_sock_readable(lua_State *L) noexcept nogil:
    """readable() → "" as soon as there is a byte to receive; or nil and the reason."""
    cdef Sock *s = l_check_sock(L)
    cdef int n = l_read_begin(L, s, READ_ANY, 0)
    return n if n else l_read(L, s)


# ---- Options of time ------------------------------------------------------------------------------------------

cdef int l_sock_patient(lua_State *L) noexcept nogil:
    """patient(flag): the timeouts of sending and receiving count from the last byte that moved, not from the call."""
    cdef Sock *s = l_check_sock(L)
    if s != NULL:
        s.flags &= ~<uint32_t>SOCK_PATIENT
        if lua_toboolean(L, 2):
            s.flags |= SOCK_PATIENT
    return 0


# ---- Waiting for several ----------------------------------------------------------------------------------------
# The descriptors go into an epoll of their own, which the worker's poller watches: so it does not matter who else
# watches them, and a wait for many costs the loop one entry.

cdef Polling *polling_of(Watch *x) noexcept nogil:
    return <Polling *>(<char *>x - <size_t>&(<Polling *>NULL).watch)


cdef inline pollfd *polling_items(Polling *p) noexcept nogil:
    return <pollfd *>(p + 1)


cdef void polling_on_event(Worker *w, Watch *x, uint32_t events) noexcept nogil:
    cdef Polling *p = polling_of(x)
    if p.watch.fd >= 0 and p.op.begun and poll(polling_items(p), p.n, 0) > 0:
        op_done(w, &p.op)


cdef void polling_begin(Worker *w, Op *op) noexcept nogil:
    cdef Polling *p = <Polling *>op
    cdef pollfd *items = polling_items(p)
    cdef epoll_event e
    cdef uint32_t i, j
    p.watch.on_event = polling_on_event
    p.watch.fd = epoll_create1(EPOLL_CLOEXEC)
    if p.watch.fd < 0:
        op_ready(w, op)
        return
    for i in range(p.n):
        e.data.ptr = NULL
        e.events = items[i].events
        if epoll_ctl(p.watch.fd, EPOLL_CTL_ADD, items[i].fd, &e) != 0:
            for j in range(i):                  # it is there twice
                if items[j].fd == items[i].fd:
                    e.events |= <uint32_t>items[j].events
            epoll_ctl(p.watch.fd, EPOLL_CTL_MOD, items[i].fd, &e)
    if poller_add(w, &p.watch, EPOLLIN) != OK:
        op_ready(w, op)


cdef bint polling_cancel(Worker *w, Op *op) noexcept nogil:
    return True


cdef void polling_drop(Worker *w, Op *op) noexcept nogil:
    """The memory is kept to the end of the turn: the poller may hand out an event for it until then."""
    cdef Polling *p = <Polling *>op
    if p.watch.fd >= 0:
        poller_remove(w, &p.watch)
        close(p.watch.fd)
        p.watch.fd = -1
    p.next = w.pollings_dead
    w.pollings_dead = p


cdef int polling_finish(Coro *co, Op *op) noexcept nogil:
    cdef Polling *p = <Polling *>op
    poll(polling_items(p), p.n, 0)
    push_polled(co.L, polling_items(p), p.n)
    polling_drop(co.state.worker, op)
    return 1


cdef void pollings_settle(Worker *w) noexcept nogil:
    cdef Polling *p
    while w.pollings_dead != NULL:
        p = w.pollings_dead
        w.pollings_dead = p.next
        free(p)


cdef void push_polled(lua_State *L, const pollfd *items, uint32_t n) noexcept nogil:
    """A list of the positions of those that are ready."""
    cdef uint32_t i
    cdef int found = 0
    lua_createtable(L, 4, 0)
    for i in range(n):
        if items[i].revents:
            found += 1
            lua_pushinteger(L, i + 1)
            lua_rawseti(L, -2, found)


cdef int l_socket_poll(lua_State *L) noexcept nogil:
    """poll(descriptors, n, seconds): wait until one of the list can be read, or, from the one behind the first `n` on,
    be written → a list of the positions of those; empty when the time is over. seconds: nil waits for ever, 0 not."""
    cdef Worker *w = worker_self()
    cdef uint32_t i, n, readers
    cdef int64_t timeout
    cdef Polling *p
    cdef pollfd *items
    luaL_checktype(L, 1, LUA_TTABLE)
    readers = <uint32_t>luaL_checkinteger(L, 2)
    timeout = l_milliseconds(L, 3)
    n = <uint32_t>lua_objlen(L, 1)
    p = <Polling *>malloc(sizeof(Polling) + n * sizeof(pollfd))
    if p == NULL:
        return luaL_error(L, b"not enough memory")
    memset(p, 0, sizeof(Polling))
    p.n = n
    items = polling_items(p)
    for i in range(n):
        lua_rawgeti(L, 1, <int>i + 1)
        items[i].fd = <int>lua_tointeger(L, -1)
        items[i].events = POLLIN if i < readers else POLLOUT
        lua_settop(L, -2)
    if poll(items, n, 0) > 0 or timeout == 0:
        p.next = w.pollings_dead
        w.pollings_dead = p
        push_polled(L, items, n)
        return 1
    p.watch.fd = -1
    op_init(&p.op)
    p.op.begin = polling_begin
    p.op.finish = polling_finish
    p.op.cancel = polling_cancel
    p.op.drop = polling_drop
    return l_wait_op_until(L, &p.op, clock_ms() + timeout if timeout > 0 else 0)
