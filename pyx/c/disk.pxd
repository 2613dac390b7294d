# What the file functions of Lua need of libc and the kernel, beyond file.pxd: folders, names, attributes, inotify, and
# the names of errors. Needs linux.pxd and file.pxd.

cdef extern from *:
    """
    #include <dirent.h>
    #include <limits.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/inotify.h>
    #include <sys/stat.h>

    #define NAMED_ERRORS(X) \\
        X(E2BIG) X(EACCES) X(EAGAIN) X(EBADF) X(EBUSY) X(ECHILD) X(EDQUOT) X(EEXIST) X(EFAULT) X(EFBIG) X(EINTR) \\
        X(EINVAL) X(EIO) X(EISDIR) X(ELIBBAD) X(ELOOP) X(EMFILE) X(EMLINK) X(ENAMETOOLONG) X(ENFILE) X(ENODEV) \\
        X(ENOENT) X(ENOEXEC) X(ENOLCK) X(ENOMEM) X(ENOSPC) X(ENOSYS) X(ENOTCONN) X(ENOTDIR) X(ENOTEMPTY) X(ENOTTY) \\
        X(ENXIO) X(EOPNOTSUPP) X(EOVERFLOW) X(EPERM) X(EPIPE) X(EROFS) X(ESPIPE) X(ESRCH) X(ESTALE) X(ETIMEDOUT) \\
        X(ETXTBSY) X(EXDEV)

    /* "ENOENT" for ENOENT; "EUNKNOWN" for what is not in the list. */
    static inline const char *error_name(int error) {
        switch (error) {
    #define X(name) case name: return #name;
        NAMED_ERRORS(X)
    #undef X
        default: return "EUNKNOWN";
        }
    }

    /* copy_file_range(2), Linux 4.5: libc has a wrapper only since glibc 2.27. */
    static inline ptrdiff_t sys_copy_range(int from, int to, size_t n) {
        return (ptrdiff_t)syscall(SYS_copy_file_range, from, NULL, to, NULL, n, 0U);
    }
    """
    const char *error_name(int error) nogil
    ptrdiff_t sys_copy_range(int source, int to, size_t n) nogil

    enum: O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW
    enum: EEXIST, EFBIG, EIO, EISDIR, ENOTEMPTY, ESTALE
    enum: SEEK_SET, SEEK_CUR, SEEK_END
    int open "open"(const char *path, int flags, ...) nogil
    int64_t lseek(int fd, int64_t offset, int whence) nogil
    int fsync(int fd) nogil
    int ftruncate(int fd, int64_t n) nogil
    int fchmod(int fd, uint32_t mode) nogil
    int chmod(const char *path, uint32_t mode) nogil
    int mkdir(const char *path, uint32_t mode) nogil
    int unlinkat(int dirfd, const char *path, int flags) nogil
    int unlink(const char *path) nogil
    int rmdir(const char *path) nogil
    int rename(const char *path, const char *to) nogil
    int symlink(const char *target, const char *path) nogil
    ptrdiff_t readlink(const char *path, char *out, size_t n) nogil
    char *realpath(const char *path, char *out) nogil
    char *getenv(const char *name) nogil

    ctypedef struct DIR:
        pass
    struct dirent:
        char *d_name
        uint8_t d_type
    DIR *fdopendir(int fd) nogil
    dirent *readdir(DIR *dir) nogil
    void rewinddir(DIR *dir) nogil
    int closedir(DIR *dir) nogil
    int dirfd(DIR *dir) nogil
    enum: DT_UNKNOWN, DT_REG, DT_DIR, DT_LNK, DT_FIFO, DT_SOCK, DT_CHR

    struct file_info "stat":
        uint64_t st_dev
        uint64_t st_ino
        uint32_t st_mode
        uint64_t st_nlink
        uint32_t st_uid
        uint32_t st_gid
        int64_t st_size
        timespec st_atim
        timespec st_mtim
        timespec st_ctim
    int info_of "stat"(const char *path, file_info *s) nogil
    int info_of_link "lstat"(const char *path, file_info *s) nogil
    int info_of_fd "fstat"(int fd, file_info *s) nogil
    int info_at "fstatat"(int dirfd, const char *path, file_info *s, int flags) nogil
    enum: S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR

    int inotify_init1(int flags) nogil
    int inotify_add_watch(int fd, const char *path, uint32_t mask) nogil
    int inotify_rm_watch(int fd, int wd) nogil
    struct inotify_event:
        int wd
        uint32_t mask
        uint32_t cookie
        uint32_t len
        char *name
    enum: IN_NONBLOCK, IN_CLOEXEC, IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_MOVED_FROM, IN_DELETE
    enum: IN_ONLYDIR
