# Watching folders for Lua: an inotify descriptor in the loop's poller. What the events mean is
# lua_stdlib/heart/fs_watch.lua.
# Invariants:
#   - the descriptor is an FsFile, so that it outlives a job that adds a folder to it;
#   - the poller asks for events only while a coroutine waits for some: what comes meanwhile stays in the kernel, whose
#     queue is bounded and says when events were lost.
# Not for: --watch (inotify).

cdef enum:
    WATCH_WORDS = 512               # of 8 bytes: events taken in one go


cdef FsWatch *l_check_watch(lua_State *L) noexcept nogil:
    return (<FsWatch **>luaL_checkudata(L, 1, b"heart.watch"))[0]


cdef int l_fs_watch(lua_State *L) noexcept nogil:
    """watch(name for messages) → a heart.watch that watches nothing yet"""
    cdef Span name = l_check_span(L, 1)
    cdef FsWatch **box = <FsWatch **>lua_newuserdata(L, sizeof(FsWatch *))
    cdef int fd, error
    box[0] = NULL
    l_set_named_metatable(L, b"heart.watch")
    fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    if fd < 0:
        return l_push_error(L, b"fs.inotify.max_user_instances", errno)
    box[0] = fs_watch_new(l_state(L), fd, name)
    if box[0] == NULL:
        error = errno
        close(fd)
        return l_push_error(L, b"watch", error)
    return 1


cdef FsWatch *fs_watch_new(State *s, int fd, Span name) noexcept nogil:
    """NULL: errno, and `fd` stays the caller's."""
    global errno
    cdef FsWatch *x = <FsWatch *>calloc(1, sizeof(FsWatch))
    errno = ENOMEM
    if x == NULL:
        return NULL
    op_init(&x.op)
    x.op.begin = fs_watch_begin
    x.op.finish = fs_watch_finish
    x.op.cancel = fs_watch_cancel
    x.op.drop = fs_watch_drop
    x.state = s
    x.watch.fd = fd
    x.watch.on_event = fs_watch_on_event
    x.file = fs_file_new(fd, name)
    if x.file == NULL:
        free(x)
        return NULL
    if poller_add(s.worker, &x.watch, 0) != OK:
        x.file.fd = -1
        fs_file_let_go(x.file)
        free(x)
        return NULL
    return x


cdef void fs_watch_stop(FsWatch *x) noexcept nogil:
    """No more events; a coroutine that waits is told. Idempotent."""
    cdef Worker *w = x.state.worker
    if x.stopped:
        return
    x.stopped = 1
    poller_remove(w, &x.watch)
    x.file.closed = 1
    if not x.file.busy:
        fs_file_leave(x.file)
    fs_file_let_go(x.file)
    x.file = NULL
    if x.op.begun:
        fs_watch_woken(x)
        op_ready(w, &x.op)


cdef int l_watch_collect(lua_State *L) noexcept nogil:
    cdef FsWatch **box = <FsWatch **>lua_touserdata(L, 1)
    cdef FsWatch *x = box[0]
    box[0] = NULL
    if x == NULL:
        return 0
    fs_watch_stop(x)
    x.dead = 1
    if not x.op.begun and not x.op.ready:
        free(x)
    return 0


# ---- Waiting for events ----------------------------------------------------------------------------------

cdef void fs_watch_begin(Worker *w, Op *op) noexcept nogil:
    cdef FsWatch *x = <FsWatch *>op
    x.asleep = op.coro.role == ROLE_WATCH
    x.state.watching += x.asleep
    poller_modify(w, &x.watch, EPOLLIN)


cdef void fs_watch_woken(FsWatch *x) noexcept nogil:
    x.state.watching -= x.asleep
    x.asleep = 0


cdef void fs_watch_on_event(Worker *w, Watch *watch, uint32_t events) noexcept nogil:
    cdef FsWatch *x = <FsWatch *>(<char *>watch - <size_t>&(<FsWatch *>NULL).watch)
    poller_modify(w, watch, 0)
    if x.op.begun:
        fs_watch_woken(x)
        op_done(w, &x.op)


cdef bint fs_watch_cancel(Worker *w, Op *op) noexcept nogil:
    cdef FsWatch *x = <FsWatch *>op
    fs_watch_woken(x)
    if not x.stopped:
        poller_modify(w, &x.watch, 0)
    return True


cdef void fs_watch_drop(Worker *w, Op *op) noexcept nogil:
    if (<FsWatch *>op).dead:
        free(op)


cdef int fs_watch_finish(Coro *co, Op *op) noexcept nogil:
    """Whether there is something to take."""
    lua_pushboolean(co.L, not (<FsWatch *>op).stopped)
    return 1


# ---- Calls -----------------------------------------------------------------------------------------------

cdef int l_watch_wait(lua_State *L) noexcept nogil:
    """watch_wait(watch) → true when there are events; false: it was stopped, or another coroutine waits"""
    cdef FsWatch *x = l_check_watch(L)
    if x.stopped or x.op.begun or x.op.ready:
        lua_pushboolean(L, 0)
        return 1
    return l_wait_op(L, &x.op)


cdef int l_watch_take(lua_State *L) noexcept nogil:
    """watch_take(watch) → a list of folder's number, mask, cookie and name for each event; nil: there is none now"""
    cdef FsWatch *x = l_check_watch(L)
    cdef uint64_t room[WATCH_WORDS]             # as aligned as the events want it
    cdef char *p = <char *>room
    cdef inotify_event *e
    cdef ptrdiff_t n = 0
    cdef ptrdiff_t at = 0
    cdef int count = 0
    if not x.stopped:
        n = read(x.watch.fd, p, sizeof(room))
    if n <= 0:
        return l_nil(L)
    lua_createtable(L, 64, 0)
    while at < n:
        e = <inotify_event *>(p + at)
        lua_pushinteger(L, e.wd)
        lua_rawseti(L, -2, count + 1)
        lua_pushnumber(L, e.mask)
        lua_rawseti(L, -2, count + 2)
        lua_pushnumber(L, e.cookie)
        lua_rawseti(L, -2, count + 3)
        if e.len:
            lua_pushstring(L, e.name)           # ends with a NUL
        else:
            lua_pushlstring(L, b"", 0)
        lua_rawseti(L, -2, count + 4)
        count += 4
        at += <ptrdiff_t>(sizeof(inotify_event) + e.len)
    return 1


cdef void fs_watch_add(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef uint32_t mask = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR
    j.at = inotify_add_watch(j.file.fd, fs_path(j), mask | (IN_MODIFY if j.flags else 0))
    fs_settle(j, <int>j.at)


cdef int l_watch_add(lua_State *L) noexcept nogil:
    """watch_add(watch, folder, modify) → its number; the same one if it is watched already"""
    cdef FsWatch *x = l_check_watch(L)
    cdef Span path = l_check_span(L, 2)
    cdef FsJob *j
    if x.stopped:
        return l_push_error(L, b"watch", EBADF)
    j = l_file_job(L, x.file, fs_watch_add, fs_finish_seek)
    if j.job.error == 0:
        fs_job_path(j, path)
        j.flags = lua_toboolean(L, 3)
    return l_fs_wait(L, j)


cdef int l_watch_remove(lua_State *L) noexcept nogil:
    """watch_remove(watch, number): a folder that is of no interest any more"""
    cdef FsWatch *x = l_check_watch(L)
    if not x.stopped:
        inotify_rm_watch(x.watch.fd, <int>luaL_checkinteger(L, 2))
    return 0


cdef int l_watch_stop(lua_State *L) noexcept nogil:
    fs_watch_stop(l_check_watch(L))
    return 0


cdef int l_watch_task(lua_State *L) noexcept nogil:
    """watch_task(fn): run fn on a coroutine of its own from the next turn on, until it or its state ends."""
    cdef State *s = l_state(L)
    cdef int function
    luaL_checktype(L, 1, LUA_TFUNCTION)
    lua_settop(L, 1)
    function = luaL_ref(L, LUA_REGISTRYINDEX)
    lua_spawn_later(s.worker, s, function, ROLE_WATCH)
    luaL_unref(L, LUA_REGISTRYINDEX, function)
    return 0


cdef void lua_fs_watch_open(lua_State *L, State *s) noexcept nogil:
    """Add to the table core.fs on top of the stack."""
    l_named_metatable(L, b"heart.watch", l_watch_collect)
    core_put(L, s, b"watch", l_fs_watch)
    core_put(L, s, b"watch_add", l_watch_add)
    core_put(L, s, b"watch_remove", l_watch_remove)
    core_put(L, s, b"watch_take", l_watch_take)
    core_put(L, s, b"watch_wait", l_watch_wait)
    core_put(L, s, b"watch_stop", l_watch_stop)
    core_put(L, s, b"watch_task", l_watch_task)
