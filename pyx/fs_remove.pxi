# Removing a folder with all that is in it, on a thread of the pool. Two descriptors at most, however deep the tree is:
# the way down is kept as a list of names, the way back goes through "..".
# Invariants:
#   - a symbolic link is removed, never followed, also when somebody exchanges a folder for one meanwhile;
#   - ".." is used only if it is the folder that was left: if the tree is moved meanwhile, removing stops with ESTALE.

# A folder that was left to go further down.
ctypedef struct FsStep:
    uint64_t device
    uint64_t inode
    size_t name                 # where in FsWalk.names the name of the one below begins

ctypedef struct FsWalk:
    DIR *dir                    # the folder in work
    Buf names                   # each with a NUL behind it
    FsStep *steps
    uint32_t nsteps
    uint32_t steps_cap

cdef enum FsEntry:
    ENTRY_NONE                  # the folder is empty
    ENTRY_FOLDER                # the walk has gone down into one
    ENTRY_FAILED                # errno


cdef void fs_remove(Job *job) noexcept nogil:
    """A file, a link, an empty folder; with FS_TREE any folder."""
    cdef FsJob *j = <FsJob *>job
    cdef file_info s
    if info_of_link(fs_path(j), &s) < 0:
        fs_fail(j)
    elif s.st_mode & S_IFMT != S_IFDIR:
        fs_settle(j, unlink(fs_path(j)))
    elif rmdir(fs_path(j)) < 0:
        fs_fail(j)
        if j.flags & FS_TREE and j.job.error in (ENOTEMPTY, EEXIST):
            j.job.error = 0
            fs_remove_tree(j)


cdef void fs_remove_tree(FsJob *j) noexcept nogil:
    cdef FsWalk walk
    cdef int rc = ENTRY_FAILED
    memset(&walk, 0, sizeof(FsWalk))
    walk.dir = folder_enter(AT_FDCWD, fs_path(j))
    while walk.dir != NULL:
        rc = walk_empty(&walk)
        if rc == ENTRY_FAILED or (rc == ENTRY_NONE and walk.nsteps == 0):
            break
        if rc == ENTRY_NONE and walk_leave(&walk) < 0:
            rc = ENTRY_FAILED
            break
    if rc == ENTRY_FAILED:
        fs_fail(j)
    else:
        fs_settle(j, rmdir(fs_path(j)))
    if walk.dir != NULL:
        closedir(walk.dir)
    buf_free(&walk.names)
    free(walk.steps)


cdef DIR *folder_enter(int dirfd_, const char *name) noexcept nogil:
    """Open a folder that is no link. NULL: errno."""
    cdef int fd = openat(dirfd_, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    cdef DIR *dir = fdopendir(fd) if fd >= 0 else NULL
    if dir == NULL and fd >= 0:
        fd_close_quietly(fd)
    return dir


cdef int walk_empty(FsWalk *walk) noexcept nogil:
    """Remove the entries of the folder until one is a folder that is not empty: go down into it."""
    global errno
    cdef dirent *e
    cdef bint fresh = False         # an entry was removed since the listing began
    while True:
        errno = 0
        e = readdir(walk.dir)
        if e == NULL:
            if errno:
                return ENTRY_FAILED
            if not fresh:
                return ENTRY_NONE
            rewinddir(walk.dir)     # some file systems skip entries while others vanish
            fresh = False
        elif entry_is_dots(e.d_name):
            continue
        elif e.d_type != DT_DIR and unlinkat(dirfd(walk.dir), e.d_name, 0) == 0:
            fresh = True
        elif e.d_type != DT_DIR and e.d_type != DT_UNKNOWN:
            if errno != ENOENT:
                return ENTRY_FAILED
        elif unlinkat(dirfd(walk.dir), e.d_name, AT_REMOVEDIR) == 0:
            fresh = True
        elif errno == ENOTEMPTY or errno == EEXIST:
            return walk_enter(walk, e.d_name)
        elif errno != ENOENT:
            return ENTRY_FAILED


cdef int walk_enter(FsWalk *walk, const char *name) noexcept nogil:
    global errno
    cdef FsStep *step
    cdef file_info s
    cdef size_t at = walk.names.n
    cdef void *grown = list_grow(walk.steps, &walk.steps_cap, walk.nsteps, sizeof(FsStep))
    cdef DIR *below
    if grown != NULL:
        walk.steps = <FsStep *>grown
    if grown == NULL or buf_append(&walk.names, name, strlen(name) + 1) != OK:
        errno = ENOMEM
        return ENTRY_FAILED
    if info_of_fd(dirfd(walk.dir), &s) < 0:
        return ENTRY_FAILED
    below = folder_enter(dirfd(walk.dir), walk.names.p + at)
    if below == NULL:
        return ENTRY_FAILED
    step = &walk.steps[walk.nsteps]
    step.device, step.inode, step.name = s.st_dev, s.st_ino, at
    walk.nsteps += 1
    closedir(walk.dir)
    walk.dir = below
    return ENTRY_FOLDER


cdef int walk_leave(FsWalk *walk) noexcept nogil:
    """The folder is empty: go up and remove it. -1: errno."""
    global errno
    cdef FsStep *step = &walk.steps[walk.nsteps - 1]
    cdef file_info s
    cdef DIR *above = folder_enter(dirfd(walk.dir), b"..")
    if above == NULL:
        return -1
    closedir(walk.dir)
    walk.dir = above
    if info_of_fd(dirfd(above), &s) < 0:
        return -1
    if s.st_dev != step.device or s.st_ino != step.inode:
        errno = ESTALE
        return -1
    if unlinkat(dirfd(above), walk.names.p + step.name, AT_REMOVEDIR) < 0:
        return -1
    walk.names.n = step.name
    walk.nsteps -= 1
    return 0
