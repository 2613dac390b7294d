"""The original of the facade: nginx with lua-nginx-module, from Debian's packages, unpacked and never installed (to
install them would remove Debian's LuaJIT)."""

from debian_files import unpack
from nginx_server import Nginx

MODULE = [
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "lua-resty-core",
    "lua-resty-lrucache",
    "libluajit2-5.1-2",
    "libpcre3",
]

MAIN = """\
load_module {home}/usr/lib/nginx/modules/ndk_http_module.so;
load_module {home}/usr/lib/nginx/modules/ngx_http_lua_module.so;
"""
HTTP = """\
client_body_buffer_size 1m;
lua_package_path "{home}/usr/share/lua/5.1/?.lua;;";
lua_shared_dict dogs 1m;
"""
RUN = """\
location / {
    content_by_lua_block {
        ngx.req.read_body()
        assert(loadstring(ngx.req.get_body_data() or "", "=case"))()
    }
}
"""


class OpenResty(Nginx):
    """It runs the Lua code that it is sent; or `server` says what it does, as lines of nginx's configuration, to which
    `http` may add some that hold for all."""

    def __init__(self, folder, server=RUN, http=""):
        home = unpack(*MODULE)
        libraries = ":".join(sorted({str(path.parent) for path in home.rglob("lib*.so.?") if "linux-gnu" in str(path)}))
        super().__init__(
            server,
            HTTP.format(home=home) + http,
            MAIN.format(home=home),
            folder=folder,
            environment={"LD_LIBRARY_PATH": libraries},
            level="notice",
        )
