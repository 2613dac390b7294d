"""Encrypted connections of coroutines, in the real server, with servers that are not ours."""

import array
import fcntl
import socket
import ssl
import termios
import time

import pytest
from heart_server import SANITIZED, wait_until
from lua_shell import LuaFailed, Shell
from tls_servers import Peer, echo, nginx, s_server, server_context

HEAD = """
local core, task = require("heart.core"), require("heart.v1.task")
local function connect(port)
  local sock = assert(core.socket.connect({ kind = "tcp", address = "127.0.0.1", port = port, timeout = 5 }))
  sock:settimeouts(10, 10, 10)
  return sock
end
local function dial(port, options, peer)
  local sock = connect(port)
  local context = assert(core.tls.context(options))
  local ok, err = sock:tls(context, peer or { server_name = "heart.test", port = port })
  return ok and sock, err
end
"""


class TlsShell(Shell):
    """Its chunks know `connect` and `dial`."""

    def run(self, code, data=b""):
        return super().run(HEAD + code, data)


@pytest.fixture(scope="module")
def shell(certificates):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates.root.path))
        with TlsShell() as made:
            yield made


@pytest.fixture
def echoing(certificates):
    with Peer(echo, server_context(certificates.server)) as peer:
        yield peer


def test_bytes_go_both_ways(shell, echoing):
    code = f"""
      local sock = assert(dial({echoing.port}))
      sock:send({{ "hel", {{ "lo", 7 }}, "\\n" }})
      local session = sock:session()
      local line = sock:receive("*l")
      sock:close()
      return table.concat({{ line, session.version, session.certificate.subject, tostring(session.resumed) }}, "|")"""
    assert shell.text(code) == "hello7|TLSv1.3|CN=server,O=Heart's tests|false"


@pytest.mark.parametrize(
    ("leaf", "peer", "reason"),
    [
        ("server", 'server_name = "other.test"', "hostname mismatch"),
        ("server", 'server_name = "127.0.0.2"', "IP address mismatch"),
        ("expired", 'server_name = "heart.test"', "certificate has expired"),
        ("foreign", 'server_name = "heart.test"', "unable to get local issuer certificate"),
        ("stranger", "", "self-signed certificate"),
    ],
)
def test_wrong_certificates_are_refused(shell, certificates, leaf, peer, reason):
    with Peer(echo, server_context(getattr(certificates, leaf))) as server:
        said = shell.text(f"local _, err = dial({server.port}, nil, {{ {peer} }}) return err")
    assert said == f"certificate verify failed: {reason}"
    assert server.failures


def test_verification_can_be_turned_off_for_one_connection(shell, certificates):
    with Peer(echo, server_context(certificates.foreign)) as server:
        code = f"""
          local sock = assert(dial({server.port}, nil, {{ server_name = "other.test", verify = false }}))
          sock:send("x\\n")
          return sock:receive("*l")"""
        assert shell.text(code) == "x"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate(shell, certificates, version):
    server = server_context(certificates.server, verify_mode=ssl.CERT_REQUIRED, maximum_version=version)
    server.load_verify_locations(certificates.root.path)

    def tell_name(connection):
        connection.sendall(dict(part[0] for part in connection.getpeercert()["subject"])["commonName"].encode())
        connection.unwrap()

    leaf = certificates.client
    own = f'{{ certificate = "{leaf.path}", key = "{leaf.key}" }}'
    with Peer(tell_name, server) as peer:
        assert shell.text(f"return assert(dial({peer.port}, {own})):receive('*a')") == "client"
        said = shell.text(f"""
          local sock, err = dial({peer.port})
          return err or select(2, sock:receive("*a"))""")
    assert said in ("tls: sslv3 alert handshake failure", "tls: tlsv13 alert certificate required")


def test_later_connections_resume(shell, echoing):
    code = f"""
      local context, seen = core.tls.context(), {{}}
      for i = 1, 3 do
        local sock = connect({echoing.port})
        assert(sock:tls(context, {{ server_name = "heart.test", port = {echoing.port} }}))
        sock:send("x\\n")
        sock:receive("*l")
        seen[i] = tostring(sock:session().resumed)
        sock:close()
      end
      return table.concat(seen, " ")"""
    assert shell.text(code) == "false true true"


def test_protocol_and_server_name(shell, certificates):
    context, names = server_context(certificates.server), []
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with Peer(echo, context) as server:
        code = 'return dial(%d, { alpn = { "http/1.1" } }, { server_name = "a.wild.test" }):session().alpn'
        assert shell.text(code % server.port) == "http/1.1"
    assert names == ["a.wild.test"]


def test_peer_that_does_not_speak_tls(shell):
    with Peer(lambda connection: (connection.recv(1000), connection.sendall(b"220 hello\r\n"))) as server:
        assert shell.text(f"local _, err = dial({server.port}) return err") == "tls: wrong version number"


def test_peer_that_hangs_up(shell):
    with Peer(lambda connection: connection.recv(1)) as server:
        said = shell.text(f"local _, err = dial({server.port}) return err")
    assert said in ("closed", "connection reset")


def test_handshake_has_the_time_of_a_connect(shell):
    """A server that never answers; others are served meanwhile, and what is left is of no use."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = f"""
          local sock = connect({silent.getsockname()[1]})
          sock:settimeouts(0.2, 10, 10)
          local ok, err = sock:tls(core.tls.context(), {{ server_name = "heart.test" }})
          local _, after = sock:send("x")
          return tostring(ok) .. " " .. err .. " " .. after"""
        begun = time.monotonic()
        assert shell.text(code) == "nil timeout closed"
        assert 0.15 < time.monotonic() - begun < 5


def test_read_that_waits_has_its_own_time(shell, echoing):
    code = f"""
      local sock = dial({echoing.port})
      sock:settimeouts(1, 1, 0.1)
      sock:send("no line")
      local _, err, partial = sock:receive("*l")
      sock:send(" end\\n")
      return err .. "|" .. partial .. "|" .. sock:receive("*l")"""
    assert shell.text(code) == "timeout|no line| end"


def test_end_and_cut_are_told_apart(shell, certificates):
    def end(connection):
        connection.sendall(b"all")
        connection.unwrap()

    def cut(connection):
        connection.sendall(b"part")
        connection.shutdown(socket.SHUT_RDWR)

    code = """
      local sock = dial(%d)
      local data, err, partial = sock:receive("*a")
      return tostring(data) .. "|" .. tostring(err) .. "|" .. tostring(partial)"""
    with Peer(end, server_context(certificates.server)) as server:
        assert shell.text(code % server.port).startswith("all|nil")
    with Peer(cut, server_context(certificates.server)) as server:
        assert shell.text(code % server.port) == "nil|closed|part"


def test_half_close(shell, certificates):
    def count(connection):
        n = 0
        while data := connection.recv(65536):
            n += len(data)
        connection.sendall(b"%d" % n)
        connection.unwrap()

    with Peer(count, server_context(certificates.server)) as server:
        code = f"""
          local sock = dial({server.port})
          sock:send(("x"):rep(100000))
          sock:shutdown("send")
          return sock:receive("*a")"""
        assert shell.text(code) == "100000"


def test_large_transfers_both_ways_at_once(shell, echoing):
    """More than all buffers hold: it ends only if both directions go on while the other one waits."""
    code = f"""
      local sock, size = dial({echoing.port}), 8000000
      local part = {{}}
      for i = 1, 10000 do part[i] = ("%08d"):format(i) end
      local text = table.concat(part):rep(100)
      local writer = task.spawn(function() return sock:send(text) end)
      local back = assert(sock:receive(#text))
      assert(writer:join() == #text)
      return back == text and tostring(#back) or "other bytes" """
    assert shell.text(code) == "8000000"


def test_many_connections_leave_nothing(shell, echoing):
    """Good ones, refused ones, and ones that were left in the middle of everything."""
    code = f"""
      local context = core.tls.context()
      local function go(n)
        for i = 1, n do
          local sock = connect({echoing.port})
          local name = i % 3 == 0 and "other.test" or "heart.test"
          if sock:tls(context, {{ server_name = name, port = {echoing.port} }}) and i % 3 == 1 then
            sock:send("x\\n")
            sock:receive("*l")
            sock:close()
          end
          if i % 30 == 0 then
            collectgarbage()
            collectgarbage()
          end
        end
      end
      local function rss()
        for line in io.lines("/proc/self/status") do
          local kb = line:match("^VmRSS:%s+(%d+)")
          if kb then return tonumber(kb) end
        end
      end
      go(30)
      local sockets, before = core.socket.count(), rss()
      go(120)
      return (core.socket.count() - sockets) .. " " .. (rss() - before)"""
    sockets, grown = map(int, shell.text(code).split())
    assert sockets == 0
    assert SANITIZED or grown < 2000  # a sanitizer keeps what is freed


# ---- openssl s_server ------------------------------------------------------------------------------------


def lines_until(process, text):
    """Read what s_server says up to a line with `text`."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"s_server did not say {text}")


def tell(process, line):
    """Give s_server a line, and wait until it has been read: a command must be alone in what is read at once."""
    process.stdin.write(line + b"\n")
    unread = array.array("i", [1])

    def is_read():
        fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
        return unread[0] == 0

    wait_until(is_read, "s_server reads")


def talk(shell, process, command):
    """A connection on which the server is given `command` between two lines of text; what then arrives."""
    task_name = f"talk{process.port}"
    code = f"""
      local sock = assert(dial({process.port}))
      package.loaded.{task_name} = task.spawn(function()
        local seen = {{}}
        while #seen < 2 do
          local line, err = sock:receive("*l")
          if not line then return err end
          seen[#seen + 1] = line
        end
        sock:send("and back\\n")
        return table.concat(seen, "|")
      end)
      return "" """
    shell.run(code)
    tell(process, b"one")
    tell(process, command)
    process.stdin.write(b"two\n")  # which it does not read where the command has ended the connection
    return shell.text(f"return package.loaded.{task_name}:join(10)")


@pytest.mark.parametrize("command", [b"k", b"K"])
def test_key_update_goes_unnoticed(shell, certificates, command):
    """RFC 8446 section 4.6.3: K asks the client to change its keys, too."""
    with s_server(certificates.server, "-tls1_3") as process:
        assert talk(shell, process, command) == "one|two"
        assert lines_until(process, b"and back")


def test_renegotiation_is_refused(shell, certificates):
    """RFC 5746 allows it, Heart does not: the connection goes on without, or ends."""
    with s_server(certificates.server, "-tls1_2") as process:
        assert talk(shell, process, b"R") in ("one|two", "closed", "tls: sslv3 alert handshake failure")


def test_session_of_s_server_is_resumed(shell, certificates):
    with s_server(certificates.server) as process:
        code = f"""
          local context, seen = core.tls.context(), {{}}
          for i = 1, 2 do
            local sock = connect({process.port})
            assert(sock:tls(context, {{ server_name = "heart.test", port = {process.port} }}))
            sock:settimeouts(1, 1, 0.2)
            sock:receive("*l")
            seen[i] = tostring(sock:session().resumed)
            sock:close()
          end
          return table.concat(seen, " ")"""
        assert shell.text(code) == "false true"


# ---- nginx -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_nginx(shell, certificates, protocol):
    content = bytes(range(256)) * 8000
    with nginx(certificates.server, protocol, file=content) as port:
        code = f"""
          local context, seen = core.tls.context(), {{}}
          local function get(path)
            local sock = connect({port})
            assert(sock:tls(context, {{ server_name = "heart.test", port = {port} }}))
            sock:send("GET " .. path .. " HTTP/1.1\\r\\nHost: heart.test\\r\\nConnection: close\\r\\n\\r\\n")
            local status, reason, headers = sock:read_head(10000)
            assert(status == 200, reason)
            return assert(sock:receive("*a"))
          end
          get("/session")
          local body = get("/file")
          return get("/session") .. "|" .. body"""
        said, _, body = shell.run(code).partition(b"|")
    assert said.decode() == f"{protocol} r heart.test"
    assert body == content


# ---- heart.v1.socket -------------------------------------------------------------------------------------


def test_connect_with_tls(shell, certificates, echoing):
    """The name is checked; tables with the same options are one set: their sessions are resumed."""
    code = f"""
      local socket, seen = require("heart.v1.socket"), {{}}
      for i = 1, 3 do
        local sock = assert(socket.connect("127.0.0.1", {echoing.port}, {{
          tls = {{ ca_file = "{certificates.root.path}", server_name = "heart.test", alpn = {{ "http/1.1" }} }},
        }}))
        sock:send("x\\n")
        sock:receive("*l")
        seen[i] = tostring(sock:session().resumed)
        sock:close()
      end
      seen[4] = tostring(socket.connect("127.0.0.1", {echoing.port}, {{ tls = true }}) ~= nil)
      seen[5] = select(2, socket.connect("127.0.0.1", {echoing.port}, {{ tls = {{ server_name = "other.test" }} }}))
      return table.concat(seen, " ")"""
    assert shell.text(code) == "false true true true certificate verify failed: hostname mismatch"


def test_connect_refuses_unknown_options(shell, echoing):
    code = f'require("heart.v1.socket").connect("127.0.0.1", {echoing.port}, {{ tls = {{ verfiy = true }} }})'
    with pytest.raises(LuaFailed, match="tls: unknown option verfiy"):
        shell.run(code)


def test_connect_encrypts_and_checks_whom_it_has_reached(shell, echoing, certificates):
    code = f"""
      collectgarbage() collectgarbage()
      local socket, before = require("heart.v1.socket"), core.socket.count()
      local function say(tls)
        local sock, err = socket.connect("127.0.0.1", {echoing.port}, {{ tls = tls, timeout = 5, pool = "none" }})
        if not sock then return err end
        sock:send("x\\n")
        local line, version = sock:receive("*l"), sock:session().version
        sock:close()
        return line .. " " .. version
      end
      return table.concat({{
        say(true),
        say({{ server_name = "heart.test", ca_file = "{certificates.root.path}" }}),
        say({{ server_name = "other.test" }}),
        say({{ server_name = "other.test", verify = false }}),
        tostring((pcall(say, {{ servername = "heart.test" }}))),
        tostring(core.socket.count() - before),
      }}, "|")"""
    assert shell.text(code) == ("x TLSv1.3|x TLSv1.3|certificate verify failed: hostname mismatch|x TLSv1.3|false|0")
