/* What the C servers of the bench have in common. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void die(const char *what) { perror(what); exit(1); }

/* One of several listeners on the port of `address`, which gets a free one if it has none. */
static int listener_open(struct sockaddr_in *address) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *address;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);     /* inherited by what it accepts */
    if (bind(fd, (struct sockaddr *)address, size) || listen(fd, 4096)) die("listen");
    getsockname(fd, (struct sockaddr *)address, &size);
    return fd;
}
