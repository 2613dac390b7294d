# Sockets that applications open. Part of core.pxd, which has the rules.

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
