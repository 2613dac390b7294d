# Listing a folder, on the disk or in the archive, on a thread of the pool: the names in order, and the kind of each as
# a letter (kind_name in lua_fs.pxi). See fs.pxi.

from libc.stdlib cimport qsort
from libc.string cimport strcmp


cdef char entry_kind(int dirfd, const dirent *e) noexcept nogil:
    """The letter of its kind."""
    cdef file_info s
    if e.d_type == DT_UNKNOWN:
        if info_at(dirfd, e.d_name, &s, AT_SYMLINK_NOFOLLOW) < 0:
            return c'?'
        return mode_kind(s.st_mode)
    if e.d_type == DT_REG:
        return c'f'
    if e.d_type == DT_DIR:
        return c'd'
    if e.d_type == DT_LNK:
        return c'l'
    if e.d_type == DT_FIFO:
        return c'p'
    if e.d_type == DT_SOCK:
        return c's'
    return c'c' if e.d_type == DT_CHR else c'b'


cdef char mode_kind(uint32_t mode) noexcept nogil:
    mode &= S_IFMT
    if mode == S_IFREG:
        return c'f'
    if mode == S_IFDIR:
        return c'd'
    if mode == S_IFLNK:
        return c'l'
    if mode == S_IFIFO:
        return c'p'
    if mode == S_IFSOCK:
        return c's'
    return c'c' if mode == S_IFCHR else c'b'


cdef inline bint entry_is_dots(const char *name) noexcept nogil:
    return name[0] == c'.' and (name[1] == 0 or (name[1] == c'.' and name[2] == 0))


cdef int names_compare(const void *a, const void *b) noexcept nogil:
    return strcmp((<const char **>a)[0] + 1, (<const char **>b)[0] + 1)


cdef void fs_list(Job *job) noexcept nogil:
    cdef FsJob *j = <FsJob *>job
    if j.folder.archive != NULL:
        fs_list_archived(j)
    else:
        fs_list_disk(j)
    if j.job.error == 0:
        fs_list_sort(j)


cdef void fs_list_disk(FsJob *j) noexcept nogil:
    cdef int fd = open(fs_path(j), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    cdef DIR *dir = fdopendir(fd) if fd >= 0 else NULL
    if dir == NULL:
        fs_fail(j)
        if fd >= 0:
            close(fd)
        return
    fs_list_entries(j, dir)
    closedir(dir)


cdef void fs_list_archived(FsJob *j) noexcept nogil:
    """A name of the archive is a path: what lies deeper shows as a folder, once, since names are in order."""
    cdef const Archive *a = j.folder.archive
    cdef Span within = j.folder.within
    cdef Span name
    cdef Span before = Span(NULL, 0)
    cdef size_t n
    cdef uint32_t i
    for i in range(archive_lower(a, within), a.n):
        name = a.files[i].name
        if name.n < within.n or (within.n and memcmp(name.p, within.p, within.n) != 0):
            break
        name = Span(name.p + within.n, name.n - within.n)
        n = 0
        while n < name.n and name.p[n] != c'/':
            n += 1
        if n == 0 or span_equal(before, name.p, n):
            continue
        before = Span(name.p, n)
        if buf_put(&j.data, c'd' if n < name.n else c'f') != OK or buf_append(&j.data, name.p, n) != OK or \
                buf_put(&j.data, 0) != OK:
            j.job.error = ENOMEM
            return
        j.nnames += 1


cdef void fs_list_entries(FsJob *j, DIR *dir) noexcept nogil:
    """Into `data`: for each entry a letter for its kind, its name, NUL."""
    global errno
    cdef dirent *e
    while True:
        errno = 0
        e = readdir(dir)
        if e == NULL:
            j.job.error = errno
            return
        if entry_is_dots(e.d_name):
            continue
        if buf_put(&j.data, entry_kind(dirfd(dir), e)) != OK or \
                buf_append(&j.data, e.d_name, strlen(e.d_name) + 1) != OK:
            j.job.error = ENOMEM
            return
        j.nnames += 1


cdef void fs_list_sort(FsJob *j) noexcept nogil:
    """The names in the order of their bytes."""
    cdef char *at = j.data.p
    cdef uint32_t i
    j.names = <char **>malloc((j.nnames or 1) * sizeof(char *))
    if j.names == NULL:
        j.job.error = ENOMEM
        return
    for i in range(j.nnames):
        j.names[i] = at
        at += strlen(at) + 1
    qsort(j.names, j.nnames, sizeof(char *), names_compare)
