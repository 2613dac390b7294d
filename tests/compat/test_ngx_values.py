"""Values that the facade `ngx` makes, against Python's own functions, for many inputs; what a bad input may not do."""

import base64
import binascii
import hashlib
import json
import random
import re
import urllib.parse
import zlib

import pytest
from heart_server import Server
from lua_shell import Shell

RNG = random.Random(5)
TEXTS = [b"", b"\0", b"a", b"\xff" * 3, bytes(range(256))] + [RNG.randbytes(RNG.randrange(600)) for _ in range(60)]
LETTERS = "aab \n.é☃"


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude='json = require("heart.v1.json")') as shell:
        yield shell


def each(lua, expression, texts=TEXTS):
    """What a Lua expression of `x` gives for each of the texts, as bytes; None for nil."""
    code = f"""
      local out = {{}}
      for x in (...):gmatch("[^\\n]+") do
        x = x:sub(2):gsub("%x%x", function(d) return string.char(tonumber(d, 16)) end)
        local y = {expression}
        local digits = tostring(y):gsub(".", function(c) return ("%02x"):format(c:byte()) end)
        out[#out + 1] = y == nil and "-" or "x" .. digits
      end
      return table.concat(out, "\\n")
    """
    lines = lua.text(code, b"\n".join(b"x" + text.hex().encode() for text in texts)).split("\n")
    return [None if line == "-" else bytes.fromhex(line[1:]) for line in lines]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ngx.encode_base64(x)", base64.b64encode),
        ("ngx.decode_base64(ngx.encode_base64(x))", bytes),
        ('require("ngx.base64").encode_base64url(x)', lambda x: base64.urlsafe_b64encode(x).rstrip(b"=")),
        ('require("ngx.base64").decode_base64url(require("ngx.base64").encode_base64url(x))', bytes),
        ("ngx.md5(x)", lambda x: hashlib.md5(x).hexdigest().encode()),
        ("ngx.sha1_bin(x)", lambda x: hashlib.sha1(x).digest()),
        ("ngx.crc32_long(x)", lambda x: b"%d" % zlib.crc32(x)),
        ("ngx.unescape_uri(ngx.escape_uri(x))", bytes),
        ("ngx.escape_uri(x)", lambda x: urllib.parse.quote_from_bytes(x, safe="!'()*-._~").encode()),
        ("ngx.unescape_uri(x)", urllib.parse.unquote_to_bytes),
    ],
)
def test_value_is_that_of_python(lua, expression, expected):
    texts = [text.replace(b"+", b"") for text in TEXTS] if "unescape_uri(x)" in expression else TEXTS
    assert each(lua, expression, texts) == [expected(text) for text in texts]


def test_base64_that_is_none_gives_nil_or_what_nginx_makes_of_it(lua):
    alphabet = b"QUJDabc+/-_= \n\xff"
    texts = [bytes(RNG.choices(alphabet, k=RNG.randrange(12))) for _ in range(400)]
    for text, found in zip(texts, each(lua, "ngx.decode_base64(x)", texts), strict=True):
        body = text.split(b"=")[0]
        if len(body) % 4 == 1 or re.search(rb"[^A-Za-z0-9+/]", body):
            assert found is None, text
        else:
            assert found == binascii.a2b_base64(body + b"=" * (-len(body) % 4)), text


def test_arguments_are_those_of_python(lua):
    for _ in range(100):
        pairs = [
            ("".join(RNG.choices("ab%=+ é&", k=RNG.randrange(1, 5))), RNG.choice(["", "1", "x y"])) for _ in range(4)
        ]
        text = urllib.parse.urlencode(pairs)
        found = json.loads(lua.run("return json.encode(ngx.decode_args(...))", text.encode()))
        expected = urllib.parse.parse_qs(text, keep_blank_values=True)
        assert {k: v if isinstance(v, list) else [v] for k, v in found.items()} == expected
        back = lua.text("return ngx.encode_args(ngx.decode_args(...))", text.encode())
        assert urllib.parse.parse_qs(back, keep_blank_values=True) == expected


def test_any_arguments_are_read(lua):
    texts = [bytes(RNG.choices(b"a=&%;+\0\xff1", k=RNG.randrange(30))) for _ in range(300)]
    assert None not in each(lua, "json.encode(#ngx.encode_args(ngx.decode_args(x, 0)))", texts)


PATTERNS = [
    "a",
    "a*",
    "a+?",
    "(a)|(b)",
    "",
    "^",
    "$",
    r"\b",
    "(?=a)",
    ".",
    r"\s",
    "(a(b)?)",
    "[^a]",
    "(?<!a)b",
    "é",
    r"\n",
]


@pytest.mark.parametrize("options", ["u", "uj", "ujo", "U", "um", "ui"])
def test_matches_are_those_of_python(lua, options):
    flags = (re.MULTILINE if "m" in options else 0) | (re.IGNORECASE if "i" in options else 0)
    cases = [(p, "".join(RNG.choices(LETTERS, k=RNG.randrange(8)))) for p in PATTERNS for _ in range(12)]
    code = f"""
      local out = {{}}
      for i, case in ipairs(json.decode((...))) do
        local pattern, text = case[1], case[2]
        local list = {{}}
        for m in assert(ngx.re.gmatch(text, pattern, "{options}")) do
          list[#list + 1] = m[0]
        end
        local from, to = ngx.re.find(text, pattern, "{options}")
        local replaced = ngx.re.gsub(text, pattern, "<$0>", "{options}")
        out[i] = {{ table.concat(list, "|"), #list, from or -1, to or -1, replaced }}
      end
      return json.encode(out)
    """
    found = json.loads(lua.run(code, json.dumps(cases).encode()))
    for (pattern, text), (joined, n, start, end, replaced) in zip(cases, found, strict=True):
        if "m" in options and pattern == "^" and text.endswith("\n"):
            continue  # Python sees the beginning of a line at the end of the text, PCRE does not
        matches = list(re.finditer(pattern, text, flags | re.ASCII))
        assert (joined, n) == ("|".join(m[0] for m in matches), len(matches)), (pattern, text)
        if matches:
            at = len(text[: matches[0].start()].encode())
            assert (start, end) == (at + 1, at + len(matches[0][0].encode())), (pattern, text)
        assert replaced == re.sub(pattern, lambda m: f"<{m[0]}>", text, flags=flags | re.ASCII), (pattern, text)


def test_offsets_and_bytes_of_any_kind_do_no_harm(lua):
    """Bytes that are no UTF-8, offsets inside of characters and behind the end: an error or a match, never a crash."""
    code = """
      math.randomseed(3)
      local patterns = { ".", "a*", "(.)(.)?", "é", "^", "$", "\\\\X", "[^x]", "(?<n>.)|(?<n>x)" }
      local n = 0
      for _ = 1, 800 do
        local bytes = {}
        for i = 1, math.random(0, 12) do bytes[i] = string.char(math.random(0, 255)) end
        local text = table.concat(bytes)
        for _, options in ipairs({ "u", "U", "", "uj", "Uj", "d", "ud", "D", "JU" }) do
          local pattern = patterns[math.random(#patterns)]
          local ctx = { pos = math.random(-2, 15) }
          local m, err = ngx.re.match(text, pattern, options .. "o", ctx)
          n = n + (m and 1 or 0)
          local it = ngx.re.gmatch(text, pattern, options)
          for _ = 1, 30 do
            if not it or not it() then break end
          end
          ngx.re.gsub(text, pattern, "$0$1", options)
          ngx.re.find(text, pattern, options, ctx, math.random(0, 3))
          require("ngx.re").split(text, pattern, options)
        end
      end
      return tostring(n > 100)
    """
    assert lua.text(code) == "true"


def test_pattern_that_backtracks_without_end_gives_an_error(lua):
    for options in ("", "j", "jo"):
        code = f'local m, err = ngx.re.match(("a"):rep(40) .. "!", "^(a+)+$", "{options}") return tostring(m) .. err'
        assert lua.text(code) == "nilpcre_exec() failed: -47"
        code = f'return (select(2, ngx.re.match(("a"):rep(3e6), "(a|b)*[cd]", "{options}")))'
        assert lua.text(code).startswith("pcre_exec() failed: -")
    assert lua.text('return ngx.re.match(("a"):rep(3e6) .. "c", "a*c", "jo")[0]:sub(-2)') == "ac"


def test_patterns_of_any_kind_give_an_error_or_match(lua):
    alphabet = r"ab()[]{}*+?|^$.\d\1(?<n>\Q\E(?R)\K-,1"
    patterns = ["".join(RNG.choices(alphabet, k=RNG.randrange(1, 12))) for _ in range(1500)]
    code = """
      for _, pattern in ipairs(json.decode((...))) do
        for _, options in ipairs({ "", "jo", "uD" }) do
          local m, err = ngx.re.match("aab(1\\nab", pattern, options)
          assert(m or err == nil or err:find("^pcre"), err)
          ngx.re.gsub("aab(1\\nab", pattern, "<$0>", options)
        end
      end
      return "done"
    """
    assert lua.text(code, json.dumps(patterns).encode()) == "done"


def test_kept_patterns_are_bounded(lua):
    code = """
      collectgarbage()
      for i = 1, 3000 do ngx.re.match("x" .. i, "x" .. i .. "(a|b)*", "jo") end
      collectgarbage() collectgarbage()
      local before = collectgarbage("count")
      for i = 3001, 9000 do ngx.re.match("x" .. i, "x" .. i .. "(a|b)*", "jo") end
      collectgarbage() collectgarbage()
      return tostring(collectgarbage("count") - before < 1000)
    """
    assert lua.text(code) == "true"


def test_unused_facade_costs_nothing():
    app = """
    local app = require("heart.v1")
    app.get("/", function() return tostring(package.loaded["compat.openresty.log"] == nil) end)
    app.get("/touch", function() return tostring(ngx.OK) end)
    """
    with Server(app) as server, server.connect() as client:
        assert client.fetch().text == "true"
        assert client.fetch(target="/touch").text == "0"
        assert client.fetch().text == "false"
