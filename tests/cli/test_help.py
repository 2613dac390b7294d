"""What --help prints: it fits the terminal and comes from the tables."""

import re

import pytest
from heart_server import heart

from heartc import commands, config, usage

ALL = [command.name for command in commands.COMMANDS]


def printed(*args):
    result = heart(*args)
    assert result.returncode == 0
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
def test_help_fits_a_screen(args):
    lines = printed(*args).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_help_names_every_command_below_a_title():
    text = printed("--help")
    for command in commands.COMMANDS:
        found = re.search(rf"^  {re.escape(command.usage())} +\S", text, re.MULTILINE)
        assert bool(found) != command.hidden, command.name
        assert command.hidden or f"\n{command.title}:\n" in text


@pytest.mark.parametrize("name", ALL)
def test_command_help_fits_the_width_and_tells_all(name):
    text = printed(name, "--help")
    assert max(map(len, text.splitlines())) <= 80
    command = commands.find(name)
    assert text.startswith(f"Usage: heart {command.usage()}")
    flat = " ".join(text.split())
    assert command.help in flat
    for argument in command.arguments:
        assert f"{argument.kind.metavar} {argument.help}" in flat
    for option in command.options:
        assert f"{option.flag} {option.kind.metavar}".rstrip() + f" {option.help}" in flat
    assert "Exit status: 0 " in flat


def test_serve_help_shows_default_and_environment_of_every_option():
    flat = " ".join(printed("serve", "--help").split())
    for option in config.OPTIONS:
        after = flat.split(f" {option.help} ", 1)[1]
        notes = re.match(r"(\[[^\]]+\] ?)+", after)[0]
        assert f"env: {usage.environment(option)}" in notes
        if option.default not in (None, False):
            assert f"default: {option.shown}" in notes


def test_serve_help_groups_options():
    text = printed("serve", "--help")
    groups = list(dict.fromkeys(option.title for option in config.OPTIONS))
    assert len(groups) > 4
    found = [text.index(f"\n{title}:\n") for title in groups]
    assert found == sorted(found)


def test_explanations_begin_in_one_column():
    text = printed("serve", "--help")
    for line in re.findall(r"^  --.*", text, re.MULTILINE):
        rest = re.search(r"  +(?=\S)", line[2:])
        assert rest is None or rest.end() + 2 == usage.COLUMN, line


def test_help_as_a_command_is_help():
    assert printed("help") == printed("--help")
    assert printed("help", "check") == printed("check", "--help")


def test_help_wins_over_other_words(tmp_path):
    assert printed("serve", tmp_path / "main.lua", "--port", "80", "--help").startswith("Usage: heart serve")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("sevre", "x.lua"), "sevre: no such command; did you mean serve?"),
        (("xyzzy",), "xyzzy: no such command (see heart --help)"),
        (("--halp",), "--halp: no such option; did you mean --help?"),
        (("--xyzzy",), "--xyzzy: no such option (see heart --help)"),
        (("serve", "--xyzzy"), "--xyzzy: no such option (see heart serve --help)"),
        (("version", "--xyzzy"), "--xyzzy: no such option (see heart version --help)"),
        (("version", "7"), "7: one argument too many; expected heart version"),
    ],
)
def test_wrong_word_is_told_in_one_line(args, message):
    result = heart(*args)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"heart: {message}\n"
