"""/etc/heart/heart.conf, made from the table of options: every option with its default, commented out."""

import textwrap

from heartc.config import OPTIONS
from heartc.usage import environment, titles

HEAD = """\
# Settings of heart.service, read when it starts: after a change, `systemctl restart heart`. man heart(1)
# What is commented out shows the default, or how a switch is turned on. Lines are NAME=VALUE, without `export`.

# The application: a Lua script below a folder that the user "heart" may read. /home is not to be seen.
HEART_SCRIPT=/usr/share/heart/welcome/main.lua
"""


def is_value(option):
    """Whether the default that people see can be written as a value."""
    try:
        option.kind.read(option.shown)
    except ValueError:
        return False
    return bool(option.shown)


def entry(option):
    """The lines of an option."""
    help = option.help
    if option.many:
        help += " Several are separated by spaces."
    if option.sets:
        assignment = environment(option)
    else:
        assignment = f"{option.env}={option.shown if is_value(option) else ''}"
        if not is_value(option):
            help += f" Default: {option.shown}."
    comment = textwrap.wrap(help, 115, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    return "\n".join([*comment, f"#{assignment}"])


def text():
    """The whole file."""
    parts = [HEAD]
    for title, options in titles(OPTIONS):
        parts.append(f"\n# ---- {title} ".ljust(79, "-") + "\n")
        parts += [f"\n{entry(option)}\n" for option in options if option.env]
    return "".join(parts)
