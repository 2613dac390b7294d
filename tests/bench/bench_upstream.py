"""A handler that asks another server through the pool: what that costs, beside nginx with Lua. A section of run.py.

Usage: python tests/bench/bench_upstream.py [--rounds N] [--seconds S] [--check] [--resty-http FOLDER]
The other server is the C floor. CPU time per request is what is compared; the servers take turns in short rounds. nginx
asks with a few lines on its own sockets, which do what an HTTP client must do at least, and with the lua-resty-http of
a checkout if there is one.
"""

import sys
import time
from contextlib import ExitStack

import load
import nginx
import report
import servers
from process import BenchError, Server
from section import arguments, main, ratio, rows

APP = servers.HERE / "upstream.lua"
CONNECTIONS = 64
ROUNDS, SECONDS = 7, 2
HELLO, NGINX, RESTY = 2.6, 0.7, 0.7
TITLES = {
    ("heart", "/hello"): "Heart, answers itself",
    ("heart", "/upstream"): "Heart, heart.v1.http",
    ("nginx", "/upstream"): "nginx + Lua, its sockets",
    ("nginx", "/resty"): "nginx + Lua, lua-resty-http",
}

LOCATIONS = """
        location /upstream {{
            content_by_lua_block {{
                local sock = ngx.socket.tcp()
                assert(sock:connect("127.0.0.1", {port}))
                assert(sock:send("GET /hello HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nUser-Agent: x\\r\\n\\r\\n"))
                local status = tonumber(assert(sock:receive()):match("^HTTP/1%.%d (%d%d%d)"))
                local headers = {{}}
                while true do
                    local line = assert(sock:receive())
                    if line == "" then
                        break
                    end
                    local name, value = line:match("^([^:]+):%s*(.*)$")
                    headers[name:lower()] = value
                end
                local body = assert(sock:receive(tonumber(headers["content-length"])))
                assert(sock:setkeepalive(60000, 128))
                ngx.header.content_length = #body
                ngx.print(body)
            }}
        }}
"""
RESTY_LOCATION = """
        location /resty {{
            content_by_lua_block {{
                local client = require("resty.http").new()
                assert(client:connect({{ scheme = "http", host = "127.0.0.1", port = {port} }}))
                local response = assert(client:request({{ path = "/hello" }}))
                local body = assert(response:read_body())
                assert(client:set_keepalive(60000, 128))
                ngx.header.content_length = #body
                ngx.print(body)
            }}
        }}
"""


def drive(server, path, seconds, front=None, connections=CONNECTIONS):
    """CPU microseconds of a server per request, requests per second; they go to `front`, if there is one before it."""
    before = server.cpu_ns()
    seen = load.wrk((front or server).url + path, connections=connections, seconds=seconds)
    time.sleep(0.1)
    return (server.cpu_ns() - before) / 1000 / seen.requests, seen.rate


def heart_start(upstream):
    argv = [*servers.HEART, "serve", APP, "--workers", 1, "--port", 0, "--no-access-log"]
    return Server("heart-upstream", argv, env={"UPSTREAM": upstream.url})


def measure(rounds, seconds, resty=None):
    """Lists of (CPU, rate), one for each round, by (server, path)."""
    found = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.floor_start(1))
        locations = (LOCATIONS + (RESTY_LOCATION if resty else "")).format(port=upstream.port)
        started = {
            "heart": stack.enter_context(heart_start(upstream)),
            "nginx": stack.enter_context(nginx.start(1, locations=locations, modules=resty)),
        }
        asked = [("heart", "/hello"), ("heart", "/upstream"), ("nginx", "/upstream")]
        asked += [("nginx", "/resty")] if resty else []
        for name, path in asked:
            (answer,) = load.ask(started[name], path)
            if answer.status != 200 or answer.body != {"hello": "world"}:
                raise BenchError(f"{name} answers {path} with {answer}")
            drive(started[name], path, 1)
        for _ in range(rounds):
            for name, path in asked:
                found.setdefault((name, path), []).append(drive(started[name], path, seconds))
    return found


def section(rounds=ROUNDS, seconds=SECONDS, resty_http=None):
    """Measure. Returns the lines of the table, and the Bounds."""
    found = measure(rounds, seconds, resty_http)
    heart = ("heart", "/upstream")
    bounds = [
        report.Bound("one upstream call: CPU / that of hello", ratio(found, heart, ("heart", "/hello")), HELLO),
        report.Bound(
            "one upstream call: CPU / nginx + Lua sockets", ratio(found, heart, ("nginx", "/upstream")), NGINX
        ),
    ]
    if resty_http:
        bounds.append(
            report.Bound("one upstream call: CPU / lua-resty-http", ratio(found, heart, ("nginx", "/resty")), RESTY)
        )
    head = "One upstream call, 1 worker, 64 connections", "CPU us/request", "requests/s"
    return report.table(head, rows(found, TITLES)), bounds


if __name__ == "__main__":
    parser = arguments(__doc__, rounds=ROUNDS, seconds=SECONDS)
    parser.add_argument("--resty-http", metavar="FOLDER", help="a checkout of lua-resty-http to compare with")
    sys.exit(main(section, parser))
