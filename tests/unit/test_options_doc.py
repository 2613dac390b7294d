"""docs/options.md lists exactly the options of heartc.config. Run this file with --write to make it so."""

import sys
from pathlib import Path

from heartc import config, usage

PAGE = Path(__file__).parent.parent.parent / "docs" / "options.md"
BEGIN, END = "<!-- options -->\n\n", "\n<!-- /options -->\n"


def row(*cells):
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def default(option):
    """What holds when neither the flag nor the environment says anything."""
    return "off" if option.default is False else option.shown


def table():
    """The table of all options."""
    lines = [row("Flag", "Environment", "Default", "Meaning"), row("---", "---", "---", "---")]
    for option in config.OPTIONS:
        flag = f"{option.flag} {option.kind.metavar}".rstrip()
        lines.append(row(f"`{flag}`", f"`{usage.environment(option)}`", default(option), option.help))
    return "".join(lines)


def parts():
    """The page before, in and after its table."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    listed, _, tail = rest.partition(END)
    return head, listed, tail


def write():
    """Put the table of today into the page."""
    head, _, tail = parts()
    PAGE.write_text(head + BEGIN + table() + END + tail)


def test_page_lists_all_options():
    assert parts()[1] == table(), "run .venv/bin/python tests/unit/test_options_doc.py --write"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: test_options_doc.py --write")
    write()
