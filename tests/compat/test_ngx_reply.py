"""Responses made through the facade `ngx`, and requests read through it."""

import re
import signal
import time

import pytest
from heart_server import Server, wait_until

APP = r"""
local app = require("heart.v1")
local routes = {}
seen = {}

function routes.say() ngx.say("hello") ngx.print({ "a", { 1, true } }, nil) end
function routes.nothing() ngx.header["X-A"] = "1" end
function routes.status() ngx.status = 404 ngx.header.content_type = "text/x" ngx.say("none") end
function routes.returned() ngx.print("said, ") return "returned" end
function routes.status_returned() ngx.print("said, ") return 201, "returned", { ["X-A"] = "b" } end
function routes.cookies() ngx.header.set_cookie = { "a=1", "b=2" } ngx.say("ok") end
function routes.escaped() ngx.header["X-A"] = "a\r\nX-B: c" ngx.say("ok") end
function routes.late()
  ngx.say("ok")
  ngx.status = 500
  ngx.header["X-A"] = "late"
end
function routes.exit() ngx.exit(ngx.HTTP_FORBIDDEN) end
function routes.exit_ok() ngx.say("before") ngx.exit(ngx.OK) seen.after = true end
function routes.exit_said() ngx.status = 410 ngx.say("gone") ngx.exit(410) end
function routes.exit_late() ngx.say("ok") ngx.exit(404) end
function routes.exit_empty() ngx.exit(204) end
function routes.exit_error() ngx.exit(ngx.ERROR) end
function routes.exit_pcall() pcall(function() ngx.say("in pcall") ngx.exit(200) end) ngx.say("not reached") end
function routes.exit_coroutine()
  coroutine.wrap(function() ngx.say("in a coroutine") ngx.exit(200) end)()
  ngx.say("not reached")
end
function routes.exit_waited() ngx.sleep(0.01) ngx.say("waited") ngx.exit(200) end
function routes.exit_thread()
  ngx.thread.spawn(function() ngx.sleep(0.01) ngx.status = 202 ngx.say("thread") ngx.exit(202) end)
  ngx.sleep(60)
end
function routes.exit_close() ngx.exit(444) end
function routes.redirect() ngx.redirect("/there?a=1") ngx.say("not reached") end
function routes.moved() ngx.redirect("/there", 301) end
function routes.headers() ngx.send_headers() ngx.header["X-A"] = "late" ngx.say(tostring(ngx.headers_sent)) end
function routes.fails() ngx.say("said") error("boo") end
function routes.large() for i = 1, 1000 do ngx.say(("x"):rep(1000)) end end
function routes.stream()
  for i = 1, 3 do ngx.say(i) ngx.flush(true) ngx.sleep(0.02) end
end
function routes.stream_thread()
  local thread = ngx.thread.spawn(function() for i = 1, 200 do ngx.say(("y"):rep(10000)) ngx.flush(true) end end)
  ngx.thread.wait(thread)
end
function routes.stream_fails() ngx.say("said") ngx.flush(true) error("boo") end
function routes.eof() ngx.say("whole") ngx.eof() ngx.sleep(0.05) seen.eof = select(2, ngx.say("late")) end
function routes.eof_stream() ngx.say("a") ngx.flush(true) ngx.say("b") ngx.eof() seen.eof_stream = true end
function routes.threads()
  for i = 1, 3 do ngx.thread.spawn(function() ngx.sleep(0.01 * i) ngx.say("thread ", i) end) end
  ngx.say("handler")
end
function routes.timer()
  ngx.ctx.a = 1
  ngx.timer.at(0.01, function(premature, x)
    seen.timer = { premature = premature, x = x, context = next(ngx.ctx) ~= nil, says = pcall(ngx.say, "x") }
  end, 5)
  ngx.say("now")
end
function routes.seen() return require("heart.v1.json").encode(seen) end
function routes.get_headers() ngx.header["X-A"] = { "1", "2" } ngx.say(ngx.resp.get_headers()["x-a"][2]) end
function routes.wide() ngx.say(pcall(ngx.exit, 99), pcall(ngx.exit, 600)) end
function routes.ctx_shared() ngx.ctx.n = (ngx.ctx.n or 0) + 1 ngx.sleep(0.001) ngx.say(ngx.ctx.n) end
function routes.json() ngx.header.content_type = "application/json" ngx.say("{}") end
function routes.form()
  ngx.req.read_body()
  local args, err = ngx.req.get_post_args()
  ngx.say(args.a, " ", args.b, " ", tostring(err), " ", ngx.req.get_body_data())
end
function routes.file()
  ngx.say(tostring(ngx.req.get_body_file()), tostring(ngx.req.get_body_data()))
  ngx.req.discard_body()
end
function routes.missing()
  for _, name in ipairs({ "set_uri", "set_method", "set_body_data", "init_body" }) do
    local ok, err = pcall(ngx.req[name])
    ngx.say(tostring(ok), " ", (err:gsub("^.-:%d+: ", "")))
  end
  ngx.say((select(2, pcall(ngx.exec, "/x"))))
  ngx.say((select(2, pcall(ngx.location.capture, "/x"))))
  ngx.say(select(2, ngx.req.socket(true)))
end
function routes.abort()
  ngx.on_abort(function() seen.aborted = ngx.var.uri end)
  ngx.sleep(1)
end

for name, fn in pairs(routes) do
  app.any("/" .. name, fn)
end

app.post("/upload", { body = "stream" }, function()
  ngx.req.read_body()
  ngx.say(#ngx.req.get_body_data())
end)
app.post("/lines", { body = "stream" }, function()
  local socket, err = ngx.req.socket()
  if not socket then ngx.say(err) return end
  socket:settimeout(1000)
  ngx.say(socket:receive())
  ngx.say(socket:receive(3))
  ngx.say((socket:receiveuntil("--")()))
  local pieces, reader = {}, socket:receiveuntil("==")
  for piece in function() return reader(4) end do pieces[#pieces + 1] = piece end
  ngx.say(table.concat(pieces, "|"))
  ngx.say(socket:receiveany(2))
  ngx.say(socket:receive("*a"))
  ngx.say(tostring(socket:receive()), " ", select(2, socket:receive()))
end)
app.get("/start", function() return tostring(started) end)
started = ngx.get_phase() .. " " .. ngx.escape_uri("å") .. " " .. tostring(pcall(ngx.say, "x"))
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.fixture
def fetch(server):
    with server.connect() as client:
        yield lambda target, method="GET", **more: client.fetch(method, target, **more)


def seen(server):
    with server.connect() as client:
        return client.fetch(target="/seen").json or {}  # an empty table is a list


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/say", 200, "hello\na1truenil"),
        ("/nothing", 200, ""),
        ("/status", 404, "none\n"),
        ("/returned", 200, "said, returned"),
        ("/status_returned", 201, "said, returned"),
        ("/exit", 403, "403 - Forbidden"),
        ("/exit_ok", 200, "before\n"),
        ("/exit_said", 410, "gone\n"),
        ("/exit_late", 200, "ok\n"),
        ("/exit_empty", 204, ""),
        ("/exit_error", 500, "500 - Internal Server Error"),
        ("/exit_pcall", 200, "in pcall\n"),
        ("/exit_coroutine", 200, "in a coroutine\n"),
        ("/exit_waited", 200, "waited\n"),
        ("/exit_thread", 202, "thread\n"),
        ("/fails", 500, "500 - Internal Server Error"),
        ("/threads", 200, "handler\nthread 1\nthread 2\nthread 3\n"),
        ("/ctx_shared", 200, "1\n"),
        ("/get_headers", 200, "2\n"),
        ("/headers", 200, "true\n"),
        ("/start", 200, "init %C3%A5 false"),
    ],
)
def test_response_has_status_and_body(fetch, target, status, body):
    for _ in range(2):  # on one connection, and on a coroutine that was used before
        response = fetch(target)
        assert (response.status, response.text) == (status, body)
        if status != 204:
            assert response["content-length"] == str(len(body))


def test_handler_stops_at_exit(server, fetch):
    fetch("/exit_ok")
    assert "after" not in seen(server)


def test_fields_are_set_repeated_and_escaped(fetch):
    assert fetch("/nothing")["x-a"] == "1"
    assert fetch("/status")["content-type"] == "text/x"
    assert fetch("/cookies").all("set-cookie") == ["a=1", "b=2"]
    assert fetch("/escaped")["x-a"] == "a%0D%0AX-B: c"
    assert fetch("/status_returned")["x-a"] == "b"
    assert fetch("/json")["content-type"] == "application/json"


def test_head_is_fixed_by_the_first_output(server, fetch):
    response = fetch("/late")
    assert (response.status, response["x-a"]) == (200, None)
    assert fetch("/headers")["x-a"] is None
    for what in ("ngx.status", "ngx.header.HEADER"):
        complaint = f"attempt to set {what} after sending out response headers"
        wait_until(lambda complaint=complaint: complaint in server.logs(), complaint)


def test_redirect_ends_the_handler(fetch):
    response = fetch("/redirect")
    assert (response.status, response["location"], response.body) == (302, "/there?a=1", b"")
    assert fetch("/moved").status == 301


def test_exit_with_444_closes_without_an_answer(server):
    with server.connect() as client:
        assert client.request(target="/exit_close").closed()


def test_head_request_gets_no_body(fetch):
    response = fetch("/say", "HEAD")
    assert (response["content-length"], response.body) == ("15", b"")
    assert fetch("/say").status == 200


def test_much_output_is_sent_in_chunks(fetch):
    assert len(fetch("/large").body) == 1001000
    assert fetch("/say").status == 200


def test_much_output_of_a_thread_waits_for_the_client(server):
    with server.connect(receive_buffer=4096) as client:
        response = client.request(target="/stream_thread").response()
    assert len(response.body) == 200 * 10001


def test_flush_sends_what_was_said(server):
    with server.connect() as client:
        head = client.request(target="/stream").head()
        assert head["transfer-encoding"] == "chunked"
        assert list(client.chunks()) == [b"1\n", b"2\n", b"3\n"]
        assert client.fetch(target="/say").status == 200


def test_error_after_a_flush_resets(server):
    with server.connect() as client:
        client.request(target="/stream_fails").head()
        with pytest.raises((AssertionError, ConnectionResetError)):
            list(client.chunks())


def test_eof_answers_while_the_handler_goes_on(server):
    with server.connect() as client:
        assert client.fetch(target="/eof").text == "whole\n"
        assert client.fetch(target="/eof_stream").text == "a\nb\n"
        assert client.fetch(target="/say").status == 200
    wait_until(lambda: "eof" in seen(server), "the handler has ended")
    assert seen(server)["eof"] == "seen eof"
    assert seen(server)["eof_stream"]


def test_timer_runs_apart_from_its_request(server, fetch):
    assert fetch("/timer").text == "now\n"
    wait_until(lambda: "timer" in seen(server), "the timer has run")
    assert seen(server)["timer"] == {"premature": False, "x": 5, "context": False, "says": False}


def test_timers_that_are_not_due_run_early_when_their_code_ends(serve):
    """Once, with a reload as with the end of the worker; and no new ones are taken then."""
    server = serve("""
      local app = require("heart.v1")
      local function tell(premature, name)
        ngx.sleep(0.01)
        print("timer", name, premature, ngx.timer.at(1, print))
        io.stdout:flush()
      end
      app.get("/", function()
        assert(ngx.timer.at(100, tell, "once") == 1)
        assert(ngx.timer.every(100, tell, "again") == 1)
        return ngx.timer.pending_count()
      end)
      app.get("/pending", function() return ngx.timer.pending_count() end)
    """)
    told = r"timer\t{}\ttrue\tnil\tprocess exiting"

    def count(name):
        return len(re.findall(told.format(name), server.logs()))

    for n, end in ((1, lambda: server.signal(signal.SIGHUP)), (2, server.stop)):
        assert server.get("/").text == "2"
        assert server.get("/pending").text == "2"
        end()
        wait_until(lambda n=n: count("once") == count("again") == n, server.logs)
    time.sleep(0.1)
    assert count("once") == count("again") == 2


def test_body_is_read_whatever_the_route(fetch):
    response = fetch("/form", "POST", body=b"a=1&b=x%20y")
    assert response.text == "1 x y nil a=1&b=x%20y\n"
    assert fetch("/file").text == "nilnil\n"
    assert fetch("/upload", "POST", body=b"x" * 300000).text == "300000\n"


def test_body_is_read_as_from_a_socket(fetch):
    body = b"first\r\nabc" + b"until--" + b"in pieces==" + b"xyz and the rest"
    assert fetch("/lines", "POST", body=body).text.splitlines() == [
        "first",
        "abc",
        "until",
        "in p|iece|s",
        "xy",
        "z and the rest",
        "nil closed",
    ]
    assert fetch("/lines", "POST", body=b"").text == "no body\n"


def test_what_is_missing_says_so(fetch):
    lines = fetch("/missing").text.splitlines()
    assert len(lines) == 7
    assert all("not available in Heart" in line for line in lines)


def test_status_that_ends_no_response_is_refused(server, fetch):
    assert fetch("/wide").status == 200


def test_abort_is_told(server):
    client = server.connect()
    client.request(target="/abort")
    time.sleep(0.1)  # the handler runs
    client.reset()
    wait_until(lambda: seen(server).get("aborted") == "/abort", "on_abort was called")


def test_log_has_the_place_and_the_level(serve):
    server = serve(
        'local app = require("heart.v1")\n'
        'app.get("/", function() ngx.log(ngx.WARN, "a", 1, nil, true) ngx.log(ngx.DEBUG, "hidden") end)'
    )
    with server.connect() as client:
        client.fetch()
    wait_until(lambda: '"message":"a1niltrue"' in server.logs(), "the line")
    line = next(line for line in server.logs().splitlines() if "a1niltrue" in line)
    assert re.search(r'"level":"warn".*"at":"[^"]*main\.lua:2"', line)
    assert "hidden" not in server.logs()
