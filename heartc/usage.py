"""The text of --help, made from the tables of commands and options, for a terminal of 80 columns."""

import textwrap

from .commands import COMMANDS, HINT, STATUS, SUMMARY
from .config import OPTIONS

WIDTH = 80
COLUMN = 28  # where explanations begin


def paragraph(text, indent=0):
    """The lines of a paragraph; one that begins with two spaces is an example and kept as it is."""
    if text.startswith("  "):
        return text.splitlines()
    margin = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)


def row(name, *texts, column=COLUMN):
    """A name and what is said about it: beside it, or below it if the name is long."""
    lines = [line for text in texts for line in paragraph(text, column)]
    head = "  " + name
    if lines and len(head) + 2 <= column:
        lines[0] = head.ljust(column) + lines[0][column:]
        return lines
    return [head, *lines]


def titles(entries):
    """The entries by their titles, in the order in which these first come."""
    found = {}
    for entry in entries:
        found.setdefault(entry.title, []).append(entry)
    return found.items()


def overview():
    """`heart --help`: fits a screen of 24 lines."""
    shown = [command for command in COMMANDS if not command.hidden]
    column = max(len(command.usage()) for command in shown) + 4
    lines = ["Usage: heart COMMAND [ARGUMENTS] [OPTIONS]", "", SUMMARY]
    for title, commands in titles(shown):
        lines += ["", f"{title}:"]
        for command in commands:
            lines += row(command.usage(), command.help, column=column)
    return "\n".join([*lines, "", *paragraph(HINT)]) + "\n"


def environment(option):
    """The name that sets an option; for a switch, with the value that stands for the flag. "" if there is none."""
    if option.env and option.sets:
        return f"{option.env}={'false' if option.flag.startswith('--no-') else 'true'}"
    return option.env


def notes(option):
    """What holds without the flag, and the name that sets it, on as few lines as they need."""
    parts = []
    if option.shown and option.default is not False:
        parts.append(f"default: {option.shown}")
    if option.env:
        parts.append(f"env: {environment(option)}")
    line = f"[{', '.join(parts)}]"
    if COLUMN + len(line) <= WIDTH:
        return [line] if parts else []
    return [f"[{part}]" for part in parts]


def option_row(option):
    """The lines about one option."""
    flag = f"{option.short}, {option.flag}" if option.short else option.flag
    return row(f"{flag} {option.kind.metavar}".rstrip(), option.help, *notes(option))


def option_lines(options):
    """The options, each below the title of its group."""
    lines = []
    for title, entries in titles(options):
        lines += ["", f"{title}:"]
        for option in entries:
            lines += option_row(option)
    return lines


def application_help(application):
    """`./myapp --help`, of an application in the executable: what it is, and the options of `heart serve`."""
    lines = [f"Usage: {application.name} [OPTIONS]"]
    for text in application.help():
        lines += ["", *paragraph(text)]
    return "\n".join(lines + option_lines(OPTIONS)) + "\n"


def command_help(command):
    """`heart COMMAND --help`."""
    options = " [OPTIONS]" if command.options else ""
    rest = f" [-- {command.rest.upper()}]" if command.rest else ""
    lines = [f"Usage: heart {command.usage()}{options}{rest}", "", command.help]
    for text in command.details:
        lines += ["", *paragraph(text)]
    if command.arguments:
        lines += ["", "Arguments:"]
        for argument in command.arguments:
            lines += row(argument.kind.metavar, argument.help)
    lines += option_lines(command.options)
    lines += ["", "Exit status:"]
    for status, meaning in STATUS:
        lines += row(str(status), meaning, column=6)
    return "\n".join(lines) + "\n"
