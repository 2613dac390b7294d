"""What README.md, docs and examples show is run: their Lua is served and their curl commands must print that.

A fenced block of code that adds a route is an app, and every `$ curl …` line in the blocks below it, up to the next
app, is run against it: the lines under a command are its expected output, and `...` stands for anything. The commands
of an example's README.md are run against the main.lua beside it.
"""

import re
import shlex
from pathlib import Path

import pytest
from heart_server import ROOT, Server, need, run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/main.lua"))
BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROUTE = re.compile(r"""["']heart\.v1["'].*\b\w+\.(get|post|put|delete|patch|static|use)\(""", re.DOTALL)


def blocks(page):
    """The text of every fenced block."""
    return BLOCK.findall(page.read_text())


def commands(text):
    """(words, expected output) of every curl command of a block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        if line.startswith("curl "):
            yield shlex.split(line), output.rstrip("\n")


def apps(page):
    """(Lua code, commands) of every app that a page shows."""
    found = []
    for text in blocks(page):
        if ROUTE.search(text):
            found.append((text, []))
        elif found:
            found[-1][1].extend(commands(text))
    return found


def check(server, wanted):
    for words, expected in wanted:
        local = [re.sub(r"\b(localhost|127\.0\.0\.1):3333\b", server.url[7:], word) for word in words]
        out = run(need("curl", "curl"), "-sS", *local[1:]).stdout.replace("\r\n", "\n").rstrip("\n")
        pattern = re.escape(expected).replace(r"\.\.\.", "(?s:.*)")
        assert re.fullmatch(pattern, out), f"{shlex.join(words)} printed {out!r}, the page says {expected!r}"


SHOWN = [(page.name, code, wanted) for page in PAGES if page.exists() for code, wanted in apps(page)]


@pytest.mark.parametrize(("page", "code", "wanted"), SHOWN, ids=[f"{page}-{i}" for i, (page, _, _) in enumerate(SHOWN)])
def test_app_of_a_page_answers_as_the_page_says(page, code, wanted):
    with Server(code) as server:
        check(server, wanted)


@pytest.mark.parametrize("folder", EXAMPLES, ids=[folder.name for folder in EXAMPLES])
def test_example_answers_as_its_readme_says(folder: Path):
    wanted = [command for text in blocks(folder / "README.md") for command in commands(text)]
    assert wanted, "the README of an example shows at least one curl command"
    with Server(folder / "main.lua", workers=2) as server:
        check(server, wanted)
