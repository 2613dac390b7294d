"""Connections: how they are made, how that fails, and how they end."""

import socket
import time
from contextlib import closing, contextmanager

import pytest
from heart_server import free_port, wait_until


def hold(client):
    """Stay until the other side leaves."""
    while client.recv(4096):
        pass


@contextmanager
def full_listener():
    """The port of a listener that accepts nothing: what connects to it waits."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", free_port()))  # which is free at other addresses, too
        listener.listen(0)
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()[1]
        for each in waiting:
            each.close()


def test_tcp_has_both_names(lua, peer):
    port = peer(hold)
    code = f"local s = dial({port}) local a, p = s:peer() local b, q = s:name() return show(a, p, b, q > 0, s:fd() > 2)"
    assert lua(code) == f"127.0.0.1|{port}|127.0.0.1|true|true"


def test_refused(lua):
    assert lua(f'return show(sockets.connect{{address="127.0.0.1", port={free_port()}}})') == "nil|connection refused"


def test_connect_times_out(lua):
    with full_listener() as port:
        code = f"""
          local started = require("heart.core").now()
          local s, err = sockets.connect{{address="127.0.0.1", port={port}, timeout=0.1}}
          return show(s, err, require("heart.core").now() - started < 1)
        """
        assert lua(code) == "nil|timeout|true"


def test_local_address_is_bound(lua, peer):
    port = peer(hold)
    code = f'return show(sockets.connect{{address="127.0.0.1", port={port}, bind="127.0.0.9"}}:name())'
    assert lua(code).startswith("127.0.0.9|")
    assert lua(f'return show(sockets.connect{{address="127.0.0.1", port={port}, bind="192.0.2.1"}})') == (
        "nil|address not available"
    )


@pytest.mark.parametrize("path", ["{folder}/peer.sock", "\0heart-test-connect"])
def test_unix(lua, peer, tmp_path, path):
    def serve(client):
        client.sendall(client.recv(100).upper())
        hold(client)

    path = path.format(folder=tmp_path)
    peer(serve, family=socket.AF_UNIX, address=path)
    literal = path.replace("\0", "\\0")
    code = f'''
      local s = sockets.connect{{kind="unix", address="{literal}"}}
      s:send("abc")
      return show(s:receive(3), s:peer())
    '''
    assert lua(code) == f"ABC|{path}"


def test_unix_that_is_not_there(lua, tmp_path):
    code = f'return show(sockets.connect{{kind="unix", address="{tmp_path}/none"}})'
    assert lua(code) == "nil|no such file or directory"


@pytest.mark.parametrize(
    "options", ['{address="example.org", port=1}', '{address="127.0.0.1", port=70000}', '{kind="x"}', "{}", "1"]
)
def test_wrong_options_raise(lua, options):
    assert lua(f"return show((pcall(sockets.connect, {options})))") == "false"


def test_half_close_lets_the_answer_in(lua, peer):
    def serve(client):
        data = b""
        while part := client.recv(4096):
            data += part
        client.sendall(data[::-1])

    code = f"""
      local s = dial({peer(serve)})
      s:send("abc")
      local ok = s:shutdown("send")
      return show(ok, s:receive("*a"), s:send("x"))
    """
    assert lua(code) == "true|cba|nil|closed|0"


def test_close_wakes_who_waits(lua, peer):
    code = f"""
      local task, sleep = require("heart.v1.task"), require("heart.v1").sleep
      local s = dial({peer(hold)}, 30)
      local reader = task.spawn(function() return show(s:receive()) end)
      sleep(0.02)
      s:close()
      return show(reader:join())
    """
    assert lua(code) == "nil|closed|"


def test_options(lua, peer):
    code = f"""
      local s = dial({peer(hold)})
      local before = show(s:option("tcp-nodelay"), s:option("keepalive"), s:option("error"))
      s:option("keepalive", true) s:option("linger", 3) s:option("tcp-keepidle", 77)
      local linger = s:option("linger")
      local unknown = pcall(s.option, s, "x")
      return show(before, s:option("keepalive"), linger.on, linger.timeout, s:option("tcp-keepidle"), unknown)
    """
    assert lua(code) == "true|false|nil|true|true|3|77|false"


def test_cancelled_and_abandoned_waits_leave_nothing(lua, peer):
    """The fixture counts what is left."""
    with full_listener() as full:
        code = f"""
          local task, sleep = require("heart.v1.task"), require("heart.v1").sleep
          local tasks = {{}}
          for i = 1, 20 do
            tasks[#tasks + 1] = task.spawn(function() return dial({peer(hold)}):receive() end)
            tasks[#tasks + 1] = task.spawn(sockets.connect, {{ address = "127.0.0.1", port = {full}, timeout = 30 }})
          end
          sleep(0.1)
          local n = sockets.count()
          for _, t in ipairs(tasks) do t:cancel() end
          sleep(0.01)
          return show(n)
        """
        assert lua(code) == "40"


def test_client_that_leaves_does_not_end_the_wait(shell, lua, peer):
    """The handler's work goes on, and leaves nothing behind when it ends."""
    seen = []

    def serve(client):
        seen.append(client.recv(100))
        time.sleep(0.2)
        client.sendall(b"line\n")
        seen.append(client.recv(100))

    code = f"local s = dial({peer(serve)}) s:send('one') local line = s:receive() s:send(line) s:close()"
    with shell.server.connect() as client:
        client.request("POST", "/run", body=b"%d\n%s" % (len(code), code.encode()))
        time.sleep(0.1)
        client.reset()
    wait_until(lambda: seen == [b"one", b"line"], lambda: seen)


# ---- heart.v1.socket

NAMES = """
package.loaded["heart.v1.dns"] = { resolve = function(name)
  local known = { %s }
  return known[name], not known[name] and "no such name" or nil
end }
package.loaded["heart.v1.socket"] = nil
local socket = require("heart.v1.socket")
"""


def test_name_is_resolved(lua, peer):
    port = peer(hold)
    code = (
        NAMES % 'a = { "127.0.0.1" }'
        + f'return show(socket.connect("a", {port}):peer()) .. show(socket.connect("b", 1))'
    )
    assert lua(code) == f"127.0.0.1|{port}nil|no such name"


def test_failed_attempt_is_followed_by_the_next_at_once(lua, peer):
    port = peer(hold)
    code = (
        NAMES % 'a = { "::1", "127.0.0.2", "127.0.0.1" }'
        + f"""
      local started = require("heart.core").now()
      local s = assert(socket.connect("a", {port}))
      return show(s:peer(), require("heart.core").now() - started < 0.2)
    """
    )
    assert lua(code) in (f"127.0.0.{n}|true" for n in (1, 2))


def test_slow_attempt_is_overtaken_after_a_quarter_of_a_second(lua, peer):
    with full_listener() as full:
        with closing(socket.create_server(("127.0.0.2", full))):
            code = (
                NAMES % 'a = { "127.0.0.1", "127.0.0.2" }'
                + f"""
              local started = require("heart.core").now()
              local s = assert(socket.connect("a", {full}, {{ timeout = 5 }}))
              local took = require("heart.core").now() - started
              return show((s:peer()), took >= 0.2 and took < 2)
            """
            )
            assert lua(code) == "127.0.0.2|true"


def test_first_reason_is_told_when_all_attempts_fail(lua):
    code = NAMES % 'a = { "127.0.0.1", "127.0.0.2" }' + f'return show(socket.connect("a", {free_port()}))'
    assert lua(code) == "nil|connection refused"


def test_unix_path_of_the_module(lua, peer, tmp_path):
    peer(hold, family=socket.AF_UNIX, address=str(tmp_path / "s"))
    code = NAMES % "" + f'return show(socket.connect("unix:{tmp_path}/s")) .. show(socket.connect("unix:{tmp_path}/t"))'
    assert lua(code) == "socketnil|no such file or directory"
