"""The `heart` command. Serving is the common case and starts without Typer, which costs several MB."""

import os
import sys

from . import frozen
from .errors import HeartError


def main():
    """Run the command line and exit with its status."""
    open_streams()
    frozen.clean_environment()
    arguments = sys.argv[1:]
    try:
        bundled = find_application(arguments)
        if bundled is not None:
            sys.exit(serve_application(bundled, arguments))
        if arguments[:1] == [frozen.HEART]:
            arguments = sys.argv[1:] = arguments[1:]
        if is_serve(arguments):
            from .config import read_options
            from .supervisor import serve

            sys.exit(serve(read_options(arguments)))
        if arguments[:1] == ["fcgi"] and not asks_help(arguments):
            from . import fcgi

            sys.exit(fcgi.serve(fcgi.read_options(arguments)))
    except HeartError as error:
        sys.exit(report(error))
    from .cli import run

    sys.exit(run(arguments))


def open_streams():
    """Lead standard streams that are closed to /dev/null. Else a socket could get the number of one, and Python has
    None in its place. The launcher of the one file has done it already."""
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free, which is fd
            stream = open(fd, mode, closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def find_application(arguments):
    """The application in the executable that this process was started from, None if there is none or the heart command
    is asked for."""
    path, fd = frozen.executable(), frozen.descriptor()
    if path is not None and arguments[:1] != [frozen.HEART]:
        from . import archive

        if archive.footer_of(path, fd) is not None:
            from .application import Application

            return Application(path, fd)
    if fd is not None:
        os.close(fd)
    return None


def serve_application(bundled, arguments):
    """Be the application that is in the executable; returns the exit status."""
    if asks_help(arguments):
        return print_help(bundled)
    from .supervisor import serve

    return serve(bundled.settings(arguments))


def print_help(bundled):
    """`./myapp --help`; returns the exit status."""
    from .usage import application_help

    try:
        print(application_help(bundled), end="", flush=True)
    except OSError as error:
        from .cli import tell_unwritten

        return tell_unwritten(error)
    return 0


def is_serve(arguments):
    """`heart serve ...` and `heart main.lua ...`, unless help is asked for. A word with a dot or a slash is a path: no
    command has one."""
    if not arguments or asks_help(arguments):
        return False
    word = arguments[0]
    return word == "serve" or (not word.startswith("-") and ("." in word or "/" in word))


def asks_help(arguments):
    """Whether one of the words asks for help."""
    return any(word in ("--help", "-h") for word in arguments)


def report(error):
    """Print an error about the command line or the configuration; the exit status that goes with it."""
    print(f"heart: {error}", file=sys.stderr)
    return error.status


if __name__ == "__main__":
    main()
