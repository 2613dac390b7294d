"""Records as text: lines of JSON for export and import, keys and values for people.

A line is an object:
    "key" or "key64"        the key, as text or in base64
    "value" or "value64"    a string, as text or in base64
    "json" or "packed64"    any other value, as JSON or as it is stored, in base64
    "expires"               Unix milliseconds, if it expires
"""

import base64
import binascii
import json

from . import kv_pack
from .errors import ConfigError, HeartError
from .kv_number import TYPE_PACKED, TYPE_STRING

KEY_MAX = 4096
VALUE_MAX = 16 << 20
MARK = "base64:"
FIELDS = {"key", "key64", "value", "value64", "json", "packed64", "expires"}


def text_or_64(name, data):
    """{name: text} if the bytes are UTF-8, else {name64: base64}."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name + "64": base64.b64encode(data).decode()}


def typed(value):
    """The fields of a typed value."""
    if value[0] == TYPE_STRING:
        return text_or_64("value", value[1:])
    try:
        return {"json": kv_pack.to_json(value)}
    except kv_pack.Unknown:
        return {"packed64": base64.b64encode(value).decode()}


def line(key, expires, value):
    """The line of a record, without its end."""
    fields = text_or_64("key", key) | typed(value)
    if expires:
        fields["expires"] = expires
    return kv_pack.json_text(fields)


def parse(text):
    """(key, expires, value) of a line. Raises ValueError, which says what was expected."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError("expected an object with a key and a value")
    if strange := sorted(set(fields) - FIELDS):
        raise ValueError(f"{strange[0]}: unknown field (there are: {', '.join(sorted(FIELDS))})")
    key = bytes_of(fields, "key")
    if not 0 < len(key) <= KEY_MAX:
        raise ValueError(f"the key has {len(key)} bytes; expected 1 to {KEY_MAX}")
    expires = fields.get("expires", 0)
    if type(expires) is not int or not 0 <= expires < 1 << 53:
        raise ValueError(f"expires: {expires!r}: expected Unix milliseconds")
    return key, expires, value_of(fields)


def value_of(fields):
    """The typed value that a line has."""
    given = [name for name in ("value", "value64", "json", "packed64") if name in fields]
    if len(given) != 1:
        raise ValueError("expected one of value, value64, json and packed64")
    if given[0] == "json":
        found = fields["json"]
        if isinstance(found, str) or found is None:
            raise ValueError(f"json: {found!r}: a text is given as value; null can not be stored")
        value = kv_pack.from_json(found)
    elif given[0] == "packed64":
        value = from_64("packed64", fields["packed64"])
        if len(value) < 2 or value[0] != TYPE_PACKED:
            raise ValueError("packed64: is no value that Heart has stored")
    else:
        value = bytes((TYPE_STRING,)) + bytes_of(fields, "value")
    if len(value) - 1 > VALUE_MAX:
        raise ValueError(f"the value has {len(value) - 1} bytes; at most {VALUE_MAX} can be stored")
    return value


def bytes_of(fields, name):
    """The bytes that a field or its base64 gives."""
    wide = name + "64"
    if (name in fields) == (wide in fields):
        raise ValueError(f"expected either {name} or {wide}")
    if wide in fields:
        return from_64(wide, fields[wide])
    text = fields[name]
    if not isinstance(text, str):
        raise ValueError(f"{name}: expected a text")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: half a surrogate pair is no text") from None


def from_64(name, text):
    """The bytes of a text in base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError(f"{name}: expected base64") from None


# ---- For the command line ------------------------------------------------------------------------------------


def key_argument(text):
    """The key that an argument means: the text itself, or `base64:...`."""
    try:
        key = from_64("KEY", text[len(MARK) :]) if text.startswith(MARK) else text.encode("utf-8", "surrogateescape")
    except ValueError:
        raise ConfigError(f"KEY: {text!r}: expected base64 behind {MARK}") from None
    if len(key) > KEY_MAX:
        raise ConfigError(f"KEY: has {len(key)} bytes; at most {KEY_MAX}")
    return key


def key_text(key):
    """A key in one line, so that key_argument understands it."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and not text.startswith(MARK):
        return text
    return MARK + base64.b64encode(key).decode()


def value_argument(text, as_json):
    """The typed value that an argument means."""
    if not as_json:
        return bytes((TYPE_STRING,)) + (text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
    try:
        found = json.loads(text)
        if found is None:
            raise ValueError("null can not be stored")
        return kv_pack.from_json(found)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"VALUE: expected JSON: {error}") from None


def value_bytes(value):
    """A value for people: a string as it is, all else as JSON."""
    if value[0] == TYPE_STRING:
        return value[1:]
    try:
        return kv_pack.json_text(kv_pack.to_json(value)).encode()
    except kv_pack.Unknown:
        raise HeartError("the value can not be shown as JSON; heart kv export has it in base64") from None
