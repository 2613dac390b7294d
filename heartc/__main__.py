"""The `heart` command. Serving is the common case and starts without Typer, which costs several MB."""

import sys

from . import frozen


def main():
    """Run the command line and exit with its status."""
    frozen.clean_environment()
    arguments = sys.argv[1:]
    if is_serve(arguments):
        from .config import ConfigError, read_options
        from .supervisor import serve

        try:
            sys.exit(serve(read_options(arguments)))
        except ConfigError as error:
            sys.exit(report(error))
    from .cli import run

    sys.exit(run(arguments))


def is_serve(arguments):
    """`heart serve ...` and `heart main.lua ...`, unless help is asked for. A word with a dot or a slash is a path: no
    command has one."""
    if not arguments or any(a in ("--help", "-h") for a in arguments):
        return False
    word = arguments[0]
    return word == "serve" or (not word.startswith("-") and ("." in word or "/" in word))


def report(error):
    """Print an error about the command line or the configuration; the exit status that goes with it."""
    print(f"heart: {error}", file=sys.stderr)
    return error.status


if __name__ == "__main__":
    main()
