"""Runs `heart fcgi` with scripts in the style of luafcgid and luafcgid2, and asks them through cgi-fcgi, libfcgi's own
client, or through nginx.

Scripts   one `heart fcgi` process with its folder of scripts, or with a configuration file beside them
nginx()   a web server in front of it
"""

import contextlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from heart_server import PATIENCE, Response, Server, need
from nginx_server import Nginx


def parse(output):
    """What a FastCGI responder has answered, as a Response. The Status line is there always."""
    head, blank, body = output.partition(b"\r\n\r\n")
    assert blank, output
    lines = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")]
    assert lines[0][0] == "Status", lines
    return Response(int(lines[0][1][:3]), [(name.lower(), value) for name, value in lines[1:]], body)


class Scripts(Server):
    """`heart fcgi` as a context manager. `scripts`: name to source, below www/ of its folder. `config`: the text of a
    configuration file; without it the folder of the scripts is what is served."""

    def __init__(self, scripts, *args, config=None, **more):
        more.setdefault("files", {}).update({f"www/{name}": text for name, text in scripts.items()})
        super().__init__(None, "--listen", "127.0.0.1:0", *args, command=("fcgi",), **more)
        self.root = self.folder / "www"
        self.root.mkdir(exist_ok=True)
        self.script = self.root if config is None else self.write("config.lua", config)

    def variables(self, name, body=None, **more):
        """The CGI variables of a request for a script."""
        script = name if os.path.isabs(name) else str(self.root / name)
        variables = {
            "SCRIPT_FILENAME": script,
            "DOCUMENT_ROOT": str(self.root),
            "REQUEST_METHOD": "GET" if body is None else "POST",
            "REQUEST_URI": f"/{name}",
            "SCRIPT_NAME": f"/{name}",
            "QUERY_STRING": "",
            "SERVER_NAME": "example.org",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.7",
            "CONTENT_LENGTH": str(len(body)) if body is not None else "",
        }
        return variables | {name: str(value) for name, value in more.items()}

    def start_asking(self, name, body=None, **more):
        """Begin a request; the cgi-fcgi process."""
        host, port = self.address()
        process = subprocess.Popen(
            [need("cgi-fcgi", "libfcgi-bin"), "-bind", "-connect", f"{host}:{port}"],
            env=self.variables(name, body, **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with contextlib.suppress(BrokenPipeError):  # a refusal may come before the body is asked for
            process.stdin.write(body or b"")
            process.stdin.close()
        return process

    def raw(self, name, body=None, **more):
        """The bytes that answer a request."""
        process = self.start_asking(name, body, **more)
        with process.stdout as output:
            text = output.read()
        process.wait(PATIENCE)
        return text

    def ask(self, name, body=None, **more):
        """The answer to a request; `more` are CGI variables."""
        return parse(self.raw(name, body, **more))

    def ask_all(self, names, **more):
        """The answers to requests that come at the same time."""
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(lambda name: self.ask(name, **more), names))

    def change(self, name, text):
        """Write a script anew, as an editor does: a new file in place of the old one."""
        fresh = self.write(f"www/.{name}.new", text)
        os.replace(fresh, self.root / name)


HTTP = "client_max_body_size 0; upstream heart {{ server 127.0.0.1:{port}; keepalive 8; }}"
SERVER = """
server_name www.example.org; root {root};
location / {{
  include /etc/nginx/fastcgi_params;
  fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
  fastcgi_keep_conn on; fastcgi_pass heart;
}}
"""


def nginx(scripts):
    """nginx in front of a Scripts, as a context manager."""
    return Nginx(SERVER.format(root=scripts.root), HTTP.format(port=scripts.port))
