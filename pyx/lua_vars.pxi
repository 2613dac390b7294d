# The tables of FastCGI variables. Most of what a web server sends comes again with the next request: the same names in
# the same order, and most of their values. So a state keeps a template of them, and a Lua function that returns a table
# of it, which LuaJIT copies at once, for the constructor of that table has constants alone. The table of a request is
# such a copy; the values that differ are set, and what lies behind the template.
# Invariants:
#   - a table has what the request has and nothing else: where a name differs, the template is cut off;
#   - no name is twice in a template, so that values may be set in any order; the last one of a name counts.

cdef enum:
    TEMPLATE_FEWEST = 4             # pairs that are worth a template
    TEMPLATE_BYTES = 8192           # of all pairs of one
    TEMPLATE_AGE = 1000             # requests that a template serves; then one is made of all that the next one has


# A variable whose value is not that of the template.
ctypedef struct ChangedPair:
    Span name
    Span value


cdef inline Span fcgi_vars(Req *r) noexcept nogil:
    """The variables of a request as name-value pairs; none if it did not come over FastCGI."""
    return Span(r.head.base + r.vars, r.vars_len)


cdef int l_fcgi_params(lua_State *L) noexcept nogil:
    """params(ctx) → {name = value} of all variables that the web server has sent; nil: it is no FastCGI. The last one
    of a name counts."""
    cdef Req *r = l_served(L)
    cdef Span rest = fcgi_vars(r)
    cdef Span name, value
    if r.proto != &FCGI:
        return l_nil(L)
    if not template_copy(L, &rest):
        lua_createtable(L, 0, 32)
    while fcgi_pair_next(&rest, &name, &value) == OK:
        vars_set(L, name, value)
    return 1


cdef inline void vars_set(lua_State *L, Span name, Span value) noexcept nogil:
    """In the table on top."""
    l_push_span(L, name)
    l_push_span(L, value)
    lua_rawset(L, -3)


# ---- Templates -------------------------------------------------------------------------------------------

cdef bint template_copy(lua_State *L, Span *vars) noexcept nogil:
    """Push a table of what the template of this state has of the variables, and take that off them. False: there is no
    template."""
    cdef ChangedPair[TEMPLATE_PAIRS] changed
    cdef VarsTemplate *t = template_of(L, vars[0])
    cdef Span rest
    cdef int n, i
    if t == NULL or t.n == 0:
        return False
    n = template_match(t, vars[0], changed, &rest)
    if n < 0:
        template_make(L, t, vars[0], -1 - n)
        if t.n == 0:
            return False
        n = template_match(t, vars[0], changed, &rest)
    lua_rawgeti(L, LUA_REGISTRYINDEX, t.maker)
    lua_call(L, 0, 1)
    for i in range(n):
        vars_set(L, changed[i].name, changed[i].value)
    vars[0] = rest
    return True


cdef VarsTemplate *template_of(lua_State *L, Span vars) noexcept nogil:
    """The template of this state. Its first request has none: it may be the only one."""
    cdef State *s = l_state(L)
    cdef VarsTemplate *t = s.template
    if t == NULL:
        t = s.template = <VarsTemplate *>calloc(1, sizeof(VarsTemplate))
        if t != NULL:
            t.maker = LUA_NOREF
    elif t.left == 0:
        template_make(L, t, vars, TEMPLATE_PAIRS)
    else:
        t.left -= 1
    return t


cdef int template_match(const VarsTemplate *t, Span vars, ChangedPair *changed, Span *rest) noexcept nogil:
    """Find the pairs whose values are not those of the template. Returns their number, with `rest` what lies behind the
    template; or -1 - i if the names agree only in the first `i` pairs."""
    cdef Span known = buf_span(&t.pairs)
    cdef Span pair
    cdef uint32_t i = 0
    cdef uint32_t at = 0
    cdef uint32_t same
    cdef int n = 0
    while True:
        same = at + <uint32_t>bytes_same(vars, Span(known.p + at, known.n - at))
        while i < t.n and t.ends[i] <= same:
            vars.p += t.ends[i] - at
            vars.n -= t.ends[i] - at
            at = t.ends[i]
            i += 1
        if i == t.n:
            break
        pair = Span(known.p + at, t.ends[i] - at)
        fcgi_pair_next(&pair, &changed[n].name, &changed[n].value)
        pair = changed[n].name
        if fcgi_pair_next(&vars, &changed[n].name, &changed[n].value) != OK or \
                not span_equal(changed[n].name, pair.p, pair.n):
            return -1 - <int>i
        at = t.ends[i]
        i += 1
        n += 1
    rest[0] = vars
    return n


cdef size_t bytes_same(Span a, Span b) noexcept nogil:
    """How many bytes at the beginning are the same."""
    cdef size_t n = a.n if a.n < b.n else b.n
    cdef size_t i = 0
    cdef uint64_t x, y
    while i + 8 <= n:
        memcpy(&x, a.p + i, 8)
        memcpy(&y, b.p + i, 8)
        if x != y:
            break
        i += 8
    while i < n and a.p[i] == b.p[i]:
        i += 1
    return i


# ---- Making them -----------------------------------------------------------------------------------------

cdef void template_make(lua_State *L, VarsTemplate *t, Span vars, int most) noexcept nogil:
    """Of at most so many pairs of a request; none if that is not worth it, or if it fails."""
    cdef uint32_t n
    luaL_unref(L, LUA_REGISTRYINDEX, t.maker)
    t.maker = LUA_NOREF
    t.n = 0
    t.left = TEMPLATE_AGE
    n = template_take(t, vars, most)
    if n < TEMPLATE_FEWEST or template_write(t, n) != OK:
        return
    if luaL_loadbuffer(L, t.text.p, t.text.n, b"=variables") == LUA_OK:
        t.maker = luaL_ref(L, LUA_REGISTRYINDEX)
        t.n = n
    else:
        lua_settop(L, -2)
    buf_free(&t.text)


cdef uint32_t template_take(VarsTemplate *t, Span vars, int most) noexcept nogil:
    """Keep the first pairs. Returns their number."""
    cdef Span before = vars
    cdef Span name, value
    cdef uint32_t n = 0
    t.pairs.n = 0
    while <int>n < most and fcgi_pair_next(&vars, &name, &value) == OK:
        if fcgi_pair_find(buf_span(&t.pairs), name.p, name.n, &value) == OK or \
                vars.p - before.p + t.pairs.n > TEMPLATE_BYTES or \
                buf_append(&t.pairs, before.p, vars.p - before.p) != OK:
            break
        t.ends[n] = <uint32_t>t.pairs.n
        n += 1
        before = vars
    return n


cdef int template_write(VarsTemplate *t, uint32_t n) noexcept nogil:
    """The source of a function that returns the table of `n` pairs."""
    cdef Span pairs = buf_span(&t.pairs)
    cdef Span name, value
    cdef Buf *b = &t.text
    b.n = 0
    if buf_reserve(b, 16 + 4 * pairs.n + 8 * n) != OK:
        return ERR_MEMORY
    buf_append(b, b"return{", 7)
    while fcgi_pair_next(&pairs, &name, &value) == OK:
        buf_append(b, b"[", 1)
        template_put_text(b, name)
        buf_append(b, b"]=", 2)
        template_put_text(b, value)
        buf_append(b, b",", 1)
    return buf_append(b, b"}", 1)


cdef void template_put_text(Buf *b, Span text) noexcept nogil:
    """A string constant. There is room for four bytes of each, and the quotes."""
    cdef size_t i
    cdef uint8_t c
    buf_put(b, c'"')
    for i in range(text.n):
        c = <uint8_t>text.p[i]
        if char_token(c):
            buf_put(b, <char>c)
            continue
        buf_put(b, c'\\')
        buf_put(b, <char>(c'0' + c // 100))
        buf_put(b, <char>(c'0' + c // 10 % 10))
        buf_put(b, <char>(c'0' + c % 10))
    buf_put(b, c'"')


cdef void template_free(VarsTemplate *t) noexcept nogil:
    """After its state."""
    if t != NULL:
        buf_free(&t.pairs)
        buf_free(&t.text)
        free(t)
