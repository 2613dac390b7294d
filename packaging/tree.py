"""Lays the payload out as a folder: the program, and all it needs in _internal.

heart                    packaging/program, with Python linked in where there is a static library of it
_internal/modules.zip    the modules that are Python alone; packages with extensions stand beside it as folders
_internal/*.so*          extension modules and libraries, the C library and its loader among them
"""

import json
import shutil
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import elf

INNER = "_internal"
EXTRA = ("libpcre2-8.so.0",)  # what nothing links with: Lua code loads it by FFI (heartc.lualib.LIBRARIES)
FOLDERS = ("heartc", "lupa", "rocksdict")  # packages with extension modules, which are not loaded from a zip file
DROPPED = ("lupa/__init__.pyc", "lupa/version.pyc")  # lupa's Python half is not used
# Names of hosts are encoded as "idna", names in zip files may be "cp437"; the tables of all others are not needed.
ENCODINGS = "__init__ aliases ascii cp437 idna latin_1 punycode utf_8 utf_8_sig utf_16 utf_16_be utf_16_le".split()

# All of glibc that a module or the resolver may ask for: what is not here would be taken from the host, and parts of
# two C libraries do not work together.
GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2")


class TreeError(Exception):
    """The payload would not be complete; the message says what is missing."""


def compile_program(source, target, prefix_map):
    """The program: Python embedded, statically where the distribution has its static library. That saves 1 MB of
    memory (13.2 instead of 14.2 MB idle) and half of the time to start, because nothing is relocated."""
    static = Path(sysconfig.get_config_var("LIBPL") or "", sysconfig.get_config_var("LIBRARY") or "")
    if static.is_file() and static.suffix == ".a":
        words = [word for name in ("MODLIBS", "LIBS", "SYSLIBS") for word in sysconfig.get_config_var(name).split()]
        python = ["-no-pie", "-Wl,--export-dynamic", str(static), *dict.fromkeys(words)]
    else:
        python = [f"-L{sysconfig.get_config_var('LIBDIR')}", f"-lpython{sysconfig.get_config_var('LDVERSION')}"]
    subprocess.run(
        ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-s", f"-I{sysconfig.get_path('include')}", prefix_map]
        + [source, "-o", target, *python, "-Wl,--disable-new-dtags,-rpath,$ORIGIN/" + INNER, "-Wl,--build-id=none"],
        check=True,
    )


def is_dropped(name):
    """Whether something that PyInstaller has found has no place in the payload."""
    folder, _, rest = name.partition("/")
    if folder == "encodings":
        return rest.removesuffix(".pyc") not in ENCODINGS
    return name in DROPPED or ".dist-info/" in name or name.startswith("libpython")


def place_of(name):
    """Where a file that PyInstaller calls `name` goes in _internal; None: into modules.zip."""
    if name.split("/")[0] in FOLDERS:
        return name
    return None if name.endswith(".pyc") else Path(name).name


def copy(source, target):
    """Copy a file, without its mode and times; its folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def copy_found(found, inner):
    """Copy what PyInstaller has found. Returns what belongs into modules.zip: (name, path)."""
    packed = []
    for name, source, *_ in found["modules"] + found["libraries"]:
        if is_dropped(name):
            continue
        place = place_of(name)
        if place:
            copy(source, inner / place)
        else:
            packed.append((name, source))
    return packed


def zip_modules(packed, target):
    """One archive of compiled modules, stored: the payload is compressed as a whole."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(packed):
            archive.writestr(zipfile.ZipInfo(name), Path(source).read_bytes())


def library(name):
    """The path of a library that the compiler would link with."""
    path = Path(subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip())
    if not path.is_absolute():
        raise TreeError(f"{name} is missing on this system")
    return path


def copy_libc(program, inner):
    """Our own C library and its loader. Returns their names in _internal; the loader comes first."""
    loader = Path(elf.interpreter(program))
    names = [loader.name]
    copy(loader.resolve(), inner / loader.name)
    if "musl" not in loader.name:
        for name in GLIBC:
            copy(library(name).resolve(), inner / name)
        names += GLIBC
    return names


def copy_shared_python(program, inner):
    """libpython, if the program needs it."""
    for name in elf.needed(program):
        if name.startswith("libpython"):
            copy(library(name).resolve(), inner / name)


def elf_files(tree, libc):
    """The paths of all ELF files but those of the C library, which stay as the distribution has made them."""
    return [p for p in sorted(tree.rglob("*")) if p.is_file() and p.name not in libc and elf.is_elf(p)]


def strip(files):
    """Remove what only debuggers need."""
    for path in files:
        subprocess.run(["strip", "--strip-unneeded", "--remove-section=.comment", path], check=True)


def check_complete(files, libc):
    """Every library that a file needs must be here."""
    here = {path.name for path in files} | set(libc)
    for path in files:
        for name in elf.needed(path):
            if name not in here and not name.startswith("libc.musl-"):
                raise TreeError(f"{path.name} needs {name}, which is not in the payload")


def build(found_file, lua_stdlib, program_source, tree, prefix_map):
    """Make the folder `tree`. Returns the names of the C library's files, the loader first."""
    found = json.loads(found_file.read_text())
    shutil.rmtree(tree, ignore_errors=True)
    inner = tree / INNER
    inner.mkdir(parents=True)
    program = tree / "heart"
    compile_program(program_source, program, prefix_map)
    zip_modules(copy_found(found, inner), inner / "modules.zip")
    for path in sorted(lua_stdlib.rglob("*.lua")):
        copy(path, inner / "heartc/lua_stdlib" / path.relative_to(lua_stdlib))
    copy_shared_python(program, inner)
    for name in EXTRA:
        copy(library(name).resolve(), inner / name)
    libc = copy_libc(program, inner)
    files = elf_files(tree, libc)
    strip(files)
    check_complete(files, libc)
    return libc
