"""The original of the facade: nginx with lua-nginx-module, from Debian's packages, unpacked and never installed (to
install them would remove Debian's LuaJIT)."""

import contextlib
import os
import socket
import subprocess
from pathlib import Path

from debian_files import unpack
from heart_server import PATIENCE, free_port, need, wait_until

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
