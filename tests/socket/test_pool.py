"""Idle connections: given, taken, and what ends them."""

import time

import pytest


def echo(client):
    while part := client.recv(4096):
        client.sendall(part)


def test_last_in_first_out_and_alive(lua, peer):
    code = f"""
      local a, b = dial({peer(echo)}), dial({peer(echo)})
      local fa, fb = a:fd(), b:fd()
      a:give("k") b:give("k")
      local idle = show(sockets.count())
      local x, y, z = sockets.take("k"), sockets.take("k"), sockets.take("k")
      x:send("hi\\n")
      return show(idle, x:fd() == fb, y:fd() == fa, z, x:receive(), x:reused(), a:reused(), a:send("x"))
    """
    assert lua(code) == "2|2|true|true|nil|hi|1|0|nil|closed|0"


def test_keys_do_not_mix(lua, peer):
    code = f"""
      dial({peer(echo)}):give("k")
      local none = show(sockets.take("K"), sockets.take(""))
      return show(none, sockets.take("k"))
    """
    assert lua(code) == "nil|nil|socket"


@pytest.mark.parametrize("parting", [b"", b"unasked"])
def test_peer_that_closes_or_speaks_ends_it(lua, peer, parting):
    def serve(client):
        time.sleep(0.05)
        client.sendall(parting)
        if parting:
            echo(client)

    code = f"""
      dial({peer(serve)}):give("k")
      local before = show(sockets.count())
      local now = require("heart.core").now
      local deadline = now() + 5
      repeat require("heart.v1").sleep(0.02) until sockets.count() == 0 or now() > deadline
      return show(before, sockets.count())
    """
    assert lua(code) == "1|1|0|0"


def test_idle_time_ends(lua, peer):
    code = f"""
      dial({peer(echo)}):give("k", 0.1)
      require("heart.v1").sleep(0.05)
      local s = sockets.take("k")
      s:give("k", 0.2)
      require("heart.v1").sleep(0.1)
      local kept = show(sockets.count())
      require("heart.v1").sleep(0.2)
      return show(kept, sockets.count())
    """
    assert lua(code) == "1|1|0|0"


def test_oldest_leaves_a_full_pool(lua, peer):
    port = peer(echo)
    code = f"""
      local all = {{}}
      for i = 1, 5 do all[i] = dial({port}) end
      local last = all[5]:fd()
      for i = 1, 5 do all[i]:give("k", 60, 3) end
      local open, idle = sockets.count()
      return show(open, idle, sockets.take("k"):fd() == last)
    """
    assert lua(code) == "3|3|true"


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("s:send('abc') s:receive(1)", "unread data in buffer"),
        ("s:send('abc') require('heart.v1').sleep(0.1)", "connection in dubious state"),
        ("s:shutdown('send') s:receive('*a')", "closed"),
        ("s:close()", "closed"),
    ],
)
def test_connection_that_is_not_idle_is_closed(lua, peer, before, why):
    code = f"local s = dial({peer(echo)}) {before} local a, b = s:give('k') return show(a, b, sockets.count())"
    assert lua(code) == f"nil|{why}|0|0"


def test_connection_that_is_waited_for_is_refused(lua, peer):
    code = f"""
      local s = dial({peer(echo)})
      local reader = require("heart.v1.task").spawn(function() return s:receive() end)
      require("heart.v1").sleep(0.02)
      local refused = show(s:give("k"))
      s:send("line\\n")
      return show(refused, reader:join())
    """
    assert lua(code) == "nil|socket busy reading|line"


def test_many_keys_leave_no_pools(lua, peer):
    port = peer(echo)
    code = f"""
      for i = 1, 300 do
        dial({port}):give("key " .. i)
        assert(sockets.take("key " .. i)):close()
      end
      return show(sockets.count())
    """
    assert lua(code) == "0|0"


def test_connect_takes_from_the_pool(lua, peer):
    code = f"""
      local socket = require("heart.v1.socket")
      local a = socket.connect("127.0.0.1", {peer(echo)}, {{ pool = "k" }})
      local fresh, fd = a:reused(), a:fd()
      a:give("k")
      local b = socket.connect("127.0.0.1", 1, {{ pool = "k" }})
      return show(fresh, b:reused(), b:fd() == fd)
    """
    assert lua(code) == "0|1|true"
