"""The `heart` command. Serving is the common case and starts without Typer, which costs several MB."""

import sys


def main():
    """Run the command line and exit with its status."""
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
    """`heart serve ...` and `heart main.lua ...`, unless help is asked for."""
    if not arguments or any(a in ("--help", "-h") for a in arguments):
        return False
    return arguments[0] == "serve" or (arguments[0].endswith(".lua") and not arguments[0].startswith("-"))


def report(error):
    """Print an error about the command line or the configuration; the exit status that goes with it."""
    print(f"heart: {error}", file=sys.stderr)
    return error.status


if __name__ == "__main__":
    main()
