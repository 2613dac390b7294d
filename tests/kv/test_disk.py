"""heart.v1.kv.disk through the server: durability, the cache, restarts, failures, memory. The API itself is tested
for all stores in test_api.py."""

import re
import signal
import threading
import time
from pathlib import Path

import pytest
from heart_server import SANITIZED, Server, heart, wait_until
from tracing import tracing

FLUSHES = "fdatasync,fsync,sendto,futex"
APP = """
    local app = require("heart.v1")
    local disk = require("heart.v1.kv.disk")
    local function answer(...)
      local parts = {}
      for i = 1, select("#", ...) do
        parts[i] = tostring((select(i, ...)))
      end
      return table.concat(parts, " ")
    end
    app.post("/set/:key", function(ctx)
      local ok, err = disk.set(ctx.pathParam("key"), ctx.bytes())
      return ok and 200 or 503, ok and "ok" or err
    end)
    app.post("/run", function(ctx)
      return answer(assert(loadstring("local disk, app = ... " .. ctx.bytes()))(disk, app))
    end)
    app.get("/get/:key", function(ctx)
      return disk.get(ctx.pathParam("key"))
    end)
    app.get("/plain", function()
      return "ok"
    end)
"""


def run(server, code):
    """What a piece of Lua returned, as text."""
    response = server.post("/run", code.encode())
    assert response.status == 200, response.text
    return response.text


def at(folder):
    return ["--db", folder / "db"]


@pytest.fixture
def server(tmp_path):
    with Server(APP, *at(tmp_path), workers=2) as server:
        yield server


# ---- Opening and closing -------------------------------------------------------------------------------------


def test_values_outlive_a_restart_with_their_types(tmp_path):
    with Server(APP, *at(tmp_path)) as server:
        run(server, 'disk.set("s", "text") disk.set("n", 1.5) disk.set("t", {a = {1, true}})')
    with Server(APP, *at(tmp_path)) as server:
        assert run(server, 'return disk.fetch("s"), disk.fetch("n") * 2, disk.fetch("t").a[1]') == "text 3 1"


def test_database_is_where_heart_v1_had_it_by_default():
    with Server(APP) as server:
        run(server, 'disk.set("k", "v")')
        assert (server.folder / ".heart_db/CURRENT").exists()


def test_environment_names_of_heart_v1_are_understood(tmp_path):
    env = {"DB_PATH": str(tmp_path / "there"), "DB_SYNC_WRITES": "false"}
    with Server(APP, env=env) as server:
        run(server, 'disk.set("k", "v")')
    with Server(APP, "--db", tmp_path / "there") as server:
        assert server.get("/get/k").text == "v"


def test_server_without_the_store_loads_no_rocksdb_and_makes_no_folder():
    with Server('require("heart.v1").get("/", function() return "ok" end)') as server:
        assert server.get("/").text == "ok"
        assert "rocksdict" not in Path(f"/proc/{server.pid}/maps").read_text()
        assert not (server.folder / ".heart_db").exists()


def test_store_can_be_used_while_the_script_loads(tmp_path):
    script = """
        local app, disk = require("heart.v1"), require("heart.v1.kv.disk")
        local starts = disk.incr("starts")
        app.get("/", function() return tostring(starts) end)
    """
    for start in ("1", "2"):
        with Server(script, *at(tmp_path)) as server:
            assert server.get("/").text == start


def test_store_that_is_required_by_a_handler_opens_then(tmp_path):
    script = """
        local app = require("heart.v1")
        app.get("/", function()
          local disk = require("heart.v1.kv.disk")
          return tostring(disk.incr("n"))
        end)
    """
    with Server(script, *at(tmp_path), workers=2) as server:
        assert [server.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_database_that_another_server_holds_is_refused_with_its_process(tmp_path):
    with Server(APP, *at(tmp_path)) as server:
        (tmp_path / "main.lua").write_text(APP)
        other = heart("serve", tmp_path / "main.lua", "--port", "0", *at(tmp_path))
        assert other.returncode == 1
        assert f"process {server.pid} has this database open" in other.stderr and "heart kv" in other.stderr
        assert run(server, 'return disk.set("k", "v") and disk.fetch("k")') == "v"


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "db").mkdir()
    (tmp_path / "db/photo.jpg").write_text("mine")
    (tmp_path / "main.lua").write_text(APP)
    refused = heart("serve", tmp_path / "main.lua", "--port", "0", *at(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"heart: {tmp_path}/db: is not a database") and "photo.jpg" in refused.stderr


def test_reload_that_wants_a_store_that_does_not_open_is_refused(tmp_path):
    (tmp_path / "db").write_text("a file")
    first = 'require("heart.v1").get("/get/k", function() return "old" end)'
    with Server(first, *at(tmp_path)) as server:
        server.write("main.lua", APP)
        server.signal(signal.SIGHUP)
        server.wait_log("reload failed, the old code goes on: .*is not a folder")
        assert server.get("/get/k").text == "old"
        (tmp_path / "db").unlink()
        server.signal(signal.SIGHUP)
        server.wait_log("reloaded")
        assert run(server, 'return disk.set("k", "new") and disk.fetch("k")') == "new"


def test_reload_keeps_the_database_open(server):
    run(server, 'disk.set("k", "v")')
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded")
    assert server.get("/get/k").text == "v"


def test_stop_answers_what_is_on_its_way_and_closes_cleanly(tmp_path):
    answers = []

    def write(server, name):
        with server.connect() as client:
            for i in range(1000):
                try:
                    if client.fetch("POST", f"/set/{name}-{i}", body=b"v").status != 200:
                        return
                except (AssertionError, OSError):
                    return
                answers.append(f"{name}-{i}")

    with Server(APP, *at(tmp_path), workers=2) as server:
        threads = [threading.Thread(target=write, args=(server, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.stop()
        for thread in threads:
            thread.join()
    with Server(APP, *at(tmp_path)) as server:
        assert answers
        assert run(server, "return disk.count('')") in (str(len(answers)), str(len(answers) + len(threads)))
    assert not list((tmp_path / "db").glob("*.dbtmp"))


# ---- Expiry --------------------------------------------------------------------------------------------------


def test_expired_key_is_gone_at_once_and_from_the_disk_soon(tmp_path):
    with Server(APP, *at(tmp_path)) as server:
        run(server, 'disk.set("k", "v", {ttl = 0.2}) disk.set("stays", "v")')
        assert run(server, 'return disk.fetch("k"), disk.count("")') == "v 2"
        time.sleep(0.25)
        assert run(server, 'return disk.fetch("k"), disk.count("")') == "nil 1"
        run(server, 'disk.set("later", "v", {ttl = 0.2})')
    time.sleep(0.2)
    with Server(APP, *at(tmp_path)) as server:
        assert run(server, 'return disk.fetch("later"), (disk.fetch("stays"))') == "nil v"


# ---- Watching and conflicts, across workers ------------------------------------------------------------------


def test_watcher_sees_the_commits_of_all_workers_in_their_order(tmp_path):
    script = (
        APP
        + """
        local seen, last, disorder = 0, 0, 0
        disk.watch("w", function(event)
          seen = seen + 1
          if event.version < last then disorder = disorder + 1 end
          last = event.version
        end)
        app.get("/seen", function() return require("heart.core").worker .. ": " .. seen .. " " .. disorder end)
    """
    )
    with Server(script, *at(tmp_path), workers=2) as server:
        for i in range(50):
            server.post(f"/set/w{i % 5}", b"v")
        run(server, 'disk.delete("w1") disk.deletePrefix("w") disk.set("other", 1)')
        told = set()

        def both_have_seen_all():
            told.add(server.get("/seen").text)
            return told >= {"0: 55 0", "1: 55 0"}

        wait_until(both_have_seen_all, lambda: sorted(told))


def test_counter_of_many_clients_loses_nothing(server):
    def count():
        for _ in range(50):
            run(
                server, 'return disk.transaction(function(s) s.set("n", (s.fetch("n") or 0) + 1) end, {retries = 1000})'
            )

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run(server, 'return (disk.fetch("n"))') == "200"


def test_conflict_is_reported_without_retries(server):
    code = """
        return disk.transaction(function(s)
          s.fetch("k")
          disk.set("k", "changed")
          s.set("k", "mine")
        end, {retries = 0})
    """
    assert run(server, code) == "nil conflict"
    assert server.get("/get/k").text == "changed"


# ---- The cache -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["0", "64K", "8M"])
def test_reads_are_right_whatever_the_cache_holds(tmp_path, cache):
    with Server(APP, *at(tmp_path), "--kv-cache", cache) as server:
        code = """
            for i = 1, 2000 do disk.set("k" .. i, ("v" .. i):rep(20), {sync = false}) end
            local wrong = 0
            for round = 1, 2 do
              for i = 1, 2000 do
                if disk.fetch("k" .. i) ~= ("v" .. i):rep(20) then wrong = wrong + 1 end
                if disk.has("none" .. i) then wrong = wrong + 1 end
              end
            end
            return wrong
        """
        assert run(server, code) == "0"


def test_value_of_the_greatest_size_comes_back(server):
    assert run(server, 'local v = ("x"):rep(2^24) disk.set("k", v) return disk.fetch("k") == v') == "true"
    assert "16 MiB" in run(server, 'return select(2, pcall(disk.set, "k", ("x"):rep(2^24 + 1)))')


# ---- Durability ----------------------------------------------------------------------------------------------


def load(server, seconds, connections=16):
    """Set keys on many connections for a while; how many were acknowledged."""
    done, counts = time.monotonic() + seconds, []

    def write(name):
        count = 0
        with server.connect() as client:
            while time.monotonic() < done:
                assert client.fetch("POST", f"/set/{name}", body=b"%d" % count).status == 200
                count += 1
        counts.append(count)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


@pytest.fixture
def traced(server, tmp_path):
    with tracing(server, tmp_path / "trace", FLUSHES) as lines:
        yield lines


def test_no_answer_leaves_before_its_write_is_flushed(server, traced):
    """One client: between its request and its answer there must be a sync that has ended."""
    for i in range(20):
        assert server.post(f"/set/k{i}", b"v").status == 200
    synced, answered = 0, 0
    for line in traced():
        if re.search(r"(fdatasync|fsync)\b.*= 0$", line):
            synced += 1
        elif "sendto(" in line and "200 OK" in line:
            answered += 1
            assert synced >= answered, line
    assert answered == 20


def test_commits_that_wait_share_a_flush(server, traced):
    acknowledged = load(server, 2, 64)
    flushes = sum(1 for line in traced() if re.search(r"(fdatasync|fsync)\(", line))
    assert 0 < flushes < acknowledged / 5


def test_writes_without_sync_are_flushed_together_soon(server, traced):
    run(server, 'for i = 1, 500 do disk.set("k" .. i, "v", {sync = false}) end')
    time.sleep(0.5)
    flushes = [line for line in traced() if "fdatasync(" in line or "fsync(" in line]
    assert 1 <= len(flushes) < 100


@pytest.mark.parametrize(("sync", "flushes"), [("interval", True), ("never", False)])
def test_kv_sync_says_when_writes_are_flushed(tmp_path, sync, flushes):
    with Server(APP, *at(tmp_path), "--kv-sync", sync) as server, tracing(server, tmp_path / "trace", FLUSHES) as lines:
        run(server, 'for i = 1, 50 do disk.set("k" .. i, "v") end')
        time.sleep(0.5)
        assert any("sync(" in line for line in lines()) == flushes
    with Server(APP, *at(tmp_path)) as server:
        assert run(server, 'return disk.count("")') == "50"


def test_worker_makes_no_blocking_call_while_it_serves_durable_writes(server, traced):
    """Workers are the threads that send. A futex that is waited for would be the GIL or the db thread; but malloc
    may find its arena taken now and then."""
    acknowledged = load(server, 2)
    calls = [line.split(maxsplit=2) for line in traced()]
    workers = {thread for thread, _, call in calls if call.startswith("sendto(")}
    assert len(workers) == 2
    flushes = [call for thread, _, call in calls if thread in workers and call.startswith(("fsync(", "fdatasync("))]
    waits = [call for thread, _, call in calls if thread in workers and "FUTEX_WAIT" in call]
    assert not flushes
    assert len(waits) <= acknowledged / 100, waits[:5]


@pytest.mark.skipif(SANITIZED, reason="memory is that of the release build")
def test_idle_server_with_the_store_open_is_small(server):
    run(server, 'disk.set("k", "v") return disk.fetch("k")')
    assert server.rss() <= 30 << 20, f"{server.rss() / (1 << 20):.1f} MiB"


# ---- Failures ------------------------------------------------------------------------------------------------


def test_store_that_fails_answers_with_the_reason_and_logs_it_once(tmp_path):
    """The database's folder loses its file descriptors' file system: here its table is damaged."""
    with Server(APP, *at(tmp_path)) as server:
        run(server, 'for i = 1, 300 do disk.set("k" .. i, ("%d"):rep(500, i), {sync = false}) end')
    table = max((tmp_path / "db").glob("*.sst"), key=lambda p: p.stat().st_size)
    data = bytearray(table.read_bytes())
    data[100 : len(data) // 2] = bytes(len(data) // 2 - 100)
    table.write_bytes(data)
    with Server(APP, *at(tmp_path)) as server:
        answer = run(
            server, 'for i = 1, 300 do local v, err = disk.fetch("k" .. i) if err and not v then return err end end'
        )
        assert "damaged" in answer and "heart kv check" in answer
        inside = 'return pcall(disk.transaction, function(s) for i = 1, 300 do s.fetch("k" .. i) end end)'
        assert re.match(r"false .*damaged", run(server, inside))
        server.wait_log('"level":"error".*damaged')
        assert run(server, 'return disk.set("new", "v") and disk.fetch("new")') == "v"


def test_damaged_log_is_an_error_in_the_log_and_the_server_serves(tmp_path):
    with Server(APP, *at(tmp_path)) as server:
        run(
            server,
            'for i = 1, 100 do disk.set("k" .. i, ("v"):rep(500), {sync = false}) end return disk.set("last", "v")',
        )
        server.process.kill()
        server.process.wait()
        server.process.returncode = 0
    log = max((tmp_path / "db").glob("*.log"))
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 0xFF
    log.write_bytes(data)
    with Server(APP, *at(tmp_path)) as server:
        server.wait_log('"level":"error".*write-ahead log is damaged.*damaged-log-')
        assert run(server, 'return disk.has("k1"), disk.has("last"), (disk.set("new", "v"))') == "true false true"
