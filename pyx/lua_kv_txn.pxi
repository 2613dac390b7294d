# Transactions for Lua. lua_stdlib/heart/kv.lua runs the function; here are its steps, and the functions of the `store`
# that it is given. Those have the transaction's handle as upvalue 1: a userdata that the store's table outlives.
#   begin(handle, serial, sync)   → true; nil and the reason, when the client left while it waited for the lock; false
#                                 and the reason, when there may be no transaction here
#   commit(handle)                → true, reusable; nil and the reason, then restart or rollback
#   stale(handle)                 → whether what was read has changed: the function's error may come from that
#   restart(handle)               forget all reads and writes, keep the lock
#   rollback(handle)              → reusable
# "Reusable": the handle and its table may serve another transaction, as nothing can hold them but an error in the
# application: the function never waited. `--dev` never reuses one.
#
# Reads of a queued backend may have to wait. So kv.lua calls await(key) before a store function that reads: then what
# is there is among the reads of the transaction, and the function itself does not wait.
# A function that finds out that the transaction can not be committed any more raises KV_CONFLICTED.

cdef char KV_CONFLICTED
cdef char KV_HANDLE             # registry: the metatable of handles


# ---- Handles ---------------------------------------------------------------------------------------------

cdef int l_kv_handle(lua_State *L) noexcept nogil:
    """handle() → a handle for one transaction at a time, and the table of its store functions"""
    cdef KvHandle *handle = <KvHandle *>lua_newuserdata(L, sizeof(KvHandle))
    handle.txn = NULL
    lua_pushlightuserdata(L, &KV_HANDLE)
    lua_rawget(L, LUA_REGISTRYINDEX)
    lua_setmetatable(L, -2)
    lua_createtable(L, 0, 20)
    method_put(L, b"get", l_txn_get)
    method_put(L, b"fetch", l_txn_fetch)
    method_put(L, b"has", l_txn_has)
    method_put(L, b"ttl", l_txn_ttl)
    method_put(L, b"set", l_txn_set)
    method_put(L, b"delete", l_txn_delete)
    method_put(L, b"add", l_txn_add)
    method_put(L, b"incr", l_txn_incr)
    method_put(L, b"cas", l_txn_cas)
    method_put(L, b"expire", l_txn_expire)
    method_put(L, b"page", l_txn_page)
    method_put(L, b"await", l_txn_await)
    method_put(L, b"lost", l_txn_lost)
    return 2


cdef void method_put(lua_State *L, const char *name, lua_CFunction f) noexcept nogil:
    """A store function: its upvalue is the handle, below the table on top."""
    lua_pushvalue(L, -2)
    lua_pushcclosure(L, f, 1)
    lua_setfield(L, -2, name)


cdef int l_handle_collect(lua_State *L) noexcept nogil:
    """A coroutine of the application was left in the middle of its transaction."""
    cdef KvHandle *handle = <KvHandle *>lua_touserdata(L, 1)
    if handle.txn != NULL:
        txn_close(handle.txn)
    return 0


cdef inline const char *handle_is_lost(KvTxn *t) noexcept nogil:
    """Why the transaction is none that is open and that of the running coroutine; NULL: it is."""
    if unlikely(t == NULL):
        return b"store was used after its transaction had ended"
    if unlikely(t.owner != worker_self().running):
        return b"store belongs to the transaction of another request"
    return NULL


cdef inline const char *txn_is_lost(KvTxn *t) noexcept nogil:
    """The same, or why it has lost its serial lock."""
    cdef const char *why = handle_is_lost(t)
    return lock_look(t) if why == NULL else why


cdef inline KvTxn *handle_txn(lua_State *L, KvHandle *handle) noexcept nogil:
    cdef const char *why = handle_is_lost(handle.txn)
    if unlikely(why != NULL):
        luaL_error(L, b"%s", why)
    return handle.txn


cdef inline KvTxn *l_txn(lua_State *L) noexcept nogil:
    """The transaction of a store function."""
    cdef KvTxn *t = (<KvHandle *>lua_touserdata(L, lua_upvalueindex(1))).txn
    cdef const char *why = txn_is_lost(t)
    if unlikely(why != NULL):
        luaL_error(L, b"%s", why)
    return t


cdef int l_txn_lost(lua_State *L) noexcept nogil:
    """lost() → why the store functions would raise an error now, or nil. For those that are written in Lua."""
    cdef const char *why = txn_is_lost((<KvHandle *>lua_touserdata(L, lua_upvalueindex(1))).txn)
    if why == NULL:
        return 0
    lua_pushstring(L, why)
    return 1


cdef int l_conflict(lua_State *L) noexcept nogil:
    lua_pushlightuserdata(L, &KV_CONFLICTED)
    return lua_error(L)


# ---- Steps -----------------------------------------------------------------------------------------------

cdef int l_txn_begin(lua_State *L) noexcept nogil:
    cdef KvStore *s = l_store(L)
    cdef KvHandle *handle = <KvHandle *>lua_touserdata(L, 1)
    cdef Worker *w = worker_self()
    cdef KvTxn *t
    if w.running == NULL:
        return l_no_begin(L, b"a transaction must run in a handler, an event or a task")
    t = w.running.txns
    while t != NULL:
        if t.store == s:
            return l_no_begin(L, b"transactions do not nest: use the store that the outer one was given")
        t = t.outer
    t = txn_new(w, s)
    if t == NULL:
        return luaL_error(L, b"not enough memory")
    t.serial = lua_toboolean(L, 2)
    t.sync = lua_toboolean(L, 3)
    t.op.finish = finish_begin
    if t.serial and lock_take(w, t) == PENDING:
        t.handle = handle
        return l_wait_op(L, &t.op)
    txn_open(w.running, t, handle)
    lua_pushboolean(L, 1)
    return 1


cdef int l_no_begin(lua_State *L, const char *why) noexcept nogil:
    lua_pushboolean(L, 0)
    lua_pushstring(L, why)
    return 2


cdef int finish_begin(Coro *co, Op *op) noexcept nogil:
    """The lock is here."""
    cdef KvTxn *t = <KvTxn *>op
    lock_arrived(t.worker, t)
    txn_open(co, t, t.handle)
    lua_pushboolean(co.L, 1)
    return 1


cdef inline bint txn_reusable(KvTxn *t) noexcept nogil:
    return t.waits == t.owner.waits and not t.worker.server.dev


cdef int l_txn_submit(lua_State *L, KvTxn *t, uint8_t request,
                      int (*finish)(Coro *, Op *) noexcept nogil) noexcept nogil:
    t.request = request
    return l_submit(L, t, finish)


cdef int l_txn_commit(lua_State *L) noexcept nogil:
    cdef KvTxn *t = handle_txn(L, <KvHandle *>lua_touserdata(L, 1))
    cdef const char *why = lock_commit(t)
    cdef Coro here
    if why != NULL:
        lua_pushnil(L)
        lua_pushstring(L, why)
        return 2
    if t.nwrites == 0 and t.nranges == 0 and t.nreads <= 1:
        here.L = L
        t.result = OK
        return finish_commit(&here, &t.op)
    return l_txn_submit(L, t, KV_COMMIT, finish_commit)


cdef int finish_commit(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    cdef bint reusable
    if t.result != OK:
        if t.serial:
            store_release(&t.lock, KV_HELD, __ATOMIC_RELEASE)
        return kv_push_failure(co.L, t)
    reusable = txn_reusable(t)
    txn_close(t)
    lua_pushboolean(co.L, 1)
    lua_pushboolean(co.L, reusable)
    return 2


cdef int l_txn_stale(lua_State *L) noexcept nogil:
    cdef KvTxn *t = handle_txn(L, <KvHandle *>lua_touserdata(L, 1))
    if t.result == KV_FAILED or (t.nranges == 0 and t.nreads <= 1) or lock_look(t) != NULL:
        lua_pushboolean(L, 0)
        return 1
    t.nwrites = 0
    return l_txn_submit(L, t, KV_COMMIT, finish_stale)


cdef int finish_stale(Coro *co, Op *op) noexcept nogil:
    lua_pushboolean(co.L, (<KvTxn *>op).result == KV_CONFLICT)
    return 1


cdef int l_txn_restart(lua_State *L) noexcept nogil:
    txn_clear(handle_txn(L, <KvHandle *>lua_touserdata(L, 1)))
    return 0


cdef int l_txn_rollback(lua_State *L) noexcept nogil:
    cdef KvTxn *t = handle_txn(L, <KvHandle *>lua_touserdata(L, 1))
    lua_pushboolean(L, txn_reusable(t))
    txn_close(t)
    return 1


# ---- Reading ---------------------------------------------------------------------------------------------

cdef void txn_lookup(lua_State *L, KvTxn *t, Span key, KvFound *found, char *room) noexcept nogil:
    """What the transaction sees: its own write, what it has read before, or what the store has now."""
    cdef uint32_t hash = kv_hash(key)
    cdef KvWrite *x = txn_written(t, hash, key)
    cdef int rc
    found.blob = NULL
    if x != NULL:
        found.version = KV_OWN if x.has_value else 0
        found.expires = x.expires
        found.value = txn_text(t, x.value)
        return
    if t.store.backend.queued:
        txn_lookup_known(L, t, hash, key, found)
        return
    l_lookup(L, t.store, key, found, room)
    rc = txn_read(t, hash, key, found.version)
    if rc == KV_CONFLICT:
        l_conflict(L)
    if rc != OK:
        luaL_error(L, b"not enough memory")


cdef KvRead *txn_known(KvTxn *t, uint32_t hash, Span key) noexcept nogil:
    """What a queued backend has answered for the key; NULL: it was not asked."""
    cdef ptrdiff_t i = index_find(t, &t.read_index, <char *>t.reads, sizeof(KvRead), t.nreads, hash, key)
    return &t.reads[i] if i >= 0 and t.reads[i].known else NULL


cdef void txn_lookup_known(lua_State *L, KvTxn *t, uint32_t hash, Span key, KvFound *found) noexcept nogil:
    """A read that l_txn_await has got. Raises if it failed."""
    cdef KvRead *r
    if t.result != OK and t.request == KV_READ:
        luaL_error(L, b"%s", kv_reason(t))
    r = txn_known(t, hash, key)
    if r == NULL:
        luaL_error(L, b"the store was not asked for the key")
    found.version = r.version
    found.expires = r.expires
    if r.value != NULL:
        found.value = blob_span(r.value)


cdef int l_txn_await(lua_State *L) noexcept nogil:
    """await(key): have the key among the reads. What is wrong is told by the function that is called next."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef Span key
    cdef KvTxn *t = (<KvHandle *>lua_touserdata(L, lua_upvalueindex(1))).txn
    if txn_is_lost(t) != NULL or not lua_isstring(L, 1):
        return 0
    key.p = lua_tolstring(L, 1, &key.n)
    if key.n == 0 or key.n > KV_KEY_MAX:
        return 0
    if txn_written(t, kv_hash(key), key) != NULL or txn_known(t, kv_hash(key), key) != NULL:
        return 0
    if t.store.backend.get(t.worker, t.store, key, &found, room) != OK:
        return l_txn_ask(L, t, key)
    if txn_know(t, key, &found) != OK:
        return luaL_error(L, b"not enough memory")
    return 0


cdef int txn_know(KvTxn *t, Span key, KvFound *found) noexcept nogil:
    """Keep what the cache has told with the reads, where it stays as it is."""
    cdef KvBlob *value = found.blob
    cdef KvRead *r
    if found.version and value == NULL:
        value = blob_new(found.value.p, found.value.n)
        if value == NULL:
            return ERR_MEMORY
    if txn_ask(t, kv_hash(key), key, found.version) != OK:
        blob_release(value)
        return ERR_MEMORY
    r = &t.reads[t.nreads - 1]
    r.known = 1
    r.expires = found.expires
    r.value = value
    return OK


cdef int l_txn_ask(lua_State *L, KvTxn *t, Span key) noexcept nogil:
    t.asked = t.nreads
    items_clear(t)
    if txn_ask(t, kv_hash(key), key, 0) != OK:
        return luaL_error(L, b"not enough memory")
    return l_txn_submit(L, t, KV_READ, finish_txn_read)


cdef int finish_txn_read(Coro *co, Op *op) noexcept nogil:
    """Keep the answer with the read."""
    cdef KvTxn *t = <KvTxn *>op
    cdef KvRead *r = &t.reads[t.nreads - 1]
    cdef ptrdiff_t i = index_find(t, &t.read_index, <char *>t.reads, sizeof(KvRead), t.nreads, r.key.hash,
                                  txn_text(t, r.key.text))
    if t.result == OK:
        r.version = t.items[0].version
        r = &t.reads[i]                     # an earlier one, if it was asked before, in vain
        r.version = t.items[0].version
        r.known = 1
        r.expires = t.items[0].expires
        r.value = t.items[0].value
        t.items[0].value = NULL
    return 0


cdef int l_txn_as(lua_State *L, int how) noexcept nogil:
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef KvTxn *t = l_txn(L)
    cdef Span key = l_check_key(L, 1)
    txn_lookup(L, t, key, &found, room)
    return push_as(L, t.store, &found, how)


cdef int l_txn_get(lua_State *L) noexcept nogil:
    """get(key) → value, "" when missing; a number as text."""
    return l_txn_as(L, 0)


cdef int l_txn_fetch(lua_State *L) noexcept nogil:
    """fetch(key) → value, version (0: not committed), or nil."""
    return l_txn_as(L, 1)


cdef int l_txn_has(lua_State *L) noexcept nogil:
    return l_txn_as(L, 2)


cdef int l_txn_ttl(lua_State *L) noexcept nogil:
    return l_txn_as(L, 3)


# ---- Writing ---------------------------------------------------------------------------------------------

cdef uint64_t l_txn_options(lua_State *L, int narg, KvTxn *t) noexcept nogil:
    cdef KvOptions o
    l_kv_options(L, narg, t.store, &o)
    if not o.sync:
        luaL_error(L, b"sync is an option of the whole transaction")
    return o.expires


cdef KvWrite *l_overwrite(lua_State *L, KvTxn *t, uint8_t action, Span key) noexcept nogil:
    cdef KvWrite *x = txn_overwrite(t, action, key)
    if x == NULL:
        luaL_error(L, b"not enough memory")
    return x


cdef int l_txn_set(lua_State *L) noexcept nogil:
    """set(key, value[, {ttl =}]) → true"""
    cdef KvTxn *t = l_txn(L)
    cdef Span key = l_check_key(L, 1)
    cdef uint64_t expires = 0
    cdef KvText value
    l_check_value(L, 2)
    if not l_absent(L, 3):
        expires = l_txn_options(L, 3, t)
    value = l_encode(L, t, 2)
    write_value(l_overwrite(L, t, KV_SET, key), value, expires)
    lua_pushboolean(L, 1)
    return 1


cdef int l_txn_delete(lua_State *L) noexcept nogil:
    """delete(key) → true. It is no read: whether the key is there does not matter."""
    cdef KvTxn *t = l_txn(L)
    l_overwrite(L, t, KV_DELETE, l_check_key(L, 1))
    lua_pushboolean(L, 1)
    return 1


cdef int l_push_refusal(lua_State *L, KvFound *found) noexcept nogil:
    lua_pushboolean(L, 0)
    lua_pushnumber(L, <double>found.version if found.version != KV_OWN else 0)
    return 2


cdef int l_txn_add(lua_State *L) noexcept nogil:
    """add(key, value[, {ttl =}]) → true; false and the version if the key is there."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef KvTxn *t = l_txn(L)
    cdef Span key = l_check_key(L, 1)
    l_check_value(L, 2)
    txn_lookup(L, t, key, &found, room)
    if found.version:
        return l_push_refusal(L, &found)
    return l_txn_set(L)


cdef int l_txn_cas(lua_State *L) noexcept nogil:
    """cas(key, version, value[, {ttl =}]) → true; false and the version that is there. A nil value deletes."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef KvTxn *t = l_txn(L)
    cdef Span key = l_check_key(L, 1)
    cdef uint64_t version = l_check_version(L, 2)
    lua_settop(L, 4)
    txn_lookup(L, t, key, &found, room)
    if found.version != version:
        return l_push_refusal(L, &found)
    lua_settop(L, 4)
    lua_remove(L, 2)
    return l_txn_delete(L) if lua_isnil(L, 2) else l_txn_set(L)


cdef int l_txn_incr(lua_State *L) noexcept nogil:
    """incr(key[, by[, init[, {ttl =}]]]) → number; nil and the reason if the value is none."""
    cdef char room[KV_INLINE]
    cdef char number[KV_NUMBER_SIZE]
    cdef KvFound found
    cdef KvTxn *t = l_txn(L)
    cdef Span key = l_check_key(L, 1)
    cdef double by = l_check_finite(L, 2, 1)
    cdef double v = l_check_finite(L, 3, 0)
    cdef KvText text
    cdef uint64_t expires = l_txn_options(L, 4, t)
    txn_lookup(L, t, key, &found, room)
    if found.version:
        expires = found.expires
    if (found.version and kv_number(found.value, &v) != OK) or v + by - (v + by) != 0:
        lua_pushnil(L)
        lua_pushstring(L, b"not a number, or the result is not finite")
        return 2
    if txn_put(t, Span(&number[0], kv_put_number(number, v + by)), &text) != OK:
        return luaL_error(L, b"not enough memory")
    write_value(l_overwrite(L, t, KV_SET, key), text, expires)
    lua_pushnumber(L, v + by)
    return 1


cdef int l_txn_expire(lua_State *L) noexcept nogil:
    """expire(key, seconds or nil) → whether the key is there."""
    cdef char room[KV_INLINE]
    cdef KvFound found
    cdef KvTxn *t = l_txn(L)
    cdef Span key = l_check_key(L, 1)
    cdef uint64_t expires = 0
    cdef KvText text
    if not l_absent(L, 2):
        expires = l_check_ttl(L, 2, t.store)
    txn_lookup(L, t, key, &found, room)
    lua_pushboolean(L, found.version != 0)
    if found.version == KV_OWN:
        txn_written(t, kv_hash(key), key).expires = expires
    elif found.version:
        if txn_put(t, found.value, &text) != OK:
            return luaL_error(L, b"not enough memory")
        write_value(l_overwrite(L, t, KV_SET, key), text, expires)
    return 1


# ---- Scanning --------------------------------------------------------------------------------------------

cdef int l_txn_page(lua_State *L) noexcept nogil:
    """page(start, stop, limit, reverse, keys_only): the store's page, with what the transaction has written."""
    cdef KvTxn *t = l_txn(L)
    cdef Span start = l_check_bound(L, 1)
    cdef Span stop = l_check_bound(L, 2)
    items_clear(t)
    l_set_scan(L, t, start, stop)
    l_scan_options(L, t)
    return l_txn_submit(L, t, KV_SCAN, finish_txn_page)


cdef int finish_txn_page(Coro *co, Op *op) noexcept nogil:
    cdef KvTxn *t = <KvTxn *>op
    cdef KvText last = KvText(0, 0)
    if t.result != OK:
        return kv_push_failure(co.L, t)
    if t.scan.more and t.nitems:
        last = t.items[t.nitems - 1].key
    if txn_range(t) != OK or txn_merge(t, last) != OK:
        t.result = ERR_MEMORY
        return kv_push_failure(co.L, t)
    return push_page(co.L, t, last)


cdef int txn_merge(KvTxn *t, KvText last) noexcept nogil:
    """Put the transaction's own writes into the page, as far as it reaches: to `last`, if that is given."""
    cdef uint32_t i
    cdef Span key
    for i in range(t.nwrites):
        key = txn_text(t, t.writes[i].key.text)
        if span_compare(key, txn_text(t, t.scan.start)) < 0:
            continue
        if t.scan.stop.n and span_compare(key, txn_text(t, t.scan.stop)) >= 0:
            continue
        if last.n and scan_compare(t, key, txn_text(t, last)) > 0:
            continue
        if merge_write(t, &t.writes[i]) != OK:
            return ERR_MEMORY
    return OK


cdef inline int scan_compare(KvTxn *t, Span a, Span b) noexcept nogil:
    """In the order of the scan."""
    return span_compare(b, a) if t.scan.reverse else span_compare(a, b)


cdef int merge_write(KvTxn *t, KvWrite *x) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = t.nitems
    cdef uint32_t at
    cdef bint there
    cdef KvItem item
    while low < high:
        at = (low + high) // 2
        if scan_compare(t, txn_text(t, t.items[at].key), txn_text(t, x.key.text)) < 0:
            low = at + 1
        else:
            high = at
    there = low < t.nitems and scan_compare(t, txn_text(t, t.items[low].key), txn_text(t, x.key.text)) == 0
    if there:
        blob_release(t.items[low].value)
        t.nitems -= 1
        memmove(&t.items[low], &t.items[low + 1], (t.nitems - low) * sizeof(KvItem))
    if not x.has_value:
        return OK
    item.key = x.key.text
    item.version = 0
    item.expires = x.expires
    item.value = blob_new(txn_text(t, x.value).p, x.value.n)
    if item.value == NULL:
        return ERR_MEMORY
    if t.nitems == t.items_cap and items_grow(t) != OK:
        blob_release(item.value)
        return ERR_MEMORY
    memmove(&t.items[low + 1], &t.items[low], (t.nitems - low) * sizeof(KvItem))
    t.items[low] = item
    t.nitems += 1
    return OK


cdef int items_grow(KvTxn *t) noexcept nogil:
    cdef KvItem *list_ = <KvItem *>list_grow(t.items, &t.items_cap, t.nitems, sizeof(KvItem))
    if list_ == NULL:
        return ERR_MEMORY
    t.items = list_
    return OK
