# Batches, watchers, and the table of native functions that lua_stdlib/heart/kv.lua builds a store's module from.

cdef char KV_WATCHER            # registry: the metatable of watchers


# ---- Batches: several writes, one commit -------------------------------------------------------------------

cdef int l_kv_batch(lua_State *L) noexcept nogil:
    """batch({{"set", key, value[, options]}, {"delete", key}, {"add", ...}, {"cas", key, version, value[, options]},
    {"incr", key[, by[, init]]}, {"expire", key, seconds}}[, {sync =}])
    → true, results; or nil, reason, position of the one that failed. All or nothing."""
    cdef KvBox *box
    cdef KvOptions o
    cdef size_t i, n
    luaL_checktype(L, 1, LUA_TTABLE)
    l_kv_options(L, 2, l_store(L), &o)
    if o.expires:
        return luaL_error(L, b"batch: ttl is an option of each write")
    lua_settop(L, 1)
    n = lua_objlen(L, 1)
    box = box_push(L)
    box.txn = l_request(L, KV_COMMIT, o.sync)
    box.txn.single = 0              # it belongs to the box while arguments are read
    for i in range(1, n + 1):
        lua_rawgeti(L, 1, <int>i)
        if lua_type(L, 3) != LUA_TTABLE:
            return luaL_error(L, b"batch: write %d is not a table {name, key, ...}", <int>i)
        l_batch_write(L, box.txn, <int>i)
        lua_settop(L, 2)
    box.txn.single = 1
    return l_batch_submit(L, box)


cdef int l_batch_submit(lua_State *L, KvBox *box) noexcept nogil:
    cdef KvTxn *t = box.txn
    box.txn = NULL
    return l_submit(L, t, finish_batch)


cdef void l_batch_write(lua_State *L, KvTxn *t, int at) noexcept nogil:
    """The write whose table is at index 3: name, key and up to three more are put at 4 to 8."""
    cdef Span name
    cdef Span key
    cdef int i
    for i in range(1, 6):
        lua_rawgeti(L, 3, i)
    name.p = lua_tolstring(L, 4, &name.n)
    if name.p == NULL or lua_type(L, 5) != LUA_TSTRING:
        luaL_error(L, b"batch: write %d: expected {name, key, ...}", at)
    key = l_listed_key(L, 5, b"batch: write", at)
    if txn_written(t, kv_hash(key), key) != NULL:
        luaL_error(L, b"batch: write %d: the key %s is written twice", at, key.p)
    if span_equal(name, b"set", 3):
        l_batch_put(L, t, KV_SET, key, 6, at)
    elif span_equal(name, b"add", 3):
        l_batch_put(L, t, KV_ADD, key, 6, at)
    elif span_equal(name, b"cas", 3):
        i = t.nwrites
        l_batch_put(L, t, KV_CAS, key, 7, at)
        l_batch_number(L, 6, at)
        t.writes[i].arg = l_check_version(L, 6)
    elif span_equal(name, b"delete", 6):
        l_overwrite(L, t, KV_DELETE, key)
    elif span_equal(name, b"incr", 4):
        l_batch_incr(L, t, key, at)
    elif span_equal(name, b"expire", 6):
        l_overwrite(L, t, KV_EXPIRE, key).expires = 0 if l_absent(L, 6) else l_check_ttl(L, 6, t.store)
    else:
        luaL_error(L, b"batch: write %d: unknown name %s (there are: set, delete, add, cas, incr, expire)", at, name.p)


cdef void l_batch_put(lua_State *L, KvTxn *t, uint8_t action, Span key, int narg, int at) noexcept nogil:
    """Value at `narg`, options behind it. CAS without a value deletes."""
    cdef uint64_t expires = l_txn_options(L, narg + 1, t)
    cdef KvText value
    value.at = t.arena.n
    if action == KV_CAS and l_absent(L, narg):
        l_overwrite(L, t, action, key)
        return
    if l_absent(L, narg):
        luaL_error(L, b"batch: write %d: nil cannot be stored; use delete", at)
    if kv_encode(L, narg, &t.arena) != OK:
        luaL_error(L, b"batch: write %d: %s", at, lua_tostring_z(L, -1))
    value.n = t.arena.n - value.at
    write_value(l_overwrite(L, t, action, key), value, expires)


cdef void l_batch_number(lua_State *L, int narg, int at) noexcept nogil:
    if not l_absent(L, narg) and not lua_isnumber(L, narg):
        luaL_error(L, b"batch: write %d: expected a number, got %s", at, lua_typename(L, lua_type(L, narg)))


cdef void l_batch_incr(lua_State *L, KvTxn *t, Span key, int at) noexcept nogil:
    cdef double by, init
    cdef KvWrite *x
    l_batch_number(L, 6, at)
    l_batch_number(L, 7, at)
    by = l_check_finite(L, 6, 1)
    init = l_check_finite(L, 7, 0)
    x = l_overwrite(L, t, KV_INCR, key)
    x.by = by
    x.init = init


cdef int finish_batch(Coro *co, Op *op) noexcept nogil:
    cdef lua_State *L = co.L
    cdef KvTxn *t = <KvTxn *>op
    cdef KvWrite *x
    cdef uint32_t i
    cdef uint32_t failed = t.failed
    if t.result != OK:
        if kv_is_failure(t):
            return kv_push_failure(L, t)
        kv_push_failure(L, t)
        lua_pushinteger(L, failed + 1)
        return 3
    lua_pushboolean(L, 1)
    lua_createtable(L, <int>t.nwrites, 0)
    for i in range(t.nwrites):
        x = &t.writes[i]
        if x.action == KV_INCR:
            lua_pushnumber(L, x.number)
        elif x.action == KV_DELETE or x.action == KV_EXPIRE:
            lua_pushboolean(L, x.found)
        else:
            lua_pushnumber(L, <double>t.version)
        lua_rawseti(L, -2, <int>i + 1)
    txn_free(t)
    return 2


# ---- Watching --------------------------------------------------------------------------------------------

cdef KvWatcher *l_watcher(lua_State *L) noexcept nogil:
    return (<KvWatcher **>lua_touserdata(L, 1))[0]


cdef int l_kv_watch(lua_State *L) noexcept nogil:
    """watch(prefix or {key, ...}) → a watcher; upvalue 2: the State. Events are queued from now on."""
    cdef KvWatcher **box
    cdef KvWatcher *x
    cdef size_t i, n
    lua_settop(L, 1)
    box = <KvWatcher **>lua_newuserdata(L, sizeof(KvWatcher *))
    box[0] = NULL
    lua_pushlightuserdata(L, &KV_WATCHER)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)
    x = box[0] = watcher_new(worker_self(), <State *>lua_touserdata(L, lua_upvalueindex(2)), l_store(L))
    if x == NULL:
        return luaL_error(L, b"not enough memory")
    if lua_type(L, 1) != LUA_TTABLE:
        x.prefix = 1
        l_watch_pattern(L, x, l_check_bound(L, 1))
    else:
        n = lua_objlen(L, 1)
        for i in range(1, n + 1):
            lua_rawgeti(L, 1, <int>i)
            l_watch_pattern(L, x, l_check_key(L, 3))
            lua_pop(L, 1)
    watcher_list(x)
    return 1


cdef void l_watch_pattern(lua_State *L, KvWatcher *x, Span text) noexcept nogil:
    cdef uint32_t n = <uint32_t>text.n
    cdef int rc = OK
    if not x.prefix:
        rc = buf_append(&x.patterns, <char *>&n, sizeof(n))
    if rc != OK or buf_append(&x.patterns, text.p, text.n) != OK:
        luaL_error(L, b"not enough memory")


cdef int l_watcher_take(lua_State *L) noexcept nogil:
    """take(watcher) → the next event; nil: there is none now."""
    cdef KvWatcher *x = l_watcher(L)
    cdef KvBox *box
    cdef KvEvent *e
    cdef bint lost
    cdef bint has_value
    cdef int rc = OK
    lua_createtable(L, 0, 3)
    box = box_push(L)
    e = watcher_take(x, &lost)
    if e == NULL:
        if not lost:
            return l_nil(L)
        lua_pushboolean(L, 1)
        lua_setfield(L, 2, b"lost")
        lua_settop(L, 2)
        return 1
    box.blob = e.value              # from here on the box holds it
    e.value = NULL
    has_value = box.blob != NULL
    lua_pushnumber(L, <double>e.version)
    lua_pushlstring(L, <char *>(e + 1), e.key_n)
    event_free(e)
    lua_setfield(L, 2, b"key")
    lua_setfield(L, 2, b"version")
    if has_value:
        rc = kv_decode(L, blob_span(box.blob))
        lua_setfield(L, 2, b"value" if rc == OK else b"error")
    box_empty(box)
    lua_settop(L, 2)
    return 1


cdef int l_watcher_wait(lua_State *L) noexcept nogil:
    """wait(watcher) → true when there is something to take; nil: it was stopped, or the client left."""
    cdef KvWatcher *x = l_watcher(L)
    cdef bint stopped
    spin_lock(&x.store.watch_guard)
    stopped = x.stopped
    spin_unlock(&x.store.watch_guard)
    if stopped or x.op.begun:
        return l_nil(L)
    x.op.finish = finish_wait
    return l_wait_op(L, &x.op)


cdef int finish_wait(Coro *co, Op *op) noexcept nogil:
    watcher_woken(<KvWatcher *>op)
    lua_pushboolean(co.L, 1)
    return 1


cdef int l_watcher_stop(lua_State *L) noexcept nogil:
    """stop(watcher): no more events."""
    watcher_stop(l_watcher(L))
    return 0


cdef int l_watcher_collect(lua_State *L) noexcept nogil:
    if l_watcher(L) != NULL:
        watcher_collect(l_watcher(L))
    return 0


cdef int l_kv_task(lua_State *L) noexcept nogil:
    """task(fn): run fn on a coroutine of its own from the next turn on, until it or its state ends."""
    cdef State *s = <State *>lua_touserdata(L, lua_upvalueindex(2))
    cdef int function
    luaL_checktype(L, 1, LUA_TFUNCTION)
    lua_settop(L, 1)
    function = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_spawn_later(s.worker, s, function, ROLE_WATCH)
    luaL_unref(L, LUA_REGISTRYINDEX, function)
    return 0


# ---- Opening ---------------------------------------------------------------------------------------------

cdef void kv_put(lua_State *L, KvStore *s, State *state, const char *name, lua_CFunction f) noexcept nogil:
    lua_pushlightuserdata(L, s)
    lua_pushlightuserdata(L, state)
    lua_pushcclosure(L, f, 2)
    lua_setfield(L, -2, name)


cdef void kv_metatable(lua_State *L, char *name, lua_CFunction collect) noexcept nogil:
    lua_pushlightuserdata(L, name)
    lua_createtable(L, 0, 2)
    lua_pushcclosure(L, collect, 0)
    lua_setfield(L, -2, b"__gc")
    lua_pushboolean(L, 0)
    lua_setfield(L, -2, b"__metatable")
    lua_rawset(L, LUA_REGISTRYINDEX)


cdef void lua_kv_open(lua_State *L) noexcept nogil:
    """Once per state."""
    kv_metatable(L, &KV_BOX, l_box_collect)
    kv_metatable(L, &KV_HANDLE, l_handle_collect)
    kv_metatable(L, &KV_WATCHER, l_watcher_collect)


cdef void l_push_kv(lua_State *L, KvStore *s, State *state) noexcept nogil:
    """The table of a store's native functions."""
    lua_createtable(L, 0, 32)
    kv_put(L, s, state, b"get", l_kv_get)
    kv_put(L, s, state, b"fetch", l_kv_fetch)
    kv_put(L, s, state, b"has", l_kv_has)
    kv_put(L, s, state, b"ttl", l_kv_ttl)
    kv_put(L, s, state, b"get_many", l_kv_get_many)
    kv_put(L, s, state, b"set", l_kv_set)
    kv_put(L, s, state, b"add", l_kv_add)
    kv_put(L, s, state, b"delete", l_kv_delete)
    kv_put(L, s, state, b"incr", l_kv_incr)
    kv_put(L, s, state, b"cas", l_kv_cas)
    kv_put(L, s, state, b"expire", l_kv_expire)
    kv_put(L, s, state, b"delete_prefix", l_kv_delete_prefix)
    kv_put(L, s, state, b"count", l_kv_count)
    kv_put(L, s, state, b"page", l_kv_page)
    kv_put(L, s, state, b"batch", l_kv_batch)
    kv_put(L, s, state, b"handle", l_kv_handle)
    kv_put(L, s, state, b"begin", l_txn_begin)
    kv_put(L, s, state, b"commit", l_txn_commit)
    kv_put(L, s, state, b"stale", l_txn_stale)
    kv_put(L, s, state, b"restart", l_txn_restart)
    kv_put(L, s, state, b"rollback", l_txn_rollback)
    kv_put(L, s, state, b"watch", l_kv_watch)
    kv_put(L, s, state, b"take", l_watcher_take)
    kv_put(L, s, state, b"wait", l_watcher_wait)
    kv_put(L, s, state, b"stop", l_watcher_stop)
    kv_put(L, s, state, b"task", l_kv_task)
    lua_pushboolean(L, s.backend.queued)
    lua_setfield(L, -2, b"queued")
    lua_pushlightuserdata(L, &KV_CONFLICTED)
    lua_setfield(L, -2, b"conflicted")


cdef int l_core_kv_memory(lua_State *L) noexcept nogil:
    """kv_memory() → the native functions of the memory store"""
    cdef State *s = l_state(L)
    l_push_kv(L, s.worker.server.kv_memory, s)
    return 1


cdef int l_core_ulid(lua_State *L) noexcept nogil:
    """ulid() → 26 characters that sort by the time of their making"""
    cdef char out[ULID_SIZE]
    if ulid_new(out) != OK:
        return luaL_error(L, b"ulid: the system gives no random bits")
    lua_pushlstring(L, out, ULID_SIZE)
    return 1


cdef int l_core_kv_disk(lua_State *L) noexcept nogil:
    """kv_disk() → the native functions of the disk store, which is opened if it is not yet"""
    cdef State *s = l_state(L)
    queue_want(s.worker.server.kv_disk)
    l_push_kv(L, s.worker.server.kv_disk, s)
    return 1
