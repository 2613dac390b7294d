"""docs/command.md tells what the tables tell."""

from heart_server import ROOT

from heartc import commands

PAGE = (ROOT / "docs" / "command.md").read_text()


def test_every_command_has_a_row():
    for command in commands.COMMANDS:
        assert command.hidden or f"| [`heart {command.usage()}`](#" in PAGE, command.name


def test_exit_statuses_are_those_of_help():
    for status, meaning in commands.STATUS:
        assert f"| {status} | {meaning} |" in PAGE


def test_every_option_of_a_small_command_is_mentioned():
    for command in commands.COMMANDS:
        if command.name != "serve":
            for option in command.options:
                assert f"`{option.flag}`" in PAGE or f" {option.flag}`" in PAGE, option.flag
