# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The memory store, the codec of its values and ULIDs for Python tests. Inputs end at an unmapped page."""

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
include "ulid.pxi"
include "lua_kv_value.pxi"
include "guard.pxi"

import lupa.luajit21

number_init_gil()
crc_init()
cdef const char *_missing = lua_api_bind(lupa.luajit21.__file__.encode())
if _missing != NULL:
    raise ImportError(f"LuaJIT: {_missing.decode()} is missing")

ACTIONS = {"set": KV_SET, "delete": KV_DELETE, "add": KV_ADD, "cas": KV_CAS, "incr": KV_INCR, "expire": KV_EXPIRE}
RESULTS = {OK: "ok", KV_CONFLICT: "conflict", KV_EXISTS: "exists", KV_NOT_NUMBER: "number", KV_FULL: "full"}


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


cdef Span span_of(bytes b):
    return Span(<const char *>b, len(b))


def now():
    """The store's clock."""
    return clock_ms()


cdef class Store:
    """A memory store with one worker that is nobody's."""

    cdef Server g
    cdef Worker *w
    cdef KvStore *s

    def __cinit__(self, size_t max=1 << 30, bint evict=False):
        self.w = <Worker *>calloc(1, sizeof(Worker))
        self.w.server = &self.g
        self.w.wake.fd = -1
        self.g.workers = self.w
        self.g.kv_memory = self.s = mem_new(&self.g, max, evict)

    def __dealloc__(self):
        txns_destroy(self.w)
        mem_free(self.s)
        free(self.w)

    def tick(self, uint64_t ms):
        """The worker's clock, which eviction goes by."""
        self.w.now = ms

    def get(self, bytes key):
        """(version, value, expires), or None."""
        cdef char room[KV_INLINE]
        cdef KvFound f
        mem_get(self.w, self.s, guarded(key), &f, room)
        if f.version == 0:
            return None
        value = f.value.p[:f.value.n]
        found_release(&f)
        return f.version, value, f.expires

    def commit(self, reads=(), ranges=(), writes=()):
        """reads: (key, version); ranges: (start, stop, limit, reverse, digest); writes: dictionaries with action, key
        and what else it needs. Returns (result, version, position that failed, outcomes)."""
        cdef KvTxn *t = txn_new(self.w, self.s)
        cdef KvRange *r
        for key, version in reads:
            assert txn_ask(t, kv_hash(span_of(key)), span_of(key), version) == OK
        for start, stop, limit, reverse, digest in ranges:
            t.ranges = <KvRange *>list_grow(t.ranges, &t.ranges_cap, t.nranges, sizeof(KvRange))
            r = &t.ranges[t.nranges]
            t.nranges += 1
            assert txn_put(t, span_of(start), &r.start) == OK and txn_put(t, span_of(stop), &r.stop) == OK
            r.limit, r.reverse, r.digest, r.version = limit, reverse, digest, 0
        for write in writes:
            self.put(t, write)
        t.request = KV_COMMIT
        with nogil:
            mem_submit(self.w, t)
        outcomes = [(t.writes[i].found, t.writes[i].number, t.writes[i].count) for i in range(t.nwrites)]
        answer = RESULTS[t.result], t.version, t.failed, outcomes
        txn_free(t)
        return answer

    cdef put(self, KvTxn *t, dict write):
        cdef KvWrite *x = txn_write(t, ACTIONS[write["action"]], span_of(write["key"]))
        x.expires, x.arg = write.get("expires", 0), write.get("arg", 0)
        x.by, x.init = write.get("by", 0), write.get("init", 0)
        if write.get("value") is not None:
            x.has_value = 1
            assert txn_put(t, span_of(write["value"]), &x.value) == OK

    def scan(self, bytes start=b"", bytes stop=b"", uint32_t limit=KV_PAGE, bint reverse=False, bint keys_only=False):
        """(items (key, version, value), whether there may be more, digest)"""
        cdef KvTxn *t = txn_new(self.w, self.s)
        t.request = KV_SCAN
        assert txn_put(t, span_of(start), &t.scan.start) == OK and txn_put(t, span_of(stop), &t.scan.stop) == OK
        t.scan.limit, t.scan.reverse, t.scan.keys_only = limit, reverse, keys_only
        mem_submit(self.w, t)
        assert t.result == OK and txn_range(t) == OK
        items = []
        for i in range(t.nitems):
            value = t.items[i].value
            items.append((self.text(t, t.items[i].key), t.items[i].version,
                          blob_bytes(t.items[i].value)[:t.items[i].value.n] if value != NULL else None))
        answer = items, bool(t.scan.more), t.ranges[0].digest
        txn_free(t)
        return answer

    cdef bytes text(self, KvTxn *t, KvText text):
        cdef Span s = txn_text(t, text)
        return s.p[:s.n]

    def count(self, bytes start=b"", bytes stop=b""):
        cdef KvTxn *t = txn_new(self.w, self.s)
        t.request = KV_COUNT
        assert txn_put(t, span_of(start), &t.scan.start) == OK and txn_put(t, span_of(stop), &t.scan.stop) == OK
        mem_submit(self.w, t)
        n = t.scan.count
        txn_free(t)
        return n

    def delete_prefix(self, bytes prefix):
        """Returns the number of keys that one step deleted, and whether there may be more."""
        cdef KvTxn *t = txn_new(self.w, self.s)
        t.request = KV_COMMIT
        txn_write(t, KV_DELETE_PREFIX, span_of(prefix))
        mem_submit(self.w, t)
        answer = t.writes[0].count, bool(t.scan.more)
        txn_free(t)
        return answer

    def sweep(self):
        mem_sweep(self.s, <uint64_t>-1)

    def used(self):
        return self.s.mem.used

    def keys(self):
        """How many there are, expired ones included."""
        return sum(self.s.mem.shards[i].n for i in range(KV_SHARDS))

    def slots(self):
        return sum(self.s.mem.shards[i].cap for i in range(KV_SHARDS))

    def check(self):
        """Every invariant of the shards, and the size of the store."""
        total = 0
        for i in range(KV_SHARDS):
            total += self.check_shard(&self.s.mem.shards[i])
        assert total == self.s.mem.used, (total, self.s.mem.used)

    cdef size_t check_shard(self, KvShard *s) except? 0:
        cdef KvNode *x = s.heads[0]
        cdef KvNode *before = NULL
        cdef size_t size = 0
        cdef uint32_t n = 0, expiring = 0, slots = 0, i, level
        while x != NULL:
            assert x.prev == before
            assert before == NULL or span_compare(node_key(before), node_key(x)) < 0
            assert shard_find(s, x.hash, node_key(x)) == x and x.hash == kv_hash(node_key(x))
            size += node_size(x) + blob_size(x.value)
            expiring += x.expires != 0
            n += 1
            before, x = x, x.next[0]
        for level in range(1, KV_HEIGHT):
            x = s.heads[level]
            while x != NULL:
                assert x.height > level
                assert x.next[level] == NULL or span_compare(node_key(x), node_key(x.next[level])) < 0
                x = x.next[level]
        for i in range(s.cap):
            slots += s.slots[i].node != NULL
        assert s.last == before and n == s.n == slots and expiring == s.expiring and shard_has_room(s, 0)
        return size

    def transfer(self, int thread, int rounds, int accounts):
        """Move random amounts between accounts by transactions that check what they read, as fast as possible.
        Returns the conflicts."""
        cdef Worker *w = <Worker *>calloc(1, sizeof(Worker))
        cdef uint64_t seed = 88172645463325252 + thread
        cdef int _, conflicts = 0
        w.server = &self.g
        with nogil:
            for _ in range(rounds):
                while transfer_one(w, self.s, &seed, accounts) != OK:
                    conflicts += 1
            txns_destroy(w)
        free(w)
        return conflicts


cdef int transfer_one(Worker *w, KvStore *s, uint64_t *seed, int accounts) noexcept nogil:
    """One transaction over two accounts, or (one of 16) a sum of all that must be 0 when it can be committed."""
    cdef KvTxn *t = txn_new(w, s)
    cdef char key[2][2]
    cdef char room[KV_INLINE]
    cdef char number[KV_NUMBER_SIZE]
    cdef double v
    cdef double sum = 0
    cdef KvFound f
    cdef KvWrite *x
    cdef int i, rc
    cdef int n = 2
    seed[0] ^= seed[0] << 13
    seed[0] ^= seed[0] >> 7
    seed[0] ^= seed[0] << 17
    if seed[0] % 16 == 0:
        n = accounts
    for i in range(n):
        key[i & 1][0] = c'k'
        key[i & 1][1] = <char>(i if n > 2 else <int>(seed[0] >> (8 + 8 * i)) % (accounts // 2) * 2 + i)
        mem_get(w, s, Span(&key[i & 1][0], 2), &f, room)
        v = 0
        if f.version:
            kv_number(f.value, &v)
        sum += v
        txn_read(t, kv_hash(Span(&key[i & 1][0], 2)), Span(&key[i & 1][0], 2), f.version)
        if n == 2:
            x = txn_overwrite(t, KV_SET, Span(&key[i & 1][0], 2))
            x.has_value = 1
            txn_put(t, Span(&number[0], kv_put_number(number, v + 1 - 2 * i)), &x.value)
    t.request = KV_COMMIT
    mem_submit(w, t)
    rc = t.result
    txn_free(t)
    if rc == OK and n > 2 and sum != 0:
        return ERR_SYSTEM               # for ever: the test times out
    return rc


class LuaError(Exception):
    """A Lua error, or a value that can not be encoded or decoded."""


cdef class Lua:
    """A Lua state that encodes and decodes."""

    cdef lua_State *L

    def __cinit__(self):
        self.L = luaL_newstate()
        luaL_openlibs(self.L)

    def __dealloc__(self):
        lua_close(self.L)

    cdef bytes top(self):
        cdef size_t n
        cdef const char *p = lua_tolstring(self.L, -1, &n)
        return p[:n] if p != NULL else b""

    def encode(self, bytes code):
        """The encoded value of a Lua expression."""
        cdef Buf b
        memset(&b, 0, sizeof(b))
        text = b"return " + code
        try:
            if luaL_loadbuffer(self.L, text, len(text), b"=test") != OK or lua_pcall(self.L, 0, 1, 0) != OK:
                raise RuntimeError(self.top())
            before = lua_gettop(self.L)
            if kv_encode(self.L, 1, &b) != OK:
                assert b.n == 0 and lua_gettop(self.L) == before + 1
                raise LuaError(self.top().decode())
            assert lua_gettop(self.L) == before
            return b.p[:b.n]
        finally:
            lua_settop(self.L, 0)
            buf_free(&b)

    def recode(self, bytes value):
        """Decode a value that ends at an unmapped page, and encode what came of it again."""
        cdef Buf b
        memset(&b, 0, sizeof(b))
        try:
            if kv_decode(self.L, guarded(value)) != OK:
                assert lua_gettop(self.L) == 1
                raise LuaError(self.top().decode())
            assert lua_gettop(self.L) == 1
            if lua_type(self.L, 1) == LUA_TNIL:
                return None
            if kv_encode(self.L, 1, &b) != OK:
                raise RuntimeError(self.top())
            return b.p[:b.n]
        finally:
            lua_settop(self.L, 0)
            buf_free(&b)

    def equal(self, bytes value, bytes code):
        """Whether a Lua function that is given the decoded value returns true."""
        text = b"return (" + code + b")(...)"
        try:
            if luaL_loadbuffer(self.L, text, len(text), b"=test") != OK:
                raise RuntimeError(self.top())
            if kv_decode(self.L, guarded(value)) != OK:
                raise LuaError(self.top().decode())
            if lua_pcall(self.L, 1, 1, 0) != OK:
                raise RuntimeError(self.top())
            return bool(lua_toboolean(self.L, -1))
        finally:
            lua_settop(self.L, 0)


def number(bytes value):
    """The number that an encoded value is, or None."""
    cdef double v
    return v if kv_number(guarded(value), &v) == OK else None


def number_value(double v):
    cdef char out[KV_NUMBER_SIZE]
    return out[:kv_put_number(out, v)]


def digest(items):
    """Of pairs (key, version)."""
    cdef uint32_t sum = 0
    for key, version in items:
        sum = kv_digest(sum, guarded(key), version)
    return <uint64_t>sum << 32 | <uint64_t>len(items)


cdef class Ulids:
    cdef Ulid last

    def next(self, uint64_t ms, uint64_t high, uint64_t low):
        cdef char out[ULID_SIZE]
        ulid_next(&self.last, ms, high, low, out)
        return out[:ULID_SIZE].decode()
