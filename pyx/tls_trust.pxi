# Whom to trust. The system's CAs are read once and shared by all contexts of the process (an X509_STORE is made for
# many threads); they are read again when a context is made and the file has changed. Called by the main thread alone.
#
# The environment comes first, as with every program on OpenSSL: SSL_CERT_FILE and SSL_CERT_DIR. Else the first file of
# the list that is there: the OpenSSL in the one file was made for Debian, but the file runs on every distribution.

from libc.stdlib cimport getenv

cdef extern from "sys/stat.h" nogil:
    struct file_stat b"stat":
        int64_t st_size
        int64_t st_mtime
        uint64_t st_ino
    int stat(const char *path, file_stat *s)

cdef enum:
    TRUST_FILES = 7
    TRUST_PATHS_MAX = 512

cdef const char **trust_files = [
    b"/etc/ssl/certs/ca-certificates.crt",                   # Debian, Ubuntu, Arch, Gentoo, Alpine
    b"/etc/pki/tls/certs/ca-bundle.crt",                     # Fedora, Red Hat
    b"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",    # newer ones of these
    b"/etc/ssl/ca-bundle.pem",                               # openSUSE
    b"/var/lib/ca-certificates/ca-bundle.pem",               # openSUSE, too
    b"/etc/ssl/cert.pem",                                    # Alpine without the package, the BSDs
    b"/usr/share/ca-certificates/ca-bundle.crt",
]

# The shared store, and what it was read from.
ctypedef struct Trust:
    X509_STORE *store
    char path[TRUST_PATHS_MAX]
    file_stat file

cdef Trust TRUST


cdef X509_STORE *trust_system(char *error) noexcept nogil:
    """The system's CAs, one hold for the caller. NULL: `error` says why."""
    cdef const char *path = getenv(b"SSL_CERT_FILE")
    cdef const char *folder = getenv(b"SSL_CERT_DIR")
    cdef file_stat now
    cdef int i
    if path == NULL and folder != NULL:
        return trust_new(Span(NULL, 0), Span(folder, strlen(folder)), False, error)
    if path != NULL:
        if stat(path, &now) != 0:
            snprintf(error, TLS_ERROR_MAX, b"tls: SSL_CERT_FILE: %s: %s", path, strerror(errno))
            return NULL
        return trust_shared(path, &now, error)
    for i in range(TRUST_FILES):
        if stat(trust_files[i], &now) == 0:
            return trust_shared(trust_files[i], &now, error)
    return <X509_STORE *>fail(error, b"no CA certificates", b"this system has none in the usual places: install "
                              b"ca-certificates, set SSL_CERT_FILE, or give ca_file")


cdef X509_STORE *trust_shared(const char *path, const file_stat *now, char *error) noexcept nogil:
    """The CAs of a file, read if it is not the file that was read last."""
    cdef X509_STORE *fresh
    if TRUST.store == NULL or not trust_is_of(path, now):
        fresh = trust_new(Span(path, strlen(path)), Span(NULL, 0), False, error)
        if fresh == NULL or strlen(path) >= TRUST_PATHS_MAX:
            return fresh
        X509_STORE_free(TRUST.store)
        TRUST.store = fresh
        TRUST.file = now[0]
        memcpy(TRUST.path, path, strlen(path) + 1)
    X509_STORE_up_ref(TRUST.store)
    return TRUST.store


cdef bint trust_is_of(const char *path, const file_stat *now) noexcept nogil:
    """Whether the shared store was read from this file as it is now."""
    cdef file_stat *then = &TRUST.file
    return strcmp(TRUST.path, path) == 0 and then.st_ino == now.st_ino and then.st_size == now.st_size and \
        then.st_mtime == now.st_mtime


cdef X509_STORE *trust_new(Span ca_file, Span ca_path, bint strict, char *error) noexcept nogil:
    """The CAs of a file (or PEM text) and of a folder, which is looked into when a certificate asks for it. A CA that
    is no root is trusted as one: whoever names it means it."""
    cdef X509_STORE *store = X509_STORE_new()
    cdef char *path
    cdef int rc
    if store == NULL:
        return <X509_STORE *>fail(error, b"ca_file", b"out of memory")
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN)
    if ca_file.p != NULL and trust_add(store, ca_file, strict, error) != OK:
        X509_STORE_free(store)
        return NULL
    if ca_path.p != NULL:
        path = text_copy(ca_path)
        rc = 0 if path == NULL else X509_STORE_load_path(store, path)
        free(path)
        if rc != 1:
            X509_STORE_free(store)
            return <X509_STORE *>fail(error, b"ca_path", b"out of memory")
    return store


cdef int trust_add(X509_STORE *store, Span source, bint strict, char *error) noexcept nogil:
    """Add all certificates of a file or text: at least one. `strict`: one that can not be read is an error, else
    those before it will do."""
    cdef BIO *b = pem_open(source, b"ca_file", error)
    cdef X509 *x
    cdef int n = 0
    if b == NULL:
        return ERR_TLS
    while True:
        x = PEM_read_bio_X509_AUX(b, NULL, no_password, NULL)
        if x == NULL:
            break
        X509_STORE_add_cert(store, x)
        X509_free(x)
        n += 1
    BIO_free(b)
    if n == 0 or (strict and not pem_ended()):
        return pem_fail(error, b"ca_file", source, pem_reason())
    ERR_clear_error()
    return OK
