"""Makes dist/heart_VERSION_ARCHITECTURE.deb from dist/heart. Usage: /usr/bin/python3 packaging/deb/build.py [FOLDER]

FOLDER is another one than dist. The architecture is that of dist/heart. The same files give the same package, byte for
byte: times come from the changelog, owners and modes from here. It needs dpkg-deb.
"""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import tempfile
from email.utils import parsedate_to_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT), str(HERE)]

import configuration  # noqa: E402

from heartc import __version__, completion, man  # noqa: E402

ARCHITECTURES = {62: "amd64", 183: "arm64"}  # e_machine of an ELF file
SCRIPTS = ("postinst", "prerm", "postrm")


class BuildError(Exception):
    """The package cannot be made; the message says what is missing."""


def architecture(program):
    """Debian's name of the architecture that an ELF file is for."""
    head = program.read_bytes()[:20] if program.is_file() else b""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise BuildError(f"{program.relative_to(ROOT)} is missing: run `make binary` first")
    machine = struct.unpack_from("<H", head, 18)[0]
    if machine not in ARCHITECTURES:
        raise BuildError(f"{program.relative_to(ROOT)}: ELF machine {machine}: expected one of {ARCHITECTURES}")
    return ARCHITECTURES[machine]


def release():
    """(version, time) of the changelog's first entry, which must be Heart's own."""
    lines = (HERE / "changelog").read_text().splitlines()
    version = lines[0].split("(")[1].split(")")[0]
    if version != __version__:
        raise BuildError(f"packaging/deb/changelog begins with {version}, Heart is {__version__}: add an entry")
    signature = next(line for line in lines if line.startswith(" -- "))
    return version, int(parsedate_to_datetime(signature.split(">  ")[1]).timestamp())


def compress(text):
    """As `gzip -9n` does."""
    return gzip.compress(text.encode(), 9, mtime=0)


def contents(program):
    """The package's files: path to (bytes, mode)."""
    units = {f"usr/lib/systemd/system/{unit.name}": unit for unit in (ROOT / "packaging/systemd").iterdir()}
    copied = {
        **units,
        "usr/lib/sysusers.d/heart.conf": HERE / "sysusers.conf",
        "usr/share/heart/welcome/main.lua": HERE / "welcome/main.lua",
        "usr/share/doc/heart/copyright": HERE / "copyright",
        "usr/share/lintian/overrides/heart": HERE / "overrides",
    }
    made = {
        "etc/heart/heart.conf": configuration.text(),
        "usr/share/bash-completion/completions/heart": completion.bash(),
        "usr/share/zsh/vendor-completions/_heart": completion.zsh(),
        "usr/share/fish/vendor_completions.d/heart.fish": completion.fish(),
    }
    files = {path: (source.read_bytes(), 0o644) for path, source in copied.items()}
    files |= {path: (text.encode(), 0o644) for path, text in made.items()}
    files["usr/bin/heart"] = (program.read_bytes(), 0o755)
    files["usr/share/man/man1/heart.1.gz"] = (compress(man.page()), 0o644)
    files["usr/share/doc/heart/changelog.gz"] = (compress((HERE / "changelog").read_text()), 0o644)
    return files


def control_files(files, version, arch):
    """The files of DEBIAN/: name to (bytes, mode)."""
    size = sum((len(data) + 1023) // 1024 for data, _ in files.values())
    control = (HERE / "control").read_text().format(version=version, architecture=arch, size=size)
    sums = "".join(
        f"{hashlib.md5(data).hexdigest()}  {path}\n"
        for path, (data, _) in sorted(files.items())
        if not path.startswith("etc/")
    )
    conffiles = "".join(f"/{path}\n" for path in sorted(files) if path.startswith("etc/"))
    made = {"control": control, "md5sums": sums, "conffiles": conffiles}
    return {name: (text.encode(), 0o644) for name, text in made.items()} | {
        name: ((HERE / name).read_bytes(), 0o755) for name in SCRIPTS
    }


def lay_out(tree, files, seconds):
    """Write the files below `tree`, with fixed modes and times."""
    for path, (data, mode) in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(mode)
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (seconds, seconds))


def build(folder):
    """Make the package; returns its path."""
    program = ROOT / "dist/heart"
    arch = architecture(program)
    version, seconds = release()
    os.environ["SOURCE_DATE_EPOCH"] = str(seconds)  # for the manual page and dpkg-deb
    files = contents(program)
    control = control_files(files, version, arch)
    target = folder / f"heart_{version}_{arch}.deb"
    with tempfile.TemporaryDirectory(prefix="heart-deb-") as temporary:
        tree = Path(temporary, "tree")
        lay_out(tree, files | {f"DEBIAN/{name}": file for name, file in control.items()}, seconds)
        # One thread: how a file is split among several shows in its bytes.
        words = ["dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "--build", str(tree), str(target)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return target


if __name__ == "__main__":
    try:
        package = build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
    except BuildError as error:
        sys.exit(f"make deb: {error}")
    print(f"{package}: {package.stat().st_size:,} bytes")
