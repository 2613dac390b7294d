# The table "heart.core": what the Lua half of Heart (lua_stdlib/heart) builds on. Not for applications.
# Its functions act on the state that they were made for (upvalue 1), never on another worker's.

cdef enum:
    MAX_AGE = 0x7FFFFFFF        # seconds: more means the same to caches (RFC 9111 section 1.2.2)


cdef inline State *l_state(lua_State *L) noexcept nogil:
    return <State *>lua_touserdata(L, lua_upvalueindex(1))


cdef void core_put(lua_State *L, State *s, const char *name, lua_CFunction f) noexcept nogil:
    lua_pushlightuserdata(L, s)
    lua_pushcclosure(L, f, 1)
    lua_setfield(L, -2, name)


cdef void lua_core_open(lua_State *L, State *s) noexcept nogil:
    """Push the table."""
    ctx_open(L, s)
    lua_kv_open(L)
    lua_getfield(L, LUA_GLOBALSINDEX, b"print")
    lua_pushcclosure(L, l_print, 1)
    lua_setfield(L, LUA_GLOBALSINDEX, b"print")
    lua_createtable(L, 0, 24)
    core_put(L, s, b"route", l_core_route)
    core_put(L, s, b"mount", l_core_mount)
    core_put(L, s, b"page", l_core_page)
    core_put(L, s, b"fallback", l_core_fallback)
    core_put(L, s, b"onerror", l_core_onerror)
    core_put(L, s, b"on", l_core_on)
    core_put(L, s, b"errorpage", l_core_errorpage)
    core_put(L, s, b"describe", l_core_describe)
    core_put(L, s, b"prelude", l_core_prelude)
    core_put(L, s, b"loaded", l_core_loaded)
    core_put(L, s, b"answer", l_core_answer)
    core_put(L, s, b"exiting", l_core_exiting)
    core_put(L, s, b"sleep", l_sleep)
    core_put(L, s, b"kv_memory", l_core_kv_memory)
    core_put(L, s, b"ulid", l_core_ulid)
    core_put(L, s, b"kv_disk", l_core_kv_disk)
    core_put(L, s, b"shared", l_core_shared)
    core_put(L, s, b"longest_turn", l_core_longest_turn)
    core_put(L, s, b"now", l_core_now)
    lua_push_pairs(L, &s.worker.server.libraries)
    lua_setfield(L, -2, b"libraries")
    if s.worker.server.channels.n:
        lua_push_pairs(L, &s.worker.server.channels)
        lua_setfield(L, -2, b"channels")
    lua_push_folder(L, s.worker.server)
    lua_setfield(L, -2, b"folder")
    lua_pushlstring(L, s.worker.server.site.p, s.worker.server.site.n)
    lua_setfield(L, -2, b"site")
    lua_request_open(L, s)
    lua_setfield(L, -2, b"request")
    lua_script_open(L, s)
    lua_setfield(L, -2, b"script")
    lua_pushlstring(L, s.worker.server.argument.p, s.worker.server.argument.n)
    lua_setfield(L, -2, b"argument")
    lua_archive_open(L, s)
    lua_setfield(L, -2, b"archive")
    core_put(L, s, b"stream_begin", l_stream_begin)
    core_put(L, s, b"stream_write", l_stream_write)
    lua_task_open(L, s)
    lua_setfield(L, -2, b"task")
    lua_message_open(L, s)
    lua_setfield(L, -2, b"messages")
    lua_rawgeti(L, LUA_REGISTRYINDEX, s.ctx_functions)
    lua_setfield(L, -2, b"ctx_functions")
    ctx_push_methods(s, L)
    lua_setfield(L, -2, b"context")
    lua_pushlightuserdata(L, &ENGINE_TAG)
    lua_setfield(L, -2, b"engine")
    l_json_open(L, s.worker.json)
    lua_setfield(L, -2, b"json")
    lua_ws_open(L, s)
    lua_setfield(L, -2, b"ws")
    l_cjson_open(L, s.worker.json)
    lua_setfield(L, -2, b"cjson")
    lua_log_open(L)
    lua_setfield(L, -2, b"log")
    lua_socket_open(L, s)
    lua_setfield(L, -2, b"socket")
    lua_tls_open(L, s)
    lua_setfield(L, -2, b"tls")
    lua_zlib_open(L)
    lua_setfield(L, -2, b"zlib")
    lua_fcgi_open(L, s)
    lua_setfield(L, -2, b"fcgi")
    lua_fs_open(L, s)
    lua_setfield(L, -2, b"fs")
    lua_process_open(L, s)
    lua_setfield(L, -2, b"process")
    lua_random_open(L, s)
    lua_setfield(L, -2, b"random")
    lua_pushinteger(L, s.worker.id)
    lua_setfield(L, -2, b"worker")
    lua_pushinteger(L, s.worker.server.nworkers)
    lua_setfield(L, -2, b"workers")
    lua_pushinteger(L, s.generation)
    lua_setfield(L, -2, b"generation")
    lua_pushboolean(L, s.worker.server.dev)
    lua_setfield(L, -2, b"dev")
    lua_pushboolean(L, s.worker.server.checking)
    lua_setfield(L, -2, b"checking")
    lua_pushstring(L, HEART_VERSION)
    lua_setfield(L, -2, b"version")


cdef void lua_push_folder(lua_State *L, Server *g) noexcept nogil:
    """The folder of the script, "." where its path has none."""
    cdef size_t n = g.script.n
    while n and g.script.p[n - 1] != c'/':
        n -= 1
    if n:
        lua_pushlstring(L, g.script.p, n - 1 if n > 1 else 1)
    else:
        lua_pushlstring(L, b".", 1)


cdef void lua_push_pairs(lua_State *L, Buf *pairs) noexcept nogil:
    """A table of names and values; each has a NUL behind it."""
    cdef const char *name = pairs.p
    lua_createtable(L, 0, 8)
    while name < pairs.p + pairs.n:
        lua_pushstring(L, name + strlen(name) + 1)
        lua_setfield(L, -2, name)
        name += strlen(name) + 1
        name += strlen(name) + 1


cdef int method_named(Span name) noexcept nogil:
    """The Method of a lower-case name; METHOD_COUNT for "any"; METHOD_OTHER if there is none."""
    cdef int m
    if span_equal(name, b"any", 3):
        return METHOD_COUNT
    for m in range(1, METHOD_COUNT):
        if method_name(m).n == name.n and text_same_fold(method_name(m).p, name.p, name.n):
            return m
    return METHOD_OTHER


cdef int l_core_route(lua_State *L) noexcept nogil:
    """route(method, path, fn[, {body = "buffer"|"stream", max_body = bytes}[, place]]); `place` says where the call
    stands, for `heart check`."""
    cdef State *s = l_state(L)
    cdef int method = method_named(l_check_span(L, 1))
    cdef Span path = l_check_span(L, 2)
    cdef Route *route
    cdef int rc, handler
    luaL_checktype(L, 3, LUA_TFUNCTION)
    lua_settop(L, 5)
    if method == METHOD_OTHER:
        return luaL_argerror(L, 1, b"unknown method")
    lua_pushvalue(L, 3)
    handler = luaL_ref(L, LUA_REGISTRYINDEX)
    rc = router_add(&s.router, method, path, handler, &route)
    if rc == ERR_LIMIT:
        return luaL_error(L, b"%s: a path may have at most %d parameters and 65535 characters",
                          lua_tostring_z(L, 2), <int>PARAMS_MAX)
    if rc != OK:
        return luaL_error(L, b"not enough memory")
    if s.worker.server.checking:
        l_route_place(L, s)
    l_route_options(L, route)
    return 0


cdef void l_route_place(lua_State *L, State *s) noexcept nogil:
    """Keep the text at index 5 for the route just added: empty if there is none."""
    cdef Span place = Span(NULL, 0)
    if lua_type(L, 5) == LUA_TSTRING:
        place = l_check_span(L, 5)
    if (place.n and buf_append(&s.places, place.p, place.n) != OK) or buf_put(&s.places, 0) != OK:
        luaL_error(L, b"not enough memory")


cdef void l_route_options(lua_State *L, Route *route) noexcept nogil:
    """Options at index 4, checked name by name, so that a typing error is no silent default."""
    if lua_isnil(L, 4):
        return
    luaL_checktype(L, 4, LUA_TTABLE)
    lua_pushnil(L)
    while lua_next(L, 4):
        if lua_type(L, -2) == LUA_TSTRING and span_equal(l_check_span(L, -2), b"body", 4):
            route.stream_body = l_option_body(L)
        elif lua_type(L, -2) == LUA_TSTRING and span_equal(l_check_span(L, -2), b"max_body", 8):
            if lua_type(L, -1) != LUA_TNUMBER or not lua_tonumber(L, -1) >= 0:
                luaL_error(L, b"%s: max_body: expected a number of bytes", lua_tostring_z(L, 2))
            route.max_body = INT64_MAX
            if lua_tonumber(L, -1) < <double>INT64_MAX:
                route.max_body = <int64_t>lua_tonumber(L, -1)
        else:
            lua_pushvalue(L, -2)
            luaL_error(L, b"%s: unknown route option %s (there are: body, max_body)", lua_tostring_z(L, 2),
                       lua_tostring_z(L, -1))       # of a copy: lua_next is not done with the key
        lua_pop(L, 1)


cdef bint l_option_body(lua_State *L) noexcept nogil:
    cdef Span value
    value.p = lua_tolstring(L, -1, &value.n)
    if value.p != NULL and span_equal(value, b"stream", 6):
        return True
    if value.p == NULL or not span_equal(value, b"buffer", 6):
        luaL_error(L, b"%s: body: expected \"buffer\" or \"stream\"", lua_tostring_z(L, 2))
    return False


cdef int l_core_mount(lua_State *L) noexcept nogil:
    """mount(prefix, dir, fn or nil[, {max_age = seconds, precompressed = true, redirect = false}]) → true, or nil and
    the reason. fn, if given, runs instead of the plain answer."""
    cdef State *s = l_state(L)
    cdef Span prefix = l_check_span(L, 1)
    cdef Span dir = l_check_span(L, 2)
    cdef Coro *co = worker_self().running
    cdef Mount m
    cdef Mount *grown
    if co == NULL or co.role != ROLE_LOAD:      # requests point into the list
        return luaL_error(L, b"directories can only be added while the script loads")
    lua_settop(L, 4)
    l_mount_options(L, &m)
    if folder_find(&s.worker.server.archive, dir, &m.folder) != OK:
        lua_pushnil(L)
        lua_pushstring(L, strerror(errno))
        return 2
    m.handler = LUA_NOREF
    grown = <Mount *>realloc(s.mounts, (s.nmounts + 1) * sizeof(Mount))
    if grown != NULL:
        s.mounts = grown
    if grown == NULL or mount_set_prefix(&m, prefix) != OK:
        folder_close(&m.folder)
        return luaL_error(L, b"not enough memory")
    if lua_type(L, 3) == LUA_TFUNCTION:
        lua_settop(L, 3)
        m.handler = luaL_ref(L, LUA_REGISTRYINDEX)
    s.mounts[s.nmounts] = m
    s.nmounts += 1
    lua_pushboolean(L, 1)
    return 1


cdef void l_mount_options(lua_State *L, Mount *m) noexcept nogil:
    """Options at index 4, checked name by name, so that a typing error is no silent default."""
    cdef Span key
    m.max_age = -1
    m.precompressed = 1
    m.redirect = 0
    if lua_isnil(L, 4):
        return
    luaL_checktype(L, 4, LUA_TTABLE)
    lua_pushnil(L)
    while lua_next(L, 4):
        key = Span(NULL, 0)
        if lua_type(L, -2) == LUA_TSTRING:
            key.p = lua_tolstring(L, -2, &key.n)
        if span_equal(key, b"max_age", 7):
            m.max_age = l_option_seconds(L)
        elif span_equal(key, b"precompressed", 13):
            m.precompressed = l_option_switch(L, b"precompressed")
        elif span_equal(key, b"redirect", 8):
            m.redirect = l_option_switch(L, b"redirect")
        else:
            lua_pushvalue(L, -2)
            luaL_error(L, b"static: unknown option %s (there are: max_age, precompressed, redirect)",
                       lua_tostring_z(L, -1))       # of a copy: lua_next is not done with the key
        lua_pop(L, 1)


cdef int64_t l_option_seconds(lua_State *L) noexcept nogil:
    if lua_type(L, -1) != LUA_TNUMBER or not 0 <= lua_tonumber(L, -1) <= MAX_AGE:
        luaL_error(L, b"static: max_age: expected a number of seconds, at most %d", <int>MAX_AGE)
    return <int64_t>lua_tonumber(L, -1)


cdef bint l_option_switch(lua_State *L, const char *name) noexcept nogil:
    if lua_type(L, -1) != LUA_TBOOLEAN:
        luaL_error(L, b"static: %s: expected true or false", name)
    return lua_toboolean(L, -1)


cdef int l_core_page(lua_State *L) noexcept nogil:
    """page(path) → what a handler returns to answer with this file below the first mount; nil: there is none."""
    cdef State *s = l_state(L)
    cdef Span path = l_check_span(L, 1)
    cdef Worker *w = worker_self()
    cdef Req *r = w.running.req if w.running != NULL else NULL
    cdef StaticFile f
    if r == NULL or r.mount != NULL or r.state != s or s.nmounts == 0:
        return luaL_error(L, b"no request is served here that could have a page")
    if static_open(&s.mounts[0].folder, path.p, path.n, NULL, &f) != OK:
        return 0
    if f.slashless:
        static_close(&f)
        return 0
    req_take_file(r, &s.mounts[0], &f)
    lua_pushlightuserdata(L, &FILE_TAG)
    return 1


cdef int mount_set_prefix(Mount *m, Span prefix) noexcept nogil:
    """Lower case, with a leading slash and without a trailing one: "/" becomes ""."""
    cdef char *p = <char *>malloc(prefix.n + 2)
    cdef size_t i, n = 0
    if p == NULL:
        return ERR_MEMORY
    if prefix.n and prefix.p[0] != c'/':
        p[0] = c'/'
        n = 1
    for i in range(prefix.n):
        p[n] = <char>char_lower(<uint8_t>prefix.p[i])
        n += 1
    while n and p[n - 1] == c'/':
        n -= 1
    m.prefix = Span(p, n)
    return OK


cdef void l_set_reference(lua_State *L, int *reference) noexcept nogil:
    """Keep the function at index 1 (nil: none) in place of the one that `reference` names."""
    if not l_absent(L, 1):
        luaL_checktype(L, 1, LUA_TFUNCTION)
    luaL_unref(L, LUA_REGISTRYINDEX, reference[0])
    reference[0] = LUA_NOREF
    if not l_absent(L, 1):
        lua_settop(L, 1)
        reference[0] = luaL_ref(L, LUA_REGISTRYINDEX)


cdef int l_core_fallback(lua_State *L) noexcept nogil:
    """fallback(fn): what answers when neither a mount nor a route does."""
    l_set_reference(L, &l_state(L).fallback)
    return 0


cdef int l_core_onerror(lua_State *L) noexcept nogil:
    l_set_reference(L, &l_state(L).onerror)
    return 0


cdef int l_core_errorpage(lua_State *L) noexcept nogil:
    l_set_reference(L, &l_state(L).errorpage)
    return 0


cdef int l_core_describe(lua_State *L) noexcept nogil:
    l_set_reference(L, &l_state(L).describe)
    return 0


cdef int l_core_prelude(lua_State *L) noexcept nogil:
    """prelude(fn): fn(script) runs in place of the script, and runs it."""
    l_set_reference(L, &l_state(L).prelude)
    return 0


cdef int l_core_on(lua_State *L) noexcept nogil:
    """on("start"|"stop", fn)"""
    cdef State *s = l_state(L)
    cdef Span event = l_check_span(L, 1)
    cdef bint start = span_equal(event, b"start", 5)
    if not start and not span_equal(event, b"stop", 4):
        return luaL_argerror(L, 1, b"expected \"start\" or \"stop\"")
    lua_remove(L, 1)
    l_set_reference(L, &s.on_start if start else &s.on_stop)
    return 0


cdef int l_core_loaded(lua_State *L) noexcept nogil:
    """loaded(path): a file that the application is made of, for --watch."""
    cdef State *s = l_state(L)
    cdef Span path = l_check_span(L, 1)
    if buf_append(&s.files, path.p, path.n) == OK:
        buf_put(&s.files, 0)
    return 0


cdef int l_core_now(lua_State *L) noexcept nogil:
    """now() → seconds of a clock that only goes forward, to the millisecond"""
    lua_pushnumber(L, <double>clock_ms() / 1000)
    return 1


cdef int l_print(lua_State *L) noexcept nogil:
    """print(...): the library's own, which hands libc one word at a time, with the lock of stdout around it. Without,
    words of other workers would come in between, and a line of the log when one of them flushed."""
    cdef int i
    cdef int n = lua_gettop(L)
    cdef int rc
    for i in range(1, n + 1):   # what may run code of the application does so first
        if lua_type(L, i) == LUA_TSTRING or lua_type(L, i) == LUA_TNUMBER:
            continue
        lua_getfield(L, LUA_GLOBALSINDEX, b"tostring")
        lua_pushvalue(L, i)
        lua_call(L, 1, 1)
        if lua_type(L, -1) != LUA_TSTRING and lua_type(L, -1) != LUA_TNUMBER:
            return luaL_error(L, b"'tostring' must return a string to 'print'")
        lua_replace(L, i)
    lua_pushvalue(L, lua_upvalueindex(1))
    lua_insert(L, 1)
    flockfile(stdout)
    rc = lua_pcall(L, n, 0, 0)
    funlockfile(stdout)
    return lua_error(L) if rc != 0 else 0


cdef int l_core_longest_turn(lua_State *L) noexcept nogil:
    """longest_turn() → ms that the longest turn of this worker's loop took since the last call, and the most ms of
    processor time that one of them used. Turns are measured from the first call on, by two system calls each."""
    cdef Worker *w = l_state(L).worker
    lua_pushnumber(L, <double>w.longest_turn / 1e6)
    lua_pushnumber(L, <double>w.longest_work / 1e6)
    w.longest_turn = w.longest_work = 0
    if not w.measuring:
        w.measuring = 1
        w.work_ns = clock_work_ns()
    return 2


cdef int l_core_exiting(lua_State *L) noexcept nogil:
    """exiting() → whether this state serves no new requests: the worker ends, or has newer code."""
    cdef State *s = l_state(L)
    lua_pushboolean(L, s.retired or s.worker.draining)
    return 1


cdef int l_core_answer(lua_State *L) noexcept nogil:
    """answer() → what the engine would answer to the running request, as a handler's return value: the file of a
    mount, the text of a 404 or 405, nothing to OPTIONS."""
    cdef Worker *w = worker_self()
    cdef Req *r = w.running.req if w.running != NULL else NULL
    if r == NULL:
        return luaL_error(L, b"no request is served here")
    if r.mount != NULL:
        lua_pushlightuserdata(L, &FILE_TAG)
        return 1
    return l_push_span(L, req_default_body(w, r))
