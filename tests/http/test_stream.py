"""ctx.stream and ctx.reader: bodies that are produced and consumed piece by piece."""

import time

import pytest
from heart_server import Server, wait_until

APP = """
local app = require("heart.v1")
app.get("/ab", function(ctx)
  return ctx.stream(function(write) write("a") write("b") end)
end)
app.get("/none", function(ctx) return ctx.stream(function() end) end)
app.get("/empty-writes", function(ctx)
  return ctx.stream(function(write) write("") write("x") write("") end)
end)
app.get("/slow", function(ctx)
  return ctx.stream(function(write)
    for i = 1, 4 do
      write("tick " .. i .. "\\n")
      app.sleep(0.15)
    end
  end)
end)
app.get("/big", function(ctx)
  return ctx.stream(function(write)
    for i = 1, 200 do write(string.rep(string.char(97 + i % 26), 50000)) end
  end)
end)
app.get("/numbers", function(ctx) return ctx.stream(function(write) for i = 1, 3 do write(i) end end) end)
app.get("/typed", function(ctx)
  ctx.set("Content-Type", "text/event-stream")
  ctx.status(202)
  return ctx.stream(function(write) write("data: 1\\n\\n") end)
end)
app.get("/ctx/:id", function(ctx)
  return ctx.stream(function(write)
    app.sleep(0.02)
    write(ctx.pathParam("id"))
  end)
end)
app.post("/count", { body = "stream" }, function(ctx)
  local bytes, chunks = 0, 0
  for chunk in ctx.reader() do
    bytes, chunks = bytes + #chunk, chunks + 1
  end
  return ctx.json { bytes = bytes, chunks = chunks }
end)
app.post("/echo", { body = "stream" }, function(ctx)
  local read = ctx.reader()
  return ctx.stream(function(write)
    for chunk in read do write(chunk) end
  end)
end)
app.post("/first", { body = "stream" }, function(ctx)
  local first = ctx.reader()()
  return #first > 0 and "saw" or "empty"
end)
app.post("/in-a-task", { body = "stream" }, function(ctx)
  local read = ctx.reader()
  local first = require("heart.v1.task").spawn(function() return #read() end)
  app.sleep(0.3)
  local bytes = first:join()
  for chunk in read do bytes = bytes + #chunk end
  return bytes
end)
app.post("/ignore", { body = "stream" }, function(ctx) return "ignored" end)
app.post("/slow-reader", { body = "stream" }, function(ctx)
  local bytes = 0
  for chunk in ctx.reader() do
    bytes = bytes + #chunk
    app.sleep(0.002)
  end
  return bytes
end)
app.post("/buffered", function(ctx)
  local parts = {}
  for chunk in ctx.reader() do parts[#parts + 1] = chunk end
  return table.concat(parts)
end)
app.get("/hello", function(ctx) return "hello" end)
"""


@pytest.fixture(scope="module")
def server():
    with Server(APP) as server:
        yield server


@pytest.mark.parametrize(
    ("target", "body"),
    [("/ab", b"ab"), ("/none", b""), ("/empty-writes", b"x"), ("/numbers", b"123"), ("/ctx/7", b"7")],
)
def test_stream_is_a_chunked_body(server, target, body):
    """An empty write must not end the body: a chunk of size 0 is its end (RFC 9112 section 7.1)."""
    with server.connect() as client:
        response = client.fetch(target=target)
        assert (response.status, response["transfer-encoding"], response.body) == (200, "chunked", body)
        assert client.fetch(target="/hello").text == "hello"


def test_stream_has_status_and_headers(server):
    response = server.get("/typed")
    assert (response.status, response["content-type"], response.body) == (202, "text/event-stream", b"data: 1\n\n")


def test_chunks_arrive_as_they_are_written(server):
    with server.connect() as client:
        client.request(target="/slow")
        client.head()
        begin = time.monotonic()
        times = [time.monotonic() - begin for _ in client.chunks()]
        assert len(times) == 4
        assert times[0] < 0.12
        assert times[3] > 0.4


def test_big_stream_is_complete(server):
    expected = b"".join(bytes([97 + i % 26]) * 50000 for i in range(1, 201))
    with server.connect(receive_buffer=8192) as client:
        assert client.fetch(target="/big").body == expected


def test_streams_interleave_on_one_worker(server):
    clients = [server.connect() for _ in range(20)]
    begin = time.monotonic()
    for client in clients:
        client.request(target="/slow")
    for client in clients:
        assert client.response().body.count(b"tick") == 4
        client.close()
    assert time.monotonic() - begin < 1.6


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 1 << 20, 4 << 20])
def test_reader_gives_the_whole_body(server, size):
    with server.connect() as client:
        assert client.fetch("POST", "/count", body=b"x" * size).json["bytes"] == size
        client.request("POST", "/count", [("Transfer-Encoding", "chunked")])
        for at in range(0, size, 50000):
            n = min(50000, size - at)
            client.send(b"%x\r\n%s\r\n" % (n, b"y" * n))
        assert client.send(b"0\r\n\r\n").response().json["bytes"] == size
        assert client.fetch(target="/hello").text == "hello"


def test_reader_sees_chunks_before_the_end_arrives(server):
    """The handler runs when the head is complete."""
    with server.connect() as client:
        client.request("POST", "/first", [("Content-Length", "100000")]).send(b"x" * 10)
        assert client.response().text == "saw"


def test_echo_while_the_body_still_comes(server):
    with server.connect() as client:
        client.request("POST", "/echo", [("Transfer-Encoding", "chunked")])
        client.send(b"3\r\nabc\r\n")
        assert client.head().status == 200
        chunks = client.chunks()
        assert next(chunks) == b"abc"
        client.send(b"3\r\ndef\r\n")
        assert next(chunks) == b"def"
        client.send(b"0\r\n\r\n")
        assert list(chunks) == []


def test_echo_of_much_data_with_back_pressure_on_both_sides(server):
    data = bytes(range(256)) * 8192
    with server.connect() as client:
        client.request("POST", "/echo", [("Content-Length", str(len(data)))])
        client.sock.setblocking(False)
        sent = 0
        deadline = time.monotonic() + 10
        while sent < len(data) and time.monotonic() < deadline:
            try:
                sent += client.sock.send(data[sent : sent + 65536])
            except BlockingIOError:
                time.sleep(0.001)
            try:
                client.fill()
            except BlockingIOError:
                pass
        client.sock.settimeout(10)
        assert client.response().body == data


def test_slow_reader_in_lua_bounds_what_is_buffered(server):
    """The handler's pace reaches the sender through TCP."""
    before = server.rss()
    size = 4 << 20
    with server.connect() as client:
        client.request("POST", "/slow-reader", body=b"x" * size)
        assert server.rss() - before < 3 << 20
        assert client.response().text == str(size)


def test_part_read_by_a_task_leaves_the_rest_for_the_handler(server):
    """More than one read brings arrives while neither of them reads."""
    with server.connect() as client:
        client.send(b"POST /in-a-task HTTP/1.1\r\nHost: t\r\nContent-Length: 400000\r\n\r\n")
        for _ in range(100):
            client.send(b"x" * 4000)
            time.sleep(0.001)
        assert client.response().text == "400000"


def test_ignored_body_does_not_become_a_request(server):
    evil = b"GET /hello HTTP/1.1\r\nHost: evil\r\n\r\n"
    with server.connect() as client:
        assert client.fetch("POST", "/ignore", body=evil * 10).text == "ignored"
        try:
            client.request(target="/hello")
            assert client.response().text == "hello"
            assert client.quiet(0.05)
        except (AssertionError, OSError):
            assert client.closed()


def test_ignored_body_with_continue_is_not_asked_for(server):
    with server.connect() as client:
        client.request("POST", "/ignore", [("Expect", "100-continue"), ("Content-Length", "100")])
        assert client.response().text == "ignored"


def test_reader_asks_for_the_body_with_continue(server):
    with server.connect() as client:
        client.request("POST", "/count", [("Expect", "100-continue"), ("Content-Length", "3")])
        assert client.response().status == 100
        assert client.send(b"abc").response().json["bytes"] == 3


def test_reader_of_a_buffered_body_works_too(server):
    assert server.post("/buffered", b"all of it").text == "all of it"


def test_writer_learns_that_the_client_left(serve):
    """write() gives nil and "closed", so that an endless stream can end."""
    server = serve("""
        local app = require("heart.v1")
        local ended = "not yet"
        app.get("/endless", function(ctx)
          return ctx.stream(function(write)
            local ok, why
            repeat
              ok, why = write(string.rep("x", 10000))
              app.sleep(0.005)
            until not ok
            ended = why
          end)
        end)
        app.get("/ended", function(ctx) return ended end)
    """)
    with server.connect() as client:
        client.request(target="/endless")
        client.exactly(20000)
        client.reset()
    wait_until(lambda: server.get("/ended").text == "closed", "the stream ends")


def test_writer_kept_after_its_stream_raises(serve):
    """It must never write into somebody else's response."""
    server = serve("""
        local app = require("heart.v1")
        local kept
        app.get("/keep", function(ctx) return ctx.stream(function(write) kept = write write("a") end) end)
        app.get("/use", function(ctx) return tostring(pcall(kept, "evil")) end)
        app.get("/use-in-stream", function(ctx)
          return ctx.stream(function(write) write(tostring(pcall(kept, "evil"))) end)
        end)
    """)
    with server.connect() as client:
        assert client.fetch(target="/keep").text == "a"
        assert client.fetch(target="/use").text == "false"
        assert client.fetch(target="/use-in-stream").text == "false"


def test_reader_kept_after_its_request_gives_nothing(serve):
    server = serve("""
        local app = require("heart.v1")
        local kept
        app.post("/keep", { body = "stream" }, function(ctx) kept = ctx.reader() return kept() end)
        app.post("/use", { body = "stream" }, function(ctx)
          local ok, part = pcall(kept)
          return ok and part or "refused"
        end)
    """)
    assert server.post("/keep", b"first").text == "first"
    assert server.post("/use", b"second").text == "refused"


def test_second_stream_and_late_headers_are_errors(serve):
    """The head is sent once."""
    server = serve("""
        local app = require("heart.v1")
        local function tried(f, ...)
          return tostring((pcall(f, ...)))
        end
        app.get("/", function(ctx)
          return ctx.stream(function(write)
            write(tried(ctx.stream, function() end))
            write(tried(ctx.set, "X-Late", "1"))
            write(tried(ctx.status, 404))
            write(tried(ctx.cookies, "a", "b"))
          end)
        end)
    """)
    response = server.get()
    assert (response.status, response.text) == (200, "false" * 4)
    assert response["x-late"] is None
