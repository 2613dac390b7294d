/* The host's C library or our own.
 *
 * The host's is used where it is glibc and has all that the payload's files need: then modules that were built for this
 * host can be loaded. Everywhere else (musl, an older glibc, no C library at all) our own comes with the payload. The
 * kernel reads the path of a program's loader from the program, so that path is written into it when it is unpacked:
 * behind its end, and the program header is pointed there.
 */
#include "launcher.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LONGEST = 4096 };

#ifdef GLIBC_NEEDED /* 2.GLIBC_NEEDED, and HOST_LOADER is where every glibc of this architecture has its loader */

/* glibc's loader holds the text "... release version 2.36.". */
static long glibc_minor(const char *p, size_t n)
{
    static const char TEXT[] = "release version 2.";
    const char *found = memmem(p, n, TEXT, sizeof TEXT - 1);
    if (!found || found + sizeof TEXT + 3 > p + n)
        return -1;
    return strtol(found + sizeof TEXT - 1, NULL, 10);
}

int libc_is_host(void)
{
    const char *forced = getenv("HEART_LIBC");
    struct stat st;
    void *map;
    long minor;
    int fd;
    if (forced && strcmp(forced, "own") == 0)
        return 0;
    fd = open(HOST_LOADER, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    map = fstat(fd, &st) || st.st_size == 0 ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return 0;
    minor = glibc_minor(map, (size_t)st.st_size);
    munmap(map, (size_t)st.st_size);
    return minor >= GLIBC_NEEDED;
}

#else /* built with musl: there is only our own */

int libc_is_host(void)
{
    return 0;
}

#endif

/* The program header that names the loader; its offset in the file, or -1. */
static off_t header_find(int program, Elf64_Phdr *h)
{
    Elf64_Ehdr e;
    if (pread(program, &e, sizeof e, 0) != sizeof e || memcmp(e.e_ident, ELFMAG, SELFMAG))
        return -1;
    for (int i = 0; i < e.e_phnum; i++) {
        off_t at = (off_t)(e.e_phoff + (Elf64_Off)i * sizeof *h);
        if (pread(program, h, sizeof *h, at) != sizeof *h)
            return -1;
        if (h->p_type == PT_INTERP)
            return at;
    }
    return -1;
}

int loader_write(int program, const char *path)
{
    size_t length = strlen(path) + 1;
    off_t end = lseek(program, 0, SEEK_END);
    Elf64_Phdr h;
    off_t at = header_find(program, &h);
    errno = length > LONGEST ? ENAMETOOLONG : ENOEXEC;
    if (length > LONGEST || at < 0 || end < 0)
        return -1;
    h.p_offset = (Elf64_Off)end;
    h.p_filesz = length;
    errno = ENOSPC;
    if (pwrite(program, path, length, end) != (ssize_t)length || pwrite(program, &h, sizeof h, at) != sizeof h)
        return -1;
    return 0;
}

int loader_is(int program, uint64_t size, const char *path)
{
    char found[LONGEST];
    size_t length = strlen(path) + 1;
    struct stat st;
    return length <= LONGEST && fstat(program, &st) == 0 && (uint64_t)st.st_size == size + length
        && pread(program, found, length, (off_t)size) == (ssize_t)length && memcmp(found, path, length) == 0;
}
