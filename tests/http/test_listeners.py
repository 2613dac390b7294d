"""Where the server listens: several addresses, IPv6, Unix sockets, taken ports (and how a taken one is told)."""

import re
import socket
import stat
import subprocess
import time

import pytest
from heart_server import SANITIZED, free_port, heart, heart_command, heart_environment, need, run

APP = 'require("heart.v1").get("/", function(ctx) return "pid " .. ctx.protocol() .. " " .. ctx.ip() end)'


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "main.lua"
    path.write_text(APP)
    return path


def test_port_0_is_resolved_once_for_all_workers(serve):
    server = serve(APP, workers=2)
    assert len(server.addresses) == 1
    assert server.port > 0
    assert all(server.get().status == 200 for _ in range(20))


def test_address_line_comes_at_every_log_level(serve):
    server = serve(APP, "--log-level", "off", "--no-access-log")
    assert re.search(r"listening on http://127\.0\.0\.1:\d+", server.logs())


def test_several_listeners_serve_the_same_app(serve):
    first, second = free_port(), free_port()
    server = serve(APP, "--listen", f"127.0.0.1:{first}", "--listen", f"127.0.0.1:{second}", listen=2, workers=2)
    for index in (0, 1):
        with server.connect(index) as client:
            assert client.fetch().text == "pid http 127.0.0.1"
    assert {server.address(0)[1], server.address(1)[1]} == {first, second}


def test_bare_port_listens_on_all_addresses(serve):
    port = free_port()
    server = serve(APP, "--listen", port)
    assert server.addresses == [f"0.0.0.0:{port}"]
    assert server.get().status == 200


def test_ipv6(serve):
    server = serve(APP, "--listen", "[::1]:0")
    assert server.addresses[0].startswith("[::1]:")
    assert server.get().text == "pid http ::1"
    curl = need("curl", "curl")
    assert run(curl, "-sS", "-g", f"{server.url}/").stdout == "pid http ::1"


@pytest.mark.parametrize("workers", [1, 2])
def test_unix_socket(serve, tmp_path, workers):
    path = tmp_path / "heart.sock"
    server = serve(APP, "--listen", f"unix:{path}", workers=workers)
    assert stat.S_ISSOCK(path.stat().st_mode)
    curl = need("curl", "curl")
    for _ in range(10):
        assert run(curl, "-sS", "--unix-socket", path, "http://localhost/").stdout.startswith("pid http")
    server.stop()
    assert not path.exists()


def test_stale_unix_socket_is_replaced(serve, tmp_path):
    """A socket that nobody listens on any more is left over from a crash."""
    path = tmp_path / "heart.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
    server = serve(APP, "--listen", f"unix:{path}")
    with server.connect() as client:
        assert client.fetch().status == 200


def test_live_unix_socket_is_an_error(script, tmp_path):
    path = tmp_path / "heart.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        s.listen()
        result = heart("serve", script, "--listen", f"unix:{path}")
    assert result.returncode == 1
    assert str(path) in result.stderr
    assert path.exists()


def test_file_in_the_place_of_a_unix_socket_is_kept(script, tmp_path):
    path = tmp_path / "precious.txt"
    path.write_text("data")
    result = heart("serve", script, "--listen", f"unix:{path}")
    assert result.returncode == 1
    assert path.read_text() == "data"


@pytest.mark.parametrize("reuse", [False, True])
def test_taken_port_is_an_error(script, reuse):
    """Also when the other one listens with SO_REUSEPORT, with which a second bind succeeds silently."""
    with socket.socket() as s:
        if reuse:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        result = heart("serve", script, "--host", "127.0.0.1", "--port", port)
    assert result.returncode == 1
    assert str(port) in result.stderr
    assert re.search("in use|taken", result.stderr)
    assert "Traceback" not in result.stderr


def test_second_heart_on_the_same_port_is_an_error(serve, script):
    server = serve(APP, workers=2)
    result = heart("serve", script, "--host", "127.0.0.1", "--port", server.port)
    assert result.returncode == 1
    assert server.get().status == 200


def test_restart_on_the_same_port_does_not_wait_for_old_connections(serve):
    """Connections in TIME_WAIT keep no port."""
    port = free_port()
    for _ in range(2):
        server = serve(APP, "--host", "127.0.0.1", "--port", port)
        server.exchange(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        server.stop()


@pytest.mark.parametrize("address", ["nonsense:port", "127.0.0.1:99999", "[::1", "unix:", ""])
def test_malformed_address_is_an_error(script, address):
    result = heart("serve", script, "--listen", address)
    assert result.returncode not in (0, None)
    assert "listen" in result.stderr
    assert "Traceback" not in result.stderr


def test_address_of_another_machine_is_an_error(script):
    """203.0.113.0/24 is for documentation (RFC 5737)."""
    result = heart("serve", script, "--listen", "203.0.113.7:8080")
    assert result.returncode == 1
    assert "203.0.113.7" in result.stderr


def test_connections_spread_over_workers(serve):
    """SO_REUSEPORT: each worker has its own state, whose counter tells them apart."""
    server = serve(
        'local id = tostring({}) require("heart.v1").get("/", function(ctx) return id end)',
        workers=2,
    )
    assert len({server.get().text for _ in range(60)}) == 2


def test_closed_listener_refuses_after_the_end(serve):
    server = serve(APP)
    port = server.port
    server.stop()
    with pytest.raises(ConnectionRefusedError), socket.socket() as s:
        s.connect(("127.0.0.1", port))


def test_ready_server_answers_at_once(serve):
    """The line is written when requests are served, not when start-up begins."""
    begin = time.monotonic()
    server = serve(APP, workers=2)
    assert server.get().status == 200
    assert time.monotonic() - begin < (20 if SANITIZED else 3)


@pytest.mark.parametrize("workers", [1, 2])
def test_inherited_socket_is_served_by_all_workers(script, workers):
    """LISTEN_FDS as sd_listen_fds(3) describes it: descriptor 3 is the listener, for this process id only."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        shell = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{listener.fileno()}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *heart_command(), "serve", script, "--workers", str(workers)],
            pass_fds=[listener.fileno()],
            env=heart_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stderr.readline() == f"listening on http://127.0.0.1:{port}\n"
        assert run(need("curl", "curl"), "-sS", f"http://127.0.0.1:{port}/").stdout == "pid http 127.0.0.1"
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
