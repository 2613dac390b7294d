# Making sockets and their addresses. Needs linux.pxd and file.pxd.

cdef extern from *:
    """
    #include <net/if.h>
    #include <stddef.h>
    #include <sys/un.h>
    """
    enum: SOCK_STREAM, SOCK_DGRAM, SHUT_RD, SHUT_RDWR
    enum: SO_ERROR, SO_REUSEADDR
    enum: EINPROGRESS, ECONNREFUSED, ECONNRESET, EPIPE, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH, EADDRINUSE
    enum: EADDRNOTAVAIL, EAFNOSUPPORT, ENOTCONN, EINVAL, EACCES, ENOENT, EPERM, EISCONN, EPROTONOSUPPORT, EDESTADDRREQ
    enum: EMSGSIZE, EBADF, ENOTSOCK, ECONNABORTED, ENETDOWN, EHOSTDOWN
    enum: IF_NAMESIZE

    struct sockaddr_un:
        uint16_t sun_family
        char sun_path[108]
    size_t SUN_PATH_AT "offsetof(struct sockaddr_un, sun_path)"
    int socket(int family, int kind, int protocol) nogil
    int connect(int fd, const sockaddr *address, socklen_t n) nogil
    int bind(int fd, const sockaddr *address, socklen_t n) nogil
    int getsockopt(int fd, int level, int name, void *value, socklen_t *n) nogil
    int getsockname(int fd, sockaddr *address, socklen_t *n) nogil
    int getpeername(int fd, sockaddr *address, socklen_t *n) nogil
    int inet_pton(int family, const char *text, void *address) nogil
    uint16_t htons(uint16_t v) nogil
    unsigned int if_nametoindex(const char *name) nogil
    char *if_indextoname(unsigned int index, char *name) nogil
