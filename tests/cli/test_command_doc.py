"""docs/command.md tells what the tables tell."""

import re

from heart_server import ROOT

from heartc import commands, config

PAGE = (ROOT / "docs" / "command.md").read_text()


def test_every_command_has_a_row():
    for command in commands.COMMANDS:
        assert command.hidden or f"| [`heart {command.usage()}`](" in PAGE.replace("\\|", "|"), command.name


def test_exit_statuses_are_those_of_help():
    for status, meaning in commands.STATUS:
        assert f"| {status} | {meaning} |" in PAGE


def test_every_option_is_mentioned():
    """On the page, or on the command's own."""
    for command in commands.COMMANDS:
        own = ROOT / "docs" / ("options.md" if command.options is config.OPTIONS else f"{command.name}.md")
        text = PAGE + (own.read_text() if own.exists() else "")
        for option in command.options:
            assert re.search(rf"[` ]({option.flag}|{option.short or option.flag})\b", text), option.flag
