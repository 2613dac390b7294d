# The read cache of a store behind the db thread: what a key holds, or that it is missing, bounded in bytes. Workers
# read it, only the db thread writes it (see KvCache). Eviction is CLOCK: an entry that was read since the hand came by
# stays for another round.
# Invariants:
#   - under a shard's lock nothing is allocated or freed;
#   - what a reader is given is copied or held under the lock.

cdef extern from *:
    """
    /* A worker never waits for the db thread, which may have lost its processor inside: it asks the queue then. */
    static inline int spin_try(uint32_t *lock) {
        for (int turns = 0; turns < 2000; turns++) {
            if (!__atomic_load_n(lock, __ATOMIC_RELAXED) && !__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) return 1;
            cpu_relax();
        }
        return 0;
    }
    """
    bint spin_try(uint32_t *lock) nogil

cdef enum:
    CACHE_BUCKETS = 64              # of an empty shard


cdef int cache_init(KvCache *c, size_t bytes) noexcept nogil:
    """`c` is zeroed. 0 bytes: nothing is kept."""
    cdef uint32_t i
    c.shard_max = bytes // KV_CACHE_SHARDS
    for i in range(KV_CACHE_SHARDS):
        c.shards[i].buckets = <KvEntry **>calloc(CACHE_BUCKETS, sizeof(KvEntry *))
        if c.shards[i].buckets == NULL:
            return ERR_MEMORY
        c.shards[i].cap = CACHE_BUCKETS
    return OK


cdef inline KvCacheShard *cache_shard(KvCache *c, uint32_t hash) noexcept nogil:
    return &c.shards[hash >> 28]


cdef inline char *entry_key(KvEntry *e) noexcept nogil:
    return <char *>(e + 1)


cdef inline KvEntry **entry_find(KvCacheShard *s, uint32_t hash, Span key) noexcept nogil:
    """Where the entry of this key is linked; it points to NULL if there is none."""
    cdef KvEntry **at = &s.buckets[hash & (s.cap - 1)]
    while at[0] != NULL:
        if at[0].hash == hash and at[0].key_n == key.n and memcmp(entry_key(at[0]), key.p, key.n) == 0:
            break
        at = &at[0].next
    return at


# ---- Reading ---------------------------------------------------------------------------------------------

cdef inline bint cache_get(KvCache *c, uint32_t hash, Span key, KvFound *found, char *room) noexcept nogil:
    """What is known of the key; False: nothing, or the shard is held for too long. A value of up to KV_INLINE bytes is
    copied to `room`, a larger one is held by `found`, and so is every one without a room. Whether it has expired is
    left to the caller."""
    cdef KvCacheShard *s = cache_shard(c, hash)
    cdef KvEntry *e
    found.blob = NULL
    found.value = Span(NULL, 0)
    if unlikely(not spin_try(&s.guard)):
        return False
    e = entry_find(s, hash, key)[0]
    if e == NULL:
        spin_unlock(&s.guard)
        return False
    e.used = 1
    found.version = e.version
    found.expires = e.expires
    if e.value != NULL:
        if room != NULL and e.value.n <= KV_INLINE:
            memcpy(room, blob_bytes(e.value), e.value.n)
            found.value = Span(room, e.value.n)
        else:
            found.blob = blob_hold(e.value)
            found.value = blob_span(e.value)
    spin_unlock(&s.guard)
    return True


# ---- Writing: the db thread ------------------------------------------------------------------------------

cdef void cache_put(KvCache *c, Span key, KvBlob *value, uint64_t version, uint64_t expires) noexcept nogil:
    """Remember what the key holds now; NULL: it is missing. Holds the value for itself."""
    cdef uint32_t hash = kv_hash(key)
    cdef KvCacheShard *s = cache_shard(c, hash)
    cdef size_t size = sizeof(KvEntry) + key.n + 32
    cdef KvEntry *e = NULL
    if value != NULL:
        size += sizeof(KvBlob) + value.n + 16
    if size * KV_CACHE_SHARE <= c.shard_max:
        e = <KvEntry *>malloc(sizeof(KvEntry) + key.n)
    if e == NULL:
        cache_forget(c, key)
        return
    e.value = blob_hold(value) if value != NULL else NULL
    e.version = version
    e.expires = expires
    e.size = size
    e.hash = hash
    e.key_n = <uint16_t>key.n
    e.used = 0
    memcpy(entry_key(e), key.p, key.n)
    ring_make_room(c, s, size)
    ring_replace(s, e, key)


cdef void ring_replace(KvCacheShard *s, KvEntry *e, Span key) noexcept nogil:
    """Put the entry in, in place of an older one of the same key."""
    cdef KvEntry *old
    cdef KvEntry **at
    spin_lock(&s.guard)
    at = entry_find(s, e.hash, key)
    old = at[0]
    if old != NULL:
        e.used = old.used
        at[0] = old.next
        ring_unlink(s, old)
    at = &s.buckets[e.hash & (s.cap - 1)]
    e.next = at[0]
    at[0] = e
    ring_link(s, e)
    spin_unlock(&s.guard)
    entry_free(old)
    if s.n > s.cap:
        ring_grow(s)


cdef void cache_forget(KvCache *c, Span key) noexcept nogil:
    """Nothing is known of the key any more."""
    cdef uint32_t hash = kv_hash(key)
    cdef KvCacheShard *s = cache_shard(c, hash)
    cdef KvEntry **at
    cdef KvEntry *old
    spin_lock(&s.guard)
    at = entry_find(s, hash, key)
    old = at[0]
    if old != NULL:
        at[0] = old.next
        ring_unlink(s, old)
    spin_unlock(&s.guard)
    entry_free(old)


cdef void cache_clear(KvCache *c) noexcept nogil:
    """Forget everything."""
    cdef uint32_t i
    for i in range(KV_CACHE_SHARDS):
        while ring_evict(&c.shards[i], True):
            pass


cdef void ring_make_room(KvCache *c, KvCacheShard *s, size_t size) noexcept nogil:
    """Only the db thread changes `bytes`, so that it may be read here without the lock."""
    while s.bytes + size > c.shard_max and ring_evict(s, False):
        pass


cdef bint ring_evict(KvCacheShard *s, bint any) noexcept nogil:
    """Let go of one entry: the first without a reader since the hand came by, or `any`. False: there is none."""
    cdef KvEntry *e
    cdef KvEntry **at
    spin_lock(&s.guard)
    e = s.hand
    if e == NULL:
        spin_unlock(&s.guard)
        return False
    while e.used and not any:
        e.used = 0
        e = e.after
    s.hand = e
    at = entry_find(s, e.hash, Span(entry_key(e), e.key_n))
    at[0] = e.next
    ring_unlink(s, e)
    spin_unlock(&s.guard)
    entry_free(e)
    return True


cdef void ring_grow(KvCacheShard *s) noexcept nogil:
    """Twice the buckets. Without memory the chains get longer."""
    cdef uint32_t cap = 2 * s.cap
    cdef uint32_t i
    cdef KvEntry **fresh = <KvEntry **>calloc(cap, sizeof(KvEntry *))
    cdef KvEntry **old = s.buckets
    cdef KvEntry *e
    if fresh == NULL:
        return
    spin_lock(&s.guard)
    for i in range(s.cap):
        while old[i] != NULL:
            e = old[i]
            old[i] = e.next
            e.next = fresh[e.hash & (cap - 1)]
            fresh[e.hash & (cap - 1)] = e
    s.buckets = fresh
    s.cap = cap
    spin_unlock(&s.guard)
    free(old)


cdef inline void ring_link(KvCacheShard *s, KvEntry *e) noexcept nogil:
    """Into the ring, right behind the hand: the last that it will come to."""
    if s.hand == NULL:
        e.before = e.after = e
        s.hand = e
    else:
        e.after = s.hand
        e.before = s.hand.before
        e.before.after = e
        s.hand.before = e
    s.n += 1
    s.bytes += e.size


cdef inline void ring_unlink(KvCacheShard *s, KvEntry *e) noexcept nogil:
    """Out of the ring."""
    e.before.after = e.after
    e.after.before = e.before
    if s.hand == e:
        s.hand = e.after if e.after != e else NULL
    s.n -= 1
    s.bytes -= e.size


cdef inline void entry_free(KvEntry *e) noexcept nogil:
    if e != NULL:
        blob_release(e.value)
        free(e)
