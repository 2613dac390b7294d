# TlsSession: one connection. It turns what OpenSSL says into results.
# Invariant: OpenSSL's queue of errors is empty when a function of it is called, so what it says is of that call.

cdef enum:
    NAME_LIMIT = 253        # characters of a host name (RFC 1035 section 2.3.4)


# ---- Setting up ------------------------------------------------------------------------------------------

cdef TlsSession *session_new(TlsContext *context, int fd, const TlsPeer *peer) noexcept nogil:
    """TlsApi.session_new"""
    cdef Session *s = <Session *>calloc(1, sizeof(Session))
    if s == NULL:
        return NULL
    s.base.api = &API
    s.fd = fd
    s.context = <Context *>context
    context_hold(context)
    ERR_clear_error()
    s.ssl = SSL_new(s.context.ssl)
    if s.ssl == NULL or session_connect(s) != OK:
        session_free(&s.base)
        return NULL
    session_set_peer(s, peer)
    return &s.base


cdef int session_connect(Session *s) noexcept nogil:
    cdef BIO *b = BIO_new(STREAM)
    if b == NULL:
        return ERR_MEMORY
    BIO_set_data(b, s)
    BIO_set_init(b, 1)
    SSL_set_bio(s.ssl, b, b)
    SSL_set_app_data(s.ssl, s)
    SSL_set_connect_state(s.ssl)
    return OK


cdef void session_set_peer(Session *s, const TlsPeer *peer) noexcept nogil:
    """What can not be set makes the handshake fail."""
    cdef uint8_t verify = peer.verify if peer.verify != TLS_VERIFY_DEFAULT else s.context.verify
    SSL_set_verify(s.ssl, SSL_VERIFY_PEER if verify != TLS_VERIFY_NONE else SSL_VERIFY_NONE, NULL)
    if session_set_server_name(s, peer.server_name) != OK:
        session_refuse(s, b"tls: the server name can not be sent")
    elif session_set_host(s, peer.host) != OK:
        session_refuse(s, b"tls: the host is neither a name nor an address")
    elif peer.alpn.p != NULL and SSL_set_alpn_protos(s.ssl, <const unsigned char *>peer.alpn.p,
                                                     <unsigned int>peer.alpn.n) != 0:
        session_refuse(s, b"tls: alpn: malformed")
    elif s.context.cache != NULL:
        session_resume(s, peer, verify)


cdef void session_refuse(Session *s, const char *why) noexcept nogil:
    s.failed = 1
    s.base.error = why


cdef bint name_copy(Span name, char *room) noexcept nogil:
    """A host name into `room` of NAME_LIMIT + 1 bytes, without the dot that may end it. False: it can be none."""
    cdef size_t n = name.n
    if n and name.p[n - 1] == c'.':
        n -= 1
    if n == 0 or n > NAME_LIMIT or memchr(name.p, 0, n) != NULL:
        return False
    memcpy(room, name.p, n)
    room[n] = 0
    return True


cdef bint is_address(const char *name) noexcept nogil:
    cdef char room[16]
    return inet_pton(AF_INET, name, room) == 1 or inet_pton(AF_INET6, name, room) == 1


cdef int session_set_server_name(Session *s, Span given) noexcept nogil:
    """RFC 6066 section 3: host names only."""
    cdef char name[NAME_LIMIT + 1]
    if given.n == 0:
        return OK
    if not name_copy(given, name):
        return ERR_TLS
    if is_address(name):
        return OK
    return OK if SSL_set_tlsext_host_name(s.ssl, name) == 1 else ERR_TLS


cdef int session_set_host(Session *s, Span given) noexcept nogil:
    cdef X509_VERIFY_PARAM *param = SSL_get0_param(s.ssl)
    cdef char name[NAME_LIMIT + 1]
    cdef int rc
    if given.n == 0:
        return OK
    if not name_copy(given, name):
        return ERR_TLS
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
    if is_address(name):
        rc = X509_VERIFY_PARAM_set1_ip_asc(param, name)
    else:
        rc = X509_VERIFY_PARAM_set1_host(param, name, strlen(name))
    return OK if rc == 1 else ERR_TLS


cdef void session_resume(Session *s, const TlsPeer *peer, uint8_t verify) noexcept nogil:
    """Offer the session that is kept for this peer. Without memory, or with nobody named, there is none."""
    cdef CacheEntry *e
    cdef Span alpn = peer.alpn
    if peer.host.n == 0 and peer.server_name.n == 0:
        return
    if buf_append(&s.key, peer.host.p, peer.host.n) != OK or buf_put(&s.key, 0) != OK or \
            buf_append(&s.key, peer.server_name.p, peer.server_name.n) != OK or buf_put(&s.key, 0) != OK or \
            buf_append(&s.key, <const char *>&peer.port, 2) != OK or buf_put(&s.key, verify) != OK or \
            buf_put(&s.key, alpn.p != NULL) != OK or buf_append(&s.key, alpn.p, alpn.n) != OK:
        s.key.n = 0
        return
    e = cache_find(s.context, buf_span(&s.key))
    if e != NULL:
        s.offered = SSL_set_session(s.ssl, e.session) == 1


# ---- Results ---------------------------------------------------------------------------------------------

cdef int session_result(Session *s, int rc) noexcept nogil:
    """What a call has come to that OpenSSL did not end with success."""
    cdef int e = SSL_get_error(s.ssl, rc)
    if e == SSL_ERROR_WANT_READ or e == SSL_ERROR_WANT_WRITE:
        s.base.want = EPOLLIN if e == SSL_ERROR_WANT_READ else EPOLLOUT
        return PENDING
    if e == SSL_ERROR_ZERO_RETURN:
        return OK
    s.failed = 1
    if s.ended:
        return ERR_CLOSED
    if e == SSL_ERROR_SSL:                  # also when the peer could not be told any more
        session_explain(s)
    return session_gone(s)


cdef void session_explain(Session *s) noexcept nogil:
    """Set base.error, and base.verify_error if it is that."""
    cdef long verify = SSL_get_verify_result(s.ssl)
    cdef bint certificate = ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED
    s.base.error = b"tls: out of memory"
    s.text = <char *>malloc(TLS_ERROR_MAX)
    if s.text == NULL:
        return
    s.base.error = s.text
    if certificate and verify != X509_V_OK:
        s.base.verify_error = <int>verify
        snprintf(s.text, TLS_ERROR_MAX, b"certificate verify failed: %s", X509_verify_cert_error_string(verify))
    else:
        snprintf(s.text, TLS_ERROR_MAX, b"tls: %s", reason_text())


cdef int session_gone(Session *s) noexcept nogil:
    """The result of a failure, also of all calls after it."""
    if s.base.error != NULL:
        return ERR_TLS
    return ERR_SYSTEM if s.base.system_error and s.base.system_error != EPIPE else ERR_CLOSED


# ---- Working ---------------------------------------------------------------------------------------------

cdef int session_handshake(TlsSession *base) noexcept nogil:
    """TlsApi.handshake"""
    cdef Session *s = <Session *>base
    cdef int rc
    if s.failed:
        return session_gone(s)
    ERR_clear_error()
    rc = SSL_do_handshake(s.ssl)
    if rc == 1:
        session_established(s)
        return OK
    rc = session_result(s, rc)
    if rc == OK:                # close_notify in the middle of the handshake
        s.failed = 1
        rc = ERR_CLOSED
    if rc != PENDING and s.offered:
        cache_forget(s.context, buf_span(&s.key))
    return rc


cdef void session_established(Session *s) noexcept nogil:
    cdef const unsigned char *name
    cdef unsigned int n
    s.base.version = SSL_get_version(s.ssl)
    s.base.cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(s.ssl))
    s.base.resumed = SSL_session_reused(s.ssl)
    s.base.verify_error = <int>SSL_get_verify_result(s.ssl)
    SSL_get0_alpn_selected(s.ssl, &name, &n)
    s.base.alpn = Span(<const char *>name, n)


cdef ptrdiff_t session_read(TlsSession *base, char *p, size_t n) noexcept nogil:
    """TlsApi.read"""
    cdef Session *s = <Session *>base
    cdef size_t got = 0
    cdef int rc
    if s.failed:
        return session_gone(s)
    ERR_clear_error()
    rc = SSL_read_ex(s.ssl, p, n, &got)
    return <ptrdiff_t>got if rc == 1 else session_result(s, rc)


cdef ptrdiff_t session_write(TlsSession *base, const char *p, size_t n) noexcept nogil:
    """TlsApi.write"""
    cdef Session *s = <Session *>base
    cdef size_t put = 0
    cdef int rc
    if s.failed:
        return session_gone(s)
    if n == 0:
        return 0
    ERR_clear_error()
    rc = SSL_write_ex(s.ssl, p, n, &put)
    if rc == 1:
        return <ptrdiff_t>put
    rc = session_result(s, rc)
    return rc if rc != OK else ERR_CLOSED


cdef size_t session_pending(TlsSession *base) noexcept nogil:
    """TlsApi.pending"""
    cdef Session *s = <Session *>base
    return 0 if s.failed else SSL_has_pending(s.ssl)


cdef int session_shutdown(TlsSession *base) noexcept nogil:
    """TlsApi.shutdown"""
    cdef Session *s = <Session *>base
    cdef int rc
    if s.failed:
        return session_gone(s)
    if not SSL_is_init_finished(s.ssl) or SSL_get_shutdown(s.ssl) & SSL_SENT_SHUTDOWN:
        return OK
    ERR_clear_error()
    rc = SSL_shutdown(s.ssl)
    return OK if rc >= 0 else session_result(s, rc)


cdef void session_free(TlsSession *base) noexcept nogil:
    """TlsApi.session_free"""
    cdef Session *s = <Session *>base
    if s.ssl != NULL:
        if not s.failed:
            SSL_set_shutdown(s.ssl, SSL_SENT_SHUTDOWN)      # else OpenSSL takes its session for a bad one
        ERR_clear_error()
        SSL_free(s.ssl)
    context_free(&s.context.base)
    buf_free(&s.key)
    buf_free(&s.shown)
    free(s.text)
    free(s)
