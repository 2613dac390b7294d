# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""heartc._tls: TLS on OpenSSL, the only part of Heart that sees it.

An extension of its own, so that OpenSSL is in memory only where it is used: the main thread imports it when an
application first asks for a TLS context, and gives the workers its table of functions. What they promise is said in
core.pxd (TlsApi); Python sees the table and nothing else. Nothing here takes the GIL after the import.

    tls_text         errors and texts from OpenSSL
    tls_trust        the CAs that are trusted: the system's, or a file
    tls_context      TlsContext: options, own certificate and key
    tls_cache        the sessions that a context may resume
    tls_stream       what OpenSSL reads from and writes to
    tls_session      TlsSession: one connection
    tls_certificate  what the peer has shown
"""

from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    typedef struct lua_State lua_State;
    """
    ctypedef struct lua_State:
        pass

include "core.pxd"
include "c/linux.pxd"
include "c/openssl.pxd"

cdef extern from "arpa/inet.h" nogil:
    int inet_pton(int family, const char *text, void *address)
    const char *inet_ntop(int family, const void *address, char *text, socklen_t n)
    enum: EPIPE

include "mem.pxi"
include "tls_text.pxi"
include "tls_trust.pxi"
include "tls_context.pxi"
include "tls_cache.pxi"
include "tls_stream.pxi"
include "tls_session.pxi"
include "tls_certificate.pxi"

cdef TlsApi API = TlsApi(
    sizeof(TlsApi),
    context_new,
    context_hold,
    context_free,
    session_new,
    session_handshake,
    session_read,
    session_write,
    session_pending,
    session_shutdown,
    session_free,
    session_certificate,
)

if stream_init() != OK:
    raise ImportError("OpenSSL: out of memory")

table = PyCapsule_New(&API, TLS_CAPSULE, NULL)


def version():
    """OpenSSL's name and version, of the library that is loaded."""
    return OpenSSL_version(OPENSSL_VERSION).decode()
