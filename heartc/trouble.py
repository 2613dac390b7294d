"""Why an address could not be listened on, in words that say what to do. Used on the way to an error only."""

import errno
import os
import socket
import stat

from .errors import nearest

LISTENING = "0A"  # of /proc/net/tcp
UNIX_PATH_MAX = 107  # bytes, unix(7)
PORTS_TRIED = 50
FIRST_OPEN_PORT = 1024


def explain(error, address=None):
    """An OSError about an Address."""
    if isinstance(error, socket.gaierror):
        return f"unknown host ({error.strerror}); expected a name or an address such as 127.0.0.1{meant(address)}"
    if address is not None:
        explained = (unix_reason if address.path is not None else tcp_reason)(error, address)
        if explained:
            return explained
    return error.strerror or str(error)


def meant(address):
    """The end of a message about a host that is unknown, if it looks like what may stand before a port."""
    prefix = address is not None and nearest(address.host, ("fcgi",))
    return f", or did you mean {prefix}:{address.port}?" if prefix else ""


def tcp_reason(error, address):
    """The reason for a TCP address, or None."""
    if error.errno == errno.EADDRINUSE:
        who = holder(tcp_inodes(address.port)) or "another program"
        free = free_port_after(address.host, address.port)
        other = f": --port {free}" if free else ""
        return f"the address is taken: {who} listens there; stop it, or take another port{other} (0: any that is free)"
    if error.errno == errno.EACCES:
        first = first_open_port()
        return (
            f"permission denied: ports below {first} are not for every user; take a higher one such as --port 8080, "
            "let a service manager open the socket, or run: sudo sysctl "
            f"net.ipv4.ip_unprivileged_port_start={address.port}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        everywhere = "[::]" if ":" in address.host else "0.0.0.0"
        return f"this machine has no address {address.host}; {everywhere} stands for all that it has"
    return None


def unix_reason(error, address):
    """The reason for the path of a Unix socket, or None."""
    path = address.path
    folder = os.path.dirname(path) or "."
    if len(os.fsencode(path)) > UNIX_PATH_MAX:
        return f"the path is too long: {len(os.fsencode(path))} bytes, expected at most {UNIX_PATH_MAX}"
    if error.errno == errno.EADDRINUSE:
        if not is_socket(path):
            return "a file that is no socket is there; remove it, or take another path"
        who = holder(unix_inodes(path)) or "another program"
        return f"the address is taken: {who} listens there; stop it, or take another path"
    if not os.path.isdir(folder):
        return f"the folder {folder} does not exist; make it, or take another path"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"permission denied: this user may not make files in {folder}"
    return None


def is_socket(path):
    """Whether a path names a socket."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def first_open_port():
    """The first port that needs no privilege."""
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except (OSError, ValueError):
        return FIRST_OPEN_PORT


def free_port_after(host, port):
    """The next port that can be listened on, or None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port + 1, min(port + PORTS_TRIED, 65535)):
        with socket.socket(family, socket.SOCK_STREAM) as s:
            try:
                s.bind((host, candidate))
            except OSError:
                continue
            return candidate
    return None


# ---- Who listens, as /proc tells ---------------------------------------------------------------------------


def rows(name):
    """The words of each line of a table in /proc/net; none if it can not be read."""
    try:
        with open(f"/proc/net/{name}", errors="replace") as file:
            return [line.split() for line in file.read().splitlines()[1:]]
    except OSError:
        return []


def tcp_inodes(port):
    """The sockets that listen on a TCP port."""
    return {
        row[9]
        for name in ("tcp", "tcp6")
        for row in rows(name)
        if len(row) > 9 and row[3] == LISTENING and int(row[1].rpartition(":")[2], 16) == port
    }


def unix_inodes(path):
    """The sockets that are bound to a path."""
    return {row[6] for row in rows("unix") if len(row) > 7 and row[7] == path}


def holder(inodes):
    """The first process that has one of these sockets open, "nginx (process 812)"; None: it may not be seen."""
    targets = {f"socket:[{inode}]" for inode in inodes}
    for pid in sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int) if targets else ():
        try:
            descriptors = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
            if not targets.isdisjoint(descriptors):
                with open(f"/proc/{pid}/comm", errors="replace") as file:
                    return f"{file.read().strip()} (process {pid})"
        except OSError:  # another user's, or gone meanwhile
            continue
    return None
