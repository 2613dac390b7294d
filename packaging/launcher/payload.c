/* What follows the launcher in its file.
 *
 * Footer, 64 bytes:  "HEARTPAY" | u32 version | u32 CRC-32 of the index | u64 size | u64 unpacked | u32 index size | u32 0
 *                    | key[16] | 0
 * Index, a file:     u32 size | u8 flags | u8 length of the name | name
 * Behind the index one zstd frame holds the content of all files, in the order of the index, and their checksum.
 */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { VERSION = 1, CHUNK = 1 << 18 };

const char DAMAGED[] = "this file is damaged or incomplete: download it again";

static uint64_t number(const unsigned char *p, int bytes)
{
    uint64_t value = 0;
    while (bytes--)
        value = value << 8 | p[bytes];
    return value;
}

static int read_at(int fd, void *to, size_t n, uint64_t offset)
{
    while (n) {
        ssize_t got = pread(fd, to, n, (off_t)offset);
        if (got <= 0)
            return -1;
        to = (char *)to + got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

/* CRC-32 as zlib has it. */
static uint32_t checksum(const unsigned char *p, size_t n)
{
    uint32_t crc = ~UINT32_C(0);
    while (n--) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
    }
    return ~crc;
}

/* Our footer is the last thing in the file, or the last thing before a bundled application. */
static int footer_read(int fd, unsigned char *footer, uint64_t *at)
{
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < FOOTER_SIZE || read_at(fd, footer, FOOTER_SIZE, *at = (uint64_t)end - FOOTER_SIZE))
        return -1;
    if (memcmp(footer, "HEARTAPP", 8) == 0) {
        uint64_t start = number(footer + 16, 8);
        if (start < FOOTER_SIZE || start > *at || read_at(fd, footer, FOOTER_SIZE, *at = start - FOOTER_SIZE))
            return -1;
    }
    return memcmp(footer, "HEARTPAY", 8) != 0 || number(footer + 8, 4) != VERSION;
}

const char *payload_open(struct payload *p)
{
    unsigned char footer[FOOTER_SIZE];
    uint64_t at;
    p->fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (p->fd < 0)
        return "cannot read its own file (/proc/self/exe)";
    if (footer_read(p->fd, footer, &at))
        return DAMAGED;
    p->size = number(footer + 16, 8);
    p->unpacked = number(footer + 24, 8);
    p->index_size = (uint32_t)number(footer + 32, 4);
    if (p->size > at || p->index_size > p->size)
        return DAMAGED;
    p->start = at - p->size;
    for (int i = 0; i < 16; i++)
        snprintf(p->key + 2 * i, 3, "%02x", footer[40 + i]);
    p->index = malloc(p->index_size);
    if (!p->index)
        return "out of memory";
    if (read_at(p->fd, p->index, p->index_size, p->start) || checksum(p->index, p->index_size) != number(footer + 12, 4))
        return DAMAGED;
    return NULL;
}

struct cursor payload_files(const struct payload *p)
{
    return (struct cursor){ p->index, p->index + p->index_size };
}

/* Every file of the index, also those that are not wanted. */
static int file_any(struct cursor *at, struct file *f)
{
    size_t length;
    if (at->end - at->p < 6)
        return 0;
    length = at->p[5];
    if ((size_t)(at->end - at->p) < 6 + length)
        return 0;
    f->size = (uint32_t)number(at->p, 4);
    f->flags = at->p[4];
    memcpy(f->name, at->p + 6, length);
    f->name[length] = 0;
    at->p += 6 + length;
    return 1;
}

static int wanted(const struct payload *p, const struct file *f)
{
    return p->own_libc || !(f->flags & FILE_LIBC);
}

int file_next(const struct payload *p, struct cursor *at, struct file *f)
{
    while (file_any(at, f))
        if (wanted(p, f))
            return 1;
    return 0;
}

/* The compressed stream, read and decompressed piece by piece. */
struct stream {
    ZSTD_DStream *z;
    int fd;
    uint64_t offset, left; /* compressed bytes that were not read yet */
    int ended;             /* the frame is complete and its checksum was right */
    ZSTD_inBuffer in;
    unsigned char read[CHUNK], out[CHUNK];
};

/* One step of the decompressor; -1 for an error or when it makes no progress. */
static int stream_step(struct stream *s, ZSTD_outBuffer *out)
{
    size_t before, written = out->pos, hint;
    if (s->ended)
        return -1;
    if (s->in.pos == s->in.size && s->left) {
        size_t part = s->left < CHUNK ? (size_t)s->left : CHUNK;
        if (read_at(s->fd, s->read, part, s->offset))
            return -1;
        s->offset += part;
        s->left -= part;
        s->in = (ZSTD_inBuffer){ s->read, part, 0 };
    }
    before = s->in.pos;
    hint = ZSTD_decompressStream(s->z, out, &s->in);
    if (ZSTD_isError(hint) || (hint && s->in.pos == before && out->pos == written))
        return -1;
    s->ended = hint == 0;
    return 0;
}

/* Exactly `n` bytes, at most CHUNK, into s->out. */
static int stream_take(struct stream *s, size_t n)
{
    ZSTD_outBuffer out = { s->out, n, 0 };
    while (out.pos < n)
        if (stream_step(s, &out))
            return -1;
    return 0;
}

/* The end of the frame, with its checksum, must be there and right, and nothing may follow. */
static int stream_end(struct stream *s)
{
    ZSTD_outBuffer none = { s->out, 0, 0 };
    while (!s->ended)
        if (stream_step(s, &none))
            return -1;
    return s->left == 0 && s->in.pos == s->in.size ? 0 : -1;
}

static int write_all(int fd, const unsigned char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int make_folders(int dir, char *name)
{
    for (char *s = strchr(name, '/'); s; s = strchr(s + 1, '/')) {
        *s = 0;
        int failed = mkdirat(dir, name, 0700) && errno != EEXIST;
        *s = '/';
        if (failed)
            return -1;
    }
    return 0;
}

/* A new file in `dir`, open for writing. */
static int make_file(int dir, struct file *f)
{
    if (make_folders(dir, f->name))
        return -1;
    return openat(dir, f->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                  f->flags & FILE_EXECUTABLE ? 0700 : 0600);
}

/* The next `f->size` bytes of the stream into a file, or to nowhere if it is not wanted. */
static const char *file_unpack(struct stream *s, const struct payload *p, int dir, struct file *f)
{
    int fd = -1;
    if (wanted(p, f) && (fd = make_file(dir, f)) < 0)
        return strerror(errno);
    for (uint32_t left = f->size; left;) {
        uint32_t part = left < CHUNK ? left : CHUNK;
        if (stream_take(s, part))
            return DAMAGED;
        if (fd >= 0 && write_all(fd, s->out, part))
            return strerror(errno);
        left -= part;
    }
    if (fd >= 0 && close(fd))
        return strerror(errno);
    return NULL;
}

const char *payload_unpack(const struct payload *p, int dir)
{
    static struct stream s;
    struct cursor at = payload_files(p);
    struct file f;
    const char *wrong = NULL;
    s.in.pos = s.in.size = 0;
    s.ended = 0;
    s.fd = p->fd;
    s.offset = p->start + p->index_size;
    s.left = p->size - p->index_size;
    s.z = ZSTD_createDStream();
    if (!s.z)
        return "out of memory";
    while (!wrong && file_any(&at, &f))
        wrong = file_unpack(&s, p, dir, &f);
    if (!wrong && stream_end(&s))
        wrong = DAMAGED;
    ZSTD_freeDStream(s.z);
    return wrong;
}
