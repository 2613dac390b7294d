"""TLS of cosockets: sslhandshake, setclientcert and ngx.ssl, against Python's ssl."""

import ssl

import pytest
from lua_shell import Shell
from tls_servers import Peer, echo, server_context

CONNECT = """
local function connect(port)
  local s = ngx.socket.tcp()
  s:settimeout(3000)
  assert(s:connect("127.0.0.1", port))
  return s
end
local function talk(s)
  assert(s:send("hello\\n"))
  return s:receive()
end
"""


@pytest.fixture(scope="module")
def lua(certificates):
    """Its system's CA is the one of the tests."""
    with Shell(env={"SSL_CERT_FILE": str(certificates.root.path)}) as shell:
        yield shell


def test_handshake_gives_a_session_or_true(lua, certificates):
    with Peer(echo, server_context(certificates.server)) as peer:
        code = f"""{CONNECT}
          local one, two = connect({peer.port}), connect({peer.port})
          local session = assert(one:sslhandshake())
          assert(two:sslhandshake(false) == true)
          assert(talk(one) == "hello" and talk(two) == "hello")
          assert(one:setkeepalive())
          local again = connect({peer.port})
          assert(again:getreusedtimes() == 1 and talk(again) == "hello")
          assert(connect({peer.port}):sslhandshake(session, "heart.test", true))
          return type(session)
        """
        assert lua.text(code) == "table"


@pytest.mark.parametrize(
    ("leaf", "name", "verify", "works"),
    [
        ("server", "heart.test", "true", True),
        ("server", "127.0.0.1", "true", True),
        ("server", "other.test", "true", False),
        ("server", "other.test", "false", True),
        ("expired", "heart.test", "true", False),
        ("foreign", "heart.test", "true", False),
        ("foreign", "heart.test", "nil", True),
    ],
)
def test_certificate_is_verified_if_asked_for(lua, certificates, leaf, name, verify, works):
    with Peer(echo, server_context(getattr(certificates, leaf))) as peer:
        code = f"""{CONNECT}
          local s = connect({peer.port})
          local ok, err = s:sslhandshake(nil, "{name}", {verify})
          if ok then
            return talk(s)
          end
          assert(type(err) == "string" and #err > 5, err)
          assert(select(2, s:send("x")) == "closed")
          return "refused"
        """
        assert lua.text(code) == ("hello" if works else "refused")


def test_client_certificate_is_sent(lua, certificates):
    def names(connection):
        connection.recv(100)
        subject = dict(pair[0] for pair in connection.getpeercert()["subject"])
        connection.sendall(subject["commonName"].encode() + b"\n")

    context = server_context(certificates.server, verify_mode=ssl.CERT_REQUIRED)
    context.load_verify_locations(certificates.root.path)
    with Peer(names, context) as peer:
        code = f"""{CONNECT}
          local certificates = require("ngx.ssl")
          local function read(path)
            local file = assert(io.open(path))
            return file:read("*a"), file:close()
          end
          local s = connect({peer.port})
          local certificate = assert(certificates.parse_pem_cert((read("{certificates.client.path}"))))
          local key = assert(certificates.parse_pem_priv_key((read("{certificates.client.key}"))))
          assert(not certificates.parse_pem_cert("nothing"))
          assert(select(2, s:setclientcert("text", "text")):find("bad cert arg"))
          assert(s:setclientcert(certificate, key))
          assert(s:sslhandshake(nil, "heart.test", true))
          return talk(s)
        """
        assert lua.text(code) == "client"


def test_server_that_speaks_no_tls(lua):
    with Peer(echo) as peer:
        code = f"""{CONNECT}
          local s = connect({peer.port})
          local ok, err = s:sslhandshake()
          return tostring(ok) .. " " .. err
        """
        assert lua.text(code).startswith("nil ")


def test_silent_server_is_a_timeout(lua):
    def listen(connection):
        while connection.recv(65536):
            pass

    with Peer(listen) as peer:
        code = f"""{CONNECT}
          local s = connect({peer.port})
          s:settimeout(100)
          return (select(2, s:sslhandshake()))
        """
        assert lua.text(code) == "timeout"


def test_authorities_of_a_store_are_trusted(lua, certificates):
    """What lua-resty-openssl makes is an X509_STORE."""
    with Peer(echo, server_context(certificates.foreign)) as peer:
        code = f"""{CONNECT}
          local ffi = require("ffi")
          local crypto = ffi.load(require("heart.core").libraries.crypto)
          ffi.cdef("void *X509_STORE_new(void); void X509_STORE_free(void *);")
          ffi.cdef("int X509_STORE_load_file(void *, char *);")
          local function store_of(path)
            local store = ffi.gc(crypto.X509_STORE_new(), crypto.X509_STORE_free)
            return crypto.X509_STORE_load_file(store, ffi.cast("char *", path)) == 1 and store
          end
          local function shake(store)
            local s = connect({peer.port})
            assert(s:settrustedstore(store))
            local ok, err = s:sslhandshake(false, "heart.test", true)
            return tostring(ok) .. " " .. (err or talk(s))
          end
          local told = shake(store_of("{certificates.stranger.path}")) .. ", " .. shake(nil)
          return told .. ", " .. select(2, connect({peer.port}):settrustedstore("text"))
        """
        expected = "true hello, nil 20: unable to get local issuer certificate"
        assert lua.text(code) == f"{expected}, bad store arg: cdata expected, got string"
