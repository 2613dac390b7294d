# Socket addresses: numeric IP addresses and paths, from text and to text. Names are resolved elsewhere, in Lua.

ctypedef struct Address:
    sockaddr_storage at
    socklen_t n

cdef enum:
    ADDRESS_TEXT_MAX = 128      # bytes of any address as text: a path, or an IPv6 address with its zone


cdef int address_ip(Address *a, Span text, uint16_t port) noexcept nogil:
    """A numeric IPv4 or IPv6 address, the latter perhaps with a zone (fe80::1%eth0). ERR_MISSING: it is none."""
    cdef char copy[ADDRESS_TEXT_MAX]
    cdef sockaddr_in *four = <sockaddr_in *>&a.at
    cdef sockaddr_in6 *six = <sockaddr_in6 *>&a.at
    cdef char *zone
    if text.n == 0 or text.n >= sizeof(copy):
        return ERR_MISSING
    memcpy(copy, text.p, text.n)
    copy[text.n] = 0
    memset(&a.at, 0, sizeof(a.at))
    if inet_pton(AF_INET, copy, &four.sin_addr) == 1:
        four.sin_family = AF_INET
        four.sin_port = htons(port)
        a.n = sizeof(sockaddr_in)
        return OK
    zone = <char *>memchr(copy, c'%', text.n)
    if zone != NULL:
        zone[0] = 0
        six.sin6_scope_id = zone_index(zone + 1)
        if six.sin6_scope_id == 0:
            return ERR_MISSING
    if inet_pton(AF_INET6, copy, &six.sin6_addr) != 1:
        return ERR_MISSING
    six.sin6_family = AF_INET6
    six.sin6_port = htons(port)
    a.n = sizeof(sockaddr_in6)
    return OK


cdef uint32_t zone_index(const char *zone) noexcept nogil:
    """The number of a network interface, given by name or as digits. 0: there is none."""
    cdef uint32_t index = if_nametoindex(zone)
    if index:
        return index
    while char_digit(zone[0]) and index < 100000000:
        index = index * 10 + <uint32_t>(zone[0] - c'0')
        zone += 1
    return index if zone[0] == 0 else 0


cdef int address_unix(Address *a, Span path) noexcept nogil:
    """A path, or after a NUL byte an abstract name. ERR_LIMIT: it is too long, or empty."""
    cdef sockaddr_un *u = <sockaddr_un *>&a.at
    if path.n == 0 or path.n >= sizeof(u.sun_path):
        return ERR_LIMIT
    memset(&a.at, 0, sizeof(a.at))
    u.sun_family = AF_UNIX
    memcpy(u.sun_path, path.p, path.n)
    a.n = <socklen_t>(SUN_PATH_AT + path.n)
    if path.p[0]:
        a.n += 1
    return OK


cdef int address_any(Address *a, bint path, Span text, uint16_t port) noexcept nogil:
    return address_unix(a, text) if path else address_ip(a, text, port)


cdef int address_port(const Address *a) noexcept nogil:
    """-1: it has none."""
    if a.at.ss_family == AF_INET:
        return ntohs((<sockaddr_in *>&a.at).sin_port)
    if a.at.ss_family == AF_INET6:
        return ntohs((<sockaddr_in6 *>&a.at).sin6_port)
    return -1


cdef Span address_text(const Address *a, char *room) noexcept nogil:
    """As address_ip and address_unix take it; `room` has ADDRESS_TEXT_MAX bytes. Empty: it has no name."""
    cdef sockaddr_in6 *six = <sockaddr_in6 *>&a.at
    cdef sockaddr_un *u = <sockaddr_un *>&a.at
    cdef size_t n = 0
    if a.at.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<sockaddr_in *>&a.at).sin_addr, room, ADDRESS_TEXT_MAX)
        return span_z(room)
    if a.at.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &six.sin6_addr, room, ADDRESS_TEXT_MAX)
        n = strlen(room)
        if six.sin6_scope_id and if_indextoname(six.sin6_scope_id, room + n + 1) != NULL:
            room[n] = c'%'
            n = strlen(room)
        return Span(room, n)
    if a.at.ss_family == AF_UNIX and a.n > SUN_PATH_AT:
        n = a.n - SUN_PATH_AT
        if u.sun_path[0]:
            n = strlen(u.sun_path)
        memcpy(room, u.sun_path, n)
    return Span(room, n)
