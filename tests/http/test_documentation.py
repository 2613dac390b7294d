"""What README.md, docs and examples show is run: their Lua is served and their curl commands must print that.

A fenced block of code that adds a route is an app, and the commands in the blocks below it, up to the next app, are run
against it. The commands of an example's README.md are run against the main.lua beside it.
"""

import re
from pathlib import Path

import pytest
from heart_server import ROOT, Server
from shown import blocks, check, commands, example_commands

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/main.lua"))
ROUTE = re.compile(r"""["']heart\.v1["'].*\b\w+\.(get|post|put|delete|patch|static|use)\(""", re.DOTALL)


def apps(page):
    """(Lua code, commands) of every app that a page shows."""
    found = []
    for text in blocks(page):
        if ROUTE.search(text):
            found.append((text, []))
        elif found:
            found[-1][1].extend(commands(text))
    return found


SHOWN = [(page.name, code, wanted) for page in PAGES if page.exists() for code, wanted in apps(page)]


@pytest.mark.parametrize(("page", "code", "wanted"), SHOWN, ids=[f"{page}-{i}" for i, (page, _, _) in enumerate(SHOWN)])
def test_app_of_a_page_answers_as_the_page_says(page, code, wanted):
    with Server(code) as server:
        check(server, wanted)


@pytest.mark.parametrize("folder", EXAMPLES, ids=[folder.name for folder in EXAMPLES])
def test_example_answers_as_its_readme_says(folder: Path):
    with Server(folder / "main.lua", workers=2) as server:
        check(server, example_commands(folder))
