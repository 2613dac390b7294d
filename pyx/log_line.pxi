# One line of the log: formatting it into memory that the caller has reserved. See log.pxi for where it goes.
#
# Invariants:
#   - a line that is too long is cut, stays well-formed and says that it was cut;
#   - nothing that arrives from outside is written raw: control characters, terminal escapes, line ends and
#     invalid UTF-8 are escaped or replaced, and in the console what follows a line end is indented.
# Allocates nothing, and knows no ring, no thread and no descriptor.

from libc.string cimport strlen

cdef enum:
    LOG_LINE_TAIL = 256         # kept free behind a text, for the rest of its line
    ADDRESS_MAX = 46            # INET6_ADDRSTRLEN

cdef enum TextStyle:
    TEXT_JSON                   # inside a JSON string
    TEXT_PLAIN                  # one line; quotes and backslashes stay
    TEXT_LINES                  # line ends stay, and what follows them is indented


# ---- Writing a line --------------------------------------------------------------------------------------

cdef inline void line_put(LogLine *l, const char *p, size_t n) noexcept nogil:
    """All of it or nothing."""
    if unlikely(<size_t>(l.end - l.p) < n):
        l.cut = True
        return
    memcpy(l.p, p, n)
    l.p += n


cdef inline void line_put_z(LogLine *l, const char *z) noexcept nogil:
    line_put(l, z, strlen(z))


cdef inline void line_put_number(LogLine *l, uint64_t v) noexcept nogil:
    cdef char digits[20]
    line_put(l, digits, put_decimal(digits, v))


cdef inline void line_put_thousandths(LogLine *l, uint64_t v) noexcept nogil:
    """Write v / 1000 with three decimals."""
    cdef char decimals[4]
    line_put_number(l, v // 1000)
    decimals[0] = c'.'
    put_padded(decimals + 1, <uint32_t>(v % 1000), 3)
    line_put(l, decimals, sizeof(decimals))


cdef void clock_set(LogClock *c, int64_t second, bint console) noexcept nogil:
    cdef time_t t = <time_t>second
    cdef tm parts
    cdef LogLine l
    cdef char text[20]
    if console:
        localtime_r(&t, &parts)
    else:
        gmtime_r(&t, &parts)
    memcpy(text, b"0000-00-00T00:00:00.", sizeof(text))
    put_padded(text, <uint32_t>(parts.tm_year + 1900), 4)
    put_padded(text + 5, <uint32_t>(parts.tm_mon + 1), 2)
    put_padded(text + 8, <uint32_t>parts.tm_mday, 2)
    put_padded(text + 11, <uint32_t>parts.tm_hour, 2)
    put_padded(text + 14, <uint32_t>parts.tm_min, 2)
    put_padded(text + 17, <uint32_t>parts.tm_sec, 2)
    l.p, l.end = c.text, c.text + sizeof(c.text)
    if console:
        line_put(&l, text + 11, sizeof(text) - 11)
    else:
        line_put_z(&l, b'{"time":"')
        line_put(&l, text, sizeof(text))
    c.n = <uint32_t>(l.p - c.text)
    c.second = second


cdef inline void line_put_time(LogLine *l, LogClock *c, uint64_t wall_ms, bint console) noexcept nogil:
    """Begin a line: JSON up to the end of the member "time", console the time of day."""
    cdef char ms[3]
    if unlikely(c.second != <int64_t>(wall_ms // 1000)):
        clock_set(c, <int64_t>(wall_ms // 1000), console)
    line_put(l, c.text, c.n)
    put_padded(ms, <uint32_t>(wall_ms % 1000), sizeof(ms))
    line_put(l, ms, sizeof(ms))
    if not console:
        line_put_z(l, b'Z"')


cdef inline void line_paint(Logger *g, LogLine *l, const char *code) noexcept nogil:
    """Switch the console to a colour, given as the parameter of SGR (ECMA-48); "0" ends it."""
    if g.color:
        line_put_z(l, b"\x1b[")
        line_put_z(l, code)
        line_put(l, b"m", 1)


# ---- Text from outside -----------------------------------------------------------------------------------

cdef inline bint byte_is_plain(uint8_t c, uint8_t style) noexcept nogil:
    return c >= 0x20 and c < 0x7f and (style != TEXT_JSON or (c != c'"' and c != c'\\'))


cdef void line_put_text(LogLine *l, Span s, uint8_t style) noexcept nogil:
    """Write a text of unknown origin, as far as it fits."""
    cdef const uint8_t *p = <const uint8_t *>s.p
    cdef const uint8_t *end = p + s.n
    while p != end:
        if unlikely(not byte_is_plain(p[0], style)):
            p += line_put_special(l, p, <size_t>(end - p), style)
        elif likely(l.p != l.end):
            l.p[0] = <char>p[0]
            l.p += 1
            p += 1
        else:
            l.cut = True
        if unlikely(l.cut):
            return


cdef size_t line_put_special(LogLine *l, const uint8_t *p, size_t n, uint8_t style) noexcept nogil:
    """Write one character that is not plain; returns how many bytes of input it was."""
    cdef uint32_t rune = 0
    cdef size_t used = 1
    if p[0] < 0x80:
        line_put_control(l, p[0], style)
        return 1
    used = rune_read(p, n, &rune)
    if used == 0:
        line_put(l, b"\xef\xbf\xbd", 3)
        return 1
    if rune_is_hidden(rune):
        line_put_escape(l, rune)
    else:
        line_put(l, <const char *>p, used)
    return used


cdef void line_put_control(LogLine *l, uint8_t c, uint8_t style) noexcept nogil:
    cdef char pair[2]
    pair[0] = c'\\'
    if style == TEXT_LINES and c == c'\n':
        line_put_z(l, b"\n    ")
    elif style == TEXT_LINES and c == c'\t':
        line_put(l, b"\t", 1)
    elif c == c'"' or c == c'\\' or c == c'\n' or c == c'\r' or c == c'\t':
        pair[1] = c'n' if c == c'\n' else c'r' if c == c'\r' else c't' if c == c'\t' else <char>c
        line_put(l, pair, 2)
    else:
        line_put_escape(l, c)


cdef void line_put_escape(LogLine *l, uint32_t rune) noexcept nogil:
    cdef const char *digits = b"0123456789abcdef"
    cdef char text[6]
    cdef int i
    text[0] = c'\\'
    text[1] = c'u'
    for i in range(4):
        text[5 - i] = digits[(rune >> (4 * i)) & 15]
    line_put(l, text, sizeof(text))


cdef bint rune_is_hidden(uint32_t rune) noexcept nogil:
    """C1 controls, which terminals obey, and the separators and direction marks that make text lie."""
    return rune < 0xa0 or (rune >= 0x2028 and rune <= 0x202e) or (rune >= 0x2066 and rune <= 0x2069)


cdef size_t rune_read(const uint8_t *p, size_t n, uint32_t *rune) noexcept nogil:
    """Read one character of two bytes or more (RFC 3629 section 4); returns its bytes, 0 if it is malformed."""
    cdef size_t size = 2 if p[0] < 0xe0 else 3 if p[0] < 0xf0 else 4
    cdef uint32_t least = 0x80 if size == 2 else 0x800 if size == 3 else 0x10000
    cdef uint32_t v = p[0] & (0x7f >> size)
    cdef size_t i
    if p[0] < 0xc2 or p[0] > 0xf4 or n < size:
        return 0
    for i in range(1, size):
        if (p[i] & 0xc0) != 0x80:
            return 0
        v = v << 6 | (p[i] & 0x3f)
    if v < least or v > 0x10ffff or (v >= 0xd800 and v <= 0xdfff):
        return 0
    rune[0] = v
    return size


cdef size_t address_put(const uint8_t *addr16, char *out) noexcept nogil:
    """Write an address as text (RFC 5952): ::ffff:a.b.c.d as IPv4, all zero, a Unix socket, as "unix".

    `out` has room for ADDRESS_MAX bytes; returns how many were written.
    """
    cdef const char *zero = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    cdef const char *mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
    cdef size_t n = 0
    cdef int i
    if memcmp(addr16, mapped, 12) == 0:
        for i in range(12, 16):
            n += put_decimal(out + n, addr16[i])
            out[n] = c'.'
            n += 1
        return n - 1
    if memcmp(addr16, zero, 16) == 0:
        memcpy(out, b"unix", 4)
        return 4
    inet_ntop(AF_INET6, addr16, out, ADDRESS_MAX)
    return strlen(out)


# ---- Lines -----------------------------------------------------------------------------------------------

cdef inline const char *level_name(uint8_t level) noexcept nogil:
    return b"debug" if level == LEVEL_DEBUG else b"info" if level == LEVEL_INFO else \
        b"warn" if level == LEVEL_WARN else b"error"


cdef inline const char *level_label(uint8_t level) noexcept nogil:
    return b"DEBUG " if level == LEVEL_DEBUG else b"INFO  " if level == LEVEL_INFO else \
        b"WARN  " if level == LEVEL_WARN else b"ERROR "


cdef inline const char *level_color(uint8_t level) noexcept nogil:
    return b"90" if level == LEVEL_DEBUG else b"32" if level == LEVEL_INFO else \
        b"33" if level == LEVEL_WARN else b"31"


cdef inline const char *status_color(int status) noexcept nogil:
    return b"31" if status >= 500 else b"33" if status >= 400 else b"36" if status >= 300 else b"32"


cdef inline void line_finish(LogLine *l) noexcept nogil:
    """No text of unknown length follows: the rest of the line has the room that was kept for it."""
    l.end += LOG_LINE_TAIL


cdef bint key_is_taken(Span key) noexcept nogil:
    """Members of every JSON line: a field of that name must not pass for them."""
    return span_equal(key, b"time", 4) or span_equal(key, b"level", 5) or span_equal(key, b"message", 7) \
        or span_equal(key, b"truncated", 9)


cdef void line_put_field(Logger *g, LogLine *l, const LogField *f) noexcept nogil:
    """Write one field, or nothing of it if it does not fit."""
    cdef char *before = l.p
    if g.console:
        line_put(l, b" ", 1)
        line_paint(g, l, b"36")
        line_put_text(l, f.key, TEXT_PLAIN)
        line_paint(g, l, b"0")
        line_put(l, b"=", 1)
    else:
        line_put_z(l, b',"_' if key_is_taken(f.key) else b',"')
        line_put_text(l, f.key, TEXT_JSON)
        line_put_z(l, b'":')
    line_put_text(l, f.value, TEXT_PLAIN)
    if l.cut:
        l.p = before


cdef Span span_trimmed(Span s) noexcept nogil:
    """Without line ends at its end."""
    while s.n and (s.p[s.n - 1] == c'\n' or s.p[s.n - 1] == c'\r'):
        s.n -= 1
    return s


cdef void line_message(Logger *g, LogClock *c, LogLine *l, uint64_t wall_ms, uint8_t level, Span message,
                       const LogField *fields, int n) noexcept nogil:
    """Write a whole message line."""
    cdef int i
    message = span_trimmed(message)
    line_put_time(l, c, wall_ms, g.console)
    if g.console:
        line_put(l, b" ", 1)
        line_paint(g, l, level_color(level))
        line_put_z(l, level_label(level))
        line_paint(g, l, b"0")
        line_put_text(l, message, TEXT_LINES)
    else:
        line_put_z(l, b',"level":"')
        line_put_z(l, level_name(level))
        line_put_z(l, b'","message":"')
        line_put_text(l, message, TEXT_JSON)
        l.end += 1              # of LOG_LINE_TAIL: the string ends also where its text was cut
        line_put(l, b'"', 1)
    for i in range(n):
        if l.cut:
            break
        line_put_field(g, l, &fields[i])
    line_finish(l)
    if l.cut:
        line_put_z(l, b" [truncated]" if g.console else b',"truncated":true')
    line_put_z(l, b"\n" if g.console else b"}\n")


cdef void line_access_json(LogLine *l, int status, Span method, Span path, uint64_t took_ns, uint64_t sent,
                           Span remote) noexcept nogil:
    line_put_z(l, b',"level":"info","status":')
    line_put_number(l, <uint64_t>status)
    line_put_z(l, b',"method":"')
    line_put_text(l, method, TEXT_JSON)
    line_put_z(l, b'","path":"')
    line_put_text(l, path, TEXT_JSON)
    line_finish(l)
    line_put_z(l, b'","response_time":')
    line_put_thousandths(l, took_ns // 1000)
    line_put_z(l, b',"bytes":')
    line_put_number(l, sent)
    line_put_z(l, b',"remote":"')
    line_put(l, remote.p, remote.n)
    line_put_z(l, b'","truncated":true}\n' if l.cut else b'"}\n')


cdef void line_access_console(Logger *g, LogLine *l, int status, Span method, Span path, uint64_t took_ns,
                              uint64_t sent, Span remote) noexcept nogil:
    line_put(l, b" ", 1)
    line_paint(g, l, status_color(status))
    line_put_number(l, <uint64_t>status)
    line_paint(g, l, b"0")
    line_put_z(l, b"   ")
    line_put_text(l, method, TEXT_PLAIN)
    line_put(l, b" ", 1)
    line_put_text(l, path, TEXT_PLAIN)
    line_finish(l)
    line_put_z(l, b" [truncated] " if l.cut else b" ")
    line_paint(g, l, b"90")
    line_put_thousandths(l, took_ns // 1000)
    line_put_z(l, b" ms ")
    line_put_number(l, sent)
    line_put_z(l, b" B ")
    line_put(l, remote.p, remote.n)
    line_paint(g, l, b"0")
    line_put(l, b"\n", 1)
