# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The codecs of WebSocket for Python tests. Inputs end at an unmapped page."""

include "c/lua.pxd"
include "core.pxd"
include "mem.pxi"
include "http_parse.pxi"
include "url.pxi"
include "ws_frame.pxi"
include "ws_offer.pxi"
include "guard.pxi"

from collections import namedtuple

Frame = namedtuple("Frame", "size opcode fin compressed mask length")
Params = namedtuple("Params", "server_fresh client_fresh server_bits client_bits client_limits")


def parse(bytes data not None):
    """A Frame, None when more input is needed, or (code, why)."""
    cdef WsFrame f
    cdef Span s = guarded(data)
    cdef int rc = ws_frame_parse(s.p, s.n, &f)
    if rc == PARTIAL:
        return None
    if rc != OK:
        return rc, f.why.decode()
    return Frame(f.size, f.opcode, bool(f.fin), bool(f.compressed), <bytes>(<char *>f.mask)[:4] if f.masked else None,
                 f.length)


def put(int opcode, uint64_t length, bytes mask=None, bint compressed=False):
    """The header of a frame."""
    cdef char out[WS_HEAD_MAX]
    cdef size_t n = ws_frame_put(out, opcode, compressed, length, <const uint8_t *>mask if mask is not None else NULL)
    return out[:n]


def masked(bytes data not None, bytes mask not None, uint64_t at=0):
    cdef Span s = guarded(data)
    ws_mask(<char *>s.p, s.n, mask, at)
    return s.p[:s.n]


def utf8(pieces):
    """Whether the pieces, one after the other, are a text: True, False, or None if it is not at its end."""
    cdef Utf8 u
    cdef Span s
    memset(&u, 0, sizeof(u))
    for piece in pieces:
        s = guarded(piece)
        if not utf8_feed(&u, s.p, s.n):
            return False
    return None if u.need else True


def close_payload(bytes data not None):
    """(code, reason), or the code to answer with."""
    cdef Span s = guarded(data)
    cdef Span reason
    cdef uint16_t code
    cdef int rc = ws_close_parse(s, &code, &reason)
    return (code, inside(s, reason)) if rc == OK else rc


def accept(bytes key not None):
    """Sec-WebSocket-Accept, or None for a key that is none."""
    cdef char out[WS_ACCEPT_LEN]
    cdef Span s = guarded(key)
    if not ws_key_valid(s):
        return None
    ws_accept_put(s, out)
    return out[:WS_ACCEPT_LEN]


def choose(bytes offers not None, bint keep_context=False):
    """(Params, the answer) for a field with offers of compression, or None."""
    cdef WsDeflateParams d
    cdef char out[WS_EXTENSION_MAX]
    cdef Span s = guarded(offers)
    if not deflate_choose(s, keep_context, &d):
        return None
    return (Params(bool(d.server_fresh), bool(d.client_fresh), d.server_bits, d.client_bits, bool(d.client_limits)),
            out[:deflate_put(&d, out)])


def accepted(bytes answer not None, bint fresh=True):
    """Params of a server's answer, or None if it can not be kept."""
    cdef WsDeflateParams d
    cdef Span s = guarded(answer)
    if not deflate_accepted(s, fresh, &d):
        return None
    return Params(bool(d.server_fresh), bool(d.client_fresh), d.server_bits, d.client_bits, bool(d.client_limits))
