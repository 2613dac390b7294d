"""read_head and receive_chunk of native sockets: what a client of HTTP is built on."""

import socket
import threading

import pytest
from lua_shell import Shell

PRELUDE = """
local core = require("heart.core").socket
local function connect(port)
  local sock = assert(core.connect({ address = "127.0.0.1", port = tonumber(port) }))
  sock:settimeouts(nil, 5, 5)
  return sock
end
function heads(port, max)
  local sock, out = connect(port), {}
  repeat
    local status, head, length, keep = sock:read_head(max or 65536)
    out[#out + 1] = status and table.concat({ status, tostring(length), tostring(keep) }, " ") or head
  until not status
  sock:close()
  return table.concat(out, "|")
end
function chunks(port, max, rest)
  local sock, out = connect(port), {}
  repeat
    local data, err = sock:receive_chunk(max)
    out[#out + 1] = data or err or "end"
  until not data
  if rest then
    out[#out + 1] = sock:receive("*a")
  end
  sock:close()
  return table.concat(out, "|")
end
"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def lua():
    with Shell(prelude=PRELUDE) as shell:
        yield shell


@pytest.fixture
def speak():
    """A function that serves one connection with these pieces, and returns the port."""
    listeners = []

    def start(*pieces, pause=0.02):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client:
                for n, piece in enumerate(pieces):
                    if n:
                        stop.wait(pause)
                    client.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    stop = threading.Event()
    yield start
    stop.set()
    for listener in listeners:
        listener.close()


def test_heads_follow_each_other(lua, speak):
    port = speak(HEAD + b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\nHTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n")
    assert lua.text(f"return heads({port})") == "200 0 true|204 nil false|200 chunked false|closed"


def test_head_comes_byte_by_byte(lua, speak):
    data = b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\nContent-Length: 7\r\n\r\n"
    port = speak(*[data[n : n + 1] for n in range(len(data))], pause=0.001)
    assert lua.text(f"return heads({port})") == "200 7 true|closed"


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\n", "closed"),
        (b"SSH-2.0-OpenSSH\r\n", "malformed response: not HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "malformed response: malformed Content-Length"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000, "response head too large"),
    ],
)
def test_what_is_no_head_is_told(lua, speak, data, result):
    assert lua.text(f"return heads({speak(data)}, 1000)") == result


def test_fields_are_found_in_any_case(lua):
    head = b"HTTP/1.1 200 OK\r\nA: 1\r\nb:2 \r\na:  3\r\nEmpty:\r\n\r\n"
    code = 'return tostring(require("heart.core").socket.field(..., "%s"))'
    assert [lua.text(code % name, head) for name in ("a", "B", "empty", "c")] == ["1, 3", "2", "", "nil"]
    fields = 'return table.concat(require("heart.core").socket.fields(...), "|")'
    assert lua.text(fields, head) == "A|1|b|2|a|3|Empty|"
    assert lua.text(code % "a", b"no line end") == "nil"


BODY = b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n"


def test_chunks_that_came_together_are_given_together(lua, speak):
    assert lua.text(f"return chunks({speak(BODY)}, 100)") == "hello world|end"
    assert lua.text(f"return chunks({speak(BODY + b'rest')}, 100, true)") == "hello world|end|rest"


def test_chunk_is_cut_at_the_limit(lua, speak):
    *parts, end = lua.text(f"return chunks({speak(BODY)}, 2)").split("|")
    assert "".join(parts) == "hello world" and max(map(len, parts)) == 2 and end == "end"


def test_chunks_come_byte_by_byte(lua, speak):
    port = speak(*[BODY[n : n + 1] for n in range(len(BODY))], pause=0.001)
    assert lua.text(f"return chunks({port}, 100)") == "h|e|l|l|o| |w|o|r|l|d|end"


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (b"x\r\n", "malformed chunk"),
        (b"5\r\nhelloX\r\n", "hello|malformed chunk"),
        (b"5\r\nhel", "hel|closed"),
        (b"5\r\nhello\r\n", "hello|closed"),
        (b"5\r\nhello\r\n0\r\n", "hello|closed"),
        (b"ffffffffffffffffff\r\n", "malformed chunk"),
    ],
)
def test_bad_chunks_are_told(lua, speak, data, result):
    assert lua.text(f"return chunks({speak(data)}, 100)") == result


def test_wait_for_a_head_ends_in_time(lua, speak):
    port = speak(HEAD[:-2], HEAD[-2:], pause=1)
    code = f"""
      local sock = assert(require("heart.core").socket.connect({{ address = "127.0.0.1", port = {port} }}))
      sock:settimeouts(nil, nil, 0.1)
      local _, err = sock:read_head(1000)
      sock:settimeouts(nil, nil, 5)
      return err .. " " .. sock:read_head(1000)
    """
    assert lua.text(code) == "timeout 200"
