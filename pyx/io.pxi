# Bytes in and out of a descriptor, plain or encrypted by a TLS session (NULL: plain). The only place that knows EAGAIN:
# it becomes PENDING. EINTR is retried by the poller. Everything else that fails is ERR_CLOSED, with errno as it was; a
# session's own failures are ERR_TLS and ERR_SYSTEM.

cdef enum:
    IO_TLS_TURN = 262144        # bytes that one call encrypts


cdef inline ptrdiff_t io_result(ptrdiff_t n) noexcept nogil:
    if n >= 0:
        return n
    return PENDING if errno == EAGAIN or errno == EINTR else ERR_CLOSED


cdef inline ptrdiff_t io_read(int fd, TlsSession *tls, char *p, size_t n) noexcept nogil:
    """Bytes read, 0 when the peer will send no more, PENDING or a failure."""
    if unlikely(tls != NULL):
        return tls.api.read(tls, p, n)
    return io_result(sys_recv(fd, p, n))


cdef inline ptrdiff_t io_write(int fd, TlsSession *tls, const char *p, size_t n) noexcept nogil:
    """Bytes written (may be fewer than `n`), PENDING or a failure."""
    if unlikely(tls != NULL):
        return io_write_tls(tls, p, n)
    return io_result(sys_send(fd, p, n))


cdef ptrdiff_t io_write_tls(TlsSession *tls, const char *p, size_t n) noexcept nogil:
    """A session takes one record at a time: write on until the socket takes no more, or it is the turn of others."""
    cdef size_t sent = 0
    cdef ptrdiff_t done = 0
    if n > IO_TLS_TURN:
        n = IO_TLS_TURN
    while sent < n:
        done = tls.api.write(tls, p + sent, n - sent)
        if done <= 0:
            break
        sent += done
    return done if done < 0 and (sent == 0 or done != PENDING) else <ptrdiff_t>sent


cdef ptrdiff_t io_writev(int fd, TlsSession *tls, const Span *spans, int n) noexcept nogil:
    """As io_write, for the concatenation of `n` spans."""
    cdef msghdr m
    if unlikely(tls != NULL):
        return io_writev_tls(tls, spans, n)
    memset(&m, 0, sizeof(m))
    m.msg_iov = <iovec *>spans          # Span and iovec have the same two members
    m.msg_iovlen = n
    return io_result(sendmsg(fd, &m, MSG_NOSIGNAL))


cdef ptrdiff_t io_writev_tls(TlsSession *tls, const Span *spans, int n) noexcept nogil:
    cdef ptrdiff_t sent = 0
    cdef ptrdiff_t done
    cdef int i
    for i in range(n):
        done = io_write_tls(tls, spans[i].p, spans[i].n)
        if done < 0:
            return done if sent == 0 or done != PENDING else sent
        sent += done
        if done < <ptrdiff_t>spans[i].n:
            break
    return sent


cdef ptrdiff_t io_sendfile(int fd, TlsSession *tls, int file, int64_t *at, size_t n) noexcept nogil:
    """Send at most `n` bytes of `file` from `at`, which moves on. 0: the file is shorter than it was."""
    if unlikely(tls != NULL):
        return io_sendfile_encrypted(tls, file, at, n)
    return io_result(sendfile(fd, file, at, n))


cdef ptrdiff_t io_sendfile_encrypted(TlsSession *tls, int file, int64_t *at, size_t n) noexcept nogil:
    cdef char part[16384]
    cdef ptrdiff_t got = pread(file, part, n if n < sizeof(part) else sizeof(part), at[0])
    if got <= 0:
        return got if got == 0 else ERR_CLOSED
    got = tls.api.write(tls, part, got)
    if got > 0:
        at[0] += got
    return got


cdef void io_shutdown(int fd, TlsSession *tls) noexcept nogil:
    """Send no more; the peer sees the end of the stream."""
    if tls != NULL:
        tls.api.shutdown(tls)
    shutdown(fd, SHUT_WR)


cdef inline ptrdiff_t io_read_pipe(int fd, char *p, size_t n) noexcept nogil:
    """As io_read, for a descriptor that is no socket."""
    return io_result(read(fd, p, n))


cdef inline ptrdiff_t io_write_pipe(int fd, const char *p, size_t n) noexcept nogil:
    return io_result(write(fd, p, n))


cdef int io_connect(int fd, const sockaddr *address, socklen_t n) noexcept nogil:
    """OK; PENDING: the descriptor becomes writable when it is decided; ERR_LIMIT: the backlog of a Unix socket is full,
    which nothing tells the end of; ERR_SYSTEM, see errno."""
    if connect(fd, address, n) == 0:
        return OK
    if errno == EAGAIN:
        return ERR_LIMIT
    return PENDING if errno == EINPROGRESS or errno == EINTR else ERR_SYSTEM


cdef int io_accept(int fd, sockaddr *address, socklen_t *n) noexcept nogil:
    """A connection's descriptor, PENDING, or ERR_SYSTEM, see errno. Errors of one connection count as none waiting."""
    cdef int accepted = accept4(fd, address, n, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if accepted >= 0:
        return accepted
    if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM or errno == EINVAL:
        return ERR_SYSTEM
    return PENDING


cdef ptrdiff_t io_send_to(int fd, const char *p, size_t n, const sockaddr *to, socklen_t to_n) noexcept nogil:
    return io_result(sendto(fd, p, n, MSG_NOSIGNAL, to, to_n))


cdef ptrdiff_t io_receive_from(int fd, char *p, size_t n, void *sender, socklen_t *sender_n) noexcept nogil:
    return io_result(recvfrom(fd, p, n, 0, <sockaddr *>sender, sender_n))


cdef bint io_is_idle(int fd) noexcept nogil:
    """Whether nothing has arrived, not even the end of the stream. Asks the kernel."""
    cdef char c
    return io_result(recv(fd, &c, 1, MSG_PEEK)) == PENDING
