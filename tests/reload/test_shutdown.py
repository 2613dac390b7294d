"""SIGTERM and SIGINT: finish what is in flight, exit 0 in time; nothing may hang."""

import errno
import re
import signal
import socket
import subprocess
import time

import pytest
from heart_server import PATIENCE, Server, heart, heart_command, heart_environment, need, wait_until

APP = """
local app = require("heart.v1")
local log = require("heart.v1.log")
app.get("/", function(ctx) return "hello" end)
app.get("/sleep/:s", function(ctx) log.info("begun") app.sleep(tonumber(ctx.pathParam("s"))) return "awake" end)
app.get("/stuck", function(ctx) log.info("begun") while true do end end)
app.get("/big", function(ctx) return string.rep("x", 32 * 1024 * 1024) end)
app.post("/", function(ctx) return #ctx.bytes() end)
app.get("/stream", function(ctx)
  return ctx.stream(function(write)
    log.info("begun")
    for _ = 1, 10 do write("x") app.sleep(0.05) end
  end)
end)
"""


def stop(server, number=signal.SIGTERM):
    """Send the signal; (exit code, seconds until the end)."""
    begin = time.monotonic()
    server.signal(number)
    code = server.wait()
    return code, time.monotonic() - begin


def is_refused(address):
    """Whether nobody listens there."""
    with socket.socket() as s:
        return s.connect_ex(address) == errno.ECONNREFUSED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_idle_server_ends_at_once(serve, number, workers):
    server = serve(APP, workers=workers)
    code, seconds = stop(server, number)
    assert code == 0
    assert seconds < PATIENCE / 10
    assert "Traceback" not in server.logs()


def test_kept_connections_are_closed(serve):
    server = serve(APP)
    clients = [server.connect() for _ in range(50)]
    for client in clients:
        client.fetch()
    code, seconds = stop(server)
    assert code == 0
    assert seconds < PATIENCE / 10
    assert all(client.closed() for client in clients)


def test_request_in_flight_is_finished(serve):
    server = serve(APP)
    with server.connect() as client:
        client.request(target="/sleep/0.6")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        response = client.response()
        assert (response.text, response["connection"]) == ("awake", "close")
        assert client.closed()
    assert server.wait() == 0


def test_stream_and_upload_in_flight_are_finished(serve):
    server = serve(APP)
    with server.connect() as reader, server.connect() as writer:
        reader.request(target="/stream")
        writer.request("POST", "/", [("Content-Length", "6"), ("Expect", "100-continue")])
        assert writer.head().status == 100
        writer.send(b"abc")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        time.sleep(0.1)
        writer.send(b"def")
        assert writer.response().text == "6"
        assert reader.response().body == b"x" * 10
    assert server.wait() == 0


def test_slow_reader_gets_its_answer(serve):
    server = serve(APP)
    with server.connect(receive_buffer=65536) as client:
        client.request(target="/big")
        client.head()
        server.signal(signal.SIGTERM)
        time.sleep(0.2)
        assert len(client.exactly(32 << 20)) == 32 << 20
    assert server.wait() == 0


def test_new_connections_are_refused_while_it_drains(serve):
    server = serve(APP)
    address = server.address()
    with server.connect() as client:
        client.request(target="/sleep/2")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        wait_until(lambda: is_refused(address), "connections are refused")
        assert server.alive()
        assert client.response().text == "awake"
    assert server.wait() == 0


def test_pipeline_that_arrived_is_answered(serve):
    """The request in flight is finished; what was behind it is either answered or visibly not."""
    server = serve(APP)
    with server.connect() as client:
        client.request(target="/sleep/0.4").request(target="/")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        assert client.response().text == "awake"
        rest = client.until_close()
        assert rest == b"" or rest.endswith(b"hello")
    assert server.wait() == 0


def test_shutdown_under_load_fails_no_request(serve):
    """wrk-like clients see refused connects at worst: no answer is cut, none is an error."""
    h2load = need("h2load", "nghttp2-client")
    server = serve(APP, "--no-access-log", workers=2)
    load = subprocess.Popen(
        [h2load, "--h1", "-D", "3", "-c", "32", server.url + "/"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(1)
    code, _ = stop(server)
    out = load.communicate(timeout=60)[0]
    assert code == 0
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out).groups()
    assert int(codes[0]) > 500
    assert codes[1:] == ("0", "0", "0")


def test_every_answer_begun_under_load_is_complete(serve):
    """Own clients, which can tell a cut answer from a closed connection."""
    server = serve(APP, workers=2)
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        client.fetch()
        client.request(target="/sleep/0.3")
    server.wait_begun(len(clients))
    server.signal(signal.SIGTERM)
    for client in clients:
        assert client.response().text == "awake"
        assert client.closed()
    assert server.wait() == 0


def test_second_signal_exits_at_once(serve):
    server = serve(APP)
    with server.connect() as client:
        client.request(target="/sleep/5")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        server.wait_log("stopping")
        assert server.alive()
        _, seconds = stop(server)
        assert seconds < PATIENCE / 10


@pytest.mark.parametrize("workers", [1, 2])
def test_stuck_handler_ends_in_the_drain_time_and_is_named(serve, workers):
    server = serve(APP, "--drain-timeout", 0.5, workers=workers)
    with server.connect() as client:
        client.request(target="/stuck")
        server.wait_begun()
        code, seconds = stop(server)
    assert code == 1
    assert 0.4 < seconds < 3
    assert re.search(r"(?i)worker\D{0,3}[01]\b", server.logs())


def test_sleeping_handler_past_the_drain_time_is_cut(serve):
    server = serve(APP, "--drain-timeout", 0.4)
    with server.connect() as client:
        client.request(target="/sleep/30")
        server.wait_begun()
        code, seconds = stop(server)
    assert seconds < 3
    assert code in (0, 1)


def test_client_that_never_reads_ends_in_the_drain_time(serve):
    server = serve(APP, "--drain-timeout", 0.5)
    with server.connect(receive_buffer=4096) as client:
        client.request(target="/big")
        client.head()
        _, seconds = stop(server)
        assert seconds < 3


def test_half_sent_requests_do_not_hold_the_end(serve):
    """Nothing was promised to a connection whose head is not complete."""
    server = serve(APP, "--drain-timeout", 5)
    clients = [server.connect().send(b"GET / HTTP/1.1\r\nHos") for _ in range(10)]
    code, seconds = stop(server)
    assert code == 0
    assert seconds < 4
    for client in clients:
        client.close()


def test_signal_during_start_up_ends_cleanly(tmp_path):
    """Whenever it comes, the process ends by itself."""
    script = tmp_path / "main.lua"
    script.write_text(APP)
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
        server = Server(script)
        process = None
        try:
            server.ready = lambda: True
            server.start()
            process = server.process
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) in (0, -signal.SIGTERM)
        finally:
            server.kill()


def test_hang_up_signal_during_a_drain_is_harmless(serve):
    server = serve(APP)
    with server.connect() as client:
        client.request(target="/sleep/0.5")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        time.sleep(0.05)
        server.signal(signal.SIGHUP)
        assert client.response().text == "awake"
    assert server.wait() == 0


def test_error_in_a_stop_handler_does_not_hold_the_end(serve):
    server = serve('local app = require("heart.v1") app.on("stop", function() error("in stop") end)')
    code, seconds = stop(server)
    assert code == 0
    assert seconds < PATIENCE / 10
    assert "in stop" in server.logs()


def test_load_error_ends_without_a_listener(tmp_path):
    script = tmp_path / "main.lua"
    script.write_text("error('no')")
    result = heart("serve", script, "--port", "0", "--workers", "2")
    assert result.returncode == 1
    assert "listening" not in result.stderr


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_fifty_shutdowns_under_load_all_end_well():
    h2load = need("h2load", "nghttp2-client")
    for i in range(50):
        with Server(APP, "--no-access-log", workers=2) as server:
            load = subprocess.Popen(
                [h2load, "--h1", "-D", "2", "-c", "64", server.url + "/"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(0.2 + i % 10 / 20)
            assert stop(server)[0] == 0
            wait_until(lambda load=load: load.poll() is not None, "h2load ends", 30)


@pytest.mark.parametrize("workers", [2, 64])
def test_stop_while_the_script_loads_is_clean(tmp_path, workers):
    """A signal during start-up ends with 0, once the script has loaded. Of many workers some have not even begun."""
    script = tmp_path / "main.lua"
    begun = tmp_path / "begun"
    script.write_text(f"io.open('{begun}', 'w') local t = os.clock() while os.clock() - t < 0.6 do end")
    with subprocess.Popen(
        [*heart_command(), "serve", script, "--port", "0", "--workers", str(workers)],
        env=heart_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        wait_until(begun.exists, "the script runs")
        process.terminate()
        _, errors = process.communicate(timeout=15)
    assert process.returncode == 0, errors
