"""What pages show is run: the `$ curl …` lines of their code blocks must print what stands below them."""

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
    """Run the commands against a server; `...` in an expected output stands for anything."""
    for words, expected in wanted:
        local = [re.sub(r"\b(localhost|127\.0\.0\.1):3333\b", server.url[7:], word) for word in words]
        out = run(need("curl", "curl"), "-sS", *local[1:]).stdout.replace("\r\n", "\n").rstrip("\n")
        pattern = re.escape(expected).replace(r"\.\.\.", "(?s:.*)")
        assert re.fullmatch(pattern, out), f"{shlex.join(words)} printed {out!r}, the page says {expected!r}"
