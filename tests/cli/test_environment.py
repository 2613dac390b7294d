"""Environment names of Heart v1: they configure the server, and flags win over them."""

import json
import os
import pty
import re
import time

import pytest
from heart_server import Server, free_port, heart

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "hello" end)
app.get("/error", function(ctx) error("told to nobody") end)
"""


def test_port(serve):
    port = free_port()
    server = serve(APP, "--host", "127.0.0.1", env={"PORT": str(port)})
    assert server.port == port
    assert server.get().text == "hello"


def test_flag_wins_over_port(serve):
    taken, wanted = free_port(), free_port()
    server = serve(APP, "--host", "127.0.0.1", "--port", wanted, env={"PORT": str(taken)})
    assert server.port == wanted


def test_prod(serve):
    """PROD=true: JSON lines and bare errors; anything else is not production."""
    server = serve(APP, env={"PROD": "true"})
    assert server.get("/error").text == "500 - Internal Server Error"
    server.wait_log("told to nobody")
    assert all(json.loads(line) for line in server.lines["stdout"])


def test_output_to_a_pipe_is_production(serve):
    """Development is the default only when stdout is a terminal."""
    server = serve(APP)
    assert server.get("/error").text == "500 - Internal Server Error"


def test_flag_wins_over_prod(serve):
    server = serve(APP, dev=True, env={"PROD": "true"})
    assert "told to nobody" in server.get("/error").text


@pytest.mark.parametrize(("level", "lines"), [("info", 1), ("error", 0)])
def test_log_level(serve, level, lines):
    server = serve(APP, env={"LOG_LEVEL": level})
    server.get()
    server.get("/error")
    server.wait_log("told to nobody")
    assert len([entry for entry in server.access() if entry["path"] == "/"]) == lines


def test_flag_wins_over_log_level(serve):
    server = serve(APP, "--log-level", "info", env={"LOG_LEVEL": "error"})
    server.get()
    server.wait_log('"path":"/"')


@pytest.mark.parametrize(("name", "value"), [("PORT", "eighty"), ("LOG_LEVEL", "loud")])
def test_bad_value_names_the_variable(tmp_path, name, value):
    (tmp_path / "main.lua").write_text(APP)
    result = heart("serve", tmp_path / "main.lua", env={name: value})
    assert result.returncode == 2
    assert name in result.stderr and value in result.stderr


def test_names_without_a_meaning_any_more_do_no_harm(serve):
    server = serve(APP, env={"INITIAL_POOL_SIZE": "8", "PROFILE": "true", "DB_PATH": "/nonexistent"})
    assert server.get().text == "hello"


def test_default_port_is_3333(tmp_path):
    """Said without taking the port: the help shows the defaults."""
    assert re.search(r"--port\b[^\n]*(\n[^\n-]*)*3333", heart("serve", "--help", env={"COLUMNS": "200"}).stdout)


def test_terminal_is_development(serve):
    """Under a pseudo-terminal the console and the error page are for people."""
    controller, terminal = pty.openpty()
    try:
        with Server(APP, stdout=terminal) as server:
            assert "told to nobody" in server.get("/error").text
            time.sleep(0.2)
        line = os.read(controller, 100000).decode()
        assert "GET" in line and "/error" in line and not line.startswith("{")
    finally:
        os.close(terminal)
        os.close(controller)


def test_listen_flag_replaces_the_environments_addresses():
    with Server(APP, "--listen", "127.0.0.1:0", env={"PORT": str(free_port()), "HOST": "127.0.0.1"}) as server:
        assert len(server.addresses) == 1
        assert server.get().status == 200
    with Server(APP, "--listen", "127.0.0.1:0", env={"HEART_LISTEN": f"127.0.0.1:{free_port()}"}) as server:
        assert len(server.addresses) == 1
