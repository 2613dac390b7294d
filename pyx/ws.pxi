# WebSockets on a connection (RFC 6455): the protocol table WS. It takes over from HTTP/1 when a handler has accepted
# the upgrade (lua_ws.pxi), or from a socket of the application when a server has (lua_ws_client.pxi); Conn.req is the
# Ws then. Frames become messages here, and messages frames. What only a client does is in ws_client.pxi.
# Invariants:
#   - a message that lies whole in the scratch buffer is never copied on its way to Lua; parts collect in Ws.message;
#   - at most one message waits for a reader: then no more input is taken, and the peer feels it. Output that waits does
#     not stop input: two sides that send at the same time would wait for each other;
#   - a Ws is memory of Lua: anything that runs Lua code may free one whose connection has ended, so after a message
#     was given away only the connection is looked at.
#
# on_data ─ ws_take ─ ws_frame_parse ─ ws_take_payload ─ ws_message ─ lua_ws_message

cdef Proto WS

cdef enum:
    WS_PONGS_MAX = 32           # answers to pings that wait behind other output, until no more input is taken


cdef void ws_init() noexcept nogil:
    WS.name = b"websocket"
    WS.duplex = True
    WS.on_data = ws_on_data
    WS.on_eof = ws_on_eof
    WS.on_writable = ws_on_writable
    WS.on_timer = ws_on_timer
    WS.on_close = ws_on_close
    WS.on_stop = ws_on_stop
    WS.takes_input = ws_takes_input


cdef inline Ws *conn_ws(Conn *c) noexcept nogil:
    """NULL once the closing frame is out and nothing that comes is looked at any more."""
    return <Ws *>c.req


cdef inline Conn *ws_conn(Ws *x) noexcept nogil:
    """Its connection while frames can be sent: NULL from the closing handshake on."""
    return x.conn if not x.flags & WS_CLOSE_SENT else NULL


# ---- Life ------------------------------------------------------------------------------------------------

cdef void ws_open(Worker *w, Ws *x, Conn *c, WsRoute *route, State *s) noexcept nogil:
    """The connection belongs to the WebSocket from now on."""
    x.conn = c
    x.route = route
    x.state = s
    x.ref = LUA_NOREF
    x.code = WS_ABNORMAL
    if not x.flags & WS_CLIENT:
        s.holders += 1
    x.next = s.sockets
    if x.next != NULL:
        x.next.prev = x
    s.sockets = x
    c.req = <Req *>x
    c.proto = &WS
    ws_wait_ping(w, x)
    if c.flags & CONN_MORE:
        c.flags |= CONN_PAUSED          # http1_on_data is on the stack: it stops, and hands its rest over
    else:
        conn_resume(w, c)


cdef void ws_forget(Worker *w, Ws *x) noexcept nogil:
    """The connection is not its own any more; who waits for it is told."""
    if x.conn == NULL:
        return
    if x.flags & WS_MESSAGE:
        buf_free(&x.message)
    x.conn.req = NULL
    x.conn = NULL
    if x.prev != NULL:
        x.prev.next = x.next
    else:
        x.state.sockets = x.next
    if x.next != NULL:
        x.next.prev = x.prev
    if not x.flags & WS_CLIENT:
        state_release(w, x.state)
    lua_ws_closed(w, x)


cdef void ws_on_close(Worker *w, Conn *c) noexcept nogil:
    if conn_ws(c) != NULL:
        ws_forget(w, conn_ws(c))


cdef void ws_on_stop(Worker *w, Conn *c) noexcept nogil:
    """The worker ends. What is still running may need its clients; they are closed with their state."""
    if conn_ws(c) != NULL and not c.flags & CONN_OURS:
        ws_close(w, conn_ws(c), WS_GOING_AWAY, Span(b"", 0))


cdef void ws_close_all(Worker *w, State *s, int code) noexcept nogil:
    """The state ends: its sockets are closed, with or without an answer from the peer."""
    cdef Conn *c
    while s.sockets != NULL:
        c = s.sockets.conn
        ws_close(w, s.sockets, WS_GOING_AWAY if c.flags & CONN_OURS else code, Span(b"", 0))
        if not c.flags & CONN_DEAD:
            ws_end(w, c)


# ---- Input -----------------------------------------------------------------------------------------------

cdef void ws_on_data(Worker *w, Conn *c, char *p, size_t n) noexcept nogil:
    cdef size_t used = 0
    cdef size_t taken
    if conn_ws(c) == NULL:
        return
    conn_ws(c).flags &= ~<uint32_t>WS_PINGED
    ws_wait_ping(w, conn_ws(c))
    while used < n and conn_ws(c) != NULL and ws_takes_input(c):
        taken = ws_take(w, c, conn_ws(c), p + used, n - used)
        if taken == 0:
            break
        used += taken
    if conn_ws(c) == NULL or c.flags & CONN_DEAD:
        return
    if not ws_takes_input(c):
        c.flags |= CONN_PAUSED
    conn_spill(w, c, p + used, n - used)


cdef bint ws_takes_input(Conn *c) noexcept nogil:
    cdef Ws *x = conn_ws(c)
    return x == NULL or (not x.flags & (WS_HELD | WS_BUSY) and (x.pongs < WS_PONGS_MAX or c.out.n == 0))


cdef size_t ws_take(Worker *w, Conn *c, Ws *x, char *p, size_t n) noexcept nogil:
    """A part of what has arrived: a frame, or its header, or more of its payload. Returns the bytes used, 0 if more
    are needed."""
    cdef WsFrame f
    cdef int rc
    if x.flags & WS_PAYLOAD:
        return ws_take_payload(w, c, x, p, n)
    rc = ws_frame_parse(p, n, &f)
    if rc == PARTIAL:
        return 0
    if rc == OK:
        rc = ws_judge(w, x, &f)
    if rc != OK:
        return ws_fail(w, c, x, rc, f.why, n)
    if f.opcode & WS_CONTROL:
        if n < f.size + f.length:
            return 0
        ws_unmask(x, p + f.size, f.length, f.mask, 0)
        ws_control(w, c, x, f.opcode, Span(p + f.size, f.length))
        return f.size + f.length
    if f.opcode != WS_CONTINUATION:
        x.kind = f.opcode
        x.flags = (x.flags | (WS_PACKED if f.compressed else 0)) | WS_MESSAGE
        memset(&x.utf8, 0, sizeof(Utf8))
    if f.fin and f.opcode != WS_CONTINUATION and n - f.size >= f.length:       # all of it is here
        ws_unmask(x, p + f.size, f.length, f.mask, 0)
        n = f.size + f.length
        ws_message(w, c, x, Span(p + f.size, f.length))
        return n
    x.left = f.length
    x.at = 0
    memcpy(x.mask, f.mask, 4)
    x.flags |= WS_PAYLOAD | (WS_FINAL if f.fin else 0)
    if f.length == 0:
        ws_payload_done(w, c, x)
    return f.size


cdef int ws_judge(Worker *w, Ws *x, WsFrame *f) noexcept nogil:
    """Whether this frame may come now: OK, or the code to close with."""
    if f.masked == (x.flags & WS_CLIENT != 0):
        f.why = b"a frame is not masked" if not f.masked else b"a frame of the server is masked"
        return WS_PROTOCOL_ERROR
    if f.opcode & WS_CONTROL:
        return OK
    if (f.opcode == WS_CONTINUATION) != (x.flags & WS_MESSAGE != 0):
        f.why = b"a continuation without a message, or a message inside another"
        return WS_PROTOCOL_ERROR
    if f.compressed and not x.flags & WS_DEFLATE:
        f.why = b"a compressed frame without an agreement on it"
        return WS_PROTOCOL_ERROR
    if f.length > x.route.max_message - x.message.n:
        f.why = b"a message is longer than the limit"
        return WS_TOO_BIG
    return OK


cdef inline void ws_unmask(Ws *x, char *p, size_t n, const uint8_t *mask, uint64_t at) noexcept nogil:
    if likely(not x.flags & WS_CLIENT):
        ws_mask(p, n, mask, at)


cdef size_t ws_take_payload(Worker *w, Conn *c, Ws *x, char *p, size_t n) noexcept nogil:
    """The next part of a payload that does not come in one piece. A text is checked as it arrives."""
    if n > x.left:
        n = <size_t>x.left
    ws_unmask(x, p, n, x.mask, x.at)
    if x.kind == WS_TEXT and not x.flags & WS_PACKED and not utf8_feed(&x.utf8, p, n):
        return ws_fail(w, c, x, WS_BAD_TEXT, b"a text is not UTF-8", n)
    if buf_append(&x.message, p, n) != OK:
        return ws_fail(w, c, x, WS_TOO_BIG, b"out of memory", n)
    x.at += n
    x.left -= n
    if x.left == 0:
        ws_payload_done(w, c, x)
    return n


cdef void ws_payload_done(Worker *w, Conn *c, Ws *x) noexcept nogil:
    """The frame has ended, and perhaps the message."""
    cdef bint final = x.flags & WS_FINAL
    x.flags &= ~<uint32_t>(WS_PAYLOAD | WS_FINAL)
    if final:
        ws_message(w, c, x, Span(NULL, 0))


cdef void ws_message(Worker *w, Conn *c, Ws *x, Span data) noexcept nogil:
    """A message is complete: all of it in `data`, or collected in x.message."""
    cdef bint collected = data.p == NULL
    cdef bint packed = x.flags & WS_PACKED
    cdef int rc
    x.flags &= ~<uint32_t>(WS_MESSAGE | WS_PACKED)
    if collected:
        data = buf_span(&x.message)
    if packed:
        rc = ws_inflate(w, x, &data)
        if rc != OK:
            ws_fail(w, c, x, rc, b"a compressed message is broken, or longer than the limit", 0)
            return
    if x.kind == WS_TEXT and (packed or not collected) and not utf8_feed(&x.utf8, data.p, data.n):
        x.utf8.need = 255
    if x.kind == WS_TEXT and x.utf8.need:
        ws_fail(w, c, x, WS_BAD_TEXT, b"a text is not UTF-8", 0)
        return
    lua_ws_message(w, c, x, data, collected and not packed)


cdef void ws_control(Worker *w, Conn *c, Ws *x, int opcode, Span payload) noexcept nogil:
    cdef uint16_t code
    cdef Span reason
    cdef int rc
    if opcode == WS_PING:
        if not x.flags & WS_CLOSE_SENT:
            x.pongs = x.pongs + 1 if c.out.n else 0
            ws_send(w, x, WS_PONG, payload)
        return
    if opcode == WS_PONG:
        return
    rc = ws_close_parse(payload, &code, &reason)
    if rc != OK:
        ws_fail(w, c, x, rc, b"a close frame is malformed", 0)
        return
    x.flags = (x.flags | WS_CLOSE_SEEN) & ~<uint32_t>(WS_MESSAGE | WS_PACKED)
    x.code = code
    buf_shrink(&x.message, 0)
    buf_append(&x.message, reason.p, reason.n)      # for the application
    ws_close(w, x, WS_NORMAL if code == WS_NO_CODE else code, reason)
    if not c.flags & CONN_DEAD:
        ws_end(w, c)


cdef size_t ws_fail(Worker *w, Conn *c, Ws *x, int code, const char *why, size_t n) noexcept nogil:
    """The peer breaks the protocol or a limit: say so and close (section 7.1.7). Returns `n`."""
    cdef LogField field
    cdef char text[8]
    if log_enabled(w.log, LEVEL_INFO):
        field.key = Span(b"code", 4)
        field.value = Span(&text[0], put_decimal(text, code))
        log_message(w.log, LEVEL_INFO, span_z(why), &field, 1)
    x.code = <uint16_t>code
    buf_free(&x.message)
    ws_close(w, x, code, Span(b"", 0))
    if not c.flags & CONN_DEAD:
        ws_end(w, c)
    return n


# ---- Output ----------------------------------------------------------------------------------------------

cdef int ws_send(Worker *w, Ws *x, int opcode, Span payload) noexcept nogil:
    """Send one frame: OK or ERR_CLOSED. What the socket does not take is kept."""
    cdef Conn *c = x.conn
    cdef char head[WS_HEAD_MAX]
    cdef uint8_t key[4]
    cdef size_t n
    cdef bint packed = False
    if c == NULL or x.flags & WS_CLOSE_SENT:
        return ERR_CLOSED
    if x.flags & WS_DEFLATE and not opcode & WS_CONTROL and payload.n >= x.route.deflate_min:
        packed = ws_deflate(w, x, &payload) == OK
    if unlikely(x.flags & WS_CLIENT):
        return ws_send_masked(w, c, opcode, packed, payload)
    n = ws_frame_put(head, opcode, packed, payload.n, NULL)
    if conn_write(w, c, head, n) != OK:
        return ERR_CLOSED
    return conn_write(w, c, payload.p, payload.n) if payload.n else OK


cdef void ws_close(Worker *w, Ws *x, int code, Span reason) noexcept nogil:
    """Begin the closing handshake, or answer it. The peer has --ws-close-timeout for its part."""
    cdef char payload[WS_CONTROL_MAX]
    cdef Conn *c = x.conn
    if c == NULL or x.flags & WS_CLOSE_SENT:
        return
    if reason.n > WS_CONTROL_MAX - 2:
        reason.n = WS_CONTROL_MAX - 2
    payload[0] = <char>(code >> 8)
    payload[1] = <char>(code & 255)
    if reason.n:
        memcpy(payload + 2, reason.p, reason.n)
    if ws_send(w, x, WS_CLOSE, Span(&payload[0], 2 + reason.n)) != OK:
        return
    x.flags |= WS_CLOSE_SENT
    if not x.flags & WS_CLOSE_SEEN and x.code == WS_ABNORMAL:
        x.code = <uint16_t>code
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.ws_close_timeout)


cdef void ws_end(Worker *w, Conn *c) noexcept nogil:
    """Both sides have said what they had to say, or the peer is not listened to any more: close once all is sent."""
    cdef Ws *x = conn_ws(c)
    if c.flags & CONN_OURS and x != NULL and x.flags & WS_CLOSE_SEEN:
        ws_leave(w, x)
        return
    c.flags |= CONN_CLOSING
    if x != NULL and not x.flags & WS_CLOSE_SEEN:
        c.flags |= CONN_LINGER
    if x != NULL:
        ws_forget(w, x)
    conn_touch(w, c)


# ---- Events ----------------------------------------------------------------------------------------------

cdef void ws_wait_ping(Worker *w, Ws *x) noexcept nogil:
    """The peer has shown life: the next ping comes after a while without any. Output that waits has its own time."""
    if not x.flags & WS_CLOSE_SENT and not x.conn.flags & CONN_BLOCKED:
        timer_set(&w.wheel, &x.conn.timer, w.now + w.server.limits.ws_ping)


cdef void ws_resume(Worker *w, Ws *x) noexcept nogil:
    """Messages are taken again. The answer to a ping may have waited behind the one that was kept: it gets its time
    anew."""
    if unlikely(x.flags & WS_PINGED) and not x.flags & WS_CLOSE_SENT and not x.conn.flags & CONN_BLOCKED:
        timer_set(&w.wheel, &x.conn.timer, w.now + w.server.limits.ws_timeout)
    conn_resume(w, x.conn)


cdef void ws_on_timer(Worker *w, Conn *c) noexcept nogil:
    cdef Ws *x = conn_ws(c)
    if x == NULL or x.flags & WS_CLOSE_SENT or (x.flags & WS_PINGED and ws_takes_input(c)):
        conn_close(w, c)
        return
    timer_set(&w.wheel, &c.timer, w.now + w.server.limits.ws_timeout)
    if not x.flags & WS_PINGED:         # else its answer waits behind a message that nobody has taken
        x.flags |= WS_PINGED
        ws_send(w, x, WS_PING, Span(b"", 0))


cdef void ws_on_eof(Worker *w, Conn *c) noexcept nogil:
    conn_close(w, c)


cdef void ws_on_writable(Worker *w, Conn *c) noexcept nogil:
    if conn_ws(c) != NULL:
        lua_ws_drained(w, conn_ws(c))
