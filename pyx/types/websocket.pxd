# WebSockets. Part of core.pxd, which has the rules.

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
