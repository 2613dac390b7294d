"""multipart: the same parts as a second reader, which splits the body at its delimiters, or a refusal by both."""

import re

from forms_native import part_get, parts, unescape

MAX_LEN = 512
BOUNDARY = b"XX"
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
HEADER = re.compile(rb"(%b):[ \t]*([^\r\n\0]*?)[ \t]*" % TOKEN)
PARAMETER = re.compile(rb'[ \t]*;[ \t]*(%b)=(?:"((?:\\["\\]|\\(?!["\\])|[^"\\])*)"|([^";]*[^"; \t]))[ \t]*' % TOKEN)


def read_disposition(value):
    kind, semicolon, rest = value.partition(b";")
    rest, at, found = semicolon + rest, 0, {}
    while match := PARAMETER.match(rest, at):
        at = match.end()
        key = match[1].lower()
        if key in found and key in (b"name", b"filename"):
            return None
        found[key] = match[3].strip(b" \t") if match[2] is None else match[2]
    if kind.strip(b" \t").lower() != b"form-data" or rest[at:].strip(b" \t") not in (b"", b";"):
        return None
    return (found[b"name"], found.get(b"filename")) if b"name" in found else None


def read_part(text):
    """What stands between two delimiters, from the line break of the first on."""
    padding, line_break, text = text.partition(b"\r\n")
    if padding.strip(b" \t") or not line_break:
        return None
    # An empty part may have lost the line break of its empty line to the delimiter.
    head, empty_line, data = (text + b"\r\n").partition(b"\r\n\r\n")
    data = data[:-2]
    headers = [HEADER.fullmatch(line) for line in head.split(b"\r\n")]
    if not empty_line or not all(headers):
        return None
    values = {}
    for header in headers:
        key = header[1].lower()
        if key in values and key in (b"content-disposition", b"content-type"):
            return None
        values[key] = header[2]
    names = read_disposition(values.get(b"content-disposition", b""))
    return names and (*names, values.get(b"content-type"), data)


def read(body):
    """A list of (name, filename, type, data), or None for a malformed body."""
    _, *texts = (b"\r\n" + body).split(b"\r\n--" + BOUNDARY)
    found = []
    for text in texts:
        if re.match(rb"--[ \t]*(\r\n|\Z)", text):
            return found
        if (part := read_part(text)) is None:
            return None
        found.append(part)
    return None


def fuzz_one(data):
    expected = read(data)
    try:
        found = [(p["name"], p["filename"], p["type"], p["data"]) for p in parts(data, BOUNDARY)]
    except ValueError:
        assert expected is None, expected
        return
    assert found == expected
    for name, _, _, _ in found:
        text = unescape(name)
        fields = [data for other, filename, _, data in found if not filename and unescape(other) == text]
        assert part_get(data, BOUNDARY, text) == (fields[0] if fields else None)
