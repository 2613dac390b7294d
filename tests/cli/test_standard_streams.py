"""Descriptors 0 to 2, which the one who starts Heart may have closed."""

import os
import shlex
import signal
import subprocess

import pytest
from heart_server import PATIENCE, Client, heart_command, heart_environment, wait_until

APP = """
local app = require("heart.v1")
app.get("/", function(ctx)
    print("said by the handler")
    return "ok"
end)
"""
CLOSED = pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)


def start(folder, closed, *words):
    """The process of this command line, without these descriptors; the others lead to files of the folder."""
    places = {0: "</dev/null", 1: ">output", 2: "2>errors"} | {fd: f"{fd}>&-" for fd in closed}
    line = shlex.join([*heart_command(), *words])
    return subprocess.Popen(
        ["sh", "-c", f"exec {line} {' '.join(places.values())}"], cwd=folder, env=heart_environment()
    )


def answer(path):
    """The body of one answer from the server at a Unix socket, None if nobody listens there."""
    try:
        with Client(str(path)) as client:
            return client.fetch().text
    except (FileNotFoundError, ConnectionRefusedError):
        return None


@CLOSED
def test_closed_streams_of_a_server_lead_nowhere(tmp_path, closed):
    """No socket, log or file gets their numbers, where it would be taken for the stream."""
    (tmp_path / "main.lua").write_text(APP)
    server = start(tmp_path, closed, "serve", "main.lua", "--workers", "1", "--listen", "unix:s")
    try:
        assert wait_until(lambda: answer(tmp_path / "s") or server.poll(), "an answer") == "ok"
        for fd in closed:
            assert os.readlink(f"/proc/{server.pid}/fd/{fd}") == "/dev/null"
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
    if 1 not in closed:
        assert "listening" not in (tmp_path / "output").read_text()
        assert "said by the handler" in (tmp_path / "output").read_text()
    if 2 not in closed:
        assert (tmp_path / "errors").read_text() == "listening on unix:s\n"


@CLOSED
@pytest.mark.parametrize("words", [("version",), ("check", "main.lua"), ("serve", "missing.lua"), ("--help",)], ids=str)
def test_closed_streams_of_a_command_take_its_output(tmp_path, closed, words):
    """Its status is the same, and what one stream should get does not go to another."""
    (tmp_path / "main.lua").write_text(APP)
    found = []
    for missing in ((), closed):
        status = start(tmp_path, missing, *words).wait(PATIENCE)
        found.append((status, *((tmp_path / name).read_text() for name in ("output", "errors"))))
        for name in ("output", "errors"):
            (tmp_path / name).write_text("")
    (status, *told), without = found
    assert without == (status, *("" if fd in closed else text for fd, text in zip((1, 2), told, strict=True)))


def test_log_of_fcgi_takes_the_place_of_a_closed_stdout(tmp_path):
    """The first descriptor that is free has the number to which the log belongs."""
    (tmp_path / "config.lua").write_text(f'listen = "{tmp_path}/s"\nlogfile = "log"\nworkers = 1\n')
    server = start(tmp_path, (1,), "fcgi", "config.lua")
    try:
        wait_until((tmp_path / "s").exists, "the server listens")
        wait_until(lambda: (tmp_path / "errors").read_text() == f"listening on fcgi:unix:{tmp_path}/s\n", "it says so")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
    assert "stopping" in (tmp_path / "log").read_text()
