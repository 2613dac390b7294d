"""Builds dist/heart, the one-file executable.

Usage: /usr/bin/python3 packaging/build.py [--output FILE] [--work FOLDER]

It needs gcc, binutils, OpenSSL 3 (Debian: libssl-dev; Alpine: openssl-dev), zlib (zlib1g-dev; zlib-dev), PCRE2's
library (libpcre2-8-0; pcre2), zstd's static library (libzstd-dev; zstd-static, zstd-dev), and Python with its headers
and venv; with musl-gcc (Debian: musl-tools) the launcher is smaller. Everything else is installed into the work folder.
The Python that runs this is the one that goes into the file, and so are the C library and the other libraries of this
system: build on the oldest system that is to be supported with its own C library.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "packaging"
SOURCES = ("heartc", "lua_stdlib", "pyx", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


def say(text):
    """Tell what the build does."""
    print(f"build: {text}", flush=True)


def fail(text):
    """End the build with a message."""
    raise SystemExit(f"build: {text}")


def run(*words, **more):
    """Run a step; its failure ends the build."""
    try:
        return subprocess.run([str(word) for word in words], check=True, **more)
    except FileNotFoundError:
        fail(f"{words[0]} is missing")
    except subprocess.CalledProcessError as error:
        fail(f"{words[0]} ended with {error.returncode}: {' '.join(map(str, words))}")


def environment(folder):
    """For steps whose output must not depend on when, where and by whom they are run."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEART_", "PIP_TARGET"))}
    env["SOURCE_DATE_EPOCH"] = "315532800"  # the first day that a zip file knows
    env["PYTHONHASHSEED"] = "0"
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["CFLAGS"] = f"{env.get('CFLAGS', '')} {shlex.quote(prefix_map(folder))}".strip()
    env["LDFLAGS"] = f"{env.get('LDFLAGS', '')} -Wl,--build-id=none".strip()
    return env


def prefix_map(folder):
    """The compiler flag that keeps the name of a folder out of the output."""
    return f"-ffile-prefix-map={folder}=."


def fresh_folder(path):
    """An empty folder, whatever was there before."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def make_environment(work):
    """A virtual environment with the pinned tools and nothing else; made once for each list of them."""
    requirements = HERE / "requirements.txt"
    python = work / "venv/bin/python"
    stamp = work / "venv/stamp"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    say("installing tools")
    venv.create(fresh_folder(work / "venv"), with_pip=True)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", requirements)
    stamp.write_text(wanted)
    return python


def install_heart(python, work):
    """Compile the core and install the package, from a copy: the folder of the sources is left as it is."""
    say("compiling the core")
    source = fresh_folder(work / "source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(path, source / name)
    add_versions(source / "heartc/licenses.txt")
    run(
        *(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--force-reinstall", "."),
        cwd=source,
        env=environment(source),
    )


def add_versions(table):
    """Write the versions of what goes into the file, where the table of licences does not have them."""
    pins = [line.split("==") for line in (HERE / "requirements.txt").read_text().split("\n") if "==" in line]
    versions = dict(pins) | {"Zstandard": zstd_version()}
    lines = table.read_text().splitlines()
    for i, line in enumerate(lines):
        name, *cells = (cell.strip() for cell in line.split("|"))
        version = versions.get(name) or versions.get(cells[-1] if cells else "")
        if version and not cells[0]:
            lines[i] = " | ".join([name, version, *cells[1:]])
    table.write_text("\n".join(lines) + "\n")


def zstd_version():
    """The version of the zstd that the launcher gets."""
    text = Path(header("zstd.h")).read_text()
    return ".".join(
        re.search(rf"#define ZSTD_VERSION_{part} +(\d+)", text)[1] for part in ("MAJOR", "MINOR", "RELEASE")
    )


def find_modules(python, work):
    """Let PyInstaller find what is needed. Returns the file with its answer."""
    say("collecting modules")
    found = work / "found.json"
    scratch = fresh_folder(work / "pyinstaller")
    run(
        *(python, "-m", "PyInstaller", "--log-level", "ERROR", "--clean", "--noconfirm"),
        *("--workpath", scratch / "work", "--distpath", scratch / "dist", HERE / "heart.spec"),
        cwd=scratch,
        env=environment(work) | {"HEART_FOUND": str(found), "PYINSTALLER_CONFIG_DIR": str(scratch / "config")},
    )
    return found


def compile_launcher(work, loader, host_loader, glibc):
    """The static launcher; with musl where its compiler is installed, which makes it smaller."""
    compiler = shutil.which("musl-gcc")
    include = []
    if compiler:
        # musl-gcc looks into musl's folders only: zstd's header alone is added to them.
        folder = fresh_folder(work / "include")
        shutil.copy(header("zstd.h"), folder)
        include = ["-isystem", folder]
    output = work / "launcher"
    defines = [f'-DLOADER="{loader}"']
    if glibc is not None:
        defines += [f"-DGLIBC_NEEDED={glibc}", f'-DHOST_LOADER="{host_loader}"']
    run(
        *(compiler or "gcc", "-std=gnu11", "-Os", "-Wall", "-Wextra", "-Werror", "-ffunction-sections"),
        *("-static", "-no-pie", "-s", "-Wl,--gc-sections", "-Wl,--build-id=none", prefix_map(ROOT)),
        *(*include, *defines, *sorted((HERE / "launcher").glob("*.c")), static_library("libzstd.a"), "-o", output),
    )
    run("strip", "--strip-all", "--remove-section=.comment", output)
    return output


def header(name):
    """The path of a header that the compiler finds."""
    probe = subprocess.run(
        ["gcc", "-E", "-x", "c", "-"], input=f"#include <{name}>\n", capture_output=True, text=True, check=False
    )
    for line in probe.stdout.splitlines():
        if line.startswith("# ") and line.split('"')[1].endswith(f"/{name}"):
            return line.split('"')[1]
    fail(f"{name} is missing: apt-get install libzstd-dev, or apk add zstd-dev")


def static_library(name):
    """The path of a static library that the compiler finds."""
    path = subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
    if not os.path.isabs(path):
        fail(f"{name} is missing: apt-get install libzstd-dev, or apk add zstd-static")
    return path


def assemble(work, output):
    """The second half, which runs in the virtual environment: tree, launcher, file."""
    import elf
    import pack
    import tree

    folder = work / "tree"
    try:
        libc = tree.build(work / "found.json", ROOT / "lua_stdlib", HERE / "program/heart.c", folder, prefix_map(ROOT))
    except tree.TreeError as error:
        fail(str(error))
    glibc = None if "musl" in libc[0] else elf.glibc_needed(tree.elf_files(folder, libc))
    launcher = compile_launcher(work, f"{tree.INNER}/{libc[0]}", elf.interpreter(folder / "heart"), glibc)
    pack.write(launcher, folder, "heart", libc, output)
    say(f"{output}: {output.stat().st_size:,} bytes, {'musl' if glibc is None else f'glibc 2.{glibc} or its own'}")


def main():
    """Make the environment and what goes into the payload, then go on in that environment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist/heart", help="the file to write (dist/heart)")
    parser.add_argument("--work", type=Path, default=ROOT / "build/binary", help="folder for tools and parts")
    parser.add_argument("--assemble", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    work, output = options.work.resolve(), options.output.resolve()
    if options.assemble:
        return assemble(work, output)
    work.mkdir(parents=True, exist_ok=True)
    python = make_environment(work)
    install_heart(python, work)
    find_modules(python, work)
    say("making the file")
    run(python, HERE / "build.py", "--assemble", "--work", work, "--output", output, env=environment(ROOT))


if __name__ == "__main__":
    main()
