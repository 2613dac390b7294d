"""Request targets: origin, absolute and asterisk form, and what is decoded where (RFC 9112 section 3.2)."""

import pytest
from heart_server import Server

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "home " .. ctx.host() .. " " .. ctx.queryParam("q") end)
app.get("/show/:name", function(ctx)
  return ctx.pathParam("name") .. "|" .. ctx.path() .. "|" .. ctx.queryParam("q")
end)
app.get("/host", function(ctx) return ctx.host() end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def test_absolute_form_is_understood(server):
    """RFC 9112 section 3.2.2: every server must accept it, and its host wins over the Host field."""
    assert server.get("http://other.example:81/show/x?q=1").text == "x|/show/x|1"
    assert server.get("http://other.example/host").text == "other.example"
    assert server.get("HTTP://OTHER.example/host").text.lower() == "other.example"
    assert server.get("https://other.example/host").text == "other.example"


def test_absolute_form_without_a_path_is_the_root(server):
    assert server.get("http://h.example").text == "home h.example "
    assert server.get("http://h.example?q=2").text == "home h.example 2"


@pytest.mark.parametrize("target", ["ftp://h/", "http:///x", "http://user@h/x", "show/x", "http://"])
def test_malformed_target_is_no_success(server, target):
    assert server.get(target).status in (400, 404)


@pytest.mark.parametrize("target", [b"/a b", b"/a\tb", b"/\x00", b"/\x7f", b"/\xff", b"/a#b", b""])
def test_forbidden_byte_in_the_target_is_400(server, target):
    """RFC 9112 section 3.2: no whitespace, control characters or fragment."""
    assert server.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: t\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_path_parameter_is_not_decoded(server):
    """Heart v1: values of path patterns are as sent."""
    assert server.get("/show/a%20b").text.startswith("a%20b|")


def test_encoded_slash_does_not_split_the_path(server):
    assert server.get("/show/a%2Fb").text.startswith("a%2Fb|")


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("q=1", "1"),
        ("x=2&q=3", "3"),
        ("q=a+b", "a b"),
        ("q=a%2Bb", "a+b"),
        ("q=%C3%A9", "é"),
        ("%71=encoded", "encoded"),
        ("q=100%", "100%"),
        ("q=%zz", "%zz"),
        ("q", ""),
        ("q=", ""),
        ("", ""),
        ("q=a=b", "a=b"),
        ("q=first&q=second", "first"),
        ("Q=case", ""),
        ("&&q=1&", "1"),
        ("q=a?b/c", "a?b/c"),
    ],
)
def test_query_parameter_is_decoded(server, query, value):
    assert server.get(f"/show/x?{query}").text == f"x|/show/x|{value}"


def test_case_and_trailing_slash_do_not_matter(server):
    assert server.get("/SHOW/KeepCase/").text.startswith("KeepCase|")
