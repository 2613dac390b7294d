# Stores behind the db thread: requests of the workers on their way to it, and its answers from the cache. A request is
# a KvTxn; it is pushed without a lock, belongs to the db thread until worker_post gives it back, and its worker never
# waits: not for the thread, not for the GIL, not for the disk.
# Invariants:
#   - a request that was pushed is answered exactly once, also when the store did not open;
#   - what a commit has changed is in the cache (or forgotten by it) before the commit is answered.
# Taking requests and answering them is kv_batch.pxi, the thread itself heartc/kv_service.py.

cdef enum:
    GATHER_STEP = 250000            # ns
    GATHER_STEPS = 8


cdef KvQueue *queue_new(size_t cache) noexcept nogil:
    """NULL: out of memory."""
    cdef KvQueue *q = <KvQueue *>calloc(1, sizeof(KvQueue))
    if q == NULL or cache_init(&q.cache, cache) != OK:
        free(q)
        return NULL
    return q


cdef inline KvQueue *store_queue(KvStore *s) noexcept nogil:
    return <KvQueue *>s.queue


# ---- What a worker asks ----------------------------------------------------------------------------------

cdef uint64_t queued_clock(KvStore *s) noexcept nogil:
    """Unix time: expiry times are kept on the disk."""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000


cdef inline void found_expire(KvStore *s, KvFound *found) noexcept nogil:
    """What has expired is missing."""
    if unlikely(found.expires != 0 and found.expires <= queued_clock(s)):
        found_release(found)
        found.version = found.expires = 0


cdef int queued_get(Worker *w, KvStore *s, Span key, KvFound *found, char *room) noexcept nogil:
    if not cache_get(&store_queue(s).cache, kv_hash(key), key, found, room):
        return PENDING
    found_expire(s, found)
    return OK


cdef int queued_submit(Worker *w, KvTxn *t) noexcept nogil:
    """Answer from the cache, or push the request."""
    cdef KvQueue *q = store_queue(t.store)
    if t.request == KV_READ and queued_read(t):
        t.result = OK
        return OK
    if t.store.server.checking:
        txn_fail(t, b"heart check opens no database")
        return OK
    queue_push(q, &t.op.post)
    return PENDING


cdef bint queued_read(KvTxn *t) noexcept nogil:
    """Answer a KV_READ if everything that it asks for is in the cache."""
    cdef KvQueue *q = store_queue(t.store)
    cdef uint32_t i
    cdef KvFound found
    cdef KvRead *r
    for i in range(t.asked, t.nreads):
        r = &t.reads[i]
        if not cache_get(&q.cache, r.key.hash, txn_text(t, r.key.text), &found, NULL):
            items_clear(t)
            return False
        found_expire(t.store, &found)
        if read_item(t, r, found.version, found.expires, found.blob) != OK:
            found_release(&found)
            items_clear(t)
            return False
    return True


cdef int read_item(KvTxn *t, KvRead *r, uint64_t version, uint64_t expires, KvBlob *value) noexcept nogil:
    """Append the item of a read, whose key is in the arena already; the hold on `value` goes over."""
    cdef KvItem *x = txn_item(t, Span(NULL, 0), version, expires, value)
    if x == NULL:
        return ERR_MEMORY
    x.key = r.key.text
    return OK


cdef void queue_want(KvStore *s) noexcept nogil:
    """An application asks for the store: the main thread has it opened."""
    word_release(&store_queue(s).wanted, 1)
    eventfd_signal(s.server.notify)


cdef void queue_push(KvQueue *q, Post *p) noexcept nogil:
    """Hand the request over and wake the db thread if it sleeps."""
    cdef void *head = inbox_head(&q.head)
    while True:
        p.next = <Post *>head
        if inbox_push(&q.head, &head, p):
            break
    full_fence()
    queue_wake(q)


cdef inline void queue_wake(KvQueue *q) noexcept nogil:
    if word_acquire(&q.sleeping) and word_swap(&q.sleeping, 0):
        futex_wake(&q.sleeping)


# ---- What the db thread does without the GIL -------------------------------------------------------------

cdef void queue_wait(KvQueue *q, int ms) noexcept nogil:
    """Sleep until there is something to do, at most `ms` (-1: for ever)."""
    if q.rest == NULL and inbox_head(&q.head) == NULL:
        word_swap(&q.sleeping, 1)
        if inbox_head(&q.head) == NULL and not word_acquire(&q.woken):
            futex_wait(&q.sleeping, 1, ms)
        word_release(&q.sleeping, 0)
    word_release(&q.woken, 0)


cdef void queue_gather(KvQueue *q, uint32_t expected) noexcept nogil:
    """Let a group grow: until as many wait as are expected and none has come within a step, or it was given all steps.
    On a busy machine nothing may come for several steps, though many are about to write again."""
    cdef timespec step
    cdef uint32_t i, n, before = 0
    step.tv_sec = 0
    step.tv_nsec = GATHER_STEP
    for i in range(GATHER_STEPS):
        nanosleep(&step, NULL)
        n = queue_length(q)
        if (n >= expected and n == before) or n >= KV_GROUP_MAX or word_acquire(&q.woken):
            break
        before = n


cdef uint32_t queue_length(KvQueue *q) noexcept nogil:
    """Requests that have arrived and were not taken. For the db thread: nobody else takes them away meanwhile."""
    cdef Post *p = <Post *>inbox_head(&q.head)
    cdef uint32_t n = 0
    full_fence()                        # what the pushers wrote before it
    while p != NULL:
        n += 1
        p = p.next
    return n


cdef void queue_take(KvQueue *q) noexcept nogil:
    """Append what has arrived to `rest`, the oldest first."""
    cdef Post *p = <Post *>inbox_take(&q.head)
    cdef Post *ready = NULL
    cdef Post *after
    cdef Post **end = &q.rest
    while p != NULL:
        after = p.next
        p.next = ready
        ready = p
        p = after
    while end[0] != NULL:
        end = &end[0].next
    end[0] = ready


cdef int queue_group(KvQueue *q) noexcept nogil:
    """Move requests from `rest` to `asks` and `commits`, as many as one group may have."""
    cdef KvTxn *t
    cdef size_t bytes = 0
    q.nasks = q.ncommits = 0
    while q.rest != NULL and q.nasks + q.ncommits < KV_GROUP_MAX and bytes < KV_GROUP_BYTES:
        t = <KvTxn *>q.rest
        if t.request == KV_COMMIT:
            if list_add(&q.commits, &q.commits_cap, q.ncommits, t) != OK:
                return ERR_MEMORY
            q.ncommits += 1
        else:
            if list_add(&q.asks, &q.asks_cap, q.nasks, t) != OK:
                return ERR_MEMORY
            q.nasks += 1
        q.rest = t.op.post.next
        bytes += t.arena.n
    return OK


cdef int list_add(KvTxn ***items, uint32_t *cap, uint32_t n, KvTxn *t) noexcept nogil:
    cdef void *grown = list_grow(items[0], cap, n, sizeof(KvTxn *))
    if grown == NULL:
        return ERR_MEMORY
    items[0] = <KvTxn **>grown
    items[0][n] = t
    return OK


cdef inline void queue_answer(KvTxn *t) noexcept nogil:
    """Give the request back to its worker. It is not to be touched after this."""
    worker_post(t.worker, &t.op.post)


cdef KvBackend DISK_BACKEND
DISK_BACKEND.name = b"disk"
DISK_BACKEND.queued = 1
DISK_BACKEND.get = queued_get
DISK_BACKEND.submit = queued_submit
DISK_BACKEND.clock = queued_clock
