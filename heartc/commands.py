"""The one table of commands. Help, completions and the manual page are made from it, and Typer's commands (cli.py).

A command's work is `run(**values)` in the module of its name, which cli.py imports when the command is used. `values`
are its arguments and options by their names, read by their Kind.
"""

from . import config
from .config import SECONDS, SWITCH, Kind, Option, titled
from .errors import ConfigError

SUMMARY = "Heart runs Lua web applications: heart serve main.lua --workers auto"
HINT = "`heart COMMAND --help` tells more about a command. `heart main.lua` is `heart serve main.lua`."
STATUS = (
    (0, "done; of a server: stopped, every request was finished"),
    (1, "it did not work: the script has an error, the address is taken, a check found problems"),
    (2, "the command line or the environment is wrong"),
)

RUN = "Run an application"
WRITE = "Write an application"
STORE = "The store"
ABOUT = "About Heart"


class Argument:
    """A positional argument; `kind` says how it is read and completed."""

    def __init__(self, kind, help, optional=False):
        self.kind = kind
        self.name = kind.metavar.lower()
        self.help = help
        self.optional = optional

    def usage(self):
        """How a usage line shows it."""
        return f"[{self.kind.metavar}]" if self.optional else self.kind.metavar

    def read(self, text):
        """The value of `text`."""
        try:
            if not text:
                raise ValueError
            return self.kind.read(text)
        except ValueError:
            raise ConfigError(f"{self.kind.metavar}: {text!r}: expected {self.kind.expected}") from None


class Command:
    """One command. `details` are paragraphs for its own help; one that begins with two spaces is kept as it is. `rest`
    names the words behind "--", where it takes some."""

    def __init__(self, name, title, help, arguments=(), options=(), details=(), hidden=False, rest=None):
        self.name = name
        self.title = title
        self.help = help
        self.arguments = arguments
        self.options = options
        self.details = details
        self.hidden = hidden
        self.rest = rest

    def usage(self):
        """The name and the arguments: "serve SCRIPT"."""
        return " ".join([self.name, *(argument.usage() for argument in self.arguments)])


def one_of(metavar, words):
    """The kind of a choice between words."""

    def read(text):
        if text not in words:
            raise ValueError
        return text

    return Kind(metavar, "one of " + ", ".join(words), read, words)


def switch(flag, help):
    """An option without a value, and without a name in the environment."""
    name = flag[2:].replace("-", "_")
    return Option(flag, SWITCH, False, help, env="", sets=(name, True))


def plain(flag, kind, help, **more):
    """An option with a value, and without a name in the environment."""
    return Option(flag, kind, None, help, env="", **more)


SCRIPT = Kind("SCRIPT", "a Lua file", str, "scripts")
TARGET = Kind("SCRIPT|DIR", "a Lua file or a folder", str, "scripts")
FILE = Kind("FILE", "a file", str, "files")
PATTERN = Kind("PATTERN", "a name or a path, with * for any text", str)
URL = Kind("URL", "an address such as http://127.0.0.1:3333/", str)
DIR = Kind("DIR", "a folder", str, "folders")
FCGI = Kind("PATH", "a configuration file of luafcgid or luafcgid2, or a folder of scripts", str, "scripts")
SHELL = one_of("SHELL", ("bash", "zsh", "fish"))

BUNDLE = titled(
    "Making",
    plain("--output", FILE, "The executable to write; with --extract the new folder.", short="-o"),
    plain("--include", PATTERN, "Take these in, too. May be given several times.", many=True),
    plain("--exclude", PATTERN, "Leave these out. May be given several times.", many=True),
    plain("--runtime", FILE, "The heart executable to use, for example of another machine."),
    switch("--dry-run", "Only say what would be in it."),
    "Looking",
    switch("--list", "Check FILE, a bundled executable, and list what is in it."),
    switch("--extract", "Write what is in FILE into a new folder."),
)

KV_ACTIONS = "get set delete list count export import backup restore repair check compact".split()
KV = titled(
    "Which store",
    Option("--db", DIR, None, "Folder of the database.", env="DB_PATH", shown="./.heart_db"),
    Option("--kv", config.STORE_URL, None, "A store on Redis instead: redis://host:port."),
    "What",
    plain("--ttl", config.SECONDS, "set: the key expires after that time."),
    switch("--json", "set: VALUE is JSON; list: whole records, as export writes them."),
    switch("--reverse", "list: the last first."),
    plain("--limit", config.COUNT, "list: so many keys at most."),
    plain("--prefix", Kind("PREFIX", "the beginning of keys", str), "export, delete: keys that begin so."),
    plain("--from-line", config.COUNT, "import: begin there, as an import that failed has said."),
    switch("--quiet", "No progress and no summary."),
)

COMMANDS = (
    Command(
        "serve",
        RUN,
        "Serve an application until it is stopped.",
        (Argument(TARGET, "The Lua file to serve, or a folder: its main.lua, else its files."),),
        config.OPTIONS,
        (
            "A folder without a main.lua is a site of files: heart serve public. One with other Lua files is refused: "
            "their source is not for everybody.",
            "SIGTERM and SIGINT stop the server, SIGHUP loads the application anew. Flags win over the environment, "
            "the environment wins over the defaults. A size is a number of bytes such as 65536, 16K, 4M or 1G; times "
            "are in seconds.",
        ),
    ),
    Command(
        "fcgi",
        RUN,
        "Serve the scripts of luafcgid and luafcgid2 by FastCGI.",
        (Argument(FCGI, "A configuration file of either daemon, or the folder that all scripts are in."),),
        config.OPTIONS,
        (
            "  heart fcgi /etc/luafcgid2/config.lua\n  heart fcgi /srv/www --listen unix:/run/heart-fcgi.sock",
            "The front server says by SCRIPT_FILENAME which script answers; with a folder, scripts outside of it "
            "are refused. Every --listen speaks FastCGI; without one it is what the file says, else 127.0.0.1:9000. "
            "Flags win over the environment, the environment wins over the file.",
        ),
    ),
    Command(
        "bundle",
        RUN,
        "Make one executable that is the whole application.",
        (Argument(FILE, "The Lua file to bundle; with --list and --extract the executable."),),
        BUNDLE,
        (
            "  heart bundle main.lua -o myapp -- --port 80",
            "Everything in the folder of the script goes in, but for names that begin with a dot, databases and other "
            "bundles. ./myapp serves it with the flags behind --, unless its own flags or the environment say "
            "otherwise.",
        ),
        rest="flags",
    ),
    Command(
        "health",
        RUN,
        "Ask a running server for a page: does it answer?",
        (Argument(URL, "What to ask: http://HOST:PORT/PATH, unix:SOCKET or fcgi:ADDRESS.", optional=True),),
        (Option("--timeout", SECONDS, 3.0, "Time for the answer.", env="", shown="3"),),
        (
            "Without URL it asks where a server with the same environment listens (HEART_LISTEN, HOST, PORT). The exit "
            "status is 1 when no answer comes in time, or one with a status of 500 and above.",
        ),
    ),
    Command(
        "new",
        WRITE,
        "Make a small application that runs.",
        (Argument(DIR, "The folder to make. One that is there is filled if no file is in the way."),),
    ),
    Command(
        "check",
        WRITE,
        "Find mistakes: syntax, missing modules, unreachable routes.",
        (Argument(SCRIPT, "The Lua file to check, with the modules that it requires."),),
        (switch("--json", "Print the result as JSON."),),
        (
            "Each problem is a line `file:line: message`. The script is run as a server runs it, up to the point where "
            "it would serve: it listens nowhere, and its start events do not run.",
        ),
    ),
    Command(
        "kv",
        STORE,
        "Look into a key-value store, export, back up, check it.",
        (Argument(one_of("ACTION", KV_ACTIONS), "What to do, see above."),),
        KV,
        (
            "  heart kv get KEY                 print a value\n"
            "  heart kv set KEY VALUE           store a text; -: read it; --json: typed\n"
            "  heart kv delete KEY              or --prefix PREFIX: all keys that begin so\n"
            "  heart kv list [PREFIX]           keys in order\n"
            "  heart kv count [PREFIX]\n"
            "  heart kv export [FILE]           a line of JSON for each record\n"
            "  heart kv import [FILE]\n"
            "  heart kv backup FOLDER           a copy of one moment, verified\n"
            "  heart kv restore FOLDER          make the database of a backup\n"
            "  heart kv repair FOLDER           make it of what is whole in a damaged one\n"
            "  heart kv check                   read every record\n"
            "  heart kv compact                 give back the room of what was deleted",
            "A server that has the database open does the work and goes on serving. A key that is no printable text "
            "is written base64:AAE=, here and in the output.",
        ),
        rest="words",
    ),
    Command(
        "version",
        ABOUT,
        "Print the versions of Heart and of what it is made of.",
        options=(
            switch("--verbose", "Tell about the build, the features and the licences, too."),
            switch("--json", "Print it as JSON."),
        ),
    ),
    Command(
        "completion",
        ABOUT,
        "Print completions for a shell: bash, zsh or fish.",
        (Argument(SHELL, "bash, zsh or fish."),),
        details=(
            "For the shell that runs:",
            "  source <(heart completion bash)\n  source <(heart completion zsh)\n  heart completion fish | source",
            "The script names all commands and options. Print it anew after an update of Heart.",
        ),
    ),
    Command("man", ABOUT, "Print the manual page heart(1).", hidden=True),
)


def find(name):
    """The command of that name, or None."""
    return next((command for command in COMMANDS if command.name == name), None)
