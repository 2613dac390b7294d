"""FastCGI behind nginx: what a hello of a script and of an application costs the responder, beside php-cgi and beside
HTTP. A section of run.py.

Usage: python tests/bench/bench_fcgi.py [--rounds N] [--seconds S] [--check]
nginx passes all requests on over connections that it keeps. CPU time of the server behind it is compared, without that
of nginx; the servers take turns in short rounds. php-cgi answers with an empty page, from its opcode cache.
"""

import sys
from contextlib import ExitStack

import load
import nginx
import report
import servers
from bench_upstream import drive
from process import OUT, BenchError, Server, tool
from section import arguments, main, ratio, rows

CONNECTIONS = 8  # a process of php-cgi serves one at a time
ROUNDS, SECONDS = 7, 2
PHP, HTTP = 1.8, 1.3

UPSTREAMS = """
    upstream heart_fcgi {{ server 127.0.0.1:{fcgi}; keepalive 32; }}
    upstream heart_scripts {{ server 127.0.0.1:{scripts}; keepalive 32; }}
    upstream heart_http {{ server 127.0.0.1:{http}; keepalive 32; }}
    upstream php {{ server 127.0.0.1:{php}; keepalive 32; }}
"""
LOCATIONS = """
        fastcgi_keep_conn on;
        fastcgi_param QUERY_STRING $query_string;
        fastcgi_param REQUEST_METHOD $request_method;
        fastcgi_param CONTENT_TYPE $content_type;
        fastcgi_param CONTENT_LENGTH $content_length;
        fastcgi_param SCRIPT_FILENAME $page;
        fastcgi_param SCRIPT_NAME $fastcgi_script_name;
        fastcgi_param REQUEST_URI /hello;
        fastcgi_param DOCUMENT_URI $document_uri;
        fastcgi_param DOCUMENT_ROOT $document_root;
        fastcgi_param SERVER_PROTOCOL $server_protocol;
        fastcgi_param REQUEST_SCHEME $scheme;
        fastcgi_param GATEWAY_INTERFACE CGI/1.1;
        fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
        fastcgi_param REMOTE_ADDR $remote_addr;
        fastcgi_param REMOTE_PORT $remote_port;
        fastcgi_param SERVER_ADDR $server_addr;
        fastcgi_param SERVER_PORT $server_port;
        fastcgi_param SERVER_NAME $server_name;
        fastcgi_param REDIRECT_STATUS 200;
        set $page {script};
        location /fcgi {{ fastcgi_pass heart_fcgi; }}
        location /script {{ fastcgi_pass heart_scripts; }}
        location /php {{
            set $page {page};
            fastcgi_pass php;
        }}
        location /http {{
            proxy_pass http://heart_http/hello;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
"""
TITLES = {
    "/script": "Heart, a script over FastCGI",
    "/fcgi": "Heart, an application over FastCGI",
    "/http": "Heart, an application over HTTP",
    "/php": "php-cgi, empty page",
}
SCRIPT = """
function main(env, con)
  con:header("Content-Type", "application/json")
  con:puts('{"hello":"world"}')
end
"""


def heart_start(port):
    """Heart with the application of the other cases, for HTTP and on `port` for FastCGI."""
    argv = [*servers.HEART, "serve", servers.HERE / "app.lua", "--workers", 1, "--no-access-log"]
    return Server("heart-fcgi", [*argv, "--listen", "127.0.0.1:0", "--listen", f"fcgi:127.0.0.1:{port}"])


def scripts_start(folder, port):
    """Heart with the scripts of a folder."""
    argv = [*servers.HEART, "fcgi", folder, "--workers", 1, "--no-access-log", "--listen", f"127.0.0.1:{port}"]
    return Server("heart-scripts", argv, port=port)


def php_start(port):
    env = {"PHP_FCGI_CHILDREN": str(CONNECTIONS), "PHP_FCGI_MAX_REQUESTS": "1000000000"}
    return Server("php-cgi", [tool("php-cgi"), "-b", f"127.0.0.1:{port}"], env=env, port=port)


def measure(rounds, seconds):
    """Lists of (CPU, rate), one for each round, by path."""
    page, script = OUT / "empty.php", OUT / "scripts/hello.lua"
    script.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("")
    script.write_text(SCRIPT)
    ports = {name: nginx.port_choose() for name in ("fcgi", "scripts", "php")}
    found = {path: [] for path in TITLES}
    with ExitStack() as stack:
        heart = stack.enter_context(heart_start(ports["fcgi"]))
        behind = {
            "/script": stack.enter_context(scripts_start(script.parent, ports["scripts"])),
            "/fcgi": heart,
            "/http": heart,
            "/php": stack.enter_context(php_start(ports["php"])),
        }
        upstreams = UPSTREAMS.format(http=heart.port, **ports)
        locations = LOCATIONS.format(page=page, script=script)
        front = stack.enter_context(nginx.start(1, locations=locations, upstreams=upstreams))
        for path, server in behind.items():
            if path != "/php":
                (answer,) = load.ask(front, path)
                if answer.status != 200 or answer.body != {"hello": "world"}:
                    raise BenchError(f"{server.name} answers {path} with {answer}")
            drive(server, path, 1, front, CONNECTIONS)
        for _ in range(rounds):
            for path, server in behind.items():
                found[path].append(drive(server, path, seconds, front, CONNECTIONS))
    return found


def section(rounds=ROUNDS, seconds=SECONDS):
    """Measure. Returns the lines of the table, and the Bounds."""
    found = measure(rounds, seconds)
    bounds = [
        report.Bound("a script over FastCGI: CPU / php-cgi's empty page", ratio(found, "/script", "/php"), 1 / PHP),
        report.Bound("a script over FastCGI: CPU / proxied HTTP", ratio(found, "/script", "/http"), HTTP),
        report.Bound("an application over FastCGI: CPU / proxied HTTP", ratio(found, "/fcgi", "/http"), HTTP),
    ]
    head = f"Behind nginx, {CONNECTIONS} connections; Heart: 1 worker", "CPU us/request", "requests/s"
    return report.table(head, rows(found, TITLES)), bounds


if __name__ == "__main__":
    sys.exit(main(section, arguments(__doc__, rounds=ROUNDS, seconds=SECONDS)))
