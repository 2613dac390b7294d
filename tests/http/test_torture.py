"""What hostile clients and odd applications do at bad moments. The end of each test also checks that the server drains
and exits with 0: a connection, request or coroutine that leaked would hold it."""

import random
import signal
import subprocess
import threading
import time

import pytest
from heart_server import PATIENCE, SANITIZED, Client, free_port, heart_command, heart_environment, wait_until
from nightly.mix import APP, FILES, Mix

SPIN = """
local app = require("heart.v1")
local function spin(seconds)
  local stop = os.clock() + seconds
  while os.clock() < stop do end
end
"""


# ---- Clients that leave under a handler --------------------------------------------------------------------


def test_stream_that_fails_after_its_client_left_is_survived(serve):
    """The flush before the reset finds the connection closed."""
    server = serve(
        SPIN
        + """
        app.get("/", function(ctx)
          return ctx.stream(function(write) write("x") spin(0.2) write("y") error("late") end)
        end)
        app.get("/ok", function() return "ok" end)
        """
    )
    for _ in range(3):
        client = server.connect()
        client.request()
        time.sleep(0.05)
        client.reset()
    assert server.get("/ok").text == "ok"


def test_body_wanted_from_a_client_that_left_leaves_no_timer(serve):
    """The "100 Continue" is what overflows the batch: its flush closes the connection under the request."""
    server = serve(
        SPIN
        + """
        app.get("/spin", function() spin(0.3) return "" end)
        app.get("/bytes/:n", function(ctx) return string.rep("x", tonumber(ctx.pathParam("n"))) end)
        app.post("/", function(ctx) return ctx.bytes() end)
        """,
        "--body-timeout",
        0.5,
    )

    def get(target):
        return f"GET {target} HTTP/1.1\r\nHost: t\r\n\r\n".encode()

    pipeline = get("/spin") + get("/bytes/30000") + get("/bytes/30000")
    size = len(server.exchange(pipeline))
    pipeline += get(f"/bytes/{65536 - 10 - size - (size - 60000) // 3}")
    size = len(server.exchange(pipeline))
    assert 65536 - 25 < size <= 65536
    client = server.connect()
    client.send(pipeline + b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    time.sleep(0.1)
    client.reset()
    time.sleep(0.3)
    clients = [server.connect(timeout=5) for _ in range(8)]
    time.sleep(0.8)
    for client in clients:
        assert client.fetch("POST", "/", body=b"alive").text == "alive"
        client.close()


# ---- Expect: 100-continue ----------------------------------------------------------------------------------


def test_continue_never_stands_inside_a_streamed_answer(serve):
    """RFC 9110 section 15.2: an interim response comes before the final one, though the handler begins with that."""
    server = serve("""
        require("heart.v1").post("/echo", { body = "stream" }, function(ctx)
          local read = ctx.reader()
          return ctx.stream(function(write) for part in read do write(part) end end)
        end)
    """)
    with server.connect() as client:
        client.request("POST", "/echo", [("Expect", "100-continue"), ("Content-Length", "5")])
        assert client.response().status == 100
        client.send(b"hello")
        response = client.response()
        assert (response.status, response.body) == (200, b"hello")


def test_body_that_comes_while_its_answer_is_a_file_is_not_served_again(serve):
    big = random.Random(1).randbytes(4 << 20)
    server = serve(
        'require("heart.v1").static("/files", "files")', files={"files/big.bin": big, "files/small.txt": "small"}
    )
    head = "GET /files/{} HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with server.connect(receive_buffer=32768) as client:
        client.send(head.format("big.bin").encode())
        response = client.head()
        assert (response.status, response["connection"]) == (200, "close")
        client.send(b"hello")
        time.sleep(0.1)
        assert client.until_close() == big
    with server.connect() as client:
        client.send(head.format("small.txt").encode()).send(b"hello")
        assert client.response().text == "small"


# ---- A ctx in foreign hands --------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["kept.reader()()", "kept.stream(function(write) write('x') end)", "write('x')"])
def test_ctx_of_another_request_cannot_wait_or_write(serve, use):
    """A handler that waits on another request's connection would wait for ever."""
    server = serve(f"""
        local app = require("heart.v1")
        local kept, write
        app.post("/keep", {{ body = "stream" }}, function(ctx) kept = ctx app.sleep(0.5) return "kept" end)
        app.get("/stream", function(ctx)
          return ctx.stream(function(w) kept, write = ctx, w w("a") app.sleep(0.5) w("b") end)
        end)
        app.get("/use", function(ctx) {use} return "used" end)
    """)
    with server.connect() as owner, server.connect(timeout=2) as other:
        if use.startswith("write"):
            owner.request(target="/stream")
        else:
            owner.request("POST", "/keep", [("Content-Length", "5")])
        time.sleep(0.1)
        assert other.fetch(target="/use").status == 500
        assert owner.response().text in ("kept", "ab")


def test_body_read_apart_from_its_head_survives_a_wait(serve):
    """It must not stay in the buffer that the next connection's input is read into."""
    server = serve("""
        local app = require("heart.v1")
        app.post("/", function(ctx) app.sleep(0.2) return ctx.bytes() end)
        app.get("/", function() return "" end)
    """)
    with server.connect() as client, server.connect() as other:
        client.request("POST", "/", [("Content-Length", "6")])
        time.sleep(0.05)
        client.send(b"secret")
        time.sleep(0.05)
        other.fetch()
        assert client.response().text == "secret"


# ---- Reload ------------------------------------------------------------------------------------------------


def test_uploads_end_with_the_grace_of_their_state_but_downloads_do_not(serve):
    """A file needs no Lua code to be sent; a body that trickles in would hold the old state for hours."""
    big = random.Random(2).randbytes(8 << 20)
    code = """
        local app = require("heart.v1")
        app.static("/files", "files")
        app.post("/", function(ctx) return "%s" end)
    """
    server = serve(code % "old", "--reload-grace", 0.5, files={"files/big.bin": big})
    with server.connect() as upload, server.connect(receive_buffer=32768) as download:
        upload.request("POST", "/", [("Content-Length", "10")]).send(b"12345")
        download.request(target="/files/big.bin")
        response = download.head()
        server.write("main.lua", code % "new")
        server.signal(signal.SIGHUP)
        wait_until(lambda: server.post("/", b"").text == "new", "the new code serves")
        begin = time.monotonic()
        assert upload.closed()
        assert time.monotonic() - begin < 2
        assert download.exactly(int(response["content-length"])) == big
        assert download.fetch("POST", "/", body=b"").text == "new"


def test_reload_after_one_that_hung_serves_the_newest_code(serve):
    """The worker answers for the load that was given up while the next one is awaited."""
    server = serve('require("heart.v1").get("/", function() return "first" end)', workers=2)
    token = server.write("token", "")
    server.write(
        "main.lua",
        f"""
        if os.rename("{token}", "{token}.taken") then
          local stop = os.time() + 8
          while os.time() < stop do end
        end
        require("heart.v1").get("/", function() return "second" end)
        """,
    )
    server.signal(signal.SIGHUP)
    server.wait_log("did not answer")
    server.write("main.lua", 'require("heart.v1").get("/", function() return "third" end)')
    server.signal(signal.SIGHUP)
    server.wait_log(r"reloaded")
    assert {server.get().text for _ in range(30)} == {"third"}


# ---- Draining ----------------------------------------------------------------------------------------------

DRAIN = """
local app = require("heart.v1")
app.get("/stream", function(ctx)
  return ctx.stream(function(write) write("a") app.sleep(0.3) write("b") end)
end)
app.get("/big", function() return string.rep("x", 16 * 1024 * 1024) end)
app.static("/files", "files")
"""


@pytest.mark.parametrize("target", ["/stream", "/big", "/files/big.bin"])
def test_connection_whose_answer_had_begun_does_not_stay_when_the_server_ends(serve, target):
    """Its head promised to keep the connection; it must not count as idle for another minute."""
    server = serve(DRAIN, files={"files/big.bin": b"y" * (16 << 20)})
    with server.connect(receive_buffer=32768) as client:
        client.request(target=target)
        response = client.head()
        server.signal(signal.SIGTERM)
        time.sleep(0.1)
        body = b"".join(client.chunks()) if target == "/stream" else client.exactly(int(response["content-length"]))
        assert body in (b"ab", b"x" * (16 << 20), b"y" * (16 << 20))
        assert client.closed()
    assert server.wait(5) == 0


def test_heads_that_trickle_in_do_not_delay_the_end(serve):
    server = serve(DRAIN, files={"files/a": ""})
    with server.connect() as slow, server.connect() as late, server.connect() as busy:
        slow.send(b"GET / HT")
        busy.request(target="/stream")
        time.sleep(0.1)
        server.signal(signal.SIGTERM)
        time.sleep(0.1)
        late.send(b"GET / HT")
        assert busy.response().text == "ab"
        assert server.wait(5) == 0


def test_stop_event_is_not_lost_when_the_signals_come_together(serve, tmp_path):
    code = f"""
        local app = require("heart.v1")
        app.on("start", function() io.open("{tmp_path}/start", "a"):write("x"):close() end)
        app.on("stop", function() io.open("{tmp_path}/stop", "a"):write("x"):close() end)
    """.replace(":close()", "")
    for delay in (0, 0.001, 0.003, 0.01):
        server = serve(code, workers=2)
        server.signal(signal.SIGHUP)
        time.sleep(delay)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        starts = (tmp_path / "start").stat().st_size
        assert (tmp_path / "stop").stat().st_size == starts


def test_end_while_loading_with_a_client_in_the_queue(tmp_path):
    """The socket listens before the script has run; nothing serves what waits there."""
    port = free_port()
    script = tmp_path / "main.lua"
    script.write_text('require("heart.v1").sleep(1)')
    command = [*heart_command(), "serve", str(script), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=heart_environment(), stdout=subprocess.DEVNULL)
    try:
        client = wait_until(lambda: connected(port), "the socket listens")
        client.request()
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert client.closed()
        client.close()
    finally:
        process.kill()
        process.wait()


def connected(port):
    try:
        return Client(("127.0.0.1", port))
    except ConnectionRefusedError:
        return None


# ---- Odd applications --------------------------------------------------------------------------------------


def test_cookie_attributes_that_raise_leave_no_half_line(serve):
    server = serve("""
        local app = require("heart.v1")
        app.get("/", function(ctx)
          local hostile = setmetatable({}, { __index = function() error("no") end })
          pcall(ctx.cookies, "a", "b", hostile)
          ctx.set("X-After", "1")
          ctx.cookies("c", "d")
          return "ok"
        end)
    """)
    response = server.get()
    assert response.text == "ok"
    assert response["x-after"] == "1"
    assert any(value.startswith("c=d") for value in response.all("set-cookie"))


def test_directories_added_while_serving_are_refused(serve):
    """Requests on their way point to the directories there are."""
    server = serve(
        """
        local app = require("heart.v1")
        app.static("/files", "files")
        app.get("/add", function() for i = 1, 100 do app.static("/more" .. i, "files") end return "added" end)
        """,
        files={"files/a.txt": "a"},
    )
    with server.connect() as client:
        client.request("GET", "/files/a.txt", [("Content-Length", "5")]).send(b"12")
        time.sleep(0.05)
        assert server.get("/add").status == 500
        client.send(b"345")
        assert client.response().text == "a"


def test_finalizers_that_fail_or_use_a_ctx_are_survived(serve):
    """They run inside the engine's own calls, where an error has nowhere to go."""
    server = serve("""
        local app = require("heart.v1")
        local function garbage(ctx, kind)
          for _ = 1, 200 do
            local p = newproxy(true)
            getmetatable(p).__gc = function()
              if kind == 1 then error("from a finalizer") end
              if kind == 2 then ctx.set("X-Late", "1") end
              if kind == 3 then app.sleep(0.01) end
              if kind == 4 then coroutine.yield() end
              if kind == 5 then ctx.stream(function(write) write(string.rep("x", 100000)) end) end
            end
          end
        end
        app.get("/:kind", function(ctx)
          garbage(ctx, tonumber(ctx.pathParam("kind")))
          if ctx.queryParam("sleep") ~= "" then app.sleep(0.001) end
          local t = {}
          for i = 1, 2000 do t[i] = { i } end
          return "done"
        end)
        app.get("/collect", function() collectgarbage() collectgarbage() return "collected" end)
    """)
    for _ in range(20):
        for kind in range(1, 6):
            for query in ("", "?sleep=1"):
                try:
                    server.get(f"/{kind}{query}")
                except (AssertionError, ConnectionError):
                    assert server.alive()
    assert server.get("/collect").status == 200


def test_memory_that_runs_out_in_odd_places_is_survived(serve):
    """In a coroutine of the handler, in onerror, after a wait, while new code loads."""
    code = """
        local app = require("heart.v1")
        local function hog()
          local t = {}
          for i = 1, 1e8 do t[i] = ("x"):rep(100) .. i end
        end
        app.get("/", function() return "%s" end)
        app.get("/coroutine", function()
          local ok, err = coroutine.resume(coroutine.create(function() app.sleep(0.001) hog() end))
          return tostring(ok) .. " " .. tostring(err)
        end)
        app.get("/wrapped", function() coroutine.wrap(hog)() end)
        app.get("/slept", function() app.sleep(0.001) hog() end)
        app.get("/pcall", function() return tostring(pcall(hog)) end)
        app.get("/stream", function(ctx)
          return ctx.stream(function(write) write("x") app.sleep(0.001) hog() end)
        end)
        app.get("/cookies", function(ctx)
          pcall(hog)
          for i = 1, 1000 do ctx.cookies("c" .. i, "v", { path = "/" .. i }) end
          return "set"
        end)
        app.onerror(function(ctx) if ctx.queryParam("again") ~= "" then hog() end return "handled" end)
        %s
    """
    server = serve(code % ("old", ""), "--lua-memory", "3M", "--log-level", "off")
    for _ in range(3):
        for target in ("/coroutine", "/wrapped", "/slept", "/pcall", "/stream", "/cookies"):
            for query in ("", "?again=1"):
                try:
                    assert server.get(target + query).status in (200, 500)
                except (AssertionError, ConnectionError):
                    assert target == "/stream"
        assert server.get().text == "old"
    server.write("main.lua", code % ("bad", "hog()"))
    server.signal(signal.SIGHUP)
    time.sleep(0.5)
    assert server.get().text == "old"
    server.write("main.lua", code % ("new", ""))
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.get().text == "new", "the new code serves")


def test_children_of_handlers_do_not_disturb_connections(serve):
    """Between vfork and exec a child holds duplicates of all sockets: epoll goes on reporting closed ones."""
    server = serve(
        """
        local app = require("heart.v1")
        app.get("/child", function() return os.execute("true") end)
        app.get("/", function() return "hello" end)
        """,
        workers=2,
    )
    stop = time.monotonic() + 3
    failures = []

    def load(target, close):
        while time.monotonic() < stop:
            try:
                client = server.connect()
                client.send(f"GET {target} HTTP/1.1\r\nHost: t\r\nConnection: {close}\r\n\r\n".encode())
                client.send(b"more input " * 10) if close == "close" else None
                client.response()
                client.reset() if random.random() < 0.5 else client.close()
            except (ConnectionError, BrokenPipeError):
                pass
            except AssertionError as error:
                failures.append(error)

    threads = [threading.Thread(target=load, args=("/child", "keep-alive")) for _ in range(2)]
    threads += [threading.Thread(target=load, args=("/", "close")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.alive()
    assert server.get().text == "hello"


def test_children_of_handlers_can_be_ended_by_signals(serve):
    """The signal mask of a thread is inherited by what it starts: blocked signals would make children immortal."""
    server = serve("""
        require("heart.v1").get("/:signal", function(ctx)
          local pipe = io.popen("kill -" .. ctx.pathParam("signal") .. " $$; echo survived")
          return pipe:read("*a")
        end)
    """)
    for name in ("TERM", "HUP", "ALRM", "USR1"):
        assert server.get(f"/{name}").text == ""


# ---- Limits ------------------------------------------------------------------------------------------------


def test_body_that_trickles_into_a_stream_is_cut_off(serve):
    """Each byte is progress of the handler, but not enough of the client."""
    server = serve(
        """
        require("heart.v1").post("/", { body = "stream" }, function(ctx)
          local n = 0
          for part in ctx.reader() do n = n + #part end
          return n
        end)
        """,
        "--body-timeout",
        0.6,
    )
    with server.connect() as client:
        client.request("POST", "/", [("Content-Length", "1000000")])
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 4:
                client.send(b"x")
                time.sleep(0.1)
        except ConnectionError:
            pass
        assert time.monotonic() - begin < 4


@pytest.mark.parametrize("full", ["0", "1"])
def test_full_worker_passes_on_what_it_was_woken_for(serve, tmp_path, full):
    """Shared sockets wake one worker for each connection; if that one is full, another must take it."""
    server = serve(
        'local core = require("heart.core") require("heart.v1").get("/", function() return core.worker end)',
        "--listen",
        "127.0.0.1:0",
        "--listen",
        f"unix:{tmp_path}/s",
        "--max-connections",
        8,
        workers=2,
        listen=2,
    )
    kept = []
    while len(kept) < 4:
        client = server.connect(0)
        if client.fetch().text == full:
            kept.append(client)
        else:
            client.close()
    for _ in range(4):
        client = server.connect(1, timeout=3)
        assert client.fetch().text != full
        kept.append(client)
    for client in kept:
        client.close()
    with server.connect(1, timeout=3) as client:
        assert client.fetch().status == 200


# ---- Everything at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("reload", [False, True], ids=["steady", "reloading"])
def test_random_mix_is_answered_to_the_byte(serve, reload):
    """Ends with the descriptors it began with, and the drain at the end proves that nothing is held."""
    server = serve(APP, "--reload-grace", 5, "--no-access-log", workers=2, files=FILES)
    server.get("/hello")
    before = server.fds()
    mix = Mix(server, seed=20261121 + reload)
    checked = mix.run(6, (lambda: server.signal(signal.SIGHUP)) if reload else None)
    assert checked > (100 if SANITIZED else 500)
    wait_until(lambda: server.fds() <= before, lambda: f"descriptors: {server.fds()}, were {before}")
    server.signal(signal.SIGTERM)
    assert server.wait(PATIENCE) == 0
