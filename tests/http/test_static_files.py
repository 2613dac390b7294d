"""app.static: files served correctly and nothing outside the folder (RFC 9110 sections 8.8.2 and 13.1.3)."""

import os
import re
import time
from email.utils import formatdate, parsedate_to_datetime

import pytest
from heart_server import Server, heart, need, run, wait_until

APP = """
local app = require("heart.v1")
app.static("/files", "public")
app.static("/other", "second")
app.get("/files/route", function(ctx) return "route" end)
app.get("/hello", function(ctx) return "hello" end)
"""
BIG = os.urandom(1 << 20) * 50
FILES = {
    "public/index.html": "<h1>index</h1>",
    "public/plain.txt": "text",
    "public/style.css": "body {}",
    "public/app.js": "1",
    "public/data.json": "{}",
    "public/unknown.zzz": "?",
    "public/noextension": "?",
    "public/empty.txt": "",
    "public/with space.txt": "space",
    "public/ünï.txt": "unicode",
    "public/sub/index.html": "sub index",
    "public/sub/page.html": "page",
    "public/noindex/file.txt": "x",
    "public/.secret": "hidden",
    "public/.git/config": "hidden",
    "public/big.bin": BIG,
    "second/b.txt": "second mount",
    "outside.txt": "outside",
    "public-sibling/file.txt": "outside",
}


@pytest.fixture(scope="module")
def server():
    with Server(APP, files=FILES, workers=1) as server:
        public = server.folder / "public"
        (public / "link-in").symlink_to("plain.txt")
        (public / "link-out").symlink_to("../outside.txt")
        (public / "link-etc").symlink_to("/etc/passwd")
        (public / "dir-out").symlink_to("..")
        os.mkfifo(public / "fifo")
        yield server


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("plain.txt", b"text", "text/plain; charset=utf-8"),
        ("style.css", b"body {}", "text/css; charset=utf-8"),
        ("app.js", b"1", "text/javascript; charset=utf-8"),
        ("data.json", b"{}", "application/json"),
        ("sub/page.html", b"page", "text/html; charset=utf-8"),
        ("unknown.zzz", b"?", "application/octet-stream"),
        ("noextension", b"?", "application/octet-stream"),
        ("empty.txt", b"", "text/plain; charset=utf-8"),
        ("with%20space.txt", b"space", "text/plain; charset=utf-8"),
        ("%C3%BCn%C3%AF.txt", b"unicode", "text/plain; charset=utf-8"),
        ("link-in", b"text", None),
    ],
)
def test_file_is_served_with_its_type(server, name, content, kind):
    with server.connect() as client:
        response = client.fetch(target=f"/files/{name}")
        assert (response.status, response.body) == (200, content)
        if kind:
            assert response["content-type"].replace("application/javascript", "text/javascript") == kind
        assert response["content-length"] == str(len(content))
        assert client.fetch(target="/hello").text == "hello"


def test_query_does_not_belong_to_the_name(server):
    assert server.get("/files/plain.txt?v=1").body == b"text"


def test_index_is_served_for_a_folder(server):
    for target in ("/files", "/files/"):
        assert server.get(target).body == b"<h1>index</h1>"
    for target in ("/files/sub", "/files/sub/"):
        assert server.get(target).body == b"sub index"


def test_folder_without_an_index_is_404(server):
    assert server.get("/files/noindex/").status == 404


def test_several_mounts_work(server):
    """Heart v1 let only the first count."""
    assert server.get("/other/b.txt").body == b"second mount"
    assert server.get("/other/plain.txt").status == 404


def test_routes_beside_files_work(server):
    assert server.get("/files/route").text == "route"
    assert server.get("/files/missing.txt").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "../outside.txt",
        "..%2foutside.txt",
        "%2e%2e/outside.txt",
        "%2e%2e%2foutside.txt",
        "sub/../../outside.txt",
        "sub/..%2f..%2foutside.txt",
        "..%5coutside.txt",
        "....//outside.txt",
        ".//../outside.txt",
        "%252e%252e/outside.txt",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc/passwd",
        "..%c0%afoutside.txt",
        "plain.txt%00.html",
        "plain.txt/",
        "plain.txt/x",
        "../public-sibling/file.txt",
        ".secret",
        "%2esecret",
        ".git/config",
        "sub/../.secret",
        "link-out",
        "link-etc",
        "dir-out/outside.txt",
        "fifo",
        "x" * 300,
        "a/" * 500,
    ],
)
def test_nothing_outside_or_hidden_is_served(server, path):
    """curl --path-as-is keeps the dots that it would otherwise remove."""
    curl = need("curl", "curl")
    out = run(curl, "-sS", "--path-as-is", "-m", "5", "-w", "\n%{http_code}", f"{server.url}/files/{path}").stdout
    body, status = out.rsplit("\n", 1)
    assert status in ("400", "404"), out
    for secret in ("outside", "hidden", "root:", "text"):
        assert secret not in body.replace(path, "")


def test_last_modified_and_304(server):
    with server.connect() as client:
        response = client.fetch(target="/files/plain.txt")
        stamp = response["last-modified"]
        assert parsedate_to_datetime(stamp).timestamp() == int((server.folder / "public/plain.txt").stat().st_mtime)
        cached = client.fetch(target="/files/plain.txt", headers=[("If-Modified-Since", stamp)])
        assert (cached.status, cached.body) == (304, b"")
        assert cached["content-type"] is None or cached["content-length"] in (None, "4")
        later = [("If-Modified-Since", formatdate(time.time() + 60, usegmt=True))]
        assert client.fetch(target="/files/plain.txt", headers=later).status in (200, 304)
        earlier = [("If-Modified-Since", formatdate(1000000000, usegmt=True))]
        assert client.fetch(target="/files/plain.txt", headers=earlier).status == 200
        garbage = [("If-Modified-Since", "yesterday")]
        assert client.fetch(target="/files/plain.txt", headers=garbage).status == 200
        assert client.fetch(target="/hello").text == "hello"


def test_head_has_no_body(server):
    with server.connect() as client:
        response = client.fetch("HEAD", "/files/big.bin")
        assert (response.status, response["content-length"]) == (200, str(len(BIG)))
        assert client.fetch(target="/hello").text == "hello"


def test_other_methods_are_refused(server):
    assert server.post("/files/plain.txt", b"x").status in (404, 405)


def test_big_file_arrives_whole_at_a_slow_reader(server):
    """50 MB by sendfile, in order and complete, while others are served."""
    before = server.rss()
    with server.connect(receive_buffer=65536) as client, server.connect() as other:
        client.request(target="/files/big.bin")
        head = client.head()
        assert head["content-length"] == str(len(BIG))
        for at in range(0, len(BIG), 1 << 20):
            assert client.exactly(1 << 20) == BIG[at : at + (1 << 20)]
            if at % (10 << 20) == 0:
                time.sleep(0.05)
                assert other.fetch(target="/hello").text == "hello"
        assert client.fetch(target="/hello").text == "hello"
    assert server.rss() - before < 16 << 20


def test_pipelined_files_come_in_order(server):
    names = ["plain.txt", "empty.txt", "sub/page.html", "missing", "style.css"] * 10
    with server.connect() as client:
        client.send(b"".join(f"GET /files/{n} HTTP/1.1\r\nHost: t\r\n\r\n".encode() for n in names))
        expected = [FILES.get(f"public/{n}", None) for n in names]
        for want in expected:
            response = client.response()
            assert response.status == (404 if want is None else 200)
            if want is not None:
                assert response.text == want


def test_descriptors_are_closed(server):
    """Served whole, cut off in the middle, answered with 304 and HEAD."""
    before = server.fds()
    for _ in range(30):
        server.get("/files/plain.txt")
        server.fetch("HEAD", "/files/plain.txt")
        with server.connect(receive_buffer=4096) as client:
            client.request(target="/files/big.bin")
            client.exactly(100)
            client.reset()
    wait_until(lambda: server.fds() <= before, lambda: f"{server.fds()} descriptors, {before} before")


def test_file_that_shrinks_while_it_is_sent_cuts_the_answer(server):
    """A promised length that cannot be kept must not be padded or hang."""
    path = server.folder / "public/shrinks.bin"
    path.write_bytes(b"z" * (20 << 20))
    with server.connect(receive_buffer=4096) as client:
        client.request(target="/files/shrinks.bin")
        client.head()
        os.truncate(path, 1000)
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.exactly(20 << 20)
    assert server.get("/hello").text == "hello"


def test_missing_folder_is_told_at_start(tmp_path):
    """A typing error in a mount must not show as 404s in production."""
    (tmp_path / "main.lua").write_text('\nrequire("heart.v1").static("/x", "no-such-folder")')
    result = heart("serve", tmp_path / "main.lua", "--port", "0")
    assert result.returncode == 1
    assert re.search(r"main\.lua:2: .*no-such-folder", result.stderr)
