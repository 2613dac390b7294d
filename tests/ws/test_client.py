"""heart.v1.websocket against servers that others have written: PyPI's websockets, node's ws, nginx, and raw frames."""

import base64
import json
import socket
import threading
import time

import pytest
from heart_server import PATIENCE, SANITIZED, free_port, wait_until
from http_peer import Peer
from lua_shell import Shell
from tls_servers import server_context
from websocket_client import BINARY, CLOSE, PING, PONG, TEXT, deflated
from websocket_servers import NodeWs, Websockets, answer, receive, send

PRELUDE = """
websocket = require("heart.v1.websocket")
core = require("heart.core")
task = require("heart.v1.task")
json = require("heart.v1.json")

---Sends texts and bytes of these sizes, and compares what comes back.
function echo(ws, sizes)
  for _, n in ipairs(sizes) do
    local text, bytes = ("grüße, "):rep(math.ceil(n / 9)):sub(1, n):gsub("\\195$", "x"), core.random.bytes(n)
    assert(ws:send(text))
    local data, kind = ws:receive(10)
    assert(data == text and kind == "text", kind)
    assert(ws:send(bytes, "binary"))
    data, kind = ws:receive(10)
    assert(data == bytes and kind == "binary", kind)
  end
end

---Closes, and what is told of the end.
function finish(ws, ...)
  ws:close(...)
  local _, why, code, reason = ws:receive(10)
  return ("%s %s %s"):format(why, code, reason)
end
"""
FRESH = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
SIZES = "{ 0, 1, 125, 126, 4096, 65535, 65536, 300000 }"


@pytest.fixture(scope="module")
def lua():
    with Shell("--ws-close-timeout", "0.3", prelude=PRELUDE) as shell:
        yield shell


def connecting(url, options=""):
    return f'local ws, err, response = websocket.connect("{url}", {{ {options} }})\n'


def run(lua, url, code, options=""):
    """Run code with an open `ws`."""
    return lua.text(connecting(url, options) + "assert(ws, err)\n" + code)


def failure(lua, url, options=""):
    """The reason that there is none."""
    return lua.text(connecting(url, options) + "return tostring(ws) .. ' ' .. tostring(err)").removeprefix("nil ")


# ---- Servers that others have written


@pytest.mark.parametrize("options", ["", "deflate = false", "deflate_min = 0", 'deflate_min = 0, deflate = "context"'])
def test_messages_come_back_from_websockets(lua, options):
    with Websockets() as server:
        assert run(lua, server.url, f"echo(ws, {SIZES}) return finish(ws, 3001, 'bye')", options) == "closed 3001 bye"
        wait_until(lambda: server.closed == [(3001, "bye")], lambda: server.closed)


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ("", "{}"),
        ('deflate_min = 0, deflate = "context"', '{"perMessageDeflate": true}'),
        ("deflate_min = 0", '{"perMessageDeflate": {"threshold": 0, "clientMaxWindowBits": 10}}'),
    ],
)
def test_messages_come_back_from_node(lua, options, server):
    with NodeWs(server) as peer:
        assert run(lua, peer.url, f"echo(ws, {SIZES}) return finish(ws)", options) == "closed 1000 "


def test_messages_come_back_from_heart_itself(lua, serve):
    server = serve(
        """
        local app = require("heart.v1")
        local websocket = require("heart.v1.websocket")
        app.ws("/echo", { deflate_min = 0, protocols = { "b" } }, { message = function(ws, ...) ws:send(...) end })
        app.get("/ask", function(ctx)
          local url = "ws://127.0.0.1:" .. ctx.query("port") .. "/echo"
          local ws = assert(websocket.connect(url, { protocols = { "b" } }))
          ws:send("from one handler to another")
          local text = ws:receive()
          ws:close()
          return text .. " " .. ws:protocol()
        end)
        """
    )
    assert server.get(f"/ask?port={server.port}").text == "from one handler to another b"
    url = f"ws://127.0.0.1:{server.port}/echo"
    assert run(lua, url, f"echo(ws, {SIZES}) return finish(ws)", "deflate_min = 0") == "closed 1000 "


def test_request_has_what_was_asked_for(lua):
    seen = {}

    def handler(connection):
        request = connection.request
        seen.update(request.headers.raw_items(), path=request.path, protocol=connection.subprotocol)
        connection.send("ready")

    options = 'protocols = { "v2", "v1" }, headers = { Cookie = "id=7", Origin = "http://x" }, '
    options += 'auth = { user = "a", password = "b" }'
    with Websockets(handler, subprotocols=["v1"]) as server:
        code = "return ws:receive() .. ' ' .. ws:protocol() .. ' ' .. err.status .. ' ' .. err.headers.upgrade"
        assert run(lua, server.url + "/a%20b?c=d", code, options) == "ready v1 101 websocket"
    assert (seen["path"], seen["protocol"], seen["Cookie"], seen["Origin"]) == ("/a%20b?c=d", "v1", "id=7", "http://x")
    assert seen["Authorization"] == "Basic " + base64.b64encode(b"a:b").decode()
    assert seen["Sec-WebSocket-Version"] == "13" and len(base64.b64decode(seen["Sec-WebSocket-Key"])) == 16
    assert seen["Host"] == server.url.removeprefix("ws://")


def test_fragments_are_one_message(lua):
    def handler(connection):
        connection.send(["one ", "message ", "of three"])
        connection.send([b"\x00", b"", b"\xff"])

    code = "local a, b = ws:receive(), { ws:receive() } return a .. #b[1] .. b[2]"
    for options in ("", "deflate = false"):
        with Websockets(handler) as server:
            assert run(lua, server.url, code, options) == "one message of three2binary"


def test_server_closes_with_code_and_reason(lua):
    with Websockets(lambda connection: connection.close(4001, "enough")) as server:
        code = "local _, why, code, reason = ws:receive() return why .. code .. reason .. tostring(ws:is_open())"
        assert run(lua, server.url, code) == "closed4001enoughfalse"
        wait_until(lambda: server.closed == [(4001, "enough")], lambda: server.closed)


def test_pings_go_both_ways(lua):
    pinged = []

    def handler(connection):
        pinged.append(connection.ping().wait(PATIENCE))
        connection.recv()

    with Websockets(handler) as server:
        run(lua, server.url, "assert(ws:ping('?')) ws:receive(0.05) ws:send('x') finish(ws)")
        assert pinged == [True]


def test_both_sides_can_send_at_the_same_time(lua):
    """An echo that takes nothing while it sends: who did not read while his own output waits would wait for ever."""
    code = """
    local part, n = ("x"):rep(200000), 100
    local sender = task.spawn(function() for _ = 1, n do assert(ws:send(part)) end end)
    local got = 0
    for _ = 1, n do
      task.sleep(0.001)
      got = got + #assert(ws:receive(10))
    end
    sender:join()
    return got .. finish(ws)
    """
    with Websockets(compression=None) as server:
        assert run(lua, server.url, code, "deflate = false") == "20000000closed 1000 "


def test_many_at_once_each_get_their_own(lua):
    code = """
    local tasks = {}
    for i = 1, 50 do
      tasks[i] = task.spawn(function()
        local ws = assert(websocket.connect(URL))
        for k = 1, 5 do
          ws:send(i .. "." .. k)
          assert(ws:receive(10) == i .. "." .. k)
        end
        return finish(ws)
      end)
    end
    for i = 1, 50 do assert(tasks[i]:join() == "closed 1000 ") end
    return core.socket.count()
    """
    with NodeWs() as server:
        assert lua.text(code.replace("URL", f'"{server.url}"')) == "0"


# ---- TLS, proxies


def test_wss_checks_who_the_server_is(lua, certificates):
    context = server_context(certificates.server)
    trust = f'tls = {{ ca_file = "{certificates.root.path}" }}, deflate = false, timeout = 10'
    with Websockets(context=context) as server:
        code = f"echo(ws, {SIZES}) echo(ws, {{ 1000000 }}) return finish(ws)"
        assert run(lua, server.url, code, trust) == "closed 1000 "
        assert "certificate verify failed" in failure(lua, server.url)
        assert "certificate verify failed" in failure(lua, server.url.replace("127.0.0.1", "localhost"), trust)


def test_wss_has_two_directions(lua, certificates):
    code = """
    local part = ("x"):rep(100000)
    local sender = task.spawn(function() for _ = 1, 60 do assert(ws:send(part)) end end)
    local got = 0
    for _ = 1, 60 do got = got + #assert(ws:receive(10)) end
    sender:join()
    return got .. finish(ws)
    """
    options = f'tls = {{ ca_file = "{certificates.root.path}" }}, deflate = false'
    with Websockets(context=server_context(certificates.server), compression=None) as server:
        assert run(lua, server.url, code, options) == "6000000closed 1000 "


def test_tunnel_leads_through_a_proxy(lua):
    asked = []

    def tunnel(connection):
        request = connection.request()
        asked.append((request.method, request.target))
        with socket.create_connection(("127.0.0.1", int(request.target.split(":")[1]))) as far:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            pump = threading.Thread(target=copy, args=(far, connection.sock), daemon=True)
            pump.start()
            copy(connection.sock, far)
            pump.join(PATIENCE)

    with Websockets() as server, Peer(on_connect=tunnel) as proxy:
        options = f'proxy = "{proxy.url}"'
        assert run(lua, server.url, "echo(ws, { 10 }) return finish(ws)", options) == "closed 1000 "
        assert asked == [("CONNECT", server.url.removeprefix("ws://"))]


def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


# ---- Refusals


def test_answer_that_is_no_upgrade_is_told_with_its_response(lua):
    def script(connection, request):
        if request.target == "/moved":
            return connection.answer(b"", "301 Moved Permanently", "Location: /")
        return connection.answer(b"not you", "403 Forbidden")

    with Peer(script) as peer:
        url = peer.url.replace("http", "ws")
        assert failure(lua, url + "/moved") == "bad status 301"
        code = connecting(url) + "return err .. ': ' .. response.body"
        assert lua.text(code) == "bad status 403: not you"


@pytest.mark.parametrize(
    ("head", "options", "reason"),
    [
        ("", "", ""),
        ("Sec-WebSocket-Accept: c3RyYW5nZXIncyBhbnN3ZXIgIQ==", "", "Sec-WebSocket-Accept is wrong"),
        ("Upgrade: h2c", "", "something else"),
        ("Connection: keep-alive", "", "something else"),
        ("Sec-WebSocket-Protocol: v3", 'protocols = { "v2" }', "subprotocol that was not offered"),
        ("Sec-WebSocket-Protocol: v3", "", "subprotocol that was not offered"),
        ("Sec-WebSocket-Extensions: permessage-deflate", "deflate = false", "extension that was not offered"),
        ("Sec-WebSocket-Extensions: permessage-deflate", "", "not those that were offered"),
        ("Sec-WebSocket-Extensions: permessage-deflate", 'deflate = "context"', ""),
        ("Sec-WebSocket-Extensions: x-other", "", "not those that were offered"),
        (f"{FRESH}; client_max_window_bits=8", "", ""),
        (f"{FRESH}; client_max_window_bits", "", "not those that were offered"),
        (f"{FRESH}; server_max_window_bits=7", "", "not those that were offered"),
    ],
)
def test_server_that_answers_wrongly_is_refused(lua, head, options, reason):
    """RFC 6455 section 4.1, RFC 7692 section 7.1"""

    def serve_one(connection):
        request = connection.request()
        fields = {}
        answer(_Kept(fields), request=request)
        name, _, value = head.partition(": ")
        if head:
            fields[name] = value
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        connection.send("\r\n".join(lines).encode())
        connection.file.read(1)

    with Peer(on_connect=serve_one) as peer:
        told = failure(lua, peer.url.replace("http", "ws"), options)
        assert reason in told and told.startswith("bad handshake" if reason else "userdata")


class _Kept:
    """Takes the fields of a head in place of a connection."""

    def __init__(self, fields):
        self.fields = fields

    def send(self, data):
        self.fields.update(line.split(": ", 1) for line in data.decode().split("\r\n")[1:-2])


def test_server_that_is_not_there_or_does_not_answer_is_told(lua):
    assert failure(lua, f"ws://127.0.0.1:{free_port()}") == "connection refused"
    with Peer(on_connect=lambda connection: connection.file.read(100000)) as peer:
        assert failure(lua, peer.url.replace("http", "ws"), "timeout = 0.1") == "timeout"
    with Peer(on_connect=lambda connection: connection.request()) as peer:
        assert failure(lua, peer.url.replace("http", "ws")) == "closed"


def test_wrong_arguments_are_told(lua):
    code = """
    local told = {}
    for _, call in ipairs({
      function() websocket.connect(1) end, function() websocket.connect("ws://x", { subprotocols = {} }) end,
      function() websocket.connect("ws://x", { timeout = "1" }) end,
      function() websocket.connect("ws://x", { protocols = { "a b" } }) end,
    }) do
      told[#told + 1] = select(2, pcall(call))
    end
    for _, url in ipairs({ "http://x", "ws://", "wss://a b", "ws://x:0" }) do
      told[#told + 1] = select(2, websocket.connect(url))
    end
    told[#told + 1] = select(2, websocket.connect("ws://x", { headers = { ["sec-websocket-key"] = "x" } }))
    return json.encode(told)
    """
    told = json.loads(lua.text(code))
    expected = ["expected a URL", "unknown option subprotocols", "timeout: expected a number", "list of names"]
    expected += ["unsupported scheme", "bad host name", "bad host name", "bad port", "the client's own"]
    assert all(part in text for part, text in zip(expected, told, strict=True)), told


# ---- Frame by frame


def raw(lua, serve_one, code, options=""):
    """What the code returns, with a server of raw frames."""

    def run_one(connection):
        answer(connection)
        serve_one(connection)

    with Peer(on_connect=run_one) as peer:
        found = run(lua, peer.url.replace("http", "ws"), code, options)
        wait_until(lambda: peer.closed == 1, "the server has ended")
        return found


def test_every_frame_is_masked_anew(lua):
    """RFC 6455 section 5.3"""
    frames = []

    def serve_one(connection):
        while found := receive(connection):
            frames.append(found)
            if found[0] == CLOSE:
                send(connection, CLOSE, found[1])
                return

    code = "for _ = 1, 200 do ws:send('same') end ws:send(('y'):rep(70000), 'binary') ws:ping('?') return finish(ws)"
    assert raw(lua, serve_one, code) == "closed 1000 "
    assert [payload for opcode, payload, _, _ in frames if opcode == TEXT] == [b"same"] * 200
    assert frames[200][:2] == (BINARY, b"y" * 70000) and frames[201][:2] == (PING, b"?")
    assert len({mask for _, _, mask, _ in frames}) == len(frames) == 203


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(TEXT, b"x", {"rsv": 4})], 1002),
        ([(0, b"x", {})], 1002),
        ([(TEXT, b"\xff", {})], 1007),
        ([(BINARY, b"x" * 1001, {})], 1009),
        ([(BINARY, b"x" * 600, {"fin": False}), (0, b"x" * 600, {})], 1009),
        ([(CLOSE, b"\x03", {})], 1002),
    ],
)
def test_server_that_breaks_the_rules_is_told_the_code(lua, frames, code):
    told = []

    def serve_one(connection):
        for opcode, payload, more in frames:
            send(connection, opcode, payload, **more)
        told.append(receive(connection)[:2])

    found = raw(lua, serve_one, "local _, why, code = ws:receive() return why .. code", "max_message = 1000")
    assert (found, told) == (f"closed{code}", [(CLOSE, code.to_bytes(2, "big"))])


def test_masked_frame_of_the_server_is_refused(lua):
    """RFC 6455 section 5.1"""
    told = []

    def serve_one(connection):
        connection.send(b"\x81\x81abcd\x00")
        told.append(receive(connection)[1])

    assert raw(lua, serve_one, "return (select(3, ws:receive()))") == "1002"
    assert told == [b"\x03\xea"]


def test_messages_that_came_with_the_handshake_are_received(lua):
    """More of them than one read takes."""

    def serve_one(connection):
        for n in range(300):
            send(connection, TEXT, b"%03d" % n + b"z" * 1000)
        send(connection, CLOSE, b"\x03\xe8")
        receive(connection)

    code = """
    task.sleep(0.1)
    for n = 0, 299 do assert(ws:receive(10):sub(1, 3) == ("%03d"):format(n)) end
    return (select(3, ws:receive(10)))
    """
    assert raw(lua, serve_one, code) == "1000"


def test_server_is_left_to_close_the_connection(lua):
    """RFC 6455 section 7.1.1"""
    seen = []

    def serve_one(connection):
        assert receive(connection)[0] == CLOSE
        send(connection, CLOSE, b"\x03\xe8")
        connection.sock.settimeout(0.1)
        try:
            seen.append(connection.sock.recv(1))
        except TimeoutError:
            seen.append("open")

    assert raw(lua, serve_one, "return finish(ws)") == "closed 1000 "
    assert seen == ["open"]


def test_server_that_does_not_answer_the_close_is_left(lua):
    def serve_one(connection):
        assert receive(connection)[0] == CLOSE
        assert receive(connection) is None

    assert raw(lua, serve_one, "return finish(ws, 1001)") == "closed 1001 "


def test_lost_connection_is_told_as_1006(lua):
    assert raw(lua, lambda connection: connection.reset(), "return (select(3, ws:receive(10)))") == "1006"
    code = "ws:receive(10) local ok, why, code = ws:send('x') return tostring(ok) .. why .. code"
    assert raw(lua, lambda connection: connection.close(), code) == "nilclosed1006"


def test_slow_server_suspends_the_sender(lua):
    def serve_one(connection):
        time.sleep(0.3)
        connection.reset()

    code = """
    local n = 0
    while ws:send(("x"):rep(100000)) do n = n + 1 end
    return n
    """
    assert 0 < int(raw(lua, serve_one, code, "deflate = false")) < 200
    assert SANITIZED or lua.server.rss() < 80 << 20


def test_compressed_fragments_and_control_frames_between_them_are_read(lua):
    seen = []

    def serve_one(connection):
        packed = deflated(b"in three parts " * 100)
        send(connection, TEXT, packed[:5], rsv=4, fin=False)
        send(connection, PING, b"!")
        send(connection, 0, packed[5:9], fin=False)
        send(connection, 0, packed[9:])
        seen.append(receive(connection))

    def run_one(connection):
        answer(connection, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover")
        serve_one(connection)

    with Peer(on_connect=run_one) as peer:
        assert run(lua, peer.url.replace("http", "ws"), "return #ws:receive(10)") == "1500"
        wait_until(lambda: seen, "the pong")
    assert seen[0][:2] == (PONG, b"!")


# ---- Life


def test_object_that_is_forgotten_says_good_bye(lua):
    with Websockets() as server:
        run(lua, server.url, "ws = nil")
        lua.text("collectgarbage() collectgarbage()")
        wait_until(lambda: server.closed == [(1001, "")], lambda: server.closed)


def test_object_that_only_a_waiting_coroutine_has_stays(lua):
    code = """
    local waiting = task.spawn(function() return (websocket.connect(URL):receive(10)) end)
    for _ = 1, 10 do task.sleep(0.01) collectgarbage() collectgarbage() end
    return waiting:join()
    """

    def handler(connection):
        time.sleep(0.2)
        connection.send("late")

    with Websockets(handler) as server:
        assert lua.text(code.replace("URL", f'"{server.url}"')) == "late"


APP = """
local app = require("heart.v1")
local websocket = require("heart.v1.websocket")
local first = assert(websocket.connect("URL"))
first:send("at the start")
local told = first:receive()
require("heart.v1.task").spawn(function()
  local ws = assert(websocket.connect("URL"))
  ws:send("task")
  while ws:receive() do end
end)
app.get("/", function() return told end)
"""


def test_script_can_connect_and_a_reload_or_stop_closes_with_1001(serve):
    heard = []

    def handler(connection):
        for message in connection:
            heard.append(message)
            connection.send(message)

    with Websockets(handler) as peer:
        server = serve(APP.replace("URL", peer.url), "--reload-grace", "0.2")
        assert server.get("/").text == "at the start"
        wait_until(lambda: sorted(heard) == ["at the start", "task"], lambda: heard)
        server.write("main.lua", APP.replace("URL", peer.url))
        server.signal(1)
        wait_until(lambda: len(peer.closed) == 2 and len(heard) == 4, lambda: (peer.closed, heard))
        server.stop()
        wait_until(lambda: len(peer.closed) == 4, lambda: peer.closed)
        assert peer.closed == [(1001, "")] * 4


def test_silent_server_is_pinged_and_then_given_up(serve):
    pings = []

    def run_one(connection):
        answer(connection)
        for _ in range(2):
            opcode, payload, _, _ = receive(connection)
            pings.append(opcode)
            if len(pings) == 1:
                send(connection, PONG, payload)
        assert receive(connection) is None

    with Shell("--ws-ping-interval", "0.1", "--ws-timeout", "0.1", prelude=PRELUDE) as quick:
        with Peer(on_connect=run_one) as peer:
            code = "local _, why, code = ws:receive(10) return why .. code"
            assert run(quick, peer.url.replace("http", "ws"), code) == "closed1006"
            wait_until(lambda: peer.closed == 1, "the server has ended")
    assert pings == [PING, PING]
