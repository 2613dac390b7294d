# Memory: growable buffers and slabs. Owns no object; knows nothing of what is kept in it.
# Invariant: a failed allocation leaves the Buf or Slab as it was and returns ERR_MEMORY (or NULL).

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    void *MAP_FAILED
    enum: PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS

cdef extern from *:
    """
    #define likely(x) __builtin_expect(!!(x), 1)
    #define unlikely(x) __builtin_expect(!!(x), 0)
    """
    bint likely(bint) nogil
    bint unlikely(bint) nogil


# ---- Buf -------------------------------------------------------------------------------------------------

cdef int buf_grow(Buf *b, size_t extra) noexcept nogil:
    cdef size_t cap = b.cap * 2 if b.cap else 256
    cdef char *p
    while cap < b.n + extra:
        cap *= 2
    p = <char *>realloc(b.p, cap)
    if p == NULL:
        return ERR_MEMORY
    b.p = p
    b.cap = cap
    return OK


cdef inline int buf_reserve(Buf *b, size_t extra) noexcept nogil:
    """Make room for `extra` more bytes; the caller writes at b.p + b.n and adds to b.n itself."""
    if likely(b.cap - b.n >= extra):
        return OK
    return buf_grow(b, extra)


cdef inline int buf_append(Buf *b, const char *p, size_t n) noexcept nogil:
    if unlikely(buf_reserve(b, n) != OK):
        return ERR_MEMORY
    if n:
        memcpy(b.p + b.n, p, n)
        b.n += n
    return OK


cdef inline int buf_put(Buf *b, char c) noexcept nogil:
    if unlikely(buf_reserve(b, 1) != OK):
        return ERR_MEMORY
    b.p[b.n] = c
    b.n += 1
    return OK


cdef inline void buf_free(Buf *b) noexcept nogil:
    free(b.p)
    b.p = NULL
    b.n = b.cap = 0


cdef inline void buf_shrink(Buf *b, size_t keep) noexcept nogil:
    """Empty the buffer; give its memory back if a large message made it larger than `keep` bytes."""
    b.n = 0
    if unlikely(b.cap > keep):
        buf_free(b)


cdef inline Span buf_span(Buf *b) noexcept nogil:
    return Span(b.p, b.n)


# ---- Span ------------------------------------------------------------------------------------------------

cdef inline uint8_t char_lower(uint8_t c) noexcept nogil:
    return c | 32 if c >= c'A' and c <= c'Z' else c


cdef inline bint span_equal(Span a, const char *p, size_t n) noexcept nogil:
    return a.n == n and memcmp(a.p, p, n) == 0


cdef inline bint span_same(Span a, const char *lower, size_t n) noexcept nogil:
    """Compare without regard to ASCII case; `lower` is lower case already."""
    cdef size_t i
    if a.n != n:
        return False
    for i in range(n):
        if char_lower(<uint8_t>a.p[i]) != <uint8_t>lower[i]:
            return False
    return True


# ---- Bytes and numbers as text ---------------------------------------------------------------------------

cdef inline char *put_bytes(char *p, const char *bytes, size_t n) noexcept nogil:
    memcpy(p, bytes, n)
    return p + n


cdef const char *DIGIT_PAIRS = (
    b"00010203040506070809101112131415161718192021222324"
    b"25262728293031323334353637383940414243444546474849"
    b"50515253545556575859606162636465666768697071727374"
    b"75767778798081828384858687888990919293949596979899"
)


cdef inline int decimal_length(uint64_t v) noexcept nogil:
    """How many decimal digits `v` has."""
    cdef int n = 1
    while v >= 10000:
        v //= 10000
        n += 4
    return n + (v >= 10) + (v >= 100) + (v >= 1000)


cdef inline size_t put_decimal(char *p, uint64_t v) noexcept nogil:
    """Write `v` in decimal, at most 20 bytes; returns their number."""
    cdef int n = decimal_length(v)
    cdef char *at = p + n
    while v >= 100:
        at -= 2
        memcpy(at, DIGIT_PAIRS + 2 * (v % 100), 2)
        v //= 100
    if v >= 10:
        memcpy(at - 2, DIGIT_PAIRS + 2 * v, 2)
    else:
        (at - 1)[0] = <char>(c'0' + v)
    return n


cdef inline void put_padded(char *p, uint32_t v, int width) noexcept nogil:
    """Write `v` with leading zeros."""
    while width > 0:
        width -= 1
        p[width] = <char>(c'0' + v % 10)
        v //= 10


cdef size_t put_hex(char *p, uint64_t v) noexcept nogil:
    """Write `v` in hexadecimal, at most 16 bytes; returns their number."""
    cdef const char *digits = b"0123456789abcdef"
    cdef int shift = 60
    cdef size_t n = 0
    while shift > 0 and not v >> shift:
        shift -= 4
    while shift >= 0:
        p[n] = digits[v >> shift & 15]
        n += 1
        shift -= 4
    return n


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    """The value of a hexadecimal digit, -1 for anything else."""
    if c >= c'0' and c <= c'9':
        return c - c'0'
    c |= 32
    return c - c'a' + 10 if c >= c'a' and c <= c'f' else -1


# ---- Slab ------------------------------------------------------------------------------------------------

cdef enum:
    SLAB_BLOCK = 65536
    SLAB_ALIGN = 64             # a cache line

cdef inline SlabBlock *slab_block(void *object) noexcept nogil:
    return <SlabBlock *>(<size_t>object & ~<size_t>(SLAB_BLOCK - 1))


cdef void slab_init(Slab *s, size_t size) noexcept nogil:
    memset(s, 0, sizeof(Slab))
    s.size = (size + SLAB_ALIGN - 1) & ~<size_t>(SLAB_ALIGN - 1)
    s.per_block = <uint32_t>((SLAB_BLOCK - slab_header()) // s.size)


cdef inline size_t slab_header() noexcept nogil:
    return (sizeof(SlabBlock) + SLAB_ALIGN - 1) & ~<size_t>(SLAB_ALIGN - 1)


cdef SlabBlock *slab_map() noexcept nogil:
    """A block aligned to its size, so that an object finds its block by masking its address."""
    cdef char *p = <char *>mmap(NULL, 2 * SLAB_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    cdef size_t before
    if p == <char *>MAP_FAILED:
        return NULL
    before = (SLAB_BLOCK - (<size_t>p & (SLAB_BLOCK - 1))) & (SLAB_BLOCK - 1)
    if before:
        munmap(p, before)
    munmap(p + before + SLAB_BLOCK, SLAB_BLOCK - before)
    return <SlabBlock *>(p + before)


cdef inline void slab_link(Slab *s, SlabBlock *b) noexcept nogil:
    b.prev = NULL
    b.next = s.partial
    if b.next != NULL:
        b.next.prev = b
    s.partial = b


cdef inline void slab_unlink(Slab *s, SlabBlock *b) noexcept nogil:
    if b.prev != NULL:
        b.prev.next = b.next
    else:
        s.partial = b.next
    if b.next != NULL:
        b.next.prev = b.prev


cdef SlabBlock *slab_refill(Slab *s) noexcept nogil:
    cdef SlabBlock *b = s.spare
    if b != NULL:
        s.spare = NULL
    else:
        b = slab_map()
        if b == NULL:
            return NULL
    memset(b, 0, sizeof(SlabBlock))
    slab_link(s, b)
    return b


cdef inline void *slab_new(Slab *s) noexcept nogil:
    """One object, its content undefined; NULL when memory is out."""
    cdef SlabBlock *b = s.partial
    cdef void *p
    if unlikely(b == NULL):
        b = slab_refill(s)
        if b == NULL:
            return NULL
    p = b.free
    if p != NULL:
        b.free = (<void **>p)[0]
    else:
        p = <char *>b + slab_header() + b.fresh * s.size
        b.fresh += 1
    b.used += 1
    s.used += 1
    if unlikely(b.used == s.per_block):
        slab_unlink(s, b)
    return p


cdef inline void slab_free(Slab *s, void *p) noexcept nogil:
    cdef SlabBlock *b = slab_block(p)
    if unlikely(b.used == s.per_block):
        slab_link(s, b)
    (<void **>p)[0] = b.free
    b.free = p
    b.used -= 1
    s.used -= 1
    if unlikely(b.used == 0):
        slab_release(s, b)


cdef void slab_release(Slab *s, SlabBlock *b) noexcept nogil:
    slab_unlink(s, b)
    if s.spare == NULL:
        s.spare = b
    else:
        munmap(b, SLAB_BLOCK)


cdef void slab_destroy(Slab *s) noexcept nogil:
    """Give all blocks back. Every object must have been freed."""
    if s.spare != NULL:
        munmap(s.spare, SLAB_BLOCK)
    s.spare = NULL
