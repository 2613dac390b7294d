"""`heart fcgi CONFIG.lua|SCRIPTDIR`: the scripts of luafcgid and luafcgid2, over FastCGI.

The workers run lua_stdlib/compat/luafcgid/front.lua in place of an application. A configuration file of the daemons is
read here for what must be known before there are workers, and by each worker for the rest. The environment wins over
the file, flags win over both.
"""

import os
import sys

from . import config, lualib
from .errors import ConfigError, HeartError

DEFAULT_LISTEN = "127.0.0.1:9000"
PAGE = "heart fcgi --help"
FRONT = "compat/luafcgid/front.lua"
# Where values of the file go.
FLAGS = {"workers": "--workers", "backlog": "--backlog", "max_body": "--max-body-size"}


def read_options(arguments):
    """The settings for the words of a command line, `fcgi` included or not. Raises ConfigError and HeartError."""
    if arguments[:1] == ["fcgi"]:
        arguments = arguments[1:]
    path = check_path(config.read_arguments(config.new_settings(), arguments, PAGE))
    settings = config.new_settings()
    settings.log_file = None
    if os.path.isdir(path):
        settings.argument = f"scripts {os.path.abspath(path)}"
    else:
        take_file(settings, path)
        settings.argument = f"config {os.path.abspath(path)}"
    config.read_environment(settings)
    config.read_arguments(settings, arguments, PAGE)
    settings.script = os.path.join(lualib.stdlib_path(), FRONT)
    settings.listen = listen_values(settings)
    settings.host = settings.port = None
    if settings.log_file is not None and settings.dev is None:
        settings.dev = False  # the terminal gets no log
    config.complete(settings)
    return settings


def check_path(words):
    """The path of the configuration file or of the folder of scripts, or an error that helps."""
    if not words:
        raise ConfigError("PATH is missing: heart fcgi CONFIG.lua, or heart fcgi FOLDER-OF-SCRIPTS")
    if len(words) > 1:
        raise ConfigError(f"{words[1]}: one PATH only, {words[0]} was given before")
    path = words[0]
    if not path or not os.path.exists(path):
        raise ConfigError(
            f"{path or repr(path)}: no such file or folder{config.file_hint(path) if path else ''}; expected a "
            "configuration file of luafcgid or luafcgid2, or a folder of scripts"
        )
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{path}: can not be read: permission denied; expected one that this user may read")
    return path


def summary(path):
    """(name, value) of what the configuration file says, warnings among them. Raises HeartError if it is wrong."""
    from . import __version__, _core

    _core.bind_lua(lualib.luajit_path(), __version__)
    folder = os.path.join(lualib.stdlib_path(), "compat", "luafcgid")
    parts = []
    for name in ("variables", "config"):
        with open(os.path.join(folder, f"{name}.lua"), encoding="utf-8") as file:
            parts.append(f"local function {name}_of(...)\n{file.read()}\nend\n")
    code = "".join(parts) + "return config_of(variables_of()).summary((...))"
    found = [tuple(line.split(" ", 1)) for line in _core.lua_evaluate(code, path).split("\n")]
    for name, value in found:
        if name == "error":
            raise HeartError(value)
    return found


def take_file(settings, path):
    """Take what the configuration file says, and tell what it can not say."""
    for name, value in summary(path):
        if name == "warning":
            print(f"heart: {value}", file=sys.stderr)
        elif name == "listen":
            settings.listen = [listen_value(value)]
        elif name == "log":
            settings.log_file = value
        else:
            option = config.BY_FLAG[FLAGS[name]]
            setattr(settings, option.name, option.read(value, f"{path}: {name}"))


def listen_value(text):
    """An address of the daemons' files as --listen takes it: ":9000", "host:port" or the path of a socket."""
    host, colon, port = text.rpartition(":")
    if text.startswith(("/", ".")) or not colon or "/" in text:
        return f"unix:{text}"
    return f"{host or '0.0.0.0'}:{port}"


def listen_values(settings):
    """Where to listen, all by FastCGI."""
    found = list(settings.listen or ())
    if settings.host is not None or settings.port is not None:
        found.append(f"{settings.host or '127.0.0.1'}:{9000 if settings.port is None else settings.port}")
    return [text if text.startswith("fcgi:") else f"fcgi:{text}" for text in found or [DEFAULT_LISTEN]]


def open_log(path):
    """Write the log to a file from now on, as the daemons do."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise HeartError(f"cannot open the log file {path}: {error.strerror}") from None
    os.dup2(fd, 1)
    os.close(fd)


def serve(settings):
    """Run the server until it is told to stop. Returns the exit status."""
    from .supervisor import serve as run_server

    if settings.log_file is not None:
        open_log(settings.log_file)
    return run_server(settings)
