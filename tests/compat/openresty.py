"""The original of the facade: nginx with lua-nginx-module, from Debian's packages, unpacked and never installed (to
install them would remove Debian's LuaJIT)."""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
from pathlib import Path

from heart_server import PATIENCE, ROOT, free_port, missing, need, run, wait_until

HOME = ROOT / "build" / "compat"
MODULE = [
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "lua-resty-core",
    "lua-resty-lrucache",
    "libluajit2-5.1-2",
    "libpcre3",
]

CONFIG = """\
daemon off;
{user}
worker_processes 1;
pid {run}/nginx.pid;
error_log {run}/error.log notice;
load_module {home}/usr/lib/nginx/modules/ndk_http_module.so;
load_module {home}/usr/lib/nginx/modules/ngx_http_lua_module.so;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {run}/body;
    client_body_buffer_size 1m;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    lua_package_path "{home}/usr/share/lua/5.1/?.lua;;";
    lua_shared_dict dogs 1m;
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""
RUN = """\
location / {
    content_by_lua_block {
        ngx.req.read_body()
        assert(loadstring(ngx.req.get_body_data() or "", "=case"))()
    }
}
"""


def unpack(*packages):
    """The root with the files of Debian packages, each downloaded once."""
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = [name for name in packages if not (HOME / f".{name}").exists()]
        if wanted:
            download(wanted)
    return HOME


def download(packages):
    apt, dpkg = need("apt-get", "apt"), need("dpkg", "dpkg")
    folder = HOME / "download"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # The sandbox user of apt may not write here.
    words = [apt, "-q", "-o", "APT::Sandbox::User=root", "download", *packages]
    if subprocess.run(words, cwd=folder, capture_output=True).returncode:
        missing(f"one of {', '.join(packages)}", "nothing: apt-get update lets them be downloaded")
    for package in folder.glob("*.deb"):
        run(dpkg, "-x", package, HOME)
    for name in packages:
        (HOME / f".{name}").touch()
    shutil.rmtree(folder)


class OpenResty:
    """The server as a context manager. It runs the Lua code that it is sent; or `server` says what it does, as lines of
    nginx's configuration."""

    def __init__(self, folder, server=RUN):
        self.folder = Path(folder)
        self.server = server
        self.port = free_port()
        self.process = None

    def __enter__(self):
        nginx = need("nginx", "nginx")
        home = unpack(*MODULE)
        libraries = ":".join(sorted({str(path.parent) for path in home.rglob("lib*.so.?") if "linux-gnu" in str(path)}))
        user = "user root;" if os.geteuid() == 0 else ""
        config = self.folder / "nginx.conf"
        config.write_text(CONFIG.format(run=self.folder, home=home, port=self.port, user=user, server=self.server))
        self.process = subprocess.Popen(
            [nginx, "-e", "stderr", "-p", self.folder, "-c", config],
            env=os.environ | {"LD_LIBRARY_PATH": libraries},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(self.listens, "nginx listens")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=PATIENCE)

    def listens(self):
        assert self.process.poll() is None, self.process.stderr.read()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
