"""`heart bundle`: puts an application behind a copy of the heart executable, shows what is in one, takes it out again.

It is written under a temporary name in the same folder and then renamed, so that there is always a whole one."""

import os
import shlex
import stat
import sys
import tempfile
import time

from . import __version__, application, archive, frozen
from .archive import CHUNK, FOOTER, count_text, size_text
from .config import check_script
from .errors import ConfigError, HeartError
from .selection import Selection

ELF = b"\x7fELF"
PAYLOAD = b"HEARTPAY"  # begins the last FOOTER.size bytes of a heart executable, see packaging/pack.py
MODE = 0o755
NAMES_SHOWN = 8  # of what was left out


def run(file, flags, output, include, exclude, runtime, dry_run, list, extract):
    """The command. `file` is the Lua file, with `list` and `extract` a bundled file."""
    if list + extract + dry_run > 1:
        raise ConfigError("--list, --extract and --dry-run exclude each other")
    if list or extract:
        making = {"-- FLAGS": flags, "--include": include, "--exclude": exclude, "--runtime": runtime}
        for name, given in making.items():
            if given:
                raise ConfigError(f"{name}: has no meaning with {'--list' if list else '--extract'}")
        return take_out(file, output) if extract else show(file)
    application.check_flags(flags)
    check_script([file])
    refuse_executable(file)
    heart = None if dry_run else Heart(runtime)
    outside = [path for path in (output, heart and heart.path) if path]
    selection = Selection(file, include, exclude, outside)
    if dry_run:
        return show_selection(selection)
    if not output:
        raise ConfigError("-o FILE is missing: the executable to write")
    return make(selection, heart, output, archive.Manifest(__version__, os.path.basename(file), flags))


def refuse_executable(path):
    """A ConfigError about an executable where the script was to be named."""
    with open(path, "rb") as file:
        if file.read(len(ELF)) == ELF:
            raise ConfigError(f"{path}: is an executable; expected a Lua file (--list shows what is in a bundle)")


# ---- Making ----------------------------------------------------------------------------------------------------


class Heart:
    """The executable that the application is put behind: its `path`, and `size` bytes of it, without an application
    that it may hold."""

    def __init__(self, path):
        self.path = path or frozen.executable()
        if self.path is None:
            raise HeartError(
                "this is not the one-file executable that an application is put into: build it with make binary "
                "and run dist/heart bundle, or name it with --runtime FILE"
            )
        bundled = archive.footer_of(self.path) is not None
        self.size = archive.Archive(self.path).start if bundled else os.stat(self.path).st_size
        with open(self.path, "rb") as file:
            head = file.read(len(ELF))
            file.seek(max(0, self.size - FOOTER.size))
            if head != ELF or not file.read(FOOTER.size).startswith(PAYLOAD):
                raise HeartError(f"{self.path}: expected a heart executable, as make binary builds it")


def make(selection, heart, output, manifest):
    """Write the executable. Returns the exit status."""
    check_output(output)
    folder, name = os.path.split(os.path.abspath(output))
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(prefix=f".{name}.", dir=folder, delete=False) as file:
            temporary = file.name
            size = write(file, selection, heart, manifest)
            whole = file.tell()
            os.fchmod(file.fileno(), MODE)
        os.rename(temporary, output)
    except OSError as error:
        raise HeartError(f"{output}: can not be written: {error.strerror}") from None
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    count = count_text(len(selection.files))
    tell(f"{output}: {size_text(whole)}, with {count} ({size_text(size)}) from {selection.folder}")
    tell_skipped(selection)
    return 0


def check_output(output):
    """Refuse to write over something that is no executable."""
    if os.path.isdir(output):
        raise HeartError(f"{output}: is a folder; expected the name of the executable to write")
    try:
        with open(output, "rb") as file:
            if file.read(len(ELF)) != ELF:
                raise HeartError(f"{output}: exists, and is no executable; remove it or choose another name")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HeartError(f"{output}: can not be replaced: {error.strerror}") from None


def write(file, selection, heart, manifest):
    """Write the heart executable and the archive. Returns the size of the application's files."""
    latest = source_date()
    for part in read_parts(heart.path, heart.size):
        file.write(part)
    writer = archive.Writer(file)
    size = 0
    for name, path in selection.files:
        try:
            mtime = int(os.stat(path or selection.path(os.fsdecode(name))).st_mtime)
            size += writer.add(name, min(mtime, latest), read_parts(path) if path else ())
        except ValueError as error:
            raise HeartError(f"{selection.path(os.fsdecode(name))}: can not be bundled: {error}") from None
    writer.finish(manifest)
    return size


def source_date():
    """The latest time that a file may have: SOURCE_DATE_EPOCH, for bundles that are the same whenever they are made."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return 1 << 62
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"SOURCE_DATE_EPOCH: {text!r}: expected seconds since 1970")
    return int(text)


def read_parts(path, size=None):
    """The content of a regular file, or its first `size` bytes, part by part."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise HeartError(f"{path}: is no regular file")
            while size != 0 and (part := file.read(CHUNK if size is None else min(CHUNK, size))):
                size = None if size is None else size - len(part)
                yield part
    except OSError as error:
        raise HeartError(f"{path}: can not be read: {error.strerror}") from None
    if size:
        raise HeartError(f"{path}: has become shorter while it was read")


# ---- Showing ---------------------------------------------------------------------------------------------------


def tell(text):
    """Say something about the work; what was asked for goes to stdout."""
    print(text, file=sys.stderr)


def printable(name):
    """A name of an archive on one line."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def show_selection(selection):
    """--dry-run: what would be bundled."""
    for name, _ in selection.files:
        print(printable(name))
    size = sum(os.stat(path).st_size for _, path in selection.files if path)
    tell(f"{count_text(len(selection.files))}, {size_text(size)}")
    tell_skipped(selection)
    return 0


def tell_skipped(selection):
    """Name what was left out though nobody had said so."""
    names = [printable(os.fsencode(name)) for name in selection.skipped]
    if names:
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        tell(f"left out: {', '.join(names[:NAMES_SHOWN])}{more} (--include takes them in)")


def show(path):
    """--list: the files of a bundle, after a look at every byte."""
    found = archive.Archive(path)
    found.check()
    for entry in found.entries:
        print(f"{entry.size:>12}  {date_text(entry.mtime)}  {printable(entry.name)}")
    made = found.manifest
    size = size_text(sum(entry.size for entry in found.entries))
    tell(f"{count_text(len(found.entries))}, {size}, bundled with Heart {made.version}")
    tell(shlex.join(["serve", made.script, *made.flags]))
    return 0


def date_text(seconds):
    """A time in UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (ValueError, OverflowError):
        return f"{seconds:>19}"


# ---- Taking out ------------------------------------------------------------------------------------------------


def take_out(path, output):
    """--extract: write the files of a bundle into a new or empty folder."""
    if not output:
        raise ConfigError("-o DIR is missing: the folder for the files")
    found = archive.Archive(path)
    try:
        os.makedirs(output, exist_ok=True)
        if os.listdir(output):
            raise HeartError(f"{output}: is not empty; expected a new or empty folder")
        for entry in found.entries:
            extract_file(found, entry, os.path.join(os.fsencode(output), entry.name))
    except OSError as error:
        raise HeartError(f"{error.filename or output}: can not be written: {error.strerror}") from None
    tell(f"{output}: {count_text(len(found.entries))}")
    return 0


def extract_file(found, entry, path):
    """Write one file, or an empty folder, with its time."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not path.endswith(b"/"):
        with open(path, "xb") as file:
            for part in found.chunks(entry):
                file.write(part)
        os.utime(path, (entry.mtime, entry.mtime))
