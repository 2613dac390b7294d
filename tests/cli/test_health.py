"""`heart health`: what it calls healthy, what it says otherwise, and where it looks."""

import socket
import threading
import time

import fcgi_client
import pytest
from heart_server import Server, free_port, heart

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "ok" end)
app.get("/broken", function(ctx) error("broken") end)
app.get("/slow", function(ctx) app.sleep(5) return "late" end)
"""


@pytest.fixture
def server(serve):
    return serve(APP)


def raw_server(answer, pause=0.0):
    """A TCP server that answers one connection with these bytes, one at a time; returns its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        with listener, listener.accept()[0] as connection:
            connection.recv(4096)
            try:
                for byte in answer:
                    connection.sendall(bytes([byte]))
                    time.sleep(pause)
            except OSError:
                pass

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_running_server_is_healthy(server):
    result = heart("health", server.url)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{server.url}: status 200 in ")


def test_missing_page_is_healthy(server):
    """The server answers; that the application has no such route is no illness."""
    assert heart("health", f"{server.url}/nothing").returncode == 0


def test_server_error_is_not_healthy(server):
    result = heart("health", f"{server.url}/broken")
    assert result.returncode == 1
    assert result.stderr == f"heart: {server.url}/broken: status 500\n"


def test_slow_answer_is_not_healthy(server):
    result = heart("health", f"{server.url}/slow", "--timeout", "0.3")
    assert result.returncode == 1
    assert "no answer within 0.3 s" in result.stderr


def test_dripping_answer_ends_with_the_time():
    """The time is for the whole answer, not for each byte."""
    started = time.monotonic()
    result = heart("health", raw_server(b"HTTP/1.1 200 OK\r\n\r\n", pause=0.2), "--timeout", "0.5")
    assert result.returncode == 1
    assert "no answer within 0.5 s" in result.stderr
    assert time.monotonic() - started < 10


def test_no_server_is_not_healthy():
    result = heart("health", f"http://127.0.0.1:{free_port()}/")
    assert result.returncode == 1
    assert "Connection refused" in result.stderr


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x 200\r\n", b"HTTP/1.1 ", b"HTTP/1.1 2x0 OK\r\n", b"HTTP/9.9 200 OK\r\n"]
)
def test_other_protocol_is_not_healthy(answer):
    result = heart("health", raw_server(answer))
    assert result.returncode == 1
    assert "does not speak HTTP/1" in result.stderr


def test_unix_socket(serve, tmp_path):
    serve(APP, "--listen", f"unix:{tmp_path}/heart.sock")
    assert heart("health", f"unix:{tmp_path}/heart.sock").returncode == 0


@pytest.mark.parametrize(
    "name", ["PORT", "HEART_LISTEN", "HEART_LISTEN with a host", "HEART_LISTEN with a port", "HEART_LISTEN with IPv6"]
)
def test_address_comes_from_the_environment(serve, name):
    """The same environment as the server's: a container has one."""
    port = free_port()
    listen = {"HEART_LISTEN": "0.0.0.0:{}", "HEART_LISTEN with a port": "{}", "HEART_LISTEN with IPv6": "[::]:{}"}
    value = listen.get(name, "127.0.0.1:{}").format(port)
    env = {"PORT": str(port), "HOST": "0.0.0.0"} if name == "PORT" else {"HEART_LISTEN": value}
    serve(APP, "--listen", f"[::1]:{port}" if "IPv6" in name else f"127.0.0.1:{port}")
    result = heart("health", env=env)
    assert result.returncode == 0, result.stderr
    assert f":{port}" in result.stdout


@pytest.mark.parametrize("form", ["{}", "127.0.0.1:{}", "[::1]:{}", "unix:{}"])
def test_server_for_fastcgi_is_asked_by_fastcgi(serve, tmp_path, form):
    """Where the environment names no address for HTTP."""
    where = form.format(tmp_path / "s" if "unix" in form else 0)
    server = serve(APP, "--listen", f"fcgi:{where}")
    where = form.format(tmp_path / "s" if "unix" in form else server.port)
    result = heart("health", env={"HEART_LISTEN": f"fcgi:{where}"})
    assert result.returncode == 0, result.stderr
    own = where if ":" in where else f"127.0.0.1:{where}"
    assert result.stdout.startswith(f"fcgi:{own}: status 200 in ")
    assert heart("health", f"fcgi:{where}").returncode == 0


def test_http_is_asked_where_both_are_spoken(server):
    host_and_port = {"HEART_LISTEN": "fcgi:1", "HOST": "127.0.0.1", "PORT": str(server.port)}
    for env in (host_and_port, {"HEART_LISTEN": f"fcgi:1 127.0.0.1:{server.port}"}):
        result = heart("health", env=env)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"{server.url}: status 200 in ")


def test_server_error_over_fastcgi_is_not_healthy(serve, tmp_path):
    where = f"fcgi:unix:{tmp_path}/s"
    serve('local app = require("heart.v1") app.get("/", function() error("broken") end)', "--listen", where)
    result = heart("health", where)
    assert result.returncode == 1
    assert result.stderr == f"heart: {where}: status 500\n"


def test_server_of_scripts_is_healthy(tmp_path):
    """It has none for this page, and says so."""
    where = f"fcgi:unix:{tmp_path}/s"
    with Server(tmp_path, "--listen", where, command=("fcgi",)):
        result = heart("health", where)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{where}: status 40")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        fcgi_client.record(fcgi_client.STDOUT, 1, b"Status: 200 OK\r\n", version=2),
        fcgi_client.record(fcgi_client.STDOUT, 1, b"Status: 2x0 OK\r\n"),
        fcgi_client.record(fcgi_client.STDOUT, 1, b"Status: 20"),
        fcgi_client.record(fcgi_client.STDOUT, 1, b"Content-Type: text/plain\r\n\r\n"),
        fcgi_client.record(fcgi_client.END, 1, bytes(8)),
    ],
)
def test_other_protocol_than_fastcgi_is_not_healthy(answer):
    result = heart("health", raw_server(answer).replace("http://", "fcgi:").rstrip("/"))
    assert result.returncode == 1
    assert "does not speak FastCGI" in result.stderr


def test_answer_in_small_records_is_read():
    """Padding and other records may be between the parts."""
    parts = (
        fcgi_client.record(fcgi_client.STDOUT, 1, bytes([byte]), padding=3) for byte in b"Status: 404 Not Found\r\n"
    )
    answer = fcgi_client.record(fcgi_client.STDERR, 1, b"a word").join(parts)
    result = heart("health", raw_server(answer).replace("http://", "fcgi:").rstrip("/"))
    assert result.returncode == 0, result.stderr
    assert ": status 404 in " in result.stdout


def test_environment_that_no_server_takes_is_refused():
    result = heart("health", env={"HEART_LISTEN": "fcgi:nowhere"})
    assert result.returncode == 2
    assert "expected PORT, HOST:PORT" in result.stderr


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:3333",
        "https://127.0.0.1/",
        "http://",
        "http://:80/",
        "http://a:port/",
        "http://a/b c",
        "http://::1/",
        "unix:",
    ],
)
def test_wrong_address_is_refused(url):
    result = heart("health", url)
    assert result.returncode == 2
    assert "expected an address such as http://127.0.0.1:3333/" in result.stderr


@pytest.mark.parametrize("url", ["fcgi:", "fcgi:unix:", "fcgi:name", "fcgi:::1:9000"])
def test_wrong_address_for_fastcgi_is_refused(url):
    result = heart("health", url)
    assert result.returncode == 2
    assert result.stderr.startswith(f"heart: URL: {url!r}: ")


def test_port_out_of_range_is_refused():
    result = heart("health", "http://127.0.0.1:99999/")
    assert result.returncode == 2
    assert "expected" in result.stderr


def test_unknown_host_is_told():
    result = heart("health", "http://name.invalid:3333/", "--timeout", "5")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("heart: http://name.invalid:3333/: ")
