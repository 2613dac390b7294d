"""A FastCGI client for the tests of the protocol itself: it says what no web server would. Answers are read strictly.

pairs()    name-value pairs as bytes
record()   a record as bytes
request()  all records of a request
Client     one connection: raw bytes out, records in
"""

import struct

import heart_server

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, VALUES, UNKNOWN = range(1, 12)
COMPLETE, CANT_MULTIPLEX, OVERLOADED, UNKNOWN_ROLE = range(4)
RESPONDER = 1
KEEP = 1
CONTENT_MAX = 65535


def length(n):
    return bytes([n]) if n < 128 else struct.pack(">I", n | 1 << 31)


def pairs(variables):
    """Name-value pairs of a dictionary, or of a list of pairs."""
    variables = variables.items() if isinstance(variables, dict) else variables
    encoded = [(encode(name), encode(value)) for name, value in variables]
    return b"".join(length(len(name)) + length(len(value)) + name + value for name, value in encoded)


def encode(text):
    return text if isinstance(text, bytes) else str(text).encode()


def record(kind, number, content=b"", padding=0, version=1):
    """One record with `padding` bytes behind it."""
    return struct.pack(">BBHHBx", version, kind, number, len(content), padding) + content + b"x" * padding


def stream(kind, number, content, size=CONTENT_MAX, end=True, padding=0):
    """The records of a stream, `size` bytes in each, and its end."""
    parts = [record(kind, number, content[i : i + size], padding) for i in range(0, len(content), size)]
    return b"".join(parts) + (record(kind, number) if end else b"")


def begin(number, flags=KEEP, role=RESPONDER):
    return record(BEGIN, number, struct.pack(">HB5x", role, flags))


def variables(method="GET", target="/", body=None, **more):
    """What a web server sends, as a dictionary."""
    path, _, query = target.partition("?")
    found = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "SCRIPT_NAME": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "test",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "4711",
    }
    if body is not None:
        found["CONTENT_LENGTH"] = len(body)
    return found | more


def request(number=1, method="GET", target="/", body=None, flags=KEEP, size=CONTENT_MAX, **more):
    """All records of a request; `size`: bytes of content in a record of a stream."""
    sent = pairs({name: value for name, value in variables(method, target, body, **more).items() if value is not None})
    return begin(number, flags) + stream(PARAMS, number, sent, size) + stream(STDIN, number, body or b"", size)


class Answer:
    """What came for one request: the streams, how it ended, and status, headers and body of the reply."""

    def __init__(self):
        self.out = bytearray()
        self.errors = bytearray()
        self.ended = {STDOUT: False, STDERR: False}
        self.application = None
        self.protocol = None

    @property
    def complete(self):
        return self.protocol is not None

    def head(self):
        lines = self.out.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return [tuple(line.split(": ", 1)) for line in lines]

    @property
    def status(self):
        name, value = self.head()[0]
        assert name == "Status"
        return int(value.split()[0])

    def header(self, name):
        values = [value for key, value in self.head() if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} repeated: {values}"
        return values[0] if values else None

    @property
    def body(self):
        head, _, body = self.out.partition(b"\r\n\r\n")
        announced = self.header("content-length")
        assert announced is None or int(announced) == len(body)
        return body

    @property
    def text(self):
        return self.body.decode()


class Client(heart_server.Client):
    """One connection. Everything that comes is sorted into `answers` by the number of its request."""

    def __init__(self, address, **more):
        super().__init__(address, **more)
        self.answers = {}
        self.management = []
        self.order = []

    def take(self):
        """Read one record; returns its type and number."""
        version, kind, number, size, padding = struct.unpack(">BBHHBx", self.exactly(8))
        assert version == 1
        assert (8 + size + padding) % 8 == 0, "records are aligned"
        content = self.exactly(size)
        assert not self.exactly(padding).strip(b"\0"), "padding is zeros"
        if number == 0:
            assert kind in (VALUES, UNKNOWN)
            self.management.append((kind, content))
            return kind, number
        answer = self.answers.setdefault(number, Answer())
        assert not answer.complete, "a record after the end of its request"
        if kind == END:
            answer.application, answer.protocol = struct.unpack(">IB3x", content)
            self.order.append(number)
            return kind, number
        assert kind in (STDOUT, STDERR) and not answer.ended[kind]
        answer.ended[kind] = not content
        if kind == STDOUT:
            answer.out += content
        else:
            answer.errors += content
        return kind, number

    def answer(self, number=1):
        """The complete answer to a request, which is forgotten."""
        while number not in self.answers or not self.answers[number].complete:
            self.take()
        answer = self.answers.pop(number)
        if answer.out:
            assert answer.ended[STDOUT] or answer.application, "the stream was not ended"
        if answer.errors:
            assert answer.ended[STDERR], "the stream was not ended"
        return answer

    def fetch(self, *args, **more):
        """Send one request and return its answer."""
        self.send(request(*args, **more))
        return self.answer(args[0] if args else more.get("number", 1))
