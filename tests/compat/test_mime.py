"""mime, ltn12 and socket.url against LuaSocket's own, in one Lua state."""

import pytest
from debian_files import unpack
from lua_shell import Shell

PRELUDE = """
-- Debian's modules beside Heart's: `theirs.x` is the original of `x`.
local root = "%(root)s"
local function original(name)
  return assert(loadfile(root .. "/usr/share/lua/5.1/" .. name .. ".lua"))()
end
local so = "%(root)s/usr/lib/%(arch)s/lua/5.1/mime/core.so"
ours, theirs = {}, {}
ours.mime, ours.ltn12, ours.url = require("mime"), require("ltn12"), require("socket.url")
theirs.mime = assert(package.loadlib(so, "luaopen_mime_core"))()
theirs.ltn12 = original("ltn12")
theirs.url = original("socket/url")
require("socket").url = ours.url

function text_of(alphabet, most)
  local t = {}
  for i = 1, math.random(0, most) do
    local k = math.random(#alphabet)
    t[i] = alphabet:sub(k, k)
  end
  return table.concat(t)
end

local bytes = {}
for i = 0, 255 do bytes[i + 1] = string.char(i) end
alphabets = { table.concat(bytes), "abc =\\t\\r\\n.\\r\\n", "a\\r\\n", "ABCD=+/ \\r\\n!", "=4A=0Dg= \\r\\n\\t=x",
  "AAAA=======bb  \\r\\n", ".\\r\\n.x", "a=b \\n" }
"""


@pytest.fixture(scope="module")
def lua():
    root = unpack("lua-socket")
    found = next(root.glob("usr/lib/*/lua/5.1/mime/core.so"))
    with Shell(prelude=PRELUDE % {"root": root, "arch": found.parts[-5]}) as shell:
        yield shell


FIRST = {"wrp": "76", "qpwrp": "76", "eol": "0", "dot": "2"}
EXTRA = {"wrp": "{nil, 76, 10, 4}", "qpwrp": "{nil, 76, 10, 4}", "eol": '{nil, "\\n"}', "qp": '{nil, "=0D=0A"}'}


@pytest.mark.parametrize("name", ["b64", "unb64", "qp", "unqp", "wrp", "qpwrp", "eol", "dot"])
def test_low_level_filter_gives_the_same(lua, name):
    """Random texts in random pieces: the same output and the same state after each piece."""
    told = lua.run(f"""
        math.randomseed(3)
        local a, b = theirs.mime.{name}, ours.mime.{name}
        local extras = {EXTRA.get(name, "{}")}
        for round = 1, 3000 do
          local alphabet, extra = alphabets[math.random(#alphabets)], extras[math.random(4)]
          local x, y = {FIRST.get(name, '""')}, nil
          if type(x) == "number" and x > 2 and extra then x = extra end
          y = x
          for piece = 1, 4 do
            local text = piece < 4 and text_of(alphabet, math.random(2) == 1 and 6 or 120) or nil
            local expected, next_x = a(x, text, extra)
            local given, next_y = b(y, text, extra)
            if expected ~= given or next_x ~= next_y then
              return ("%q %q: %q %q, not %q %q"):format(tostring(x), tostring(text), tostring(given), tostring(next_y),
                tostring(expected), tostring(next_x))
            end
            x, y = next_x, next_y
            if x == nil then break end
          end
        end
        return tostring((b({FIRST.get(name, '""')}, nil))) .. tostring(select("#", b({FIRST.get(name, '""')}, nil)))
    """)
    assert told == b"nil2"


def test_chains_give_the_same(lua):
    """Sources through filters and filters before sinks, with pieces of all sizes."""
    told = lua.run("""
        math.randomseed(4)
        local function filters(l, m, kinds)
          local chain = {}
          for i, kind in ipairs(kinds) do
            local low = ({ m.eol, m.qp, m.b64, m.unb64 })[kind]
            chain[i] = l.filter.cycle(low, kind == 1 and 0 or "", kind == 1 and "\\n" or nil)
          end
          chain[#chain + 1] = l.filter.cycle(m.wrp, 20, 20)
          return chain
        end
        local function run(l, m, text, size, kinds)
          l.BLOCKSIZE = size
          local out = {}
          local chain = filters(l, m, kinds)
          local source = l.source.cat(l.source.string(text), l.source.empty(), l.source.string("tail"))
          assert(l.pump.all(l.source.chain(source, unpack(chain)), (l.sink.table(out))))
          local other, before = {}, filters(l, m, kinds)
          before[#before + 1] = l.sink.table(other)
          assert(l.pump.all(l.source.string(text), l.sink.chain(unpack(before))))
          return table.concat(out) .. "|" .. table.concat(other)
        end
        local m = theirs.mime
        for round = 1, 1500 do
          local text, kinds = text_of(alphabets[math.random(#alphabets)], 200), { math.random(4) }
          for i = 2, math.random(3) do kinds[i] = math.random(4) end
          local size = ({ 1, 2, 3, 7, 64, 2048 })[math.random(6)]
          local a, b = run(theirs.ltn12, m, text, size, kinds), run(ours.ltn12, m, text, size, kinds)
          if a ~= b then return ("%q: %q, not %q"):format(text, b, a) end
        end
        ours.ltn12.BLOCKSIZE = 2048
        return ""
    """)
    assert told == b""


def test_filter_with_a_store_is_drained(lua):
    """One that gives what it has in pieces, when it is asked with "": nothing is lost and the order stays."""
    assert (
        lua.text("""
        local l = ours.ltn12
        local function slow()
          local held, ended = "", false
          return function(chunk)
            if chunk == nil then ended = true else held = held .. chunk end
            local out = held:sub(1, 2)
            held = held:sub(3)
            if out == "" and ended then return nil end
            return out
          end
        end
        local out, parts = {}, {}
        local source = l.source.table({ "abcdefg", "h", "ijkl" })
        assert(l.pump.all(l.source.chain(source, slow(), slow()), (l.sink.table(out))))
        assert(l.pump.all(l.source.string("abcdefghijkl"), l.sink.chain(slow(), slow(), (l.sink.table(parts)))))
        return table.concat(out) .. " " .. table.concat(parts)
    """)
        == "abcdefghijkl abcdefghijkl"
    )


def test_failures_of_sources_and_sinks_end_the_pump(lua):
    assert lua.text("""
        local l = ours.ltn12
        local all = {}
        for _, case in ipairs({
          { l.source.error("no source"), l.sink.null() },
          { l.source.string("x"), l.sink.error("no sink") },
          { l.source.file(io.open("/nonexistent", "r")), l.sink.null() },
          { l.source.file(nil), l.sink.null() },
          { l.source.chain(l.source.error("early"), l.filter.cycle(ours.mime.b64, "")), l.sink.null() },
        }) do
          local ok, err = l.pump.all(case[1], case[2])
          all[#all + 1] = tostring(ok) .. " " .. tostring(err)
        end
        return table.concat(all, "\\n")
    """).split("\n") == [
        "nil no source",
        "nil no sink",
        "nil /nonexistent: No such file or directory",
        "nil unable to open file",
        "nil early",
    ]


def test_simplify_and_rewind(lua):
    assert (
        lua.text("""
        local l, out = ours.ltn12, {}
        local function last() return nil end
        local function second() return "b", last end
        local source = l.source.simplify(function() return "a", second end)
        source = l.source.rewind(source)
        source("first")
        local function rest(chunk) out[#out + 1] = chunk return 1 end
        local sink = l.sink.simplify(function(chunk) out[#out + 1] = chunk return 1, rest end)
        assert(l.pump.all(source, sink))
        return table.concat(out, ",")
    """)
        == "first,a,b"
    )


def test_files_go_through_filters(lua, tmp_path):
    (tmp_path / "in").write_bytes(bytes(range(256)) * 999)
    lua.run(f"""
        local l, m = ours.ltn12, ours.mime
        assert(l.pump.all(
          l.source.chain(l.source.file(io.open("{tmp_path}/in", "rb")), m.encode("base64"), m.wrap("base64")),
          l.sink.chain(m.decode("base64"), l.sink.file(io.open("{tmp_path}/out", "wb")))))
        return ""
    """)
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_urls_give_the_same(lua):
    told = lua.run("""
        math.randomseed(6)
        local function show(t)
          if type(t) ~= "table" then return tostring(t) end
          local parts = {}
          for k, v in pairs(t) do parts[#parts + 1] = tostring(k) .. "=" .. tostring(v) end
          table.sort(parts)
          return table.concat(parts, "&")
        end
        local function maybe(text) return math.random(2) == 1 and text or "" end
        local function path()
          local segments = {}
          local some = { "a", "bc", "d%20", "x.y", "e~", "..", "." }
          for i = 1, math.random(0, 4) do segments[i] = some[math.random(7)] end
          return table.concat(segments, "/")
        end
        local function random_url()
          return maybe(({ "http:", "ftp:", "x+y:" })[math.random(3)])
            .. maybe("//" .. maybe("user" .. maybe(":pass") .. "@") .. ({ "host", "1.2.3.4", "[::1]" })[math.random(3)]
              .. maybe(":80") .. "/")
            .. path() .. maybe(";params") .. maybe("?query=1&x") .. maybe("#frag")
        end
        for round = 1, 4000 do
          local url = random_url()
          local a, b = theirs.url.parse(url), ours.url.parse(url)
          if show(a) ~= show(b) then return url .. ": " .. show(b) .. ", not " .. show(a) end
          if a and theirs.url.build(a) ~= ours.url.build(b) then return "build " .. url end
          local p = path()
          for _, q in ipairs({ p, "/" .. p, p .. "/", "//" .. p }) do
            a, b = theirs.url.parse_path(q), ours.url.parse_path(q)
            if show(a) ~= show(b) then return "path " .. q end
            for _, unsafe in ipairs({ true, false }) do
              if theirs.url.build_path(a, unsafe) ~= ours.url.build_path(b, unsafe) then return "build path " .. q end
            end
          end
        end
        for round = 1, 500 do
          local text = text_of(alphabets[1], 20)
          if theirs.url.escape(text) ~= ours.url.escape(text) then return "escape " .. text end
          if theirs.url.unescape(text) ~= ours.url.unescape(text) then return "unescape " .. text end
          local segments = { text, text }
          if theirs.url.build_path(segments) ~= ours.url.build_path(segments) then return "segment " .. text end
        end
        return show(ours.url.parse("x", { host = "h", path = "/p" })) .. show({ ours.url.parse("") })
    """)
    assert told == b"host=h&path=x2=invalid url"


@pytest.mark.parametrize(
    ("relative", "absolute"),
    [
        ("g:h", "g:h"),
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        ("g?y#s", "http://a/b/c/g?y#s"),
        ("g;x", "http://a/b/c/g;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y#s"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/../x", "http://a/b/c/g#s/../x"),
        ("http://x/a/../b", "http://x/b"),
        ("//user:p@x:8/a", "http://user:p@x:8/a"),
    ],
)
def test_relative_reference_is_resolved_by_rfc_3986(lua, relative, absolute):
    """Section 5.4, and of LuaSocket the parameters of RFC 2396."""
    assert lua.text(f'return ours.url.absolute("http://a/b/c/d;p?q", "{relative}")') == absolute
    assert lua.text(f'return ours.url.absolute(ours.url.parse("http://a/b/c/d;p?q"), "{relative}")') == absolute


def test_host_ends_at_a_query(lua):
    assert lua.text('return ours.url.parse("http://host?a=1").host') == "host"
    assert lua.text('return ours.url.parse("http://host#a").host') == "host"
