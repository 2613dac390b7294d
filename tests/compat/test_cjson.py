"""cjson and cjson.safe against lua-cjson itself, in one Lua state: the same documents, the same tables."""

import json
import random
import struct
from pathlib import Path

import pytest
from heart_server import missing
from lua_shell import Shell

SEEDS = [
    b'{"a":[1,-2.5e+10,0.125,1E5,true,false,null,[],{},""],"b":{"c":{"d":"x"}}}',
    b"[0x1F,-0x1f,01,+1,1.,1.e5,-.5,inf,-Infinity,NaN,-nan,1e999,-1e999,4.9e-324,0]",
    b'"\\u00e9\\ud83d\\ude00\\n\\/\\b plain \xff\xc3\x28 \x01\x7f \xf0\x9f\x98\x80"',
    b' \t\r\n[ [ [ 1 ] , { "k" : "v" , "k" : 2 } ] ] ',
    b'{"a/b":"</script>","\\u0000":"\\u007f"}',
    b"[" * 998 + b"]" * 998,
    b"12345678901234567890.12345678901234567890e-5",
]
ALPHABET = b'0123456789+-.eExXinfaNtrulsdy"\\/u{}[]:, \n\t\x00\x01\x7f\x80\xc3\xa9\xff'
PRELUDE = """
cjson, safe = require("cjson"), require("cjson.safe")
original = package.loadlib("%s", "luaopen_cjson")()

-- The text of any value, the same for equal ones.
function show(value)
  if type(value) ~= "table" then
    return type(value) .. ":" .. (type(value) == "number" and ("%%.17g"):format(value) or tostring(value))
  end
  local parts = {}
  for k, v in pairs(value) do
    parts[#parts + 1] = show(k) .. "=" .. show(v)
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ";") .. "}" .. tostring(getmetatable(value))
end

-- Decode each document, and encode what comes out, with both; tell where they differ.
function compare(documents)
  local differences, accepted, at = {}, 0, 1
  while at <= #documents do
    local a, b, c, d = documents:byte(at, at + 3)
    local size = ((a * 256 + b) * 256 + c) * 256 + d
    local text = documents:sub(at + 4, at + 3 + size)
    at = at + 4 + size
    local good, expected = pcall(original.decode, text)
    local ok, value = pcall(cjson.decode, text)
    if ok ~= good or ok and show(value) ~= show(expected) then
      differences[#differences + 1] = ("%%q: %%s, not %%s"):format(text, tostring(value), tostring(expected))
    elseif ok then
      accepted = accepted + 1
      local good_text, expected_text = pcall(original.encode, value)
      local ok_text, own_text = pcall(cjson.encode, value)
      if ok_text ~= good_text or ok_text and own_text ~= expected_text then
        differences[#differences + 1] = ("%%q: %%s, not %%s"):format(text, own_text, expected_text)
      end
    end
  end
  return table.concat(differences, "\\n", 1, math.min(#differences, 20)), accepted
end
"""


@pytest.fixture(scope="module")
def lua():
    found = list(Path("/usr/lib").glob("*/lua/5.1/cjson.so"))
    if not found:
        missing("cjson", "lua-cjson")
    with Shell(prelude=PRELUDE % found[0]) as shell:
        yield shell


def differences(lua, documents, before=""):
    """What differs between the two, as text, and how many documents both have accepted."""
    packed = b"".join(struct.pack(">I", len(text)) + text for text in documents)
    told = lua.run(before + "local d, n = compare(...) return n .. '\\n' .. d", packed).decode("utf-8", "replace")
    count, _, text = told.partition("\n")
    return text, int(count)


def mutated(rng, text):
    """One to three bytes of a document removed, inserted or replaced."""
    text = bytearray(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        text[at : at + rng.randint(0, 1)] = bytes(rng.choices(ALPHABET, k=rng.randint(0, 2)))
    return bytes(text)


@pytest.mark.parametrize("invalid", ["true", "false"])
def test_documents_give_the_same_values_and_texts(lua, invalid):
    """Also those that are no JSON: lua-cjson accepts many of them."""
    rng = random.Random(7)
    documents = SEEDS + [mutated(rng, text) for text in SEEDS if len(text) < 500 for _ in range(2500)]
    documents += [bytes(rng.choices(ALPHABET, k=rng.randint(0, 6))) for _ in range(10000)]
    set_both = f"cjson.decode_invalid_numbers({invalid}) original.decode_invalid_numbers({invalid}) "
    text, accepted = differences(lua, documents, set_both)
    assert text == ""
    assert accepted > 1000


def test_numbers_have_the_same_digits(lua):
    rng = random.Random(8)
    numbers = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(4000)]
    numbers += [rng.randint(-(10**n), 10**n) / 10**p for n in range(1, 18) for p in (0, 0, 1, 3, 20) for _ in range(20)]
    numbers += [10.0**n + d for n in range(18) for d in (-1, 0, 1)] + [-0.0]
    documents = [repr(n).encode() for n in numbers]
    for digits in (14, 1, 6):
        text, accepted = differences(
            lua, documents, f"cjson.encode_number_precision({digits}) original.encode_number_precision({digits}) "
        )
        assert text == ""
        assert accepted > 5000
    assert lua.text("cjson.encode_number_precision(16) return cjson.encode(2^53)") == "9007199254740992"
    lua.text("cjson.encode_number_precision(14) original.encode_number_precision(14) return ''")


def test_tables_give_the_same_texts(lua):
    """Sparse and mixed ones, odd keys, all bytes; under several settings."""
    assert (
        lua.run("""
        math.randomseed(5)
        local random = math.random
        local keys = { 1, 2, 3, 4, 7, 15, 0, -1, 1.5, "a", "b/c", "1", 60, true }
        local function value(depth)
          local kind = random(depth > 0 and 9 or 6)
          if kind == 1 then return random(-5, 5) end
          if kind == 2 then return random() * 10 ^ random(-5, 20) end
          if kind == 3 then return random(2) == 1 end
          if kind == 4 then return cjson.null end
          if kind == 5 then return random(40) == 1 and print or "x" end
          if kind == 6 then
            local bytes = {}
            for i = 1, random(0, 30) do bytes[i] = string.char(random(0, 255)) end
            return table.concat(bytes)
          end
          local t = {}
          for _ = 1, random(0, 4) do t[keys[random(random(14))]] = value(depth - 1) end
          return t
        end
        local failed = 0
        for round = 1, 6000 do
          local convert, ratio, low = random(2) == 1, random(0, 3), random(0, 12)
          cjson.encode_sparse_array(convert, ratio, low)
          original.encode_sparse_array(convert, ratio, low)
          local v = value(4)
          local good, expected = pcall(original.encode, v)
          local ok, text = pcall(cjson.encode, v)
          if ok ~= good or ok and text ~= expected then return show(v) .. "\\n" .. text .. "\\n" .. expected end
          if not ok then failed = failed + 1 end
        end
        for _, module in ipairs({ cjson, original }) do module.encode_sparse_array(false, 2, 10) end
        return failed > 100 and failed < 3000 and "" or failed
    """)
        == b""
    )


def test_settings_are_told_and_refused_as_there(lua):
    told = lua.text("""
        local a, b, names = cjson.new(), original.new(), {}
        local tries = { "nil", "true", "false", "'on'", "'off'", "'null'", "0", "1", "3", "14" }
        for _, code in ipairs({ "1.5", "'x'", "-1", "{}" }) do tries[#tries + 1] = code end
        for name, f in pairs(original) do
          if name:find("^[ed][ne]") and name ~= "encode" and name ~= "decode" then names[#names + 1] = name end
        end
        local function call(m, name, code)
          local results = { pcall(m[name], loadstring("return " .. code)()) }
          return results[1] and show(results) or "refused"
        end
        for _, name in ipairs(names) do
          for _, code in ipairs(tries) do
            local x, y = call(a, name, code), call(b, name, code)
            if x ~= y then return name .. "(" .. code .. "): " .. x .. ", not " .. y end
          end
        end
        return #names .. " " .. tostring(cjson.null == original.null) .. " " .. cjson._NAME
    """)
    assert told == "7 true cjson"


def test_depth_is_limited(lua):
    assert (
        lua.text("""
        local m = cjson.new()
        m.encode_max_depth(3)
        m.decode_max_depth(2)
        return cjson.encode({ pcall(m.encode, {{{{}}}}), m.encode({{{ 1 }}}),
          (pcall(m.decode, "[[[]]]")), m.encode(m.decode("[[3]]")) })
    """)
        == '[false,"[[[1]]]",false,"[[3]]"]'
    )
    assert lua.text("local t = {} t.t = t return select(2, safe.encode(t))").startswith(
        "cjson.encode: nested deeper than 1000 levels at .t.t"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("m.encode({})", "{}"),
        ("m.encode({ m.empty_array, {} })", "[[],{}]"),
        ("m.encode(setmetatable({}, m.empty_array_mt))", "[]"),
        ("m.encode(setmetatable({ 1, 2 }, m.empty_array_mt))", "[1,2]"),
        ("m.encode(setmetatable({}, m.array_mt))", "[]"),
        ('m.encode(setmetatable({ "a", "b", nil, "c", x = 1 }, m.array_mt))', '["a","b",null,"c"]'),
        ("m.encode_empty_table_as_object(false) and '' or m.encode({ {} })", "[[]]"),
        ("m.encode(m.decode('{\"a\":[]}'))", '{"a":{}}'),
        ('m.decode_array_with_array_mt(true) and m.encode(m.decode(\'{"a":[],"b":{}}\').a)', "[]"),
        ("m.decode_json_null(false) or m.encode(m.decode('[1,null,2]'))", "[1,null,2]"),
        ("m.decode_json_null(false) or m.encode(m.decode('{\"a\":null}'))", "{}"),
        ("m.encode_escape_forward_slash(false) or m.encode('a/b\\127')", '"a/b\\u007f"'),
        ("m.encode_invalid_numbers(true) and m.encode({ 0/0, 1/0, -1/0 })", "[NaN,Infinity,-Infinity]"),
        ("m.encode_invalid_numbers('null') and m.encode({ 0/0, 1/0 })", "[null,null]"),
        ("require('cjson').array_mt == safe.array_mt", "true"),
    ],
)
def test_additions_of_openresty_work(lua, code, text):
    assert lua.text(f"local m = cjson.new() return tostring({code})") == text


def test_safe_returns_what_the_other_raises(lua):
    told = lua.text("""
        local function both(...) return safe.encode({ select("#", ...), (...) == nil, (select(2, ...)) }) end
        return both(safe.encode(print)) .. both(safe.decode("[1,")) .. both(safe.decode({}))
          .. both(safe.new().decode("x"))
          .. both(pcall(safe.decode)) .. safe.encode({ 1 }) .. safe.decode("7")
    """)
    assert told == (
        '[2,true,"cjson.encode: cannot encode function"]'
        '[2,true,"cjson.decode: unexpected end at byte 4 (line 1, column 4)"]'
        "[2,true,\"bad argument #1 to 'decode' (string expected, got table)\"]"
        '[2,true,"cjson.decode: expected a value at byte 1 (line 1, column 1)"]'
        "[2,false,\"bad argument #1 to '?' (expected 1 argument)\"]"
        "[1]7"
    )


def test_large_document_goes_there_and_back(lua):
    value = [{"id": n, "name": f"item {n}", "tags": ["a", "b/c"], "ok": n % 2 == 0, "none": None} for n in range(30000)]
    text = json.dumps(value, separators=(",", ":")).encode()
    back = lua.run("local v = cjson.decode(...) local t = cjson.encode(v) return t == original.encode(v) and t", text)
    assert json.loads(back) == value
