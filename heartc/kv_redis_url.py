"""Reads what --kv names: redis://host:port/db or redis-cluster://host1,host2."""

import importlib.util
from urllib.parse import unquote

from .errors import ConfigError

PORT = 6379
SCHEMES = {  # name: (cluster, TLS)
    "redis": (False, False),
    "rediss": (False, True),
    "redis-cluster": (True, False),
    "rediss-cluster": (True, True),
}
EXPECTED = "redis://[user:password@]host[:port][/db] or redis-cluster://[user:password@]host1[:port],host2[:port]"


class Target:
    """Where a store is. As a text: the URL without its password."""

    def __init__(self, scheme, addresses, user=None, password=None, db=0):
        self.scheme = scheme
        self.cluster, self.tls = SCHEMES[scheme]
        self.addresses = addresses
        self.user = user
        self.password = password
        self.db = db

    def __str__(self):
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        return f"{self.scheme}://{hosts}" + (f"/{self.db}" if self.db else "")


def read_url(text):
    """The Target of a URL. Raises ValueError if it is none."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError
    login, _, where = rest.rpartition("@")
    user, password = read_login(login)
    hosts, slash, db = where.partition("/")
    cluster = SCHEMES[scheme][0]
    if slash and db and (cluster or not (db.isascii() and db.isdigit() and len(db) < 6)):
        raise ValueError
    addresses = [read_address(host) for host in hosts.split(",")]
    if len(addresses) > 1 and not cluster:
        raise ValueError
    return Target(scheme, addresses, user, password, int(db or 0))


def read_login(login):
    """user:password, :password or user."""
    if not login:
        return None, None
    user, _, password = login.partition(":")
    return unquote(user) or None, unquote(password) or None


def read_address(text):
    """(host, port) of host, host:port, [address]:port."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not host or any(c.isspace() or c in "/?#[]@" for c in host):
        raise ValueError
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError
    return host, int(port or PORT)


def check_tls(target):
    """TLS needs Python's ssl, which the single executable leaves out."""
    if target.tls and importlib.util.find_spec("_ssl") is None:
        raise ConfigError(
            f"--kv {target}: this heart is built without TLS for Redis (Python's ssl is not in the executable); use "
            f"{target.scheme.replace('rediss', 'redis', 1)}:// in a private network or through stunnel, or a heart "
            "that was installed with pip"
        )
