"""Runs libraries for OpenResty that Debian does not have, unmodified, against private servers.

    python tests/suites/openresty.py --mysql ~/src/lua-resty-mysql --http ~/src/lua-resty-http \\
        --template ~/src/lua-resty-template --pgmoon ~/src/pgmoon

Each option takes the folder of a checkout. What is run is in tests/compat/libraries. Needed: Debian's
mariadb-server-core, mariadb-client-core, postgresql, nginx and openssl. The sources of pgmoon must be built to Lua (its
releases are).
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "compat")]

from certificates import Authority  # noqa: E402
from debian_files import unpack  # noqa: E402
from heart_server import free_port  # noqa: E402
from lua_shell import LuaFailed, Shell  # noqa: E402
from mariadb_server import MariaServer  # noqa: E402
from openresty import OpenResty  # noqa: E402
from postgres_server import PostgresServer  # noqa: E402

# OpenResty comes with lua-resty-string, which lua-resty-http requires; Debian has it under another name.
PRELUDE = """
package.path = "%s;" .. package.path .. ";%s/usr/share/lua/5.1/?.lua"
package.cpath = package.cpath .. ";%s/?.so"
package.preload["resty.string"] = function() return require("nginx.string") end
json = require("heart.v1.json")
"""

# What the scenario of lua-resty-http asks for.
NGINX = """\
listen 127.0.0.1:%(tls_port)d ssl;
ssl_certificate %(certificate)s;
ssl_certificate_key %(key)s;
default_type text/plain;
location = /hello { content_by_lua_block {
    ngx.say(ngx.var.args or "", " ", ngx.var.http_x_a or "", " ", ngx.req.get_method())
} }
location = /echo { content_by_lua_block { ngx.req.read_body() ngx.print(ngx.req.get_body_data()) } }
location = /large { content_by_lua_block { for _ = 1, 1000 do ngx.print(("x"):rep(1000)) end } }
location = /slow { content_by_lua_block { ngx.sleep(1) ngx.say("at last") } }
"""


def mysql():
    with MariaServer() as server:
        yield {
            "module": "resty.mysql",
            "port": server.port,
            "socket": str(server.socket),
            "database": server.database,
            "user": server.user,
            "password": server.password,
        }


def http():
    with tempfile.TemporaryDirectory() as folder:
        leaf = Authority(Path(folder)).issue("server", "IP:127.0.0.1")
        tls_port = free_port()
        config = NGINX % {"tls_port": tls_port, "certificate": leaf.path, "key": leaf.key}
        with OpenResty(folder, config) as server:
            yield {"module": "resty.http", "port": server.port, "tls_port": tls_port}


def template():
    yield {"module": "resty.template"}


def pgmoon():
    with PostgresServer(tls=True) as server:
        yield {
            "module": "pgmoon",
            "port": server.port,
            "certificate": str(server.certificate),
            "database": server.database,
            "user": server.user,
            "password": server.password,
        }


LIBRARIES = {fn.__name__: contextlib.contextmanager(fn) for fn in (mysql, http, template, pgmoon)}


def play(name, folder):
    """Run a library's scenario with its sources in `folder`. None, or what went wrong."""
    roots = [Path(folder).resolve() / part for part in ("lib", "")]
    path = ";".join(f"{root}/?.lua;{root}/?/init.lua" for root in roots)
    home = unpack("lua-nginx-string", "lua-luaossl", "lua-lpeg")
    prelude = PRELUDE % (path, home, next(home.glob("usr/lib/*/lua/5.1")))
    code = "local env = json.decode((...))\n" + (TESTS / "compat/libraries" / f"{name}.lua").read_text()
    with LIBRARIES[name]() as env, Shell(prelude=prelude) as shell:
        try:
            shell.run(code, json.dumps(env).encode())
        except LuaFailed as e:
            return f"{e}\n{shell.server.logs()}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in LIBRARIES:
        parser.add_argument(f"--{name}", metavar="FOLDER", help="a checkout of it")
    chosen = {name: folder for name, folder in vars(parser.parse_args()).items() if folder}
    if not chosen:
        parser.error("nothing to run: give a checkout at least")
    failed = 0
    for name, folder in chosen.items():
        wrong = play(name, folder)
        print(f"{name}: {wrong or 'ok'}", flush=True)
        failed += wrong is not None
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
