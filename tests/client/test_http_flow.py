"""heart.v1.http: redirects, retries, cookies, proxies, streams and expectations."""

import base64
import hashlib
import json
import time

import pytest
from heart_server import wait_until
from http_peer import Peer
from turns import assert_short_turns


def show(lua, code):
    """The dict of `show(...)` in the prelude."""
    return json.loads(lua.text(f"return show({code})"))


def sockets(lua):
    return int(lua.text("return core.socket.count()"))


# ---- Redirects (RFC 9110 section 15.4)


def leading(connection, request):
    """/301/x redirects to /x with that status; everything else is told back."""
    parts = request.target.split("/", 2)
    if parts[1].isdigit():
        connection.answer(b"moved", f"{parts[1]} Moved", f"Location: /{parts[2]}")
    else:
        connection.answer(f"{request.method} {request.target} {request.body.decode()}".encode())


@pytest.mark.parametrize(
    ("status", "method", "arrives"),
    [
        (301, "GET", "GET /x "),
        (301, "POST", "GET /x "),
        (302, "POST", "GET /x "),
        (302, "PUT", "PUT /x body"),
        (303, "PUT", "GET /x "),
        (303, "POST", "GET /x "),
        (307, "POST", "POST /x body"),
        (308, "PATCH", "PATCH /x body"),
    ],
)
def test_redirect_is_followed_with_the_right_method(lua, status, method, arrives):
    with Peer(leading) as peer:
        body = "" if method == "GET" else ", body = 'body'"
        found = show(lua, f"http.request({{ url = '{peer.url}/{status}/x', method = '{method}' {body} }})")
        assert (found["body"], found["url"]) == (arrives, f"{peer.url}/x")
        assert peer.connections == 1


def test_head_stays_head_and_body_fields_go_with_the_body(lua):
    with Peer(leading) as peer:
        show(lua, f"http.head('{peer.url}/303/x')")
        show(lua, f"http.post('{peer.url}/303/x', {{ json = {{1}}, headers = {{ ['Content-Encoding'] = 'x' }} }})")
        assert [request.method for request in peer.requests] == ["HEAD", "HEAD", "POST", "GET"]
        assert peer.requests[3]["content-type"] is None and peer.requests[3]["content-encoding"] is None


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("b", "/a/b"),
        ("./b?c=d#e", "/a/b?c=d"),
        ("../b", "/b"),
        ("/b/../c/", "/c/"),
        ("?q", "/a/x?q"),
        ("#f", "/a/x?y"),
        ("//127.0.0.1:PORT/z", "/z"),
        ("http://127.0.0.1:PORT", "/"),
        ("  /b c ", "/b%20c"),
    ],
)
def test_location_is_resolved(lua, location, target):
    """RFC 3986 section 5.2"""

    def script(connection, request):
        first = len(peer.requests) == 1
        fields = [f"Location: {location.replace('PORT', str(peer.port))}"] if first else []
        connection.answer(b"", "302 Found" if first else "200 OK", *fields)

    with Peer(script) as peer:
        assert show(lua, f"http.get('{peer.url}/a/x?y')")["url"] == peer.url + target
        assert peer.requests[1].target == target


def test_redirects_end(lua):
    with Peer(lambda c, r: c.answer(b"", "302 Found", "Location: /again")) as peer:
        assert show(lua, f"http.get('{peer.url}/')")["err"] == "too many redirects"
        assert len(peer.requests) == 6
        assert show(lua, f"http.get('{peer.url}/', {{ redirects = 1 }})")["err"] == "too many redirects"
        for off in ("0", "false"):
            assert show(lua, f"http.get('{peer.url}/', {{ redirects = {off} }})")["status"] == 302


@pytest.mark.parametrize(
    ("location", "err"),
    [("mailto:x@y", "unsupported scheme"), ("ftp://x/", "unsupported scheme"), ("http://", "bad host name")],
)
def test_redirect_to_nowhere_is_a_value(lua, location, err):
    with Peer(lambda c, r: c.answer(b"", "302 Found", f"Location: {location}")) as peer:
        assert show(lua, f"http.get('{peer.url}/')")["err"] == f"redirect: {err}"


def test_secrets_stay_with_their_host(lua):
    """The same host and port may have them, another one not; it is no difference how they were given."""
    with Peer(lambda c, r: c.answer(b"")) as other:
        target = {"/here": "/there", "/away": f"{other.url}/there"}

        def script(connection, request):
            location = target.get(request.target)
            connection.answer(
                b"", "302 Found" if location else "200 OK", *([f"Location: {location}"] if location else [])
            )

        headers = "headers = { Authorization = 'secret', Cookie = 'a=b', ['X-Plain'] = 'p' }"
        with Peer(script) as peer:
            for path, seen in (("/here", peer), ("/away", other)):
                show(lua, f"http.get('{peer.url}{path}', {{ {headers} }})")
                last = seen.requests[-1]
                kept = seen is peer
                assert (last["authorization"], last["cookie"]) == (("secret", "a=b") if kept else (None, None))
                assert last["x-plain"] == "p"
                show(lua, f"http.get('{peer.url}{path}', {{ auth = {{ user = 'u', password = 'p' }} }})")
                assert bool(seen.requests[-1]["authorization"]) == kept
                show(lua, f"http.get('http://u:p@127.0.0.1:{peer.port}{path}')")
                assert bool(seen.requests[-1]["authorization"]) == kept


def test_body_of_a_function_is_not_sent_twice(lua):
    with Peer(leading) as peer:
        code = f"http.post('{peer.url}/307/x', {{ body = function() return nil end }})"
        assert show(lua, code)["status"] == 307


# ---- Retries


def failing(times, how):
    """A script that fails so many times."""
    state = {"left": times}

    def script(connection, request):
        if state["left"]:
            state["left"] -= 1
            return how(connection)
        connection.answer(b"at last")

    return script


def busy(connection):
    connection.answer(b"", "503 Busy")


def dead(connection):
    return False


@pytest.mark.parametrize("how", [busy, dead])
def test_passing_failures_are_tried_again(lua, how):
    with Peer(failing(2, how)) as peer:
        assert show(lua, f"http.get('{peer.url}/', {{ retries = 2 }})")["body"] == "at last"
        assert len(peer.requests) == 3
    with Peer(failing(2, how)) as peer:
        found = show(lua, f"http.get('{peer.url}/', {{ retries = 1 }})")
        assert found.get("status") == 503 or found["err"] == "closed"
    with Peer(failing(1, how)) as peer:
        show(lua, f"http.post('{peer.url}/', {{ retries = 5 }})")
        assert len(peer.requests) == 1


def test_server_says_when_to_try_again(lua):
    def wait(connection):
        connection.answer(b"", "429 Slow Down", "Retry-After: 1")

    with Peer(failing(1, wait)) as peer:
        start = time.monotonic()
        assert show(lua, f"http.get('{peer.url}/', {{ retries = 1 }})")["body"] == "at last"
        assert time.monotonic() - start >= 1
    with Peer(failing(1, wait)) as peer:
        assert show(lua, f"http.get('{peer.url}/', {{ retries = 1, timeout = 0.5 }})")["status"] == 429


# ---- Cookies (RFC 6265)


def test_jar_keeps_what_is_set_and_sends_what_fits(lua):
    def script(connection, request):
        fields = []
        if request.target == "/set":
            fields = ["a=1; Path=/", "b=2; Path=/only", "c=3; Secure", "d=4; Max-Age=0", "e=5; Domain=example.com"]
        elif request.target == "/forget":
            fields = ["a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/"]
        elif request.target == "/leave":
            connection.answer(b"", "302 Found", "Location: /end", "Set-Cookie: f=6")
            return
        connection.answer((request["cookie"] or "").encode(), "200 OK", *[f"Set-Cookie: {f}" for f in fields])

    with Peer(script) as peer:
        code = f"""
          local jar, seen = http.jar(), {{}}
          for _, path in ipairs({{ "set", "x", "only/y", "onlyy", "forget", "x", "leave" }}) do
            seen[#seen + 1] = http.get("{peer.url}/" .. path, {{ jar = jar }}).body
          end
          return table.concat(seen, "|")
        """
        assert lua.text(code) == "|a=1|b=2; a=1|a=1|a=1||f=6"


JAR = """
local jar = http.jar()
local url = require("heart.url")
for line in (...):gmatch("[^\\n]+") do
  local where, text = line:match("^(%S+) (.*)$")
  jar:set(url.parse(where), text)
end
local out = {}
for _, cookie in ipairs(jar:all()) do
  out[#out + 1] = ("%s %s %s %s %s"):format(cookie.name, cookie.value, cookie.domain, cookie.path,
    tostring(cookie.host_only))
end
return table.concat(out, "\\n")
"""


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("http://a.example/x/y n=v", "n v a.example /x true"),
        ("http://a.example/x n = v ; HttpOnly", "n v a.example / true"),
        ("http://a.example/ n=v=w; domain=.A.Example; PATH=/p", "n v=w a.example /p false"),
        ("http://b.a.example/ n=v; Domain=a.example", "n v a.example / false"),
        ("http://a.example/ n=v; Domain=b.a.example", ""),
        ("http://a.example/ n=v; Domain=other.example", ""),
        ("http://xa.example/ n=v; Domain=a.example", ""),
        ("http://a.example/ n=v; Domain=example", ""),
        ("http://localhost/ n=v; Domain=localhost", "n v localhost / true"),
        ("http://10.0.0.1/ n=v; Domain=0.0.1", ""),
        ("http://a.example/ n=v; Path=relative", "n v a.example / true"),
        ("http://a.example/ n=v; Secure", ""),
        ("https://a.example/ n=v; Secure", "n v a.example / true"),
        ("http://a.example/ n=v; Expires=Wed, 09 Jun 2010 10:18:14 GMT", ""),
        ("http://a.example/ n=v; Expires=Wed, 09-Jun-2099 10:18:14 GMT", "n v a.example / true"),
        ("http://a.example/ n=v; Expires=nonsense; Max-Age=x", "n v a.example / true"),
        ("http://a.example/ =v", ""),
        ("http://a.example/ nothing", ""),
        ("http://a.example/ n=1\nhttp://a.example/ n=2", "n 2 a.example / true"),
        ("http://a.example/ n=1\nhttp://a.example/ n=; Max-Age=-1", ""),
    ],
)
def test_cookie_is_kept_as_browsers_do(lua, line, kept):
    assert lua.text(JAR, line.encode()) == kept


def test_dates_of_cookies_are_read(lua):
    """RFC 6265 section 5.1.1"""
    code = "return tostring(require('heart.http_cookies').parse_date(...))"
    for text, expected in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "784111777"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", "784111777"),
        ("Sun Nov  6 08:49:37 1994", "784111777"),
        ("29 feb 2000 0:0:0", "951782400"),
        ("1 Jan 1970 00:00:00", "0"),
        ("1 Jan 69 00:00:00", "3124224000"),
        ("32 Jan 2020 00:00:00", "nil"),
        ("1 Jan 2020 24:00:00", "nil"),
        ("1 Jan 1600 00:00:00", "nil"),
        ("1 Jan 2020", "nil"),
    ]:
        assert lua.text(code, text.encode()) == expected, text


# ---- Proxies


def test_proxy_gets_the_whole_url(lua):
    with Peer(lambda c, r: c.answer(r.target.encode())) as proxy:
        for host in ("a.example", "b.example:81"):
            url = f"http://{host}/x?y"
            options = f"{{ proxy = 'http://me:pw@127.0.0.1:{proxy.port}' }}"
            assert show(lua, f"http.get('{url}', {options})")["body"] == url
            assert proxy.requests[-1]["host"] == host
        assert proxy.requests[0]["proxy-authorization"] == "Basic " + base64.b64encode(b"me:pw").decode()
        assert proxy.connections == 1


@pytest.mark.parametrize(
    ("proxy", "err"),
    [
        ("ftp://x", "proxy: unsupported scheme"),
        ("https://x", "proxy: unsupported proxy scheme"),
        ("", "proxy: bad host"),
    ],
)
def test_bad_proxy_is_a_value(lua, proxy, err):
    assert show(lua, f"http.get('http://127.0.0.1/', {{ proxy = '{proxy}' }})")["err"].startswith(err)


def test_tunnel_that_is_refused_is_told(lua):
    with Peer(lambda c, r: c.answer(b"no", "403 Forbidden")) as proxy:
        code = f"http.get('https://a.example/', {{ proxy = '127.0.0.1:{proxy.port}' }})"
        assert show(lua, code)["err"] == "proxy: refused with status 403"
        assert (proxy.requests[0].method, proxy.requests[0].target) == ("CONNECT", "a.example:443")


@pytest.mark.parametrize(
    ("entry", "url", "excepted"),
    [
        ("*", "http://a.example/", True),
        ("example", "http://a.example/", True),
        (".a.example", "http://a.example/", True),
        ("b.example, a.example", "http://a.example/", True),
        ("a.example", "http://b.a.example/", True),
        ("a.example", "http://xa.example/", False),
        ("a.example:80", "http://a.example/", True),
        ("a.example:81", "http://a.example/", False),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3", "http://10.1.2.3/", True),
        ("::1", "http://[::1]/", True),
        ("[::1]:81", "http://[::1]/", False),
        ("fd00::/8", "http://[fd12::1]/", True),
        ("10.0.0.0/8", "http://a.example/", False),
        ("", "http://a.example/", False),
    ],
)
def test_no_proxy_excepts_hosts(lua, entry, url, excepted):
    code = f"return tostring(require('heart.http_proxy').excepted('{entry}', require('heart.url').parse('{url}')))"
    assert lua.text(code) == str(excepted).lower()


ASK = """
local app, http = require("heart.v1"), require("heart.v1.http")
app.get("/", function(ctx)
  local response, err = http.get(ctx.query("url"), { timeout = 5, redirects = 0 })
  return err or response.body
end)
"""


def test_proxies_of_the_environment_are_used(serve):
    def script(connection, request):
        if request.method == "CONNECT":
            connection.answer(b"", "403 Forbidden")
        else:
            connection.answer(f"by proxy to {request.target}".encode())

    with Peer(script) as proxy, Peer(lambda c, r: c.answer(b"directly")) as peer:
        names = {
            "http_proxy": proxy.url,
            "https_proxy": f"127.0.0.1:{proxy.port}",
            "no_proxy": "127.0.0.1,excepted.test",
        }
        server = serve(ASK, env=names)

        def ask(url):
            return server.get(f"/?url={url}").text

        assert ask("http://other.test/x") == "by proxy to http://other.test/x"
        assert ask("https://other.test/x") == "proxy: refused with status 403"
        assert ask(peer.url) == "directly"
        assert ask("http://excepted.test/") == "host not found"
        assert [(r.method, r.target) for r in proxy.requests] == [
            ("GET", "http://other.test/x"),
            ("CONNECT", "other.test:443"),
        ]


@pytest.mark.parametrize(
    ("name", "used"), [("all_proxy", True), ("ALL_PROXY", True), ("HTTP_PROXY", False), ("https_proxy", False)]
)
def test_names_of_the_environment_are_those_of_curl(serve, name, used):
    """HTTP_PROXY is a field of the request in a CGI program."""
    with Peer(lambda c, r: c.answer(b"by proxy")) as proxy:
        server = serve(ASK, env={name: proxy.url})
        assert server.get("/?url=http://name.invalid/").text == ("by proxy" if used else "host not found")


# ---- Streams


def test_response_is_read_part_by_part(lua):
    def script(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(3):
            connection.send(b"4\r\npart\r\n")
            wait_until(lambda n=n: len(told) > n, "the part was read")
        connection.send(b"0\r\n\r\n")

    told = []
    with Peer(script) as peer, Peer(lambda c, r: (told.append(r.target), c.answer())) as witness:
        code = f"""
          local r, n = http.get("{peer.url}/", {{ stream = true }}), 0
          assert(r.body == nil)
          for part in r.reader do
            assert(part == "part")
            n = n + 1
            http.get("{witness.url}/" .. n)
          end
          assert(http.get("{peer.url}/", {{ stream = true }})):close()
          return n
        """
        assert lua.text(code) == "3"
        assert peer.connections == 1  # it was given back at the end of the body


def test_stream_tells_its_failure(lua):
    def script(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        if request.target == "/stall":
            time.sleep(1)
        return False

    code = """
      local before = core.socket.count()
      local r = http.get("%s", { stream = true, timeout = 0.3 })
      local parts = {}
      for _ = 1, 3 do
        local part, err = r.reader()
        parts[#parts + 1] = part or err
      end
      return table.concat(parts, "|") .. " " .. core.socket.count() - before
    """
    with Peer(script) as peer:
        assert lua.text(code % f"{peer.url}/") == "hello|closed|closed 0"
        assert lua.text(code % f"{peer.url}/stall") == "hello|timeout|timeout 0"


def test_stream_that_is_left_closes_its_connection(lua):
    with Peer(lambda c, r: c.answer(bytes(1 << 20))) as peer:
        before = sockets(lua)
        code = "local r = http.get('%s', { stream = true }) r.reader() %s return core.socket.count()"
        assert int(lua.text(code % (peer.url, "r:close() r:close()"))) == before
        lua.text(code % (peer.url, ""))
        assert int(lua.text("collectgarbage() collectgarbage() return core.socket.count()")) == before


FETCH = """
  collectgarbage()
  local before, most, n = collectgarbage("count"), 0, 0
  core.longest_turn()
  local r = assert(http.get("%s", { stream = true }))
  for part in r.reader do
    n = n + #part
    most = math.max(most, collectgarbage("count"))
  end
  local _, work = core.longest_turn()
  return json.encode({ n = n, most = most - before, work = work })
"""


def fetch_streamed(lua, size):
    """Stream a body of that size; {n: bytes, most: KiB of Lua's memory, work: ms of the longest turn}."""
    piece = bytes(range(256)) * 4096

    def script(connection, request):
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(piece)):
            connection.send(piece)

    with Peer(script) as peer:
        return json.loads(lua.text(FETCH % peer.url))


def test_large_body_is_streamed_in_little_memory(lua):
    def measure():
        found = fetch_streamed(lua, 100 << 20)
        assert found["n"] == 100 << 20
        assert found["most"] < 16 * 1024
        return found["work"]

    assert_short_turns(measure, 20)


@pytest.mark.nightly
def test_largest_body_is_streamed_in_little_memory_and_short_turns(lua):
    found = fetch_streamed(lua, 1 << 30)
    assert found["n"] == 1 << 30
    assert found["most"] < 16 * 1024
    assert found["work"] <= 2


def test_large_body_of_a_function_is_sent_in_parts(lua):
    code = """
      local n, piece = 0, ("x"):rep(1000)
      core.longest_turn()
      local r = assert(http.put("%s", { body = function()
        n = n + 1
        return n <= 20000 and piece or nil
      end }))
      local _, work = core.longest_turn()
      return r.body .. " " .. work
    """

    def measure():
        found, work = lua.text(code % peer.url).split()
        assert found == hashlib.sha256(b"x" * 20000000).hexdigest()
        return float(work)

    with Peer(lambda c, r: c.answer(hashlib.sha256(r.body).hexdigest().encode())) as peer:
        assert_short_turns(measure, 20)


def test_slow_reader_holds_the_server_up(lua):
    """Back-pressure: what nobody reads is not fetched."""
    sent = []

    def script(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(64):
            connection.send(bytes(1 << 20))
            sent.append(1)
        return False

    with Peer(script) as peer:
        code = """
          local r = http.get("%s", { stream = true })
          r.reader()
          core.sleep(0.5)
          r:close()
        """
        lua.text(code % peer.url)
        assert len(sent) < 32


# ---- Expectations and early answers


def test_body_waits_for_the_servers_word(lua):
    with Peer(lambda c, r: c.answer(r.body)) as peer:
        for body in (
            "'text'",
            "(function() local n = 0 return function() n = n + 1 return n == 1 and 'text' or nil end end)()",
        ):
            found = show(lua, f"http.post('{peer.url}/', {{ body = {body}, expect = true }})")
            assert found["body"] == "text"
        assert peer.requests[0]["expect"] == "100-continue"


def test_body_is_not_sent_to_a_server_that_refuses(lua):
    def talk(connection):
        request = connection.line()
        while connection.line():
            pass
        connection.answer(b"", "413 No")
        assert request.startswith("POST")
        rest.append(connection.file.read())

    rest = []
    with Peer(on_connect=talk) as peer:
        assert show(lua, f"http.post('{peer.url}/', {{ body = ('x'):rep(1000), expect = true }})")["status"] == 413
        wait_until(lambda: rest, "the connection is closed")
        assert rest == [b""]


def test_server_that_ignores_the_expectation_gets_the_body(lua):
    def talk(connection):
        request = connection.request(answer_expect=None)
        connection.answer(request.body)

    with Peer(on_connect=talk) as peer:
        start = time.monotonic()
        assert show(lua, f"http.post('{peer.url}/', {{ body = 'x', expect = true }})")["body"] == "x"
        assert time.monotonic() - start >= 0.9


def test_answer_that_comes_before_the_body_is_read_is_given(lua):
    def talk(connection):
        connection.line()
        connection.answer(b"too much", "413 No", "Connection: close")
        time.sleep(0.1)

    with Peer(on_connect=talk) as peer:
        found = show(lua, f"http.post('{peer.url}/', {{ body = ('x'):rep(5000000) }})")
        assert found.get("status") == 413 or found["err"] in ("closed", "connection reset", "broken pipe")


def test_connection_is_the_callers_after_an_upgrade(lua):
    asked = []

    def talk(connection):
        asked.append(connection.request())
        connection.send(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n")
        connection.send(connection.file.read(4)[::-1])

    with Peer(on_connect=talk) as peer:
        code = f"""
          local r = http.get("{peer.url}/", {{ headers = {{ Upgrade = "x" }} }})
          r.socket:send("abcd")
          local text = r.socket:receive(4)
          r.socket:close()
          return r.status .. text
        """
        assert lua.text(code) == "101dcba"
        assert (asked[0]["connection"], asked[0]["upgrade"]) == ("upgrade", "x")


# ---- Everywhere


def test_requests_are_made_at_the_start_and_in_tasks(serve):
    code = """
      local app, http = require("heart.v1"), require("heart.v1.http")
      local task = require("heart.v1.task")
      local at_load = http.get("%s/load").body
      local at_start, in_task
      app.on("start", function()
        at_start = http.get("%s/start").body
      end)
      app.get("/", function()
        task.spawn(function()
          in_task = http.get("%s/task").body
        end)
        return at_load .. (at_start or "") .. (in_task or "")
      end)
    """
    with Peer(lambda c, r: c.answer(r.target.encode())) as peer:
        url = peer.url.replace("127.0.0.1", "localhost")
        server = serve(code % (url, url, url))
        wait_until(lambda: server.fetch().text == "/load/start/task", "all answers are there")


def test_client_that_leaves_takes_nothing_with_it(serve):
    """The handler goes on; what it asked for is read, and its connection kept."""
    code = """
      local app, http = require("heart.v1"), require("heart.v1.http")
      local core = require("heart.core")
      local seen = "nothing"
      app.get("/ask", function()
        seen = http.get("%s/slow").body
        return seen
      end)
      app.get("/seen", function()
        return seen .. " " .. core.socket.count()
      end)
    """
    with Peer(lambda c, r: (time.sleep(0.3), c.answer(b"answer"))) as peer:
        server = serve(code % peer.url)
        with server.connect() as client:
            client.request(target="/ask")
            wait_until(lambda: peer.requests, "the request was passed on")
        wait_until(lambda: server.fetch(target="/seen").text == "answer 1", "the answer was read")
        server.fetch(target="/ask")
        assert peer.connections == 1


def test_task_that_is_cancelled_closes_its_connection(lua):
    """At once, not with the collector: while it waits for the head, for the body, and for a part of a stream."""

    def script(connection, request):
        if request.target != "/head":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
        waiting.append(request.target)
        time.sleep(2)

    waiting = []
    code = """
      local url = ...
      collectgarbage("stop")
      local before = core.socket.count()
      local task = core.task.spawn(function()
        local r = http.get(url, { stream = url:match("stream") ~= nil })
        while r.reader() do end
      end)
      core.sleep(0.3)
      local during = core.socket.count() - before
      task:cancel()
      core.sleep(0.05)
      collectgarbage("restart")
      return during .. " " .. task:status() .. " " .. core.socket.count() - before
    """
    with Peer(script) as peer:
        for path in ("/head", "/body", "/stream"):
            assert lua.text(code, f"{peer.url}{path}".encode()) == "1 cancelled 0", path
        assert waiting == ["/head", "/body", "/stream"]


def test_error_of_a_body_function_closes_the_connection(lua):
    with Peer(lambda c, r: c.answer()) as peer:
        code = f"""
          local before = core.socket.count()
          local ok, err = pcall(http.put, "{peer.url}/", {{ body = function() error("no more") end }})
          return tostring(ok) .. " " .. err:match("no more") .. " " .. core.socket.count() - before
        """
        assert lua.text(code) == "false no more 0"
        peer.failures = []
