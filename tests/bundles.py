"""Bundled applications for the tests.

Where HEART_BIN is the one-file executable, bundles are made with it and run by themselves. Else a stand-in takes its
place: the Heart that is tested is told by HEART_FILE, as the launcher does it, which file it came from."""

from pathlib import Path

from archives import STAND_IN
from heart_server import Server, heart, heart_command

ELF = b"\x7fELF"


def one_file():
    """The one-file executable that is tested, or None."""
    words = heart_command()
    if len(words) > 1:
        return None
    with open(words[0], "rb") as file:
        return words[0] if file.read(len(ELF)) == ELF else None


class Bundle:
    """The application in `folder`, bundled into the executable `path` with `flags`."""

    def __init__(self, folder, path, *flags, options=(), script="main.lua"):
        self.path = Path(path)
        runtime = []
        if one_file() is None:
            stand_in = self.path.with_name("stand-in")
            stand_in.write_bytes(STAND_IN)
            runtime = ["--runtime", stand_in]
        self.made = heart("bundle", Path(folder) / script, "-o", path, *runtime, *options, "--", *flags)
        assert self.made.returncode == 0, self.made.stderr

    def words(self):
        """What starts it."""
        return heart_command() if one_file() is None else [str(self.path)]

    def env(self, extra=None):
        """The environment that it is started with."""
        return ({"HEART_FILE": str(self.path)} if one_file() is None else {}) | (extra or {})

    def server(self, *args, env=None, **more):
        """A server that is this bundle, in an empty folder of its own."""
        return Server(None, *args, command=(), program=self.words(), env=self.env(env), **more)

    def run(self, *args, env=None, **more):
        """Run it to its end, as heart() does."""
        return heart(*args, program=self.words(), env=self.env(env), **more)


def write_files(folder, files):
    """Write files, name to text or bytes; a name that ends in "/" is a folder. Returns the folder."""
    for name, content in files.items():
        path = Path(folder) / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Path(folder)
