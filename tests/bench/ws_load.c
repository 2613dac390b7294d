/* The load of the WebSocket case: connections that each send a text, wait until it has come back, and send it again.
 *
 * Usage: ws_load PORT PATH CONNECTIONS SECONDS SIZE
 * It prints the messages that came back and the seconds that took, and ends with 1 when a server does something else. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 65536, EVENTS = 256, SIZE_MAX_TEXT = 60000, HEAD = 8192, ROOM = 65536 };

static unsigned char sent[SIZE_MAX_TEXT + 8], wanted[SIZE_MAX_TEXT + 4];
static size_t sent_size, wanted_size;
static size_t have[FDS];                    /* bytes of the frame that each connection has received */

static void die(const char *what) { perror(what); exit(1); }

static void refuse(const char *what) { fprintf(stderr, "ws_load: %s\n", what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The frame of a client with a mask, and the same without one, as it comes back (RFC 6455 section 5.2). */
static void frames_make(size_t size) {
    static const unsigned char mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    size_t head = size < 126 ? 2 : 4, i;
    sent[0] = wanted[0] = 0x81;
    wanted[1] = (unsigned char)(size < 126 ? size : 126);
    sent[1] = wanted[1] | 0x80;
    if (head == 4) {
        sent[2] = wanted[2] = (unsigned char)(size >> 8);
        sent[3] = wanted[3] = (unsigned char)size;
    }
    memcpy(sent + head, mask, 4);
    for (i = 0; i < size; i++) {
        wanted[head + i] = (unsigned char)('a' + i % 26);
        sent[head + 4 + i] = wanted[head + i] ^ mask[i % 4];
    }
    sent_size = head + 4 + size;
    wanted_size = head + size;
}

static void text_send(int fd) {
    if (send(fd, sent, sent_size, MSG_NOSIGNAL) != (ssize_t)sent_size) die("send");
}

/* A connection on which the server has accepted the handshake. */
static int connection_open(int port, const char *path) {
    char text[HEAD];
    size_t n = 0;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || fd >= FDS || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    snprintf(text, sizeof text,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n", path, port);
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0) die("send");
    while (n < 4 || memcmp(text + n - 4, "\r\n\r\n", 4) != 0) {
        if (n == sizeof text || recv(fd, text + n, 1, 0) != 1) refuse("no answer to the handshake");
        n++;
    }
    if (memcmp(text, "HTTP/1.1 101", 12) != 0) refuse("the handshake was refused");
    return fd;
}

/* Whether the whole text has come back. */
static int text_receive(int fd) {
    static unsigned char room[ROOM];
    ssize_t n = recv(fd, room, wanted_size - have[fd], MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0 || memcmp(room, wanted + have[fd], (size_t)n) != 0) refuse("something else came back");
    have[fd] += (size_t)n;
    if (have[fd] < wanted_size) return 0;
    have[fd] = 0;
    return 1;
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC), i, n;
    unsigned long messages = 0;
    double begun, end, time;
    if (argc != 6 || atoi(argv[5]) < 0 || atoi(argv[5]) > SIZE_MAX_TEXT) refuse("PORT PATH CONNECTIONS SECONDS SIZE");
    frames_make((size_t)atoi(argv[5]));
    for (i = 0; i < atoi(argv[3]); i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = connection_open(atoi(argv[1]), argv[2]) };
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) != 0) die("epoll_ctl");
        text_send(event.data.fd);
    }
    begun = now();
    end = begun + atof(argv[4]);
    while ((time = now()) < end) {
        n = epoll_wait(epoll, events, EVENTS, 100);
        for (i = 0; i < n; i++) {
            if (text_receive(events[i].data.fd)) {
                messages++;
                text_send(events[i].data.fd);
            }
        }
    }
    printf("%lu %.6f\n", messages, time - begun);
    return 0;
}
