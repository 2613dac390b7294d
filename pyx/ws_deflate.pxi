# Compressed messages (RFC 7692 section 7.2). Streams that begin every message anew are the worker's own and serve all
# its WebSockets; only a side that keeps its context between messages has one for each connection.
# Not for the negotiation, which is ws_offer.pxi's.

from libc.stdint cimport SIZE_MAX

ctypedef struct WsZip:
    Zip packer
    Zip expander

cdef enum:
    WS_OUT_KEEP = 65536         # bytes of room for a message kept between two of them
    WS_TAIL_LEN = 4             # what the sender leaves off: an empty stored block


cdef const char *WS_TAIL = b"\x00\x00\xff\xff"


cdef WsZip *ws_zip(Worker *w, Ws *x, bint shared) noexcept nogil:
    """The streams, closed at first; NULL: out of memory."""
    cdef void **at = &w.ws_zip if shared else &x.zip
    if at[0] == NULL:
        at[0] = calloc(1, sizeof(WsZip))
    return <WsZip *>at[0]


cdef void ws_zip_free(WsZip *z) noexcept nogil:
    if z != NULL:
        zip_close(&z.packer)
        zip_close(&z.expander)
        free(z)


cdef int ws_inflate(Worker *w, Ws *x, Span *data) noexcept nogil:
    """Expand a message: OK, with `data` in Worker.ws_text, or the code to close with."""
    cdef bint fresh = x.flags & WS_PEER_FRESH
    cdef WsZip *z = ws_zip(w, x, fresh)
    cdef size_t most = x.route.max_message + 1
    cdef Span tail = Span(WS_TAIL, WS_TAIL_LEN)
    cdef int rc
    buf_shrink(&w.ws_text, WS_OUT_KEEP)
    if z == NULL or (not z.expander.open and zip_open(&z.expander, True, ZIP_RAW, 0, ZIP_WINDOW, 1) != OK):
        return WS_FAILED
    if fresh:
        zip_reset(&z.expander)
    rc = zip_run(&z.expander, data, &w.ws_text, most, ZIP_MORE)
    if rc == ZIP_HUNGRY and w.ws_text.n < most:
        rc = zip_run(&z.expander, &tail, &w.ws_text, most - w.ws_text.n, ZIP_MORE)
    if rc == ZIP_END:               # the sender may end the stream with a message (section 7.2.3.4)
        zip_reset(&z.expander)
    if rc == ERR_MEMORY:
        return WS_FAILED
    if rc < 0:
        return WS_BAD_TEXT
    if w.ws_text.n >= most:
        return WS_TOO_BIG
    data[0] = buf_span(&w.ws_text)
    return OK


cdef int ws_deflate(Worker *w, Ws *x, Span *payload) noexcept nogil:
    """Compress a message into Worker.ws_packed. Not OK: send it as it is, because that is shorter (if not every message
    is to be compressed) or memory is out."""
    cdef bint fresh = x.flags & WS_SELF_FRESH
    cdef bint shared = fresh and x.bits == WS_BITS_MAX
    cdef WsZip *z = ws_zip(w, x, shared)
    cdef Span rest = payload[0]
    if rest.n == 0:                 # a stream gives nothing for a second flush
        return ERR_LIMIT
    buf_shrink(&w.ws_packed, WS_OUT_KEEP)
    if z == NULL or (not z.packer.open and
                     zip_open(&z.packer, False, ZIP_RAW, x.route.deflate_level, x.bits, ZIP_MEMORY) != OK):
        return ERR_MEMORY
    if fresh:
        zip_reset(&z.packer)
    if zip_run(&z.packer, &rest, &w.ws_packed, SIZE_MAX, ZIP_SYNC) != ZIP_HUNGRY:
        return ERR_MEMORY
    if fresh and x.route.deflate_min and w.ws_packed.n - WS_TAIL_LEN >= payload.n:
        return ERR_LIMIT
    payload[0] = Span(w.ws_packed.p, w.ws_packed.n - WS_TAIL_LEN)
    return OK
