"""The one table of options: flag, environment name, default, how a value is read, help.

`heart serve` reads its command line and environment through this table, the Typer help is generated from it, and so is
the list in docs/options.md. Flags win over the environment, that over the flags that an application was bundled with,
these over the defaults.
"""

import math
import os
import sys

from . import cgroup
from .errors import ConfigError, nearest, nearest_flag

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LOG_LEVELS = ("debug", "info", "warn", "error", "off")
KV_SYNC = ("always", "interval", "never")
TRUE_WORDS = ("true", "1", "yes", "on")
EVICTIONS = ("none", "lru")
FALSE_WORDS = ("false", "0", "no", "off", "")

# Descriptors that are not connections: listeners, pollers, files being sent, what Lua opens.
RESERVED_DESCRIPTORS = 64
MAX_SIZE = 1 << 40
MAX_SECONDS = 365 * 86400


class Kind:
    """How a value is read. `read(text)` returns it or raises ValueError; `expected` says what it wants, `choices` what
    a completion offers: words, or "scripts" (Lua files), "files" or "folders"."""

    def __init__(self, metavar, expected, read, choices=()):
        self.metavar = metavar
        self.expected = expected
        self.read = read
        self.choices = choices


def read_size(text):
    """Bytes: "16K", "4M", "1G" or a plain number, not 0."""
    text = text.strip().upper()
    unit = text[-1:] if text[-1:] in ("K", "M", "G") else ""
    digits = text.removesuffix(unit)
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError
    size = int(digits) * SIZES[unit]
    if not 0 < size <= MAX_SIZE:
        raise ValueError
    return size


def read_memory(text):
    """As read_size, but 0 is allowed."""
    return 0 if text.strip() == "0" else read_size(text)


def read_seconds(text):
    """Seconds, possibly a fraction."""
    seconds = float(text)
    if not math.isfinite(seconds) or not 0 < seconds <= MAX_SECONDS:
        raise ValueError
    return seconds


def read_number(low, high):
    """A reader of whole numbers from `low` to `high`."""

    def read(text):
        text = text.strip()
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError
        return int(text)

    return read


def read_workers(text):
    """A number of workers, or "auto"."""
    return text if text == "auto" else read_number(1, 1024)(text)


def read_level(text):
    """A log level."""
    if text.lower() not in LOG_LEVELS:
        raise ValueError
    return text.lower()


def read_switch(text):
    """A switch given by the environment."""
    if text.lower() in TRUE_WORDS:
        return True
    if text.lower() in FALSE_WORDS:
        return False
    raise ValueError


def read_sync(text):
    """When writes are flushed to the disk. Heart v1 had a switch, which is understood: off meant every 100 ms."""
    word = text.strip().lower()
    if word in KV_SYNC:
        return word
    return "always" if read_switch(word) else "interval"


def read_prod(text):
    """PROD as Heart v1 read it: two words mean production, every other text does not."""
    return text.lower() in (*TRUE_WORDS, "prod")


def read_store_url(text):
    """The URL of a store on Redis or Valkey."""
    from .kv_redis_url import read_url

    read_url(text)
    return text


def read_channels_url(text):
    """What the URL of a server for channels says."""
    from .channel_url import read_channels

    return read_channels(text)


SIZE = Kind("SIZE", "a size such as 16K, 4M or 1G", read_size)
MEMORY = Kind("SIZE", "a size such as 16M, or 0 for no limit", read_memory)
SECONDS = Kind("SECONDS", "a positive number of seconds", read_seconds)
SWITCH = Kind("", "true or false", read_switch)
PROD = Kind("", "true", read_prod)
TEXT = Kind("TEXT", "a text", str)
FOLDER = Kind("PATH", "a folder", str, "folders")
SYNC = Kind("|".join(KV_SYNC), "always, interval or never", read_sync, KV_SYNC)


def number(low, high):
    """The kind of whole numbers from `low` to `high`."""
    return Kind("N", f"a whole number from {low} to {high}", read_number(low, high))


class Option:
    """One option of a command. A switch has `sets`: the option and value that the flag stands for. `env` is "" where
    there is no name in the environment, `short` another way of writing the flag ("-o"), `title` its group in --help."""

    title = "Options"

    def __init__(self, flag, kind, default, help, env=None, many=False, sets=None, shown=None, short=None):
        self.flag = flag
        self.short = short
        self.name = flag[2:].replace("-", "_")
        self.kind = kind
        self.default = default
        self.help = help
        self.env = "HEART_" + self.name.upper() if env is None else env
        self.many = many
        self.sets = sets
        self.shown = shown or ("" if default is None else str(default))

    def read(self, text, source):
        """The value of `text`, which came from `source` (a flag or an environment name)."""
        try:
            return self.kind.read(text)
        except ValueError:
            raise ConfigError(f"{source}: {text!r}: expected {self.kind.expected}") from None


def read_eviction(text):
    """What a full memory store does."""
    if text not in EVICTIONS:
        raise ValueError
    return text


def titled(*entries):
    """The options of a table in which a text is the title of the options below it."""
    options = []
    for entry in entries:
        if isinstance(entry, str):
            title = entry
        else:
            entry.title = title
            options.append(entry)
    return tuple(options)


STORE_URL = Kind(
    "URL", "redis://[user:password@]host[:port][/db] or redis-cluster://host1[:port],host2[:port]", read_store_url
)
CHANNELS_URL = Kind("URL", "redis://[user:password@]host[:port][/db][?prefix=NAME]", read_channels_url)
WORKERS = Kind("auto|N", "auto or a number from 1 to 1024", read_workers, ("auto",))
EVICTION = Kind("none|lru", "none or lru", read_eviction, EVICTIONS)
LEVEL = Kind("LEVEL", "one of " + ", ".join(LOG_LEVELS), read_level, LOG_LEVELS)
MEMORY_CACHE = Kind("SIZE", "a size such as 16M, or 0 for none", read_memory)
PORT = Kind("N", "a number from 0 to 65535", read_number(0, 65535))
COUNT = number(1, 1 << 30)

OPTIONS = titled(
    "Where to listen",
    Option(
        "--listen",
        TEXT,
        None,
        "Listen here; may be given several times: 3333, [::]:80, unix:/run/heart.sock, fcgi:unix:/run/heart-fcgi.sock.",
        many=True,
        shown="0.0.0.0:3333",
    ),
    Option("--host", TEXT, None, "Address to listen on, with --port.", env="HOST", shown="0.0.0.0"),
    Option("--port", PORT, None, "Port to listen on; 0 takes a free one.", env="PORT", shown="3333"),
    "How it runs",
    Option("--workers", WORKERS, "auto", "Worker threads; auto: one for each processor this process may use."),
    Option(
        "--threads",
        number(1, 1024),
        4,
        "Threads that all workers share for files and for starting programs; made when needed.",
    ),
    Option("--dev", SWITCH, None, "Error pages and readable logs.", sets=("dev", True), shown="on a terminal"),
    Option("--prod", PROD, None, "Bare errors and JSON logs.", env="PROD", sets=("dev", False)),
    Option("--watch", SWITCH, False, "Reload when a file of the application changes.", sets=("watch", True)),
    "Logs",
    Option("--log-level", LEVEL, "info", "What is logged: debug, info, warn, error or off.", env="LOG_LEVEL"),
    Option("--no-access-log", SWITCH, None, "No line for each request.", env="ACCESS_LOG", sets=("access_log", False)),
    "Stopping and reloading",
    Option("--drain-timeout", SECONDS, 10, "Time to finish requests when stopping."),
    Option("--reload-grace", SECONDS, 30, "Time that requests on the old code have after a reload."),
    "Lua",
    Option("--lua-memory", MEMORY, 0, "Memory limit of each worker's Lua state; 0: none."),
    "Keys and values",
    Option("--kv-memory", SIZE, 64 << 20, "Size of the memory store; beyond it writes fail.", shown="64M"),
    Option("--kv-eviction", EVICTION, "none", "lru: a full memory store drops what was not used for longest."),
    Option("--kv-lock-timeout", SECONDS, 5, "Time a serial transaction may hold its lock."),
    Option("--db", FOLDER, "./.heart_db", "Folder of the disk store.", env="DB_PATH"),
    Option(
        "--kv-sync",
        SYNC,
        "always",
        "When the disk store flushes: before it answers, every 100 ms, or as the system likes.",
        env="DB_SYNC_WRITES",
    ),
    Option("--kv", STORE_URL, None, "Put the disk store on Redis or Valkey: redis://host:port."),
    Option("--kv-cache", MEMORY_CACHE, 8 << 20, "Memory of the disk store's read cache; 0: none.", shown="8M"),
    "Channels",
    Option(
        "--channels", CHANNELS_URL, None, "Join the channels of several servers by Redis or Valkey: redis://host:port."
    ),
    "Limits of a request",
    Option("--max-header-size", SIZE, 16 << 10, "Request line and headers together (431).", shown="16K"),
    Option("--max-target-size", SIZE, 8 << 10, "Request target (414).", shown="8K"),
    Option("--max-headers", number(1, 65535), 100, "Header fields of a request (431)."),
    Option("--max-body-size", SIZE, 4 << 20, "Request body (413); a route may set its own.", shown="4M"),
    "Timeouts",
    Option("--header-timeout", SECONDS, 10, "Time for a request's head to arrive (408)."),
    Option("--body-timeout", SECONDS, 30, "Time in which a body must make progress, at least 1 KiB (408)."),
    Option("--idle-timeout", SECONDS, 60, "Time a connection may wait for its next request."),
    Option("--write-timeout", SECONDS, 30, "Time in which a client must take output, at least 1 KiB."),
    "WebSockets",
    Option("--ws-max-message", SIZE, 16 << 20, "Message, expanded; a longer one closes with 1009.", shown="16M"),
    Option("--ws-deflate-min", number(0, 1 << 30), 128, "Bytes from which a message is compressed, if the client can."),
    Option(
        "--ws-max-unsent", SIZE, 1 << 20, "Published bytes that wait for a slow socket; then it is closed.", shown="1M"
    ),
    Option("--ws-ping-interval", SECONDS, 30, "Time without a sign of life, until a ping is sent."),
    Option("--ws-timeout", SECONDS, 30, "Time for an answer to it."),
    Option("--ws-close-timeout", SECONDS, 5, "Time for the other side's part of closing."),
    "Connections",
    Option("--max-connections", COUNT, None, "Open connections.", shown="from the descriptor limit"),
    Option("--max-requests-per-connection", number(0, 1 << 30), 0, "Then the connection is closed; 0: no limit."),
    Option("--backlog", COUNT, None, "Connections that wait to be accepted.", shown="net.core.somaxconn"),
)
WHERE = {"--listen", "--host", "--port"}
BY_FLAG = {option.flag: option for option in OPTIONS}

# Seconds that a closing connection is drained, so that the client sees the answer (RFC 9112 section 9.6).
LINGER_TIMEOUT = 2.0


class Settings:
    """What a server runs with: the options by their names, and `script`, `dev`, `access_log`, `color`, `checking`. To
    serve the files of a folder `script` is None and `site` that folder, else "" """


def read_options(arguments):
    """The settings for the words of a command line, `serve` included or not. Raises ConfigError."""
    if arguments[:1] == ["serve"]:
        arguments = arguments[1:]
    settings = new_settings()
    read_environment(settings)
    settings.script, settings.site = read_target(read_arguments(settings, arguments))
    if settings.site and settings.watch:
        raise ConfigError(
            f"--watch: files of {settings.site} are read when they are asked for: there is nothing to reload"
        )
    complete(settings)
    return settings


def new_settings():
    """The settings before anything was read: no script, and defaults that `complete` fills in."""
    settings = Settings()
    for option in OPTIONS:
        if not option.sets:
            setattr(settings, option.name, option.default)
    settings.dev = None
    settings.watch = False
    settings.checking = False
    settings.access_log = True
    settings.linger_timeout = LINGER_TIMEOUT
    settings.color = not os.environ.get("NO_COLOR")
    settings.archive = None
    settings.site = ""
    settings.argument = ""
    return settings


def read_environment(settings):
    """Take what the environment sets; v1's names (PORT, PROD, LOG_LEVEL, ...) among them. Where it says to listen, it
    replaces all that the flags of an application in the executable say of that."""
    named = [BY_FLAG[flag] for flag in WHERE if os.environ.get(BY_FLAG[flag].env)]
    if named:
        settings.listen = None
    if BY_FLAG["--listen"] in named:
        settings.host = settings.port = None
    for option in OPTIONS:
        text = os.environ.get(option.env)
        if not text:
            continue
        if option.env == "ACCESS_LOG":
            settings.access_log = option.read(text, option.env)
        elif option.sets:
            if option.read(text, option.env):
                setattr(settings, *option.sets)
        elif option.many:
            setattr(settings, option.name, text.split())
        else:
            setattr(settings, option.name, option.read(text, option.env))


def read_arguments(settings, arguments, page="heart serve --help"):
    """Take the flags; returns the positional words. `page` tells more."""
    words = []
    given = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = BY_FLAG.get(flag)
        if option is None:
            raise ConfigError(unknown_option(flag, page))
        if option.sets:
            given.add(flag)
            if equals:
                raise ConfigError(f"{flag}: takes no value; expected {flag} alone")
            setattr(settings, *option.sets)
            continue
        if not equals:
            if not rest:
                raise ConfigError(f"{flag}: a value is missing; expected {option.kind.expected}")
            value = rest.pop(0)
        set_value(settings, option, value, given)
    if {"--dev", "--prod"} <= given:
        raise ConfigError("--dev and --prod exclude each other; expected one of them")
    return words


def set_value(settings, option, text, given):
    """Store a flag's value. Where to listen: --listen replaces all that the environment says of it, --host and --port
    replace their own variables and HEART_LISTEN."""
    value = option.read(text, option.flag)
    if option.flag == "--listen" and not given & WHERE:
        settings.host = settings.port = None
    if option.flag in WHERE and "--listen" not in given:
        settings.listen = None
    given.add(option.flag)
    if option.many:
        value = [*(getattr(settings, option.name) or ()), value]
    setattr(settings, option.name, value)


def unknown_option(flag, page):
    """The message about a flag that does not exist."""
    near = nearest_flag(flag, BY_FLAG)
    return f"{flag}: no such option" + (f"; did you mean {near}?" if near else f" (see {page})")


def read_target(words):
    """What is to be served: (script, "") or (None, folder of files)."""
    if len(words) != 1 or not os.path.isdir(words[0]):
        return check_script(words), ""
    main = os.path.join(words[0], "main.lua")
    return (check_script([main]), "") if os.path.isfile(main) else (None, check_site(words[0]))


def check_site(folder):
    """The path of a folder whose files are to be served, or an error that helps. What looks like an application is
    refused: its source is not for everybody."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ConfigError(
            f"{folder}: can not be read: {error.strerror.lower()}; expected a folder that this user may read"
        ) from None
    script = next((name for name in names if name.endswith(".lua")), None)
    if script is not None:
        raise ConfigError(
            f"{folder}: holds {script}, which anybody could read; did you mean {os.path.join(folder, script)}?"
        )
    if all(name.startswith(".") for name in names):
        raise ConfigError(f"{folder}: is an empty folder; expected a Lua file, or a folder with files to serve")
    return folder


def check_script(words):
    """The script's path, or an error that helps."""
    if not words:
        raise ConfigError(f"SCRIPT is missing{script_hint()}")
    if len(words) > 1:
        raise ConfigError(f"{words[1]}: one SCRIPT only, {words[0]} was given before")
    script = words[0]
    if not script:
        raise ConfigError(f"SCRIPT: {script!r}: expected a Lua file")
    if os.path.isdir(script):
        main = os.path.join(script, "main.lua")
        hint = f"; did you mean {main}?" if os.path.isfile(main) else "; expected a Lua file"
        raise ConfigError(f"{script}: is a folder{hint}")
    if not os.path.exists(script):
        raise ConfigError(f"{script}: no such file{file_hint(script)}")
    if not os.access(script, os.R_OK):
        raise ConfigError(f"{script}: can not be read: permission denied; expected a file that this user may read")
    return script


def names_in(folder):
    """What lies in a folder, as far as this user may know."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def script_hint():
    """The end of the message about a missing SCRIPT: the Lua file of this folder, if there is one."""
    found = sorted(name for name in names_in(".") if name.endswith(".lua"))
    if "main.lua" in found or len(found) == 1:
        return f"; did you mean heart serve {'main.lua' if 'main.lua' in found else found[0]}?"
    return ": heart serve SCRIPT, for example heart serve main.lua; heart new DIR makes an application"


def file_hint(path):
    """The end of the message about a missing file: a near name, the Lua file that is there, or the missing folder."""
    folder, name = os.path.split(path)
    if not os.path.isdir(folder or "."):
        return f"; there is no folder {folder}"
    names = names_in(folder or ".")
    scripts = [found for found in names if found.endswith(".lua")]
    near = nearest(name, scripts) or nearest(name, names) or (scripts[0] if len(scripts) == 1 else None)
    return f"; did you mean {os.path.join(folder, near)}?" if near else ""


def complete(settings):
    """Fill in the defaults that depend on the machine, and check what options mean together."""
    if settings.dev is None:
        settings.dev = sys.stdout.isatty()
    if settings.workers == "auto":
        settings.workers = processors()
    if settings.max_connections is None:
        settings.max_connections = default_connections()
    if settings.backlog is None:
        settings.backlog = default_backlog()
    if settings.kv:
        settings.kv_cache = 0  # others write to it, too
    if settings.max_target_size > settings.max_header_size:
        settings.max_target_size = settings.max_header_size
    if settings.max_header_size > 1 << 24:
        raise ConfigError(
            "--max-header-size: more than 16M makes every worker's read buffer too large; expected a smaller size"
        )


def processors():
    """Processors that this process may use: its affinity, bounded by the quota of its control group."""
    count = len(os.sched_getaffinity(0))
    quota = cgroup.quota()
    return max(1, min(count, math.ceil(quota))) if quota else count


def default_connections():
    """As many connections as the descriptor limit allows, which is raised as far as this process may."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(1, soft - RESERVED_DESCRIPTORS)


def default_backlog():
    """The longest queue that the kernel allows."""
    try:
        with open("/proc/sys/net/core/somaxconn") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 4096
