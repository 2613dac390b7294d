"""What the reads give: whole, byte by byte, cut off, and in time."""

import time

import pytest


def speak(*pieces, pause=0.0, stay=False):
    """A peer that sends these pieces, then closes, or waits for the end."""

    def serve(client):
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause)
        if stay:
            client.recv(1)

    return serve


def split(data):
    return [data[n : n + 1] for n in range(len(data))]


READS = [
    ('s:receive("*l")', b"hello\r\nrest", "hello"),
    ('s:receive("*l")', b"a\rb\r\r\nrest", "ab"),
    ("s:receive()", b"\nrest", ""),
    ('s:receive("*l", "pre")', b"fix\n", "prefix"),
    ("s:receive(5)", b"hello world", "hello"),
    ("s:receive(0)", b"hello", ""),
    ('s:receive(5, "hel")', b"lo world", "hello"),
    ('s:receive(2, "hel")', b"lo world", "hel"),
    ('s:receive("*a")', b"all of\nit", "all of\nit"),
    ('s:receive("*a", "pre")', b"fix", "prefix"),
    ('s:receive("*a", "pre")', b"", "pre"),
    ('s:receive_until("--b")', b"a-b--a--b-", "a-b--a"),
    ('s:receive_until("aab")', b"aaaab", "aa"),
    ('s:receive_until("x", nil, true)', b"abcxd", "abcx"),
    ('s:receive_until("\\0\\0")', b"a\0b\0\0c", "a\0b"),
]


@pytest.mark.parametrize("pace", ["at once", "byte by byte"])
@pytest.mark.parametrize(("call", "data", "result"), READS)
def test_read_gives_what_was_asked_for(lua, peer, call, data, result, pace):
    pieces = [data] if pace == "at once" else split(data)
    port = peer(speak(*pieces, pause=0 if pace == "at once" else 0.0005))
    assert lua(f"local s = dial({port}) local a, b, c = {call} s:close() return show(a, b, c)") == f"{result}|nil|nil"


PARTIALS = [
    ('s:receive("*l")', b"no end", "no end"),
    ("s:receive(10)", b"short", "short"),
    ('s:receive(10, "pre")', b"short", "preshort"),
    ('s:receive_until("END")', b"some EN", "some EN"),
    ('s:receive_until("END")', b"", ""),
    ('s:receive("*l")', b"", ""),
]


@pytest.mark.parametrize(("call", "data", "partial"), PARTIALS)
def test_end_of_the_stream_gives_what_there_was(lua, peer, call, data, partial):
    port = peer(speak(data))
    code = f"local s = dial({port}) local a, b, c = {call} local d = show({call}) s:close() return show(a, b, c, d)"
    again = "nil|closed|pre" if "pre" in call else "nil|closed|"
    assert lua(code) == f"nil|closed|{partial}|{again}"


@pytest.mark.parametrize(("call", "data", "partial"), PARTIALS)
def test_timeout_gives_what_there_was_and_the_connection_goes_on(lua, peer, call, data, partial):
    port = peer(speak(data, stay=True))
    code = (
        f"local s = dial({port}, 0.1) local a, b, c = {call} local ok = s:send('x') s:close() return show(a, b, c, ok)"
    )
    assert lua(code) == f"nil|timeout|{partial}|1"


def test_all_of_nothing_is_closed(lua, peer):
    assert lua(f'local s = dial({peer(speak(b""))}) return show(s:receive("*a"))') == "nil|closed|"


def test_any_gives_what_is_there(lua, peer):
    port = peer(speak(b"first", b"second", pause=0.05))
    code = f"""
      local s = dial({port})
      return show(s:receive_any(3), s:receive_any(100), s:receive_any(100), s:receive_any(1))
    """
    assert lua(code) == "fir|st|second|nil|closed"


@pytest.mark.parametrize("pause", [0, 0.0005])
@pytest.mark.parametrize(
    ("data", "size", "inclusive", "result"),
    [
        (b"abcdefENDrest", 4, "false", "abcd|ef|nil|rest"),
        (b"abcdENDrest", 4, "false", "abcd||nil|rest"),
        (b"ENDrest", 4, "false", "|nil|rest"),
        (b"abENEND", 1, "false", "a|b|E|N|nil|"),
        (b"abENDrest", 2, "true", "ab|END|nil|rest"),
        (b"abENDrest", 9, "true", "abEND|nil|rest"),
    ],
)
def test_until_gives_pieces(lua, peer, data, size, inclusive, result, pause):
    port = peer(speak(*(split(data) if pause else [data]), pause=pause))
    code = f"""
      local s, out = dial({port}), {{}}
      repeat
        local piece = s:receive_until("END", {size}, {inclusive})
        out[#out + 1] = tostring(piece)
      until not piece
      out[#out + 1] = s:receive("*a") or ""
      return table.concat(out, "|")
    """
    got = lua(code)
    if data in (b"abcdENDrest", b"abENEND"):  # only with the delimiter it is known which piece is the last
        assert got.replace("||", "|") == result.replace("||", "|")
    else:
        assert got == result


def test_reads_follow_each_other_in_what_came_at_once(lua, peer):
    port = peer(speak(b"line\n12345until;rest"))
    code = f"""
      local s = dial({port})
      local a, left = s:receive(), s:buffered()
      return show(a, left, s:receive(5), s:receive_until(";"), s:receive_any(2), s:receive("*a"), s:buffered())
    """
    assert lua(code) == "line|15|12345|until|re|st|0"


def test_timeout_of_zero_reads_what_is_there(lua, peer):
    port = peer(speak(b"abc", stay=True))
    code = f"""
      local s = dial({port})
      require("heart.v1").sleep(0.05)
      s:settimeouts(0, 0, 0)
      return show(s:receive(2), s:receive(2)) .. "/" .. show(s:receive_any(1))
    """
    assert lua(code) == "ab|nil|timeout|c/nil|timeout"


def test_deadline_holds_for_all_reads_together(lua, peer):
    port = peer(speak(*split(b"x" * 100), pause=0.02))
    code = f"""
      local s, n, err = dial({port}), 0, nil
      s:deadline(0.2)
      while true do
        local data
        data, err = s:receive(1)
        if not data then break end
        n = n + 1
      end
      s:deadline(nil)
      return show(n < 60, err, s:receive(1))
    """
    assert lua(code) == "true|timeout|x"


def test_second_reader_is_refused_and_a_writer_is_not(lua, peer):
    def serve(client):
        client.sendall(client.recv(3) + b"\n")
        client.recv(1)

    code = f"""
      local task = require("heart.v1.task")
      local s = dial({peer(serve)})
      local reader = task.spawn(function() return s:receive() end)
      require("heart.v1").sleep(0.02)
      local busy = show(s:receive())
      s:send("abc")
      local line = reader:join()
      s:close()
      return show(busy, line)
    """
    assert lua(code) == "nil|socket busy reading||abc"


def test_reset_is_told(lua, peer):
    def serve(client):
        client.recv(1)
        client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER: close() resets

    code = f"local s = dial({peer(serve)}) s:send('x') local a, b = s:receive() return show(a, b, s:send('y'))"
    assert lua(code) == "nil|connection reset|nil|connection reset|0"


def test_yield_that_is_impossible_leaves_the_socket_usable(lua, peer):
    port = peer(speak(b"line\n", pause=0.05))
    code = f"""
      local s = dial({port})
      local ok, err = pcall(table.sort, {{ 3, 2, 1 }}, function(a, b) s:receive(1) return a < b end)
      return show(ok, err:match("yield") ~= nil, s:receive())
    """
    assert lua(code) == "false|true|line"


def test_socket_that_nobody_holds_lives_while_its_reader_waits(lua, peer):
    port = peer(speak(b"", b"line\n", pause=0.1))
    code = f"""
      local task = require("heart.v1.task")
      local reader = task.spawn(function() return dial({port}):receive() end)
      for _ = 1, 10 do collectgarbage() require("heart.v1").sleep(0.005) end
      return show(reader:join())
    """
    assert lua(code) == "line"


def test_long_line_byte_by_byte_takes_linear_time(lua, peer):
    line = b"x" * 300_000
    port = peer(speak(*[line[n : n + 100] for n in range(0, len(line), 100)], b"\n"))
    assert lua(f"return show(#dial({port}):receive())") == "300000"


def test_long_text_until_a_long_delimiter_takes_linear_time(lua, peer):
    data = b"a" * 200_000 + b"b" + b"a" * 1000
    port = peer(speak(*[data[n : n + 100] for n in range(0, len(data), 100)]))
    started = time.monotonic()
    assert lua(f"return show(#dial({port}):receive_until('b' .. ('a'):rep(1000)))") == "200000"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "call",
    ["s:receive('*x')", "s:receive(-1)", "s:receive_any(0)", "s:receive_until('')", "s:receive({})", "s.receive(1)"],
)
def test_wrong_arguments_raise(lua, peer, call):
    port = peer(speak(b""))
    assert lua(f"local s = dial({port}) local ok = pcall(function() return {call} end) return show(ok)") == "false"


def test_closed_socket_says_so(lua, peer):
    code = f"""
      local s = dial({peer(speak(b""))})
      s:close()
      return show(s:close()) .. show(s:receive()) .. show(s:send("x")) .. show(s:peer()) .. show(s:fd(), s:buffered())
    """
    assert lua(code) == "nil|closednil|closed|nil|closed|0nil|closed-1|0"
