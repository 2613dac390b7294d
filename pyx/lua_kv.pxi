# The functions of a store for Lua, outside of transactions: each is one request. lua_kv_txn.pxi has transactions,
# lua_stdlib/heart/kv.lua builds the modules from both. Upvalue 1 of all functions here: the KvStore.
#
# The seam between stores: a request is a KvTxn. Memory carries it out at once and `finish` pushes the results; a queued
# backend is given it when the coroutine has yielded (request_begin), and its post has `finish` push them.
# Failures of a store are `nil, message`; wrong arguments raise.
#
# The rules of this boundary: between txn_new and txn_free nothing longjmps but for Lua being out of memory, which loses
# the transaction's memory at worst, never a lock. Values above KV_INLINE bytes and lists of items, where that would
# hurt, are held by a box on Lua's stack (box_push).

cdef enum:
    TTL_MAX = 3155760000        # seconds: 100 years
    TOLD_INTERVAL = 1000        # ms between two log lines about failures

# The options of a write, checked.
ctypedef struct KvOptions:
    uint64_t expires
    bint sync
    bint keep


# ---- Arguments -------------------------------------------------------------------------------------------

cdef inline KvStore *l_store(lua_State *L) noexcept nogil:
    return <KvStore *>lua_touserdata(L, lua_upvalueindex(1))


cdef inline Span l_check_key(lua_State *L, int narg) noexcept nogil:
    cdef Span key = l_check_span(L, narg)
    if unlikely(key.n == 0 or key.n > KV_KEY_MAX):
        luaL_argerror(L, narg, b"a key has 1 to 4096 bytes")
    return key


cdef Span l_listed_key(lua_State *L, int index, const char *what, int at) noexcept nogil:
    """A key in a list of them, or of writes, in the place `at`."""
    cdef Span key
    key.p = lua_tolstring(L, index, &key.n)
    if key.n == 0 or key.n > KV_KEY_MAX:
        luaL_error(L, b"%s %d: a key has 1 to 4096 bytes", what, at)
    return key


cdef Span l_check_bound(lua_State *L, int narg) noexcept nogil:
    """A prefix or the end of a range: it may be empty or absent."""
    cdef Span key = Span(b"", 0)
    if not l_absent(L, narg):
        key = l_check_span(L, narg)
    if key.n > KV_KEY_MAX + 1:
        luaL_argerror(L, narg, b"a key has at most 4096 bytes")
    return key


cdef double l_check_finite(lua_State *L, int narg, double otherwise) noexcept nogil:
    cdef double v = otherwise
    if not l_absent(L, narg):
        v = luaL_checknumber(L, narg)
    if v - v != 0:
        luaL_argerror(L, narg, b"expected a finite number")
    return v


cdef uint64_t l_check_ttl(lua_State *L, int narg, KvStore *s) noexcept nogil:
    """The moment that lies so many seconds ahead."""
    cdef double seconds = lua_tonumber(L, narg) if lua_type(L, narg) == LUA_TNUMBER else 0
    if not 0 < seconds <= TTL_MAX:
        luaL_error(L, b"ttl: expected a positive number of seconds, at most 100 years")
    return s.backend.clock(s) + <uint64_t>(seconds * 1000 + 0.999)


cdef void l_kv_options(lua_State *L, int narg, KvStore *s, KvOptions *o) noexcept nogil:
    """{ttl =, sync =}, checked name by name. Leaves the stack as it was."""
    cdef Span name
    o.expires = 0
    o.sync = True
    o.keep = False
    if l_absent(L, narg):
        return
    luaL_checktype(L, narg, LUA_TTABLE)
    lua_pushnil(L)
    while lua_next(L, narg):
        if lua_type(L, -2) != LUA_TSTRING:
            luaL_argerror(L, narg, b"options are named: ttl, sync")
        name.p = lua_tolstring(L, -2, &name.n)
        if span_equal(name, b"ttl", 3):
            o.expires = l_check_ttl(L, lua_gettop(L), s)
        elif span_equal(name, b"sync", 4) and lua_type(L, -1) == LUA_TBOOLEAN:
            o.sync = lua_toboolean(L, -1)
        elif span_equal(name, b"evict", 5) and lua_type(L, -1) == LUA_TBOOLEAN and s.name.n:
            o.keep = not lua_toboolean(L, -1)
        else:
            luaL_error(L, b"unknown option %s, or not of its type (there are: ttl, a number; sync, a boolean)", name.p)
        lua_pop(L, 1)


cdef void l_check_value(lua_State *L, int narg) noexcept nogil:
    if unlikely(l_absent(L, narg)):
        luaL_argerror(L, narg, b"nil cannot be stored; use delete")


# ---- Requests --------------------------------------------------------------------------------------------

cdef KvTxn *l_request(lua_State *L, uint8_t request, bint sync) noexcept nogil:
    """An empty request of the running worker."""
    cdef KvTxn *t = txn_new(worker_self(), l_store(L))
    if t == NULL:
        luaL_error(L, b"not enough memory")
    t.request = request
    t.single = 1
    t.sync = sync
    return t


cdef int l_submit(lua_State *L, KvTxn *t, int (*finish)(Coro *, Op *) noexcept nogil) noexcept nogil:
    """`return l_submit(...)`: carry the request out now, or wait for it."""
    cdef Coro here
    t.op.finish = finish
    if t.store.backend.queued:
        t.op.begin = request_begin
        return l_wait_op(L, &t.op)
    t.store.backend.submit(t.worker, t)
    here.L = L
    return finish(&here, &t.op)


cdef void request_begin(Worker *w, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    if t.store.backend.submit(w, t) != PENDING:
        worker_post(w, &t.op.post)


cdef KvText l_encode(lua_State *L, KvTxn *t, int narg) noexcept nogil:
    """Encode the value at `narg` into the arena; raises if it can not be, and frees a single request then."""
    cdef KvText text
    text.at = t.arena.n
    if kv_encode(L, narg, &t.arena) != OK:
        if t.single:
            txn_free(t)
        luaL_argerror(L, narg, lua_tostring_z(L, -1))
    text.n = t.arena.n - text.at
    return text


cdef inline void write_value(KvWrite *x, KvText value, uint64_t expires) noexcept nogil:
    x.value = value
    x.has_value = 1
    x.expires = expires


cdef KvWrite *l_write(lua_State *L, KvTxn *t, uint8_t action, Span key) noexcept nogil:
    cdef KvWrite *x = txn_write(t, action, key)
    if x == NULL:
        txn_free(t)
        luaL_error(L, b"not enough memory")
    return x


# ---- Results ---------------------------------------------------------------------------------------------

cdef const char *kv_reason(KvTxn *t) noexcept nogil:
    """Why a request failed; valid as long as the transaction is not used again."""
    if t.result == KV_CONFLICT:
        return b"conflict"
    if t.result == KV_EXISTS:
        return b"exists"
    if t.result == KV_NOT_NUMBER:
        return b"not a number, or the result is not finite"
    if t.result == KV_FULL:
        return b"no memory" if t.store.name.n else b"the memory store is full (--kv-memory)"
    if t.result == KV_FAILED and buf_put(&t.error, 0) == OK:
        t.error.n -= 1
        return t.error.p
    return b"not enough memory"


cdef bint kv_is_failure(KvTxn *t) noexcept nogil:
    """The store could not do it; otherwise it could, or a condition of the request did not hold."""
    return (t.result == KV_FULL and t.store.name.n == 0) or t.result == KV_FAILED or t.result < 0


cdef void kv_log_failure(KvTxn *t) noexcept nogil:
    """A line for whoever runs the server, at most one per second and worker."""
    cdef Worker *w = t.worker
    cdef char text[256]
    cdef const char *why = kv_reason(t)
    cdef size_t n = strlen(why)
    if w.now < w.kv_told + TOLD_INTERVAL and w.kv_told:
        return
    w.kv_told = w.now
    if n > sizeof(text) - 4:
        n = sizeof(text) - 4
    memcpy(text, b"kv: ", 4)
    memcpy(text + 4, why, n)
    log_message(w.log, LEVEL_ERROR, Span(&text[0], n + 4), NULL, 0)


cdef int kv_push_failure(lua_State *L, KvTxn *t) noexcept nogil:
    """nil and the reason; the request is freed."""
    if kv_is_failure(t):
        kv_log_failure(t)
    lua_pushnil(L)
    lua_pushstring(L, kv_reason(t))
    if t.single:
        txn_free(t)
    return 2


cdef int kv_push_version(lua_State *L, KvTxn *t) noexcept nogil:
    """true and the version of the commit; the request is freed."""
    cdef uint64_t version = t.version
    txn_free(t)
    lua_pushboolean(L, 1)
    lua_pushnumber(L, <double>version)
    return 2


cdef int kv_push_refusal(lua_State *L, KvTxn *t) noexcept nogil:
    """false and the version that is there; the request is freed."""
    cdef uint64_t version = t.writes[0].count
    txn_free(t)
    lua_pushboolean(L, 0)
    lua_pushnumber(L, <double>version)
    return 2


cdef inline bint push_text_integer(lua_State *L, Span value) noexcept nogil:
    """Push a number as Heart v1 gave it back, as text. False: it is none, or not one that is plain digits."""
    cdef char text[24]
    cdef double v
    cdef int64_t n
    cdef size_t at = 0
    if value.p[0] != KV_PACKED or kv_number(value, &v) != OK or not -1e14 < v < 1e14:
        return False
    n = <int64_t>v
    if <double>n != v or (n == 0 and double_bits(v)):
        return False
    if n < 0:
        text[0] = c'-'
        at = 1
        n = -n
    lua_pushlstring(L, text, at + put_decimal(text + at, <uint64_t>n))
    return True


# ---- Reading one key -------------------------------------------------------------------------------------

cdef inline int l_lookup(lua_State *L, KvStore *s, Span key, KvFound *found, char *room) noexcept nogil:
    """OK or PENDING. A large value is in a box on the stack."""
    cdef Worker *w = worker_self()
    cdef int rc = s.backend.get(w, s, key, found, room)
    cdef KvBox *box
    if unlikely(rc == OK and found.blob != NULL):
        found_release(found)
        box = box_push(L)
        rc = s.backend.get(w, s, key, found, room)
        box.blob = found.blob
    return rc


cdef int l_ask(lua_State *L, Span key, int (*finish)(Coro *, Op *) noexcept nogil) noexcept nogil:
    """Ask a queued backend for the key."""
    cdef KvTxn *t = l_request(L, KV_READ, True)
    if txn_ask(t, kv_hash(key), key, 0) != OK:
        txn_free(t)
        return luaL_error(L, b"not enough memory")
    return l_submit(L, t, finish)


cdef inline void item_found(KvItem *item, KvFound *found) noexcept nogil:
    found.version = item.version
    found.expires = item.expires
    found.blob = NULL
    if item.value != NULL:
        found.value = blob_span(item.value)


cdef inline int push_get(lua_State *L, KvFound *found) noexcept nogil:
    if found.version == 0:
        lua_pushlstring(L, b"", 0)
        return 1
    if push_text_integer(L, found.value):
        return 1
    if kv_decode(L, found.value) != OK:
        lua_pushnil(L)
        lua_insert(L, -2)
        return 2
    if lua_type(L, -1) == LUA_TNUMBER:
        lua_tolstring(L, -1, NULL)
    return 1


cdef int push_fetch(lua_State *L, KvFound *found) noexcept nogil:
    if found.version == 0:
        return l_nil(L)
    if kv_decode(L, found.value) != OK:
        lua_pushnil(L)
        lua_insert(L, -2)
        return 2
    lua_pushnumber(L, <double>found.version if found.version != KV_OWN else 0)
    return 2


cdef int push_ttl(lua_State *L, KvStore *s, KvFound *found) noexcept nogil:
    """Seconds left; false: it does not expire; nil: no such key."""
    cdef uint64_t now
    if found.version == 0:
        return l_nil(L)
    if found.expires == 0:
        lua_pushboolean(L, 0)
        return 1
    now = s.backend.clock(s)
    lua_pushnumber(L, (found.expires - now) / 1000.0 if found.expires > now else 0)
    return 1


cdef int finish_get(Coro *co, Op *op) noexcept nogil:
    return finish_read(co, <KvTxn *>op, 0)


cdef int finish_fetch(Coro *co, Op *op) noexcept nogil:
    return finish_read(co, <KvTxn *>op, 1)


cdef int finish_has(Coro *co, Op *op) noexcept nogil:
    return finish_read(co, <KvTxn *>op, 2)


cdef int finish_ttl(Coro *co, Op *op) noexcept nogil:
    return finish_read(co, <KvTxn *>op, 3)


cdef int push_as(lua_State *L, KvStore *s, KvFound *found, int how) noexcept nogil:
    if how == 0:
        return push_get(L, found)
    if how == 1:
        return push_fetch(L, found)
    if how == 2:
        lua_pushboolean(L, found.version != 0)
        return 1
    return push_ttl(L, s, found)


cdef int finish_read(Coro *co, KvTxn *t, int how) noexcept nogil:
    """The answer of a queued backend."""
    cdef KvFound found
    cdef int n
    if t.result != OK:
        return kv_push_failure(co.L, t)
    item_found(&t.items[0], &found)
    n = push_as(co.L, t.store, &found, how)
    txn_free(t)
    return n


cdef int l_kv_get(lua_State *L) noexcept nogil:
    """get(key) → value, "" when missing; a number as text."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef Span key = l_check_key(L, 1)
    if l_lookup(L, l_store(L), key, &found, room) != OK:
        return l_ask(L, key, finish_get)
    return push_get(L, &found)


cdef int l_kv_fetch(lua_State *L) noexcept nogil:
    """fetch(key) → value, version, or nil."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef Span key = l_check_key(L, 1)
    if l_lookup(L, l_store(L), key, &found, room) != OK:
        return l_ask(L, key, finish_fetch)
    return push_fetch(L, &found)


cdef int l_kv_has(lua_State *L) noexcept nogil:
    """has(key) → boolean"""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef Span key = l_check_key(L, 1)
    if l_lookup(L, l_store(L), key, &found, room) != OK:
        return l_ask(L, key, finish_has)
    return push_as(L, l_store(L), &found, 2)


cdef int l_kv_ttl(lua_State *L) noexcept nogil:
    """ttl(key) → seconds, false if it does not expire, nil when missing."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef Span key = l_check_key(L, 1)
    if l_lookup(L, l_store(L), key, &found, room) != OK:
        return l_ask(L, key, finish_ttl)
    return push_ttl(L, l_store(L), &found)


cdef int l_kv_get_many(lua_State *L) noexcept nogil:
    """get_many({key, ...}) → {[key] = value}, without those that are missing."""
    cdef KvBox *box
    cdef KvTxn *t
    cdef Span key
    cdef size_t i, n
    luaL_checktype(L, 1, LUA_TTABLE)
    lua_settop(L, 1)
    n = lua_objlen(L, 1)
    box = box_push(L)
    t = box.txn = l_request(L, KV_READ, True)
    for i in range(1, n + 1):
        lua_rawgeti(L, 1, <int>i)
        if lua_type(L, -1) != LUA_TSTRING and lua_type(L, -1) != LUA_TNUMBER:
            return luaL_error(L, b"getMany: key %d is not a string", <int>i)
        key = l_listed_key(L, 3, b"getMany: key", <int>i)
        if txn_ask(t, kv_hash(key), key, 0) != OK:
            return luaL_error(L, b"not enough memory")
        lua_pop(L, 1)
    box.txn = NULL
    return l_submit(L, t, finish_get_many)


cdef int finish_get_many(Coro *co, Op *op) noexcept nogil:
    cdef lua_State *L = co.L
    cdef KvTxn *t = <KvTxn *>op
    cdef KvBox *box
    cdef uint32_t i
    if t.result != OK:
        return kv_push_failure(L, t)
    box = box_push(L)
    box.txn = t
    lua_createtable(L, 0, <int>t.nitems)
    for i in range(t.nitems):
        if t.items[i].version == 0:
            continue
        l_push_span(L, txn_text(t, t.items[i].key))
        if kv_decode(L, blob_span(t.items[i].value)) != OK:
            lua_pushnil(L)
            lua_insert(L, -2)
            box_empty(box)
            return 2
        lua_rawset(L, -3)
    box_empty(box)
    return 1


# ---- Writing one key -------------------------------------------------------------------------------------

cdef int finish_set(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    if t.result == KV_EXISTS or t.result == KV_CONFLICT:
        return kv_push_refusal(co.L, t)
    if t.result != OK:
        return kv_push_failure(co.L, t)
    return kv_push_version(co.L, t)


cdef int finish_found(Coro *co, Op *op) noexcept nogil:
    """Whether the key was there."""
    cdef KvTxn *t = <KvTxn *>op
    cdef bint found
    if t.result != OK:
        return kv_push_failure(co.L, t)
    found = t.writes[0].found
    txn_free(t)
    lua_pushboolean(co.L, found)
    return 1


cdef int finish_incr(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    if t.result != OK:
        return kv_push_failure(co.L, t)
    lua_pushnumber(co.L, t.writes[0].number)
    lua_pushnumber(co.L, <double>t.version)
    txn_free(t)
    return 2


cdef int l_kv_put(lua_State *L, uint8_t action) noexcept nogil:
    """(key, value, options)"""
    cdef Span key = l_check_key(L, 1)
    cdef KvOptions o
    cdef KvTxn *t
    cdef KvText value
    l_check_value(L, 2)
    l_kv_options(L, 3, l_store(L), &o)
    t = l_request(L, KV_COMMIT, o.sync)
    t.keep = o.keep
    value = l_encode(L, t, 2)
    write_value(l_write(L, t, action, key), value, o.expires)
    return l_submit(L, t, finish_set)


cdef int l_kv_set(lua_State *L) noexcept nogil:
    """set(key, value[, options]) → true, version"""
    return l_kv_put(L, KV_SET)


cdef int l_kv_add(lua_State *L) noexcept nogil:
    """add(key, value[, options]) → true, version; false and the version that is there."""
    return l_kv_put(L, KV_ADD)


cdef int l_kv_delete(lua_State *L) noexcept nogil:
    """delete(key[, options]) → whether it was there"""
    cdef Span key = l_check_key(L, 1)
    cdef KvOptions o
    cdef KvTxn *t
    l_kv_options(L, 2, l_store(L), &o)
    t = l_request(L, KV_COMMIT, o.sync)
    l_write(L, t, KV_DELETE, key)
    return l_submit(L, t, finish_found)


cdef int l_kv_incr(lua_State *L) noexcept nogil:
    """incr(key[, by[, init[, options]]]) → number, version"""
    cdef Span key = l_check_key(L, 1)
    cdef double by = l_check_finite(L, 2, 1)
    cdef double init = l_check_finite(L, 3, 0)
    cdef KvOptions o
    cdef KvTxn *t
    cdef KvWrite *x
    l_kv_options(L, 4, l_store(L), &o)
    t = l_request(L, KV_COMMIT, o.sync)
    t.keep = o.keep
    x = l_write(L, t, KV_INCR, key)
    x.by = by
    x.init = init
    x.expires = o.expires
    return l_submit(L, t, finish_incr)


cdef uint64_t l_check_version(lua_State *L, int narg) noexcept nogil:
    """A version as fetch gave it; nil stands for "no such key", 0."""
    cdef double v = l_check_finite(L, narg, 0)
    if not 0 <= v <= 9007199254740992.0:
        luaL_argerror(L, narg, b"expected a version")
    return <uint64_t>v


cdef int l_kv_cas(lua_State *L) noexcept nogil:
    """cas(key, version, value[, options]) → true, version; false and the version that is there. A nil value deletes."""
    cdef Span key = l_check_key(L, 1)
    cdef uint64_t version = l_check_version(L, 2)
    cdef KvOptions o
    cdef KvTxn *t
    cdef KvWrite *x
    l_kv_options(L, 4, l_store(L), &o)
    cdef KvText value
    t = l_request(L, KV_COMMIT, o.sync)
    value.n = 0
    if not l_absent(L, 3):
        value = l_encode(L, t, 3)
    x = l_write(L, t, KV_CAS, key)
    x.arg = version
    if value.n:
        write_value(x, value, o.expires)
    return l_submit(L, t, finish_set)


cdef int l_kv_expire(lua_State *L) noexcept nogil:
    """expire(key, seconds or nil[, options]) → whether the key is there. nil: it does not expire any more."""
    cdef Span key = l_check_key(L, 1)
    cdef uint64_t expires = 0
    cdef KvOptions o
    cdef KvTxn *t
    if not l_absent(L, 2):
        expires = l_check_ttl(L, 2, l_store(L))
    l_kv_options(L, 3, l_store(L), &o)
    t = l_request(L, KV_COMMIT, o.sync)
    l_write(L, t, KV_EXPIRE, key).expires = expires
    return l_submit(L, t, finish_found)


# ---- Many keys -------------------------------------------------------------------------------------------

cdef int l_kv_delete_prefix(lua_State *L) noexcept nogil:
    """delete_prefix(prefix) → how many keys were deleted, whether there may be more"""
    cdef Span prefix = l_check_bound(L, 1)
    cdef KvTxn *t = l_request(L, KV_COMMIT, True)
    l_write(L, t, KV_DELETE_PREFIX, prefix)
    t.scan.more = 0
    return l_submit(L, t, finish_delete_prefix)


cdef int finish_delete_prefix(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    if t.result != OK:
        return kv_push_failure(co.L, t)
    lua_pushnumber(co.L, <double>t.writes[0].count)
    lua_pushboolean(co.L, t.scan.more)
    txn_free(t)
    return 2


cdef void l_set_scan(lua_State *L, KvTxn *t, Span start, Span stop) noexcept nogil:
    if txn_put(t, start, &t.scan.start) != OK or txn_put(t, stop, &t.scan.stop) != OK:
        if t.single:
            txn_free(t)
        luaL_error(L, b"not enough memory")


cdef int l_kv_count(lua_State *L) noexcept nogil:
    """count(start, stop) → how many keys there are"""
    cdef Span start = l_check_bound(L, 1)
    cdef Span stop = l_check_bound(L, 2)
    cdef KvTxn *t = l_request(L, KV_COUNT, True)
    l_set_scan(L, t, start, stop)
    return l_submit(L, t, finish_count)


cdef int finish_count(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    if t.result != OK:
        return kv_push_failure(co.L, t)
    lua_pushnumber(co.L, <double>t.scan.count)
    txn_free(t)
    return 1


cdef void l_scan_options(lua_State *L, KvTxn *t) noexcept nogil:
    """limit, reverse, keys_only at 3 to 5."""
    cdef double limit = lua_tonumber(L, 3)
    t.scan.limit = KV_PAGE
    if 1 <= limit < KV_PAGE:
        t.scan.limit = <uint32_t>limit
    t.scan.reverse = lua_toboolean(L, 4)
    t.scan.keys_only = lua_toboolean(L, 5)


cdef int l_kv_page(lua_State *L) noexcept nogil:
    """page(start, stop, limit, reverse, keys_only) → items, the last key looked at if there may be more"""
    cdef Span start = l_check_bound(L, 1)
    cdef Span stop = l_check_bound(L, 2)
    cdef KvTxn *t = l_request(L, KV_SCAN, True)
    l_set_scan(L, t, start, stop)
    l_scan_options(L, t)
    return l_submit(L, t, finish_page)


cdef int finish_page(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    cdef KvBox *box
    cdef int n
    if t.result != OK:
        return kv_push_failure(co.L, t)
    box = box_push(co.L)
    box.txn = t
    n = push_page(co.L, t, t.items[t.nitems - 1].key if t.scan.more and t.nitems else KvText(0, 0))
    box_empty(box)
    return n


cdef int push_page(lua_State *L, KvTxn *t, KvText last) noexcept nogil:
    cdef uint32_t i
    lua_createtable(L, <int>t.nitems, 0)
    for i in range(t.nitems):
        if push_item(L, t, &t.items[i]) != OK:
            lua_pushnil(L)
            lua_insert(L, -2)
            return 2
        lua_rawseti(L, -2, <int>i + 1)
    if last.n == 0:
        return 1
    l_push_span(L, txn_text(t, last))
    return 2


cdef int push_item(lua_State *L, KvTxn *t, KvItem *item) noexcept nogil:
    """{key =, value =, version =}, or the key alone. On failure the message."""
    if t.scan.keys_only:
        l_push_span(L, txn_text(t, item.key))
        return OK
    lua_createtable(L, 0, 3)
    l_push_span(L, txn_text(t, item.key))
    lua_setfield(L, -2, b"key")
    if kv_decode(L, blob_span(item.value)) != OK:
        return ERR_MISSING
    lua_setfield(L, -2, b"value")
    lua_pushnumber(L, <double>item.version)
    lua_setfield(L, -2, b"version")
    return OK
