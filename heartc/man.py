"""The manual page heart(1), made from the tables of commands and options."""

import os
import textwrap
import time

from . import __version__
from .commands import COMMANDS, HINT, STATUS, SUMMARY
from .config import OPTIONS
from .usage import environment, titles

HEAD = """\
.\\" Made by: heart man
.TH HEART 1 {date} "heart {version}" "User commands"
.SH NAME
heart \\- run Lua web applications
.SH SYNOPSIS
"""

FILES = """\
.SH FILES
.TP
.I main.lua
The script of an application, by convention.
Modules, templates and static files lie beside it.
.TP
.I lua_modules
Modules from LuaRocks, beside the script:
\\fBluarocks install \\-\\-tree lua_modules \\-\\-lua\\-version 5.1\\fR.
"""

EXAMPLES = """\
.SH EXAMPLES
.nf
heart new shop
heart serve shop/main.lua \\-\\-dev \\-\\-watch
heart check shop/main.lua
heart serve shop/main.lua \\-\\-listen 127.0.0.1:8080 \\-\\-workers 4
.fi
"""


def run():
    """`heart man`."""
    print(page(), end="")


def roff(text):
    """A text that means itself: no escape, no hyphen that a line may be broken at, no request at its start."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return "\\&" + text if text.startswith(".") else text


def date():
    """The page's date: that of the sources if a reproducible build names it, else today's."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())))


def prose(text):
    """The lines of a paragraph."""
    return [roff(line) for line in textwrap.wrap(text, 72, break_on_hyphens=False)]


def bold(text):
    """A text in bold."""
    return f"\\fB{roff(text)}\\fR"


def synopsis(command):
    """The line that says how a command is called."""
    parts = [bold(f"heart {command.name}")]
    for argument in command.arguments:
        name = f"\\fI{roff(argument.kind.metavar)}\\fR"
        parts.append(f"[{name}]" if argument.optional else name)
    return " ".join([*parts, *(["[\\fIoptions\\fR]"] if command.options else [])])


def option_lines(option):
    """An option as a tagged paragraph."""
    flags = ", ".join(bold(flag) for flag in (option.short, option.flag) if flag)
    value = f" \\fI{roff(option.kind.metavar)}\\fR" if option.kind.metavar else ""
    lines = [".TP", flags + value, *prose(option.help)]
    if option.shown and option.default is not False:
        lines += [".br", f"Default: {roff(option.shown)}."]
    if option.env:
        lines += [".br", f"Environment: {bold(environment(option))}."]
    return lines


def command_lines(command):
    """The subsection of a command."""
    lines = [f'.SS "heart {roff(command.usage())}"', *prose(command.help)]
    for text in command.details:
        lines += [".PP"]
        if text.startswith("  "):
            lines += [".nf", *(roff(line) for line in text.splitlines()), ".fi"]
        else:
            lines += prose(text)
    for argument in command.arguments:
        lines += [".TP", f"\\fI{roff(argument.kind.metavar)}\\fR", *prose(argument.help)]
    if command.options is not OPTIONS:
        for option in command.options:
            lines += option_lines(option)
    return lines


def page():
    """The source of the page."""
    shown = [command for command in COMMANDS if not command.hidden]
    lines = [HEAD.format(date=date(), version=__version__) + "\n.br\n".join(synopsis(command) for command in shown)]
    lines += [".SH DESCRIPTION", roff(SUMMARY) + ".", ".PP", *prose(HINT)]
    lines += [".SH COMMANDS"]
    for command in shown:
        lines += command_lines(command)
    lines += [".SH OPTIONS OF HEART SERVE"]
    for title, options in titles(OPTIONS):
        lines += [f'.SS "{roff(title)}"']
        for option in options:
            lines += option_lines(option)
    lines += [".SH EXIT STATUS"]
    for status, meaning in STATUS:
        lines += [".TP", bold(str(status)), *prose(meaning)]
    return "\n".join(lines) + "\n" + FILES + EXAMPLES
