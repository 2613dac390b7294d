# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The table of heartc._tls for tests: what a worker calls, called from Python. Results are numbers, bytes, or one of
the names "pending", "closed", "system" and "refused"."""

include "core.pxd"
include "c/lua.pxd"

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memset

from heartc import _tls

cdef const TlsApi *api = <const TlsApi *>PyCapsule_GetPointer(_tls.table, TLS_CAPSULE)
NAMES = {PENDING: "pending", ERR_CLOSED: "closed", ERR_SYSTEM: "system", ERR_TLS: "refused", ERR_MISSING: "missing"}
VERSIONS = {"1.2": TLS_1_2, "1.3": TLS_1_3}


class Refused(Exception):
    """A context could not be made."""


cdef Span span(object text):
    """Bytes that live on; None: not given."""
    return Span(NULL, 0) if text is None else Span(<const char *>(<bytes>text), len(text))


def wire(names):
    """A list of protocols as ALPN sends it."""
    return b"".join(bytes([len(name)]) + name.encode() for name in names)


def encoded(text):
    return text.encode() if isinstance(text, str) else text


cdef class Context:
    """A context; options as those of core.tls.context, texts may be bytes."""
    cdef TlsContext *c

    def __cinit__(self, verify=True, session_cache=True, min_version=None, depth=-1, alpn=None, **texts):
        cdef TlsOptions o
        cdef char error[TLS_ERROR_MAX]
        cdef bytes names = wire(alpn or [])
        cdef dict kept = {name: encoded(text) for name, text in texts.items()}
        memset(&o, 0, sizeof(o))
        o.verify = TLS_VERIFY_PEER if verify else TLS_VERIFY_NONE
        o.session_cache = session_cache
        o.min_version = VERSIONS.get(min_version, 0)
        o.depth = depth
        o.alpn = span(names)
        assert set(kept) <= {"ca_file", "ca_path", "certificate", "key", "password", "ciphers"}
        o.ca_file, o.ca_path = span(kept.get("ca_file")), span(kept.get("ca_path"))
        o.certificate, o.key = span(kept.get("certificate")), span(kept.get("key"))
        o.password, o.ciphers = span(kept.get("password")), span(kept.get("ciphers"))
        with nogil:
            self.c = api.context_new(&o, error)
        if self.c == NULL:
            raise Refused(error.decode())

    def __dealloc__(self):
        if self.c != NULL:
            api.context_free(self.c)


cdef class Session:
    """A connection on a descriptor, which its caller keeps open."""
    cdef TlsSession *s

    def __cinit__(self, Context context not None, int fd, server_name="", host="", alpn=None, port=0, verify=None):
        cdef TlsPeer peer
        cdef bytes name = encoded(server_name)
        cdef bytes checked = encoded(host)
        cdef bytes names = None if alpn is None else wire(alpn)
        memset(&peer, 0, sizeof(peer))
        peer.server_name, peer.host, peer.alpn, peer.port = span(name), span(checked), span(names), port
        if verify is not None:
            peer.verify = TLS_VERIFY_PEER if verify else TLS_VERIFY_NONE
        self.s = api.session_new(context.c, fd, &peer)
        if self.s == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.s != NULL:
            api.session_free(self.s)

    def handshake(self):
        cdef int rc = api.handshake(self.s)
        return NAMES.get(rc, rc)

    def read(self, size_t n=65536):
        cdef bytes room = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>n)
        cdef ptrdiff_t rc = api.read(self.s, <char *>room, n)
        return room[:rc] if rc >= 0 else NAMES[rc]

    def write(self, bytes data not None):
        cdef ptrdiff_t rc = api.write(self.s, <char *>data, len(data))
        return NAMES.get(rc, rc)

    def pending(self):
        return api.pending(self.s)

    def shutdown(self):
        cdef int rc = api.shutdown(self.s)
        return NAMES.get(rc, rc)

    def certificate(self):
        """A dictionary, or a name."""
        cdef TlsCertificate c
        cdef int rc = api.certificate(self.s, &c)
        if rc != OK:
            return NAMES[rc]
        return {
            "subject": c.subject.p[:c.subject.n], "issuer": c.issuer.p[:c.issuer.n],
            "serial": c.serial.p[:c.serial.n], "names": c.names.p[:c.names.n], "der": c.der.p[:c.der.n],
            "signature": c.signature.p[:c.signature.n], "sha256": (<char *>c.sha256)[:32],
            "not_before": c.not_before, "not_after": c.not_after,
        }

    @property
    def want(self):
        return self.s.want

    @property
    def error(self):
        return self.s.error.decode() if self.s.error != NULL else None

    @property
    def verify_error(self):
        return self.s.verify_error

    @property
    def system_error(self):
        return self.s.system_error

    @property
    def version(self):
        return self.s.version.decode()

    @property
    def cipher(self):
        return self.s.cipher.decode()

    @property
    def alpn(self):
        return self.s.alpn.p[:self.s.alpn.n].decode() if self.s.alpn.n else None

    @property
    def resumed(self):
        return bool(self.s.resumed)
