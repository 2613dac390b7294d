"""Libraries for OpenResty, unmodified from Debian's packages, against real servers. Those that Debian does not have
are tried by tests/suites/openresty.py."""

import asyncio
import contextlib
import errno
import hashlib
import json
import ssl
import threading
from pathlib import Path

import pytest
from certificates import Authority
from debian_files import unpack
from dnslib import QTYPE, RCODE, RR, A
from dnslib.server import DNSServer
from heart_server import heart, run
from lua_shell import Shell
from redis_server import RedisServer
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed

SCENARIOS = Path(__file__).parent / "libraries"
PACKAGES = (
    "lua-nginx-redis",
    "lua-nginx-websocket",
    "lua-resty-lrucache",
    "lua-nginx-string",
    "lua-nginx-cookie",
    "lua-nginx-dns",
)
PRELUDE = """
package.path = package.path .. ";%s/usr/share/lua/5.1/?.lua"
json = require("heart.v1.json")
"""


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude=PRELUDE % unpack(*PACKAGES)) as shell:
        yield shell


def play(lua, name, **env):
    """Run a scenario with its `env`; an assertion that fails in it raises."""
    code = "local env = json.decode((...))\n" + (SCENARIOS / f"{name}.lua").read_text()
    lua.run(code, json.dumps(env).encode())


def test_redis(lua, tmp_path):
    socket = tmp_path / "socket"
    with RedisServer(unixsocket=str(socket)) as server:
        play(lua, "redis", module="nginx.redis", port=server.port, socket=str(socket))


class Echo:
    """A WebSocket server that sends back what it gets, with and without TLS, as a context manager."""

    def __init__(self, leaf):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(leaf.path, leaf.key)
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.serve(),), daemon=True)

    async def echo(self, connection):
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async def serve(self):
        self.ended = asyncio.Event()
        async with (
            serve_websocket(self.echo, "127.0.0.1", 0) as plain,
            serve_websocket(self.echo, "127.0.0.1", 0, ssl=self.context) as secure,
        ):
            self.port, self.tls_port = (server.sockets[0].getsockname()[1] for server in (plain, secure))
            self.ready.set()
            await self.ended.wait()

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()


def test_websocket_client(lua, tmp_path):
    with Echo(Authority(tmp_path).issue("server", "IP:127.0.0.1")) as server:
        play(lua, "websocket", module="nginx.websocket.client", port=server.port, tls_port=server.tls_port)


def test_lrucache(lua):
    play(lua, "lrucache", module="resty.lrucache")


def test_digests_and_ciphers(lua):
    digests = {name: hashlib.new(name, b"hello").hexdigest() for name in ("md5", "sha1", "sha224", "sha256", "sha512")}
    key, iv = (letter.encode().hex() * 16 for letter in "ki")
    words = ("openssl", "enc", "-aes-128-cbc", "-K", key, "-iv", iv)
    encrypted = run(*words, input=b"hello", text=False).stdout.hex()
    play(lua, "string", prefix="nginx.", digests=digests, encrypted=encrypted)


def test_cookie(lua):
    code = (
        'local env = { module = "nginx.cookie" }\n'
        + (SCENARIOS / "cookie.lua").read_text()
        + 'ngx.say("done") ngx.exit(200)'
    )
    size = b"%d\n" % len(code.encode())
    with lua.server.connect() as client:
        response = client.fetch("POST", "/run", [("Cookie", "a=1; b=two")], size + code.encode())
    assert (response.status, response.text) == (200, "done\n"), response.text
    assert response["set-cookie"].startswith("name=Bob; ")


class Names:
    """Answers of the DNS server."""

    def resolve(self, request, handler):
        reply = request.reply()
        if str(request.q.qname) == "a.test.":
            reply.add_answer(RR("a.test", QTYPE.A, rdata=A("192.0.2.7"), ttl=60))
        else:
            reply.header.rcode = RCODE.NXDOMAIN
        return reply


def dns_servers():
    """A server for UDP and one for TCP on the same port: the next one while the TCP side of it is somebody else's."""
    while True:
        udp = DNSServer(Names(), address="127.0.0.1", port=0)
        try:
            return udp, DNSServer(Names(), address="127.0.0.1", port=udp.server.server_address[1], tcp=True)
        except OSError as error:
            udp.server.server_close()
            if error.errno != errno.EADDRINUSE:
                raise


def test_dns(lua):
    servers = dns_servers()
    for server in servers:
        server.start_thread()
    try:
        play(lua, "dns", module="nginx.dns.resolver", port=servers[0].server.server_address[1])
    finally:
        for server in servers:
            server.stop()
            server.server.server_close()


def test_check_knows_what_libraries_require(tmp_path):
    code = 'require("resty.core") require "resty.core.regex" require("ngx.semaphore") require("table.nkeys")\n'
    (tmp_path / "main.lua").write_text(code + 'require("heart.v1").get("/", function() ngx.say(ngx.md5("x")) end)')
    result = heart("check", tmp_path / "main.lua")
    assert result.returncode == 0, result
    (tmp_path / "main.lua").write_text('require("resty.nothing")')
    assert "module resty.nothing: no such module" in heart("check", tmp_path / "main.lua").stdout


def test_parts_of_resty_core_are_there(lua):
    assert lua.text('return require("resty.core.regex").version == require("resty.core").version and "same"') == "same"
    assert lua.text('return require("table.nkeys")({ 1, a = 2 }) .. tostring(require("table.isempty")({}))') == "2true"
    code = 'local t = require("table.clone")({ 1, b = 2 }) return t[1] + t.b .. tostring(require("table.isarray")(t))'
    assert lua.text(code) == "3false"
