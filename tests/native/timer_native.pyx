# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""The timing wheel for Python tests, on a clock that they set."""

from libc.stdlib cimport calloc

include "c/lua.pxd"
include "core.pxd"
include "mem.pxi"

cdef enum:
    TURN_LOOK = 4
    TURN_TIMERS = 0

cdef bint hurried = False


cdef bint turn_spent(Worker *w, uint64_t share) noexcept nogil:
    """Stands for the budget of a turn (turn.pxi)."""
    return hurried


include "timer.pxi"

ctypedef struct Alarm:
    Timer timer
    uint32_t id
    uint32_t again          # ms: sets itself anew from its own callback

cdef uint32_t[1 << 16] fired
cdef uint32_t nfired = 0


cdef void alarm_ring(Worker *w, Timer *t) noexcept nogil:
    global nfired
    cdef Alarm *a = <Alarm *>t
    fired[nfired & 0xffff] = a.id
    nfired += 1
    if a.again:
        timer_set(&w.wheel, t, w.wheel.now + a.again)


cdef class Clock:
    """A wheel with `n` timers, known by their numbers."""

    cdef Worker *w
    cdef Alarm *alarms

    def __cinit__(self, uint32_t n, uint64_t now):
        cdef uint32_t i
        self.w = <Worker *>calloc(1, sizeof(Worker))
        self.alarms = <Alarm *>calloc(n, sizeof(Alarm))
        if self.w == NULL or self.alarms == NULL:
            raise MemoryError
        self.w.wheel.now = now
        for i in range(n):
            timer_init(&self.alarms[i].timer, alarm_ring)
            self.alarms[i].id = i

    def __dealloc__(self):
        free(self.w)
        free(self.alarms)

    def set(self, uint32_t i, uint64_t deadline, uint32_t again=0):
        self.alarms[i].again = again
        timer_set(&self.w.wheel, &self.alarms[i].timer, deadline)

    def cancel(self, uint32_t i):
        timer_cancel(&self.w.wheel, &self.alarms[i].timer)

    def timeout(self, uint64_t now):
        """What the poller would wait, in ms; -1: for ever."""
        return wheel_timeout(&self.w.wheel, now)

    def advance(self, uint64_t now, bint hurry=False):
        """The numbers of the timers that fire, in order. `hurry`: there is time for TURN_LOOK of them only."""
        global nfired, hurried
        nfired = 0
        hurried = hurry
        wheel_advance(self.w, now)
        assert nfired <= 1 << 16
        return [fired[i] for i in range(nfired)]
