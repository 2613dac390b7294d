"""formParam and form: fields of the query, of urlencoded and of multipart bodies."""

import pytest
from heart_server import Server, need, run

APP = """
local app = require("heart.v1")
app.post("/field/:name", function(ctx) return ctx.formParam(ctx.pathParam("name")) end)
app.get("/field/:name", function(ctx) return ctx.formParam(ctx.pathParam("name")) end)
app.post("/all", function(ctx) return ctx.json(ctx.form()) end)
"""
URLENCODED = [("Content-Type", "application/x-www-form-urlencoded")]


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"a=1", "1"),
        (b"b=2&a=x+y", "x y"),
        (b"a=%26%3D%2B", "&=+"),
        (b"a=%C3%A9", "é"),
        (b"%61=1", "1"),
        (b"a", ""),
        (b"", ""),
        (b"a=1&a=2", "1"),
        (b"a=" + b"x" * 100000, "x" * 100000),
    ],
)
def test_urlencoded_field(server, body, value):
    assert server.post("/field/a", body, URLENCODED).text == value


def test_type_with_parameters_is_urlencoded_too(server):
    headers = [("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")]
    assert server.post("/field/a", b"a=1", headers).text == "1"


def test_query_fields_count(server):
    assert server.get("/field/a?a=q").text == "q"
    assert server.post("/field/a?a=q", b"b=1", URLENCODED).text == "q"


def test_body_of_another_type_has_no_fields(server):
    assert server.post("/field/a", b"a=1", [("Content-Type", "text/plain")]).text == ""


def test_curl_posts_multipart_fields(server, tmp_path):
    curl = need("curl", "curl")
    (tmp_path / "upload.bin").write_bytes(bytes(range(256)))
    fields = ["-F", "a=first value", "-F", "b=ünï & = +", "-F", f"upload=@{tmp_path / 'upload.bin'}", "-F", "empty="]
    for name, value in (("a", "first value"), ("b", "ünï & = +"), ("empty", ""), ("none", "")):
        assert run(curl, "-sS", *fields, f"{server.url}/field/{name}").stdout == value


def test_curl_posts_multipart_with_line_ends_and_boundaries_inside(server):
    curl = need("curl", "curl")
    value = '--\r\n--x\r\nContent-Disposition: form-data; name="b"\r\n\r\nno'
    assert run(curl, "-sS", "--form-string", f"a={value}", f"{server.url}/field/a", text=False).stdout == value.encode()
    assert run(curl, "-sS", "--form-string", f"a={value}", f"{server.url}/field/b").stdout == ""


def test_curl_posts_urlencoded(server):
    curl = need("curl", "curl")
    out = run(curl, "-sS", "--data-urlencode", "a=x y&z", "-d", "b=2", f"{server.url}/field/a").stdout
    assert out == "x y&z"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="open',
        "multipart/form-data; boundary=none",
    ],
)
def test_malformed_multipart_is_no_crash(server, content_type):
    body = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
    response = server.post("/field/a", body, [("Content-Type", content_type)])
    assert response.status in (200, 400)
    if response.status == 200:
        assert response.text == ""
