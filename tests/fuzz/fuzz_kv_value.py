"""Encoded values of the K/V stores: any bytes are a value or damaged; a value that is encoded again stays the same."""

from kv_native import Lua, LuaError, number

MAX_LEN = 512
lua = Lua()


def fuzz_one(data):
    number(data)
    try:
        first = lua.recode(data)
    except LuaError as error:
        assert "damaged" in str(error), error
        return
    if first is None:  # nil, which has no encoding of its own
        return
    second = lua.recode(first)
    assert len(second) == len(first), (first, second)  # maps have no order
    before = number(data)
    assert before is None or number(first) == before or before != before
