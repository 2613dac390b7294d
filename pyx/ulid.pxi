# ULIDs (github.com/ulid/spec): 48 bits of Unix time in ms and 80 random bits, in 26 characters of Crockford's base 32,
# so that they sort by time. Monotonic over the whole process, workers included: within one millisecond, or when the
# clock was set back, the random part of the last one is counted up; if it would overflow, the time is.
# The random bits come from getrandom.

cdef extern from *:
    """
    #include <sys/random.h>
    static inline int random_fill(void *p, size_t n) { return getrandom(p, n, 0) == (ssize_t)n ? 0 : -1; }
    """
    int random_fill(void *p, size_t n) nogil

cdef enum:
    ULID_SIZE = 26

# The last one that was given out.
ctypedef struct Ulid:
    uint32_t guard              # shared: a spin lock around the rest
    uint64_t ms
    uint64_t high               # 16 random bits
    uint64_t low                # 64 random bits

cdef Ulid ulid_last


cdef void ulid_next(Ulid *last, uint64_t ms, uint64_t high, uint64_t low, char *out) noexcept nogil:
    """Write the next one: at `ms`, with the random bits `high` and `low` unless it must follow another closely."""
    spin_lock(&last.guard)
    if ms > last.ms:
        last.ms = ms
        last.high = high & 0xFFFF
        last.low = low
    else:
        last.low += 1
        if last.low == 0:
            last.high = (last.high + 1) & 0xFFFF
            if last.high == 0:
                last.ms += 1
    ms = last.ms
    high = last.high
    low = last.low
    spin_unlock(&last.guard)
    ulid_write(ms, high, low, out)


cdef void ulid_write(uint64_t ms, uint64_t high, uint64_t low, char *out) noexcept nogil:
    cdef const char *digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    cdef int i
    for i in range(10):
        out[9 - i] = digits[ms >> 5 * i & 31]
    for i in range(16):
        out[25 - i] = digits[low & 31]
        low = low >> 5 | high << 59
        high >>= 5


cdef int ulid_new(char *out) noexcept nogil:
    """A fresh one, ULID_SIZE characters. ERR_SYSTEM: the system gives no random bits."""
    cdef uint64_t bits[2]
    cdef timespec t
    if random_fill(&bits[0], sizeof(bits)) != 0:
        return ERR_SYSTEM
    clock_gettime(CLOCK_REALTIME, &t)
    ulid_next(&ulid_last, <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000, bits[0], bits[1], out)
    return OK
