"""Runs a real PostgreSQL server for the tests, in a folder of its own, on a free port and a Unix socket."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from heart_server import PATIENCE, free_port, missing, need, wait_until

PACKAGE = "postgresql"


def program(name):
    """A program of the newest PostgreSQL that is installed: Debian keeps them out of PATH."""
    found = shutil.which(name) or next(
        iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    return found or missing(name, PACKAGE)


class PostgresServer:
    """The server as a context manager. `user` with `password` owns everything in the database `name`; it comes in with
    that alone (SCRAM-SHA-256), over TCP and the socket. `tls`: those who ask for TLS get it, with a certificate that is
    signed with RSA by itself; its file is `certificate`. Where the tests run as root the server runs as another user,
    since it refuses to run as root."""

    name, user, password = "postgres", "heart", "pencil"

    def __init__(self, tls=False):
        self.folder = Path(tempfile.mkdtemp(prefix="heart-postgres-", dir="/tmp"))
        self.tls = tls
        self.certificate = self.folder / "data/server.crt"  # where PostgreSQL looks for it
        self.port = free_port()
        self.process = None
        self.account = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("nobody")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, *words, **more):
        options = {"check": True, "capture_output": True, "text": True, "cwd": self.folder} | self.account | more
        return subprocess.run([str(word) for word in words], **options)

    def start(self):
        data, secret = self.folder / "data", self.folder / "password"
        secret.write_text(self.password)
        os.chmod(secret, 0o644)
        self.run(
            *(program("initdb"), "--pgdata", data, "--username", self.user, "--pwfile", secret),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync"),
        )
        if self.tls:
            self.run(
                *(need("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=postgres"),
                *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", data / "server.key", "-out", self.certificate),
            )
        with open(self.folder / "log", "w") as log:
            self.process = subprocess.Popen(
                [
                    *(program("postgres"), "-D", data, "-p", str(self.port), "-k", self.folder),
                    *("-h", "127.0.0.1", "-F", "-c", "shared_buffers=16MB", "-c", f"ssl={'on' if self.tls else 'off'}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.account,
            )
        wait_until(self.answers, lambda: f"PostgreSQL listens:\n{(self.folder / 'log').read_text()}", timeout=30)

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        words = [program("pg_isready"), "-h", "127.0.0.1", "-p", self.port]
        return self.run(*words, check=False).returncode == 0

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
            self.name,
            "-At",
            "-c",
            text,
        ]
        return self.run(*words, env=os.environ | {"PGPASSWORD": self.password}).stdout

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)
