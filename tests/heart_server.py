"""Runs the real server for the tests, and talks to it byte by byte.

Server    one `heart serve` process with its folder, its logs and what /proc says about it
Client    one connection: raw bytes out, strictly parsed responses in
heart()   one run of the command line
need()    skips a test whose tool is not installed (in CI it fails instead)
"""

import contextlib
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SANITIZED_BUILD = os.environ.get("HEART_SANITIZED")  # its folder, if that is what runs
SANITIZED = SANITIZED_BUILD is not None
PATIENCE = 60 if SANITIZED else 15  # seconds before a step that should be quick counts as hung
PORTS = random.Random()  # of this process: others choose other ports
FIRST_PORT, LAST_PORT = 12000, 32768  # browsers refuse some of those below
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [\x20-\x7e]*\Z")
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ([\x20-\x7e\x80-\xff\t]*)\Z")
SANITIZER_REPORT = re.compile(r"AddressSanitizer|runtime error:")


def heart_command():
    """The words that start Heart: HEART_BIN, or the console script beside this Python."""
    words = shlex.split(os.environ.get("HEART_BIN", "")) or [str(Path(sys.executable).with_name("heart"))]
    if "/" in words[0]:
        words[0] = os.path.abspath(words[0])  # servers run in folders of their own
    return words


def heart_environment(extra=None):
    """This environment without the variables that configure Heart, plus `extra`."""
    configured = {
        "PORT",
        "HOST",
        "PROD",
        "LOG_LEVEL",
        "ACCESS_LOG",
        "PROFILE",
        "DB_PATH",
        "DB_SYNC_WRITES",
        "INITIAL_POOL_SIZE",
    }
    env = {k: v for k, v in os.environ.items() if k not in configured}
    env["NO_COLOR"] = "1"
    return env | (extra or {})


def heart(*args, env=None, cwd=None, timeout=PATIENCE, program=None):
    """Run `heart` (or `program`) to its end and return the CompletedProcess with text output."""
    return subprocess.run(
        [*(program or heart_command()), *map(str, args)],
        env=heart_environment(env),
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def need(command, package):
    """Path of `command`, or skip the test and name the Debian package (in CI: fail)."""
    path = shutil.which(command) or shutil.which(command, path="/usr/sbin:/sbin")
    if path is None:
        missing(command, package)
    return path


def missing(what, package):
    """Skip the test, naming the Debian package that it needs; in CI it fails."""
    message = f"{what} is missing: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def run(*args, timeout=PATIENCE, **more):
    """Run a tool to its end; its text output in the result. `check` is on."""
    more = {"check": True, "capture_output": True, "text": True, "timeout": timeout} | more
    return subprocess.run([str(a) for a in args], **more)


def wait_until(condition, what, timeout=PATIENCE):
    """Poll `condition` until it is true and return its value; fail with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def free_port(*beside):
    """A port that nobody uses now, for TCP and UDP; so are those as far `beside` it. It is none that the kernel gives
    to a connection or to who asks for any port, so that it is still free when a server takes it."""
    while True:
        port = PORTS.randrange(FIRST_PORT, kernel_ports() - max(beside, default=0))
        if all(is_free(port + distance) for distance in (0, *beside)):
            return port


def kernel_ports():
    """The first port that the kernel gives away, if it leaves enough of them below."""
    return max(int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]), LAST_PORT)


def is_free(port):
    """Whether nobody has this port on any address."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("", port))
            except OSError:
                return False
    return True


class Response:
    """One response: status, headers (lower-case names, in order), body and whether it was chunked."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def all(self, name):
        """Every value of a field."""
        return [value for key, value in self.headers if key == name.lower()]

    def __getitem__(self, name):
        """The only value of a field, or None; a repeated field is an error."""
        values = self.all(name)
        assert len(values) < 2, f"{name} repeated: {values}"
        return values[0] if values else None

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Client:
    """One connection. Responses are parsed strictly: what a lax client would forgive is an assertion here."""

    def __init__(self, address, timeout=PATIENCE, receive_buffer=None):
        family = (
            socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Leave with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self):
        """Say that nothing more is sent; answers still come."""
        self.sock.shutdown(socket.SHUT_WR)

    def send(self, data):
        self.sock.sendall(data)
        return self

    def request(self, method="GET", target="/", headers=(), body=None, host="test"):
        """Send one request. `headers` are (name, value) pairs; a body gets its Content-Length."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def fetch(self, method="GET", target="/", headers=(), body=None):
        """Send one request and return its response."""
        self.request(method, target, headers, body)
        return self.response(head=method == "HEAD")

    def fill(self):
        """Read once more into `rest`; False at the end of the stream."""
        data = self.sock.recv(1 << 16)
        self.rest += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.rest:
            assert self.fill(), f"closed inside a line: {self.rest!r}"
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def exactly(self, n):
        parts, have = [self.rest], len(self.rest)
        while have < n:
            parts.append(self.sock.recv(min(n - have, 1 << 20)))
            assert parts[-1], f"closed after {have} of {n} bytes"
            have += len(parts[-1])
        data = b"".join(parts)
        self.rest = data[n:]
        return data[:n]

    def chunks(self):
        """The chunks of a chunked body, as they come."""
        while True:
            line = self.line()
            assert re.fullmatch(rb"[0-9a-fA-F]{1,16}", line), f"bad chunk size {line!r}"
            size = int(line, 16)
            if size:
                yield self.exactly(size)
            assert self.line() == b"", "no line end after a chunk"
            if not size:
                return

    def head(self):
        """Status and headers of the next response."""
        line = self.line()
        match = STATUS_LINE.match(line)
        assert match, f"bad status line {line!r}"
        headers = []
        while line := self.line():
            field = FIELD_LINE.match(line)
            assert field, f"bad field line {line!r}"
            headers.append((field[1].decode().lower(), field[2].decode("latin-1")))
        return Response(int(match[1]), headers, b"")

    def response(self, head=False):
        """The next response with its body; `head` says that the request was a HEAD."""
        response = self.head()
        lengths, coding = response.all("content-length"), response["transfer-encoding"]
        assert len(lengths) < 2, f"Content-Length repeated: {response}"
        assert not (lengths and coding), f"both framings: {response}"
        bodiless = response.status < 200 or response.status in (204, 304)
        assert not (response.status < 200 or response.status == 204) or not lengths, f"body framing in {response}"
        if head or bodiless:
            return response
        if coding:
            assert coding == "chunked"
            response.body = b"".join(self.chunks())
        elif lengths:
            assert lengths[0].isdigit()
            response.body = self.exactly(int(lengths[0]))
        else:
            assert response["connection"] == "close", f"a body without an end: {response}"
            response.body = self.until_close()
        return response

    def until_close(self):
        """All bytes up to the end of the stream."""
        while self.fill():
            pass
        data, self.rest = self.rest, b""
        return data

    def closed(self):
        """True when the server ends the stream without another byte (a reset counts)."""
        try:
            return not self.rest and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def quiet(self, seconds):
        """True when nothing arrives, not even the end, for that long."""
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self.rest += self.sock.recv(1)
        except TimeoutError:
            return not self.rest
        finally:
            self.sock.settimeout(before)
        return False


class Server:
    """`heart serve` as a context manager: leaving it stops the process and checks that it exits with 0.

    script: a path, or Lua source, written to main.lua in the server's own folder (`.folder`), or None: the executable
        brings its own
    files: more files of that folder, name to text or bytes
    listen: number of `listening on` lines to wait for
    limits: resource limits of the process, e.g. {resource.RLIMIT_NOFILE: 64}
    command: the words between `heart` and the script
    program: the words that start Heart, if not heart_command()
    stdout: a descriptor that gets the output instead of `.logs()`
    """

    def __init__(
        self,
        script,
        *args,
        env=None,
        workers=1,
        dev=False,
        files=None,
        listen=1,
        limits=None,
        command=("serve",),
        stdout=None,
        program=None,
    ):
        self.temporary = tempfile.TemporaryDirectory(prefix="heart-test-")
        self.folder = Path(self.temporary.name)
        for name, content in (files or {}).items():
            self.write(name, content)
        self.script = self.write("main.lua", script) if isinstance(script, str) else script
        self.program = program or heart_command()
        self.args = [str(a) for a in args]
        if "--listen" not in self.args and "--port" not in self.args and "PORT" not in (env or {}):
            self.args += ["--host", "127.0.0.1", "--port", "0"]
        self.args += ["--workers", str(workers)] + (["--dev"] if dev else [])
        self.env = heart_environment(env)
        self.listen = listen
        self.limits = limits or {}
        self.command = command
        self.stdout = stdout
        self.lines = {"stdout": [], "stderr": []}
        self.addresses = []
        self.process = None
        self.readers = []

    def write(self, name, content):
        """Write a file of the server's folder and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
        finally:
            self.kill()

    def start(self):
        def limit():
            for name, value in self.limits.items():
                resource.setrlimit(name, (value, value))

        self.process = subprocess.Popen(
            [*self.program, *self.command, *([str(self.script)] if self.script else []), *self.args],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.stdout is None else self.stdout,
            stderr=subprocess.PIPE,
            preexec_fn=limit if self.limits else None,
        )
        for name in ("stdout", "stderr") if self.stdout is None else ("stderr",):
            self.readers.append(threading.Thread(target=self.collect, args=(name,), daemon=True))
            self.readers[-1].start()
        wait_until(self.ready, lambda: f"the server listens:\n{self.logs()}")
        if SANITIZED:
            assert f"{SANITIZED_BUILD}/heartc/_core" in Path(f"/proc/{self.pid}/maps").read_text()
        return self

    def collect(self, name):
        with getattr(self.process, name) as stream:
            for raw in stream:
                line = raw.decode("utf-8", "backslashreplace").rstrip("\n")
                self.lines[name].append(line)
                match = re.search(r"listening on (?:http://|fcgi:)?(\S+)", line)
                if name == "stderr" and match:
                    self.addresses.append(match[1])

    def ready(self):
        if self.process.poll() is not None:
            time.sleep(0.05)
            raise AssertionError(f"the server exited with {self.process.returncode}:\n{self.logs()}")
        return len(self.addresses) >= self.listen

    @property
    def pid(self):
        return self.process.pid

    def address(self, index=0):
        """Socket address of a listener: (host, port), or a path for a Unix socket."""
        address = self.addresses[index]
        if address.startswith("unix:"):
            return address[5:]
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port)

    @property
    def port(self):
        return self.address()[1]

    @property
    def url(self):
        host, port = self.address()
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def connect(self, index=0, **more):
        return Client(self.address(index), **more)

    def fetch(self, method="GET", target="/", headers=(), body=None):
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.fetch(method, target, headers, body)

    def get(self, target="/", headers=()):
        return self.fetch("GET", target, headers)

    def post(self, target, body, headers=()):
        return self.fetch("POST", target, headers, body)

    def exchange(self, data):
        """Send bytes, say that no more come, and return everything that is answered."""
        with self.connect() as client:
            client.send(data).half_close()
            return client.until_close()

    def logs(self):
        """Everything that was written so far."""
        return "\n".join(self.lines["stdout"] + self.lines["stderr"])

    def tail(self):
        """The end of the logs, for messages of failed tests."""
        return self.logs()[-3000:]

    def wait_log(self, pattern, timeout=PATIENCE):
        """The match of `pattern` in the logs, which come a little after what they tell."""
        return wait_until(
            lambda: re.search(pattern, self.logs()),
            lambda: f"{pattern!r} in the logs:\n{self.tail()}",
            timeout,
        )

    def wait_begun(self, handlers=1):
        """Wait until so many handlers have logged "begun": their requests are in flight."""
        wait_until(lambda: self.logs().count("begun") >= handlers, lambda: f"{handlers} begin:\n{self.tail()}")

    def access(self):
        """The request lines of the production log so far, as dictionaries."""
        return [entry for entry in map(json.loads, self.lines["stdout"]) if "status" in entry]

    def status_field(self, name):
        """A number of /proc/PID/status, e.g. VmRSS in KiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1])

    def rss(self):
        """Resident memory in bytes."""
        return self.status_field("VmRSS") * 1024

    def fds(self):
        """Number of open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu(self):
        """CPU seconds used so far, in ticks of 10 ms or finer."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=PATIENCE):
        """Wait for the end of the process and return its exit code."""
        code = self.process.wait(timeout)
        for reader in self.readers:
            reader.join(timeout)
        return code

    def stop(self):
        """SIGTERM unless it ended already; the exit code must be 0 and no sanitizer may have spoken."""
        if self.alive():
            self.signal(signal.SIGTERM)
            code = self.wait()
            assert code == 0, f"exit code {code}:\n{self.tail()}"
        assert not SANITIZER_REPORT.search(self.logs()), self.logs()[-8000:]

    def kill(self):
        """End the process whatever happened, and remove its folder."""
        if self.process and self.alive():
            self.process.kill()
            self.process.wait()
        self.temporary.cleanup()
