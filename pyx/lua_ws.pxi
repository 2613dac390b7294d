# WebSockets for Lua: core.ws, on which heart/ws.lua builds app.ws. An object is a Ws in Lua's memory; the registry
# holds it while its connection is open (but for a client, lua_ws_client.pxi), one of its functions runs or a coroutine
# waits for it.
# Two styles: functions of the route that the engine calls with each message, one at a time; or a handler that asks for
# messages with ws:receive().
# Invariant: the coroutine that accepts keeps its request until it waits for the first time (ws_coro_settle), so that
# ctx works until then and an idle WebSocket costs no request.

cdef const char *WS_CLASS = b"heart.ws"


# ---- Opening ---------------------------------------------------------------------------------------------

cdef void lua_ws_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    luaL_newmetatable(L, WS_CLASS)
    lua_createtable(L, 0, 8)
    core_put(L, s, b"send", l_ws_send)
    core_put(L, s, b"receive", l_ws_receive)
    core_put(L, s, b"ping", l_ws_ping)
    core_put(L, s, b"close", l_ws_close)
    core_put(L, s, b"is_open", l_ws_is_open)
    lua_pushvalue(L, -1)
    lua_insert(L, -3)                   # for the table below: Lua code adds methods
    lua_pushcclosure(L, l_ws_index, 1)
    lua_setfield(L, -2, b"__index")
    core_put(L, s, b"__newindex", l_ws_assign)
    core_put(L, s, b"__gc", l_ws_gc)
    lua_pop(L, 1)
    lua_createtable(L, 0, 4)
    lua_insert(L, -2)
    lua_setfield(L, -2, b"methods")
    core_put(L, s, b"route", l_ws_route)
    core_put(L, s, b"accept", l_ws_accept)
    core_put(L, s, b"publish", l_ws_publish)
    core_put(L, s, b"kind_of", l_ws_kind_of)
    core_put(L, s, b"accept_of", l_ws_accept_of)
    core_put(L, s, b"is_client", l_ws_is_client)


cdef int l_ws_route(lua_State *L) noexcept nogil:
    """route(message, close, error, max_message, deflate, deflate_min, level, context, same_origin) → a route. The
    functions may be nil; deflate, context and same_origin are switches. It lives as long as its state."""
    cdef WsRoute *route
    cdef Limits *limits = &l_state(L).worker.server.limits
    lua_settop(L, 9)
    route = <WsRoute *>lua_newuserdata(L, sizeof(WsRoute))
    route.max_message = <size_t>luaL_optinteger(L, 4, <ptrdiff_t>limits.ws_max_message)
    route.deflate = lua_toboolean(L, 5)
    route.deflate_min = <size_t>luaL_optinteger(L, 6, <ptrdiff_t>limits.ws_deflate_min)
    route.deflate_level = <uint8_t>luaL_optinteger(L, 7, 1)
    route.keep_context = lua_toboolean(L, 8)
    route.same_origin = lua_toboolean(L, 9)
    route.message = l_function_ref(L, 1)
    route.close = l_function_ref(L, 2)
    route.error = l_function_ref(L, 3)
    lua_pushvalue(L, 10)
    luaL_ref(L, LUA_REGISTRYINDEX)
    return 1


cdef int l_function_ref(lua_State *L, int index) noexcept nogil:
    if lua_type(L, index) != LUA_TFUNCTION:
        return LUA_NOREF
    lua_pushvalue(L, index)
    return luaL_ref(L, LUA_REGISTRYINDEX)


cdef int ws_check_upgrade(Req *r, Span *key) noexcept nogil:
    """Whether a request is a handshake (section 4.2.1): 0, or the status to answer with, its fields set."""
    cdef Span version
    if not r.head.flags & HEAD_UPGRADE or not list_has(req_field(r, HEADER_UPGRADE), Span(b"websocket", 9)):
        buf_append(&r.fields, b"Upgrade: websocket\r\n", 20)
        return 426
    if req_find_header(r, Span(b"sec-websocket-version", 21), &version) != OK or not span_equal(version, b"13", 2):
        buf_append(&r.fields, b"Sec-WebSocket-Version: 13\r\n", 27)
        return 426
    if req_find_header(r, Span(b"sec-websocket-key", 17), key) != OK or not ws_key_valid(key[0]):
        return 400
    return 0 if r.flags & REQ_BODY_DONE and r.body.n == 0 else 400


cdef bint ws_origin_same(Req *r) noexcept nogil:
    """Whether a page of the same host asks (section 10.2). Clients that are no browsers send no origin."""
    cdef Span host = Span(r.head.base + r.head.host, r.head.host_len)
    cdef Span origin
    if req_find_header(r, Span(b"origin", 6), &origin) != OK:
        return True
    if origin.n > 7 and span_same(Span(origin.p, 7), b"http://", 7):
        return span_same_fold(Span(origin.p + 7, origin.n - 7), host)
    return origin.n > 8 and span_same(Span(origin.p, 8), b"https://", 8) and \
        span_same_fold(Span(origin.p + 8, origin.n - 8), host)


cdef bint list_has(Span list_, Span word) noexcept nogil:
    """Whether a comma-separated list has a word (lower case), whatever its case there."""
    while list_.n:
        if span_same(span_trim(span_until(&list_, c',')), word.p, word.n):
            return True
    return False


cdef int l_ws_accept(lua_State *L) noexcept nogil:
    """accept(ctx, route[, protocol]) → a WebSocket; or nil and the status to answer with."""
    cdef Worker *w = l_state(L).worker
    cdef Coro *co = w.running
    cdef Req *r = ctx_serving(L, <Ctx *>lua_touserdata(L, 1))
    cdef WsRoute *route = <WsRoute *>lua_touserdata(L, 2)
    cdef Span protocol = Span(NULL, 0)
    cdef WsDeflateParams params
    cdef Span key
    cdef Ws *x
    cdef bint packed
    cdef int status
    if not l_absent(L, 3):
        protocol = l_check_span(L, 3)
    if r.flags & REQ_HEAD_SENT or co.role != ROLE_HANDLER or co.req != r:
        return luaL_error(L, b"a WebSocket can only be accepted by the handler of its request, before it answers")
    status = ws_check_upgrade(r, &key) if r.conn != NULL else 400
    if status == 0 and route.same_origin and not ws_origin_same(r):
        status = 403
    if status:
        lua_pushnil(L)
        lua_pushinteger(L, status)
        return 2
    packed = route.deflate and ws_find_deflate(r, route.keep_context, &params)
    x = <Ws *>lua_newuserdata(L, sizeof(Ws))
    memset(x, 0, sizeof(Ws))
    luaL_newmetatable(L, WS_CLASS)
    lua_setmetatable(L, -2)
    lua_pushvalue(L, -1)
    status = luaL_ref(L, LUA_REGISTRYINDEX)
    if ws_reply_head(w, r, key, protocol, &params if packed else NULL) != OK:
        luaL_unref(L, LUA_REGISTRYINDEX, status)
        lua_pushnil(L)
        lua_pushinteger(L, 400)
        return 2
    ws_take_over(w, co, r, x, route)
    x.ref = status
    if packed:
        ws_agree(x, &params)
    return 1


cdef bint ws_find_deflate(Req *r, bint keep_context, WsDeflateParams *d) noexcept nogil:
    """The first offer of compression that can be kept, in any Sec-WebSocket-Extensions field."""
    cdef int i
    cdef Header *h
    for i in range(r.head.nheaders):
        h = &r.head.headers[i]
        if h.name_len == 24 and text_same_fold(r.head.base + h.name, b"sec-websocket-extensions", 24) and \
                deflate_choose(Span(r.head.base + h.value, h.value_len), keep_context, d):
            return True
    return False


cdef void ws_agree(Ws *x, const WsDeflateParams *d) noexcept nogil:
    x.flags |= WS_DEFLATE
    x.bits = d.server_bits
    if d.server_fresh:
        x.flags |= WS_SELF_FRESH
    if d.client_fresh:
        x.flags |= WS_PEER_FRESH


cdef int ws_reply_head(Worker *w, Req *r, Span key, Span protocol, const WsDeflateParams *d) noexcept nogil:
    """101 Switching Protocols, with the fields that the handler has set."""
    cdef Buf *b = conn_out(w, r.conn)
    cdef char *p
    if buf_reserve(b, HEAD_FIXED + r.fields.n + protocol.n + WS_EXTENSION_MAX) != OK:
        return ERR_MEMORY
    p = put_status_line(b.p + b.n, 101)
    p = put_prefix(w, p, r.flags)
    p = put_bytes(p, b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ", 63)
    ws_accept_put(key, p)
    p = put_bytes(p + WS_ACCEPT_LEN, b"\r\n", 2)
    if protocol.n:
        p = put_bytes(p, b"Sec-WebSocket-Protocol: ", 24)
        p = put_bytes(p, protocol.p, protocol.n)
        p = put_bytes(p, b"\r\n", 2)
    if d != NULL:
        p = put_bytes(p, b"Sec-WebSocket-Extensions: ", 26)
        p += deflate_put(d, p)
        p = put_bytes(p, b"\r\n", 2)
    if r.fields.n:
        p = put_bytes(p, r.fields.p, r.fields.n)
    p = put_bytes(p, b"\r\n", 2)
    b.n = p - b.p
    return OK


cdef void ws_take_over(Worker *w, Coro *co, Req *r, Ws *x, WsRoute *route) noexcept nogil:
    """The request is answered; its coroutine works for the WebSocket from now on."""
    cdef Conn *c = r.conn
    r.status = 101
    r.flags |= REQ_HEAD_SENT | REQ_ANSWERED
    r.conn = NULL
    conn_unwatch(w, c)
    ws_open(w, x, c, route, r.state)
    if route.message == LUA_NOREF:
        x.flags |= WS_STRAIGHT
    co.role = ROLE_WS
    co.state.holders += 1
    ws_begin(co, x)


# ---- Coroutines that work for a WebSocket -------------------------------------------------------------------

cdef void ws_begin(Coro *co, Ws *x) noexcept nogil:
    co.ws = x
    x.coro = co
    if not x.flags & WS_STRAIGHT:
        x.flags |= WS_BUSY


cdef void ws_coro_settle(Worker *w, Coro *co) noexcept nogil:
    """The handler that accepted waits or has ended: its request is over."""
    cdef Req *r = co.req
    if r != NULL:
        co.req = NULL
        co.ctx.req = NULL
        r.coro = NULL
        ws_req_end(w, r)


cdef void ws_req_end(Worker *w, Req *r) noexcept nogil:
    req_log(w, r)
    req_close(w, r)


cdef void ws_coro_ended(Worker *w, Ws *x, bint failed) noexcept nogil:
    """A coroutine of the WebSocket has ended: go on with the next message, or tell of the end."""
    x.coro = NULL
    x.flags &= ~<uint32_t>WS_BUSY
    if x.conn != NULL and (failed or x.flags & WS_ERRED):
        ws_close(w, x, WS_FAILED, Span(b"", 0))
    elif x.conn != NULL and x.flags & WS_STRAIGHT:
        ws_close(w, x, WS_NORMAL, Span(b"", 0))
    if x.conn != NULL:
        ws_resume(w, x)
    elif x.flags & WS_CLOSE_DUE:
        ws_tell_closed(w, x)
    else:
        ws_unref(x)


cdef void ws_unref(Ws *x) noexcept nogil:
    """Nothing of the engine needs the object any more, unless a coroutine waits for it."""
    if x.waits == 0:
        luaL_unref(x.state.L, LUA_REGISTRYINDEX, x.ref)
        x.ref = LUA_NOREF


cdef void l_ws_hold(lua_State *L, Ws *x) noexcept nogil:
    """The coroutine is about to wait in a method: its stack does not hold the object meanwhile."""
    if x.ref == LUA_NOREF:
        lua_pushvalue(L, 1)
        x.ref = luaL_ref(L, LUA_REGISTRYINDEX)
    x.waits += 1


cdef void ws_release(Ws *x) noexcept nogil:
    """It waits no more."""
    x.waits -= 1
    if x.coro == NULL and (x.conn == NULL or x.flags & WS_CLIENT):
        ws_unref(x)


cdef Coro *ws_coro(Worker *w, Ws *x, int function) noexcept nogil:
    """A coroutine with a function of the route and the object on its stack, and room for two more arguments. NULL: out
    of memory."""
    cdef Coro *co = coro_for_task(w, x.state, 4)
    if co == NULL:
        log_z(w, LEVEL_ERROR, b"out of memory: a function of a WebSocket was not run")
        return NULL
    co.role = ROLE_WS
    co.state.holders += 1
    ws_begin(co, x)
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, function)
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, x.ref)
    return co


cdef void lua_ws_message(Worker *w, Conn *c, Ws *x, Span data, bint collected) noexcept nogil:
    """A message for the application. `collected`: it lies in x.message."""
    cdef Coro *co
    if x.flags & WS_CLOSE_SENT:
        buf_free(&x.message)
    elif x.route.message != LUA_NOREF:
        co = ws_coro(w, x, x.route.message)
        if co == NULL:
            ws_fail(w, c, x, WS_FAILED, b"out of memory", 0)
            return
        lua_pushlstring(co.L, data.p, data.n)
        ws_push_kind(co.L, x.kind)
        buf_free(&x.message)
        coro_run(w, co, 3)
    elif x.reader != NULL and x.reader.op.begun:
        w.ws_given = data
        w.ws_kind = x.kind
        op_done(w, &x.reader.op)
        w.ws_kind = 0
    else:
        if not collected:
            x.message.n = 0
            if buf_append(&x.message, data.p, data.n) != OK:
                ws_fail(w, c, x, WS_FAILED, b"out of memory", 0)
                return
        x.flags |= WS_HELD


cdef void ws_push_kind(lua_State *L, uint8_t kind) noexcept nogil:
    if kind == WS_TEXT:
        lua_pushlstring(L, b"text", 4)
    else:
        lua_pushlstring(L, b"binary", 6)


cdef void lua_ws_closed(Worker *w, Ws *x) noexcept nogil:
    """Its connection has ended: whoever waits is told, the close function runs, once what runs now has ended."""
    if x.reader != NULL and x.reader.op.begun:
        op_ready(w, &x.reader.op)
    lua_ws_drained(w, x)
    if x.route.close != LUA_NOREF:
        x.flags |= WS_CLOSE_DUE
    if x.coro == NULL:
        if x.flags & WS_CLOSE_DUE:
            ws_tell_closed(w, x)
        else:
            ws_unref(x)


cdef void ws_tell_closed(Worker *w, Ws *x) noexcept nogil:
    """Run close(ws, code, reason) in the next turn. From anywhere on the worker, inside Lua code too, which may have no
    memory."""
    cdef Coro *co = ws_coro(w, x, x.route.close)
    cdef uint8_t before = x.state.enforced
    x.flags &= ~<uint32_t>WS_CLOSE_DUE
    if co == NULL:
        ws_unref(x)
        return
    x.state.enforced = 0
    lua_pushinteger(co.L, x.code)
    lua_pushlstring(co.L, x.message.p, x.message.n)
    x.state.enforced = before
    coro_start_later(w, co)


cdef void lua_ws_drained(Worker *w, Ws *x) noexcept nogil:
    """All output has left, or none will: the senders go on."""
    cdef WsWriter *q
    while x.writers != NULL:
        q = x.writers
        x.writers = q.next
        op_ready(w, &q.op)


cdef void lua_ws_failed(Worker *w, Ws *x, Req *r, Span message) noexcept nogil:
    """A function of the WebSocket has raised an error, which is logged: error(ws, message) runs, then 1011. `r`: the
    request, if its handler has not waited yet."""
    cdef Coro *other
    if r != NULL:
        r.coro = NULL
        ws_req_end(w, r)
    if x.route.error == LUA_NOREF or x.flags & WS_ERRED or x.conn == NULL:
        ws_coro_ended(w, x, True)
        return
    x.flags |= WS_ERRED
    other = ws_coro(w, x, x.route.error)
    if other == NULL:
        ws_coro_ended(w, x, True)
        return
    lua_pushlstring(other.L, message.p, message.n)
    coro_start_later(w, other)


# ---- Methods ---------------------------------------------------------------------------------------------

cdef inline Ws *l_ws(lua_State *L) noexcept nogil:
    return <Ws *>luaL_checkudata(L, 1, WS_CLASS)


cdef int l_ws_index(lua_State *L) noexcept nogil:
    """__index: `data`, a table of the application's own, made on first use; else a method (upvalue 1)."""
    cdef Ws *x = <Ws *>lua_touserdata(L, 1)
    lua_pushvalue(L, 2)
    lua_rawget(L, lua_upvalueindex(1))
    if not lua_isnil(L, -1) or not span_equal(l_check_span(L, 2), b"data", 4):
        return 1
    if x.flags & WS_HAS_DATA:
        lua_getfenv(L, 1)
        return 1
    lua_createtable(L, 0, 4)
    lua_pushvalue(L, -1)
    lua_setfenv(L, 1)
    x.flags |= WS_HAS_DATA
    return 1


cdef int l_ws_assign(lua_State *L) noexcept nogil:
    cdef Ws *x = l_ws(L)
    if not span_equal(l_check_span(L, 2), b"data", 4):
        return luaL_error(L, b"ws.%s: only ws.data may be set; put the rest into that table", lua_tostring_z(L, 2))
    luaL_checktype(L, 3, LUA_TTABLE)
    lua_settop(L, 3)
    lua_setfenv(L, 1)
    x.flags |= WS_HAS_DATA
    return 0


cdef int l_ws_gc(lua_State *L) noexcept nogil:
    cdef Ws *x = l_ws(L)
    if x.conn != NULL:
        ws_abandon(x.state.worker, x)
    buf_free(&x.message)
    ws_zip_free(<WsZip *>x.zip)
    free(x.reader)
    x.zip = NULL
    x.reader = NULL
    return 0


cdef int l_ws_is_open(lua_State *L) noexcept nogil:
    """is_open() → whether messages can be sent."""
    lua_pushboolean(L, ws_conn(l_ws(L)) != NULL)
    return 1


cdef int l_push_closed(lua_State *L, Ws *x) noexcept nogil:
    """nil, "closed", code, reason"""
    lua_pushnil(L)
    lua_pushlstring(L, b"closed", 6)
    lua_pushinteger(L, x.code)
    lua_pushlstring(L, x.message.p, x.message.n)
    return 4


# ---- ws:send

cdef int l_ws_send(lua_State *L) noexcept nogil:
    """send(data[, kind = "text"]) → true, or nil, "closed", code, reason. Waits while the peer has not taken what was
    sent before."""
    cdef Worker *w = l_state(L).worker
    cdef Ws *x = l_ws(L)
    cdef Span data = l_check_span(L, 2)
    cdef int opcode = l_ws_kind(L, 3)
    l_check_message(L, 2, data, opcode)
    if ws_send(w, x, opcode, data) != OK:
        return l_push_closed(L, x)
    if ws_crowded(x):
        return l_ws_wait_drained(L, w, x)
    lua_pushboolean(L, 1)
    return 1


cdef void l_check_message(lua_State *L, int narg, Span data, int opcode) noexcept nogil:
    cdef Utf8 u
    memset(&u, 0, sizeof(u))
    if opcode == WS_TEXT and (not utf8_feed(&u, data.p, data.n) or u.need):
        luaL_argerror(L, narg, b"a text must be UTF-8; other bytes are sent as \"binary\"")


cdef inline bint ws_crowded(Ws *x) noexcept nogil:
    return x.conn.flags & CONN_BLOCKED or x.conn.out.n - x.conn.out_at > OUT_HIGH


cdef int l_ws_kind(lua_State *L, int narg) noexcept nogil:
    cdef Span kind
    if l_absent(L, narg):
        return WS_TEXT
    kind = l_check_span(L, narg)
    if span_equal(kind, b"text", 4):
        return WS_TEXT
    if not span_equal(kind, b"binary", 6):
        luaL_argerror(L, narg, b"expected \"text\" or \"binary\"")
    return WS_BINARY


cdef int l_ws_wait_drained(lua_State *L, Worker *w, Ws *x) noexcept nogil:
    cdef WsWriter *q
    l_ws_hold(L, x)
    q = <WsWriter *>malloc(sizeof(WsWriter))
    if q == NULL:
        ws_release(x)
        return luaL_error(L, b"not enough memory")
    op_init(&q.op)
    q.op.begin = ws_writer_begin
    q.op.finish = ws_writer_finish
    q.op.cancel = ws_writer_cancel
    q.op.drop = ws_writer_drop
    q.ws = x
    return l_wait_op(L, &q.op)


cdef void ws_writer_begin(Worker *w, Op *op) noexcept nogil:
    cdef WsWriter *q = <WsWriter *>op
    cdef Ws *x = q.ws
    if x.conn == NULL or not ws_crowded(x):
        op_ready(w, op)
        return
    q.next = x.writers
    x.writers = q
    x.conn.flags |= CONN_PUMP
    conn_touch(w, x.conn)


cdef int ws_writer_finish(Coro *co, Op *op) noexcept nogil:
    cdef Ws *x = (<WsWriter *>op).ws
    cdef int n = 1
    if ws_conn(x) == NULL:
        n = l_push_closed(co.L, x)
    else:
        lua_pushboolean(co.L, 1)
    ws_writer_drop(co.state.worker, op)
    return n


cdef bint ws_writer_cancel(Worker *w, Op *op) noexcept nogil:
    cdef WsWriter **at = &(<WsWriter *>op).ws.writers
    while at[0] != <WsWriter *>op:
        at = &at[0].next
    at[0] = (<WsWriter *>op).next
    return True


cdef void ws_writer_drop(Worker *w, Op *op) noexcept nogil:
    ws_release((<WsWriter *>op).ws)
    free(op)


# ---- ws:receive

cdef int l_ws_receive(lua_State *L) noexcept nogil:
    """receive([timeout]) → data, "text"|"binary"; or nil, "timeout"; or nil, "closed", code, reason."""
    cdef Worker *w = l_state(L).worker
    cdef Ws *x = l_ws(L)
    cdef uint64_t deadline = 0
    if not l_absent(L, 2):
        deadline = clock_ms() + l_check_seconds(L, 2)
    if not x.flags & WS_STRAIGHT:
        return luaL_error(L, b"receive: the messages of this WebSocket go to its message function")
    if x.flags & WS_HELD:
        lua_pushlstring(L, x.message.p, x.message.n)
        ws_push_kind(L, x.kind)
        buf_free(&x.message)
        x.flags &= ~<uint32_t>WS_HELD
        if x.conn != NULL:
            ws_resume(w, x)
        return 2
    if x.conn == NULL:
        return l_push_closed(L, x)
    if x.reader != NULL and x.reader.op.coro != NULL:
        return luaL_error(L, b"receive: another coroutine waits for messages of this WebSocket")
    if x.reader == NULL:
        x.reader = ws_reader_new(x)
        if x.reader == NULL:
            return luaL_error(L, b"not enough memory")
    l_ws_hold(L, x)
    return l_wait_op_until(L, &x.reader.op, deadline)


cdef WsReader *ws_reader_new(Ws *x) noexcept nogil:
    cdef WsReader *q = <WsReader *>calloc(1, sizeof(WsReader))
    if q != NULL:
        op_init(&q.op)
        q.op.begin = ws_reader_begin
        q.op.finish = ws_reader_finish
        q.op.cancel = ws_reader_cancel
        q.op.drop = ws_reader_drop
        q.ws = x
    return q


cdef void ws_reader_begin(Worker *w, Op *op) noexcept nogil:
    """Input that was kept is looked at in this turn."""
    cdef Ws *x = (<WsReader *>op).ws
    if x.conn == NULL:
        op_ready(w, op)


cdef int ws_reader_finish(Coro *co, Op *op) noexcept nogil:
    cdef WsReader *q = <WsReader *>op
    cdef Worker *w = co.state.worker
    cdef int n = 2
    if w.ws_kind:
        lua_pushlstring(co.L, w.ws_given.p, w.ws_given.n)
        ws_push_kind(co.L, w.ws_kind)
        w.ws_kind = 0
        buf_free(&q.ws.message)
    elif not op.timed_out:
        n = l_push_closed(co.L, q.ws)
    else:
        lua_pushnil(co.L)
        lua_pushlstring(co.L, b"timeout", 7)
    ws_release(q.ws)
    return n


cdef bint ws_reader_cancel(Worker *w, Op *op) noexcept nogil:
    return True


cdef void ws_reader_drop(Worker *w, Op *op) noexcept nogil:
    ws_release((<WsReader *>op).ws)


# ---- ws:ping, ws:close

cdef int l_ws_ping(lua_State *L) noexcept nogil:
    """ping([data]) → true, or nil, "closed", code, reason. The answer is the engine's business."""
    cdef Ws *x = l_ws(L)
    cdef Span data = Span(b"", 0) if l_absent(L, 2) else l_check_span(L, 2)
    if data.n > WS_CONTROL_MAX:
        return luaL_argerror(L, 2, b"at most 125 bytes fit into a ping")
    if ws_send(l_state(L).worker, x, WS_PING, data) != OK:
        return l_push_closed(L, x)
    lua_pushboolean(L, 1)
    return 1


cdef int l_ws_close(lua_State *L) noexcept nogil:
    """close([code = 1000[, reason]]): begin the closing handshake. Closing a closed one does nothing."""
    cdef Ws *x = l_ws(L)
    cdef ptrdiff_t code = luaL_optinteger(L, 2, WS_NORMAL)
    cdef Span reason = Span(b"", 0) if l_absent(L, 3) else l_check_span(L, 3)
    cdef Utf8 u
    if not 0 < code <= 4999 or not ws_code_valid(<uint32_t>code):
        return luaL_argerror(L, 2, b"expected 1000 to 1014 but 1004, 1005 and 1006, or 3000 to 4999")
    memset(&u, 0, sizeof(u))
    if reason.n > WS_CONTROL_MAX - 2 or not utf8_feed(&u, reason.p, reason.n) or u.need:
        return luaL_argerror(L, 3, b"expected UTF-8 of at most 123 bytes")
    ws_close(l_state(L).worker, x, <int>code, reason)
    return 0
