"""Runs a real MariaDB server for the tests, in a folder of its own, on a free port and a Unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from heart_server import PATIENCE, free_port, need, run, wait_until

PACKAGE = "mariadb-server-core mariadb-client-core"


class MariaServer:
    """The server as a context manager. Root has no password on the socket; `user`, with `password`, may do everything
    in the database `name`, over TCP, too. Where the tests run as root the server runs as `nobody`."""

    name, user, password = "hearts", "heart", "it's secret"

    def __init__(self):
        self.program = need("mariadbd", PACKAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="heart-maria-", dir="/tmp"))  # a short path: a socket is in it
        self.port = free_port()
        self.socket = self.folder / "socket"
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

    def start(self):
        as_root = os.geteuid() == 0
        user = ["--user=nobody"] if as_root else []
        if as_root:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        words = ["--no-defaults", f"--datadir={self.folder}/data", *user]
        run(
            need("mariadb-install-db", PACKAGE),
            *words,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            timeout=60,
        )
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(
                [
                    self.program,
                    *words,
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    f"--socket={self.socket}",
                    f"--pid-file={self.folder}/pid",
                    "--innodb-buffer-pool-size=16M",
                    "--skip-log-bin",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self.answers, lambda: f"MariaDB listens:\n{(self.folder / 'log').read_text()}", timeout=30)
        password = self.password.replace("'", "''")
        self.query(
            f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4;"
            f"CREATE USER {self.user} IDENTIFIED BY '{password}'; GRANT ALL ON {self.name}.* TO {self.user}"
        )

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            return self.query("SELECT 1")
        except subprocess.CalledProcessError:
            return None

    def query(self, text):
        """What the command line client prints, as root."""
        client = need("mariadb", PACKAGE)
        words = [client, "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "--execute", text]
        return run(*words).stdout

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)
