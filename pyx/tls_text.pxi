# Why something failed, in words, and PEM that may be a file or a text.

from libc.stdio cimport snprintf
from libc.string cimport memchr, strcmp, strerror, strlen

cdef extern from "string.h" nogil:
    void *memmem(const void *p, size_t n, const void *part, size_t part_n)


cdef const char *reason_text() noexcept nogil:
    """What OpenSSL says of its first error; the system's words if it was the system's."""
    cdef unsigned long e = ERR_peek_error()
    cdef const char *text
    if ERR_SYSTEM_ERROR(e):
        return strerror(ERR_GET_REASON(e))
    text = ERR_reason_error_string(e)
    if text == NULL:
        return b"unknown error"
    return text


cdef void *fail(char *error, const char *what, const char *why) noexcept nogil:
    """Write "tls: WHAT: WHY" (TLS_ERROR_MAX); NULL, for `return fail(...)`."""
    snprintf(error, TLS_ERROR_MAX, b"tls: %s: %s", what, why)
    return NULL


cdef char *text_copy(Span text) noexcept nogil:
    """The same with a NUL behind it. NULL: out of memory."""
    cdef char *copy = <char *>malloc(text.n + 1)
    if copy != NULL:
        if text.n:
            memcpy(copy, text.p, text.n)
        copy[text.n] = 0
    return copy


cdef bint pem_is_text(Span source) noexcept nogil:
    """Whether it is PEM itself, not the path of a file."""
    return memmem(source.p, source.n, b"-----BEGIN", 10) != NULL


cdef BIO *pem_open(Span source, const char *what, char *error) noexcept nogil:
    """A stream of a PEM text, or of the file of that name. NULL: `error` says why."""
    cdef char *path
    cdef BIO *b
    ERR_clear_error()
    if pem_is_text(source):
        b = BIO_new_mem_buf(source.p, <int>source.n)        # no copy: `source` outlives the stream
    else:
        path = text_copy(source)
        b = BIO_new_file(path, b"r") if path != NULL else NULL
        free(path)
    if b == NULL:
        pem_fail(error, what, source, reason_text())
    return b


cdef int pem_fail(char *error, const char *what, Span source, const char *why) noexcept nogil:
    """Write why a file or text is of no use; ERR_TLS, for `return pem_fail(...)`."""
    if pem_is_text(source):
        fail(error, what, why)
    else:
        snprintf(error, TLS_ERROR_MAX, b"tls: %s: %.*s: %s", what, <int>source.n, source.p, why)
    return ERR_TLS


cdef int no_password(char *room, int size, int writing, void *user) noexcept nogil:
    """Certificates have no password."""
    return 0


cdef bint pem_ended() noexcept nogil:
    """Whether reading PEM stopped because there was no more."""
    cdef unsigned long e = ERR_peek_last_error()
    return ERR_GET_LIB(e) == ERR_LIB_PEM and ERR_GET_REASON(e) == PEM_R_NO_START_LINE


cdef const char *pem_reason() noexcept nogil:
    """Why nothing was read."""
    cdef unsigned long e = ERR_peek_last_error()
    if pem_ended() or ERR_GET_LIB(e) == ERR_LIB_OSSL_DECODER:
        return b"there is none in it"
    if ERR_GET_LIB(e) == ERR_LIB_PEM and ERR_GET_REASON(e) == PEM_R_BAD_PASSWORD_READ:
        return b"it is encrypted: a password is needed"
    return reason_text()
