# What the codecs read and make: messages, frames, records, paths, files, forms. Part of core.pxd, which has the rules.

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
    Span file               # SCRIPT_FILENAME
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
