"""What http_parse and http_chunk accept, written a second time: slowly, with regular expressions, from the RFCs.

It judges complete messages only: None stands for both "more is needed" and "refused".
"""

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
VISIBLE = rb"[\x21-\x7e\x80-\xff]"
FIELD = re.compile(rb"(%b):[ \t]*((?:%b(?:[\t\x20-\x7e\x80-\xff]*%b)?)?)[ \t]*" % (TOKEN, VISIBLE, VISIBLE))
LINE = re.compile(rb"(%b) ([\x21\x22\x24-\x7e]+) HTTP/1\.([0-9])" % TOKEN)
PORT = rb"(?::[0-9]*)?"
NAME = rb"(?:[0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
HOST = re.compile(rb"(?:%b|\[[0-9A-Fa-f:.]+\])%b" % (NAME, PORT))
ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)([^?]*)(?:\?(.*))?")
ORIGIN = re.compile(rb"(/[^?]*)(?:\?(.*))?")
EMPTY_LINES_MAX = 4
INT64_MAX = (1 << 63) - 1
EXTENSION_MAX = 4096
TRAILER_MAX = 8192


def read_target(method, text):
    """(host or None, path, query) or None."""
    if method == b"CONNECT":
        return (text, b"", b"") if HOST.fullmatch(text) and re.search(rb":[0-9]+\Z", text) else None
    if match := ORIGIN.fullmatch(text):
        return None, match[1], match[2] or b""
    if method == b"OPTIONS" and text == b"*":
        return None, b"", b""
    if (match := ABSOLUTE.fullmatch(text)) and HOST.fullmatch(match[1]):
        return match[1], match[2], match[3] or b""
    return None


def read_host(hosts, in_target, minor):
    """The host that the request is for, or None."""
    if len(hosts) > 1 or (minor and not hosts):
        return None
    if hosts and not HOST.fullmatch(hosts[0]) and (hosts[0] or in_target is not None):
        return None
    return in_target if in_target is not None else (hosts or [b""])[0]


def read_framing(codings, lengths, minor):
    """(chunked, length or -1), or None."""
    if codings:
        framed = len(codings) == 1 and codings[0].lower() == b"chunked" and minor and not lengths
        return (True, -1) if framed else None
    if not lengths:
        return False, -1
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", lengths[0]) or int(lengths[0]) > INT64_MAX:
        return None
    return False, int(lengths[0])


def read_persistence(fields, minor):
    """(keep alive, upgrade)."""
    options = {option.strip(b" \t") for value in fields(b"connection") for option in value.lower().split(b",")}
    keep_alive = b"close" not in options and (minor > 0 or b"keep-alive" in options)
    return keep_alive, minor > 0 and b"upgrade" in options and bool(fields(b"upgrade"))


def read_head(data, head_max, target_max, fields_max):
    """A dict with the names of codecs_native.Head."""
    start = 0
    while data.startswith(b"\r\n", start) and start < 2 * EMPTY_LINES_MAX:
        start += 2
    end = data.find(b"\r\n\r\n", start)
    if not 0 <= end <= head_max - 4:
        return None
    first, *rest = data[start:end].split(b"\r\n")
    line = LINE.fullmatch(first)
    matches = [FIELD.fullmatch(each) for each in rest]
    if not line or len(line[2]) > target_max or len(matches) > fields_max or not all(matches):
        return None
    pairs = [(match[1], match[2]) for match in matches]

    def fields(name):
        return [value for each, value in pairs if each.lower() == name]

    minor = min(int(line[3]), 1)
    target = read_target(line[1], line[2])
    framing = read_framing(fields(b"transfer-encoding"), fields(b"content-length"), minor)
    expected = {value.lower() for value in fields(b"expect")} if minor else set()
    if target is None or framing is None or not expected <= {b"100-continue"}:
        return None
    host = read_host(fields(b"host"), target[0], minor)
    if host is None:
        return None
    keep_alive, upgrade = read_persistence(fields, minor)
    return {
        "size": end + 4,
        "method": line[1],
        "target": line[2],
        "path": target[1],
        "query": target[2],
        "host": host,
        "content_length": framing[1],
        "chunked": framing[0],
        "headers": pairs,
        "minor": minor,
        "keep_alive": keep_alive,
        "expect": bool(expected),
        "upgrade": upgrade,
        "encoded": b"%" in target[1],
    }


SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;[\t\x20-\x7e\x80-\xff]*)?)\r\n")
TRAILERS = re.compile(rb"((?:%b:[\t\x20-\x7e\x80-\xff]*\r\n)*\r)\n" % TOKEN)


def read_chunks(data):
    """(body, bytes consumed) of a complete chunked body."""
    at = unpaid = 0
    body = b""
    while True:
        size = SIZE.match(data, at)
        if not size or int(size[1], 16) > INT64_MAX:
            return None
        at, length, unpaid = size.end(), int(size[1], 16), unpaid + len(size[2])
        if unpaid > EXTENSION_MAX:
            return None
        if length == 0:
            end = TRAILERS.match(data, at)
            return (body, end.end()) if end and len(end[1]) <= TRAILER_MAX else None
        unpaid = max(unpaid - length, 0)
        if data[at + length : at + length + 2] != b"\r\n":
            return None
        body += data[at : at + length]
        at += length + 2
