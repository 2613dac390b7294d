"""JSON: the same value as Python's json has, or a refusal by both; and what is encoded again is the same value.

Python's module is taught to be as strict: no NaN and Infinity, no number beyond a double's range, no lone surrogate.
cjson accepts all that is accepted so, and whatever it accepts it writes as a text that it reads as the same.
"""

import json
import math

from lua_native import Lua, LuaError

MAX_LEN = 512  # keeps nesting below the limits of both
lua = Lua()


def refuse(text):
    raise ValueError(text)


def number(text):
    value = float(text)
    return refuse(text) if math.isinf(value) else value


def read(data):
    value = json.loads(data.decode(), parse_float=number, parse_int=number, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def text(value):
    return json.dumps(value, sort_keys=True)


def loose(data):
    """What cjson writes of what it has read, its members in order; None if it refuses the data."""
    try:
        found = lua.recode_loose(data)
    except LuaError:
        return None
    return json.dumps(json.loads(found.decode("latin-1")), sort_keys=True, ensure_ascii=False).encode("latin-1")


def fuzz_one(data):
    lenient = loose(data)
    assert lenient is None or loose(lenient) == lenient, lenient
    try:
        expected = text(read(data))
    except ValueError:
        expected = None
    try:
        found = lua.recode(data)
    except LuaError as error:
        assert expected is None, error
        return
    assert expected is not None, found
    assert lenient is not None
    assert text(read(found)) == expected, found
    assert text(read(lua.recode(found))) == expected
