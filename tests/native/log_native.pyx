# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The logger for Python tests. A producer is any thread; it runs without the GIL, as a worker does."""

include "c/lua.pxd"
include "core.pxd"
include "c/linux.pxd"
include "c/thread.pxd"
include "c/file.pxd"
include "mem.pxi"
include "number.pxi"
include "lua_json.pxi"
include "log_line.pxi"
include "log.pxi"
include "lua_log.pxi"
include "guard.pxi"

import lupa.luajit21

number_init_gil()
cdef const char *_missing = lua_api_bind(lupa.luajit21.__file__.encode())
if _missing != NULL:
    raise ImportError(f"LuaJIT: {_missing.decode()} is missing")

LEVELS = {"debug": LEVEL_DEBUG, "info": LEVEL_INFO, "warn": LEVEL_WARN, "error": LEVEL_ERROR, "off": LEVEL_OFF}
FORMATS = {
    "json": FORMAT_JSON,
    "console": FORMAT_CONSOLE,
    "plain": FORMAT_CONSOLE_PLAIN,
    "color": FORMAT_CONSOLE_COLOR,
}
RING_SIZE = LOG_RING_SIZE
LINE_MAX = LOG_LINE_MAX


cdef Span span_of(bytes b):
    return Span(<const char *>b, len(b))


cdef class Log:
    """A logger with `rings` rings. A logger that stop() left behind keeps its memory, as the thread needs it."""

    cdef Logger *g
    cdef int stopped

    def __cinit__(self, int fd, int rings=1, level="debug", format="json"):
        self.g = <Logger *>malloc(sizeof(Logger))
        if logger_start(self.g, rings, fd, LEVELS[level], FORMATS[format]) != OK:
            raise OSError("logger_start")
        self.stopped = PENDING

    def stop(self, int timeout_ms=2000):
        """Whether the log thread ended."""
        if self.stopped != OK:
            with nogil:
                self.stopped = logger_stop(self.g, timeout_ms)
        return self.stopped == OK

    def __dealloc__(self):
        if self.stopped != OK:
            with nogil:
                self.stopped = logger_stop(self.g, 0)
        if self.stopped == OK:
            logger_free(self.g)
            free(self.g)

    def access(self, bytes method, bytes path, int status=200, uint64_t wall_ms=0, uint64_t took_ns=0,
               uint64_t sent=0, bytes address=bytes(16), int ring=0):
        log_access(logger_ring(self.g, ring), wall_ms, status, span_of(method), span_of(path), took_ns, sent,
                   <const uint8_t *><const char *>address)

    def message(self, level, bytes text, fields=(), int ring=0):
        """`fields`: pairs of a key and JSON text, both bytes."""
        cdef LogField list_[64]
        cdef int n = 0
        for key, value in fields:
            list_[n].key = span_of(key)
            list_[n].value = span_of(value)
            n += 1
        log_message(logger_ring(self.g, ring), LEVELS[level], span_of(text), list_, n)

    def enabled(self, level):
        return bool(log_enabled(logger_ring(self.g, 0), LEVELS[level]))

    def flood(self, bytes path, uint64_t first, uint64_t n, int ring=0):
        """Log n requests that took first, first + 1, ... ms. Returns ns for all of them."""
        cdef LogRing *r = logger_ring(self.g, ring)
        cdef Span p = span_of(path)
        cdef Span method = Span(b"GET", 3)
        cdef uint8_t address[16]
        cdef uint64_t i, wall_ms = 1700000000000
        cdef timespec start, end
        memset(address, 0, 10)
        memset(address + 10, 0xff, 2)
        memset(address + 12, 127, 4)
        with nogil:
            clock_gettime(CLOCK_MONOTONIC, &start)
            for i in range(first, first + n):
                log_access(r, wall_ms + i // 100, 200, method, p, i * 1000000, 17, address)
            clock_gettime(CLOCK_MONOTONIC, &end)
        return (end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec

    @property
    def dropped(self):
        cdef uint32_t i
        return sum(word64_acquire(&self.g.rings[i].dropped) for i in range(self.g.nrings))

    @property
    def waiting(self):
        """Bytes that the log thread has not written yet."""
        cdef uint32_t i
        return sum(
            word64_acquire(&self.g.rings[i].head) - word64_acquire(&self.g.rings[i].tail)
            for i in range(self.g.nrings)
        )

    @property
    def asleep(self):
        return word_acquire(&self.g.state) == LOG_ASLEEP


cdef Worker *worker_self() noexcept nogil:
    return <Worker *>worker_get_self()


cdef void *plain_alloc(void *ud, void *p, size_t was, size_t n) noexcept nogil:
    if n == 0:
        free(p)
        return NULL
    return realloc(p, n)


cdef int l_log_module(lua_State *L) noexcept nogil:
    """Open the libraries, and make heart.core loadable, with nothing but its log."""
    luaL_openlibs(L)
    lua_getfield(L, LUA_GLOBALSINDEX, b"package")
    lua_getfield(L, -1, b"loaded")
    lua_createtable(L, 0, 1)
    lua_log_open(L)
    lua_setfield(L, -2, b"log")
    lua_setfield(L, -2, b"heart.core")
    return 0


def run_lua(Log log, bytes code, bytes path):
    """Run a chunk in a Lua state of its own that logs to ring 0; `path` is its package.path. Returns what the chunk
    returns, as text; an error raises RuntimeError."""
    cdef Worker w
    cdef int rc
    memset(&w, 0, sizeof(w))
    w.log = logger_ring(log.g, 0)
    cdef lua_State *L = lua_newstate(plain_alloc, NULL)
    worker_set_self(&w)
    try:
        lua_pushcclosure(L, l_log_module, 0)
        rc = lua_pcall(L, 0, 0, 0)
        lua_getfield(L, LUA_GLOBALSINDEX, b"package")
        lua_pushlstring(L, path, len(path))
        lua_setfield(L, -2, b"path")
        rc = rc or luaL_loadbuffer(L, code, len(code), b"=test") or lua_pcall(L, 0, 1, 0)
        text = lua_tostring_z(L, -1).decode() if lua_isstring(L, -1) else None
        if rc != LUA_OK:
            raise RuntimeError(text)
        assert w.scratch_json.n == 0
        return text
    finally:
        lua_close(L)
        buf_free(&w.scratch_json)
        worker_set_self(NULL)


def message_line(format, bytes text, fields=(), uint64_t wall_ms=0):
    """One line of level info, as it goes to the ring."""
    cdef Logger g
    cdef LogClock clock
    cdef LogLine l
    cdef LogField list_[4]
    cdef char[LOG_LINE_MAX + 1] out
    cdef int n = 0
    g.console = FORMATS[format] != FORMAT_JSON
    g.color = FORMATS[format] == FORMAT_CONSOLE_COLOR
    clock.second = -1
    l.p, l.end, l.cut = out, out + LOG_LINE_MAX - LOG_LINE_TAIL, False
    for key, value in fields:
        list_[n].key = span_of(key)
        list_[n].value = span_of(value)
        n += 1
    line_message(&g, &clock, &l, wall_ms, LEVEL_INFO, guarded(text), list_, n)
    return out[:l.p - out]


def address_text(bytes address):
    cdef char out[ADDRESS_MAX]
    return out[:address_put(<const uint8_t *><const char *>address, out)].decode()
