# Replies that are files below a mounted directory: which file, whether the client has it already (http_condition),
# which parts of it are wanted (http_range), and the fields that say so. The bytes of larger files are sent by the
# protocol, from the descriptor: SOURCE_FILE.
#
# Nothing is allocated, but for the list of the parts where a client wants several: almost nobody does, and all other
# requests would carry the room for it.
# Not for: opening files (static), sending them (http1).

cdef enum:
    FILE_INLINE = 16384         # smaller files are read and sent with their head
    FILE_TURN = 1048576         # bytes of a file sent in one turn of the loop
    FILE_FIELDS_MAX = 384       # bytes of all fields that describe a file


# ---- Which file ------------------------------------------------------------------------------------------

cdef void req_find_mount(Worker *w, Req *r, Span path) noexcept nogil:
    """Take the first file that a mount has for this path. Status 503: the system could not open it."""
    cdef State *s = r.state
    cdef Mount *m
    cdef StaticFile f
    cdef uint32_t i
    cdef int rc
    if r.head.method != METHOD_GET and r.head.method != METHOD_HEAD:
        return
    for i in range(s.nmounts):
        m = &s.mounts[i]
        if not mount_covers(m, path):
            continue
        rc = mount_open(m, r, Span(path.p + m.prefix.n, path.n - m.prefix.n), &f)
        if rc == OK:
            req_take_file(r, m, &f)
            r.sink = SINK_DISCARD if m.handler == LUA_NOREF else SINK_BUFFER
            return
        if rc == ERR_SYSTEM:
            r.status = 503
            r.sink = SINK_DISCARD
            return


cdef bint mount_covers(Mount *m, Span path) noexcept nogil:
    if path.n < m.prefix.n or not span_same(Span(path.p, m.prefix.n), m.prefix.p, m.prefix.n):
        return False
    return path.n == m.prefix.n or path.p[m.prefix.n] == c'/'


cdef int mount_open(Mount *m, Req *r, Span path, StaticFile *out) noexcept nogil:
    """As static_open, for what this client takes."""
    cdef Ask ask
    cdef Codings codings
    if not m.precompressed:
        return static_open(&m.folder, path.p, path.n, NULL, out)
    ask_read(&r.head, &ask)
    ask_codings(&ask, &codings)
    return static_open(&m.folder, path.p, path.n, &codings, out)


cdef void req_take_file(Req *r, Mount *m, StaticFile *f) noexcept nogil:
    """The file is the answer. A folder whose path lacks its slash is none, if it is to be redirected."""
    r.mount = m
    if m.redirect and f.slashless:
        static_close(f)
        return
    r.file = f.fd
    r.flags |= REQ_FILE_KEPT if f.kept else 0
    r.file_at = f.at
    r.file_left = <int64_t>f.size
    r.file_coding = f.coding
    r.file_negotiated = f.negotiated
    r.file_version = f.version
    r.mime = f.mime


# ---- Answering -------------------------------------------------------------------------------------------

cdef void req_reply_file(Worker *w, Req *r) noexcept nogil:
    """Answer with what the mount has: the file or parts of it, or that the client needs none. With a status other than
    200 it is a page of the application about something else, which has no versions and no parts."""
    cdef Ask ask
    cdef ByteRange whole = ByteRange(r.file_at, r.file_left)
    cdef bint page = r.status != 200
    if r.file < 0:
        req_redirect(w, r)
        return
    if r.ctype != TYPE_SET:
        r.ctype = TYPE_SPAN
    if not page:
        ask_read(&r.head, &ask)
        r.status = <uint16_t>ask_judge(&ask, &r.file_version)
        if r.status == 200 and r.head.method == METHOD_GET:
            req_cut(r, ask_range(&ask, &r.file_version))
    if req_put_file_fields(w, r, whole, page) != OK:
        r.proto.abort(w, r)
        return
    if r.status == 304:
        r.ctype = TYPE_NONE
        r.file_left = 0
    elif not page and (r.status == 412 or r.status == 416):
        req_remove_field(r, Span(b"content-type", 12))
        req_reply_status(w, r)
        return
    req_send_file(w, r)


cdef void req_redirect(Worker *w, Req *r) noexcept nogil:
    """To the same path with a slash, so that relative links in the page lead to where it is. The reference is relative:
    it holds behind a proxy that changes the path, and no path leads to another host."""
    cdef Buf *b = &w.scratch_text
    cdef Span path = req_path(r)
    cdef Span query = req_query(r)
    cdef size_t at = path.n
    while at and path.p[at - 1] != c'/':
        at -= 1
    b.n = 0
    buf_append(b, b"./", 2)
    buf_append(b, path.p + at, path.n - at)
    buf_put(b, c'/')
    if query.n:
        buf_put(b, c'?')
        buf_append(b, query.p, query.n)
    r.status = 301 if req_set_field(r, Span(b"Location", 8), buf_span(b)) == NULL else 400
    req_reply_status(w, r)


cdef void req_reply_status(Worker *w, Req *r) noexcept nogil:
    """A reply that says its status and nothing else."""
    r.ctype = TYPE_TEXT
    w.scratch_text.n = 0
    put_status_text(&w.scratch_text, r.status)
    req_reply(w, r, buf_span(&w.scratch_text))


cdef void req_cut(Req *r, Span wanted) noexcept nogil:
    """Reduce the file to the parts that a Range field wants: 206; 416 if it has none of them."""
    cdef ByteRange ranges[RANGES_MAX]
    cdef int n
    if wanted.p == NULL:
        return
    n = ranges_read(wanted, r.file_left, ranges)
    if n == 0:
        r.status = 416
    elif n == 1:
        r.status = 206
        r.file_at += ranges[0].at
        r.file_left = ranges[0].n
    elif n > 1 and r.ctype == TYPE_SPAN and r.file_coding == CODING_NONE:
        # Else there would be two types, or the coding would seem to be one of the whole message: the file is sent.
        req_cut_parts(r, ranges, n)


cdef void req_cut_parts(Req *r, const ByteRange *ranges, int n) noexcept nogil:
    """Several parts. The boundary is not to be guessed: it must not be in the file, which others may have written."""
    cdef uint64_t boundary[2]
    cdef FileParts *x = <FileParts *>malloc(sizeof(FileParts))
    if x == NULL or random_fill(boundary, sizeof(boundary)) != 0:
        free(x)
        return                  # the whole file answers the request as well
    x.start = r.file_at
    x.size = r.file_left
    x.n = <uint8_t>n
    x.next = 0
    memset(x.boundary, c'0', RANGE_BOUNDARY)
    put_hex(x.boundary, boundary[0])
    put_hex(x.boundary + RANGE_BOUNDARY // 2, boundary[1])
    memcpy(x.ranges, ranges, n * sizeof(ByteRange))
    r.parts = x
    r.status = 206


cdef int req_put_file_fields(Worker *w, Req *r, ByteRange whole, bint page) noexcept nogil:
    """Add what a reply with r.status needs to the fields of the handler. `whole` is the file in its descriptor."""
    cdef char lines[FILE_FIELDS_MAX]
    cdef char *p = lines
    if not page and r.status == 412:
        return OK
    if not page and r.status == 416:
        p = put_content_range(p, ByteRange(0, 0), whole.n)
        return buf_append(&r.fields, lines, p - lines)
    if r.file_negotiated:
        p = put_bytes(p, b"Vary: Accept-Encoding\r\n", 23)
    if not page:
        p = put_version(r, p)
    if r.status != 304:                 # which tells nothing of what the client has (RFC 9110 section 15.4.5)
        p = put_coding(p, r.file_coding)
        if not page:
            p = put_representation(w, r, p, whole)
    return buf_append(&r.fields, lines, p - lines)


cdef char *put_version(Req *r, char *p) noexcept nogil:
    """The fields that a client needs to ask for the file again."""
    if unlikely(r.fields.n):            # what the application says of these is not so
        req_remove_field(r, Span(b"etag", 4))
        req_remove_field(r, Span(b"last-modified", 13))
        req_remove_field(r, Span(b"accept-ranges", 13))
    p = put_bytes(p, b"ETag: ", 6)
    p += etag_put(p, &r.file_version)
    p = put_bytes(p, b"\r\n", 2)
    if r.mount.max_age >= 0 and not req_has_field(r, Span(b"cache-control", 13)):
        p = put_bytes(p, b"Cache-Control: max-age=", 23)
        p += put_decimal(p, <uint64_t>r.mount.max_age)
        p = put_bytes(p, b"\r\n", 2)
    return p


cdef char *put_coding(char *p, int coding) noexcept nogil:
    if likely(coding == CODING_NONE):
        return p
    p = put_bytes(p, b"Content-Encoding: ", 18)
    if coding == CODING_BROTLI:
        return put_bytes(p, b"br\r\n", 4)
    return put_bytes(p, b"zstd\r\n" if coding == CODING_ZSTD else b"gzip\r\n", 6)


cdef char *put_representation(Worker *w, Req *r, char *p, ByteRange whole) noexcept nogil:
    """The fields about the file itself. A time that is still to come is that of the reply (section 8.8.2.1)."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    p = put_bytes(p, b"Last-Modified: ", 15)
    if likely(r.file_version.mtime <= now.tv_sec):
        http_date_put(r.file_version.mtime, p)
    else:
        memcpy(p, prefix_date(w), 29)
    p = put_bytes(p + 29, b"\r\nAccept-Ranges: bytes\r\n", 24)
    if r.parts != NULL:
        r.ctype = TYPE_SET
        p = put_bytes(p, b"Content-Type: multipart/byteranges; boundary=", 45)
        p = put_bytes(p, r.parts.boundary, RANGE_BOUNDARY)
        return put_bytes(p, b"\r\n", 2)
    if r.status == 206:
        p = put_content_range(p, ByteRange(r.file_at - whole.at, r.file_left), whole.n)
    return p


# ---- Sending ---------------------------------------------------------------------------------------------

cdef void req_send_file(Worker *w, Req *r) noexcept nogil:
    """The head, and a small file with it; larger ones and parts follow as SOURCE_FILE."""
    cdef int64_t length = parts_length(r.parts, r.mime) if r.parts != NULL else r.file_left
    if r.conn == NULL or r.proto.reply_head(w, r, length) != OK:
        return
    if r.flags & REQ_NO_BODY or length == 0:
        return
    if r.parts != NULL:
        if req_next_part(w, r):
            r.source = SOURCE_FILE
    elif r.file_left <= FILE_INLINE:
        req_send_small_file(w, r)
    else:
        r.source = SOURCE_FILE


cdef void req_send_small_file(Worker *w, Req *r) noexcept nogil:
    cdef char bytes[FILE_INLINE]
    cdef ptrdiff_t n = pread(r.file, bytes, r.file_left, r.file_at)
    if n == r.file_left:
        r.proto.reply_body(w, r, bytes, n)
    else:                           # it shrank: the announced length can not be kept
        r.proto.abort(w, r)


cdef bint req_next_part(Worker *w, Req *r) noexcept nogil:
    """What a protocol does when r.file_left has become 0: go on with the next part, whose head is sent here. False: it
    was the last one, or the client is gone; the request is over."""
    cdef char head[PART_HEAD_MAX]
    cdef FileParts *x = r.parts
    cdef uint32_t held = r.flags & REQ_HELD
    cdef int i
    if likely(x == NULL) or x.next > x.n:
        return False
    i = x.next
    x.next += 1
    if i < x.n:
        r.file_at = x.start + x.ranges[i].at
        r.file_left = x.ranges[i].n
    r.flags |= REQ_HELD             # it outlives its connection until this function returns
    r.proto.reply_body(w, r, head, put_part_head(head, x, i, r.mime) - &head[0])
    r.flags = (r.flags & ~<uint32_t>REQ_HELD) | held
    return i < x.n and r.conn != NULL
