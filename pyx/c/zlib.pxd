# zlib 1.2.9 or newer. A stream and its memory (malloc) belong to no thread; one call at a time uses them.

cdef extern from *:
    """
    #define ZLIB_CONST
    #include <zlib.h>
    """

cdef extern from "zlib.h" nogil:
    ctypedef unsigned char Bytef
    ctypedef unsigned int uInt
    ctypedef unsigned long uLong
    ctypedef struct z_stream:
        const Bytef *next_in
        uInt avail_in
        Bytef *next_out
        uInt avail_out
        const char *msg

    enum:
        Z_OK
        Z_STREAM_END
        Z_BUF_ERROR
        Z_MEM_ERROR
        Z_NO_FLUSH
        Z_SYNC_FLUSH
        Z_FINISH
        Z_DEFLATED
        Z_DEFAULT_STRATEGY

    int deflateInit2(z_stream *z, int level, int method, int window, int memory, int strategy)
    int deflate(z_stream *z, int flush)
    int deflateReset(z_stream *z)
    int deflateEnd(z_stream *z)
    int inflateInit2(z_stream *z, int window)
    int inflate(z_stream *z, int flush)
    int inflateReset(z_stream *z)
    int inflateEnd(z_stream *z)
    uLong crc32_z(uLong crc, const Bytef *p, size_t n)
    uLong adler32_z(uLong adler, const Bytef *p, size_t n)
