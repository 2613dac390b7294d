# What Python sees: the class Engine. Everything here runs on the main thread with the GIL, but Engine.run, which is a
# worker's whole life.


from os import urandom as os_urandom

from libc.stdio cimport _IOLBF, setvbuf

cdef extern from *:
    """
    #ifdef __clang__
    #define HEART_COMPILER "Clang " __clang_version__
    #else
    #define HEART_COMPILER "GCC " __VERSION__
    #endif
    """
    const char *COMPILER "HEART_COMPILER"
    const unsigned int CYTHON_HEX_VERSION

cdef const char *HEART_VERSION = b"0"
cdef bytes version_kept = b"0"
cdef char stdout_buffer[16384]      # a longer line is written in parts


def bind_lua(str path not None, str version not None):
    """Bind to the LuaJIT in the shared object `path`; `version` is Heart's own, for Lua code and pages.

    Raises ImportError naming what is missing."""
    global HEART_VERSION, version_kept
    cdef bytes encoded = path.encode()
    cdef const char *missing = lua_api_bind(encoded)
    if missing != NULL:
        raise ImportError(f"{path}: not the LuaJIT that Heart needs: {missing.decode()} is missing")
    version_kept = version.encode()
    HEART_VERSION = version_kept
    number_init_gil()
    http1_init()
    fcgi_init()
    ws_init()
    # print and io.write go through libc's stdout: whole lines at once, also into a file or a pipe. A buffer is named,
    # because that of a stdout which was unbuffered before (PYTHONUNBUFFERED) has room for one byte and would be kept.
    setvbuf(stdout, stdout_buffer, _IOLBF, sizeof(stdout_buffer))


@cython.final
cdef class Engine:
    """The workers of one server.

    options: see heartc.config; times in seconds, sizes in bytes
    listeners: for each worker, a list of (descriptor, flags); the engine owns the descriptors from now on
    log_fd: where log lines go
    """

    cdef Server server
    cdef Logger logger
    cdef bint logging

    PHASES = ("starting", "loaded", "failed", "serving", "prepared", "refused", "ended")
    COMMANDS = {"serve": COMMAND_SERVE, "prepare": COMMAND_PREPARE, "commit": COMMAND_COMMIT, "drop": COMMAND_DROP,
                "drain": COMMAND_DRAIN}
    METHODS = ("(other)", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "any")
    SEGMENTS = ("literal", "param", "star", "plus")
    LOG_LEVELS = {"debug": LEVEL_DEBUG, "info": LEVEL_INFO, "warn": LEVEL_WARN, "error": LEVEL_ERROR, "off": LEVEL_OFF}

    def __cinit__(self, options not None, list listeners not None, int log_fd):
        cdef Server *g = &self.server
        memset(g, 0, sizeof(Server))
        g.notify = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        g.nworkers = len(listeners)
        g.workers = <Worker *>calloc(g.nworkers, sizeof(Worker))
        if g.notify < 0 or g.workers == NULL:
            raise MemoryError("cannot set up the workers")
        g.pool = jobs_new(options.threads)
        if g.pool == NULL:
            raise MemoryError("cannot set up the thread pool")
        g.dev = options.dev
        g.checking = options.checking
        self.set_limits(options)
        self.start_logs(options, log_fd)
        self.open_memory_store(options)
        g.access_log = options.access_log and log_enabled(logger_ring(&self.logger, 0), LEVEL_INFO)
        buf_set_gil(&g.script, options.script)
        buf_set_gil(&g.argument, options.argument)
        buf_set_gil(&g.package_path, options.package_path)
        buf_set_gil(&g.package_cpath, options.package_cpath)
        buf_set_gil(&g.libraries, "".join([f"{name}\0{path}\0" for name, path in options.libraries.items()]))
        if options.channels:
            buf_set_gil(&g.channels, "".join([f"{name}\0{value}\0" for name, value in options.channels.items()]))
        buf_set_gil(&g.stdlib, options.stdlib)
        buf_set_gil(&g.site, options.site)
        if options.archive is not None:
            self.set_archive(options.archive)
        for i, sockets in enumerate(listeners):
            self.set_worker(i, sockets)
        self.set_disk_store(options)

    cdef void set_disk_store(self, options) except *:
        """The disk store as the workers see it. The db thread is started when an application asks for it."""
        cdef KvStore *s = store_new(&DISK_BACKEND, &self.server)
        if s == NULL:
            raise MemoryError("cannot set up the disk store")
        s.queue = queue_new(options.kv_cache)
        if s.queue == NULL:
            raise MemoryError("cannot set up the disk store")
        store_queue(s).shared = bool(options.kv)
        self.server.kv_disk = s

    cdef void set_limits(self, options) except *:
        cdef Limits *limits = &self.server.limits
        limits.http = HttpLimits(options.max_header_size, options.max_target_size, options.max_headers)
        limits.body = options.max_body_size
        limits.header_timeout = milliseconds(options.header_timeout)
        limits.body_timeout = milliseconds(options.body_timeout)
        limits.idle_timeout = milliseconds(options.idle_timeout)
        limits.write_timeout = milliseconds(options.write_timeout)
        limits.linger_timeout = milliseconds(options.linger_timeout)
        limits.reload_grace = milliseconds(options.reload_grace)
        limits.connections = max(1, options.max_connections // self.server.nworkers)
        limits.requests = options.max_requests_per_connection
        limits.lua_memory = options.lua_memory
        limits.ws_max_message = options.ws_max_message
        limits.ws_deflate_min = options.ws_deflate_min
        limits.ws_max_unsent = options.ws_max_unsent
        limits.ws_ping = milliseconds(options.ws_ping_interval)
        limits.ws_timeout = milliseconds(options.ws_timeout)
        limits.ws_close_timeout = milliseconds(options.ws_close_timeout)

    cdef void open_memory_store(self, options) except *:
        cdef bytes seed = os_urandom(8)
        kv_seed_init(load_word(<char *>seed))
        crc_init()
        self.server.limits.kv_lock = milliseconds(options.kv_lock_timeout)
        self.server.kv_memory = mem_new(&self.server, options.kv_memory, options.kv_eviction == "lru")
        if self.server.kv_memory == NULL:
            raise MemoryError("cannot make the memory store")

    cdef void start_logs(self, options, int fd) except *:
        cdef uint8_t form = FORMAT_JSON
        if options.dev:
            form = FORMAT_CONSOLE if options.color else FORMAT_CONSOLE_PLAIN
        if logger_start(&self.logger, self.server.nworkers + 1, fd, self.LOG_LEVELS[options.log_level], form) != OK:
            raise OSError("cannot start the log thread")
        self.logging = True

    cdef void set_archive(self, archive) except *:
        """Take the files of `archive`: its `entries` in the order of their names, its descriptor `fd`, which stays
        open."""
        cdef Archive *a = &self.server.archive
        cdef ArchiveFile *f
        cdef bytes names = b"".join([entry.name for entry in archive.entries])
        a.fd = archive.fd
        a.files = <ArchiveFile *>calloc(len(archive.entries) or 1, sizeof(ArchiveFile))
        a.names = <char *>malloc(len(names) or 1)
        if a.files == NULL or a.names == NULL:
            raise MemoryError("cannot take the files of the application")
        memcpy(a.names, <char *>names, len(names))
        cdef char *name = a.names
        for entry in archive.entries:
            f = &a.files[a.n]
            f.name = Span(name, len(entry.name))
            f.at, f.size, f.mtime = entry.at, entry.size, entry.mtime
            f.digest = int.from_bytes(entry.digest[:8], "little")
            name += f.name.n
            a.n += 1

    cdef void set_worker(self, uint32_t i, list sockets) except *:
        cdef Worker *w = &self.server.workers[i]
        w.id = i
        w.server = &self.server
        w.epfd = w.wake.fd = -1
        w.log = logger_ring(&self.logger, i)
        w.nlisteners = len(sockets)
        w.listeners = <Listener *>calloc(w.nlisteners or 1, sizeof(Listener))
        if w.listeners == NULL:
            raise MemoryError("cannot set up the workers")
        for k, (fd, flags) in enumerate(sockets):
            w.listeners[k].watch.fd = fd
            w.listeners[k].flags = flags

    def run(self, uint32_t i):
        """Be worker `i`: load the script, wait for "serve", serve until "drain". To be called on a thread of its own,
        which holds the GIL only before and after."""
        with nogil:
            worker_run(&self.server.workers[i])

    def command(self, str name not None, uint32_t i):
        """Ask worker `i` for something (a key of COMMANDS); it answers by its phase."""
        store_release(&self.server.workers[i].command, self.COMMANDS[name], __ATOMIC_RELEASE)
        full_fence()            # wake.fd is seen here, or the worker, which has just opened it, sees the command
        eventfd_signal(self.server.workers[i].wake.fd)

    def expect(self, uint32_t i):
        """Forget the phase of worker `i`, so that its next answer is seen as one."""
        store_release(&self.server.workers[i].phase, PHASE_STARTING, __ATOMIC_RELEASE)

    def phase(self, uint32_t i):
        """What worker `i` has answered last: one of PHASES."""
        return self.PHASES[load_acquire(&self.server.workers[i].phase, __ATOMIC_ACQUIRE)]

    def ask(self):
        """Ask all workers for a sign of life; see alive()."""
        cdef Worker *w
        for i in range(self.server.nworkers):
            w = &self.server.workers[i]
            store_release(&w.asked, (w.asked + 1) & 0xFFFF, __ATOMIC_RELEASE)
            eventfd_signal(w.wake.fd)

    def alive(self, uint32_t i):
        """Whether the loop of worker `i` has come round since ask(), or has ended in order."""
        cdef Worker *w = &self.server.workers[i]
        return load_acquire(&w.answered, __ATOMIC_ACQUIRE) == w.asked or \
            load_acquire(&w.phase, __ATOMIC_ACQUIRE) == PHASE_ENDED

    def message(self, uint32_t i):
        """What went with the last answer of worker `i`."""
        cdef Buf *b = &self.server.workers[i].message
        return b.p[:b.n].decode("utf-8", "replace") if b.n else ""

    def files(self):
        """The files that the code in service was loaded from. Valid after "loaded" or "prepared"."""
        cdef Buf *b = &self.server.workers[0].files
        return [os_path.decode("utf-8", "surrogateescape") for os_path in b.p[:b.n].split(b"\0") if os_path] \
            if b.n else []

    def routes(self):
        """The routes of worker 0 in the order of registration, once it is "loaded" and rests: for each the method
        ("any" for all), the bits (1 << METHODS.index(method)) of the methods that it answers, its path, a list of
        (kind, text, optional) and the place where it was registered."""
        cdef State *s = self.server.workers[0].state
        cdef Route *rt
        cdef uint32_t i, k
        places = s.places.p[:s.places.n].split(b"\0") if s.places.n else []
        found = []
        for i in range(s.router.n):
            rt = s.router.routes[i]
            segments = []
            for k in range(rt.nsegments):
                segments.append((self.SEGMENTS[rt.segments[k].kind],
                                 rt.segments[k].text.p[:rt.segments[k].text.n], bool(rt.segments[k].optional)))
            found.append((self.METHODS[rt.method], rt.methods, rt.path.p[:rt.path.n], segments, places[i]))
        return found

    def first_route(self, int method, bytes path not None):
        """The position of the route of worker 0 that answers a method (its bit's number) on a path, -1: none does."""
        cdef Param params[PARAMS_MAX]
        cdef Route *rt
        if router_match(&self.server.workers[0].state.router, method, path, len(path), params, &rt) != OK:
            return -1
        return rt.order

    def busy(self, uint32_t i):
        """Open connections of worker `i`. A glance from another thread: exact only when the worker rests."""
        return self.server.workers[i].nconns

    def notify_fd(self):
        """An eventfd that becomes readable when a worker has answered."""
        return self.server.notify

    def workers(self):
        return self.server.nworkers

    def log(self, str level not None, str message not None):
        """Write a log line from the main thread."""
        cdef bytes text = message.encode("utf-8", "surrogateescape")
        log_message(logger_ring(&self.logger, self.server.nworkers), self.LOG_LEVELS[level],
                    Span(<char *>text, len(text)), NULL, 0)

    # ---- The db thread (heartc/kv_service.py), which calls all of these but the first three

    def notify(self):
        """Wake the main thread."""
        eventfd_signal(self.server.notify)

    def kv_wanted(self):
        """Whether an application has asked for the disk store; forgotten when asked."""
        return word_swap(&store_queue(self.server.kv_disk).wanted, 0) != 0

    def kv_wake(self):
        """Have kv_take return."""
        cdef KvQueue *q = store_queue(self.server.kv_disk)
        word_swap(&q.woken, 1)
        queue_wake(q)

    def kv_gather(self, uint32_t expected):
        """Let requests gather, about 2 ms at most; see queue_gather."""
        with nogil:
            queue_gather(store_queue(self.server.kv_disk), expected)

    def kv_take(self, int ms):
        """Wait for requests, at most `ms`: (asks, commits), see heartc/kv_backend.py."""
        return queue_take_gil(store_queue(self.server.kv_disk), ms)

    def kv_answer(self, list answers not None):
        """Answer the asks that were taken last."""
        queue_answer_asks_gil(self.server.kv_disk, answers)

    def kv_answer_commits(self, list results not None):
        """Answer the commits that were taken last."""
        queue_answer_commits_gil(self.server.kv_disk, results)

    def kv_expired(self, list keys not None, uint64_t version):
        """These keys have expired and were removed by the commit `version`."""
        queue_expired_gil(self.server.kv_disk, keys, version)

    def kv_watched(self):
        """Whether somebody watches the store."""
        return word_acquire(&self.server.kv_disk.watched) != 0

    def kv_hear(self, list events not None):
        """What was committed by others than the workers: (key, version, value or None), or None where events were lost.
        From any thread."""
        queue_hear_gil(self.server.kv_disk, events)

    def kv_clear(self):
        """Nothing that the cache knows can be trusted."""
        cache_clear(&store_queue(self.server.kv_disk).cache)

    # ---- TLS (heartc/tls.py)

    def tls_wanted(self):
        """Whether workers wait for TLS contexts."""
        return inbox_head(&self.server.tls_asks) != NULL

    def tls_answer(self, table):
        """Make the contexts that are waited for; `table` is that of heartc._tls."""
        cdef const TlsApi *api = tls_api_gil(table)
        with nogil:
            tls_answer(&self.server, api, NULL)

    def tls_refuse(self, str why not None):
        """Tell those who wait that there is no TLS."""
        cdef bytes text = why.encode("utf-8", "replace")
        tls_answer(&self.server, NULL, text)

    def stop_logs(self, int timeout_ms):
        """Write what is left in the rings; give up after the time if the descriptor is stuck. The workers that are
        still running must not outlive this call for long: their lines are lost."""
        if self.logging:
            self.logging = False
            with nogil:
                logger_stop(&self.logger, timeout_ms)


cdef int buf_set_gil(Buf *b, str text) except -1:
    """Copy a path into `b`, with a NUL behind it that its length does not count."""
    cdef bytes encoded = text.encode("utf-8", "surrogateescape")
    if buf_append(b, encoded, len(encoded) + 1) != OK:
        raise MemoryError(text)
    b.n -= 1
    return 0


cdef uint64_t milliseconds(double seconds) noexcept:
    return <uint64_t>(seconds * 1000)


def lua_evaluate(str code not None, str argument not None=""):
    """What Lua code says of an argument (`...`), in a plain state of its own."""
    return lua_evaluate_gil(code.encode(), argument.encode("utf-8", "surrogateescape"))


def compiler():
    """What compiled this module, and the Cython whose runtime is in it."""
    return COMPILER.decode(), ".".join(str(CYTHON_HEX_VERSION >> shift & 255) for shift in (24, 16, 8))
