# Requests: what happens to one between its head and its reply, whatever protocol carried it.
#   req_new → req_route (when the head is complete) → the protocol fills the body sink → req_serve → a reply:
#   req_reply (bytes), req_reply_file or the stream calls → req_close.
# Invariant: spans of an unretained request point into the worker's scratch buffer and die with the protocol's
# on_data call; whatever suspends a request calls req_retain first.

cdef enum:
    REQS_KEPT = 64              # free requests that keep their buffers
    REQ_BUFFER_KEPT = 16384     # capacity that such a buffer may have


cdef Req *req_new(Worker *w) noexcept nogil:
    """An empty request, or NULL when memory is out."""
    cdef Req *r = w.free_reqs
    if likely(r != NULL):
        w.free_reqs = r.next
        w.nfree_reqs -= 1
        return r
    r = <Req *>slab_new(&w.reqs)
    if r != NULL:
        memset(r, 0, sizeof(Req))
    return r


cdef inline void req_open(Worker *w, Req *r, Conn *c) noexcept nogil:
    """Bind a request whose head has been read to its connection and to the current generation of the code."""
    r.conn = c
    r.proto = c.proto
    r.state = w.state
    r.state.holders += 1
    r.coro = NULL
    r.waiter = NULL
    r.on_abort = LUA_NOREF
    r.route = NULL
    r.mount = NULL
    r.flags = 0
    r.source = SOURCE_BYTES
    r.ctype = TYPE_TEXT
    r.status = 200
    r.body.n = 0
    r.body.p = NULL
    r.file = -1
    r.sent = 0
    memcpy(r.address, c.address, sizeof(r.address))
    r.port = c.port
    r.vars_len = 0
    r.started = w.now_ns


cdef void req_recycle(Worker *w, Req *r) noexcept nogil:
    if w.nfree_reqs >= REQS_KEPT:
        req_free(w, r)
        return
    if r.flags & REQ_RETAINED:
        buf_shrink(&r.copy, REQ_BUFFER_KEPT)
    if r.fields.n:
        buf_shrink(&r.fields, REQ_BUFFER_KEPT)
    buf_shrink(&r.body_buf, REQ_BUFFER_KEPT)
    r.next = w.free_reqs
    w.free_reqs = r
    w.nfree_reqs += 1


cdef void req_free(Worker *w, Req *r) noexcept nogil:
    buf_free(&r.body_buf)
    buf_free(&r.fields)
    buf_free(&r.copy)
    slab_free(&w.reqs, r)


cdef void req_close(Worker *w, Req *r) noexcept nogil:
    """The request is over: its reply is complete or its client is gone, and no handler runs for it."""
    if r.file >= 0 and not r.flags & REQ_FILE_KEPT:
        close(r.file)
    if unlikely(r.parts != NULL):
        free(r.parts)
        r.parts = NULL
    if r.flags & REQ_LISTED:
        req_unlist(r)
    if unlikely(r.waiter != NULL):
        lua_waiter_gone(w, r)
    if unlikely(r.on_abort != LUA_NOREF):
        lua_forget_abort(r)
    if unlikely(r.flags & REQ_PASSED):
        script_give_back(w, r)
    if unlikely(r.state.is_script):
        script_ended(w, r.state)
    state_release(w, r.state)
    req_recycle(w, r)


cdef void req_cancel(Worker *w, Req *r) noexcept nogil:
    """End a suspended request, whose coroutine is gone, without an answer."""
    r.flags &= ~<uint32_t>REQ_HELD
    if r.conn != NULL:
        r.proto.abort(w, r)             # closes the request
    else:
        req_close(w, r)


cdef void req_list(Req *r) noexcept nogil:
    """Suspended requests are known to their state, so that it can end them."""
    r.flags |= REQ_LISTED
    r.prev = NULL
    r.next = r.state.requests
    if r.next != NULL:
        r.next.prev = r
    r.state.requests = r


cdef void req_unlist(Req *r) noexcept nogil:
    r.flags &= ~<uint32_t>REQ_LISTED
    if r.prev != NULL:
        r.prev.next = r.next
    else:
        r.state.requests = r.next
    if r.next != NULL:
        r.next.prev = r.prev


cdef int req_retain(Worker *w, Req *r) noexcept nogil:
    """Copy the head, and a body that lies in the scratch buffer, into memory of the request's own."""
    cdef size_t fields = r.head.nheaders * sizeof(Header)
    cdef char *p
    if r.body.n and r.body_buf.n == 0:      # also when the head came earlier and was copied then
        if buf_append(&r.body_buf, r.body.p, r.body.n) != OK:
            return ERR_MEMORY
        r.body = buf_span(&r.body_buf)
    if r.flags & REQ_RETAINED:
        return OK
    if req_make_room(r, fields + r.head.size) != OK:
        return ERR_MEMORY
    p = r.copy.p
    memcpy(p, r.head.headers, fields)
    memcpy(p + fields, r.head.base, r.head.size)
    r.head.headers = <Header *>p
    r.head.base = p + fields
    r.flags |= REQ_RETAINED
    req_list(r)
    return OK


cdef inline int req_make_room(Req *r, size_t n) noexcept nogil:
    """Memory for the head, as much as it needs: many requests may sleep."""
    if r.copy.cap >= n:
        return OK
    free(r.copy.p)
    r.copy.p = <char *>malloc(n)
    r.copy.cap = n if r.copy.p != NULL else 0
    return OK if r.copy.p != NULL else ERR_MEMORY


# ---- Routing ---------------------------------------------------------------------------------------------

cdef inline Span req_path(Req *r) noexcept nogil:
    """The path as received; "/" where an absolute-form target implies it (RFC 9112 section 3.2.2)."""
    if unlikely(r.head.path_len == 0):
        return Span(b"/", 1)
    return Span(r.head.base + r.head.path, r.head.path_len)


cdef inline Span req_query(Req *r) noexcept nogil:
    return Span(r.head.base + r.head.query, r.head.query_len)


cdef inline Span req_method(Req *r) noexcept nogil:
    return Span(r.head.base, r.head.method_len)


cdef Span req_field(Req *r, int header_id) noexcept nogil:
    """The value of the first field with this HeaderId; p is NULL if there is none."""
    cdef int i
    for i in range(r.head.nheaders):
        if r.head.headers[i].id == header_id:
            return Span(r.head.base + r.head.headers[i].value, r.head.headers[i].value_len)
    return Span(NULL, 0)


cdef void req_route(Worker *w, Req *r) noexcept nogil:
    """Find what will answer and, with it, where the body goes. Mounts come before routes, as in Heart v1."""
    cdef State *s = r.state
    cdef Span path = req_path(r)
    r.allowed = 0
    r.body_max = w.server.limits.body
    r.sink = SINK_BUFFER
    if unlikely(s.nmounts != 0):
        req_find_mount(w, r, path)
        if r.mount != NULL or r.status != 200:
            return
    if likely(router_match(&s.router, r.head.method, path.p, path.n, r.params, &r.route) == OK):
        if r.route.stream_body:
            r.sink = SINK_STREAM
            r.body_max = INT64_MAX          # nothing collects
        if r.route.max_body >= 0:
            r.body_max = r.route.max_body
        return
    r.route = NULL
    req_miss(r, path)
    if s.fallback == LUA_NOREF or r.status >= 500:
        r.sink = SINK_DISCARD


cdef void req_miss(Req *r, Span path) noexcept nogil:
    """No route: 501, an automatic answer to OPTIONS, 405 or 404 (RFC 9110 sections 9.1, 9.3.7, 15.5.6)."""
    if r.head.method == METHOD_OTHER or r.head.method == METHOD_CONNECT:
        r.status = 501
        return
    if r.head.flags & HEAD_ASTERISK:
        r.allowed = router_methods(&r.state.router)
        r.status = 204
        return
    r.allowed = router_allowed(&r.state.router, path.p, path.n)
    if not r.allowed:
        r.status = 404
    elif r.head.method == METHOD_OPTIONS:
        r.status = 204
    else:
        r.status = 405


cdef uint32_t router_methods(Router *r) noexcept nogil:
    """All methods that any route answers."""
    cdef uint32_t i, methods = 0
    for i in range(r.n):
        methods |= r.routes[i].methods
    return methods


# ---- Serving ---------------------------------------------------------------------------------------------

cdef void req_serve(Worker *w, Req *r) noexcept nogil:
    """The body is where its sink wants it: answer."""
    cdef int handler
    r.flags |= REQ_HELD
    if likely(r.route != NULL):
        handler = r.route.handler
    elif r.mount != NULL:
        handler = r.mount.handler
    else:
        handler = r.state.fallback if r.status < 500 else LUA_NOREF
        if r.state.known != LUA_NOREF and handler != LUA_NOREF and script_serve_known(w, r):
            return
    if likely(handler != LUA_NOREF):
        lua_serve(w, r, handler)
    else:
        req_answer(w, r)


cdef void req_answer(Worker *w, Req *r) noexcept nogil:
    """The engine's own answer, without Lua."""
    cdef Span body
    if r.mount != NULL:
        req_reply_file(w, r)
    else:
        body = req_default_body(w, r)
        req_reply(w, r, body)
    req_done(w, r)


cdef Span req_default_body(Worker *w, Req *r) noexcept nogil:
    """The body that goes with r.status when no handler gives one; sets Allow where that is due."""
    cdef Buf *b = &w.scratch_text
    cdef Span method = req_method(r)
    cdef Span path = req_path(r)
    b.n = 0
    if r.head.method == METHOD_HEAD:    # its head must be that of GET (RFC 9110 section 9.3.2)
        method = method_name(METHOD_GET)
    if r.allowed:
        req_put_allow(r)
    if r.status == 204:
        return Span(NULL, 0)
    if r.status == 404:
        buf_append(b, b"Cannot ", 7)
        buf_append(b, method.p, method.n)
        buf_put(b, c' ')
        buf_append(b, path.p, path.n)
    else:
        put_status_text(b, r.status)
    return buf_span(b)


cdef void put_status_text(Buf *b, int status) noexcept nogil:
    """ "500 - Internal Server Error", as Heart v1 wrote it."""
    cdef Span reason = status_reason(status)
    if buf_reserve(b, 32 + reason.n) == OK:
        b.n += put_decimal(b.p + b.n, status)
        buf_append(b, b" - ", 3)
        buf_append(b, reason.p, reason.n)


cdef void req_put_allow(Req *r) noexcept nogil:
    cdef int m
    cdef bint first = True
    cdef Span name
    if buf_append(&r.fields, b"Allow: ", 7) != OK:
        return
    for m in range(1, METHOD_COUNT):
        if (r.allowed >> m & 1 or m == METHOD_OPTIONS) and m != METHOD_CONNECT:    # which is always 501
            name = method_name(m)
            if not first:
                buf_append(&r.fields, b", ", 2)
            buf_append(&r.fields, name.p, name.n)
            first = False
    buf_append(&r.fields, b"\r\n", 2)


cdef void req_reply(Worker *w, Req *r, Span body) noexcept nogil:
    """A complete response with these bytes. Nothing happens if the client is gone."""
    if r.conn == NULL:
        return
    if r.proto.reply_head(w, r, <int64_t>body.n) == OK and body.n:
        r.proto.reply_body(w, r, body.p, body.n)


cdef inline void req_done(Worker *w, Req *r) noexcept nogil:
    """The answer is decided and no handler runs any more; a file may still be on its way."""
    if unlikely(r.source == SOURCE_FILE and r.conn != NULL):
        if req_retain(w, r) == OK:
            r.flags &= ~<uint32_t>REQ_HELD
            r.proto.suspend(w, r)
            r.proto.want_output(w, r)
            return
        r.proto.abort(w, r)
    req_finish(w, r)


cdef void req_finish(Worker *w, Req *r) noexcept nogil:
    req_log(w, r)
    if likely(r.conn != NULL):
        r.proto.reply_end(w, r)
    req_close(w, r)


cdef void req_log(Worker *w, Req *r) noexcept nogil:
    if w.server.access_log:
        log_access(w.log, log_wall_ms(), r.status, req_method(r), req_path(r), clock_ns() - r.started, r.sent,
                   r.address)
