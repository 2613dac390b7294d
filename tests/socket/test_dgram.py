"""heart.v1.dgram against Python's sockets for datagrams, of UDP and of Unix."""

import socket
from contextlib import closing

import pytest
from lua_shell import LuaFailed

# Other tests put a resolver of their own in its place.
DGRAM = """
package.loaded["heart.v1.dns"] = nil
local dgram = require("heart.v1.dgram")
"""


@pytest.fixture
def other(tmp_path):
    """Python's socket at tmp_path/other."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other:
        other.bind(str(tmp_path / "other"))
        other.settimeout(5)
        yield other


def test_unix_socket_with_a_path_is_answered(lua, other, tmp_path):
    code = f"""
      here = assert(dgram.open({{ bind = "unix:{tmp_path}/here" }}))
      return show(here:sendto("to you", "{tmp_path}/other"), here:name())
    """
    assert lua(DGRAM + code) == f"6|{tmp_path}/here"
    data, path = other.recvfrom(100)
    assert (data, path) == (b"to you", f"{tmp_path}/here")
    other.sendto(b"back", path)
    other.sendto(b"", path)
    code = """
      here:settimeouts(nil, nil, 0.05)
      local told = show(here:receivefrom()) .. " " .. show(here:receivefrom()) .. " " .. show(here:receivefrom())
      here:close()
      return told
    """
    assert lua(code) == f"back|{tmp_path}/other |{tmp_path}/other nil|timeout"


def test_connected_unix_socket_needs_no_path_of_its_own(lua, other, tmp_path):
    code = f"""
      local s = assert(dgram.open({{ host = "unix:{tmp_path}/other" }}))
      return show(s:send({{ "in ", {{ "one" }} }}), s:peer()) .. " " .. show(s:close())
    """
    assert lua(DGRAM + code) == f"6|{tmp_path}/other true"
    data, path = other.recvfrom(100)
    assert (data, path or None) == (b"in one", None)


def test_sender_waits_for_room(lua, other, tmp_path):
    """Unix datagrams are never lost: a full receiver is waited for, and the reason comes after the time for it."""
    code = f"""
      local s = assert(dgram.open({{ host = "unix:{tmp_path}/other" }}))
      s:settimeouts(nil, 0.05, nil)
      local n, sent, err = -1, 1, nil
      while sent do
        n = n + sent
        sent, err = s:send("x")
      end
      return show(n > 0 and n < 10000, err)
    """
    assert lua(DGRAM + code) == "true|timeout"


def test_abstract_name(lua):
    code = """
      local name = "unix:\\0heart-test-" .. require("heart.v1.random").token()
      local here = assert(dgram.open({ bind = name }))
      local there = assert(dgram.open({ host = name }))
      there:send("found")
      return show(here:receivefrom())
    """
    assert lua(DGRAM + code).startswith("found")


def test_unix_socket_that_is_not_there_and_one_that_is(lua, other, tmp_path):
    code = f"""
      return show(dgram.open({{ host = "unix:{tmp_path}/nobody" }})) .. " " ..
        show(dgram.open({{ bind = "unix:{tmp_path}/other" }}))
    """
    assert lua(DGRAM + code) == "nil|no such file or directory nil|address already in use"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_udp_socket_knows_one_peer(lua, host):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(5)
        port = other.getsockname()[1]
        code = f"""
          local stranger = assert(dgram.open({{ bind = "127.0.0.1" }}))
          here = assert(dgram.open({{ host = "{host}", port = {port}, bind = "127.0.0.1", family = "inet" }}))
          here:send("hello")
          local _, mine = here:name()
          stranger:sendto("not asked for", "127.0.0.1", mine)
          return show(here:peer())
        """
        assert lua(DGRAM + code) == f"127.0.0.1|{port}"
        data, address = other.recvfrom(100)
        other.sendto(b"answer", address)
        assert data == b"hello"
        code = """
          here:settimeouts(nil, nil, 0.1)
          local told = show((here:receivefrom())) .. " " .. show(here:receivefrom())
          here:close()
          return told
        """
        assert lua(code) == "answer nil|timeout"


def test_address_may_have_a_zone(lua):
    code = """
      local here = assert(dgram.open({ bind = "::1" }))
      local _, port = here:name()
      return show(assert(dgram.open({ host = "::1%lo", port = port })):send("text"), (here:receivefrom()))
    """
    assert lua(DGRAM + code) == "4|text"


def test_workers_share_a_port(serve):
    code = """
      local dgram = require("heart.v1.dgram")
      local sock = assert(dgram.open({ bind = "127.0.0.1", bind_port = %d, reuseport = true }))
      require("heart.v1.task").spawn(function()
        while true do
          local data, address, port = sock:receivefrom()
          sock:sendto(require("heart.v1.worker").id .. data, address, port)
        end
      end)
      require("heart.v1").get("/", function() return "" end)
    """
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve(code % port, workers=2)
    seen = set()
    for _ in range(100):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.settimeout(5)
            client.sendto(b"!", ("127.0.0.1", port))
            seen.add(client.recvfrom(10)[0])
    assert seen == {b"0!", b"1!"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("1", "options: expected a table, got number"),
        ('{ host = "127.0.0.1", bind = "unix:/tmp/x" }', 'host and bind: both begin with "unix:", or none'),
        ('{ host = "unix:/tmp/x", bind = "127.0.0.1" }', 'host and bind: both begin with "unix:", or none'),
        ('{ bind = "unix:" .. ("x"):rep(108) }', "bind: expected an IP address, or a path of 1 to 107 bytes"),
        ("{ host = 1 }", "host: expected a string, got number"),
        ('{ bind = "example.org" }', "bind: expected an IP address, or a path of 1 to 107 bytes"),
        ('{ host = "127.0.0.1", port = 65536 }', "port: expected a number from 0 to 65535"),
    ],
)
def test_wrong_options_raise(lua, options, message):
    with pytest.raises(LuaFailed, match="expected|both"):
        lua(DGRAM + f"dgram.open({options})")
    code = f"return select(2, pcall(dgram.open, {options}))"
    assert message in lua(DGRAM + code)
