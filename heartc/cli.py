"""The Typer commands, made from the table of commands: parse, call, print. `heart serve` runs without Typer (see
__main__); only its help comes here."""

import errno
import inspect
import os
import sys
from typing import Annotated

import click
import typer
from typer.core import TyperCommand, TyperGroup

from . import commands, config, usage
from .errors import ConfigError, HeartError, nearest, nearest_flag


class Group(TyperGroup):
    """`heart` itself, with its own help."""

    def format_help(self, ctx, formatter):
        formatter.write(usage.overview())


class Command(TyperCommand):
    """A command whose help comes from the table."""

    def format_help(self, ctx, formatter):
        formatter.write(usage.command_help(commands.find(self.name)))


def serve():
    """Serve an application."""
    from .supervisor import serve as run_server

    return run_server(config.read_options(sys.argv[1:]))


def fcgi():
    """Serve scripts of luafcgid and luafcgid2."""
    from . import fcgi as module

    return module.serve(module.read_options(sys.argv[1:]))


def check(**values):
    """Check an application."""
    from . import check as module

    return module.run(**values)


def new(**values):
    """Make an application."""
    from . import new as module

    return module.run(**values)


def kv(**values):
    """Work on a key-value store."""
    from . import kv_commands as module

    return module.run(**values)


def version(**values):
    """Print the versions."""
    from . import about

    return about.run(**values)


def bundle(**values):
    """Bundle an application, or look into a bundle."""
    from . import bundle as module

    return module.run(**values)


def health(**values):
    """Ask a running server."""
    from . import health as module

    return module.run(**values)


def completion(**values):
    """Print completions."""
    from . import completion as module

    return module.run(**values)


def man(**values):
    """Print the manual page."""
    from . import man as module

    return module.run(**values)


# Imports are written out, so that PyInstaller sees them.
WORK = {
    "serve": serve,
    "fcgi": fcgi,
    "bundle": bundle,
    "health": health,
    "new": new,
    "check": check,
    "kv": kv,
    "version": version,
    "completion": completion,
    "man": man,
}


def parameters(command):
    """What the command takes, as the parameters of a function that Typer understands."""
    yield inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    for argument in command.arguments:
        kind = Annotated[str | None, typer.Argument(metavar=argument.kind.metavar)]
        yield inspect.Parameter(argument.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
    for option in command.options:
        flags = [option.flag, *([option.short] if option.short else [])]
        text = list[str] if option.many else str
        kind = Annotated[bool if option.sets else text | None, typer.Option(*flags)]
        default = False if option.sets else None
        yield inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def read_values(command, words, values):
    """The values of a command line. `words` are arguments too many."""
    for argument in command.arguments:
        text = values[argument.name]
        if text is None and not argument.optional:
            raise ConfigError(f"{argument.kind.metavar} is missing: heart {command.usage()} ({argument.kind.expected})")
        if text is not None:
            values[argument.name] = argument.read(text)
    if command.rest:
        values[command.rest] = words
    elif words:
        raise ConfigError(f"{words[0]}: one argument too many; expected heart {command.usage()}")
    for option in command.options:
        text = values[option.name]
        if option.many:
            values[option.name] = [option.read(each, option.flag) for each in text or ()]
        elif not option.sets:
            values[option.name] = option.default if text is None else option.read(text, option.flag)
    return values


def add(app, command):
    """Make a Typer command of an entry of the table."""

    def run_command(ctx, **values):
        raise typer.Exit(WORK[command.name](**read_values(command, ctx.args, values)) or 0)

    settings = {"allow_extra_args": True, "help_option_names": ["--help", "-h"]}
    if command.options is config.OPTIONS:  # reads its own words
        settings["ignore_unknown_options"] = True
        run_command = server_command(command)
    else:
        run_command.__signature__ = inspect.Signature(parameters(command))
    app.command(command.name, cls=Command, hidden=command.hidden, context_settings=settings)(run_command)


def server_command(command):
    """What Typer calls for `heart serve` and `heart fcgi`, with a --help that turned out to be a value."""

    def run_server():
        raise typer.Exit(WORK[command.name]())

    return run_server


def make_app():
    """The whole command line."""
    app = typer.Typer(
        name="heart",
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(lambda: None)  # keeps the name of a command when there is only one
    for command in commands.COMMANDS:
        add(app, command)
    return typer.main.get_command(app)


def run(arguments):
    """Run the command line; returns the exit status. Errors are one line that says what was expected."""
    arguments = usual(arguments)
    try:
        status = make_app().main(args=arguments, prog_name="heart", standalone_mode=False) or 0
        sys.stdout.flush()
        return status
    except click.exceptions.NoArgsIsHelpError:
        print(usage.overview(), end="")
        return 0
    except click.UsageError as error:
        print(f"heart: {describe(error, arguments)}", file=sys.stderr)
        return ConfigError.status
    except HeartError as error:
        print(f"heart: {error}", file=sys.stderr)
        return error.status
    except click.exceptions.Exit as error:
        return error.exit_code
    except OSError as error:
        return tell_unwritten(error)
    except click.Abort:
        return 130


def tell_unwritten(error):
    """What was asked for can not be printed: the disk is full, or nobody reads. Returns the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the rest goes that Python prints at its end
    if error.errno != errno.EPIPE:
        print(f"heart: {error.filename or 'stdout'}: {error.strerror}", file=sys.stderr)
    return HeartError.status


def usual(arguments):
    """The words of this command line for what people know from others: `heart help COMMAND`, `heart --version`."""
    if arguments[:1] == ["help"]:
        return [*arguments[1:2], "--help"]
    return ["version", *arguments[1:]] if arguments[:1] == ["--version"] else arguments


def describe(error, arguments):
    """A usage error, with what was probably meant."""
    command = commands.find(error.ctx.info_name if error.ctx else arguments[0])
    if isinstance(error, click.NoSuchOption):
        flags = [option.flag for option in command.options] if command else []
        near = nearest_flag(error.option_name, [*flags, "--help"])
        page = f"heart {command.name} --help" if command else "heart --help"
        return f"{error.option_name}: no such option" + (f"; did you mean {near}?" if near else f" (see {page})")
    if isinstance(error, click.BadOptionUsage) and command:
        return wrong_use(error.option_name, command)
    if command is None:
        return unknown_command(arguments[0])
    return error.format_message()


def wrong_use(flag, command):
    """The message about a value that is missing, or given to a switch."""
    option = next(option for option in command.options if flag in (option.flag, option.short))
    if option.sets:
        return f"{flag}: takes no value; expected {flag} alone"
    return f"{flag}: a value is missing; expected {option.kind.expected}"


def unknown_command(word):
    """The message about a command that does not exist; the word may be an application."""
    for path in (os.path.join(word, "main.lua"), word):
        if word and (os.path.isfile(path) or os.path.isdir(path)):
            return f"{word}: no such command; did you mean heart serve {path}?"
    near = nearest(word, [command.name for command in commands.COMMANDS if not command.hidden])
    return f"{word or repr(word)}: no such command" + (f"; did you mean {near}?" if near else " (see heart --help)")
