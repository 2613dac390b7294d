# Keys and values: transactions, stores, watchers. Part of core.pxd, which has the rules.

# ---- Keys and values (kv_txn, kv_mem, kv_lock, kv_watch; lua_kv, lua_kv_value) -----------------------------
# One transaction type for every backend; a single operation is a transaction with one write. What differs is
# KvBackend: memory answers at once, disk and Redis by a Post.
# Values are encoded (lua_kv_value.pxi): a type byte, then the bytes of the string, or MessagePack.
# Versions: one counter per store. Every commit takes the next one for all its writes, in commit order; 0: no such key.

cdef enum:
    KV_LINE = 64                    # keeps the words of two threads apart
    KV_KEY_MAX = 4096               # bytes
    KV_VALUE_MAX = 16777216         # bytes of a value, its type byte not counted
    KV_INLINE = 512                 # a value up to this size is copied for its reader, a longer one is held
    KV_PAGE = 256                   # items that one scan gives at most
    KV_PAGE_BYTES = 1048576         # ... and bytes of values; at least one item

# What a write does. All but the first two have a condition or need the old value.
cdef enum KvAction:
    KV_SET
    KV_DELETE
    KV_ADD                  # only if the key is missing, else KV_EXISTS
    KV_CAS                  # only if the key has the version `arg`, else KV_CONFLICT; without a value: delete
    KV_INCR                 # number = (number, or init if the key is missing) + by; KV_NOT_NUMBER. Its expiry stays
    KV_EXPIRE               # set `expires`, keep the value; a missing key is no failure (found = 0)
    KV_DELETE_PREFIX        # `key` is the prefix, possibly empty. A commit of its own; it may do a part of the work
    #                         only (scan.more) and count what it deleted

# How a commit ended: OK, ERR_MEMORY, or one of these. In all but OK nothing was changed.
cdef enum KvResult:
    KV_CONFLICT = 1         # something that was read has changed, or CAS failed
    KV_EXISTS               # ADD
    KV_NOT_NUMBER           # INCR of something else, or the sum is not finite
    KV_FULL                 # the store's limit
    KV_FAILED               # KvTxn.error says why

# What is asked of a backend (KvBackend.submit).
cdef enum KvRequest:
    KV_READ                 # keys reads[asked ...] -> items, one each, in order
    KV_SCAN                 # `scan` -> items
    KV_COUNT                # `scan` (no limit) -> scan.count
    KV_COMMIT               # reads, ranges, writes -> result, version, each write's result

# Immutable bytes with a count of their holders; the bytes follow the struct.
ctypedef struct KvBlob:
    uint32_t refs           # shared
    uint32_t n

# One key as it was read.
ctypedef struct KvFound:
    uint64_t version        # 0: missing; KV_OWN: written by this transaction, not committed
    uint64_t expires        # ms of the store's clock; 0: never
    Span value              # encoded; in `blob` or in the room that the reader gave
    KvBlob *blob            # held for the reader, who gives it back; NULL: none

# A place in KvTxn.arena, which may move.
ctypedef struct KvText:
    size_t at
    size_t n

# Keys of reads and writes are found again by their hash (KvIndex); so it is their first member.
ctypedef struct KvKey:
    uint32_t hash
    KvText text

ctypedef struct KvRead:
    KvKey key
    uint64_t version        # that was seen; 0: missing
    uint64_t expires
    KvBlob *value           # held, for queued backends: what the fn of a transaction saw stays as it was
    uint8_t known           # `value` and `expires` are filled in (value NULL: missing)

# A page of a scan. The same scan must give the same keys at the same versions when the transaction commits: no key may
# have appeared, vanished or changed in between.
ctypedef struct KvRange:
    KvText start            # start <= key < stop
    KvText stop             # n = 0: no end
    uint32_t limit
    uint8_t reverse
    uint64_t digest         # see kv_digest: the CRC-32 of keys and versions in order << 32 | their number
    uint64_t version        # of the store when it was seen, 0: not known. If it is still that, nothing has changed

ctypedef struct KvWrite:
    KvKey key
    KvText value            # encoded
    uint64_t expires        # ms of the store's clock; 0: never
    uint64_t arg            # CAS: version
    double by               # INCR
    double init
    uint8_t action          # KvAction
    uint8_t has_value
    uint8_t found           # result: the key was there before
    double number           # result of INCR
    uint64_t count          # result of DELETE_PREFIX; CAS, ADD that failed: the version that is there
    KvNode *node            # the memory store's own, while it commits: the key that is there
    KvNode *fresh           # ... one to put there; afterwards one to free
    KvBlob *blob            # ... the new value; afterwards the old one

# One key of a KV_READ or KV_SCAN answer.
ctypedef struct KvItem:
    KvText key              # in the arena
    uint64_t version        # 0: missing (KV_READ only)
    uint64_t expires
    KvBlob *value           # held by the transaction until kv_items_clear; NULL with keys_only

ctypedef struct KvScan:
    KvText start            # start <= key < stop
    KvText stop             # n = 0: no end
    uint32_t limit          # items, at most KV_PAGE
    uint8_t reverse         # from stop downwards
    uint8_t keys_only
    uint8_t more            # result: the page ended at its limit
    uint64_t count          # result of KV_COUNT
    uint64_t version        # result: of the store when the page was made; 0: not known

ctypedef struct KvIndex:
    uint32_t *slots         # 1 + position; 0: free
    uint32_t cap            # a power of two, 0: not needed yet

# Where a transaction stands with the serial lock. Shared, atomic.
cdef enum KvLockState:
    KV_UNLOCKED
    KV_WAITING
    KV_HELD
    KV_COMMITTING           # held, and can not be broken any more
    KV_LATE                 # taken away: it was held for too long
    KV_LEFT                 # ... the client has left

# What a transaction's userdata holds.
ctypedef struct KvHandle:
    KvTxn *txn              # NULL: ended

# A transaction, or one request that is not part of any. Belongs to its worker, and while a backend has it (op.begun)
# to that backend. All its bytes are in `arena`.
ctypedef struct KvTxn:
    Op op                   # how a queued backend answers: worker_post(worker, &op.post)
    KvStore *store
    Worker *worker
    KvTxn *outer            # Coro.txns, Worker.kv_spare
    Coro *owner             # whose transaction it is, in its Coro.txns; NULL: a single request, or ended
    KvHandle *handle        # through which Lua reaches it
    Buf arena
    KvRead *reads
    uint32_t nreads
    uint32_t reads_cap
    uint32_t asked          # KV_READ: the first read that wants an answer
    KvRange *ranges
    uint32_t nranges
    uint32_t ranges_cap
    KvWrite *writes
    uint32_t nwrites
    uint32_t writes_cap
    KvItem *items
    uint32_t nitems
    uint32_t items_cap
    KvIndex read_index
    KvIndex write_index
    KvScan scan
    uint8_t request         # KvRequest
    uint8_t sync            # wait until it is durable
    uint8_t serial          # it holds or wants the serial lock
    uint8_t keep            # rather fail than evict
    uint8_t single          # one request, given back when its answer was pushed
    uint32_t waits          # Coro.waits when it began: a fn that yielded retires its handle
    int result              # of the last request: OK, KvResult, ERR_*
    uint32_t failed         # the write (position) whose condition failed
    uint64_t version        # that its commit got
    Buf error               # KV_FAILED
    int lock                # KvLockState; shared
    KvTxn *lock_next        # KvLock: who waits behind
    KvTxn *lock_prev
    uint64_t held_since     # clock_coarse_ms when it got the lock
    Timer lock_timer        # while it waits
    void *backend           # a queued backend's own

# The functions of one kind of store.
ctypedef struct KvBackend:
    const char *name
    uint8_t queued          # requests may be answered later
    int (*get)(Worker *w, KvStore *s, Span key, KvFound *found, char *room) noexcept nogil
    #       OK: found (or version 0). PENDING: ask with KV_READ. `room` has KV_INLINE bytes
    int (*submit)(Worker *w, KvTxn *t) noexcept nogil
    #       OK: t.result and the answer are there. PENDING: they come with the post
    uint64_t (*clock)(KvStore *s) noexcept nogil
    #       ms, the clock of all `expires` of this store

# The serial lock: first come, first served, across workers.
ctypedef struct KvLock:
    uint32_t guard          # shared: a spin lock around the rest, held for a few instructions
    KvTxn *holder
    KvTxn *first            # who waits
    KvTxn *last
    char gap[KV_LINE]

# ---- the memory store (kv_mem.pxi, kv_shard.pxi)

cdef enum:
    KV_SHARDS = 16
    KV_HEIGHT = 12          # levels of a shard's skip list: 4^12 keys
    KV_USED_UNIT = 16       # ms: how exactly eviction knows when a key was used

# A key: `height` pointers, then its bytes, follow the struct. Its address stays while the key exists.
ctypedef struct KvNode:
    KvBlob *value
    uint64_t version
    uint64_t expires        # ms of the store's clock; 0: never
    KvNode *prev            # the next smaller key of the shard
    uint32_t hash
    uint32_t used           # when it was read or written last: the store's clock / KV_USED_UNIT
    uint16_t key_n
    uint8_t height
    KvNode *next[1]

ctypedef struct KvSlot:
    uint32_t hash
    KvNode *node            # NULL: free

# Keys by their hash: a table with linear probing, and a skip list in bytewise order.
ctypedef struct KvShard:
    uint32_t guard          # shared: a spin lock around the rest
    uint32_t n
    KvSlot *slots
    uint32_t cap            # a power of two
    uint32_t expiring       # keys with an expiry
    uint32_t sweep          # slots that were looked at: the sweep goes on here
    uint32_t clock          # the same for eviction
    KvNode *last            # the greatest key
    KvNode *heads[KV_HEIGHT]
    char gap[KV_LINE]

ctypedef struct KvMem:
    KvShard shards[KV_SHARDS]
    size_t max              # bytes
    uint8_t evict
    uint8_t lazy            # expired keys stay until their room is needed
    char gap[KV_LINE]
    size_t used             # shared, atomic
    size_t purged           # ms: when the store was full and no expired keys were found
    size_t trimmed          # `used` when memory was given back last, or more since
    uint32_t sweeping       # shared: worker 0 sweeps, or was asked to
    uint32_t evict_at       # shared: shard where eviction goes on
    Post sweep_post
    Timer sweep_timer
    uint32_t sweep_shard

# ---- watching (kv_watch.pxi)

cdef enum:
    KV_EVENTS_MAX = 1024    # events that wait for one watcher
    KV_EVENTS_BYTES = 1048576

# A change; the key's bytes follow the struct.
ctypedef struct KvEvent:
    KvEvent *next
    uint64_t version
    KvBlob *value           # NULL: deleted
    uint32_t key_n

# Who wants to know of changes: a coroutine of one state. In KvStore.watchers; its queue is guarded like that list.
ctypedef struct KvWatcher:
    Op op                   # its coroutine waits for an event
    KvStore *store
    Worker *worker
    KvWatcher *next
    KvWatcher *prev
    Buf patterns            # one prefix, or keys each behind its length (uint32)
    State *state            # whose coroutine it wakes
    uint8_t prefix
    uint8_t waiting         # its coroutine sleeps and no post is on its way
    uint8_t lost            # events did not fit
    uint8_t listed
    uint8_t stopped
    uint8_t asleep          # its coroutine is counted in State.watching
    uint8_t dead            # Lua has collected it: free it when the post has come
    uint32_t nevents
    size_t bytes
    KvEvent *first
    KvEvent *last

# A store; belongs to the server and outlives every Lua state. `backend` is what its files know.
ctypedef struct KvStore:
    const KvBackend *backend
    Server *server
    KvStore *next           # Server.shared
    Buf name                # of a shared dictionary
    KvMem *mem              # the memory store's shards
    void *queue             # a queued backend's own
    char gap[KV_LINE]
    uint64_t version        # shared: of the newest commit
    char gap2[KV_LINE]
    KvLock serial
    uint32_t watched        # shared: watchers. Read by every commit
    uint32_t watch_guard    # shared: a spin lock around `watchers` and their queues
    KvWatcher *watchers


# ---- stores behind the db thread (kv_cache.pxi, kv_queue.pxi, kv_batch.pxi)

cdef enum:
    KV_CACHE_SHARDS = 16
    KV_CACHE_SHARE = 4      # an entry may take a shard's memory divided by this
    KV_GROUP_MAX = 4096     # requests that the db thread takes at once
    KV_GROUP_BYTES = 4194304    # ... and bytes of their keys and values; at least one request
    KV_PREFIX_STEP = 2000       # keys that one DELETE_PREFIX deletes, so that others need not wait for long

# What is known of a key, also that it is missing. The key's bytes follow the struct.
ctypedef struct KvEntry:
    KvEntry *next           # in its bucket
    KvEntry *before         # in the ring of its shard
    KvEntry *after
    KvBlob *value           # NULL: the key is missing
    uint64_t version        # 0: missing
    uint64_t expires        # ms of the store's clock; 0: never
    size_t size             # bytes it counts for
    uint32_t hash
    uint16_t key_n
    uint8_t used            # it was read since the hand came by

ctypedef struct KvCacheShard:
    uint32_t guard          # shared: a spin lock around the rest
    uint32_t n
    uint32_t cap            # buckets, a power of two
    KvEntry **buckets
    KvEntry *hand           # where eviction goes on; the ring's only handle
    size_t bytes
    char gap[KV_LINE]

# Read by the workers, written by the db thread alone, which sees every change in the order of the commits: so an entry
# never goes back to an older version.
ctypedef struct KvCache:
    size_t shard_max        # bytes; 0: nothing is kept
    KvCacheShard shards[KV_CACHE_SHARDS]

# What a queued store has of its own. Made when an application first asks for the store, never freed.
ctypedef struct KvQueue:
    KvCache cache
    KvTxn **asks            # the db thread's: taken and not answered, but for commits
    uint32_t nasks
    uint32_t asks_cap
    KvTxn **commits
    uint32_t ncommits
    uint32_t commits_cap
    Post *rest              # taken, for the next group
    bint shared             # others write to the store, too: watchers are told by kv_hear, of all commits
    char gap[KV_LINE]
    Post *head              # shared: requests, the newest first
    uint32_t sleeping       # shared, a futex: the db thread waits
    uint32_t woken          # shared: it is to look at something else than requests
    uint32_t wanted         # shared: an application has asked for the store
