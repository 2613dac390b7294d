"""`heart health`: asks a running server for one page, for containers and service managers that have no curl.

Healthy means that the server answers in time and not with a server error (5xx): an application without a route for the
path answers 404 and is well. HTTP is spoken here by hand: http.client would bring 4 MB of modules with it. A server
that speaks FastCGI alone is asked by that.
"""

import socket
import time

from . import config, health_fcgi, sockets
from .errors import ConfigError, HeartError

HTTP = "HTTP/1"
STATUS_LINE = len(b"HTTP/1.1 200")
SERVER_ERROR = 500
MAX_PORT = 65535
OWN_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where a server on all addresses is asked


class Question:
    """A `request` for a socket of this `family` at `address`. `find_status(data)` of what is answered: the status, None
    while it is not all there; it raises ValueError for what is not of this `protocol`."""

    def __init__(self, protocol, family, address, request, find_status):
        self.protocol = protocol
        self.family = family
        self.address = address
        self.request = request
        self.find_status = find_status


def run(url=None, timeout=3.0):
    """Ask once and print what came. Returns the exit status, 0; what is not healthy is a HeartError."""
    url = url or default_url()
    question = read_url(url)
    started = time.monotonic()
    try:
        status = ask(question, started + timeout)
    except TimeoutError:
        raise HeartError(f"{url}: no answer within {timeout:g} s") from None
    except OSError as error:
        raise HeartError(f"{url}: {error.strerror or error}") from None
    except ValueError:
        raise HeartError(f"{url}: what answers there does not speak {question.protocol}") from None
    if status >= SERVER_ERROR:
        raise HeartError(f"{url}: status {status}")
    print(f"{url}: status {status} in {(time.monotonic() - started) * 1000:.0f} ms")
    return 0


def default_url():
    """Where `heart serve` listens with the same environment: the first address for HTTP, else the first of all."""
    settings = config.new_settings()
    config.read_environment(settings)
    found = sockets.addresses(settings)
    address = next((address for address in found if not address.fcgi), found[0])
    address.host = OWN_ADDRESS.get(address.host, address.host)
    return address.url()


def read_url(url):
    """The question for http://HOST[:PORT][/PATH], unix:SOCKET, or an address for FastCGI as --listen takes it."""
    if url.startswith(sockets.FCGI_PREFIX):
        return fcgi_question(sockets.read_address(url, "URL"))
    if url.startswith("unix:") and len(url) > len("unix:"):
        return http_question(socket.AF_UNIX, url[5:], "localhost", "/")
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    name, port = split_authority(authority)
    printable = all("!" <= c <= "~" for c in url)
    if scheme.lower() != "http" or not name or not printable or not port.isdigit() or int(port) > MAX_PORT:
        raise ConfigError(
            f"{url!r}: expected an address such as http://127.0.0.1:3333/, unix:/run/heart.sock or fcgi:127.0.0.1:9000"
        )
    return http_question(family_of(name), (name, int(port)), authority, slash + path or "/")


def family_of(host):
    """Of a name or an address without brackets."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def split_authority(authority):
    """(host, port) of HOST[:PORT]; the host is empty when it is written in a wrong way."""
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, "80"
    bracketed = host.startswith("[") and host.endswith("]")
    name = host[1:-1] if bracketed else host
    return (name if bracketed == (":" in name) else ""), port


def http_question(family, address, host, target):
    """A GET by HTTP, which asks for `host` and `target`."""
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: heart-health\r\nConnection: close\r\n\r\n"
    return Question(HTTP, family, address, request.encode("ascii"), find_status)


def fcgi_question(where):
    """A GET for "/" by FastCGI. `where`: a sockets.Address."""
    unix = where.path is not None
    family = socket.AF_UNIX if unix else family_of(where.host)
    address = where.path if unix else (where.host, where.port)
    return Question(health_fcgi.NAME, family, address, health_fcgi.request(), health_fcgi.find_status)


def ask(question, deadline):
    """The status of the answer to a question."""
    with socket.socket(question.family, socket.SOCK_STREAM) as connection:
        connection.settimeout(left(deadline))
        connection.connect(question.address)
        connection.sendall(question.request)
        data = b""
        while (status := question.find_status(data)) is None:
            connection.settimeout(left(deadline))
            more = connection.recv(4096)
            if not more:
                raise ValueError
            data += more
    return status


def left(deadline):
    """Seconds up to `deadline`, or TimeoutError."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def find_status(data):
    """The number in the first line of an answer by HTTP, which is read up to where it stands."""
    if len(data) < STATUS_LINE:
        return None
    version, status = data[:9], data[9:STATUS_LINE]
    if version not in (b"HTTP/1.0 ", b"HTTP/1.1 ") or not status.isdigit():
        raise ValueError
    return int(status)
