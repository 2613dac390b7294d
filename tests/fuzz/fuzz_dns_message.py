"""DNS answers: any bytes are read or refused, and neither takes long nor raises."""

from pathlib import Path

from lua_native import Lua

MAX_LEN = 1024
ROOT = Path(__file__).resolve().parent.parent.parent
lua = Lua()
lua.run(f'package.path = "{ROOT}/lua_stdlib/?.lua"; decode = require("heart.dns_message").decode'.encode())


def fuzz_one(data):
    assert lua.run(b"local found, err = decode(...) return type(found or err)", data) in (b"table", b"string")
