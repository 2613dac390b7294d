# One shard of the memory store: keys by their hash (open addressing, linear probing) and in bytewise order (a skip
# list through the same nodes). The order is touched only when a key appears or vanishes; a new value is a pointer.
# Nothing here locks or allocates: the caller holds the shard's guard, and brings nodes and larger tables with him.
# Invariants:
#   - a node is in the table and in the list, or in neither;
#   - the table is at most three quarters full, so a probe ends;
#   - prev is the inverse of next[0], and `last` ends the list.

cdef inline Span node_key(KvNode *x) noexcept nogil:
    return Span(<char *>x + sizeof(KvNode) + (x.height - 1) * sizeof(KvNode *), x.key_n)


cdef inline size_t node_size(KvNode *x) noexcept nogil:
    """What a key costs without its value: the node, its slots in the table, what malloc adds."""
    return sizeof(KvNode) + x.height * sizeof(KvNode *) + x.key_n + 3 * sizeof(KvSlot)


cdef inline size_t blob_size(KvBlob *b) noexcept nogil:
    return sizeof(KvBlob) + b.n + 16


cdef KvNode *node_new(Span key, uint32_t hash) noexcept nogil:
    """A node that is nowhere yet; NULL: out of memory."""
    cdef uint8_t height = node_height(hash)
    cdef KvNode *x = <KvNode *>malloc(sizeof(KvNode) + (height - 1) * sizeof(KvNode *) + key.n)
    if x == NULL:
        return NULL
    x.value = NULL
    x.version = x.expires = 0
    x.hash = hash
    x.used = 0
    x.key_n = <uint16_t>key.n
    x.height = height
    memcpy(<char *>node_key(x).p, key.p, key.n)
    return x


cdef uint8_t node_height(uint32_t hash) noexcept nogil:
    """1, and one more with a chance of 1/4 each. The seed of the hash makes it unpredictable."""
    cdef uint64_t v = kv_mix(hash, 0x2545F4914F6CDD1Du)
    cdef uint8_t height = 1
    while height < KV_HEIGHT and v & 3 == 0:
        height += 1
        v >>= 2
    return height


# ---- By hash ---------------------------------------------------------------------------------------------

cdef inline KvNode *shard_find(KvShard *s, uint32_t hash, Span key) noexcept nogil:
    """The node of a key, expired or not; NULL: there is none."""
    cdef uint32_t mask = s.cap - 1
    cdef uint32_t i = hash & mask
    cdef KvNode *x
    if unlikely(s.cap == 0):
        return NULL
    while s.slots[i].node != NULL:
        if s.slots[i].hash == hash:
            x = s.slots[i].node
            if x.key_n == key.n and memcmp(node_key(x).p, key.p, key.n) == 0:
                return x
        i = (i + 1) & mask
    return NULL


cdef inline bint shard_has_room(KvShard *s, uint32_t extra) noexcept nogil:
    return (<uint64_t>s.n + extra) * 4 <= <uint64_t>s.cap * 3


cdef uint32_t shard_cap_for(uint32_t n) noexcept nogil:
    """The table for `n` keys: half full."""
    cdef uint32_t cap = 16
    while cap < 2 * n and cap < <uint32_t>1 << 31:
        cap *= 2
    return cap


cdef void slot_put(KvSlot *slots, uint32_t mask, KvNode *x) noexcept nogil:
    cdef uint32_t i = x.hash & mask
    while slots[i].node != NULL:
        i = (i + 1) & mask
    slots[i].hash = x.hash
    slots[i].node = x


cdef KvSlot *shard_retable(KvShard *s, KvSlot *slots, uint32_t cap) noexcept nogil:
    """Move to a zeroed table of `cap` slots, enough for all keys; returns the old one."""
    cdef KvSlot *old = s.slots
    cdef uint32_t i
    for i in range(s.cap):
        if old[i].node != NULL:
            slot_put(slots, cap - 1, old[i].node)
    s.slots = slots
    word_put(&s.cap, cap)
    s.sweep = s.clock = 0
    return old


cdef void shard_unslot(KvShard *s, KvNode *x) noexcept nogil:
    """Close the gap: every key behind it that may move nearer to its place does."""
    cdef uint32_t mask = s.cap - 1
    cdef uint32_t i = x.hash & mask
    cdef uint32_t k
    while s.slots[i].node != x:
        i = (i + 1) & mask
    k = i
    while True:
        k = (k + 1) & mask
        if s.slots[k].node == NULL:
            break
        if ((k - s.slots[k].hash) & mask) >= ((k - i) & mask):
            s.slots[i] = s.slots[k]
            i = k
    s.slots[i].node = NULL


# ---- In order --------------------------------------------------------------------------------------------

cdef inline KvNode *list_next(KvShard *s, KvNode *x, int level) noexcept nogil:
    """Behind `x`, or the first one for NULL."""
    return s.heads[level] if x == NULL else x.next[level]


cdef KvNode *shard_before(KvShard *s, Span key, KvNode **path) noexcept nogil:
    """The last node whose key is smaller, NULL if there is none. `path`, if given: the same on every level."""
    cdef KvNode *x = NULL
    cdef KvNode *y
    cdef int level = KV_HEIGHT
    while level > 0:
        level -= 1
        y = list_next(s, x, level)
        while y != NULL and span_compare(node_key(y), key) < 0:
            x = y
            y = y.next[level]
        if path != NULL:
            path[level] = x
    return x


cdef inline KvNode *shard_first(KvShard *s, Span start) noexcept nogil:
    """The smallest key that is not below `start`; NULL: none."""
    return list_next(s, shard_before(s, start, NULL) if start.n else NULL, 0)


cdef inline KvNode *shard_last(KvShard *s, Span stop) noexcept nogil:
    """The greatest key below `stop`, which is no limit if empty; NULL: none."""
    return shard_before(s, stop, NULL) if stop.n else s.last


cdef void shard_insert(KvShard *s, KvNode *x) noexcept nogil:
    """A key that is not there. The table has room."""
    cdef KvNode *path[KV_HEIGHT]
    cdef int level
    slot_put(s.slots, s.cap - 1, x)
    s.n += 1
    x.prev = shard_before(s, node_key(x), &path[0])
    for level in range(x.height):
        if path[level] == NULL:
            x.next[level] = s.heads[level]
            s.heads[level] = x
        else:
            x.next[level] = path[level].next[level]
            path[level].next[level] = x
    if x.next[0] != NULL:
        x.next[0].prev = x
    else:
        s.last = x


cdef void shard_remove(KvShard *s, KvNode *x) noexcept nogil:
    """Take a key out; the node is the caller's then."""
    cdef KvNode *path[KV_HEIGHT]
    cdef int level
    shard_unslot(s, x)
    s.n -= 1
    word_put(&s.expiring, s.expiring - (x.expires != 0))
    shard_before(s, node_key(x), &path[0])
    for level in range(x.height):
        if path[level] == NULL:
            s.heads[level] = x.next[level]
        else:
            path[level].next[level] = x.next[level]
    if x.next[0] != NULL:
        x.next[0].prev = x.prev
    else:
        s.last = x.prev
