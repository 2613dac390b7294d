# The client's side of a WebSocket, as far as it differs: it masks what it sends, leaves it to the server to close the
# connection, and belongs to its state as sockets of the application do: neither a reload nor a stop waits for it.
# All else is ws.pxi's. There could have been a second implementation, in Lua on the codec and a Sock; but then
# fragments, compression, UTF-8, back-pressure and the closing handshake would be there twice, and all that is found in
# one would have to be looked for in the other. So the descriptor moves from its Sock to a Conn of the protocol WS.
# Not for the opening handshake, which is heart/v1/websocket.lua's.

cdef enum:
    WS_PART = 16384             # bytes that are masked at once


# ---- Masks -----------------------------------------------------------------------------------------------

cdef int ws_mask_new(Worker *w, uint8_t *mask) noexcept nogil:
    """Four bytes that nobody can foresee (section 10.3)."""
    if w.ws_nmasks == 0:
        if random_fill(w.ws_masks, sizeof(w.ws_masks)) != 0:
            return ERR_SYSTEM
        w.ws_nmasks = sizeof(w.ws_masks)
    w.ws_nmasks -= 4
    memcpy(mask, w.ws_masks + w.ws_nmasks, 4)
    return OK


cdef int ws_send_masked(Worker *w, Conn *c, int opcode, bint packed, Span payload) noexcept nogil:
    """One frame: OK or ERR_CLOSED. The payload belongs to somebody else and is masked in copies of its parts."""
    cdef char part[WS_PART]
    cdef uint8_t mask[4]
    cdef size_t at = 0
    cdef size_t head, n
    if ws_mask_new(w, mask) != OK:
        conn_reset(w, c)
        return ERR_CLOSED
    head = ws_frame_put(part, opcode, packed, payload.n, mask)
    while True:
        n = payload.n - at if payload.n - at < WS_PART - head else WS_PART - head
        if n:
            memcpy(part + head, payload.p + at, n)
            ws_mask(part + head, n, mask, at)
        if conn_write(w, c, part, head + n) != OK:
            return ERR_CLOSED
        at += n
        head = 0
        if at == payload.n:
            return OK


# ---- Life ------------------------------------------------------------------------------------------------

cdef Conn *sock_hand_over(Worker *w, Sock *s, const Proto *proto) noexcept nogil:
    """Make a connection of a socket, which is gone, with what it has read. NULL: out of memory; all is closed."""
    cdef int fd = s.watch.fd
    cdef TlsSession *tls = s.tls
    cdef Conn *c
    sock_unwatch(w, s)
    s.watch.fd = -1
    s.tls = NULL
    c = conn_make(w, proto, fd, CONN_OURS)
    if c == NULL:
        if tls != NULL:
            tls.api.session_free(tls)
    else:
        c.tls = tls
        if s.flags & SOCK_MORE:
            c.flags |= CONN_UNREAD
            conn_touch(w, c)
        if conn_spill(w, c, s.unread.p, s.unread.n) != OK:
            c = NULL
    sock_close(w, s)
    return c


cdef void ws_leave(Worker *w, Ws *x) noexcept nogil:
    """Nothing more is sent or looked at: the server closes the connection (section 7.1.1), in the time that it has for
    the closing handshake."""
    cdef Conn *c = x.conn
    ws_forget(w, x)
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.ws_close_timeout)
    conn_resume(w, c)


cdef void ws_abandon(Worker *w, Ws *x) noexcept nogil:
    """No Lua code can reach it any more."""
    ws_close(w, x, WS_GOING_AWAY, Span(b"", 0))
    if x.conn != NULL:
        ws_leave(w, x)


cdef void ws_close_clients(Worker *w, State *s) noexcept nogil:
    """The state is closed: its clients say so and leave. It has no other WebSockets by now."""
    cdef Conn *c
    while s.sockets != NULL:
        c = s.sockets.conn
        ws_close(w, s.sockets, WS_GOING_AWAY, Span(b"", 0))
        if not c.flags & CONN_DEAD:
            conn_flush(w, c)
        conn_close(w, c)
