/* The launcher: a static program with a compressed payload behind it in the same file. It unpacks the payload once into
 * a cache directory and becomes the program that was in it: one process, nothing is left of the launcher.
 *
 *     main.c     the places where it may unpack, one after the other; exec
 *     payload.c  what follows the launcher in its file: footer, index, compressed files
 *     place.c    directories that may hold the cache: made, and refused when others could write into them
 *     entry.c    one unpacked payload in a place: found, checked, made, pruned
 *     libc.c     the host's C library or our own; the path of the loader in the program
 *
 * Layout of the file:  launcher | payload | footer (64 bytes) [ | application | its footer (64 bytes) ]
 * Numbers are little-endian. Nothing is trusted about the place; everything is trusted about the file itself, which the
 * user has just chosen to run.
 */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#define _GNU_SOURCE
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define FOOTER_SIZE 64
#define KEY_SIZE 33         /* hexadecimal digits of the payload's hash, and a NUL */
#define PROGRAM "heart"     /* the program among the files of the payload */
#ifndef LOADER
#error "LOADER: our own dynamic loader among them, e.g. _internal/ld-linux-x86-64.so.2"
#endif

/* What an index entry says about a file. */
enum { FILE_EXECUTABLE = 1, FILE_LIBC = 2 };

struct file {
    uint32_t size;
    uint8_t flags;
    char name[256]; /* path within the entry */
};

struct payload {
    int fd;                /* the launcher's own file; the program gets it, too */
    unsigned char *index;  /* NULL until it is read */
    uint32_t index_size;
    uint64_t start;        /* offset of the index in the file; the compressed files follow it */
    uint64_t size;         /* of index and compressed files */
    uint64_t unpacked;     /* bytes of all files */
    char key[KEY_SIZE];
    int own_libc;          /* files with FILE_LIBC are wanted */
};

/* A directory for the cache. `why` says what is wrong with it once it was refused. */
struct place {
    char path[4352]; /* more than is used, so that one that was cut off is refused for its length, too */
    int strict; /* a name that anybody could have taken: it must be ours, and no symbolic link */
    char why[160];
};

/* Walks through the index. */
struct cursor {
    const unsigned char *p, *end;
};

/* payload.c */
extern const char DAMAGED[];                                /* what is wrong when the file itself is */
const char *payload_open(struct payload *p);                /* NULL, or what is wrong */
struct cursor payload_files(const struct payload *p);
int file_next(const struct payload *p, struct cursor *at, struct file *f); /* only the files that are wanted */
const char *payload_unpack(const struct payload *p, int dir);             /* NULL, or what is wrong */

/* place.c */
int places_list(struct place *places, int max, const char *self);
int place_open(struct place *place);                        /* a descriptor, or -1 with `why` */
void place_refuse(struct place *place, const char *why, int error);
int owner_trusted(const struct stat *st);
int writable_by_others(const struct stat *st);

/* entry.c */
int entry_ready(const struct payload *p, struct place *place, int dir); /* a locked descriptor, or -1 with `why` */

/* libc.c */
int libc_is_host(void);                                     /* whether the host's C library serves */
int loader_write(int program, const char *path);            /* 0, or -1 with errno */
int loader_is(int program, uint64_t size, const char *path); /* whether loader_write has written this path */

#endif
