"""LuaSec's client interface against Python's ssl: handshakes, what is verified, certificates, the words of a wait."""

import contextlib
import socket
import ssl
from pathlib import Path

import pytest
from certificates import Certificates
from debian_files import unpack
from lua_shell import Shell
from peers import Peer, echo

PRELUDE = """
socket, ssl = require("socket"), require("ssl")
function show(...)
  local all = { ... }
  for i = 1, select("#", ...) do all[i] = tostring(all[i]) end
  return table.concat(all, "|")
end
function wrapped(port, parameters, name)
  local tcp = assert(socket.connect("127.0.0.1", port))
  parameters.mode, parameters.protocol = "client", parameters.protocol or "any"
  local c = assert(ssl.wrap(tcp, parameters))
  if name then c:sni(name) end
  c:settimeout(5)
  return c, tcp
end
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude=PRELUDE) as shell:
        yield shell


@pytest.fixture
def secure(certificates):
    """A function that gives a Peer which speaks TLS."""

    def make(serve=echo, leaf=None, **settings):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(leaf or certificates.server))
        for name, value in settings.items():
            if name == "alpn":
                context.set_alpn_protocols(value)
            elif name == "client":
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(value)
            else:
                setattr(context, name, value)

        def run(connection):
            with contextlib.suppress(ssl.SSLError, ValueError):
                with context.wrap_socket(connection, server_side=True) as session:
                    peer.connections.append(session)
                    serve(session)

        peer = Peer(run)
        return peer

    return make


def test_handshake_and_echo(lua, secure):
    with secure() as peer:
        code = f"""
            local c, tcp = wrapped({peer.port}, {{ verify = "none" }})
            local fd = tcp:getfd()
            local ok = c:dohandshake()
            c:send("one\\ntwo\\nthree", 1, 8)
            local lines, class = show((c:receive()), (c:receive())), tostring(c):match("^[^:]*")
            return show(ok, fd, lines, class, c:want(), (c:getpeername()), c:close(), c:send("x"))
        """
        assert lua.text(code) == "true|-1|one|two|SSL connection|nothing|127.0.0.1|nil|nil|closed|0"


def test_large_data(lua, secure):
    data = bytes(range(256)) * 8192
    with secure() as peer:
        code = f"""
            local c, data, out = wrapped({peer.port}, {{ verify = "none" }}), ..., {{}}
            assert(c:dohandshake())
            for at = 1, #data, 65536 do
              assert(c:send(data, at, at + 65535))
              out[#out + 1] = assert(c:receive(math.min(65536, #data - at + 1)))
            end
            c:close()
            return table.concat(out)
        """
        assert lua.run(code, data) == data


@pytest.mark.parametrize(
    ("name", "leaf", "root", "result"),
    [
        ("heart.test", "server", "root", "true"),
        ("other.test", "server", "root", "false|certificate verify failed: hostname mismatch"),
        (None, "server", "root", "true"),
        ("heart.test", "expired", "root", "false|certificate verify failed"),
        ("heart.test", "foreign", "root", "false|certificate verify failed"),
        ("heart.test", "foreign", "stranger", "true"),
    ],
)
def test_verified_peer(lua, secure, certificates, name, leaf, root, result):
    cafile = getattr(certificates, root).path
    with secure(leaf=getattr(certificates, leaf)) as peer:
        name = f'"{name}"' if name else "nil"
        code = f"""
            local c = wrapped({peer.port}, {{ verify = "peer", cafile = "{cafile}" }}, {name})
            local told = show(c:dohandshake())
            c:close()
            return told
        """
        assert lua.text(code) == result


ORIGINAL = """
function original()
  local root, libraries = "%s", "%s"
  local names = { "socket", "socket.core", "ssl", "ssl.core", "ssl.context", "ssl.x509", "ssl.config" }
  local kept = {}
  for _, name in ipairs(names) do kept[name], package.loaded[name] = package.loaded[name], nil end
  local function load(library, name)
    local open = assert(package.loadlib(libraries .. library, "luaopen_" .. name:gsub("%%.", "_")))
    package.loaded[name] = open(name)
  end
  load("/socket/core.so", "socket.core")
  for _, part in ipairs({ "core", "context", "x509", "config" }) do load("/ssl.so", "ssl." .. part) end
  local socket = assert(loadfile(root .. "/socket.lua"))("socket")
  package.loaded.socket = socket
  local ssl = assert(loadfile(root .. "/ssl.lua"))("ssl")
  for _, name in ipairs(names) do package.loaded[name] = kept[name] end
  return socket, ssl
end
"""
# Where Heart says something else, and what.
OTHER = {
    # OpenSSL's word for it, which only newer versions know. Heart's is that of a connection without TLS.
    "stream that is cut off": ("true|nil|unexpected eof while reading|part", "true|nil|closed|part"),
    "line that is cut off": ("true|nil|unexpected eof while reading|part", "true|nil|closed|part"),
}


@pytest.fixture
def places(certificates, secure):
    """A table of Lua: ports of servers, by what they do; `root`, a file."""

    def end(session):
        session.recv(1)
        session.sendall(b"line\npart")
        session.unwrap()

    def cut(session):
        session.recv(1)
        session.sendall(b"part")
        session.shutdown(socket.SHUT_RDWR)

    def plain(connection):
        connection.recv(1 << 16)
        connection.sendall(b"220 plain text\r\n" * 10)
        connection.recv(1)

    peers = {
        "server": secure(),
        "expired": secure(leaf=certificates.expired),
        "foreign": secure(leaf=certificates.foreign),
        "ends": secure(end),
        "cuts": secure(cut),
        "plain": Peer(plain),
        "rude": Peer(lambda connection: connection.recv(100)),
        "silent": Peer(lambda connection: connection.recv(1 << 16) and connection.recv(1)),
    }
    with contextlib.ExitStack() as stack:
        ports = [f"{name} = {stack.enter_context(peer).port}" for name, peer in peers.items()]
        yield f'{{ {", ".join(ports)}, root = "{certificates.root.path}" }}'


def test_client_is_told_what_the_original_tells(places):
    home = unpack("lua-socket", "lua-sec")
    root, libraries = home / "usr/share/lua/5.1", next(home.glob("usr/lib/*/lua/5.1"))
    script = Path(__file__).with_name("luasec_client.lua")
    with Shell(prelude=PRELUDE + ORIGINAL % (root, libraries)) as shell:

        def told(modules):
            code = f'local socket, ssl = {modules} return assert(loadfile("{script}"))(socket, ssl, {places})'
            return dict(line.split(": ", 1) for line in shell.text(code).splitlines())

        theirs, ours = told("original()"), told('require("socket"), require("ssl")')
    assert len(ours) > 30 and list(ours) == list(theirs)
    wrong = {name: (theirs[name], ours[name]) for name in theirs if ours[name] != theirs[name]}
    assert wrong == OTHER


def test_silence_is_wantread(lua, secure):
    def quiet(session):
        session.recv(1)
        session.sendall(b"part")
        session.recv(1)

    with secure(quiet) as peer:
        code = f"""
            local c = wrapped({peer.port}, {{ verify = "none" }})
            assert(c:dohandshake())
            c:send("x")
            c:settimeout(0.2)
            local told = show(c:receive(10)) .. "|" .. c:want()
            c:settimeout(0)
            told = told .. "|" .. show(c:receive(10))
            c:close()
            return told
        """
        assert lua.text(code) == "nil|wantread|part|read|nil|wantread|"


def test_handshake_that_is_not_answered(lua):
    with Peer(lambda connection: connection.recv(1 << 16) and connection.recv(1)) as peer:
        code = f"local c = wrapped({peer.port}, {{}}) c:settimeout(0.2) return show(c:dohandshake())"
        assert lua.text(code) == "false|wantread"


def test_peer_that_does_not_speak_tls(lua):
    with Peer(lambda connection: connection.sendall(b"220 plain text\r\n" * 10)) as peer:
        told = lua.text(f"return show(wrapped({peer.port}, {{}}):dohandshake())")
        assert told in ("false|wrong version number", "false|connection in dubious state"), told


def test_what_is_known_of_the_peer(lua, secure, certificates):
    with secure(alpn=["h2", "http/1.1"]) as peer:
        code = f"""
            local parameters = {{ verify = "peer", cafile = "{certificates.root.path}", alpn = {{ "http/1.1" }} }}
            local c = wrapped({peer.port}, parameters, "heart.test")
            assert(c:dohandshake())
            local x = c:getpeercertificate()
            local subject, names = x:subject(), x:extensions()["2.5.29.17"]
            local who = show(subject[1].name, subject[1].value, subject[2].value, x:issuer()[2].value)
            local when = show(x:validat(), x:validat(0), x:notafter():find("GMT$") ~= nil)
            return show(c:getalpn(), c:info("protocol"), c:getpeerverification(), who, when, x:serial(),
              x:getsignaturename(), #x:digest("sha256"), table.concat(names.dNSName, " "), names.iPAddress[1],
              x:pem():match("^[^\\n]*"))
        """
        assert lua.text(code) == (
            "http/1.1|TLSv1.3|true|organizationName|Heart's tests|server|middle|true|false|true|1234ABCD"
            "|ecdsa-with-SHA256|64|heart.test *.wild.test|127.0.0.1|-----BEGIN CERTIFICATE-----"
        )


def test_client_certificate(lua, secure, certificates):
    def who(session):
        session.sendall(str(dict(x[0] for x in session.getpeercert()["subject"])["commonName"]).encode() + b"\n")

    with secure(who, client=certificates.root.path) as peer:
        leaf = certificates.client
        code = f'certificate = "{leaf.path}", key = "{leaf.key}"'
        assert (
            lua.text(f"local c = wrapped({peer.port}, {{ {code} }}) c:dohandshake() return show((c:receive()))")
            == "client"
        )


def test_old_protocols_and_wrong_parameters_are_refused(lua, certificates):
    def told(parameters):
        return lua.text(f"return show(ssl.newcontext({{ {parameters} }}))")

    assert told('mode = "client", protocol = "tlsv1"') == "nil|invalid protocol (tlsv1)"
    assert told('mode = "server", protocol = "any"').startswith("nil|invalid mode (server)")
    assert told('mode = "client", protocol = "any", cafile = "/nonexistent"').startswith("nil|")
    assert told('mode = "client", protocol = "any", alpn = 3') == "nil|invalid ALPN parameter"
    assert told('mode = "client", protocol = "any", password = 3') == "nil|invalid password type"
    assert lua.text('return show(ssl._VERSION, ssl.wrap(socket.tcp(), { mode = "client" }))') == "1.2.0|nil|closed"
