"""LuaSocket's interface against real peers: what waits lets others work, every failure has its words."""

import hashlib
import socket
import threading
import time

import pytest
from heart_server import wait_until
from lua_shell import Shell
from peers import Peer, Silent, echo, reset

PRELUDE = 'socket = require("socket") unix = require("socket.unix") ltn12 = require("ltn12")'
BIG = bytes(range(256)) * 40960  # 10 MiB


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude=PRELUDE) as shell:
        yield shell


def connected(port, rest):
    return f'local c = assert(socket.connect("127.0.0.1", {port})) {rest}'


def timed(call):
    start = time.monotonic()
    result = call()
    return result, time.monotonic() - start


TELL = """
local function tell(...)
  local all = { ... }
  for i = 1, select("#", ...) do all[i] = tostring(all[i]) end
  return table.concat(all, " ")
end
"""


def test_echo_of_lines_and_counts(lua):
    with Peer(echo) as peer:
        code = 'c:send("one\\r\\ntwo\\nthree") return c:receive() .. c:receive("*l") .. c:receive(5) .. c:close()'
        assert lua.text(connected(peer.port, code)) == "onetwothree1"


def test_big_transfer_in_both_directions(lua):
    """More than the buffers take: sending and receiving go on in turns, by an ltn12 pump."""
    with Peer(echo) as peer:
        back = lua.run(
            connected(
                peer.port,
                """
                local data, out = ..., {}
                local at = 1
                while at <= #data do
                  assert(c:send(data, at, at + 131071))
                  local piece = assert(c:receive(math.min(131072, #data - at + 1)))
                  out[#out + 1] = piece
                  at = at + #piece
                end
                return table.concat(out)
                """,
            ),
            BIG,
        )
        assert hashlib.sha256(back).digest() == hashlib.sha256(BIG).digest()


def test_pump_from_a_socket_to_the_end(lua):
    def give(connection):
        connection.sendall(BIG)

    with Peer(give) as peer:
        code = """
            local parts = {}
            assert(ltn12.pump.all(socket.source("until-closed", c), (ltn12.sink.table(parts))))
            return table.concat(parts)
        """
        assert lua.run(connected(peer.port, code)) == BIG


def test_sink_of_a_socket_says_what_the_source_has(lua):
    got = []

    def take(connection):
        while data := connection.recv(65536):
            got.append(data)

    with Peer(take) as peer:
        code = """
            assert(ltn12.pump.all(ltn12.source.string(...), socket.sink("close-when-done", c)))
            return tostring(c:send("x"))
        """
        assert lua.run(connected(peer.port, code), BIG) == b"nil"
        peer.finish()
    assert b"".join(got) == BIG


def test_a_wait_holds_up_nobody(lua):
    """While one request waits for a silent peer, others are answered."""
    release = threading.Event()

    def late(connection):
        connection.recv(10)
        release.wait(10)
        connection.sendall(b"late\n")

    with Peer(late) as peer:
        told = []
        waiter = threading.Thread(
            target=lambda: told.append(lua.text(connected(peer.port, 'c:send("x") return c:receive()')))
        )
        waiter.start()
        for _ in range(20):
            assert lua.text('return "quick"') == "quick"
        assert not told
        release.set()
        waiter.join(10)
        assert told == ["late"]


def test_many_connections_wait_at_once(lua):
    """In coroutines of the application, ready by select, as copas does it."""
    with Peer(echo) as peer:
        code = f"""
            local all, waiting, got = {{}}, {{}}, 0
            for i = 1, 200 do
              local c = assert(socket.connect("127.0.0.1", {peer.port}))
              c:settimeout(0)
              assert(c:send("number " .. i .. "\\n"))
              all[i], waiting[c] = c, i
            end
            local open = all
            while #open > 0 do
              local ready, _, err = socket.select(open, nil, 5)
              assert(not err, err)
              for _, c in ipairs(ready) do
                local line, why = c:receive()
                if line then
                  assert(line == "number " .. waiting[c])
                  got, waiting[c] = got + 1, nil
                  c:close()
                end
              end
              open = {{}}
              for c in pairs(waiting) do open[#open + 1] = c end
            end
            return got
        """
        assert lua.text(code) == "200"


def test_socket_that_is_selected_twice_is_waited_for(lua):
    """In one list or in both; and the wait costs no processor time."""
    with Peer(lambda connection: (time.sleep(0.3), connection.sendall(b"x"), connection.recv(1))) as peer:
        code = """
            local r, w = socket.select({ c, c }, nil, 5)
            local both = { socket.select({ c }, { c }, 5) }
            c:close()
            return #r .. #w .. #both[1] .. #both[2]
        """
        before = lua.server.cpu()
        assert lua.text(connected(peer.port, code)) == "2011"
        assert lua.server.cpu() - before < 0.15


# ---- Failures ---------------------------------------------------------------------------------------------------


def test_local_address_is_bound(lua):
    with Peer(lambda connection: connection.sendall(b"%d\n" % connection.getpeername()[1])) as peer:
        code = f"""
            local c = assert(socket.connect("127.0.0.1", {peer.port}, "127.0.0.1"))
            local _, port = c:getsockname()
            return tell(c:receive() == port, c:close()) .. tell(socket.connect("127.0.0.1", {peer.port}, "8.8.8.8"))
        """
        assert lua.text(TELL + code) == "true 1nil Cannot assign requested address"


def test_connection_whose_local_address_fails_leaves_nothing(lua):
    code = """
        collectgarbage() collectgarbage("stop")
        local count = require("heart.core").socket.count
        local before = count()
        local told = tell(socket.connect("127.0.0.1", 1, "8.8.8.8"))
        local left = count() - before
        collectgarbage("restart")
        return told .. " " .. left
    """
    assert lua.text(TELL + code) == "nil Cannot assign requested address 0"


def test_refused_connection(lua):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        assert lua.text(TELL + f'return tell(socket.connect("127.0.0.1", {port}))') == "nil connection refused"


@pytest.mark.parametrize("mode", ["b", "t"])
def test_connect_that_takes_too_long(lua, mode):
    with Silent() as silent:
        code = f"""
            local c = socket.tcp()
            c:settimeout(0.2, "{mode}")
            local told = tell(c:connect("127.0.0.1", {silent.port}))
            return told .. " " .. tostring(c):match("^[^:]*")
        """
        told, seconds = timed(lambda: lua.text(TELL + code))
    assert told == "nil timeout tcp{client}"
    assert 0.15 < seconds < 3


def test_failed_connects_say_why_each_time(lua):
    with Silent() as silent:
        code = f"""
            local c = socket.tcp4()
            c:settimeout(0.1)
            local refused = tell(c:connect("127.0.0.1", 1))
            c = socket.tcp4()
            c:settimeout(0.1)
            return refused .. ", " .. tell(c:connect("127.0.0.1", {silent.port})) .. ", " .. tell(c:close(), c:close())
        """
        assert lua.text(TELL + code) == "nil connection refused, nil timeout, 1 1"


def test_silence_while_receiving_gives_what_there_was(lua):
    def half(connection):
        connection.sendall(b"half")
        connection.recv(1)

    with Peer(half) as peer:
        code = """
            c:settimeout(0.2)
            local a = tell(c:receive())
            local b = tell(c:receive(10, "half"))
            return a .. ", " .. b .. ", " .. tell(c:receive("*a"), c:close())
        """
        told, seconds = timed(lambda: lua.text(TELL + connected(peer.port, code)))
    assert told == "nil timeout half, nil timeout half, nil 1"
    assert 0.5 < seconds < 3


def test_block_timeout_begins_again_with_each_byte(lua):
    """Mode "b" limits the silence, mode "t" the whole call."""

    def trickle(connection):
        for byte in b"0123456789":
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    with Peer(trickle) as peer:
        assert lua.text(connected(peer.port, "c:settimeout(0.4) return c:receive(10)")) == "0123456789"
        code = TELL + connected(peer.port, 'c:settimeout(0.4, "t") return tell(c:receive(10))')
        told, seconds = timed(lambda: lua.text(code))
        assert told.startswith("nil timeout 012")
        assert len(told) < len("nil timeout 0123456789")
        assert seconds < 0.9


def test_peer_that_does_not_read(lua):
    """A send that fails in the middle says how far it came, and the rest can be sent later."""
    go = threading.Event()
    got = []

    def slow(connection):
        go.wait(10)
        while data := connection.recv(1 << 20):
            got.append(data)

    with Peer(slow) as peer:
        code = """
            c:settimeout(0.2)
            local data = ...
            local ok, err, last = c:send(data)
            first = { c, last }
            return tell(ok, err, last > 0, last < #data)
        """
        told, seconds = timed(lambda: lua.run(TELL + connected(peer.port, code), BIG).decode())
        assert told == "nil timeout true true"
        assert 0.15 < seconds < 3
        idle = lua.server.cpu()
        time.sleep(0.3)
        assert lua.server.cpu() - idle < 0.15, "it spins"
        go.set()
        code = "local c, last = unpack(first) c:settimeout(10) return tell(c:send(..., last + 1), c:close())"
        assert lua.run(TELL + code, BIG).decode() == f"{len(BIG)} 1"
        peer.finish()
    assert b"".join(got) == BIG


def test_reset_connection(lua):
    def rude(connection):
        connection.recv(1)
        reset(connection)

    with Peer(rude) as peer:
        code = 'c:send("x") return tell(c:receive()) .. ", " .. tell(c:receive("*a")) .. ", " .. tell(c:send("x"))'
        assert lua.text(TELL + connected(peer.port, code)) == "nil closed , nil closed , nil closed 0"


def test_half_closed_connection(lua):
    """The peer has said all; it still listens."""
    heard = []

    def half(connection):
        connection.sendall(b"all\nthe rest")
        connection.shutdown(socket.SHUT_WR)
        heard.append(connection.recv(100))

    with Peer(half) as peer:
        code = """
            local a = tell(c:receive()) .. ", " .. tell(c:receive())
            return a .. ", " .. tell(c:send("thanks")) .. ", " .. tell(c:receive())
        """
        assert lua.text(TELL + connected(peer.port, code)) == (
            "all nil nil, nil closed the rest, 6 nil nil, nil closed "
        )
        peer.finish()
    assert heard == [b"thanks"]


def test_our_half_close_is_heard(lua):
    def count(connection):
        total = 0
        while data := connection.recv(65536):
            total += len(data)
        connection.sendall(b"%d" % total)

    with Peer(count) as peer:
        code = 'c:send(("x"):rep(100000)) c:shutdown("send") return c:receive("*a")'
        assert lua.text(connected(peer.port, code)) == "100000"


def test_closed_while_another_coroutine_waits(lua):
    """The one who waits is told."""
    with Peer(echo) as peer:
        code = f"""
            local task = require("heart.v1.task")
            local c = assert(socket.connect("127.0.0.1", {peer.port}))
            local reader = task.spawn(function() return tell(c:receive()) end)
            socket.sleep(0.05)
            c:close()
            return reader:join()
        """
        assert lua.text(TELL + code) == "nil closed "


def test_nothing_is_left_open(lua):
    before = lua.server.fds()
    with Peer(echo) as peer, Silent() as silent:
        lua.run(f"""
            for i = 1, 50 do
              local c = socket.connect("127.0.0.1", {peer.port})
              socket.select({{ c }}, nil, 0.001)
              c:send("x\\n")
              c:receive()
              local slow = socket.tcp()
              slow:settimeout(0.001)
              slow:connect("127.0.0.1", {silent.port})
              socket.connect("127.0.0.1", 1)
              if i % 2 == 0 then c:close() slow:close() end
            end
            collectgarbage() collectgarbage()
            socket.sleep(0.01)
            return ""
        """)
        wait_until(lambda: lua.server.fds() <= before, lambda: f"{lua.server.fds()} descriptors, {before} before")


# ---- Servers, datagrams, Unix sockets ---------------------------------------------------------------------------


def test_server_in_a_task(lua):
    port = int(
        lua.text("""
        local task = require("heart.v1.task")
        local server = assert(socket.bind("*", 0))
        task.spawn(function()
          while true do
            local client = server:accept()
            if not client then break end
            task.spawn(function()
              for line in function() return client:receive() end do client:send(line:upper() .. "\\n") end
              client:close()
            end)
          end
        end)
        kept = server
        return (select(2, server:getsockname()))
    """)
    )
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
    for n, client in enumerate(clients):
        client.sendall(b"line %d\n" % n)
    for n, client in enumerate(clients):
        assert client.recv(100) == b"LINE %d\n" % n
        client.close()
    assert lua.text("return kept:close()") == "1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_accept_has_a_timeout(lua):
    code = 'local s = socket.bind("127.0.0.1", 0) s:settimeout(0.1) return tell(s:accept()) .. tell(s:close())'
    told, seconds = timed(lambda: lua.text(TELL + code))
    assert told == "nil timeout1"
    assert 0.08 < seconds < 2


def test_datagrams(lua):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(10)

        def answer():
            for _ in range(2):
                data, sender = peer.recvfrom(65536)
                peer.sendto(data[::-1], sender)

        thread = threading.Thread(target=answer)
        thread.start()
        port = peer.getsockname()[1]
        code = f"""
            local u = socket.udp()
            u:settimeout(5)
            u:sendto("abc", "127.0.0.1", {port})
            local data, ip, from = u:receivefrom()
            local c = socket.udp()
            c:setpeername("127.0.0.1", {port})
            c:send(("x"):rep(8000) .. "y")
            return tell(data, ip, from == {port}) .. " " .. #c:receive()
        """
        assert lua.text(TELL + code) == "cba 127.0.0.1 true 8001"
        thread.join(10)


def test_datagrams_wait_without_holding_up(lua):
    code = 'local u = socket.udp() u:setsockname("127.0.0.1", 0) u:settimeout(0.2) return tell(u:receive())'
    told, seconds = timed(lambda: lua.text(TELL + code))
    assert told == "nil timeout"
    assert 0.15 < seconds < 2


def test_unix_stream(lua, tmp_path):
    with Peer(echo, path=tmp_path / "peer") as _:
        code = f"""
            local c = unix()
            assert(c:connect("{tmp_path}/peer"))
            c:send("line\\nrest")
            local told = tell(tostring(c):match("^[^:]*"), c:receive(), c:receive(4))
            return told .. tell(unix():connect("{tmp_path}/none"))
        """
        assert lua.text(TELL + code) == "unixstream{client} line rest nil nilnil No such file or directory"


def test_unix_server_and_datagrams(lua, tmp_path):
    code = f"""
        local s = unix.stream()
        assert(s:bind("{tmp_path}/s"))
        assert(s:listen())
        local c = unix.stream()
        assert(c:connect("{tmp_path}/s"))
        local d = s:accept()
        c:send("to the server\\n")
        local line = d:receive()
        local u, v = unix.dgram(), unix.dgram()
        assert(u:bind("{tmp_path}/u"))
        assert(v:bind("{tmp_path}/v"))
        v:sendto("datagram", "{tmp_path}/u")
        local data, from = u:receivefrom()
        assert(v:connect("{tmp_path}/u"))
        v:send("second")
        return tell(line, s:getsockname() == "{tmp_path}/s", data, from == "{tmp_path}/v", u:receive())
    """
    assert lua.text(TELL + code) == "to the server true datagram true second"
