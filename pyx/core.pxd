# Every struct, enum and seam of the core, declared and explained once: here, and in the parts that are included at
# the end, each of which builds on those before it. Read this first.
#
# It is included by core.pyx (and by the test modules of tests/native), so it holds types only: Cython needs no
# prototypes for functions of one module. Rules that hold for all of them:
#   - a pointer travels with its length, as a Span; nothing is NUL-terminated unless its name says `z`;
#   - functions are named `subject_verb`, take the struct first (after the Worker that owns it), are
#     `noexcept nogil` and return 0 or a code of `Result`; a parser returns the HTTP status of its refusal;
#   - one worker thread owns everything it can reach; what another thread may touch is marked "shared".

from libc.stdint cimport int8_t, int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t


# ---- Results ---------------------------------------------------------------------------------------------

cdef enum Result:
    OK = 0
    PARTIAL = -1            # more input is needed; nothing was consumed that cannot be given again
    PENDING = -2            # the operation goes on later (would block, or the handler yielded)
    ERR_MEMORY = -3
    ERR_CLOSED = -4         # the peer is gone
    ERR_SYSTEM = -5         # see errno
    ERR_LIMIT = -6
    ERR_MISSING = -7
    ERR_TLS = -8            # the peer, or what it sends, is refused: TlsSession.error


# ---- Memory (mem.pxi) ------------------------------------------------------------------------------------

# Bytes that somebody else owns.
ctypedef struct Span:
    const char *p
    size_t n

# A growable array of bytes. `p` is NULL while `cap` is 0.
ctypedef struct Buf:
    char *p
    size_t n
    size_t cap

# Objects of one size, in aligned 64 KiB blocks from mmap. A block that empties goes back to the system, but
# for one spare; that is why connections do not come from malloc, whose heap only shrinks from its top.
ctypedef struct SlabBlock:
    SlabBlock *next         # all blocks with a free place
    SlabBlock *prev
    void *free              # free places, linked through their first word
    uint32_t used
    uint32_t fresh          # places never handed out start here
ctypedef struct Slab:
    SlabBlock *partial
    SlabBlock *spare
    size_t size             # of one object, a multiple of SLAB_ALIGN
    uint32_t per_block
    uint32_t used


# ---- All others ------------------------------------------------------------------------------------------

include "types/codec.pxd"
include "types/engine.pxd"
include "types/socket.pxd"
include "types/lua.pxd"
include "types/websocket.pxd"
include "types/server.pxd"
include "types/tls.pxd"
include "types/system.pxd"
include "types/kv.pxd"
include "types/log.pxd"
