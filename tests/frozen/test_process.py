"""The running process: one, small, known by its own file; its children see the environment that the user has set."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from frozen.one_file import start, worked
from heart_server import need, run, wait_until

from heartc import commands

IDLE = 18 << 20
ENVIRONMENT = """
local app = require("heart.v1")
local function run(command)
  local pipe = io.popen(command)
  local text = pipe:read("*a")
  pipe:close()
  return text
end
app.get("/popen", function(ctx) return run("env -0 | sort -z") end)
app.get("/execute", function(ctx) os.execute("env -0 | sort -z > env.txt") return io.open("env.txt"):read("*a") end)
app.get("/process", function(ctx)
  return assert(require("heart.v1.process").run({ cmd = "sh", args = { "-c", "env -0 | sort -z" } })).stdout
end)
app.get("/fds", function(ctx) return run("ls -l /proc/self/fd") end)
app.get("/getenv/:name", function(ctx) return os.getenv(ctx.pathParam("name")) or "unset" end)
"""
HELLO = 'require("heart.v1").get("/", function(ctx) return "hello" end)'


def proc(server):
    """What the kernel says about a server."""
    return Path(f"/proc/{server.pid}")


@pytest.mark.parametrize("libc", ["host", "own"])
def test_one_process(frozen, cache, libc):
    server = frozen(HELLO, env={"HEART_LIBC": libc}, workers=2)
    assert server.get().text == "hello"
    children = [p.read_text() for p in (proc(server) / "task").glob("*/children")]
    assert "".join(children) == ""
    assert (proc(server) / "comm").read_text() == "heart\n"
    exe = os.readlink(proc(server) / "exe")
    assert exe.startswith(str(cache))
    assert exe.endswith(f"-{libc}/heart")


@pytest.mark.parametrize("libc", ["host", "own"])
def test_idle_memory(frozen, libc):
    """Once the first request is answered; the files were unpacked by an earlier start."""
    env = {"HEART_LIBC": libc}
    frozen(HELLO, env=env, workers=2).stop()
    server = frozen(HELLO, env=env, workers=2)
    assert server.get().text == "hello"
    assert server.rss() <= IDLE


@pytest.mark.parametrize("libc", ["host", "own"])
@pytest.mark.parametrize("way", ["/popen", "/execute", "/process"])
def test_children_see_the_environment_of_the_user(frozen, libc, way):
    """Also variables that the launcher or a loader would look at."""
    mine = {"HEART_LIBC": libc, "LD_LIBRARY_PATH": "/opt/mine:/opt/too", "_MY": "=x y\n"}
    server = frozen(ENVIRONMENT, env=mine)
    seen = dict(item.split("=", 1) for item in server.get(way).text.split("\0") if item)
    for name in ("_", "PWD", "SHLVL", "OLDPWD"):  # the shell's own
        seen.pop(name, None)
        server.env.pop(name, None)
    assert seen == server.env


@pytest.mark.parametrize("libc", ["host", "own"])
def test_preloaded_library_is_kept_for_children(frozen, tmp_path, libc):
    """With our own C library it is not loaded into the server: it was made for the host's."""
    library = tmp_path / "preloaded.so"
    source = tmp_path / "preloaded.c"
    source.write_text("int preloaded;")
    run(need("gcc", "gcc"), "-shared", "-fPIC", "-o", library, source)
    server = frozen(ENVIRONMENT, env={"HEART_LIBC": libc, "LD_PRELOAD": str(library)})
    assert f"LD_PRELOAD={library}\0" in server.get("/popen").text
    assert (str(library) in (proc(server) / "maps").read_text()) == (libc == "host")


LAUNCHER = ("HEART_FILE", "HEART_FD", "HEART_LOCK", "HEART_LD_PRELOAD")


def test_variables_of_the_launcher_are_gone(frozen):
    server = frozen(ENVIRONMENT)
    for name in (*LAUNCHER, "LD_LIBRARY_PATH", "_PYI_ARCHIVE_FILE", "_MEIPASS2"):
        assert server.get(f"/getenv/{name}").text == "unset"


def test_program_is_told_the_file_that_was_started(frozen, binary):
    server = frozen(HELLO)
    assert f"HEART_FILE={binary.resolve()}\0" in (proc(server) / "environ").read_text()


def test_children_get_no_descriptor_of_the_cache_or_the_file(frozen, binary, cache):
    server = frozen(ENVIRONMENT)
    seen = server.get("/fds").text
    assert str(cache) not in seen
    assert str(binary) not in seen
    assert [fd for fd in (proc(server) / "fd").iterdir() if os.readlink(fd).startswith(str(cache))]


def test_arguments_and_exit_status_are_handed_through(binary, cache):
    assert worked(start("version", HEART_CACHE=cache))
    result = start("serve", "no such file.lua", "--port", "0", HEART_CACHE=cache)
    assert result.returncode == 2
    assert "no such file.lua" in result.stderr
    assert start("serve", "--help", HEART_CACHE=cache).stdout.startswith("Usage: heart serve")


@pytest.mark.parametrize("name", [command.name for command in commands.COMMANDS])
def test_every_command_has_its_modules(binary, cache, name):
    """Help is made by Typer, which the server does without."""
    result = start(name, "--help", HEART_CACHE=cache)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: heart {name}")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_standard_descriptors_are_no_harm(binary, cache, tmp_path, closed):
    """Neither the first start nor a later one puts a file of its own in their place."""
    for name in ("first", "second"):
        words = " ".join(f"{fd}>&-" for fd in closed)
        command = f"{binary} serve --help >{name} 2>{name}.err {words}; echo $? >{name}.status"
        subprocess.run(["sh", "-c", command], cwd=tmp_path, env={"HEART_CACHE": str(cache)}, check=True)
        assert (tmp_path / f"{name}.status").read_text() == "0\n"
        assert (tmp_path / f"{name}.err").read_text() == ""
        assert ((tmp_path / name).read_text() == "") == (1 in closed)


def test_umask_is_that_of_the_user(frozen):
    server = frozen(ENVIRONMENT.replace("env -0 | sort -z", "umask"))
    before = os.umask(0o22)
    os.umask(before)
    assert int(server.get("/popen").text, 8) == before


def test_start_is_not_slow(frozen):
    """A bound for a busy machine; `make bench` measures what it takes on a quiet one."""
    frozen(HELLO).stop()
    began = time.monotonic()
    server = frozen(HELLO)
    wait_until(lambda: server.get().text == "hello", "the first answer")
    assert time.monotonic() - began < 2
