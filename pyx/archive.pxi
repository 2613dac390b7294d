# The archive: the application's files behind the executable, as one table in the order of their names.
#
# The bytes of the file are read and checked once, in Python (heartc/archive.py), before any worker runs; what arrives
# here are positions and names that are right. So no untrusted byte is parsed here, and start-up is the only price.
# Invariants:
#   - contents are read through the descriptor, never mapped: a file that somebody cuts short gives a short answer, not
#     a SIGBUS. The descriptor is opened at start-up, so the executable may be replaced (by a rename) while it runs;
#   - a name is looked up as bytes; what is not a clean relative path is in no archive.
# Not for: request paths (static), Lua (lua_archive).

cdef enum:
    ARCHIVE_NAME_MAX = 4096     # what a looked-up name is built in; a longer one is in no archive


cdef inline int name_compare(Span a, Span b) noexcept nogil:
    """The order of the files: bytes, and the shorter of two that begin alike."""
    cdef int order = memcmp(a.p, b.p, a.n if a.n < b.n else b.n)
    if order != 0:
        return order
    return (a.n > b.n) - (a.n < b.n)


cdef uint32_t archive_lower(const Archive *a, Span name) noexcept nogil:
    """The first file whose name does not come before `name`."""
    cdef uint32_t low = 0, high = a.n, middle
    while low < high:
        middle = low + (high - low) // 2
        if name_compare(a.files[middle].name, name) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef ArchiveFile *archive_find(const Archive *a, Span name) noexcept nogil:
    """The file with this name; NULL if there is none. A folder is none."""
    cdef uint32_t i
    if name.n == 0 or name.p[name.n - 1] == c'/':
        return NULL
    i = archive_lower(a, name)
    if i == a.n or name_compare(a.files[i].name, name) != 0:
        return NULL
    return &a.files[i]


cdef bint archive_has_folder(const Archive *a, Span name) noexcept nogil:
    """Whether `name` is a folder, with files or empty; "" is the folder of all."""
    cdef char slashed[ARCHIVE_NAME_MAX]
    cdef size_t n = name.n
    cdef uint32_t i
    if n == 0:
        return a.n > 0
    if n >= ARCHIVE_NAME_MAX:
        return False
    memcpy(slashed, name.p, n)
    slashed[n] = c'/'
    i = archive_lower(a, Span(&slashed[0], n + 1))
    return i < a.n and a.files[i].name.n > n and memcmp(a.files[i].name.p, slashed, n + 1) == 0


cdef ptrdiff_t archive_join(Span within, Span path, char *out) noexcept nogil:
    """Write `within` ("" or with a slash at its end) and a relative path as one name (ARCHIVE_NAME_MAX bytes): without
    "." and empty segments, ".." taken back. Returns its length; -1: too long, or it leads out of the archive."""
    cdef size_t at = 0, end, n = within.n
    if within.n + path.n + 1 >= ARCHIVE_NAME_MAX:
        return -1
    if within.n:
        memcpy(out, within.p, within.n)
    while at < path.n:
        end = at
        while end < path.n and path.p[end] != c'/':
            end += 1
        if end - at == 2 and path.p[at] == c'.' and path.p[at + 1] == c'.':
            if n <= within.n:
                return -1
            n -= 1
            while n > within.n and out[n - 1] != c'/':
                n -= 1
        elif end > at and not (end - at == 1 and path.p[at] == c'.'):
            memcpy(out + n, path.p + at, end - at)
            n += end - at
            out[n] = c'/'
            n += 1
        at = end + 1
    return <ptrdiff_t>(n - 1 if n else 0)


cdef ArchiveFile *archive_find_path(const Archive *a, Span path) noexcept nogil:
    """The file that an application means by `path`; NULL if that is not in the archive."""
    cdef char name[ARCHIVE_NAME_MAX]
    cdef ptrdiff_t n
    if a.n == 0 or path.n == 0 or path.p[0] == c'/' or path.p[path.n - 1] == c'/':
        return NULL
    n = archive_join(Span(NULL, 0), path, name)
    return archive_find(a, Span(&name[0], <size_t>n)) if n > 0 else NULL


cdef int archive_folder(const Archive *a, Span path, Folder *out) noexcept nogil:
    """The folder that an application means by `path`. ERR_MISSING if it is not in the archive; free `out.within.p`."""
    cdef char name[ARCHIVE_NAME_MAX]
    cdef char *within
    cdef ptrdiff_t n
    if a.n == 0 or path.n == 0 or path.p[0] == c'/':
        return ERR_MISSING
    n = archive_join(Span(NULL, 0), path, name)
    if n < 0 or not archive_has_folder(a, Span(&name[0], <size_t>n)):
        return ERR_MISSING
    within = <char *>malloc(n + 1)
    if within == NULL:
        return ERR_MEMORY
    memcpy(within, name, n)
    within[n] = c'/'
    out.dirfd = -1
    out.archive = a
    out.within = Span(within, <size_t>n + 1 if n else 0)
    return OK


# ---- Contents --------------------------------------------------------------------------------------------

cdef int archive_read(const Archive *a, const ArchiveFile *f, char *out) noexcept nogil:
    """The whole content, f.size bytes. ERR_SYSTEM (errno; 0: the executable has been cut short)."""
    cdef uint64_t done = 0
    cdef ptrdiff_t n
    global errno
    while done < f.size:
        n = pread(a.fd, out + done, f.size - done, f.at + <int64_t>done)
        if n <= 0:
            errno = 0 if n == 0 else errno
            return ERR_SYSTEM
        done += <uint64_t>n
    return OK


cdef int archive_copy(const Archive *a, const ArchiveFile *f) noexcept nogil:
    """A descriptor of a copy in memory, which /proc/self/fd makes a file with a name. -1: errno; 0: cut short."""
    cdef int fd = memory_file(b"heart")
    cdef int64_t at = f.at
    cdef int64_t end = f.at + <int64_t>f.size
    cdef ptrdiff_t n
    global errno
    while fd >= 0 and at < end:
        n = sendfile(fd, a.fd, &at, <size_t>(end - at))
        if n <= 0:
            errno = 0 if n == 0 else errno
            fd_close_quietly(fd)
            return -1
    return fd


cdef int archive_copy_kept(const Archive *a, ArchiveFile *f) noexcept nogil:
    """The one copy of this file that stays for the life of the process: a library must keep its name, since the
    dynamic loader takes two libraries of one name for the same. Other workers may ask at the same time."""
    cdef int fd = load_acquire(&f.copy, __ATOMIC_ACQUIRE)
    cdef int none = 0
    if fd > 0:
        return fd
    fd = archive_copy(a, f)
    if fd >= 0 and not compare_exchange(&f.copy, &none, fd, False, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE):
        close(fd)
        return none
    return fd


cdef void fd_close_quietly(int fd) noexcept nogil:
    """Close, and keep the errno of what came before."""
    global errno
    cdef int error = errno
    close(fd)
    errno = error
