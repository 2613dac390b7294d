"""Runs a real MariaDB server for the tests, in a folder of its own, on a free port and a Unix socket."""

import os
import subprocess

from heart_server import need, run
from private_server import PrivateServer, nobody

PACKAGE = "mariadb-server-core mariadb-client-core"


class MariaServer(PrivateServer):
    """Root has no password on the socket; `user`, with `password`, may do everything in the database `database`, over
    TCP, too. Where the tests run as root the server runs as `nobody`."""

    name = "MariaDB"
    database, user, password = "hearts", "heart", "it's secret"

    def __init__(self):
        super().__init__()
        self.socket = self.folder / "socket"

    def start(self):
        words, user = ["--no-defaults", f"--datadir={self.folder}/data"], nobody()
        if user:
            words.append("--user=nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        run(
            need("mariadb-install-db", PACKAGE),
            *words,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            timeout=60,
        )
        self.run(
            need("mariadbd", PACKAGE),
            *words,
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={self.socket}",
            f"--pid-file={self.folder}/pid",
            "--innodb-buffer-pool-size=16M",
            "--skip-log-bin",
            patience=30,
        )
        password = self.password.replace("'", "''")
        self.query(
            f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4;"
            f"CREATE USER {self.user} IDENTIFIED BY '{password}'; GRANT ALL ON {self.database}.* TO {self.user}"
        )

    def answers(self):
        try:
            return self.query("SELECT 1")
        except subprocess.CalledProcessError:
            return None

    def query(self, text):
        """What the command line client prints, as root."""
        client = need("mariadb", PACKAGE)
        words = [client, "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "--execute", text]
        return run(*words).stdout
