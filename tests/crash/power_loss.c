/* LD_PRELOAD layer: keeps beside a folder what a power loss would leave of it.
 *
 * POWER_LOSS_FOLDER   the folder that is watched (flat)
 * POWER_LOSS_KEPT     where the durable state goes: `entries`, the names as of the last fsync of the folder, each with
 *                     the identity of its file; and one file for each identity, its bytes as of its last fsync or
 *                     fdatasync.
 * Files are taken to grow at their end only, which tests/power_loss.py verifies.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

/* The same inode number comes again after a file was deleted: its birth tells them apart. */
static int identity(int at, const char *name, int flags, char *out, size_t n) {
    struct statx s;
    if (statx(at, name, flags, STATX_INO | STATX_BTIME | STATX_SIZE, &s) != 0) return -1;
    snprintf(out, n, "%llu-%lld.%u", (unsigned long long)s.stx_ino, (long long)s.stx_btime.tv_sec, s.stx_btime.tv_nsec);
    return 0;
}

static void keep_file(int fd, const char *kept) {
    char id[96], to[PATH_MAX], buffer[65536];
    struct stat now, before;
    ssize_t n;
    if (identity(fd, "", AT_EMPTY_PATH, id, sizeof id) != 0 || fstat(fd, &now) != 0) return;
    snprintf(to, sizeof to, "%s/%s", kept, id);
    int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (out < 0 || fstat(out, &before) != 0) abort();
    /* The descriptor may be write-only. */
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int in = open(self, O_RDONLY | O_CLOEXEC);
    if (in < 0) abort();
    if (before.st_size > now.st_size && ftruncate(out, now.st_size) != 0) abort();
    for (off_t at = before.st_size; at < now.st_size; at += n) {
        n = pread(in, buffer, sizeof buffer, at);
        if (n <= 0) break;
        if (pwrite(out, buffer, n, at) != n) abort();
    }
    close(in);
    close(out);
}

static void keep_entries(const char *folder, const char *kept) {
    char path[PATH_MAX], fresh[PATH_MAX], id[96];
    struct dirent *entry;
    snprintf(path, sizeof path, "%s/entries", kept);
    snprintf(fresh, sizeof fresh, "%s/entries.new", kept);
    DIR *dir = opendir(folder);
    FILE *out = fopen(fresh, "w");
    if (dir == NULL || out == NULL) abort();
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_type == DT_REG && identity(dirfd(dir), entry->d_name, 0, id, sizeof id) == 0)
            fprintf(out, "%s %s\n", entry->d_name, id);
    fclose(out);
    closedir(dir);
    if (rename(fresh, path) != 0) abort();
}

static void keep(int fd) {
    const char *folder = getenv("POWER_LOSS_FOLDER"), *kept = getenv("POWER_LOSS_KEPT");
    char link[64], path[PATH_MAX];
    struct stat s;
    if (folder == NULL || kept == NULL || fstat(fd, &s) != 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return;
    path[n] = 0;
    pthread_mutex_lock(&guard);
    if (S_ISDIR(s.st_mode) && strcmp(path, folder) == 0)
        keep_entries(folder, kept);
    else if (S_ISREG(s.st_mode) && strncmp(path, folder, strlen(folder)) == 0 && path[strlen(folder)] == '/')
        keep_file(fd, kept);
    pthread_mutex_unlock(&guard);
}

int fsync(int fd) {
    keep(fd);
    return 0;
}

int fdatasync(int fd) {
    keep(fd);
    return 0;
}
