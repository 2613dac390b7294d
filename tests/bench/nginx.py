"""nginx with its Lua module, from Debian's packages: downloaded and unpacked beside the build, never installed."""

import os
import shutil
import socket
import subprocess

from process import ROOT, BenchError, Server, tool

HOME = ROOT / "build" / "peers" / "nginx"
PACKAGES = (
    "nginx",
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "lua-resty-core",
    "lua-resty-lrucache",
    "lua-cjson",
    "libluajit2-5.1-2",
    "libpcre3",
)

# Content-Length is set by hand because nginx would choose chunks, which cost it more.
CONFIG = """\
{user}
daemon off;
worker_processes {workers};
pid {run}/nginx.pid;
error_log stderr warn;
load_module {home}/usr/lib/nginx/modules/ndk_http_module.so;
load_module {home}/usr/lib/nginx/modules/ngx_http_lua_module.so;
events {{
    worker_connections 16384;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    lua_package_path "{modules}{home}/usr/share/lua/5.1/?.lua;;";
    lua_package_cpath "{cpath}/?.so;;";
{upstreams}
    init_by_lua_block {{
        counter = {{ n = 0 }}
    }}
    server {{
        listen 127.0.0.1:{port} reuseport;
        default_type application/json;
        location /hello {{
            content_by_lua_block {{
                local cjson = require("cjson")
                local body = cjson.encode({{ hello = "world" }})
                ngx.header.content_length = #body
                ngx.print(body)
            }}
        }}
        location /echo {{
            content_by_lua_block {{
                local cjson = require("cjson")
                counter.n = counter.n + 1
                local body = cjson.encode({{ name = ngx.var.arg_name, n = counter.n }})
                ngx.header.content_length = #body
                ngx.print(body)
            }}
        }}
{locations}
    }}
}}
"""


def unpack():
    """Download the packages of this machine's Debian and unpack them into HOME, once."""
    done = HOME / ".unpacked"
    if done.exists():
        return
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    # The sandbox user of apt may not write here.
    download = [tool("apt-get", "apt"), "-q", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    result = subprocess.run(download, cwd=HOME, capture_output=True, text=True)
    if result.returncode:
        raise BenchError(f"nginx's packages cannot be downloaded (try apt-get update):\n{result.stderr}")
    for package in HOME.glob("*.deb"):
        subprocess.run([tool("dpkg"), "-x", package, HOME], check=True)
        package.unlink()
    done.touch()


def port_choose():
    """A TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(workers, prefix=(), locations="", upstreams="", modules=None, **options):
    """Start nginx with `workers` worker processes, under the command `prefix`; `options` are those of Server.

    locations, upstreams: more of its configuration; modules: a checkout of a library whose modules it may load
    """
    unpack()
    run = HOME / "run"
    run.mkdir(exist_ok=True)
    port = port_choose()
    cpath = next(HOME.glob("usr/lib/*/lua/5.1/cjson.so")).parent
    user = "user root;" if os.geteuid() == 0 else ""
    config = run / "nginx.conf"
    modules = f"{modules}/lib/?.lua;" if modules else ""
    places = {"user": user, "run": run, "home": HOME, "cpath": cpath, "modules": modules}
    config.write_text(CONFIG.format(workers=workers, port=port, locations=locations, upstreams=upstreams, **places))
    libraries = ":".join({str(p.parent) for p in HOME.rglob("lib*.so.?") if "linux-gnu" in str(p)})
    argv = [*prefix, HOME / "usr/sbin/nginx", "-e", "stderr", "-p", run, "-c", config]
    return Server("nginx", argv, env={"LD_LIBRARY_PATH": libraries}, port=port, **options)
