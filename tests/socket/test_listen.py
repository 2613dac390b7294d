"""Listeners, datagrams and descriptors of others."""

import os
import resource
import signal
import socket
import time
from contextlib import closing
from threading import Timer

import pytest
from heart_server import free_port, heart, wait_until

ECHO = """
local app = require("heart.v1")
local socket = require("heart.v1.socket")
local listener, err = socket.listen("%s", function(sock)
  while true do
    local line = sock:receive("*l")
    if not line then return end
    if line == "fail" then error("as told") end
    sock:send({ line:upper(), " %s\\n" })
  end
end, %s)
print(err or "open")
app.get("/", function() return "ok" end)
"""


def say(port, line, timeout=5):
    with socket.create_connection(("127.0.0.1", port), timeout) as client:
        client.sendall(line + b"\n")
        return client.makefile("rb").readline()


def test_every_worker_serves_connections(serve):
    port = free_port()
    serve(ECHO % (f"127.0.0.1:{port}", "one", "nil"), workers=2)
    assert {say(port, b"hello") for _ in range(20)} == {b"HELLO one\n"}


def test_handler_that_fails_is_logged_and_its_connection_closed(serve):
    port = free_port()
    server = serve(ECHO % (f"127.0.0.1:{port}", "one", "nil"))
    assert say(port, b"fail") == b""
    server.wait_log(r"as told")
    assert say(port, b"next") == b"NEXT one\n"


def test_reload_hands_over_without_a_refusal(serve):
    port = free_port()
    server = serve(ECHO % (f"127.0.0.1:{port}", "old", "nil"))
    with socket.create_connection(("127.0.0.1", port), 5) as held:
        lines = held.makefile("rb")
        held.sendall(b"a\n")
        assert lines.readline() == b"A old\n"
        server.write("main.lua", ECHO % (f"127.0.0.1:{port}", "new", "nil"))
        server.signal(signal.SIGHUP)
        answers = []
        deadline = time.monotonic() + 10
        while b"X new\n" not in answers[-1:] and time.monotonic() < deadline:
            answers.append(say(port, b"x"))
        assert set(answers) <= {b"X old\n", b"X new\n"} and answers[-1] == b"X new\n"
        held.sendall(b"b\n")
        assert lines.readline() == b"B old\n"
    server.wait_log("reloaded")  # until then both listen
    assert {say(port, b"x") for _ in range(10)} == {b"X new\n"}


def test_unix_listener_replaces_a_stale_path(serve, tmp_path):
    path = str(tmp_path / "app.sock")
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(path)
    serve(ECHO % (f"unix:{path}", "unix", "nil"), workers=2)
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(path)
        client.sendall(b"hi\n")
        assert client.makefile("rb").readline() == b"HI unix\n"


def test_unix_listener_that_can_not_have_its_path_leaves_no_other(serve, tmp_path):
    path = tmp_path / "taken"
    path.mkdir()
    server = serve(ECHO % (f"unix:{path}", "unix", "nil"))
    server.wait_log("Is a directory")
    assert list(tmp_path.iterdir()) == [path]


def test_script_is_checked_without_listening(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        code = f"""
          local socket = require("heart.v1.socket")
          local listener = assert(socket.listen("127.0.0.1:{taken.getsockname()[1]}", print))
          assert(select(2, listener:accept()) == "closed")
          require("heart.v1").get("/", print)
        """
        script = tmp_path / "main.lua"
        script.write_text(code)
        run = heart("check", script)
    assert run.returncode == 0, run.stderr


def test_address_in_use(serve):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        server = serve(ECHO % (f"127.0.0.1:{taken.getsockname()[1]}", "x", "nil"))
        server.wait_log("address already in use")


def test_out_of_descriptors_waits_without_spinning(serve):
    port = free_port()
    server = serve(ECHO % (f"127.0.0.1:{port}", "one", "nil"), limits={resource.RLIMIT_NOFILE: 64})
    clients = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(80)]
    server.wait_log("new connections wait")
    before = server.cpu()
    time.sleep(0.5)
    assert server.cpu() - before < 0.1
    for client in clients:
        client.close()
    wait_until(lambda: say(port, b"x") == b"X one\n", "the listener accepts again")


def test_connections_have_a_limit(serve):
    port = free_port()
    serve(ECHO % (f"127.0.0.1:{port}", "one", "{ connections = 1 }"))
    with socket.create_connection(("127.0.0.1", port), 5) as first:
        first.sendall(b"a\n")
        assert first.makefile("rb").readline() == b"A one\n"
        with pytest.raises(TimeoutError):
            say(port, b"b", timeout=0.3)
    assert say(port, b"c") == b"C one\n"


def test_connection_that_waits_for_another_to_end_is_served_at_once(serve):
    port = free_port()
    serve(ECHO % (f"127.0.0.1:{port}", "one", "{ connections = 1 }"))
    began = time.monotonic()
    clients = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(20)]
    for client in clients:
        client.sendall(b"a\n")
        client.shutdown(socket.SHUT_WR)
    for client in clients:
        with client:
            assert client.makefile("rb").read() == b"A one\n"
    assert time.monotonic() - began < 1


def test_accept_in_the_core(lua):
    code = """
      local l = assert(sockets.listen{ address = "127.0.0.1", port = 0 })
      local ip, port = l:name()
      local none = show(l:accept(0.01)) .. show(l:accept(0))
      local c = sockets.connect{ address = ip, port = port }
      local s = l:accept(1)
      s:send("hi\\n")
      return show(none, c:receive(), l:receive())
    """
    assert lua(code) == "nil|timeoutnil|timeout|hi|nil|not for this kind of socket|"


def test_datagrams(lua):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(5)
        port = other.getsockname()[1]
        big = "x" * 65507
        code = f"""
          local s = assert(sockets.udp{{ bind = "127.0.0.1" }})
          local _, here = s:name()
          local c = assert(sockets.udp{{ address = "127.0.0.1", port = here }})
          c:send(("x"):rep(65507)) c:send("") c:send("cut off")
          local a, ip, from = s:receivefrom()
          local b, d = s:receivefrom(), s:receivefrom(3)
          s:sendto("to you", "127.0.0.1", {port})
          s:sendto("back", ip, from)
          s:settimeouts(nil, nil, 0.05)
          return show(#a, ip, b, d, (c:receivefrom()), s:receivefrom()) .. show(c:send(("x"):rep(70000)))
        """
        assert lua(code) == f"{len(big)}|127.0.0.1||cut|back|nil|timeoutnil|message too long|0"
        assert other.recvfrom(100)[0] == b"to you"


def test_datagram_that_nobody_takes_is_refused_once(lua):
    code = f"""
      local s = sockets.udp{{ address = "127.0.0.1", port = {free_port()} }}
      s:send("x")
      s:settimeouts(nil, nil, 0.1)
      return show(s:receivefrom()) .. show(s:receivefrom())
    """
    assert lua(code) == "nil|connection refusednil|timeout"


def test_pipe_is_adopted(shell, lua, tmp_path):
    """A FIFO: read until its writers have left, also what they wrote before."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    code = f"""
      local ffi = require("ffi")
      ffi.cdef("int open(const char *, int, ...);")
      local s = assert(sockets.adopt(ffi.C.open("{path}", 2048)))
      s:settimeouts(nil, nil, 5)
      local line = s:receive()
      return show(line, #s:receive("*a"))
    """
    with open(os.open(path, os.O_WRONLY), "wb", buffering=0) as writer:
        os.close(reader)

        def write():
            writer.write(b"line\n" + b"x" * 100_000)
            writer.close()

        Timer(0.2, write).start()
        assert lua(code) == "line|100000"
