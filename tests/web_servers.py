"""Web servers that pass requests on, over FastCGI or as the site of a test says, each as a process on a free port.

nginx(), lighttpd(), apache(), haproxy()    context managers: where it listens, as a WebServer
"""

import contextlib
import http.client
import os

from heart_server import PATIENCE, need
from private_server import PrivateServer

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


class WebServer(PrivateServer):
    """One of them. `frame` and `site` are its configuration; `words` start it with CONF and HOME in the places of that
    file and its folder."""

    def __init__(self, name, frame, site, heart, words, **values):
        self.name = name
        super().__init__()
        self.folder.chmod(0o755)  # Apache's user may enter it
        site = site.replace("HEART", heart).replace("PORT", f"127.0.0.1:{self.port} backlog=1024")
        conf = self.folder / "conf"
        conf.write_text(frame.format(home=self.folder, port=self.port, site=site, **values))
        self.words = [{"CONF": conf, "HOME": self.folder}.get(word, word) for word in words]

    def start(self):
        self.run(*self.words)

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


def written(address, unix=""):
    """An address of Heart, (host, port) or a path, as a text."""
    return unix + address if isinstance(address, str) else "{}:{}".format(*address)


def nginx(address, site=NGINX_SITE):
    words = [need("nginx", "nginx"), "-p", "HOME", "-c", "CONF", "-e", "stderr"]
    return WebServer("nginx", NGINX, site, written(address, "unix:"), words, user="user root;" if ROOT else "")


def lighttpd(address, site=LIGHTTPD_SITE):
    return WebServer("lighttpd", LIGHTTPD, site, written(address), [need("lighttpd", "lighttpd"), "-D", "-f", "CONF"])


def apache(address, site=APACHE_SITE):
    program = need("apache2", "apache2")
    modules = program.replace("sbin/apache2", "lib/apache2/modules")
    user = "User nobody\nGroup nogroup" if ROOT else ""
    words = [program, "-D", "FOREGROUND", "-f", "CONF"]
    return WebServer("apache", APACHE, site, written(address), words, modules=modules, user=user)


def haproxy(address, site=HAPROXY_SITE):
    return WebServer("haproxy", HAPROXY, site, written(address), [need("haproxy", "haproxy"), "-db", "-f", "CONF"])


ALL = {"nginx": nginx, "lighttpd": lighttpd, "apache": apache, "haproxy": haproxy}
