"""Files on request: versions, conditions, ranges and precompressed files (RFC 9110 sections 8.8, 13 and 14)."""

import email
import gzip
import os
import re
import time
import urllib.request
from email.utils import formatdate

import pytest
from heart_server import Server, heart, need, run, wait_until
from nginx_server import Nginx

APP = """
local app = require("heart.v1")
app.static("/files", "public")
app.static("/kept", "public", { max_age = 3600, precompressed = false, redirect = true })
app.use("/mine", function(ctx, next)
  ctx.set("ETag", '"mine"').set("Last-Modified", "never").set("Cache-Control", "no-store").set("Vary", "Cookie")
  local status = tonumber(ctx.queryParam("status"))
  if status then ctx.status(status) end
  if ctx.queryParam("type") ~= "" then ctx.set("Content-Type", "text/plain") end
  return next()
end)
app.static("/mine", "public", { max_age = 10, redirect = true })
app.get("/hello", function(ctx) return "hello" end)
"""
BIG = os.urandom(1 << 20) * 12
DATA = bytes(range(256)) * 8
SCRIPT = b"let x = 1;\n" * 200
FILES = {
    "public/data.bin": DATA,
    "public/empty.txt": b"",
    "public/big.bin": BIG,
    "public/app.js": SCRIPT,
    "public/app.js.gz": gzip.compress(SCRIPT, mtime=0),
    "public/sub/index.html": "<a href=page>",
    "public/sub/page": "page",
}
PAST = 1000000000


@pytest.fixture(scope="module")
def server():
    with Server(APP, files=FILES) as server:
        settle(server.folder / "public")
        yield server


def settle(folder):
    """Give all files times that are past, and wait until their last change counts as past, too."""
    for path in folder.rglob("*"):
        os.utime(path, (PAST, PAST))
    time.sleep(2.1)


@pytest.fixture
def client(server):
    with server.connect() as client:
        yield client
        assert client.fetch(target="/hello").text == "hello", "the connection is in order"


def get(client, name, *headers, method="GET"):
    return client.fetch(method, f"/files/{name}", headers)


def tag_of(client, name="data.bin"):
    return get(client, name)["etag"]


# ---- Versions and conditions -------------------------------------------------------------------------------


def test_version_is_told_and_stays(client):
    first, second = get(client, "data.bin"), get(client, "data.bin", method="HEAD")
    assert re.fullmatch(r'"[0-9a-f]{1,16}"', first["etag"])
    assert first["etag"] == second["etag"] != tag_of(client, "big.bin")
    assert first["accept-ranges"] == second["accept-ranges"] == "bytes"
    assert first["last-modified"] == formatdate(PAST, usegmt=True)
    assert first["cache-control"] is None


def test_same_version_is_not_sent_again(client):
    tag = tag_of(client)
    for method in ("GET", "HEAD"):
        answer = get(client, "data.bin", ("If-None-Match", f'"other", W/{tag}'), method=method)
        assert (answer.status, answer.body, answer["etag"]) == (304, b"", tag)
        assert answer["content-type"] is answer["last-modified"] is answer["content-length"] is None
    assert get(client, "data.bin", ("If-None-Match", '"other"')).body == DATA


def test_date_is_not_looked_at_beside_a_tag(client):
    """Section 13.1.3."""
    headers = [("If-None-Match", '"other"'), ("If-Modified-Since", formatdate(usegmt=True))]
    assert get(client, "data.bin", *headers).status == 200


def test_other_version_than_expected_is_refused(client):
    assert get(client, "data.bin", ("If-Match", tag_of(client))).status == 200
    answer = get(client, "data.bin", ("If-Match", '"other"'))
    assert (answer.status, answer.text) == (412, "412 - Precondition Failed")
    assert answer["content-type"] == "text/plain; charset=utf-8"
    assert get(client, "data.bin", ("If-Unmodified-Since", formatdate(1, usegmt=True))).status == 412
    assert get(client, "data.bin", ("If-Unmodified-Since", formatdate(1, usegmt=True)), method="HEAD").status == 412


def test_changed_file_has_another_version(server, client):
    path = server.write("public/changing.txt", "one")
    before = get(client, "changing.txt")
    assert before["etag"].startswith('W/"'), "it may change again in this very moment"
    time.sleep(0.02)
    path.write_bytes(b"two")
    after = get(client, "changing.txt", ("If-None-Match", before["etag"]))
    assert (after.status, after.body) == (200, b"two")
    assert get(client, "changing.txt", ("If-None-Match", after["etag"])).status == 304


def test_file_of_the_future_is_not_newer_than_its_answer(server, client):
    """Section 8.8.2.1."""
    path = server.write("public/future.txt", "x")
    os.utime(path, (4000000000, 4000000000))
    answer = get(client, "future.txt")
    assert answer["last-modified"] == answer["date"]


# ---- Ranges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted", "first", "last"),
    [
        ("data.bin", "0-0", 0, 0),
        ("data.bin", "100-199", 100, 199),
        ("data.bin", "2000-", 2000, 2047),
        ("data.bin", "-48", 2000, 2047),
        ("data.bin", "0-", 0, 2047),
        ("big.bin", "1000000-11999999", 1000000, 11999999),
        ("big.bin", "-1", len(BIG) - 1, len(BIG) - 1),
    ],
)
def test_part_of_a_file(client, name, wanted, first, last):
    content = FILES[f"public/{name}"]
    answer = get(client, name, ("Range", f"bytes={wanted}"))
    assert (answer.status, answer.body) == (206, content[first : last + 1])
    assert answer["content-range"] == f"bytes {first}-{last}/{len(content)}"
    assert answer["content-type"] == "application/octet-stream"
    assert (answer["etag"], answer["accept-ranges"]) == (tag_of(client, name), "bytes")


def test_part_that_there_is_not_is_refused(client):
    answer = get(client, "data.bin", ("Range", "bytes=2048-"))
    assert (answer.status, answer["content-range"]) == (416, "bytes */2048")
    assert answer.text == "416 - Range Not Satisfiable"


@pytest.mark.parametrize(
    ("method", "name", "wanted"),
    [
        ("HEAD", "data.bin", "bytes=0-0"),
        ("GET", "data.bin", "bytes=5-4"),
        ("GET", "data.bin", "lines=0-0"),
        ("GET", "data.bin", "bytes=0-,0-"),
        ("GET", "data.bin", "bytes=" + ",".join(["0-0"] * 17)),
        ("GET", "empty.txt", "bytes=0-0"),
    ],
)
def test_whole_file_where_parts_make_no_sense(client, method, name, wanted):
    answer = get(client, name, ("Range", wanted), method=method)
    assert (answer.status, answer["content-range"]) == (200, None)
    assert answer["content-length"] == str(len(FILES[f"public/{name}"]))


def multipart(answer):
    """(content-range, content) of the parts."""
    message = email.message_from_bytes(f"Content-Type: {answer['content-type']}\r\n\r\n".encode() + b"")
    boundary = b"--" + message.get_boundary().encode()
    pieces = answer.body.split(boundary)
    assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n"))
        assert fields[b"Content-Type"] == b"application/octet-stream"
        yield fields[b"Content-Range"].decode(), content.removesuffix(b"\r\n")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("data.bin", [(0, 0), (2000, 2047), (300, 305)]),
        ("data.bin", [(i * 100, i * 100) for i in range(16)]),
        ("big.bin", [(0, 3000000), (5000000, 5000001), (6000000, 11000000)]),
    ],
)
def test_several_parts_of_a_file(client, name, parts):
    content = FILES[f"public/{name}"]
    wanted = ", ".join(f"{first}-{last}" for first, last in parts)
    answer = get(client, name, ("Range", f"bytes={wanted}"))
    assert answer.status == 206
    assert answer["content-range"] is None
    assert list(multipart(answer)) == [
        (f"bytes {first}-{last}/{len(content)}", content[first : last + 1]) for first, last in parts
    ]


def test_parts_are_told_apart_by_what_nobody_can_know(client):
    answers = [get(client, "data.bin", ("Range", "bytes=0-0,2-2"))["content-type"] for _ in range(2)]
    assert answers[0] != answers[1]


def test_one_satisfiable_part_of_several_is_no_multipart(client):
    answer = get(client, "data.bin", ("Range", "bytes=9999-,1-1"))
    assert (answer.status, answer["content-range"]) == (206, "bytes 1-1/2048")


def test_part_is_sent_of_the_same_version_only(client):
    tag, date = tag_of(client), formatdate(PAST, usegmt=True)
    for validator, status in ((tag, 206), (date, 206), ('"other"', 200), (f"W/{tag}", 200), ("x", 200)):
        answer = get(client, "data.bin", ("Range", "bytes=0-0"), ("If-Range", validator))
        assert answer.status == status, validator


def test_parts_in_a_pipeline_come_in_order(client):
    ranges = ["0-0", "0-0,5-5", "9999-", "1-3"] * 5
    requests = [f"GET /files/data.bin HTTP/1.1\r\nHost: t\r\nRange: bytes={each}\r\n\r\n" for each in ranges]
    client.send("".join(requests).encode())
    assert [client.response().status for _ in ranges] == [206, 206, 416, 206] * 5


def test_large_parts_arrive_at_a_slow_reader_while_others_are_served(server):
    with server.connect(receive_buffer=65536) as slow, server.connect() as other:
        slow.request(target="/files/big.bin", headers=[("Range", "bytes=0-5999999,6000000-11999999")])
        length = int(slow.head()["content-length"])
        time.sleep(0.1)
        assert other.fetch(target="/hello").text == "hello"
        body = slow.exactly(length)
        assert BIG[:6000000] in body and BIG[6000000:12000000] in body
        assert slow.fetch(target="/hello").text == "hello"


def test_file_that_shrinks_between_parts_cuts_the_answer(server):
    path = server.write("public/shrinks.bin", b"z" * (8 << 20))
    with server.connect(receive_buffer=4096) as client:
        client.request(target="/files/shrinks.bin", headers=[("Range", "bytes=0-4000000,5000000-6000000")])
        length = int(client.head()["content-length"])
        os.truncate(path, 1000)
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.exactly(length)
    assert server.get("/hello").text == "hello"


def test_descriptors_are_closed_when_clients_leave_between_parts(server):
    before = server.fds()
    for _ in range(10):
        with server.connect(receive_buffer=4096) as client:
            client.request(target="/files/big.bin", headers=[("Range", "bytes=0-5999999,6000000-11999999")])
            client.exactly(100)
            client.reset()
        server.get("/files/data.bin?x")
    wait_until(lambda: server.fds() <= before, "descriptors are closed")


# ---- Precompressed files -----------------------------------------------------------------------------------


def test_compressed_file_is_sent_to_who_takes_it(client):
    plain = get(client, "app.js")
    packed = get(client, "app.js", ("Accept-Encoding", "br, gzip"))
    assert (plain.body, plain["content-encoding"]) == (SCRIPT, None)
    assert (gzip.decompress(packed.body), packed["content-encoding"]) == (SCRIPT, "gzip")
    for answer in (plain, packed):
        assert (answer["vary"], answer["content-type"]) == ("Accept-Encoding", "text/javascript; charset=utf-8")
    assert plain["etag"] != packed["etag"]
    assert get(client, "data.bin", ("Accept-Encoding", "gzip"))["content-encoding"] is None
    again = get(client, "app.js", ("Accept-Encoding", "gzip"), ("If-None-Match", packed["etag"]))
    assert (again.status, again["vary"], again["content-encoding"]) == (304, "Accept-Encoding", None)
    assert get(client, "app.js", ("If-None-Match", packed["etag"])).status == 200


def test_parts_are_those_of_the_compressed_file(client):
    packed = FILES["public/app.js.gz"]
    answer = get(client, "app.js", ("Accept-Encoding", "gzip"), ("Range", "bytes=10-19"))
    assert (answer.status, answer.body, answer["content-encoding"]) == (206, packed[10:20], "gzip")
    assert answer["content-range"] == f"bytes 10-19/{len(packed)}"
    several = get(client, "app.js", ("Accept-Encoding", "gzip"), ("Range", "bytes=0-0,2-2"))
    assert (several.status, several.body) == (200, packed)


def test_vary_is_sent_only_where_something_varies(server):
    assert server.get("/files/big.bin")["vary"] == "Accept-Encoding"  # of an unknown type
    kept = server.fetch(target="/kept/app.js", headers=[("Accept-Encoding", "gzip")])
    assert (kept["content-encoding"], kept["vary"], kept.body) == (None, None, SCRIPT)


# ---- Options and middleware --------------------------------------------------------------------------------


def test_max_age_is_told_with_the_file_and_with_304(server):
    answer = server.get("/kept/data.bin")
    assert answer["cache-control"] == "max-age=3600"
    again = server.fetch(target="/kept/data.bin", headers=[("If-None-Match", answer["etag"])])
    assert (again.status, again["cache-control"]) == (304, "max-age=3600")


@pytest.mark.parametrize(
    ("target", "location"),
    [("/kept/sub", "./sub/"), ("/kept/sub?a=b&c", "./sub/?a=b&c"), ("//kept//sub", None), ("/kept", "./kept/")],
)
def test_folder_without_its_slash_is_redirected(server, target, location):
    server.write("public/index.html", "home")
    for method in ("GET", "HEAD"):
        answer = server.fetch(method, target)
        assert (answer.status, answer["location"]) == ((301, location) if location else (404, None))
    assert server.get("/kept/sub/").text == "<a href=page>"
    assert server.get("/files/sub").status == 200


def test_no_path_is_redirected_to_another_host(server):
    """ "//name" at the beginning of a Location would be one."""
    answer = server.get("/kept//sub")
    assert (answer.status, answer["location"]) == (301, "./sub/")


def test_middleware_runs_around_files(server):
    answer = server.get("/mine/app.js")
    assert answer["etag"] == server.get("/files/app.js")["etag"]
    assert answer["last-modified"] == formatdate(PAST, usegmt=True)
    assert answer["cache-control"] == "no-store"
    assert answer.all("vary") == ["Cookie", "Accept-Encoding"]
    assert server.fetch(target="/mine/app.js", headers=[("Range", "bytes=0-2")]).body == b"let"
    assert server.get("/mine/sub").status == 301


def test_file_with_a_status_of_the_application_is_a_page(server):
    """It has no version and no parts, but a coding."""
    headers = [("Range", "bytes=0-0"), ("If-None-Match", "*"), ("Accept-Encoding", "gzip")]
    answer = server.fetch(target="/mine/app.js?status=404", headers=headers)
    assert (answer.status, gzip.decompress(answer.body)) == (404, SCRIPT)
    assert (answer["content-encoding"], answer["accept-ranges"]) == ("gzip", None)


def test_type_of_the_application_is_kept(server):
    answer = server.fetch(target="/mine/data.bin?type=1", headers=[("Range", "bytes=0-0")])
    assert (answer.status, answer["content-type"]) == (206, "text/plain")
    several = server.fetch(target="/mine/data.bin?type=1", headers=[("Range", "bytes=0-0,5-5")])
    assert (several.status, several["content-type"], several.body) == (200, "text/plain", DATA)
    refused = server.fetch(target="/mine/data.bin?type=1", headers=[("Range", "bytes=9999-")])
    assert (refused.status, refused["content-type"]) == (416, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{ maxage = 1 }", "static: unknown option maxage (there are: max_age, precompressed, redirect)"),
        ("{ max_age = '1' }", "static: max_age: expected a number of seconds, at most 2147483647"),
        ("{ max_age = -1 }", "static: max_age: expected a number of seconds, at most 2147483647"),
        ("{ max_age = 0 / 0 }", "static: max_age: expected a number of seconds, at most 2147483647"),
        ("{ precompressed = 1 }", "static: precompressed: expected true or false"),
        ("{ redirect = 'yes' }", "static: redirect: expected true or false"),
        ("{ true }", "static: unknown option 1 (there are: max_age, precompressed, redirect)"),
        ("true", "static: options: expected a table, got boolean"),
    ],
)
def test_wrong_option_is_told(tmp_path, options, message):
    (tmp_path / "main.lua").write_text(f'\nrequire("heart.v1").static("/", ".", {options})')
    result = heart("serve", tmp_path / "main.lua", "--port", "0")
    assert result.returncode == 1
    assert f"main.lua:2: {message}\n" in result.stderr


# ---- Clients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["curl", "wget"])
def test_download_goes_on_where_it_was_cut_off(server, tmp_path, tool):
    """And a file that is complete is not fetched again: that is a 416."""
    program = need(tool, tool)
    path = tmp_path / "big.bin"
    path.write_bytes(BIG[:5000000])
    words = ["-sS", "-C", "-", "-o", path] if tool == "curl" else ["-q", "-c", "-O", path]
    run(program, *words, f"{server.url}/files/big.bin")
    assert path.read_bytes() == BIG
    run(program, *words, f"{server.url}/files/big.bin", check=False)
    assert path.read_bytes() == BIG


def test_curl_unpacks_and_asks_by_tag(server, tmp_path):
    curl, tag = need("curl", "curl"), tmp_path / "tag"
    url = f"{server.url}/files/app.js"
    assert run(curl, "-sS", "--compressed", url).stdout.encode() == SCRIPT
    words = [curl, "-sS", "--etag-compare", tag, "--etag-save", tag, "-w", "%{http_code}", "-o", tmp_path / "x", url]
    tag.touch()
    assert [run(*words).stdout for _ in range(2)] == ["200", "304"]


def test_python_and_node_read_parts(server):
    request = urllib.request.Request(f"{server.url}/files/data.bin", headers={"Range": "bytes=1-2"})
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (206, DATA[1:3])
    code = """
      const answer = await fetch(process.argv[1], { headers: { range: "bytes=0-1,4-4" } });
      const form = (await answer.text()).match(/Content-Range: [^\\r]*/g);
      console.log(answer.status, form.join(";"));
    """
    out = run(need("node", "nodejs"), "--input-type=module", "-e", code, f"{server.url}/files/data.bin").stdout
    assert out == "206 Content-Range: bytes 0-1/2048;Content-Range: bytes 4-4/2048\n"


SLICES = """
location / {{
  slice 1m; proxy_cache slices; proxy_cache_key $uri$slice_range; proxy_cache_valid 200 206 1h;
  proxy_set_header Range $slice_range; proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_pass http://127.0.0.1:{port};
}}
"""


def test_nginx_in_front_puts_a_file_together_from_its_parts(server):
    """It asks for one MiB after the other, and checks that all are of one version."""
    with Nginx(SLICES.format(port=server.port), "proxy_cache_path cache keys_zone=slices:1m;") as nginx:
        for _ in range(2):
            with urllib.request.urlopen(f"{nginx.url}/files/big.bin") as answer:
                assert answer.read() == BIG
        request = urllib.request.Request(f"{nginx.url}/files/big.bin", headers={"Range": "bytes=-3000000"})
        with urllib.request.urlopen(request) as answer:
            assert (answer.status, answer.read()) == (206, BIG[-3000000:])
        assert "[error]" not in nginx.log()
