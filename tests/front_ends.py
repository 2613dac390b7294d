"""Servers in front of Heart that tests start: nginx and HAProxy, each as a context manager that yields its port.

`port` is Heart's. `idle`: seconds without a byte after which they end the connection of a WebSocket.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from heart_server import PATIENCE, free_port, need, wait_until

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn; {user}
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{front};
    location / {{
      proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
      proxy_read_timeout {idle}s; proxy_send_timeout {idle}s;
    }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 256
defaults
  mode http
  timeout connect 10s
  timeout client {idle}s
  timeout server {idle}s
  timeout tunnel {idle}s
frontend front
  bind 127.0.0.1:{front}
  default_backend heart
backend heart
  server one 127.0.0.1:{port}
"""


@contextlib.contextmanager
def running(name, config, *words, **values):
    """A program whose configuration is `config` with the values, {folder}, {front} and {user} filled in."""
    folder = Path(tempfile.mkdtemp(prefix=f"heart-{name}-"))
    front = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "conf").write_text(config.format(folder=folder, front=front, user=user, **values))
    process = subprocess.Popen([need(name, name), *words, folder / "conf"], cwd=folder, stderr=subprocess.DEVNULL)

    def listens():
        assert process.poll() is None, f"{name} did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", front)) == 0

    try:
        wait_until(listens, f"{name} listens")
        yield front
    finally:
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(folder, ignore_errors=True)


def nginx(port, idle=60):
    return running("nginx", NGINX, "-c", port=port, idle=idle)


def haproxy(port, idle=60):
    return running("haproxy", HAPROXY, "-db", "-f", port=port, idle=idle)
