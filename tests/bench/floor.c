/* The floor: the least an epoll server can do for an HTTP request. It answers every blank line it reads with the
 * same bytes, has no parser, router, limits or timers, and is what Heart's CPU per request is divided by.
 *
 * Usage: floor THREADS [close]       ("close": one request per connection)
 * It listens on a free port of 127.0.0.1, one SO_REUSEPORT listener per thread, and names it on stderr. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include "listener.h"

enum { FDS = 65536, EVENTS = 256, INPUT = 65536, COPIES = 256, ANSWER = 256, TAIL = 3 };

/* The end of what a connection has sent, in case a blank line is cut in two. */
typedef struct { char bytes[TAIL]; unsigned char n; } Tail;

typedef struct {
    int listener, epoll;
    time_t second;
    size_t answer;                          /* bytes of one answer */
    char answers[COPIES * ANSWER];          /* the answer again and again: a batch is a prefix of it */
    char input[TAIL + INPUT];
} Worker;

static Tail tails[FDS];
static int close_after;

static void answers_refresh(Worker *w) {
    char date[64];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == w->second) return;
    w->second = now.tv_sec;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now.tv_sec, &tm));
    w->answer = (size_t)sprintf(w->answers,
        "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: %s\r\n%sContent-Type: application/json\r\n"
        "Content-Length: 17\r\n\r\n{\"hello\":\"world\"}", date, close_after ? "Connection: close\r\n" : "");
    for (int i = 1; i < COPIES; i++) memcpy(w->answers + i * w->answer, w->answers, w->answer);
}

static void conns_accept(Worker *w) {
    int fd;
    while ((fd = accept4(w->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        tails[fd].n = 0;
        epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int send_all(int fd, const char *p, size_t n) {
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&writable, 1, -1) < 0) return -1;
            continue;
        }
        p += sent, n -= (size_t)sent;
    }
    return 0;
}

/* One read, its requests counted, one send. Returns -1 when the connection is over. */
static int conn_serve(Worker *w, int fd) {
    Tail *tail = &tails[fd];
    char *p = w->input + TAIL - tail->n, *end, *blank;
    ssize_t got = recv(fd, w->input + TAIL, INPUT, 0);
    size_t requests = 0;
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    memcpy(p, tail->bytes, tail->n);
    end = w->input + TAIL + got;
    for (; (blank = memmem(p, (size_t)(end - p), "\r\n\r\n", 4)); p = blank + 4) requests++;
    tail->n = (unsigned char)(end - p < TAIL ? end - p : TAIL);
    memcpy(tail->bytes, end - tail->n, tail->n);
    while (requests) {
        size_t batch = requests < COPIES ? requests : COPIES;
        if (send_all(fd, w->answers, batch * w->answer)) return -1;
        requests -= batch;
        if (close_after) return -1;
    }
    return 0;
}

static void *worker_run(void *argument) {
    Worker *w = argument;
    struct epoll_event events[EVENTS], accepting = {.events = EPOLLIN, .data.fd = w->listener};
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->listener, &accepting);
    for (;;) {
        int n = epoll_wait(w->epoll, events, EVENTS, -1);
        answers_refresh(w);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == w->listener) conns_accept(w);
            else if (conn_serve(w, fd)) close(fd);
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    close_after = argc > 2 && !strcmp(argv[2], "close");
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        Worker *w = calloc(1, sizeof *w);
        if (!w) die("calloc");
        w->listener = listener_open(&address);
        if (pthread_create(&thread, NULL, worker_run, w)) die("pthread_create");
    }
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    pause();
    return 0;
}
