# What the memory store does beside its commits: expired keys are swept by worker 0 in small steps, the least recently
# used are evicted if that was asked for, and memory goes back to the system.
# The sweep sleeps while no key has an expiry. A step looks at SWEEP_SLOTS slots of each shard that has such keys, and
# at more while a quarter of the keys there had expired, but ends after SWEEP_NS.
# A store that is full is swept at once, too. The rules of kv_mem.pxi hold here.

cdef extern from *:
    """
    #include <malloc.h>
    /* Give free pages back to the system. Takes milliseconds per 100 MB, so it has a thread of its own. */
    static void *memory_trim(void *nothing) {
    #ifdef __GLIBC__
        malloc_trim(0);
    #endif
        return nothing;
    }
    """
    void *memory_trim(void *nothing) noexcept nogil

cdef enum:
    SWEEP_INTERVAL = 100            # ms
    SWEEP_SLOTS = 128
    SWEEP_NS = 500000
    PURGE_INTERVAL = 10             # ms
    TRIM_MIN = 8388608              # bytes that must have been freed, and half of all, to give memory back


cdef void mem_look_after(Worker *w, KvStore *s, KvPlan *plan) noexcept nogil:
    """After a commit: begin to sweep if keys have an expiry now, give memory back if much of it was freed."""
    cdef KvMem *m = s.mem
    cdef uint32_t mask = plan.mask
    if plan.delta < 0:
        mem_give_back(m)
    if m.lazy or word_peek(&m.sweeping):
        return
    while mask:
        if word_peek(&m.shards[ctz64(mask)].expiring):
            if word_cas(&m.sweeping, 0, 1):
                worker_post(&s.server.workers[0], &m.sweep_post)
            return
        mask &= mask - 1


# ---- Sweeping --------------------------------------------------------------------------------------------

cdef void sweep_on_post(Worker *w, Post *p) noexcept nogil:
    timer_set(&w.wheel, &w.server.kv_memory.mem.sweep_timer, w.now + SWEEP_INTERVAL)


cdef void sweep_on_timer(Worker *w, Timer *timer) noexcept nogil:
    cdef KvStore *s = w.server.kv_memory
    cdef KvMem *m = s.mem
    mem_sweep(s, clock_ns() + SWEEP_NS)
    if mem_expiring(m) == 0:
        full_fence()
        word_release(&m.sweeping, 0)
        full_fence()
        if mem_expiring(m) == 0 or not word_cas(&m.sweeping, 0, 1):
            return
    timer_set(&w.wheel, timer, w.now + SWEEP_INTERVAL)


cdef uint64_t mem_expiring(KvMem *m) noexcept nogil:
    """How many keys have an expiry."""
    cdef uint64_t n = 0
    cdef uint32_t i
    for i in range(KV_SHARDS):
        n += word_peek(&m.shards[i].expiring)
    return n


cdef void mem_sweep(KvStore *s, uint64_t until) noexcept nogil:
    """One step over all shards, beginning where the last one ended."""
    cdef KvMem *m = s.mem
    cdef uint32_t i
    cdef KvShard *shard
    for i in range(KV_SHARDS):
        shard = &m.shards[m.sweep_shard % KV_SHARDS]
        while word_peek(&shard.expiring) and shard_sweep(s, shard, NULL):
            if clock_ns() > until:
                return
        m.sweep_shard += 1
        if clock_ns() > until:
            break
    mem_give_back(m)


cdef bint shard_sweep(KvStore *s, KvShard *shard, uint64_t *removed) noexcept nogil:
    """Look at the next slots; returns whether a quarter of their keys had expired. `removed`, if given, counts them."""
    cdef KvNode *gone[SWEEP_SLOTS]
    cdef uint32_t i
    cdef uint32_t n = 0
    cdef uint32_t seen = 0
    cdef KvNode *x
    cdef uint64_t now = clock_ms()
    spin_lock(&shard.guard)
    for i in range(SWEEP_SLOTS if shard.cap > SWEEP_SLOTS else shard.cap):
        if shard.sweep >= shard.cap:
            shard.sweep = 0
        x = shard.slots[shard.sweep].node
        seen += x != NULL
        if x != NULL and not node_live(x, now):
            gone[n] = x
            n += 1
        shard.sweep += 1
    if n:
        nodes_remove(s, &gone[0], n)
    spin_unlock(&shard.guard)
    nodes_free(&gone[0], n)
    if removed != NULL:
        removed[0] += n
    if n:
        shard_compact(shard)
    return n > 0 and n * 4 >= seen


cdef bint mem_purge(Worker *w, KvStore *s) noexcept nogil:
    """The store is full: remove expired keys now. False: none were found, and none are looked for for a while."""
    cdef KvMem *m = s.mem
    cdef KvShard *shard
    cdef uint64_t until
    cdef uint32_t i, slots
    cdef size_t before = size_load(&m.used)
    if mem_expiring(m) == 0 or w.now - size_load(&m.purged) < PURGE_INTERVAL:
        return False
    until = clock_ns() + SWEEP_NS
    for i in range(KV_SHARDS):
        shard = &m.shards[i]
        slots = word_peek(&shard.cap)
        while word_peek(&shard.expiring) and clock_ns() < until:
            shard_sweep(s, shard, NULL)
            if slots <= SWEEP_SLOTS:
                break
            slots -= SWEEP_SLOTS
    if size_load(&m.used) < before:
        return True
    size_store(&m.purged, w.now)
    return False


# ---- Evicting --------------------------------------------------------------------------------------------

cdef bint mem_evict(Worker *w, KvStore *s, size_t need) noexcept nogil:
    """Drop keys that were not used for long until about `need` bytes are free. False: there are none left."""
    cdef KvMem *m = s.mem
    cdef size_t target = m.max - need
    cdef uint32_t misses = 0
    while size_load(&m.used) > target and misses < 2 * KV_SHARDS:
        if shard_evict(s, &m.shards[word_next(&m.evict_at) % KV_SHARDS], <uint32_t>(w.now // KV_USED_UNIT)):
            misses = 0
        else:
            misses += 1
    return size_load(&m.used) <= target


cdef bint shard_evict(KvStore *s, KvShard *shard, uint32_t used) noexcept nogil:
    """Drop the oldest of the next EVICT_SAMPLE keys, or one of them that has expired."""
    cdef KvNode *oldest = NULL
    cdef KvNode *x
    cdef uint32_t seen = 0
    cdef uint32_t i
    spin_lock(&shard.guard)
    for i in range(shard.cap):
        if shard.clock >= shard.cap:
            shard.clock = 0
        x = shard.slots[shard.clock].node
        shard.clock += 1
        if x == NULL:
            continue
        if oldest == NULL or used - x.used > used - oldest.used:
            oldest = x
        seen += 1
        if seen == EVICT_SAMPLE:
            break
    if oldest != NULL:
        nodes_remove(s, &oldest, 1)
    spin_unlock(&shard.guard)
    if oldest != NULL:
        nodes_free(&oldest, 1)
    return oldest != NULL


# ---- Memory ----------------------------------------------------------------------------------------------

cdef void mem_give_back(KvMem *m) noexcept nogil:
    """Half of the most that was used is free: shrink the tables, and let the system have the pages."""
    cdef size_t used = size_load(&m.used)
    cdef size_t most = size_load(&m.trimmed)
    cdef uint32_t i
    if used > most:
        size_store(&m.trimmed, used)
        return
    if most - used < TRIM_MIN or used > most // 2:
        return
    size_store(&m.trimmed, used)
    for i in range(KV_SHARDS):
        shard_compact(&m.shards[i])
    thread_start(memory_trim, NULL)
