"""Runs a real nginx for the tests, in a folder of its own, on a free port."""

import contextlib
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from heart_server import PATIENCE, free_port, need, wait_until

CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; {main}
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  access_log {folder}/access.log;
  {http}
  server {{
    listen 127.0.0.1:{port};
    {server}
  }}
}}
"""


class Nginx:
    """nginx as a context manager, with the user and the rights of the tests. Lines of its configuration: `server`,
    `http` around it, `main` around all. `environment` is added to that of the tests."""

    def __init__(self, server, http="", main="", environment=None, folder=None):
        self.temporary = None if folder else tempfile.TemporaryDirectory(prefix="heart-nginx-")
        self.folder = Path(folder or self.temporary.name)
        self.lines = {"server": server, "http": http, "main": main}
        self.environment = environment or {}
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        program, config = need("nginx", "nginx"), self.folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port, **self.lines))
        self.process = subprocess.Popen(
            [program, "-e", self.folder / "error.log", "-p", self.folder, "-c", config],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(self.listens, lambda: f"nginx listens:\n{self.errors()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        if self.temporary:
            self.temporary.cleanup()

    def listens(self):
        assert self.process.poll() is None, self.errors()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def errors(self):
        """Its error log."""
        path = self.folder / "error.log"
        return path.read_text() if path.exists() else ""
