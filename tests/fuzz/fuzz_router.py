"""router: one line a pattern, the last the path. Same values as a second matcher, and the first that matches."""

import re

from routes_native import Table

MAX_LEN = 256
PARAMETER = re.compile(rb":([^/\-.:?]*)(\??)|[*+]")


def read_pattern(pattern):
    """A list of literals (bytes) and parameters (name, optional, greedy)."""
    if not pattern.startswith(b"/"):
        pattern = b"/" + pattern
    pattern = pattern.rstrip(b"/") or b"/"
    segments, literal, at, counts = [], b"", 0, {b"*": 0, b"+": 0}
    while at < len(pattern):
        c = pattern[at : at + 1]
        if c not in b":*+" or (c != b"*" and pattern[at + 1 : at + 2] in (b":", b"*", b"+")):
            literal += c.lower()
            at += 1
            continue
        found = PARAMETER.match(pattern, at)
        at = found.end()
        if literal:
            segments.append(literal)
            literal = b""
        if c == b":":
            segments.append((found[1], found[2] == b"?", False))
        else:
            counts[c] += 1
            segments.append((b"%b%d" % (c, counts[c]), c == b"*", True))
    return [*segments, literal] if literal else segments


def until(segments):
    """The literal that ends a parameter before `segments`, and how often it stands in them."""
    literals = [s for s in segments if isinstance(s, bytes)]
    if not literals:
        return b"", 0
    end = literals[0].rstrip(b"/") or b"/"
    return end, sum(s.count(end) for s in literals)


def take(segment, rest, text):
    """How much of `text` the parameter takes when `rest` follows."""
    end, repeats = until(rest)
    if segment[2]:
        if not end or end not in text:
            return len(text)
        return text.index(end) if text.count(end) == 1 else greedy(text, end, repeats)
    reach = len(text.split(b"/")[0])
    if not rest:
        return reach
    if not isinstance(rest[0], bytes) and not rest[0][2]:
        return min(reach, 1)
    if not end:
        return 0
    at = text.find(end)
    return reach if at < 0 else at if at <= reach else 0


def greedy(text, end, repeats):
    for _ in range(repeats):
        if end in text:
            text = text[: text.rindex(end)]
    return len(text)


def match(pattern, path):
    """A list of (name, value), or None."""
    segments = read_pattern(pattern)
    path = path or b"/"
    if segments[0] == b"/" and [s[0] for s in segments[1:]] == [b"*1"]:
        return [(b"*1", path[1:])] if path.startswith(b"/") else None
    path = path.rstrip(b"/") or b"/"
    text, values = path.lower(), []
    for i, segment in enumerate(segments):
        rest = segments[i + 1 :]
        if isinstance(segment, bytes):
            optional = segment.endswith(b"/") and rest and rest[0][1] and text == segment[:-1]
            if not optional and not text.startswith(segment):
                return None
            text = text[len(segment) :]
            continue
        n = take(segment, rest, text)
        if n == 0 and not segment[1]:
            return None
        at = len(path) - len(text)
        values.append((segment[0], path[at : at + n]))
        text = text[n:]
    return values if text == b"" else None


def fuzz_one(data):
    *patterns, path = data.split(b"\n")[-8:]
    table, expected = Table(), None
    for number, pattern in enumerate(patterns):
        if table.add("GET", pattern, number) != "ok":
            assert len(read_pattern(pattern)) > 16, pattern
            continue
        values = match(pattern, path)
        if expected is None and values is not None:
            expected = number, values
    assert table.match("GET", path) == expected, (patterns, path, expected)
    assert table.allowed(path) == ({"GET", "HEAD"} if expected else set())
