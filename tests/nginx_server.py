"""Runs a real nginx for the tests, in a folder of its own, on a free port."""

import os

from heart_server import need
from private_server import PrivateServer

CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr {level}; {main}
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; access_log {folder}/access.log;
  {http}
  server {{
    listen 127.0.0.1:{port}{tls};
    {server}
  }}
}}
"""


class Nginx(PrivateServer):
    """nginx with the rights of the tests: one process. Lines of its configuration: `server`, `http` around it, `main`
    around all; with `tls`, a certificate, it speaks TLS. `environment` is added to that of the tests."""

    name = "nginx"

    def __init__(self, server, http="", main="", tls=None, folder=None, environment=None, level="error"):
        super().__init__(folder)
        self.lines = {"server": server, "http": http, "main": main, "tls": " ssl" if tls else "", "level": level}
        if tls:
            self.lines["http"] += f"ssl_certificate {tls.path}; ssl_certificate_key {tls.key};"
        self.environment = environment or {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        config = self.folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=self.folder, port=self.port, **self.lines))
        words = [need("nginx", "nginx"), "-e", "stderr", "-p", self.folder, "-c", config]
        self.run(*words, env=os.environ | self.environment)
