"""Listening sockets: reading addresses, opening them, naming them.

TCP: one socket for each worker with SO_REUSEPORT, so that the kernel spreads connections without a lock. With that
option a taken port would silently be shared, so it is tried exclusively first; that also settles port 0.
Unix sockets, and sockets handed over by a service manager (LISTEN_FDS, as systemd does): one that all workers watch.
What is spoken there is part of the address: HTTP, or FastCGI behind "fcgi:".
"""

import errno
import os
import socket
import stat

from .errors import ConfigError, HeartError, nearest

DEFAULT_HOST = "0.0.0.0"
DEFAULT_PORT = 3333
SHARED = 1  # ListenerFlag of the engine
UNIX = 2
FCGI = 8
FCGI_PREFIX = "fcgi:"
IPV6_LETTERS = frozenset("0123456789abcdefABCDEF:.")
FIRST_INHERITED = 3  # sd_listen_fds(3)


class Address:
    """Where to listen: `path` of a Unix socket, or `host` and `port`; with `fcgi` for a web server that speaks FastCGI
    instead of HTTP."""

    def __init__(self, text, host=None, port=None, path=None, inherited=False, fcgi=False):
        self.text = text
        self.fcgi = fcgi
        self.host = host
        self.port = port
        self.path = path
        self.inherited = inherited

    def url(self):
        """The address as clients write it; one for FastCGI as --listen takes it."""
        scheme = FCGI_PREFIX if self.fcgi else "http://"
        if self.path is not None:
            return f"{FCGI_PREFIX if self.fcgi else ''}unix:{self.path}"
        return f"{scheme}[{self.host}]:{self.port}" if ":" in self.host else f"{scheme}{self.host}:{self.port}"

    def flags(self):
        """What the engine is to know of the listener beside its descriptor."""
        return FCGI if self.fcgi else 0


def addresses(settings):
    """What the settings ask for. --host and --port together are one more --listen."""
    found = [read_address(text) for text in settings.listen or ()]
    if settings.host is not None or settings.port is not None or not found:
        host = settings.host if settings.host is not None else DEFAULT_HOST
        port = settings.port if settings.port is not None else DEFAULT_PORT
        found.append(Address(f"{host}:{port}", host.strip("[]"), port))
    return found


def read_address(text, source="--listen"):
    """Read an address as --listen takes it, which came from `source`. Raises ConfigError."""
    fcgi = text.startswith(FCGI_PREFIX)
    where = text.removeprefix(FCGI_PREFIX)
    if where.startswith("unix:"):
        if len(where) == 5:
            raise ConfigError(f"{source}: {text!r}: expected unix:PATH")
        return Address(text, path=where[5:], fcgi=fcgi)
    host, _, port = where.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        if set(host.partition("%")[0]) <= IPV6_LETTERS:
            raise ConfigError(f"{source}: {text!r}: an IPv6 address needs brackets: [{host}]:{port}")
        port = ""  # what is before the colon is neither an address nor a prefix
    if "/" in host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"{source}: {text!r}: expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH{meant(where, fcgi)}")
    return Address(text, host or DEFAULT_HOST, int(port), fcgi=fcgi)


def meant(where, fcgi):
    """The end of a message about an address: what it probably was to be."""
    scheme = FCGI_PREFIX if fcgi else ""
    word, _, rest = where.partition(":")
    prefix = rest and nearest(word, ("unix",) if fcgi else ("fcgi", "unix"))
    if prefix:
        return f"; did you mean {scheme}{prefix}:{rest}?"
    if "//" in where:
        return f"; did you mean {scheme}{where.partition('//')[2].rstrip('/')}?"
    if "/" in where:
        return f"; did you mean {scheme}unix:{where}?"
    if where and ":" not in where and not where.isdigit():
        return f"; did you mean {scheme}{where}:{DEFAULT_PORT}?"
    return ""


def open_all(settings):
    """Open every address. Returns the addresses, with ports filled in, and for each worker a list of
    (descriptor, flags)."""
    listeners = [[] for _ in range(settings.workers)]
    wanted = [take_inherited(fd, name, listeners) for fd, name in inherited()]
    if wanted and not settings.listen and settings.host is None and settings.port is None:
        return wanted, listeners
    wanted += addresses(settings)
    for address in wanted:
        if address.inherited:
            continue
        if address.path is not None:
            open_unix(address, settings, listeners)
        else:
            open_tcp(address, settings, listeners)
    return wanted, listeners


def inherited():
    """(descriptor, name) of each that a service manager hands to this very process; the variables are not left to
    children."""
    variables = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    pid, count, names = (os.environ.pop(variable, "") for variable in variables)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    names = names.split(":") + [""] * int(count)
    return list(zip(range(FIRST_INHERITED, FIRST_INHERITED + int(count)), names, strict=False))


def take_inherited(fd, name, listeners):
    """Let all workers watch the listening socket `fd`, for FastCGI if its name begins with "fcgi"; returns its
    address."""
    try:
        s = socket.socket(fileno=fd)
        if not s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "the socket does not listen")
    except OSError as error:
        raise HeartError(f"cannot use the inherited descriptor {fd}: {reason(error)}") from None
    s.setblocking(False)
    os.set_inheritable(fd, False)
    address = Address(f"inherited descriptor {fd}", inherited=True, fcgi=name.startswith(FCGI_PREFIX[:-1]))
    if s.family == socket.AF_UNIX:
        address.path = s.getsockname() or "(unnamed)"
    else:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address.host, address.port = s.getsockname()[:2]
    share(s, SHARED | address.flags() | (UNIX if s.family == socket.AF_UNIX else 0), listeners)
    return address


def share(s, flags, listeners):
    """Give one listening socket to all workers, a descriptor for each."""
    for sockets in listeners[1:]:
        sockets.append((os.dup(s.fileno()), flags))
    listeners[0].append((s.detach(), flags))


def open_tcp(address, settings, listeners):
    """One socket for each worker."""
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with bind_tcp(family, where, exclusive=True) as probe:
            where = (where[0], probe.getsockname()[1], *where[2:])
        address.host, address.port = where[0], where[1]
        for sockets in listeners:
            s = bind_tcp(family, where, exclusive=False)
            s.listen(settings.backlog)
            sockets.append((s.detach(), address.flags()))
    except OSError as error:
        raise HeartError(f"cannot listen on {address.text}: {reason(error, address)}") from None


def bind_tcp(family, where, exclusive):
    """A bound socket. TCP_NODELAY is inherited by the connections it accepts."""
    s = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not exclusive:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind(where)
        if exclusive:
            s.listen(1)
    except OSError:
        s.close()
        raise
    return s


def open_unix(address, settings, listeners):
    """One socket that all workers share. A file left by a server that is gone is replaced; a live one is not."""
    try:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        remove_stale(address.path)
        s.bind(address.path)
        s.listen(settings.backlog)
    except OSError as error:
        raise HeartError(f"cannot listen on {address.text}: {reason(error, address)}") from None
    share(s, SHARED | UNIX | address.flags(), listeners)


def remove_stale(path):
    """Remove the socket file `path` if nobody answers there."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def remove_unix(wanted):
    """Take the socket files away when the server has ended."""
    for address in wanted:
        if address.path is not None and not address.inherited:
            try:
                os.unlink(address.path)
            except OSError:
                pass


def reason(error, address=None):
    """Why an address could not be listened on, and what to do."""
    from . import trouble

    return trouble.explain(error, address)
