# ctx: what a handler is given. A userdata that belongs to one coroutine and is bound to its request while it serves
# one; `heart.v1.context` has the same functions for whichever request the running coroutine serves.
#   ctx             userdata {Req *}, with a metatable of its own: __index = methods, __newindex = l_ctx_assign
#   methods         table of closures over ctx, made when first asked for (l_ctx_method), and of the user's own fields
# This file has the functions that read the request; lua_reply.pxi has those that make the response.
# Invariant: everything goes through ctx_req or ctx_serving, which refuse a ctx whose request is over.

cdef char CTX_KEY               # methods[&CTX_KEY] is the ctx; absent in heart.v1.context

cdef enum:
    ADDRESS_TEXT = 64           # room for a rendered address


# ---- Making and binding ----------------------------------------------------------------------------------

cdef void ctx_new(Coro *co) noexcept nogil:
    """Give the coroutine a fresh ctx, bound to nothing: at index 1 of its empty stack, and in the registry under
    its address."""
    cdef lua_State *L = co.L
    cdef State *s = co.state
    co.ctx = <Ctx *>lua_newuserdata(L, sizeof(Ctx))
    co.ctx.req = NULL
    co.ctx.shared = 0
    lua_pushlightuserdata(L, co)
    lua_pushvalue(L, -2)
    lua_rawset(L, LUA_REGISTRYINDEX)
    lua_createtable(L, 0, 2)
    ctx_push_methods(s, L)
    lua_pushlightuserdata(L, &CTX_KEY)
    lua_pushvalue(L, -4)
    lua_rawset(L, -3)
    lua_setfield(L, -2, b"__index")
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.ctx_assign)
    lua_setfield(L, -2, b"__newindex")
    lua_setmetatable(L, -2)


cdef void ctx_push(Coro *co) noexcept nogil:
    """Push the coroutine's ctx on the main stack of its state."""
    cdef lua_State *L = co.state.L
    lua_pushlightuserdata(L, co)
    lua_rawget(L, LUA_REGISTRYINDEX)


cdef void ctx_adopt(Coro *co, int index) noexcept nogil:
    """Give an idle coroutine the ctx at `index` of the main stack in place of its own."""
    cdef lua_State *L = co.state.L
    lua_pushvalue(L, index)
    co.ctx = <Ctx *>lua_touserdata(L, -1)
    co.ctx.shared = 1
    lua_pushlightuserdata(L, co)
    lua_pushvalue(L, -2)
    lua_rawset(L, LUA_REGISTRYINDEX)
    lua_settop(co.L, 0)
    lua_xmove(L, co.L, 1)


cdef void ctx_forget(Coro *co) noexcept nogil:
    """The coroutine goes away; a ctx that somebody kept refuses every use from now on."""
    cdef lua_State *L = co.state.L
    if co.req != NULL:          # not that of another coroutine's request, which a task has inherited
        co.ctx.req = NULL
    lua_pushlightuserdata(L, co)
    lua_pushnil(L)
    lua_rawset(L, LUA_REGISTRYINDEX)


cdef void ctx_push_methods(State *s, lua_State *L) noexcept nogil:
    lua_createtable(L, 0, 4)
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.ctx_methods)
    lua_setmetatable(L, -2)


cdef void ctx_open(lua_State *L, State *s) noexcept nogil:
    """Called once per state: the metatable of all method tables, and the function behind assignments to a ctx."""
    lua_createtable(L, 0, 1)
    lua_createtable(L, 0, 32)
    ctx_put_functions(L)
    reply_put_functions(L)
    lua_pushvalue(L, -1)
    s.ctx_functions = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_pushcclosure(L, l_ctx_method, 1)
    lua_setfield(L, -2, b"__index")
    s.ctx_methods = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_pushcclosure(L, l_ctx_assign, 0)
    s.ctx_assign = luaL_ref(L, LUA_REGISTRYINDEX)


cdef void ctx_put(lua_State *L, const char *name, lua_CFunction f) noexcept nogil:
    lua_pushlightuserdata(L, <void *>f)
    lua_setfield(L, -2, name)


cdef int l_ctx_method(lua_State *L) noexcept nogil:
    """__index of a method table: make the function asked for, and keep it there. Upvalue: name → C function, or a
    Lua function that makes the method from the ctx."""
    lua_settop(L, 2)
    lua_pushvalue(L, 2)
    lua_rawget(L, lua_upvalueindex(1))
    if lua_isnil(L, 3):
        return 1
    lua_pushlightuserdata(L, &CTX_KEY)
    lua_rawget(L, 1)
    if lua_type(L, 3) == LUA_TFUNCTION:
        lua_call(L, 1, 1)
    else:
        lua_pushcclosure(L, <lua_CFunction>lua_touserdata(L, 3), 1)
        lua_remove(L, 3)
    lua_pushvalue(L, 2)
    lua_pushvalue(L, 3)
    lua_rawset(L, 1)
    return 1


cdef int l_ctx_assign(lua_State *L) noexcept nogil:
    """ctx.name = value: a field for the rest of this request. The ctx is not used for another one."""
    cdef Ctx *x = <Ctx *>lua_touserdata(L, 1)
    x.shared = 1
    lua_getmetatable(L, 1)
    lua_getfield(L, -1, b"__index")
    lua_pushvalue(L, 2)
    lua_pushvalue(L, 3)
    lua_rawset(L, -3)
    return 0


cdef inline Req *ctx_req(lua_State *L) noexcept nogil:
    """The request of the ctx that this closure belongs to, or of the running coroutine."""
    cdef Ctx *x = <Ctx *>lua_touserdata(L, lua_upvalueindex(1))
    cdef Coro *co
    if likely(x != NULL):
        return ctx_serving(L, x)
    co = worker_self().running
    if co == NULL or co.ctx.req == NULL:
        luaL_error(L, b"heart.v1.context: no request is served here")
    return co.ctx.req


cdef inline Req *ctx_serving(lua_State *L, Ctx *x) noexcept nogil:
    """The request of a ctx, which must be served by the running coroutine: a ctx that somebody kept may be bound to
    another client's request by now."""
    cdef Coro *co = worker_self().running
    if unlikely(x == NULL or x.req == NULL or co == NULL or co.ctx != x):
        luaL_error(L, b"ctx was used after its request had ended")
    return x.req


cdef void ctx_push_self(lua_State *L, Req *r) noexcept nogil:
    """Push the ctx itself, for functions that chain or that outlive the call."""
    lua_pushvalue(L, lua_upvalueindex(1))
    if lua_isnil(L, -1):
        lua_pop(L, 1)
        lua_pushlightuserdata(L, r.coro)
        lua_rawget(L, LUA_REGISTRYINDEX)


cdef inline Span l_check_span(lua_State *L, int narg) noexcept nogil:
    cdef Span text
    text.p = luaL_checklstring(L, narg, &text.n)
    return text


cdef inline int l_push_span(lua_State *L, Span text) noexcept nogil:
    lua_pushlstring(L, text.p, text.n)
    return 1


cdef inline int l_nil(lua_State *L) noexcept nogil:
    lua_pushnil(L)
    return 1


cdef inline bint l_absent(lua_State *L, int narg) noexcept nogil:
    return lua_type(L, narg) <= LUA_TNIL


# ---- The request line, the peer --------------------------------------------------------------------------

cdef int l_ctx_method_name(lua_State *L) noexcept nogil:
    """method() → "GET", ..."""
    return l_push_span(L, req_method(ctx_req(L)))


cdef int l_ctx_path(lua_State *L) noexcept nogil:
    """path() → the path as received, not decoded."""
    return l_push_span(L, req_path(ctx_req(L)))


cdef int l_ctx_protocol(lua_State *L) noexcept nogil:
    """protocol() → "http" or "https"."""
    cdef Req *r = ctx_req(L)
    lua_pushstring(L, b"https" if r.flags & REQ_SECURE else b"http")
    return 1


cdef int l_ctx_host(lua_State *L) noexcept nogil:
    """host() → the host asked for, lower case, with its port if one was given."""
    cdef Req *r = ctx_req(L)
    cdef Buf *b = &worker_self().scratch_text
    cdef uint32_t i
    b.n = 0
    if buf_reserve(b, r.head.host_len) == OK:
        for i in range(r.head.host_len):
            b.p[i] = <char>char_lower(<uint8_t>r.head.base[r.head.host + i])
        b.n = r.head.host_len
    return l_push_span(L, buf_span(b))


cdef int l_ctx_ip(lua_State *L) noexcept nogil:
    """ip() → address of the peer; "" on a Unix socket."""
    cdef char text[ADDRESS_TEXT]
    cdef Req *r = ctx_req(L)
    cdef int i
    for i in range(16):
        if r.address[i]:
            lua_pushlstring(L, text, address_put(r.address, text))
            return 1
    lua_pushlstring(L, b"", 0)
    return 1


# ---- Parameters of the path and of the query --------------------------------------------------------------

cdef int l_ctx_path_param(lua_State *L) noexcept nogil:
    """pathParam(name) → value, "" when missing."""
    cdef Span value
    if req_param(ctx_req(L), l_check_span(L, 1), &value) != OK:
        value = Span(b"", 0)
    return l_push_span(L, value)


cdef int l_ctx_param(lua_State *L) noexcept nogil:
    """param(name) → value or nil; param() → table of all."""
    cdef Req *r = ctx_req(L)
    cdef Span name, value
    cdef size_t at = 0
    if not l_absent(L, 1):
        if req_param(r, l_check_span(L, 1), &value) != OK:
            return l_nil(L)
        return l_push_span(L, value)
    lua_createtable(L, 0, 4)
    if r.route != NULL:
        while router_param_next(r.route, r.params, req_path(r).p, &at, &name, &value):
            l_push_span(L, name)
            l_push_span(L, value)
            lua_rawset(L, -3)
    return 1


cdef int req_param(Req *r, Span name, Span *value) noexcept nogil:
    if r.route == NULL:
        return ERR_MISSING
    return router_param(r.route, r.params, req_path(r).p, name, value)


cdef int l_ctx_query_param(lua_State *L) noexcept nogil:
    """queryParam(name) → decoded value of the first pair of that name, "" when missing."""
    cdef Span value
    if query_find(req_query(ctx_req(L)), l_check_span(L, 1), &worker_self().scratch_text, &value) != OK:
        value = Span(b"", 0)
    return l_push_span(L, value)


cdef int l_ctx_query(lua_State *L) noexcept nogil:
    """query(name) → value or nil; query() → table of all, the first value of each name."""
    cdef Req *r = ctx_req(L)
    cdef Span value
    if l_absent(L, 1):
        lua_createtable(L, 0, 4)
        l_set_pairs(L, req_query(r))
        return 1
    if query_find(req_query(r), l_check_span(L, 1), &worker_self().scratch_text, &value) != OK:
        return l_nil(L)
    return l_push_span(L, value)


cdef void l_set_pairs(lua_State *L, Span pairs) noexcept nogil:
    """Put urlencoded pairs into the table on top; names that it has already keep their value."""
    cdef Buf *scratch = &worker_self().scratch_text
    cdef Span name, value
    while query_next(&pairs, &name, &value):
        if url_unescape(name, scratch, &name) != OK:
            return
        l_push_span(L, name)
        if url_unescape(value, scratch, &value) != OK:
            lua_pop(L, 1)
            return
        l_push_span(L, value)
        l_set_new(L)


cdef void l_set_new(lua_State *L) noexcept nogil:
    """t[key] = value for the table below key and value, unless t has the key; pops both."""
    lua_pushvalue(L, -2)
    lua_rawget(L, -4)
    if lua_isnil(L, -1):
        lua_pop(L, 1)
        lua_rawset(L, -3)
    else:
        lua_pop(L, 3)


# ---- Header fields and cookies ----------------------------------------------------------------------------

cdef int req_find_header(Req *r, Span name, Span *value) noexcept nogil:
    """The value of the first field of that name, whatever its case."""
    cdef int i
    cdef Header *h
    for i in range(r.head.nheaders):
        h = &r.head.headers[i]
        if h.name_len == name.n and text_same_fold(r.head.base + h.name, name.p, name.n):
            value[0] = Span(r.head.base + h.value, h.value_len)
            return OK
    return ERR_MISSING


cdef bint text_same_fold(const char *a, const char *b, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        if char_lower(<uint8_t>a[i]) != char_lower(<uint8_t>b[i]):
            return False
    return True


cdef int l_ctx_header(lua_State *L) noexcept nogil:
    """header(name) → value or nil; header() → table of all by lower-case name, repeated ones joined with ", "."""
    cdef Req *r = ctx_req(L)
    cdef Span value
    if l_absent(L, 1):
        l_push_headers(L, r)
        return 1
    if req_find_header(r, l_check_span(L, 1), &value) != OK:
        return l_nil(L)
    return l_push_span(L, value)


cdef void l_push_headers(lua_State *L, Req *r) noexcept nogil:
    cdef Header *h
    cdef int i
    lua_createtable(L, 0, r.head.nheaders)
    for i in range(r.head.nheaders):
        h = &r.head.headers[i]
        l_push_lower(L, Span(r.head.base + h.name, h.name_len))
        lua_pushvalue(L, -1)
        lua_rawget(L, -3)
        if lua_isnil(L, -1):
            lua_pop(L, 1)
            lua_pushlstring(L, r.head.base + h.value, h.value_len)
        else:
            lua_pushlstring(L, b"; " if h.id == HEADER_COOKIE else b", ", 2)
            lua_pushlstring(L, r.head.base + h.value, h.value_len)
            lua_concat(L, 3)
        lua_rawset(L, -3)


cdef void l_push_lower(lua_State *L, Span text) noexcept nogil:
    cdef Buf *b = &worker_self().scratch_text
    cdef size_t i
    b.n = 0
    if buf_reserve(b, text.n) == OK:
        for i in range(text.n):
            b.p[i] = <char>char_lower(<uint8_t>text.p[i])
        b.n = text.n
    lua_pushlstring(L, b.p, b.n)


cdef int l_ctx_headers(lua_State *L) noexcept nogil:
    """headers(name) → value of the request's field, "" when missing; headers(name, value) sets a response field."""
    cdef Req *r = ctx_req(L)
    cdef Span value
    if not l_absent(L, 2):
        return l_ctx_set(L)
    if req_find_header(r, l_check_span(L, 1), &value) != OK:
        value = Span(b"", 0)
    return l_push_span(L, value)


cdef int req_find_cookie(Req *r, Span name, Span *value) noexcept nogil:
    cdef Header *h
    cdef int i
    for i in range(r.head.nheaders):
        h = &r.head.headers[i]
        if h.id == HEADER_COOKIE and cookie_find(Span(r.head.base + h.value, h.value_len), name, value) == OK:
            return OK
    return ERR_MISSING


cdef int l_ctx_cookie(lua_State *L) noexcept nogil:
    """cookie(name) → value or nil; cookie() → table of all, the first value of each name."""
    cdef Req *r = ctx_req(L)
    cdef Span name, value, rest
    cdef int i
    if not l_absent(L, 1):
        if req_find_cookie(r, l_check_span(L, 1), &value) != OK:
            return l_nil(L)
        return l_push_span(L, value)
    lua_createtable(L, 0, 4)
    for i in range(r.head.nheaders):
        if r.head.headers[i].id != HEADER_COOKIE:
            continue
        rest = Span(r.head.base + r.head.headers[i].value, r.head.headers[i].value_len)
        while cookie_next(&rest, &name, &value):
            l_push_span(L, name)
            l_push_span(L, value)
            l_set_new(L)
    return 1


cdef int l_ctx_cookies(lua_State *L) noexcept nogil:
    """cookies(name) → value, "" when missing; cookies(name, value[, attributes]) sets a cookie."""
    cdef Req *r = ctx_req(L)
    cdef Span value
    if not l_absent(L, 2):
        return l_ctx_set_cookie(L)
    if req_find_cookie(r, l_check_span(L, 1), &value) != OK:
        value = Span(b"", 0)
    return l_push_span(L, value)


# ---- The body --------------------------------------------------------------------------------------------

cdef int l_ctx_bytes(lua_State *L) noexcept nogil:
    """bytes() → the request body as it is."""
    return l_push_span(L, ctx_req(L).body)


cdef int l_ctx_body(lua_State *L) noexcept nogil:
    """body() → {value = bytes, string() → bytes, json() → table; {} when empty or not JSON}."""
    cdef Req *r = ctx_req(L)
    lua_createtable(L, 0, 3)
    l_push_span(L, r.body)
    lua_pushvalue(L, -1)
    lua_setfield(L, -3, b"value")
    lua_pushvalue(L, -1)
    lua_pushcclosure(L, l_body_string, 1)
    lua_setfield(L, -3, b"string")
    lua_pushcclosure(L, l_body_json, 1)
    lua_setfield(L, -2, b"json")
    return 1


cdef int l_body_string(lua_State *L) noexcept nogil:
    lua_pushvalue(L, lua_upvalueindex(1))
    return 1


cdef int l_body_json(lua_State *L) noexcept nogil:
    cdef Span text
    text.p = lua_tolstring(L, lua_upvalueindex(1), &text.n)
    if json_decode(L, text.p, text.n, 0) != OK or lua_type(L, -1) == LUA_TNIL:
        lua_createtable(L, 0, 0)
    return 1


cdef int l_ctx_form_param(lua_State *L) noexcept nogil:
    """formParam(name) → value from the query, an urlencoded or a multipart body; "" when missing."""
    cdef Span value
    if req_find_form(ctx_req(L), l_check_span(L, 1), &value) != OK:
        value = Span(b"", 0)
    return l_push_span(L, value)


cdef int l_ctx_form(lua_State *L) noexcept nogil:
    """form(name) → value or nil; form() → table of all, the first value of each name."""
    cdef Req *r = ctx_req(L)
    cdef Span value, boundary
    cdef int kind
    if not l_absent(L, 1):
        if req_find_form(r, l_check_span(L, 1), &value) != OK:
            return l_nil(L)
        return l_push_span(L, value)
    lua_createtable(L, 0, 8)
    l_set_pairs(L, req_query(r))
    kind = form_type(req_field(r, HEADER_CONTENT_TYPE), &boundary)
    if kind == FORM_URLENCODED:
        l_set_pairs(L, r.body)
    elif kind == FORM_MULTIPART:
        l_set_parts(L, r.body, boundary)
    return 1


cdef int req_find_form(Req *r, Span name, Span *value) noexcept nogil:
    cdef Buf *scratch = &worker_self().scratch_text
    cdef Span boundary
    cdef int kind
    if query_find(req_query(r), name, scratch, value) == OK:
        return OK
    kind = form_type(req_field(r, HEADER_CONTENT_TYPE), &boundary)
    if kind == FORM_URLENCODED:
        return query_find(r.body, name, scratch, value)
    if kind == FORM_MULTIPART:
        return multipart_find(r.body, boundary, name, value)
    return ERR_MISSING


cdef void l_set_parts(lua_State *L, Span body, Span boundary) noexcept nogil:
    """Put the fields of a multipart body into the table on top, up to where it is malformed; files are left out."""
    cdef Buf *b = &worker_self().scratch_text
    cdef Multipart m
    cdef Part part
    if multipart_init(&m, body, boundary) != OK:
        return
    while multipart_next(&m, &part) == PART_NEXT:
        if part.name.p == NULL or part.filename.p != NULL:
            continue
        b.n = 0
        if buf_reserve(b, part.name.n) != OK:
            return
        lua_pushlstring(L, b.p, multipart_unescape(part.name, b.p))
        l_push_span(L, part.data)
        l_set_new(L)


cdef int l_ctx_read(lua_State *L) noexcept nogil:
    """The function that ctx.reader() returns: the next part of the body; nil at its end; nil and the reason when it
    will not come: "closed", "timeout", "too large", "malformed chunk"."""
    cdef Req *r = ctx_req(L)
    if r.sink != SINK_STREAM:
        if r.flags & REQ_BODY_TAKEN or r.body.n == 0:
            return l_nil(L)
        r.flags |= REQ_BODY_TAKEN
        return l_push_span(L, r.body)
    if r.flags & REQ_BODY_FAILED or (r.conn == NULL and not r.flags & REQ_BODY_DONE):
        lua_pushnil(L)
        lua_pushlstring(L, b"closed", 6)
        return 2
    if r.flags & REQ_BODY_DONE:
        return l_nil(L)
    l_check_free(L, r)
    return l_wait(L, WAIT_READ)


cdef int l_ctx_reader(lua_State *L) noexcept nogil:
    """reader() → function that gives the body part by part. On a route added with {body = "stream"} it arrives
    meanwhile; else there is one part."""
    cdef Req *r = ctx_req(L)
    ctx_push_self(L, r)
    lua_pushcclosure(L, l_ctx_read, 1)
    return 1


cdef void ctx_put_functions(lua_State *L) noexcept nogil:
    ctx_put(L, b"method", l_ctx_method_name)
    ctx_put(L, b"path", l_ctx_path)
    ctx_put(L, b"protocol", l_ctx_protocol)
    ctx_put(L, b"host", l_ctx_host)
    ctx_put(L, b"ip", l_ctx_ip)
    ctx_put(L, b"pathParam", l_ctx_path_param)
    ctx_put(L, b"param", l_ctx_param)
    ctx_put(L, b"queryParam", l_ctx_query_param)
    ctx_put(L, b"query", l_ctx_query)
    ctx_put(L, b"header", l_ctx_header)
    ctx_put(L, b"headers", l_ctx_headers)
    ctx_put(L, b"cookie", l_ctx_cookie)
    ctx_put(L, b"cookies", l_ctx_cookies)
    ctx_put(L, b"bytes", l_ctx_bytes)
    ctx_put(L, b"body", l_ctx_body)
    ctx_put(L, b"formParam", l_ctx_form_param)
    ctx_put(L, b"form", l_ctx_form)
    ctx_put(L, b"reader", l_ctx_reader)
    ctx_put(L, b"on_abort", l_ctx_on_abort)
