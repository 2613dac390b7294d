"""Fuzz the parsers: coverage-guided, with AddressSanitizer.

Usage: python tests/fuzz/run.py [--seconds 30] [name ...]       (http_parse, ...; all of them without a name)

A target is a file fuzz_<name>.py here. It imports one module of tests/native by its name (`*_native`) and has
`fuzz_one(data: bytes)`, which raises when something is wrong, and optionally MAX_LEN, the largest input in
bytes. corpus/<name>/ holds its seeds, among them every input that once failed; <name>.dict words that its
format is made of (libFuzzer's syntax). The module is built by clang into build/fuzz/native; what a run finds is
kept under build/fuzz/<name>: `corpus` to go on from, `crash-*` when it failed. Exit code 1: a target failed.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "build" / "fuzz"
FLAGS = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=fuzzer-no-link,address")
MAX_LEN = 4096
# What runs in the child, whose first module must be atheris and whose sanitizer is preloaded.
CHILD = """
import importlib, sys
import atheris
sys.path[:0] = [{here!r}, {native!r}]
atheris.Setup(sys.argv, importlib.import_module("fuzz_{name}").fuzz_one)
atheris.Fuzz()
"""


def targets():
    return {path.stem.removeprefix("fuzz_"): path for path in sorted(HERE.glob("fuzz_*.py"))}


def native_of(path):
    return re.search(r"^(?:from|import) (\w+_native)\b", path.read_text(), re.M)[1]


def sanitizer():
    """The library with AddressSanitizer and libFuzzer that atheris ships; installs atheris first if needed."""
    pin = (HERE / "requirements.txt").read_text().strip()
    try:
        installed = importlib.metadata.version("atheris")
    except importlib.metadata.PackageNotFoundError:
        installed = None
    if pin != f"atheris=={installed}":
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", pin], check=True)
    importlib.invalidate_caches()
    return Path(importlib.util.find_spec("atheris").origin).parent.parent / "asan_with_fuzzer.so"


def build(names):
    if shutil.which("clang") is None:
        sys.exit("run.py: clang is missing: apt-get install clang")
    os.environ.update(CC="clang", LDSHARED="clang -shared")
    spec = importlib.util.spec_from_file_location("native_setup", ROOT / "tests" / "native" / "setup.py")
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    native.build(names, str(OUT / "native"), FLAGS)


def option(path, name, default):
    match = re.search(rf"^{name} = (\d+)$", path.read_text(), re.M)
    return int(match[1]) if match else default


def fuzz(name, path, seconds, preload):
    """Run one target; the number of executions, or None if it failed."""
    out = OUT / name
    seeds, words = HERE / "corpus" / name, HERE / f"{name}.dict"
    (out / "corpus").mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-c",
        CHILD.format(here=str(HERE), native=str(OUT / "native"), name=name),
        f"-max_total_time={seconds}",
        f"-max_len={option(path, 'MAX_LEN', MAX_LEN)}",
        f"-artifact_prefix={out}/",
        "-timeout=10",
        "-print_final_stats=1",
        *([f"-dict={words}"] if words.exists() else []),
        str(out / "corpus"),
        *([str(seeds)] if seeds.exists() else []),
    ]
    environment = os.environ | {
        "LD_PRELOAD": str(preload),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = run.stdout.decode(errors="replace")
    (out / "log").write_text(log)
    done = re.search(r"stat::number_of_executed_units: (\d+)", log)
    if run.returncode != 0 or done is None:
        print(log[-6000:])
        return None
    return int(done[1])


def main():
    parser = argparse.ArgumentParser(description="Fuzz the parsers.")
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default 30)")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(targets()))
    options = parser.parse_args()
    chosen = {name: path for name, path in targets().items() if not options.names or name in options.names}
    if unknown := set(options.names) - set(chosen):
        parser.error(f"no target named {', '.join(sorted(unknown))}")
    preload = sanitizer()
    build(sorted({native_of(path) for path in chosen.values()}))
    failed = False
    for name, path in chosen.items():
        executions = fuzz(name, path, options.seconds, preload)
        failed = failed or executions is None
        result = f"FAILED, see {OUT / name}" if executions is None else f"{executions} executions"
        print(f"{name}: {result}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
