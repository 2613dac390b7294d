# Shared dictionaries: memory stores by name, for all workers and all generations of the code (core.shared).
#   shared(name[, max_bytes]) → the native functions of its store, those that lua_kv_open.pxi lists:
#     get fetch has ttl get_many set add delete incr cas expire delete_prefix count page batch, transactions, watch
#   and these:
#     usage() → bytes used, bytes at most, keys (expired ones that still take room included)
#     stale(key) → value, version, whether it has expired: also one that has, as long as its room was not needed
#     flush_expired([max]) → how many expired keys were removed
# heart.v1.shared and ngx.shared are built on it. A dictionary that is full drops expired keys, then the least recently
# used ones (but {evict = false} as an option of set, add and incr: nil, "no memory" then). Nothing waits.
# A dictionary lives as long as the process: there is no function to remove one, only to empty it.

cdef enum:
    SHARED_NAME_MAX = 255           # bytes
    SHARED_DEFAULT = 10485760       # bytes, of a dictionary without a size
    SHARED_MIN = 65536


cdef KvStore *shared_find(Server *g, Span name) noexcept nogil:
    """The store of a name, made if there is none; NULL: out of memory. From any worker."""
    cdef KvStore *s
    spin_lock(&g.shared_guard)
    s = shared_look(g, name)
    spin_unlock(&g.shared_guard)
    return s if s != NULL else shared_add(g, name)


cdef KvStore *shared_look(Server *g, Span name) noexcept nogil:
    cdef KvStore *s = g.shared
    while s != NULL and not span_equal(buf_span(&s.name), name.p, name.n):
        s = s.next
    return s


cdef KvStore *shared_add(Server *g, Span name) noexcept nogil:
    """Made outside of the lock: another worker may have been quicker."""
    cdef KvStore *s = mem_new(g, SHARED_DEFAULT, True)
    cdef KvStore *other
    if s == NULL:
        return NULL
    s.mem.lazy = 1
    if buf_append(&s.name, name.p, name.n) != OK:
        mem_free(s)
        return NULL
    spin_lock(&g.shared_guard)
    other = shared_look(g, name)
    if other == NULL:
        s.next = g.shared
        g.shared = s
    spin_unlock(&g.shared_guard)
    if other == NULL:
        return s
    buf_free(&s.name)
    mem_free(s)
    return other


cdef int l_core_shared(lua_State *L) noexcept nogil:
    """shared(name[, max_bytes]): the size given last holds."""
    cdef State *state = l_state(L)
    cdef Span name = l_check_span(L, 1)
    cdef double size = luaL_checknumber(L, 2) if not l_absent(L, 2) else 0
    cdef KvStore *s
    if not 1 <= name.n <= SHARED_NAME_MAX:
        return luaL_argerror(L, 1, b"a name has 1 to 255 bytes")
    if not l_absent(L, 2) and not SHARED_MIN <= size <= 1e15:
        return luaL_argerror(L, 2, b"expected at least 65536 bytes")
    s = shared_find(state.worker.server, name)
    if s == NULL:
        return luaL_error(L, b"not enough memory")
    if size:
        size_store(&s.mem.max, <size_t>size)
    l_push_kv(L, s, state)
    kv_put(L, s, state, b"usage", l_shared_usage)
    kv_put(L, s, state, b"stale", l_shared_stale)
    kv_put(L, s, state, b"flush_expired", l_shared_flush_expired)
    return 1


cdef int l_shared_usage(lua_State *L) noexcept nogil:
    """usage() → bytes used, bytes at most, keys"""
    cdef KvMem *m = l_store(L).mem
    cdef uint64_t n = 0
    cdef uint32_t i
    for i in range(KV_SHARDS):
        n += word_peek(&m.shards[i].n)
    lua_pushnumber(L, <double>size_load(&m.used))
    lua_pushnumber(L, <double>size_load(&m.max))
    lua_pushnumber(L, <double>n)
    return 3


cdef int l_shared_stale(lua_State *L) noexcept nogil:
    """stale(key) → value, version, whether it has expired; nil when missing."""
    cdef KvStore *s = l_store(L)
    cdef Span key = l_check_key(L, 1)
    cdef uint32_t hash = kv_hash(key)
    cdef KvShard *shard = mem_shard(s.mem, hash)
    cdef KvBox *box = box_push(L)
    cdef KvNode *x
    cdef uint64_t version = 0
    cdef bint live = False
    spin_lock(&shard.guard)
    x = shard_find(shard, hash, key)
    if x != NULL:
        box.blob = blob_hold(x.value)
        version = x.version
        live = node_live(x, clock_ms())
    spin_unlock(&shard.guard)
    if version == 0:
        return l_nil(L)
    if kv_decode(L, blob_span(box.blob)) != OK:
        lua_pushnil(L)
        lua_insert(L, -2)
        return 2
    lua_pushnumber(L, <double>version)
    lua_pushboolean(L, not live)
    return 3


cdef int l_shared_flush_expired(lua_State *L) noexcept nogil:
    """flush_expired([max]) → how many expired keys were removed: all, or about `max`."""
    cdef KvStore *s = l_store(L)
    cdef double limit = l_check_finite(L, 1, 0)
    cdef uint64_t removed = 0
    cdef uint32_t i, slots
    for i in range(KV_SHARDS):
        slots = word_peek(&s.mem.shards[i].cap)
        while word_peek(&s.mem.shards[i].expiring) and slots and (limit <= 0 or <double>removed < limit):
            shard_sweep(s, &s.mem.shards[i], &removed)
            slots -= SWEEP_SLOTS if slots > SWEEP_SLOTS else slots
    lua_pushnumber(L, <double>removed)
    return 1
