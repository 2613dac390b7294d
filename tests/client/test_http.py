"""heart.v1.http: requests and responses, against servers that behave and those that do not."""

import gzip
import json
import socket
import time
import zlib

import pytest
from heart_server import PATIENCE, wait_until
from http_peer import Peer
from lua_shell import LuaFailed
from turns import assert_short_turns


def gzipped(data, level=9):
    """The same at any time: tests are named after it."""
    return gzip.compress(data, level, mtime=0)


def show(lua, code):
    """The dict of `show(...)` in the prelude."""
    return json.loads(lua.text(f"return show({code})"))


def sockets(lua):
    return int(lua.text("return core.socket.count()"))


def echo(connection, request):
    """Answer with what was asked."""
    fields = [field for field in request.fields if field[0] != "user-agent"]
    text = json.dumps([request.method, request.target, fields, request.body.decode("latin-1")])
    connection.answer(text.encode())


@pytest.fixture
def peer():
    with Peer(echo) as server:
        yield server


def asked(lua, code):
    """method, target, fields and body that echo has seen."""
    return json.loads(show(lua, code)["body"])


# ---- Requests


def test_get_asks_for_a_url(lua, peer):
    found = show(lua, f"http.get('{peer.url}/a/b?c=d#e')")
    assert {name: found[name] for name in ("status", "reason", "url", "version")} == {
        "status": 200,
        "reason": "OK",
        "url": f"{peer.url}/a/b?c=d",
        "version": "1.1",
    }
    host = ["host", f"127.0.0.1:{peer.port}"]
    assert json.loads(found["body"]) == ["GET", "/a/b?c=d", [host, ["accept-encoding", "gzip, deflate"]], ""]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_verbs_send_their_method_and_a_body(lua, peer, method):
    found = asked(lua, f"http.{method.lower()}('{peer.url}/', {{ body = 'text' }})")
    assert found[0] == method and found[3] == "text" and ["content-length", "4"] in found[2]


def test_request_takes_all_options(lua, peer):
    code = f"""http.request({{
      url = "{peer.url}/search?x=1", method = "PROPFIND", query = {{ q = "a b&c", n = {{ 1, 2 }}, yes = true }},
      headers = {{ ["X-One"] = "1", ["X-List"] = {{ "a", "b" }}, ["Accept-Encoding"] = false, ["X-Number"] = 5 }},
      auth = {{ user = "me", password = "s:x" }},
    }})"""
    method, target, fields, body = asked(lua, code)
    assert (method, target, body) == ("PROPFIND", "/search?x=1&n=1&n=2&q=a%20b%26c&yes=true", "")
    fields = sorted(map(tuple, fields))
    assert fields == [
        ("authorization", "Basic bWU6czp4"),
        ("host", f"127.0.0.1:{peer.port}"),
        ("x-list", "a"),
        ("x-list", "b"),
        ("x-number", "5"),
        ("x-one", "1"),
    ]


def test_body_may_be_json_or_a_form(lua, peer):
    found = asked(lua, f"http.post('{peer.url}/', {{ json = {{ a = {{ 1, 2 }} }} }})")
    assert ["content-type", "application/json"] in found[2] and json.loads(found[3]) == {"a": [1, 2]}
    found = asked(lua, f"http.post('{peer.url}/', {{ form = {{ a = 'b c', d = {{ 'é', '+' }} }} }})")
    assert ["content-type", "application/x-www-form-urlencoded"] in found[2]
    assert found[3] == "a=b%20c&d=%C3%A9&d=%2B"
    assert ["content-length", "0"] in asked(lua, f"http.post('{peer.url}/')")[2]


def test_body_may_come_from_a_function(lua, peer):
    code = f"""(function()
      local n = 0
      return http.put("{peer.url}/", {{ %s body = function()
        n = n + 1
        return n < 4 and ("x"):rep(n - 1) or nil
      end }})
    end)()"""
    found = asked(lua, code % "")
    assert found[3] == "xxx" and ["transfer-encoding", "chunked"] in found[2]
    found = asked(lua, code % "headers = { ['Content-Length'] = 3 },")
    assert found[3] == "xxx" and ["content-length", "3"] in found[2]
    before = sockets(lua)
    assert show(lua, code % "headers = { ['Content-Length'] = 4 },")["err"].startswith("the body is shorter")
    assert show(lua, code % "headers = { ['Content-Length'] = 2 },")["err"].startswith("the body is longer")
    assert sockets(lua) <= before


@pytest.mark.parametrize(
    ("options", "err"),
    [
        ("url = 'nonsense'", "bad URL"),
        ("url = 'http://127.0.0.1/a\\nb'", "bad URL"),
        ("url = 'ftp://127.0.0.1/'", "unsupported scheme"),
        ("url = 'http://127.0.0.1:0/'", "bad port"),
        ("url = 'http://127.0.0.1:65536/'", "bad port"),
        ("url = 'http://'", "bad host name"),
        ("url = 'http://[::1/'", "bad host name"),
        ("url = 'http://b\u00fccher.example/'", "bad host name"),
        ("url = 'http://127.0.0.1/', headers = { a = 'b\\r\\nc: d' }", "bad header value"),
        ("url = 'http://127.0.0.1/', headers = { ['a b'] = 'c' }", "bad header name"),
        ("url = 'http://127.0.0.1/', headers = { ['Transfer-Encoding'] = 'gzip' }", "the client's own"),
        ("url = 'http://127.0.0.1/', headers = { ['Content-Length'] = 5 }", "that a function gives"),
        ("url = 'http://127.0.0.1/', method = 'GET /x'", "bad method"),
        ("url = 'http://127.0.0.1/', body = 'a', json = 1", "more than one of body, json and form"),
        ("url = 'http://127.0.0.1/', json = { print }", "json.encode: cannot encode"),
    ],
)
def test_bad_request_is_a_value(lua, options, err):
    assert err in show(lua, f"http.request({{ {options} }})")["err"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("http.get()", "expected a URL, got nil"),
        ("http.request(5)", "expected a URL or a table"),
        ("http.get('http://x/', { tiemout = 1 })", "unknown option tiemout"),
        ("http.get('http://x/', { timeout = '1' })", "timeout: expected a number, got string"),
    ],
)
def test_mistake_raises(lua, code, message):
    with pytest.raises(LuaFailed, match=message):
        lua.text(code)


def test_spaces_and_other_bytes_of_a_target_are_encoded(lua, peer):
    assert asked(lua, f"http.get('{peer.url}/a b/\u00e9?q=\"x\"&p=50%25')")[1] == "/a%20b/%C3%A9?q=%22x%22&p=50%25"
    assert asked(lua, f"http.get('{peer.url}/a/./b/../c%')")[1] == "/a/c%25"
    assert asked(lua, f"http.get('{peer.url}')")[1] == "/"
    assert asked(lua, f"http.get('{peer.url}?x')")[1] == "/?x"


def test_credentials_of_a_url_are_sent_and_not_shown(lua, peer):
    found = show(lua, f"http.get('http://me:p%40ss@127.0.0.1:{peer.port}/')")
    assert "bWU6cEBzcw==" in found["body"] and "me" not in found["url"]


# ---- Responses


def answering(*pieces, close=True, pause=0):
    """A script that answers with bytes as they are."""

    def script(connection, request):
        for n, piece in enumerate(pieces):
            if n and pause:
                time.sleep(pause)
            connection.send(piece)
        return not close

    return script


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        (b"HTTP/1.1 404 Not Found\nContent-Length: 4\n\ngone", "gone"),
    ],
)
def test_every_framing_is_read(lua, data, body):
    with Peer(answering(data)) as peer:
        found = show(lua, f"http.get('{peer.url}/')")
    assert found["body"] == body


@pytest.mark.parametrize(
    ("data", "err"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense", "malformed chunk"),
        (b"SSH-2.0-x\r\n", "malformed response: not HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70000, "response head too large"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "too many interim responses"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 17000000\r\n\r\n", "body too large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "bad gzip data"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzipped(b"x" * 99)[:20],
            "bad gzip data: truncated",
        ),
    ],
)
def test_bad_answer_is_a_value_and_its_connection_closed(lua, data, err):
    before = sockets(lua)
    with Peer(answering(data)) as peer:
        assert err in show(lua, f"http.get('{peer.url}/')")["err"]
    assert sockets(lua) == before


def test_reset_is_told(lua):
    with Peer(lambda connection, request: connection.reset()) as peer:
        assert show(lua, f"http.get('{peer.url}/')")["err"] in ("connection reset", "connection reset by peer")


def test_head_request_has_no_body(lua):
    with Peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", close=False)) as peer:
        for _ in range(2):
            assert show(lua, f"http.head('{peer.url}/')")["body"] == ""
        assert peer.connections == 1


def test_limits_of_head_and_body_can_be_set(lua):
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    with Peer(answering(data)) as peer:
        url = peer.url
        assert show(lua, f"http.get('{url}/', {{ max_body = 4 }})")["err"] == "body too large"
        assert show(lua, f"http.get('{url}/', {{ max_body = 5, max_head = {len(data) - 5} }})")["body"] == "hello"
        assert show(lua, f"http.get('{url}/', {{ max_head = {len(data) - 6} }})")["err"] == "response head too large"


def test_headers_are_found_in_any_case_and_repeated_ones_joined(lua):
    with Peer(lambda c, r: c.answer(b"", "200 OK", "X-A: 1", "x-a: 2", "Set-Cookie: a=b", "Set-Cookie: c=d")) as peer:
        code = f"""
          local r = http.get("{peer.url}/")
          local all = {{}}
          for _, field in ipairs(r:fields()) do all[#all + 1] = field[1] end
          return table.concat({{ r.headers["x-A"], r.headers.X_A or "none", table.concat(r:values("SET-cookie"), "+"),
            table.concat(all, ",") }}, "|")
        """
        assert lua.text(code) == "1, 2|none|a=b+c=d|Content-Length,X-A,x-a,Set-Cookie,Set-Cookie"


def test_json_of_a_response(lua):
    with Peer(lambda c, r: c.answer(b'{"a":[1,2]}' if r.target == "/good" else b"{")) as peer:
        assert lua.text(f"return http.get('{peer.url}/good'):json().a[2]") == "2"
        assert "json.decode" in lua.text(f"return select(2, http.get('{peer.url}/bad'):json())")


TEXT = b"".join(b"line %d\n" % n for n in range(30000))
CODED = {
    "gzip": gzipped(TEXT),
    "x-gzip": gzipped(TEXT[:1000]) + gzipped(TEXT[1000:]),
    "deflate": zlib.compress(TEXT),
    "raw": zlib.compress(TEXT)[2:-4],
    "br": TEXT,
}


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_coded_bodies_are_expanded(lua, coding, framing):
    body = CODED[coding]

    def script(connection, request):
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding.replace('raw', 'deflate')}\r\n"
        if framing == "length":
            connection.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        elif framing == "close":
            connection.send(head.encode() + b"\r\n" + body)
            return False
        else:
            parts = [body[n : n + 777] for n in range(0, len(body), 777)]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.send(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n")

    with Peer(script) as peer:
        assert lua.run(f"return http.get('{peer.url}/').body") == TEXT
        code = f"return http.get('{peer.url}/', {{ decompress = false }}).body"
        assert lua.run(code) == body
        assert peer.requests[1]["accept-encoding"] is None


def test_bomb_is_refused(lua):
    bomb = gzipped(bytes(1 << 26))
    with Peer(lambda c, r: c.answer(bomb, "200 OK", "Content-Encoding: gzip")) as peer:
        assert show(lua, f"http.get('{peer.url}/')")["err"] == "body too large"


# ---- Connections


def test_connection_is_kept_and_used_again(lua, peer):
    for _ in range(3):
        assert show(lua, f"http.get('{peer.url}/')")["status"] == 200
    assert peer.connections == 1
    assert show(lua, f"http.get('{peer.url}/', {{ keepalive = false }})")["status"] == 200
    assert peer.connections == 1 and peer.requests[-1]["connection"] == "close"
    assert show(lua, f"http.get('{peer.url}/')")["status"] == 200
    assert peer.connections == 2


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore than that",
    ],
)
def test_connection_that_is_not_clean_is_not_used_again(lua, data):
    with Peer(answering(data, close=False)) as peer:
        for _ in range(2):
            assert show(lua, f"http.get('{peer.url}/')")["status"] == 200
        wait_until(lambda: peer.connections == 2, "there are two connections")


def test_connection_that_the_server_has_closed_is_replaced(lua):
    """Its close is seen while the connection is idle, so that even what can not be sent twice gets a new one."""
    before = sockets(lua)
    with Peer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as peer:
        for _ in range(10):
            for method in ("get", "post"):
                assert show(lua, f"http.{method}('{peer.url}/')")["status"] == 200
                wait_until(lambda: sockets(lua) == before, "the close has been seen")
        assert peer.connections == 20


def test_connection_that_dies_under_a_request_is_replaced_once(lua):
    """It was alive when the request was sent; the server answers only the first request of each connection."""
    seen = []

    def script(connection, request):
        seen.append(request.method)
        if connection in used:
            connection.reset() if len(seen) % 2 else connection.close()
            return False
        used.append(connection)
        connection.answer(b"ok")

    used = []
    with Peer(script) as peer:
        for _ in range(5):
            assert show(lua, f"http.get('{peer.url}/')")["body"] == "ok"
        assert peer.connections == 5 and len(seen) == 9
        # What is not idempotent is not sent twice.
        assert "err" in show(lua, f"http.post('{peer.url}/', {{ body = 'x' }})")
        assert seen.count("POST") == 1


def test_hosts_and_ports_do_not_share_connections(lua):
    with Peer(echo) as one, Peer(echo) as other:
        for _ in range(2):
            for server in (one, other):
                assert show(lua, f"http.get('{server.url}/')")["status"] == 200
        assert (one.connections, other.connections) == (1, 1)


# ---- Time


def test_silence_ends_in_time(lua):
    before = sockets(lua)
    with Peer(lambda c, r: time.sleep(2)) as peer:
        start = time.monotonic()
        assert show(lua, f"http.get('{peer.url}/', {{ timeout = 0.2 }})")["err"] == "timeout"
        assert 0.2 <= time.monotonic() - start < PATIENCE
        assert sockets(lua) == before


def test_time_is_that_of_the_whole_request(lua):
    """A server that sends a byte now and then does not go on for ever."""
    drops = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"] + [b"x"] * 30
    with Peer(answering(*drops, pause=0.05)) as peer:
        assert show(lua, f"http.get('{peer.url}/', {{ timeout = 0.3 }})")["err"] == "timeout"


def test_connecting_has_a_time_of_its_own(lua):
    """A listener whose queue is full does not answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        assert show(lua, f"http.get('http://127.0.0.1:{port}/', {{ connect_timeout = 0.2 }})")["err"] == "timeout"
        for filler in fillers:
            filler.close()


def test_slow_servers_make_no_long_turn(lua):
    """Many that are asked at once, each slow in another place; turns are measured in processor time."""

    def script(connection, request):
        time.sleep(0.1)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Len")
        time.sleep(0.1)
        connection.send(b"gth: 100000\r\n\r\n" + bytes(50000))
        time.sleep(0.1)
        connection.send(bytes(50000))

    code = """
      local tasks = {}
      core.longest_turn()
      for i = 1, 100 do
        tasks[i] = core.task.spawn(http.get, ...)
      end
      local n = 0
      for i = 1, 100 do
        core.task.wait(tasks[i])
        n = n + #core.task.results(tasks[i]).body
      end
      local _, work = core.longest_turn()
      return json.encode({ n = n, work = work })
    """

    def measure():
        found = json.loads(lua.text(code, f"{peer.url}/".encode()))
        assert found["n"] == 100 * 100000
        return found["work"]

    with Peer(script) as peer:
        assert_short_turns(measure)


def test_refused_connection_is_told(lua):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert show(lua, f"http.get('http://127.0.0.1:{port}/')")["err"] == "connection refused"


def test_host_is_reached_by_name(lua, peer):
    assert asked(lua, f"http.get('http://LocalHost:{peer.port}/x')")[1] == "/x"
    assert show(lua, "http.get('http://nobody.invalid/')")["err"] == "host not found"


def test_ipv6_literal_is_reached(lua):
    try:
        server = Peer(echo, family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server as peer:
        found = asked(lua, f"http.get('http://[::1]:{peer.port}/')")
        assert ["host", f"[::1]:{peer.port}"] in found[2]
