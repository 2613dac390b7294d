# The response as Lua makes it: what handlers return, and the ctx functions that set status, fields and cookies.

cdef enum:
    COOKIE_ROOM = 256           # bytes of a cookie's attributes without their values

cdef const char *BAD_FIELD_VALUE = b"handler returned a header with a value that is no string"

# What a handler of a mounted directory returns: the answer is Req.file.
cdef char FILE_TAG


# ---- What a handler returns ------------------------------------------------------------------------------

cdef inline bint l_is_status(lua_State *L, int index) noexcept nogil:
    """`return status, body`: an integer from 100 to 599 counts only if a second value follows."""
    cdef double v
    if lua_type(L, index) != LUA_TNUMBER or lua_type(L, index + 1) <= LUA_TNIL:
        return False
    v = lua_tonumber(L, index)
    return 100 <= v <= 599 and v == <int>v


cdef inline int lua_reply(Worker *w, Coro *co, Req *r) noexcept nogil:
    """Answer with the values that the handler left above its ctx. Not OK: an error message is on the stack."""
    cdef lua_State *L = co.L
    cdef int at = 2
    cdef Span body = Span(NULL, 0)
    if unlikely(r.flags & REQ_HEAD_SENT):
        return OK
    if likely(lua_type(L, 2) == LUA_TSTRING):
        body.p = lua_tolstring(L, 2, &body.n)
        req_reply(w, r, body)
        return OK
    if unlikely(l_is_status(L, 2)):
        at = 3
        if lua_take_status(L, r) != OK:
            return ERR_LIMIT
    if lua_type(L, at) == LUA_TSTRING or lua_type(L, at) == LUA_TNUMBER:
        body.p = lua_tolstring(L, at, &body.n)
    elif lua_touserdata(L, at) == &FILE_TAG and r.mount != NULL:
        req_reply_file(w, r)
        return OK
    req_reply(w, r, body)
    return OK


cdef int lua_take_status(lua_State *L, Req *r) noexcept nogil:
    """`return status, body[, headers]`."""
    cdef const char *why
    r.status = <uint16_t>lua_tointeger(L, 2)
    if r.status < 200:
        lua_pushstring(L, b"handler returned an interim status (1xx), which can not carry a response")
        return ERR_LIMIT
    if lua_type(L, 4) != LUA_TTABLE:
        return OK
    lua_pushnil(L)
    while lua_next(L, 4):
        lua_pushvalue(L, -2)            # lua_next must see its key unchanged
        why = lua_take_field(L, r)
        if why != NULL:
            lua_pushstring(L, why)
            return ERR_LIMIT
        lua_pop(L, 2)
    return OK


cdef const char *lua_take_field(lua_State *L, Req *r) noexcept nogil:
    """One field of the returned headers: name on top of the stack, value (or a list of values) below it."""
    cdef Span name, value
    cdef const char *why = NULL
    cdef int i, n
    if lua_type(L, -1) != LUA_TSTRING:
        return b"handler returned headers with a name that is no string"
    name.p = lua_tolstring(L, -1, &name.n)
    if lua_type(L, -2) != LUA_TTABLE:
        lua_pushvalue(L, -2)
        value.p = lua_tolstring(L, -1, &value.n)
        why = req_set_field(r, name, value) if value.p != NULL else BAD_FIELD_VALUE
        lua_pop(L, 1)
        return why
    n = <int>lua_objlen(L, -2)
    for i in range(1, n + 1):
        lua_rawgeti(L, -2, i)
        value.p = lua_tolstring(L, -1, &value.n)
        why = req_add_field(r, name, value) if value.p != NULL else BAD_FIELD_VALUE
        lua_pop(L, 1)
        if why != NULL:
            return why
    return NULL


# ---- ctx functions -----------------------------------------------------------------------------------------

cdef inline void req_set_type(Req *r, uint8_t ctype) noexcept nogil:
    if unlikely(r.ctype == TYPE_SET):
        req_remove_field(r, Span(b"content-type", 12))
    r.ctype = ctype


cdef inline Req *reply_req(lua_State *L) noexcept nogil:
    """The request of a function that changes the response's head."""
    cdef Req *r = ctx_req(L)
    if unlikely(r.flags & REQ_HEAD_SENT):
        luaL_error(L, b"the head of the response has been sent already")
    return r


cdef int l_ctx_status(lua_State *L) noexcept nogil:
    """status(code) → ctx."""
    cdef Req *r = reply_req(L)
    cdef ptrdiff_t status = luaL_checkinteger(L, 1)
    if not 200 <= status <= 599:
        return luaL_argerror(L, 1, b"expected a status from 200 to 599")
    r.status = <uint16_t>status
    ctx_push_self(L, r)
    return 1


cdef int l_ctx_set(lua_State *L) noexcept nogil:
    """set(name, value) → ctx: a response field; nil removes it."""
    cdef Req *r = reply_req(L)
    cdef Span name = l_check_span(L, 1)
    cdef const char *why
    if l_absent(L, 2):
        req_remove_field(r, name)
        if span_same(name, b"content-type", 12):
            r.ctype = TYPE_NONE
    else:
        why = req_set_field(r, name, l_check_span(L, 2))
        if why != NULL:
            return luaL_error(L, b"%s", why)
    ctx_push_self(L, r)
    return 1


cdef int l_ctx_json(lua_State *L) noexcept nogil:
    """json(value) → its JSON text; sets the type."""
    cdef Req *r = reply_req(L)
    cdef JsonOptions options
    req_set_type(r, TYPE_JSON)
    json_defaults(&options)
    if json_encode_string(L, 1, &options, worker_self().json) != OK:
        return lua_error(L)
    return 1


cdef int l_ctx_text(lua_State *L) noexcept nogil:
    """text(s) → s; sets the type."""
    req_set_type(reply_req(L), TYPE_TEXT)
    lua_settop(L, 1)
    return 1


cdef int l_ctx_html(lua_State *L) noexcept nogil:
    """html(s) → s; sets the type."""
    req_set_type(reply_req(L), TYPE_HTML)
    lua_settop(L, 1)
    return 1


cdef int l_ctx_redirect(lua_State *L) noexcept nogil:
    """redirect(location[, status = 302]) → "" """
    cdef Req *r = reply_req(L)
    cdef ptrdiff_t status = luaL_optinteger(L, 2, 302)
    cdef const char *why = req_set_field(r, Span(b"Location", 8), l_check_span(L, 1))
    if why != NULL:
        return luaL_error(L, b"redirect: %s", why)
    if not 300 <= status <= 399:
        return luaL_argerror(L, 2, b"expected a status from 300 to 399")
    r.status = <uint16_t>status
    lua_pushlstring(L, b"", 0)
    return 1


# ---- Cookies ---------------------------------------------------------------------------------------------

cdef bint cookie_text_ok(Span s) noexcept nogil:
    """No character that could end the value or the line; spaces and commas are let through, as clients take them."""
    cdef size_t i
    cdef uint8_t c
    for i in range(s.n):
        c = <uint8_t>s.p[i]
        if c < 32 or c == 127 or c == c';':
            return False
    return True


cdef int l_ctx_set_cookie(lua_State *L) noexcept nogil:
    """cookies(name, value[, {path = "/", domain, maxAge, expires, secure, httpOnly, sameSite = "Lax"}])"""
    cdef Req *r = reply_req(L)
    cdef Span name = l_check_span(L, 1)
    cdef Span value = l_check_span(L, 2)
    l_check_cookie_name(L, name)
    if not cookie_text_ok(value):
        return luaL_argerror(L, 2, b"a cookie's value may not have control characters or ';'")
    lua_settop(L, 3)
    l_check_attributes(L)
    cookie_drop_earlier(r, name)
    cookie_put(L, r, name, value)
    return 0


cdef void l_check_cookie_name(lua_State *L, Span name) noexcept nogil:
    if field_fault(name, Span(NULL, 0)) != NULL:
        luaL_argerror(L, 1, b"a cookie's name is made of letters, digits and !#$%&'*+-.^_`|~")


cdef void l_check_attributes(lua_State *L) noexcept nogil:
    """The attributes at index 3, by name: a typing error must not be a silent default."""
    cdef Span key
    if lua_isnil(L, 3):
        return
    luaL_checktype(L, 3, LUA_TTABLE)
    lua_pushnil(L)
    while lua_next(L, 3):
        if lua_type(L, -2) != LUA_TSTRING:
            luaL_argerror(L, 3, b"attributes of a cookie have names")
        key.p = lua_tolstring(L, -2, &key.n)
        if span_equal(key, b"maxAge", 6) or span_equal(key, b"expires", 7):
            if lua_type(L, -1) != LUA_TNUMBER:
                luaL_error(L, b"cookie attribute %s: expected a number", key.p)
        elif not cookie_attribute_known(key):
            luaL_error(L, b"unknown cookie attribute %s (there are: path, domain, maxAge, expires, secure, httpOnly, "
                          b"sameSite)", key.p)
        lua_pop(L, 1)


cdef bint cookie_attribute_known(Span key) noexcept nogil:
    return span_equal(key, b"path", 4) or span_equal(key, b"domain", 6) or span_equal(key, b"secure", 6) or \
        span_equal(key, b"httpOnly", 8) or span_equal(key, b"sameSite", 8)


cdef void cookie_put(lua_State *L, Req *r, Span name, Span value) noexcept nogil:
    """Append a Set-Cookie line; attributes from the table at index 3, or nil there. The line is made elsewhere first:
    an error must not leave half of one."""
    cdef Buf *b = &worker_self().scratch_text
    b.n = 0
    cookie_add(b, b"Set-Cookie: ", 12, name)
    cookie_add(b, b"=", 1, value)
    if not cookie_put_text(L, b, b"path", b"; Path=", 7, Span(b"/", 1)) or \
            not cookie_put_text(L, b, b"domain", b"; Domain=", 9, Span(NULL, 0)) or \
            not cookie_put_same_site(L, b):
        luaL_argerror(L, 3, b"path and domain are strings without control characters or ';', "
                            b"sameSite is \"Strict\", \"Lax\", \"None\" or false")
    cookie_put_times(L, b)
    if l_flag(L, b"secure"):
        buf_append(b, b"; Secure", 8)
    if l_flag(L, b"httpOnly"):
        buf_append(b, b"; HttpOnly", 10)
    buf_append(b, b"\r\n", 2)
    buf_append(&r.fields, b.p, b.n)


cdef void cookie_add(Buf *b, const char *label, size_t n, Span value) noexcept nogil:
    buf_append(b, label, n)
    buf_append(b, value.p, value.n)


cdef bint l_attribute(lua_State *L, const char *key) noexcept nogil:
    """Push an attribute of the table at index 3. False, and nothing is pushed: there is none. Metamethods, which
    could call ctx functions meanwhile, are not run."""
    if lua_type(L, 3) != LUA_TTABLE:
        return False
    lua_pushstring(L, key)
    lua_rawget(L, 3)
    if lua_isnil(L, -1):
        lua_pop(L, 1)
        return False
    return True


cdef bint l_flag(lua_State *L, const char *key) noexcept nogil:
    cdef bint on
    if not l_attribute(L, key):
        return False
    on = lua_toboolean(L, -1)
    lua_pop(L, 1)
    return on


cdef bint cookie_put_text(lua_State *L, Buf *b, const char *key, const char *label, size_t n,
                          Span otherwise) noexcept nogil:
    """One textual attribute, or its default; `false` leaves it out. False: it is no usable text."""
    cdef Span value = otherwise
    cdef bint given = l_attribute(L, key)
    if given:
        value.p = lua_tolstring(L, -1, &value.n)
        if value.p == NULL and not lua_toboolean(L, -1):
            value.n = 0
        elif value.p == NULL or not cookie_text_ok(value):
            return False
    if value.p != NULL:
        cookie_add(b, label, n, value)
    if given:
        lua_pop(L, 1)
    return True


cdef bint cookie_put_same_site(lua_State *L, Buf *b) noexcept nogil:
    """SameSite is one of three words; another one would silently mean the client's default."""
    cdef size_t start = b.n + 11
    cdef Span value
    if not cookie_put_text(L, b, b"sameSite", b"; SameSite=", 11, Span(b"Lax", 3)):
        return False
    if b.n < start:
        return True
    value = Span(b.p + start, b.n - start)
    return span_same(value, b"strict", 6) or span_same(value, b"lax", 3) or span_same(value, b"none", 4)


cdef void cookie_put_times(lua_State *L, Buf *b) noexcept nogil:
    """maxAge in seconds; expires as Unix time."""
    cdef char text[32]
    cdef int64_t v
    if l_attribute(L, b"maxAge"):
        v = <int64_t>lua_tonumber(L, -1)
        buf_append(b, b"; Max-Age=", 10)
        if v < 0:
            v = 0
        buf_append(b, text, put_decimal(text, <uint64_t>v))
        lua_pop(L, 1)
    if l_attribute(L, b"expires"):
        http_date_put(<int64_t>lua_tonumber(L, -1), text)
        buf_append(b, b"; Expires=", 10)
        buf_append(b, text, 29)
        lua_pop(L, 1)


cdef void cookie_drop_earlier(Req *r, Span name) noexcept nogil:
    """A cookie set twice in one response: the later one counts (RFC 6265 section 4.1.1 asks for one)."""
    cdef char *p = r.fields.p
    cdef char *end = p + r.fields.n
    cdef char *next_line
    while p < end:
        next_line = <char *>memchr(p, c'\n', end - p) + 1
        if <size_t>(next_line - p) > 13 + name.n and memcmp(p, b"Set-Cookie: ", 12) == 0 and \
                memcmp(p + 12, name.p, name.n) == 0 and p[12 + name.n] == c'=':
            memmove(p, next_line, end - next_line)
            r.fields.n -= next_line - p
            return
        p = next_line


cdef void cookie_clear(lua_State *L, Req *r, Span name) noexcept nogil:
    """A Set-Cookie line that makes the client forget the cookie. Attributes at index 3, for other paths and domains."""
    cookie_drop_earlier(r, name)
    cookie_put(L, r, name, Span(b"", 0))
    r.fields.n -= 2
    buf_append(&r.fields, b"; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n", 52)


cdef int l_ctx_clear_cookie(lua_State *L) noexcept nogil:
    """clearCookie(name[, {path = "/", domain}])"""
    cdef Req *r = reply_req(L)
    cdef Span name = l_check_span(L, 1)
    l_check_cookie_name(L, name)
    lua_settop(L, 2)
    lua_pushvalue(L, 2)
    l_check_attributes(L)
    cookie_clear(L, r, name)
    return 0


cdef int l_ctx_clear_cookies(lua_State *L) noexcept nogil:
    """clearCookies(): all that the client sent."""
    cdef Req *r = reply_req(L)
    cdef Span name, value, rest
    cdef int i
    lua_settop(L, 0)
    lua_settop(L, 3)
    for i in range(r.head.nheaders):
        if r.head.headers[i].id != HEADER_COOKIE:
            continue
        rest = Span(r.head.base + r.head.headers[i].value, r.head.headers[i].value_len)
        while cookie_next(&rest, &name, &value):
            if field_fault(name, Span(NULL, 0)) == NULL:
                cookie_clear(L, r, name)
    return 0


# ---- Streaming -------------------------------------------------------------------------------------------

cdef int l_stream_begin(lua_State *L) noexcept nogil:
    """begin(ctx): send the head; the body comes part by part."""
    cdef Ctx *x = <Ctx *>lua_touserdata(L, 1)
    cdef Req *r = ctx_serving(L, x)
    x.shared = 1                            # `write` may be kept
    if r.flags & REQ_HEAD_SENT:
        return luaL_error(L, b"the response is being streamed already")
    if r.conn != NULL:
        r.source = SOURCE_STREAM
        r.proto.reply_head(worker_self(), r, -1)
    r.flags |= REQ_HEAD_SENT
    return 0


cdef int l_stream_write(lua_State *L) noexcept nogil:
    """write(ctx, s) → true, or nil, "closed"; raises when called again after that. Waits while the client has not
    taken what was written before."""
    cdef Worker *w = worker_self()
    cdef Req *r = ctx_serving(L, <Ctx *>lua_touserdata(L, 1))
    cdef Span part = l_check_span(L, 2)
    if r.conn == NULL or r.proto.reply_body(w, r, part.p, part.n) != OK:
        if r.flags & REQ_TOLD_CLOSED:       # a loop that does not look at the result must end, too
            return luaL_error(L, b"write: the client has closed the connection")
        r.flags |= REQ_TOLD_CLOSED
        lua_pushnil(L)
        lua_pushlstring(L, b"closed", 6)
        return 2
    if r.conn.flags & CONN_BLOCKED or r.conn.out.n - r.conn.out_at > OUT_HIGH:
        l_check_free(L, r)
        return l_wait(L, WAIT_WRITE)
    lua_pushboolean(L, 1)
    return 1


cdef void reply_put_functions(lua_State *L) noexcept nogil:
    ctx_put(L, b"status", l_ctx_status)
    ctx_put(L, b"set", l_ctx_set)
    ctx_put(L, b"json", l_ctx_json)
    ctx_put(L, b"text", l_ctx_text)
    ctx_put(L, b"html", l_ctx_html)
    ctx_put(L, b"redirect", l_ctx_redirect)
    ctx_put(L, b"clearCookie", l_ctx_clear_cookie)
    ctx_put(L, b"clearCookies", l_ctx_clear_cookies)
