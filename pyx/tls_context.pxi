# TlsContext: what all connections of one kind have in common. Made by the main thread, which may read files; then used
# by one worker.

ctypedef struct CacheEntry:
    uint64_t hash
    uint64_t used           # TlsContext.uses when it was put or taken last
    SSL_SESSION *session    # NULL: free
    char *key
    size_t key_n

cdef enum:
    CACHE_ENTRIES = 64      # peers whose session is kept, for one context

ctypedef struct Context:
    TlsContext base
    uint32_t holders
    SSL_CTX *ssl
    uint8_t verify          # TlsVerify
    uint64_t uses
    CacheEntry *cache       # CACHE_ENTRIES; NULL: sessions are not resumed


cdef TlsContext *context_new(const TlsOptions *o, char *error) noexcept nogil:
    """TlsApi.context_new"""
    cdef Context *c = <Context *>calloc(1, sizeof(Context))
    ERR_clear_error()
    if c == NULL:
        return <TlsContext *>fail(error, b"context", b"out of memory")
    c.base.api = &API
    c.holders = 1
    c.verify = o.verify
    c.ssl = SSL_CTX_new(TLS_client_method())
    if c.ssl == NULL:
        fail(error, b"context", reason_text())
    elif context_set(c, o, error) == OK:
        return &c.base
    context_free(&c.base)
    return NULL


cdef int context_set(Context *c, const TlsOptions *o, char *error) noexcept nogil:
    SSL_CTX_set_options(c.ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION)
    SSL_CTX_set_mode(c.ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)
    SSL_CTX_set_read_ahead(c.ssl, 1)        # the head of a record and its content with one call of the system
    if o.depth >= 0:
        SSL_CTX_set_verify_depth(c.ssl, o.depth)
    if SSL_CTX_set_min_proto_version(c.ssl, o.min_version if o.min_version else TLS_1_2) != 1:
        fail(error, b"min_version", reason_text())
        return ERR_TLS
    if o.alpn.n and SSL_CTX_set_alpn_protos(c.ssl, <const unsigned char *>o.alpn.p, <unsigned int>o.alpn.n) != 0:
        fail(error, b"alpn", b"malformed")
        return ERR_TLS
    if context_set_ciphers(c, o.ciphers, error) != OK or context_set_trust(c, o, error) != OK or \
            context_set_certificate(c, o, error) != OK:
        return ERR_TLS
    return context_set_cache(c, o, error)


cdef int context_set_ciphers(Context *c, Span ciphers, char *error) noexcept nogil:
    cdef char *text
    cdef int rc
    if ciphers.p == NULL:
        return OK
    text = text_copy(ciphers)
    rc = 0 if text == NULL else SSL_CTX_set_cipher_list(c.ssl, text)
    free(text)
    if rc == 1:
        return OK
    fail(error, b"ciphers", reason_text())
    return ERR_TLS


cdef int context_set_trust(Context *c, const TlsOptions *o, char *error) noexcept nogil:
    """A context that verifies nothing gets the system's CAs if there are any: a session may want to verify."""
    cdef X509_STORE *store
    if o.ca_file.p != NULL or o.ca_path.p != NULL:
        store = trust_new(o.ca_file, o.ca_path, True, error)
        if store == NULL:
            return ERR_TLS
    else:
        store = trust_system(error)
        if store == NULL:
            return ERR_TLS if o.verify != TLS_VERIFY_NONE else OK
    SSL_CTX_set1_cert_store(c.ssl, store)
    X509_STORE_free(store)
    return OK


# ---- Own certificate -------------------------------------------------------------------------------------

cdef int context_set_certificate(Context *c, const TlsOptions *o, char *error) noexcept nogil:
    if o.certificate.p == NULL:
        if o.key.p == NULL:
            return OK
        fail(error, b"key", b"a certificate is missing")
        return ERR_TLS
    if context_use_chain(c, o.certificate, error) != OK:
        return ERR_TLS
    if context_use_key(c, o.key if o.key.p != NULL else o.certificate, o.password, error) != OK:
        return ERR_TLS
    if SSL_CTX_check_private_key(c.ssl) == 1:
        return OK
    fail(error, b"key", reason_text())
    return ERR_TLS


cdef int context_use_chain(Context *c, Span source, char *error) noexcept nogil:
    """The first certificate of a file or text is one's own, the others are the CAs above it."""
    cdef BIO *b = pem_open(source, b"certificate", error)
    cdef X509 *x
    cdef int rc = 0
    if b == NULL:
        return ERR_TLS
    x = PEM_read_bio_X509_AUX(b, NULL, no_password, NULL)
    if x != NULL:
        rc = SSL_CTX_use_certificate(c.ssl, x)
    while rc == 1 and x != NULL:
        X509_free(x)
        x = PEM_read_bio_X509(b, NULL, no_password, NULL)
        if x != NULL:
            rc = SSL_CTX_add1_chain_cert(c.ssl, x)
    X509_free(x)
    BIO_free(b)
    if rc == 1 and pem_ended():
        ERR_clear_error()
        return OK
    return pem_fail(error, b"certificate", source, pem_reason())


cdef int context_use_key(Context *c, Span source, Span password, char *error) noexcept nogil:
    cdef BIO *b = pem_open(source, b"key", error)
    cdef EVP_PKEY *key
    cdef int rc
    if b == NULL:
        return ERR_TLS
    key = PEM_read_bio_PrivateKey(b, NULL, give_password, &password)
    BIO_free(b)
    if key == NULL:
        return pem_fail(error, b"key", source, pem_reason())
    rc = SSL_CTX_use_PrivateKey(c.ssl, key)
    EVP_PKEY_free(key)
    if rc == 1:
        return OK
    fail(error, b"key", reason_text())
    return ERR_TLS


cdef int give_password(char *room, int size, int writing, void *user) noexcept nogil:
    """The password, a Span, of an encrypted key. Without such a function OpenSSL asks on the terminal."""
    cdef Span *password = <Span *>user
    if password.p == NULL or password.n > <size_t>size:
        return -1
    memcpy(room, password.p, password.n)
    return <int>password.n


# ---- Holding ---------------------------------------------------------------------------------------------

cdef void context_hold(TlsContext *c) noexcept nogil:
    """TlsApi.context_hold"""
    (<Context *>c).holders += 1


cdef void context_free(TlsContext *base) noexcept nogil:
    """TlsApi.context_free"""
    cdef Context *c = <Context *>base
    c.holders -= 1
    if c.holders == 0:
        cache_free(c)
        SSL_CTX_free(c.ssl)
        free(c)
