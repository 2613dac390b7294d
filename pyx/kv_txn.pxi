# Transactions as data: what was read, what was listed, what is to be written, for every backend; and the blobs and
# hashes that all backends share. Knows neither Lua nor a particular store.
# Invariants:
#   - all bytes of a transaction are in its arena, named by KvText, because the arena moves when it grows;
#   - a key is among the reads once, and among the writes once, but for single requests and batches, whose writes are
#     carried out in their order (txn_write);
#   - a failed allocation returns ERR_MEMORY and leaves the transaction fit to be ended.

from libc.string cimport strlen

cdef extern from *:
    """
    #define word_peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define word_put(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define blob_add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_ACQ_REL)
    #if defined(__x86_64__) || defined(__i386__)
    #define cpu_relax() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define cpu_relax() __asm__ volatile("yield")
    #else
    #define cpu_relax() ((void)0)
    #endif

    /* A lock that is held for well under a microsecond. A holder may lose its processor, so a waiter gives up its own
     * after a while. */
    #include <sched.h>
    static inline void spin_lock(uint32_t *lock) {
        int turns = 0;
        while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE)) {
            while (__atomic_load_n(lock, __ATOMIC_RELAXED))
                if (++turns < 200) cpu_relax(); else { turns = 0; sched_yield(); }
        }
    }
    static inline void spin_unlock(uint32_t *lock) { __atomic_store_n(lock, 0, __ATOMIC_RELEASE); }
    """
    uint32_t blob_add(uint32_t *p, int v) nogil
    uint32_t word_peek(uint32_t *p) nogil               # a look at what others change under a lock
    void word_put(uint32_t *p, uint32_t v) nogil        # a change under a lock that others may look at
    void cpu_relax() nogil
    void spin_lock(uint32_t *lock) nogil
    void spin_unlock(uint32_t *lock) nogil

cdef enum:
    TXN_INDEX_FROM = 8              # reads or writes up to this number are searched one by one
    TXN_KEEP = 65536                # bytes of arena kept for the next transaction
    TXN_KEEP_ITEMS = 1024           # reads, writes and items kept for the next one
    TXNS_KEPT = 64                  # per worker

cdef uint64_t KV_OWN = <uint64_t>-1
cdef uint64_t kv_seed = 0x9E3779B97F4A7C15u


# ---- Hashes ----------------------------------------------------------------------------------------------

cdef void kv_seed_init(uint64_t seed) noexcept nogil:
    """Before any store is made: a number that clients do not know, so that they cannot choose colliding keys."""
    global kv_seed
    kv_seed = seed | 1


cdef inline uint64_t kv_mix(uint64_t a, uint64_t b) noexcept nogil:
    cdef uint64_t low
    cdef uint64_t high = mul_wide(a ^ kv_seed, b ^ 0xE7037ED1A0B428DBu, &low)
    return high ^ low


cdef inline uint32_t kv_hash(Span key) noexcept nogil:
    cdef const char *p = key.p
    cdef size_t n = key.n
    cdef uint64_t h = kv_seed ^ n
    cdef uint64_t tail = 0
    while n >= 8:
        h = kv_mix(h ^ load_word(p), 0x8EBC6AF09C88C6E3u)
        p += 8
        n -= 8
    if n:
        memcpy(&tail, p, n)
        h = kv_mix(h ^ tail, 0x589965CC75374CC3u)
    h = kv_mix(h, key.n)
    return <uint32_t>(h >> 32 ^ h)


cdef uint32_t[256] crc_table


cdef void crc_init() noexcept nogil:
    """Once, before any digest."""
    cdef uint32_t i, k, c
    for i in range(256):
        c = i
        for k in range(8):
            c = c >> 1 ^ (0xEDB88320u if c & 1 else 0)
        crc_table[i] = c


cdef uint32_t crc_add(uint32_t crc, const void *data, size_t n) noexcept nogil:
    """CRC-32 as zlib's, continued from `crc` (0 to start)."""
    cdef const uint8_t *p = <const uint8_t *>data
    cdef size_t i
    crc = ~crc
    for i in range(n):
        crc = crc_table[(crc ^ p[i]) & 0xFF] ^ crc >> 8
    return ~crc


cdef uint32_t kv_digest(uint32_t sum, Span key, uint64_t version) noexcept nogil:
    """Continue the digest of a scan with one item: kv_backend.digest in Python is the same."""
    cdef uint8_t head[12]
    cdef int i
    for i in range(8):
        head[i] = <uint8_t>(version >> 8 * i)
    for i in range(4):
        head[8 + i] = <uint8_t>(key.n >> 8 * i)
    return crc_add(crc_add(sum, &head[0], 12), key.p, key.n)


# ---- Blobs -----------------------------------------------------------------------------------------------

cdef inline char *blob_bytes(KvBlob *b) noexcept nogil:
    return <char *>(b + 1)


cdef inline Span blob_span(KvBlob *b) noexcept nogil:
    return Span(blob_bytes(b), b.n)


cdef KvBlob *blob_new(const char *p, size_t n) noexcept nogil:
    """A copy of the bytes, held once; NULL: out of memory."""
    cdef KvBlob *b = <KvBlob *>malloc(sizeof(KvBlob) + n)
    if b == NULL:
        return NULL
    b.refs = 1
    b.n = <uint32_t>n
    if n:
        memcpy(blob_bytes(b), p, n)
    return b


cdef inline KvBlob *blob_hold(KvBlob *b) noexcept nogil:
    blob_add(&b.refs, 1)
    return b


cdef inline void blob_release(KvBlob *b) noexcept nogil:
    if b != NULL and blob_add(&b.refs, -1) == 0:
        free(b)


cdef inline void found_release(KvFound *f) noexcept nogil:
    blob_release(f.blob)
    f.blob = NULL


# ---- Growing arrays --------------------------------------------------------------------------------------

cdef void *list_grow(void *p, uint32_t *cap, uint32_t n, size_t size) noexcept nogil:
    """Room for one more than `n`; NULL: out of memory, and nothing has changed."""
    cdef uint32_t wanted
    cdef void *q
    if likely(n < cap[0]):
        return p
    wanted = cap[0] * 2 if cap[0] else 4
    q = realloc(p, wanted * size)
    if q != NULL:
        cap[0] = wanted
    return q


cdef inline Span txn_text(KvTxn *t, KvText text) noexcept nogil:
    if unlikely(text.n == 0):           # the arena may have no bytes at all, and memcmp wants an address
        return Span(b"", 0)
    return Span(t.arena.p + text.at, text.n)


cdef inline int txn_put(KvTxn *t, Span bytes, KvText *text) noexcept nogil:
    """Copy bytes into the arena. They must not lie in it."""
    text.at = t.arena.n
    text.n = bytes.n
    return buf_append(&t.arena, bytes.p, bytes.n)


# ---- Life ------------------------------------------------------------------------------------------------

cdef KvTxn *txn_new(Worker *w, KvStore *s) noexcept nogil:
    """An empty transaction of this worker; NULL: out of memory."""
    cdef KvTxn *t = w.kv_spare
    if t != NULL:
        w.kv_spare = t.outer
        w.kv_nspare -= 1
    else:
        t = <KvTxn *>calloc(1, sizeof(KvTxn))
        if t == NULL:
            return NULL
    op_init(&t.op)
    t.op.cancel = NULL
    t.op.begin = NULL
    t.op.finish = NULL
    t.op.drop = txn_on_drop
    t.store = s
    t.worker = w
    t.outer = NULL
    t.owner = NULL
    t.handle = NULL
    t.sync = 1
    t.serial = t.single = t.keep = 0
    t.lock = KV_UNLOCKED
    return t


cdef void txn_on_drop(Worker *w, Op *op) noexcept nogil:
    """Nobody wants the answer. An open transaction is ended by whoever ends its coroutine (txns_abandon)."""
    if (<KvTxn *>op).owner == NULL:
        txn_end(<KvTxn *>op)


cdef void txn_open(Coro *co, KvTxn *t, KvHandle *handle) noexcept nogil:
    """It belongs to the coroutine, until txn_close."""
    t.owner = co
    t.outer = co.txns
    t.waits = co.waits
    t.handle = handle
    handle.txn = t
    co.txns = t


cdef void txn_close(KvTxn *t) noexcept nogil:
    """Commit or roll back has been done, or is not wanted any more."""
    cdef KvTxn **at = &t.owner.txns
    while at[0] != t:
        at = &at[0].outer
    at[0] = t.outer
    t.owner = NULL
    t.handle.txn = NULL
    if not t.op.begun:                  # else its post still comes
        txn_end(t)


cdef void txn_end(KvTxn *t) noexcept nogil:
    if t.serial:
        lock_release(t)
    txn_free(t)


cdef void txns_abandon(Coro *co) noexcept nogil:
    """The coroutine ends: what it left open is rolled back."""
    while co.txns != NULL:
        txn_close(co.txns)


cdef void txn_clear(KvTxn *t) noexcept nogil:
    """Forget what was read, listed and written; the memory is kept as far as it is small."""
    cdef uint32_t i
    items_clear(t)
    for i in range(t.nreads):
        blob_release(t.reads[i].value)
    t.arena.n = 0
    t.nreads = t.nwrites = t.nranges = 0
    t.read_index.cap = t.write_index.cap = 0
    t.asked = 0
    t.error.n = 0
    t.result = OK
    t.failed = 0
    t.version = 0


cdef void txn_free(KvTxn *t) noexcept nogil:
    """Back to the worker's spare ones. It holds no lock and no backend has it."""
    cdef Worker *w = t.worker
    txn_clear(t)
    if t.arena.cap > TXN_KEEP:
        buf_free(&t.arena)
    if w.kv_nspare >= TXNS_KEPT or t.reads_cap > TXN_KEEP_ITEMS or t.writes_cap > TXN_KEEP_ITEMS or \
            t.items_cap > TXN_KEEP_ITEMS or t.ranges_cap > TXN_KEEP_ITEMS:
        txn_destroy(t)
        return
    t.outer = w.kv_spare
    w.kv_spare = t
    w.kv_nspare += 1


cdef void txn_destroy(KvTxn *t) noexcept nogil:
    buf_free(&t.arena)
    buf_free(&t.error)
    free(t.reads)
    free(t.writes)
    free(t.ranges)
    free(t.items)
    free(t.read_index.slots)
    free(t.write_index.slots)
    free(t)


cdef void txns_destroy(Worker *w) noexcept nogil:
    """The worker ends."""
    cdef KvTxn *t
    while w.kv_spare != NULL:
        t = w.kv_spare
        w.kv_spare = t.outer
        txn_destroy(t)


cdef void txn_fail(KvTxn *t, const char *why) noexcept nogil:
    """The request ends with KV_FAILED and this message."""
    t.result = KV_FAILED
    t.error.n = 0
    buf_append(&t.error, why, strlen(why))


# ---- Finding keys again ----------------------------------------------------------------------------------

cdef inline KvKey *key_at(char *items, size_t stride, uint32_t i) noexcept nogil:
    return <KvKey *>(items + i * stride)


cdef inline bint key_is(KvTxn *t, KvKey *k, uint32_t hash, Span key) noexcept nogil:
    return k.hash == hash and k.text.n == key.n and memcmp(t.arena.p + k.text.at, key.p, key.n) == 0


cdef ptrdiff_t index_find(KvTxn *t, KvIndex *x, char *items, size_t stride, uint32_t n, uint32_t hash,
                          Span key) noexcept nogil:
    """Position of the item with this key, -1 if there is none."""
    cdef uint32_t i
    if x.cap == 0:
        for i in range(n):
            if key_is(t, key_at(items, stride, i), hash, key):
                return i
        return -1
    i = hash & (x.cap - 1)
    while x.slots[i]:
        if key_is(t, key_at(items, stride, x.slots[i] - 1), hash, key):
            return x.slots[i] - 1
        i = (i + 1) & (x.cap - 1)
    return -1


cdef inline void index_set(KvIndex *x, uint32_t hash, uint32_t at) noexcept nogil:
    cdef uint32_t i = hash & (x.cap - 1)
    while x.slots[i]:
        i = (i + 1) & (x.cap - 1)
    x.slots[i] = at + 1


cdef int index_add(KvIndex *x, char *items, size_t stride, uint32_t n) noexcept nogil:
    """The item at n - 1 is new. Begins the index, or doubles it at half full."""
    cdef uint32_t *slots
    cdef uint32_t i, cap
    if n <= TXN_INDEX_FROM:
        return OK
    if x.cap >= 2 * n:
        index_set(x, key_at(items, stride, n - 1).hash, n - 1)
        return OK
    cap = 64
    while cap < 4 * n:
        cap *= 2
    slots = <uint32_t *>realloc(x.slots, cap * sizeof(uint32_t))
    if slots == NULL:
        return ERR_MEMORY
    memset(slots, 0, cap * sizeof(uint32_t))
    x.slots = slots
    x.cap = cap
    for i in range(n):
        index_set(x, key_at(items, stride, i).hash, i)
    return OK


# ---- Reads, ranges, writes -------------------------------------------------------------------------------

cdef inline KvWrite *txn_written(KvTxn *t, uint32_t hash, Span key) noexcept nogil:
    """The write of this key, NULL if there is none."""
    cdef ptrdiff_t i
    if t.nwrites == 0:
        return NULL
    i = index_find(t, &t.write_index, <char *>t.writes, sizeof(KvWrite), t.nwrites, hash, key)
    return &t.writes[i] if i >= 0 else NULL


cdef int txn_read(KvTxn *t, uint32_t hash, Span key, uint64_t version) noexcept nogil:
    """Remember that the key was seen at this version. Two different sights can not both hold: KV_CONFLICT."""
    cdef ptrdiff_t i = index_find(t, &t.read_index, <char *>t.reads, sizeof(KvRead), t.nreads, hash, key)
    if i >= 0:
        return <int>OK if t.reads[i].version == version else <int>KV_CONFLICT
    return txn_ask(t, hash, key, version)


cdef int txn_ask(KvTxn *t, uint32_t hash, Span key, uint64_t version) noexcept nogil:
    """Append a read, whether it is there or not."""
    cdef KvRead *list_ = <KvRead *>list_grow(t.reads, &t.reads_cap, t.nreads, sizeof(KvRead))
    cdef KvRead *r
    if list_ == NULL:
        return ERR_MEMORY
    t.reads = list_
    r = &list_[t.nreads]
    r.key.hash = hash
    r.version = version
    r.value = NULL
    r.known = 0
    if txn_put(t, key, &r.key.text) != OK:
        return ERR_MEMORY
    t.nreads += 1
    return index_add(&t.read_index, <char *>t.reads, sizeof(KvRead), t.nreads)


cdef int txn_range(KvTxn *t) noexcept nogil:
    """Remember the page that the last scan gave."""
    cdef KvRange *list_ = <KvRange *>list_grow(t.ranges, &t.ranges_cap, t.nranges, sizeof(KvRange))
    cdef KvRange *r
    cdef uint32_t i
    cdef uint32_t sum = 0
    if list_ == NULL:
        return ERR_MEMORY
    t.ranges = list_
    r = &list_[t.nranges]
    r.start = t.scan.start
    r.stop = t.scan.stop
    r.limit = t.scan.limit
    r.reverse = t.scan.reverse
    r.version = t.scan.version
    for i in range(t.nitems):
        sum = kv_digest(sum, txn_text(t, t.items[i].key), t.items[i].version)
    r.digest = <uint64_t>sum << 32 | t.nitems
    t.nranges += 1
    return OK


cdef KvWrite *txn_write(KvTxn *t, uint8_t action, Span key) noexcept nogil:
    """Append a write. Its value, if any, is appended to the arena next, by the caller. NULL: out of memory."""
    cdef KvWrite *list_ = <KvWrite *>list_grow(t.writes, &t.writes_cap, t.nwrites, sizeof(KvWrite))
    cdef KvWrite *x
    if list_ == NULL:
        return NULL
    t.writes = list_
    x = &list_[t.nwrites]
    memset(x, 0, sizeof(KvWrite))
    x.action = action
    x.key.hash = kv_hash(key)
    if txn_put(t, key, &x.key.text) != OK:
        return NULL
    t.nwrites += 1
    return x


cdef KvWrite *txn_overwrite(KvTxn *t, uint8_t action, Span key) noexcept nogil:
    """KV_SET or KV_DELETE in a transaction: the only write of this key."""
    cdef KvWrite *x = txn_written(t, kv_hash(key), key)
    cdef KvKey k
    if x != NULL:
        k = x.key
        memset(x, 0, sizeof(KvWrite))
        x.key = k
        x.action = action
        return x
    x = txn_write(t, action, key)
    if x != NULL and index_add(&t.write_index, <char *>t.writes, sizeof(KvWrite), t.nwrites) != OK:
        t.nwrites -= 1
        return NULL
    return x


# ---- Items of an answer ----------------------------------------------------------------------------------

cdef KvItem *txn_item(KvTxn *t, Span key, uint64_t version, uint64_t expires, KvBlob *value) noexcept nogil:
    """Append an item; the hold on `value` goes over to the transaction. NULL: out of memory, it does not."""
    cdef KvItem *list_ = <KvItem *>list_grow(t.items, &t.items_cap, t.nitems, sizeof(KvItem))
    cdef KvItem *x
    if list_ == NULL:
        return NULL
    t.items = list_
    x = &list_[t.nitems]
    if txn_put(t, key, &x.key) != OK:
        return NULL
    x.version = version
    x.expires = expires
    x.value = value
    t.nitems += 1
    return x


cdef void items_clear(KvTxn *t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.nitems):
        blob_release(t.items[i].value)
    t.nitems = 0


cdef inline int span_compare(Span a, Span b) noexcept nogil:
    """Bytewise; a prefix is smaller."""
    cdef int c = memcmp(a.p, b.p, a.n if a.n < b.n else b.n)
    if c:
        return c
    return (a.n > b.n) - (a.n < b.n)
