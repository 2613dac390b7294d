"""Cookies: reading, setting with attributes, clearing so that browsers really drop them (RFC 6265)."""

from http.cookies import SimpleCookie

import pytest
from heart_server import Server, need, run

APP = """
local app = require("heart.v1")
app.get("/set", function(ctx) ctx.cookies("plain", "value") return "set" end)
app.get("/two", function(ctx) ctx.cookies("a", "1") ctx.cookies("b", "2") return "set" end)
app.get("/attributes", function(ctx)
  ctx.cookies("full", "v", {
    path = "/app", domain = "example.org", maxAge = 3600, expires = 1700000000,
    secure = true, httpOnly = true, sameSite = "Strict",
  })
  return "set"
end)
app.get("/get", function(ctx) return ctx.cookies("plain") end)
app.get("/clear", function(ctx) ctx.clearCookie("plain") return "cleared" end)
app.get("/clear-all", function(ctx) ctx.clearCookies() return "cleared" end)
app.get("/bad-value", function(ctx) ctx.cookies("a", "semi;colon") return "set" end)
app.get("/bad-attribute", function(ctx) ctx.cookies("a", "b", { sameSite = "Sometimes" }) return "set" end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def morsel(text):
    cookie = SimpleCookie(text)
    assert len(cookie) == 1, text
    return next(iter(cookie.values()))


def test_cookie_is_set_with_safe_defaults(server):
    """Heart v1 sent SameSite=Lax; without a path a cookie could not be cleared from elsewhere."""
    got = morsel(server.get("/set")["set-cookie"])
    assert (got.key, got.value, got["path"], got["samesite"]) == ("plain", "value", "/", "Lax")


def test_two_cookies_are_two_fields(server):
    """RFC 6265 section 3: Set-Cookie fields are never folded."""
    assert [morsel(text).key for text in server.get("/two").all("set-cookie")] == ["a", "b"]


def test_all_attributes_are_sent(server):
    got = morsel(server.get("/attributes")["set-cookie"])
    assert (got.value, got["path"], got["domain"], got["max-age"]) == ("v", "/app", "example.org", "3600")
    assert got["expires"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert got["secure"] is True and got["httponly"] is True
    assert got["samesite"] == "Strict"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("plain=x", "x"),
        ("other=1; plain=x; more=2", "x"),
        ("other=1;plain=x", "x"),
        ('plain="quoted"', "quoted"),
        ("plain=a=b", "a=b"),
        ("plain=", ""),
        ("notplain=x", ""),
        ("Plain=x", ""),
        (";;plain=x;;", "x"),
    ],
)
def test_cookie_is_read(server, header, value):
    assert server.get("/get", [("Cookie", header)]).text == value


def test_clear_expires_the_cookie_that_was_set(server):
    """Same path as the one it was set with, and a date in the past."""
    got = morsel(server.get("/clear")["set-cookie"])
    assert (got.key, got["path"]) == ("plain", "/")
    assert got["max-age"] == "0" or "1970" in got["expires"]


def test_clear_cookies_expires_every_cookie_of_the_request(server):
    fields = server.get("/clear-all", [("Cookie", "a=1; b=2")]).all("set-cookie")
    assert sorted(morsel(text).key for text in fields) == ["a", "b"]


def test_curl_keeps_and_drops_the_cookie(server, tmp_path):
    """A client's jar is the judge of whether setting and clearing works."""
    curl, jar = need("curl", "curl"), tmp_path / "jar"

    def fetch(path):
        return run(curl, "-sS", "-b", jar, "-c", jar, server.url + path).stdout

    assert fetch("/get") == ""
    fetch("/set")
    assert fetch("/get") == "value"
    fetch("/clear")
    assert fetch("/get") == ""
    fetch("/set")
    fetch("/clear-all")
    assert fetch("/get") == ""


@pytest.mark.parametrize("target", ["/bad-value", "/bad-attribute"])
def test_what_a_cookie_cannot_hold_is_an_error(server, target):
    """RFC 6265 section 4.1.1."""
    assert server.get(target).status == 500


@pytest.mark.parametrize("attributes", ["{ maxage = 5 }", '{ maxAge = "x" }', '{ "Secure" }', '{ expires = "soon" }'])
def test_mistyped_attribute_is_an_error(serve, attributes):
    server = serve(f"""
        require("heart.v1").get("/", function(ctx) ctx.cookies("a", "b", {attributes}) return "set" end)
    """)
    assert server.get().status == 500
    server.wait_log("(?i)attribute")
