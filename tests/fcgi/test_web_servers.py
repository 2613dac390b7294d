"""The application behind real web servers, which speak FastCGI with it; and asked by libfcgi's cgi-fcgi."""

import hashlib
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import web_servers
from heart_server import ROOT, need, wait_until

BODY = os.urandom(300_000)
UNIX = {"nginx", "lighttpd"}  # the others by TCP


@pytest.fixture(scope="module")
def heart(start_shared):
    """A server with FastCGI on TCP and on a Unix socket, and HTTP."""
    with tempfile.TemporaryDirectory(prefix="heart-fcgi-") as folder:
        path = Path(folder) / "socket"
        listen = ("--listen", "fcgi:127.0.0.1:0", "--listen", f"fcgi:unix:{path}", "--listen", "127.0.0.1:0")
        server = start_shared(*listen, "--max-body-size", "1M", listen=3)
        Path(folder).chmod(0o755)
        path.chmod(0o777)  # Apache runs as another user
        yield server
        server.stop()


@pytest.fixture(scope="module", params=list(web_servers.ALL))
def web(request, heart):
    """A web server in front of it."""
    address = heart.address(1 if request.param in UNIX else 0)
    with web_servers.ALL[request.param](address) as server:
        yield server


def field(fields, name):
    values = [value for key, value in fields if key == name]
    assert len(values) < 2, f"{name} repeated: {values}"
    return values[0] if values else None


def test_get_and_head(web):
    status, fields, body = web.request("GET", "/")
    assert (status, body) == (200, b"hello")
    assert field(fields, "content-type") == "text/plain; charset=utf-8"
    assert field(fields, "content-length") in ("5", None)  # Apache counts for itself, or not
    assert field(fields, "status") is None
    field(fields, "date"), field(fields, "server")
    status, fields, body = web.request("HEAD", "/")
    assert (status, body) == (200, b"") and field(fields, "content-length") in ("5", None)


def test_client_and_target_are_those_of_the_request(web):
    assert web.get("/client", {"User-Agent": "me", "Host": "example.com"}) == (200, "http 127.0.0.1 example.com me")
    target = "/target/a%20b/c?q=%41&r=a+b"
    assert web.get(target) == (200, f"GET {target}")


def test_statuses_pass(web):
    assert web.get("/none")[0] == 404
    assert web.get("/fail") == (500, "500 - Internal Server Error")
    status, fields, _ = web.request("GET", "/moved")
    assert (status, field(fields, "location")) == (302, "/there")
    status, fields, _ = web.request("POST", "/")
    assert status == 405 and "GET" in field(fields, "allow")
    assert web.request("DELETE", "/deleted")[::2] == (204, b"")


def test_post_comes_back(web):
    status, fields, body = web.request("POST", "/echo", BODY, {"Content-Type": "a/b"})
    assert status == 200 and body == BODY


def test_post_without_a_length_comes_back(web):
    sent = BODY[:10_000] if web.name == "haproxy" else BODY  # which must have all of it in its buffer then
    status, _, body = web.request("POST", "/echo", (sent[i : i + 3000] for i in range(0, len(sent), 3000)))
    assert status == 200 and body == sent


def test_post_above_the_limit_is_refused(web):
    status, _, body = web.request("POST", "/small", b"x" * 11)
    assert (status, body) == (413, b"413 - Content Too Large")


def test_streamed_post_is_read(web):
    assert web.request("POST", "/count", BODY * 20)[::2] == (200, b"6000000 bytes, whole")


@pytest.mark.nightly
def test_post_of_100_megabytes_is_read(web):
    size = 100 << 20
    assert web.request("POST", "/count", bytes(size), timeout=60)[::2] == (200, f"{size} bytes, whole".encode())


def test_files_and_streams_come_whole(web, files):
    status, fields, body = web.request("GET", "/files/large.bin")
    assert status == 200 and field(fields, "content-length") in (str(len(body)), None)
    assert hashlib.md5(body).digest() == hashlib.md5(files["large.bin"]).digest()
    seen = field(fields, "last-modified")
    assert web.request("GET", "/files/large.bin", None, {"If-Modified-Since": seen})[0] == 304
    assert web.get("/stream?parts=1000") == (200, "".join(f"{i}," for i in range(1, 1001)))


def test_many_requests_at_once(web, heart):
    """HAProxy sends more of them than it has connections, the others one on each."""
    before = heart.fds()
    web.get("/most")

    def one(i):
        return web.get("/sleep?seconds=0.3", {"X-Name": str(i)})

    with ThreadPoolExecutor(40) as pool:
        answers = pool.map(one, range(40))
        time.sleep(0.2)
        used = heart.fds() - before
        assert list(answers) == [(200, f"slept 0.3 {i}") for i in range(40)]
    assert web.name != "haproxy" or int(web.get("/most")[1]) > used
    assert one(0) == (200, "slept 0.3 0")


def test_small_and_large_answers_at_once(web, files):
    targets = ["/", "/files/large.bin", "/stream?parts=200", "/large?bytes=500000"] * 6
    with ThreadPoolExecutor(len(targets)) as pool:
        answers = [answer for _, _, answer in pool.map(lambda target: web.request("GET", target), targets)]
    stream = "".join(f"{i}," for i in range(1, 201)).encode()
    assert answers == [b"hello", files["large.bin"], stream, b"x" * 500000] * 6


def test_client_that_leaves_is_noticed(web, heart):
    """The web server closes its connection with Heart or aborts the request, at the latest when it can not write."""
    before = int(heart.connect(2).fetch(target="/ended").text)
    with socket.create_connection(("127.0.0.1", web.port)) as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    wait_until(lambda: int(heart.connect(2).fetch(target="/ended").text) == before + 1, "the handler has ended")
    assert web.get("/") == (200, "hello")


def test_error_log_has_the_text(web):
    assert web.get("/error") == (200, "true GET")
    wait_until(lambda: "for the log" in web.log(), lambda: f"it is logged:\n{web.log()}")


@pytest.mark.nightly
def test_reload_under_load_loses_nothing(web, heart):
    ended = threading.Event()

    def load():
        statuses = []
        while not ended.is_set():
            statuses.append(web.get("/sleep?seconds=0.01")[0])
        return statuses

    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load) for _ in range(8)]
        for _ in range(5):
            heart.process.send_signal(1)
            time.sleep(0.5)
        ended.set()
        statuses = [status for one in loads for status in one.result()]
    assert set(statuses) == {200} and len(statuses) > 100


PAGE = (ROOT / "docs/fastcgi.md").read_text()


@pytest.mark.parametrize("name", web_servers.ALL)
def test_configuration_of_the_page_works(name, heart):
    site = re.search(rf"^```{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    site = site.replace("/run/heart-fcgi.sock", heart.address(1)).replace("listen 80;", "listen PORT;")
    with web_servers.ALL[name](heart.address(1), site) as server:
        for _ in range(2):
            assert server.get("/") == (200, "hello")
            assert server.request("POST", "/echo", BODY)[::2] == (200, BODY)


# ---- cgi-fcgi


def cgi_fcgi(heart, index, body=b"", **variables):
    """The output of libfcgi's client, which sends its environment."""
    address = heart.address(index)
    address = address if isinstance(address, str) else "{}:{}".format(*address)
    words = [need("cgi-fcgi", "libfcgi-bin"), "-bind", "-connect", address]
    variables = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/"} | variables
    return subprocess.run(words, input=body, capture_output=True, env=variables, timeout=15, check=True).stdout


@pytest.mark.parametrize("index", [0, 1])
def test_cgi_fcgi(heart, index):
    head, _, body = cgi_fcgi(heart, index).partition(b"\r\n\r\n")
    assert head.startswith(b"Status: 200 OK\r\n") and body == b"hello"
    posted = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/echo", "CONTENT_LENGTH": str(len(BODY))}
    assert cgi_fcgi(heart, index, BODY, **posted).partition(b"\r\n\r\n")[2] == BODY
    assert cgi_fcgi(heart, index, SCRIPT_NAME="/none").startswith(b"Status: 404 Not Found\r\n")
    assert cgi_fcgi(heart, index, SCRIPT_NAME="/target", PATH_INFO="/a b/ä").endswith(b"GET /target/a%20b/%C3%A4")
