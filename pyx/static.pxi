# Static files: from the path of a request to an open file. It lies in a directory or in the archive; folder_open is the
# only function that knows.
#
# Invariants:
#   - nothing outside the mounted directory is opened, whatever the path or a symbolic link in it says;
#   - a name that begins with a dot does not exist; only regular files are served, and opening never blocks;
#   - parsers read no byte beyond their span.
# Not for: sending files, fields, ranges (req_file). Knows no connection; serving a file allocates nothing.

from libc.string cimport strchr, strlen

cdef enum:
    STATIC_PATH_MAX = 4096      # PATH_MAX of Linux, its NUL included
    STATIC_TRIES = 4            # of an open that a rename elsewhere has disturbed
    STATIC_FOLDER = 1           # not a file, but a folder
    STATIC_SUFFIX_MAX = 4       # bytes of the extension of a precompressed file
    STATIC_SETTLED = 2          # seconds after which a change shows in the clocks of all file systems, FAT's included


# ---- Folders ---------------------------------------------------------------------------------------------

cdef int folder_find(const Archive *archive, Span dir, Folder *out) noexcept nogil:
    """The folder that an application means by `dir` (with a NUL behind it): in the archive, else on the disk.
    ERR_SYSTEM: errno. It is given back with folder_close."""
    global errno
    cdef int rc = archive_folder(archive, dir, out)
    if rc == ERR_MISSING:
        out.within = Span(NULL, 0)
        out.dirfd = openat(AT_FDCWD, dir.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        return OK if out.dirfd >= 0 else ERR_SYSTEM
    if rc != OK:
        errno = ENOMEM
        return ERR_SYSTEM
    return OK


cdef void folder_close(Folder *folder) noexcept nogil:
    free(<void *>folder.within.p)
    if folder.dirfd >= 0:
        close(folder.dirfd)


# ---- Paths -----------------------------------------------------------------------------------------------

cdef int static_open(const Folder *folder, const char *rel, size_t n, const Codings *codings,
                     StaticFile *out) noexcept nogil:
    """Open the file that the percent-encoded path `rel` names below `folder`; a directory means its index.html. With
    `codings` it may be a compressed one beside that: `/app.js` is app.js.br for who prefers it.

    Returns OK, ERR_MISSING (also for what may not be seen) or ERR_SYSTEM (errno; out of descriptors or memory).
    """
    cdef char path[STATIC_PATH_MAX]
    cdef ptrdiff_t size = static_path(rel, n, path)
    cdef const mime *m
    cdef int rc
    if size < 0:
        return ERR_MISSING
    out.slashless = 0
    rc = folder_open(folder, path, size, out)
    if rc == STATIC_FOLDER:
        # "." is `folder` itself, which has no slash if nothing of the path is left for it.
        out.slashless = n == 0 or (path[size - 1] != c'/' and (size > 1 or path[0] != c'.'))
        size = static_add_index(path, size)
        if size < 0:
            return ERR_MISSING
        rc = folder_open(folder, path, size, out)
    if rc != OK:
        return ERR_MISSING if rc == STATIC_FOLDER else rc
    m = mime_find(Span(&path[0], <size_t>size))
    out.mime = Span(m.type, m.type_n)
    out.coding = CODING_NONE
    out.negotiated = codings != NULL and not m.dense
    if out.negotiated:
        static_open_coded(folder, path, size, codings, out)
    return OK


cdef void static_open_coded(const Folder *folder, char *path, ptrdiff_t size, const Codings *codings,
                            StaticFile *out) noexcept nogil:
    """Put the first of the compressed files that there is in the place of the original. One that is older than the
    original was made from another version of it, and does not count."""
    cdef StaticFile found
    cdef int i
    if size + STATIC_SUFFIX_MAX >= STATIC_PATH_MAX:
        return
    for i in range(codings.n):
        memcpy(path + size, coding_suffix(codings.order[i]), STATIC_SUFFIX_MAX + 1)
        if folder_open(folder, path, size + <ptrdiff_t>strlen(path + size), &found) != OK:
            continue
        if found.version.mtime >= out.version.mtime:
            static_close(out)
            found.slashless = out.slashless
            found.negotiated = out.negotiated
            found.mime = out.mime
            found.coding = codings.order[i]
            out[0] = found
            return
        static_close(&found)


cdef const char *coding_suffix(int coding) noexcept nogil:
    """In STATIC_SUFFIX_MAX + 1 bytes."""
    if coding == CODING_BROTLI:
        return b".br\0"
    return b".zst" if coding == CODING_ZSTD else b".gz\0"


cdef inline void static_close(StaticFile *f) noexcept nogil:
    if not f.kept:
        close(f.fd)


cdef int folder_open(const Folder *folder, const char *path, ptrdiff_t size, StaticFile *out) noexcept nogil:
    """Open the regular file with a clean path. STATIC_FOLDER if it is a folder, else as static_open."""
    if folder.dirfd < 0:
        return static_open_archived(folder, Span(path, <size_t>size), out)
    return static_open_path(folder.dirfd, path, out)


cdef ptrdiff_t static_path(const char *rel, size_t n, char *out) noexcept nogil:
    """Decode a path to `out` (STATIC_PATH_MAX bytes): segments with one "/" between them, and one at the end if
    `rel` has one; "." if nothing is left. Encoded slashes are slashes. Returns its length; -1: not to be served.
    """
    cdef ptrdiff_t i, size, used = 0
    cdef bint fresh = True      # a segment begins
    cdef char c
    if n >= STATIC_PATH_MAX - 1:
        return -1
    size = url_decode(rel, n, out + 1, 0)   # `out` is written behind what is read
    for i in range(1, size + 1):
        c = out[i]
        if c == 0 or (fresh and c == c'.'):
            return -1
        if c == c'/' and fresh:
            continue
        fresh = c == c'/'
        out[used] = c
        used += 1
    if used == 0:
        out[0] = c'.'
        used = 1
    out[used] = 0
    return used


cdef ptrdiff_t static_add_index(char *path, ptrdiff_t size) noexcept nogil:
    """Turn the path of a directory into that of its index.html. Returns the new length; -1: too long."""
    cdef const char *name = b"/index.html"
    cdef ptrdiff_t n = 11
    if path[size - 1] == c'/':
        name += 1
        n -= 1
    if size + n >= STATIC_PATH_MAX:
        return -1
    memcpy(path + size, name, n + 1)
    return size + n


cdef int static_open_archived(const Folder *folder, Span path, StaticFile *out) noexcept nogil:
    cdef char name[ARCHIVE_NAME_MAX]
    cdef ptrdiff_t n = archive_join(folder.within, path, name)
    cdef const ArchiveFile *f
    if n < 0:
        return ERR_MISSING
    f = archive_find(folder.archive, Span(&name[0], <size_t>n))
    if f == NULL:
        return STATIC_FOLDER if archive_has_folder(folder.archive, Span(&name[0], <size_t>n)) else ERR_MISSING
    if path.p[path.n - 1] == c'/':
        return ERR_MISSING
    out.fd = folder.archive.fd
    out.kept = 1
    out.at = f.at
    out.size = f.size
    out.version = FileVersion(f.digest, f.mtime, 0)
    return OK


cdef int static_open_path(int dirfd, const char *path, StaticFile *out) noexcept nogil:
    cdef file_stat s
    cdef int rc = OK
    out.fd = static_open_beneath(dirfd, path)
    if out.fd < 0:
        return ERR_MISSING if error_is_missing(errno) else ERR_SYSTEM
    if fstat(out.fd, &s) != 0:
        rc = ERR_SYSTEM
    elif S_ISDIR(s.st_mode):
        rc = STATIC_FOLDER
    elif not S_ISREG(s.st_mode):
        rc = ERR_MISSING
    if rc != OK:
        fd_close_quietly(out.fd)
        return rc
    out.kept = 0
    out.at = 0
    out.size = <uint64_t>s.st_size
    version_set(&out.version, &s)
    return OK


cdef void version_set(FileVersion *v, const file_stat *s) noexcept nogil:
    """What is known of a file without reading it. A change moves the time of the last change (ctime), which no program
    can set: also where a file is put in the place of another one with its size and time of modification, as archives
    and reproducible builds do. What makes up the tag is not shown: numbers of inodes are nobody's business.

    A tag is another one on another machine, or after files were copied. That costs a transfer; the same tag for another
    content would show an old page for as long as a client keeps it."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    v.mtime = s.st_mtim.tv_sec
    v.tag = tag_add(tag_add(0, <uint64_t>s.st_size), s.st_ino)
    v.tag = tag_add(tag_add(v.tag, <uint64_t>s.st_mtim.tv_sec), <uint64_t>s.st_mtim.tv_nsec)
    v.tag = tag_add(tag_add(v.tag, <uint64_t>s.st_ctim.tv_sec), <uint64_t>s.st_ctim.tv_nsec)
    v.recent = s.st_ctim.tv_sec > now.tv_sec - STATIC_SETTLED


cdef inline uint64_t tag_add(uint64_t tag, uint64_t v) noexcept nogil:
    """Mix a number into a tag. One that differs in one number is another one: each step can be undone."""
    tag = (tag ^ v) * 0x9E3779B97F4A7C15ULL
    return tag ^ tag >> 32


cdef bint error_is_missing(int error) noexcept nogil:
    """What only says that there is nothing here to serve: also a link that leads out, or a file not readable."""
    return error == ENOENT or error == ENOTDIR or error == EACCES or error == EPERM or error == ELOOP \
        or error == ENAMETOOLONG or error == EXDEV or error == ENXIO or error == ENODEV or error == EINVAL


cdef inline int static_flags() noexcept nogil:
    """O_NONBLOCK: opening a FIFO must not wait for its writer."""
    return O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY


cdef int static_open_beneath(int dirfd, const char *path) noexcept nogil:
    """Open with the kernel's word that the path, symbolic links included, stays below `dirfd`."""
    cdef int tries = STATIC_TRIES
    cdef int fd = openat_beneath(dirfd, path, static_flags())
    while fd < 0 and (errno == EAGAIN or errno == EINTR) and tries:
        tries -= 1
        fd = openat_beneath(dirfd, path, static_flags())
    if fd < 0 and (errno == ENOSYS or errno == EPERM):
        return static_open_walk(dirfd, path)
    return fd


cdef int static_open_walk(int dirfd, const char *path) noexcept nogil:
    """The same for kernels before 5.6 and sandboxes without openat2: segment by segment, through no symbolic
    link at all.
    """
    cdef char name[STATIC_PATH_MAX]
    cdef const char *slash
    cdef int at = dirfd, next_fd
    cdef size_t n
    while True:
        slash = strchr(path, c'/')
        n = <size_t>(slash - path) if slash != NULL else strlen(path)
        if n == 0:
            return at
        memcpy(name, path, n)
        name[n] = 0
        next_fd = openat(at, name, static_flags() | O_NOFOLLOW | (O_DIRECTORY if slash != NULL else 0))
        if at != dirfd:
            fd_close_quietly(at)
        if next_fd < 0 or slash == NULL:
            return next_fd
        at = next_fd
        path = slash + 1
