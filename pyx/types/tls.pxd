# TLS, and the seam to the extension that has OpenSSL. Part of core.pxd, which has the rules.

# ---- TLS (tls.pyx, lua_tls.pxi) ---------------------------------------------------------------------------
# OpenSSL is in an extension of its own, heartc._tls, which the main thread loads when an application first asks for a
# context. Workers know only these types, and reach the extension through `api`, the first member of what it makes:
#
#   TlsContext *c = l_check_tls(L, 1)               # options: whom to trust, what to show. Lua holds it
#   TlsSession *s = c.api.session_new(c, fd, &peer) # one connection on a non-blocking descriptor, which stays yours
#   rc = s.api.handshake(s)                         # OK; PENDING: wait for s.want (EPOLLIN or EPOLLOUT), call again
#   n = s.api.read(s, p, n); n = s.api.write(s, p, n)
#   s.api.shutdown(s); s.api.session_free(s)        # then close the descriptor
#
# Results are those of Result: bytes or OK, PENDING, ERR_CLOSED, ERR_SYSTEM, ERR_TLS. Rules for the caller:
#   - all functions of a session, and those of its context, are called on one worker; none blocks or takes the GIL;
#   - after PENDING copy s.want before the next call: reading may have to wait for EPOLLOUT, writing for EPOLLIN. One
#     coroutine may read while another writes: each waits for its own copy;
#   - read before you wait: bytes that are here already wake no poller. Only PENDING says to wait for the socket;
#   - after ERR_TLS and ERR_SYSTEM of any function nothing but session_free is of use;
#   - no function raises SIGPIPE.

cdef enum:
    TLS_1_2 = 0x0303        # versions, as on the wire
    TLS_1_3 = 0x0304
    TLS_ALPN_MAX = 255      # bytes of all ALPN names of one connection, each behind its length
    TLS_ERROR_MAX = 256     # bytes of an error text, NUL included

# Whose certificate is right: the value of TlsOptions.verify and TlsPeer.verify.
cdef enum TlsVerify:
    TLS_VERIFY_DEFAULT      # TlsPeer: as the context says
    TLS_VERIFY_NONE         # any: the connection is encrypted, but with whom is not known
    TLS_VERIFY_PEER         # one that a trusted CA has signed; for TlsPeer.host, if that is given

# What a context is made from. Spans with p NULL are not given. Files are PEM; where a text with "-----BEGIN"
# stands in place of a path, it is the file's content. All is copied.
ctypedef struct TlsOptions:
    uint8_t verify          # TlsVerify
    uint8_t session_cache   # later connections to the same peer resume a session
    uint16_t min_version    # TLS_1_2 if 0
    int depth               # CAs between the peer's certificate and a trusted one, at most; -1: OpenSSL's limit
    Span ca_file            # trusted CAs; without ca_file and ca_path the system's
    Span ca_path            # a folder of them, with OpenSSL's hash names
    Span certificate        # what this side shows if it is asked, followed by the CAs between it and a trusted one
    Span key                # its private key; not given: it is in `certificate`, too
    Span password           # of the key
    Span alpn               # protocols offered, the best first, each behind a byte with its length
    Span ciphers            # for TLS 1.2, in OpenSSL's words

# With whom a connection is. All is copied.
ctypedef struct TlsPeer:
    Span server_name        # SNI: the name that the client asks for. An address of numbers is not sent
    Span host               # the name or address that its certificate must be for; empty: not checked
    Span alpn               # instead of the context's; p NULL: the context's
    uint16_t port           # sessions are resumed for the same host (or server name), port and options alone
    uint8_t verify          # TlsVerify

# What the peer has shown. The spans are good until the next call of `certificate` or session_free.
ctypedef struct TlsCertificate:
    Span subject            # RFC 2253: "CN=example.org,O=Example"
    Span issuer
    Span serial             # hexadecimal digits
    Span names              # of subjectAltName, each followed by a NUL: "DNS:example.org", "IP:127.0.0.1"
    Span der
    Span signature          # OpenSSL's short name of the signature's digest ("SHA256"); empty if it has none
    uint8_t sha256[32]      # of `der`
    int64_t not_before      # Unix time
    int64_t not_after

# One table for all, in a capsule with the name TLS_CAPSULE; never freed.
cdef extern from *:
    """
    #define TLS_CAPSULE "heartc._tls.table"
    """
    const char *TLS_CAPSULE

ctypedef struct TlsApi:
    size_t size             # sizeof(TlsApi): both extensions come from one build
    TlsContext *(*context_new)(const TlsOptions *o, char *error) noexcept nogil
    #       NULL: `error` (room for TLS_ERROR_MAX) says why. Takes ms and reads files: for the main thread alone
    void (*context_hold)(TlsContext *c) noexcept nogil
    void (*context_free)(TlsContext *c) noexcept nogil
    #       one holder less. Sessions hold their context
    TlsSession *(*session_new)(TlsContext *c, int fd, const TlsPeer *peer) noexcept nogil
    #       NULL: out of memory
    int (*handshake)(TlsSession *s) noexcept nogil
    #       OK: done, the peer is who it should be; `version` and so on are filled.
    #       ERR_CLOSED: the peer has hung up. With TLS 1.3 a server that refuses the client's certificate says so only
    #       to the first read
    ptrdiff_t (*read)(TlsSession *s, char *p, size_t n) noexcept nogil
    #       0: the peer has ended the stream properly. ERR_CLOSED: it is gone without that, what came may be cut off
    ptrdiff_t (*write)(TlsSession *s, const char *p, size_t n) noexcept nogil
    #       may take a part. After PENDING the next write must begin with the same bytes, at least as many, wherever
    #       they are then; they may be on their way already
    size_t (*pending)(TlsSession *s) noexcept nogil
    #       whether something was received and not read. More than 0 may turn out to be no data: a connection with
    #       that is not idle
    int (*shutdown)(TlsSession *s) noexcept nogil
    #       say that nothing more will be written. OK: said, do not wait for the peer. Reading can go on
    void (*session_free)(TlsSession *s) noexcept nogil
    int (*certificate)(TlsSession *s, TlsCertificate *c) noexcept nogil
    #       ERR_MISSING: the peer has shown none

# The extension's structs begin with these.
ctypedef struct TlsContext:
    const TlsApi *api

ctypedef struct TlsSession:
    const TlsApi *api
    uint32_t want           # after PENDING: EPOLLIN or EPOLLOUT
    int verify_error        # X509_V_ERR_* if the certificate is wrong, else 0; set with TLS_VERIFY_NONE, too
    int system_error        # after ERR_SYSTEM: errno
    const char *error       # after ERR_TLS: why; good until session_free. It begins with
    #       "certificate verify failed: ": OpenSSL's reason follows ("certificate has expired", "hostname mismatch")
    #       "tls: ": all else, like "tls: wrong version number" from a peer that does not speak TLS
    const char *version     # after the handshake: "TLSv1.3"
    const char *cipher      # "TLS_AES_256_GCM_SHA384"
    Span alpn               # the protocol agreed on; empty: none
    uint8_t resumed         # an earlier session went on

# A context that is asked for, on its way to the main thread and back.
ctypedef struct TlsAsk:
    Op op
    Worker *worker
    TlsOptions options      # spans into `text`
    Buf text
    TlsContext *context     # the answer; NULL: `error` says why
    char error[TLS_ERROR_MAX]
