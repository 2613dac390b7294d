"""heart/url.lua: URLs taken apart and references resolved, by the examples of RFC 3986 and against urllib."""

import urllib.parse

import pytest
from heart_server import ROOT
from hypothesis import given
from hypothesis import strategies as st
from lua_native import Lua

NAMES = "scheme host port authority origin path query target user password text".split()
SETUP = f"""
package.path = "{ROOT}/lua_stdlib/?.lua"
local url = require("heart.url")
local names = {{ {", ".join(f'"{name}"' for name in NAMES)} }}
local function show(found, err)
  if not found then
    return err
  end
  local parts = {{}}
  for i, name in ipairs(names) do
    parts[i] = tostring(found[name])
  end
  return table.concat(parts, "\\n")
end
function parse(text)
  return show(url.parse(text))
end
function resolve(base, reference)
  return show(url.resolve(assert(url.parse(base)), reference))
end
function form(name, value)
  return url.form({{ [name] = value }})
end
decode = url.decode
"""
BASE = "http://a/b/c/d;p?q"


@pytest.fixture(scope="module")
def lua():
    state = Lua()
    state.run(SETUP.encode())
    return state


def call(lua, function, *arguments):
    found = lua.run(f"return {function}(...)".encode(), *[text.encode() for text in arguments]).decode("latin-1")
    return dict(zip(NAMES, found.split("\n"), strict=True)) if "\n" in found else found


def test_url_is_taken_apart(lua):
    assert call(lua, "parse", "HTTP://ann:p%40ss@Example.COM:8080/a/../b%20c?x=1#f") == {
        "scheme": "http",
        "host": "example.com",
        "port": "8080",
        "authority": "example.com:8080",
        "origin": "http://example.com:8080",
        "path": "/b%20c",
        "query": "x=1",
        "target": "/b%20c?x=1",
        "user": "ann",
        "password": "p@ss",
        "text": "http://example.com:8080/b%20c?x=1",
    }


@pytest.mark.parametrize(
    ("text", "host", "port", "authority"),
    [
        ("http://a", "a", "80", "a"),
        ("http://a:80", "a", "80", "a"),
        ("https://a:443/", "a", "443", "a"),
        ("https://a:80/", "a", "80", "a:80"),
        ("http://a:/", "a", "80", "a"),
        ("http://[2001:DB8::1]:81/", "2001:db8::1", "81", "[2001:db8::1]:81"),
        ("http://[::1]", "::1", "80", "[::1]"),
        ("http://u@h@a/", "a", "80", "a"),
        ("http://a_b.c-d~e/", "a_b.c-d~e", "80", "a_b.c-d~e"),
    ],
)
def test_hosts_and_ports_are_read(lua, text, host, port, authority):
    found = call(lua, "parse", text)
    assert (found["host"], found["port"], found["authority"]) == (host, port, authority)


@pytest.mark.parametrize(
    ("text", "err"),
    [
        ("", "bad URL"),
        ("/a", "bad URL"),
        ("a.example", "bad URL"),
        ("http:/a", "bad URL"),
        ("http://a\r\nb", "bad URL"),
        ("http://a/\0", "bad URL"),
        ("gopher://a/", "unsupported scheme"),
        ("http://", "bad host name"),
        ("http:///a", "bad host name"),
        ("http://a b/", "bad host name"),
        ("http://a%00/", "bad host name"),
        ("http://\u00e9/", "bad host name"),
        ("http://[1.2.3.4]/", "bad host name"),
        ("http://[::g]/", "bad host name"),
        ("http://[fe80::1%25eth0]/", "bad host name"),
        ("http://" + "a" * 256 + "/", "bad host name"),
        ("http://a:x/", "bad port"),
        ("http://a:0/", "bad port"),
        ("http://a:65536/", "bad port"),
        ("http://a:80:80/", "bad port"),
        ("http://::1/", "bad host name"),
    ],
)
def test_what_is_no_url_is_told(lua, text, err):
    assert call(lua, "parse", text) == err


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("https://x:444/y", "https://x:444/y"),
    ],
)
def test_reference_is_resolved_as_the_rfc_says(lua, reference, target):
    """RFC 3986 sections 5.4.1 and 5.4.2; fragments are not sent."""
    assert call(lua, "resolve", BASE, reference)["text"] == target


@pytest.mark.parametrize("reference", ["mailto:a@b", "javascript:x", "g:h"])
def test_reference_to_another_world_is_refused(lua, reference):
    assert call(lua, "resolve", BASE, reference) == "unsupported scheme"


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.text(st.characters(codec="utf-8"), max_size=20))
def test_form_is_read_back(lua, name, value):
    text = lua.run(b"return form(...)", name.encode(), value.encode()).decode()
    assert urllib.parse.parse_qsl(text, keep_blank_values=True) == [(name, value)]
    assert lua.run(b"return decode(...)", text.split("=")[1].encode()) == value.encode()


@given(st.text(st.characters(min_codepoint=32, codec="utf-8", exclude_characters="\x7f?#"), max_size=30))
def test_any_path_becomes_one_that_can_be_sent(lua, path):
    found = call(lua, "parse", "http://a/" + path)
    assert not isinstance(found, str) or found == "bad URL"  # control characters beyond ASCII are encoded
    if isinstance(found, dict):
        target = found["target"]
        assert target.isascii() and " " not in target and target.startswith("/")
        assert call(lua, "parse", "http://a" + target)["target"] == target
