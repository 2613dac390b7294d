/* Counts the calls that ask the C library for memory. Preloaded into a server (LD_PRELOAD), it keeps one 64-bit
 * number in the file MALLOC_COUNT_FILE, which others may read at any time; all processes that inherit the two
 * variables share it. Only for glibc: the real functions are reached by their __libc names, because dlsym allocates. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static uint64_t early;              /* calls before the file is mapped */
static uint64_t *calls = &early;

__attribute__((constructor)) static void calls_share(void) {
    const char *path = getenv("MALLOC_COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0 || ftruncate(fd, sizeof *calls)) abort();
    void *shared = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) abort();
    close(fd);
    calls = shared;
    __atomic_fetch_add(calls, early, __ATOMIC_RELAXED);
}

static void calls_add(void) { __atomic_fetch_add(calls, 1, __ATOMIC_RELAXED); }

void *malloc(size_t n) { calls_add(); return __libc_malloc(n); }
void *calloc(size_t n, size_t size) { calls_add(); return __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { calls_add(); return __libc_realloc(p, n); }
void *memalign(size_t alignment, size_t n) { calls_add(); return __libc_memalign(alignment, n); }
void *aligned_alloc(size_t alignment, size_t n) { calls_add(); return __libc_memalign(alignment, n); }

int posix_memalign(void **p, size_t alignment, size_t n) {
    calls_add();
    *p = __libc_memalign(alignment, n);
    return *p ? 0 : ENOMEM;
}
