# Media types by the extension of a file's name. A table: no socket, no Lua, no allocation.

cdef extern from *:
    """
    #define ENTRY(extension, type, dense) {extension, sizeof extension - 1, type, sizeof type - 1, dense}
    #define TYPE(extension, type) ENTRY(extension, type, 0),
    #define TEXT(extension, type) ENTRY(extension, type "; charset=utf-8", 0),
    #define DENSE(extension, type) ENTRY(extension, type, 1),

    /* By extension, in the order of memcmp: it is searched by halving. */
    static const struct mime {
        const char *extension; size_t extension_n;
        const char *type; size_t type_n;
        char dense;
    } mime_types[] = {
        DENSE("7z", "application/x-7z-compressed")
        DENSE("aac", "audio/aac")
        DENSE("apk", "application/vnd.android.package-archive")
        DENSE("apng", "image/apng")
        TYPE("atom", "application/atom+xml")
        DENSE("avi", "video/x-msvideo")
        DENSE("avif", "image/avif")
        TYPE("bin", "application/octet-stream")
        TYPE("bmp", "image/bmp")
        DENSE("br", "application/octet-stream")
        DENSE("bz2", "application/x-bzip2")
        TEXT("c", "text/plain")
        TEXT("cjs", "text/javascript")
        TEXT("conf", "text/plain")
        TEXT("cpp", "text/plain")
        TEXT("css", "text/css")
        TEXT("csv", "text/csv")
        DENSE("deb", "application/vnd.debian.binary-package")
        TEXT("diff", "text/plain")
        DENSE("dmg", "application/x-apple-diskimage")
        TYPE("doc", "application/msword")
        DENSE("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")
        TYPE("eot", "application/vnd.ms-fontobject")
        DENSE("epub", "application/epub+zip")
        TYPE("exe", "application/vnd.microsoft.portable-executable")
        DENSE("flac", "audio/flac")
        TYPE("geojson", "application/geo+json")
        DENSE("gif", "image/gif")
        TYPE("glb", "model/gltf-binary")
        TYPE("gltf", "model/gltf+json")
        TEXT("go", "text/plain")
        DENSE("gz", "application/gzip")
        TEXT("h", "text/plain")
        DENSE("heic", "image/heic")
        TEXT("htm", "text/html")
        TEXT("html", "text/html")
        TYPE("ico", "image/vnd.microsoft.icon")
        TEXT("ics", "text/calendar")
        TEXT("ini", "text/plain")
        TYPE("iso", "application/x-iso9660-image")
        DENSE("jar", "application/java-archive")
        DENSE("jpeg", "image/jpeg")
        DENSE("jpg", "image/jpeg")
        TEXT("js", "text/javascript")
        TYPE("json", "application/json")
        TYPE("jsonld", "application/ld+json")
        TEXT("jsx", "text/plain")
        DENSE("jxl", "image/jxl")
        TEXT("log", "text/plain")
        TEXT("lua", "text/plain")
        TYPE("m3u8", "application/vnd.apple.mpegurl")
        DENSE("m4a", "audio/mp4")
        DENSE("m4v", "video/mp4")
        TYPE("map", "application/json")
        TEXT("md", "text/markdown")
        TYPE("mid", "audio/midi")
        TEXT("mjs", "text/javascript")
        DENSE("mkv", "video/matroska")
        DENSE("mov", "video/quicktime")
        DENSE("mp3", "audio/mpeg")
        DENSE("mp4", "video/mp4")
        TYPE("mpd", "application/dash+xml")
        DENSE("mpeg", "video/mpeg")
        DENSE("mpg", "video/mpeg")
        DENSE("odp", "application/vnd.oasis.opendocument.presentation")
        DENSE("ods", "application/vnd.oasis.opendocument.spreadsheet")
        DENSE("odt", "application/vnd.oasis.opendocument.text")
        DENSE("oga", "audio/ogg")
        DENSE("ogg", "audio/ogg")
        DENSE("ogv", "video/ogg")
        DENSE("opus", "audio/ogg")
        TYPE("otf", "font/otf")
        TEXT("patch", "text/plain")
        TYPE("pdf", "application/pdf")
        DENSE("png", "image/png")
        TYPE("ppt", "application/vnd.ms-powerpoint")
        DENSE("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation")
        TYPE("psd", "image/vnd.adobe.photoshop")
        TEXT("py", "text/plain")
        DENSE("rar", "application/vnd.rar")
        DENSE("rpm", "application/x-rpm")
        TEXT("rs", "text/plain")
        TYPE("rss", "application/rss+xml")
        TYPE("rtf", "application/rtf")
        TEXT("sh", "text/plain")
        TEXT("sql", "text/plain")
        TYPE("sqlite", "application/vnd.sqlite3")
        TYPE("svg", "image/svg+xml")
        TYPE("tar", "application/x-tar")
        DENSE("tgz", "application/gzip")
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
        DENSE("weba", "audio/webm")
        DENSE("webm", "video/webm")
        TYPE("webmanifest", "application/manifest+json")
        DENSE("webp", "image/webp")
        DENSE("woff", "font/woff")
        DENSE("woff2", "font/woff2")
        TYPE("xhtml", "application/xhtml+xml")
        TYPE("xls", "application/vnd.ms-excel")
        DENSE("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        TYPE("xml", "application/xml")
        TYPE("xsl", "application/xml")
        DENSE("xz", "application/x-xz")
        TYPE("yaml", "application/yaml")
        TYPE("yml", "application/yaml")
        DENSE("zip", "application/zip")
        DENSE("zst", "application/zstd")
    };
    #define MIME_TYPES (sizeof mime_types / sizeof mime_types[0])
    static const struct mime mime_unknown = ENTRY("", "application/octet-stream", 0);
    #undef ENTRY
    #undef TYPE
    #undef TEXT
    #undef DENSE
    """
    struct mime:
        const char *extension
        size_t extension_n
        const char *type
        size_t type_n
        char dense              # compressed already: there is nothing to gain by compressing it once more
    const mime *mime_types
    const mime mime_unknown
    const size_t MIME_TYPES

cdef enum:
    MIME_EXTENSION_MAX = 16     # longer than any in the table


cdef const mime *mime_find(Span path) noexcept nogil:
    """What is known of a file by the extension of its name; `type` has the charset where it is text."""
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
            return m
        if order < 0 or (order == 0 and n < m.extension_n):
            high = middle
        else:
            low = middle + 1
    return &mime_unknown


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
