"""What the server tells a service manager: sd_notify(3), with a socket in the manager's place."""

import os
import re
import signal
import socket
import statistics
import subprocess
import threading
import time

import pytest
from heart_server import PATIENCE, SANITIZED, heart, heart_command, heart_environment, need, wait_until

APP = """
local app = require("heart.v1")
local log = require("heart.v1.log")
app.get("/", function(ctx) return "hello" end)
app.get("/sleep/:s", function(ctx) log.info("begun") app.sleep(tonumber(ctx.pathParam("s"))) return "awake" end)
app.get("/stuck/:s", function(ctx)
  local stop = os.time() + tonumber(ctx.pathParam("s"))
  while os.time() < stop do end
  return "free"
end)
app.get("/environment", function(ctx)
  local pipe = io.popen("env")
  local text = pipe:read("*a")
  pipe:close()
  return text
end)
"""
INTERVAL = 0.5 if SANITIZED else 0.2  # seconds between keep-alives


class Manager:
    """The manager's end: a datagram socket, and everything that came with the time when it came."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name[0] == "@" else name)
        self.received = []
        self.thread = threading.Thread(target=self.receive, daemon=True)
        self.thread.start()

    def receive(self):
        while data := self.socket.recv(65536):
            fields = dict(line.split("=", 1) for line in data.decode().split("\n"))
            self.received.append((time.monotonic(), fields))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """End the thread with an empty datagram."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()

    def all(self, key):
        """Every message with this field."""
        return [fields for _, fields in list(self.received) if key in fields]

    def wait(self, key, number=1):
        """The `number`th message with this field."""
        wait_until(lambda: len(self.all(key)) >= number, lambda: f"{key} comes {number} times: {self.received}")
        return self.all(key)[number - 1]

    def environment(self, **more):
        return {"NOTIFY_SOCKET": self.name} | more

    def kept_alive_since(self, moment):
        return [at for at, fields in list(self.received) if fields.get("WATCHDOG") == "1" and at > moment]


@pytest.fixture(params=["path", "abstract"])
def any_manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"@heart-test-{os.getpid()}"
    with Manager(name) as manager:
        yield manager


@pytest.fixture
def manager(tmp_path):
    with Manager(str(tmp_path / "notify")) as manager:
        yield manager


def watchdog(interval=INTERVAL):
    """The variable that asks for keep-alives so often: the manager's time is twice that."""
    return {"WATCHDOG_USEC": str(int(2 * interval * 1e6))}


def test_ready_when_all_workers_serve(serve, any_manager):
    server = serve(APP, workers=2, env=any_manager.environment())
    ready = any_manager.wait("READY")
    assert ready["MAINPID"] == str(server.pid)
    assert ready["STATUS"] == f"serving {server.url}, workers: 2"
    assert len(any_manager.received) == 1


def test_ready_is_not_said_before_the_script_is_loaded(serve, manager):
    begin = time.monotonic()
    serve('os.execute("sleep 0.5") ' + APP, env=manager.environment())
    manager.wait("READY")
    assert manager.received[0][0] - begin > 0.5


def test_script_that_fails_is_never_ready_and_says_why(manager, tmp_path):
    (tmp_path / "main.lua").write_text('error("no database")')
    assert heart("serve", tmp_path / "main.lua", "--port", 0, env=manager.environment()).returncode == 1
    assert "main.lua:1: no database" in manager.wait("STATUS")["STATUS"]
    assert not manager.all("READY")


def test_address_that_is_taken_is_said(manager, tmp_path):
    (tmp_path / "main.lua").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        heart("serve", tmp_path / "main.lua", "--listen", f"127.0.0.1:{port}", env=manager.environment())
    assert str(port) in manager.wait("STATUS")["STATUS"]
    assert not manager.all("READY")


def test_stopping_comes_before_the_requests_in_flight_end(serve, manager):
    server = serve(APP, env=manager.environment())
    with server.connect() as client:
        client.request(target="/sleep/0.6")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        manager.wait("STOPPING")
        assert server.alive()
        assert client.response().text == "awake"
    assert server.wait() == 0
    assert not manager.all("RELOADING")


def test_reload_is_announced_with_its_time_and_ends_with_ready(serve, manager):
    """Type=notify-reload wants a time that is not before the signal."""
    server = serve(APP, workers=2, env=manager.environment())
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    server.signal(signal.SIGHUP)
    ready = manager.wait("READY", 2)
    reloading = manager.all("RELOADING")[0]
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert [sorted(fields)[0] for _, fields in manager.received] == ["MAINPID", "MONOTONIC_USEC", "MAINPID"]
    assert ready["STATUS"] == f"serving {server.url}, workers: 2"


def test_failed_reload_is_ready_again_and_says_why(serve, manager):
    server = serve(APP, workers=2, env=manager.environment())
    server.write("main.lua", "local x =\n")
    server.signal(signal.SIGHUP)
    status = manager.wait("READY", 2)["STATUS"]
    assert re.fullmatch(r"reload failed, the old code goes on: .*main\.lua:\d.*", status)
    assert server.get().text == "hello"


def test_keep_alives_come_at_half_of_the_time(serve, manager):
    serve(APP, workers=2, env=manager.environment(**watchdog()))
    manager.wait("WATCHDOG", 6)
    times = manager.kept_alive_since(0)[:6]
    assert times[-1] - times[0] > 5 * INTERVAL * 0.7
    assert statistics.median(b - a for a, b in zip(times, times[1:], strict=False)) < 2 * INTERVAL
    kinds = [next(iter(fields)) for _, fields in manager.received]
    assert kinds[0] == "READY" and set(kinds[1:]) == {"WATCHDOG"}


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_that_is_stuck_ends_the_keep_alives(serve, manager, workers):
    """One of them is enough, the other still answers."""
    server = serve(APP, workers=workers, env=manager.environment(**watchdog()))
    manager.wait("WATCHDOG")
    with server.connect() as client:
        client.request(target="/stuck/5")
        server.wait_log("worker [01] did not answer within .* no keep-alive")
        silent = time.monotonic()
        time.sleep(4 * INTERVAL)
        assert not manager.kept_alive_since(silent)
        assert client.response().text == "free"
    wait_until(lambda: manager.kept_alive_since(silent), "keep-alives come again when the worker is free")
    assert len(re.findall("did not answer", server.logs())) == 1


def test_worker_that_is_stuck_for_less_than_the_time_is_waited_for(serve, manager):
    server = serve(APP, env=manager.environment(**watchdog(2.5)))
    manager.wait("WATCHDOG")
    assert server.get("/stuck/1").text == "free"
    manager.wait("WATCHDOG", 2)
    assert "did not answer" not in server.logs()


def test_keep_alives_go_on_while_requests_are_drained(serve, manager):
    server = serve(APP, workers=2, env=manager.environment(**watchdog()))
    with server.connect() as client:
        client.request(target=f"/sleep/{6 * INTERVAL}")
        server.wait_begun()
        server.signal(signal.SIGTERM)
        manager.wait("STOPPING")
        begin = time.monotonic()
        assert client.response().text == "awake"
    assert len(manager.kept_alive_since(begin)) >= 3
    assert server.wait() == 0


@pytest.mark.parametrize("variables", [{}, watchdog() | {"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_no_keep_alive_where_none_is_asked_of_this_process(serve, manager, variables):
    serve(APP, env=manager.environment(**variables))
    manager.wait("READY")
    time.sleep(4 * INTERVAL)
    assert not manager.all("WATCHDOG")


def test_watchdog_pid_is_this_process(manager, tmp_path):
    (tmp_path / "main.lua").write_text(APP)
    shell = 'export WATCHDOG_PID=$$; exec "$@"'
    words = [*heart_command(), "serve", tmp_path / "main.lua", "--listen", "127.0.0.1:0"]
    environment = heart_environment(manager.environment(**watchdog()))
    process = subprocess.Popen(["bash", "-c", shell, "bash", *words], env=environment, stdout=subprocess.DEVNULL)
    try:
        manager.wait("WATCHDOG", 3)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def test_supervisor_sleeps_without_a_watchdog(serve, manager):
    """No thread of an idle server wakes; with a watchdog the main thread and the workers do."""

    def switches(server):
        tasks = f"/proc/{server.pid}/task"
        texts = [open(f"{tasks}/{task}/status").read() for task in os.listdir(tasks)]
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1]) for text in texts)

    quiet = serve(APP, workers=2, env=manager.environment())
    watched = serve(APP, workers=2, env=manager.environment(**watchdog()))

    def is_settled():
        count = switches(quiet)
        time.sleep(0.3)
        return count == switches(quiet)

    wait_until(is_settled, "the server has come to rest")
    before = switches(quiet), switches(watched)
    time.sleep(5 * INTERVAL)
    after = switches(quiet), switches(watched)
    assert after[0] == before[0]
    assert after[1] - before[1] >= 9


def test_variables_are_not_left_to_children(serve, manager):
    server = serve(APP, env=manager.environment(WATCHDOG_PID="1", **watchdog()))
    text = server.get("/environment").text
    assert "PATH=" in text
    assert not re.search(r"^(NOTIFY_SOCKET|WATCHDOG_)", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["/nonexistent/notify", "nonsense", "/" + "x" * 200, "@"])
def test_manager_that_cannot_be_reached_is_told_once_and_the_server_goes_on(serve, name):
    server = serve(APP, env={"NOTIFY_SOCKET": name, **watchdog()})
    server.wait_log(f"NOTIFY_SOCKET={name}: cannot tell the service manager: .")
    time.sleep(2 * INTERVAL)
    server.signal(signal.SIGHUP)
    server.wait_log("reloaded")
    assert server.get().text == "hello"
    assert len(re.findall("cannot tell", server.logs())) == 1


def test_manager_that_does_not_read_holds_up_nothing(serve, tmp_path):
    """Its queue is full: requests are served all the same, and the server stops."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(name)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    filler.sendto(b"X=1", name)
        server = serve(APP, env={"NOTIFY_SOCKET": name})
        assert server.get().text == "hello"
        server.wait_log("cannot tell the service manager: timed out")
        server.stop()


def test_manager_that_reads_late_is_told_the_rest(serve, tmp_path):
    """One that is busy for a moment must get later keep-alives, or it would kill the server."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name)
        manager.setblocking(False)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    filler.sendto(b"X=1", name)
        server = serve(APP, env={"NOTIFY_SOCKET": name, **watchdog()})
        server.wait_log("cannot tell the service manager: timed out")
        received = []

        def kept_alive():
            try:
                while True:
                    received.append(manager.recv(4096))
            except BlockingIOError:
                return b"WATCHDOG=1" in received

        wait_until(kept_alive, "a keep-alive")
    assert len(re.findall("cannot tell", server.logs())) == 1


def test_socket_of_systemd_socket_activate_is_served(tmp_path, manager):
    """systemd's own tool for trying a .socket unit hands the listener over as the manager does."""
    activate = need("systemd-socket-activate", "systemd")
    (tmp_path / "main.lua").write_text(APP)
    path = tmp_path / "web.sock"
    words = [*heart_command(), "serve", tmp_path / "main.lua", "--workers", "2"]
    environment = heart_environment(manager.environment())
    passed = [f"--setenv={name}" for name in environment]
    process = subprocess.Popen(
        [activate, "--listen", path, *passed, *words], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(path.exists, "the socket is there")
        curl = need("curl", "curl")
        for _ in range(10):
            answer = subprocess.run(
                [curl, "-sS", "--unix-socket", path, "http://heart/environment"], capture_output=True
            )
            assert b"PATH=" in answer.stdout and b"LISTEN_" not in answer.stdout
        assert manager.wait("READY")["STATUS"] == f"serving unix:{path}, workers: 2"
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert path.exists(), "the socket file belongs to the manager"
    finally:
        process.kill()
        process.wait()
