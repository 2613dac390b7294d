# Workers: a thread each, with its own poller, listeners, connections and Lua state. The main thread talks to them by
# Worker.command and an eventfd, they answer by Worker.phase and Server.notify; nothing else is shared while serving.

from libc.stdint cimport UINT64_MAX

cdef enum:
    SCRATCH_MIN = 65536         # bytes read at once, at least
    TUNE_INTERVAL = 1000        # ms between two looks at the size of the heap, while there is traffic
    DRAIN_GRACE = 1000          # ms for a request that has begun to arrive when draining starts


# ---- Life ------------------------------------------------------------------------------------------------

cdef void worker_run(Worker *w) noexcept nogil:
    """The thread: load the script, serve until told to end. Answers PHASE_LOADED or PHASE_FAILED first."""
    worker_set_self(w)
    if worker_open(w) != OK:
        worker_say(w, Span(b"cannot start a worker: out of memory or descriptors", 51))
        worker_answer(w, PHASE_FAILED)
        return
    w.state = state_new(w)
    if w.state == NULL:
        worker_answer(w, PHASE_FAILED)
    else:
        state_load(w, w.state)
    full_fence()                        # the pair of the one in Engine.command
    eventfd_signal(w.wake.fd)           # for a command that came before this was there: the first turn carries it out
    inbox_run(w)
    w.tune_at = w.now if w.state != NULL else UINT64_MAX
    while not w.ended:
        worker_turn(w)
    worker_close(w)
    worker_answer(w, PHASE_ENDED)


cdef int worker_open(Worker *w) noexcept nogil:
    cdef HttpLimits *limits = &w.server.limits.http
    w.scratch_size = 2 * limits.head + 16384
    if w.scratch_size < SCRATCH_MIN:
        w.scratch_size = SCRATCH_MIN
    w.scratch = <char *>malloc(w.scratch_size)
    w.headers = <Header *>malloc(limits.headers * sizeof(Header))
    w.json = <JsonScratch *>calloc(1, sizeof(JsonScratch))
    if w.scratch == NULL or w.headers == NULL or w.json == NULL or poller_open(w) != OK or wake_open(w) != OK:
        return ERR_SYSTEM
    queue_init(&w.soon)
    queue_init(&w.turn)
    slab_init(&w.conns, sizeof(Conn))
    slab_init(&w.reqs, sizeof(Req))
    slab_init(&w.coros, sizeof(Coro))
    slab_init(&w.socks, sizeof(Sock))
    slab_init(&w.fcgis, sizeof(Fcgi))
    w.now_ns = clock_ns()
    w.now = w.now_ns // 1000000
    w.wheel.now = w.now
    return OK


cdef void worker_close(Worker *w) noexcept nogil:
    """Free everything; no connection that was accepted is open any more."""
    cdef Req *r
    if w.state != NULL:
        state_close(w, w.state)
        worker_end_retired(w)           # its scripts
    while w.all != NULL:                # clients whose servers have not closed yet
        conn_close(w, w.all)
    while w.free_reqs != NULL:
        r = w.free_reqs
        w.free_reqs = r.next
        req_free(w, r)
    slab_destroy(&w.conns)
    slab_destroy(&w.reqs)
    slab_destroy(&w.coros)
    socks_settle(w)
    pollings_settle(w)
    slab_destroy(&w.socks)
    slab_destroy(&w.fcgis)
    buf_free(&w.socks_spare)
    buf_free(&w.scratch_send)
    buf_free(&w.out)
    buf_free(&w.cgi)
    buf_free(&w.scratch_text)
    buf_free(&w.scratch_json)
    buf_free(&w.ws_text)
    buf_free(&w.ws_packed)
    ws_zip_free(<WsZip *>w.ws_zip)
    json_scratch_free(w.json)
    free(w.json)
    free(w.headers)
    free(w.scratch)
    free(w.listeners)
    txns_destroy(w)
    mail_forget(w, &w.mail)
    poller_close(w)


cdef void worker_turn(Worker *w) noexcept nogil:
    """One turn of the loop: wait, hand out what happened, then what was put off to the end of the turn."""
    cdef int timeout = 0
    if unlikely(w.measuring):
        turn_measure(w)
    if likely(turn_rests(w)):
        timeout = wheel_timeout(&w.wheel, w.now)
    poller_turn(w, timeout)
    if unlikely(inbox_waits(w)):
        inbox_run(w)
    wheel_advance(w, w.now)
    if unlikely(w.turn.first != NULL or w.soon.first != NULL):
        coros_settle(w)
    if w.dirty != NULL or w.settling != NULL or w.dead != NULL or w.out.cap > OUT_KEEP:
        conns_settle(w)
    if w.socks_dead != NULL or w.socks_kicked != NULL:
        socks_settle(w)
    if w.pollings_dead != NULL:
        pollings_settle(w)
    if unlikely(w.retired != NULL):
        states_settle(w)
    if unlikely(w.now >= w.tune_at):
        w.tune_at = w.now + TUNE_INTERVAL
        state_tune_gc(w.state)
        scripts_tune(w.state)
    if unlikely(w.draining):
        worker_check_drained(w)


# ---- Talking to the main thread --------------------------------------------------------------------------

cdef void worker_say(Worker *w, Span text) noexcept nogil:
    """What goes with the next answer."""
    w.message.n = 0
    buf_append(&w.message, text.p, text.n)


cdef void worker_answer(Worker *w, int phase) noexcept nogil:
    store_release(&w.phase, phase, __ATOMIC_RELEASE)
    eventfd_signal(w.server.notify)


cdef void worker_show_life(Worker *w) noexcept nogil:
    """Tell a watchdog that asks for it that this loop goes round."""
    cdef int asked = load_acquire(&w.asked, __ATOMIC_ACQUIRE)
    if asked != w.answered:
        store_release(&w.answered, asked, __ATOMIC_RELEASE)
        eventfd_signal(w.server.notify)


cdef void worker_command(Worker *w) noexcept nogil:
    """Carry out what the main thread asks for. Taken in one step: a command that comes meanwhile is not lost."""
    cdef int command = exchange(&w.command, COMMAND_NONE, __ATOMIC_ACQ_REL)
    worker_show_life(w)
    if command == COMMAND_SERVE:
        worker_serve(w)
    elif command == COMMAND_PREPARE:
        worker_prepare(w)
    elif command == COMMAND_COMMIT:
        worker_commit(w)
        worker_answer(w, PHASE_SERVING)
    elif command == COMMAND_DROP:
        worker_drop_fresh(w)
        worker_answer(w, PHASE_SERVING)
    elif command == COMMAND_DRAIN:
        worker_drain(w)
    else:
        listeners_look(w)


cdef void worker_serve(Worker *w) noexcept nogil:
    cdef uint32_t i
    cdef int rc = OK
    for i in range(w.nlisteners):
        rc |= listener_open(w, &w.listeners[i], w.listeners[i].watch.fd, w.listeners[i].flags)
    if rc != OK:
        worker_say(w, Span(b"cannot watch a listening socket", 31))
        worker_answer(w, PHASE_FAILED)
        return
    worker_answer(w, PHASE_SERVING)
    state_serves(w, w.state)


# ---- Changing the code -----------------------------------------------------------------------------------

cdef void worker_prepare(Worker *w) noexcept nogil:
    """Build a new state beside the one that serves; state_loaded answers."""
    worker_drop_fresh(w)
    w.replacing = 0
    w.fresh = state_new(w)
    if w.fresh == NULL:
        worker_answer(w, PHASE_REFUSED)
    else:
        state_load(w, w.fresh)


cdef void worker_replace_state(Worker *w, State *s) noexcept nogil:
    """The memory limit is reached by what stays: start over from the script, on this worker alone."""
    s.stale = s.is_script
    if s != w.state or w.fresh != NULL or w.draining:
        return
    log_z(w, LEVEL_WARN, b"the Lua state is full (--lua-memory) even after a collection: it is replaced by a new one")
    w.replacing = 1
    w.fresh = state_new(w)
    if w.fresh != NULL:
        state_load(w, w.fresh)


cdef void state_loaded(Worker *w, State *s) noexcept nogil:
    """The script of a new state has ended."""
    cdef bint failed = s.failed
    if s.is_script:
        script_loaded(w, s)
        return
    if not failed:
        w.files.n = 0
        buf_append(&w.files, s.files.p, s.files.n)
    if s == w.state:
        worker_answer(w, PHASE_FAILED if failed else PHASE_LOADED)
    elif s == w.fresh and w.replacing:
        if failed:
            log_message(w.log, LEVEL_ERROR, buf_span(&w.message), NULL, 0)
            worker_drop_fresh(w)
        else:
            worker_commit(w)
    elif s == w.fresh:
        if failed:
            worker_drop_fresh(w)
        worker_answer(w, PHASE_REFUSED if failed else PHASE_PREPARED)


cdef void worker_commit(Worker *w) noexcept nogil:
    """New requests go to the fresh state; the old one lives as long as something holds it."""
    cdef State *old = w.state
    if w.fresh == NULL:
        return
    w.state = w.fresh
    w.fresh = NULL
    state_retire_listeners(w, old)
    if old.on_stop != LUA_NOREF:
        lua_spawn(w, old, old.on_stop, ROLE_STOP)
    state_retire(w, old)
    state_serves(w, w.state)


cdef void worker_drop_fresh(Worker *w) noexcept nogil:
    cdef State *s = w.fresh
    if s != NULL:
        w.fresh = NULL
        state_retire(w, s)
        state_abandon(w, s)


# ---- Ending ----------------------------------------------------------------------------------------------

cdef void worker_drain(Worker *w) noexcept nogil:
    """Accept no more, finish what is in flight, close what is idle. worker_check_drained ends the loop."""
    cdef Conn *c = w.all
    cdef Conn *after
    cdef uint32_t i
    if w.draining:
        return
    w.draining = 1
    for i in range(w.nlisteners):
        listener_close(w, &w.listeners[i])
    worker_drop_fresh(w)
    if w.state != NULL:
        state_retire_listeners(w, w.state)
    c = w.all
    while c != NULL:
        after = c.after
        c.proto.on_stop(w, c)
        c = after
    states_end(w)
    if w.state != NULL and listener_is_open(&w.listeners[0]):
        if w.state.on_stop != LUA_NOREF:
            lua_spawn(w, w.state, w.state.on_stop, ROLE_STOP)
        scripts_stop(w, w.state)


cdef void states_end(Worker *w) noexcept nogil:
    """Tell Lua code that waits for the end."""
    cdef State *s = w.retired
    if w.state != NULL:
        rests_end(w, &w.state.enders)
    while s != NULL:
        rests_end(w, &s.enders)
        s = s.next


cdef void worker_check_drained(Worker *w) noexcept nogil:
    """End the loop when requests and stop events have ended; tasks, which may run for ever, end with it."""
    cdef State *s = w.retired
    if w.nconns != 0 or (w.state != NULL and (w.state.holders > w.state.tasks or scripts_busy(w.state))):
        return
    while s != NULL:
        if s.holders > s.tasks or scripts_busy(s):
            return
        s = s.next
    worker_end_retired(w)
    if w.state != NULL:
        state_abandon(w, w.state)
    w.ended = w.retired == NULL and (w.state == NULL or w.state.holders == 0)


cdef void worker_end_retired(Worker *w) noexcept nogil:
    """Close all retired states: first those that may have scripts, then these."""
    cdef State *s
    cdef int i
    for i in range(2):
        s = w.retired
        while s != NULL:
            state_abandon(w, s)
            s = s.next
        states_settle(w)


# ---- Log lines of the engine -----------------------------------------------------------------------------

cdef void log_z(Worker *w, uint8_t level, const char *message) noexcept nogil:
    log_message(w.log, level, span_z(message), NULL, 0)


cdef void log_refusal(Worker *w, const uint8_t *peer, int status, const char *why) noexcept nogil:
    """A request that the engine did not accept, at level info: clients cause these, not the application."""
    cdef char number[24]
    cdef char address[ADDRESS_TEXT]
    cdef LogField fields[2]
    if not log_enabled(w.log, LEVEL_INFO):
        return
    fields[0].key = Span(b"status", 6)
    fields[0].value = Span(&number[0], put_decimal(number, status))
    address[0] = c'"'
    fields[1].key = Span(b"remote", 6)
    fields[1].value = Span(&address[0], 1 + address_put(peer, address + 1))
    address[fields[1].value.n] = c'"'
    fields[1].value.n += 1
    log_message(w.log, LEVEL_INFO, span_z(why), fields, 2)


cdef void log_failure(Worker *w, Req *r, Span trace) noexcept nogil:
    """A Lua error, with the request that it happened in."""
    cdef Buf *b = &w.scratch_text
    cdef LogField fields[1]
    cdef Span method, path
    if r == NULL:
        log_message(w.log, LEVEL_ERROR, trace, NULL, 0)
        return
    method = req_method(r)
    path = req_path(r)
    b.n = 0
    if buf_reserve(b, 8 + method.n + 6 * path.n) != OK:
        return
    buf_put(b, c'"')
    buf_append(b, method.p, method.n)
    buf_put(b, c' ')
    json_put_path(b, path)
    buf_put(b, c'"')
    fields[0].key = Span(b"request", 7)
    fields[0].value = buf_span(b)
    log_message(w.log, LEVEL_ERROR, trace, fields, 1)


cdef void json_put_path(Buf *b, Span path) noexcept nogil:
    """The parser lets only visible ASCII into a target: two characters need an escape."""
    cdef size_t i
    for i in range(path.n):
        if path.p[i] == c'"' or path.p[i] == c'\\':
            buf_put(b, c'\\')
        buf_put(b, path.p[i])
