# core.request: the running request as other hosts' libraries see it (lua_stdlib/compat), beside Heart's own ctx: what
# was received as it was received, the response's head as it stands, and an end of the handler from within.
# All but current() get the ctx of the request: it may be one that another coroutine serves, since what they have
# spawned acts on the same request. Such a ctx has had a field set (lua_ctx.pxi), so it is never bound to another
# request; once its own is over they raise an error.

cdef extern from "c/nginx_symbols.h" nogil:
    int heart_publish_symbols()


cdef Req *l_served(lua_State *L) noexcept nogil:
    cdef Ctx *x = <Ctx *>lua_touserdata(L, 1)
    if x == NULL or x.req == NULL:
        luaL_error(L, b"the request has ended")
    return x.req


cdef int l_request_current(lua_State *L) noexcept nogil:
    """current() → the ctx of the request that the running coroutine serves, or has inherited, else its own; whether
    there is a request; its own ctx. Nothing where no coroutine runs."""
    cdef Coro *co = worker_self().running
    cdef Req *r
    if co == NULL:
        return 0
    r = co.ctx.req
    lua_pushlightuserdata(L, r.coro if r != NULL and r.coro != NULL else co)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_pushboolean(L, r != NULL)
    lua_pushlightuserdata(L, co)
    lua_rawget(L, LUA_REGISTRYINDEX)
    return 3


cdef int l_request_alive(lua_State *L) noexcept nogil:
    """alive(ctx) → whether the request is still being served."""
    cdef Ctx *x = <Ctx *>lua_touserdata(L, 1)
    lua_pushboolean(L, x != NULL and x.req != NULL)
    return 1


cdef int l_request_role(lua_State *L) noexcept nogil:
    """role() → what runs: "load", "handler", "task"; nil: nothing that may wait."""
    cdef Coro *co = worker_self().running
    if co == NULL:
        return l_nil(L)
    if co.role == ROLE_LOAD:
        lua_pushlstring(L, b"load", 4)
    elif co.role == ROLE_HANDLER:
        lua_pushlstring(L, b"handler", 7)
    else:
        lua_pushlstring(L, b"task", 4)
    return 1


# ---- What was received -----------------------------------------------------------------------------------

cdef int l_request_line(lua_State *L) noexcept nogil:
    """line(ctx) → method, target, path, query (nil: no "?"), minor version, all as received."""
    cdef Req *r = l_served(L)
    cdef Span path = req_path(r)
    l_push_span(L, req_method(r))
    lua_pushlstring(L, r.head.base + r.head.target, r.head.target_len)
    l_push_span(L, path)
    if r.head.query:
        l_push_span(L, req_query(r))
    else:
        lua_pushnil(L)
    lua_pushinteger(L, r.head.minor)
    return 5


cdef int l_request_head(lua_State *L) noexcept nogil:
    """head(ctx) → request line and field lines as received, the empty line at the end included."""
    cdef Req *r = l_served(L)
    cdef Header *h
    cdef size_t at = r.head.method_len
    if r.head.nheaders:
        h = &r.head.headers[r.head.nheaders - 1]
        at = h.value + h.value_len
    at = <const char *>memchr(r.head.base + at, c'\n', r.head.size) + 1 - r.head.base
    if r.head.base[at] == c'\r':
        at += 1
    lua_pushlstring(L, r.head.base, at + 1)
    return 1


cdef int l_request_fields(lua_State *L) noexcept nogil:
    """fields(ctx) → {name, value, name, value, ...} in the order received."""
    cdef Req *r = l_served(L)
    cdef Header *h
    cdef int i
    lua_createtable(L, 2 * r.head.nheaders, 0)
    for i in range(r.head.nheaders):
        h = &r.head.headers[i]
        lua_pushlstring(L, r.head.base + h.name, h.name_len)
        lua_rawseti(L, -2, 2 * i + 1)
        lua_pushlstring(L, r.head.base + h.value, h.value_len)
        lua_rawseti(L, -2, 2 * i + 2)
    return 1


cdef int l_request_body(lua_State *L) noexcept nogil:
    """body(ctx) → the buffered body."""
    return l_push_span(L, l_served(L).body)


cdef int l_request_peer(lua_State *L) noexcept nogil:
    """peer(ctx) → address ("" on a Unix socket) and port of the client, and the scheme."""
    cdef char text[ADDRESS_TEXT]
    cdef Req *r = l_served(L)
    cdef uint8_t any_ = 0
    cdef int i
    for i in range(16):
        any_ |= r.address[i]
    lua_pushlstring(L, text, address_put(r.address, text) if any_ else 0)
    lua_pushinteger(L, r.port)
    lua_pushstring(L, b"https" if r.flags & REQ_SECURE else b"http")
    return 3


cdef int l_request_server(lua_State *L) noexcept nogil:
    """server(ctx) → address and port that the client has connected to; nothing if it is gone."""
    cdef Req *r = l_served(L)
    cdef Address a
    cdef Span name, port
    if fcgi_pair_find(fcgi_vars(r), b"SERVER_ADDR", 11, &name) == OK and \
            fcgi_pair_find(fcgi_vars(r), b"SERVER_PORT", 11, &port) == OK:
        l_push_span(L, name)
        lua_pushinteger(L, cgi_port(port))
        return 2
    a.n = sizeof(a.at)
    if r.conn == NULL or getsockname(r.conn.watch.fd, <sockaddr *>&a.at, &a.n) != 0:
        return 0
    return push_address(L, &a)


cdef int l_request_age(lua_State *L) noexcept nogil:
    """age(ctx) → seconds since the head was read."""
    lua_pushnumber(L, <double>(clock_ns() - l_served(L).started) / 1e9)
    return 1


# ---- The response ----------------------------------------------------------------------------------------

cdef int l_request_status(lua_State *L) noexcept nogil:
    """status(ctx[, code]) → the status that the response has now."""
    cdef Req *r = l_served(L)
    if not l_absent(L, 2):
        r.status = <uint16_t>luaL_checkinteger(L, 2)
    lua_pushinteger(L, r.status)
    return 1


cdef int l_request_sent(lua_State *L) noexcept nogil:
    """sent(ctx) → whether the head has left, whether the client is gone, bytes that it has not taken yet."""
    cdef Req *r = l_served(L)
    lua_pushboolean(L, r.flags & REQ_HEAD_SENT)
    lua_pushboolean(L, r.conn == NULL)
    lua_pushinteger(L, <ptrdiff_t>(r.conn.out.n - r.conn.out_at) if r.conn != NULL else 0)
    return 3


cdef const char *type_value(int ctype) noexcept nogil:
    if ctype == TYPE_TEXT: return b"text/plain; charset=utf-8"
    if ctype == TYPE_JSON: return b"application/json"
    if ctype == TYPE_HTML: return b"text/html; charset=utf-8"
    return NULL


cdef int l_request_answer(lua_State *L) noexcept nogil:
    """answer(ctx) → {name, value, ...}: the fields that the handler has set, in order, and the type."""
    cdef Req *r = l_served(L)
    cdef char *p = r.fields.p
    cdef char *end = p + r.fields.n
    cdef char *colon
    cdef char *line_end
    cdef const char *ctype = type_value(r.ctype)
    cdef int n = 0
    lua_createtable(L, 8, 0)
    while p < end:
        line_end = <char *>memchr(p, c'\r', end - p)
        colon = <char *>memchr(p, c':', line_end - p)
        lua_pushlstring(L, p, colon - p)
        lua_rawseti(L, -2, n + 1)
        lua_pushlstring(L, colon + 2, line_end - colon - 2)
        lua_rawseti(L, -2, n + 2)
        n += 2
        p = line_end + 2
    if ctype != NULL:
        lua_pushlstring(L, b"Content-Type", 12)
        lua_rawseti(L, -2, n + 1)
        lua_pushstring(L, ctype)
        lua_rawseti(L, -2, n + 2)
    return 1


cdef int l_request_set(lua_State *L) noexcept nogil:
    """set(ctx, name, value | nil[, add]): a response field in place of others of that name, or beside them."""
    cdef Req *r = l_served(L)
    cdef Span name = l_check_span(L, 2)
    cdef const char *why
    if l_absent(L, 3):
        req_remove_field(r, name)
        if span_same(name, b"content-type", 12):
            r.ctype = TYPE_NONE
        return 0
    if lua_toboolean(L, 4):
        why = req_add_field(r, name, l_check_span(L, 3))
    else:
        why = req_set_field(r, name, l_check_span(L, 3))
    if why != NULL:
        return luaL_error(L, b"%s", why)
    return 0


cdef int l_request_begin(lua_State *L) noexcept nogil:
    """begin(ctx): send the head; the body comes part by part."""
    cdef Req *r = l_served(L)
    if r.conn != NULL and not r.flags & REQ_HEAD_SENT:
        r.source = SOURCE_STREAM
        r.proto.reply_head(worker_self(), r, -1)
    r.flags |= REQ_HEAD_SENT
    return 0


cdef int l_request_write(lua_State *L) noexcept nogil:
    """write(ctx, text) → true, or nil, "closed"; begin() was called. Does not wait: see sent()."""
    cdef Req *r = l_served(L)
    cdef Span part = l_check_span(L, 2)
    if r.conn == NULL or r.proto.reply_body(worker_self(), r, part.p, part.n) != OK:
        lua_pushnil(L)
        lua_pushlstring(L, b"closed", 6)
        return 2
    lua_pushboolean(L, 1)
    return 1


cdef int l_request_finish(lua_State *L) noexcept nogil:
    """finish(ctx, text | nil): the response is complete, with `text` as its body or the last part of it, while the
    handler runs on. Its connection goes on to the next request."""
    cdef Worker *w = worker_self()
    cdef Req *r = l_served(L)
    cdef Span body = Span(NULL, 0)
    if r.conn == NULL:
        return 0
    if not l_absent(L, 2):
        body = l_check_span(L, 2)
    if req_retain(w, r) != OK:
        return luaL_error(L, b"not enough memory")
    if not r.flags & REQ_HEAD_SENT:
        req_reply(w, r, body)
    elif body.n:
        r.proto.reply_body(w, r, body.p, body.n)
    if r.conn != NULL:
        r.flags |= REQ_ANSWERED
        r.proto.reply_end(w, r)
    r.flags |= REQ_HEAD_SENT
    return 0


cdef int l_request_refuse(lua_State *L) noexcept nogil:
    """refuse(ctx): end without an answer, or in the middle of one; the client notices."""
    cdef Req *r = l_served(L)
    if r.conn != NULL:
        r.proto.abort(worker_self(), r)
        r.flags |= REQ_HEAD_SENT
    return 0


# ---- Ending ----------------------------------------------------------------------------------------------

cdef int l_request_after(lua_State *L) noexcept nogil:
    """after(fn): called with what a handler has returned, on its coroutine, before the answer, if hold() was called
    for its request; what it returns takes the place of that."""
    cdef State *s = l_state(L)
    l_set_reference(L, &s.after)
    return 0


cdef int l_request_hold(lua_State *L) noexcept nogil:
    """hold(ctx)"""
    l_served(L).flags |= REQ_AFTER
    return 0


cdef void lua_run_after(Worker *w, Coro *co) noexcept nogil:
    """The handler has returned: let `after` have its results first."""
    co.req.flags &= ~<uint32_t>REQ_AFTER
    lua_rawgeti(co.L, LUA_REGISTRYINDEX, co.state.after)
    lua_insert(co.L, 2)
    coro_run(w, co, lua_gettop(co.L) - 2)


cdef int l_request_end(lua_State *L) noexcept nogil:
    """end_handler(ctx): the handler that runs stops here and is not resumed; finish() or refuse() was called before."""
    cdef Coro *co = worker_self().running
    if co == NULL or co.req == NULL or co.req != l_served(L):
        return luaL_error(L, b"only a handler can end itself")
    return l_wait(L, WAIT_END)


cdef int l_request_stop(lua_State *L) noexcept nogil:
    """stop(ctx): the same from another coroutine: the handler, which waits, is not resumed."""
    cdef Coro *co = l_served(L).coro
    if co == NULL or co == worker_self().running:
        return luaL_error(L, b"only a handler that waits can be stopped")
    coro_end_request(worker_self(), co)
    return 0


cdef void coro_end_request(Worker *w, Coro *co) noexcept nogil:
    """The request is answered; its handler goes no further."""
    cdef Req *r = co.req
    coro_drop(w, co)
    r.coro = NULL
    r.flags &= ~<uint32_t>(REQ_READING | REQ_WRITING)
    req_done(w, r)


cdef int l_request_publish(lua_State *L) noexcept nogil:
    """publish(): let ffi.C find the functions of c/nginx_symbols.h."""
    heart_publish_symbols()
    return 0


cdef void lua_request_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    lua_createtable(L, 0, 24)
    core_put(L, s, b"current", l_request_current)
    core_put(L, s, b"alive", l_request_alive)
    core_put(L, s, b"role", l_request_role)
    core_put(L, s, b"line", l_request_line)
    core_put(L, s, b"head", l_request_head)
    core_put(L, s, b"fields", l_request_fields)
    core_put(L, s, b"body", l_request_body)
    core_put(L, s, b"peer", l_request_peer)
    core_put(L, s, b"server", l_request_server)
    core_put(L, s, b"age", l_request_age)
    core_put(L, s, b"status", l_request_status)
    core_put(L, s, b"sent", l_request_sent)
    core_put(L, s, b"answer", l_request_answer)
    core_put(L, s, b"set", l_request_set)
    core_put(L, s, b"begin", l_request_begin)
    core_put(L, s, b"write", l_request_write)
    core_put(L, s, b"finish", l_request_finish)
    core_put(L, s, b"refuse", l_request_refuse)
    core_put(L, s, b"after", l_request_after)
    core_put(L, s, b"hold", l_request_hold)
    core_put(L, s, b"end_handler", l_request_end)
    core_put(L, s, b"stop", l_request_stop)
    core_put(L, s, b"publish", l_request_publish)
