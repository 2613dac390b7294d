"""multipart/form-data bodies: RFC 7578, RFC 2046 section 5.1."""

import http.server
import subprocess
import threading

import pytest
from forms_native import form, part_get, parts, query_get, unescape
from heart_server import need
from hypothesis import given
from hypothesis import strategies as st

BOUNDARY = b"XX"
FIELD = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n'
END = b"--XX--\r\n"


def with_header(disposition, data=b"1"):
    return b"--XX\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + data + b"\r\n" + END


def fields(body, boundary=BOUNDARY):
    return [(p["name"], p["data"]) for p in parts(body, boundary)]


def test_fields_and_files_are_read():
    body = (
        FIELD
        + b"--XX\r\ncontent-type: text/plain \r\nX-Other: y\r\n"
        + b'CONTENT-DISPOSITION: form-data; name="f"; filename="n.txt"\r\n\r\nl1\r\nl2\r\n\r\n'
        + END
    )
    first, second = parts(body, BOUNDARY)
    assert first == {
        "name": b"a",
        "filename": None,
        "type": None,
        "headers": b'Content-Disposition: form-data; name="a"\r\n',
        "data": b"one",
    }
    assert (second["name"], second["filename"], second["type"]) == (b"f", b"n.txt", b"text/plain")
    assert second["data"] == b"l1\r\nl2\r\n"
    assert second["headers"].startswith(b"content-type: ") and second["headers"].endswith(b'"n.txt"\r\n')


@pytest.mark.parametrize(
    "body",
    [
        FIELD + END,
        FIELD + b"--XX--",
        FIELD + b"--XX--  \t",
        FIELD + b"--XX--\r\nepilogue --XX\r\n--XX\r\n",
        b"\r\n" + FIELD + END,
        b"preamble XX --XX\r\n" + FIELD + END,
        FIELD.replace(b"--XX\r\n", b"--XX \t\r\n") + END,
    ],
    ids=["plain", "no last line break", "padding", "epilogue", "empty line before", "preamble", "transport padding"],
)
def test_frame_is_passed_over(body):
    assert fields(body) == [(b"a", b"one")]


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r", b"\n", b"x--XX--", b"\n--XX\r\n", b"\r\n-XX", b"\x00\xff" * 99])
def test_data_is_any_bytes(data):
    assert fields(with_header(b"form-data; name=a", data)) == [(b"a", data)]


def test_part_without_body_is_empty():
    """RFC 2046 section 5.1.1: the empty line may be the line break of the delimiter."""
    body = b"--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n--XX--"
    assert fields(body) == [(b"a", b"")]


def test_form_without_parts_is_empty():
    assert parts(b"--XX--\r\n", BOUNDARY) == []


@pytest.mark.parametrize(
    "disposition,name,filename",
    [
        (b'form-data; name="a"', b"a", None),
        (b"form-data; name=a; filename=f.txt", b"a", b"f.txt"),
        (b'Form-Data;NAME="a";FileName=""', b"a", b""),
        (b'form-data; name=""', b"", None),
        (b'form-data; filename="f"; name="a b;c"', b"a b;c", b"f"),
        (b'form-data; name="a"; filename="x"; filename*=UTF-8\'\'y', b"a", b"x"),
        (b'form-data; name="q%22q"', b"q%22q", None),
        (rb'form-data; name="q\"q"', rb"q\"q", None),
        (rb'form-data; name="a"; filename="C:\dir\f.txt"', b"a", rb"C:\dir\f.txt"),
        ('form-data; name="naïve"'.encode(), "naïve".encode(), None),
        (b'form-data ; name="a" ;', b"a", None),
    ],
)
def test_disposition_is_read(disposition, name, filename):
    (part,) = parts(with_header(disposition), BOUNDARY)
    assert (part["name"], part["filename"]) == (name, filename)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"XX",
        b"--XX",
        b"--XX\r\n",
        FIELD,
        FIELD + b"--XX-",
        FIELD + b"--XX",
        FIELD + b"--XX\r\n",
        FIELD + b"--XX--x",
        FIELD + b"--XXX\r\n",
        FIELD + b"--XX\n",
        FIELD.replace(b"\r\n", b"\n") + END,
        b"x" + FIELD + END.replace(b"--XX", b"--YY"),
        b"--XX\r\n\r\nno header\r\n" + END,
        b"--XX\r\nContent-Type: text/plain\r\n\r\nno name\r\n" + END,
        with_header(b"form-data"),
        with_header(b"attachment; name=a"),
        with_header(b"form-data; name=a; name=b"),
        with_header(b"form-data; name=a; filename=b; filename=c"),
        with_header(b"form-data; name=a\r\nContent-Disposition: form-data; name=b"),
        with_header(b"form-data; name=a\r\nContent-Type: a/b\r\nContent-Type: c/d"),
        with_header(b'form-data; name="a'),
        with_header(b'form-data; name="a"b'),
        with_header(b'form-data; name=a"b'),
        with_header(b"form-data; name"),
        with_header(b"form-data; name="),
        with_header(b"form-data; ;name=a"),
        with_header(b"form-data;\r\n name=a"),
        with_header(b"form-data; name=a\r\nno colon"),
        with_header(b"form-data; name=a\r\n--XXfield: value"),
        with_header(b"form-data; name=a\r\n: x"),
        with_header(b"form-data; name=a\r\nX y: z"),
        with_header(b"form-data; name=a\r\nX : z"),
        with_header(b"form-data; name=a\rb"),
        with_header(b"form-data; name=a\nb"),
        with_header(b"form-data; name=a\x00b"),
        with_header(b"form-data; name=a", b"--XX"),
        b"--XX\r\nContent-Disposition: form-data; name=a\r\n--XX--\r\n",
    ],
)
def test_malformed_body_is_refused(body):
    with pytest.raises(ValueError):
        parts(body, BOUNDARY)


def test_unusable_boundary_is_refused():
    for boundary in (b"", b"x" * 71):
        with pytest.raises(ValueError, match="boundary"):
            parts(FIELD + END, boundary)


def test_every_prefix_without_the_closing_delimiter_is_refused():
    body = FIELD + FIELD + END
    for n in range(len(body) - len(b"\r\n")):
        with pytest.raises(ValueError):
            parts(body[:n], BOUNDARY)
    assert len(parts(body[: -len(b"\r\n")], BOUNDARY)) == 2


def test_flipped_bytes_never_leave_the_input():
    body = FIELD + with_header(b'form-data; name="f"; filename="n"', b"data\r\n--X")
    for i in range(len(body)):
        for c in b'\r\n-X"\\;:= \x00\xffa':
            try:
                found = parts(body[:i] + bytes([c]) + body[i + 1 :], BOUNDARY)
            except ValueError:
                continue
            assert len(found) <= 2


def test_field_is_found_and_files_are_not():
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nfile\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="a"; filename=""\r\n\r\nnone chosen\r\n'
        + FIELD
        + b'--XX\r\nContent-Disposition: form-data; name="q%22\\"q"\r\n\r\nquoted\r\n'
        + END
    )
    assert part_get(body, BOUNDARY, b"a") == b"none chosen"
    assert part_get(body, BOUNDARY, b'q""q') == b"quoted"
    assert part_get(body, BOUNDARY, b"A") is None
    assert part_get(body, BOUNDARY, b"") is None
    with pytest.raises(ValueError):
        part_get(body[:-8], BOUNDARY, b"missing")


@pytest.mark.parametrize(
    "raw,text",
    [
        (b"", b""),
        (b"plain", b"plain"),
        (rb"a\"b\\c", rb'a"b\c'),
        (rb"C:\dir", rb"C:\dir"),
        (b"a\\", b"a\\"),
        (b"%22%0d%0A", b'"\r\n'),
        (b"%41%2", b"%41%2"),
        (b"%%22%", b'%"%'),
    ],
)
def test_escapes_of_names_are_undone(raw, text):
    assert unescape(raw) == text


@given(st.lists(st.tuples(st.text('ab"\\é ;=', min_size=1), st.binary(max_size=50)), max_size=5))
def test_written_forms_are_read_back(pairs):
    body = b""
    for name, data in pairs:
        quoted = name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        body += b'--b0und\r\nContent-Disposition: form-data; name="' + quoted + b'"\r\n\r\n' + data + b"\r\n"
    found = fields(body + b"--b0und--\r\n", b"b0und")
    assert [(unescape(name), data) for name, data in found] == [(name.encode(), data) for name, data in pairs]


@given(
    st.lists(st.sampled_from([FIELD, END, b"--XX", b"\r\n", b"--", b"XX", b'"', b"; name=a", b": ", b"x"]), max_size=12)
)
def test_any_order_of_fragments_is_read_or_refused(fragments):
    try:
        found = fields(b"".join(fragments))
    except ValueError:
        return
    assert all(data is not None and name is not None for name, data in found)


def test_hostile_body_is_read_in_linear_time():
    """Near misses of the delimiter, or a million dashes, cost one pass."""
    data = (b"\r\n--X" * 200_000)[:900_000]
    assert fields(with_header(b"form-data; name=a", data)) == [(b"a", data)]
    with pytest.raises(ValueError):
        parts(b"-" * 1_000_000, b"-" * 70)


class Recorder(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received = (self.headers["Content-Type"].encode(), body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def curl():
    """A function that runs curl with -F options and gives back what it sent."""
    need("curl", "curl")
    with http.server.HTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def send(*options):
            url = f"http://127.0.0.1:{server.server_port}/"
            subprocess.run(["curl", "-sS", "-H", "Expect:", *options, url], check=True, timeout=20)
            return server.received

        yield send
        server.shutdown()


def test_form_of_curl_is_read(curl, tmp_path):
    upload = tmp_path / "upload.bin"
    upload.write_bytes(bytes(range(256)) * 300)
    file = f'file=@{upload};filename="odd \\"name\\".bin"'
    kind, body = curl("-F", "a=one", "-F", 'q"q=two;type=text/x', "-F", "empty=", "-F", file)
    boundary = form(kind)[1]
    found = parts(body, boundary)
    assert [unescape(p["name"]) for p in found] == [b"a", b'q"q', b"empty", b"file"]
    assert [p["data"] for p in found] == [b"one", b"two", b"", upload.read_bytes()]
    assert [p["type"] for p in found] == [None, b"text/x", None, b"application/octet-stream"]
    assert unescape(found[3]["filename"]) == b'odd "name".bin'
    assert part_get(body, boundary, b'q"q') == b"two"


@pytest.mark.parametrize("option", ["--form-escape", "--data-urlencode"])
def test_other_forms_of_curl_are_read(curl, option):
    if option == "--form-escape":
        kind, body = curl(option, "-F", 'a"\\b=1')
        assert part_get(body, form(kind)[1], b'a"\\b') == b"1"
    else:
        kind, body = curl(option, "a b=c&d é")
        assert form(kind)[0] == "urlencoded"
        assert query_get(body, b"a b") == "c&d é".encode()


def test_form_of_a_browser_is_read():
    """As Chromium and Firefox write it (HTML, "multipart/form-data encoding algorithm")."""
    boundary = b"----WebKitFormBoundaryeb4Q8fQ2mJ0sYvZx"
    body = (
        b"------WebKitFormBoundaryeb4Q8fQ2mJ0sYvZx\r\n"
        b'Content-Disposition: form-data; name="text"\r\n\r\nline\r\nline\r\n'
        b"------WebKitFormBoundaryeb4Q8fQ2mJ0sYvZx\r\n"
        b'Content-Disposition: form-data; name="up%22load"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n"
        b"------WebKitFormBoundaryeb4Q8fQ2mJ0sYvZx--\r\n"
    )
    assert form(b"multipart/form-data; boundary=" + boundary) == ("multipart", boundary)
    text, upload = parts(body, boundary)
    assert text["data"] == b"line\r\nline"
    assert (unescape(upload["name"]), upload["filename"], upload["data"]) == (b'up"load', b"", b"")
