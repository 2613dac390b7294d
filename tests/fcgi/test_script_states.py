"""How scripts of `heart fcgi` get their Lua states: isolated, one request at a time, within the limits, up to date."""

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fcgi_scripts import Scripts
from heart_server import SANITIZED, wait_until

COUNT = "n = 0 function main() n = n + 1 Send(tostring(n) .. ' ' .. tostring(secret)) end"
SLOW = """
local task = require("heart.v1.task")
inside = 0
function main()
  inside = inside + 1
  local before = Env.QUERY_STRING
  task.sleep(0.15)
  assert(inside == 1, "two requests in one state")
  assert(Env.QUERY_STRING == before, "another request's variables")
  inside = inside - 1
  Send(Info.State .. " " .. before)
end
"""
STATES = """
function main()
  local lines = {}
  for name, n in pairs(ThreadData()) do lines[#lines + 1] = name:match("[^/]*$") .. " " .. n end
  table.sort(lines)
  Send(table.concat(lines, "\\n"))
end
"""
PER_SCRIPT = "WorkerThreads = 1 LuaStates = {} LuaMaxStates = {} MinFileInfoTime = 50 LuaMaxSearchRetries = 1"
SLOTS = "workers = 1 states = {} clones = {} sweep = 50 retries = 1"


def states(server, name="states.lua"):
    """The number of states of each script."""
    return {line.split()[0]: int(line.split()[1]) for line in server.ask(name).text.split("\n")}


def test_scripts_do_not_see_each_other():
    files = {"a.lua": "secret = 'of a' string.upper = nil " + COUNT, "b.lua": COUNT}
    with Scripts(files, config=PER_SCRIPT.format(1, 1)) as server:
        assert server.ask("a.lua").text == "1 of a"
        assert server.ask("b.lua").text == "1 nil"
        assert server.ask("a.lua").text == "2 of a"


def test_state_serves_one_request_at_a_time_and_grows():
    files = {"slow.lua": SLOW.replace("0.15", "0.4"), "states.lua": STATES}
    with Scripts(files, "--prod", config=PER_SCRIPT.format(2, 3)) as server:
        server.ask("slow.lua")
        wait_until(lambda: states(server)["slow.lua"] == 2, "LuaStates are built")
        answers = server.ask_all(["slow.lua"] * 12, QUERY_STRING="q")
        assert {answer.status for answer in answers} == {200}
        used = {answer.text.split()[0] for answer in answers}
        assert len(used) > 3, "LuaMaxStates, and some that are thrown away"
        wait_until(lambda: states(server)["slow.lua"] == 3, "the others are thrown away")


def test_clones_bound_what_a_script_of_luafcgid_gets():
    with Scripts({"slow.lua": SLOW}, "--prod", config=SLOTS.format(5, 2)) as server:
        begun = time.monotonic()
        answers = server.ask_all(["slow.lua"] * 6, QUERY_STRING="q")
        assert time.monotonic() - begun >= 0.45, "six requests in two states"
        assert {answer.text for answer in answers} == {"1 q", "2 q"}


def test_slots_are_bounded_and_the_oldest_goes():
    files = dict.fromkeys(("a.lua", "b.lua", "c.lua"), COUNT)
    with Scripts(files, config=SLOTS.format(2, 1)) as server:
        asked = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3"), ("b", "1"), ("a", "4"), ("c", "1")]
        for name, n in asked:
            assert server.ask(f"{name}.lua").text == f"{n} nil", name


@pytest.mark.nightly
def test_all_slots_busy_waits_in_order():
    files = {"slow.lua": SLOW, "other.lua": SLOW.replace("0.15", "0.01")}
    with Scripts(files, "--prod", config=SLOTS.format(1, 1)) as server:
        answers = server.ask_all(["slow.lua", "other.lua"] * 4, QUERY_STRING="q")
        assert [answer.status for answer in answers] == [200] * 8


def test_changed_script_replaces_its_states():
    files = {"a.lua": "function main() Send('old') end", "slow.lua": SLOW, "states.lua": STATES}
    with Scripts(files, config=PER_SCRIPT.format(1, 2)) as server:
        assert server.ask("a.lua").text == "old"
        server.change("a.lua", "function main() Send('new') end")
        wait_until(lambda: server.ask("a.lua").text == "new", "the new script answers")
        assert states(server)["a.lua"] == 1
        running = server.start_asking("slow.lua", QUERY_STRING="running")
        time.sleep(0.05)
        server.change("slow.lua", "function main() Send('changed') end")
        wait_until(lambda: server.ask("slow.lua").text == "changed", "the new script answers")
        assert running.stdout.read().endswith(b"1 running")
        running.wait()


@pytest.mark.nightly
def test_same_content_keeps_its_state_with_a_checksum():
    for checksum, expected in (("true", "2 nil"), ("false", "1 nil")):
        config = PER_SCRIPT.format(1, 1) + f" UseFileChecksum = {checksum}"
        with Scripts({"a.lua": COUNT}, config=config) as server:
            assert server.ask("a.lua").text == "1 nil"
            os.utime(server.root / "a.lua", (1, 1))
            time.sleep(0.2)
            assert server.ask("a.lua").text == expected


@pytest.mark.parametrize(
    "config", [PER_SCRIPT.format(2, 2), pytest.param(SLOTS.format(5, 2), marks=pytest.mark.nightly)]
)
def test_vanished_script_is_not_found_and_leaves_nothing(config):
    with Scripts({"a.lua": COUNT, "states.lua": STATES}, config=config) as server:
        assert server.ask("a.lua").text == "1 nil"
        (server.root / "a.lua").unlink()
        wait_until(lambda: server.ask("a.lua").status == 404, "it is not found")
        wait_until(lambda: "a.lua" not in states(server), "its states are closed")
        server.change("a.lua", COUNT)
        wait_until(lambda: server.ask("a.lua").status == 200, "it is there again")


@pytest.mark.nightly
def test_failed_script_works_once_it_is_mended():
    with Scripts({"a.lua": "error('not yet')"}, config=PER_SCRIPT.format(2, 2)) as server:
        assert [server.ask("a.lua").status for _ in range(3)] == [500] * 3
        server.change("a.lua", COUNT)
        wait_until(lambda: server.ask("a.lua").status == 200, "it works")


@pytest.mark.nightly
def test_client_that_leaves_frees_its_state():
    with Scripts({"slow.lua": SLOW}, "--prod", config=SLOTS.format(1, 1)) as server:
        for _ in range(5):
            gone = server.start_asking("slow.lua", QUERY_STRING="gone")
            time.sleep(0.03)
            gone.kill()
            gone.wait()
        assert server.ask("slow.lua", QUERY_STRING="stays").text == "1 stays"


@pytest.mark.nightly
def test_error_in_a_request_keeps_the_state():
    code = "n = 0 function main() n = n + 1 if Env.QUERY_STRING == 'x' then error('x') end Send(n) end"
    with Scripts({"a.lua": code}, config=PER_SCRIPT.format(1, 1)) as server:
        assert [server.ask("a.lua", QUERY_STRING=q).status for q in ("", "x", "")] == [200, 500, 200]
        assert server.ask("a.lua").text == "4"


# ---- The folder --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def confined(tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.lua"
    outside.write_text("function main() Send('secret') end")
    with Scripts({"a.lua": COUNT, "sub/b.lua": COUNT}) as server:
        (server.root / "link.lua").symlink_to(outside)
        (server.root / "inner.lua").symlink_to("sub/b.lua")
        (server.root / "hidden").symlink_to(outside.parent)
        server.outside = outside
        yield server


def test_scripts_outside_of_the_folder_are_refused(confined):
    outside = confined.outside
    for name in (
        str(outside),
        "link.lua",
        "hidden/secret.lua",
        f"../../../../../../../..{outside}",
        "/etc/passwd",
        "/nowhere/at/all.lua",
        f"{confined.root}/../config.lua",
        f"{confined.root}-other/a.lua",
    ):
        assert confined.ask("a.lua", SCRIPT_FILENAME=confined.root / name).status == 403, name
    assert confined.ask("a.lua", SCRIPT_FILENAME=f"proxy:fcgi://127.0.0.1:9000{outside}").status == 403


def test_scripts_inside_are_found_however_they_are_written(confined):
    root = confined.root
    for name in (f"{root}/./sub/../a.lua", f"{root}//a.lua", f"{root}/inner.lua", "sub/b.lua"):
        assert confined.ask("a.lua", SCRIPT_FILENAME=name).status == 200, name
    assert confined.ask("a.lua", SCRIPT_FILENAME=f"proxy:fcgi://127.0.0.1:9000{root}/a.lua").status == 200
    for name in (f"{root}", f"{root}/sub", f"{root}/sub/none.lua", f"{root}/a.lua/x"):
        assert confined.ask("a.lua", SCRIPT_FILENAME=name).status in (403, 404), name


# ---- Reload and end ----------------------------------------------------------------------------------------


def test_reload_reads_the_configuration_anew_and_lets_requests_end():
    config = PER_SCRIPT.format(1, 1) + " Config = {{ word = '{}' }}"
    files = {"slow.lua": SLOW, "word.lua": "function main() Send(Config.word) end"}
    with Scripts(files, "--prod", config=config.format("one")) as server:
        assert server.ask("word.lua").text == "one"
        running = [server.start_asking("slow.lua", QUERY_STRING=f"q{i}") for i in range(4)]
        time.sleep(0.05)
        server.write("config.lua", config.format("two"))
        server.signal(signal.SIGHUP)
        server.wait_log("reloaded")
        assert server.ask("word.lua").text == "two"
        for i, process in enumerate(running):
            assert process.stdout.read().endswith(f" q{i}".encode())
            process.wait()
        server.write("config.lua", "LuaStates = = 1")
        server.signal(signal.SIGHUP)
        server.wait_log("reload failed.*config.lua:1:")
        assert server.ask("word.lua").text == "two"


def test_end_waits_for_scripts():
    with Scripts({"slow.lua": SLOW.replace("0.15", "0.4")}, "--prod", config=PER_SCRIPT.format(1, 1)) as server:
        running = [server.start_asking("slow.lua", QUERY_STRING=f"q{i}") for i in range(3)]
        time.sleep(0.25)
        server.signal(signal.SIGTERM)
        for process in running:
            assert re.search(rb"\d q\d$", process.stdout.read())
            process.wait()
        assert server.wait() == 0


def test_stop_event_and_tasks_of_a_script_run():
    code = """
local app = require("heart.v1")
local task = require("heart.v1.task")
app.on("start", function() Log("script starts") end)
app.on("stop", function() Log("script stops") end)
task.every(0.02, function() ticks = (ticks or 0) + 1 end)
function main() Send(ticks or 0) end
"""
    with Scripts({"a.lua": code}, config=PER_SCRIPT.format(1, 1)) as server:
        wait_until(lambda: int(server.ask("a.lua").text) > 1, "the task runs")
        server.wait_log("script starts")
        server.change("a.lua", COUNT)
        wait_until(lambda: server.ask("a.lua").text.endswith("nil"), "the new script answers")
        server.wait_log("script stops")
        assert server.logs().count("script stops") == 1
        server.change("a.lua", code)
        wait_until(lambda: not server.ask("a.lua").text.endswith("nil"), "the first script answers again")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.logs().count("script stops") == 2


def test_state_that_is_full_is_replaced():
    code = """
kept = {}
function main()
  if Env.QUERY_STRING == "fill" then
    while true do kept[#kept + 1] = ("x"):rep(65536) .. #kept end
  end
  Send(#kept)
end
"""
    with Scripts({"a.lua": code, "b.lua": COUNT}, "--lua-memory", "8M", config=PER_SCRIPT.format(1, 1)) as server:
        assert server.ask("b.lua").text == "1 nil"
        assert server.ask("a.lua").text == "0"
        assert server.ask("a.lua", QUERY_STRING="fill").status == 500
        assert server.ask("a.lua").text == "0"
        assert server.ask("b.lua").text == "2 nil"


@pytest.mark.nightly
@pytest.mark.parametrize("config", [PER_SCRIPT.format(2, 3), SLOTS.format(3, 2)])
def test_changes_reloads_and_leaving_clients_under_load(config):
    """Every answer is whole and that of a version of its script, whatever happens meanwhile; nothing is stuck after."""
    names = [f"s{i}.lua" for i in range(4)]
    code = """
local task = require("heart.v1.task")
local busy = false
function main()
  assert(not busy)
  busy = true
  task.sleep(0.002 * math.random(5))
  Send("%s " .. Env.QUERY_STRING)
  busy = false
end
"""
    files = {name: code % f"{name} 0" for name in names}
    with Scripts(files, "--prod", config=config) as server, ThreadPoolExecutor(9) as pool:
        until = time.monotonic() + 8

        def ask(k):
            n = 0
            while time.monotonic() < until:
                n += 1
                name = names[(k + n) % 4]
                if k == 7 and n % 3 == 0:
                    gone = server.start_asking(name, QUERY_STRING="gone")
                    time.sleep(0.003)
                    gone.kill()
                    gone.wait()
                    gone.stdout.close()
                    continue
                answer = server.ask(name, QUERY_STRING=f"{k}-{n}")
                assert answer.status == 200, answer
                assert re.fullmatch(rf"{name} \d+ {k}-{n}", answer.text)
            return n

        def disturb():
            n = 0
            while time.monotonic() < until:
                n += 1
                time.sleep(0.1)
                server.change(names[n % 4], code % f"{names[n % 4]} {n}")
                if n % 5 == 0:
                    server.signal(signal.SIGHUP)
            return n

        asked = [pool.submit(ask, k) for k in range(8)]
        assert pool.submit(disturb).result() > 10
        assert sum(future.result() for future in asked) > 100
        for name in names:
            assert server.ask(name, QUERY_STRING="end").text.endswith(" end")


@pytest.mark.nightly
def test_hundreds_of_changes_leave_nothing():
    with Scripts({"a.lua": COUNT}, config=PER_SCRIPT.format(1, 1)) as server:

        def change(i):
            server.change("a.lua", f"function main() Send('v{i}') end")
            wait_until(lambda: server.ask("a.lua").text == f"v{i}", f"version {i}")

        for i in range(100):
            change(i)
        before, fds = server.rss(), server.fds()
        for i in range(300):
            change(i)
        assert SANITIZED or server.rss() - before < 4 << 20  # a sanitizer keeps what is freed
        wait_until(lambda: server.fds() <= fds + 2, lambda: f"{server.fds()} descriptors, {fds} before")


def test_link_that_is_led_elsewhere_is_followed():
    """Also while its old file is asked for under another name all the time."""
    files = {"a.lua": "function main() Send('a') end", "b.lua": "function main() Send('b') end"}
    with Scripts(files, "--workers", 1, config=PER_SCRIPT.format(1, 1)) as server:
        link = server.root / "link.lua"
        link.symlink_to("a.lua")
        assert [server.ask(name).text for name in ("link.lua", "a.lua", "link.lua")] == ["a", "a", "a"]
        (server.root / "next.lua").symlink_to("b.lua")
        (server.root / "next.lua").rename(link)
        wait_until(lambda: server.ask("a.lua").text == "a" and server.ask("link.lua").text == "b", "the link is read")
        assert server.ask("a.lua").text == "a"
