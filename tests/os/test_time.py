"""heart.v1.time and heart.v1.random, against Python's clocks, calendars and parsers."""

import random
import re
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest
from snippets import Failed

MOMENTS = [0, 1, 951782400, 951868799, 784111777, 1709164800, 4107542400, 253402300799, -1, -2208988800]


def test_clocks(lua):
    before = time.time()
    now, first, second = lua.run("local a = time.monotonic() return time.now(), a, time.monotonic()")
    assert before - 0.01 <= now <= time.time() + 0.01
    assert first <= second < first + 1


def test_http_dates_are_those_of_others(lua):
    moments = [t for t in MOMENTS if t >= 0] + [random.randrange(0, 253402300799) for _ in range(300)]
    wanted = [formatdate(t, usegmt=True) for t in moments]
    assert lua.one("local t = {} for i, x in ipairs(v.t) do t[i] = time.http(x) end return t", t=moments) == wanted
    assert (
        lua.one("local t = {} for i, x in ipairs(v.t) do t[i] = time.parse_http(x) end return t", t=wanted) == moments
    )


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Sat, 30 Feb 2024 00:00:00 GMT", None),
        ("Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("Sun, 06 Nox 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37", None),
        ("", None),
    ],
)
def test_http_dates_in_all_forms(lua, text, t):
    """RFC 9110 section 5.6.7."""
    assert lua.run("return time.parse_http(v.text)", text=text) == [t]


def test_iso_times_are_those_of_others(lua):
    start = datetime(1970, 1, 1, tzinfo=UTC)
    moments = MOMENTS + [random.randrange(-62135596800, 253402300799) for _ in range(300)]
    wanted = [(start + timedelta(seconds=t)).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0") for t in moments]
    assert lua.one("local t = {} for i, x in ipairs(v.t) do t[i] = time.iso(x) end return t", t=moments) == wanted
    assert lua.one("local t = {} for i, x in ipairs(v.t) do t[i] = time.parse_iso(x) end return t", t=wanted) == moments


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("2024-02-29", 1709164800),
        ("2024-02-29T12:00:00Z", 1709208000),
        ("2024-02-29t12:00:00.25z", 1709208000.25),
        ("2024-02-29 12:00:00+01:30", 1709202600),
        ("2024-02-29T12:00:00-00:30", 1709209800),
        ("2016-12-31T23:59:60Z", 1483228800),
        ("2023-02-29", None),
        ("2024-02-29T12:00:00", None),
        ("2024-02-29T12:00:00.Z", None),
        ("2024-02-29T12:00:00+24:00", None),
        ("2024-02-29T12:60:00Z", None),
        ("2024-13-01", None),
        ("24-01-01", None),
        ("", None),
    ],
)
def test_iso_times_in_all_forms(lua, text, t):
    assert lua.run("return time.parse_iso(v.text)", text=text) == [t]


def test_iso_fraction_is_cut_off(lua):
    assert lua.run("return time.iso(0.9999, 3), time.iso(1.5, 1), time.iso(-0.25, 2)") == [
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.5Z",
        "1969-12-31T23:59:59.75Z",
    ]


@pytest.mark.parametrize("call", ["time.iso(1e18)", "time.http('x')", "time.iso(0, 7)", "time.http(0/0)"])
def test_wrong_time_raises(lua, call):
    with pytest.raises(Failed, match="expected"):
        lua.run(f"return {call}")


# ---- Random ------------------------------------------------------------------------------------------------


def test_bytes(lua):
    assert lua.run("return #random.bytes(0), #random.bytes(1), #random.bytes(1000), #random.bytes(2^20)") == [
        *(0, 1, 1000, 1048576)
    ]
    text = lua.one("return random.bytes(100000)").encode("latin-1")
    counts = Counter(text)
    assert len(counts) == 256 and max(counts.values()) < 600
    for wrong in ("-1", "2 ^ 20 + 1", "0.5"):
        with pytest.raises(Failed, match="expected a number of bytes"):
            lua.run(f"random.bytes({wrong})")


def test_integers_are_even(lua):
    """Three values of which none is favoured, chi-square with two degrees of freedom."""
    counts = lua.one(
        "local n = {0, 0, 0} for i = 1, 30000 do local k = random.integer(-1, 1) + 2 n[k] = n[k] + 1 end return n"
    )
    assert sum((n - 10000) ** 2 / 10000 for n in counts) < 20
    assert lua.run("return random.integer(7, 7), random.integer(-2^53, -2^53)") == [7, -(2**53)]
    low, high = -(2**52), 2**52 - 1
    assert low <= lua.one("return random.integer(v.low, v.high)", low=low, high=high) <= high
    for wrong in ("2, 1", "0.5, 1", "0, 1/0", "-2^53, 2^53"):
        with pytest.raises(Failed, match="expected whole numbers"):
            lua.run(f"random.integer({wrong})")


def test_uuids(lua):
    for version in (4, 7):
        found = lua.one("local t = {} for i = 1, 2000 do t[i] = random.uuid(v.n) end return t", n=version)
        assert len(set(found)) == 2000
        for text in found:
            parsed = uuid.UUID(text)
            assert parsed.version == version and parsed.variant == uuid.RFC_4122 and str(parsed) == text
        if version == 7:
            assert found == sorted(found)
            assert abs((uuid.UUID(found[0]).int >> 80) / 1000 - time.time()) < 10
    with pytest.raises(Failed, match="expected version 4 or 7"):
        lua.run("random.uuid(1)")


def test_tokens(lua):
    assert re.fullmatch(r"[0-9a-f]{32}", lua.one("return random.hex(16)"))
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", lua.one("return random.token()"))
    letters = Counter("".join(lua.one("local t = {} for i = 1, 100 do t[i] = random.token(640) end return t")))
    assert len(letters) == 64 and max(letters.values()) < 1300
