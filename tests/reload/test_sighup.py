"""SIGHUP: new code for new requests, the old one finishes what it began, a failing load changes nothing."""

import re
import signal
import subprocess
import threading
import time

import pytest
from heart_server import PATIENCE, need, wait_until


def app(text, more=""):
    return f"""
local app = require("heart.v1")
local log = require("heart.v1.log")
app.get("/", function(ctx) return "{text}" end)
app.get("/sleep/:s", function(ctx) log.info("begun") app.sleep(tonumber(ctx.pathParam("s"))) return "{text}" end)
{more}
"""


def reload(server, code):
    """Write new code and send SIGHUP."""
    server.write("main.lua", code)
    server.signal(signal.SIGHUP)


def serves(server, text, connections=20):
    """Every worker answers with `text` (each new connection may reach another one)."""
    wait_until(lambda: all(server.get().text == text for _ in range(connections)), lambda: f"{text}:\n{server.tail()}")


@pytest.mark.parametrize("workers", [1, 2])
def test_new_code_is_served_by_all_workers(serve, workers):
    server = serve(app("old"), workers=workers)
    assert server.get().text == "old"
    pid = server.pid
    reload(server, app("new"))
    serves(server, "new")
    assert server.alive() and server.pid == pid


def test_modules_are_loaded_anew(serve):
    code = 'local m = require("part") require("heart.v1").get("/", function(ctx) return m end)'
    server = serve(code, files={"part.lua": 'return "old"'})
    server.write("part.lua", 'return "new"')
    server.signal(signal.SIGHUP)
    serves(server, "new")


def test_kept_connection_sees_the_new_code(serve):
    server = serve(app("old"))
    with server.connect() as client:
        assert client.fetch().text == "old"
        reload(server, app("new"))
        wait_until(lambda: client.fetch().text == "new", "the kept connection is served by the new code")


def test_request_in_flight_finishes_on_the_old_code(serve):
    server = serve(app("old"))
    with server.connect() as client:
        client.request(target="/sleep/0.6")
        server.wait_begun()
        reload(server, app("new"))
        serves(server, "new")
        assert client.response().text == "old"
        assert client.fetch().text == "new"


def test_removed_and_added_routes_follow_the_code(serve):
    server = serve(app("old", 'app.get("/gone", function(ctx) return "x" end)'))
    assert server.get("/gone").status == 200
    reload(server, app("new", 'app.get("/added", function(ctx) return "y" end)'))
    serves(server, "new")
    assert server.get("/gone").status == 404
    assert server.get("/added").text == "y"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ('local x =\nerror("', r"main\.lua:2"),
        ('\n\nerror("load failed")', r"main\.lua:3: load failed"),
        ('require("not.there")', "module 'not.there' not found"),
        ("return (nil).field", r"main\.lua:1: attempt to index"),
    ],
)
def test_failing_load_keeps_the_old_code_and_says_why(serve, code, why):
    server = serve(app("old"), workers=2)
    reload(server, code)
    server.wait_log(why)
    assert all(server.get().text == "old" for _ in range(20))
    reload(server, app("new"))
    serves(server, "new")


def test_failure_of_one_worker_switches_none(serve):
    """All or nothing: the code fails in whichever worker loads it second."""
    server = serve(app("old"), workers=2)
    token = server.write("token", "")
    code = f"""
        if not os.rename("{token}", "{token}.taken") then error("second load") end
    """
    reload(server, code + app("new"))
    server.wait_log("second load")
    time.sleep(0.1)
    assert {server.get().text for _ in range(40)} == {"old"}


def test_load_that_hangs_fails_and_names_the_worker(serve):
    """A worker that does not answer in 5 s; the others go on with the old code."""
    server = serve(app("old"), workers=2)
    token = server.write("token", "")
    code = f"""
        if os.rename("{token}", "{token}.taken") then
          local stop = os.time() + 8
          while os.time() < stop do end
        end
    """
    reload(server, code + app("new"))
    match = server.wait_log(r"(?i)worker\D{0,3}([01])\b.*", timeout=PATIENCE)
    assert match[1] in "01"
    wait_until(lambda: all(server.get().text == "old" for _ in range(10)), "both workers answer with the old code", 30)


def test_repeated_reloads_leave_nothing_behind(serve):
    server = serve(app("version 0"))
    memory = descriptors = None
    for i in range(1, 31):
        reload(server, app(f"version {i}"))
        serves(server, f"version {i}", 3)
        if i == 10:
            memory, descriptors = server.rss(), server.fds()
    assert server.rss() - memory < 4 << 20
    wait_until(lambda: server.fds() <= descriptors, "descriptors are closed")


def test_signals_in_quick_succession_end_with_the_last_code(serve):
    server = serve(app("version 0"), workers=2)
    for i in range(1, 11):
        reload(server, app(f"version {i}"))
    serves(server, "version 10")


def test_old_state_lives_at_most_its_grace(serve):
    """A handler that sleeps on past --reload-grace loses its state, and its client the answer."""
    server = serve(app("old"), "--reload-grace", 0.5)
    with server.connect() as client:
        client.request(target="/sleep/5")
        server.wait_begun()
        begin = time.monotonic()
        reload(server, app("new"))
        serves(server, "new")
        try:
            assert client.response().status >= 500
        except (AssertionError, ConnectionResetError):
            pass
        assert time.monotonic() - begin < 3
    assert server.get().text == "new"


def test_stop_runs_on_the_old_state_and_start_on_the_new(serve, tmp_path):
    log = tmp_path / "events"

    def code(name):
        return app(
            name,
            f"""
            local function note(what)
              local f = io.open("{log}", "a")
              f:write(what, " {name}\\n")
              f:close()
            end
            app.on("start", function() note("start") end)
            app.on("stop", function() note("stop") end)
            """,
        )

    server = serve(code("old"))
    reload(server, code("new"))
    serves(server, "new")
    wait_until(lambda: "stop old" in log.read_text(), "the old state's stop")
    assert sorted(log.read_text().splitlines()) == ["start new", "start old", "stop old"]


@pytest.mark.parametrize("pipeline", ["1", "8"])
def test_reload_under_load_loses_no_request(serve, pipeline):
    h2load = need("h2load", "nghttp2-client")
    server = serve(app("version 0"), "--no-access-log", workers=2)
    load = subprocess.Popen(
        [h2load, "--h1", "-D", "3", "-c", "32", "-m", pipeline, server.url + "/"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for i in range(1, 6):
        time.sleep(0.4)
        reload(server, app(f"version {i}"))
    out = load.communicate(timeout=60)[0]
    assert " 0 failed, 0 errored, 0 timeout" in out
    done, succeeded = re.search(r"(\d+) done, (\d+) succeeded", out).groups()
    assert done == succeeded
    assert int(done) > 500
    serves(server, "version 5")


def test_reload_during_streams_cuts_none(serve):
    stream = """
        app.get("/stream", function(ctx)
          return ctx.stream(function(write)
            for i = 1, 20 do write("x") app.sleep(0.03) end
          end)
        end)
    """
    server = serve(app("old", stream), workers=2)
    bodies = []

    def read():
        bodies.append(server.get("/stream").body)

    threads = [threading.Thread(target=read) for _ in range(10)]
    for thread in threads:
        thread.start()
    time.sleep(0.15)
    reload(server, app("new", stream))
    for thread in threads:
        thread.join()
    assert bodies == [b"x" * 20] * 10


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_hundred_reloads_under_load_lose_no_request(serve):
    h2load = need("h2load", "nghttp2-client")
    server = serve(app("version 0"), "--no-access-log", workers=2)
    load = subprocess.Popen(
        [h2load, "--h1", "-D", "60", "-c", "64", server.url + "/"], stdout=subprocess.PIPE, text=True
    )
    for i in range(1, 101):
        time.sleep(0.5)
        reload(server, app(f"version {i}"))
    out = load.communicate(timeout=120)[0]
    assert " 0 failed, 0 errored, 0 timeout" in out
    serves(server, "version 100")
