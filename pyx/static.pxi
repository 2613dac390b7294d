# Static files: from the path of a request to an open file, its media type, and the dates of HTTP. The file lies in a
# directory or in the archive; folder_open is the only function that knows.
#
# Invariants:
#   - nothing outside the mounted directory is opened, whatever the path or a symbolic link in it says;
#   - a name that begins with a dot does not exist; only regular files are served, and opening never blocks;
#   - parsers read no byte beyond their span.
# Not for: sending files, headers, ranges. Knows no connection; serving a file allocates nothing.

from libc.string cimport strchr, strlen

cdef enum:
    STATIC_PATH_MAX = 4096      # PATH_MAX of Linux, its NUL included
    STATIC_TRIES = 4            # of an open that a rename elsewhere has disturbed
    STATIC_FOLDER = 1           # not a file, but a folder


# ---- Folders ---------------------------------------------------------------------------------------------

cdef int folder_find(const Archive *archive, Span dir, Folder *out) noexcept nogil:
    """The folder that an application means by `dir` (with a NUL behind it): in the archive, else on the disk.
    ERR_SYSTEM: errno. It is given back with folder_close."""
    global errno
    cdef int rc = archive_folder(archive, dir, out)
    if rc == ERR_MISSING:
        out.within = Span(NULL, 0)
        out.dirfd = openat(AT_FDCWD, dir.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        return OK if out.dirfd >= 0 else ERR_SYSTEM
    if rc != OK:
        errno = ENOMEM
        return ERR_SYSTEM
    return OK


cdef void folder_close(Folder *folder) noexcept nogil:
    free(<void *>folder.within.p)
    if folder.dirfd >= 0:
        close(folder.dirfd)


# ---- Paths -----------------------------------------------------------------------------------------------

cdef int static_open(const Folder *folder, const char *rel, size_t n, StaticFile *out) noexcept nogil:
    """Open the file that the percent-encoded path `rel` names below `folder`; a directory means its index.html.

    Returns OK, ERR_MISSING (also for what may not be seen) or ERR_SYSTEM (errno; out of descriptors or memory).
    """
    cdef char path[STATIC_PATH_MAX]
    cdef ptrdiff_t size = static_path(rel, n, path)
    cdef int rc
    if size < 0:
        return ERR_MISSING
    rc = folder_open(folder, path, size, out)
    if rc == STATIC_FOLDER:
        size = static_add_index(path, size)
        if size < 0:
            return ERR_MISSING
        rc = folder_open(folder, path, size, out)
    out.mime = static_mime(Span(&path[0], <size_t>size))
    return ERR_MISSING if rc == STATIC_FOLDER else rc


cdef int folder_open(const Folder *folder, const char *path, ptrdiff_t size, StaticFile *out) noexcept nogil:
    """Open the regular file with a clean path. STATIC_FOLDER if it is a folder, else as static_open."""
    if folder.dirfd < 0:
        return static_open_archived(folder, Span(path, <size_t>size), out)
    return static_open_path(folder.dirfd, path, out)


cdef ptrdiff_t static_path(const char *rel, size_t n, char *out) noexcept nogil:
    """Decode a path to `out` (STATIC_PATH_MAX bytes): segments with one "/" between them, and one at the end if
    `rel` has one; "." if nothing is left. Encoded slashes are slashes. Returns its length; -1: not to be served.
    """
    cdef ptrdiff_t i, size, used = 0
    cdef bint fresh = True      # a segment begins
    cdef char c
    if n >= STATIC_PATH_MAX - 1:
        return -1
    size = url_decode(rel, n, out + 1, 0)   # `out` is written behind what is read
    for i in range(1, size + 1):
        c = out[i]
        if c == 0 or (fresh and c == c'.'):
            return -1
        if c == c'/' and fresh:
            continue
        fresh = c == c'/'
        out[used] = c
        used += 1
    if used == 0:
        out[0] = c'.'
        used = 1
    out[used] = 0
    return used


cdef ptrdiff_t static_add_index(char *path, ptrdiff_t size) noexcept nogil:
    """Turn the path of a directory into that of its index.html. Returns the new length; -1: too long."""
    cdef const char *name = b"/index.html"
    cdef ptrdiff_t n = 11
    if path[size - 1] == c'/':
        name += 1
        n -= 1
    if size + n >= STATIC_PATH_MAX:
        return -1
    memcpy(path + size, name, n + 1)
    return size + n


cdef int static_open_archived(const Folder *folder, Span path, StaticFile *out) noexcept nogil:
    cdef char name[ARCHIVE_NAME_MAX]
    cdef ptrdiff_t n = archive_join(folder.within, path, name)
    cdef const ArchiveFile *f
    if n < 0:
        return ERR_MISSING
    f = archive_find(folder.archive, Span(&name[0], <size_t>n))
    if f == NULL:
        return STATIC_FOLDER if archive_has_folder(folder.archive, Span(&name[0], <size_t>n)) else ERR_MISSING
    if path.p[path.n - 1] == c'/':
        return ERR_MISSING
    out.fd = folder.archive.fd
    out.kept = 1
    out.at = f.at
    out.size = f.size
    out.mtime = f.mtime
    return OK


cdef int static_open_path(int dirfd, const char *path, StaticFile *out) noexcept nogil:
    cdef file_stat s
    cdef int rc = OK
    out.fd = static_open_beneath(dirfd, path)
    if out.fd < 0:
        return ERR_MISSING if error_is_missing(errno) else ERR_SYSTEM
    if fstat(out.fd, &s) != 0:
        rc = ERR_SYSTEM
    elif S_ISDIR(s.st_mode):
        rc = STATIC_FOLDER
    elif not S_ISREG(s.st_mode):
        rc = ERR_MISSING
    if rc != OK:
        fd_close_quietly(out.fd)
        return rc
    out.kept = 0
    out.at = 0
    out.size = <uint64_t>s.st_size
    out.mtime = s.st_mtime
    return OK


cdef bint error_is_missing(int error) noexcept nogil:
    """What only says that there is nothing here to serve: also a link that leads out, or a file not readable."""
    return error == ENOENT or error == ENOTDIR or error == EACCES or error == EPERM or error == ELOOP \
        or error == ENAMETOOLONG or error == EXDEV or error == ENXIO or error == ENODEV or error == EINVAL


cdef inline int static_flags() noexcept nogil:
    """O_NONBLOCK: opening a FIFO must not wait for its writer."""
    return O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY


cdef int static_open_beneath(int dirfd, const char *path) noexcept nogil:
    """Open with the kernel's word that the path, symbolic links included, stays below `dirfd`."""
    cdef int tries = STATIC_TRIES
    cdef int fd = openat_beneath(dirfd, path, static_flags())
    while fd < 0 and (errno == EAGAIN or errno == EINTR) and tries:
        tries -= 1
        fd = openat_beneath(dirfd, path, static_flags())
    if fd < 0 and (errno == ENOSYS or errno == EPERM):
        return static_open_walk(dirfd, path)
    return fd


cdef int static_open_walk(int dirfd, const char *path) noexcept nogil:
    """The same for kernels before 5.6 and sandboxes without openat2: segment by segment, through no symbolic
    link at all.
    """
    cdef char name[STATIC_PATH_MAX]
    cdef const char *slash
    cdef int at = dirfd, next_fd
    cdef size_t n
    while True:
        slash = strchr(path, c'/')
        n = <size_t>(slash - path) if slash != NULL else strlen(path)
        if n == 0:
            return at
        memcpy(name, path, n)
        name[n] = 0
        next_fd = openat(at, name, static_flags() | O_NOFOLLOW | (O_DIRECTORY if slash != NULL else 0))
        if at != dirfd:
            fd_close_quietly(at)
        if next_fd < 0 or slash == NULL:
            return next_fd
        at = next_fd
        path = slash + 1


# ---- Media types -----------------------------------------------------------------------------------------

cdef extern from *:
    """
    #define TYPE(extension, type) {extension, sizeof extension - 1, type, sizeof type - 1},
    #define TEXT(extension, type) TYPE(extension, type "; charset=utf-8")

    /* By extension, in the order of memcmp: it is searched by halving. */
    static const struct mime {
        const char *extension; size_t extension_n;
        const char *type; size_t type_n;
    } mime_types[] = {
        TYPE("7z", "application/x-7z-compressed")
        TYPE("aac", "audio/aac")
        TYPE("apk", "application/vnd.android.package-archive")
        TYPE("apng", "image/apng")
        TYPE("atom", "application/atom+xml")
        TYPE("avi", "video/x-msvideo")
        TYPE("avif", "image/avif")
        TYPE("bin", "application/octet-stream")
        TYPE("bmp", "image/bmp")
        TYPE("br", "application/octet-stream")
        TYPE("bz2", "application/x-bzip2")
        TEXT("c", "text/plain")
        TEXT("cjs", "text/javascript")
        TEXT("conf", "text/plain")
        TEXT("cpp", "text/plain")
        TEXT("css", "text/css")
        TEXT("csv", "text/csv")
        TYPE("deb", "application/vnd.debian.binary-package")
        TEXT("diff", "text/plain")
        TYPE("dmg", "application/x-apple-diskimage")
        TYPE("doc", "application/msword")
        TYPE("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")
        TYPE("eot", "application/vnd.ms-fontobject")
        TYPE("epub", "application/epub+zip")
        TYPE("exe", "application/vnd.microsoft.portable-executable")
        TYPE("flac", "audio/flac")
        TYPE("geojson", "application/geo+json")
        TYPE("gif", "image/gif")
        TYPE("glb", "model/gltf-binary")
        TYPE("gltf", "model/gltf+json")
        TEXT("go", "text/plain")
        TYPE("gz", "application/gzip")
        TEXT("h", "text/plain")
        TYPE("heic", "image/heic")
        TEXT("htm", "text/html")
        TEXT("html", "text/html")
        TYPE("ico", "image/vnd.microsoft.icon")
        TEXT("ics", "text/calendar")
        TEXT("ini", "text/plain")
        TYPE("iso", "application/x-iso9660-image")
        TYPE("jar", "application/java-archive")
        TYPE("jpeg", "image/jpeg")
        TYPE("jpg", "image/jpeg")
        TEXT("js", "text/javascript")
        TYPE("json", "application/json")
        TYPE("jsonld", "application/ld+json")
        TEXT("jsx", "text/plain")
        TYPE("jxl", "image/jxl")
        TEXT("log", "text/plain")
        TEXT("lua", "text/plain")
        TYPE("m3u8", "application/vnd.apple.mpegurl")
        TYPE("m4a", "audio/mp4")
        TYPE("m4v", "video/mp4")
        TYPE("map", "application/json")
        TEXT("md", "text/markdown")
        TYPE("mid", "audio/midi")
        TEXT("mjs", "text/javascript")
        TYPE("mkv", "video/matroska")
        TYPE("mov", "video/quicktime")
        TYPE("mp3", "audio/mpeg")
        TYPE("mp4", "video/mp4")
        TYPE("mpd", "application/dash+xml")
        TYPE("mpeg", "video/mpeg")
        TYPE("mpg", "video/mpeg")
        TYPE("odp", "application/vnd.oasis.opendocument.presentation")
        TYPE("ods", "application/vnd.oasis.opendocument.spreadsheet")
        TYPE("odt", "application/vnd.oasis.opendocument.text")
        TYPE("oga", "audio/ogg")
        TYPE("ogg", "audio/ogg")
        TYPE("ogv", "video/ogg")
        TYPE("opus", "audio/ogg")
        TYPE("otf", "font/otf")
        TEXT("patch", "text/plain")
        TYPE("pdf", "application/pdf")
        TYPE("png", "image/png")
        TYPE("ppt", "application/vnd.ms-powerpoint")
        TYPE("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation")
        TYPE("psd", "image/vnd.adobe.photoshop")
        TEXT("py", "text/plain")
        TYPE("rar", "application/vnd.rar")
        TYPE("rpm", "application/x-rpm")
        TEXT("rs", "text/plain")
        TYPE("rss", "application/rss+xml")
        TYPE("rtf", "application/rtf")
        TEXT("sh", "text/plain")
        TEXT("sql", "text/plain")
        TYPE("sqlite", "application/vnd.sqlite3")
        TYPE("svg", "image/svg+xml")
        TYPE("tar", "application/x-tar")
        TYPE("tgz", "application/gzip")
        TYPE("tif", "image/tiff")
        TYPE("tiff", "image/tiff")
        TYPE("toml", "application/toml")
        TYPE("torrent", "application/x-bittorrent")
        TEXT("ts", "text/plain")
        TEXT("tsv", "text/tab-separated-values")
        TEXT("tsx", "text/plain")
        TYPE("ttf", "font/ttf")
        TEXT("txt", "text/plain")
        TEXT("vcf", "text/vcard")
        TEXT("vtt", "text/vtt")
        TYPE("wasm", "application/wasm")
        TYPE("wav", "audio/wav")
        TYPE("weba", "audio/webm")
        TYPE("webm", "video/webm")
        TYPE("webmanifest", "application/manifest+json")
        TYPE("webp", "image/webp")
        TYPE("woff", "font/woff")
        TYPE("woff2", "font/woff2")
        TYPE("xhtml", "application/xhtml+xml")
        TYPE("xls", "application/vnd.ms-excel")
        TYPE("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        TYPE("xml", "application/xml")
        TYPE("xsl", "application/xml")
        TYPE("xz", "application/x-xz")
        TYPE("yaml", "application/yaml")
        TYPE("yml", "application/yaml")
        TYPE("zip", "application/zip")
        TYPE("zst", "application/zstd")
    };
    #define MIME_TYPES (sizeof mime_types / sizeof mime_types[0])
    #undef TYPE
    #undef TEXT
    """
    struct mime:
        const char *extension
        size_t extension_n
        const char *type
        size_t type_n
    const mime *mime_types
    const size_t MIME_TYPES

cdef enum:
    MIME_EXTENSION_MAX = 16     # longer than any in the table


cdef Span static_mime(Span path) noexcept nogil:
    """The media type of a file by the extension of its name, with the charset where the type is text."""
    cdef const char *octets = b"application/octet-stream"
    cdef char extension[MIME_EXTENSION_MAX]
    cdef size_t n = extension_read(path, extension)
    cdef size_t low = 0, high = MIME_TYPES, middle
    cdef const mime *m
    cdef int order
    while n and low < high:
        middle = (low + high) // 2
        m = &mime_types[middle]
        order = memcmp(extension, m.extension, n if n < m.extension_n else m.extension_n)
        if order == 0 and n == m.extension_n:
            return Span(m.type, m.type_n)
        if order < 0 or (order == 0 and n < m.extension_n):
            high = middle
        else:
            low = middle + 1
    return Span(octets, strlen(octets))


cdef size_t extension_read(Span path, char *out) noexcept nogil:
    """Copy what follows the last dot of the last segment, in lower case. Returns its length; 0: none known."""
    cdef size_t i, n = 0
    while n < path.n and path.p[path.n - 1 - n] != c'.':
        if n == MIME_EXTENSION_MAX or path.p[path.n - 1 - n] == c'/':
            return 0
        n += 1
    if n >= path.n or n > MIME_EXTENSION_MAX:
        return 0
    for i in range(n):
        out[i] = <char>char_lower(<uint8_t>path.p[path.n - n + i])
    return n


# ---- Dates (RFC 9110 section 5.6.7) ----------------------------------------------------------------------

cdef enum:
    DAY_SECONDS = 86400

cdef extern from *:
    """
    #define FIRST_SECOND (-62135596800LL)   /* 0001-01-01 00:00:00 */
    #define LAST_SECOND 253402300799LL      /* 9999-12-31 23:59:59 */
    static const char day_names[7][10] = {
        "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const short days_before_month[13] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    """
    const int64_t FIRST_SECOND, LAST_SECOND
    const char day_names[7][10]
    const char *month_names
    const short days_before_month[13]


cdef inline bint year_is_leap(int year) noexcept nogil:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


cdef inline int month_days(int year, int month) noexcept nogil:
    return days_before_month[month] - days_before_month[month - 1] + (month == 2 and year_is_leap(year))


cdef int64_t date_day(int year, int month, int day) noexcept nogil:
    """Days from 1970-01-01. The year is at least 1."""
    cdef int64_t before = year - 1
    cdef int64_t leaps = before // 4 - before // 100 + before // 400 - (1969 // 4 - 1969 // 100 + 1969 // 400)
    return 365 * (before - 1969) + leaps + days_before_month[month - 1] + (month > 2 and year_is_leap(year)) + day - 1


cdef void date_set(Date *d, int64_t unix_seconds) noexcept nogil:
    """The calendar's view of a time from FIRST_SECOND to LAST_SECOND."""
    cdef int64_t since = unix_seconds - FIRST_SECOND
    cdef int64_t day = since // DAY_SECONDS + FIRST_SECOND // DAY_SECONDS
    cdef int second = <int>(since % DAY_SECONDS)
    d.year = <int>(since // DAY_SECONDS * 400 // 146097) + 1    # at most one year off: 400 years are 146097 days
    d.year -= date_day(d.year, 1, 1) > day
    d.year += date_day(d.year + 1, 1, 1) <= day
    d.month = 12
    while date_day(d.year, d.month, 1) > day:
        d.month -= 1
    d.day = <int>(day - date_day(d.year, d.month, 1)) + 1
    d.hour = second // 3600
    d.minute = second // 60 % 60
    d.second = second % 60


cdef void http_date_put(int64_t unix_seconds, char *out29) noexcept nogil:
    """Write a time as IMF-fixdate, 29 bytes ("Sun, 06 Nov 1994 08:49:37 GMT"); the nearest one in years 1 to 9999."""
    cdef Date d
    unix_seconds = FIRST_SECOND if unix_seconds < FIRST_SECOND else unix_seconds
    unix_seconds = LAST_SECOND if unix_seconds > LAST_SECOND else unix_seconds
    date_set(&d, unix_seconds)
    memcpy(out29, b"Sun, 00 Jan 0000 00:00:00 GMT", 29)
    # 0001-01-01 was a Monday.
    memcpy(out29, day_names[((unix_seconds - FIRST_SECOND) // DAY_SECONDS + 1) % 7], 3)
    put_padded(out29 + 5, <uint32_t>d.day, 2)
    memcpy(out29 + 8, month_names + 3 * (d.month - 1), 3)
    put_padded(out29 + 12, <uint32_t>d.year, 4)
    put_padded(out29 + 17, <uint32_t>d.hour, 2)
    put_padded(out29 + 20, <uint32_t>d.minute, 2)
    put_padded(out29 + 23, <uint32_t>d.second, 2)


cdef int http_date_parse(Span s, int64_t *out) noexcept nogil:
    """Read a date in one of the three forms that HTTP knows. Returns OK, or ERR_MISSING and leaves `out` alone.

    The name of the day must be one, but need not fit the date: nothing depends on it.
    """
    cdef Date d
    if not (date_read(s, b"%a, %d %b %Y %H:%M:%S GMT", &d)          # IMF-fixdate
            or date_read(s, b"%A, %d-%b-%y %H:%M:%S GMT", &d)       # RFC 850
            or date_read(s, b"%a %b %e %H:%M:%S %Y", &d)):          # asctime
        return ERR_MISSING
    if d.year < 1 or d.day < 1 or d.day > month_days(d.year, d.month) or d.hour > 23 or d.minute > 59 or d.second > 60:
        return ERR_MISSING
    out[0] = date_day(d.year, d.month, d.day) * DAY_SECONDS + d.hour * 3600 + d.minute * 60 + d.second
    return OK


cdef bint date_read(Span s, const char *form, Date *d) noexcept nogil:
    """Whether the whole of `s` has a form, written as for strptime (without its laxness); fills `d`."""
    while form[0]:
        if form[0] == c'%':
            if not date_read_part(&s, form[1], d):
                return False
            form += 2
        else:
            if s.n == 0 or s.p[0] != form[0]:
                return False
            s = Span(s.p + 1, s.n - 1)
            form += 1
    return s.n == 0


cdef bint date_read_part(Span *s, char kind, Date *d) noexcept nogil:
    if kind == c'd':
        return date_read_number(s, 2, &d.day)
    if kind == c'e':
        return date_read_padded(s, &d.day)
    if kind == c'b':
        return date_read_month(s, &d.month)
    if kind == c'Y':
        return date_read_number(s, 4, &d.year)
    if kind == c'y':
        return date_read_short_year(s, &d.year)
    if kind == c'H':
        return date_read_number(s, 2, &d.hour)
    if kind == c'M':
        return date_read_number(s, 2, &d.minute)
    if kind == c'S':
        return date_read_number(s, 2, &d.second)
    return date_read_weekday(s, kind == c'A')


cdef bint date_read_number(Span *s, size_t digits, int *out) noexcept nogil:
    cdef size_t i
    if s.n < digits:
        return False
    out[0] = 0
    for i in range(digits):
        if s.p[i] < c'0' or s.p[i] > c'9':
            return False
        out[0] = out[0] * 10 + (s.p[i] - c'0')
    s.p += digits
    s.n -= digits
    return True


cdef bint date_read_padded(Span *s, int *out) noexcept nogil:
    """Two digits, or a space and one."""
    if s.n == 0 or s.p[0] != c' ':
        return date_read_number(s, 2, out)
    s.p += 1
    s.n -= 1
    return date_read_number(s, 1, out)


cdef bint date_read_month(Span *s, int *out) noexcept nogil:
    cdef int i
    for i in range(12):
        if s.n >= 3 and memcmp(s.p, month_names + 3 * i, 3) == 0:
            out[0] = i + 1
            s.p += 3
            s.n -= 3
            return True
    return False


cdef bint date_read_weekday(Span *s, bint whole) noexcept nogil:
    cdef size_t n
    cdef int i
    for i in range(7):
        n = strlen(day_names[i]) if whole else 3
        if s.n >= n and memcmp(s.p, day_names[i], n) == 0:
            s.p += n
            s.n -= n
            return True
    return False


cdef bint date_read_short_year(Span *s, int *out) noexcept nogil:
    """Two digits of a year of this century, or of the last one if that were more than 50 years ahead."""
    cdef timespec now
    cdef Date today
    if not date_read_number(s, 2, out):
        return False
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    date_set(&today, now.tv_sec)
    out[0] += today.year - today.year % 100
    if out[0] > today.year + 50:
        out[0] -= 100
    return True


cdef bint static_not_modified(Span if_modified_since, int64_t mtime) noexcept nogil:
    """Whether the client's copy is still good (RFC 9110 section 13.1.3). A value that is no date is ignored."""
    cdef int64_t since = 0
    return http_date_parse(if_modified_since, &since) == OK and mtime <= since
