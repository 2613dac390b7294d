"""A server process under measurement: its start, its address, its CPU time and its memory, with all children."""

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"
ADDRESS = re.compile(r"listening on http://(\S+):(\d+)")
START_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02
MIB = 1024 * 1024


class BenchError(Exception):
    """The bench cannot go on; the message says what to do."""


def tool(name, package=None):
    """The path of the program `name`, or a BenchError that names its Debian package."""
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"{name} is missing: apt-get install {package or name}")
    return path


@dataclass(frozen=True)
class Memory:
    """Bytes held by a process and its children. `rss` counts a page once per process, `pss` once."""

    rss: int
    pss: int


class Server:
    """A started server. `cpus`: the processors it may use, None for all of them.

    The address is read from the line `listening on http://ADDR:PORT` of its stderr; a server that prints none is
    given its `port` and is ready when it accepts there. stdout goes to the file `stdout`, by default nowhere.
    """

    def __init__(self, name, argv, *, cpus=None, env=None, port=None, stdout=os.devnull, patience=START_SECONDS):
        OUT.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.stderr = OUT / f"{name}.stderr"
        pin = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
        with open(self.stderr, "wb") as errors, open(stdout, "ab") as output:
            self.process = subprocess.Popen(
                [*pin, *map(str, argv)],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        try:
            self.host, self.port = self._address(port, patience)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def messages(self):
        """What the server has written to stderr."""
        return self.stderr.read_text(errors="replace")

    def _address(self, port, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.process.returncode}:\n{self.messages()}")
            if port is None:
                if found := ADDRESS.search(self.messages()):
                    return found[1].replace("0.0.0.0", "127.0.0.1"), int(found[2])
            elif port_accepts(port):
                return "127.0.0.1", port
            time.sleep(POLL_SECONDS)
        raise BenchError(f"{self.name} is not ready after {patience:.0f} s:\n{self.messages()}")

    def pids(self):
        """The process and all its descendants."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                queue += map(int, children.read_text().split())
        return found

    def cpu_ns(self):
        """User and system time of all threads so far, in nanoseconds (exact, unlike the ticks of /proc/PID/stat)."""
        return sum(
            int(schedstat.read_text().split()[0])
            for pid in self.pids()
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )

    def memory(self):
        """Resident memory now, as a Memory."""
        rss = pss = 0
        for pid in self.pids():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
            rss += fields["Rss"]
            pss += fields["Pss"]
        return Memory(rss, pss)

    def stop(self):
        """End it with SIGTERM, or SIGKILL when that does not help. Returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def port_accepts(port):
    """Whether something listens on `port` of the loopback: the kernel's table is read, nothing is connected."""
    local = f"0100007F:{port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[1] == local and row.split()[3] == "0A" for row in rows)


def machine_times():
    """Seconds of processor time since boot: all there was, and what others than this process and its ended children
    used."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = ticks[3] + ticks[4]  # waiting for a disk counts as idle
    total = sum(ticks) / os.sysconf("SC_CLK_TCK")
    own = os.times()
    used = total - idle / os.sysconf("SC_CLK_TCK")
    return total, used - own.user - own.system - own.children_user - own.children_system
