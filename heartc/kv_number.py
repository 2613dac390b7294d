"""Typed numbers, as pyx/kv_value.pxi writes them: what a backend must know to increment one.

A value begins with its type: TYPE_STRING and the bytes themselves, or TYPE_PACKED and one MessagePack object. A string
that is a number in decimal counts as one, because Heart v1 stored numbers so; the sum is a typed number.
"""

import math
import re
import struct

TYPE_STRING = 0
TYPE_PACKED = 1
FIXED = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
DECIMAL = re.compile(rb"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*\Z")
SIGNED = ((0xD0, 8), (0xD1, 16), (0xD2, 32), (0xD3, 64))  # codes and bits
DECIMAL_MAX = 63  # characters of a string that is taken for a number
EXACT = 1 << 53  # every whole number up to this one is a double


def decode(value):
    """The number that a typed value is. ValueError: it is none."""
    kind = value[0] if value else None
    if kind == TYPE_STRING and len(value) <= 1 + DECIMAL_MAX and DECIMAL.match(value, 1):
        return finite(float(value[1:]))
    if kind == TYPE_PACKED and len(value) > 1:
        code = value[1]
        if code < 0x80 and len(value) == 2:
            return code
        if code >= 0xE0 and len(value) == 2:
            return code - 256
        if code in FIXED and len(value) == 2 + struct.calcsize(FIXED[code]):
            return finite(struct.unpack_from(FIXED[code], value, 2)[0])
    raise ValueError("the value is not a number")


def encode(number):
    """A number as a typed value: a whole one as the shortest signed integer, every other as a double."""
    number = float(number)
    if not number.is_integer() or abs(number) > EXACT or (number == 0 and math.copysign(1, number) < 0):
        return struct.pack(">BBd", TYPE_PACKED, 0xCB, number)
    whole = int(number)
    if -32 <= whole < 128:
        return bytes((TYPE_PACKED, whole & 0xFF))
    code = next(code for code, bits in SIGNED if -(1 << bits - 1) <= whole < 1 << bits - 1)
    return bytes((TYPE_PACKED, code)) + struct.pack(FIXED[code], whole)


def total(number, by):
    """Their sum. ValueError: it is not finite."""
    return finite(float(number) + by)


def finite(number):
    """The number. ValueError: it is not finite."""
    if not math.isfinite(number):
        raise ValueError("the number is not finite")
    return number
