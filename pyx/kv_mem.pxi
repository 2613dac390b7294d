# The memory store: shards with a spin lock each. Reads lock one; a commit locks those of its keys, in order, checks
# what it has read, then applies all; scans and checked ranges lock all of them.
# Invariants:
#   - locks are taken in the order shards (ascending), KvStore.watch_guard;
#   - under a lock there is no malloc, no free and no system call, but for the events of watchers: what a commit needs
#     is allocated before, and if it turns out to be too little the locks are given back first (commit_prepare);
#   - a key that has expired is missing to every reader, whether it was swept or not;
#   - KvMem.used is exact: the sum of node_size and blob_size of all keys.
# Expiry is measured by CLOCK_MONOTONIC, so that setting the system's clock ends no key early and keeps none longer.

cdef extern from *:
    """
    #define size_add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    #define size_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define size_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define version_next(p) __atomic_add_fetch((p), 1, __ATOMIC_RELAXED)
    #define word_next(p) __atomic_fetch_add((p), 1, __ATOMIC_RELAXED)
    #define word_cas(p, from, to) __sync_bool_compare_and_swap((p), (from), (to))
    """
    size_t size_add(size_t *p, ptrdiff_t v) nogil
    size_t size_load(size_t *p) nogil
    void size_store(size_t *p, size_t v) nogil
    uint64_t version_next(uint64_t *p) nogil
    uint32_t word_next(uint32_t *p) nogil
    bint word_cas(uint32_t *p, uint32_t from_, uint32_t to) nogil
    bint lock_cas "word_cas"(int *p, int from_, int to) nogil

cdef enum:
    ALL_SHARDS = (1 << KV_SHARDS) - 1
    SCAN_ROOM = 65536               # bytes of keys of one page
    COUNT_STEP = 1024               # keys that are counted under one lock
    DELETE_SLICE = 256              # keys of one step of KV_DELETE_PREFIX
    EVICT_SAMPLE = 16               # keys of which the one that was not used for longest goes
    EVICT_TRIES = 4096              # keys evicted for one commit at most


cdef inline KvShard *mem_shard(KvMem *m, uint32_t hash) noexcept nogil:
    return &m.shards[hash >> 28]


cdef inline uint32_t shard_bit(uint32_t hash) noexcept nogil:
    return <uint32_t>1 << (hash >> 28)


cdef inline bint node_live(KvNode *x, uint64_t now) noexcept nogil:
    return x != NULL and (x.expires == 0 or x.expires > now)


cdef uint64_t mem_clock(KvStore *s) noexcept nogil:
    return clock_ms()


cdef void shards_lock(KvMem *m, uint32_t mask) noexcept nogil:
    while mask:
        spin_lock(&m.shards[ctz64(mask)].guard)
        mask &= mask - 1


cdef void shards_unlock(KvMem *m, uint32_t mask) noexcept nogil:
    while mask:
        spin_unlock(&m.shards[ctz64(mask)].guard)
        mask &= mask - 1


# ---- Reading ---------------------------------------------------------------------------------------------

cdef inline int mem_get(Worker *w, KvStore *s, Span key, KvFound *found, char *room) noexcept nogil:
    """Look one key up; always OK."""
    cdef uint32_t hash = kv_hash(key)
    cdef KvShard *shard = mem_shard(s.mem, hash)
    cdef KvNode *x
    found.version = found.expires = 0
    found.blob = NULL
    spin_lock(&shard.guard)
    x = shard_find(shard, hash, key)
    if x != NULL and (x.expires == 0 or x.expires > clock_ms()):
        x.used = <uint32_t>(w.now // KV_USED_UNIT)
        found.version = x.version
        found.expires = x.expires
        found.value = blob_span(x.value)
        if x.value.n <= KV_INLINE:
            memcpy(room, found.value.p, found.value.n)
            found.value.p = room
        else:
            found.blob = blob_hold(x.value)
    spin_unlock(&shard.guard)
    return OK


cdef int mem_read(Worker *w, KvTxn *t) noexcept nogil:
    """KV_READ: several keys, each as it is when its turn comes."""
    cdef KvMem *m = t.store.mem
    cdef KvShard *shard
    cdef KvNode *x
    cdef KvItem *item
    cdef uint32_t i
    cdef uint64_t now = clock_ms()
    for i in range(t.asked, t.nreads):
        if buf_reserve(&t.arena, t.reads[i].key.text.n) != OK:
            return ERR_MEMORY
        item = txn_item(t, txn_text(t, t.reads[i].key.text), 0, 0, NULL)
        if item == NULL:
            return ERR_MEMORY
        shard = mem_shard(m, t.reads[i].key.hash)
        spin_lock(&shard.guard)
        x = shard_find(shard, t.reads[i].key.hash, txn_text(t, t.reads[i].key.text))
        if node_live(x, now):
            x.used = <uint32_t>(w.now // KV_USED_UNIT)
            item.version = x.version
            item.expires = x.expires
            item.value = blob_hold(x.value)
        spin_unlock(&shard.guard)
        t.reads[i].version = item.version
    return OK


# ---- Scanning: all shards merged -------------------------------------------------------------------------

# One shard's next key, in a heap with the nearest on top.
ctypedef struct KvMerge:
    KvNode *heap[KV_SHARDS]
    uint32_t n
    bint reverse
    Span start
    Span stop


cdef inline bint merge_nearer(KvMerge *g, KvNode *a, KvNode *b) noexcept nogil:
    cdef int c = span_compare(node_key(a), node_key(b))
    return c > 0 if g.reverse else c < 0


cdef void merge_sink(KvMerge *g, uint32_t i) noexcept nogil:
    cdef KvNode *x = g.heap[i]
    cdef uint32_t child
    while True:
        child = 2 * i + 1
        if child >= g.n:
            break
        if child + 1 < g.n and merge_nearer(g, g.heap[child + 1], g.heap[child]):
            child += 1
        if not merge_nearer(g, g.heap[child], x):
            break
        g.heap[i] = g.heap[child]
        i = child
    g.heap[i] = x


cdef inline bint merge_inside(KvMerge *g, KvNode *x) noexcept nogil:
    if x == NULL:
        return False
    if g.reverse:
        return span_compare(node_key(x), g.start) >= 0
    return g.stop.n == 0 or span_compare(node_key(x), g.stop) < 0


cdef void merge_begin(KvMerge *g, KvMem *m, Span start, Span stop, bint reverse) noexcept nogil:
    """All shards are locked."""
    cdef uint32_t i
    cdef KvNode *x
    g.n = 0
    g.reverse = reverse
    g.start = start
    g.stop = stop
    for i in range(KV_SHARDS):
        x = shard_last(&m.shards[i], stop) if reverse else shard_first(&m.shards[i], start)
        if merge_inside(g, x):
            g.heap[g.n] = x
            g.n += 1
    i = g.n // 2
    while i > 0:
        i -= 1
        merge_sink(g, i)


cdef KvNode *merge_next(KvMerge *g, uint64_t now) noexcept nogil:
    """The next key that lives; NULL: the end of the range."""
    cdef KvNode *x
    cdef KvNode *after
    while g.n:
        x = g.heap[0]
        after = x.prev if g.reverse else x.next[0]
        if merge_inside(g, after):
            g.heap[0] = after
        else:
            g.n -= 1
            g.heap[0] = g.heap[g.n]
        if g.n:
            merge_sink(g, 0)
        if x.expires == 0 or x.expires > now:
            return x
    return NULL


cdef int mem_scan(KvTxn *t) noexcept nogil:
    """KV_SCAN: a page ends at its limit, or when the room that was made for keys or the bytes of values are full."""
    cdef KvMem *m = t.store.mem
    cdef KvMerge g
    cdef KvNode *x
    cdef size_t bytes = 0
    cdef uint64_t now
    cdef KvItem *list_
    items_clear(t)
    if t.items_cap < t.scan.limit:
        list_ = <KvItem *>realloc(t.items, t.scan.limit * sizeof(KvItem))
        if list_ == NULL:
            return ERR_MEMORY
        t.items = list_
        t.items_cap = t.scan.limit
    if buf_reserve(&t.arena, SCAN_ROOM) != OK:
        return ERR_MEMORY
    shards_lock(m, ALL_SHARDS)
    now = clock_ms()
    t.scan.version = t.store.version
    merge_begin(&g, m, txn_text(t, t.scan.start), txn_text(t, t.scan.stop), t.scan.reverse)
    t.scan.more = 0
    while True:
        x = merge_next(&g, now)
        if x == NULL:
            break
        if t.nitems == t.scan.limit or t.arena.cap - t.arena.n < x.key_n or bytes > KV_PAGE_BYTES:
            t.scan.more = 1
            t.scan.limit = t.nitems
            break
        txn_item(t, node_key(x), x.version, x.expires, NULL if t.scan.keys_only else blob_hold(x.value))
        bytes += 0 if t.scan.keys_only else x.value.n
    shards_unlock(m, ALL_SHARDS)
    return OK


cdef int mem_count(KvTxn *t) noexcept nogil:
    """KV_COUNT: one shard after the other, so the sum is that of no single moment while others write."""
    cdef KvMem *m = t.store.mem
    cdef uint32_t i
    t.scan.count = 0
    for i in range(KV_SHARDS):
        t.scan.count += shard_count(&m.shards[i], txn_text(t, t.scan.start), txn_text(t, t.scan.stop))
    return OK


cdef uint64_t shard_count(KvShard *s, Span start, Span stop) noexcept nogil:
    """Step by step, so that others wait for COUNT_STEP keys at most."""
    cdef char at[KV_KEY_MAX + 1]
    cdef uint64_t n = 0
    cdef uint64_t now = clock_ms()
    cdef uint32_t left
    cdef KvNode *x
    while True:
        spin_lock(&s.guard)
        if start.n == 0 and stop.n == 0 and s.expiring == 0:
            n = s.n
            x = NULL
        else:
            x = shard_first(s, start)
        left = COUNT_STEP
        while left and x != NULL and (stop.n == 0 or span_compare(node_key(x), stop) < 0):
            n += x.expires == 0 or x.expires > now
            x = x.next[0]
            left -= 1
        if left == 0 and x != NULL:     # go on with this key
            start = Span(&at[0], x.key_n)
            memcpy(&at[0], node_key(x).p, x.key_n)
        spin_unlock(&s.guard)
        if left or x == NULL:
            return n


# ---- The store -------------------------------------------------------------------------------------------

cdef int mem_submit(Worker *w, KvTxn *t) noexcept nogil:
    if t.request == KV_COMMIT:
        t.result = mem_commit(w, t)
    elif t.request == KV_READ:
        t.result = mem_read(w, t)
    elif t.request == KV_SCAN:
        t.result = mem_scan(t)
    else:
        t.result = mem_count(t)
    return OK


cdef KvBackend MEM_BACKEND
MEM_BACKEND.name = b"memory"
MEM_BACKEND.queued = 0
MEM_BACKEND.get = mem_get
MEM_BACKEND.submit = mem_submit
MEM_BACKEND.clock = mem_clock


cdef KvStore *store_new(const KvBackend *backend, Server *g) noexcept nogil:
    cdef KvStore *s = <KvStore *>calloc(1, sizeof(KvStore))
    if s != NULL:
        s.backend = backend
        s.server = g
    return s


cdef KvStore *mem_new(Server *g, size_t max_, bint evict) noexcept nogil:
    """An empty memory store; NULL: out of memory."""
    cdef KvStore *s = store_new(&MEM_BACKEND, g)
    if s == NULL:
        return NULL
    s.mem = <KvMem *>calloc(1, sizeof(KvMem))
    if s.mem == NULL:
        free(s)
        return NULL
    s.mem.max = max_
    s.mem.evict = evict
    s.mem.sweep_post.on_post = sweep_on_post
    timer_init(&s.mem.sweep_timer, sweep_on_timer)
    return s


cdef void mem_free(KvStore *s) noexcept nogil:
    """With all its keys. Nobody uses it any more."""
    cdef KvNode *x
    cdef KvNode *after
    cdef uint32_t i
    for i in range(KV_SHARDS):
        x = s.mem.shards[i].heads[0]
        while x != NULL:
            after = x.next[0]
            blob_release(x.value)
            free(x)
            x = after
        free(s.mem.shards[i].slots)
    free(s.mem)
    free(s)
