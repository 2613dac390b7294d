# Sessions to resume, of one context: the newest of each peer. A peer is what decides whom the session was verified for:
# host, server name, port, ALPN and whether it was verified at all; so an unverified session never serves for a verified
# one. OpenSSL gives a session when the server sends it, with TLS 1.3 after the handshake.

from libc.stdlib cimport calloc


cdef int context_set_cache(Context *c, const TlsOptions *o, char *error) noexcept nogil:
    if not o.session_cache:
        SSL_CTX_set_session_cache_mode(c.ssl, SSL_SESS_CACHE_OFF)
        return OK
    c.cache = <CacheEntry *>calloc(CACHE_ENTRIES, sizeof(CacheEntry))
    if c.cache == NULL:
        fail(error, b"session_cache", b"out of memory")
        return ERR_TLS
    SSL_CTX_set_session_cache_mode(c.ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
    SSL_CTX_sess_set_new_cb(c.ssl, on_session)
    return OK


cdef void cache_free(Context *c) noexcept nogil:
    cdef int i
    if c.cache == NULL:
        return
    for i in range(CACHE_ENTRIES):
        entry_clear(&c.cache[i])
    free(c.cache)


cdef void entry_clear(CacheEntry *e) noexcept nogil:
    SSL_SESSION_free(e.session)
    free(e.key)
    memset(e, 0, sizeof(CacheEntry))


cdef uint64_t key_hash(Span key) noexcept nogil:
    """FNV-1a."""
    cdef uint64_t h = 0xCBF29CE484222325ULL
    cdef size_t i
    for i in range(key.n):
        h = (h ^ <uint8_t>key.p[i]) * 0x100000001B3ULL
    return h


cdef CacheEntry *cache_find(Context *c, Span key) noexcept nogil:
    cdef uint64_t h = key_hash(key)
    cdef CacheEntry *e
    cdef int i
    for i in range(CACHE_ENTRIES):
        e = &c.cache[i]
        if e.hash == h and e.session != NULL and e.key_n == key.n and (
                key.n == 0 or memcmp(e.key, key.p, key.n) == 0):
            c.uses += 1
            e.used = c.uses
            return e
    return NULL


cdef void cache_put(Context *c, Span key, SSL_SESSION *session) noexcept nogil:
    """Keep a session (its hold goes over) in place of that peer's older one, or of the one used longest ago."""
    cdef CacheEntry *e = cache_find(c, key)
    cdef int i
    if e == NULL:
        e = &c.cache[0]
        for i in range(1, CACHE_ENTRIES):
            if c.cache[i].used < e.used:
                e = &c.cache[i]
        entry_clear(e)
        e.key = text_copy(key)
        if e.key == NULL:
            SSL_SESSION_free(session)
            return
        e.key_n = key.n
        e.hash = key_hash(key)
        c.uses += 1
        e.used = c.uses
    SSL_SESSION_free(e.session)
    e.session = session


cdef void cache_forget(Context *c, Span key) noexcept nogil:
    """A connection failed: the next one is not to go on with this session."""
    cdef CacheEntry *e = cache_find(c, key) if c.cache != NULL else NULL
    if e != NULL:
        entry_clear(e)


cdef int on_session(SSL *ssl, SSL_SESSION *session) noexcept nogil:
    """Called by OpenSSL; 1: the session is kept."""
    cdef Session *s = <Session *>SSL_get_app_data(ssl)
    cache_put(s.context, buf_span(&s.key), session)
    return 1
