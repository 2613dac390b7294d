/* Finds a place, has the payload there, and becomes the program in it. */
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PLACES = 8, FAILED = 127 };

static struct place places[PLACES];

static void fail(const char *why)
{
    dprintf(2, "heart: %s\n", why);
    _exit(FAILED);
}

static void set_number(const char *name, long number)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", number);
    setenv(name, text, 1);
}

/* Descriptors 0 to 2 may have been closed: what we open must not take their places. */
static void open_standard(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* Libraries that the user has preloaded were made for the host's C library; the program puts the variable back for its
 * children. */
static void hide_preload(void)
{
    const char *preload = getenv("LD_PRELOAD");
    if (!preload)
        return;
    setenv("HEART_LD_PRELOAD", preload, 1);
    unsetenv("LD_PRELOAD");
}

/* Returns only if this place will not do. */
static void start_from(const struct payload *p, struct place *place, char **argv, mode_t mask)
{
    char program[sizeof place->path + 80];
    const char *wish = getenv("HEART_CACHE");
    int dir = place_open(place);
    int entry = dir < 0 ? -1 : entry_ready(p, place, dir);
    if (dir >= 0)
        close(dir);
    if (entry < 0 && strcmp(place->why, DAMAGED) == 0)
        fail(DAMAGED);
    if (entry < 0)
        return;
    snprintf(program, sizeof program, "%s/%s-%s/" PROGRAM, place->path, p->key, p->own_libc ? "own" : "host");
    if (place != places && wish && *wish)
        dprintf(2, "heart: HEART_CACHE: %s: %s; using %s\n", places[0].path, places[0].why, place->path);
    set_number("HEART_LOCK", entry);
    set_number("HEART_FD", p->fd);
    fcntl(p->fd, F_SETFD, 0);
    umask(mask);
    execv(program, argv);
    umask(077);
    place_refuse(place, "cannot execute files there", errno);
    close(entry);
}

static void explain(const struct payload *p, int count)
{
    dprintf(2, "heart: no place to unpack %u MB of program files:\n", (unsigned)(p->unpacked / 1000000 + 1));
    for (int i = 0; i < count; i++)
        dprintf(2, "  %s: %s\n", places[i].path, places[i].why);
    fail("set HEART_CACHE to a directory of your own from which programs may be started");
}

int main(int argc, char **argv)
{
    static struct payload p;
    static char self[4096];
    mode_t mask = umask(077);
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *wrong;
    int count;
    (void)argc;
    open_standard();
    if (n <= 0)
        fail("/proc is needed, and is not mounted");
    if ((wrong = payload_open(&p)))
        fail(wrong);
    p.own_libc = !libc_is_host();
    if (p.own_libc)
        hide_preload();
    setenv("HEART_FILE", self, 1);
    count = places_list(places, PLACES, self);
    for (int i = 0; i < count; i++)
        start_from(&p, &places[i], argv, mask);
    explain(&p, count);
}
