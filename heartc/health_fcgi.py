"""FastCGI as `heart health` speaks it: one request for a page, and of the answer the status with which its head begins.

It knows no socket: bytes out, bytes in.
"""

import struct

NAME = "FastCGI"
RECORD = struct.Struct(">BBHHBx")  # version, type, number of the request, length of the content, length of the padding
VERSION = 1
BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
NUMBER = 1
RESPONDER = struct.pack(">HB5x", 1, 0)  # flags 0: the connection ends with the answer
VARIABLES = (
    (b"REQUEST_METHOD", b"GET"),
    (b"REQUEST_URI", b"/"),
    (b"SCRIPT_NAME", b"/"),
    (b"SCRIPT_FILENAME", b"/"),  # no script: where it is asked for, the answer is that
    (b"QUERY_STRING", b""),
    (b"SERVER_PROTOCOL", b"HTTP/1.1"),
    (b"HTTP_HOST", b"localhost"),
    (b"HTTP_USER_AGENT", b"heart-health"),
    (b"REMOTE_ADDR", b"127.0.0.1"),
)
STATUS = b"Status: "
STATUS_LINE = len(STATUS + b"200")


def request():
    """The records of a GET for "/"."""
    variables = b"".join(bytes((len(name), len(value))) + name + value for name, value in VARIABLES)
    return b"".join(
        RECORD.pack(VERSION, kind, NUMBER, len(content), 0) + content
        for kind, content in ((BEGIN, RESPONDER), (PARAMS, variables), (PARAMS, b""), (STDIN, b""))
    )


def find_status(data):
    """The status in these bytes of an answer, None while it is not all there. ValueError: they are something else."""
    head = b""
    at = 0
    while len(head) < STATUS_LINE:
        if at + RECORD.size > len(data):
            return None
        version, kind, _, length, padding = RECORD.unpack_from(data, at)
        at += RECORD.size
        if version != VERSION or kind == END:
            raise ValueError
        if kind == STDOUT:
            head += data[at : at + length]
        at += length + padding
    digits = head[len(STATUS) : STATUS_LINE]
    if not head.startswith(STATUS) or not digits.isdigit():
        raise ValueError
    return int(digits)
