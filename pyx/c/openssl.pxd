# OpenSSL 3.0 or newer, as far as tls.pyx uses it.

cdef extern from *:
    """
    #include <openssl/bio.h>
    #include <openssl/err.h>
    #include <openssl/pem.h>
    #include <openssl/ssl.h>
    #include <openssl/x509v3.h>

    #if OPENSSL_VERSION_NUMBER < 0x30000000L
    #error "Heart needs OpenSSL 3.0 or newer"
    #endif
    """

# ---- Streams, errors
cdef extern from "openssl/bio.h" nogil:
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    enum: BIO_TYPE_SOURCE_SINK, BIO_CTRL_FLUSH, BIO_CTRL_EOF
    int BIO_get_new_index()
    BIO_METHOD *BIO_meth_new(int type, const char *name)
    int BIO_meth_set_read(BIO_METHOD *m, int (*read)(BIO *, char *, int) noexcept nogil)
    int BIO_meth_set_write(BIO_METHOD *m, int (*write)(BIO *, const char *, int) noexcept nogil)
    int BIO_meth_set_ctrl(BIO_METHOD *m, long (*ctrl)(BIO *, int, long, void *) noexcept nogil)
    BIO *BIO_new(const BIO_METHOD *m)
    BIO *BIO_new_file(const char *path, const char *mode)
    BIO *BIO_new_mem_buf(const void *p, int n)
    int BIO_free(BIO *b)
    void BIO_set_init(BIO *b, int init)
    void BIO_set_data(BIO *b, void *data)
    void *BIO_get_data(BIO *b)
    void BIO_set_retry_read(BIO *b)
    void BIO_set_retry_write(BIO *b)
    void BIO_clear_retry_flags(BIO *b)
    const BIO_METHOD *BIO_s_mem()
    long BIO_get_mem_data(BIO *b, const char **p)

cdef extern from "openssl/err.h" nogil:
    void ERR_clear_error()
    unsigned long ERR_peek_error()
    unsigned long ERR_peek_last_error()
    const char *ERR_reason_error_string(unsigned long e)
    bint ERR_SYSTEM_ERROR(unsigned long e)
    int ERR_GET_REASON(unsigned long e)
    int ERR_GET_LIB(unsigned long e)
    enum: ERR_LIB_PEM, PEM_R_NO_START_LINE, PEM_R_BAD_PASSWORD_READ, ERR_LIB_OSSL_DECODER

cdef extern from "openssl/crypto.h" nogil:
    const char *OpenSSL_version(int what)
    enum: OPENSSL_VERSION

# ---- Certificates and keys
cdef extern from "openssl/x509v3.h" nogil:
    ctypedef struct X509:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ASN1_STRING:
        pass
    ctypedef struct ASN1_INTEGER:
        pass
    ctypedef struct ASN1_TIME:
        pass
    ctypedef struct GENERAL_NAMES:
        pass
    enum: X509_V_OK, X509_V_FLAG_PARTIAL_CHAIN, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
    enum: NID_subject_alt_name, NID_undef, XN_FLAG_RFC2253, ASN1_STRFLGS_ESC_MSB
    enum: GEN_EMAIL, GEN_DNS, GEN_URI, GEN_IPADD
    const char *X509_verify_cert_error_string(long code)
    void X509_free(X509 *x)
    X509_NAME *X509_get_subject_name(X509 *x)
    X509_NAME *X509_get_issuer_name(X509 *x)
    int X509_NAME_print_ex(BIO *out, const X509_NAME *name, int indent, unsigned long flags)
    ASN1_INTEGER *X509_get_serialNumber(X509 *x)
    int i2a_ASN1_INTEGER(BIO *out, const ASN1_INTEGER *n)
    const ASN1_TIME *X509_get0_notBefore(const X509 *x)
    const ASN1_TIME *X509_get0_notAfter(const X509 *x)
    int X509_get_signature_info(X509 *x, int *digest, int *key, int *bits, uint32_t *flags)
    const char *OBJ_nid2sn(int nid)
    int X509_digest(const X509 *x, const EVP_MD *type, unsigned char *out, unsigned int *n)
    const EVP_MD *EVP_sha256()
    int i2d_X509(const X509 *x, unsigned char **out)
    void *X509_get_ext_d2i(const X509 *x, int nid, int *critical, int *at)
    void GENERAL_NAMES_free(GENERAL_NAMES *names)
    int ASN1_STRING_length(const ASN1_STRING *s)
    const unsigned char *ASN1_STRING_get0_data(const ASN1_STRING *s)
    X509_STORE *X509_STORE_new()
    void X509_STORE_free(X509_STORE *s)
    int X509_STORE_up_ref(X509_STORE *s)
    int X509_STORE_add_cert(X509_STORE *s, X509 *x)
    int X509_STORE_load_path(X509_STORE *s, const char *path)
    int X509_STORE_set_flags(X509_STORE *s, unsigned long flags)
    int X509_VERIFY_PARAM_set1_host(X509_VERIFY_PARAM *p, const char *name, size_t n)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *p, const char *address)
    void X509_VERIFY_PARAM_set_hostflags(X509_VERIFY_PARAM *p, unsigned int flags)
    void EVP_PKEY_free(EVP_PKEY *key)

cdef extern from "openssl/pem.h" nogil:
    ctypedef int (*pem_password_cb)(char *room, int size, int writing, void *user) noexcept nogil
    X509 *PEM_read_bio_X509_AUX(BIO *b, X509 **x, pem_password_cb password, void *user)
    X509 *PEM_read_bio_X509(BIO *b, X509 **x, pem_password_cb password, void *user)
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *b, EVP_PKEY **key, pem_password_cb password, void *user)

cdef extern from *:
    """
    /* The members of a GENERAL_NAME: its kind (GEN_*) and its text or address; NULL for kinds that have neither. */
    static ASN1_STRING *general_name(GENERAL_NAMES *names, int i, int *kind) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        *kind = name->type;
        switch (name->type) {
        case GEN_EMAIL: case GEN_DNS: case GEN_URI: return name->d.ia5;
        case GEN_IPADD: return name->d.iPAddress;
        default: return NULL;
        }
    }

    static int64_t asn1_seconds(const ASN1_TIME *when) {
        struct tm parts;
        return ASN1_TIME_to_tm(when, &parts) ? (int64_t)timegm(&parts) : 0;
    }
    """
    ASN1_STRING *general_name(GENERAL_NAMES *names, int i, int *kind) nogil
    int sk_GENERAL_NAME_num(GENERAL_NAMES *names) nogil
    int64_t asn1_seconds(const ASN1_TIME *when) nogil       # Unix time, 0 if it is none

# ---- TLS
cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    enum: SSL_OP_NO_COMPRESSION, SSL_OP_NO_RENEGOTIATION
    enum: SSL_MODE_RELEASE_BUFFERS, SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    enum: SSL_VERIFY_NONE, SSL_VERIFY_PEER, SSL_SENT_SHUTDOWN
    enum: SSL_SESS_CACHE_OFF, SSL_SESS_CACHE_CLIENT, SSL_SESS_CACHE_NO_INTERNAL
    enum: SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, SSL_ERROR_SSL
    enum: SSL_R_CERTIFICATE_VERIFY_FAILED
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *m)
    void SSL_CTX_free(SSL_CTX *c)
    uint64_t SSL_CTX_set_options(SSL_CTX *c, uint64_t options)
    long SSL_CTX_set_mode(SSL_CTX *c, long mode)
    void SSL_CTX_set_read_ahead(SSL_CTX *c, int yes)
    int SSL_CTX_set_min_proto_version(SSL_CTX *c, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX *c, const char *ciphers)
    void SSL_CTX_set1_cert_store(SSL_CTX *c, X509_STORE *s)
    void SSL_CTX_set_verify_depth(SSL_CTX *c, int depth)
    int SSL_CTX_set_alpn_protos(SSL_CTX *c, const unsigned char *names, unsigned int n)
    int SSL_CTX_use_certificate(SSL_CTX *c, X509 *x)
    int SSL_CTX_add1_chain_cert(SSL_CTX *c, X509 *x)
    int SSL_CTX_use_PrivateKey(SSL_CTX *c, EVP_PKEY *key)
    int SSL_CTX_check_private_key(const SSL_CTX *c)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *c, long mode)
    void SSL_CTX_sess_set_new_cb(SSL_CTX *c, int (*added)(SSL *, SSL_SESSION *) noexcept nogil)
    void SSL_SESSION_free(SSL_SESSION *s)
    SSL *SSL_new(SSL_CTX *c)
    void SSL_free(SSL *s)
    void SSL_set_bio(SSL *s, BIO *r, BIO *w)
    int SSL_set_app_data(SSL *s, void *data)
    void *SSL_get_app_data(const SSL *s)
    void SSL_set_connect_state(SSL *s)
    long SSL_set_tlsext_host_name(SSL *s, const char *name)
    void SSL_set_verify(SSL *s, int mode, void *callback)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *s)
    int SSL_set_alpn_protos(SSL *s, const unsigned char *names, unsigned int n)
    int SSL_set_session(SSL *s, SSL_SESSION *session)
    int SSL_do_handshake(SSL *s)
    int SSL_read_ex(SSL *s, void *p, size_t n, size_t *got)
    int SSL_write_ex(SSL *s, const void *p, size_t n, size_t *put)
    int SSL_has_pending(const SSL *s)
    int SSL_shutdown(SSL *s)
    void SSL_set_shutdown(SSL *s, int mode)
    int SSL_get_shutdown(const SSL *s)
    int SSL_get_error(const SSL *s, int rc)
    long SSL_get_verify_result(const SSL *s)
    int SSL_session_reused(const SSL *s)
    int SSL_is_init_finished(const SSL *s)
    const char *SSL_get_version(const SSL *s)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *s)
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *c)
    void SSL_get0_alpn_selected(const SSL *s, const unsigned char **name, unsigned int *n)
    X509 *SSL_get1_peer_certificate(const SSL *s)
