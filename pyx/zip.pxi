# Compression (RFC 1950, 1951, 1952) as a codec: bytes in, at most so many bytes out, the rest with the next call. It
# knows no Lua and no socket.
# Invariants:
#   - one call adds at most `most` bytes to its output, whatever the input is, so that a bomb costs what was asked for;
#   - a Zip holds memory (256 KiB when it compresses, 40 KiB when it expands) from zip_open to zip_close, never moves
#     meanwhile (zlib points back at it), and is closed by itself when its stream ends with a failure.
# Not for files in zip archives.

include "c/zlib.pxd"

cdef enum ZipFormat:
    ZIP_GZIP                # RFC 1952
    ZIP_ZLIB                # RFC 1950
    ZIP_RAW                 # RFC 1951: no header, no checksum
    ZIP_AUTO                # gzip or zlib, by the first bytes; for expanding only

cdef enum ZipFlush:
    ZIP_MORE                # more input will come; output is held back while that helps
    ZIP_SYNC                # the receiver must be able to expand all that was given
    ZIP_FINISH              # the input ends here

cdef enum ZipState:
    ZIP_HUNGRY              # all input was taken, and all output that is due was given
    ZIP_FULL                # there is more output: call again with the rest of the input
    ZIP_END                 # the stream has ended; input may be left

cdef enum:
    ZIP_WINDOW = 15         # the logarithm of the window
    ZIP_MEMORY = 8
    ZIP_LEVEL = 6
    ZIP_STEP = 16384        # bytes of room for output, at first

# A stream in one direction. Zeroed: closed.
ctypedef struct Zip:
    z_stream z
    uint8_t expands
    uint8_t open


cdef int zip_window(int format, int window) noexcept nogil:
    """What zlib calls windowBits."""
    if format == ZIP_GZIP:
        return window + 16
    if format == ZIP_RAW:
        return -window
    return window + 32 if format == ZIP_AUTO else window


cdef int zip_open(Zip *x, bint expands, int format, int level, int window, int memory) noexcept nogil:
    """Begin a stream. level: 0 to 9; window: 9 to 15; memory: 1 to 9, of the compressor."""
    cdef int rc
    memset(x, 0, sizeof(Zip))
    x.expands = expands
    if expands:
        rc = inflateInit2(&x.z, zip_window(format, window))
    else:
        rc = deflateInit2(&x.z, level, Z_DEFLATED, zip_window(format, window), memory, Z_DEFAULT_STRATEGY)
    x.open = rc == Z_OK
    return OK if x.open else ERR_MEMORY


cdef void zip_close(Zip *x) noexcept nogil:
    if x.open:
        x.open = 0
        if x.expands:
            inflateEnd(&x.z)
        else:
            deflateEnd(&x.z)


cdef void zip_reset(Zip *x) noexcept nogil:
    """Begin another stream of the same kind with the same memory."""
    if x.expands:
        inflateReset(&x.z)
    else:
        deflateReset(&x.z)


cdef int zip_run(Zip *x, Span *data, Buf *out, size_t most, int flush) noexcept nogil:
    """Go on with `data`, which becomes what was not taken of it, and append at most `most` bytes (> 0) to `out`.

    Returns a ZipState, ERR_MEMORY, or ERR_SYSTEM for input that is no such stream: zip_reason says more."""
    cdef size_t room, taken
    cdef int rc = Z_OK
    while most:
        room = min(most, max(<size_t>ZIP_STEP, out.n))
        if buf_reserve(out, room) != OK:
            return ERR_MEMORY
        taken = min(data.n, <size_t>0x40000000)
        x.z.next_in, x.z.avail_in = <const Bytef *>data.p, <uInt>taken
        x.z.next_out, x.z.avail_out = <Bytef *>(out.p + out.n), <uInt>room
        rc = zip_call(x, flush if taken == data.n else ZIP_MORE)
        taken -= x.z.avail_in
        data.p, data.n = data.p + taken, data.n - taken
        out.n += room - x.z.avail_out
        most -= room - x.z.avail_out
        if rc == Z_STREAM_END:
            return ZIP_END
        if rc == Z_MEM_ERROR:
            return ERR_MEMORY
        if rc != Z_OK and rc != Z_BUF_ERROR:
            return ERR_SYSTEM
        if x.z.avail_out and not data.n:
            return ZIP_HUNGRY
    return ZIP_FULL


cdef int zip_call(Zip *x, int flush) noexcept nogil:
    if x.expands:
        return inflate(&x.z, Z_NO_FLUSH)
    return deflate(&x.z, Z_FINISH if flush == ZIP_FINISH else Z_SYNC_FLUSH if flush == ZIP_SYNC else Z_NO_FLUSH)


cdef const char *zip_reason(Zip *x) noexcept nogil:
    """After a failure: what is wrong with the input, as zlib puts it."""
    if x.z.msg != NULL:
        return x.z.msg
    return b"a dictionary is needed"
