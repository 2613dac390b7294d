"""A real server for the tests: a process in a folder of its own, on a free port."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from heart_server import PATIENCE, free_port, wait_until


class PrivateServer:
    """The server as a context manager. A subclass has a `name` and `start`, which calls `run`; it may have another
    `answers` and another `end`, the signal that ends it.

    A `folder` that is given stays; else there is a new one, whose path is short: a socket may be in it.
    """

    name = ""
    end = signal.SIGTERM

    def __init__(self, folder=None, port=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix=f"heart-{self.name.lower()}-", dir="/tmp"))
        self.kept = folder is not None
        self.port = port or free_port()
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, *words, patience=PATIENCE, **more):
        """Start the process and wait until it answers. Its output goes to its log."""
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more
            )
        wait_until(self.is_ready, lambda: f"{self.name} answers:\n{self.log()}", patience)

    def is_ready(self):
        assert self.process.poll() is None, self.log()
        return self.answers()

    def answers(self):
        """Whether the server is ready."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.end)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # it waits for its clients
                self.process.kill()
                self.process.wait()
        if not self.kept:
            shutil.rmtree(self.folder, ignore_errors=True)


def nobody():
    """Where the tests run as root, the entry of a user who is not, for servers that refuse to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
