/* One unpacked payload in a place: a directory named by the payload's hash and the C library it was unpacked for.
 *
 * An entry appears complete: it is unpacked under a private name and renamed. It is never changed afterwards; one that
 * is not as it should be is moved away and made anew. Who uses an entry holds a shared lock on its directory from before
 * the check until the process ends (the descriptor is handed on to the program), who removes one needs it exclusively.
 */
#include "launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { NAME = 64, TRIES = 3, UNFINISHED_SECONDS = 60 };

static void entry_name(const struct payload *p, char *name)
{
    snprintf(name, NAME, "%s-%s", p->key, p->own_libc ? "own" : "host");
}

/* A name that no other process uses. */
static void private_name(const char *kind, char *name)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(name, NAME, ".%s-%d-%lld%09ld", kind, (int)getpid(), (long long)t.tv_sec, t.tv_nsec);
}

static int is_folder(const char *name)
{
    return strcmp(name, ".") && strcmp(name, "..");
}

/* Removes `name` with all that is in it, as far as possible. */
static void remove_tree(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *d;
    if (!list) {
        unlinkat(dir, name, 0);
        return;
    }
    while ((d = readdir(list)))
        if (is_folder(d->d_name) && unlinkat(fd, d->d_name, 0))
            remove_tree(fd, d->d_name);
    closedir(list);
    unlinkat(dir, name, AT_REMOVEDIR);
}

/* ---- Checking ------------------------------------------------------------------------------------------------- */

/* The loader that the program in this entry must name, "" where it is the host's. */
static void loader_path(const struct payload *p, const struct place *place, char *path, size_t max)
{
    path[0] = 0;
    if (p->own_libc)
        snprintf(path, max, "%s/%s-own/" LOADER, place->path, p->key);
}

/* A folder in the entry; "" is the entry itself. */
static int folder_intact(int entry, const char *name)
{
    struct stat st;
    return fstatat(entry, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) == 0 && S_ISDIR(st.st_mode)
        && owner_trusted(&st) && !writable_by_others(&st);
}

/* Checks the folder of each file, once for all files in a row that share it. */
static int parent_intact(int entry, const struct file *f, char *last)
{
    const char *slash = strrchr(f->name, '/');
    size_t length = slash ? (size_t)(slash - f->name) : 0;
    if (!slash || (strlen(last) == length && memcmp(last, f->name, length) == 0))
        return 1;
    memcpy(last, f->name, length);
    last[length] = 0;
    return folder_intact(entry, last);
}

static int program_intact(int entry, const struct file *f, const char *loader)
{
    int fd = openat(entry, f->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int intact = fd >= 0 && loader_is(fd, f->size, loader);
    if (fd >= 0)
        close(fd);
    return intact;
}

static int file_intact(int entry, const struct file *f, const char *loader)
{
    struct stat st;
    if (fstatat(entry, f->name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) || !owner_trusted(&st)
        || writable_by_others(&st) || (f->flags & FILE_EXECUTABLE && !(st.st_mode & 0100)))
        return 0;
    if (*loader && strcmp(f->name, PROGRAM) == 0)
        return program_intact(entry, f, loader);
    return (uint64_t)st.st_size == f->size;
}

/* Whether every file is there, has its size, and nobody else could have written it. */
static int entry_intact(const struct payload *p, const struct place *place, int entry)
{
    struct cursor at = payload_files(p);
    struct file f;
    char loader[sizeof place->path + 96], folder[sizeof f.name] = "";
    loader_path(p, place, loader, sizeof loader);
    if (!folder_intact(entry, ""))
        return 0;
    while (file_next(p, &at, &f))
        if (!parent_intact(entry, &f, folder) || !file_intact(entry, &f, loader))
            return 0;
    return 1;
}

/* Whether `name` still is the directory that was opened. */
static int still_there(int dir, const char *name, int entry)
{
    struct stat a, b;
    return fstatat(dir, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(entry, &b) == 0 && a.st_ino == b.st_ino
        && a.st_dev == b.st_dev;
}

/* The entry, locked, if it is there and intact. The descriptor outlives exec. */
static int entry_open(const struct payload *p, const struct place *place, int dir, const char *name)
{
    int entry = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (entry < 0)
        return -1;
    /* One that is being removed is as good as none. Where there are no locks (some network file systems), do without. */
    if ((flock(entry, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) && still_there(dir, name, entry)
        && entry_intact(p, place, entry))
        return entry;
    close(entry);
    return -1;
}

/* ---- Making --------------------------------------------------------------------------------------------------- */

/* Points the program of a new entry to our loader. */
static int entry_link(const struct payload *p, const struct place *place, int entry)
{
    char loader[sizeof place->path + 96];
    int fd, failed;
    loader_path(p, place, loader, sizeof loader);
    if (!*loader)
        return 0;
    fd = openat(entry, PROGRAM, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    failed = loader_write(fd, loader);
    return close(fd) || failed ? -1 : 0;
}

/* Unpacks under the private name `name`. A locked descriptor, or -1 with `why`. */
static int entry_unpack(const struct payload *p, struct place *place, int dir, const char *name)
{
    const char *wrong = NULL;
    int entry = -1;
    if (mkdirat(dir, name, 0700) || (entry = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)) < 0) {
        place_refuse(place, "cannot write", errno);
        return -1;
    }
    flock(entry, LOCK_SH);
    wrong = payload_unpack(p, entry);
    if (wrong)
        place_refuse(place, wrong, 0);
    else if (entry_link(p, place, entry))
        place_refuse(place, "cannot write", errno);
    else
        return entry;
    close(entry);
    remove_tree(dir, name);
    return -1;
}

/* Moves whatever has the entry's name out of the way and removes it. */
static void entry_discard(int dir, const char *name)
{
    char old[NAME];
    private_name("old", old);
    if (renameat(dir, name, dir, old) == 0)
        remove_tree(dir, old);
}

/* Gives the unpacked directory its name. Another process may have been faster: then its entry is used. */
static int entry_publish(const struct payload *p, struct place *place, int dir, const char *made, int entry)
{
    char name[NAME];
    entry_name(p, name);
    for (int i = 0; i < TRIES; i++) {
        int other;
        if (renameat(dir, made, dir, name) == 0)
            return entry;
        place_refuse(place, "cannot write", errno);
        other = entry_open(p, place, dir, name);
        if (other >= 0) {
            close(entry);
            remove_tree(dir, made);
            return other;
        }
        entry_discard(dir, name);
    }
    close(entry);
    remove_tree(dir, made);
    return -1;
}

/* ---- Pruning -------------------------------------------------------------------------------------------------- */

/* An entry of another payload, or what an interrupted start has left. */
static int is_old(const struct payload *p, int dir, const char *name)
{
    size_t digits = strspn(name, "0123456789abcdef");
    struct stat st;
    if (digits == KEY_SIZE - 1 && (strcmp(name + digits, "-own") == 0 || strcmp(name + digits, "-host") == 0))
        return strncmp(name, p->key, digits) != 0;
    if (strncmp(name, ".new-", 5) && strncmp(name, ".old-", 5))
        return 0;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime + UNFINISHED_SECONDS < time(NULL);
}

/* Removes old entries that nobody uses. */
static void entries_prune(const struct payload *p, int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *d;
    if (!list)
        return;
    while ((d = readdir(list))) {
        int old;
        if (!is_old(p, dir, d->d_name))
            continue;
        old = openat(dir, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (old < 0)
            continue;
        if (flock(old, LOCK_EX | LOCK_NB) == 0 && still_there(dir, d->d_name, old))
            entry_discard(dir, d->d_name);
        close(old);
    }
    closedir(list);
}

int entry_ready(const struct payload *p, struct place *place, int dir)
{
    char name[NAME], made[NAME];
    int entry;
    entry_name(p, name);
    entry = entry_open(p, place, dir, name);
    if (entry >= 0)
        return entry;
    private_name("new", made);
    entry = entry_unpack(p, place, dir, made);
    if (entry >= 0)
        entry = entry_publish(p, place, dir, made, entry);
    if (entry >= 0)
        entries_prune(p, dir);
    return entry;
}
