"""Web servers that pass requests on over FastCGI, each as a process of its own on a free port.

nginx(), lighttpd(), apache(), haproxy()    context managers: where it listens, as a WebServer
"""

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from heart_server import PATIENCE, free_port, need, wait_until

ROOT = os.geteuid() == 0

# Each has a frame, which is for the test alone, and a site: that part of it which concerns Heart.
NGINX = """
daemon off; worker_processes 1; pid {home}/pid; error_log stderr notice; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 200m; client_body_temp_path {home}/b; client_body_buffer_size 1m;
  proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  {site}
}}
"""
NGINX_SITE = """
upstream heart { server HEART; keepalive 8; }
server {
  listen PORT;
  include /etc/nginx/fastcgi_params;
  fastcgi_keep_conn on;
  location / { fastcgi_pass heart; }
  location /count { fastcgi_pass heart; fastcgi_request_buffering off; }
  location /endless { fastcgi_pass heart; fastcgi_buffering off; }
}
"""

LIGHTTPD = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{home}"
server.upload-dirs = ("{home}")
server.errorlog = "/dev/stderr"
{site}
"""
LIGHTTPD_SITE = """
server.modules = ("mod_fastcgi")
server.stream-response-body = 1
$HTTP["url"] =^ "/count" { server.stream-request-body = 1 }
fastcgi.server = ("/" => (("socket" => "HEART", "check-local" => "disable", "fix-root-scriptname" => "enable")))
"""

APACHE = """
ServerRoot {home}
PidFile {home}/pid
ErrorLog /dev/stderr
LogLevel warn
ServerName localhost
Listen 127.0.0.1:{port}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_fcgi_module {modules}/mod_proxy_fcgi.so
StartServers 1
ThreadsPerChild 64
MaxRequestWorkers 64
ServerLimit 1
LimitRequestBody 0
{user}
{site}
"""
APACHE_SITE = """
ProxyPass "/" "fcgi://HEART/" enablereuse=on flushpackets=auto
"""

HAPROXY = """
global
  log stderr local0 info
defaults
  mode http
  log global
  option httplog
  option abortonclose
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
  default_backend heart
{site}
"""
HAPROXY_SITE = """
backend heart
  use-fcgi-app heart
  http-reuse always
  server heart HEART proto fcgi pool-max-conn 2
fcgi-app heart
  log-stderr global
  docroot /
  option get-values
  option keep-conn
  option mpxs-conns
  option max-reqs 50
"""


class WebServer:
    """Where one listens: `port`, and `log()`."""

    def __init__(self, name, port, home):
        self.name = name
        self.port = port
        self.home = home
        self.process = None

    def log(self):
        return (self.home / "log").read_text(errors="replace")

    def request(self, method="GET", target="/", body=None, headers=(), timeout=PATIENCE):
        """Status, headers as a list of pairs with lower-case names, and body of one answer."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as c:
            c.request(method, target, body, dict(headers))
            answer = c.getresponse()
            fields = [(name.lower(), value) for name, value in answer.getheaders()]
            return answer.status, fields, answer.read()

    def get(self, target="/", headers=()):
        """Status and text of an answer."""
        status, _, body = self.request("GET", target, None, headers)
        return status, body.decode()

    def answers(self):
        assert self.process.poll() is None, self.log()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def started(name, home, port, *words):
    server = WebServer(name, port, home)
    with open(home / "log", "w") as log:
        server.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(server.answers, lambda: f"{name} listens:\n{server.log()}")
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(10)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(home, ignore_errors=True)


def place():
    """A folder and a free port. Apache's user may enter it."""
    home = Path(tempfile.mkdtemp(prefix="heart-web-"))
    home.chmod(0o755)
    return home, free_port()


def configure(home, text, port, heart, site, **values):
    """Write the configuration; `heart` takes the place of HEART in the site, and the port that of PORT."""
    site = site.replace("HEART", heart).replace("PORT", f"127.0.0.1:{port} backlog=1024")
    (home / "conf").write_text(text.format(home=home, port=port, site=site, **values))
    return home / "conf"


def written(address, unix=""):
    """An address of Heart, (host, port) or a path, as a text."""
    return unix + address if isinstance(address, str) else "{}:{}".format(*address)


def nginx(address, site=NGINX_SITE):
    program = need("nginx", "nginx")
    home, port = place()
    conf = configure(home, NGINX, port, written(address, "unix:"), site, user="user root;" if ROOT else "")
    return started("nginx", home, port, program, "-p", home, "-c", conf, "-e", "stderr")


def lighttpd(address, site=LIGHTTPD_SITE):
    program = need("lighttpd", "lighttpd")
    home, port = place()
    return started("lighttpd", home, port, program, "-D", "-f", configure(home, LIGHTTPD, port, written(address), site))


def apache(address, site=APACHE_SITE):
    program = need("apache2", "apache2")
    home, port = place()
    modules = program.replace("sbin/apache2", "lib/apache2/modules")
    user = "User nobody\nGroup nogroup" if ROOT else ""
    conf = configure(home, APACHE, port, written(address), site, modules=modules, user=user)
    return started("apache", home, port, program, "-D", "FOREGROUND", "-f", conf)


def haproxy(address, site=HAPROXY_SITE):
    program = need("haproxy", "haproxy")
    home, port = place()
    return started("haproxy", home, port, program, "-db", "-f", configure(home, HAPROXY, port, written(address), site))


ALL = {"nginx": nginx, "lighttpd": lighttpd, "apache": apache, "haproxy": haproxy}
