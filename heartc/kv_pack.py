"""Typed values for people: MessagePack as pyx/kv_value.pxi writes it, to and from what JSON knows.

Only what goes there and back to the same bytes is shown as JSON; the rest (maps with keys that are no texts, texts that
are no UTF-8, forms that Heart does not write) stays as it is, in base64.
"""

import json
import math
import struct

from . import kv_number
from .kv_number import TYPE_PACKED, TYPE_STRING

DEPTH = 64


class Unknown(ValueError):
    """The value has no equal in JSON."""


def to_json(value):
    """What JSON calls a typed value that is no string. Raises Unknown."""
    if value[:1] != bytes((TYPE_PACKED,)):
        raise Unknown
    found, end = read(value, 1, DEPTH)
    if end != len(value) or from_json(found) != value:
        raise Unknown
    return found


def from_json(found):
    """The typed value of something from JSON."""
    if isinstance(found, str):
        return bytes((TYPE_STRING,)) + found.encode()
    return bytes((TYPE_PACKED,)) + write(found, DEPTH)


# ---- Writing -------------------------------------------------------------------------------------------------


def write(found, depth):
    """MessagePack of something from JSON."""
    if depth == 0:
        raise ValueError("the value is nested too deeply")
    if found is None:
        return b"\xc0"
    if isinstance(found, bool):
        return b"\xc3" if found else b"\xc2"
    if isinstance(found, int | float):
        return write_number(found)
    if isinstance(found, str):
        text = found.encode()
        return head(len(text), 0xA0, 32, (0xD9, 0xDA, 0xDB)) + text
    if isinstance(found, list):
        return head(len(found), 0x90, 16, (None, 0xDC, 0xDD)) + b"".join(write(one, depth - 1) for one in found)
    pairs = [write(key, depth - 1) + write(one, depth - 1) for key, one in found.items()]
    return head(len(pairs), 0x80, 16, (None, 0xDE, 0xDF)) + b"".join(pairs)


def write_number(number):
    """A number as Lua has it: a double."""
    try:
        exact = float(number)
    except OverflowError:
        exact = math.inf
    if not math.isfinite(exact) or exact != number:
        raise ValueError(f"{number}: is not a number that Lua can hold exactly")
    return kv_number.encode(exact)[1:]


def head(size, fixed, room, codes):
    """The head of a text, an array or a map: within one byte, or a code and 1, 2 or 4 bytes."""
    if size < room:
        return bytes((fixed | size,))
    for code, form, limit in zip(codes, (">BB", ">BH", ">BI"), (1 << 8, 1 << 16, 1 << 32), strict=True):
        if code is not None and size < limit:
            return struct.pack(form, code, size)
    raise ValueError("the value is too large")


# ---- Reading -------------------------------------------------------------------------------------------------


def read(data, at, depth):
    """(what is at `at`, where it ends)."""
    if depth == 0 or at >= len(data):
        raise Unknown
    code = data[at]
    if code in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[code], at + 1
    if code < 0x80 or code >= 0xE0 or 0xCA <= code <= 0xD3:
        return read_number(data, at)
    if 0xA0 <= code < 0xC0 or 0xD9 <= code <= 0xDB:
        size, start = read_head(data, at, 0x1F, 0xD8)
        if start + size > len(data):
            raise Unknown
        try:
            return data[start : start + size].decode(), start + size
        except UnicodeDecodeError:
            raise Unknown from None
    if 0x90 <= code < 0xA0 or code in (0xDC, 0xDD):
        return read_array(data, *read_head(data, at, 0x0F, 0xDB), depth)
    if 0x80 <= code < 0x90 or code in (0xDE, 0xDF):
        return read_map(data, *read_head(data, at, 0x0F, 0xDD), depth)
    raise Unknown


def read_number(data, at):
    """A number at `at`."""
    code = data[at]
    size = struct.calcsize(kv_number.FIXED[code]) if code in kv_number.FIXED else 0
    try:
        number = kv_number.decode(bytes((TYPE_PACKED,)) + data[at : at + 1 + size])
    except ValueError:
        raise Unknown from None
    return number, at + 1 + size


def read_head(data, at, mask, before):
    """(size, where the content starts) of a text, an array or a map."""
    code = data[at]
    if code <= 0xBF:
        return code & mask, at + 1
    wide = 1 << (code - before - 1) if before == 0xD8 else 2 << (code - before - 1)
    if at + 1 + wide > len(data):
        raise Unknown
    return int.from_bytes(data[at + 1 : at + 1 + wide], "big"), at + 1 + wide


def read_array(data, size, at, depth):
    found = []
    for _ in range(size):
        one, at = read(data, at, depth - 1)
        found.append(one)
    return found, at


def read_map(data, size, at, depth):
    found = {}
    for _ in range(size):
        key, at = read(data, at, depth - 1)
        if not isinstance(key, str) or key in found:
            raise Unknown
        found[key], at = read(data, at, depth - 1)
    return found, at


# ---- As text -------------------------------------------------------------------------------------------------


def json_text(found):
    """Compact JSON in one line; numbers that are whole have no point."""
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
