# Logs. Part of core.pxd, which has the rules.

# ---- Logs (log.pxi) --------------------------------------------------------------------------------------

cdef enum LogLevel:
    LEVEL_DEBUG = 0
    LEVEL_INFO
    LEVEL_WARN
    LEVEL_ERROR
    LEVEL_OFF

cdef enum LogFormat:
    FORMAT_JSON             # one JSON object per line
    FORMAT_CONSOLE          # for people; coloured if the descriptor is a terminal
    FORMAT_CONSOLE_PLAIN
    FORMAT_CONSOLE_COLOR

cdef enum:
    LOG_RING_SIZE = 262144  # bytes, a power of two
    LOG_LINE_MAX = 65536    # bytes of a formatted line; a longer one is cut and says so
    LOG_CACHE_LINE = 64     # keeps the words of two threads apart

ctypedef struct Logger

# The start of a line is the same for a whole second.
ctypedef struct LogClock:
    int64_t second          # Unix time of `text`; -1: none yet
    char text[32]           # JSON: date and time in UTC; console: local time of day
    uint32_t n

# Where a line is being written. A text that does not fit stops before `end` and sets `cut`.
ctypedef struct LogLine:
    char *p
    char *end
    bint cut

# One field of a message. `value` is compact JSON text.
ctypedef struct LogField:
    Span key
    Span value

# Whole lines on their way from one producer to the log thread, as a stream of bytes: no headers are needed,
# because `head` moves by whole lines and the log thread writes up to `head` before it turns to another ring.
ctypedef struct LogRing:
    Logger *logger
    char *bytes             # LOG_RING_SIZE, then room for the part of a line that passes the end
    LogClock clock
    uint64_t head           # shared: bytes ever published
    uint64_t tail_seen      # the producer's copy of `tail`
    uint64_t dropped        # shared: lines that found no room, ever
    char producer_gap[LOG_CACHE_LINE]
    uint64_t tail           # shared: bytes ever written out
    uint64_t dropped_told
    char consumer_gap[LOG_CACHE_LINE]

# What the log thread does; the value of Logger.state, a futex.
cdef enum LogState:
    LOG_AWAKE
    LOG_NAPPING             # looks again by itself; a ring that fills wakes it earlier
    LOG_ASLEEP              # the first line wakes it

ctypedef struct Logger:
    LogRing *rings          # one mapping: rings, then their bytes
    size_t mapped
    uint32_t nrings
    int fd
    uint8_t file            # `fd` is a regular one
    uint8_t level           # LogLevel: what is logged at all
    uint8_t console         # not JSON
    uint8_t color
    uint8_t torn            # a failed write left half a line
    LogClock clock          # the log thread's own
    uint32_t state          # shared: LogState
    uint32_t stop           # shared
    uint32_t ended          # shared, a futex: the log thread has left
    uint64_t lost           # lines the descriptor did not take, not yet told
