"""`heart health`: asks a running server for one page, for containers and service managers that have no curl.

Healthy means that the server answers in time and not with a server error (5xx): an application without a route for the
path answers 404 and is well. HTTP is spoken here by hand: http.client would bring 4 MB of modules with it.
"""

import os
import socket
import time

from .errors import ConfigError, HeartError

STATUS_LINE = len(b"HTTP/1.1 200")
SERVER_ERROR = 500
DEFAULT_PORT = "3333"
MAX_PORT = 65535


def run(url=None, timeout=3.0):
    """Ask once and print what came. Returns the exit status, 0; what is not healthy is a HeartError."""
    url = url or default_url()
    family, address, host, target = read_url(url)
    started = time.monotonic()
    try:
        status = ask(family, address, host, target, started + timeout)
    except TimeoutError:
        raise HeartError(f"{url}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise HeartError(f"{url}: {error.strerror or error}") from None
    if status is None:
        raise HeartError(f"{url}: what answers there does not speak HTTP/1")
    if status >= SERVER_ERROR:
        raise HeartError(f"{url}: status {status}")
    print(f"{url}: status {status} in {(time.monotonic() - started) * 1000:.0f} ms")
    return 0


def default_url():
    """Where a server with the same environment listens for HTTP: the first of HEART_LISTEN, else HOST and PORT."""
    listen = (os.environ.get("HEART_LISTEN") or "").split()
    first = [text for text in listen if not text.startswith("fcgi:")][:1]
    if not first:
        return http_url(os.environ.get("HOST") or "", os.environ.get("PORT") or DEFAULT_PORT)
    if first[0].startswith("unix:"):
        return first[0]
    host, _, port = first[0].rpartition(":")
    return http_url(host, port)


def http_url(host, port):
    """The URL of a listener; one on all addresses is asked on the machine's own."""
    host = host.strip("[]")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def read_url(url):
    """(family, address, Host field, target) of http://HOST[:PORT][/PATH] or unix:SOCKET."""
    if url.startswith("unix:") and len(url) > len("unix:"):
        return socket.AF_UNIX, url[5:], "localhost", "/"
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    name, port = split_authority(authority)
    printable = all("!" <= c <= "~" for c in url)
    if scheme.lower() != "http" or not name or not printable or not port.isdigit() or int(port) > MAX_PORT:
        raise ConfigError(f"{url!r}: expected an address such as http://127.0.0.1:3333/ or unix:/run/heart.sock")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    return family, (name, int(port)), authority, slash + path or "/"


def split_authority(authority):
    """(host, port) of HOST[:PORT]; the host is empty when it is written in a wrong way."""
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "80"
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    return (name if bracketed == (":" in name) else ""), port


def ask(family, address, host, target, deadline):
    """The status of one GET, or None when what comes is no HTTP/1 answer."""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(left(deadline))
        connection.connect(address)
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: heart-health\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("ascii"))
        return read_status(connection, deadline)


def left(deadline):
    """Seconds up to `deadline`, or TimeoutError."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def read_status(connection, deadline):
    """The number in the first line, which is read up to where it stands."""
    data = b""
    while len(data) < STATUS_LINE:
        connection.settimeout(left(deadline))
        more = connection.recv(4096)
        if not more:
            return None
        data += more
    version, status = data[:9], data[9:STATUS_LINE]
    return int(status) if version in (b"HTTP/1.0 ", b"HTTP/1.1 ") and status.isdigit() else None
