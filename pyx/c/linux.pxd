# Linux system calls that Cython does not declare.

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/sendfile.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <string.h>
    #include <unistd.h>

    /* The three calls of every request, without libc's wrappers: in a process with threads those prepare for
     * pthread_cancel around each call, which costs 3 % of a request and is used by nobody here. */
    static inline ptrdiff_t sys_recv(int fd, void *p, size_t n) {
        return syscall(SYS_recvfrom, fd, p, n, 0, NULL, NULL);
    }
    static inline ptrdiff_t sys_send(int fd, const void *p, size_t n) {
        return syscall(SYS_sendto, fd, p, n, MSG_NOSIGNAL, NULL, 0);
    }
    static inline int sys_epoll_wait(int epfd, struct epoll_event *events, int n, int timeout) {
        return (int)syscall(SYS_epoll_pwait, epfd, events, n, timeout, NULL, 8);
    }

    /* The worker that runs on this thread. Static TLS: one instruction, no call. */
    static __thread void *heart_worker __attribute__((tls_model("initial-exec")));
    #define worker_set_self(w) (heart_worker = (w))
    #define worker_get_self() heart_worker
    """
    void worker_set_self(void *w) nogil
    void *worker_get_self() nogil

    int errno
    enum: EAGAIN, EBUSY, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPERM, EINVAL

    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags) nogil
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event) nogil
    int sys_epoll_wait(int epfd, epoll_event *events, int n, int timeout) nogil
    enum: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLEXCLUSIVE, EPOLL_CLOEXEC
    enum: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL

    int eventfd(unsigned int value, int flags) nogil
    enum: EFD_NONBLOCK, EFD_CLOEXEC

    ctypedef unsigned int socklen_t
    struct sockaddr:
        uint16_t sa_family
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    struct sockaddr_storage:
        uint16_t ss_family
    struct iovec:
        void *iov_base
        size_t iov_len
    enum: AF_INET, AF_INET6, AF_UNIX, SOCK_NONBLOCK, SOCK_CLOEXEC, SHUT_WR, MSG_NOSIGNAL, IPPROTO_TCP, TCP_NODELAY
    enum: SOL_SOCKET, SO_LINGER
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    struct linger:
        int l_onoff
        int l_linger
    int accept4(int fd, sockaddr *address, socklen_t *n, int flags) nogil
    ptrdiff_t sys_recv(int fd, void *p, size_t n) nogil
    ptrdiff_t sys_send(int fd, const void *p, size_t n) nogil
    ptrdiff_t sendmsg(int fd, const msghdr *m, int flags) nogil
    ptrdiff_t sendfile(int to, int source, int64_t *offset, size_t n) nogil
    int shutdown(int fd, int how) nogil
    int setsockopt(int fd, int level, int name, const void *value, socklen_t n) nogil
    uint16_t ntohs(uint16_t v) nogil

    const char *strerror(int error) nogil
    int close(int fd) nogil
    ptrdiff_t read(int fd, void *p, size_t n) nogil
    ptrdiff_t write(int fd, const void *p, size_t n) nogil
    ptrdiff_t pread(int fd, void *p, size_t n, int64_t at) nogil

    ctypedef int64_t time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *t) nogil
    int nanosleep(const timespec *asked, timespec *left) nogil
    enum: CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME, CLOCK_REALTIME_COARSE, CLOCK_THREAD_CPUTIME_ID

    # C11-style atomics of gcc and clang, for the few words that two threads share.
    int load_acquire "__atomic_load_n"(int *p, int order) nogil
    void store_release "__atomic_store_n"(int *p, int value, int order) nogil
    int exchange "__atomic_exchange_n"(int *p, int value, int order) nogil
    bint compare_exchange "__atomic_compare_exchange_n"(int *p, int *wanted, int value, bint weak, int done,
                                                        int failed) nogil
    enum: __ATOMIC_ACQUIRE, __ATOMIC_RELEASE, __ATOMIC_ACQ_REL
