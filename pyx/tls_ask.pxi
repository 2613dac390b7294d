# TLS contexts, which the main thread makes: the extension is loaded by Python, and files are read. A worker pushes a
# TlsAsk without a lock and gets it back as a post. What may be asked of a context is in core.pxd, the extension in
# tls.pyx.
# Invariants:
#   - an ask that was pushed is posted back exactly once, with a context or with the reason;
#   - its options are copies: nothing of Lua is touched by the main thread.

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport strncpy


# ---- On the worker ---------------------------------------------------------------------------------------

cdef TlsAsk *tls_ask_new(Worker *w, const TlsOptions *o) noexcept nogil:
    """NULL: out of memory."""
    cdef TlsAsk *ask = <TlsAsk *>calloc(1, sizeof(TlsAsk))
    if ask == NULL:
        return NULL
    op_init(&ask.op)
    ask.op.begin = tls_ask_begin
    ask.op.drop = tls_ask_drop
    ask.worker = w
    ask.options = o[0]
    if buf_reserve(&ask.text, tls_text_size(o)) != OK:
        free(ask)
        return NULL
    tls_ask_copy(ask, &ask.options.ca_file)
    tls_ask_copy(ask, &ask.options.ca_path)
    tls_ask_copy(ask, &ask.options.certificate)
    tls_ask_copy(ask, &ask.options.key)
    tls_ask_copy(ask, &ask.options.password)
    tls_ask_copy(ask, &ask.options.alpn)
    tls_ask_copy(ask, &ask.options.ciphers)
    return ask


cdef size_t tls_text_size(const TlsOptions *o) noexcept nogil:
    """Bytes of all texts; at least 1."""
    return 1 + o.ca_file.n + o.ca_path.n + o.certificate.n + o.key.n + o.password.n + o.alpn.n + o.ciphers.n


cdef void tls_ask_copy(TlsAsk *ask, Span *text) noexcept nogil:
    """Move a text into the ask, where there is room for it."""
    cdef char *to = ask.text.p + ask.text.n
    if text.p == NULL:
        return
    memcpy(to, text.p, text.n)
    ask.text.n += text.n
    text.p = to


cdef void tls_ask_begin(Worker *w, Op *op) noexcept nogil:
    cdef TlsAsk *ask = <TlsAsk *>op
    cdef void **asks = <void **>&w.server.tls_asks
    cdef void *head = inbox_head(asks)
    while True:
        ask.op.post.next = <Post *>head
        if inbox_push(asks, &head, ask):
            break
    if head == NULL:
        eventfd_signal(w.server.notify)


cdef void tls_ask_drop(Worker *w, Op *op) noexcept nogil:
    cdef TlsAsk *ask = <TlsAsk *>op
    if ask.context != NULL:
        ask.context.api.context_free(ask.context)
    tls_ask_free(ask)


cdef void tls_ask_free(TlsAsk *ask) noexcept nogil:
    """The context has gone elsewhere. What was asked with may be secret."""
    memset(ask.text.p, 0, ask.text.n)
    buf_free(&ask.text)
    free(ask)


# ---- On the main thread ----------------------------------------------------------------------------------

cdef void tls_answer(Server *g, const TlsApi *api, const char *why) noexcept nogil:
    """Make the contexts that were asked for; without the extension (`api` NULL) the answer is `why`."""
    cdef Post *p = inbox_sorted(<Post *>inbox_take(&g.tls_asks))
    cdef Post *next_
    cdef TlsAsk *ask
    while p != NULL:
        next_ = p.next
        ask = <TlsAsk *>p
        if api != NULL:
            ask.context = api.context_new(&ask.options, ask.error)
        else:
            strncpy(ask.error, why, TLS_ERROR_MAX - 1)
        worker_post(ask.worker, p)
        p = next_


cdef const TlsApi *tls_api_gil(object capsule) except NULL:
    """The table in a capsule of heartc._tls."""
    cdef const TlsApi *api = <const TlsApi *>PyCapsule_GetPointer(capsule, TLS_CAPSULE)
    if api.size != sizeof(TlsApi):
        raise ImportError(b"heartc._tls and heartc._core are of different builds")
    return api
