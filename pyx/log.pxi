# Logs: whoever logs formats the line straight into a ring of its own (log_line.pxi), and one native thread writes
# the rings out.
#
# Invariants:
#   - a producer never waits: a line that finds no room is counted and dropped, and the log says how many were;
#   - one producer per ring (Python threads share one under the GIL), one log thread for all rings;
#   - a line is published whole, so lines are never torn or mixed, whatever the descriptor accepts at a time; nor does
#     what others write to it come between, unless a line is longer than PIPE_BUF and it is no file;
#   - no traffic, no wake-ups: the log thread then sleeps without a timeout.
# Not for: choosing what to log, or opening and rotating files.

cdef enum:
    LOG_NAP_MS = 20             # how long lines may collect while there is traffic
    LOG_WAKE_SIZE = 65536       # bytes that end a nap: at 100,000 lines a second the ring holds 17 ms of them


# ---- The producer's side ---------------------------------------------------------------------------------

cdef inline bint log_enabled(const LogRing *r, uint8_t level) noexcept nogil:
    return level >= r.logger.level


cdef inline uint64_t log_wall_ms() noexcept nogil:
    """Unix time, as exact as the kernel's tick (1 to 10 ms): a fifth of the cost of the exact one."""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME_COARSE, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000


cdef void log_access(LogRing *r, uint64_t wall_ms, int status, Span method, Span path, uint64_t took_ns,
                     uint64_t sent, const uint8_t *addr16) noexcept nogil:
    """Log one request, at level info.

    wall_ms: Unix time in milliseconds; took_ns: from the first byte of the request to the last of the answer,
    in nanoseconds; sent: bytes of the answer's body; addr16: the peer, as address_put takes it.
    """
    cdef LogLine l
    cdef char address[ADDRESS_MAX]
    cdef Span remote
    if not log_enabled(r, LEVEL_INFO) or not ring_open(r, &l):
        return
    remote = Span(&address[0], address_put(addr16, address))
    line_put_time(&l, &r.clock, wall_ms, r.logger.console)
    if r.logger.console:
        line_access_console(r.logger, &l, status, method, path, took_ns, sent, remote)
    else:
        line_access_json(&l, status, method, path, took_ns, sent, remote)
    ring_close(r, &l)


cdef void log_message(LogRing *r, uint8_t level, Span message, const LogField *fields, int n) noexcept nogil:
    """Log a message with `n` fields. What does not fit into LOG_LINE_MAX is cut, and the line says so."""
    cdef LogLine l
    if not log_enabled(r, level) or not ring_open(r, &l):
        return
    line_message(r.logger, &r.clock, &l, log_wall_ms(), level, message, fields, n)
    ring_close(r, &l)


cdef inline char *ring_at(LogRing *r, uint64_t count) noexcept nogil:
    return r.bytes + (count & (LOG_RING_SIZE - 1))


cdef inline bint ring_open(LogRing *r, LogLine *l) noexcept nogil:
    """Point `l` at the free room; False, and the line is counted as dropped, when there is too little."""
    cdef uint64_t room = LOG_RING_SIZE - (r.head - r.tail_seen)
    if unlikely(room < LOG_LINE_MAX):
        r.tail_seen = word64_acquire(&r.tail)
        room = LOG_RING_SIZE - (r.head - r.tail_seen)
    if unlikely(room <= LOG_LINE_TAIL):
        word64_release(&r.dropped, r.dropped + 1)
        return False
    l.p = ring_at(r, r.head)
    l.end = l.p + (room if room < LOG_LINE_MAX else LOG_LINE_MAX) - LOG_LINE_TAIL
    l.cut = False
    return True


cdef inline void ring_close(LogRing *r, LogLine *l) noexcept nogil:
    """Publish a finished line, unless only the lack of room in the ring has cut it."""
    cdef char *start = ring_at(r, r.head)
    cdef ptrdiff_t over = l.p - (r.bytes + LOG_RING_SIZE)
    cdef uint32_t state
    if unlikely(l.cut) and l.end - start < LOG_LINE_MAX:
        word64_release(&r.dropped, r.dropped + 1)
        return
    if unlikely(over > 0):
        memcpy(r.bytes, r.bytes + LOG_RING_SIZE, <size_t>over)
    word64_release(&r.head, r.head + <uint64_t>(l.p - start))
    full_fence()                # the thread sets its state, then looks at `head`; here it is the other way round
    state = word_acquire(&r.logger.state)
    if state == LOG_ASLEEP or (state == LOG_NAPPING and ring_is_filling(r)):
        logger_wake(r.logger)


cdef inline bint ring_is_filling(LogRing *r) noexcept nogil:
    if likely(r.head - r.tail_seen < LOG_WAKE_SIZE):
        return False
    r.tail_seen = word64_acquire(&r.tail)
    return r.head - r.tail_seen >= LOG_WAKE_SIZE


cdef void logger_wake(Logger *g) noexcept nogil:
    if word_swap(&g.state, LOG_AWAKE) != LOG_AWAKE:
        futex_wake(&g.state)


# ---- The log thread --------------------------------------------------------------------------------------

cdef void *logger_run(void *arg) noexcept nogil:
    cdef Logger *g = <Logger *>arg
    cdef uint32_t stop = 0
    cdef bint moved
    thread_set_name(b"heart-log")
    while not stop:
        stop = word_acquire(&g.stop)        # read first: what was logged before it was set is still written
        moved = logger_drain(g)
        if not stop:
            logger_rest(g, moved)
    word_release(&g.ended, 1)
    futex_wake(&g.ended)
    return NULL


cdef void logger_rest(Logger *g, bint moved) noexcept nogil:
    """Nap after some work, sleep after none."""
    cdef uint32_t state = LOG_NAPPING if moved else LOG_ASLEEP
    word_swap(&g.state, state)
    full_fence()                # the pair of the one in ring_close and in logger_stop
    if not word_acquire(&g.stop) and (moved or logger_is_idle(g)):
        futex_wait(&g.state, state, LOG_NAP_MS if moved else -1)
    word_release(&g.state, LOG_AWAKE)


cdef bint logger_is_idle(Logger *g) noexcept nogil:
    cdef uint32_t i
    for i in range(g.nrings):
        if word64_acquire(&g.rings[i].head) != g.rings[i].tail:
            return False
    return True


cdef bint logger_drain(Logger *g) noexcept nogil:
    """Write out what the rings hold; returns whether there was anything."""
    cdef bint moved = False
    cdef uint32_t i
    cdef LogRing *r
    for i in range(g.nrings):
        r = &g.rings[i]
        if word64_acquire(&r.head) != r.tail:
            moved = True
            if ring_flush(g, r) == OK:
                ring_tell_dropped(g, r)
    return moved


cdef int ring_flush(Logger *g, LogRing *r) noexcept nogil:
    """Write all that is published now. What the descriptor refuses is lost, and counted."""
    cdef uint64_t head = word64_acquire(&r.head)
    cdef uint64_t tail = r.tail
    cdef ptrdiff_t n
    if g.torn and logger_write(g, b"\n", 1) != OK:
        ring_lose(g, r, head)
        return ERR_SYSTEM
    while tail != head:
        n = ring_write(g, r, tail, head)
        if n < 0:
            ring_lose(g, r, head)
            return ERR_SYSTEM
        tail += <uint64_t>n
        g.torn = ring_at(r, tail - 1)[0] != c'\n'
        word64_release(&r.tail, tail)
    return OK


cdef ptrdiff_t ring_write(Logger *g, LogRing *r, uint64_t tail, uint64_t head) noexcept nogil:
    """One writev of the bytes from `tail` on, up to `head`; returns how many went, or -1."""
    cdef iovec parts[2]
    cdef size_t n = ring_piece(g, r, tail, <size_t>(head - tail))
    cdef size_t first = <size_t>(r.bytes + LOG_RING_SIZE - ring_at(r, tail))
    cdef ptrdiff_t written
    parts[0].iov_base = ring_at(r, tail)
    parts[0].iov_len = n if n < first else first
    parts[1].iov_base = r.bytes
    parts[1].iov_len = n - parts[0].iov_len
    while True:
        written = writev(g.fd, parts, 2)
        if written >= 0 or not logger_may_retry(g):
            return written


cdef size_t ring_piece(Logger *g, LogRing *r, uint64_t tail, size_t n) noexcept nogil:
    """How many of the `n` bytes from `tail` on to write at once. A pipe takes PIPE_BUF bytes in one piece (pipe(7)),
    and so does the socket of a journal: they get the whole lines that these hold, so that what a print or another
    process writes comes between two lines. A file takes everything in one piece."""
    cdef size_t piece = PIPE_BUF
    if g.file or n <= PIPE_BUF:
        return n
    while piece and ring_at(r, tail + piece - 1)[0] != c'\n':
        piece -= 1
    return piece if piece else PIPE_BUF


cdef bint logger_may_retry(Logger *g) noexcept nogil:
    """After a failed write: wait, if somebody made the descriptor non-blocking and it is full."""
    cdef pollfd p
    if errno == EINTR:
        return True
    if errno != EAGAIN:
        return False
    p.fd = g.fd
    p.events = POLLOUT
    poll(&p, 1, -1)
    return True


cdef int logger_write(Logger *g, const char *p, size_t n) noexcept nogil:
    """Write all of a short text."""
    cdef ptrdiff_t written
    while n:
        written = write(g.fd, p, n)
        if written < 0:
            if logger_may_retry(g):
                continue
            return ERR_SYSTEM
        p += written
        n -= <size_t>written
        g.torn = (p - 1)[0] != c'\n'
    return OK


cdef void ring_lose(Logger *g, LogRing *r, uint64_t head) noexcept nogil:
    """Count what the descriptor did not take, and go on behind it."""
    cdef uint64_t at
    for at in range(r.tail, head):
        if ring_at(r, at)[0] == c'\n':
            g.lost += 1
    word64_release(&r.tail, head)


cdef void ring_tell_dropped(Logger *g, LogRing *r) noexcept nogil:
    """Log how many lines were dropped since it was last told."""
    cdef uint64_t dropped = word64_acquire(&r.dropped)
    cdef uint64_t n = dropped - r.dropped_told + g.lost
    cdef char message[48]
    cdef char text[2 * LOG_LINE_TAIL]
    cdef LogLine l
    cdef LogLine m
    if likely(n == 0):
        return
    m.p, m.end = message, message + sizeof(message)
    line_put_z(&m, b"dropped ")
    line_put_number(&m, n)
    line_put_z(&m, b" log lines")
    l.p, l.end, l.cut = text, text + sizeof(text) - LOG_LINE_TAIL, False
    line_message(g, &g.clock, &l, log_wall_ms(), LEVEL_WARN, Span(&message[0], <size_t>(m.p - message)), NULL, 0)
    if logger_write(g, text, <size_t>(l.p - text)) == OK:
        r.dropped_told = dropped
        g.lost = 0


# ---- The logger ------------------------------------------------------------------------------------------

cdef int logger_start(Logger *g, uint32_t rings, int fd, uint8_t level, uint8_t format) noexcept nogil:
    """Make `rings` rings and start the thread that writes them to `fd`, which stays the caller's.

    level: LogLevel, the least that is logged; format: LogFormat. Returns OK, ERR_MEMORY or ERR_SYSTEM (errno).
    """
    cdef size_t head = (rings * sizeof(LogRing) + LOG_CACHE_LINE - 1) // LOG_CACHE_LINE * LOG_CACHE_LINE
    cdef size_t each = LOG_RING_SIZE + LOG_LINE_MAX
    cdef void *memory = mmap(NULL, head + rings * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    cdef file_stat st
    cdef uint32_t i
    if memory == MAP_FAILED:
        return ERR_MEMORY
    memset(g, 0, sizeof(Logger))
    g.rings = <LogRing *>memory
    g.mapped = head + rings * each
    g.nrings = rings
    g.fd = fd
    g.file = fstat(fd, &st) == 0 and S_ISREG(st.st_mode)
    g.level = level
    g.console = format != FORMAT_JSON
    g.color = format == FORMAT_CONSOLE_COLOR or (format == FORMAT_CONSOLE and isatty(fd))
    g.clock.second = -1
    for i in range(rings):
        g.rings[i].logger = g
        g.rings[i].bytes = <char *>memory + head + i * each
        g.rings[i].clock.second = -1
    if thread_start(logger_run, g) != 0:
        logger_free(g)
        return ERR_SYSTEM
    return OK


cdef inline LogRing *logger_ring(Logger *g, uint32_t i) noexcept nogil:
    return &g.rings[i]


cdef int logger_stop(Logger *g, int timeout_ms) noexcept nogil:
    """Write out what is left and end the thread. What is logged from now on may be lost.

    Returns PENDING after `timeout_ms` with a descriptor that takes nothing: the thread then stays in its write,
    so `g` must stay until the process ends.
    """
    cdef uint64_t until = log_steady_ms() + <uint64_t>timeout_ms
    cdef uint64_t now
    word_release(&g.stop, 1)
    full_fence()                # as in ring_close
    logger_wake(g)
    while not word_acquire(&g.ended):
        now = log_steady_ms()
        if now >= until:
            return PENDING
        futex_wait(&g.ended, 0, <int>(until - now))
    return OK


cdef inline uint64_t log_steady_ms() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000


cdef void logger_free(Logger *g) noexcept nogil:
    """Give the rings back: after logger_stop returned OK, when nobody holds a ring any more."""
    munmap(g.rings, g.mapped)
    g.rings = NULL
