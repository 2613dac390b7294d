"""heart.v1.http over TLS, against Python's ssl."""

import json
import socket
import ssl
import threading

import pytest
from certificates import Authority
from http_peer import Peer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("https")


@pytest.fixture(scope="module")
def root(folder):
    return Authority(folder)


@pytest.fixture(scope="module")
def leaf(root):
    return root.issue("server", "DNS:localhost", "DNS:a.localhost", "IP:127.0.0.1")


def secure(leaf, client_ca=None):
    """What wraps a server's sockets in TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.path, leaf.key)
    if client_ca:
        context.load_verify_locations(client_ca.path)
        context.verify_mode = ssl.CERT_REQUIRED
    return lambda sock: context.wrap_socket(sock, server_side=True)


def https(leaf, script=None, **more):
    return Peer(script or (lambda c, r: c.answer(r.target.encode())), wrap=secure(leaf, **more))


def show(lua, url, tls="", options=""):
    return json.loads(lua.text(f'return show(http.get("{url}", {{ tls = {{ {tls} }}, {options} }}))'))


def trust(authority):
    return f'ca_file = "{authority.path}"'


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "a.localhost"])
def test_certificate_that_is_right_is_accepted(lua, root, leaf, host):
    with https(leaf) as peer:
        for _ in range(3):
            found = show(lua, f"https://{host}:{peer.port}/x", trust(root))
            assert (found["status"], found["body"]) == (200, "/x"), found
        assert peer.connections == 1


def test_stranger_is_refused(lua, leaf):
    with https(leaf) as peer:
        assert "certificate" in show(lua, f"https://localhost:{peer.port}/")["err"]
        assert show(lua, f"https://localhost:{peer.port}/", "verify = false")["status"] == 200
        # Not even a connection that was made without looking serves a request that looks.
        assert "certificate" in show(lua, f"https://localhost:{peer.port}/")["err"]


def test_other_name_is_refused(lua, root, leaf):
    with https(leaf) as peer:
        assert "err" in show(lua, f"https://b.localhost:{peer.port}/", trust(root))
        found = show(lua, f"https://b.localhost:{peer.port}/", trust(root) + ', server_name = "localhost"')
        assert found["status"] == 200


def test_expired_certificate_is_refused(lua, root):
    with https(root.issue("old", "DNS:localhost", days=-1)) as peer:
        assert "expired" in show(lua, f"https://localhost:{peer.port}/", trust(root))["err"]


def test_client_shows_its_certificate(lua, root, leaf):
    client = root.issue("client")
    with https(leaf, client_ca=root) as peer:
        own = f'{trust(root)}, certificate = "{client.path}", key = "{client.key}"'
        assert show(lua, f"https://localhost:{peer.port}/", own)["status"] == 200
        assert "err" in show(lua, f"https://localhost:{peer.port}/", trust(root))


def test_plain_server_is_told(lua):
    before = int(lua.text("return core.socket.count()"))
    with Peer(lambda c, r: None) as peer:
        peer.failures = []
        assert "err" in show(lua, f"https://localhost:{peer.port}/", options="timeout = 2")
        peer.failures = []
    assert int(lua.text("return core.socket.count()")) == before


def test_large_bodies_go_both_ways(lua, root, leaf):
    body = bytes(range(256)) * 4096 * 4

    def script(connection, request):
        connection.answer(request.body[::-1])

    with https(leaf, script) as peer:
        code = f"""
          local r = assert(http.post("https://localhost:{peer.port}/", {{ tls = {{ {trust(root)} }}, body = ... }}))
          return r.body
        """
        assert lua.run(code, body) == body[::-1]


def test_redirects_between_http_and_https_keep_secrets_at_home(lua, root, leaf):
    with https(leaf) as target:
        place = f"https://localhost:{target.port}/there"
        with Peer(lambda c, r: c.answer(b"", "302 Found", f"Location: {place}")) as peer:
            found = show(lua, peer.url, trust(root), 'headers = { Authorization = "secret" }')
            assert found["url"] == place
            assert target.requests[-1]["authorization"] is None
    with Peer(lambda c, r: c.answer(b"plain")) as target:
        with https(leaf, lambda c, r: c.answer(b"", "302 Found", f"Location: {target.url}/")) as peer:
            url = f"https://me:pw@localhost:{peer.port}/"
            assert show(lua, url, trust(root))["body"] == "plain"
            assert target.requests[-1]["authorization"] is None
            assert peer.requests[-1]["authorization"] is not None


def tunnel(connection, targets):
    """A proxy that knows CONNECT."""
    request = connection.request()
    targets.append((request.method, request.target, request["proxy-authorization"]))
    host, port = request.target.split(":")
    with socket.create_connection((host, int(port))) as far:
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pump = threading.Thread(target=copy, args=(far, connection.sock), daemon=True)
        pump.start()
        copy(connection.sock, far)
        pump.join(5)


def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def test_tunnel_leads_through_a_proxy(lua, root, leaf):
    targets = []
    with https(leaf) as peer, Peer(on_connect=lambda c: tunnel(c, targets)) as proxy:
        for path in ("/a", "/b"):
            url = f"https://localhost:{peer.port}{path}"
            found = show(lua, url, trust(root), f'proxy = "http://me:pw@127.0.0.1:{proxy.port}"')
            assert found["body"] == path
        assert peer.requests[0]["proxy-authorization"] is None
        assert targets == [("CONNECT", f"localhost:{peer.port}", "Basic bWU6cHc=")]
