"""Real clients and a real proxy in front."""

import http.client
import json
import re

import pytest
from heart_server import Server, need, run
from nginx_server import Nginx

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/json", function(ctx) return ctx.json({ hello = "world" }) end)
app.get("/head/:name", function(ctx) return ctx.headers(ctx.pathParam("name")) end)
app.get("/bytes/:n", function(ctx) return string.rep("x", tonumber(ctx.pathParam("n"))) end)
app.get("/stream/:n", function(ctx)
  local n = tonumber(ctx.pathParam("n"))
  return ctx.stream(function(write)
    for i = 1, n do write("line " .. i .. "\\n") end
  end)
end)
app.post("/echo", function(ctx) return ctx.bytes() end)
"""
SIZES = [0, 1, 2, 1023, 1024, 16384, 65535, 65536, 131073, 1000000]
STREAMED = "".join(f"line {i}\n" for i in range(1, 1001))


@pytest.fixture(scope="module")
def server():
    with Server(APP, "--no-access-log", workers=2) as server:
        yield server


def test_curl_reads_bodies_of_every_length(server):
    """A wrong Content-Length hangs or fails a real client."""
    curl = need("curl", "curl")
    urls = [f"{server.url}/bytes/{n}" for n in SIZES]
    result = run(curl, "-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download} %{num_connects}\n", *urls)
    # -o holds for the first URL only: the others' bodies come before their lines.
    sizes = [int(s) for s in re.findall(r"(\d+) [01]$", result.stdout, re.MULTILINE)]
    assert sizes == SIZES
    assert len(re.findall(r" 1$", result.stdout, re.MULTILINE)) == 1, "the connection was not kept"


def test_curl_reads_a_stream_and_posts(server):
    curl = need("curl", "curl")
    assert run(curl, "-sS", f"{server.url}/stream/1000").stdout == STREAMED
    assert run(curl, "-sS", "--http1.0", f"{server.url}/stream/1000").stdout == STREAMED
    assert run(curl, "-sS", "-I", f"{server.url}/").stdout.startswith("HTTP/1.1 200")
    assert run(curl, "-sS", "--data-binary", "a=b", f"{server.url}/echo").stdout == "a=b"
    assert run(curl, "-sS", "-H", "Transfer-Encoding: chunked", "-d", "a=b", f"{server.url}/echo").stdout == "a=b"


def test_h2load_fails_no_request(server):
    h2load = need("h2load", "nghttp2-client")
    for pipeline in ("1", "16"):
        out = run(h2load, "--h1", "-n", "20000", "-c", "50", "-m", pipeline, f"{server.url}/json").stdout
        assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in out
        assert "status codes: 20000 2xx" in out


def test_h2load_with_bodies_fails_no_request(server, tmp_path):
    h2load = need("h2load", "nghttp2-client")
    (tmp_path / "body").write_bytes(b"b" * 10000)
    out = run(h2load, "--h1", "-n", "5000", "-c", "20", "-d", tmp_path / "body", f"{server.url}/echo").stdout
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in out


def test_wrk_sees_no_error(server):
    wrk = need("wrk", "wrk")
    out = run(wrk, "-t1", "-c64", "-d1s", f"{server.url}/json").stdout
    assert "Socket errors" not in out
    assert "Non-2xx" not in out
    assert int(re.search(r"(\d+) requests in", out)[1]) > 500


@pytest.mark.parametrize("keep", [["-k"], []])
def test_ab_fails_no_request(server, keep):
    """ab speaks HTTP/1.0, with and without keep-alive."""
    ab = need("ab", "apache2-utils")
    out = run(ab, "-q", "-n", "3000", "-c", "20", *keep, f"{server.url}/json").stdout
    assert re.search(r"Complete requests:\s+3000\n", out)
    assert re.search(r"Failed requests:\s+0\n", out)
    assert "Non-2xx" not in out
    if keep:
        assert re.search(r"Keep-Alive requests:\s+3000\n", out)


def test_python_client(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for n in SIZES:
        connection.request("GET", f"/bytes/{n}")
        assert len(connection.getresponse().read()) == n
    connection.request("GET", "/stream/1000")
    assert connection.getresponse().read().decode() == STREAMED
    connection.request(
        "POST", "/echo", body=iter([b"a", b"bc"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert connection.getresponse().read() == b"abc"
    connection.request("HEAD", "/json")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    connection.close()


def test_node_fetch(server):
    node = need("node", "nodejs")
    script = """
        const [url] = process.argv.slice(1);
        const results = [];
        for (const n of [0, 1, 65536, 1000000]) results.push((await (await fetch(`${url}/bytes/${n}`)).text()).length);
        results.push(await (await fetch(`${url}/json`)).json());
        results.push((await (await fetch(`${url}/stream/1000`)).text()).length);
        const many = await Promise.all(Array.from({ length: 200 }, (_, i) =>
          fetch(`${url}/echo`, { method: "POST", body: String(i) }).then((r) => r.text())));
        results.push(many.every((text, i) => text === String(i)));
        console.log(JSON.stringify(results));
    """
    out = run(node, "--input-type=module", "-e", script, server.url).stdout
    assert json.loads(out) == [0, 1, 65536, 1000000, {"hello": "world"}, len(STREAMED), True]


NGINX = """
location / {
  proxy_pass http://heart; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
}
"""


@pytest.fixture(scope="module")
def nginx(server):
    """nginx as a reverse proxy with keep-alive to the server."""
    with Nginx(NGINX, f"upstream heart {{ server 127.0.0.1:{server.port}; keepalive 16; }}") as front:
        yield front


def test_nginx_in_front_passes_everything(nginx):
    curl, url = need("curl", "curl"), nginx.url
    assert run(curl, "-sS", f"{url}/stream/1000").stdout == STREAMED
    assert run(curl, "-sS", f"{url}/head/host").stdout == f"127.0.0.1:{nginx.port}"
    body = "x" * 200000
    assert run(curl, "-sS", "--data-binary", "@-", f"{url}/echo", input=body).stdout == body
    for n in SIZES:
        assert len(run(curl, "-sS", f"{url}/bytes/{n}").stdout) == n


def test_nginx_in_front_keeps_its_connections_under_load(nginx):
    h2load = need("h2load", "nghttp2-client")
    out = run(h2load, "--h1", "-n", "5000", "-c", "16", f"{nginx.url}/json", timeout=60).stdout
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert "status codes: 5000 2xx" in out
    assert "[error]" not in nginx.log()
