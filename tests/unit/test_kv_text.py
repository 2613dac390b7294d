"""Records as text and back: nothing is lost, and what is no record is refused with a reason."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartc import kv_number, kv_pack, kv_text
from heartc.errors import ConfigError, HeartError

JSON = st.recursive(
    st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_goes_to_a_typed_value_and_back(found):
    value = kv_pack.from_json(found)
    back = value[1:].decode() if value[0] == 0 else kv_pack.to_json(value)
    assert back == found
    assert type(back) is type(found) or (isinstance(found, float) and found.is_integer())


@given(st.binary(min_size=1, max_size=20), st.binary(max_size=40), st.sampled_from([0, 1, 1_700_000_000_000]))
def test_any_record_goes_to_a_line_and_back(key, tail, expires):
    for value in (b"\0" + tail, b"\1\xc3", b"\1" + tail + b"\xc1"):
        line = kv_text.line(key, expires, value)
        assert "\n" not in line
        assert kv_text.parse(line.encode()) == (key, expires, value)


@given(st.binary(max_size=60))
def test_any_bytes_are_either_json_or_unknown(data):
    """A reader of hostile bytes raises nothing else; what it reads goes back to the same bytes."""
    try:
        found = kv_pack.to_json(b"\1" + data)
    except kv_pack.Unknown:
        return
    assert kv_pack.from_json(found) == b"\1" + data or isinstance(found, str)


SAMPLES = [None, True, 7, -33, 300, -70000, 1 << 40, 0.5, "x" * 40, "y" * 300, "z" * 70000, list(range(20))]
SAMPLES += [[0] * 70000, {str(i): i for i in range(20)}, {str(i): 0 for i in range(70000)}, {"a": [{"b": {}}]}]


@pytest.mark.parametrize("found", SAMPLES, ids=lambda f: str(f)[:20])
def test_value_that_ends_too_early_is_unknown(found):
    data = b"\1" + kv_pack.write(found, kv_pack.DEPTH)
    assert kv_pack.read(data, 1, kv_pack.DEPTH) == (found, len(data))
    for end in range(1, min(len(data), 300)):
        with pytest.raises(kv_pack.Unknown):
            kv_pack.to_json(data[:end])


@pytest.mark.parametrize(
    "packed",
    ["cc05", "d90161", "cb4014000000000000", "81a161c0" + "c0", "8101a161", "82a161c0a161c0", "a1ff", "c40161", "c1"]
    + ["91" * 100 + "c0", "ca3fc00000", "dc0000", "de0000", "df00000000", "d3" + "0" * 15 + "1"],
)
def test_what_json_can_not_give_back_stays_as_it_is(packed):
    value = b"\1" + bytes.fromhex(packed)
    line = kv_text.line(b"k", 0, value)
    assert json.loads(line) == {"key": "k", "packed64": base64.b64encode(value).decode()}
    assert kv_text.parse(line)[2] == value


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "expected an object"),
        ("{}", "either key or key64"),
        ('{"key":"k"}', "one of value"),
        ('{"key":"","value":""}', "0 bytes"),
        ('{"key":"k","key64":"aw==","value":""}', "either key or key64"),
        ('{"key":5,"value":""}', "key: expected a text"),
        ('{"key":"k","value":5}', "value: expected a text"),
        ('{"key":"k","value":"","json":1}', "one of value"),
        ('{"key":"k","value64":"%%"}', "base64"),
        ('{"key":"k","value64":5}', "base64"),
        ('{"key":"k","packed64":"AHg="}', "no value"),
        ('{"key":"k","json":"text"}', "given as value"),
        ('{"key":"k","json":null}', "null"),
        ('{"key":"k","json":1e999}', "number that Lua can hold"),
        ('{"key":"k","json":9007199254740993}', "number that Lua can hold"),
        ('{"key":"k","json":' + "9" * 400 + "}", "number that Lua can hold"),
        ('{"key":"k","json":NaN}', "number that Lua can hold"),
        ('{"key":"k","json":' + "[" * 70 + "]" * 70 + "}", "nested"),
        ('{"key":"k","value":"","expires":-1}', "Unix milliseconds"),
        ('{"key":"k","value":"","expires":"soon"}', "Unix milliseconds"),
        ('{"key":"k","value":"","expires":true}', "Unix milliseconds"),
        ('{"key":"k","value":"","ttl":5}', "ttl: unknown field"),
        ('{"key":"\\ud800","value":""}', "surrogate"),
        ('{"key":"' + "k" * 4097 + '","value":""}', "4097 bytes"),
        ('{"key":"k","value":"' + "v" * ((16 << 20) + 1) + '"}', "at most"),
    ],
    ids=lambda text: text[:30],
)
def test_line_that_is_no_record_says_what_was_expected(line, reason):
    with pytest.raises(ValueError, match=reason):
        kv_text.parse(line)


@given(st.binary(min_size=1, max_size=50))
def test_shown_key_is_understood_as_an_argument(key):
    text = kv_text.key_text(key)
    assert text.isprintable()
    assert kv_text.key_argument(text) == key


def test_wrong_key_argument_is_told():
    for text in ("base64:%", "x" * 4097):
        with pytest.raises(ConfigError, match="KEY"):
            kv_text.key_argument(text)


@pytest.mark.parametrize("text", ["", "{", "nul", "null", "1e999", "NaN"])
def test_wrong_json_argument_is_told(text):
    with pytest.raises(ConfigError, match="VALUE: expected JSON"):
        kv_text.value_argument(text, True)


def test_value_for_people_is_the_string_or_json():
    assert kv_text.value_bytes(b"\0\xff\0x") == b"\xff\0x"
    assert kv_text.value_bytes(kv_pack.from_json({"ä": [1, 2.5, True]})) == '{"ä":[1,2.5,true]}'.encode()
    assert kv_text.value_bytes(kv_number.encode(5.0)) == b"5"
    with pytest.raises(HeartError, match="export"):
        kv_text.value_bytes(b"\1" + struct.pack(">BB", 0xCC, 5))
