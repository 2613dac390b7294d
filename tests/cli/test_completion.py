"""Completions in real shells: TAB is pressed on a terminal, and the shell says what it made of the line."""

import os
import pty
import select
import subprocess
import time

import pytest
from heart_server import PATIENCE, heart, heart_environment, need, run

from heartc import commands, config

SHELLS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
}
# What a shell runs first. `heart` is a function that shows its words; a prompt says when the shell waits for keys.
SETUP = {
    "bash": "PS1='READ''Y '; bind 'set enable-bracketed-paste off'",
    "zsh": "PS1='READ''Y '; unset zle_bracketed_paste; autoload -Uz compinit; compinit -D -u",
}
SHOW_WORDS = """heart() { printf '<%s>' "$@"; echo; }"""


class Terminal:
    """An interactive shell on a pseudo terminal."""

    def __init__(self, shell, script, folder):
        self.output = b""
        master, slave = pty.openpty()
        self.fd = master
        env = heart_environment({"TERM": "dumb", "HOME": str(folder), "HISTFILE": "", "LC_ALL": "C.UTF-8"})
        self.process = subprocess.Popen(
            [need(shell, shell), *SHELLS[shell]],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
        os.close(slave)
        self.send(f"{SETUP[shell]}; {SHOW_WORDS}; . {script}\n")
        self.read_until(b"READY ")

    def send(self, text):
        os.write(self.fd, text.encode())

    def read_until(self, mark):
        """Everything up to `mark`, which is taken away with it."""
        deadline = time.monotonic() + PATIENCE
        while mark not in self.output:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], f"no {mark!r} in {self.output!r}"
            self.output += os.read(self.fd, 65536)
        found, _, self.output = self.output.partition(mark)
        return found.decode()

    def close(self):
        os.close(self.fd)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder(tmp_path):
    """A folder with files to choose from."""
    for name in ("main.lua", "notes.txt", "two words.lua"):
        (tmp_path / name).write_text("")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.lua").write_text("")
    return tmp_path


@pytest.fixture
def scripts(tmp_path_factory):
    """A function that writes the script of a shell to a file."""

    def write(shell):
        path = tmp_path_factory.mktemp("completion") / shell
        result = heart("completion", shell)
        assert result.returncode == 0 and result.stderr == ""
        path.write_text(result.stdout)
        return path

    return write


CASES = [
    ("heart ser", "<serve>"),
    ("heart mai", "<main.lua>"),
    ("heart serve mai", "<serve><main.lua>"),
    ("heart serve no", "<serve><no>"),
    ("heart serve tw", "<serve><two words.lua>"),
    ("heart serve shop/a", "<serve><shop/app.lua>"),
    ("heart serve --wor", "<serve><--workers>"),
    ("heart main.lua --max-b", "<main.lua><--max-body-size>"),
    ("heart serve --log-level deb", "<serve><--log-level><debug>"),
    ("heart serve --log-level=deb", "<serve><--log-level=debug>"),
    ("heart serve --port 80 mai", "<serve><--port><80><main.lua>"),
    ("heart serve --workers aut", "<serve><--workers><auto>"),
    ("heart serve --port mai", "<serve><--port><mai>"),
    ("heart completion zs", "<completion><zsh>"),
    ("heart version serv", "<version><serv>"),
]


@pytest.mark.parametrize("shell", list(SHELLS))
def test_tab_completes(shell, scripts, folder):
    terminal = Terminal(shell, scripts(shell), folder)
    try:
        for line, words in CASES:
            terminal.send(line + "\t")
            terminal.send("\n")
            seen = terminal.read_until(b">\r\n")
            if shell == "zsh" and line.endswith(" no"):  # its _files offers all files where none matches
                words = words.replace("<no>", "<notes.txt>")
            assert seen.splitlines()[-1].strip() + ">" == words, f"{line}: {seen!r}"
    finally:
        terminal.close()


def fish_offers(script, folder, line):
    """What fish offers for a line, without the descriptions."""
    out = run(need("fish", "fish"), "--no-config", "-c", f'source {script}; complete -C "{line}"', cwd=folder).stdout
    return [text.split("\t")[0] for text in out.splitlines()]


def test_fish_offers(scripts, folder):
    script = scripts("fish")
    for line, words in CASES:
        typed = line.rpartition(" ")[2]
        word = words.rpartition("<")[2].rstrip(">")
        offers = fish_offers(script, folder, line)
        assert offers == ([word] if word != typed else []), f"{line}: {offers}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_has_no_syntax_error(shell, scripts):
    run(need(shell, shell), "-n", scripts(shell))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_named(shell):
    text = heart("completion", shell).stdout
    for command in commands.COMMANDS:
        assert command.hidden or command.name in text
    for option in config.OPTIONS:
        assert (f"-l {option.flag[2:]} " if shell == "fish" else option.flag) in text


def test_unknown_shell_is_told():
    result = heart("completion", "tcsh")
    assert result.returncode == 2
    assert result.stderr == "heart: SHELL: 'tcsh': expected one of bash, zsh, fish\n"


def test_missing_shell_is_told():
    result = heart("completion")
    assert result.returncode == 2
    assert result.stderr == "heart: SHELL is missing: heart completion SHELL (one of bash, zsh, fish)\n"
