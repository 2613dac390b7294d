/* Directories that may hold the cache. What is run from there must be what we have put there, so a directory counts only
 * when it is ours (or root's) and nobody else can write into it. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LONGEST = 3500 }; /* the kernel takes 4096, and the files in an entry have long names of their own */

int owner_trusted(const struct stat *st)
{
    return st->st_uid == geteuid() || st->st_uid == 0;
}

int writable_by_others(const struct stat *st)
{
    return (st->st_mode & 022) != 0;
}

void place_refuse(struct place *place, const char *why, int error)
{
    snprintf(place->why, sizeof place->why, "%s%s%s", why ? why : "", why && error ? ": " : "",
             error ? strerror(error) : "");
}

/* Adds `folder` + `rest` to the list. Relative paths begin at the working directory. */
static void place_add(struct place *places, int *count, int max, const char *folder, const char *rest, int strict)
{
    struct place *place = &places[*count];
    char here[4096] = "";
    if (*count == max || !folder || !*folder)
        return;
    if (*folder != '/' && !getcwd(here, sizeof here))
        return;
    snprintf(place->path, sizeof place->path, "%s%s%s%s", here, *here ? "/" : "", folder, rest);
    place->strict = strict;
    place->why[0] = 0;
    ++*count;
}

/* sudo may leave us the home of another user: nothing is made there. */
static const char *own_home(void)
{
    const char *home = getenv("HOME");
    struct stat st;
    return home && home[0] == '/' && stat(home, &st) == 0 && st.st_uid == geteuid() ? home : NULL;
}

/* The first of the directories that systemd gives a service, separated by colons. */
static const char *service_cache(void)
{
    static char first[2048];
    const char *all = getenv("CACHE_DIRECTORY");
    if (!all || all[0] != '/' || strcspn(all, ":") >= sizeof first)
        return NULL;
    snprintf(first, sizeof first, "%.*s", (int)strcspn(all, ":"), all);
    return first;
}

/* The best first: what the user has said, what is kept over a restart of the machine, what is there at least, and last
 * the folder of the file itself, from which programs can obviously be started. */
int places_list(struct place *places, int max, const char *self)
{
    static const char *const shared[] = { "/tmp", "/var/tmp", "/dev/shm" };
    const char *xdg = getenv("XDG_CACHE_HOME");
    static char folder[4352];
    char name[32];
    int count = 0;
    snprintf(name, sizeof name, "/heart-%u", (unsigned)geteuid());
    place_add(places, &count, max, getenv("HEART_CACHE"), "", 0);
    place_add(places, &count, max, service_cache(), "", 0);
    if (xdg && xdg[0] == '/')
        place_add(places, &count, max, xdg, "/heart", 0);
    else
        place_add(places, &count, max, own_home(), "/.cache/heart", 0);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++)
        place_add(places, &count, max, shared[i], name, 1);
    snprintf(folder, sizeof folder, "%.*s/.heart-%u", (int)(strrchr(self, '/') - self), self, (unsigned)geteuid());
    place_add(places, &count, max, folder, "", 1);
    return count;
}

/* mkdir -p, private. Returns an errno; EEXIST is none. */
static int make_path(struct place *place)
{
    if (strlen(place->path) > LONGEST)
        return ENAMETOOLONG;
    for (char *s = strchr(place->path + 1, '/'); s && !place->strict; s = strchr(s + 1, '/')) {
        *s = 0;
        mkdir(place->path, 0700);
        *s = '/';
    }
    return mkdir(place->path, 0700) && errno != EEXIST ? errno : 0;
}

/* A directory like /tmp that the user named as the cache: ours is one level below. */
static int step_into_shared(struct place *place)
{
    size_t n = strlen(place->path);
    snprintf(place->path + n, sizeof place->path - n, "/heart-%u", (unsigned)geteuid());
    place->strict = 1;
    return place_open(place);
}

/* Whether anybody may rename what lies in the folder around an open directory, and so put another in its place. */
static int anybody_may_rename(int fd)
{
    struct stat st;
    return fstatat(fd, "..", &st, 0) == 0 && st.st_mode & S_IWOTH && !(st.st_mode & S_ISVTX);
}

/* What is wrong with an open directory, or NULL. */
static const char *objection(int fd, const struct place *place, const struct stat *st)
{
    struct statvfs fs;
    if (place->strict ? st->st_uid != geteuid() : !owner_trusted(st))
        return "belongs to somebody else";
    if (writable_by_others(st))
        return "others may write into it (expected mode 0700 or 0755)";
    if (place->strict && anybody_may_rename(fd))
        return "lies in a folder where anybody may rename it (expected mode 1777)";
    if (fstatvfs(fd, &fs) == 0 && fs.f_flag & ST_NOEXEC)
        return "is mounted noexec: no program can be started from it";
    return NULL;
}

int place_open(struct place *place)
{
    int error = make_path(place);
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (place->strict ? O_NOFOLLOW : 0);
    int fd = error == ENAMETOOLONG ? -1 : open(place->path, flags);
    const char *wrong;
    struct stat st;
    if (fd < 0) {
        error = error ? error : errno;
        if (place->strict && (error == ELOOP || error == ENOTDIR))
            place_refuse(place, "is no directory (a symbolic link or a file)", 0);
        else
            place_refuse(place, NULL, error);
        return -1;
    }
    if (fstat(fd, &st)) {
        place_refuse(place, NULL, errno);
        close(fd);
        return -1;
    }
    if (!place->strict && st.st_mode & S_ISVTX && writable_by_others(&st)) {
        close(fd);
        return step_into_shared(place);
    }
    wrong = objection(fd, place, &st);
    if (wrong) {
        place_refuse(place, wrong, 0);
        close(fd);
        return -1;
    }
    return fd;
}
