"""Random clients against an application that uses every feature: requests in pipelines, cut into random pieces, some
with their connection closed or reset at a random moment. What is answered is checked to the byte.

Mix(server, seed).run(seconds) returns the number of responses that were checked.
"""

import random
import threading
import time
import zlib

from heart_server import PATIENCE, Client

LIMIT = 20000  # max_body of /limited
FILES = {
    "files/small.txt": b"small file",
    "files/big.bin": random.Random(3).randbytes(300_000),
    "inside/deep.txt": b"behind middleware",
}

APP = """
local app = require("heart.v1")
local context = require("heart.v1.context")

local function number(ctx, name) return tonumber(ctx.pathParam(name)) end
local function pattern(n) return ("0123456789abcdef"):rep(math.ceil(n / 16)):sub(1, n) end

app.static("/files", "files")
app.get("/hello", function() return "hello" end)
app.get("/id/:id", function(ctx) return ctx.text(ctx.pathParam("id") .. " " .. ctx.queryParam("q")) end)
app.get("/sleep/:ms", function(ctx) app.sleep(number(ctx, "ms") / 1000) return "slept " .. context.pathParam("ms") end)
app.get("/big/:n", function(ctx) return pattern(number(ctx, "n")) end)
app.get("/stream/:n/:size", function(ctx)
  return ctx.stream(function(write)
    for i = 1, number(ctx, "n") do
      write(pattern(number(ctx, "size")))
      if i % 3 == 0 then app.sleep(0.001) end
    end
  end)
end)
app.get("/generator/:n", function(ctx)
  local out = {}
  for v in coroutine.wrap(function()
    for i = 1, number(ctx, "n") do app.sleep(0) coroutine.yield(i) end
  end) do out[#out + 1] = v end
  return table.concat(out, ",")
end)
app.get("/status/:code", function(ctx) return number(ctx, "code"), "body", { ["X-Code"] = ctx.pathParam("code") } end)
app.get("/error", function() error("now") end)
app.get("/error/slept", function() app.sleep(0.002) error({ code = 1 }) end)
app.get("/error/late", function(ctx)
  return ctx.stream(function(write) write("part") app.sleep(0.002) error("late") end)
end)
app.get("/cookies", function(ctx)
  ctx.cookies("a", ctx.cookies("b"), { path = "/x" })
  ctx.clearCookie("c")
  return ctx.redirect("/hello")
end)
app.post("/echo", function(ctx) return ctx.bytes() end)
app.post("/form", function(ctx) return ctx.formParam("name") end)
app.post("/limited", { max_body = 20000 }, function(ctx) return #ctx.bytes() end)
app.post("/slow-echo", function(ctx) app.sleep(0.002) return ctx.bytes() end)
app.post("/pipe", { body = "stream" }, function(ctx)
  local read = ctx.reader()
  return ctx.stream(function(write) for part in read do write(part) end end)
end)
app.post("/count", { body = "stream" }, function(ctx)
  local n = 0
  for part in ctx.reader() do
    n = n + #part
    if n % 7 == 0 then app.sleep(0) end
  end
  return n
end)
app.post("/ignore", { body = "stream" }, function(ctx) return "ignored" end)
app.onerror(function(ctx, err)
  app.sleep(0.001)
  return 500, "failed: " .. ctx.path()
end)
app.use(function(ctx, next)
  local result = next()
  if ctx.queryParam("wait") ~= "" then app.sleep(0.002) end
  return result
end)
app.static("/inside", "inside")
app.get("/wrapped", function() app.sleep(0.001) return "wrapped" end)
"""


def pattern(n):
    return (b"0123456789abcdef" * (n // 16 + 1))[:n]


class Request:
    """One request: its bytes, and what must come back. `last`: the connection ends with it."""

    def __init__(self, method, target, status=200, body=None, sent=None, headers=(), last=False, version="1.1"):
        self.method = method
        self.target = target
        self.status = status
        self.body = body
        self.sent = sent
        self.headers = list(headers)
        self.last = last
        self.version = version

    def data(self, rng):
        lines = [f"{self.method} {self.target} HTTP/{self.version}", "Host: t", *self.headers]
        payload = b""
        if self.sent is not None:
            if self.version == "1.1" and rng.random() < 0.5:
                lines.append("Transfer-Encoding: chunked")
                payload = chunked(rng, self.sent)
            else:
                lines.append(f"Content-Length: {len(self.sent)}")
                payload = self.sent
        return "\r\n".join([*lines, "", ""]).encode() + payload

    def __repr__(self):
        sent = "" if self.sent is None else f" ({len(self.sent)})"
        return f"{self.method} {self.target} {self.version}{sent}"

    def check(self, client):
        head = self.method == "HEAD"
        response = client.response(head=head)
        while response.status == 100:
            response = client.response(head=head)
        assert response.status == self.status, (self.method, self.target, response)
        if head or self.status in (204, 304):
            assert response.body == b""
        elif self.body is not None:
            assert response.body == self.body, (self.target, len(response.body), response.body[:80])


def chunked(rng, body):
    out, at = b"", 0
    while at < len(body):
        n = min(len(body) - at, rng.choice((1, 3, 100, 5000, 70000)))
        extension = b";x=1" if rng.random() < 0.1 and n > 10 else b""
        out += b"%x%s\r\n%s\r\n" % (n, extension, body[at : at + n])
        at += n
    return out + b"0\r\n" + (b"Trailer: x\r\n" if rng.random() < 0.2 else b"") + b"\r\n"


def random_request(rng):
    """Any request that leaves its connection usable."""
    n = rng.choice((0, 1, 100, 5000, 40000, 200_000))
    body = rng.randbytes(rng.choice((0, 1, 10, 1000, 30000, 100_000)))
    ident = str(rng.randrange(10**9))
    method = "HEAD" if rng.random() < 0.15 else "GET"
    wait = rng.choice(("", "?wait=1"))
    expect = ["Expect: 100-continue"] if rng.random() < 0.1 else []
    return rng.choice(
        (
            lambda: Request(method, "/hello", body=b"hello"),
            lambda: Request(method, f"/id/{ident}?q=%41", body=b"%s A" % ident.encode()),
            lambda: Request(method, f"/sleep/{n % 7}", body=b"slept %d" % (n % 7)),
            lambda: Request(method, f"/big/{n}", body=pattern(n)),
            lambda: Request(method, f"/stream/{n % 9}/{n}", body=pattern(n) * (n % 9)),
            lambda: Request(method, "/generator/5", body=b"1,2,3,4,5"),
            lambda: Request(method, "/status/204", 204),
            lambda: Request(method, "/status/304", 304),
            lambda: Request(method, "/status/418", 418, b"body"),
            lambda: Request(method, "/error", 500, b"failed: /error"),
            lambda: Request(method, "/error/slept", 500, b"failed: /error/slept"),
            lambda: Request(method, "/cookies", 302, b"", headers=["Cookie: b=1; c=2"]),
            lambda: Request(method, "/files/small.txt", body=FILES["files/small.txt"]),
            lambda: Request(method, "/files/big.bin", body=FILES["files/big.bin"]),
            lambda: Request(method, "/inside/deep.txt" + wait, body=FILES["inside/deep.txt"]),
            lambda: Request(method, "/wrapped" + wait, body=b"wrapped"),
            lambda: Request(method, "/missing/" + ident, 404),
            lambda: Request("POST", "/hello", 405, sent=body),
            lambda: Request("OPTIONS", "/echo", 204),
            lambda: Request("OPTIONS", "*", 204),
            lambda: Request("POST", "/echo", body=body, sent=body, headers=expect),
            lambda: Request("POST", "/slow-echo", body=body, sent=body, headers=expect),
            lambda: Request("POST", "/count", body=b"%d" % len(body), sent=body, headers=expect),
            lambda: Request("POST", "/limited", body=b"%d" % LIMIT, sent=bytes(LIMIT)),
            lambda: Request("GET", "/hello", body=b"hello", version="1.0", headers=["Connection: keep-alive"]),
            lambda: Request("GET", "/files/small.txt", body=FILES["files/small.txt"], sent=body[:1000]),
            lambda: Request(
                "POST",
                "/form",
                body=b"a b",
                sent=b"x=1&name=a+b",
                headers=["Content-Type: application/x-www-form-urlencoded"],
            ),
        )
    )()


def last_request(rng):
    """One after which the server closes: /pipe answers before it has read its body."""
    body = rng.randbytes(200_000)
    return rng.choice(
        (
            lambda: Request("GET", "/hello", body=b"hello", headers=["Connection: close"], last=True),
            lambda: Request("GET", "/stream/3/1000", body=pattern(1000) * 3, version="1.0", last=True),
            lambda: Request("GET", "/sleep/2", body=b"slept 2", version="1.0", last=True),
            lambda: Request("POST", "/limited", 413, sent=bytes(LIMIT + 1), last=True),
            lambda: Request("POST", "/pipe", body=body, sent=body, last=True),
            lambda: Request("POST", "/ignore", body=b"ignored", sent=bytes(5000), last=True),
            lambda: Request("GET", "/hello", 400, headers=["Content-Length: 1", "Content-Length: 2"], last=True),
            lambda: Request("BREW", "/hello", 501, headers=["Connection: close"], last=True),
        )
    )()


class Mix:
    """Random clients, each a thread with a generator of its own. lax: all leave before the end, nothing is checked."""

    def __init__(self, server, seed, clients=12, lax=False):
        self.server = server
        self.seed = seed
        self.clients = clients
        self.lax = lax
        self.checked = 0
        self.failures = []

    def run(self, seconds, every=None):
        """Go on for `seconds`; `every` is called again and again meanwhile."""
        print(f"seed {self.seed}")
        self.stop = time.monotonic() + seconds
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.clients)]
        for thread in threads:
            thread.start()
        while time.monotonic() < self.stop and not self.failures:
            if every:
                every()
            time.sleep(0.05)
        for thread in threads:
            thread.join(2 * PATIENCE)
        assert not self.failures, self.failures[0]
        assert not any(thread.is_alive() for thread in threads), "a client waits for ever"
        return self.checked

    def client(self, number):
        rng = random.Random(zlib.crc32(f"{self.seed}/{number}".encode()))
        while time.monotonic() < self.stop and not self.failures:
            try:
                self.connection(rng)
            except Exception as error:  # also a timeout: nothing may be left unanswered
                self.failures.append(f"seed {self.seed}, client {number}: {type(error).__name__}: {error}")

    def connection(self, rng):
        requests = [random_request(rng) for _ in range(rng.choice((1, 1, 2, 4, 12)))]
        if rng.random() < 0.3:
            requests.append(last_request(rng))
        data = b"".join(request.data(rng) for request in requests)
        with Client(self.server.address(), receive_buffer=rng.choice((None, None, 8192))) as client:
            if self.lax or rng.random() < 0.35:
                self.leave(rng, client, data)
                return
            sender = threading.Thread(target=self.send, args=(random.Random(rng.random()), client, data))
            sender.start()
            try:
                for i, request in enumerate(requests):
                    self.check(request, client, requests[:i])
                if requests[-1].last:
                    assert client.closed(), f"open after {requests[-1]}"
            finally:
                sender.join()

    def check(self, request, client, before):
        try:
            request.check(client)
        except (OSError, AssertionError) as error:
            raise AssertionError(f"{request} after {before}: {type(error).__name__}: {error}") from error
        self.checked += 1

    @staticmethod
    def send(rng, client, data):
        """All of it, in pieces."""
        at, size = 0, rng.choice((7, 300, 20000, 1 << 20))
        if len(data) > 500 * size:
            size = 20000
        try:
            while at < len(data):
                n = rng.randrange(1, size + 1)
                client.send(data[at : at + n])
                at += n
                if rng.random() < 0.05:
                    time.sleep(rng.random() * 0.005)
        except ConnectionError:
            pass  # the server has closed after its last answer

    def leave(self, rng, client, data):
        """Send a part, damaged perhaps, take a part of the answers, go."""
        cut = bytearray(data[: rng.randrange(len(data) + 1)])
        if cut and rng.random() < 0.5:
            for _ in range(rng.randrange(1, 5)):
                cut[rng.randrange(min(len(cut), 300))] = rng.choice(b"\0\r\n :;,0159aZ%/\x7f\xff")
        try:
            client.sock.settimeout(rng.choice((0.001, 0.01, 0.05)))
            self.send(rng, client, cut)
            if rng.random() < 0.5:
                client.exactly(rng.randrange(200_000))
        except (OSError, AssertionError):
            pass
        if rng.random() < 0.5:
            client.reset()
