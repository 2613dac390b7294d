# Every struct, enum and seam of the core, declared and explained once. Read this file first.
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


# ---- HTTP messages (http_parse.pxi, http_chunk.pxi): no socket, no Lua, no allocation ---------------------

# RFC 9110 section 9 and RFC 5789. METHOD_OTHER and METHOD_CONNECT are answered with 501.
cdef enum Method:
    METHOD_OTHER = 0
    METHOD_GET
    METHOD_HEAD
    METHOD_POST
    METHOD_PUT
    METHOD_DELETE
    METHOD_CONNECT
    METHOD_OPTIONS
    METHOD_TRACE
    METHOD_PATCH
    METHOD_COUNT

# Request fields that the engine itself reads; all others are HEADER_OTHER.
cdef enum HeaderId:
    HEADER_OTHER = 0
    HEADER_HOST
    HEADER_CONNECTION
    HEADER_CONTENT_LENGTH
    HEADER_CONTENT_TYPE
    HEADER_TRANSFER_ENCODING
    HEADER_EXPECT
    HEADER_COOKIE
    HEADER_UPGRADE

# One field line, as offsets from HttpHead.base, so that a head can be moved by copying its bytes.
ctypedef struct Header:
    uint32_t name
    uint32_t value
    uint32_t value_len
    uint16_t name_len
    uint8_t id              # HeaderId

cdef enum HeadFlag:
    HEAD_KEEP_ALIVE = 1     # the connection may serve another request (RFC 9112 section 9.3)
    HEAD_CHUNKED = 2
    HEAD_EXPECT_CONTINUE = 4
    HEAD_UPGRADE = 8        # "Connection: upgrade" with an Upgrade field
    HEAD_ASTERISK = 16      # the target is "*"
    HEAD_ENCODED = 32       # the path contains a "%"
    HEAD_CLOSE = 64         # "Connection: close"; then HEAD_KEEP_ALIVE is off

# The head of a request. All offsets count from `base`, the first byte of the request line.
ctypedef struct HttpHead:
    const char *base
    uint32_t size           # bytes parsed, empty lines before `base` and the one at the end included
    uint32_t method_len     # the method starts at base
    uint32_t target, target_len     # as received
    uint32_t path, path_len         # "/" is implied (path_len 0) by http://host; none in "*" and CONNECT
    uint32_t query, query_len       # without "?"
    uint32_t host, host_len         # of the target if it has one, else of the Host field; with port
    int64_t content_length  # -1: not given
    Header *headers         # room for HttpLimits.headers, given by the caller
    uint16_t nheaders
    uint16_t seen           # bit 1 << HeaderId for each that occurs, but HEADER_OTHER
    uint8_t method          # Method
    uint8_t minor           # HTTP/1.minor; 1 for all above
    uint8_t flags           # HeadFlag
    const char *why         # after a refusal: what was wrong, for the log (a constant, NUL-terminated)

# The head of a response. Its field lines lie from `fields` to `size`; the offsets count from its first byte.
ctypedef struct HttpReplyHead:
    uint32_t size           # bytes parsed, the empty line at the end included
    uint32_t fields
    uint32_t reason, reason_len
    int64_t content_length  # -1: not given
    uint32_t flags          # HeadFlag: KEEP_ALIVE, CHUNKED, UPGRADE, CLOSE
    uint16_t status
    uint8_t minor           # HTTP/1.minor; 1 for all above
    const char *why         # after a refusal: what was wrong (a constant, NUL-terminated)

ctypedef struct HttpLimits:
    uint32_t head           # bytes of request line and header block together -> 431
    uint32_t target         # bytes of the request target -> 414
    uint32_t headers        # field lines, at most 65535 -> 431

# Where a chunked body stands between two calls (RFC 9112 section 7.1). Zeroed to start.
ctypedef struct ChunkState:
    uint64_t left           # bytes of the current chunk still to come
    uint8_t state
    uint8_t digits          # of the chunk size read so far
    uint32_t extra          # bytes of extensions not yet paid for by data, then of trailers; bounded

cdef enum ChunkEvent:
    CHUNK_MORE = 0          # all input consumed, body not finished
    CHUNK_DATA = 1          # `data` holds decoded bytes; call again with the rest
    CHUNK_DONE = 2          # the body and its trailers ended
    # 400: malformed


# ---- WebSocket frames (ws_frame.pxi): no socket, no Lua, no allocation ------------------------------------

cdef enum WsOpcode:
    WS_CONTINUATION = 0
    WS_TEXT = 1
    WS_BINARY = 2
    WS_CONTROL = 8          # the bit that control frames have
    WS_CLOSE = 8
    WS_PING = 9
    WS_PONG = 10

# RFC 6455 section 7.4.1, as far as the engine itself uses them.
cdef enum WsCode:
    WS_NORMAL = 1000
    WS_GOING_AWAY = 1001
    WS_PROTOCOL_ERROR = 1002
    WS_NO_CODE = 1005       # never sent: the close frame had no code
    WS_ABNORMAL = 1006      # never sent: the connection ended without a close frame
    WS_BAD_TEXT = 1007      # not UTF-8
    WS_POLICY = 1008
    WS_TOO_BIG = 1009
    WS_FAILED = 1011
    WS_RESTART = 1012

# The header of a frame.
ctypedef struct WsFrame:
    uint64_t length         # bytes of its payload
    const char *why         # after a refusal: what was wrong (a constant, NUL-terminated)
    uint8_t opcode          # WsOpcode
    uint8_t fin
    uint8_t compressed      # bit RSV1 (RFC 7692)
    uint8_t masked
    uint8_t mask[4]
    uint8_t size            # bytes of the header

# Where the check of a text stands between two calls. Zeroed to start.
ctypedef struct Utf8:
    uint8_t need            # bytes that the current character still needs
    uint8_t low             # the next of them lies between these
    uint8_t high


# What permessage-deflate was agreed on (ws_offer.pxi, RFC 7692 section 7.1).
ctypedef struct WsDeflateParams:
    uint8_t server_fresh    # server_no_context_takeover
    uint8_t client_fresh    # client_no_context_takeover
    uint8_t server_bits     # sizes of the windows, as powers of two
    uint8_t client_bits
    uint8_t client_limits   # client_max_window_bits is there: 1 without, 2 with a value


# ---- FastCGI records (fcgi_record.pxi, cgi_head.pxi): no socket, no Lua, no allocation --------------------

# FastCGI 1.0, section 8.
cdef enum FcgiType:
    FCGI_BEGIN = 1          # FCGI_BEGIN_REQUEST
    FCGI_ABORT = 2
    FCGI_END = 3
    FCGI_PARAMS = 4
    FCGI_STDIN = 5
    FCGI_STDOUT = 6
    FCGI_STDERR = 7
    FCGI_DATA = 8
    FCGI_GET_VALUES = 9
    FCGI_VALUES = 10        # FCGI_GET_VALUES_RESULT
    FCGI_UNKNOWN = 11

# How a request has ended, for the web server.
cdef enum FcgiStatus:
    FCGI_COMPLETE = 0
    FCGI_CANT_MULTIPLEX = 1
    FCGI_OVERLOADED = 2
    FCGI_UNKNOWN_ROLE = 3

# The header of a record.
ctypedef struct FcgiRecord:
    const char *why         # after a refusal: what was wrong (a constant, NUL-terminated)
    uint16_t id             # of the request; 0: the record is about the connection
    uint16_t length         # bytes of its content
    uint8_t padding         # bytes behind that
    uint8_t type            # FcgiType, or an unknown one if `id` is 0

# The variables (RFC 3875 section 4.1) that make up the head of a request. p is NULL for one that is not there.
ctypedef struct CgiVars:
    Span all                # as name-value pairs
    Span method
    Span uri                # REQUEST_URI: no part of the standard, but all web servers send it
    Span script             # SCRIPT_NAME and PATH_INFO are decoded
    Span path
    Span query
    Span protocol
    Span length
    Span type
    Span host               # HTTP_HOST
    Span name               # SERVER_NAME
    Span address            # REMOTE_ADDR
    Span port               # REMOTE_PORT
    Span https
    Span scheme             # REQUEST_SCHEME


# ---- Routes (router.pxi): patterns of Heart v1, that is of Fiber 2.5.0 ------------------------------------

cdef enum:
    PARAMS_MAX = 16         # parameters of one pattern; more is an error when the route is added

cdef enum SegmentKind:
    SEGMENT_LITERAL
    SEGMENT_PARAM           # :name
    SEGMENT_STAR            # *  zero or more characters, may span "/"
    SEGMENT_PLUS            # +  one or more characters, may span "/"

ctypedef struct Segment:
    uint8_t kind            # SegmentKind
    uint8_t optional        # `:name?` and STAR
    uint8_t greedy          # STAR and PLUS: may span "/"
    uint8_t slash_optional  # LITERAL: its last "/" may be missing because an optional parameter follows
    uint16_t repeats        # parameters: how often `until` occurs in the literals that follow
    Span text               # LITERAL: lower-case text; PARAM: the name as written; STAR, PLUS: "*1", "+2", ...
    Span until              # parameters: the next literal, lower case, less its trailing "/": ends the value

# A value cut out of the request path: offset from the path's first byte.
ctypedef struct Param:
    uint32_t at
    uint32_t n

# One allocation with its segments and all texts behind it; its address never changes.
ctypedef struct Route:
    uint8_t method          # Method; METHOD_COUNT stands for "every method"
    uint8_t stream_body     # the handler runs when the head is complete and reads the body itself
    uint8_t literal         # no parameters: found through the index by hash
    uint8_t star            # the pattern "/*": its value keeps a trailing slash
    uint8_t nparams
    uint16_t nsegments
    uint32_t methods        # bits (1 << Method) of the methods it answers; GET answers HEAD too
    uint32_t order          # registration order decides between routes that match
    uint32_t hash           # of the literal path, lower case, without trailing slash
    int handler             # reference in the Lua registry
    int64_t max_body        # bytes; -1: the server's limit
    Segment *segments
    Span path               # as registered

# The hash lies beside the position, so that a miss is seen without touching a route.
ctypedef struct RouteSlot:
    uint32_t hash
    uint32_t at             # 1 + position; 0: free

# What rejects most paths without touching the route: the first bytes of its leading literal.
ctypedef struct RouteHead:
    uint64_t bytes          # lower case
    uint64_t mask
    uint32_t at             # position of the route
    uint32_t methods

ctypedef struct Router:
    Route **routes          # in registration order
    uint32_t n
    uint32_t cap
    RouteSlot *index        # literal routes: open addressing; those of one hash stand in registration order
    uint32_t index_cap      # a power of two
    uint32_t nliterals
    RouteHead *patterns     # the routes with parameters, in registration order
    uint32_t npatterns
    uint32_t patterns_cap


# ---- The archive (archive.pxi): the application's files in the executable ---------------------------------

# One file: `size` bytes of Archive.fd from `at` on. A name that ends in "/" is an empty folder.
ctypedef struct ArchiveFile:
    Span name
    int64_t at
    uint64_t size
    int64_t mtime           # Unix time
    uint64_t digest         # of its content
    int copy                # descriptor of a copy in memory, for what is loaded by a path; 0: none yet. Shared, atomic

# Written before the workers start, then read-only but for the copies.
ctypedef struct Archive:
    int fd
    uint32_t n              # 0: there is no archive
    ArchiveFile *files      # in the order of their names
    char *names


# ---- Requests for files (http_accept.pxi, http_condition.pxi, http_range.pxi): no socket, no Lua, no allocation -----

# What distinguishes one version of a file from another.
ctypedef struct FileVersion:
    uint64_t tag            # another one after every change
    int64_t mtime           # Unix time
    uint8_t recent          # it changed so lately that it may change again within one tick of the file system's clock,
    #                       and that would show in neither: a weak validator (RFC 9110 section 8.8.1)

# AskField: the fields that concern the file a request is for. Those with a list may have several lines.
cdef enum:
    ASK_RANGE
    ASK_IF_RANGE
    ASK_IF_MATCH
    ASK_IF_NONE_MATCH
    ASK_IF_MODIFIED
    ASK_IF_UNMODIFIED
    ASK_ENCODING
    ASK_FIELDS

ctypedef struct Ask:
    const HttpHead *head
    uint16_t first[ASK_FIELDS]      # position of its first line, if it has one
    uint16_t times[ASK_FIELDS]      # lines

# Coding: the content codings that a file may lie beside its original in.
cdef enum:
    CODING_NONE             # "identity": the original
    CODING_BROTLI
    CODING_ZSTD
    CODING_GZIP
    CODINGS

cdef enum:
    WEIGHT_NONE = -1        # the client has not said

# How much a client likes each, in thousandths; the last one is for what it does not name ("*").
ctypedef struct Weights:
    int16_t of[CODINGS + 1]

# Codings, the best first.
ctypedef struct Codings:
    uint8_t n
    uint8_t order[CODINGS]

cdef enum:
    RANGES_MAX = 16         # parts of one answer; who asks for more gets the whole
    RANGE_BOUNDARY = 32     # characters

ctypedef struct ByteRange:
    int64_t at
    int64_t n

# The parts of a file, as they are sent: multipart/byteranges.
ctypedef struct FileParts:
    int64_t start           # of the file in its descriptor
    int64_t size            # of the whole file
    uint8_t n
    uint8_t next            # the part to be sent next; n: the end
    char boundary[RANGE_BOUNDARY]
    ByteRange ranges[RANGES_MAX]


# ---- Static files (static.pxi) ---------------------------------------------------------------------------

# A moment of the calendar (proleptic Gregorian), in UTC. month and day count from 1.
ctypedef struct Date:
    int year, month, day, hour, minute, second

# Where files are served from: a directory, or a folder of the archive.
ctypedef struct Folder:
    int dirfd               # -1: in `archive`
    const Archive *archive
    Span within             # what the names below it begin with in the archive: "" or "public/"

# A file to be sent: `size` bytes of `fd` from `at` on. `mime` is a constant.
ctypedef struct StaticFile:
    int fd
    uint8_t kept            # `fd` is the archive's; else the caller closes it
    uint8_t slashless       # it is the index of a folder, and the path had no slash at its end
    uint8_t negotiated      # what is sent depends on Accept-Encoding
    uint8_t coding          # Coding
    int64_t at
    uint64_t size
    FileVersion version
    Span mime


# ---- Forms (url.pxi, multipart.pxi): codecs over a complete body in memory --------------------------------

cdef enum FormType:
    FORM_NONE = 0
    FORM_URLENCODED
    FORM_MULTIPART

cdef enum:
    BOUNDARY_MAX = 70       # characters (RFC 2046 section 5.1.1)

# A multipart/form-data body that is read part by part. The delimiter is a copy; `rest` points into the body.
ctypedef struct Multipart:
    Span rest               # what was not read yet
    uint8_t started         # the first delimiter was found; `rest` begins right behind one
    uint8_t delimiter_len
    char delimiter[BOUNDARY_MAX + 4]    # CRLF "--" boundary

# One part (RFC 7578 section 4); all spans point into the body.
ctypedef struct Part:
    Span name               # as sent: multipart_unescape gives the text
    Span filename           # as sent; p is NULL if the part has none
    Span type               # value of Content-Type; p is NULL if the part has none
    Span headers            # the header lines, each with its CRLF
    Span data

cdef enum PartEvent:
    PART_END = 0            # the closing delimiter was read
    PART_NEXT = 1           # `part` is filled; call again
    # 400: malformed

# ---- Engine: poller, timers, connections (loop, timer, io, conn) ------------------------------------------

ctypedef struct Worker
ctypedef struct Server
ctypedef struct Listener
ctypedef struct Conn
ctypedef struct Req
ctypedef struct State
ctypedef struct ScriptBox
ctypedef struct ScriptLoad
ctypedef struct ScriptWait
ctypedef struct Coro
ctypedef struct Ctx
ctypedef struct Task
ctypedef struct TaskLink
ctypedef struct TaskWait
ctypedef struct TaskSemaphore
ctypedef struct SemaphoreWait
ctypedef struct RestWait
ctypedef struct Message
ctypedef struct Mount
ctypedef struct LogRing
ctypedef struct KvStore
ctypedef struct KvTxn
ctypedef struct KvNode
ctypedef struct KvWatcher
ctypedef struct Process
ctypedef struct Sock
ctypedef struct Fcgi
ctypedef struct Ws
ctypedef struct WsReader
ctypedef struct WsWriter
ctypedef struct TlsApi
ctypedef struct TlsContext
ctypedef struct TlsSession

# What the poller hands back for a descriptor. It is the first member of whatever watches one.
ctypedef struct Watch:
    void (*on_event)(Worker *w, Watch *x, uint32_t events) noexcept nogil
    int fd
    uint32_t interest       # EPOLL* events asked for

# A message to a worker: pushed by any thread onto Worker.inbox (worker_post), run there in order on its next turns.
# It is the first member of what it tells about; the sender does not touch it again.
ctypedef struct Post:
    Post *next
    void (*on_post)(Worker *w, Post *p) noexcept nogil

# What a coroutine waits for with WAIT_POST: a post from elsewhere, or something on its worker. It holds the coroutine
# and the coroutine holds it; whichever ends first clears the other's pointer. All functions run on that worker. Once
# begun it ends by exactly one of
#   worker_post     from another thread, unless `cancel` has said True
#   op_done         from the worker's loop: the coroutine goes on at once
#   op_ready        from wherever on the worker: it goes on at the end of this turn
#   its deadline    if `cancel` says True; then `timed_out` is set
ctypedef struct Op:
    Post post               # on_post = op_on_post
    Coro *coro              # that waits; NULL: it is gone, nobody wants the answer
    uint8_t begun           # `begin` was called and it has not ended
    uint8_t ready           # it has ended by op_ready, and the coroutine goes on at the end of this turn
    uint8_t timed_out       # it has ended by its deadline
    uint8_t for_client      # it is given up when the client of the coroutine's request leaves
    void (*begin)(Worker *w, Op *op) noexcept nogil
    #                       the coroutine has really yielded: hand the work over. May post or call op_ready at once
    int (*finish)(Coro *co, Op *op) noexcept nogil
    #                       it has ended: push on co.L what the waiting C function returns. May free the op
    bint (*cancel)(Worker *w, Op *op) noexcept nogil
    #                       leave the queue that it waits in. False: too late, the post is on its way. NULL: can not
    void (*drop)(Worker *w, Op *op) noexcept nogil
    #                       the coroutine is gone, and no post will come any more: free it

# Work for the thread pool (jobs.pxi): an Op that ends by a post when `run` has returned. Whoever makes it sets
# op.finish and op.drop, which free it.
ctypedef struct Job:
    Op op
    Job *next               # Pool.first
    Job *prev
    Worker *worker          # whose coroutine waits; NULL: nobody does, and `run` frees the job
    void (*run)(Job *j) noexcept nogil
    #                       on a thread of the pool: may block, touches the job only
    int error               # errno of its failure; 0: it is done
    uint8_t waits           # in the pool's list; shared, under its lock

# Its members are shared, under the gate, but for `most`.
ctypedef struct Pool:
    void *gate              # a lock, see c/thread.pxd
    Job *first              # jobs that wait, the oldest first
    Job *last
    uint32_t waiting        # jobs
    uint32_t threads
    uint32_t idle           # of them
    uint32_t most           # threads

# A deadline in milliseconds of Worker.now. Moving it later is one store (`due` stays, and the wheel looks
# again when it fires); only moving it earlier touches the wheel. So a request costs no list operation.
ctypedef struct Timer:
    Timer *next
    Timer *prev
    uint64_t due            # where the wheel holds it; 0: not in the wheel
    uint64_t deadline       # when on_timer is called, >= due
    void (*on_timer)(Worker *w, Timer *t) noexcept nogil
    uint16_t slot           # its place in the wheel, level * WHEEL_SLOTS + slot

cdef enum:
    WHEEL_BITS = 6
    WHEEL_SLOTS = 64
    WHEEL_LEVELS = 7        # 2^42 ms: 139 years

# Hierarchical timing wheel. A timer sits at the level of the highest group of WHEEL_BITS bits in which its
# due time differs from `now`; so every occupied slot lies ahead, lower levels come first, and the next one
# is found by counting zeros.
ctypedef struct Wheel:
    uint64_t now
    uint64_t used[WHEEL_LEVELS]
    Timer *slots[WHEEL_LEVELS * WHEEL_SLOTS]

# A protocol that owns connections. It is given the bytes already read, so that one can take over from another.
# on_data    every byte is consumed, or kept with conn_spill; may be called with what was kept
# on_writable the output that had to wait is gone
# on_timer   the connection's deadline has passed
# on_close   the connection ends, whoever wanted it; drop what belongs to it
# on_stop    the worker ends: finish what is in flight, then close
# takes_input whether input can be used now; else the connection is paused
# want_body  a handler waits for (more of) the request body
# want_output a handler waits until the client has taken what was written, or a file is on its way
# suspend    a request goes on later, whatever it waits for
# reply_*    one response: a head, any number of body parts, an end. `length` -1: not known
# abort      the reply can not be begun or finished: make sure the client notices. The request loses its connection, and
#            ends if no handler runs for it
ctypedef struct Proto:
    const char *name
    bint duplex             # input is taken while output waits
    void (*on_data)(Worker *w, Conn *c, char *p, size_t n) noexcept nogil
    void (*on_eof)(Worker *w, Conn *c) noexcept nogil
    void (*on_writable)(Worker *w, Conn *c) noexcept nogil
    void (*on_timer)(Worker *w, Conn *c) noexcept nogil
    void (*on_close)(Worker *w, Conn *c) noexcept nogil
    void (*on_stop)(Worker *w, Conn *c) noexcept nogil
    bint (*takes_input)(Conn *c) noexcept nogil
    void (*want_body)(Worker *w, Req *r) noexcept nogil
    void (*want_output)(Worker *w, Req *r) noexcept nogil
    void (*suspend)(Worker *w, Req *r) noexcept nogil
    int (*reply_head)(Worker *w, Req *r, int64_t length) noexcept nogil
    int (*reply_body)(Worker *w, Req *r, const char *p, size_t n) noexcept nogil
    void (*reply_end)(Worker *w, Req *r) noexcept nogil
    void (*abort)(Worker *w, Req *r) noexcept nogil

cdef enum ConnFlag:
    CONN_CLOSING = 1        # close when all output is sent
    CONN_LINGER = 2         # ... then drain input for a short while, so that the client sees the answer
    CONN_DRAINING = 4       # doing that now (RFC 9112 section 9.6)
    CONN_DEAD = 8           # closed; the memory is freed at the end of the turn
    CONN_DIRTY = 16         # in Worker.dirty or Worker.settling
    CONN_KICK = 32          # spilled input waits to be given to the protocol
    CONN_PAUSED = 64        # the protocol takes no input now; interest is turned off when some arrives
    CONN_PUMP = 128         # the protocol wants on_writable once all output is sent
    CONN_FRESH = 256        # no request has been answered yet
    CONN_PARTIAL = 512      # a request head has begun to arrive
    CONN_BLOCKED = 1024     # the socket took no more output: EPOLLOUT is awaited
    CONN_MORE = 2048        # input of this read is still to be looked at
    CONN_WATCHED = 4096     # the request in progress wants to know when the client leaves
    CONN_OURS = 8192        # it was made from here, not accepted
    CONN_UNREAD = 16384     # its TLS session may have input that no event tells of

# A connection. Idle keep-alive ones hold nothing beyond this: buffers belong to the worker. Three cache lines, all
# that a request needs of one; the order of the members makes them so.
ctypedef struct Conn:
    Watch watch
    const Proto *proto
    TlsSession *tls         # NULL: the bytes are not encrypted
    Req *req                # the request in progress, NULL between requests. Other protocols keep theirs here: Ws, Fcgi
    uint32_t served         # requests
    uint16_t flags          # ConnFlag
    uint16_t port           # of the peer
    uint32_t out_at         # sent part of `out`
    uint32_t progress       # bytes moved since the deadline was set
    Conn *next              # in Worker.dirty, Worker.settling or Worker.dead
    Buf out                 # output that the socket did not take yet
    Buf spill               # input that could not be used yet
    uint8_t address[16]     # of the peer; IPv4 as ::ffff:a.b.c.d, all zero for a Unix socket
    Timer timer
    Conn *before            # in Worker.all
    Conn *after

cdef enum ListenerFlag:
    LISTENER_SHARED = 1     # one descriptor for all workers (Unix, inherited): EPOLLEXCLUSIVE
    LISTENER_UNIX = 2
    LISTENER_PAUSED = 4     # out of descriptors or connections
    LISTENER_FCGI = 8       # its connections speak FastCGI

ctypedef struct Listener:
    Watch watch
    Timer retry
    const Proto *proto
    uint8_t flags           # ListenerFlag


# ---- Requests (req, http1) -------------------------------------------------------------------------------

cdef enum BodySink:
    SINK_BUFFER             # collected, then the handler runs
    SINK_STREAM             # the handler runs at once and reads it
    SINK_DISCARD

cdef enum ReplySource:
    SOURCE_BYTES
    SOURCE_FILE
    SOURCE_STREAM

cdef enum ContentType:
    TYPE_TEXT               # text/plain; charset=utf-8, as Heart v1
    TYPE_JSON
    TYPE_HTML
    TYPE_SPAN               # Req.mime
    TYPE_SET                # among Req.fields
    TYPE_NONE

cdef enum ReqFlag:
    REQ_KEEP_ALIVE = 1
    REQ_HEAD_SENT = 2
    REQ_RETAINED = 4        # the head was copied out of the worker's scratch buffer
    REQ_CHUNKED_REPLY = 8
    REQ_BODY_DONE = 16      # the request body was read to its end
    REQ_CONTINUE = 32       # the client waits for "100 Continue"
    REQ_LISTED = 64         # in State.requests
    REQ_NO_BODY = 128       # the reply must not carry a body (HEAD, 204, 304)
    REQ_HAS_DATE = 256      # the handler set its own Date
    REQ_HAS_SERVER = 512
    REQ_FAILED = 1024       # onerror is running: a second error ends it
    REQ_READING = 2048      # Req.waiter waits for a part of the body
    REQ_WRITING = 4096      # Req.waiter waits for the client to take output
    REQ_TOLD_CLOSED = 8192  # the handler knows that its client is gone
    REQ_HELD = 16384        # a function on the C stack will close it
    REQ_BODY_TAKEN = 32768  # ctx.reader() has given the buffered body
    REQ_FILE_KEPT = 131072  # Req.file is the archive's: it stays open
    REQ_BODY_FAILED = 65536  # the rest of the body will not come: its syntax, a limit or a timeout
    REQ_AFTER = 262144      # State.after runs when the handler has returned
    REQ_CANCEL = 1048576    # the handler is cancelled when the client leaves
    REQ_BODY_SEEN = 16777216    # the end of the body has arrived, but the handler has not read all of it
    REQ_SECURE = 2097152    # the client speaks TLS with Heart or with the web server before it
    REQ_ERRORS = 4194304    # FastCGI: something was sent as its error stream
    REQ_PUMPED = 8388608    # FastCGI: in Fcgi.pumped
    REQ_PASSED = 524288     # it goes on in the state Req.passed when the handler has returned

# One request and its response, apart from the connection that carries it.
ctypedef struct Req:
    Conn *conn              # NULL once the client is gone; the handler still runs to its end
    const Proto *proto
    State *state            # the generation that serves it
    State *passed           # REQ_PASSED: the script state that takes it
    Coro *coro              # that runs its handler
    int on_abort            # reference: what runs when the client leaves, or LUA_NOREF
    Coro *waiter            # that waits for the client: the same, or a task's; NULL: none
    Req *next               # State.requests, while suspended
    Req *prev
    HttpHead head
    Buf copy                # the retained head behind its headers; its memory is kept for the next request
    Route *route
    Mount *mount            # the file below it answers
    uint32_t flags          # ReqFlag
    uint8_t sink            # BodySink
    uint8_t source          # ReplySource
    uint8_t ctype           # ContentType
    uint16_t status
    uint32_t allowed        # methods that other routes of this path have, bit by Method
    int64_t body_max        # bytes; more is refused with 413
    int64_t body_left       # of Content-Length, or of what a chunked body may still bring
    ChunkState chunk
    Span body               # the buffered body: in the scratch buffer or in body_buf
    Buf body_buf
    Buf fields              # response fields set by the handler, as lines
    Span mime               # a constant, for TYPE_SPAN
    int file                # descriptor of what is below the mount, else -1: it is a folder without its slash
    uint8_t file_coding     # Coding
    uint8_t file_negotiated     # what is sent depends on Accept-Encoding
    int64_t file_at
    int64_t file_left
    FileVersion file_version
    FileParts *parts        # NULL: the file is sent in one piece
    uint64_t started        # ns: when the turn of the loop began that read its head
    uint64_t sent           # body bytes
    uint8_t address[16]     # of the peer, as in Conn; of the client of the web server before Heart, if that tells it
    uint16_t port
    Param params[PARAMS_MAX]
    # over FastCGI
    uint16_t id             # what the web server calls it
    uint32_t progress       # bytes of input since `due` was set
    uint64_t due            # ms: when input must have made progress; 0: none is waited for
    Req *beside             # in Fcgi.slots
    Req *pump               # in Fcgi.pumped
    uint32_t vars           # its variables as name-value pairs: their offset in the head
    uint32_t vars_len


# ---- FastCGI (fcgi.pxi) ----------------------------------------------------------------------------------

cdef enum:
    FCGI_FEW = 8            # requests of a connection that need no table of their own

# What a connection that speaks FastCGI has beside its Conn: the requests in progress, and how far the current record
# was read.
ctypedef struct Fcgi:
    Req **slots             # the requests by their id, in chains; at first `few`
    uint32_t nslots         # a power of two
    uint32_t n              # requests
    Req *few[FCGI_FEW]
    Req *fresh              # its head and its body lie in the worker's memory, until on_data ends or reads another head
    Req *pumped             # have something to send once all output has left, the oldest first
    Req **pumped_end
    uint64_t due            # ms: the earliest Req.due, or before it; 0: none
    uint64_t refuse_at      # ms: when a worker that ends takes no more requests; 0: not yet known
    uint32_t held           # requests with as much input as may wait for their handlers: no more is taken
    uint32_t left           # content of the record that was not seen yet
    uint16_t id             # of the record
    uint8_t padding         # ... that was not seen yet
    uint8_t type            # ... FcgiType
    uint8_t last            # the connection closes when all requests have ended


# ---- Sockets of the application (sock.pxi, lua_socket.pxi) ---------------------------------------------------

# What a coroutine that reads waits for.
cdef enum SockRead:
    READ_ANY                # whatever comes, at most `want` bytes
    READ_COUNT              # `want` bytes
    READ_LINE               # up to LF
    READ_ALL                # up to the end of the stream
    READ_UNTIL              # up to Sock.delimiter, in pieces of at most `want` bytes if that is not 0
    READ_DATAGRAM           # one, whatever its length
    READ_ACCEPT             # a connection, from a listener
    READ_HEAD               # of an HTTP response, of at most `want` bytes
    READ_CHUNK              # data of a chunked body, at most `want` bytes
    READ_HANDSHAKE          # TLS

cdef enum SockFlag:
    SOCK_WATCHED = 1        # the poller knows it
    SOCK_EOF = 2            # the peer sends no more
    SOCK_BROKEN = 4         # no byte moves any more: Sock.error
    SOCK_ENDED = 8          # nothing more is sent from here
    SOCK_PIPE = 16          # read(2) and write(2) in place of recv(2) and send(2)
    SOCK_CONNECTING = 32
    SOCK_FRESH = 1024       # connected, and Lua has not seen it yet
    SOCK_DATAGRAM = 2048    # it has no stream: UDP, Unix datagrams
    SOCK_LISTENS = 4096
    SOCK_GOT = 8192         # READ_DATAGRAM: there is one in Sock.unread, with its sender in Worker.sender
    SOCK_TO = 16384         # Sock.output begins with the address that the datagram is for
    SOCK_POOLED = 32768     # idle, in Sock.pool
    SOCK_FOUND = 65536      # the read has what it wants: `found` and `skip`
    SOCK_SECURE = 131072    # the TLS handshake is over
    SOCK_MORE = 262144      # the last read may have left bytes inside the TLS session, of which no event tells
    SOCK_KICKED = 524288    # in Worker.socks_kicked
    SOCK_CUT = 1048576      # the peer takes no more: Sock.send_error. What it has sent may still be there
    SOCK_STEP = 2097152     # a connect() of its own waits: its result is no new socket
    SOCK_PATIENT = 4194304  # timeouts count from the last byte that moved
    SOCK_DEAD = 64          # closed; the memory is freed at the end of a turn
    SOCK_FREED = 128        # in Worker.socks_dead
    SOCK_SCRATCH = 256      # the unread input is in the worker's scratch buffer, for as long as an event is handled
    SOCK_AFTER_UNTIL = 512  # the last piece before the delimiter was given

# What a socket's userdata holds.
ctypedef struct SockBox:
    Sock *sock              # NULL: closed, or given away

# A coroutine waits for one of several descriptors. Their list, `n` times struct pollfd, follows the struct.
ctypedef struct Polling:
    Op op
    Watch watch             # an epoll with all of them; fd -1: none
    Polling *next           # Worker.pollings_dead
    uint32_t n

# Idle connections to one peer, the one given last first. In State.pools by its key.
ctypedef struct SockPool:
    Sock *first
    Sock *last
    uint32_t n

# A descriptor that coroutines read and write. It belongs to a State, and is closed with it at the latest. Coroutines
# wait by the two ops: one may read while another writes.
ctypedef struct Sock:
    Watch watch
    State *state
    SockBox *box            # NULL: no Lua code can reach it; then it lives as long as a coroutine waits
    Sock *next              # State.socks
    Sock *prev
    Sock *after             # Worker.socks_dead
    Sock *kicked            # Worker.socks_kicked
    TlsSession *tls         # NULL: the bytes are not encrypted
    uint32_t flags          # SockFlag
    int error               # errno
    int send_error          # errno
    uint16_t family         # AF_*
    Op reading
    Op writing              # also the connect
    uint32_t read_events    # what the reader waits for, EPOLLIN but for TLS
    uint32_t write_events
    # input
    uint8_t read            # SockRead
    uint8_t inclusive       # READ_UNTIL: the delimiter is part of the result
    int prefix              # reference of a string that the result begins with
    Buf delimiter           # of the last READ_UNTIL
    size_t want
    size_t scanned          # unread bytes that need not be looked at again
    size_t found            # result: bytes to give
    size_t skip             # ... and bytes that are used up, what is given included
    int head_result         # READ_HEAD: what http_parse_reply said
    HttpReplyHead head
    ChunkState chunk        # READ_CHUNK: between two reads, too
    Span unread             # input that nobody has taken: in `input` or (SOCK_SCRATCH) in the scratch buffer
    Buf input
    # output
    Span rest               # what the socket has not taken yet: in `output`, or in the string `output_ref`
    Buf output
    int output_ref
    size_t sent             # bytes of this send that the socket has taken
    # times in ms; -1: none
    int64_t connect_timeout
    int64_t send_timeout
    int64_t receive_timeout
    uint64_t deadline       # of the worker's clock, for all operations; 0: none
    Sock *accepted          # SOCK_LISTENS: connections that nobody has taken, linked by `after`
    # while it is idle
    SockPool *pool
    Sock *newer
    Sock *older
    Timer timer
    uint64_t given          # Worker.now_ns
    uint32_t reused         # how often it was taken from a pool


# ---- JSON (lua_json.pxi) ----------------------------------------------------------------------------------

# One worker's memory for encoding. A finalizer that encodes while a result is being pushed takes the other buffer;
# finalizers do not nest. An error that unwinds past the end of the call leaves `turn` flipped, which is as good.
ctypedef struct JsonScratch:
    Buf[2] buf
    int turn


# ---- Lua (lua_state, lua_run, lua_ctx) --------------------------------------------------------------------

# What a ctx userdata holds. NULL after its request: every use is an error then.
ctypedef struct Ctx:
    Req *req
    uint8_t shared          # yielded, or given user fields: retired when its request ends

cdef enum CoroWait:
    WAIT_TIMER
    WAIT_READ               # a part of the request body
    WAIT_WRITE              # the client to take output
    WAIT_TURN               # a bare coroutine.yield(): the next turn of the loop
    WAIT_POST               # Coro.op
    WAIT_NOTHING            # it will not go on: it was cancelled and has caught the error too often
    WAIT_END                # nothing: the handler has ended its request and is not resumed

cdef enum CoroRole:
    ROLE_HANDLER
    ROLE_TASK               # no request: a start event, which may run for ever
    ROLE_STOP               # a stop event: its state waits for it
    ROLE_LOAD               # runs the script of a new state
    ROLE_WS                 # works for Coro.ws
    ROLE_WATCH              # a task that sleeps until something is told to it: see State.watching

# Which of the worker's queues a coroutine is in.
cdef enum CoroPlace:
    PLACE_NONE
    PLACE_SOON
    PLACE_TURN

# Coroutines that are to go on, the oldest first.
ctypedef struct CoroQueue:
    Coro *first
    Coro **end              # where the next one is linked

# A pooled coroutine. Stack index 1 is its ctx; a finished handler leaves it ready for the next one. While it runs a
# Task, that is at index 2 and at 3 the ctx of the request that spawned it (`ctx` is that one then), or nil.
ctypedef struct Coro:
    Timer timer
    lua_State *L
    State *state
    Req *req
    Ctx *ctx
    Coro *next              # State.idle or State.suspended
    Coro *prev
    Coro *turn              # the next one of its CoroQueue
    Coro **turn_at          # what points here
    uint64_t wake_at        # WAIT_TIMER, WAIT_POST: ms; the latter 0: no deadline
    Op *op                  # WAIT_POST
    Task *task              # that it runs; NULL: a handler or an event
    lua_State *waiting      # the Lua coroutine that waits: L, or one that the application has made
    Ws *ws                  # ROLE_WS
    TaskSemaphore *held     # mutexes that it has locked
    KvTxn *txns             # open transactions, the innermost first; they are rolled back with it
    uint32_t waits          # how often it has yielded
    int ref                 # anchors L in the registry
    uint8_t wait            # CoroWait
    uint8_t role            # CoroRole
    uint8_t queued          # CoroPlace
    uint8_t listed          # in State.suspended
    uint8_t gone            # the client left while it waited: it gets nil, "closed"
    uint8_t cancelled       # every wait raises "cancelled". Counts how often that was swallowed
    uint8_t caused          # State.task_of[-ref] is {error, traceback} of a task that it has joined
    uint8_t throws          # it goes on with an error in place of what it waited for

cdef enum TaskStatus:
    TASK_RUNNING
    TASK_DONE
    TASK_FAILED
    TASK_CANCELLED

# What a task userdata holds. Its environment is the list of results once it is done; {error, traceback} if it failed.
ctypedef struct Task:
    Coro *coro              # NULL: it has ended
    TaskLink *joiners
    int results             # of its function
    uint8_t status          # TaskStatus

# That somebody waits for a task.
ctypedef struct TaskLink:
    TaskWait *wait
    Task *task
    TaskLink *next          # in Task.joiners
    TaskLink **at           # what points here; NULL: it is in no list
    uint32_t position       # in the list that was given

# A coroutine that waits until some tasks have ended. All its links follow the struct.
ctypedef struct TaskWait:
    Op op
    uint32_t n              # links
    uint32_t left           # tasks that must end
    uint32_t ended          # position of the task that ended the wait; 0: all had to end and did
    uint8_t strict          # one that fails is enough, too
    TaskLink links[1]

# ---- What tasks wait for (lua_sync.pxi, lua_message.pxi)

ctypedef struct TaskSemaphore:
    uint32_t permits        # that are free
    uint32_t waiting
    uint32_t refs           # the userdata, and each who waits
    uint8_t owned           # a mutex
    SemaphoreWait *first
    SemaphoreWait **end
    Coro *owner             # of a mutex
    TaskSemaphore *held_next    # Coro.held
    TaskSemaphore **held_at

ctypedef struct SemaphoreWait:
    Op op
    TaskSemaphore *semaphore
    SemaphoreWait *next
    SemaphoreWait **at      # what points here; NULL: it is in no list
    uint8_t granted         # the permit is there

# A coroutine that waits for a moment, for the beginning of service or for messages.
ctypedef struct RestWait:
    Op op
    State *state
    RestWait *next          # State.starters or State.enders
    RestWait **at
    RestWait **queue        # of the state that it enters; NULL: it waits for its deadline alone
    uint8_t asleep          # counted in State.watching

# A message of a worker to another one; the topic's bytes follow the struct.
ctypedef struct Message:
    Post post
    Message *next           # Mail
    KvBlob *value
    int sender
    uint32_t generation     # of the state that has sent it; 0 unless `every`
    uint32_t topic_n
    uint8_t every           # for all states of the worker that listen, not only for the one in service

# What a worker was sent and has not looked at. The counters are those of the worker alone.
ctypedef struct Mail:
    Message *first
    Message *last
    size_t n                # shared: messages, also those on their way
    size_t bytes            # shared: of their values

# One directory served by app.static.
ctypedef struct Mount:
    Span prefix             # without trailing slash, lower case
    Folder folder
    int handler             # a Lua function, when middleware wraps it, else LUA_NOREF
    int64_t max_age         # seconds that clients may keep a file without asking; -1: nothing is said
    uint8_t precompressed   # files beside the originals are looked for
    uint8_t redirect        # a folder without its slash is redirected, not served

# One generation of Lua code on one worker. Requests and tasks hold it; a retired state without holders closes.
ctypedef struct State:
    lua_State *L
    Worker *worker
    State *next             # Worker.retired
    Router router
    Mount *mounts
    uint32_t nmounts
    Coro *idle              # coroutines ready for a handler
    Coro *suspended
    uint32_t nidle
    uint32_t holders        # requests, tasks and events that have not ended
    uint32_t tasks          # of them: coroutines with ROLE_TASK or ROLE_WATCH. They end with their state
    uint32_t watching       # of them: asleep with ROLE_WATCH. A retired state does not wait for these
    Req *requests           # suspended ones
    Sock *socks             # all that are open
    uint32_t nsocks
    int pools               # reference: key -> SockPool *
    uint32_t npools
    uint32_t npooled        # idle sockets in all pools
    Ws *sockets             # open WebSockets, which hold it
    Timer grace
    uint32_t generation
    uint8_t retired
    uint8_t failed          # its script did not load
    uint8_t enforced        # Lua runs: the memory limit holds. The engine's own calls must not fail halfway
    int fallback            # reference: what answers when no route does; LUA_NOREF: the built-in answer
    int onerror
    int after               # gets what handlers with REQ_AFTER have returned, see lua_request.pxi
    int on_start
    int on_stop
    int errorpage
    int describe            # error value -> message
    int prelude             # gets the script as a function and runs it; LUA_NOREF: it runs alone
    int ctx_functions       # name -> what makes it, see lua_ctx.pxi
    int ctx_methods         # the metatable of all tables of ctx methods
    int ctx_assign
    int task_meta           # the metatable of tasks
    int task_of             # Coro.ref -> the task that it runs
    RestWait *starters      # who waits until this state serves requests
    RestWait *enders        # ... until the worker ends
    RestWait *listener      # who waits for messages of other workers
    Mail mail               # retired: its copies of messages for every state
    uint8_t serving
    uint8_t listens         # it takes messages
    Buf files               # that were loaded, NUL-separated
    Buf places              # with Server.checking: where each route was registered, NUL-separated
    int pause               # of the collector, as the engine has set it; 0: the application has set its own
    size_t memory           # bytes, counted only with a limit
    size_t memory_max       # 0: no limit
    # script states (lua_script.pxi)
    uint8_t is_script       # it is one
    uint8_t busy            # ... and serves a request
    uint8_t once            # ... which is its last one
    uint8_t stale           # ... and is to be replaced
    int serve               # reference: what answers its requests
    Buf name                # of the script
    ScriptBox *box          # through which its front reaches it; NULL: not yet, or no more
    ScriptLoad *loading     # who waits until it is loaded
    State *front            # that has made it; NULL: it is retired
    State *script_next      # State.scripts of its front
    State *script_prev
    State *scripts          # a front's: all that it has made
    ScriptWait *script_wait     # a front's: who waits until one of them is free

# What the userdata of a script state holds.
ctypedef struct ScriptBox:
    State *state            # NULL: it is retired

# Somebody waits until a script state of this front is free.
ctypedef struct ScriptWait:
    Op op
    State *front

# A script state that is being made.
ctypedef struct ScriptLoad:
    Op op
    State *front
    State *state            # NULL: it could not even be made
    Buf text                # name, file and argument, each with a NUL behind it
    size_t file_at
    size_t argument_at
    Buf message             # why it failed


# ---- WebSockets (ws, ws_deflate, lua_ws) -------------------------------------------------------------------

cdef enum WsFlag:
    WS_MESSAGE = 1          # a message has begun
    WS_PACKED = 2           # ... it is compressed
    WS_PAYLOAD = 4          # `left` bytes of a frame are still to come
    WS_FINAL = 8            # ... it is the last one of its message
    WS_HELD = 16            # a whole message waits in `message` for ws:receive()
    WS_STRAIGHT = 32        # messages are asked for with ws:receive(), not given to a function
    WS_BUSY = 64            # a function runs that must end before the next message
    WS_CLOSE_SENT = 128
    WS_CLOSE_SEEN = 256
    WS_CLOSE_DUE = 512      # the close function is to run
    WS_PINGED = 1024        # no sign of life since the last ping
    WS_DEFLATE = 2048       # messages may be compressed
    WS_SELF_FRESH = 4096    # this side compresses every message anew
    WS_PEER_FRESH = 8192    # the peer does
    WS_HAS_DATA = 16384     # the environment of the object is its table `data`
    WS_ERRED = 32768        # the error function has been called
    WS_CLIENT = 65536       # this side has connected: it masks, the peer does not

# What all WebSockets of one route have in common. The functions are references; LUA_NOREF: none.
ctypedef struct WsRoute:
    int message             # LUA_NOREF: they are asked for with ws:receive()
    int close
    int error
    size_t max_message      # bytes, expanded
    size_t deflate_min      # bytes
    uint8_t deflate         # compression is agreed to
    uint8_t deflate_level
    uint8_t keep_context    # ... with the context kept between messages
    uint8_t same_origin     # pages of other origins may not connect

# A coroutine that waits in ws:receive(). Made with the first wait, freed with the object.
ctypedef struct WsReader:
    Op op
    Ws *ws

# One that waits until output has left.
ctypedef struct WsWriter:
    Op op
    Ws *ws
    WsWriter *next

# An open WebSocket, also once it has closed, for as long as Lua has it. Idle ones are many: it is small.
ctypedef struct Ws:
    Conn *conn              # NULL: closed
    State *state
    WsRoute *route
    Ws *next                # State.sockets, while open
    Ws *prev
    Coro *coro              # that runs a function of its route, or the handler
    WsReader *reader        # ws:receive(); NULL: never used
    WsWriter *writers       # who waits for output to leave
    void *zip               # a WsZip, of its own; NULL: not needed yet
    Buf message             # fragments, a whole message that is held, or the reason of the close
    uint64_t left           # of the payload
    uint64_t at             # bytes of it that were seen
    uint32_t flags          # WsFlag
    int ref                 # holds the object in the registry
    uint16_t code           # how it was closed
    uint8_t kind            # WsOpcode of the message
    uint8_t bits            # window for compressing
    uint8_t mask[4]
    Utf8 utf8
    uint8_t pongs           # that were written behind output that waits
    uint32_t waits          # coroutines that wait in one of its methods

# One that this side has opened. Its route is its own.
ctypedef struct WsClient:
    Ws ws
    WsRoute route


# ---- Workers and the server (worker, server) --------------------------------------------------------------

# All limits, copied from the configuration. Times in ms, sizes in bytes.
ctypedef struct Limits:
    HttpLimits http
    int64_t body
    uint64_t header_timeout
    uint64_t body_timeout
    uint64_t idle_timeout
    uint64_t write_timeout
    uint64_t linger_timeout
    uint64_t reload_grace
    uint32_t connections    # of one worker
    uint32_t requests       # of one connection; 0: no limit
    size_t lua_memory
    size_t ws_max_message
    size_t ws_deflate_min   # shorter messages are not compressed
    size_t ws_max_unsent    # bytes that wait for a socket to which is published; beyond it is closed
    uint64_t ws_ping        # without a sign of life, until a ping is sent
    uint64_t ws_timeout     # for an answer to it
    uint64_t ws_close_timeout
    uint64_t kv_lock        # ms that a serial transaction may hold its lock while others wait

# What the main thread asks of a worker. Shared, atomic.
cdef enum Command:
    COMMAND_NONE
    COMMAND_SERVE           # the script is loaded everywhere: open the listeners
    COMMAND_PREPARE         # build a new state beside the old one
    COMMAND_COMMIT          # switch to it
    COMMAND_DROP            # forget it
    COMMAND_DRAIN           # finish what is in flight, then end

# What a worker has answered. Shared, atomic; `message` is written before it.
cdef enum Phase:
    PHASE_STARTING
    PHASE_LOADED
    PHASE_FAILED            # to load: Worker.message says why
    PHASE_SERVING
    PHASE_PREPARED
    PHASE_REFUSED           # to prepare a new state: Worker.message says why
    PHASE_ENDED

ctypedef struct Counters:
    uint64_t requests
    uint64_t connections
    uint64_t refused        # requests answered with 4xx or 5xx by the engine itself
    uint64_t errors         # handlers that failed
    uint64_t longest_turn   # ns of the loop's longest turn since it was asked for; what others computed is in it
    uint64_t longest_work   # ns of the most processor time that one of these turns used

ctypedef struct Worker:
    int id
    Server *server
    int epfd
    void *events            # epoll_event: what the poller took; those from event_at on are not handed out yet
    int event_at
    int event_n
    Watch wake              # eventfd: commands or posts wait
    Post *inbox             # shared: posts, the newest first
    Post *posts             # taken from the inbox, the oldest first: they run in this turn and the next ones
    uint64_t now            # ms, monotonic, of this turn of the loop
    uint64_t now_ns         # the same in ns
    Wheel wheel
    char *scratch           # input is read here
    size_t scratch_size
    Header *headers         # for the request being parsed
    Conn *current           # whose replies collect in `out`
    Buf out
    Conn *dirty             # to flush or to go on with at the end of the turn
    Conn *settling          # taken from `dirty`, the oldest first
    Conn *dead
    Slab conns
    Slab reqs
    Slab coros
    Slab socks
    Sock *socks_dead        # to free at the end of the turn
    Polling *pollings_dead  # the same
    Sock *socks_kicked      # to read at the end of the turn, without an event
    char sender[128]        # sockaddr_storage of the datagram read last
    uint32_t sender_n
    Buf socks_spare         # for the next socket that has input to keep
    Buf scratch_send        # the parts of a send together
    Req *free_reqs          # with their buffers, so that a request allocates nothing
    uint32_t nfree_reqs
    Slab fcgis
    uint32_t nfcgi          # requests in progress over FastCGI
    Buf cgi                 # the head of one, made of its variables, and those behind it
    uint32_t nconns
    Conn *all
    Listener *listeners
    uint32_t nlisteners
    Process *processes      # that have not been freed
    uint32_t paused         # listeners that do not accept now
    State *state            # that serves new requests
    State *fresh            # prepared, not yet committed
    State *retired
    Coro *running
    CoroQueue soon          # go on in this turn, if there is time
    CoroQueue turn          # go on in the next turn
    Buf scratch_json        # of log fields
    JsonScratch *json       # of ctx.json and json.encode
    Buf scratch_text
    void *ws_zip            # a WsZip, for WebSockets that begin every message anew; NULL: not needed yet
    Buf ws_text             # a message that was expanded
    Buf ws_packed           # ... or compressed
    Span ws_given           # a message for ws:receive(), while its op ends
    uint8_t ws_kind         # ... WsOpcode; 0: none
    uint8_t ws_masks[256]   # random bytes for the masks of clients
    uint32_t ws_nmasks      # of them not used yet
    Mail mail
    LogRing *log
    uint64_t kv_told        # ms: when a failure of a store was logged last
    KvTxn *kv_spare         # transactions to use again, linked by KvTxn.outer
    uint32_t kv_nspare
    Counters count
    uint64_t tune_at        # ms: when the collector is tuned again
    uint64_t prefix_until   # ms: when `prefix` must be rendered again
    char prefix[96]         # "Server: heart" and Date lines of this second
    uint32_t prefix_len
    uint8_t draining
    uint8_t ended
    uint8_t replacing       # `fresh` goes into service by itself
    uint32_t generations
    uint8_t measuring       # turns are measured: somebody has asked for the longest
    uint64_t work_ns        # processor time of this thread when the turn began, if they are
    int command             # Command; shared
    int phase               # Phase; shared
    int asked               # for a sign of life, how often; shared
    int answered            # what `asked` was when the loop came round last; shared
    Buf message             # shared: written before `phase` is set
    Buf files               # shared the same way: loaded files, NUL-separated

# What all workers share; written before they start, read-only afterwards.
ctypedef struct Server:
    Limits limits
    Pool *pool
    Worker *workers
    uint32_t nworkers
    int notify              # eventfd: a worker has changed its phase
    uint8_t dev
    uint8_t access_log
    uint8_t checking        # `heart check`: states note where routes are registered
    KvStore *kv_memory      # made with the server
    KvStore *shared         # shared: dictionaries, the newest first (lua_shared.pxi); never freed
    uint32_t shared_guard   # shared: a spin lock around `shared`
    KvStore *kv_disk        # NULL until an application asks for it; the same object for Redis
    Post *tls_asks          # shared: TlsAsks for the main thread, the newest first
    Buf script              # path of main.lua, NUL-terminated
    Buf argument            # what Heart's own script in its place was started for (`heart fcgi`), NUL-terminated
    Buf package_path
    Buf package_cpath
    Buf libraries           # what Lua code may load by FFI: names and what to load, each with a NUL behind it
    Buf channels            # --channels, as names and values, each with a NUL behind it; empty: not given
    Buf stdlib
    Buf site                # `heart serve DIR`: the folder
    Archive archive


# ---- TLS (tls.pyx, lua_tls.pxi) ---------------------------------------------------------------------------
# OpenSSL is in an extension of its own, heartc._tls, which the main thread loads when an application first asks for a
# context. Workers know only these types, and reach the extension through `api`, the first member of what it makes:
#
#   TlsContext *c = l_check_tls(L, 1)               # options: whom to trust, what to show. Lua holds it
#   TlsSession *s = c.api.session_new(c, fd, &peer) # one connection on a non-blocking descriptor, which stays yours
#   rc = s.api.handshake(s)                         # OK; PENDING: wait for s.want (EPOLLIN or EPOLLOUT), call again
#   n = s.api.read(s, p, n); n = s.api.write(s, p, n)
#   s.api.shutdown(s); s.api.session_free(s)        # then close the descriptor
#
# Results are those of Result: bytes or OK, PENDING, ERR_CLOSED, ERR_SYSTEM, ERR_TLS. Rules for the caller:
#   - all functions of a session, and those of its context, are called on one worker; none blocks or takes the GIL;
#   - after PENDING copy s.want before the next call: reading may have to wait for EPOLLOUT, writing for EPOLLIN. One
#     coroutine may read while another writes: each waits for its own copy;
#   - read before you wait: bytes that are here already wake no poller. Only PENDING says to wait for the socket;
#   - after ERR_TLS and ERR_SYSTEM of any function nothing but session_free is of use;
#   - no function raises SIGPIPE.

cdef enum:
    TLS_1_2 = 0x0303        # versions, as on the wire
    TLS_1_3 = 0x0304
    TLS_ALPN_MAX = 255      # bytes of all ALPN names of one connection, each behind its length
    TLS_ERROR_MAX = 256     # bytes of an error text, NUL included

# Whose certificate is right: the value of TlsOptions.verify and TlsPeer.verify.
cdef enum TlsVerify:
    TLS_VERIFY_DEFAULT      # TlsPeer: as the context says
    TLS_VERIFY_NONE         # any: the connection is encrypted, but with whom is not known
    TLS_VERIFY_PEER         # one that a trusted CA has signed; for TlsPeer.host, if that is given

# What a context is made from. Spans with p NULL are not given. Files are PEM; where a text with "-----BEGIN"
# stands in place of a path, it is the file's content. All is copied.
ctypedef struct TlsOptions:
    uint8_t verify          # TlsVerify
    uint8_t session_cache   # later connections to the same peer resume a session
    uint16_t min_version    # TLS_1_2 if 0
    int depth               # CAs between the peer's certificate and a trusted one, at most; -1: OpenSSL's limit
    Span ca_file            # trusted CAs; without ca_file and ca_path the system's
    Span ca_path            # a folder of them, with OpenSSL's hash names
    Span certificate        # what this side shows if it is asked, followed by the CAs between it and a trusted one
    Span key                # its private key; not given: it is in `certificate`, too
    Span password           # of the key
    Span alpn               # protocols offered, the best first, each behind a byte with its length
    Span ciphers            # for TLS 1.2, in OpenSSL's words

# With whom a connection is. All is copied.
ctypedef struct TlsPeer:
    Span server_name        # SNI: the name that the client asks for. An address of numbers is not sent
    Span host               # the name or address that its certificate must be for; empty: not checked
    Span alpn               # instead of the context's; p NULL: the context's
    uint16_t port           # sessions are resumed for the same host (or server name), port and options alone
    uint8_t verify          # TlsVerify

# What the peer has shown. The spans are good until the next call of `certificate` or session_free.
ctypedef struct TlsCertificate:
    Span subject            # RFC 2253: "CN=example.org,O=Example"
    Span issuer
    Span serial             # hexadecimal digits
    Span names              # of subjectAltName, each followed by a NUL: "DNS:example.org", "IP:127.0.0.1"
    Span der
    Span signature          # OpenSSL's short name of the signature's digest ("SHA256"); empty if it has none
    uint8_t sha256[32]      # of `der`
    int64_t not_before      # Unix time
    int64_t not_after

# One table for all, in a capsule with the name TLS_CAPSULE; never freed.
cdef extern from *:
    """
    #define TLS_CAPSULE "heartc._tls.table"
    """
    const char *TLS_CAPSULE

ctypedef struct TlsApi:
    size_t size             # sizeof(TlsApi): both extensions come from one build
    TlsContext *(*context_new)(const TlsOptions *o, char *error) noexcept nogil
    #       NULL: `error` (room for TLS_ERROR_MAX) says why. Takes ms and reads files: for the main thread alone
    void (*context_hold)(TlsContext *c) noexcept nogil
    void (*context_free)(TlsContext *c) noexcept nogil
    #       one holder less. Sessions hold their context
    TlsSession *(*session_new)(TlsContext *c, int fd, const TlsPeer *peer) noexcept nogil
    #       NULL: out of memory
    int (*handshake)(TlsSession *s) noexcept nogil
    #       OK: done, the peer is who it should be; `version` and so on are filled.
    #       ERR_CLOSED: the peer has hung up. With TLS 1.3 a server that refuses the client's certificate says so only
    #       to the first read
    ptrdiff_t (*read)(TlsSession *s, char *p, size_t n) noexcept nogil
    #       0: the peer has ended the stream properly. ERR_CLOSED: it is gone without that, what came may be cut off
    ptrdiff_t (*write)(TlsSession *s, const char *p, size_t n) noexcept nogil
    #       may take a part. After PENDING the next write must begin with the same bytes, at least as many, wherever
    #       they are then; they may be on their way already
    size_t (*pending)(TlsSession *s) noexcept nogil
    #       whether something was received and not read. More than 0 may turn out to be no data: a connection with
    #       that is not idle
    int (*shutdown)(TlsSession *s) noexcept nogil
    #       say that nothing more will be written. OK: said, do not wait for the peer. Reading can go on
    void (*session_free)(TlsSession *s) noexcept nogil
    int (*certificate)(TlsSession *s, TlsCertificate *c) noexcept nogil
    #       ERR_MISSING: the peer has shown none

# The extension's structs begin with these.
ctypedef struct TlsContext:
    const TlsApi *api

ctypedef struct TlsSession:
    const TlsApi *api
    uint32_t want           # after PENDING: EPOLLIN or EPOLLOUT
    int verify_error        # X509_V_ERR_* if the certificate is wrong, else 0; set with TLS_VERIFY_NONE, too
    int system_error        # after ERR_SYSTEM: errno
    const char *error       # after ERR_TLS: why; good until session_free. It begins with
    #       "certificate verify failed: ": OpenSSL's reason follows ("certificate has expired", "hostname mismatch")
    #       "tls: ": all else, like "tls: wrong version number" from a peer that does not speak TLS
    const char *version     # after the handshake: "TLSv1.3"
    const char *cipher      # "TLS_AES_256_GCM_SHA384"
    Span alpn               # the protocol agreed on; empty: none
    uint8_t resumed         # an earlier session went on

# A context that is asked for, on its way to the main thread and back.
ctypedef struct TlsAsk:
    Op op
    Worker *worker
    TlsOptions options      # spans into `text`
    Buf text
    TlsContext *context     # the answer; NULL: `error` says why
    char error[TLS_ERROR_MAX]


# ---- Files of applications (fs.pxi, fs_list.pxi, fs_remove.pxi; lua_fs.pxi, lua_fs_file.pxi, lua_fs_watch.pxi) -------

# An open file. Its descriptor is closed when nobody holds it: so never under a thread that reads it.
ctypedef struct FsFile:
    int fd
    uint32_t holders        # its userdata, and jobs on their way
    uint8_t busy            # a job has it: another one is refused
    uint8_t closed          # by the application
    Buf name                # as opened, with a NUL behind it: for messages

# What stat(2) says.
ctypedef struct FsInfo:
    uint32_t mode           # with the bits of the kind
    uint32_t uid
    uint32_t gid
    int64_t size
    uint64_t device
    uint64_t inode
    uint64_t links
    double atime            # Unix times
    double mtime
    double ctime

cdef enum FsFlag:
    FS_APPEND = 1           # write: behind what is there
    FS_ATOMIC = 2           # write: all or nothing, also when the machine stops
    FS_MODE = 4             # write, mkdir: FsJob.mode was given
    FS_PARENTS = 8          # mkdir: the folders above, too; no failure if it is there
    FS_TREE = 16            # remove: with all that is in it
    FS_NOFOLLOW = 32        # stat: of the link itself

# One call of a file function on its way through the pool. `run` takes what it needs from here and leaves its results.
ctypedef struct FsJob:
    Job job
    FsFile *file            # held; NULL: a path says what is meant
    const Archive *archive
    ArchiveFile *inside     # the file of the archive that the first path means; NULL: it is on the disk
    Folder folder           # list: the folder of the archive that it means; `archive` NULL: it is on the disk
    Buf text                # the paths, each with a NUL behind it
    size_t second           # where the second one begins
    Buf data                # to be written; what was read
    uint64_t limit          # bytes that are read at most
    int64_t at              # lseek(2): offset, result
    int whence
    int open_flags          # of open(2)
    uint32_t mode           # permission bits
    uint32_t flags          # FsFlag
    int fd                  # result: an open file that the job owns; -1: none
    char **names            # result of list: into `data`, each a byte for its kind and a name with a NUL
    uint32_t nnames
    FsInfo info             # result of stat
    uint8_t about_second    # the error is about the second path

# An inotify descriptor; a coroutine waits for its events.
ctypedef struct FsWatch:
    Op op
    Watch watch
    FsFile *file            # its descriptor; NULL: stopped
    State *state
    uint8_t asleep          # its coroutine is counted in State.watching
    uint8_t stopped
    uint8_t dead            # Lua has collected it: free it when its wait has ended


# ---- Programs that applications start (launch.pxi, process.pxi, run.pxi; lua_process.pxi) ----------------------

# A program on its way through the pool: what it is to be, then what it is. Strings are places in `text`.
ctypedef struct Launch:
    Job job
    State *state            # whose program it will be; NULL: its coroutine is gone
    Buf text                # NUL-terminated strings: the program, its arguments, environment, folder, user
    uint32_t nargs
    uint32_t nenv           # NAME=value, or NAME to leave it out
    uint8_t clean           # nothing of the server's environment
    uint8_t has_cwd
    uint8_t has_user
    uint8_t kinds[3]        # LaunchStream of stdin, stdout, stderr
    int ends[3]             # result: this side's ends of the pipes; -1: there is none
    int pid                 # result; 0: not started
    int pidfd               # result; -1: the kernel has none
    uint8_t step            # which step failed, see c/spawn.h

cdef enum LaunchStream:
    STREAM_NULL
    STREAM_PIPE
    STREAM_INHERIT          # that of the server
    STREAM_OUTPUT           # stderr only: where stdout goes

ctypedef struct ProcessWait

# A program that was started. It is freed when it was reaped and neither Lua nor somebody who waits knows it.
ctypedef struct Process:
    Watch exit              # its pidfd; fd -1: a thread waits instead (process_thread), or it has ended
    Post post               # of that thread
    Worker *worker
    State *state            # it is killed when that closes; NULL: that was done
    Process *next           # Worker.processes
    Process *prev
    ProcessWait *waits
    uint32_t holders        # userdata, waits, the thread
    uint32_t keepers        # of them: do not reap it yet, so that its group can still be killed
    int pid
    int status              # once it has ended: exit status, or minus the signal
    uint8_t ended
    uint8_t reaped

# Somebody who waits for the end of a program. `on_exit` is called once, from the loop; it has left the list by then.
ctypedef struct ProcessWait:
    Op op
    Process *process        # held
    ProcessWait *next
    void (*on_exit)(Worker *w, ProcessWait *x) noexcept nogil

ctypedef struct Run

# One pipe of a Run.
ctypedef struct RunStream:
    Watch watch             # fd -1: closed
    Run *run
    Buf bytes               # to be written, or what was read
    size_t at               # written of it

cdef enum RunFailure:
    RUN_DONE
    RUN_TIMEOUT
    RUN_TOO_LARGE

# A program that is fed and read until it has ended and its output is closed.
ctypedef struct Run:
    ProcessWait wait
    RunStream streams[3]
    Timer timer
    uint64_t timeout        # ms; 0: none
    size_t limit            # bytes of stdout, and of stderr
    uint8_t failure         # RunFailure
    uint8_t begun
    uint8_t over            # nothing is awaited any more


# ---- Keys and values (kv_txn, kv_mem, kv_lock, kv_watch; lua_kv, lua_kv_value) -----------------------------
# One transaction type for every backend; a single operation is a transaction with one write. What differs is
# KvBackend: memory answers at once, disk and Redis by a Post.
# Values are encoded (lua_kv_value.pxi): a type byte, then the bytes of the string, or MessagePack.
# Versions: one counter per store. Every commit takes the next one for all its writes, in commit order; 0: no such key.

cdef enum:
    KV_LINE = 64                    # keeps the words of two threads apart
    KV_KEY_MAX = 4096               # bytes
    KV_VALUE_MAX = 16777216         # bytes of a value, its type byte not counted
    KV_INLINE = 512                 # a value up to this size is copied for its reader, a longer one is held
    KV_PAGE = 256                   # items that one scan gives at most
    KV_PAGE_BYTES = 1048576         # ... and bytes of values; at least one item

# What a write does. All but the first two have a condition or need the old value.
cdef enum KvAction:
    KV_SET
    KV_DELETE
    KV_ADD                  # only if the key is missing, else KV_EXISTS
    KV_CAS                  # only if the key has the version `arg`, else KV_CONFLICT; without a value: delete
    KV_INCR                 # number = (number, or init if the key is missing) + by; KV_NOT_NUMBER. Its expiry stays
    KV_EXPIRE               # set `expires`, keep the value; a missing key is no failure (found = 0)
    KV_DELETE_PREFIX        # `key` is the prefix, possibly empty. A commit of its own; it may do a part of the work
    #                         only (scan.more) and count what it deleted

# How a commit ended: OK, ERR_MEMORY, or one of these. In all but OK nothing was changed.
cdef enum KvResult:
    KV_CONFLICT = 1         # something that was read has changed, or CAS failed
    KV_EXISTS               # ADD
    KV_NOT_NUMBER           # INCR of something else, or the sum is not finite
    KV_FULL                 # the store's limit
    KV_FAILED               # KvTxn.error says why

# What is asked of a backend (KvBackend.submit).
cdef enum KvRequest:
    KV_READ                 # keys reads[asked ...] -> items, one each, in order
    KV_SCAN                 # `scan` -> items
    KV_COUNT                # `scan` (no limit) -> scan.count
    KV_COMMIT               # reads, ranges, writes -> result, version, each write's result
    KV_LOCK                 # backends with a lock of their own: take the serial lock, first come, first served

# Immutable bytes with a count of their holders; the bytes follow the struct.
ctypedef struct KvBlob:
    uint32_t refs           # shared
    uint32_t n

# One key as it was read.
ctypedef struct KvFound:
    uint64_t version        # 0: missing; KV_OWN: written by this transaction, not committed
    uint64_t expires        # ms of the store's clock; 0: never
    Span value              # encoded; in `blob` or in the room that the reader gave
    KvBlob *blob            # held for the reader, who gives it back; NULL: none

# A place in KvTxn.arena, which may move.
ctypedef struct KvText:
    size_t at
    size_t n

# Keys of reads and writes are found again by their hash (KvIndex); so it is their first member.
ctypedef struct KvKey:
    uint32_t hash
    KvText text

ctypedef struct KvRead:
    KvKey key
    uint64_t version        # that was seen; 0: missing
    uint64_t expires
    KvBlob *value           # held, for queued backends: what the fn of a transaction saw stays as it was
    uint8_t known           # `value` and `expires` are filled in (value NULL: missing)

# A page of a scan. The same scan must give the same keys at the same versions when the transaction commits: no key may
# have appeared, vanished or changed in between.
ctypedef struct KvRange:
    KvText start            # start <= key < stop
    KvText stop             # n = 0: no end
    uint32_t limit
    uint8_t reverse
    uint64_t digest         # see kv_digest: the CRC-32 of keys and versions in order << 32 | their number
    uint64_t version        # of the store when it was seen, 0: not known. If it is still that, nothing has changed

ctypedef struct KvWrite:
    KvKey key
    KvText value            # encoded
    uint64_t expires        # ms of the store's clock; 0: never
    uint64_t arg            # CAS: version
    double by               # INCR
    double init
    uint8_t action          # KvAction
    uint8_t has_value
    uint8_t found           # result: the key was there before
    double number           # result of INCR
    uint64_t count          # result of DELETE_PREFIX; CAS, ADD that failed: the version that is there
    KvNode *node            # the memory store's own, while it commits: the key that is there
    KvNode *fresh           # ... one to put there; afterwards one to free
    KvBlob *blob            # ... the new value; afterwards the old one

# One key of a KV_READ or KV_SCAN answer.
ctypedef struct KvItem:
    KvText key              # in the arena
    uint64_t version        # 0: missing (KV_READ only)
    uint64_t expires
    KvBlob *value           # held by the transaction until kv_items_clear; NULL with keys_only

ctypedef struct KvScan:
    KvText start            # start <= key < stop
    KvText stop             # n = 0: no end
    uint32_t limit          # items, at most KV_PAGE
    uint8_t reverse         # from stop downwards
    uint8_t keys_only
    uint8_t more            # result: the page ended at its limit
    uint64_t count          # result of KV_COUNT
    uint64_t version        # result: of the store when the page was made; 0: not known

ctypedef struct KvIndex:
    uint32_t *slots         # 1 + position; 0: free
    uint32_t cap            # a power of two, 0: not needed yet

# Where a transaction stands with the serial lock. Shared, atomic.
cdef enum KvLockState:
    KV_UNLOCKED
    KV_WAITING
    KV_HELD
    KV_COMMITTING           # held, and can not be broken any more
    KV_BROKEN               # held for too long: taken away

# What a transaction's userdata holds.
ctypedef struct KvHandle:
    KvTxn *txn              # NULL: ended

# A transaction, or one request that is not part of any. Belongs to its worker, and while a backend has it (op.begun)
# to that backend. All its bytes are in `arena`.
ctypedef struct KvTxn:
    Op op                   # how a queued backend answers: worker_post(worker, &op.post)
    KvStore *store
    Worker *worker
    KvTxn *outer            # Coro.txns, Worker.kv_spare
    Coro *owner             # whose transaction it is, in its Coro.txns; NULL: a single request, or ended
    KvHandle *handle        # through which Lua reaches it
    Buf arena
    KvRead *reads
    uint32_t nreads
    uint32_t reads_cap
    uint32_t asked          # KV_READ: the first read that wants an answer
    KvRange *ranges
    uint32_t nranges
    uint32_t ranges_cap
    KvWrite *writes
    uint32_t nwrites
    uint32_t writes_cap
    KvItem *items
    uint32_t nitems
    uint32_t items_cap
    KvIndex read_index
    KvIndex write_index
    KvScan scan
    uint8_t request         # KvRequest
    uint8_t sync            # wait until it is durable
    uint8_t serial          # it holds or wants the serial lock
    uint8_t keep            # rather fail than evict
    uint8_t single          # one request, given back when its answer was pushed
    uint32_t waits          # Coro.waits when it began: a fn that yielded retires its handle
    int result              # of the last request: OK, KvResult, ERR_*
    uint32_t failed         # the write (position) whose condition failed
    uint64_t version        # that its commit got
    Buf error               # KV_FAILED
    uint64_t commit_id[2]   # Redis: to recognise a commit that was sent twice
    int lock                # KvLockState; shared
    KvTxn *lock_next        # KvLock: who waits behind
    KvTxn *lock_prev
    uint64_t held_since     # ms
    Timer lock_timer        # while it waits
    void *backend           # a queued backend's own

# The functions of one kind of store.
ctypedef struct KvBackend:
    const char *name
    uint8_t queued          # requests may be answered later
    uint8_t locks           # it has a serial lock of its own (KV_LOCK): its machines are not alone
    int (*get)(Worker *w, KvStore *s, Span key, KvFound *found, char *room) noexcept nogil
    #       OK: found (or version 0). PENDING: ask with KV_READ. `room` has KV_INLINE bytes
    int (*submit)(Worker *w, KvTxn *t) noexcept nogil
    #       OK: t.result and the answer are there. PENDING: they come with the post
    void (*unlock)(KvTxn *t) noexcept nogil
    #       with `locks`: give the serial lock back, without an answer. The transaction is freed right afterwards
    uint64_t (*clock)(KvStore *s) noexcept nogil
    #       ms, the clock of all `expires` of this store

# The serial lock: first come, first served, across workers.
ctypedef struct KvLock:
    uint32_t guard          # shared: a spin lock around the rest, held for a few instructions
    KvTxn *holder
    KvTxn *first            # who waits
    KvTxn *last
    uint64_t held_since     # ms
    char gap[KV_LINE]

# ---- the memory store (kv_mem.pxi, kv_shard.pxi)

cdef enum:
    KV_SHARDS = 16
    KV_HEIGHT = 12          # levels of a shard's skip list: 4^12 keys
    KV_USED_UNIT = 16       # ms: how exactly eviction knows when a key was used

# A key: `height` pointers, then its bytes, follow the struct. Its address stays while the key exists.
ctypedef struct KvNode:
    KvBlob *value
    uint64_t version
    uint64_t expires        # ms of the store's clock; 0: never
    KvNode *prev            # the next smaller key of the shard
    uint32_t hash
    uint32_t used           # when it was read or written last: the store's clock / KV_USED_UNIT
    uint16_t key_n
    uint8_t height
    KvNode *next[1]

ctypedef struct KvSlot:
    uint32_t hash
    KvNode *node            # NULL: free

# Keys by their hash: a table with linear probing, and a skip list in bytewise order.
ctypedef struct KvShard:
    uint32_t guard          # shared: a spin lock around the rest
    uint32_t n
    KvSlot *slots
    uint32_t cap            # a power of two
    uint32_t expiring       # keys with an expiry
    uint32_t sweep          # slots that were looked at: the sweep goes on here
    uint32_t clock          # the same for eviction
    KvNode *last            # the greatest key
    KvNode *heads[KV_HEIGHT]
    char gap[KV_LINE]

ctypedef struct KvMem:
    KvShard shards[KV_SHARDS]
    size_t max              # bytes
    uint8_t evict
    uint8_t lazy            # expired keys stay until their room is needed
    char gap[KV_LINE]
    size_t used             # shared, atomic
    size_t purged           # ms: when the store was full and no expired keys were found
    size_t trimmed          # `used` when memory was given back last, or more since
    uint32_t sweeping       # shared: worker 0 sweeps, or was asked to
    uint32_t evict_at       # shared: shard where eviction goes on
    Post sweep_post
    Timer sweep_timer
    uint32_t sweep_shard

# ---- watching (kv_watch.pxi)

cdef enum:
    KV_EVENTS_MAX = 1024    # events that wait for one watcher
    KV_EVENTS_BYTES = 1048576

# A change; the key's bytes follow the struct.
ctypedef struct KvEvent:
    KvEvent *next
    uint64_t version
    KvBlob *value           # NULL: deleted
    uint32_t key_n

# Who wants to know of changes: a coroutine of one state. In KvStore.watchers; its queue is guarded like that list.
ctypedef struct KvWatcher:
    Op op                   # its coroutine waits for an event
    KvStore *store
    Worker *worker
    KvWatcher *next
    KvWatcher *prev
    Buf patterns            # one prefix, or keys each behind its length (uint32)
    State *state            # whose coroutine it wakes
    uint8_t prefix
    uint8_t waiting         # its coroutine sleeps and no post is on its way
    uint8_t lost            # events did not fit
    uint8_t listed
    uint8_t stopped
    uint8_t asleep          # its coroutine is counted in State.watching
    uint8_t dead            # Lua has collected it: free it when the post has come
    uint32_t nevents
    size_t bytes
    KvEvent *first
    KvEvent *last

# A store; belongs to the server and outlives every Lua state. `backend` is what its files know.
ctypedef struct KvStore:
    const KvBackend *backend
    Server *server
    KvStore *next           # Server.shared
    Buf name                # of a shared dictionary
    KvMem *mem              # the memory store's shards
    void *queue             # a queued backend's own
    char gap[KV_LINE]
    uint64_t version        # shared: of the newest commit
    char gap2[KV_LINE]
    KvLock serial
    uint32_t watched        # shared: watchers. Read by every commit
    uint32_t watch_guard    # shared: a spin lock around `watchers` and their queues
    KvWatcher *watchers


# ---- stores behind the db thread (kv_cache.pxi, kv_queue.pxi, kv_batch.pxi)

cdef enum:
    KV_CACHE_SHARDS = 16
    KV_CACHE_SHARE = 4      # an entry may take a shard's memory divided by this
    KV_GROUP_MAX = 4096     # requests that the db thread takes at once
    KV_GROUP_BYTES = 4194304    # ... and bytes of their keys and values; at least one request
    KV_PREFIX_STEP = 2000       # keys that one DELETE_PREFIX deletes, so that others need not wait for long

# What is known of a key, also that it is missing. The key's bytes follow the struct.
ctypedef struct KvEntry:
    KvEntry *next           # in its bucket
    KvEntry *before         # in the ring of its shard
    KvEntry *after
    KvBlob *value           # NULL: the key is missing
    uint64_t version        # 0: missing
    uint64_t expires        # ms of the store's clock; 0: never
    size_t size             # bytes it counts for
    uint32_t hash
    uint16_t key_n
    uint8_t used            # it was read since the hand came by

ctypedef struct KvCacheShard:
    uint32_t guard          # shared: a spin lock around the rest
    uint32_t n
    uint32_t cap            # buckets, a power of two
    KvEntry **buckets
    KvEntry *hand           # where eviction goes on; the ring's only handle
    size_t bytes
    char gap[KV_LINE]

# Read by the workers, written by the db thread alone, which sees every change in the order of the commits: so an entry
# never goes back to an older version.
ctypedef struct KvCache:
    size_t shard_max        # bytes; 0: nothing is kept
    KvCacheShard shards[KV_CACHE_SHARDS]

# What a queued store has of its own. Made when an application first asks for the store, never freed.
ctypedef struct KvQueue:
    KvCache cache
    KvTxn **asks            # the db thread's: taken and not answered, but for commits
    uint32_t nasks
    uint32_t asks_cap
    KvTxn **commits
    uint32_t ncommits
    uint32_t commits_cap
    Post *rest              # taken, for the next group
    bint shared             # others write to the store, too: watchers are told by kv_hear, of all commits
    char gap[KV_LINE]
    Post *head              # shared: requests, the newest first
    uint32_t sleeping       # shared, a futex: the db thread waits
    uint32_t woken          # shared: it is to look at something else than requests
    uint32_t wanted         # shared: an application has asked for the store


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
    uint8_t level           # LogLevel: what is logged at all
    uint8_t console         # not JSON
    uint8_t color
    uint8_t torn            # a failed write left half a line
    LogClock clock          # the log thread's own
    uint32_t state          # shared: LogState
    uint32_t stop           # shared
    uint32_t ended          # shared, a futex: the log thread has left
    uint64_t lost           # lines the descriptor did not take, not yet told
