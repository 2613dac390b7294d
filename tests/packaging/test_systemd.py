"""The systemd units: what systemd's own tools say about them, and that the sandbox leaves the server what it needs."""

import re
import shlex
import shutil
import signal

import pytest
from heart_server import ROOT, Server, heart_command, need, run

from heartc import config

UNITS = ROOT / "packaging" / "systemd"
SERVICES = ["heart.service", "heart@.service"]
EXPOSURE = 20  # tenths: 2.0

APP = """
local app = require("heart.v1")
app.static("/files", ".")
app.get("/", function(ctx)
  local sum = 0
  for i = 1, 100000 do sum = sum + i % 7 end
  app.sleep(0.01)
  return ctx.json({ sum = sum, child = io.popen("echo child"):read("*a") })
end)
app.post("/", function(ctx) return #ctx.bytes() end)
app.get("/stream", function(ctx) return ctx.stream(function(write) write("a") app.sleep(0.01) write("b") end) end)
"""


def settings(name):
    """(key, value) of every line of a unit, in order."""
    text = (UNITS / name).read_text()
    return [tuple(line.split("=", 1)) for line in text.splitlines() if re.match(r"\w+=", line)]


def value(name, key):
    """The value of a key that is there once."""
    found = [v for k, v in settings(name) if k == key]
    assert len(found) == 1, f"{name}: {key}: {found}"
    return found[0]


@pytest.fixture
def root(tmp_path):
    """A folder that looks like an installed system to `systemd-analyze --root`."""
    need("systemd-analyze", "systemd")
    shutil.copytree("/lib/systemd/system", tmp_path / "lib/systemd/system", symlinks=True)
    for command in ("usr/bin/heart", "bin/sh"):
        (tmp_path / command).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / command).touch(0o755)
    for unit in UNITS.iterdir():
        shutil.copy(unit, tmp_path / "lib/systemd/system")
    return tmp_path


@pytest.mark.parametrize("unit", ["heart.service", "heart@blog.service", "heart.socket"])
def test_systemd_verifies_the_unit_without_a_word(root, unit):
    result = run("systemd-analyze", "verify", "--man=no", f"--root={root}", unit, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_verification_notices_a_mistake(root):
    """The check before this one can fail."""
    unit = root / "lib/systemd/system/heart.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSecs=thirty"))
    result = run("systemd-analyze", "verify", "--man=no", f"--root={root}", "heart.service", check=False)
    assert "WatchdogSecs" in result.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure_is_low(unit):
    need("systemd-analyze", "systemd")
    result = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", UNITS / unit, check=False)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert level and result.returncode == 0 and float(level[1]) <= EXPOSURE / 10, result.stdout[-200:]


def test_instance_is_the_service_with_a_name_in_its_paths():
    named = {"Description", "Environment", "EnvironmentFile", "WorkingDirectory", "StateDirectory", "RuntimeDirectory"}
    one, many = (settings(name) for name in SERVICES)
    assert [key for key, _ in one] == [key for key, _ in many]
    assert {key for (key, a), (_, b) in zip(one, many, strict=True) if a != b} == named
    assert all("%i" in value("heart@.service", key) for key in named)


@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_waits_longer_than_the_server_drains(unit):
    drain = next(option.default for option in config.OPTIONS if option.flag == "--drain-timeout")
    assert float(value(unit, "TimeoutStopSec")) > drain


def system_calls(group):
    """The names in a group of systemd's filter."""
    names = set()
    for line in run("systemd-analyze", "syscall-filter", group).stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            names |= system_calls(word)
        elif word and not word.startswith("#"):
            names.add(word)
    return names


def allowed(unit):
    """What SystemCallFilter leaves."""
    names = set()
    for key, text in settings(unit):
        if key == "SystemCallFilter":
            groups = set().union(*(system_calls(group) for group in text.lstrip("~").split()))
            names = names - groups if text.startswith("~") else names | groups
    return names | system_calls("@default")


def test_server_needs_no_system_call_that_the_filter_refuses(tmp_path, monkeypatch):
    """Start, requests, a child process, a reload, the end; under strace, which detaches itself (-D)."""
    need("systemd-analyze", "systemd")
    trace = tmp_path / "trace"
    command = [need("strace", "strace"), "-D", "-f", "-qq", "-o", str(trace), *heart_command()]
    monkeypatch.setenv("HEART_BIN", shlex.join(command))
    with Server(APP, workers=2, files={"big": b"x" * 1000000}) as server:
        assert server.get().json["child"] == "child\n"
        assert server.post("/", b"x" * 100000).text == "100000"
        assert server.get("/stream").text == "ab"
        assert len(server.get("/files/big").body) == 1000000
        server.signal(signal.SIGHUP)
        server.wait_log("reloaded")
    used = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"execve", "mprotect", "accept4", "sendfile", "eventfd2"} <= used
    assert used - allowed("heart.service") == set()


@pytest.mark.parametrize("unit", SERVICES)
def test_signals_of_the_unit_are_those_of_the_server(unit):
    assert getattr(signal, value(unit, "KillSignal")) == signal.SIGTERM
    assert "kill -HUP $MAINPID" in value(unit, "ExecReload")
