"""socket.http, ssl.https, socket.smtp and socket.ftp against nginx and other servers, ours and Debian's on our core."""

import hashlib
import os

import pytest
from certificates import Authority
from debian_files import unpack
from heart_server import free_port
from lua_shell import Shell
from nginx_server import Nginx
from peers import Peer, Silent

SERVER = """
listen 127.0.0.1:{secure} ssl; ssl_certificate {leaf.path}; ssl_certificate_key {leaf.key};
root {home}/files; client_max_body_size 20m;
location /moved {{ return 301 /small.txt; }}
location /twice {{ return 302 /moved; }}
location /loop {{ return 302 /loop; }}
location /auth {{ auth_basic x; auth_basic_user_file {home}/users; try_files /small.txt =404; }}
location /store {{ dav_methods PUT DELETE; root {home}/files; }}
location /empty {{ return 204; }}
location /echo {{ return 200 "$request_method $request_uri $http_host $http_x_field $content_type $http_te"; }}
"""
PRELUDE = """
require("ssl")
package.path = "%s" .. package.path
http, https, url, ltn12 = require("socket.http"), require("ssl.https"), require("socket.url"), require("ltn12")
smtp, ftp, socket, mime = require("socket.smtp"), require("socket.ftp"), require("socket"), require("mime")
function show(...)
  local all = { ... }
  for i = 1, select("#", ...) do
    local v = all[i]
    all[i] = type(v) == "table" and "table" or tostring(v)
  end
  return table.concat(all, "|")
end
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """(http URL, https URL, folder)"""
    home = tmp_path_factory.mktemp("nginx")
    root = Authority(home)
    (home / "files/store").mkdir(parents=True)
    (home / "files/small.txt").write_text("small")
    (home / "files/large.bin").write_bytes(os.urandom(1 << 20) * 5)
    (home / "users").write_text("ann:{PLAIN}s cret\n")
    secure, leaf = free_port(), root.issue("server", "DNS:localhost")
    with Nginx(SERVER.format(home=home, secure=secure, leaf=leaf), folder=home) as server:
        yield server.url, f"https://localhost:{secure}", home


@pytest.fixture(scope="module", params=["ours", "debian"])
def lua(request):
    """With all modules ours, and with Debian's Lua files on our socket.core, mime.core and ssl."""
    path = ""
    if request.param == "debian":
        path = f"{unpack('lua-socket', 'lua-sec')}/usr/share/lua/5.1/?.lua;"
    with Shell(prelude=PRELUDE % path) as shell:
        whose = shell.text('return debug.getinfo(http.open, "S").source .. debug.getinfo(socket.tcp, "S").source')
        assert ("build/packages" in whose) == (request.param == "debian")
        assert "compat/socket/core.lua" in whose
        yield shell


def test_simple_requests(lua, nginx):
    plain, _, _ = nginx
    told = lua.text(f'local b, c, h, s = http.request("{plain}/small.txt") return show(b, c, h["content-length"], s)')
    assert told == "small|200|5|HTTP/1.1 200 OK"
    assert lua.text(f'return show(select(2, http.request("{plain}/none")))').startswith("404|table|HTTP/1.1 404")
    assert lua.text(f'return (http.request("{plain}/echo?a=b", "x=1"))') == (
        f"POST /echo?a=b {plain[7:]}  application/x-www-form-urlencoded trailers"
    )


def test_generic_requests(lua, nginx):
    plain, _, _ = nginx
    code = f"""
        local parts = {{}}
        local r, c = http.request({{ url = "{plain}/echo", method = "DELETE", headers = {{ ["X-Field"] = "value" }},
          sink = ltn12.sink.table(parts) }})
        local head, code, fields = http.request({{ url = "{plain}/small.txt", method = "HEAD" }})
        return show(r, c, table.concat(parts), head, code, fields["content-length"],
          (select(2, http.request({{ url = "{plain}/empty" }}))))
    """
    assert lua.text(code) == f"1|200|DELETE /echo {plain[7:]} value  trailers|1|200|5|204"


def test_large_bodies_both_ways(lua, nginx):
    """Up in chunks, as the length is not told; down with a length."""
    plain, _, home = nginx
    body = (home / "files/large.bin").read_bytes()
    assert lua.run(f'return (http.request("{plain}/large.bin"))') == body
    code = f"""
        local source = ltn12.source.string(...)
        return show((select(2, http.request({{ url = "{plain}/store/up.bin", method = "PUT", source = source }}))))
    """
    assert lua.run(code, body) in (b"201", b"204")
    assert hashlib.md5((home / "files/store/up.bin").read_bytes()).digest() == hashlib.md5(body).digest()


def test_redirects_are_followed(lua, nginx):
    plain, _, _ = nginx
    assert lua.text(f'return show(http.request("{plain}/twice"))').startswith("small|200|table|")
    no = f'return show(select(2, http.request({{ url = "{plain}/moved", redirect = false }})))'
    assert lua.text(no).startswith("301|")
    assert lua.text(f'return show(select(2, http.request("{plain}/loop")))').startswith("302|")
    post = f'return show(select(2, http.request("{plain}/moved", "body")))'
    assert lua.text(post).startswith("301|")


def test_user_and_password_of_the_url(lua, nginx):
    plain, _, _ = nginx
    assert lua.text(f'return show(select(2, http.request("{plain}/auth")))').startswith("401|")
    address = plain.replace("http://", "http://ann:s%20cret@")
    assert lua.text(f'return (http.request("{address}/auth"))') == "small"


def test_proxy_gets_the_whole_url(lua, nginx):
    plain, _, _ = nginx
    code = f"""
        local parts = {{}}
        http.request({{ url = "http://example.org:81/echo?x", proxy = "{plain}", sink = ltn12.sink.table(parts) }})
        return table.concat(parts)
    """
    assert lua.text(code).startswith("GET http://example.org:81/echo?x example.org:81 ") or lua.text(code).startswith(
        "GET /echo?x example.org:81 "
    )


def test_chunks_trailers_and_interim_responses(lua):
    def serve(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n")
        connection.sendall(b"X-A: 2\r\n\r\n5;ext=1\r\nhello\r\n1\r\n \r\n5\r\nthere\r\n0\r\nX-Trailer: end\r\n\r\n")

    with Peer(serve) as peer:
        told = lua.text(f'local b, c, h = http.request("http://127.0.0.1:{peer.port}/") return show(b, c, h["x-a"])')
    assert told == "hello there|200|1, 2"


def test_body_up_to_the_end_and_http_0_9(lua):
    def serve(connection):
        request = connection.recv(4096)
        connection.sendall(b"just text" if b"/old" in request else b"HTTP/1.0 200 OK\r\n\r\nall the rest")

    with Peer(serve) as peer:
        at = f"http://127.0.0.1:{peer.port}"
        assert lua.text(f'return show((http.request("{at}/")))') == "all the rest"
        assert lua.text(f'return show(http.request("{at}/old"))').startswith("just text|200")


def test_failures_are_told(lua):
    def cut(connection):
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")

    def silent(connection):
        while connection.recv(4096):
            pass

    assert lua.text('return show(http.request("http://127.0.0.1:1/"))') == "nil|connection refused"
    assert lua.text('return show(http.request("http://no such name.invalid/"))').startswith("nil|host or service")
    with Peer(cut) as peer:
        assert lua.text(f'return show(http.request("http://127.0.0.1:{peer.port}/"))') == "nil|closed"
    with Peer(silent) as peer, Silent() as slow:
        for port in (peer.port, slow.port):
            request = f'http.request("http://127.0.0.1:{port}/")'
            told = lua.text(f"http.TIMEOUT = 0.2 local r = show({request}) http.TIMEOUT = 60 return r")
            assert told == "nil|timeout"
    assert "invalid host" in lua.text('return show(http.request("nonsense"))')


def test_https(lua, nginx):
    _, secure, home = nginx
    assert lua.text(f'return show(https.request("{secure}/small.txt"))').startswith("small|200|table|HTTP/1.1 200 OK")
    body = (home / "files/large.bin").read_bytes()
    code = f"""
        local parts = {{}}
        assert(https.request({{ url = "{secure}/large.bin", sink = ltn12.sink.table(parts), verify = "peer",
          cafile = "{home}/root.pem" }}))
        return table.concat(parts)
    """
    assert lua.run(code) == body


def test_https_that_is_verified_refuses_what_it_should(lua, nginx):
    _, secure, home = nginx
    verified = f'verify = "peer", cafile = "{home}/root.pem"'
    for address, options in ((secure, 'verify = "peer"'), (secure.replace("localhost", "127.0.0.1"), verified)):
        told = lua.text(f'return show(https.request({{ url = "{address}/small.txt", {options} }}))')
        assert told.startswith("nil|certificate verify failed"), told
    assert (
        lua.text(f'return show(https.request({{ url = "{secure}/", proxy = "http://x" }}))')
        == "nil|proxy not supported"
    )
    http = secure.replace("https", "http")
    assert lua.text(f'return show(select(2, http.request("{http}/")))').startswith("400|")


class Mails:
    """An SMTP server that keeps what it gets."""

    def __enter__(self):
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import AuthResult

        self.got = []
        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            authenticator=lambda server, session, envelope, mechanism, data: AuthResult(
                success=(data.login, data.password) == (b"ann", b"secret"), handled=False
            ),
            auth_require_tls=False,
        )
        self.controller.start()
        self.port = self.controller.port
        return self

    def __exit__(self, *_):
        self.controller.stop()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.content, session.authenticated))
        return "250 OK"


def test_mail(lua):
    from email import message_from_bytes

    with Mails() as mails:
        code = f"""
            local source = smtp.message({{
              headers = {{ to = "Bob <bob@example.org>", subject = "A subject" }},
              body = {{
                preamble = "before",
                {{ body = "text\\r\\n.\\r\\n..two dots\\r\\n" }},
                {{ headers = {{ ["content-type"] = "text/x-bytes", ["content-transfer-encoding"] = "BASE64" }},
                  body = ltn12.source.chain(ltn12.source.string(("\\0\\1\\2"):rep(1000)), ltn12.filter.chain(
                    mime.encode("base64"), mime.wrap())) }},
              }},
            }})
            return show(smtp.send({{ from = "<ann@example.org>", rcpt = {{ "<bob@example.org>", "<eve@example.org>" }},
              source = source, server = "127.0.0.1", port = {mails.port}, user = "ann", password = "secret" }}))
        """
        assert lua.text(code) == "1"
        sender, receivers, content, authenticated = mails.got[0]
        assert (sender, receivers, authenticated) == ("ann@example.org", ["bob@example.org", "eve@example.org"], True)
        message = message_from_bytes(content)
        assert (message["Subject"], message["MIME-Version"]) == ("A subject", "1.0")
        text, binary = message.get_payload()
        assert text.get_payload(decode=True).rstrip(b"\r\n") == b"text\r\n.\r\n..two dots"
        assert binary.get_payload(decode=True) == b"\0\1\2" * 1000


def test_mail_that_is_refused(lua):
    with Mails() as mails:
        to = f'source = ltn12.source.string("x"), server = "127.0.0.1", port = {mails.port}'
        told = lua.text(f'return show(smtp.send({{ from = "<a@b>", rcpt = "<nobody@x>", {to} }}))')
        assert told == "nil|550 no such user"
        told = lua.text(
            f'return show(smtp.send({{ from = "<a@b>", rcpt = "<x@y>", user = "ann", password = "wrong", {to} }}))'
        )
        assert told.startswith("nil|535")
        assert mails.got == []
    at = 'source = ltn12.source.empty(), server = "127.0.0.1", port = 1'
    assert lua.text(f'return show(smtp.send({{ from = "a", rcpt = "b", {at} }}))') == "nil|connection refused"


def ftp_server(files):
    """A small FTP server: EPSV, RETR, STOR, one transfer at a time."""
    import socket

    def serve(connection):
        reader = connection.makefile("rb")
        data = None

        def say(text):
            connection.sendall(text.encode() + b"\r\n")

        say("220-welcome\r\n220 ready")
        for line in reader:
            name, _, argument = line.decode().strip().partition(" ")
            if name.upper() == "USER":
                say("331 password")
            elif name.upper() == "PASS":
                say("230 hello" if argument == "secret" else "530 wrong")
            elif name.upper() == "TYPE":
                say("200 type")
            elif name.upper() == "EPSV":
                data = socket.socket()
                data.bind(("127.0.0.1", 0))
                data.listen()
                say(f"229 Entering (|||{data.getsockname()[1]}|)")
            elif name.upper() in ("RETR", "STOR"):
                if name.upper() == "RETR" and argument not in files:
                    say("550 no such file")
                    continue
                say("150 opening")
                with data.accept()[0] as transfer:
                    if name.upper() == "RETR":
                        transfer.sendall(files[argument])
                    else:
                        files[argument] = b"".join(iter(lambda transfer=transfer: transfer.recv(65536), b""))
                data.close()
                say("226 done")
            elif name.upper() == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")

    return serve


def test_ftp(lua):
    files = {"a file.bin": bytes(range(256)) * 4000}
    with Peer(ftp_server(files)) as peer:
        at = f"ftp://ann:secret@127.0.0.1:{peer.port}"
        assert lua.run(f'return assert(ftp.get("{at}/a%20file.bin;type=i"))') == files["a file.bin"]
        assert lua.text(f'return show(ftp.put("{at}/up.txt", ("x"):rep(100000)))') == "100000"
        assert files["up.txt"] == b"x" * 100000
        assert lua.text(f'return show(ftp.get("{at}/none"))') == "nil|550 no such file"
        assert lua.text(f'return show(ftp.get("{at.replace("secret", "wrong")}/x"))') == "nil|530 wrong"
        assert lua.text(f'return show(ftp.get("{at}/a%20file.bin;type=x"))') == "nil|invalid type 'x'"
        code = f"""
            return show(ftp.command({{ url = "{at}/", user = "ann", password = "secret", command = {{ "dele", "noop" }},
              argument = {{ "x" }}, check = {{ "2..", "2.." }} }}))
        """
        assert lua.text(code) == "1"
    assert lua.text('return show(ftp.get("http://x/"))') == "nil|wrong scheme 'http'"
