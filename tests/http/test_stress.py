"""Random clients of every bad habit at once: valid answers stay right, and nothing is left behind."""

import random
import signal
import threading
import time
from contextlib import suppress

import pytest
from heart_server import Server, wait_until

APP = """
local app = require("heart.v1")
app.static("/files", "public")
app.get("/n/:n", function(ctx) return ctx.pathParam("n") end)
app.get("/sleep/:ms", function(ctx) app.sleep(tonumber(ctx.pathParam("ms")) / 1000) return ctx.pathParam("ms") end)
app.get("/error", function(ctx) app.sleep(0.001) error("on purpose") end)
app.get("/json", function(ctx) return ctx.json { list = { 1, 2, 3 }, q = ctx.queryParam("q") } end)
app.get("/big/:n", function(ctx) return string.rep("x", tonumber(ctx.pathParam("n"))) end)
app.get("/stream/:n", function(ctx)
  local n = tonumber(ctx.pathParam("n"))
  return ctx.stream(function(write)
    for i = 1, n do
      if not write(string.rep("s", 1000)) then return end
      if i % 10 == 0 then app.sleep(0.001) end
    end
  end)
end)
app.post("/echo", function(ctx) return ctx.bytes() end)
app.post("/read", { body = "stream" }, function(ctx)
  local n = 0
  for chunk in ctx.reader() do n = n + #chunk end
  return n
end)
app.post("/form", function(ctx) return ctx.formParam("a") end)
"""
FILE = bytes(range(256)) * 1000


def request(rng):
    """A random valid request and the (status, body) that must answer it."""
    n = rng.randrange(100000)
    body = rng.randbytes(rng.choice([0, 1, 100, 5000, 70000]))
    cut = rng.randrange(len(body) + 1)
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part) + b"0\r\n\r\n"
    length = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    coded = b"Transfer-Encoding: chunked\r\n\r\n" + chunked
    line, rest, status, answer = rng.choice(
        [
            (f"GET /n/{n}", b"\r\n", 200, str(n).encode()),
            (f"GET /sleep/{n % 20}", b"\r\n", 200, str(n % 20).encode()),
            ("GET /error", b"\r\n", 500, None),
            ("GET /missing", b"\r\n", 404, None),
            (f"GET /json?q={n}", b"\r\n", 200, f'"q":"{n}"'.encode()),
            (f"GET /big/{n * 5}", b"\r\n", 200, b"x" * (n * 5)),
            (f"GET /stream/{n % 300}", b"\r\n", 200, b"s" * (n % 300 * 1000)),
            ("GET /files/data.bin", b"\r\n", 200, FILE),
            ("POST /echo", length, 200, body),
            ("POST /echo", coded, 200, body),
            ("POST /read", length, 200, str(len(body)).encode()),
            ("POST /read", coded, 200, str(len(body)).encode()),
        ]
    )
    return line.encode() + b" HTTP/1.1\r\nHost: t\r\n" + rest, status, answer


def check(response, status, answer):
    assert response.status == status
    if answer is not None and answer.startswith(b'"q"'):
        assert answer in response.body
    elif answer is not None:
        assert response.body == answer


def send(client, data, rng):
    """Send in pieces of random sizes; the answers are read meanwhile."""
    with suppress(OSError):
        while data:
            size = rng.choice([1, 10, 1000, 100000])
            client.send(data[:size])
            data = data[size:]


def proper(client, rng):
    """Pipelines of valid requests in random pieces, read to the end."""
    for _ in range(rng.randrange(1, 4)):
        wanted = [request(rng) for _ in range(rng.choice([1, 1, 1, 2, 5]))]
        data = b"".join(raw for raw, _, _ in wanted)
        sender = threading.Thread(target=send, args=(client, data, random.Random(rng.random())))
        sender.start()
        for _, status, answer in wanted:
            check(client.response(), status, answer)
        sender.join()


def impolite(client, rng):
    """Requests that are cut, garbled or left, and answers that are not read."""
    raw = b"".join(request(rng)[0] for _ in range(rng.randrange(1, 4)))
    habit = rng.randrange(5)
    if habit == 0:
        raw = raw[: rng.randrange(len(raw))]
    elif habit == 1:
        at = rng.randrange(len(raw))
        raw = raw[:at] + rng.randbytes(rng.randrange(1, 5)) + raw[at:]
    elif habit == 2:
        raw = rng.randbytes(rng.randrange(1, 3000))
    client.sock.settimeout(0.05)
    with suppress(OSError):
        client.send(raw)
        if rng.random() < 0.5:
            client.fill()
        if rng.random() < 0.5:
            client.half_close()
            client.fill()
    if rng.random() < 0.7:
        client.reset()


def traffic(server, seed, seconds, failures):
    rng = random.Random(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with server.connect(receive_buffer=rng.choice([None, 4096])) as client:
                (proper if rng.random() < 0.6 else impolite)(client, rng)
        except Exception as error:
            failures.append(f"seed {seed}: {error!r}")
            return


def stress(seconds, clients, seed, *args, reloads=False):
    """Traffic of `clients` threads; the failures, after the server was seen to be whole again."""
    failures = []
    with Server(APP, "--log-level", "off", *args, workers=2, files={"public/data.bin": FILE}) as server:
        before = server.fds()
        threads = [threading.Thread(target=traffic, args=(server, seed + i, seconds, failures)) for i in range(clients)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.1)
            if reloads:
                server.signal(signal.SIGHUP)
        assert server.get("/n/7").text == "7", server.tail()
        wait_until(lambda: server.fds() <= before, "all descriptors are closed")
    return failures


@pytest.mark.parametrize("reloads", [False, True], ids=["", "reloads"])
@pytest.mark.parametrize("args", [[], ["--lua-memory", "32M"]], ids=["", "memory"])
def test_random_traffic_is_answered_rightly(args, reloads):
    assert stress(2, 8, 1, *args, reloads=reloads) == []


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_long_random_traffic_is_answered_rightly():
    for seed in range(100, 1000, 100):
        assert stress(20, 16, seed, reloads=True) == []
