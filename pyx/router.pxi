# Routes: the path patterns of Heart v1 and the search for the route that answers a request.
#
# Matching ignores ASCII case and slashes at the end; values are cut out of the path as it was sent. The first
# registered route that matches wins. Literal routes are found through a hash, and then only the patterns that
# were registered before the one found are tried. A parameter takes what `segment_reach` gives it and never
# gives anything back: there is no backtracking, so a match costs at most (segments x path length).
# Invariants: only router_add and router_free write; a Route stays where it is until router_free; what
# router_match got as `path` must outlive the use of its Params.
# Not for: middleware prefixes, percent-decoding, what a handler is.

from libc.stddef cimport ptrdiff_t
from libc.stdlib cimport calloc
from libc.string cimport memchr

cdef extern from *:
    """
    #define EACH_BYTE 0x0101010101010101ULL
    #define HASH_FACTOR 0x9E3779B97F4A7C15ULL   /* 2^64 / golden ratio, odd */
    """
    const uint64_t EACH_BYTE
    const uint64_t HASH_FACTOR

cdef enum:
    ROUTES_MAX = 65535
    ROUTE_PATH_MAX = 65535      # bytes
    ROUTES_FIRST = 16           # places of a table that gets its first entry
    WORD = 8                    # bytes of a uint64_t
    STAR_NAME_MAX = 3           # bytes of "*16"


# ---- Text without regard to ASCII case, a word at a time -------------------------------------------------

cdef inline uint64_t word_lower(uint64_t w) noexcept nogil:
    cdef uint64_t low = w & (EACH_BYTE * 127)
    cdef uint64_t from_a = low + EACH_BYTE * (128 - c'A')
    cdef uint64_t past_z = low + EACH_BYTE * (127 - c'Z')
    return w | (((from_a ^ past_z) & ~w & (EACH_BYTE * 128)) >> 2)


cdef inline uint64_t word_load(const char *p) noexcept nogil:
    cdef uint64_t w
    memcpy(&w, p, WORD)
    return word_lower(w)


cdef inline uint64_t word_load_short(const char *p, size_t n) noexcept nogil:
    """Fewer than eight bytes: every byte is in the word, so equal words of equal `n` mean equal bytes."""
    cdef const uint8_t *u = <const uint8_t *>p
    cdef uint32_t first, last
    if n >= 4:
        memcpy(&first, p, 4)
        memcpy(&last, p + n - 4, 4)
        return word_lower(first | <uint64_t>last << 32)
    if n == 0:
        return 0
    return word_lower(u[0] | <uint64_t>u[n >> 1] << 8 | <uint64_t>u[n - 1] << 16)


cdef inline uint64_t word_mix(uint64_t h, uint64_t w) noexcept nogil:
    h = (h ^ w) * HASH_FACTOR
    return h ^ (h >> 32)


cdef uint32_t text_hash(const char *p, size_t n) noexcept nogil:
    cdef uint64_t h = n
    while n >= WORD:
        h = word_mix(h, word_load(p))
        p += WORD
        n -= WORD
    return <uint32_t>word_mix(h, word_load_short(p, n))


cdef bint text_same(const char *p, const char *q, size_t n) noexcept nogil:
    while n >= WORD:
        if word_load(p) != word_load(q):
            return False
        p += WORD
        q += WORD
        n -= WORD
    return word_load_short(p, n) == word_load_short(q, n)


cdef ptrdiff_t text_find(const char *p, size_t n, Span lower) noexcept nogil:
    """Offset of the first `lower` (lower case, not empty) in p[0:n], -1: none."""
    cdef size_t i = 0
    while i + lower.n <= n:
        if char_lower(<uint8_t>p[i]) == <uint8_t>lower.p[0] and text_same(p + i, lower.p, lower.n):
            return <ptrdiff_t>i
        i += 1
    return -1


cdef ptrdiff_t text_find_last(const char *p, size_t n, Span lower) noexcept nogil:
    cdef ptrdiff_t i = <ptrdiff_t>n - <ptrdiff_t>lower.n
    while i >= 0:
        if char_lower(<uint8_t>p[i]) == <uint8_t>lower.p[0] and text_same(p + i, lower.p, lower.n):
            break
        i -= 1
    return i


cdef size_t text_count(Span text, Span lower) noexcept nogil:
    """How often `lower` occurs in `text` without overlap."""
    cdef size_t count = 0
    cdef ptrdiff_t at = text_find(text.p, text.n, lower)
    while at >= 0:
        count += 1
        text = Span(text.p + at + lower.n, text.n - <size_t>at - lower.n)
        at = text_find(text.p, text.n, lower)
    return count


cdef inline size_t text_trim_slashes(const char *p, size_t n) noexcept nogil:
    """The length without the slashes at the end, of which a text of nothing else keeps one."""
    while n > 1 and p[n - 1] == c'/':
        n -= 1
    return n


# ---- Reading a pattern -----------------------------------------------------------------------------------

cdef inline bint pattern_starts(char c) noexcept nogil:
    return c == c':' or c == c'*' or c == c'+'


cdef inline bint pattern_ends_name(char c) noexcept nogil:
    return c == c'/' or c == c'-' or c == c'.' or c == c':' or c == c'?'


cdef size_t pattern_next(const char *p, size_t i, size_t n) noexcept nogil:
    """Where the next parameter starts, `n`: nowhere. Of several starters in a row all but the last are text,
    but "*" always is a parameter: "/name::name" has a literal colon, "/**" two parameters."""
    while i < n and not pattern_starts(p[i]):
        i += 1
    while i + 1 < n and p[i] != c'*' and pattern_starts(p[i + 1]):
        i += 1
    return i


cdef size_t pattern_read_name(Segment *s, const char *p, size_t i, size_t n) noexcept nogil:
    """Read `:name` or `:name?` at `i`; returns where it ends."""
    cdef size_t start = i + 1
    i = start
    while i < n and not pattern_ends_name(p[i]):
        i += 1
    s.kind = SEGMENT_PARAM
    s.text = Span(p + start, i - start)
    if i < n and p[i] == c'?':
        s.optional = True
        i += 1
    return i


cdef size_t pattern_read_wildcard(Segment *s, char starter, size_t number, char *name) noexcept nogil:
    """Make a `*` or `+`, the `number`th of its kind; its name goes to `name`. Returns the length of that."""
    s.kind = SEGMENT_STAR if starter == c'*' else SEGMENT_PLUS
    s.optional = starter == c'*'
    s.greedy = True
    name[0] = starter
    s.text = Span(name, 1 + put_decimal(name + 1, number))
    return s.text.n


cdef int route_parse(Route *rt, const char *lower, size_t n, char *names) noexcept nogil:
    """Cut the first `n` bytes of the route's path into segments; `lower` is the path in lower case.
    More than PARAMS_MAX parameters: ERR_LIMIT."""
    cdef const char *p = rt.path.p
    cdef size_t i = 0, at, stars = 0, pluses = 0
    cdef Segment *s
    while i < n:
        at = pattern_next(p, i, n)
        if at > i:
            s = &rt.segments[rt.nsegments]
            rt.nsegments += 1
            s.kind = SEGMENT_LITERAL
            s.text = Span(lower + i, at - i)
            i = at
        if i == n:
            break
        if rt.nparams == PARAMS_MAX:
            return ERR_LIMIT
        s = &rt.segments[rt.nsegments]
        rt.nsegments += 1
        rt.nparams += 1
        if p[i] == c':':
            i = pattern_read_name(s, p, i, n)
            continue
        stars += p[i] == c'*'
        pluses += p[i] == c'+'
        names += pattern_read_wildcard(s, p[i], stars if p[i] == c'*' else pluses, names)
        i += 1
    return OK


cdef void route_link(Route *rt) noexcept nogil:
    """Tell each segment what it must know of those behind it."""
    cdef size_t i, j
    cdef Segment *s
    cdef Segment *later
    for i in range(rt.nsegments):
        s = &rt.segments[i]
        if s.kind == SEGMENT_LITERAL:
            s.slash_optional = s.text.p[s.text.n - 1] == c'/' and i + 1 < rt.nsegments and s[1].optional
            continue
        for j in range(i + 1, rt.nsegments):
            later = &rt.segments[j]
            if later.kind != SEGMENT_LITERAL:
                continue
            if s.until.n == 0:
                s.until = Span(later.text.p, text_trim_slashes(later.text.p, later.text.n))
            s.repeats += <uint16_t>text_count(later.text, s.until)


cdef size_t pattern_room(Span path) noexcept nogil:
    """How many parameters the pattern can have at most, no more than PARAMS_MAX."""
    cdef size_t i, n = 0
    for i in range(path.n):
        n += pattern_starts(path.p[i])
    return n if n < PARAMS_MAX else PARAMS_MAX


cdef Route *route_new(Span path) noexcept nogil:
    """A zeroed route with room for its segments, its path (with a leading slash), the same in lower case and
    the names of its wildcards, in this order; NULL when memory is out."""
    cdef size_t room = pattern_room(path)
    cdef size_t slash = path.n == 0 or path.p[0] != c'/'
    cdef size_t n = path.n + slash
    cdef Route *rt = <Route *>calloc(1, sizeof(Route) + (2 * room + 1) * sizeof(Segment)
                                     + 2 * n + room * STAR_NAME_MAX)
    cdef char *text
    if rt == NULL:
        return NULL
    rt.segments = <Segment *>(rt + 1)
    text = <char *>(rt.segments + 2 * room + 1)
    text[0] = c'/'
    if path.n:
        memcpy(text + slash, path.p, path.n)
    rt.path = Span(text, n)
    return rt


cdef int route_compile(Route *rt) noexcept nogil:
    cdef size_t n = rt.path.n, i
    cdef char *lower = <char *>rt.path.p + n
    for i in range(n):
        lower[i] = <char>char_lower(<uint8_t>rt.path.p[i])
    if route_parse(rt, lower, text_trim_slashes(lower, n), lower + n) != OK:
        return ERR_LIMIT
    route_link(rt)
    rt.literal = rt.nparams == 0
    rt.star = rt.nsegments == 2 and rt.segments[0].text.n == 1 and rt.segments[1].kind == SEGMENT_STAR
    if rt.literal:
        rt.hash = text_hash(rt.segments.text.p, rt.segments.text.n)
    return OK


# ---- Matching one pattern --------------------------------------------------------------------------------

cdef ptrdiff_t literal_reach(Segment *s, const char *p, size_t n) noexcept nogil:
    """Bytes that the literal takes from p[0:n], -1: it is not there."""
    if n >= s.text.n:
        return <ptrdiff_t>s.text.n if text_same(p, s.text.p, s.text.n) else -1
    if s.slash_optional and n == s.text.n - 1 and text_same(p, s.text.p, n):
        return <ptrdiff_t>n
    return -1


cdef size_t wildcard_reach(Segment *s, const char *p, size_t n) noexcept nogil:
    """A wildcard leaves to the literals behind it as many occurrences of the first of them, counted from the
    end, as they contain; it takes all that stands before."""
    cdef size_t i
    cdef ptrdiff_t at
    if s.until.n == 0:
        return n
    at = text_find(p, n, s.until)
    if at < 0:
        return n
    if text_find(p + at + s.until.n, n - <size_t>at - s.until.n, s.until) < 0:
        return <size_t>at
    for i in range(s.repeats):
        at = text_find_last(p, n, s.until)
        if at < 0:
            break
        n = <size_t>at
    return n


cdef size_t segment_reach(Route *rt, size_t i, const char *p, size_t n) noexcept nogil:
    """Bytes of p[0:n] that parameter segment `i` takes; 0 fits an optional one only."""
    cdef Segment *s = &rt.segments[i]
    cdef const char *slash
    cdef size_t reach = n
    cdef ptrdiff_t at
    if s.greedy:
        return wildcard_reach(s, p, n)
    slash = <const char *>memchr(p, c'/', n)
    if slash != NULL:
        reach = <size_t>(slash - p)
    if i + 1 == rt.nsegments:
        return reach
    if s[1].kind == SEGMENT_PARAM:
        return 1 if reach else 0
    if s.until.n == 0:
        return 0
    at = text_find(p, n, s.until)
    if at < 0:
        return reach
    return <size_t>at if <size_t>at <= reach else 0


cdef bint route_match(Route *rt, const char *path, size_t n, Param *params) noexcept nogil:
    """Match a path without slashes at its end. `params` holds rubbish if the path does not match."""
    cdef size_t at = 0, i
    cdef ptrdiff_t take
    cdef Segment *s
    for i in range(rt.nsegments):
        s = &rt.segments[i]
        if s.kind == SEGMENT_LITERAL:
            take = literal_reach(s, path + at, n - at)
            if take < 0:
                return False
        else:
            take = <ptrdiff_t>segment_reach(rt, i, path + at, n - at)
            if take == 0 and not s.optional:
                return False
            params.at = <uint32_t>at
            params.n = <uint32_t>take
            params += 1
        at += <size_t>take
    return at == n


# ---- The table -------------------------------------------------------------------------------------------

cdef void *table_grow(void *p, uint32_t *cap, size_t size) noexcept nogil:
    """Double an array of `cap` entries of `size` bytes; NULL when memory is out, `p` is valid then."""
    cdef uint32_t wanted = cap[0] * 2 if cap[0] else ROUTES_FIRST
    p = realloc(p, wanted * size)
    if p != NULL:
        cap[0] = wanted
    return p


cdef void router_index_put(Router *r, uint32_t hash, uint32_t position) noexcept nogil:
    cdef uint32_t i = hash & (r.index_cap - 1)
    while r.index[i].at:
        i = (i + 1) & (r.index_cap - 1)
    r.index[i] = RouteSlot(hash, position + 1)


cdef int router_index_grow(Router *r) noexcept nogil:
    """Keep the index at most half full. Putting the routes in by their order keeps that order for each hash."""
    cdef uint32_t cap = r.index_cap * 2 if r.index_cap else ROUTES_FIRST, i
    cdef RouteSlot *index
    if 2 * (r.nliterals + 1) <= r.index_cap:
        return OK
    index = <RouteSlot *>calloc(cap, sizeof(RouteSlot))
    if index == NULL:
        return ERR_MEMORY
    free(r.index)
    r.index = index
    r.index_cap = cap
    for i in range(r.n):
        if r.routes[i].literal:
            router_index_put(r, r.routes[i].hash, i)
    return OK


cdef int router_reserve(Router *r, bint literal) noexcept nogil:
    """Make room for one more route of this kind."""
    cdef void *p
    if r.n == r.cap:
        p = table_grow(r.routes, &r.cap, sizeof(Route *))
        if p == NULL:
            return ERR_MEMORY
        r.routes = <Route **>p
    if literal:
        return router_index_grow(r)
    if r.npatterns == r.patterns_cap:
        p = table_grow(r.patterns, &r.patterns_cap, sizeof(RouteHead))
        if p == NULL:
            return ERR_MEMORY
        r.patterns = <RouteHead *>p
    return OK


cdef inline uint64_t text_head(const char *p, size_t n) noexcept nogil:
    """The first eight bytes, lower case; what is missing is zero."""
    cdef uint64_t w = 0
    if n >= WORD:
        return word_load(p)
    memcpy(&w, p, n)
    return word_lower(w)


cdef RouteHead route_head(Route *rt, uint32_t position) noexcept nogil:
    cdef Segment *s = rt.segments
    cdef size_t n = s.text.n - s.slash_optional
    cdef RouteHead head
    head.bytes = text_head(s.text.p, n)
    head.mask = 0
    memset(&head.mask, 255, n if n < WORD else WORD)
    head.at = position
    head.methods = rt.methods
    return head


cdef inline uint32_t route_methods(int method) noexcept nogil:
    if method == METHOD_COUNT:
        return (1 << METHOD_COUNT) - 1
    if method == METHOD_GET:
        return 1 << METHOD_GET | 1 << METHOD_HEAD
    return <uint32_t>1 << method


cdef int router_add(Router *r, int method, Span path, int handler, Route **out) noexcept nogil:
    """Register a route behind all others. `method` is a Method, or METHOD_COUNT for all of them; `path` is
    copied and gets a leading slash if it has none; `handler` is kept for the caller. `out` is the route,
    valid until router_free. ERR_MEMORY; ERR_LIMIT: too many parameters or routes, or too long a path."""
    cdef Route *rt
    cdef int rc
    if path.n >= ROUTE_PATH_MAX or r.n == ROUTES_MAX:
        return ERR_LIMIT
    rt = route_new(path)
    if rt == NULL:
        return ERR_MEMORY
    rt.method = <uint8_t>method
    rt.methods = route_methods(method)
    rt.handler = handler
    rt.max_body = -1
    rt.order = r.n
    rc = route_compile(rt)
    if rc == OK:
        rc = router_reserve(r, rt.literal)
    if rc != OK:
        free(rt)
        return rc
    if rt.literal:
        router_index_put(r, rt.hash, r.n)
        r.nliterals += 1
    else:
        r.patterns[r.npatterns] = route_head(rt, r.n)
        r.npatterns += 1
    r.routes[r.n] = rt
    r.n += 1
    out[0] = rt
    return OK


cdef void router_free(Router *r) noexcept nogil:
    """Free all routes; the router is empty and usable again."""
    cdef uint32_t i
    for i in range(r.n):
        free(r.routes[i])
    free(r.routes)
    free(r.index)
    free(r.patterns)
    memset(r, 0, sizeof(Router))


cdef Route *router_literal(Router *r, uint32_t methods, const char *path, size_t n) noexcept nogil:
    cdef uint32_t hash, i
    cdef Route *rt
    if r.nliterals == 0:
        return NULL
    hash = text_hash(path, n)
    i = hash & (r.index_cap - 1)
    while r.index[i].at:
        if r.index[i].hash == hash:
            rt = r.routes[r.index[i].at - 1]
            if rt.methods & methods and rt.segments.text.n == n and text_same(path, rt.segments.text.p, n):
                return rt
        i = (i + 1) & (r.index_cap - 1)
    return NULL


cdef Route *router_pattern(Router *r, uint32_t methods, const char *path, size_t n, uint32_t before,
                           Param *params) noexcept nogil:
    """The first pattern that matches, among those registered before the route at position `before`."""
    cdef uint64_t head = text_head(path, n)
    cdef RouteHead *x = r.patterns
    cdef RouteHead *end = r.patterns + r.npatterns
    while x < end and x.at < before:
        if (head ^ x.bytes) & x.mask == 0 and x.methods & methods:
            if route_match(r.routes[x.at], path, n, params):
                return r.routes[x.at]
        x += 1
    return NULL


cdef int router_match(Router *r, int method, const char *path, size_t n, Param *params, Route **out) noexcept nogil:
    """Find the route that answers `method` on a path (an empty one is "/"). `params` has room for PARAMS_MAX
    values and is filled for a route with parameters: offsets into `path`. OK, or ERR_MISSING and NULL."""
    cdef size_t whole
    cdef Route *rt
    cdef Route *literal
    if n == 0:
        path = b"/"
        n = 1
    whole = n
    n = text_trim_slashes(path, n)
    literal = rt = router_literal(r, <uint32_t>1 << method, path, n)
    if r.npatterns:
        rt = router_pattern(r, <uint32_t>1 << method, path, n, literal.order if literal != NULL else r.n, params)
        if rt == NULL:
            rt = literal
        elif rt.star:
            params.n = <uint32_t>(whole - params.at)
    out[0] = rt
    return OK if rt != NULL else ERR_MISSING


cdef uint32_t router_allowed(Router *r, const char *path, size_t n) noexcept nogil:
    """Bits (1 << Method) of the methods that the path answers (RFC 9110 section 10.2.1); METHOD_OTHER has none."""
    cdef Param params[PARAMS_MAX]
    cdef Route *rt
    cdef uint32_t allowed = 0
    cdef int method
    for method in range(<int>METHOD_OTHER + 1, <int>METHOD_COUNT):
        if router_match(r, method, path, n, params, &rt) == OK:
            allowed |= <uint32_t>1 << method
    return allowed


# ---- Values ----------------------------------------------------------------------------------------------

cdef bint router_param_next(Route *rt, Param *params, const char *path, size_t *at, Span *name,
                            Span *value) noexcept nogil:
    """The next parameter in the order of the pattern; `at` starts at 0. False: there is none."""
    cdef size_t i, k = 0
    for i in range(rt.nsegments):
        if rt.segments[i].kind == SEGMENT_LITERAL:
            continue
        if k == at[0]:
            name[0] = rt.segments[i].text
            value[0] = Span(path + params[k].at, params[k].n)
            at[0] += 1
            return True
        k += 1
    return False


cdef int router_param(Route *rt, Param *params, const char *path, Span name, Span *value) noexcept nogil:
    """The value of the first parameter of that name, case counts; "*" and "+" mean "*1" and "+1". The value
    of an absent optional parameter is empty. OK, or ERR_MISSING if the pattern has no such parameter."""
    cdef size_t at = 0
    cdef Span key
    cdef bint first = name.n == 1 and (name.p[0] == c'*' or name.p[0] == c'+')
    while router_param_next(rt, params, path, &at, &key, value):
        if span_equal(key, name.p, name.n):
            return OK
        if first and key.n == 2 and key.p[0] == name.p[0] and key.p[1] == c'1':
            return OK
    return ERR_MISSING
