# The engine: events, timers, waiting, connections, requests and their protocols. Part of core.pxd, which has the rules.

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
    CONN_FRESH = 256        # no request has come yet
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
    REQ_BODY_FAILED = 65536  # the rest of the body will not come: its syntax, a limit or a timeout
    REQ_FILE_KEPT = 131072  # Req.file is the archive's: it stays open
    REQ_AFTER = 262144      # State.after runs when the handler has returned
    REQ_PASSED = 524288     # it goes on in the state Req.passed when the handler has returned
    REQ_CANCEL = 1048576    # the handler is cancelled when the client leaves
    REQ_SECURE = 2097152    # the client speaks TLS with Heart or with the web server before it
    REQ_ERRORS = 4194304    # FastCGI: something was sent as its error stream
    REQ_PUMPED = 8388608    # FastCGI: in Fcgi.pumped
    REQ_BODY_SEEN = 16777216    # the end of the body has arrived, but the handler has not read all of it
    REQ_ANSWERED = 33554432     # the answer is complete, or a WebSocket took its place, and the handler runs on

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
    uint32_t vars           # over FastCGI its variables as name-value pairs: their offset in the head
    uint32_t vars_len       # 0 over HTTP, where a request touches nothing behind the parameters
    Param params[PARAMS_MAX]
    # over FastCGI
    uint32_t script         # SCRIPT_FILENAME, among the variables: its offset in the head
    uint32_t script_len     # 0: it was not sent
    uint16_t id             # what the web server calls it
    uint32_t progress       # bytes of input since `due` was set
    uint64_t due            # ms: when input must have made progress; 0: none is waited for
    Req *beside             # in Fcgi.slots
    Req *pump               # in Fcgi.pumped


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
