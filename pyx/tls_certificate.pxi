# What the peer has shown, as texts. They are collected in Session.shown, which moves while it grows: until the end a
# span is an offset.

cdef int session_certificate(TlsSession *base, TlsCertificate *c) noexcept nogil:
    """TlsApi.certificate"""
    cdef Session *s = <Session *>base
    cdef X509 *x
    cdef int rc
    memset(c, 0, sizeof(TlsCertificate))
    x = SSL_get1_peer_certificate(s.ssl) if s.ssl != NULL else NULL
    if x == NULL:
        return ERR_MISSING
    s.shown.n = 0
    rc = certificate_show(s, x, c)
    X509_free(x)
    ERR_clear_error()
    return rc


cdef int certificate_show(Session *s, X509 *x, TlsCertificate *c) noexcept nogil:
    cdef Buf *out = &s.shown
    cdef int digest = NID_undef
    cdef unsigned int n = 32
    c.not_before = asn1_seconds(X509_get0_notBefore(x))
    c.not_after = asn1_seconds(X509_get0_notAfter(x))
    if X509_digest(x, EVP_sha256(), c.sha256, &n) != 1:
        return ERR_MEMORY
    if show_name(out, X509_get_subject_name(x), &c.subject) != OK or \
            show_name(out, X509_get_issuer_name(x), &c.issuer) != OK or \
            show_serial(out, x, &c.serial) != OK or show_names(out, x, &c.names) != OK or \
            show_der(out, x, &c.der) != OK:
        return ERR_MEMORY
    if X509_get_signature_info(x, &digest, NULL, NULL, NULL) == 1 and digest != NID_undef:
        c.signature = Span(OBJ_nid2sn(digest), strlen(OBJ_nid2sn(digest)))
    c.subject.p = out.p + <size_t>c.subject.p
    c.issuer.p = out.p + <size_t>c.issuer.p
    c.serial.p = out.p + <size_t>c.serial.p
    c.names.p = out.p + <size_t>c.names.p
    c.der.p = out.p + <size_t>c.der.p
    return OK


cdef int show_bio(Buf *out, BIO *b, Span *text) noexcept nogil:
    """What was written to a stream in memory, which is freed."""
    cdef const char *p
    cdef long n = BIO_get_mem_data(b, &p)
    cdef int rc
    text[0] = Span(<const char *>out.n, <size_t>n)
    rc = buf_append(out, p, <size_t>n)
    BIO_free(b)
    return rc


cdef int show_name(Buf *out, X509_NAME *name, Span *text) noexcept nogil:
    """RFC 2253, but letters stay UTF-8."""
    cdef BIO *b = BIO_new(BIO_s_mem())
    if b == NULL:
        return ERR_MEMORY
    X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~<unsigned long>ASN1_STRFLGS_ESC_MSB)
    return show_bio(out, b, text)


cdef int show_serial(Buf *out, X509 *x, Span *text) noexcept nogil:
    cdef BIO *b = BIO_new(BIO_s_mem())
    if b == NULL:
        return ERR_MEMORY
    i2a_ASN1_INTEGER(b, X509_get_serialNumber(x))
    return show_bio(out, b, text)


cdef int show_names(Buf *out, X509 *x, Span *text) noexcept nogil:
    """subjectAltName: "DNS:name", "IP:address", "email:name", "URI:text", each with a NUL. Names with a NUL in them are
    left out: they are there to deceive."""
    cdef GENERAL_NAMES *names = <GENERAL_NAMES *>X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL)
    cdef int i, kind
    cdef int rc = OK
    cdef ASN1_STRING *value
    text[0] = Span(<const char *>out.n, 0)
    if names == NULL:
        return OK
    for i in range(sk_GENERAL_NAME_num(names)):
        value = general_name(names, i, &kind)
        if value != NULL and rc == OK:
            rc = show_alternative(out, kind, Span(<const char *>ASN1_STRING_get0_data(value),
                                                  <size_t>ASN1_STRING_length(value)))
    GENERAL_NAMES_free(names)
    text.n = out.n - <size_t>text.p
    return rc


cdef int show_alternative(Buf *out, int kind, Span value) noexcept nogil:
    cdef char address[64]
    cdef const char *prefix = b"DNS:"
    if kind == GEN_IPADD:
        prefix = b"IP:"
        if value.n != 4 and value.n != 16:
            return OK
        inet_ntop(AF_INET if value.n == 4 else AF_INET6, value.p, address, sizeof(address))
        value = Span(&address[0], strlen(address))
    elif kind == GEN_EMAIL:
        prefix = b"email:"
    elif kind == GEN_URI:
        prefix = b"URI:"
    if value.n and memchr(value.p, 0, value.n) != NULL:
        return OK
    if buf_append(out, prefix, strlen(prefix)) != OK or buf_append(out, value.p, value.n) != OK:
        return ERR_MEMORY
    return buf_put(out, 0)


cdef int show_der(Buf *out, X509 *x, Span *text) noexcept nogil:
    cdef int n = i2d_X509(x, NULL)
    cdef unsigned char *p
    if n <= 0 or buf_reserve(out, <size_t>n) != OK:
        return ERR_MEMORY
    p = <unsigned char *>out.p + out.n
    text[0] = Span(<const char *>out.n, <size_t>n)
    i2d_X509(x, &p)
    out.n += <size_t>n
    return OK
