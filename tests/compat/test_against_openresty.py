"""The facade `ngx` beside lua-nginx-module itself: the same Lua code runs in both, and prints the same.

The code is in cases/*.lua. DIFFERENT says where Heart's answer is another one, and what it is."""

import re
import socketserver
import ssl
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from dns_server import DnsServer
from dnslib import RCODE
from heart_server import Client, Server
from openresty import OpenResty
from tls_servers import Peer, server_context
from tls_servers import echo as tls_echo

CASES = Path(__file__).parent / "cases"
APP = """
local app = require("heart.v1")
require("heart.v1.dns").configure({ servers = { "%s" } })
app.post("/*", function(ctx)
  assert(loadstring(ctx.bytes(), "=case"))()
end)
"""
HEADERS = [
    ("Content-Type", "text/lua"),
    ("X-One", "1"),
    ("X-Two", "2"),
    ("X-Two", "3"),
    ("Cookie", "k=v; l=w"),
    ("Authorization", "Basic dXNlcjpwYXNz"),
]


def compile_error(before, theirs, ours, pattern):
    form = r'{} "{}_compile() failed: {} in \"{}\""'
    return form.format(before, "pcre", theirs, pattern), form.format(before, "pcre2", ours, pattern)


MISSING = "missing closing parenthesis"
DIFFERENT = {
    # Debian's module is built with the first PCRE; with PCRE2 the original says what Heart says.
    "missing parenthesis": compile_error("nil", "missing )", MISSING, "(abc"),
    "find with a bad pattern": compile_error("nil nil", "missing )", MISSING, "("),
    "gmatch with a bad pattern": compile_error("nil", "missing )", MISSING, "("),
    "gsub with a bad pattern": compile_error("nil nil", "missing )", MISSING, "("),
    "duplicate names without D": (
        r'nil "pcre_compile() failed: two named subpatterns have the same name in \"(?<a>h)|(?<a>e)\" at \">e)\""',
        r'nil "pcre2_compile() failed: two named subpatterns have the same name (PCRE2_DUPNAMES not set) '
        r'in \"(?<a>h)|(?<a>e)\" at \"e)\""',
    ),
    # Heart never gives PCRE2 bytes to trust: "." matches no byte that is none of UTF-8.
    "utf unchecked": (r'{0="\xff"}', "nil"),
    # No month has a day 0.
    "parse Thu, 00 Nov 2010 11:27:35 GMT": ("1288524455", "nil"),
    # nginx joins fields since 1.23.
    "variable http_x_two": ('"2"', '"2, 3"'),
    # A response has a status from the start.
    "variable status": ('"000"', '"200"'),
    # There is no `set` that could define it.
    "write http_x_one": (
        'raises variable "http_x_one" not found for writing; maybe it is a built-in variable that is not changeable or '
        """you forgot to use "set $http_x_one '';" in the config file to define it first""",
        'raises variable "http_x_one" not changeable',
    ),
    # Heart ends at the first fault of a certificate, nginx tells the last one.
    "unknown authority": (
        'nil "21: unable to verify the first certificate" nil "closed"',
        'nil "20: unable to get local issuer certificate" nil "closed"',
    ),
}


class Echo(socketserver.StreamRequestHandler):
    """What the cases of sockets talk to, line by line."""

    def handle(self):
        for line in self.rfile:
            line = line.strip()
            if line == b"close":
                return
            if line == b"slow":
                self.wfile.write(b"abc")
                time.sleep(0.3)
                self.wfile.write(b"def\n")
            elif line.startswith(b"raw "):
                self.wfile.write(line[4:].replace(b"\\r", b"\r").replace(b"\\n", b"\n"))
            elif line:
                self.wfile.write(b"echo " + line + b"\r\n")


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Clients come and go as they like."""


@pytest.fixture(scope="module")
def echo():
    """The port of a server as Echo."""
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def silent(connection):
    """Read, and say nothing."""
    while connection.recv(65536):
        pass


@pytest.fixture(scope="module")
def encrypted(certificates):
    """Lua that says where servers with TLS are, and with what one logs in."""
    wanting = server_context(certificates.server, verify_mode=ssl.CERT_REQUIRED)
    wanting.load_verify_locations(certificates.root.path)
    peers = {
        "server": Peer(tls_echo, server_context(certificates.server)),
        "expired": Peer(tls_echo, server_context(certificates.expired)),
        "foreign": Peer(tls_echo, server_context(certificates.foreign)),
        "wants": Peer(tls_echo, wanting),
        "plain": Peer(lambda connection: connection.sendall(b"220 hello, this is no TLS\r\n")),
        "rude": Peer(lambda connection: connection.recv(100)),
        "silent": Peer(silent),
    }
    with ExitStack() as stack:
        entries = [f"{name} = {stack.enter_context(peer).port}" for name, peer in peers.items()]
        entries.append(f"certificate = [[{certificates.client.path.read_text()}]]")
        entries.append(f"key = [[{certificates.client.key.read_text()}]]")
        yield f"local TLS = {{ {', '.join(entries)} }}\n".encode()


def name_trouble(request, *_):
    """What a name server says of names that it will not look up; NotImplemented: look it up."""
    code = {"ill.test.": RCODE.SERVFAIL, "shut.test.": RCODE.REFUSED}.get(str(request.q.qname))
    if code is None:
        return NotImplemented
    reply = request.reply()
    reply.header.rcode = code
    return reply


@pytest.fixture(scope="module")
def ports(tmp_path_factory, certificates):
    """Of the original and of Heart, which ask one name server and trust one CA."""
    root = certificates.root.path
    with DnsServer("here.test. 60 IN A 127.0.0.1", name_trouble) as names:
        http = f"resolver {names.address} ipv6=off;\nlua_ssl_trusted_certificate {root};\nlua_ssl_verify_depth 5;\n"
        with (
            OpenResty(tmp_path_factory.mktemp("nginx"), http=http) as original,
            Server(APP % names.address, env={"SSL_CERT_FILE": str(root)}) as heart,
        ):
            yield original.port, heart.port


def answers(port, code):
    """What a server prints: the name of each case, numbered where it is not the first of that name, to the rest of the
    line."""
    with Client(("127.0.0.1", port)) as client:
        response = client.fetch("POST", "/some/path%21?a=1&b&C=x%20y&a=2", HEADERS, code)
    assert response.status in (200, 201), response
    found = {}
    for line in response.body.decode("utf-8", "backslashreplace").replace(str(port), "PORT").splitlines():
        name, _, rest = line.partition(": ")
        count = sum(1 for other in found if other == name or other.startswith(f"{name} #"))
        found[f"{name} #{count + 1}" if count else name] = rest
    return found


# What lua-resty-core of Debian says of some handshakes on a busy machine: an assertion of its own fails, or the number
# of an earlier error is still there.
FLAW = re.compile(r"raises assertion failed!|\d+: handshake failed")


def answers_of_the_original(port, code):
    """What it prints when it is right."""
    for _ in range(10):
        found = answers(port, code)
        if not any(FLAW.search(text) for text in found.values()):
            break
    return found


@pytest.mark.parametrize("path", sorted(CASES.glob("*.lua")), ids=lambda path: path.stem)
def test_answers_are_those_of_the_original(ports, echo, encrypted, path):
    if path.stem == "prelude":
        return
    code = (CASES / "prelude.lua").read_bytes() + b"local ECHO = %d\n" % echo + encrypted + path.read_bytes()
    original, heart = ports
    theirs, ours = answers_of_the_original(original, code), answers(heart, code)
    assert list(ours) == list(theirs)
    assert len(ours) > 5
    wrong = {name: (theirs[name], ours[name]) for name in theirs if ours[name] != theirs[name]}
    assert wrong == {name: both for name, both in DIFFERENT.items() if name in theirs}
