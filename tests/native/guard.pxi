# Inputs flush against an unmapped page, so that reading one byte too many crashes. Each of the areas holds one
# input at a time.

cdef extern from "sys/mman.h" nogil:
    int mprotect(void *addr, size_t length, int prot)
    enum: PROT_NONE

cdef enum:
    GUARD_INPUT = 1 << 20       # bytes of the longest input
    GUARD_PAGE = 1 << 16        # a multiple of every page size in use

cdef char *guard_area_gil() except NULL:
    cdef char *p = <char *>mmap(NULL, GUARD_INPUT + GUARD_PAGE, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if p == <char *>MAP_FAILED or mprotect(p + GUARD_INPUT, GUARD_PAGE, PROT_NONE) != 0:
        raise MemoryError("guard page")
    return p + GUARD_INPUT

cdef char *_main_end = guard_area_gil()
cdef char *_name_end = guard_area_gil()


cdef Span guard_copy(char *end, bytes data) except *:
    cdef size_t n = len(data)
    if n > GUARD_INPUT:
        raise ValueError("input too long")
    memcpy(end - n, <const char *>data, n)
    return Span(end - n, n)


cdef Span guarded(bytes data) except *:
    """The input of a parser."""
    return guard_copy(_main_end, data)


cdef Span guarded_name(bytes data) except *:
    """What is looked up in it."""
    return guard_copy(_name_end, data)


cdef object inside(Span outer, Span s):
    """A span that must lie in `outer`, as bytes; None for an absent one."""
    if s.p == NULL:
        return None
    assert s.p >= outer.p and s.p + s.n <= outer.p + outer.n, "a span leaves its input"
    return s.p[:s.n]
