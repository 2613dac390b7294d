/* Both ends of bench_broadcast.py.
 *
 * broadcast serve THREADS BYTES
 *     The floor: accepts connections on a free port of 127.0.0.1, one SO_REUSEPORT listener per thread, named on
 *     stderr. A byte that comes on one of them makes every thread send BYTES bytes to each of its own, one send each.
 * broadcast subscribe PORT COUNT PATH BYTES
 *     COUNT connections; with a PATH other than "-" each is made a WebSocket. "ready" on stdout when all stand. For each
 *     line of stdin it reads until BYTES bytes have come on average on each, and says "done". */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "listener.h"

enum { EVENTS = 512, INPUT = 65536, FDS = 65536 };

typedef struct {
    int listener, epoll, wake, n;
    int fds[FDS];
} Worker;

static Worker *workers;
static int nworkers;
static char *message;
static size_t bytes;

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

/* ---- The floor ---------------------------------------------------------------------------------------- */

static void send_to_all(Worker *w) {
    for (int i = 0; i < w->n; i++)
        if (send(w->fds[i], message, bytes, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET) die("send");
}

static void wake_all(void) {
    for (int i = 0; i < nworkers; i++) eventfd_write(workers[i].wake, 1);
}

static void accept_all(Worker *w) {
    int fd;
    while ((fd = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        watch(w->epoll, fd);
        w->fds[w->n++] = fd;
    }
}

static void *worker_run(void *argument) {
    Worker *w = argument;
    struct epoll_event events[EVENTS];
    char input[INPUT];
    eventfd_t count;
    for (;;) {
        int n = epoll_wait(w->epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == w->listener) accept_all(w);
            else if (fd == w->wake) { if (!eventfd_read(fd, &count)) send_to_all(w); }
            else if (recv(fd, input, INPUT, 0) > 0) wake_all();
            else epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL);
        }
    }
    return NULL;
}

static int serve(int threads) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    nworkers = threads;
    workers = calloc((size_t)threads, sizeof *workers);
    message = malloc(bytes);
    if (!workers || !message) die("malloc");
    memset(message, 'x', bytes);
    for (int i = 0; i < threads; i++) {
        workers[i].listener = listener_open(&address);
        workers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
        workers[i].wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        watch(workers[i].epoll, workers[i].listener);
        watch(workers[i].epoll, workers[i].wake);
    }
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker_run, &workers[i])) die("pthread_create");
    }
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    pause();
    return 0;
}

/* ---- The subscribers ---------------------------------------------------------------------------------- */

static void upgrade(int fd, const char *path) {
    char text[1024];
    size_t n = 0;
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n", path);
    if (send(fd, text, (size_t)size, 0) != size) die("send");
    do {
        ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
        if (got <= 0) die("no answer to the upgrade");
        text[n += (size_t)got] = 0;
    } while (!strstr(text, "\r\n\r\n"));
    if (strncmp(text, "HTTP/1.1 101", 12)) { fputs(text, stderr); exit(1); }
}

static int subscribe(int port, int count, const char *path) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS];
    static char input[INPUT];
    char line[16];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
        if (strcmp(path, "-")) upgrade(fd, path);
        watch(epoll, fd);
    }
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        size_t left = bytes * (size_t)count;
        while (left) {
            int n = epoll_wait(epoll, events, EVENTS, 10000);
            if (n <= 0) { fprintf(stderr, "%zu bytes are missing\n", left); return 1; }
            for (int i = 0; i < n; i++) {
                ssize_t got = recv(events[i].data.fd, input, INPUT, MSG_DONTWAIT);
                if (got <= 0 || (size_t)got > left) { fprintf(stderr, "closed, or too much: %zd\n", got); return 1; }
                left -= (size_t)got;
            }
        }
        puts("done");
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "serve")) {
        bytes = (size_t)atol(argv[3]);
        return serve(atoi(argv[2]));
    }
    if (argc == 6 && !strcmp(argv[1], "subscribe")) {
        bytes = (size_t)atol(argv[5]);
        return subscribe(atoi(argv[2]), atoi(argv[3]), argv[4]);
    }
    fputs("see the head of broadcast.c\n", stderr);
    return 2;
}
