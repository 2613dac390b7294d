# What OpenSSL reads and writes: a stream (BIO) over the session's descriptor, without SIGPIPE and with errno kept.
# Beside io.pxi it is the only place that knows EAGAIN.

ctypedef struct Session:
    TlsSession base
    SSL *ssl                # NULL: it could not be set up, base.error says why
    Context *context
    Buf key                 # names the peer in the cache; empty: sessions are not resumed
    Buf shown               # texts of TlsCertificate
    char *text              # base.error, if it is not a constant
    int fd
    uint8_t failed          # nothing more can be done
    uint8_t ended           # the descriptor is at its end
    uint8_t offered         # a session of the cache was offered to the server

cdef BIO_METHOD *STREAM = NULL


cdef int stream_init() noexcept nogil:
    """Once, at import."""
    global STREAM
    STREAM = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"heart")
    if STREAM == NULL:
        return ERR_MEMORY
    BIO_meth_set_read(STREAM, stream_read)
    BIO_meth_set_write(STREAM, stream_write)
    BIO_meth_set_ctrl(STREAM, stream_ctrl)
    return OK


cdef int stream_read(BIO *b, char *p, int n) noexcept nogil:
    cdef Session *s = <Session *>BIO_get_data(b)
    cdef int rc = <int>sys_recv(s.fd, p, n)
    BIO_clear_retry_flags(b)
    if rc == 0:
        s.ended = 1
    elif rc < 0 and stream_failed(s):
        BIO_set_retry_read(b)
    return rc


cdef int stream_write(BIO *b, const char *p, int n) noexcept nogil:
    cdef Session *s = <Session *>BIO_get_data(b)
    cdef int rc = <int>sys_send(s.fd, p, n)
    BIO_clear_retry_flags(b)
    if rc < 0 and stream_failed(s):
        BIO_set_retry_write(b)
    return rc


cdef bint stream_failed(Session *s) noexcept nogil:
    """Whether it only has to wait."""
    if errno == EAGAIN or errno == EINTR:
        return True
    s.base.system_error = errno
    return False


cdef long stream_ctrl(BIO *b, int command, long n, void *p) noexcept nogil:
    if command == BIO_CTRL_EOF:
        return (<Session *>BIO_get_data(b)).ended
    return command == BIO_CTRL_FLUSH
