"""The names of Lua 5.3's library that scripts of luafcgid2 use, against Lua 5.3 itself: the same chunks run in both."""

import subprocess
import sys

import pytest
from heart_server import ROOT

from heartc import _core, lualib

REFERENCE = """
import sys
from lupa.lua53 import LuaRuntime
runtime = LuaRuntime(encoding=None, unpack_returned_tuples=True)
sys.stdout.buffer.write(runtime.execute(sys.stdin.buffer.read()))
"""
OURS = f"""
package.path = "{ROOT}/lua_stdlib/?.lua;" .. package.path
require("compat.lua53.names").install(_G)
"""
# Random numbers that are the same in both; results and errors as text. Integers that a double can not hold are "big".
COMMON = r"""
local seed = 12345
local function random(n)
  seed = seed * 16807 % 2147483647
  return 1 + seed % n
end
local out = {}
local function show(value)
  if type(value) == "number" then
    if value ~= value then return "nan" end
    if math.abs(value) >= 2^53 and math.floor(value) == value and value ~= math.huge and value ~= -math.huge
      and not floats then return "big" end
    return string.format("%.17g", value)
  elseif type(value) == "string" then
    return (string.format("%q", value):gsub("[%z\1-\31\127-\255]", function(c) return "\\x" .. string.byte(c) end))
  end
  return tostring(value)
end
local function try(label, fn, ...)
  local results = { pcall(fn, ...) }
  local n = select("#", ...)
  local count = 0
  for i in pairs(results) do if i > count then count = i end end
  local text = {}
  for i = 1, count do text[i] = show(results[i]) end
  local line = table.concat(text, " ")
  if not results[1] then
    line = "error " .. tostring(results[2]):gsub("^[^:]*:%d+: ", ""):gsub("to '%w+%.(%w+)'", "to '%1'")
  end
  if line:find("big", 1, true) or line:find("does not fit into Lua Integer", 1, true) then line = "big" end
  out[#out + 1] = label .. " -> " .. line
end
"""


def reference(code):
    """The result of a chunk in Lua 5.3, which must not be in this process beside LuaJIT."""
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE], input=code.encode("ascii"), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("latin-1").split("\n")


@pytest.fixture(scope="module", autouse=True)
def luajit():
    _core.bind_lua(lualib.luajit_path(), "test")


def compare(code):
    chunk = COMMON + code + '\nreturn table.concat(out, "\\n")\n'
    expected = reference(chunk)
    found = _core.lua_evaluate(OURS + chunk).split("\n")
    assert len(expected) > 10
    assert [pair for pair in zip(found, expected, strict=True) if not same(*pair)] == []


def same(found, expected):
    """Whether a result is Lua 5.3's. It may stop at an integer that is too large where Lua 5.3 finds an error later."""
    return found == expected or (found.endswith("-> big") and "-> error" in expected)


def test_utf8_reads_as_lua_53_does():
    compare(r"""
local pieces = { "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9D\x84\x9E", "\x80", "\xC0\x80", "\xED\xA0\x80",
  "\xF4\x90\x80\x80", "\xE2\x82", "\xFF", "\0", "z" }
for case = 1, 250 do
  local parts = {}
  for k = 1, random(5) do parts[k] = pieces[random(random(3) == 1 and #pieces or 4)] end
  local s = table.concat(parts)
  local i, j, n = random(14) - 7, random(14) - 7, random(9) - 5
  try(case .. " len", utf8.len, s, i, j)
  try(case .. " len of all", utf8.len, s)
  try(case .. " codepoint", utf8.codepoint, s, i, j)
  try(case .. " offset", utf8.offset, s, n, i)
  try(case .. " offset from an end", utf8.offset, s, n)
  try(case .. " codes", function()
    local found = {}
    for p, c in utf8.codes(s) do found[#found + 1] = p .. ":" .. c end
    return table.concat(found, " ")
  end)
  local count = 0
  for character in s:gmatch(utf8.charpattern) do count = count + #character end
  out[#out + 1] = count
end
""")


def test_utf8_writes_as_lua_53_does():
    compare(r"""
for _, code in ipairs({ 0, 1, 0x7F, 0x80, 0x7FF, 0x800, 0xD800, 0xFFFF, 0x10000, 0x10FFFF, 0x1FFFFF, 0x200000,
  0x3FFFFFF, 0x4000000, 0x7FFFFFFF, 0x80000000, -1, 1.5 }) do
  try("char " .. string.format("%.17g", code), utf8.char, code)
end
try("none", utf8.char)
try("some", utf8.char, 72, 228, 8364, 119070)
try("a string", utf8.char, "65")
try("a table", utf8.char, {})
""")


def test_pack_and_unpack_as_lua_53_do():
    compare(r"""
local options = { "b", "B", "h", "H", "i", "I", "l", "j", "J", "T", "f", "d", "n", "z", "s", "s1", "s2", "x", "c3",
  "c0", "i1", "i3", "I5", "i7", "i8", "I16", "i16", "X", "Xi4", "<", ">", "=", "!", "!2", "!4", "!3", " ", "i17", "i0",
  "c", "y" }
local values = { 0, 1, -1, 127, 128, 255, 256, -128, -129, 65535, 2147483647, -2147483648, 4294967295, 1099511627776,
  0.5, "", "abc", "a longer text of more than a few bytes", "with\0zero" }
for case = 1, 1000 do
  local parts, given = {}, {}
  for k = 1, random(5) do
    parts[k] = options[random(random(4) == 1 and #options or 16)]
    given[k] = values[random(random(5) == 1 and #values or 8)]
    if parts[k]:find("^[zsc]") and random(8) > 1 then given[k] = values[15 + random(4)] end
  end
  local format = table.concat(parts)
  local label = case .. " " .. format
  try(label .. " size", string.packsize, format)
  try(label .. " pack", string.pack, format, given[1], given[2], given[3], given[4], given[5])
  local bytes = {}
  for k = 1, random(24) do bytes[k] = string.char(random(256) - 1) end
  if not format:find("z") then -- a string without its end is none here, as in Lua 5.4
    try(label .. " unpack", string.unpack, format, table.concat(bytes), random(6) == 1 and random(9) - 5 or nil)
  end
  local ok, packed = pcall(string.pack, format, given[1], given[2], given[3], given[4], given[5])
  if ok then try(label .. " both", string.unpack, format, packed) end
end
""")


def test_tables_as_in_lua_53():
    compare(r"""
for case = 1, 200 do
  local t = {}
  for k = 1, random(8) do t[k] = random(100) end
  local f, e, at = random(10) - 2, random(10) - 2, random(10) - 2
  try(case .. " move", function()
    local r = table.move(t, f, e, at, random(3) == 1 and {} or nil)
    local s = {}
    for k = -10, 20 do s[#s + 1] = tostring(r[k]) end
    return table.concat(s, " ")
  end)
  try(case .. " pack", function() return table.pack(table.unpack(t, f, e)).n end)
end
try("none", function() return table.pack().n end)
try("nils", function() return table.pack(nil, 1, nil).n end)
try("unpack", table.unpack, { 1, 2, 3 })
""")


def test_numbers_as_in_lua_53():
    """But for floats with an integral value, which are integers where all numbers are doubles."""
    compare(r"""
for _, value in ipairs({ 0, 1, -1, 0.5, -0.5, 2^51 + 0.5, 1e300, math.huge, -math.huge, "x", "1.5", {}, true }) do
  local label = type(value) .. (type(value) == "table" and "" or show(value))
  try("type " .. label, math.type, value)
  if type(value) ~= "string" then
    try("tointeger " .. label, function() return math.tointeger(value) or nil end)
  end
end
for _, a in ipairs({ 0, 1, -1, 5, -5, 2147483648 }) do
  for _, b in ipairs({ 0, 1, -1, 5, -5, 2147483648 }) do
    try("ult " .. a .. " " .. b, math.ult, a, b)
  end
end
""")


OPERATORS = [
    ("local x = 7 // 2", "//", 1, "math.floor(a / b)"),
    ("\nlocal x = 1 << 3", "<<", 2, "bit.lshift"),
    ("\n\nlocal x = 1 >> 3", ">>", 3, "bit.rshift"),
    ("-- a // b\nlocal x = a & b", "&", 2, "bit.band"),
    ('local s = "a | b" local x = a | b', "|", 1, "bit.bor"),
    ("local x = a ~ b", "~", 1, "bit.bxor"),
    ("local x = ~a", "~", 1, "bit.bnot"),
    ("--[==[ ~ ]] \n ]==] local x = [[ // \n ]] .. '\\'&' .. 1 // 2", "//", 3, "math.floor"),
]


@pytest.mark.parametrize(("source", "operator", "line", "instead"), OPERATORS)
def test_operator_of_lua_53_is_named(source, operator, line, instead):
    code = f"""{OURS}
    local text = ...
    local chunk, message = load(text, "@script.lua")
    return chunk and "compiled" or require("compat.lua53.operators").explain(message, text)
    """
    message = _core.lua_evaluate(code, source)
    assert message.startswith(f"script.lua:{line}: the operator '{operator}' is of Lua 5.3;"), message
    assert instead in message


@pytest.mark.parametrize(
    "source",
    ["x = = 1", "local a = 1 ~= 2 x = = 1", "-- //\nx = = 1", "x = 'a & b' .. = 1", "x = = 1\ny = 1 // 2", "for"],
)
def test_other_mistakes_keep_their_message(source):
    code = f"""{OURS}
    local text = ...
    local _, message = load(text, "@script.lua")
    return tostring(message == require("compat.lua53.operators").explain(message, text))
    """
    assert _core.lua_evaluate(code, source) == "true"


def test_names_that_are_there_are_kept():
    code = f"""{OURS.replace("require", "table.pack = 7 require", 1)} return tostring(table.pack)"""
    assert _core.lua_evaluate(code) == "7"


def test_reference_is_lua_53():
    assert reference("return _VERSION") == ["Lua 5.3"]
