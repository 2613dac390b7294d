"""The Typer commands: parse, call, print. `heart serve` itself runs without Typer (see __main__); here is its help."""

import inspect
import sys
from typing import Annotated

import click
import typer

from . import __version__, config
from .errors import HeartError, nearest

app = typer.Typer(
    name="heart",
    help="Heart runs Lua web applications: heart serve main.lua --workers auto",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def serve_signature():
    """The parameters of `serve`, made from the table of options."""
    parameters = [
        inspect.Parameter(
            "script",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=Annotated[str, typer.Argument(metavar="SCRIPT", help="The Lua file to serve.")],
        )
    ]
    for option in config.OPTIONS:
        note = f" [env: {option.env}]"
        if option.shown:
            note = f" [default: {option.shown}]" + note
        kind = bool if option.sets else str
        spec = typer.Option(option.flag, help=option.help + note, metavar=option.kind.metavar or None)
        parameters.append(
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if option.sets else None,
                annotation=Annotated[kind if option.sets else (kind | None), spec],
            )
        )
    return inspect.Signature(parameters)


def serve(**_options):
    """Serve the application SCRIPT until SIGTERM or SIGINT; SIGHUP reloads it."""
    from .supervisor import serve as run_server

    raise typer.Exit(run_server(config.read_options(sys.argv[1:])))


serve.__signature__ = serve_signature()
app.command("serve", help="Serve a Lua application. `heart main.lua` is `heart serve main.lua`.")(serve)


@app.command(help="Print the versions of Heart and of what it is made of.")
def version():
    """Print the versions."""
    from . import _core, lualib

    _core.bind_lua(lualib.luajit_path(), __version__)
    print(f"heart {__version__} ({_core.lua_version()}, Python {sys.version.split()[0]})")


def run(arguments):
    """Run the command line; returns the exit status. Errors are one line that says what was expected."""
    command = typer.main.get_command(app)
    try:
        return command.main(args=arguments, prog_name="heart", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help())
        return 0
    except click.UsageError as error:
        print(f"heart: {describe(error, arguments, command)}", file=sys.stderr)
        return 2
    except HeartError as error:
        print(f"heart: {error}", file=sys.stderr)
        return error.status
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return 130


def describe(error, arguments, command):
    """A usage error, with what was probably meant."""
    message = error.format_message()
    if arguments and message.startswith("No such command"):
        near = nearest(arguments[0], command.commands)
        hint = f"; did you mean {near}?" if near else " (see heart --help)"
        return f"{arguments[0]}: no such command{hint}"
    return message
