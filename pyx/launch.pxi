# Starting a program, on a thread of the pool: pipes, user, the program's path and environment, then c/spawn.h.
# Invariants:
#   - the program gets three descriptors and no other, no blocked or ignored signal, and a process group of its own;
#   - what was opened for a program that did not start is closed here.
# Not for: waiting for it (process).

cdef enum:
    LAUNCH_ROOM = 16384             # bytes for an entry of the user database
    LAUNCH_GROUPS = 256             # that a user may have
    LAUNCH_NO_USER = 0x7FFFFFFF     # numbers of users are below


cdef void launch_run(Job *job) noexcept nogil:
    cdef Launch *x = <Launch *>job
    cdef spawn_plan plan
    cdef char **argv
    cdef char **envp
    cdef int theirs[3]
    cdef Buf path
    memset(&plan, 0, sizeof(plan))
    memset(&path, 0, sizeof(path))
    argv = launch_list(x, 1, x.nargs)
    envp = launch_environment(x)
    theirs[0] = theirs[1] = theirs[2] = -1
    if argv == NULL or envp == NULL:
        job.error = ENOMEM
    elif launch_find(x, envp, &path) != OK:
        job.error = errno
    elif launch_streams(x, theirs) != OK:
        job.error = errno
    else:
        plan.path, plan.argv, plan.envp = path.p, argv, envp
        memcpy(plan.fds, theirs, sizeof(theirs))
        if x.has_cwd:
            plan.cwd = launch_string(x, 1 + x.nargs + x.nenv)
        launch_start(x, &plan)
    launch_close(theirs)
    if job.error:
        launch_close(x.ends)
    buf_free(&path)
    free(argv)
    free(envp)


cdef void launch_start(Launch *x, spawn_plan *plan) noexcept nogil:
    cdef unsigned int groups[LAUNCH_GROUPS]
    cdef int pid
    plan.groups = groups
    if x.has_user and launch_user(launch_string(x, 1 + x.nargs + x.nenv + x.has_cwd), plan, groups) != OK:
        x.job.error = errno
        x.step = SPAWN_AT_USER
        return
    pid = spawn_run(plan)
    if pid < 0:
        x.job.error = errno
        x.step = <uint8_t>plan.step
        return
    x.pid = pid
    x.pidfd = process_fd(pid)


cdef const char *launch_string(Launch *x, uint32_t i) noexcept nogil:
    cdef const char *p = x.text.p
    while i:
        p += strlen(p) + 1
        i -= 1
    return p


cdef char **launch_list(Launch *x, uint32_t at, uint32_t n) noexcept nogil:
    """argv: the program's name, then `n` strings from `at` on. NULL: out of memory."""
    cdef char **list_ = <char **>calloc(n + 2, sizeof(char *))
    cdef const char *p
    cdef uint32_t i
    if list_ == NULL:
        return NULL
    list_[0] = x.text.p
    p = launch_string(x, at)
    for i in range(n):
        list_[i + 1] = <char *>p
        p += strlen(p) + 1
    return list_


cdef char **launch_environment(Launch *x) noexcept nogil:
    """The server's, changed as the launch says. NULL: out of memory."""
    cdef char **old = process_environment()
    cdef const char *first = launch_string(x, 1 + x.nargs)
    cdef const char *p = first
    cdef char **list_
    cdef size_t n = 0, count = 0
    cdef uint32_t i
    while not x.clean and old[count] != NULL:
        count += 1
    list_ = <char **>calloc(count + x.nenv + 1, sizeof(char *))
    if list_ == NULL:
        return NULL
    while not x.clean and old[0] != NULL:
        if not environment_names(first, x.nenv, old[0]):
            list_[n] = old[0]
            n += 1
        old += 1
    for i in range(x.nenv):
        if strchr(p, c'=') != NULL:
            list_[n] = <char *>p
            n += 1
        p += strlen(p) + 1
    return list_


cdef bint environment_names(const char *p, uint32_t n, const char *entry) noexcept nogil:
    """Whether one of `n` strings has the name of an entry NAME=value."""
    cdef size_t length = 0
    cdef uint32_t i
    while entry[length] and entry[length] != c'=':
        length += 1
    for i in range(n):
        if memcmp_z(p, entry, length) and (p[length] == c'=' or p[length] == 0):
            return True
        p += strlen(p) + 1
    return False


cdef bint memcmp_z(const char *z, const char *p, size_t n) noexcept nogil:
    """Whether a NUL-terminated string begins with the `n` bytes of `p`."""
    cdef size_t i
    for i in range(n):
        if z[i] != p[i] or z[i] == 0:
            return False
    return True


cdef const char *environment_get(char **envp, const char *name) noexcept nogil:
    """The value; NULL: there is none."""
    cdef size_t n = strlen(name)
    while envp[0] != NULL:
        if memcmp_z(envp[0], name, n) and envp[0][n] == c'=':
            return envp[0] + n + 1
        envp += 1
    return NULL


# ---- The program's path ----------------------------------------------------------------------------------

cdef int launch_find(Launch *x, char **envp, Buf *out) noexcept nogil:
    """A name without a slash is looked for in PATH, as the program will see that. ERR_SYSTEM: errno."""
    global errno
    cdef const char *name = x.text.p
    cdef const char *at = environment_get(envp, b"PATH")
    cdef const char *end
    cdef bint forbidden = False
    errno = ENOENT
    if name[0] == 0:
        return ERR_SYSTEM
    if strchr(name, c'/') != NULL:
        return path_put(out, Span(NULL, 0), name)
    if at == NULL:
        at = b"/usr/local/bin:/usr/bin:/bin"
    while True:
        end = at
        while end[0] and end[0] != c':':
            end += 1
        if path_put(out, Span(at, <size_t>(end - at)), name) != OK:
            return ERR_SYSTEM
        if path_is_program(out.p, &forbidden):
            return OK
        if end[0] == 0:
            break
        at = end + 1
    errno = EACCES if forbidden else ENOENT
    return ERR_SYSTEM


cdef int path_put(Buf *out, Span folder, const char *name) noexcept nogil:
    global errno
    out.n = 0
    errno = ENOMEM
    if folder.n and (buf_append(out, folder.p, folder.n) != OK or buf_put(out, c'/') != OK):
        return ERR_SYSTEM
    return OK if buf_append(out, name, strlen(name) + 1) == OK else ERR_SYSTEM


cdef bint path_is_program(const char *path, bint *forbidden) noexcept nogil:
    cdef file_info s
    if info_of(path, &s) < 0:
        forbidden[0] = forbidden[0] or errno == EACCES
        return False
    if s.st_mode & S_IFMT != S_IFREG:
        return False
    if access(path, X_OK) == 0:
        return True
    forbidden[0] = True
    return False


# ---- Its user --------------------------------------------------------------------------------------------

cdef int launch_user(const char *user, spawn_plan *plan, unsigned int *groups) noexcept nogil:
    """A name or a number. ERR_SYSTEM: errno; ENOENT: there is no such user."""
    global errno
    cdef char room[LAUNCH_ROOM]
    cdef passwd entry
    cdef passwd *found = NULL
    cdef int n = LAUNCH_GROUPS
    cdef int rc
    cdef bint number = user_number(user, &plan.uid)
    if number:
        rc = getpwuid_r(plan.uid, &entry, room, sizeof(room), &found)
    else:
        rc = getpwnam_r(user, &entry, room, sizeof(room), &found)
    plan.change_user = 1
    if found == NULL:
        plan.gid = plan.uid
        errno = rc if rc else ENOENT
        return OK if number else ERR_SYSTEM
    plan.uid = entry.pw_uid
    plan.gid = entry.pw_gid
    if getgrouplist(entry.pw_name, entry.pw_gid, groups, &n) < 0:
        n = LAUNCH_GROUPS
    plan.ngroups = <size_t>n
    return OK


cdef bint user_number(const char *text, unsigned int *out) noexcept nogil:
    cdef uint64_t v = 0
    cdef const char *p = text
    while p[0] >= c'0' and p[0] <= c'9' and v < LAUNCH_NO_USER:
        v = v * 10 + <uint64_t>(p[0] - c'0')
        p += 1
    out[0] = <unsigned int>v
    return p > text and p[0] == 0 and v < LAUNCH_NO_USER


# ---- Its streams -----------------------------------------------------------------------------------------

cdef int launch_streams(Launch *x, int *theirs) noexcept nogil:
    """Open the program's ends, and this side's in x.ends. ERR_SYSTEM: errno."""
    cdef int i
    for i in range(3):
        if launch_stream(x, i, theirs) != OK:
            return ERR_SYSTEM
    return OK


cdef int launch_stream(Launch *x, int i, int *theirs) noexcept nogil:
    cdef int fds[2]
    cdef int mine = 1 if i == 0 else 0          # stdin is written here, the others are read
    if x.kinds[i] == STREAM_NULL:
        theirs[i] = open(b"/dev/null", O_RDWR | O_CLOEXEC)
    elif x.kinds[i] == STREAM_INHERIT:
        theirs[i] = fcntl(i, F_DUPFD_CLOEXEC, 3)
    elif x.kinds[i] == STREAM_OUTPUT:
        theirs[i] = fcntl(theirs[1], F_DUPFD_CLOEXEC, 3)
    elif pipe2(fds, O_CLOEXEC) == 0:
        x.ends[i] = fds[mine]
        theirs[i] = fds[1 - mine]
        fcntl(x.ends[i], F_SETFL, O_NONBLOCK)
    return OK if theirs[i] >= 0 else ERR_SYSTEM


cdef void launch_close(int *fds) noexcept nogil:
    cdef int i
    for i in range(3):
        if fds[i] >= 0:
            close(fds[i])
        fds[i] = -1
