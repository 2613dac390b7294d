"""What docs/luafcgid.md and the example of a guest-book show is run, behind a real nginx."""

import os
import re
import shutil
import subprocess

from fcgi_scripts import Scripts
from heart_server import ROOT, Server, free_port, need, wait_until
from shown import blocks, check, example_commands

EXAMPLE = ROOT / "examples" / "fcgi"


class Front:
    """nginx with the example's configuration, on other ports."""

    def __init__(self, home, backend):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        text = (EXAMPLE / "nginx.conf").read_text()
        text = text.replace("127.0.0.1:9000", f"127.0.0.1:{backend}").replace(":3333", f":{self.port}")
        (home / "nginx.conf").write_text(text)
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        self.home = home
        self.command = [need("nginx", "nginx"), "-p", home, "-c", home / "nginx.conf", "-e", "stderr", *user]

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        pid = self.home / "nginx.pid"
        wait_until(lambda: pid.exists() and pid.read_text(), "nginx runs")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def test_guest_book_answers_as_its_readme_says(tmp_path):
    home = tmp_path / "fcgi"
    shutil.copytree(EXAMPLE, home)
    flags = ("--listen", "127.0.0.1:0", "--prod")
    with Server(home / "config.lua", *flags, workers=2, command=("fcgi",)) as server, Front(home, server.port) as front:
        check(front, example_commands(EXAMPLE))
        assert "warning" not in server.logs() and "has no effect" not in server.logs()


def test_scripts_of_the_page_answer():
    shown = [text for text in blocks(ROOT / "docs" / "luafcgid.md") if re.match(r"-- \w+\.lua\n", text)]
    scripts = {text[3 : text.index("\n")]: text for text in shown}
    assert set(scripts) == {"hello.lua", "visits.lua"}
    with Scripts(scripts) as server:
        assert server.ask("hello.lua").text == "Hello, 192.0.2.7\n"
        assert server.ask("visits.lua").text == "1 visits\n"
