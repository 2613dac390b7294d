"""HEAD, OPTIONS, 404, 405, 501 and the methods of the API (RFC 9110 section 9)."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
for _, method in ipairs { "get", "post", "put", "delete", "patch", "trace" } do
  app[method]("/any", function(ctx) return ctx.method() end)
end
app.get("/get", function(ctx) ctx.set("X-Seen", ctx.method()) return "0123456789" end)
app.head("/head", function(ctx) ctx.set("X-Head", "own") end)
app.get("/head", function(ctx) return "get" end)
app.options("/options", function(ctx) return "own options" end)
app.post("/item/:id", function(ctx) return "posted" end)
app.delete("/item/:id", function(ctx) return "deleted" end)
app.get("/json", function(ctx) return ctx.json({ a = 1 }) end)
app.any("/every", function(ctx) return ctx.method() end)
app.get("/stream", function(ctx) return ctx.stream(function(write) write("abc") end) end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def allow(response):
    return {token.strip() for token in response["allow"].split(",")}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_method_reaches_its_handler(server, method):
    assert server.fetch(method, "/any").text == method


@pytest.mark.parametrize("target", ["/get", "/json", "/missing", "/any"])
def test_head_has_the_headers_of_get_without_a_body(server, target):
    """RFC 9110 section 9.3.2."""
    with server.connect() as client:
        got = client.fetch("GET", target)
        head = client.fetch("HEAD", target)
        assert head.status == got.status
        if target in ("/get", "/json"):
            assert head["content-length"] == got["content-length"]
        assert head["content-type"] == got["content-type"]
        assert client.fetch("GET", "/get").body == b"0123456789"


def test_head_runs_the_get_handler_with_its_own_method(server):
    assert server.fetch("HEAD", "/get")["x-seen"] == "HEAD"


def test_head_route_is_its_own(server):
    response = server.fetch("HEAD", "/head")
    assert (response.status, response["x-head"]) == (200, "own")
    assert server.get("/head").text == "get"


def test_head_of_a_stream_ends_at_its_headers(server):
    with server.connect() as client:
        assert client.fetch("HEAD", "/stream").status == 200
        assert client.fetch("GET", "/stream").body == b"abc"


def test_405_names_the_allowed_methods(server):
    """RFC 9110 section 15.5.6."""
    response = server.fetch("PUT", "/item/7")
    assert response.status == 405
    assert allow(response) >= {"POST", "DELETE"}
    assert not allow(response) & {"GET", "HEAD", "PUT"}
    assert allow(server.fetch("POST", "/get")) >= {"GET", "HEAD"}


def test_options_names_the_allowed_methods(server):
    """RFC 9110 section 9.3.7."""
    response = server.fetch("OPTIONS", "/item/7")
    assert response.status in (200, 204)
    assert response.body == b""
    assert allow(response) >= {"POST", "DELETE", "OPTIONS"}


def test_options_of_the_server(server):
    """RFC 9112 section 3.2.4: the asterisk-form asks about the server as a whole."""
    response = server.fetch("OPTIONS", "*")
    assert response.status in (200, 204)
    assert response.body == b""
    assert server.exchange(b"GET * HTTP/1.1\r\nHost: t\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_options_route_is_its_own(server):
    assert server.fetch("OPTIONS", "/options").text == "own options"


def test_options_of_an_unknown_path_is_404(server):
    assert server.fetch("OPTIONS", "/missing").status == 404


def test_unknown_path_is_404_and_names_the_request(server):
    response = server.get("/missing?q=1")
    assert (response.status, response.text) == (404, "Cannot GET /missing")
    assert server.fetch("DELETE", "/missing").text == "Cannot DELETE /missing"


def test_404_text_is_no_markup(server):
    """The path comes back as plain text that a browser may not sniff as HTML."""
    response = server.get("/%3Cscript%3Ealert(1)%3C/script%3E")
    assert response["content-type"].startswith("text/plain")


@pytest.mark.parametrize("method", ["BREW", "get", "G", "PROPFIND", "X" * 30])
def test_unknown_method_is_501(server, method):
    """RFC 9110 section 9.1: methods are case-sensitive; one that no route knows is not implemented."""
    assert server.fetch(method, "/get").status in (501, 405)
    assert server.fetch(method, "/get").body != b"0123456789"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PROPFIND"])
def test_route_for_any_method_gets_all(server, method):
    assert server.fetch(method, "/every").text == method


def test_connect_is_not_served(server):
    """RFC 9110 section 9.3.6: an origin server may refuse it."""
    assert server.fetch("CONNECT", "example.org:80").status in (400, 404, 405, 501)


def test_notfound_handler_answers_what_no_route_does(serve):
    """Heart v1: it answers 200 unless it sets a status, and other methods too."""
    server = serve("""
        local app = require("heart.v1")
        app.get("/", function(ctx) return "home" end)
        app.notfound(function(ctx) return ctx.status(404).text("no " .. ctx.method() .. " " .. ctx.path()) end)
    """)
    response = server.get("/missing")
    assert (response.status, response.text) == (404, "no GET /missing")
    assert server.get("/").text == "home"
    plain = serve('local app = require("heart.v1") app.notfound(function(ctx) return "shrug" end)')
    assert (plain.get("/x").status, plain.get("/x").text) == (200, "shrug")
