# The memory store's commits: check what was read, find what the writes do, apply them all, or change nothing.
# The rules of kv_mem.pxi hold here too. A commit's way:
#   commit_prepare   before the locks: the new values
#   commit_check     what was read or listed is still so
#   commit_plan      each write's condition, what it adds to the store's size, whether it lacks a node or a slot
#   commit_apply     one version for all; old values and removed nodes are kept aside in the writes
#   commit_release   after the locks: free them
# Keys are written once in a commit, so that its writes can be planned one by one.

# What a commit finds out under its locks.
ctypedef struct KvPlan:
    uint32_t mask                   # shards
    ptrdiff_t delta                 # bytes that the store grows by
    bint lacks                      # a node or a larger table is to be made first
    uint64_t now


cdef int mem_commit(Worker *w, KvTxn *t) noexcept nogil:
    cdef KvMem *m = t.store.mem
    cdef KvPlan plan
    cdef int rc = commit_prepare(t)
    cdef int evictions = 0
    plan.delta = 0
    if t.nwrites and t.writes[0].action == KV_DELETE_PREFIX:
        return mem_delete_prefix(t)
    plan.mask = commit_mask(t)
    while rc == OK:
        shards_lock(m, plan.mask)
        plan.now = clock_ms() if shards_expiring(m, plan.mask) else 0
        rc = commit_check(t, &plan)
        if rc == OK:
            rc = commit_plan(t, &plan)
        if rc == OK and not plan.lacks:
            rc = commit_account(m, plan.delta)
            if rc == OK:
                commit_apply(w, t, &plan)
                shards_unlock(m, plan.mask)
                break
        shards_unlock(m, plan.mask)
        if rc == OK:
            rc = commit_supply(t)
        elif rc == KV_FULL and evictions < EVICT_TRIES and plan.delta <= <ptrdiff_t>m.max:
            evictions += 1
            if mem_purge(w, t.store) or (m.evict and not t.keep and mem_evict(w, t.store, plan.delta)):
                rc = OK
    commit_release(t)
    if rc == OK and t.nwrites:
        mem_look_after(w, t.store, &plan)
    return rc


cdef inline bint shards_expiring(KvMem *m, uint32_t mask) noexcept nogil:
    """Whether any of their keys has an expiry: if not, the clock need not be read."""
    while mask:
        if m.shards[ctz64(mask)].expiring:
            return True
        mask &= mask - 1
    return False


cdef uint32_t commit_mask(KvTxn *t) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t mask = 0
    if t.nranges:
        return ALL_SHARDS
    for i in range(t.nreads):
        mask |= shard_bit(t.reads[i].key.hash)
    for i in range(t.nwrites):
        mask |= shard_bit(t.writes[i].key.hash)
    return mask


cdef int commit_prepare(KvTxn *t) noexcept nogil:
    cdef KvWrite *x
    cdef uint32_t i
    cdef char number[KV_NUMBER_SIZE]
    for i in range(t.nwrites):
        x = &t.writes[i]
        x.node = x.fresh = NULL
        x.blob = NULL
    for i in range(t.nwrites):
        x = &t.writes[i]
        if x.has_value:
            x.blob = blob_new(txn_text(t, x.value).p, x.value.n)
        elif x.action == KV_INCR:           # filled in later
            x.blob = blob_new(&number[0], KV_NUMBER_SIZE)
        else:
            continue
        if x.blob == NULL:
            return ERR_MEMORY
    return OK


# ---- Checking --------------------------------------------------------------------------------------------

cdef int commit_check(KvTxn *t, KvPlan *plan) noexcept nogil:
    cdef KvMem *m = t.store.mem
    cdef KvRead *r
    cdef KvNode *x
    cdef uint32_t i
    for i in range(t.nreads):
        r = &t.reads[i]
        x = shard_find(mem_shard(m, r.key.hash), r.key.hash, txn_text(t, r.key.text))
        if (x.version if node_live(x, plan.now) else 0) != r.version:
            return KV_CONFLICT
    for i in range(t.nranges):
        if t.ranges[i].version != t.store.version and range_digest(t, &t.ranges[i], plan.now) != t.ranges[i].digest:
            return KV_CONFLICT
    return OK


cdef uint64_t range_digest(KvTxn *t, KvRange *r, uint64_t now) noexcept nogil:
    """What the same scan would give now; the shards are locked."""
    cdef KvMerge g
    cdef KvNode *x
    cdef uint32_t n = 0
    cdef uint32_t sum = 0
    merge_begin(&g, t.store.mem, txn_text(t, r.start), txn_text(t, r.stop), r.reverse)
    while n < r.limit:
        x = merge_next(&g, now)
        if x == NULL:
            break
        sum = kv_digest(sum, node_key(x), x.version)
        n += 1
    return <uint64_t>sum << 32 | n


# ---- Planning --------------------------------------------------------------------------------------------

cdef int commit_plan(KvTxn *t, KvPlan *plan) noexcept nogil:
    """Look at every write, nothing is changed yet."""
    cdef KvMem *m = t.store.mem
    cdef bint fresh = False
    cdef uint32_t i
    cdef int rc
    plan.delta = 0
    plan.lacks = False
    for i in range(t.nwrites):
        rc = write_plan(m, t, &t.writes[i], plan)
        if rc != OK:
            t.failed = i
            return rc
        fresh |= t.writes[i].node == NULL and t.writes[i].blob != NULL
    if fresh and not plan.lacks:
        plan.lacks = not tables_have_room(m, t)
    return OK


cdef bint tables_have_room(KvMem *m, KvTxn *t) noexcept nogil:
    """For all new keys of the commit."""
    cdef uint32_t fresh[KV_SHARDS]
    cdef uint32_t i
    memset(&fresh[0], 0, sizeof(fresh))
    for i in range(t.nwrites):
        fresh[t.writes[i].key.hash >> 28] += t.writes[i].node == NULL and t.writes[i].blob != NULL
    for i in range(KV_SHARDS):
        if fresh[i] and not shard_has_room(&m.shards[i], fresh[i]):
            return False
    return True


cdef int write_plan(KvMem *m, KvTxn *t, KvWrite *x, KvPlan *plan) noexcept nogil:
    cdef KvNode *node = shard_find(mem_shard(m, x.key.hash), x.key.hash, txn_text(t, x.key.text))
    cdef bint live = node_live(node, plan.now)
    x.node = node
    x.found = live
    if x.action == KV_ADD and live:
        x.count = node.version
        return KV_EXISTS
    if x.action == KV_CAS and (node.version if live else 0) != x.arg:
        x.count = node.version if live else 0
        return KV_CONFLICT
    if x.action == KV_INCR and write_sum(x, node if live else NULL) != OK:
        return KV_NOT_NUMBER
    if x.action == KV_EXPIRE:
        return OK
    if x.blob == NULL:                      # a deletion
        if node != NULL:
            plan.delta -= node_size(node) + blob_size(node.value)
        return OK
    plan.delta += blob_size(x.blob)
    if node != NULL:
        plan.delta -= blob_size(node.value)
    elif x.fresh != NULL:
        plan.delta += node_size(x.fresh)
    else:
        plan.lacks = True
    return OK


cdef int write_sum(KvWrite *x, KvNode *node) noexcept nogil:
    """INCR: compute the number, and keep the expiry."""
    cdef double before = x.init
    if node != NULL:
        x.expires = node.expires
        if kv_number(blob_span(node.value), &before) != OK:
            return KV_NOT_NUMBER
    x.number = before + x.by
    if x.number - x.number != 0:
        return KV_NOT_NUMBER
    x.blob.n = <uint32_t>kv_put_number(blob_bytes(x.blob), x.number)
    return OK


cdef int commit_account(KvMem *m, ptrdiff_t delta) noexcept nogil:
    if delta == 0:
        return OK
    if size_add(&m.used, delta) <= m.max or delta < 0:
        return OK
    size_add(&m.used, -delta)
    return KV_FULL


cdef int commit_supply(KvTxn *t) noexcept nogil:
    """Make what the plan lacked: nodes for new keys, and larger tables for their shards."""
    cdef KvMem *m = t.store.mem
    cdef KvWrite *x
    cdef uint32_t i
    cdef uint32_t fresh[KV_SHARDS]
    memset(&fresh[0], 0, sizeof(fresh))
    for i in range(t.nwrites):
        x = &t.writes[i]
        if x.node == NULL and x.blob != NULL:
            fresh[x.key.hash >> 28] += 1
            if x.fresh == NULL:
                x.fresh = node_new(txn_text(t, x.key.text), x.key.hash)
            if x.fresh == NULL:
                return ERR_MEMORY
    for i in range(KV_SHARDS):
        if fresh[i] and shard_enlarge(&m.shards[i], fresh[i]) != OK:
            return ERR_MEMORY
    return OK


cdef int shard_enlarge(KvShard *s, uint32_t extra) noexcept nogil:
    """Make the table larger if it must be, without the lock while it is allocated."""
    cdef uint32_t cap
    cdef bint enough
    cdef KvSlot *slots
    spin_lock(&s.guard)
    enough = shard_has_room(s, extra)
    cap = shard_cap_for(s.n + extra)
    spin_unlock(&s.guard)
    if enough:
        return OK
    slots = <KvSlot *>calloc(cap, sizeof(KvSlot))
    if slots == NULL:
        return ERR_MEMORY
    spin_lock(&s.guard)
    if cap > s.cap and not shard_has_room(s, extra):
        slots = shard_retable(s, slots, cap)
    spin_unlock(&s.guard)
    free(slots)
    return OK


cdef void shard_compact(KvShard *s) noexcept nogil:
    """Make a table smaller that is nearly empty."""
    cdef uint32_t cap
    cdef KvSlot *slots
    spin_lock(&s.guard)
    cap = shard_cap_for(s.n + s.n // 2)
    if s.cap <= 64 or cap * 4 > s.cap:
        spin_unlock(&s.guard)
        return
    spin_unlock(&s.guard)
    slots = <KvSlot *>calloc(cap, sizeof(KvSlot))
    if slots == NULL:
        return
    spin_lock(&s.guard)
    if s.n * 2 <= cap and cap < s.cap:
        slots = shard_retable(s, slots, cap)
    spin_unlock(&s.guard)
    free(slots)


# ---- Applying --------------------------------------------------------------------------------------------

cdef void commit_apply(Worker *w, KvTxn *t, KvPlan *plan) noexcept nogil:
    cdef KvStore *s = t.store
    cdef bint watched = word_peek(&s.watched) != 0
    cdef uint32_t used = <uint32_t>(w.now // KV_USED_UNIT)
    cdef uint32_t i
    if t.nwrites == 0:
        t.version = word64_acquire(&s.version)
        return
    if watched:                     # so that events come in the order of the versions
        spin_lock(&s.watch_guard)
    t.version = version_next(&s.version)
    for i in range(t.nwrites):
        write_apply(s, t, &t.writes[i], used)
        if watched:
            write_publish(s, t, &t.writes[i])
    if watched:
        spin_unlock(&s.watch_guard)


cdef void write_apply(KvStore *s, KvTxn *t, KvWrite *x, uint32_t used) noexcept nogil:
    cdef KvShard *shard = mem_shard(s.mem, x.key.hash)
    cdef KvNode *node = x.node
    cdef KvBlob *old
    if x.action == KV_EXPIRE:
        if x.found:
            node_set_expiry(shard, node, x.expires)
            node.version = t.version
        return
    if x.blob == NULL:
        if node != NULL:
            shard_remove(shard, node)
            x.fresh = node
        return
    if node == NULL:
        node = x.node = x.fresh
        x.fresh = NULL
        shard_insert(shard, node)
    old = node.value
    node.value = x.blob
    x.blob = old
    node.version = t.version
    node.used = used
    node_set_expiry(shard, node, x.expires)


cdef inline void node_set_expiry(KvShard *shard, KvNode *node, uint64_t expires) noexcept nogil:
    word_put(&shard.expiring, shard.expiring + (expires != 0) - (node.expires != 0))
    node.expires = expires


cdef void write_publish(KvStore *s, KvTxn *t, KvWrite *x) noexcept nogil:
    """Tell the watchers; a deletion of what was not there is none."""
    if x.fresh != NULL and x.fresh == x.node:
        if x.found:
            watch_publish(s, txn_text(t, x.key.text), NULL, t.version)
    elif x.node != NULL and (x.action != KV_EXPIRE or x.found):
        watch_publish(s, txn_text(t, x.key.text), x.node.value, t.version)


cdef void commit_release(KvTxn *t) noexcept nogil:
    """Free what is left over: what was replaced or removed, or, after a failure, what was not needed."""
    cdef KvWrite *x
    cdef uint32_t i
    for i in range(t.nwrites):
        x = &t.writes[i]
        blob_release(x.blob)
        x.blob = NULL
        if x.fresh != NULL:
            blob_release(x.fresh.value)
            free(x.fresh)
            x.fresh = NULL


# ---- Deleting many ---------------------------------------------------------------------------------------

cdef int mem_delete_prefix(KvTxn *t) noexcept nogil:
    """Delete the next DELETE_SLICE keys with the prefix, as one commit. scan.more: call again."""
    cdef KvNode *gone[DELETE_SLICE]
    cdef KvStore *s = t.store
    cdef KvMerge g
    cdef KvNode *x
    cdef Span prefix = txn_text(t, t.writes[0].key.text)
    cdef uint64_t now
    cdef size_t n = 0
    t.writes[0].count = 0
    shards_lock(s.mem, ALL_SHARDS)
    now = clock_ms()
    merge_begin(&g, s.mem, prefix, Span(NULL, 0), False)
    while n < DELETE_SLICE:
        x = merge_next(&g, now)
        if x == NULL or x.key_n < prefix.n or memcmp(node_key(x).p, prefix.p, prefix.n) != 0:
            break
        gone[n] = x
        n += 1
    t.scan.more = n == DELETE_SLICE
    t.writes[0].count = n
    if n:
        t.version = nodes_remove(s, &gone[0], n)
    shards_unlock(s.mem, ALL_SHARDS)
    nodes_free(&gone[0], n)
    mem_give_back(s.mem)
    return OK


cdef uint64_t nodes_remove(KvStore *s, KvNode **nodes, size_t n) noexcept nogil:
    """Take keys out as one commit and tell the watchers; their shards are locked. Returns its version."""
    cdef size_t i
    cdef uint64_t version
    cdef bint watched = word_peek(&s.watched) != 0
    if watched:
        spin_lock(&s.watch_guard)
    version = version_next(&s.version)
    for i in range(n):
        shard_remove(mem_shard(s.mem, nodes[i].hash), nodes[i])
        size_add(&s.mem.used, -<ptrdiff_t>(node_size(nodes[i]) + blob_size(nodes[i].value)))
        if watched:
            watch_publish(s, node_key(nodes[i]), NULL, version)
    if watched:
        spin_unlock(&s.watch_guard)
    return version


cdef void nodes_free(KvNode **nodes, size_t n) noexcept nogil:
    cdef size_t i
    for i in range(n):
        blob_release(nodes[i].value)
        free(nodes[i])
