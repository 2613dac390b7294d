"""The commands that pages show, and what they must print.

Every `$ curl …` line of a fenced block is a command; the lines under it are its expected output, and `...` stands for
anything.
"""

import re
import shlex

from heart_server import need, run

BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """The text of every fenced block."""
    return BLOCK.findall(page.read_text())


def commands(text):
    """(words, expected output) of every curl command of a block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        if line.startswith("curl "):
            yield shlex.split(line), output.rstrip("\n")


def check(server, wanted):
    for words, expected in wanted:
        local = [re.sub(r"\b(localhost|127\.0\.0\.1):3333\b", server.url[7:], word) for word in words]
        out = run(need("curl", "curl"), "-sS", *local[1:]).stdout.replace("\r\n", "\n").rstrip("\n")
        pattern = re.escape(expected).replace(r"\.\.\.", "(?s:.*)")
        assert re.fullmatch(pattern, out), f"{shlex.join(words)} printed {out!r}, the page says {expected!r}"


def example_commands(folder):
    """The commands of an example's README.md; there is at least one."""
    wanted = [command for text in blocks(folder / "README.md") for command in commands(text)]
    assert wanted, "the README of an example shows at least one curl command"
    return wanted
