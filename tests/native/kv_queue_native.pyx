# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The queue and the read cache of a store behind the db thread, for Python tests that play both sides."""

from libc.stdlib cimport calloc

include "core.pxd"
include "c/linux.pxd"
include "c/lua.pxd"
include "c/thread.pxd"
include "mem.pxi"
include "turn.pxi"
include "loop.pxi"
include "timer.pxi"
include "inbox.pxi"
include "number.pxi"
include "kv_value.pxi"
include "kv_txn.pxi"
include "kv_shard.pxi"
include "kv_watch.pxi"
include "kv_mem.pxi"
include "kv_commit.pxi"
include "kv_sweep.pxi"
include "kv_lock.pxi"
include "kv_cache.pxi"
include "kv_queue.pxi"
include "kv_batch.pxi"

number_init_gil()


# What the included files expect of the engine and this module does not use.
cdef void coro_wake(Worker *w, Coro *co, int nargs) noexcept nogil:
    pass


cdef void coro_queue(Worker *w, Coro *co) noexcept nogil:
    pass


cdef void coro_soon(Worker *w, Coro *co) noexcept nogil:
    pass


cdef void coro_watch_client(Worker *w, Coro *co) noexcept nogil:
    pass


cdef void worker_command(Worker *w) noexcept nogil:
    pass


cdef void log_z(Worker *w, uint8_t level, const char *message) noexcept nogil:
    pass


cdef tuple found_gil(KvFound *found):
    """(version, expires, value), None for a value that is missing."""
    value = found.value.p[:found.value.n] if found.version else None
    result = found.version, found.expires, value
    found_release(found)
    return result


cdef class Queue:
    """A store with one worker, whose requests are known by the numbers that ask and commit gave."""

    cdef KvStore *store
    cdef Worker *w

    def __cinit__(self, size_t cache):
        self.store = <KvStore *>calloc(1, sizeof(KvStore))
        self.w = <Worker *>calloc(1, sizeof(Worker))
        self.store.server = <Server *>calloc(1, sizeof(Server))
        self.store.backend = &DISK_BACKEND
        self.store.queue = queue_new(cache)

    # ---- The cache

    def get(self, bytes key, bint copy=True):
        """What the cache knows of a key, None if nothing."""
        cdef KvFound found
        cdef char[KV_INLINE] room
        if not cache_get(&store_queue(self.store).cache, kv_hash(bytes_span(key)), bytes_span(key), &found,
                         &room[0] if copy else NULL):
            return None
        return found_gil(&found)

    def fresh(self, bytes key):
        """The same as a worker gets it: what has expired is missing."""
        cdef KvFound found
        cdef char[KV_INLINE] room
        if queued_get(self.w, self.store, bytes_span(key), &found, &room[0]) != OK:
            return None
        return found_gil(&found)

    def put(self, bytes key, bytes value, uint64_t version, uint64_t expires=0):
        if value is None:
            publish_gone(self.store, bytes_span(key), version, False)
        else:
            publish(self.store, bytes_span(key), bytes_span(value), version, expires)

    def forget(self, list keys):
        cdef bytes key
        for key in keys:
            cache_forget(&store_queue(self.store).cache, bytes_span(key))

    def expired(self, list keys, uint64_t version):
        queue_expired_gil(self.store, keys, version)

    def clear(self):
        cache_clear(&store_queue(self.store).cache)

    def measure(self):
        """(entries, bytes) as counted, after a walk that counts both again."""
        cdef KvCache *c = &store_queue(self.store).cache
        cdef size_t n = 0, total = 0, size
        cdef uint32_t linked
        cdef KvEntry *e
        for i in range(KV_CACHE_SHARDS):
            linked = 0
            size = 0
            e = c.shards[i].hand
            while e != NULL:
                linked += 1
                size += e.size
                assert entry_find(&c.shards[i], e.hash, Span(entry_key(e), e.key_n))[0] == e
                e = e.after if e.after != c.shards[i].hand else NULL
            assert linked == c.shards[i].n and size == c.shards[i].bytes
            n += linked
            total += size
        return n, total

    def readers_see_whole_values(self, bytes key, int n):
        """Read `n` times without the GIL while another thread writes: how often the key was known. Every value must be
        one byte, repeated as often as its version says."""
        cdef KvFound found
        cdef char[KV_INLINE] room
        cdef Span name = bytes_span(key)
        cdef int _, known = 0, bad = 0
        cdef size_t k
        with nogil:
            for _ in range(n):
                if not cache_get(&store_queue(self.store).cache, kv_hash(name), name, &found, &room[0]):
                    continue
                known += 1
                bad += found.value.n != found.version
                for k in range(found.value.n):
                    bad += found.value.p[k] != found.value.p[0]
                found_release(&found)
        assert bad == 0
        return known

    # ---- The worker's side

    def read(self, *keys):
        """Ask for keys: the number of the request, or their records if the cache has them all."""
        cdef KvTxn *t = txn_new(self.w, self.store)
        cdef bytes key
        for key in keys:
            txn_ask(t, kv_hash(bytes_span(key)), bytes_span(key), 0)
        t.request = KV_READ
        return self.submit(t)

    def scan(self, bytes start, bytes stop, int limit, bint reverse=False, bint keys_only=False):
        cdef KvTxn *t = txn_new(self.w, self.store)
        txn_put(t, bytes_span(start), &t.scan.start)
        txn_put(t, bytes_span(stop), &t.scan.stop)
        t.scan.limit = limit
        t.scan.reverse = reverse
        t.scan.keys_only = keys_only
        t.request = KV_SCAN if limit else KV_COUNT
        return self.submit(t)

    def commit(self, list writes, object reads=(), bint sync=True):
        """Writes are (action, key, value or None, expires, arg)."""
        cdef KvTxn *t = txn_new(self.w, self.store)
        cdef KvWrite *x
        cdef bytes key
        for key, version in reads:
            txn_read(t, kv_hash(bytes_span(key)), bytes_span(key), version)
        for action, key, value, expires, arg in writes:
            x = txn_write(t, action, bytes_span(key))
            x.expires = expires
            if value is not None:
                x.has_value = 1
                txn_put(t, bytes_span(value), &x.value)
            if action == KV_INCR:
                x.by, x.init = arg
            elif arg is not None:
                x.arg = arg
        t.sync = sync
        t.request = KV_COMMIT
        return self.submit(t)

    cdef object submit(self, KvTxn *t):
        if queued_submit(self.w, t) == OK:
            return self.taken(t)
        return <size_t>t

    cdef object taken(self, KvTxn *t):
        """The answer in a request, which ends."""
        cdef uint32_t i
        items = [(text_bytes(t, t.items[i].key), t.items[i].version, t.items[i].expires,
                  blob_bytes(t.items[i].value)[:t.items[i].value.n] if t.items[i].value != NULL else None)
                 for i in range(t.nitems)]
        writes = [(bool(t.writes[i].found), t.writes[i].number, t.writes[i].count) for i in range(t.nwrites)]
        result = dict(result=t.result, version=t.version, failed=t.failed, error=t.error.p[:t.error.n].decode()
                      if t.error.n else "", items=items, writes=writes, more=bool(t.scan.more), count=t.scan.count)
        txn_free(t)
        return result

    def answers(self):
        """What has come into the worker's inbox: number of the request → its answer."""
        cdef Post *p = <Post *>inbox_take(&self.w.inbox)
        cdef Post *after
        found = {}
        while p != NULL:
            after = p.next
            found[<size_t>p] = self.taken(<KvTxn *>p)
            p = after
        return found

    # ---- The db thread's side

    def gather(self, uint32_t expected):
        with nogil:
            queue_gather(store_queue(self.store), expected)

    def take(self, int ms):
        return queue_take_gil(store_queue(self.store), ms)

    def answer(self, list answers):
        queue_answer_asks_gil(self.store, answers)

    def answer_commits(self, list results):
        queue_answer_commits_gil(self.store, results)
