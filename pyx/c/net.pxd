# Making sockets and their addresses. Needs linux.pxd and file.pxd.

cdef extern from *:
    """
    #include <fcntl.h>
    #include <net/if.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stddef.h>
    #include <sys/un.h>
    """
    enum: SOCK_STREAM, SOCK_DGRAM, SHUT_RD, SHUT_RDWR
    enum: SO_ERROR, SO_REUSEADDR, SO_REUSEPORT, SO_KEEPALIVE, SO_BROADCAST, SO_RCVBUF, SO_SNDBUF, SO_DONTROUTE
    enum: TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, IPPROTO_IP, IPPROTO_IPV6, IP_TTL, IP_MULTICAST_TTL
    enum: IP_MULTICAST_LOOP, IP_MULTICAST_IF, IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP, IPV6_V6ONLY
    enum: IPV6_UNICAST_HOPS, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IPV6_ADD_MEMBERSHIP, IPV6_DROP_MEMBERSHIP
    enum: MSG_PEEK, F_GETFL, F_SETFL, F_SETFD, FD_CLOEXEC
    bint S_ISSOCK(uint32_t mode) nogil

    struct ip_mreq:
        in_addr imr_multiaddr
        in_addr imr_interface
    struct ipv6_mreq:
        in6_addr ipv6mr_multiaddr
        unsigned int ipv6mr_interface
    enum: EINPROGRESS, ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRINUSE
    enum: EADDRNOTAVAIL, EAFNOSUPPORT, ENOTCONN
    enum: EMSGSIZE, EBADF, ENETDOWN, EHOSTDOWN

    struct sockaddr_un:
        uint16_t sun_family
        char sun_path[108]
    size_t SUN_PATH_AT "offsetof(struct sockaddr_un, sun_path)"
    int socket(int family, int kind, int protocol) nogil
    int connect(int fd, const sockaddr *address, socklen_t n) nogil
    int bind(int fd, const sockaddr *address, socklen_t n) nogil
    int listen(int fd, int backlog) nogil
    ptrdiff_t sendto(int fd, const void *p, size_t n, int flags, const sockaddr *to, socklen_t to_n) nogil
    ptrdiff_t recvfrom(int fd, void *p, size_t n, int flags, sockaddr *sender, socklen_t *sender_n) nogil
    ptrdiff_t recv(int fd, void *p, size_t n, int flags) nogil
    int fcntl(int fd, int command, ...) nogil
    int getsockopt(int fd, int level, int name, void *value, socklen_t *n) nogil
    int getsockname(int fd, sockaddr *address, socklen_t *n) nogil
    int getpeername(int fd, sockaddr *address, socklen_t *n) nogil
    int inet_pton(int family, const char *text, void *address) nogil
    uint16_t htons(uint16_t v) nogil
    unsigned int if_nametoindex(const char *name) nogil
    char *if_indextoname(unsigned int index, char *name) nogil
