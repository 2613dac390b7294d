# Files for Lua: the table core.fs that lua_stdlib/heart/v1/fs.lua builds on. Each function makes an FsJob, which the
# pool runs (fs.pxi), and its coroutine waits for it. Failures are nil, "path: reason", "ENAME".
# Open files are lua_fs_file.pxi.
#
# The rules of this boundary: arguments are checked before a job is made, and between its making and l_wait_op nothing
# longjmps. A job whose coroutine is gone is freed by fs_job_drop, with whatever it has opened or read.

cdef enum:
    FS_READ_MAX = 0x7FFFFF00        # bytes: what a Lua string can hold


# ---- Jobs ------------------------------------------------------------------------------------------------

cdef FsJob *l_fs_new(lua_State *L, void (*run)(Job *) noexcept nogil,
                     int (*finish)(Coro *, Op *) noexcept nogil) noexcept nogil:
    """A job without a path."""
    cdef FsJob *j = <FsJob *>calloc(1, sizeof(FsJob))
    if j == NULL:
        luaL_error(L, b"not enough memory")
    job_init(&j.job, worker_self(), run)
    j.job.op.finish = finish
    j.job.op.drop = fs_job_drop
    j.fd = -1
    j.limit = FS_READ_MAX
    return j


cdef FsJob *l_fs_job(lua_State *L, int paths, void (*run)(Job *) noexcept nogil,
                     int (*finish)(Coro *, Op *) noexcept nogil) noexcept nogil:
    """A job about the path at index 1, or about those at 1 and 2."""
    cdef Span first = l_check_span(L, 1)
    cdef Span second
    cdef FsJob *j
    if paths == 2:
        second = l_check_span(L, 2)
    j = l_fs_new(L, run, finish)
    fs_job_path(j, first)
    if paths == 2:
        fs_job_second(j, second)
    return j


cdef void fs_job_path(FsJob *j, Span path) noexcept nogil:
    """A path with a NUL in it can not be meant: the job fails before it begins."""
    if buf_append(&j.text, path.p, path.n) != OK or buf_put(&j.text, 0) != OK:
        j.job.error = ENOMEM
    elif strlen(j.text.p) != path.n:
        j.job.error = EINVAL


cdef void fs_job_second(FsJob *j, Span path) noexcept nogil:
    j.second = j.text.n
    if buf_append(&j.text, path.p, path.n) != OK or buf_put(&j.text, 0) != OK:
        j.job.error = ENOMEM
    elif j.job.error == 0 and strlen(fs_second(j)) != path.n:
        j.job.error = EINVAL
        j.about_second = 1


cdef void fs_job_archived(FsJob *j) noexcept nogil:
    """The first path is only read: it may mean a file of the archive."""
    j.archive = &j.job.worker.server.archive
    if j.archive.n and j.text.n:
        j.inside = archive_find_path(j.archive, Span(j.text.p, j.text.n - 1))


cdef int l_fs_wait(lua_State *L, FsJob *j) noexcept nogil:
    """`return l_fs_wait(...)`: have the job done; its finish gives the results."""
    cdef Coro here
    if j.job.error:
        here.L = L
        return j.job.op.finish(&here, &j.job.op)
    return l_wait_op(L, &j.job.op)


cdef void fs_job_free(FsJob *j) noexcept nogil:
    if j.file != NULL:
        fs_file_release(j.file)
    if j.fd >= 0:
        close(j.fd)
    free(<void *>j.folder.within.p)
    free(j.names)
    buf_free(&j.text)
    buf_free(&j.data)
    free(j)


cdef void fs_job_drop(Worker *w, Op *op) noexcept nogil:
    fs_job_free(<FsJob *>op)


# ---- Results ---------------------------------------------------------------------------------------------

cdef int l_push_error(lua_State *L, const char *what, int error) noexcept nogil:
    """nil, "what: reason", "ENAME"."""
    lua_pushnil(L)
    lua_pushfstring(L, b"%s: %s", what, strerror(error))
    lua_pushstring(L, error_name(error))
    return 3


cdef int fs_push_failure(lua_State *L, FsJob *j) noexcept nogil:
    """The job is freed."""
    cdef const char *what = b""
    if j.file != NULL:
        what = j.file.name.p
    elif j.text.n > j.second:
        what = fs_second(j) if j.about_second else fs_path(j)
    l_push_error(L, what, j.job.error)
    fs_job_free(j)
    return 3


cdef int fs_finish_done(Coro *co, Op *op) noexcept nogil:
    """true"""
    cdef FsJob *j = <FsJob *>op
    if j.job.error:
        return fs_push_failure(co.L, j)
    fs_job_free(j)
    lua_pushboolean(co.L, 1)
    return 1


cdef int fs_finish_data(Coro *co, Op *op) noexcept nogil:
    """What was read."""
    cdef FsJob *j = <FsJob *>op
    if j.job.error:
        return fs_push_failure(co.L, j)
    l_push_span(co.L, buf_span(&j.data))
    fs_job_free(j)
    return 1


cdef int fs_finish_stat(Coro *co, Op *op) noexcept nogil:
    cdef FsJob *j = <FsJob *>op
    if j.job.error:
        return fs_push_failure(co.L, j)
    fs_push_info(co.L, &j.info)
    fs_job_free(j)
    return 1


cdef const char *kind_name(char letter) noexcept nogil:
    if letter == c'f':
        return b"file"
    if letter == c'd':
        return b"directory"
    if letter == c'l':
        return b"link"
    if letter == c'p':
        return b"fifo"
    if letter == c's':
        return b"socket"
    if letter == c'c':
        return b"character device"
    if letter == c'b':
        return b"block device"
    return b"unknown"


cdef void fs_set_number(lua_State *L, const char *name, double value) noexcept nogil:
    lua_pushnumber(L, value)
    lua_setfield(L, -2, name)


cdef void fs_push_info(lua_State *L, const FsInfo *s) noexcept nogil:
    """The table of heart.fs.stat."""
    lua_createtable(L, 0, 12)
    lua_pushstring(L, kind_name(mode_kind(s.mode)))
    lua_setfield(L, -2, b"kind")
    fs_set_number(L, b"size", <double>s.size)
    fs_set_number(L, b"mode", s.mode & 0o7777)
    fs_set_number(L, b"mtime", s.mtime)
    fs_set_number(L, b"atime", s.atime)
    fs_set_number(L, b"ctime", s.ctime)
    fs_set_number(L, b"uid", s.uid)
    fs_set_number(L, b"gid", s.gid)
    fs_set_number(L, b"links", <double>s.links)
    fs_set_number(L, b"inode", <double>s.inode)
    fs_set_number(L, b"device", <double>s.device)


cdef int fs_finish_list(Coro *co, Op *op) noexcept nogil:
    """The names, and a table of their kinds."""
    cdef FsJob *j = <FsJob *>op
    cdef lua_State *L = co.L
    cdef uint32_t i
    if j.job.error:
        return fs_push_failure(L, j)
    lua_createtable(L, <int>j.nnames, 0)
    lua_createtable(L, 0, <int>j.nnames)
    for i in range(j.nnames):
        lua_pushstring(L, j.names[i] + 1)
        lua_pushvalue(L, -1)
        lua_rawseti(L, -4, <int>i + 1)
        lua_pushstring(L, kind_name(j.names[i][0]))
        lua_rawset(L, -3)
    fs_job_free(j)
    return 2


# ---- Whole files -----------------------------------------------------------------------------------------

cdef int l_fs_read(lua_State *L) noexcept nogil:
    """read(path[, max]) → its content; a file of more than `max` bytes is refused: EFBIG"""
    cdef double most = FS_READ_MAX
    cdef FsJob *j
    if not l_absent(L, 2):
        most = luaL_checknumber(L, 2)
        if not most >= 0:
            return luaL_argerror(L, 2, b"expected a number of bytes")
    j = l_fs_job(L, 1, fs_read, fs_finish_data)
    if most < FS_READ_MAX:
        j.limit = <uint64_t>most
    fs_job_archived(j)
    return l_fs_wait(L, j)


cdef int l_fs_write(lua_State *L) noexcept nogil:
    """write(path, data, append, atomic[, mode]) → true. `data` is a string or a heart.bytes, which is empty then."""
    cdef bint has_mode = not l_absent(L, 5)
    cdef uint32_t mode = <uint32_t>luaL_checkinteger(L, 5) if has_mode else 0
    cdef Buf *bytes_ = l_check_bytes(L, 2)
    cdef FsJob *j = l_fs_job(L, 1, fs_write, fs_finish_done)
    fs_job_data(L, j, bytes_)
    j.mode = mode
    if has_mode:
        j.flags |= FS_MODE
    if lua_toboolean(L, 3):
        j.flags |= FS_APPEND
    if lua_toboolean(L, 4):
        j.flags |= FS_ATOMIC
    return l_fs_wait(L, j)


cdef int l_fs_copy(lua_State *L) noexcept nogil:
    """copy(from, to) → true"""
    cdef FsJob *j = l_fs_job(L, 2, fs_copy, fs_finish_done)
    j.archive = &j.job.worker.server.archive
    if j.job.error == 0:
        j.inside = archive_find_path(j.archive, Span(j.text.p, j.second - 1))
    return l_fs_wait(L, j)


# ---- Names and attributes --------------------------------------------------------------------------------

cdef int l_fs_stat(lua_State *L) noexcept nogil:
    """stat(path, nofollow) → the table of heart.fs.stat"""
    cdef FsJob *j = l_fs_job(L, 1, fs_stat, fs_finish_stat)
    if lua_toboolean(L, 2):
        j.flags |= FS_NOFOLLOW
    fs_job_archived(j)
    if j.inside == NULL and not fs_job_folder(j):
        return l_fs_wait(L, j)
    j.info.mode = S_IFREG | 0o444 if j.inside != NULL else S_IFDIR | 0o555
    j.info.links = 1
    if j.inside != NULL:
        j.info.size = <int64_t>j.inside.size
        j.info.atime = j.info.mtime = j.info.ctime = <double>j.inside.mtime
    fs_push_info(L, &j.info)
    fs_job_free(j)
    return 1


cdef bint fs_job_folder(FsJob *j) noexcept nogil:
    """Whether the path means a folder of the archive; then it is j.folder."""
    if j.job.error or archive_folder(&j.job.worker.server.archive, Span(j.text.p, j.text.n - 1), &j.folder) != OK:
        j.folder.archive = NULL
        j.folder.within = Span(NULL, 0)
    return j.folder.archive != NULL


cdef int l_fs_list(lua_State *L) noexcept nogil:
    """list(path) → names in order, {name = kind}"""
    cdef FsJob *j = l_fs_job(L, 1, fs_list, fs_finish_list)
    fs_job_folder(j)
    return l_fs_wait(L, j)


cdef int l_fs_mkdir(lua_State *L) noexcept nogil:
    """mkdir(path, parents[, mode]) → true"""
    cdef bint has_mode = not l_absent(L, 3)
    cdef uint32_t mode = <uint32_t>luaL_checkinteger(L, 3) if has_mode else 0
    cdef FsJob *j = l_fs_job(L, 1, fs_mkdir, fs_finish_done)
    j.mode = mode
    if has_mode:
        j.flags |= FS_MODE
    if lua_toboolean(L, 2):
        j.flags |= FS_PARENTS
    return l_fs_wait(L, j)


cdef int l_fs_remove(lua_State *L) noexcept nogil:
    """remove(path, tree) → true"""
    cdef FsJob *j = l_fs_job(L, 1, fs_remove, fs_finish_done)
    if lua_toboolean(L, 2):
        j.flags |= FS_TREE
    return l_fs_wait(L, j)


cdef int l_fs_rename(lua_State *L) noexcept nogil:
    """rename(from, to) → true"""
    return l_fs_wait(L, l_fs_job(L, 2, fs_rename, fs_finish_done))


cdef int l_fs_symlink(lua_State *L) noexcept nogil:
    """symlink(target, path) → true"""
    return l_fs_wait(L, l_fs_job(L, 2, fs_symlink, fs_finish_done))


cdef int l_fs_readlink(lua_State *L) noexcept nogil:
    """readlink(path) → its target"""
    return l_fs_wait(L, l_fs_job(L, 1, fs_readlink, fs_finish_data))


cdef int l_fs_realpath(lua_State *L) noexcept nogil:
    """realpath(path) → absolute, without links"""
    return l_fs_wait(L, l_fs_job(L, 1, fs_realpath, fs_finish_data))


cdef int l_fs_chmod(lua_State *L) noexcept nogil:
    """chmod(path, mode) → true"""
    cdef uint32_t mode = <uint32_t>luaL_checkinteger(L, 2)
    cdef FsJob *j = l_fs_job(L, 1, fs_chmod, fs_finish_done)
    j.mode = mode
    return l_fs_wait(L, j)


cdef int l_fs_temp_dir(lua_State *L) noexcept nogil:
    """temp_dir(folder and beginning of its name) → path"""
    return l_fs_wait(L, l_fs_job(L, 1, fs_temp_dir, fs_finish_data))


# ---- Bytes: a string on its way to the pool, copied over several turns ---------------------------------------

cdef Buf *l_check_bytes(lua_State *L, int narg) noexcept nogil:
    """The heart.bytes at `narg`; NULL: it is a string."""
    if lua_type(L, narg) == LUA_TUSERDATA:
        return <Buf *>luaL_checkudata(L, narg, b"heart.bytes")
    l_check_span(L, narg)
    return NULL


cdef void fs_job_data(lua_State *L, FsJob *j, Buf *given) noexcept nogil:
    """What the job writes: `given`, which is emptied, or the string at index 2."""
    cdef Span data
    if given != NULL:
        j.data = given[0]
        memset(given, 0, sizeof(Buf))
        return
    data.p = lua_tolstring(L, 2, &data.n)
    if buf_append(&j.data, data.p, data.n) != OK:
        j.job.error = ENOMEM


cdef int l_fs_bytes(lua_State *L) noexcept nogil:
    """bytes(size) → a heart.bytes with room for so many; nil: out of memory"""
    cdef size_t n = <size_t>luaL_checknumber(L, 1)
    cdef Buf *b = <Buf *>lua_newuserdata(L, sizeof(Buf))
    memset(b, 0, sizeof(Buf))
    l_set_named_metatable(L, b"heart.bytes")
    return 1 if buf_reserve(b, n) == OK else l_nil(L)


cdef int l_fs_add(lua_State *L) noexcept nogil:
    """add(bytes, s, at, n): append n bytes of `s` from position `at` on, or what is left of it"""
    cdef Buf *b = <Buf *>luaL_checkudata(L, 1, b"heart.bytes")
    cdef Span s = l_check_span(L, 2)
    cdef size_t at = <size_t>luaL_checknumber(L, 3) - 1
    cdef size_t n = <size_t>luaL_checknumber(L, 4)
    if at > s.n:
        at = s.n
    if n > s.n - at:
        n = s.n - at
    if buf_append(b, s.p + at, n) != OK:
        return luaL_error(L, b"not enough memory")
    return 0


cdef int l_bytes_collect(lua_State *L) noexcept nogil:
    buf_free(<Buf *>lua_touserdata(L, 1))
    return 0


# ---- Opening ---------------------------------------------------------------------------------------------

cdef void l_named_metatable(lua_State *L, const char *name, lua_CFunction collect) noexcept nogil:
    """Make the metatable of a kind of userdata that luaL_checkudata knows by its name."""
    luaL_newmetatable(L, name)
    lua_pushcclosure(L, collect, 0)
    lua_setfield(L, -2, b"__gc")
    lua_pushboolean(L, 0)
    lua_setfield(L, -2, b"__metatable")
    lua_pop(L, 1)


cdef void l_set_named_metatable(lua_State *L, const char *name) noexcept nogil:
    """... and give it to the userdata on top of the stack."""
    lua_getfield(L, LUA_REGISTRYINDEX, name)
    lua_setmetatable(L, -2)


cdef void lua_fs_open(lua_State *L, State *s) noexcept nogil:
    """Push the table core.fs."""
    l_named_metatable(L, b"heart.bytes", l_bytes_collect)
    l_named_metatable(L, b"heart.file", l_file_collect)
    lua_createtable(L, 0, 28)
    core_put(L, s, b"read", l_fs_read)
    core_put(L, s, b"write", l_fs_write)
    core_put(L, s, b"copy", l_fs_copy)
    core_put(L, s, b"stat", l_fs_stat)
    core_put(L, s, b"list", l_fs_list)
    core_put(L, s, b"mkdir", l_fs_mkdir)
    core_put(L, s, b"remove", l_fs_remove)
    core_put(L, s, b"rename", l_fs_rename)
    core_put(L, s, b"symlink", l_fs_symlink)
    core_put(L, s, b"readlink", l_fs_readlink)
    core_put(L, s, b"realpath", l_fs_realpath)
    core_put(L, s, b"chmod", l_fs_chmod)
    core_put(L, s, b"temp_dir", l_fs_temp_dir)
    core_put(L, s, b"bytes", l_fs_bytes)
    core_put(L, s, b"add", l_fs_add)
    core_put(L, s, b"open", l_fs_open)
    core_put(L, s, b"temp_file", l_fs_temp_file)
    core_put(L, s, b"file_read", l_file_read)
    core_put(L, s, b"file_write", l_file_write)
    core_put(L, s, b"file_seek", l_file_seek)
    core_put(L, s, b"file_sync", l_file_sync)
    core_put(L, s, b"file_truncate", l_file_truncate)
    core_put(L, s, b"file_stat", l_file_stat)
    core_put(L, s, b"file_close", l_file_close)
    lua_fs_watch_open(L, s)
