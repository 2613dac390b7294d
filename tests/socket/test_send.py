"""What is sent: all of it, in order, in time, and how much of it when that fails."""

import threading
import time

import pytest
from heart_server import PATIENCE
from turns import assert_short_turns


def hold(client):
    while client.recv(4096):
        pass


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        ('"abc"', b"abc"),
        ("12", b"12"),
        ('{ "a", { "b", 3, { "c" } }, 4.5 }', b"ab3c4.5"),
        ('("x"):rep(100000)', b"x" * 100_000),
        ('{ ("x"):rep(50000), { ("y"):rep(50000) } }', b"x" * 50_000 + b"y" * 50_000),
    ],
)
def test_strings_numbers_and_lists(lua, peer, data, sent):
    got = []

    def serve(client):
        while part := client.recv(1 << 16):
            got.append(part)
        client.sendall(b"ok")

    code = f"local s = dial({peer(serve)}) local n = s:send({data}) s:shutdown('send') return show(n, s:receive('*a'))"
    assert lua(code) == f"{len(sent)}|ok"
    assert b"".join(got) == sent


@pytest.mark.parametrize("data", ["nil", "true", "{ {}, true }", "print"])
def test_wrong_data_raises(lua, peer, data):
    code = f"local s = dial({peer(hold)}) return show((pcall(s.send, s, {data})))"
    assert lua(code) == "false"


def test_list_in_itself_raises(lua, peer):
    code = f"local s, t = dial({peer(hold)}), {{}} t[1] = t return show((pcall(s.send, s, t)))"
    assert lua(code) == "false"


@pytest.mark.parametrize("wrap", ["data", "{ data }"])
def test_timeout_tells_what_was_sent(lua, peer, wrap):
    told = threading.Event()

    def serve(client):
        told.wait(PATIENCE)
        count = 0
        while part := client.recv(1 << 16):
            count += len(part)
        client.sendall(b"%d" % count)

    code = f"""
      local s = dial({peer(serve)}, 5, 0.1)
      local data = ("x"):rep(20000000)
      local n, err, sent = s:send({wrap})
      s:shutdown("send")
      dial({peer(lambda client: told.set())}):close()
      return show(n, err, sent > 0 and sent < #data, tonumber(s:receive("*a")) == sent)
    """
    assert lua(code) == "nil|timeout|true|true"


def test_peer_that_is_gone(lua, peer):
    code = f"""
      local s = dial({peer(lambda client: client.recv(1))})
      s:send("x")
      local data, err = s:receive()
      local n, why
      for _ = 1, 100 do
        n, why = s:send(("x"):rep(1000))
        if not n then break end
        require("heart.v1").sleep(0.01)
      end
      return show(data, err, n, why == "closed" or why == "connection reset")
    """
    assert lua(code) == "nil|closed|nil|true"


def test_answer_of_a_peer_that_left_early_is_read(lua, peer):
    """It did not want all of the request, and said so before it left."""

    def serve(client):
        client.recv(1)
        client.sendall(b"too much\n")

    code = f"""
      local s = dial({peer(serve)})
      s:send("x")
      require("heart.v1").sleep(0.1)
      for _ = 1, 20 do s:send("y") require("heart.v1").sleep(0.005) end
      return show(s:send("y")) .. "/" .. show(s:receive(), (s:receive()))
    """
    assert lua(code) in (f"nil|{why}|0/too much|nil" for why in ("closed", "connection reset"))


def test_much_goes_both_ways_at_once(lua, peer):
    """A peer that reads only what it can write holds up nobody, and no byte is lost."""

    def serve(client):
        while part := client.recv(1 << 16):
            client.sendall(part)

    code = f"""
      local task = require("heart.v1.task")
      local s = dial({peer(serve)})
      local block = {{}}
      for i = 1, 4096 do block[i] = ("%07d\\n"):format(i) end
      block = table.concat(block)
      local writer = task.spawn(function()
        for _ = 1, 300 do assert(s:send(block)) end
        s:shutdown("send")
        return "sent"
      end)
      local n = 0
      while true do
        local part, err = s:receive(#block)
        if not part then return show(n, err, writer:join()) end
        assert(part == block)
        n = n + 1
      end
    """
    assert lua(code) == "300|closed|sent"


def test_second_writer_is_refused(lua, peer):
    def serve(client):
        time.sleep(0.3)
        hold(client)

    code = f"""
      local task = require("heart.v1.task")
      local s = dial({peer(serve)})
      local writer = task.spawn(function() return s:send(("x"):rep(20000000)) end)
      require("heart.v1").sleep(0.05)
      local busy = show(s:send("y"))
      return show(busy, writer:join())
    """
    assert lua(code) == "nil|socket busy writing|20000000"


def test_stream_makes_no_long_turn(shell, lua, peer):
    """100 MB through the worker, while turns are measured in processor time."""
    block = b"x" * (1 << 20)

    def serve(client):
        for _ in range(100):
            client.sendall(block)

    code = f"""
      local s, n = dial({peer(serve)}), 0
      core.longest_turn()
      while true do
        local part = s:receive_any(65536)
        if not part then break end
        n = n + #part
      end
      local _, worked = core.longest_turn()
      return show(n, worked)
    """

    def measure():
        n, worked = lua("core = require('heart.core')" + code).split("|")
        assert n == str(100 << 20)
        return float(worked)

    assert_short_turns(measure)
