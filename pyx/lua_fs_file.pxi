# Open files for Lua: a userdata "heart.file" that holds an FsFile. What buffers and reads lines is
# lua_stdlib/heart/v1/fs.lua.
# Invariants:
#   - one job at a time has a file; another call meanwhile fails with EBUSY;
#   - a descriptor is closed on the pool: by file_close, or when neither Lua nor a job holds the file any more.


# ---- Life ------------------------------------------------------------------------------------------------

cdef FsFile *fs_file_new(int fd, Span name) noexcept nogil:
    """Held once. NULL: out of memory, and `fd` stays the caller's."""
    cdef FsFile *f = <FsFile *>calloc(1, sizeof(FsFile))
    if f == NULL:
        return NULL
    if buf_append(&f.name, name.p, name.n) != OK or buf_put(&f.name, 0) != OK:
        buf_free(&f.name)
        free(f)
        return NULL
    f.fd = fd
    f.holders = 1
    return f


cdef void fs_file_let_go(FsFile *f) noexcept nogil:
    """One holder less."""
    f.holders -= 1
    if f.holders == 0:
        fs_file_leave(f)
        buf_free(&f.name)
        free(f)


cdef void fs_file_release(FsFile *f) noexcept nogil:
    """The job that had it has ended."""
    f.busy = 0
    if f.closed:
        fs_file_leave(f)
    fs_file_let_go(f)


cdef void fs_file_leave(FsFile *f) noexcept nogil:
    """Close the descriptor without waiting for that."""
    cdef FsJob *j
    if f.fd < 0:
        return
    j = <FsJob *>calloc(1, sizeof(FsJob))
    if j == NULL:
        close(f.fd)
    else:
        j.fd = f.fd
        job_leave(worker_self(), &j.job, fs_close_left)
    f.fd = -1


cdef void fs_close_left(Job *job) noexcept nogil:
    close((<FsJob *>job).fd)
    free(job)


cdef int l_file_collect(lua_State *L) noexcept nogil:
    cdef FsFile **box = <FsFile **>lua_touserdata(L, 1)
    if box[0] != NULL:
        fs_file_let_go(box[0])
    box[0] = NULL
    return 0


# ---- Opening ---------------------------------------------------------------------------------------------

cdef int l_fs_open(lua_State *L) noexcept nogil:
    """open(path, mode) → file; the modes are those of io.open, and "x" behind "w": only if it is new"""
    cdef int flags = open_flags(l_check_span(L, 2))
    cdef FsJob *j
    if flags < 0:
        return luaL_argerror(L, 2, b"expected a mode such as r, w, a, r+, w+, a+ or wx")
    j = l_fs_job(L, 1, fs_open, fs_finish_open)
    j.open_flags = flags
    if not flags & (O_WRONLY | O_RDWR):
        fs_job_archived(j)
    return l_fs_wait(L, j)


cdef int open_flags(Span mode) noexcept nogil:
    """Those of open(2); -1: no such mode."""
    cdef bint both = False
    cdef int flags = 0
    cdef size_t i
    if mode.n == 0:
        return -1
    for i in range(1, mode.n):
        if mode.p[i] == c'+':
            both = True
        elif mode.p[i] == c'x' and mode.p[0] == c'w':
            flags |= O_EXCL
        elif mode.p[i] != c'b':
            return -1
    if mode.p[0] == c'w':
        flags |= O_CREAT | O_TRUNC
    elif mode.p[0] == c'a':
        flags |= O_CREAT | O_APPEND
    elif mode.p[0] != c'r':
        return -1
    if both:
        return flags | O_RDWR
    return flags | (O_RDONLY if mode.p[0] == c'r' else O_WRONLY)


cdef int l_fs_temp_file(lua_State *L) noexcept nogil:
    """temp_file(folder and beginning of its name, end of its name) → file, path"""
    return l_fs_wait(L, l_fs_job(L, 2, fs_temp_file, fs_finish_temp))


cdef int fs_finish_open(Coro *co, Op *op) noexcept nogil:
    cdef FsJob *j = <FsJob *>op
    if j.job.error == 0:
        fs_push_file(co.L, j, Span(j.text.p, j.text.n - 1))
    if j.job.error:
        return fs_push_failure(co.L, j)
    fs_job_free(j)
    return 1


cdef int fs_finish_temp(Coro *co, Op *op) noexcept nogil:
    cdef FsJob *j = <FsJob *>op
    if j.job.error == 0:
        fs_push_file(co.L, j, buf_span(&j.data))
    if j.job.error:
        return fs_push_failure(co.L, j)
    lua_pushlstring(co.L, j.data.p, j.data.n)
    fs_job_free(j)
    return 2


cdef void fs_push_file(lua_State *L, FsJob *j, Span name) noexcept nogil:
    """The userdata of the file that the job has opened; Job.error if there is no memory for it."""
    cdef FsFile **box = <FsFile **>lua_newuserdata(L, sizeof(FsFile *))
    box[0] = NULL
    l_set_named_metatable(L, b"heart.file")
    box[0] = fs_file_new(j.fd, name)
    if box[0] == NULL:
        lua_pop(L, 1)
        j.job.error = ENOMEM
    else:
        j.fd = -1


# ---- Calls -----------------------------------------------------------------------------------------------

cdef FsFile *l_check_file(lua_State *L) noexcept nogil:
    return (<FsFile **>luaL_checkudata(L, 1, b"heart.file"))[0]


cdef FsJob *l_file_job(lua_State *L, FsFile *f, void (*run)(Job *) noexcept nogil,
                       int (*finish)(Coro *, Op *) noexcept nogil) noexcept nogil:
    """A job with the file. One that is closed, or that another coroutine uses, fails before it begins."""
    cdef FsJob *j = l_fs_new(L, run, finish)
    if f.closed:
        j.job.error = EBADF
    elif f.busy:
        j.job.error = EBUSY
    if j.job.error:
        buf_append(&j.text, f.name.p, f.name.n)
        return j
    f.busy = 1
    f.holders += 1
    j.file = f
    return j


cdef int l_file_read(lua_State *L) noexcept nogil:
    """file_read(file, n) → at most n bytes, "" at the end"""
    cdef FsFile *f = l_check_file(L)
    cdef double n = luaL_checknumber(L, 2)
    cdef FsJob *j
    if not 1 <= n <= FS_READ_MAX:
        return luaL_argerror(L, 2, b"expected a positive number of bytes")
    j = l_file_job(L, f, fs_file_read, fs_finish_data)
    j.limit = <uint64_t>n
    return l_fs_wait(L, j)


cdef int l_file_write(lua_State *L) noexcept nogil:
    """file_write(file, data) → true"""
    cdef FsFile *f = l_check_file(L)
    cdef Buf *given = l_check_bytes(L, 2)
    cdef FsJob *j = l_file_job(L, f, fs_file_write, fs_finish_done)
    if j.job.error == 0:
        fs_job_data(L, j, given)
    return l_fs_wait(L, j)


cdef int l_file_seek(lua_State *L) noexcept nogil:
    """file_seek(file, "set"|"cur"|"end", offset) → the position from the beginning"""
    cdef FsFile *f = l_check_file(L)
    cdef Span whence = l_check_span(L, 2)
    cdef double offset = luaL_checknumber(L, 3)
    cdef FsJob *j
    cdef int how = SEEK_SET
    if span_equal(whence, b"cur", 3):
        how = SEEK_CUR
    elif span_equal(whence, b"end", 3):
        how = SEEK_END
    elif not span_equal(whence, b"set", 3):
        return luaL_argerror(L, 2, b"expected \"set\", \"cur\" or \"end\"")
    if not -9007199254740992.0 <= offset <= 9007199254740992.0:
        return luaL_argerror(L, 3, b"expected a whole number")
    j = l_file_job(L, f, fs_file_seek, fs_finish_seek)
    j.whence = how
    j.at = <int64_t>offset
    return l_fs_wait(L, j)


cdef int fs_finish_seek(Coro *co, Op *op) noexcept nogil:
    cdef FsJob *j = <FsJob *>op
    if j.job.error:
        return fs_push_failure(co.L, j)
    lua_pushnumber(co.L, <double>j.at)
    fs_job_free(j)
    return 1


cdef int l_file_sync(lua_State *L) noexcept nogil:
    """file_sync(file) → true when all that was written is on the disk"""
    return l_fs_wait(L, l_file_job(L, l_check_file(L), fs_file_sync, fs_finish_done))


cdef int l_file_truncate(lua_State *L) noexcept nogil:
    """file_truncate(file, size) → true"""
    cdef FsFile *f = l_check_file(L)
    cdef double size = luaL_checknumber(L, 2)
    cdef FsJob *j
    if not 0 <= size <= 9007199254740992.0:
        return luaL_argerror(L, 2, b"expected a number of bytes")
    j = l_file_job(L, f, fs_file_truncate, fs_finish_done)
    j.at = <int64_t>size
    return l_fs_wait(L, j)


cdef int l_file_stat(lua_State *L) noexcept nogil:
    """file_stat(file) → the table of heart.fs.stat"""
    return l_fs_wait(L, l_file_job(L, l_check_file(L), fs_file_stat, fs_finish_stat))


cdef int l_file_close(lua_State *L) noexcept nogil:
    """file_close(file) → true. While another coroutine uses it, it is closed as soon as that is done."""
    cdef FsFile *f = l_check_file(L)
    cdef FsJob *j
    if f.busy and not f.closed:
        f.closed = 1
        lua_pushboolean(L, 1)
        return 1
    j = l_file_job(L, f, fs_file_close, fs_finish_done)
    f.closed = 1
    return l_fs_wait(L, j)
