"""The servers that are compared, by name: how each is built, started and checked before it is measured."""

import os
import shlex
import subprocess
from pathlib import Path

import load
import nginx
from process import OUT, ROOT, BenchError, Server, tool

HERE = Path(__file__).parent
NAMES = ("floor", "heart", "nginx")
FIELDS = {"server", "date", "content-type", "content-length"}
LOG = OUT / "access.log"
HEART = shlex.split(os.environ.get("HEART_BIN", "")) or [ROOT / ".venv" / "bin" / "heart"]


def compile_c(source, target, *options):
    """Compile `source` of this folder into OUT when it, or a header, is newer than the result. Returns the result's
    path."""
    source, target = HERE / source, OUT / target
    changed = max(path.stat().st_mtime for path in (source, *HERE.glob("*.h")))
    if not target.exists() or target.stat().st_mtime < changed:
        OUT.mkdir(parents=True, exist_ok=True)
        subprocess.run([tool("gcc"), "-O2", "-Wall", "-Wextra", *options, "-o", target, source], check=True)
    return target


def floor_start(workers, *, close=False, prefix=(), **options):
    """Start the C server with `workers` threads; `close` ends every connection after its first answer."""
    argv = [*prefix, compile_c("floor.c", "floor", "-pthread"), workers, *(["close"] if close else [])]
    return Server("floor", argv, **options)


def heart_start(workers, *, logs=False, prefix=(), env=None, **options):
    """Start Heart with the application of this folder; `logs` writes one line per request into the file LOG."""
    if not Path(HEART[0]).exists():
        raise BenchError(f"{HEART[0]} is missing: build it first, or name another one in HEART_BIN")
    argv = [*prefix, *HEART, "serve", HERE / "app.lua", "--workers", workers, "--port", 0]
    argv += [] if logs else ["--no-access-log"]
    LOG.unlink(missing_ok=True)
    stdout = LOG if logs else os.devnull
    return Server("heart-logs" if logs else "heart", argv, env=env, stdout=stdout, **options)


def start(name, workers, *, close=False, **options):
    """Start the server `name`: one of NAMES, or `heart-logs`, which is Heart with access logs."""
    if name == "floor":
        return floor_start(workers, close=close, **options)
    if name == "nginx":
        return nginx.start(workers, **options)
    return heart_start(workers, logs=name == "heart-logs", **options)


def check(server):
    """Raise unless `server` answers as the comparison needs: same body, same fields, nothing remembered."""
    hello, first, second = load.ask(server, "/hello", "/echo?name=X", "/echo?name=X")
    if hello.status != 200 or hello.body != {"hello": "world"} or not hello.fields >= FIELDS:
        raise BenchError(f"{server.name} answers /hello with {hello}")
    if server.name != "floor" and (first.body.get("name") != "X" or first == second):
        raise BenchError(f"{server.name} answers /echo with {first}, then {second}")
