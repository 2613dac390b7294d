"""The request messages of http-parser's own test, as the httptools sdist carries them.

They come from a lenient parser. What Heart refuses stands in REFUSED with the reason; all others must be read
as their table says. Most have no Host: they are read once as they are, and refused in HTTP/1.1, and once with one.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
from codecs_native import Refusal, dechunk, parse

ROOT = Path(__file__).parent.parent.parent
HTTPTOOLS = "httptools==0.9.0"
REQUESTS = 46
REFUSED = {
    "fragment in url": (400, "a fragment is never sent (RFC 9112 section 3.2)"),
    "post identity body world": (400, "a fragment"),
    "utf-8 path request": (400, "bytes beyond ASCII, and a fragment"),
    "request with no http version": (400, "HTTP/0.9 has no header, hence no framing"),
    "m-search request": (400, "* is for OPTIONS (RFC 9112 section 3.2.4)"),
    "line folding in header value": (400, "obsolete line folding (RFC 9112 section 5.2)"),
    "line folding in header value (2)": (400, "bare LF (RFC 9112 section 2.2)"),
    "host:port and basic_auth": (400, "user information (RFC 9110 section 4.2.4)"),
    "multiple connection header values with folding": (400, "obsolete line folding"),
    "multiple connection header values with folding and lws (2)": (400, "obsolete line folding"),
    "source request (2)": (400, "ICE/1.0 is not HTTP"),
    "post - multi coding transfer-encoding chunked body": (501, "deflate is not served"),
    "post - multi line coding transfer-encoding chunked body": (400, "obsolete line folding"),
}
TOKENS = re.compile(
    rb'/\*.*?\*/|//[^\n]*|^[ \t]*#[^\n]*|(?P<string>"(?:\\.|[^"\\])*")|(?P<other>[{},=;]|[^\s{},=;"]+)', re.S | re.M
)


def c_tokens(text):
    for match in TOKENS.finditer(text):
        if match["string"] is not None:
            yield match["string"][1:-1].decode("latin-1").encode().decode("unicode_escape").encode("latin-1")
        elif match["other"] is not None:
            yield match["other"].decode()


def c_value(tokens):
    """A C initializer: bytes for strings, dict for designated and list for other braces, else the word."""
    token = tokens.pop()
    if isinstance(token, bytes):
        while isinstance(tokens[-1], bytes):
            token += tokens.pop()
        return token
    if token != "{":
        return token
    named, plain = {}, []
    while tokens[-1] != "}":
        if tokens[-1] == ",":
            tokens.pop()
        elif str(tokens[-1]).startswith("."):
            name = tokens.pop()[1:]
            assert tokens.pop() == "="
            named[name] = c_value(tokens)
        else:
            plain.append(c_value(tokens))
    tokens.pop()
    return named or plain


def source():
    """vendor/http-parser/test.c of the sdist, kept in build/."""
    kept = ROOT / "build" / (HTTPTOOLS.replace("==", "-") + "-test.c")
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            download = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--no-binary",
                ":all:",
                "-d",
                folder,
            ]
            subprocess.run([*download, HTTPTOOLS], check=True)
            with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
                name = next(n for n in archive.getnames() if n.endswith("/vendor/http-parser/test.c"))
                Path(folder, "test.c").write_bytes(archive.extractfile(name).read())
            os.replace(Path(folder, "test.c"), kept)
    return kept.read_bytes()


@pytest.fixture(scope="session")
def messages():
    """{name: initializer}; the second of two with one name gets a number."""
    text = source()
    tokens = list(c_tokens(text[text.index(b"const struct message requests[] =") :]))
    tokens = tokens[tokens.index("{") :]
    result = {}
    for message in c_value(tokens[::-1]):
        name = message["name"].decode()
        result[name if name not in result else name + " (2)"] = message
    return result


def with_host(raw):
    line, rest = raw.lstrip(b"\r\n").split(b"\r\n", 1)
    return line + b"\r\nHost: a\r\n" + rest


def body_of(head, data):
    if head.chunked:
        event, body, _ = dechunk([data])
        assert event == "done"
        return body
    return data[: max(head.content_length, 0)]


def check(message, head, data, host_added):
    """Compare what was read with the table, which counts trailers as headers and has no body after CONNECT."""
    headers = [(name, value.strip(b" \t")) for name, value in message.get("headers", [])]
    found = [(name, value) for name, value, _ in head.headers][host_added:]
    assert "HTTP_" + head.method.decode().replace("-", "") == message["method"]
    assert head.target == message["request_url"]
    assert (head.path, head.query) == (message.get("request_path", b""), message.get("query_string", b""))
    assert found == (headers[: len(found)] if head.chunked else headers)
    assert head.keep_alive == (message["should_keep_alive"] == "TRUE")
    assert head.minor == int(message["http_minor"])
    if "host" in message:
        port = b":" + message["port"].encode() if "port" in message else b""
        assert head.host == message["host"] + port
    if message["method"] != "HTTP_CONNECT":
        assert body_of(head, data[head.size :]) == message["body"]


def test_messages_are_all_there(messages):
    assert len(messages) == REQUESTS
    assert set(REFUSED) <= set(messages)


def test_messages_are_read_or_refused_as_the_table_says(messages, subtests):
    for name, message in messages.items():
        with subtests.test(name):
            data = message["raw"]
            head = parse(data)
            host_added = isinstance(head, Refusal) and head.why == "no Host"
            if host_added:
                data = with_host(data)
                head = parse(data)
            if name in REFUSED:
                assert isinstance(head, Refusal)
                assert head.status == REFUSED[name][0]
            else:
                check(message, head, data, host_added)
