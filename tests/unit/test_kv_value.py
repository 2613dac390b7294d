"""Encoded values: round trips of every type, refusals that tell the path, damaged bytes, numbers, ULIDs."""

import math
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_native import Lua, LuaError, Ulids, digest, number, number_value

lua = Lua()

VALUES = [
    (b'""', b"\x00"),
    (b'"a\\0\\255"', b"\x00a\x00\xff"),
    (b"true", b"\x01\xc3"),
    (b"false", b"\x01\xc2"),
    (b"0", b"\x01\x00"),
    (b"127", b"\x01\x7f"),
    (b"128", b"\x01\xd1\x00\x80"),
    (b"-32", b"\x01\xe0"),
    (b"-33", b"\x01\xd0\xdf"),
    (b"70000", b"\x01\xd2\x00\x01\x11\x70"),
    (b"2^53", b"\x01\xd3\x00\x20\x00\x00\x00\x00\x00\x00"),
    (b"1.5", b"\x01\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"),
    (b"-0", b"\x01\xcb\x80\x00\x00\x00\x00\x00\x00\x00"),
    (b"{}", b"\x01\x80"),
    (b'{1, "a", {true}}', b"\x01\x93\x01\xa1a\x91\xc3"),
    (b"{a = 1}", b"\x01\x81\xa1a\x01"),
    (b"{[3] = false}", b"\x01\x81\x03\xc2"),
]


@pytest.mark.parametrize(("code", "value"), VALUES, ids=[code.decode() for code, _ in VALUES])
def test_value_is_encoded_so_and_comes_back(code, value):
    assert lua.encode(code) == value
    assert lua.recode(value) == value


@pytest.mark.parametrize("n", [0, 31, 32, 255, 256, 65535, 65536, 1 << 19])
def test_string_of_any_length_in_a_table_comes_back(n):
    value = lua.encode(b'{("x"):rep(%d)}' % n)
    assert lua.equal(value, b"function(t) return #t == 1 and t[1] == (('x'):rep(%d)) end" % n)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 300, 65535, 65536])
def test_array_and_map_of_any_size_come_back(n):
    array = lua.encode(b"(function() local t = {} for i = 1, %d do t[i] = i end return t end)()" % n)
    same = b"function(t) for i = 1, %d do if t[i] ~= i then return end end return #t == %d end"
    assert lua.equal(array, same % (n, n))
    table = lua.encode(b"(function() local t = {} for i = 1, %d do t['k' .. i] = i end return t end)()" % n)
    all_ = b"function(t) local n = 0 for k, v in pairs(t) do n = n + (k == 'k' .. v and 1 or 2) end return n == %d end"
    assert lua.equal(table, all_ % n)


@pytest.mark.parametrize("code", [b"1/0", b"-1/0", b"1e300", b"5e-324", b"0.1", b"2^53 + 2", b"-2^63"])
def test_double_comes_back_exactly(code):
    assert lua.equal(lua.encode(code), b"function(v) return v == " + code + b" end")
    assert lua.equal(lua.encode(b"{0/0}"), b"function(t) return t[1] ~= t[1] end")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"print", "a function cannot be stored"),
        (b"coroutine.create(print)", "a thread cannot be stored"),
        (b"{1, {a = {print}}}", r"a function cannot be stored (at value[2].a[1])"),
        (b"{[{}] = 1}", "a table as a key cannot be stored"),
        (b"{a = {[print] = 1}}", "a function cannot be stored (at value.a)"),
        (b"1LL", "a cdata (an FFI object) cannot be stored"),
        (b"io.stdout", "a userdata cannot be stored"),
        (b"(function() local t = {} t.t = t return t end)()", "contains itself"),
        (b'("x"):rep(2^24 + 1)', "larger than 16 MiB"),
        (b'{("x"):rep(2^24)}', "larger than 16 MiB"),
    ],
)
def test_what_can_not_be_stored_is_refused_with_its_path(code, message):
    with pytest.raises(LuaError) as error:
        lua.encode(code)
    assert message in str(error.value)


def nested(levels):
    return b"{" * levels + b"}" * levels


def test_nesting_has_a_limit_for_both():
    value = lua.encode(nested(128))
    assert lua.recode(value) == value
    with pytest.raises(LuaError):
        lua.encode(nested(129))
    with pytest.raises(LuaError):
        lua.recode(b"\x01" + b"\x91" * 128 + b"\x80")


@pytest.mark.parametrize("code", [b'{1, "abc", {x = 1.5, y = {true, false}}, ("z"):rep(300), 70000, -5}'])
def test_value_that_is_cut_off_is_damaged(code):
    value = lua.encode(code)
    for n in range(len(value)):
        with pytest.raises(LuaError, match="damaged"):
            lua.recode(value[:n])
    with pytest.raises(LuaError, match="damaged"):
        lua.recode(value + b"\x00")


@pytest.mark.parametrize(
    "value",
    [b"", b"\x02x", b"\x01\xc1", b"\x01\xc7\x00\x00", b"\x01\xdd\xff\xff\xff\xff", b"\x01\xdf\xff\xff\xff\xff\x00",
     b"\x01\x81\xc0\x01", b"\x01\x81\x90\x01", b"\x01\x81\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01"],
)  # fmt: skip
def test_bytes_that_are_no_value_are_damaged(value):
    with pytest.raises(LuaError, match="damaged"):
        lua.recode(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_damaged(data):
    try:
        again = lua.recode(b"\x01" + data)
    except LuaError as error:
        assert "damaged" in str(error)
    else:
        assert again is None or lua.recode(again) is not None


@given(st.floats(allow_nan=False))
def test_number_is_encoded_exactly(v):
    assert number(number_value(v)) == v
    assert math.copysign(1, number(number_value(v))) == math.copysign(1, v)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"\x01\xcd\xff\xff", 65535), (b"\x01\xcf" + b"\xff" * 8, 2.0**64), (b"\x01\xd0\x80", -128),
     (b"\x01\xca\x3f\xc0\x00\x00", 1.5), (b"\x00 12 ", 12), (b"\x00-1.5e3", -1500), (b"\x00+.5", 0.5), (b"\x001.", 1),
     (b"\x00", None), (b"\x00.", None), (b"\x001e", None), (b"\x000x10", None), (b"\x00nan", None), (b"\x00inf", None),
     (b"\x00" + b"1" * 64, None), (b"\x01\xa11", None), (b"\x01\x01\x01", None), (b"", None), (b"\x01", None)],
)  # fmt: skip
def test_number_of_a_value(value, expected):
    assert number(value) == expected


def test_digest_is_that_of_the_python_backends():
    items = [(b"a", 1), (b"key", 1 << 40), (b"\xff" * 4096, 7)]
    total = 0
    for key, version in items:
        total = zlib.crc32(struct.pack("<QI", version, len(key)) + key, total)
    assert digest(items) == total << 32 | 3
    assert digest([]) == 0


def test_ulid_has_the_form_of_the_specification():
    assert Ulids().next(0, 0, 0) == "00000000000000000000000001"  # it follows nothing at time 0
    assert Ulids().next((1 << 48) - 1, 0xFFFF, (1 << 64) - 1) == "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
    assert Ulids().next(1469918176385, 0, 0)[:10] == "01ARYZ6S41"


def test_ulid_grows_when_the_clock_does_not():
    ulids = Ulids()
    seen = [ulids.next(ms, 5, low) for ms, low in [(10, 100), (10, 1), (9, 50), (0, 0), (11, 0)]]
    assert seen == sorted(set(seen))
    assert seen[1][:10] == seen[0][:10] == seen[3][:10]


def test_ulid_carries_into_the_time():
    ulids = Ulids()
    first = ulids.next(10, 0xFFFF, (1 << 64) - 2)
    second, third = ulids.next(10, 0, 0), ulids.next(10, 0, 0)
    assert first < second < third and third == "000000000B0000000000000000"
