# Files of applications: what a thread of the pool does for each call. Every function here is the `run` of an FsJob, or
# a part of one: it may block as long as it likes, touches its job only, and leaves an errno in Job.error.
# Invariants:
#   - every descriptor has O_CLOEXEC; one that a failed step leaves is closed here;
#   - what an application's file in the executable is read from is the archive; all else, and every change, is the disk.
# Not for: Lua (lua_fs, lua_fs_file), listing (fs_list) and removing (fs_remove) folders, request paths (static).

cdef enum:
    FS_CHUNK = 131072               # bytes moved by one step of a copy
    FS_TRIES = 100                  # names that are tried for a new file
    FS_NEW_MODE = 0o666             # of a new file, less the umask
    FS_NEW_FOLDER = 0o777


cdef inline const char *fs_path(FsJob *j) noexcept nogil:
    return j.text.p


cdef inline const char *fs_second(FsJob *j) noexcept nogil:
    return j.text.p + j.second


cdef inline void fs_fail(FsJob *j) noexcept nogil:
    """The step before has failed. (errno 0: the executable has been cut short.)"""
    j.job.error = errno if errno else EIO


cdef inline void fs_settle(FsJob *j, int rc) noexcept nogil:
    """The result of a system call."""
    if rc < 0:
        fs_fail(j)


# ---- Descriptors -----------------------------------------------------------------------------------------

cdef int fd_open(const char *path, int flags, uint32_t mode) noexcept nogil:
    """open(2) of anything but a folder. -1: errno."""
    global errno
    cdef file_info s
    cdef int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode)
    if fd >= 0 and info_of_fd(fd, &s) == 0 and s.st_mode & S_IFMT == S_IFDIR:
        close(fd)
        errno = EISDIR
        return -1
    return fd


cdef int fd_write_all(int fd, const char *p, size_t n) noexcept nogil:
    """0, or -1 and errno."""
    cdef ptrdiff_t written
    while n:
        written = write(fd, p, n)
        if written < 0:
            if errno == EINTR:
                continue
            return -1
        p += written
        n -= <size_t>written
    return 0


cdef int fd_read_all(int fd, Buf *b, uint64_t limit) noexcept nogil:
    """Append all up to the end of the file. -1: errno; EFBIG: more than `limit` bytes."""
    global errno
    cdef file_info s
    cdef ptrdiff_t n
    cdef uint64_t size = 0
    if info_of_fd(fd, &s) == 0 and s.st_mode & S_IFMT == S_IFREG:
        size = <uint64_t>s.st_size
    if size > limit:
        errno = EFBIG
        return -1
    if buf_reserve(b, <size_t>size + 1) != OK:
        errno = ENOMEM
        return -1
    while True:
        if buf_reserve(b, 1 if b.cap > b.n else 65536) != OK:
            errno = ENOMEM
            return -1
        n = read(fd, b.p + b.n, b.cap - b.n)
        if n == 0:
            return 0
        if n < 0:
            if errno == EINTR:
                continue
            return -1
        b.n += <size_t>n
        if b.n > limit:
            errno = EFBIG
            return -1


cdef int fd_copy(int source, int to) noexcept nogil:
    """All that `source` has, by the file system itself where it can do that. -1: errno."""
    global errno
    cdef char *room
    cdef ptrdiff_t n
    while True:
        n = sys_copy_range(source, to, 1 << 30)
        if n <= 0:          # the end, or a file system that can not: then the rest is read and written
            break
    room = <char *>malloc(FS_CHUNK)
    if room == NULL:
        errno = ENOMEM
        return -1
    while True:
        n = read(source, room, FS_CHUNK)
        if n < 0 and errno == EINTR:
            continue
        if n <= 0 or fd_write_all(to, room, <size_t>n) < 0:
            break
    free(room)
    return 0 if n == 0 else -1


cdef int fs_open_source(FsJob *j) noexcept nogil:
    """The first path, for reading: a copy in memory if it is in the archive. -1: errno."""
    cdef int fd
    if j.inside == NULL:
        return fd_open(fs_path(j), O_RDONLY, 0)
    fd = archive_copy(j.archive, j.inside)
    if fd >= 0:
        lseek(fd, 0, SEEK_SET)
    return fd


cdef int fs_close(FsJob *j, int fd, int rc) noexcept nogil:
    """Close; the first failure of the two is the job's."""
    fs_settle(j, rc)
    if close(fd) < 0 and rc >= 0:
        fs_fail(j)
    return j.job.error


# ---- Whole files -----------------------------------------------------------------------------------------

cdef void fs_read(Job *job) noexcept nogil:
    global errno
    cdef FsJob *j = <FsJob *>job
    cdef int fd
    if j.inside != NULL:
        errno = EFBIG
        if j.inside.size > j.limit or fs_read_archived(j) != OK:
            fs_fail(j)
        return
    fd = fd_open(fs_path(j), O_RDONLY, 0)
    if fd < 0:
        fs_fail(j)
    else:
        fs_close(j, fd, fd_read_all(fd, &j.data, j.limit))


cdef int fs_read_archived(FsJob *j) noexcept nogil:
    global errno
    if buf_reserve(&j.data, j.inside.size + 1) != OK:
        errno = ENOMEM
        return ERR_MEMORY
    if archive_read(j.archive, j.inside, j.data.p) != OK:
        return ERR_SYSTEM
    j.data.n = j.inside.size
    return OK


cdef void fs_write(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    if j.flags & FS_ATOMIC:
        fs_write_atomic(j)
    else:
        fs_write_plain(j)
    buf_free(&j.data)           # here, not on the worker: much memory takes its time


cdef void fs_write_plain(FsJob *j) noexcept nogil:
    cdef int how = O_APPEND if j.flags & FS_APPEND else O_TRUNC
    cdef int fd = fd_open(fs_path(j), O_WRONLY | O_CREAT | how, j.mode if j.flags & FS_MODE else FS_NEW_MODE)
    if fd < 0:
        fs_fail(j)
        return
    if j.flags & FS_MODE and fchmod(fd, j.mode) < 0:
        fs_close(j, fd, -1)
        return
    fs_close(j, fd, fd_write_all(fd, j.data.p, j.data.n))


cdef void fs_write_atomic(FsJob *j) noexcept nogil:
    """Into a new file beside the old one, on the disk, and under its name then. A link's target is replaced, not it."""
    cdef char *real = realpath(fs_path(j), NULL)
    cdef const char *path = real if real != NULL else fs_path(j)
    cdef Buf name
    cdef int fd
    memset(&name, 0, sizeof(Buf))
    fd = fs_create_beside(path, &name)
    if fd < 0:
        fs_fail(j)
    elif fs_close(j, fd, fs_fill(j, fd, path)) == 0:
        if rename(name.p, path) < 0 or folder_sync(path) < 0:
            fs_fail(j)
    if fd >= 0 and j.job.error:
        unlink(name.p)
    buf_free(&name)
    free(real)


cdef int fs_fill(FsJob *j, int fd, const char *path) noexcept nogil:
    """Give the new file its content and the mode of the one that it replaces, and wait for the disk. -1: errno."""
    cdef file_info s
    if j.flags & FS_MODE:
        if fchmod(fd, j.mode) < 0:
            return -1
    elif info_of(path, &s) == 0 and fchmod(fd, s.st_mode & 0o7777) < 0:
        return -1
    if fd_write_all(fd, j.data.p, j.data.n) < 0:
        return -1
    return fsync(fd)


cdef int fs_create_beside(const char *path, Buf *name) noexcept nogil:
    """A new file in the folder of `path`; its name, with a NUL behind it, in `name`. -1: errno."""
    cdef const char *end = path + strlen(path)
    while end > path and (end - 1)[0] != c'/':
        end -= 1
    return fs_create(Span(path, <size_t>(end - path)), Span(b".heart-", 7), Span(b"", 0), name)


cdef int fs_create(Span folder, Span before, Span behind, Buf *name) noexcept nogil:
    """A new file named `folder` (with a slash at its end, or empty), `before`, random letters, `behind`, open for both.
    -1: errno. The caller frees `name`."""
    cdef int i
    cdef int fd = -1
    for i in range(FS_TRIES):
        if fs_random_name(folder, before, behind, name) != OK:
            return -1
        fd = open(name.p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FS_NEW_MODE)
        if fd >= 0 or errno != EEXIST:
            break
    return fd


cdef int fs_random_name(Span folder, Span before, Span behind, Buf *name) noexcept nogil:
    global errno
    cdef const char *letters = b"abcdefghijklmnopqrstuvwxyz012345"
    cdef uint8_t bits[10]
    cdef size_t i
    name.n = 0
    errno = ENOMEM
    if buf_append(name, folder.p, folder.n) != OK or buf_append(name, before.p, before.n) != OK or \
            buf_reserve(name, sizeof(bits) + behind.n + 1) != OK:
        return ERR_MEMORY
    if random_fill(&bits[0], sizeof(bits)) != 0:
        return ERR_SYSTEM
    for i in range(sizeof(bits)):
        name.p[name.n + i] = letters[bits[i] & 31]
    name.n += sizeof(bits)
    buf_append(name, behind.p, behind.n)
    return buf_put(name, 0)


cdef int folder_sync(const char *path) noexcept nogil:
    """Have the folder of `path` on the disk as it is now. -1: errno."""
    cdef const char *end = path + strlen(path)
    cdef Buf folder
    cdef int fd, rc
    memset(&folder, 0, sizeof(Buf))
    while end > path and (end - 1)[0] != c'/':
        end -= 1
    if buf_append(&folder, path, <size_t>(end - path)) != OK or buf_append(&folder, b".", 2) != OK:
        buf_free(&folder)
        return -1
    fd = open(folder.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    buf_free(&folder)
    if fd < 0:
        return -1
    rc = fsync(fd)
    fd_close_quietly(fd)
    return 0 if rc == 0 or errno == EINVAL else -1     # some file systems can not


cdef void fs_copy(Job *job) noexcept nogil:
    """The first path's content to the second, which gets its mode if it is new."""
    global errno
    cdef FsJob *j = <FsJob *>job
    cdef file_info s
    cdef file_info t
    cdef int source = fs_open_source(j)
    cdef int fd
    if source < 0 or info_of_fd(source, &s) < 0:
        fs_fail(j)
        if source >= 0:
            close(source)
        return
    fd = fd_open(fs_second(j), O_WRONLY | O_CREAT, FS_NEW_MODE if j.inside != NULL else s.st_mode & 0o777)
    if fd < 0:
        j.about_second = 1
        fs_fail(j)
    elif info_of_fd(fd, &t) == 0 and s.st_dev == t.st_dev and s.st_ino == t.st_ino:
        errno = EINVAL
        fs_close(j, fd, -1)
    elif t.st_mode & S_IFMT == S_IFREG and ftruncate(fd, 0) < 0:
        j.about_second = 1
        fs_close(j, fd, -1)
    else:
        fs_close(j, fd, fd_copy(source, fd))
    close(source)


# ---- Open files ------------------------------------------------------------------------------------------

cdef void fs_open(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    if j.open_flags & (O_WRONLY | O_RDWR):
        j.fd = fd_open(fs_path(j), j.open_flags, FS_NEW_MODE)
    else:
        j.fd = fs_open_source(j)
    fs_settle(j, j.fd)


cdef void fs_file_read(Job *job) noexcept nogil:
    """At most `limit` bytes, from where the file stands; none: the end."""
    cdef FsJob *j = <FsJob *>job
    cdef ptrdiff_t n
    if buf_reserve(&j.data, <size_t>j.limit) != OK:
        j.job.error = ENOMEM
        return
    while True:
        n = read(j.file.fd, j.data.p, <size_t>j.limit)
        if n >= 0 or errno != EINTR:
            break
    if n < 0:
        fs_fail(j)
    else:
        j.data.n = <size_t>n


cdef void fs_file_write(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    fs_settle(j, fd_write_all(j.file.fd, j.data.p, j.data.n))
    buf_free(&j.data)


cdef void fs_file_seek(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    j.at = lseek(j.file.fd, j.at, j.whence)
    if j.at < 0:
        fs_fail(j)


cdef void fs_file_sync(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    fs_settle(j, fsync(j.file.fd))


cdef void fs_file_truncate(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    fs_settle(j, ftruncate(j.file.fd, j.at))


cdef void fs_file_stat(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef file_info s
    memset(&s, 0, sizeof(s))
    fs_settle(j, info_of_fd(j.file.fd, &s))
    fs_info(&j.info, &s)


cdef void fs_file_close(Job *job) noexcept nogil:
    """The descriptor is gone, whatever close(2) says."""
    cdef FsJob *j = <FsJob *>job
    cdef int fd = j.file.fd
    j.file.fd = -1
    fs_settle(j, close(fd))


# ---- Names and attributes --------------------------------------------------------------------------------

cdef void fs_info(FsInfo *out, const file_info *s) noexcept nogil:
    out.mode = s.st_mode
    out.uid = s.st_uid
    out.gid = s.st_gid
    out.size = s.st_size
    out.device = s.st_dev
    out.inode = s.st_ino
    out.links = s.st_nlink
    out.atime = <double>s.st_atim.tv_sec + <double>s.st_atim.tv_nsec / 1e9
    out.mtime = <double>s.st_mtim.tv_sec + <double>s.st_mtim.tv_nsec / 1e9
    out.ctime = <double>s.st_ctim.tv_sec + <double>s.st_ctim.tv_nsec / 1e9


cdef void fs_stat(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef file_info s
    memset(&s, 0, sizeof(s))
    fs_settle(j, info_of_link(fs_path(j), &s) if j.flags & FS_NOFOLLOW else info_of(fs_path(j), &s))
    fs_info(&j.info, &s)


cdef void fs_mkdir(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef uint32_t mode = j.mode if j.flags & FS_MODE else FS_NEW_FOLDER
    cdef char *at
    cdef file_info s
    if j.flags & FS_PARENTS:
        at = strchr(j.text.p + 1, c'/') if j.text.p[0] else NULL
        while at != NULL:
            at[0] = 0
            mkdir(fs_path(j), FS_NEW_FOLDER)        # one that can not be made is found out about below
            at[0] = c'/'
            at = strchr(at + 1, c'/')
    if mkdir(fs_path(j), mode) == 0:
        if j.flags & FS_MODE:
            fs_settle(j, chmod(fs_path(j), mode))
        return
    fs_fail(j)
    if j.flags & FS_PARENTS and j.job.error == EEXIST and info_of(fs_path(j), &s) == 0 and \
            s.st_mode & S_IFMT == S_IFDIR:
        j.job.error = 0


cdef void fs_rename(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    fs_settle(j, rename(fs_path(j), fs_second(j)))


cdef void fs_symlink(Job *job) noexcept nogil:
    """The second path becomes a link to the first."""
    cdef FsJob *j = <FsJob *>job
    fs_settle(j, symlink(fs_path(j), fs_second(j)))
    j.about_second = 1


cdef void fs_readlink(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef ptrdiff_t n
    if buf_reserve(&j.data, STATIC_PATH_MAX) != OK:
        j.job.error = ENOMEM
        return
    n = readlink(fs_path(j), j.data.p, STATIC_PATH_MAX)
    if n < 0:
        fs_fail(j)
    else:
        j.data.n = <size_t>n


cdef void fs_realpath(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef char *real = realpath(fs_path(j), NULL)
    if real == NULL:
        fs_fail(j)
    elif buf_append(&j.data, real, strlen(real)) != OK:
        j.job.error = ENOMEM
    free(real)


cdef void fs_chmod(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    fs_settle(j, chmod(fs_path(j), j.mode))


cdef void fs_temp_file(Job *job) noexcept nogil:
    """In the folder of the first path, which ends in the beginning of its name; the second path ends it."""
    cdef FsJob *j = <FsJob *>job
    j.fd = fs_create(span_z(fs_path(j)), Span(b"", 0), span_z(fs_second(j)), &j.data)
    fs_settle(j, j.fd)
    if j.fd >= 0:
        j.data.n -= 1
        fs_settle(j, fchmod(j.fd, 0o600))


cdef void fs_temp_dir(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    cdef int i
    for i in range(FS_TRIES):
        if fs_random_name(span_z(fs_path(j)), Span(b"", 0), Span(b"", 0), &j.data) != OK:
            break
        if mkdir(j.data.p, 0o700) == 0:
            j.data.n -= 1
            return
        if errno != EEXIST:
            break
    fs_fail(j)
