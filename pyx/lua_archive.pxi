# The archive for Lua: the script itself, and the table core.archive that lua_stdlib/heart/bundle.lua builds on.
# Paths are what an application writes; only relative ones can be in the archive.


cdef void lua_archive_open(lua_State *L, State *s) noexcept nogil:
    """Push the table, nil without an archive."""
    if s.worker.server.archive.n == 0:
        lua_pushnil(L)
        return
    lua_createtable(L, 0, 5)
    core_put(L, s, b"has", l_archive_has)
    core_put(L, s, b"read", l_archive_read)
    core_put(L, s, b"open", l_archive_open)
    core_put(L, s, b"keep", l_archive_keep)
    core_put(L, s, b"close", l_archive_close)


cdef int script_load(State *s, lua_State *L) noexcept nogil:
    """Push the chunk of the script, from the archive or from its file; else a message, and the code of Lua's error."""
    cdef Server *g = s.worker.server
    cdef ArchiveFile *f = archive_find_path(&g.archive, buf_span(&g.script))
    cdef char *text
    cdef int rc = LUA_ERRRUN
    if f == NULL:
        s.enforced = 1
        rc = luaL_loadfile(L, g.script.p)
        s.enforced = 0
        return rc
    text = <char *>malloc(f.size + 1)
    lua_pushfstring(L, b"@%s", g.script.p)
    if text == NULL or archive_read(&g.archive, f, text) != OK:
        lua_pushfstring(L, b"%s: %s", g.script.p, archive_reason())
    else:
        s.enforced = 1
        rc = luaL_loadbuffer(L, text, f.size, lua_tostring_z(L, -1))
        s.enforced = 0
    free(text)
    lua_remove(L, -2)
    return rc


cdef const char *archive_reason() noexcept nogil:
    """Why a file of the archive could not be had, by errno."""
    if errno == 0:
        return b"the executable has been cut short since it was started"
    return strerror(errno)


cdef ArchiveFile *l_archive_find(lua_State *L) noexcept nogil:
    """The file that the path at index 1 means; NULL if it is not in the archive."""
    return archive_find_path(&l_state(L).worker.server.archive, l_check_span(L, 1))


cdef int l_archive_fail(lua_State *L) noexcept nogil:
    """Return false and a message."""
    cdef const char *reason = archive_reason()
    lua_pushboolean(L, 0)
    lua_pushfstring(L, b"%s: %s", lua_tostring_z(L, 1), reason)
    return 2


cdef int l_archive_has(lua_State *L) noexcept nogil:
    """has(path) → whether it is a file of the archive"""
    lua_pushboolean(L, l_archive_find(L) != NULL)
    return 1


cdef int l_archive_read(lua_State *L) noexcept nogil:
    """read(path) → its content; nil: not in the archive; false and a message: it could not be read"""
    cdef ArchiveFile *f = l_archive_find(L)
    cdef char *text
    if f == NULL:
        return 0
    text = <char *>lua_newuserdata(L, f.size + 1)
    if archive_read(&l_state(L).worker.server.archive, f, text) != OK:
        return l_archive_fail(L)
    lua_pushlstring(L, text, f.size)
    return 1


cdef int l_archive_open(lua_State *L) noexcept nogil:
    """open(path) → a descriptor of a copy in memory, to be closed; nil and false as read"""
    return l_archive_copied(L, False)


cdef int l_archive_keep(lua_State *L) noexcept nogil:
    """keep(path) → a descriptor that all states share, not to be closed; nil and false as read"""
    return l_archive_copied(L, True)


cdef int l_archive_copied(lua_State *L, bint keep) noexcept nogil:
    cdef ArchiveFile *f = l_archive_find(L)
    cdef const Archive *a = &l_state(L).worker.server.archive
    cdef int fd
    if f == NULL:
        return 0
    fd = archive_copy_kept(a, f) if keep else archive_copy(a, f)
    if fd < 0:
        return l_archive_fail(L)
    lua_pushinteger(L, fd)
    return 1


cdef int l_archive_close(lua_State *L) noexcept nogil:
    """close(fd): a descriptor that open has given"""
    close(<int>luaL_checkinteger(L, 1))
    return 0
