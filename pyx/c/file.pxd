# Files, terminals and the calendar: what libc offers beside sockets. Needs linux.pxd.

from libc.stdio cimport FILE, stdout

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <poll.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>

    /* openat2(2), Linux 5.6. Numbers and layout are written out: libc has no wrapper, old headers no names. */
    #define OPENAT2_NUMBER 437
    #define OPENAT2_NO_MAGICLINKS 0x02
    #define OPENAT2_BENEATH 0x08

    /* Open `path` for reading, refusing every step (also through a symbolic link) that leaves `dirfd`. */
    static inline int openat_beneath(int dirfd, const char *path, int flags) {
        struct { uint64_t flags, mode, resolve; } how = {
            (unsigned)flags | O_LARGEFILE, 0, OPENAT2_BENEATH | OPENAT2_NO_MAGICLINKS};
        return (int)syscall(OPENAT2_NUMBER, dirfd, path, &how, sizeof how);
    }

    /* An anonymous file in memory, Linux 3.17; libc has a wrapper only since glibc 2.27. MFD_CLOEXEC is 1. */
    static inline int memory_file(const char *name) { return (int)syscall(SYS_memfd_create, name, 1U); }
    """
    int openat(int dirfd, const char *path, int flags, ...) nogil
    int openat_beneath(int dirfd, const char *path, int flags) nogil
    int memory_file(const char *name) nogil
    enum: AT_FDCWD, O_RDONLY, O_CLOEXEC, O_NONBLOCK, O_NOCTTY, O_NOFOLLOW, O_DIRECTORY
    enum: ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EXDEV, ENXIO, ENODEV, ENOSYS

    struct file_stat "stat":
        uint64_t st_ino
        uint32_t st_mode
        int64_t st_size
        timespec st_mtim
        timespec st_ctim
    int fstat(int fd, file_stat *s) nogil
    bint S_ISREG(uint32_t mode) nogil
    bint S_ISDIR(uint32_t mode) nogil
    enum: PIPE_BUF

    void flockfile(FILE *f) nogil
    void funlockfile(FILE *f) nogil

    ptrdiff_t writev(int fd, const iovec *parts, int n) nogil
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long n, int timeout) nogil
    enum: POLLIN, POLLOUT
    bint isatty(int fd) nogil

    struct tm:
        int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year
    tm *gmtime_r(const time_t *t, tm *out) nogil
    tm *localtime_r(const time_t *t, tm *out) nogil

    const char *inet_ntop(int family, const void *address, char *out, socklen_t n) nogil
