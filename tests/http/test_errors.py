"""Errors in handlers: 500, a traceback in the log, a page for developers, and nothing lost around them."""

import json

import pytest
from heart_server import SANITIZED, Server, need, run

APP = """
local app = require("heart.v1")
local function deep(t) return t.missing.field end
app.get("/", function(ctx) return "hello" end)
app.get("/error", function(ctx) error("broken <b>here</b>") end)
app.get("/deep", function(ctx) local v = deep({}) return v end)
app.get("/table", function(ctx) error({ code = 7 }) end)
app.get("/nil", function(ctx) error() end)
app.get("/number", function(ctx) error(42) end)
app.get("/overflow", function(ctx) local function f() return 1 + f() end return f() end)
app.get("/late", function(ctx) app.sleep(0.01) error("late") end)
app.get("/json", function(ctx) return ctx.json({ f = print }) end)
app.get("/coroutine", function(ctx) return coroutine.wrap(function() error("wrapped") end)() end)
app.get("/begun", function(ctx)
  return ctx.stream(function(write) write("part") error("in the stream") end)
end)
local n = 0
app.get("/third", function(ctx)
  n = n + 1
  if n % 3 == 0 then error("every third") end
  return "fine"
end)
"""
FAILING = ["/error", "/deep", "/table", "/nil", "/number", "/overflow", "/late", "/json", "/coroutine"]


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.mark.parametrize("target", FAILING)
def test_failed_handler_is_a_bare_500_in_production(server, target):
    with server.connect() as client:
        response = client.fetch(target=target)
        assert (response.status, response.text) == (500, "500 - Internal Server Error")
        assert client.fetch().text == "hello"


def test_traceback_goes_to_the_log(server):
    server.get("/deep")
    server.wait_log(r"main\.lua:3: attempt to index")
    entry = next(json.loads(line) for line in server.lines["stdout"] if "attempt to index" in line)
    assert entry["level"] == "error"
    assert "stack traceback" in json.dumps(entry)
    assert "main.lua:6" in json.dumps(entry)


def test_failed_request_is_logged_with_its_status(server):
    server.get("/error?once")
    server.wait_log(r'"status":500.*"path":"/error')


def test_development_page_shows_what_is_needed():
    with Server(APP, dev=True) as server:
        response = server.get(
            "/error?q=1", [("X-Shown", "value"), ("Authorization", "Bearer secret"), ("Accept", "text/html")]
        )
        assert response.status == 500
        assert response["content-type"].startswith("text/html")
        page = response.text
        assert "main.lua:5" in page
        assert "broken &lt;b&gt;here" in page
        assert "<b>here" not in page
        assert "stack traceback" in page or "traceback" in page.lower()
        assert "app.get(&quot;/deep&quot;" in page or "/deep" in page, "source lines around the failing one"
        assert "/error?q=1" in page
        assert "X-Shown" in page or "x-shown" in page
        assert "secret" not in page


@pytest.mark.parametrize("target", FAILING)
def test_development_page_stands_odd_errors(target):
    with Server(APP, dev=True) as server:
        assert server.get(target).status == 500
        assert server.get().text == "hello"


def test_failing_third_of_many_requests_hurts_nobody(server):
    """1,000 requests at concurrency 50, every third failing: exactly those are 500."""
    h2load = need("h2load", "nghttp2-client")
    out = run(h2load, "--h1", "-n", "3000", "-c", "50", f"{server.url}/third").stdout
    assert "status codes: 2000 2xx, 0 3xx, 0 4xx, 1000 5xx" in out
    assert "0 errored, 0 timeout" in out
    assert server.get().text == "hello"


def test_error_inside_a_stream_cuts_the_answer(server):
    """The status is gone: the client must see an incomplete body, never a complete one."""
    with server.connect() as client:
        client.request(target="/begun")
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.response()
    server.wait_log("in the stream")


@pytest.mark.skipif(SANITIZED, reason="measures memory")
def test_errors_do_not_leak_memory(server):
    def wave():
        with server.connect() as client:
            for _ in range(1000):
                client.fetch(target="/error")

    wave()
    before = server.rss()
    for _ in range(3):
        wave()
    assert server.rss() - before < 3 << 20


def test_nothing_of_the_failed_answer_is_sent(serve):
    """Headers, cookies and the status that the handler had set before it failed."""
    server = serve("""
        require("heart.v1").get("/", function(ctx)
          ctx.set("X-Secret", "1")
          ctx.cookies("a", "b")
          ctx.status(201).html("")
          error("after all that")
        end)
    """)
    response = server.get()
    assert (response.status, response["x-secret"], response["set-cookie"]) == (500, None, None)
    assert response["content-type"] == "text/plain; charset=utf-8"


def test_exit_in_a_handler_ends_the_process_at_once(serve):
    """os.exit is part of the standard library; it must not hang on threads that are still running."""
    server = serve('require("heart.v1").get("/", function() os.exit(3) end)', workers=2)
    with server.connect() as client:
        client.request()
        assert server.wait() == 3
