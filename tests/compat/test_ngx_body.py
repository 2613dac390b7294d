"""ngx.req.socket: the body of a request read as from a socket, whole or as it arrives."""

import random
import time

import pytest
from heart_server import Server
from peers import Peer

APP = r"""
local app = require("heart.v1")
local json = require("heart.v1.json")

---What reads give: "lines", "bytes", "any", or pieces of that size up to a delimiter.
local function read(ctx)
  local socket
  if ctx.query("port") then
    socket = assert(ngx.socket.connect("127.0.0.1", tonumber(ctx.query("port"))))
  else
    socket = assert(ngx.req.socket())
  end
  local how, size = ctx.query("how"), tonumber(ctx.query("size"))
  local found, n = {}, 0
  local reader = how == "until" and socket:receiveuntil(ctx.query("delimiter"), { inclusive = ctx.query("in") == "1" })
  while true do
    local data, err, partial
    if reader then
      data, err, partial = reader(size)
    elseif how == "any" then
      data, err, partial = socket:receiveany(size)
    else
      data, err, partial = socket:receive(size or "*l")
    end
    n = n + 1
    if not ctx.query("quiet") then
      found[n] = data or json.null
    end
    if err then
      return ctx.json({ found = json.array(found), n = n, err = err, partial = partial })
    end
  end
end
app.post("/delimiter", function()
  local reader, err = ngx.req.socket():receiveuntil("")
  return tostring(reader) .. " " .. err
end)
app.post("/whole", { max_body = 64 * 1024 * 1024 }, read)
app.post("/stream", { body = "stream", max_body = 64 * 1024 * 1024 }, read)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


def read(server, body, query, path="/whole", cuts=()):
    """Send a body, with pauses at the cuts; what was read."""
    with server.connect() as client:
        client.send(f"POST {path}?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            client.send(body[start:end])
            time.sleep(0.002 if cuts else 0)
        response = client.response()
    assert response.status == 200, response.text
    return response.json


@pytest.mark.parametrize("path", ["/whole", "/stream"])
def test_lines_and_bytes(server, path):
    body = b"one\r\ntwo\n\nth" + b"ree\nrest"
    cuts = [2, 5, 9, 11] if path == "/stream" else []
    found = read(server, body, "how=lines", path, cuts)
    assert found == {"found": ["one", "two", "", "three", None], "n": 5, "err": "closed", "partial": "rest"}
    found = read(server, body, "how=bytes&size=7", path, cuts)
    assert found == {"found": ["one\r\ntw", "o\n\nthre", None], "n": 3, "err": "closed", "partial": "e\nrest"}
    assert "".join(read(server, body, "how=any&size=4", path, cuts)["found"][:-1]).encode() == body


@pytest.mark.parametrize("seed", range(30))
def test_pieces_up_to_a_delimiter_are_those_of_a_socket(server, seed):
    rng = random.Random(seed)
    delimiter = rng.choice([b"-", b"--", b"-x-", b"--x--x"])
    inclusive, size = rng.random() < 0.5, rng.choice([1, 2, 3, 7, 100])
    body = delimiter.join(bytes(rng.choices(b"-xa", k=rng.randrange(20))) for _ in range(8))
    query = f"how=until&delimiter={delimiter.decode()}&size={size}&in={inclusive:d}"
    with Peer(lambda connection: connection.sendall(body)) as peer:
        expected = read(server, b"x", f"{query}&port={peer.port}")
    assert read(server, body, query) == expected
    assert read(server, body, query, "/stream", sorted(rng.sample(range(1, len(body)), 4))) == expected


def test_empty_delimiter_is_refused(server):
    assert server.post("/delimiter", b"x").text == "nil pattern is empty"


@pytest.mark.parametrize("path", ["/whole", "/stream"])
@pytest.mark.parametrize(
    ("body", "query", "n"),
    [
        (b"line\n" * 400_000, "how=lines", 400_001),
        (b"x" * 16_000_000, "how=lines", 1),
        (b"x" * 16_000_000, "how=bytes&size=100", 160_001),
        (b"x" * 16_000_000 + b"\r\n--end", "how=until&delimiter=%0d%0a--end&size=100", 160_002),
        (b"x" * 16_000_000, "how=until&delimiter=%0d%0a--end", 1),
    ],
)
def test_large_body_takes_linear_time(server, path, body, query, n):
    began = time.monotonic()
    assert read(server, body, query + "&quiet=1", path)["n"] == n
    assert time.monotonic() - began < 5
