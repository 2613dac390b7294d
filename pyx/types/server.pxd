# Limits, counters, workers and the server: what owns all the rest. Part of core.pxd, which has the rules.

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
    uint64_t kv_lock        # ms that a serial transaction may hold its lock

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
    uint64_t longest_turn   # ns of the loop's longest turn since it was asked for; what others computed is in it
    uint64_t longest_work   # ns of the most processor time that one of these turns used
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
