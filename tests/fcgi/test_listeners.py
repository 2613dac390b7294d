"""Listeners for FastCGI beside those for HTTP, what they are called, and how they end."""

import socket
import stat
import subprocess
import time

import pytest
from fcgi_client import COMPLETE, OVERLOADED, STDIN, Client, record, request
from heart_server import heart_command, heart_environment, wait_until

from heartc import sockets
from heartc.errors import ConfigError


def test_listeners_of_both_protocols_serve_one_application(respond, tmp_path):
    path = tmp_path / "socket"
    server = respond("--listen", "127.0.0.1:0", "--listen", f"fcgi:unix:{path}", "--listen", "fcgi:[::1]:0", listen=4)
    logged = "\n".join(server.lines["stderr"])
    assert f"listening on fcgi:unix:{path}\n" in logged and "listening on fcgi:[::1]:" in logged
    assert stat.S_ISSOCK(path.stat().st_mode)
    for index in (0, 2, 3):
        with Client(server.address(index)) as client:
            assert client.fetch(target="/params", ODD="odd").text == "GET odd nil"
            peer = client.fetch(target="/client", REMOTE_ADDR=None).text.split(" ")[1]
            assert peer == {0: "127.0.0.1", 2: "", 3: "::1"}[index]
    with server.connect(1) as client:
        assert client.fetch(target="/params").text == "no FastCGI"
        assert client.fetch(target="/error").text == "false GET"
    server.stop()
    assert not path.exists()


def test_inherited_socket_speaks_what_its_name_says(tmp_path):
    """LISTEN_FDNAMES as sd_listen_fds_with_names(3) describes it."""
    (tmp_path / "main.lua").write_text('require("heart.v1").get("/", function() return "hello" end)')
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as fcgi:
        names = "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:fcgi-web"
        shell = f'{names}; exec "$@" 3<&{http.fileno()} 4<&{fcgi.fileno()}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *heart_command(), "serve", "main.lua", "--workers", "2"],
            pass_fds=[http.fileno(), fcgi.fileno()],
            env=heart_environment(),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        addresses = http.getsockname(), fcgi.getsockname()
    try:
        assert process.stderr.readline() == "listening on http://{}:{}\n".format(*addresses[0])
        assert process.stderr.readline() == "listening on fcgi:{}:{}\n".format(*addresses[1])
        with Client(addresses[1]) as client:
            assert client.fetch().text == "hello"
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    "address, why",
    [
        ("fcgi:", "expected PORT, HOST:PORT, [IPV6]:PORT or unix:PATH"),
        ("fcgi:unix:", "expected unix:PATH"),
        ("fcgi:::1:80", "an IPv6 address needs brackets"),
        ("fcgi:/run/x", "did you mean fcgi:unix:/run/x?"),
        ("fcgi:localhost", "did you mean fcgi:localhost:3333?"),
        ("fcgi://127.0.0.1:9000", "did you mean fcgi:127.0.0.1:9000?"),
    ],
)
def test_malformed_address_is_an_error(address, why):
    with pytest.raises(ConfigError) as error:
        sockets.read_address(address)
    assert f"--listen: {address!r}" in str(error.value) and why in str(error.value)


# ---- The end of a server


def test_requests_in_flight_are_finished(respond):
    server = respond()
    with Client(server.address()) as client, Client(server.address()) as idle:
        assert idle.fetch().text == "hello"
        client.send(request(1, target="/sleep?seconds=0.5") + request(2, "POST", "/echo", b"body")[:-8])
        client.send(request(3)).answer(3)
        server.process.terminate()
        wait_until(lambda: "stopping" in server.logs(), "it stops")
        assert idle.closed()
        client.send(record(STDIN, 2) + request(4))
        assert client.answer(2).body == b"body"
        assert client.answer(4).text == "hello"
        assert client.answer(1).text == "slept 0.5 "
        assert client.closed()
    assert server.wait() == 0  # a second signal would cut its end short


@pytest.mark.nightly
def test_requests_that_come_long_after_the_end_began_are_refused(respond):
    server = respond()
    with Client(server.address()) as client:
        client.send(request(1, target="/sleep?seconds=2"))
        client.fetch(2)
        server.process.terminate()
        wait_until(lambda: "stopping" in server.logs(), "it stops")
        assert client.fetch(2).protocol == COMPLETE
        time.sleep(1.2)
        assert client.fetch(3).protocol == OVERLOADED
        assert client.answer(1).text == "slept 2 "
        assert client.closed()
    assert server.wait() == 0


def test_requests_that_outlive_the_grace_of_a_reload_are_ended(respond):
    server = respond("--reload-grace", 0.3)
    with Client(server.address()) as client:
        client.send(request(1, target="/sleep?seconds=5"))
        assert client.fetch(2).text == "hello"
        server.process.send_signal(1)
        answer = client.answer(1)
        assert (answer.out, answer.application) == (b"", 1)
        assert client.fetch(2).text == "hello"
