# core.fcgi: what only requests over FastCGI have, beside Heart's own ctx.

cdef int l_fcgi_param(lua_State *L) noexcept nogil:
    """param(ctx, name) → one of them; nil: there is none."""
    cdef Req *r = l_served(L)
    cdef Span name = l_check_span(L, 2)
    cdef Span value
    if fcgi_pair_find(fcgi_vars(r), name.p, name.n, &value) != OK:
        return l_nil(L)
    return l_push_span(L, value)


cdef int l_fcgi_error(lua_State *L) noexcept nogil:
    """error(ctx, text) → true: it is on its way to the web server's error log; false: there is none, or its client is
    gone."""
    cdef Worker *w = worker_self()
    cdef Req *r = l_served(L)
    cdef Span text = l_check_span(L, 2)
    if r.proto != &FCGI or r.conn == NULL:
        lua_pushboolean(L, 0)
        return 1
    if text.n:
        r.flags |= REQ_ERRORS
    lua_pushboolean(L, fcgi_write(w, r.conn, FCGI_STDERR, r.id, text.p, text.n) == OK)
    return 1


cdef void lua_fcgi_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    lua_createtable(L, 0, 3)
    core_put(L, s, b"params", l_fcgi_params)
    core_put(L, s, b"param", l_fcgi_param)
    core_put(L, s, b"error", l_fcgi_error)
