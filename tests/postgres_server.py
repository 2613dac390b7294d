"""Runs a real PostgreSQL server for the tests, in a folder of its own, on a free port and a Unix socket."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from heart_server import missing, need
from private_server import PrivateServer, nobody

PACKAGE = "postgresql"


def program(name):
    """A program of the newest PostgreSQL that is installed: Debian keeps them out of PATH."""
    found = shutil.which(name) or next(
        iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    return found or missing(name, PACKAGE)


class PostgresServer(PrivateServer):
    """`user` with `password` owns everything in the database `database`; it comes in with that alone (SCRAM-SHA-256),
    over TCP and the socket. `tls`: those who ask for TLS get it, with a certificate that is signed with RSA by itself;
    its file is `certificate`. Where the tests run as root the server runs as another user, since it refuses to run as
    root."""

    name = "PostgreSQL"
    end = signal.SIGINT
    database, user, password = "postgres", "heart", "pencil"

    def __init__(self, tls=False):
        super().__init__()
        self.tls = tls
        self.certificate = self.folder / "data/server.crt"  # where PostgreSQL looks for it
        self.account, account = {}, nobody()
        if account:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def tool(self, *words, **more):
        """Run a program of PostgreSQL to its end."""
        options = {"check": True, "capture_output": True, "text": True, "cwd": self.folder} | self.account | more
        return subprocess.run([str(word) for word in words], **options)

    def start(self):
        data, secret = self.folder / "data", self.folder / "password"
        secret.write_text(self.password)
        os.chmod(secret, 0o644)
        self.tool(
            *(program("initdb"), "--pgdata", data, "--username", self.user, "--pwfile", secret),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"),
        )
        if self.tls:
            self.tool(
                *(need("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=postgres"),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", data / "server.key", "-out", self.certificate),
            )
        self.run(
            *(program("postgres"), "-D", data, "-p", self.port, "-k", self.folder, "-h", "127.0.0.1", "-F"),
            *("-c", "shared_buffers=16MB", "-c", f"ssl={'on' if self.tls else 'off'}"),
            patience=30,
            **self.account,
        )

    def answers(self):
        words = [program("pg_isready"), "-h", "127.0.0.1", "-p", self.port]
        return self.tool(*words, check=False).returncode == 0

    def query(self, text):
        """What the command line client prints: rows with "|" between their columns."""
        words = [
            program("psql"),
            "-h",
            "127.0.0.1",
            "-p",
            self.port,
            "-U",
            self.user,
            "-d",
            self.database,
            "-At",
            "-c",
            text,
        ]
        return self.tool(*words, env=os.environ | {"PGPASSWORD": self.password}).stdout
