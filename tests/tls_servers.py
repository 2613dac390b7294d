"""TLS servers that tests start: Python's ssl, `openssl s_server`, nginx.

Peer      accepts and does with each connection what a test says, on a thread
s_server  the command, as a context manager
nginx     a server of files over TLS
"""

import contextlib
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

from heart_server import PATIENCE, free_port, need
from nginx_server import Nginx


def server_context(leaf, **attributes):
    """A context of Python's ssl that shows `leaf`; attributes are set on it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.path, leaf.key)
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


class Peer:
    """A listener whose connections are given to `serve(connection)`. With a context they are encrypted first; a
    handshake that fails is kept in `failures`."""

    def __init__(self, serve, context=None):
        self.serve, self.context, self.failures = serve, context, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads, self.handles = [], []

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for handle in self.handles:  # clients may leave theirs to the collector
            with contextlib.suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)  # it may be about to add one to the others
        for thread in self.threads:
            thread.join(PATIENCE)

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.handles.append(connection.dup())
            thread = threading.Thread(target=self.one, args=(connection, self.handles[-1]))
            thread.start()
            self.threads.append(thread)

    def one(self, connection, handle):
        connection.settimeout(PATIENCE)
        with contextlib.suppress(OSError), handle, connection:
            if self.context is not None:
                try:
                    connection = self.context.wrap_socket(connection, server_side=True)
                except OSError as error:
                    self.failures.append(error)
                    return
            with connection:
                self.serve(connection)


def echo(connection):
    """Send back what comes, until the end."""
    while data := connection.recv(65536):
        connection.sendall(data)


@contextlib.contextmanager
def s_server(leaf, *options):
    """`openssl s_server`; yields its process, with the port it listens on. Its commands are lines of its input."""
    port = free_port()
    words = [need("openssl", "openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-cert", leaf.path]
    words += ["-cert_chain", leaf.path, "-key", leaf.key, *options]
    process = subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )
    process.port = port
    try:
        for line in process.stdout:
            if line.startswith(b"ACCEPT"):
                break
        yield process
    finally:
        process.kill()
        process.communicate()


NGINX = """
server_name heart.test; root {folder}/files; ssl_protocols {protocols};
location = /session {{ return 200 "$ssl_protocol $ssl_session_reused $ssl_server_name"; }}
"""


@contextlib.contextmanager
def nginx(leaf, protocols="TLSv1.2 TLSv1.3", **files):
    """nginx with TLS; yields its port. `files`: names and contents."""
    with tempfile.TemporaryDirectory(prefix="heart-nginx-") as name:
        folder = Path(name)
        (folder / "files").mkdir()
        for file, content in files.items():
            (folder / "files" / file).write_bytes(content)
        lines = NGINX.format(folder=folder, protocols=protocols)
        with Nginx(lines, "ssl_session_cache shared:tls:1m;", tls=leaf, folder=folder) as server:
            yield server.port
