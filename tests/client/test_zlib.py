"""heart.v1.zlib against Python's gzip and zlib."""

import gzip
import random
import zlib

import pytest
from heart_server import SANITIZED
from lua_shell import LuaFailed, Shell


def gzipped(data, level=9):
    """The same at any time: tests are named after it."""
    return gzip.compress(data, level, mtime=0)


TEXT = b"".join(b"line %d of a text that repeats itself\n" % (n % 97) for n in range(20000))
NOISE = random.Random(1).randbytes(300000)
RAW = -15


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude='zlib = require("heart.v1.zlib")') as shell:
        yield shell


def raw_deflate(data):
    z = zlib.compressobj(wbits=RAW)
    return z.compress(data) + z.flush()


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 100000, TEXT, NOISE], ids=["empty", "x", "zeros", "text", "noise"])
def test_both_directions_agree_with_python(lua, data):
    assert gzip.decompress(lua.run("return zlib.gzip(...)", data)) == data
    assert zlib.decompress(lua.run("return zlib.deflate(...)", data)) == data
    assert zlib.decompress(lua.run('return zlib.deflate(..., {format = "raw"})', data), RAW) == data
    assert lua.run("return assert(zlib.gunzip(...))", gzipped(data)) == data
    assert lua.run("return assert(zlib.inflate(...))", zlib.compress(data)) == data
    assert lua.run('return assert(zlib.inflate(..., {format = "raw"}))', raw_deflate(data)) == data
    for packed in (gzipped(data), zlib.compress(data)):
        assert lua.run('return assert(zlib.inflate(..., {format = "auto"}))', packed) == data


def test_options_choose_level_and_window(lua):
    small, large = (len(lua.run(f"return zlib.gzip(..., {{level = {n}}})", TEXT)) for n in (9, 1))
    assert small < large < len(TEXT) // 10
    assert len(lua.run("return zlib.gzip(..., {level = 0})", TEXT)) > len(TEXT)
    narrow = lua.run("return zlib.deflate(..., {window = 9, memory = 1})", TEXT)
    assert zlib.decompress(narrow, 9) == TEXT
    assert lua.text("return select(2, zlib.inflate(..., {window = 9}))", zlib.compress(TEXT)) == "invalid window size"


def test_checksums_are_those_of_zlib(lua):
    assert int(lua.text("return zlib.crc32(...)", NOISE)) == zlib.crc32(NOISE)
    assert int(lua.text("return zlib.crc32('def', zlib.crc32('abc'))")) == zlib.crc32(b"abcdef")
    assert int(lua.text("return zlib.adler32(...)", NOISE)) == zlib.adler32(NOISE)
    assert int(lua.text("return zlib.adler32('def', zlib.adler32('abc'))")) == zlib.adler32(b"abcdef")
    assert lua.text("return zlib.crc32('') .. zlib.adler32('')") == "01"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (gzipped(TEXT)[:-1], "truncated"),
        (gzipped(TEXT)[:100], "truncated"),
        (b"plain text", "incorrect header check"),
        (gzipped(TEXT)[:-8] + bytes(8), "incorrect data check"),
        (gzipped(b"a") + b"garbage", "data after the end"),
        (gzipped(b"a") + b"\x1fx", "incorrect header check"),
        (gzipped(bytes(17 << 20)), "too large"),
    ],
)
def test_bad_data_is_a_value(lua, data, reason):
    assert lua.text("return select(2, zlib.gunzip(...))", data) == reason


def test_dictionary_is_refused(lua):
    z = zlib.compressobj(zdict=b"dictionary")
    data = z.compress(b"dictionary") + z.flush()
    assert lua.text("return select(2, zlib.inflate(...))", data) == "a dictionary is needed"


def test_gzip_members_and_padding_follow_each_other(lua):
    """RFC 1952 section 2.2"""
    data = gzipped(b"one, ") + gzipped(b"") + gzipped(b"two") + bytes(1000)
    assert lua.text("return assert(zlib.gunzip(...))", data) == "one, two"
    assert lua.text("return select(2, zlib.inflate(...))", zlib.compress(b"a") + b"\0") == "data after the end"


def test_limit_holds_against_a_bomb(lua):
    bomb = gzipped(bytes(1 << 27), 9)
    assert lua.text("return select(2, zlib.gunzip(..., {max = 1000}))", bomb) == "too large"
    assert lua.text("return #zlib.gunzip(..., {max = 1000})", gzipped(bytes(1000))) == "1000"
    assert lua.text("return select(2, zlib.gunzip(..., {max = 999}))", gzipped(bytes(1000))) == "too large"


def test_streams_cut_anywhere_give_the_same(lua):
    code = """
      local data, rest = ...
      math.randomseed(7)
      for _, format in ipairs({ "gzip", "zlib", "raw" }) do
        local whole = format == "gzip" and zlib.gzip(data) or zlib.deflate(data, { format = format })
        for most = 1, 40000, 3777 do
          local deflater, inflater = zlib.deflater({ format = format }), zlib.inflater({ format = format })
          local packed, out, at = {}, {}, 1
          while at <= #data do
            local n = math.random(most)
            packed[#packed + 1] = deflater:write(data:sub(at, at + n - 1))
            if n % 5 == 0 then
              packed[#packed + 1] = deflater:flush()
            end
            at = at + n
          end
          packed[#packed + 1] = deflater:finish()
          packed = table.concat(packed)
          at = 1
          while at <= #packed do
            local n = math.random(most)
            out[#out + 1] = assert(inflater:write(packed:sub(at, at + n - 1)))
            at = at + n
          end
          assert(inflater:finish())
          assert(table.concat(out) == data, format)
        end
      end
      return "same"
    """
    assert lua.text(code, TEXT[:60000] + NOISE[:20000]) == "same"


def test_flush_gives_all_that_was_written(lua):
    code = """
      local deflater, inflater = zlib.deflater(), zlib.inflater()
      for i = 1, 100 do
        local message = ("message %d "):format(i):rep(i)
        assert(inflater:write(deflater:write(message) .. deflater:flush()) == message)
      end
      assert(inflater:write(deflater:finish("end")) == "end")
      return tostring(inflater:finish())
    """
    assert lua.text(code) == "true"


def test_reset_begins_another_stream(lua):
    code = """
      local deflater, inflater = zlib.deflater({ format = "raw" }), zlib.inflater({ format = "raw" })
      for i = 1, 3 do
        local packed = deflater:write("hello " .. i) .. deflater:flush()
        deflater:reset()
        assert(inflater:write(packed) == "hello " .. i)
        inflater:reset()
      end
      return "ok"
    """
    assert lua.text(code) == "ok"


def test_pieces_are_small_whatever_the_data_expands_to(lua):
    code = """
      local inflater, n, longest = zlib.inflater({ format = "gzip", max = 1e9 }), 0, 0
      for piece in inflater:pieces(...) do
        n, longest = n + #piece, math.max(longest, #piece)
      end
      assert(inflater:finish())
      return n .. " " .. longest
    """
    assert lua.text(code, gzipped(bytes(1 << 25))) == f"{1 << 25} 65536"
    code = "for piece, err in zlib.inflater():pieces(...) do if not piece then return err end end"
    assert lua.text(code, b"plain") == "incorrect header check"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("zlib.gzip()", "gzip: expected a string, got nil"),
        ("zlib.gzip('', {levle = 1})", "gzip: unknown option levle"),
        ("zlib.deflate('', {format = 'zip'})", "deflate: unknown format zip"),
        ("zlib.deflate('', {format = 'auto'})", "deflate: unknown format auto"),
        ("zlib.gzip('', {level = 10})", "gzip: level: expected a whole number from 0 to 9, got 10"),
        ("local z = zlib.deflater() z:close() z:write('x')", "the stream is closed"),
        ("local z = zlib.inflater() z:write('x') z:write('xxx') z:write('xxx')", "the stream is closed"),
        ("require('heart.core').zlib.open(false, 0, 6, 15, 8).run(io.stdout, '', 1, 1)", "heart.zlib expected"),
    ],
)
def test_mistakes_raise(lua, code, message):
    with pytest.raises(LuaFailed, match=message):
        lua.run(code)


def test_memory_of_streams_is_given_back(lua):
    """Of those that are closed at once, of those that fail also, of others with the collector."""
    code = """
      for i = 1, 3000 do
        local z = zlib.inflater()
        z:write("garbage")
        zlib.deflater():finish("x")
        zlib.gzip("x")
        if i % 100 == 0 then
          zlib.deflater():write("x")
          collectgarbage()
        end
      end
      for line in io.lines("/proc/self/status") do
        if line:match("^VmRSS") then return line:match("%d+") end
      end
    """
    lua.run(code)
    before = int(lua.text(code))
    after = int(lua.text(code))
    assert SANITIZED or after < before + 4000  # a sanitizer keeps what is freed
