# core.ws.publish: one message for many WebSockets. Its frame is made once, and once more for those that compress every
# message anew; only a socket that keeps its context, or masks, gets a frame of its own. Frames are put behind the
# output of their connections, which leaves at the end of the turn, as far as there is time.
# Nobody waits for a socket that does not take what it gets: with too much unsent it is closed.

# The frames of one message, in Worker.scratch_send: `plain` bytes, then `packed` bytes.
ctypedef struct WsFrames:
    Span data
    int opcode
    size_t plain            # 0: not made
    size_t packed           # 0: not made, or it would not be shorter
    uint8_t tried           # to pack


cdef int l_ws_publish(lua_State *L) noexcept nogil:
    """publish(list, data[, kind = "text"]) → to how many of the open WebSockets of a list it goes."""
    cdef Worker *w = l_state(L).worker
    cdef WsFrames f
    cdef int i, n
    cdef ptrdiff_t sent = 0
    luaL_checktype(L, 1, LUA_TTABLE)
    memset(&f, 0, sizeof(f))
    f.data = l_check_span(L, 2)
    f.opcode = l_ws_kind(L, 3)
    l_check_message(L, 2, f.data, f.opcode)
    lua_settop(L, 3)
    w.scratch_send.n = 0
    n = <int>lua_objlen(L, 1)
    for i in range(1, n + 1):
        lua_rawgeti(L, 1, i)
        sent += ws_publish(w, <Ws *>luaL_checkudata(L, 4, WS_CLASS), &f)
        lua_settop(L, 3)
    lua_pushinteger(L, sent)
    return 1


cdef int l_ws_kind_of(lua_State *L) noexcept nogil:
    """kind_of(data) → "text" or, if that is not UTF-8, "binary"."""
    cdef Span data = l_check_span(L, 1)
    cdef Utf8 u
    memset(&u, 0, sizeof(u))
    ws_push_kind(L, WS_TEXT if utf8_feed(&u, data.p, data.n) and not u.need else WS_BINARY)
    return 1


cdef bint ws_publish(Worker *w, Ws *x, WsFrames *f) noexcept nogil:
    cdef Conn *c = ws_conn(x)
    cdef bint pack
    if c == NULL:
        return False
    if c.out.n - c.out_at > w.server.limits.ws_max_unsent:
        x.code = WS_POLICY
        conn_reset(w, c)
        return False
    pack = x.flags & WS_DEFLATE and f.data.n >= x.route.deflate_min
    if x.flags & WS_CLIENT or (pack and not (x.flags & WS_SELF_FRESH and x.bits == WS_BITS_MAX)):
        return ws_send(w, x, f.opcode, f.data) == OK
    if pack and ws_frames_pack(w, x, f):
        return conn_write(w, c, w.scratch_send.p + f.plain, f.packed) == OK
    return ws_frames_make(w, f) == OK and conn_write(w, c, w.scratch_send.p, f.plain) == OK


cdef int ws_frames_make(Worker *w, WsFrames *f) noexcept nogil:
    """The frame as it is; it comes first."""
    if f.plain == 0:
        if ws_frame_append(&w.scratch_send, f.opcode, False, f.data) != OK:
            return ERR_MEMORY
        f.plain = w.scratch_send.n
    return OK


cdef bint ws_frames_pack(Worker *w, Ws *x, WsFrames *f) noexcept nogil:
    """The compressed frame; False: use the other one."""
    cdef Span payload = f.data
    if not f.tried:
        f.tried = 1
        if ws_frames_make(w, f) == OK and ws_deflate(w, x, &payload) == OK and \
                ws_frame_append(&w.scratch_send, f.opcode, True, payload) == OK:
            f.packed = w.scratch_send.n - f.plain
    return f.packed != 0


cdef int ws_frame_append(Buf *b, int opcode, bint packed, Span payload) noexcept nogil:
    if buf_reserve(b, WS_HEAD_MAX + payload.n) != OK:
        return ERR_MEMORY
    b.n += ws_frame_put(b.p + b.n, opcode, packed, payload.n, NULL)
    return buf_append(b, payload.p, payload.n)
