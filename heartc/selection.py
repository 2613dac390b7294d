"""Which files belong to an application: the folder of its script, without what `left_out` names."""

import fnmatch
import os
import stat

from . import archive
from .errors import HeartError

DATABASE = ("CURRENT", "IDENTITY")  # every folder of a RocksDB database holds these
OUT, IN, INCLUDED = range(3)  # of a folder: what --exclude says concerns nothing in one that is included


class Selection:
    """Follows the folder once: `files` are (name, path) in the order of the names, the path of an empty folder is
    None; `skipped` are the names that nobody has excluded, but that belong to no bundle.

    A pattern without a slash is about the name of a file or folder wherever it lies, one with a slash about its path
    from the folder. `include` wins over `exclude`, and both over the defaults. `outside` are paths that are never
    taken: the executable that is read, the one that is written."""

    def __init__(self, script, include=(), exclude=(), outside=()):
        self.folder = os.path.dirname(script) or "."
        self.root = os.path.realpath(self.folder)
        self.include = [clean(pattern) for pattern in include]
        self.exclude = [clean(pattern) for pattern in exclude]
        self.outside = [os.path.realpath(path) for path in outside]
        self.skipped = []
        found = {}
        self.walk("", IN, [self.root], found)
        self.take(os.path.basename(script), found)
        self.files = sorted(found.items())

    def path(self, name):
        """Where a name of the archive lies on the disk."""
        return os.path.join(self.folder, name)

    def walk(self, folder, state, above, found):
        """Look at everything in `folder` ("" or with a slash at its end), which is in or out; `above` are the real
        paths of the folders around."""
        before = len(found)
        try:
            with os.scandir(self.path(folder)) as entries:
                children = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise HeartError(f"{self.path(folder)}: can not be read: {error.strerror}") from None
        for child in children:
            name = folder + child.name
            verdict = self.decide(child, name, state)
            if not is_folder(child):
                if verdict != OUT:
                    self.take(name, found)
            elif verdict != OUT or self.holds_included(child, name):
                real = self.real(name)
                if real in above:
                    raise HeartError(
                        f"{self.path(name)}: a symbolic link to a folder around it; leave it out with --exclude {name}"
                    )
                self.walk(name + "/", verdict, [*above, real], found)
        if state != OUT and folder and len(found) == before:
            found[os.fsencode(folder)] = None

    def decide(self, child, name, state):
        """Whether a file or folder is in; `state` says that of the folder around it."""
        if matches(self.include, name):
            return INCLUDED
        if state == OUT or (state == IN and matches(self.exclude, name)):
            return OUT
        if self.left_out(child, name):
            self.skipped.append(name)
            return OUT
        return state

    def left_out(self, child, name):
        """What belongs to no bundle by itself: names with a dot, copies of editors, databases, sockets, executables
        that are bundles themselves."""
        path = self.path(name)
        if child.name.startswith(".") or child.name.endswith("~"):
            return True
        if is_folder(child):
            return all(os.path.exists(os.path.join(path, mark)) for mark in DATABASE)
        if child.is_symlink():
            return False
        mode = child.stat().st_mode
        if not stat.S_ISREG(mode) or os.path.realpath(path) in self.outside:
            return True
        return mode & 0o111 and os.access(path, os.R_OK) and archive.footer_of(path) is not None

    def holds_included(self, child, name):
        """Whether something in a folder that is out may still be included."""
        if matches(self.exclude, name) and not child.name.startswith("."):
            return bool(self.include)
        return any(pattern.startswith(name + "/") for pattern in self.include)

    def take(self, name, found):
        """Add a file."""
        self.real(name)
        found[os.fsencode(name)] = self.path(name)

    def real(self, name):
        """The real path of a name, which must lie in the folder of the application."""
        path = self.path(name)
        try:
            real = os.path.realpath(path, strict=True)
        except OSError as error:
            raise HeartError(f"{path}: {error.strerror}; leave it out with --exclude {name}") from None
        if real != self.root and not real.startswith(os.path.join(self.root, "")):
            raise HeartError(
                f"{path}: a symbolic link out of {self.folder}, to {real}; put the file there in its place, "
                f"or leave it out with --exclude {name}"
            )
        return real


def is_folder(child):
    """Whether an entry of a folder is one, possibly behind a link; a link that leads nowhere is none."""
    try:
        return child.is_dir()
    except OSError:
        return False


def clean(pattern):
    """A pattern as it is compared."""
    return pattern.removeprefix("./").rstrip("/") or pattern


def matches(patterns, name):
    """Whether one of the patterns is about this name."""
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)
