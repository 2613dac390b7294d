"""The installed package under a real systemd, booted in a container: start, reload, watchdog, sandbox, sockets."""

import contextlib
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import debian_root
import pytest
from heart_server import ROOT, Client, free_port, need, run, wait_until

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(400)]

APP = """
local app = require("heart.v1")
app.get("/", function(ctx) return "TEXT" end)
app.get("/stuck", function(ctx) while true do end end)
app.get("/jit", function(ctx)
  local sum = 0
  for i = 1, 1e6 do sum = sum + i % 7 end
  return tostring(jit.status())
end)
app.get("/write", function(ctx)
  local file, message = io.open(ctx.queryParam("path"), "w")
  if not file then return message end
  file:write("text")
  file:close()
  return "written"
end)
app.get("/read", function(ctx) return select(2, io.open(ctx.queryParam("path"))) or "read" end)
app.get("/kernel", function(ctx) return io.open("/proc/self/status"):read("*a") end)
"""


class Machine:
    """A container with systemd as its first process, and the host's network."""

    def __init__(self, root):
        self.root = root
        self.init = None
        nspawn = need("systemd-nspawn", "systemd-container")
        words = [nspawn, "--quiet", "-D", root, "--register=no", "--keep-unit", "--boot", "--console=pipe"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        try:
            self.init = wait_until(self.first_process, "the container has a systemd", 30)
            wait_until(self.is_up, "systemd is running", 60)
        except BaseException:
            self.close()
            raise

    def first_process(self):
        assert self.process.poll() is None, "systemd-nspawn ended"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next((pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"), None)

    def is_up(self):
        return self.do("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def do(self, *words, **more):
        """Run a command inside."""
        return run("nsenter", "-t", self.init, "-m", "-u", "-i", "-p", *words, **({"timeout": 60} | more))

    def show(self, name, unit="heart.service"):
        return self.do("systemctl", "show", "--property", name, "--value", unit).stdout.strip()

    def journal(self, unit="heart.service"):
        return self.do("journalctl", "--unit", unit, "--no-pager", "--output", "cat").stdout

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def close(self):
        """Turn it off: nspawn passes the signal on as one that systemd shuts down for."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def package():
    return debian_root.package()


@pytest.fixture(scope="module")
def machine(package, tmp_path_factory):
    root = debian_root.unpack(debian_root.BOOTABLE, tmp_path_factory.mktemp("machine"))
    debian_root.install(root, package)
    machine = Machine(root)
    yield machine
    machine.close()


@pytest.fixture
def service(machine):
    """heart.service with the app above, on a free port; `port` says which."""
    machine.port = free_port()
    machine.write("srv/shop/main.lua", APP)
    machine.write("etc/heart/heart.conf", f"HEART_SCRIPT=/srv/shop/main.lua\nHEART_LISTEN=127.0.0.1:{machine.port}\n")
    machine.do("systemctl", "daemon-reload")
    machine.do("systemctl", "start", "heart")
    yield machine
    machine.do("systemctl", "stop", "heart")
    machine.do("systemctl", "reset-failed")


def get(machine, target="/"):
    with Client(("127.0.0.1", machine.port)) as client:
        return client.fetch(target=target).text


def test_started_service_is_ready_and_says_what_it_serves(service):
    assert get(service) == "TEXT"
    assert service.show("ActiveState") == "active"
    assert re.fullmatch(rf"serving http://127\.0\.0\.1:{service.port}, workers: \d+", service.show("StatusText"))


def test_reload_serves_the_new_code_in_the_same_process(service):
    pid = service.show("MainPID")
    service.write("srv/shop/main.lua", APP.replace("TEXT", "NEW"))
    service.do("systemctl", "reload", "heart")
    wait_until(lambda: get(service) == "NEW", "the new code serves")
    assert service.show("MainPID") == pid and service.show("ActiveState") == "active"


def test_service_has_no_rights_and_a_filter(service):
    status = get(service, "/kernel")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status
    assert service.do("stat", "--format=%U", "/proc/" + service.show("MainPID")).stdout == "heart\n"


def test_lua_is_compiled_inside_the_sandbox(service):
    assert get(service, "/jit") == "true"


def test_service_writes_its_state_and_nothing_else(service):
    assert get(service, "/write?path=note.txt") == "written"
    assert (service.root / "var/lib/heart/note.txt").read_text() == "text"
    for path in ("/etc/heart/x", "/srv/shop/x", "/usr/x", "/var/lib/x"):
        assert "Read-only file system" in get(service, f"/write?path={path}")
    service.write("root/secret", "x")
    assert re.search("Permission denied|No such file", get(service, "/read?path=/root/secret"))


def test_worker_that_is_stuck_gets_the_service_restarted(service):
    service.write("etc/systemd/system/heart.service.d/test.conf", "[Service]\nWatchdogSec=2\n")
    service.do("systemctl", "daemon-reload")
    service.do("systemctl", "restart", "heart")
    pid = service.show("MainPID")
    time.sleep(3)
    assert service.show("MainPID") == pid, "keep-alives are in time"
    with Client(("127.0.0.1", service.port)) as client:
        client.request(target="/stuck")
        wait_until(lambda: service.show("MainPID") not in ("0", pid), "systemd has restarted the service", 30)
    wait_until(lambda: service.show("ActiveState") == "active", "the new process is ready", 30)
    assert get(service) == "TEXT"
    assert service.show("NRestarts") == "1"
    for words in ("did not answer within 0.75 s: the service manager gets no keep-alive", "Watchdog timeout"):
        wait_until(lambda words=words: words in service.journal(), lambda words=words: f"{words}: {service.journal()}")
    (service.root / "etc/systemd/system/heart.service.d/test.conf").unlink()


def test_failing_script_is_the_reason_in_the_status(service):
    service.do("systemctl", "stop", "heart")
    service.write("srv/shop/main.lua", 'error("no database")')
    result = service.do("systemctl", "start", "heart", check=False)
    assert result.returncode != 0
    assert "main.lua:1: no database" in service.show("StatusText")
    service.do("systemctl", "stop", "heart")


def test_restart_behind_the_socket_unit_loses_no_request(machine):
    """Connections that come meanwhile wait in the socket's queue."""
    machine.port = free_port()
    machine.write("srv/shop/main.lua", APP)
    machine.write("etc/heart/heart.conf", "HEART_SCRIPT=/srv/shop/main.lua\n")
    listen = f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{machine.port}\n"
    machine.write("etc/systemd/system/heart.socket.d/test.conf", listen)
    machine.do("systemctl", "daemon-reload")
    machine.do("systemctl", "start", "heart.socket")
    assert machine.show("ActiveState") == "inactive", "nobody has asked for it yet"
    answers, done = [], threading.Event()

    def ask():
        while not done.is_set():
            answers.append(get(machine))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        wait_until(lambda: answers, "the first request starts the service", 30)
        pids = {machine.show("MainPID")}
        for _ in range(3):
            machine.do("systemctl", "restart", "heart")
            pids.add(machine.show("MainPID"))
            count = len(answers)
            wait_until(lambda count=count: len(answers) > count + 5, "the new process answers")
    finally:
        done.set()
        thread.join()
        machine.do("systemctl", "stop", "heart.socket", "heart.service")
    assert len(pids) == 4
    assert set(answers) == {"TEXT"}


def drop_in(setting):
    """The block of docs/deploy.md that has this setting."""
    blocks = re.findall(r"```ini\n(.*?)```", (ROOT / "docs/deploy.md").read_text(), re.DOTALL)
    return next(block for block in blocks if setting in block)


def low_port():
    """A port below 1024 that nobody uses."""
    for port in range(1000, 900, -1):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port below 1024 is free")


def test_low_port_needs_the_drop_in_of_the_documentation(service):
    service.do("systemctl", "stop", "heart")
    service.port = low_port()
    service.write("etc/heart/heart.conf", f"HEART_SCRIPT=/srv/shop/main.lua\nHEART_LISTEN=127.0.0.1:{service.port}\n")
    assert service.do("systemctl", "start", "heart", check=False).returncode != 0
    assert "permission denied" in service.show("StatusText")
    service.write("etc/systemd/system/heart.service.d/test.conf", drop_in("CAP_NET_BIND_SERVICE"))
    service.do("systemctl", "daemon-reload")
    service.do("systemctl", "restart", "heart")
    assert get(service) == "TEXT"
    assert "CapEff:\t0000000000000400" in get(service, "/kernel")
    (service.root / "etc/systemd/system/heart.service.d/test.conf").unlink()


def test_unix_socket_of_the_documentation_is_for_one_group_only(service):
    service.do("systemctl", "stop", "heart")
    service.write("etc/heart/heart.conf", "HEART_SCRIPT=/srv/shop/main.lua\n")
    service.write("etc/systemd/system/heart.socket.d/test.conf", drop_in("SocketGroup"))
    service.do("systemctl", "daemon-reload")
    service.do("systemctl", "start", "heart.socket")
    assert service.do("stat", "--format=%A %U %G", "/run/heart.sock").stdout == "srw-rw---- root www-data\n"
    with Client(f"/proc/{service.init}/root/run/heart.sock") as client:
        assert client.fetch().text == "TEXT"
    service.do("systemctl", "stop", "heart.socket")


def test_instances_serve_an_application_each(machine):
    ports = {}
    for name in ("blog", "wiki"):
        ports[name] = free_port()
        machine.write(f"srv/{name}/main.lua", APP.replace("TEXT", name))
        machine.write(f"etc/heart/{name}.conf", f"HEART_LISTEN=127.0.0.1:{ports[name]}\n")
        machine.do("systemctl", "start", f"heart@{name}")
    for name in ports:
        machine.port = ports[name]
        assert get(machine) == name
        assert get(machine, "/write?path=note.txt") == "written"
        assert (machine.root / f"var/lib/heart/{name}/note.txt").exists()
        machine.do("systemctl", "stop", f"heart@{name}")


def test_upgrade_restarts_what_runs_and_removal_stops_it(service, package):
    (service.root / "root/heart.deb").write_bytes(package.read_bytes())
    service.do("systemctl", "start", "heart")
    pid = service.show("MainPID")
    service.do("dpkg", "--install", "--force-confold", "/root/heart.deb")
    wait_until(lambda: service.show("MainPID") not in ("0", pid), "the service runs the new version")
    assert get(service) == "TEXT"
    service.do("systemctl", "stop", "heart")
    service.do("dpkg", "--install", "--force-confold", "/root/heart.deb")
    assert service.show("ActiveState") == "inactive", "what did not run is not started"
    service.do("systemctl", "start", "heart")
    service.do("dpkg", "--purge", "heart")
    assert not (service.root / "var/lib/heart").exists()
    service.do("dpkg", "--install", "/root/heart.deb")
