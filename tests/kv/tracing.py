"""strace on a server that runs."""

import contextlib
import signal
import subprocess
import time

from heart_server import need


@contextlib.contextmanager
def tracing(server, path, calls):
    """Trace `calls`, names with commas, to the file `path`. Gives a function that ends that and returns the lines."""
    words = [need("strace", "strace"), "-f", "-ttt", "-e", f"trace={calls}", "-o", path, "-p", server.pid]
    tracer = subprocess.Popen([str(w) for w in words], stderr=subprocess.PIPE)
    tracer.stderr.readline()
    time.sleep(0.3)

    def lines():
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=20)
        return path.read_text().splitlines()

    try:
        yield lines
    finally:
        tracer.kill()
        tracer.wait()
