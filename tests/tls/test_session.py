"""TLS connections as a worker makes them, against Python's ssl over a pair of sockets, one step at a time."""

import errno
import hashlib
import os
import socket
import ssl
import time

import pytest
import tls_native
from certificates import openssl
from tls_servers import server_context

EPOLLIN, EPOLLOUT = 1, 4
WAITS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Pair:
    """A client (a Session) and a server (ssl) on two ends of a stream."""

    def __init__(self, context, server, **options):
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.client = tls_native.Session(context, self.ours.fileno(), **options)
        self.server = server.wrap_socket(self.theirs, server_side=True, do_handshake_on_connect=False)
        self.refusal = None  # the server's exception

    def server_step(self):
        if self.refusal is None:
            try:
                self.server.do_handshake()
            except WAITS:
                pass
            except (ssl.SSLError, OSError) as error:
                self.refusal = error

    def handshake(self):
        """Go on until the client is done; its result."""
        for _ in range(20):
            result = self.client.handshake()
            self.server_step()
            if result != "pending":
                return result
            assert self.client.want in (EPOLLIN, EPOLLOUT)
        raise AssertionError("the handshake does not end")

    def give(self, data):
        """The server writes, the client reads the same."""
        self.server.sendall(data)
        assert self.read(len(data)) == data

    def read(self, n):
        got = b""
        while len(got) < n:
            part = self.client.read()
            assert isinstance(part, bytes) and part, part
            got += part
        return got

    def close(self):
        self.server.close()
        self.ours.close()


@pytest.fixture
def trusting(certificates):
    return tls_native.Context(ca_file=str(certificates.root.path))


def connect(context, leaf, host="heart.test", server=None, **options):
    return Pair(context, server or server_context(leaf), **{"server_name": host, "host": host} | options)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_and_bytes_both_ways(certificates, trusting, version):
    pair = connect(trusting, None, server=server_context(certificates.server, maximum_version=version))
    assert pair.handshake() == 0
    assert pair.client.version == version.name.replace("_", ".") == pair.server.version()
    assert pair.client.cipher
    assert not pair.client.resumed
    assert pair.client.read() == "pending"
    assert pair.client.want == EPOLLIN
    assert pair.client.write(b"hello") == 5
    assert pair.server.recv(100) == b"hello"
    pair.give(b"x" * 100000)
    pair.close()


@pytest.mark.parametrize("host", ["heart.test", "HEART.test.", "a.wild.test", "127.0.0.1", "::1"])
def test_names_and_addresses_of_the_certificate_are_right(certificates, trusting, host):
    assert connect(trusting, certificates.server, host).handshake() == 0


@pytest.mark.parametrize("host", ["other.test", "a.b.wild.test", "wild.test", "127.0.0.2", "::2", "heart.test.evil"])
def test_other_names_are_refused(certificates, trusting, host):
    pair = connect(trusting, certificates.server, host)
    assert pair.handshake() == "refused"
    kind = "IP address" if host[-1].isdigit() else "hostname"
    assert pair.client.error.lower() == f"certificate verify failed: {kind} mismatch".lower()
    assert pair.client.verify_error in (62, 64)
    pair.server_step()
    assert "bad certificate" in str(pair.refusal)


def test_nul_in_a_name_is_refused(certificates, trusting):
    pair = connect(trusting, certificates.server, "heart.test\0.evil")
    assert pair.handshake() == "refused"
    assert pair.client.error == "tls: the server name can not be sent"
    pair = Pair(trusting, server_context(certificates.server), host="heart.test\0.evil")
    assert pair.handshake() == "refused"
    assert pair.client.error == "tls: the host is neither a name nor an address"


def test_name_of_254_characters_is_refused(certificates, trusting):
    assert connect(trusting, certificates.server, "a" * 254).handshake() == "refused"


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        ("expired", "certificate has expired"),
        ("foreign", "unable to get local issuer certificate"),
    ],
)
def test_reason_of_a_refused_certificate(certificates, trusting, leaf, reason):
    pair = connect(trusting, getattr(certificates, leaf))
    assert pair.handshake() == "refused"
    assert pair.client.error == f"certificate verify failed: {reason}"
    assert pair.client.handshake() == pair.client.read() == pair.client.write(b"x") == "refused"
    assert pair.client.shutdown() == "refused"


def test_self_signed_certificate_is_refused_unless_it_is_trusted(certificates, trusting):
    own = certificates.stranger
    pair = connect(trusting, own, host="")
    assert pair.handshake() == "refused"
    assert pair.client.error == "certificate verify failed: self-signed certificate"
    assert connect(tls_native.Context(ca_file=str(own.path)), own, host="").handshake() == 0


def test_ca_below_a_root_can_be_trusted_alone(certificates):
    context = tls_native.Context(ca_file=str(certificates.middle.path))
    assert connect(context, certificates.server).handshake() == 0


def test_depth_is_a_limit(certificates):
    """Between the server's certificate and the root there is one CA."""
    for depth, result in ((1, 0), (0, "refused")):
        context = tls_native.Context(ca_file=str(certificates.root.path), depth=depth)
        assert connect(context, certificates.server).handshake() == result


def test_folder_of_cas(certificates, tmp_path):
    (tmp_path / "root.pem").write_text(certificates.root.path.read_text())
    openssl("rehash", tmp_path)
    assert connect(tls_native.Context(ca_path=str(tmp_path)), certificates.server).handshake() == 0
    assert connect(tls_native.Context(ca_path=str(tmp_path)), certificates.foreign).handshake() == "refused"


def test_nothing_is_verified_only_if_asked_for(certificates, trusting):
    careless = tls_native.Context(verify=False, ca_file=str(certificates.root.path))
    assert connect(careless, certificates.foreign, "other.test").handshake() == 0
    assert connect(careless, certificates.foreign, "other.test", verify=True).handshake() == "refused"
    assert connect(trusting, certificates.foreign, "other.test", verify=False).handshake() == 0


def test_what_verification_would_have_said_is_told(certificates):
    careless = tls_native.Context(verify=False, ca_file=str(certificates.root.path))
    pair = connect(careless, certificates.expired)
    assert pair.handshake() == 0
    assert pair.client.verify_error == 10  # X509_V_ERR_CERT_HAS_EXPIRED


def test_server_name_is_sent_for_names_only(certificates, trusting):
    for host, expected in (("heart.test", "heart.test"), ("heart.test.", "heart.test"), ("127.0.0.1", None)):
        server, seen = server_context(certificates.server), []
        server.sni_callback = lambda _socket, name, _context, seen=seen: seen.append(name)
        assert connect(trusting, None, host, server=server).handshake() == 0
        assert seen == [expected]


def test_protocol_is_agreed_on(certificates, trusting):
    server = server_context(certificates.server)
    server.set_alpn_protocols(["h2", "http/1.1"])
    pair = connect(trusting, None, server=server, alpn=["http/1.1"])
    assert (pair.handshake(), pair.client.alpn) == (0, "http/1.1")
    pair = connect(trusting, None, server=server)
    assert (pair.handshake(), pair.client.alpn) == (0, None)
    context = tls_native.Context(ca_file=str(certificates.root.path), alpn=["http/1.0", "h2"])
    pair = connect(context, None, server=server)
    assert (pair.handshake(), pair.client.alpn) == (0, "h2")
    pair = connect(context, None, server=server, alpn=[])
    assert (pair.handshake(), pair.client.alpn) == (0, None)


def test_oldest_version(certificates, trusting):
    """1.2 unless more is asked for; a server that has only older ones is refused."""
    newer = tls_native.Context(ca_file=str(certificates.root.path), min_version="1.3")
    server = server_context(certificates.server, maximum_version=ssl.TLSVersion.TLSv1_2)
    pair = connect(newer, None, server=server)
    assert pair.handshake() == "refused"
    assert pair.client.error == "tls: tlsv1 alert protocol version"
    assert connect(trusting, None, server=server).handshake() == 0


def client_demanding(certificates, version):
    server = server_context(certificates.server, maximum_version=version, verify_mode=ssl.CERT_REQUIRED)
    server.load_verify_locations(certificates.root.path)
    return server


@pytest.mark.parametrize("version", VERSIONS)
def test_client_certificate_is_shown(certificates, version):
    leaf = certificates.secret
    context = tls_native.Context(
        ca_file=str(certificates.root.path),
        certificate=str(leaf.path),
        key=str(leaf.key),
        password="open sesame",
    )
    pair = connect(context, None, server=client_demanding(certificates, version))
    assert pair.handshake() == 0
    pair.server_step()
    pair.give(b"welcome")
    assert ("commonName", "secret") in [part[0] for part in pair.server.getpeercert()["subject"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_missing_client_certificate_is_told(certificates, trusting, version):
    """With TLS 1.3 the client is done before the server looks: the first read says it."""
    pair = connect(trusting, None, server=client_demanding(certificates, version))
    result = pair.handshake()
    if version == ssl.TLSVersion.TLSv1_3:
        assert result == 0
        result = pair.client.read()
    assert result == "refused"
    assert pair.client.error in ("tls: sslv3 alert handshake failure", "tls: tlsv13 alert certificate required")


def test_what_the_server_has_shown(certificates, trusting):
    pair = connect(trusting, certificates.server)
    assert pair.client.certificate() == "missing"
    assert pair.handshake() == 0
    shown = pair.client.certificate()
    pem = certificates.server.path.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert shown["der"] == der
    assert shown["subject"] == b"CN=server,O=Heart's tests"
    assert shown["issuer"] == b"CN=middle,O=Heart's tests"
    assert shown["serial"] == b"1234ABCD"
    assert shown["names"] == b"DNS:heart.test\0DNS:*.wild.test\0IP:127.0.0.1\0IP:::1\0"
    assert shown["signature"] == b"SHA256"
    assert shown["sha256"] == hashlib.sha256(der).digest()
    assert abs(shown["not_before"] - time.time()) < 600
    assert shown["not_after"] - shown["not_before"] == 30 * 86400


def test_certificate_without_alternative_names(certificates, trusting):
    pair = connect(trusting, certificates.client, host="")
    assert pair.handshake() == 0
    assert pair.client.certificate()["names"] == b""


# ---- Resumption ------------------------------------------------------------------------------------------


def resumed(context, server, leaf=None, **options):
    """Whether a connection goes on with an earlier session; some bytes go over it, which brings the next one."""
    pair = connect(context, leaf, server=server, **options)
    assert pair.handshake() == 0
    pair.server_step()
    pair.give(b"x")
    assert pair.server.session_reused == pair.client.resumed
    assert pair.client.shutdown() == 0
    pair.close()
    return pair.client.resumed


@pytest.mark.parametrize("version", VERSIONS)
def test_later_connections_resume(certificates, trusting, version):
    server = server_context(certificates.server, maximum_version=version)
    assert [resumed(trusting, server, port=1) for _ in range(4)] == [False, True, True, True]
    assert not resumed(trusting, server, port=2)
    assert not resumed(trusting, server, port=1, host="a.wild.test")
    assert not resumed(trusting, server, port=1, alpn=["http/1.1"])
    assert not resumed(tls_native.Context(ca_file=str(certificates.root.path)), server, port=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_session_that_was_not_verified_is_not_used_for_one_that_is(certificates, trusting, version):
    server = server_context(certificates.foreign, maximum_version=version)
    assert [resumed(trusting, server, verify=False) for _ in range(2)] == [False, True]
    assert connect(trusting, None, server=server).handshake() == "refused"
    assert resumed(trusting, server, verify=False)


def test_resumption_can_be_turned_off(certificates):
    context = tls_native.Context(ca_file=str(certificates.root.path), session_cache=False)
    server = server_context(certificates.server)
    assert [resumed(context, server) for _ in range(2)] == [False, False]


def test_sessions_of_64_peers_are_kept(certificates, trusting):
    server = server_context(certificates.server)
    for port in range(1, 66):
        assert not resumed(trusting, server, port=port)
    assert resumed(trusting, server, port=65)
    assert resumed(trusting, server, port=2)
    assert not resumed(trusting, server, port=1)


def test_session_the_server_has_forgotten_is_no_error(certificates, trusting):
    assert not resumed(trusting, server_context(certificates.server))
    assert not resumed(trusting, server_context(certificates.server))


def test_resumed_session_has_a_certificate(certificates, trusting):
    server = server_context(certificates.server)
    assert not resumed(trusting, server)
    pair = connect(trusting, None, server=server)
    assert pair.handshake() == 0
    assert pair.client.resumed
    assert pair.client.certificate()["subject"] == b"CN=server,O=Heart's tests"


# ---- Ends ------------------------------------------------------------------------------------------------


def test_end_of_the_stream(certificates, trusting):
    """0 bytes after close_notify, again and again; what was sent before comes first."""
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    pair.server.sendall(b"last")
    with pytest.raises(WAITS):
        pair.server.unwrap()
    assert pair.read(4) == b"last"
    assert pair.client.read() == b""
    assert pair.client.read() == b""
    assert pair.client.write(b"still here") == 10


def test_stream_cut_off_is_told_from_its_end(certificates, trusting):
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    pair.server.sendall(b"last")
    pair.server.shutdown(socket.SHUT_RDWR)
    assert pair.read(4) == b"last"
    assert pair.client.read() == "closed"
    assert pair.client.read() == "closed"
    assert pair.client.write(b"x") == "closed"


def test_half_close(certificates, trusting):
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    assert pair.client.write(b"question") == 8
    assert pair.client.shutdown() == 0
    assert pair.client.shutdown() == 0
    assert pair.server.recv(100) == b"question"
    assert pair.server.recv(100) == b""
    pair.give(b"answer")
    assert pair.client.write(b"x") == "refused"


def test_write_to_a_peer_that_is_gone(certificates, trusting):
    """Neither a signal nor another word than for plain sockets."""
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    pair.server.close()
    assert pair.client.write(b"x") == "closed"


def test_reset_connection_is_a_system_error(certificates, trusting):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    client = tls_native.Session(trusting, ours.fileno(), host="heart.test")
    assert client.handshake() == "pending"
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    assert client.handshake() == "system"
    assert client.system_error == errno.ECONNRESET
    assert client.handshake() == "system"
    ours.close()


def test_peer_that_ends_during_the_handshake_is_closed(trusting):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = tls_native.Session(trusting, ours.fileno(), host="heart.test")
    assert client.handshake() == "pending"
    theirs.recv(10000)
    theirs.close()
    assert client.handshake() == "closed"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "wrong version number"),
        (b"220 mail.test ESMTP ready\r\n", "wrong version number"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "sslv3 alert handshake failure"),
        (b"\x16\x03\x03\x7f\xff" + b"\0" * 100, "packet length too long"),
    ],
)
def test_peer_that_speaks_something_else(trusting, answer, reason):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = tls_native.Session(trusting, ours.fileno(), host="heart.test")
    assert client.handshake() == "pending"
    theirs.sendall(answer)
    assert client.handshake() == "refused"
    assert client.error == f"tls: {reason}"


# ---- Blocking --------------------------------------------------------------------------------------------


def test_large_transfers_both_ways_at_once(certificates, trusting):
    """Both write more than the sockets hold; each reads what it can in between; writes are taken in parts."""
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    sizes = 3_000_000
    question, answer = bytes(range(256)) * (sizes // 256), bytes(range(255, -1, -1)) * (sizes // 256)
    sent = back = 0
    here, there = bytearray(), bytearray()
    blocked = 0
    while len(here) < len(answer) or len(there) < len(question):
        if sent < len(question):
            result = pair.client.write(bytes(question[sent : sent + 100000]))  # elsewhere in memory each time
            if result == "pending":
                assert pair.client.want == EPOLLOUT
                blocked += 1
            else:
                assert result > 0
                sent += result
        try:
            back += pair.server.send(answer[back : back + 65536]) if back < len(answer) else 0
        except WAITS:
            pass
        if blocked or sent == len(question):
            try:
                there += pair.server.recv(65536)
            except WAITS:
                pass
        part = pair.client.read()
        here += b"" if part == "pending" else part
    assert here == answer
    assert there == question
    assert blocked


def test_record_that_comes_in_pieces(certificates, trusting):
    """Each byte for itself, the last one alone makes the content readable; `pending` tells of what was received."""
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    pair.give(b"tickets are read")
    wire = socket.socket(fileno=os.dup(pair.server.fileno()))  # past the server's TLS
    pair.server.sendall(b"slow")
    raw = pair.ours.recv(10000)
    for byte in raw[:-1]:
        wire.send(bytes([byte]))
        assert pair.client.read() == "pending"
    assert pair.client.pending()
    wire.send(raw[-1:])
    assert pair.client.read() == b"slow"
    assert not pair.client.pending()


def test_pending_tells_of_records_already_received(certificates, trusting):
    pair = connect(trusting, certificates.server)
    assert pair.handshake() == 0
    pair.give(b"first")
    pair.server.sendall(b"one")
    pair.server.sendall(b"two")
    assert pair.client.read(1) == b"o"
    assert pair.client.pending()
    assert pair.client.read() == b"ne"
    assert pair.client.read() == b"two"
    assert not pair.client.pending()
