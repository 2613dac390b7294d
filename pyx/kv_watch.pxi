# Watching a store: who wants to know of changes, and the events that wait for him.
# A commit publishes its writes while it still holds its locks, so events are queued in the order of the versions. Each
# watcher has a bounded queue; what does not fit is dropped and one `lost` event stands for it. A watcher's coroutine
# takes the events one by one on its own worker (lua_kv_watch.pxi); it is told by a Post when it sleeps.
# Invariants:
#   - the list, the queues and the flags `waiting`, `lost`, `listed`, `stopped` are touched under KvStore.watch_guard;
#   - KvStore.watched changes under all locks of the memory store, so that a commit sees all who watch, or none;
#   - `waiting` is set only while the op has begun; who clears it posts, or cancels.
# While nobody watches a commit pays for one look at `watched`. Matching is linear in the watchers.

cdef enum:
    EVENT_OVERHEAD = 64             # bytes that an event counts beside its key and value


# ---- The side of the commits -----------------------------------------------------------------------------

cdef void watch_publish(KvStore *s, Span key, KvBlob *value, uint64_t version) noexcept nogil:
    """Queue a change (value NULL: a deletion) for all whom it concerns. The guard is held."""
    cdef KvWatcher *x = s.watchers
    while x != NULL:
        if watcher_matches(x, key):
            watcher_add(x, key, value, version)
        x = x.next


cdef bint watcher_matches(KvWatcher *x, Span key) noexcept nogil:
    cdef const char *p = x.patterns.p
    cdef const char *end = p + x.patterns.n
    cdef uint32_t n
    if x.prefix:
        return key.n >= x.patterns.n and (x.patterns.n == 0 or memcmp(key.p, p, x.patterns.n) == 0)
    while p < end:
        memcpy(&n, p, sizeof(n))
        p += sizeof(n)
        if n == key.n and memcmp(p, key.p, n) == 0:
            return True
        p += n
    return False


cdef void watcher_add(KvWatcher *x, Span key, KvBlob *value, uint64_t version) noexcept nogil:
    cdef size_t size = EVENT_OVERHEAD + key.n + (value.n if value != NULL else 0)
    cdef KvEvent *e = NULL
    if not x.lost and x.nevents < KV_EVENTS_MAX and (x.bytes + size <= KV_EVENTS_BYTES or x.nevents == 0):
        e = <KvEvent *>malloc(sizeof(KvEvent) + key.n)
    if e == NULL:
        x.lost = 1
    else:
        e.next = NULL
        e.version = version
        e.value = blob_hold(value) if value != NULL else NULL
        e.key_n = <uint32_t>key.n
        memcpy(<char *>(e + 1), key.p, key.n)
        if x.last != NULL:
            x.last.next = e
        else:
            x.first = e
        x.last = e
        x.nevents += 1
        x.bytes += size
    watcher_wake(x)


cdef inline void watcher_wake(KvWatcher *x) noexcept nogil:
    if x.waiting:
        x.waiting = 0
        worker_post(x.worker, &x.op.post)


cdef void watch_lose(KvStore *s) noexcept nogil:
    """Changes may have been missed by everybody (a connection to the store broke). From any thread."""
    cdef KvWatcher *x
    spin_lock(&s.watch_guard)
    x = s.watchers
    while x != NULL:
        x.lost = 1
        watcher_wake(x)
        x = x.next
    spin_unlock(&s.watch_guard)


# ---- The side of the watcher -----------------------------------------------------------------------------

cdef KvWatcher *watcher_new(Worker *w, State *state, KvStore *s) noexcept nogil:
    """One that is not in the list yet; NULL: out of memory."""
    cdef KvWatcher *x = <KvWatcher *>calloc(1, sizeof(KvWatcher))
    if x == NULL:
        return NULL
    op_init(&x.op)
    x.op.begin = watcher_begin
    x.op.cancel = watcher_cancel
    x.op.for_client = 1
    x.op.drop = watcher_drop
    x.store = s
    x.worker = w
    x.state = state
    return x


cdef void watcher_list(KvWatcher *x) noexcept nogil:
    """From now on every commit's events come."""
    watch_lock(x.store)
    x.listed = 1
    x.next = x.store.watchers
    if x.next != NULL:
        x.next.prev = x
    x.store.watchers = x
    word_release(&x.store.watched, x.store.watched + 1)
    watch_unlock(x.store)


cdef void watcher_stop(KvWatcher *x) noexcept nogil:
    """Out of the list; a coroutine that sleeps is told. Idempotent."""
    watch_lock(x.store)
    if x.listed:
        if x.prev != NULL:
            x.prev.next = x.next
        else:
            x.store.watchers = x.next
        if x.next != NULL:
            x.next.prev = x.prev
        word_release(&x.store.watched, x.store.watched - 1)
    x.listed = 0
    x.stopped = 1
    watcher_wake(x)
    watch_unlock(x.store)


cdef void watch_lock(KvStore *s) noexcept nogil:
    """No commit is under way."""
    if s.mem != NULL:
        shards_lock(s.mem, ALL_SHARDS)
    spin_lock(&s.watch_guard)


cdef void watch_unlock(KvStore *s) noexcept nogil:
    spin_unlock(&s.watch_guard)
    if s.mem != NULL:
        shards_unlock(s.mem, ALL_SHARDS)


cdef KvEvent *watcher_take(KvWatcher *x, bint *lost) noexcept nogil:
    """The next event, which is the caller's to free. NULL: there is none, or (`lost`) some were dropped here."""
    cdef KvEvent *e
    lost[0] = False
    spin_lock(&x.store.watch_guard)
    e = x.first
    if x.stopped:
        e = NULL
    elif e != NULL:
        x.first = e.next
        if x.first == NULL:
            x.last = NULL
        x.nevents -= 1
        x.bytes -= EVENT_OVERHEAD + e.key_n + (e.value.n if e.value != NULL else 0)
    elif x.lost:
        lost[0] = True
        x.lost = 0
    spin_unlock(&x.store.watch_guard)
    return e


cdef void event_free(KvEvent *e) noexcept nogil:
    blob_release(e.value)
    free(e)


cdef void watcher_begin(Worker *w, Op *op) noexcept nogil:
    """Its coroutine sleeps, unless there is something already."""
    cdef KvWatcher *x = <KvWatcher *>op
    x.asleep = op.coro.role == ROLE_WATCH
    x.state.watching += x.asleep
    spin_lock(&x.store.watch_guard)
    x.waiting = 1
    if x.first != NULL or x.lost or x.stopped:
        watcher_wake(x)
    spin_unlock(&x.store.watch_guard)


cdef void watcher_woken(KvWatcher *x) noexcept nogil:
    x.state.watching -= x.asleep
    x.asleep = 0


cdef bint watcher_cancel(Worker *w, Op *op) noexcept nogil:
    """Its coroutine or its client is gone."""
    cdef KvWatcher *x = <KvWatcher *>op
    cdef bint waiting
    watcher_woken(x)
    spin_lock(&x.store.watch_guard)
    waiting = x.waiting
    x.waiting = 0
    spin_unlock(&x.store.watch_guard)
    return waiting


cdef void watcher_drop(Worker *w, Op *op) noexcept nogil:
    cdef KvWatcher *x = <KvWatcher *>op
    if x.dead:
        watcher_free(x)


cdef void watcher_collect(KvWatcher *x) noexcept nogil:
    """Lua has no use for it any more. A post that is on its way still needs its memory."""
    watcher_stop(x)
    x.dead = 1
    if not x.op.begun:
        watcher_free(x)


cdef void watcher_free(KvWatcher *x) noexcept nogil:
    cdef KvEvent *e
    while x.first != NULL:
        e = x.first
        x.first = e.next
        event_free(e)
    buf_free(&x.patterns)
    free(x)
