# Bytes in and out of a connection, over a plain socket or over what Conn.tls brings. The only place that knows
# EAGAIN: it becomes PENDING. EINTR is retried. A peer that is gone is ERR_CLOSED, whatever errno said.


cdef inline ptrdiff_t io_result(ptrdiff_t n) noexcept nogil:
    if n >= 0:
        return n
    return PENDING if errno == EAGAIN or errno == EINTR else ERR_CLOSED


cdef inline ptrdiff_t io_read(Conn *c, char *p, size_t n) noexcept nogil:
    """Bytes read, 0 when the peer will send no more, PENDING or ERR_CLOSED."""
    if unlikely(c.tls != NULL):
        return c.tls.read(c, p, n)
    return io_result(sys_recv(c.watch.fd, p, n))


cdef inline ptrdiff_t io_write(Conn *c, const char *p, size_t n) noexcept nogil:
    """Bytes written (may be fewer than `n`), PENDING or ERR_CLOSED."""
    if unlikely(c.tls != NULL):
        return c.tls.write(c, p, n)
    return io_result(sys_send(c.watch.fd, p, n))


cdef ptrdiff_t io_writev(Conn *c, const Span *spans, int n) noexcept nogil:
    """As io_write, for the concatenation of `n` spans."""
    cdef msghdr m
    if unlikely(c.tls != NULL):
        return c.tls.writev(c, spans, n)
    memset(&m, 0, sizeof(m))
    m.msg_iov = <iovec *>spans          # Span and iovec have the same two members
    m.msg_iovlen = n
    return io_result(sendmsg(c.watch.fd, &m, MSG_NOSIGNAL))


cdef ptrdiff_t io_sendfile(Conn *c, int fd, int64_t *at, size_t n) noexcept nogil:
    """Send at most `n` bytes of the file `fd` from `at`, which moves on. 0: the file is shorter than it was."""
    if unlikely(c.tls != NULL):
        return c.tls.sendfile(c, fd, at, n)
    return io_result(sendfile(c.watch.fd, fd, at, n))


cdef void io_shutdown(Conn *c) noexcept nogil:
    """Send no more; the peer sees the end of the stream."""
    if c.tls != NULL:
        c.tls.shutdown(c)
    shutdown(c.watch.fd, SHUT_WR)
